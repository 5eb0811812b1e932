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
        AgentThawWait *waits;
        AgentThaw *prev, *next;
};

/* ---- thaw */

static void thaw_free(AgentThaw *t) {
        DL_DELETE(t->agent->thaws, t);
        engine_call_cancel(t->request);
        timer_free(t->timer);
        while (t->waits) {
                AgentThawWait *w = t->waits;
                DL_DELETE(t->waits, w);
                free(w);
        }
        free(t->container);
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
        log_warning("Container %.*s is still frozen: %s It is tried again with the next request, and when the service stops.",
                    CONTAINER_SHORT, t->container, refusal ? refusal->message : "out of memory");
        thaw_finish(t, r, refusal);
}

/* What the Engine says of a container that is not frozen: moby daemon/unpause.go answers 500 "is not paused", and 409
 * "is not running". */
static bool answer_is_thawed(const EngineAnswer *answer) {
        if (answer->outcome == ENGINE_OK || answer->status == 404)
                return true;
        return answer->message && (strstr(answer->message, "is not paused") || strstr(answer->message, "is not running"));
}

static void on_unpaused(const EngineAnswer *answer, void *userdata) {
        AgentThaw *t = userdata;
        int r;

        t->request = NULL;
        if (!answer_is_thawed(answer)) {
                thaw_again_or_fail(t, answer);
                return;
        }
        r = note_remove(t->agent->frozen_dir, t->container);
        if (r < 0)
                log_warning_errno(r, "The note of container %.*s cannot be removed from %s: %m", CONTAINER_SHORT, t->container,
                                  t->agent->frozen_dir);
        thaw_finish(t, r, NULL);
}

static int thaw_send(AgentThaw *t) {
        return agent_request(t->agent, &(const AgentRequest) {
                .method = "POST",
                .container = t->container,
                .verb = "unpause",
                .timeout_usec = FREEZE_TIMEOUT_USEC,
                .once = true,
                .on_done = on_unpaused,
                .userdata = t,
        }, &t->request);
}

static void on_thaw_timer(void *userdata) {
        AgentThaw *t = userdata;
        int r = thaw_send(t);

        if (r < 0)
                thaw_finish(t, r, NULL);
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
 * leaves a cgroup that the kernel freezes when it can, of which the Engine knows when it has frozen it once more. */
static bool answer_is_passing(const EngineAnswer *answer) {
        return answer->status == 500 && answer->message &&
               (strstr(answer->message, "unable to freeze") || strstr(answer->message, "waiting for the cgroup to freeze"));
}

static bool freeze_again(AgentFreeze *f) {
        usec_t wait = backoff_next(&f->backoff);
        return f->cb && agent_now(CLOCK_BOOTTIME) + wait < f->deadline_usec && timer_arm(f->timer, wait) >= 0;
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
        else if (answer->status == 409 && answer->message && strstr(answer->message, "already paused"))
                r = refuse(&refusal, REFUSAL_BUSY, "Container %.*s is paused by somebody else. Unpause it first.",
                           CONTAINER_SHORT, f->container);
        else
                r = agent_refuse_answer(f->agent, f->container, "freeze", answer, &refusal);
        if (answer->outcome == ENGINE_OK || answer->outcome == ENGINE_UNKNOWN) {
                freeze_undo(f, r, TAKE_PTR(refusal));
                return;
        }
        (void) note_remove(f->agent->frozen_dir, f->container);
        freeze_finish(f, r, refusal);
}

static int freeze_send(AgentFreeze *f) {
        return agent_request(f->agent, &(const AgentRequest) {
                .method = "POST",
                .container = f->container,
                .verb = "pause",
                .timeout_usec = FREEZE_TIMEOUT_USEC,
                .once = true,
                .on_done = on_paused,
                .userdata = f,
        }, &f->request);
}

static void on_freeze_timer(void *userdata) {
        AgentFreeze *f = userdata;
        int r = f->cb ? freeze_send(f) : -ECANCELED;

        if (r >= 0)
                return;
        (void) note_remove(f->agent->frozen_dir, f->container);
        freeze_finish(f, r, NULL);
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
                r = freeze_send(f);
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
