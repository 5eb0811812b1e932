/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A provider in memory, for tests and benchmarks: sessions, nodes and images are plain structs, time passes only as
 * far as the latencies say (none by default: every step takes one turn of the loop).
 *
 * The files of a container are one number. fake_write() changes it, a capture copies it into the generation, a task of
 * that generation begins with it. A container that goes with a number that is in no image is a loss; fake_losses()
 * counts them, so that a test can show that nothing was lost whatever happened in between. The witness is the count of
 * the times at which the container may have run; only a freeze, a capture of an exited container and the kill of
 * rest() leave it alone.
 *
 * References: "registry.fake/" is put before a name without a host; the digest is made from the name alone. The last
 * part of the repository may ask for a behaviour: "missing" does not resolve, "volumes" has VOLUME /data, "unpullable"
 * resolves but its task fails, "exits" ends at once with code 1, "unhealthy" is never healthy.
 *
 * A command, and a shell, writes back what it reads, and ends with 0 at the end of its input; it is ended when nobody reads it or holds
 * its terminal any more. Some lines do more: "exit N" ends it with code N; "size", on a terminal, is answered with ROWSxCOLUMNS; "error",
 * without one, goes to stderr as well; a ^D at the begin of a line ends what has a terminal. Of the programs, "true" and "false" end
 * at once with 0 and 1; "show" does so after a line for each "argument", "env", "user" and "directory" that it was given; "missing"
 * does not begin. All of them stand still while the container is frozen or its node down, and are refused when it ends. The output
 * of a session is ten lines "ID CONTAINER line N" of the moment of its start, the container by the first twelve of its digits; who
 * follows it has "write VALUE" for each change of its files, until the main process ends.
 *
 * Black-box tests steer a daemon by datagrams with one JSON object each, sent to the unix socket that
 * SWARM_FAKE_CONTROL names (bound by the provider; a sender that is bound too gets {"ok":true} or {"error":"…"} back,
 * once what was asked for is in effect):
 *   {"op":"exit","session":S,"code":N}           the main process ends
 *   {"op":"write","session":S,"value":N}         its files change
 *   {"op":"read","session":S}                    answers {"ok":true,"value":N,"frozen":B,"container":C,…}
 *   {"op":"freeze"|"thaw","session":S}           by somebody else
 *   {"op":"vanish","session":S}                  somebody removes record and container
 *   {"op":"kill-container","session":S}          somebody removes the container alone: TASK_GONE
 *   {"op":"session-health","session":S,"health":H}
 *   {"op":"lose-node","node":N}, {"op":"return-node","node":N,"rebooted":B}
 *   {"op":"health","health":"degraded","detail":D}
 *   {"op":"delete-image","image":I}, {"op":"list"}, {"op":"losses"}
 *   {"fail":OP,"code":REFUSAL,"message":M,"times":N}     the next N (1) calls; code "-EIO" and the like = broke
 *   {"latency_usec":{OP:N,…}}
 * SWARM_FAKE_STATE names a JSON file to which every change is written before anything is told about it (atomically
 * renamed, not fsynced) and from which the next provider begins: the cluster survives a daemon that is killed. */

#include <systemd/sd-event.h>

#include "core/provider.h"

#define FAKE_OP_TABLE(X)                                                                        \
        X(RESOLVE, "resolve")                                                                   \
        X(CREATE, "create")                                                                     \
        X(RUN, "run")                                                                           \
        X(TERMINATE, "terminate")                                                               \
        X(SIGNAL, "signal")                                                                     \
        X(EXECUTE, "execute")           /* both until they begin */                             \
        X(READ_LOGS, "read-logs")                                                               \
        X(CAPTURE, "capture")           /* fails after the freeze, half way */                  \
        X(THAW, "thaw")                                                                         \
        X(REST, "rest")                 /* fails before the kill */                             \
        X(REST_UPDATE, "rest-update")   /* the second half of rest: fails after the kill */     \
        X(DISCARD, "discard")                                                                   \
        X(REMOVE, "remove")                                                                     \
        X(VERIFY_IMAGE, "verify-image")                                                         \
        X(DELETE_IMAGE, "delete-image")                                                         \
        X(START, "start")               /* latency only: from accepted to running */

typedef enum FakeOp {
#define X(id, name) FAKE_##id,
        FAKE_OP_TABLE(X)
#undef X
        _FAKE_OP_MAX,
        _FAKE_OP_INVALID = -EINVAL,
} FakeOp;

FakeOp fake_op_from_string(const char *s);

typedef struct FakeOptions {
        unsigned nodes;                 /* "fake-1" …; 0 = 2. Each has 64 cpus and 1 TiB */
        const char *control;            /* path of the datagram socket; NULL = $SWARM_FAKE_CONTROL, "" = none */
        const char *state;              /* path of the state file; NULL = $SWARM_FAKE_STATE, "" = none */
} FakeOptions;

/* `options` may be NULL. -EBADMSG: the state file is damaged. */
int fake_new(sd_event *event, const FakeOptions *options, Provider **ret);

/* Knobs. What they change is reported from the loop, as if the cluster had done it. -ENOENT: no such session or node. */
void fake_set_latency(Provider *p, FakeOp op, usec_t latency_usec);
/* The next `times` calls of the operation are refused. */
int fake_fail_next(Provider *p, FakeOp op, unsigned times, RefusalCode code, const char *message);
/* The next `times` calls of the operation break with -error. */
int fake_break_next(Provider *p, FakeOp op, unsigned times, int error);
int fake_exit_session(Provider *p, const char *session, int code);
int fake_exhaust_memory(Provider *p, const char *session);                     /* and is killed for it */
int fake_write(Provider *p, const char *session, uint64_t value);              /* -EAGAIN: it does not run */
int fake_read(Provider *p, const char *session, uint64_t *ret);                /* -ENODATA: no container */
int fake_set_frozen(Provider *p, const char *session, bool frozen);
int fake_vanish(Provider *p, const char *session);
int fake_kill_container(Provider *p, const char *session);
int fake_set_session_health(Provider *p, const char *session, const char *health);
int fake_lose_node(Provider *p, const char *node);
/* Rebooted: what ran there has exited with 137; else it runs on. */
int fake_return_node(Provider *p, const char *node, bool rebooted);
/* Drained it takes no sessions. What runs there runs on until the test has it exit. */
int fake_set_drained(Provider *p, const char *node, bool drained);
void fake_set_health(Provider *p, ProviderHealth health, const char *detail);
void fake_list(Provider *p);                                                   /* reports everything again */

/* What a test wants to know. */
unsigned fake_losses(Provider *p);
uint64_t fake_calls(Provider *p, FakeOp op);                                   /* begun so far */
bool fake_has_image(Provider *p, const char *image);
int fake_forget_image(Provider *p, const char *image);                         /* the registry lost it */
