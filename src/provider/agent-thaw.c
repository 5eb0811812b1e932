/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Thawing what the service has frozen: tried until it runs, by the Engine, or without it. The note of the freeze goes last. */

#include "basic/log.h"
#include "provider/agent-internal.h"

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
        log_warning("Container %.*s is still frozen: %s It is tried again with the next request, and when the service stops or starts. By hand: %s%.*s",
                    CONTAINER_SHORT, t->container, refusal ? refusal->message : "out of memory", t->freeze_file ? "echo 0 >" : "docker unpause ",
                    t->freeze_file ? INT32_MAX : CONTAINER_SHORT, t->freeze_file ?: t->container);
        thaw_finish(t, r, refusal);
}

/* What was killed meanwhile keeps its note: by that the kill is known to be ours. So does what an earlier request may freeze yet. */
static void thaw_done(AgentThaw *t) {
        Note note = {};
        int r;

        (void) note_read(t->agent->frozen_dir, t->container, &note);
        r = note.witness || agent_is_freezing(t->agent, t->container) ? 0 : note_remove(t->agent->frozen_dir, t->container);
        note_done(&note);
        agent_watch_forget(t->agent, t->container);
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
                .timeout_usec = MIN(FREEZE_TIMEOUT_USEC, t->agent->thaw_timeout_usec),
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

/* moby daemon/unpause.go answers 500 "is not paused", of one that has ended too, or 409 "is not running". */
static void on_unpaused(const EngineAnswer *answer, void *userdata) {
        AgentThaw *t = userdata;

        t->request = NULL;
        timer_disarm(t->silence);
        if (answer->outcome == ENGINE_OK || answer->status == 404 || agent_answer_has(answer, "is not running"))
                thaw_done(t);
        else if (agent_answer_has(answer, "is not paused"))
                thaw_go_on(t, thaw_ask(t, "GET", "json", on_looked));
        else {
                /* Its runtime thaws only what is frozen, and the Engine goes on to take it for that. */
                if (agent_answer_has(answer, "container not paused") && agent_now(CLOCK_BOOTTIME) + THAW_SILENCE_USEC < t->deadline_usec)
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
static void thaw_without_engine(AgentThaw *t) {
        int r = agent_set_frozen(t->container, false);

        if (r < 0)
                log_debug("Container %.*s cannot be thawed without the Docker Engine: %s", CONTAINER_SHORT, t->container, strerror(-r));
        else
                log_info("Container %.*s is thawed without the Docker Engine at %s, which does not answer.", CONTAINER_SHORT, t->container,
                         engine_socket(t->agent->engine));
}

static void on_silence(void *userdata) {
        thaw_without_engine(userdata);
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
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + a->thaw_timeout_usec,
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

void agent_thaw_without_engine(AgentThawWait *w) {
        thaw_without_engine(w->thaw);
}

bool agent_is_thawing(const Agent *a, const char *container) {
        return find_thaw(a, container);
}

void agent_thaws_free(Agent *a, Strv *containers) {
        while (a->thaws) {
                if (containers && strv_consume(containers, TAKE_PTR(a->thaws->container)) < 0)
                        log_oom();
                thaw_free(a->thaws);
        }
}
