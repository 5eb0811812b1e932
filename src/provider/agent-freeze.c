/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Freezing and thawing. What matters here is that nothing stays frozen that nobody knows of: the note comes first and
 * goes last, a freeze whose outcome is not known is thawed, and so is one that its owner has given up meanwhile. */

#include "basic/log.h"
#include "provider/agent-internal.h"

struct AgentFreeze {
        Agent *agent;
        char *container;
        EngineCall *request;
        Timer *timer;                   /* the next attempt */
        Backoff backoff;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        bool asked;                     /* the Engine, which had no command to begin any more */
        bool half;                      /* a try has failed, and may have left it to be frozen later */
        agent_freeze_cb cb;             /* NULL: abandoned */
        void *userdata;
        AgentThawWait *thaw;            /* it is undone */
        int r;                          /* what to report then */
        Refusal *refusal;
        AgentFreeze *prev, *next;
};

struct AgentThawWait {
        AgentThaw *thaw;
        agent_freeze_cb cb;
        void *userdata;
        AgentThawWait *prev, *next;
};

struct AgentThaw {
        Agent *agent;
        char *container;
        EngineCall *request;
        Timer *timer;                   /* the next attempt */
        Backoff backoff;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        Timer *silence;                 /* of the Engine */
        char *freeze_file;              /* by which it can be thawed by hand, and not by the service */
        AgentThawWait *waits;
        AgentThaw *prev, *next;
};

/* ---- thaw */

static void thaw_free(AgentThaw *t) {
        DL_DELETE(t->agent->thaws, t);
        engine_call_cancel(t->request);
        timer_free(t->timer);
        timer_free(t->silence);
        while (t->waits) {
                AgentThawWait *w = t->waits;
                DL_DELETE(t->waits, w);
                free(w);
        }
        free(t->container);
        free(t->freeze_file);
        free(t);
}

AgentThawWait *agent_thaw_forget(AgentThawWait *w) {
        if (!w)
                return NULL;
        DL_DELETE(w->thaw->waits, w);
        free(w);
        return NULL;
}

/* A callback may free the agent, with this thaw and the waits in it: so those are moved out first. */
static void thaw_finish(AgentThaw *t, int r, const Refusal *refusal) {
        AgentThawWait *waits = TAKE_PTR(t->waits), *w;
        AgentThaw rest = { .waits = waits };

        DL_FOREACH(waits, w)
                w->thaw = &rest;
        thaw_free(t);
        while ((w = rest.waits)) {
                agent_freeze_cb cb = w->cb;
                void *userdata = w->userdata;
                agent_thaw_forget(w);
                if (cb)
                        cb(userdata, r, refusal);
        }
}

static int thaw_send(AgentThaw *t);

static void thaw_again_or_fail(AgentThaw *t, const EngineAnswer *answer) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        usec_t wait = backoff_next(&t->backoff);
        int r;

        if (agent_now(CLOCK_BOOTTIME) + wait < t->deadline_usec && timer_arm(t->timer, wait) >= 0)
                return;
        r = agent_refuse_answer(t->agent, t->container, "thaw", answer, &refusal);
        log_warning("Container %.*s is still frozen: %s It is tried again with the next request, and when the service stops.%s%s",
                    CONTAINER_SHORT, t->container, refusal ? refusal->message : "out of memory",
                    t->freeze_file ? " By hand: echo 0 >" : "", strempty(t->freeze_file));
        thaw_finish(t, r, refusal);
}

/* What was killed meanwhile keeps its note: by that the kill is known to be ours. */
static void thaw_done(AgentThaw *t) {
        Note note = {};
        int r;

        (void) note_read(t->agent->frozen_dir, t->container, &note);
        r = note.witness ? 0 : note_remove(t->agent->frozen_dir, t->container);
        note_done(&note);
        if (r < 0)
                log_warning_errno(r, "The note of container %.*s cannot be removed from %s: %m", CONTAINER_SHORT, t->container,
                                  t->agent->frozen_dir);
        thaw_finish(t, r, NULL);
}

static int thaw_ask(AgentThaw *t, const char *method, const char *verb, engine_cb on_done) {
        return agent_request(t->agent, &(const AgentRequest) {
                .method = method,
                .container = t->container,
                .verb = verb,
                .timeout_usec = FREEZE_TIMEOUT_USEC,
                .once = true,
                .on_done = on_done,
                .userdata = t,
        }, &t->request);
}

