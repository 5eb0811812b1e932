/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Freezing. What matters here is that nothing stays frozen that nobody knows of: the note comes first and goes last
 * (agent-thaw.c), a freeze whose outcome is not known is thawed, and so is one that its owner has given up meanwhile. */

#include "basic/log.h"
#include "provider/agent-internal.h"

#define FREEZE_SLACK_USEC (5 * USEC_PER_SEC)            /* until those that were about to begin have been looked at once more */

struct AgentFreeze {
        Agent *agent;
        char *container;
        EngineCall *request;
        Timer *timer;                   /* the next attempt */
        Backoff backoff;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        usec_t patience_usec;
        bool asked;                     /* the Engine, which had no command to begin any more */
        bool half;                      /* a try has failed, and may have left it to be frozen later */
        agent_freeze_cb cb;             /* NULL: abandoned */
        void *userdata;
        AgentThawWait *thaw;            /* it is undone */
        int r;                          /* what to report then */
        Refusal *refusal;
        AgentFreeze *prev, *next;
};

static void freeze_free(AgentFreeze *f) {
        DL_DELETE(f->agent->freezes, f);
        engine_call_cancel(f->request);
        timer_free(f->timer);
        agent_thaw_forget(f->thaw);
        refusal_free(f->refusal);
        free(f->container);
        free(f);
}

static void freeze_finish(AgentFreeze *f, int r, const Refusal *refusal) {
        agent_freeze_cb cb = f->cb;
        void *userdata = f->userdata;

        freeze_free(f);
        if (cb)
                cb(userdata, r, refusal);
}

static void on_thawed_again(void *userdata, int r, const Refusal *refusal) {
        AgentFreeze *f = userdata;
        _cleanup_refusal_ Refusal *owned = TAKE_PTR(f->refusal);

        f->thaw = NULL;
        freeze_finish(f, f->r, owned);
}

/* The Engine may have frozen it, and shall not have. */
static void freeze_undo(AgentFreeze *f, int r, Refusal *refusal) {
        f->r = r;
        f->refusal = refusal;
        r = agent_thaw_begin(f->agent, f->container, on_thawed_again, f, &f->thaw);
        if (r < 0)
                on_thawed_again(f, r, NULL);
        else if (f->r == -EAGAIN)
                agent_thaw_without_engine(f->thaw);
}

/* A process that opens a large file of its image for writing is in the kernel until that is copied, and cannot be frozen before.
 * Source: runc libcontainer/cgroups/fs/freezer.go, which tries for some seconds, then thaws; fs2/freezer.go tries for 10 s, and
 * leaves a cgroup that is frozen whenever that becomes possible (opencontainers/runc issue 5325). */
static bool answer_is_passing(const EngineAnswer *answer) {
        return answer->status == 500 && (agent_answer_has(answer, "unable to freeze") || agent_answer_has(answer, "waiting for the cgroup to freeze"));
}

static bool freeze_again(AgentFreeze *f) {
        usec_t wait = backoff_next(&f->backoff);

        f->half = true;
        return f->cb && agent_now(CLOCK_BOOTTIME) + wait < f->deadline_usec && timer_arm(f->timer, wait) >= 0;
}

/* Refused at once, as for one that is gone or that somebody else has paused, or not carried out; and no earlier try was. */
static bool is_untouched(const AgentFreeze *f, const EngineAnswer *answer) {
        return (answer->outcome == ENGINE_REFUSED && answer->status < 500) || (answer->outcome == ENGINE_RETRYABLE && !f->half);
}

static int freeze_ask(AgentFreeze *f, const char *method, const char *verb, usec_t timeout_usec, engine_cb on_done) {
        return agent_request(f->agent, &(const AgentRequest) {
                .method = method,
                .container = f->container,
                .verb = verb,
                .timeout_usec = timeout_usec,
                .once = true,
                .on_done = on_done,
                .userdata = f,
        }, &f->request);
}

/* The same that makes a thaw wait. Nothing is lost by it now; found when the files are saved, all of that would be in vain. */
static void on_asked_about(const EngineAnswer *answer, void *userdata) {
        AgentFreeze *f = userdata;
        Refusal *refusal = NULL;
        int r;

        f->request = NULL;
        if (!f->cb) {
                freeze_undo(f, -ECANCELED, NULL);
                return;
        }
        if (answer->outcome != ENGINE_UNKNOWN) {
                freeze_finish(f, 0, NULL);
                return;
        }
        r = refuse(&refusal, REFUSAL_BUSY, "Container %.*s cannot be saved now: since it is frozen the Docker Engine at %s does not answer about it, as when a process begins in "
                   "it just then, by docker exec or a health check. It runs on. Try again.", CONTAINER_SHORT, f->container, engine_socket(f->agent->engine));
        freeze_undo(f, r == -ENOMEM ? r : -EAGAIN, refusal);
}

static void freeze_is_there(AgentFreeze *f) {
        int r = f->patience_usec > 0 ? freeze_ask(f, "GET", "json", f->patience_usec, on_asked_about) : 0;

        if (r < 0)
                freeze_undo(f, r, NULL);
        else if (f->patience_usec == 0)
                freeze_finish(f, 0, NULL);
}

