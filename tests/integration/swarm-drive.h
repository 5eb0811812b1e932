/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ground of provider-swarm-drive.c: a Swarm provider on a real Engine, what it reports, and calls that are waited for. What is
 * not as it should be ends the program. */

#include "provider/engine-json.h"
#include "provider/engine.h"
#include "provider/swarm.h"

#define CHECK(x)                                                                        \
        do {                                                                            \
                if (!(x)) {                                                             \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
                        exit(EXIT_FAILURE);                                             \
                }                                                                       \
        } while (0)

#define SESSIONS_MAX 256

typedef struct Seen {
        char session[64];
        bool exists, wanted, frozen;
        TaskState task;
        int exit_code;
        char image[256], container[80], node[64], error[512], record[256], health[32];
        uint64_t generation;
        usec_t started_usec;
} Seen;

typedef struct Drive {
        sd_event *event;
        Http *http;
        Engine *engine;
        Provider *provider;
        Agent *agent;
        char *local;                    /* node that sessions are placed on; NULL: any */
        const char *socket, *image;
        unsigned number;                /* of sessions, where there are many */
        unsigned lists, nodes;
        ProviderHealth health;
        char detail[512];
        Seen seen[SESSIONS_MAX];
        size_t n_seen;

        unsigned done, in_flight;
        int result;
        RefusalCode code;
        char message[1024];
        char captured[256], witness[1024];
        json_t *answer;
        long status;
} Drive;

usec_t now_usec(void);          /* CLOCK_BOOTTIME */
/* What was reported last of the session; empty when nothing was. */
Seen *seen(Drive *d, const char *session);

#define COPY(to, from) (void) snprintf((to), sizeof(to), "%s", strempty(from))

void turn(Drive *d);            /* of the loop, 50 ms at most */

/* Turns until that is so. */
#define WAIT(seconds, condition)                                                                \
        do {                                                                                    \
                usec_t _end = now_usec() + (usec_t) (seconds) * USEC_PER_SEC;                   \
                while (!(condition) && now_usec() < _end)                                       \
                        turn(d);                                                                \
                CHECK(condition);                                                               \
        } while (0)

/* A call, waited for to its end; its result is in d->result. DONE(): it succeeds. */
#define DO(call)                                                \
        do {                                                    \
                d->in_flight++;                                 \
                CHECK((call) >= 0);                             \
                WAIT(150, d->in_flight == 0);                   \
        } while (0)

#define DONE(call)                                              \
        do {                                                    \
                DO(call);                                       \
                CHECK(d->result == 0);                          \
        } while (0)

/* A member of the provider with its arguments, for DO() and DONE(). */
#define P(member, ...) d->provider->vtable->member(d->provider, __VA_ARGS__, on_done, d, NULL)
void on_done(void *userdata, int r, const Refusal *refusal);

/* Asks the Engine itself; `format` is a path with one %s. The answer is in d->answer. */
void engine(Drive *d, const char *method, const char *format, const char *argument);
/* Runs a command with one %s, and a verb of the rig. */
void shell(const char *format, const char *argument);
void rig(const char *arguments);

ProviderSpec spec_of(Drive *d, const char *session, const char *name);
/* The files of the session s-one go. */
void discard(Drive *d);
void provider_begin(Drive *d, bool initialize);
void agent_begin(Drive *d);
/* The provider places sessions on this node: the rig may have workers, and what the test does beside the provider it does here. */
void stay_here(Drive *d);