static void thaw_go_on(AgentThaw *t, int r) {
        if (r < 0)
                thaw_finish(t, r, NULL);
}

static void on_frozen_after_all(const EngineAnswer *answer, void *userdata) {
        AgentThaw *t = userdata;

        t->request = NULL;
        if (answer->outcome == ENGINE_OK)
                thaw_go_on(t, thaw_send(t));
        else
                thaw_again_or_fail(t, answer);
}

/* It runs, says the Engine. But where the freeze has failed it may be frozen still, or later, and only what the Engine has frozen is
 * thawed by it: so it is thawed here, or, where that is not allowed, frozen first, if its runtime does that. What it has frozen
 * meanwhile, by a request of ours that nobody waits for any more, it thaws the next time. */
static void on_looked(const EngineAnswer *answer, void *userdata) {
        const json_t *state = json_at(answer->json, "State");
        pid_t pid = (pid_t) json_integer_at(state, "Pid");
        AgentThaw *t = userdata;

        t->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status != 404)
                thaw_again_or_fail(t, answer);
        else if (!json_true_at(state, "Paused") && (!cgroup_is_to_freeze(pid) || agent_let_run(pid) >= 0))
                thaw_done(t);
        else {
                free(TAKE_PTR(t->freeze_file));
                (void) cgroup_file(pid, "", "cgroup.freeze", &t->freeze_file);
                thaw_go_on(t, thaw_ask(t, "POST", "pause", on_frozen_after_all));
        }
}

/* moby daemon/unpause.go answers 500 "is not paused", and 409 "is not running". */
static bool answer_has(const EngineAnswer *answer, const char *words) {
        return answer->message && strstr(answer->message, words);
}

static void on_unpaused(const EngineAnswer *answer, void *userdata) {
        AgentThaw *t = userdata;

        t->request = NULL;
        timer_disarm(t->silence);
        if (answer->outcome == ENGINE_OK || answer->status == 404 || answer_has(answer, "is not running"))
                thaw_done(t);
        else if (answer_has(answer, "is not paused"))
                thaw_go_on(t, thaw_ask(t, "GET", "json", on_looked));
        else {
                /* Its runtime thaws only what is frozen, and the Engine goes on to take it for that. */
                if (answer_has(answer, "container not paused") && agent_now(CLOCK_BOOTTIME) + THAW_SILENCE_USEC < t->deadline_usec)
                        (void) agent_set_frozen(t->container, true);
                thaw_again_or_fail(t, answer);
        }
}

static int thaw_send(AgentThaw *t) {
        int r = timer_arm(t->silence, THAW_SILENCE_USEC);

        return r < 0 ? r : thaw_ask(t, "POST", "unpause", on_unpaused);
}

/* Whatever began a process in the container just as it was frozen, be it docker exec or a health check, waits for that process,
 * which is frozen, and the Engine waits for it with all that is asked about the container, the thaw included. It goes on when the kernel
 * lets that process run. */
static void on_silence(void *userdata) {
        AgentThaw *t = userdata;
        int r = agent_set_frozen(t->container, false);

        if (r < 0)
                log_debug("Container %.*s cannot be thawed without the Docker Engine: %s", CONTAINER_SHORT, t->container, strerror(-r));
        else
                log_info("Container %.*s is thawed without the Docker Engine at %s, which does not answer.", CONTAINER_SHORT, t->container,
                         engine_socket(t->agent->engine));
}

static void on_thaw_timer(void *userdata) {
        AgentThaw *t = userdata;

        thaw_go_on(t, thaw_send(t));
}

static AgentThaw *find_thaw(const Agent *a, const char *container) {
        AgentThaw *t;

        DL_FOREACH(a->thaws, t)
                if (streq(t->container, container))
                        return t;
        return NULL;
}

static int thaw_new(Agent *a, const char *container, AgentThaw **ret) {
        AgentThaw *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        *t = (AgentThaw) {
                .agent = a,
                .backoff = { .min_usec = 50 * USEC_PER_MSEC, .max_usec = 5 * USEC_PER_SEC },
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + THAW_TIMEOUT_USEC,
        };
        DL_APPEND(a->thaws, t);
        r = free_and_strdup(&t->container, container);
        if (r >= 0)
                r = timer_new(a->event, on_thaw_timer, t, &t->timer);
        if (r >= 0)
                r = timer_new(a->event, on_silence, t, &t->silence);
        if (r >= 0)
                r = thaw_send(t);
        if (r < 0) {
                thaw_free(t);
                return r;
        }
        *ret = t;
        return 0;
}

