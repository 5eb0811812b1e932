/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the limits are compared with: kept as it changes, or each of many thousand sessions would be counted again for
 * every one that is made. */

#include "core/session-object.h"

/* Each has a process and some descriptors on this machine. */
#define STREAMS_MAX 512

static User *find_user(const Manager *m, uid_t uid) {
        User *u;

        HASH_FIND(hh, m->users, &uid, sizeof(uid), u);
        return u;
}

static User *get_user(Manager *m, uid_t uid) {
        User *u = find_user(m, uid);

        if (u)
                return u;
        u = calloc(1, sizeof(*u));
        if (!u)
                return NULL;
        u->uid = uid;
        HASH_ADD(hh, m->users, uid, sizeof(u->uid), u);
        return u;
}

static void put_user(Manager *m, User *u) {
        if (u->sessions > 0 || u->jobs > 0 || u->streams > 0)
                return;
        HASH_DEL(m->users, u);
        free(u);
}

unsigned usage_sessions_of(const Manager *m, uid_t uid) {
        const User *u = find_user(m, uid);
        return u ? u->sessions : 0;
}

unsigned usage_jobs_of(const Manager *m, uid_t uid) {
        const User *u = find_user(m, uid);
        return u ? u->jobs : 0;
}

int usage_check_jobs(const Manager *m, uid_t actor, Refusal **reterr) {
        unsigned mine = usage_jobs_of(m, actor);

        if (actor == 0)
                return 0;
        if (m->jobs_running >= m->config->running_jobs_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED, "%u jobs are under way already (RunningJobsMax=). Try again when some have ended.", m->jobs_running);
        if (mine >= m->config->running_jobs_per_user_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED, "You have %u jobs under way already (RunningJobsPerUserMax=). Wait for some of them.", mine);
        return 0;
}

int usage_add_session(Session *s) {
        User *u = get_user(s->manager, s->owner_uid);

        if (!u)
                return -ENOMEM;
        u->sessions++;
        usage_update_session(s);
        return 0;
}

static void set_reserved(Session *s, uint64_t bytes) {
        ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);

        if (!e)
                return;
        e->reserved_memory_bytes += bytes - s->counted_memory_bytes;
        s->counted_memory_bytes = bytes;
}

void usage_update_session(Session *s) {
        set_reserved(s, session_state_is_active(s->state) ? s->spec.reserved_memory_bytes : 0);
}

void usage_remove_session(Session *s) {
        User *u = find_user(s->manager, s->owner_uid);

        u->sessions--;
        put_user(s->manager, u);
        set_reserved(s, 0);
}

int usage_add_job(Job *j) {
        User *u = get_user(j->manager, j->actor_uid);

        if (!u)
                return -ENOMEM;
        u->jobs++;
        j->manager->jobs_running++;
        return 0;
}

void usage_remove_job(Job *j) {
        User *u = find_user(j->manager, j->actor_uid);

        u->jobs--;
        put_user(j->manager, u);
        j->manager->jobs_running--;
}

int usage_check_streams(const Manager *m, uid_t actor, Refusal **reterr) {
        const User *u = find_user(m, actor);
        unsigned mine = u ? u->streams : 0;

        if (m->streams >= STREAMS_MAX)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED,
                              "%u shells, commands and readers of output are open already, and there are no more than %d of all users. Try again when some have ended.",
                              m->streams, STREAMS_MAX);
        if (actor != 0 && mine >= m->config->streams_per_user_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED,
                              "You have %u shells, commands and readers of output open already (StreamsPerUserMax=). Close some of them.", mine);
        return 0;
}

int usage_add_stream(Manager *m, uid_t actor) {
        User *u = get_user(m, actor);

        if (!u)
                return -ENOMEM;
        u->streams++;
        m->streams++;
        return 0;
}

void usage_remove_stream(Manager *m, uid_t actor) {
        User *u = find_user(m, actor);

        u->streams--;
        put_user(m, u);
        m->streams--;
}

void usage_done(Manager *m) {
        User *u, *next;

        HASH_ITER(hh, m->users, u, next) {
                HASH_DEL(m->users, u);
                free(u);
        }
}
