/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <uthash.h>
#include <utlist.h>

#include "bus/bus-answers.h"

/* Those of one user that follow each other are kept as one up to this size, so that many short ones take no memory. */
#define TOGETHER_BYTES_MAX (1 * MIB)

typedef struct User {
        uid_t uid;
        size_t bytes;
        UT_hash_handle hh;
} User;

typedef struct Answer {
        User *user;
        uint64_t cookie;                /* of the last of them; 0 = that of the next one that is known */
        size_t bytes;
        struct Answer *next, *prev;
} Answer;

struct BusAnswers {
        Answer *answers;                /* in the order in which they are sent */
        User *users;                    /* who has some */
        size_t bytes, bytes_max;
        uint64_t last_cookie;
};

int bus_answers_new(size_t bytes_max, BusAnswers **ret) {
        BusAnswers *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->bytes_max = bytes_max;
        *ret = a;
        return 0;
}

static User *find_user(const BusAnswers *a, uid_t uid) {
        User *u;

        HASH_FIND(hh, a->users, &uid, sizeof(uid), u);
        return u;
}

static void user_take(BusAnswers *a, User *u, size_t bytes) {
        a->bytes -= bytes;
        u->bytes -= bytes;
        if (u->bytes > 0)
                return;
        HASH_DEL(a->users, u);
        free(u);
}

static void remove_first(BusAnswers *a) {
        Answer *first = a->answers;

        DL_DELETE(a->answers, first);
        user_take(a, first->user, first->bytes);
        free(first);
}

BusAnswers *bus_answers_free(BusAnswers *a) {
        if (!a)
                return NULL;
        while (a->answers)
                remove_first(a);
        free(a);
        return NULL;
}

void bus_answers_update(BusAnswers *a, uint64_t queued) {
        /* What was sent since the last one that was noted, signals for example, is among those that are queued, and makes this
         * less than what has left. */
        uint64_t left = queued == 0 ? UINT64_MAX : a->last_cookie - MIN(a->last_cookie, queued);

        while (a->answers && (queued == 0 || (a->answers->cookie > 0 && a->answers->cookie <= left)))
                remove_first(a);
}

bool bus_answers_may_have(const BusAnswers *a, uid_t uid) {
        const User *u = find_user(a, uid);
        size_t users = HASH_COUNT(a->users) + (u ? 0 : 1);

        return a->bytes <= a->bytes_max || (u ? u->bytes : 0) <= a->bytes_max / users;
}

static Answer *append(BusAnswers *a, uid_t uid) {
        User *u = find_user(a, uid), *made = NULL;
        Answer *answer = calloc(1, sizeof(*answer));

        if (!u)
                u = made = calloc(1, sizeof(*u));
        if (!answer || !u) {
                free(answer);
                free(made);
                return NULL;
        }
        u->uid = uid;
        if (made)
                HASH_ADD(hh, a->users, uid, sizeof(u->uid), u);
        answer->user = u;
        DL_APPEND(a->answers, answer);
        return answer;
}

int bus_answers_add(BusAnswers *a, uid_t uid, uint64_t cookie, size_t bytes) {
        Answer *last = a->answers ? a->answers->prev : NULL;

        if (bytes == 0)
                return 0;
        if (cookie > 0) {
                a->last_cookie = cookie;
                for (Answer *i = last; i && i->cookie == 0; i = i == a->answers ? NULL : i->prev)
                        i->cookie = cookie;
        }
        if (!last || last->user->uid != uid || last->bytes >= TOGETHER_BYTES_MAX)
                last = append(a, uid);
        if (!last)
                return -ENOMEM;
        last->cookie = cookie;
        last->bytes += bytes;
        last->user->bytes += bytes;
        a->bytes += bytes;
        return 0;
}