int agent_thaw_begin(Agent *a, const char *container, agent_freeze_cb cb, void *userdata, AgentThawWait **ret) {
        AgentThaw *t = find_thaw(a, container);
        AgentThawWait *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        if (!t) {
                r = thaw_new(a, container, &t);
                if (r < 0) {
                        free(w);
                        return r;
                }
        }
        *w = (AgentThawWait) { .thaw = t, .cb = cb, .userdata = userdata };
        DL_APPEND(t->waits, w);
        if (ret)
                *ret = w;
        return 0;
}

/* ---- freeze */

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
}

/* A process that opens a large file of its image for writing is in the kernel until that is copied, and cannot be frozen before.
 * Source: runc libcontainer/cgroups/fs/freezer.go, which tries for some seconds, then thaws; fs2/freezer.go tries for 10 s, and
 * leaves a cgroup that is frozen whenever that becomes possible (opencontainers/runc issue 5325). */
static bool answer_is_passing(const EngineAnswer *answer) {
        return answer->status == 500 && (answer_has(answer, "unable to freeze") || answer_has(answer, "waiting for the cgroup to freeze"));
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

static void on_paused(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        AgentFreeze *f = userdata;
        int r;

        f->request = NULL;
        if (answer->outcome == ENGINE_OK && f->cb) {
                freeze_finish(f, 0, NULL);
                return;
        }
        if (answer_is_passing(answer) && freeze_again(f))
                return;
        if (answer_is_passing(answer))
                r = refuse(&refusal, REFUSAL_PROVIDER_FAILED,
                           "Container %.*s cannot be frozen: one of its processes waits in the kernel, as for a large file that is being copied or a slow "
                           "disk. Try again when it has gone on, or stop the session. The Docker Engine at %s says: %s.", CONTAINER_SHORT, f->container,
                           engine_socket(f->agent->engine), answer->message);
        else if (answer->status == 409 && answer_has(answer, "already paused"))
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

static int freeze_ask(AgentFreeze *f, const char *method, const char *verb, engine_cb on_done) {
        return agent_request(f->agent, &(const AgentRequest) {
                .method = method,
                .container = f->container,
                .verb = verb,
                .timeout_usec = FREEZE_TIMEOUT_USEC,
                .once = true,
                .on_done = on_done,
                .userdata = f,
        }, &f->request);
}

static int freeze_send(AgentFreeze *f) {
        return freeze_ask(f, "POST", "pause", on_paused);
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
 * writes to the cgroup. None begins that finds the note (agent-execute.c); those that did not are waited for. */
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
                freeze_go_on(f, f->cb ? freeze_ask(f, "GET", "json", on_looked_before) : -ECANCELED);
        else
                freeze_when_begun(f);
}

int agent_freeze(Agent *a, const char *container, agent_freeze_cb cb, void *userdata, AgentFreeze **ret) {
        AgentFreeze *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        *f = (AgentFreeze) {
                .agent = a,
                .cb = cb,
                .userdata = userdata,
                .backoff = { .min_usec = 50 * USEC_PER_MSEC, .max_usec = USEC_PER_SEC },
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + FREEZE_TIMEOUT_USEC,
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

bool agent_freeze_is_unsettled(const Agent *a, const char *container) {
        const AgentFreeze *f;

        DL_FOREACH(a->freezes, f)
                if (streq(f->container, container))
                        return true;
        return find_thaw(a, container);
}

/* ---- the end */

void agent_freezes_free(Agent *a) {
        while (a->freezes) {
                _cleanup_free_ char *container = TAKE_PTR(a->freezes->container);
                freeze_free(a->freezes);
                if (container)
                        (void) engine_unpause_sync(engine_socket(a->engine), container, a->frozen_dir);
        }
        while (a->thaws) {
                _cleanup_free_ char *container = TAKE_PTR(a->thaws->container);
                thaw_free(a->thaws);
                if (container)
                        (void) engine_unpause_sync(engine_socket(a->engine), container, a->frozen_dir);
        }
}