static void on_paused(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        AgentFreeze *f = userdata;
        int r;

        f->request = NULL;
        if (answer->outcome == ENGINE_OK && f->cb) {
                freeze_is_there(f);
                return;
        }
        if (answer_is_passing(answer) && freeze_again(f))
                return;
        if (answer_is_passing(answer))
                r = refuse(&refusal, REFUSAL_PROVIDER_FAILED,
                           "Container %.*s cannot be frozen: one of its processes waits in the kernel, as for a large file that is being copied or a slow "
                           "disk. Try again when it has gone on, or stop the session. The Docker Engine at %s says: %s.", CONTAINER_SHORT, f->container,
                           engine_socket(f->agent->engine), answer->message);
        else if (answer->status == 409 && agent_answer_has(answer, "already paused"))
                r = refuse(&refusal, REFUSAL_BUSY, "Container %.*s is paused by somebody else. Unpause it first.",
                           CONTAINER_SHORT, f->container);
        else
                r = agent_refuse_answer(f->agent, f->container, "freeze", answer, &refusal);
        if (!is_untouched(f, answer)) {
                freeze_undo(f, r, TAKE_PTR(refusal));
                return;
        }
        (void) note_remove(f->agent->frozen_dir, f->container);
        freeze_finish(f, r, refusal);
}

static int freeze_send(AgentFreeze *f) {
        return freeze_ask(f, "POST", "pause", FREEZE_TIMEOUT_USEC, on_paused);
}

static void freeze_go_on(AgentFreeze *f, int r) {
        if (r < 0)
                freeze_undo(f, r, NULL);
}

/* runc does not freeze what the last try has left, once that is frozen: each begins anew. */
static void on_looked_before(const EngineAnswer *answer, void *userdata) {
        const json_t *state = json_at(answer->json, "State");
        pid_t pid = (pid_t) json_integer_at(state, "Pid");
        AgentFreeze *f = userdata;

        f->request = NULL;
        if (!json_true_at(state, "Paused") && cgroup_is_to_freeze(pid))
                (void) agent_let_run(pid);
        freeze_go_on(f, f->cb ? freeze_send(f) : -ECANCELED);
}

static int freeze_begin(AgentFreeze *f) {
        f->asked = true;
        f->deadline_usec = agent_now(CLOCK_BOOTTIME) + FREEZE_TIMEOUT_USEC;
        agent_streams_hold(f->agent, f->container);
        return freeze_send(f);
}

/* A command that is frozen while it begins holds up its shim for good: the Engine waits for it, with the thaw as well, until somebody
 * writes to the cgroup. None begins that finds the note (agent-execute.c); those that did not are waited for, as
 * long as that may take. What has not begun by then waits in the Engine, as for a file of the session that it reads for that (a FIFO in the
 * place of /etc/passwd), and nobody keeps a session from being saved by that. */
static void freeze_when_begun(AgentFreeze *f) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        usec_t wait = backoff_next(&f->backoff);
        int r;

        if (!f->cb)
                freeze_undo(f, -ECANCELED, NULL);
        else if (!agent_processes_begin(f->agent, f->container))
                freeze_go_on(f, freeze_begin(f));
        else if (agent_now(CLOCK_BOOTTIME) + wait >= f->deadline_usec || timer_arm(f->timer, wait) < 0) {
                r = refuse(&refusal, REFUSAL_BUSY, "Container %.*s is not frozen: a command is still about to begin in it, and frozen it would never get there. Try again when it "
                           "has begun, or restart the Docker Engine if that never comes.", CONTAINER_SHORT, f->container);
                freeze_undo(f, r, TAKE_PTR(refusal));
        }
}

static void on_freeze_timer(void *userdata) {
        AgentFreeze *f = userdata;

        if (f->asked)
                freeze_go_on(f, f->cb ? freeze_ask(f, "GET", "json", FREEZE_TIMEOUT_USEC, on_looked_before) : -ECANCELED);
        else
                freeze_when_begun(f);
}

int agent_freeze(Agent *a, const char *container, usec_t patience_usec, agent_freeze_cb cb, void *userdata, AgentFreeze **ret) {
        AgentFreeze *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        *f = (AgentFreeze) {
                .agent = a,
                .patience_usec = patience_usec,
                .cb = cb,
                .userdata = userdata,
                .backoff = { .min_usec = 50 * USEC_PER_MSEC, .max_usec = USEC_PER_SEC },
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + COMMAND_BEGIN_USEC + FREEZE_SLACK_USEC,
        };
        DL_APPEND(a->freezes, f);
        r = free_and_strdup(&f->container, container);
        if (r >= 0)
                r = timer_new(a->event, on_freeze_timer, f, &f->timer);
        if (r >= 0)
                r = note_write_frozen(a->frozen_dir, container);
        if (r >= 0)
                r = agent_processes_begin(a, container) ? timer_arm(f->timer, backoff_next(&f->backoff)) : freeze_begin(f);
        if (r < 0) {
                if (f->container)
                        (void) note_remove(a->frozen_dir, container);
                freeze_free(f);
                return r;
        }
        *ret = f;
        return 0;
}

AgentFreeze *agent_freeze_abandon(AgentFreeze *f) {
        if (f)
                f->cb = NULL;
        return NULL;
}

bool agent_is_freezing(const Agent *a, const char *container) {
        const AgentFreeze *f;

        DL_FOREACH(a->freezes, f)
                if (!f->thaw && streq(f->container, container))
                        return true;
        return false;
}

bool agent_freeze_is_unsettled(const Agent *a, const char *container) {
        const AgentFreeze *f;

        DL_FOREACH(a->freezes, f)
                if (streq(f->container, container))
                        return true;
        return agent_is_thawing(a, container);
}

void agent_freezes_free(Agent *a, Strv *containers) {
        while (a->freezes) {
                if (strv_consume(containers, TAKE_PTR(a->freezes->container)) < 0)
                        log_oom();
                freeze_free(a->freezes);
        }
}
