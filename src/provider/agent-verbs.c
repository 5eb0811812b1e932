/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the agent does to one container but for saving it: check its witness, thaw, kill, terminate, signal. Each verb
 * is a row of `verbs`: how it begins, what follows an inspection. */

#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "provider/agent-internal.h"

#define GRACE_MAX_USEC (3600 * USEC_PER_SEC)

typedef struct VerbCall VerbCall;

/* What happened first to the container that is killed. */
typedef enum Evidence {
        EVIDENCE_NONE,
        EVIDENCE_KILLED,                /* our SIGKILL, which no code of it outlives */
        EVIDENCE_BROKEN,                /* it ran, or ended in another way */
} Evidence;

typedef struct Verb {
        int (*begin)(VerbCall *c);                                              /* 1: done at once */
        int (*inspected)(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal);   /* 1: not done yet */
        bool absent_is_done;            /* no container: success */
} Verb;

struct VerbCall {
        AgentCall base;
        const Verb *verb;
        char *container, *witness;
        char *started_at;               /* of what is killed */
        int signo;
        usec_t grace_usec;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME; of a kill */
        bool killed;                    /* the signal was sent, or may have been */
        bool send_again;
        sd_event_source *exit;          /* of the main process, while a kill is on its way */
        EngineCall *events;             /* what the Engine does to the container meanwhile */
        usec_t checked_usec;            /* CLOCK_REALTIME; the witness held at some time after it */
        Evidence evidence;
        bool dead, dead_for_engine;     /* for the kernel; for the Engine too */
        Backoff backoff;
        EngineCall *request;
        AgentThawWait *thaw;
        Timer *timer;                   /* the beginning, and repetitions */
        provider_done_cb cb;
        void *userdata;
};

static void verb_free(AgentCall *call) {
        VerbCall *c = CONTAINER_OF(call, VerbCall, base);

        agent_call_unlink(call);
        engine_call_cancel(c->request);
        agent_thaw_forget(c->thaw);
        timer_free(c->timer);
        sd_event_source_disable_unref(c->exit);
        engine_call_cancel(c->events);
        free(c->container);
        free(c->witness);
        free(c->started_at);
        free(c);
}

static void verb_finish(VerbCall *c, int r, const Refusal *refusal) {
        provider_done_cb cb = c->cb;
        void *userdata = c->userdata;

        verb_free(&c->base);
        if (cb)
                cb(userdata, r, refusal);
}

static int verb_request(VerbCall *c, const char *method, const char *verb, usec_t timeout_usec, bool once, engine_cb on_done) {
        return agent_request(c->base.agent, &(const AgentRequest) {
                .method = method,
                .container = c->container,
                .verb = verb,
                .timeout_usec = timeout_usec,
                .once = once,
                .on_done = on_done,
                .userdata = c,
        }, &c->request);
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        ContainerFacts facts = {};
        int r;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status == 404 && c->verb->absent_is_done)
                r = 0;
        else if (answer->outcome != ENGINE_OK)
                r = agent_refuse_answer(c->base.agent, c->container, "inspect", answer, &refusal);
        else {
                r = container_facts_parse(answer->json, &facts);
                if (r >= 0)
                        r = c->verb->inspected(c, &facts, &refusal);
                container_facts_done(&facts);
        }
        if (r <= 0)
                verb_finish(c, r, refusal);
}

static int begin_inspect(VerbCall *c) {
        return verb_request(c, "GET", "json", INSPECT_TIMEOUT_USEC, false, on_inspected);
}

/* ---- check_witness */

static int inspected_for_witness(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        return witness_check(c->base.agent, c->witness, facts, reterr_refusal);
}

/* ---- thaw */

static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        VerbCall *c = userdata;

        c->thaw = NULL;
        verb_finish(c, r, refusal);
}

/* The container is frozen by us, as far as the notes say. */
static bool is_frozen_by_us(VerbCall *c) {
        Note note = {};
        bool frozen;

        if (note_read(c->base.agent->frozen_dir, c->container, &note) < 0)
                return false;
        frozen = !note.witness;
        note_done(&note);
        return frozen;
}

static int begin_thaw(VerbCall *c) {
        if (!is_frozen_by_us(c))
                return 1;
        return agent_thaw_begin(c->base.agent, c->container, on_thawed, c, &c->thaw);
}

/* ---- kill */

static int inspect_later(VerbCall *c, Refusal **reterr_refusal) {
        usec_t wait = backoff_next(&c->backoff);

        if (agent_now(CLOCK_BOOTTIME) + wait >= c->deadline_usec)
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                              "Container %.*s is still there %u s after it was to be killed. See the Docker Engine's journal.",
                              CONTAINER_SHORT, c->container, (unsigned) (KILL_TIMEOUT_USEC / USEC_PER_SEC));
        int r = timer_arm(c->timer, wait);
        return r < 0 ? r : 1;
}

/* With the note the witness goes on to hold, should this service end before the kill is followed up, and the sweep knows
 * a container that is of no use any more. Without it the files would be saved once more, which is no harm. */
static int note_ended(VerbCall *c) {
        int r = note_write_killed(c->base.agent->frozen_dir, c->container, c->witness, c->started_at);
        if (r < 0)
                log_warning_errno(r, "The note of the killed container %.*s cannot be written: %m", CONTAINER_SHORT, c->container);
        if (agent_reap_later(c->base.agent, c->container, c->started_at) < 0)
                log_oom();
        return r;
}

/* Ends the call when it is known that the container is dead, and of what. The Engine answers a kill only when it has also
 * taken down network and mounts, ten times as long after; nobody has to wait for that. */
static void decide(VerbCall *c) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r = 0;

        if (c->evidence == EVIDENCE_KILLED && (c->dead || c->dead_for_engine)) {
                r = note_ended(c);
                if (r < 0 && !c->dead_for_engine) {
                        c->dead = false;        /* then only the Engine's word will do */
                        return;
                }
                crash_point(CRASH_CAPTURE_KILLED);
                r = 0;
        } else if (c->dead_for_engine && !c->events)
                r = witness_refuse_changed(c->container, "did not stay frozen until our kill", &refusal);
        else
                return;
        verb_finish(c, r, refusal);
}

/* The first thing that happened to it since the witness held. A kill of a paused container thaws it without an event. */
static void on_event(json_t *event, void *userdata) {
        VerbCall *c = userdata;
        const char *action = json_string_at(event, "Action"), *signal = json_string_at(event, "Actor", "Attributes", "signal");

        if (c->evidence != EVIDENCE_NONE || !STR_IN_SET(action, "kill", "unpause", "die", "start"))
                return;
        c->evidence = streq(action, "kill") && streq_ptr(signal, "9") ? EVIDENCE_KILLED : EVIDENCE_BROKEN;
        decide(c);
}

static void on_events_end(const EngineAnswer *answer, void *userdata) {
        VerbCall *c = userdata;

        c->events = NULL;
        decide(c);
}

/* GET /events, from the witness until then. */
static int ask_events(VerbCall *c, usec_t until_usec) {
        _cleanup_free_ char *filters = engine_filters("type", "container", "container", c->container, NULL), *path = NULL;
        usec_t since = c->checked_usec;

        c->events = engine_call_cancel(c->events);
        path = filters ? strformat("/events?since=%" PRIu64 ".%06" PRIu64 "&until=%" PRIu64 ".%06" PRIu64 "&filters=%s",
                                   since / USEC_PER_SEC, since % USEC_PER_SEC, until_usec / USEC_PER_SEC, until_usec % USEC_PER_SEC, filters) : NULL;
        if (!path)
                return -ENOMEM;
        return engine_call(c->base.agent->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .timeout_usec = KILL_TIMEOUT_USEC,
                .on_object = on_event,
                .on_done = on_events_end,
                .userdata = c,
        }, &c->events);
}

/* With the first process of its namespace all of the container is dead. */
static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        VerbCall *c = userdata;

        c->exit = sd_event_source_disable_unref(c->exit);
        c->dead = true;
        if (!c->events && c->evidence == EVIDENCE_NONE)
                (void) ask_events(c, agent_now(CLOCK_REALTIME));
        decide(c);
        return 0;
}

static void watch_process(VerbCall *c, pid_t pid) {
        int fd = pid > 0 ? pidfd_open(pid, 0) : -1;

        c->exit = sd_event_source_disable_unref(c->exit);
        if (fd < 0)
                return;
        if (sd_event_add_io(c->base.agent->event, &c->exit, fd, EPOLLIN, on_process_exit, c) >= 0)
                (void) sd_event_source_set_io_fd_own(c->exit, true);
        else
                (void) close(fd);
}

static void on_killed(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK)
                c->exit = sd_event_source_disable_unref(c->exit);
        switch (answer->outcome) {
        case ENGINE_OK:
        case ENGINE_UNKNOWN:
                c->killed = true;
                c->send_again = answer->outcome == ENGINE_UNKNOWN;
                r = begin_inspect(c);
                break;
        case ENGINE_RETRYABLE:
                c->send_again = true;
                r = inspect_later(c, &refusal);
                break;
        default:
                /* 409: it is not running any more. What ended it shows in its witness. */
                r = answer->status == 409 ? begin_inspect(c)
                                          : agent_refuse_answer(c->base.agent, c->container, "kill", answer, &refusal);
        }
        if (r < 0)
                verb_finish(c, r, refusal);
}

/* It does not run. What it died of is known already, or the Engine is asked. */
static int ended_for_kill(VerbCall *c) {
        int r;

        if (!c->killed) {
                /* The witness of an exited one, or killed by us in an earlier call. */
                (void) note_ended(c);
                return 0;
        }
        c->dead_for_engine = true;
        if (c->evidence == EVIDENCE_NONE) {
                r = ask_events(c, agent_now(CLOCK_REALTIME));
                return r < 0 ? r : 1;
        }
        c->events = engine_call_cancel(c->events);
        decide(c);
        return 1;
}

static int kill_now(VerbCall *c, pid_t pid) {
        int r;

        c->send_again = false;
        watch_process(c, pid);
        r = ask_events(c, agent_now(CLOCK_REALTIME) + KILL_TIMEOUT_USEC);
        if (r >= 0)
                r = verb_request(c, "POST", "kill?signal=KILL", SIGNAL_TIMEOUT_USEC, true, on_killed);
        return r < 0 ? r : 1;
}

static int inspected_for_kill(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        /* Gone, or thawed and on its way out. */
        bool dying = c->killed && (!facts->running || !facts->paused || !c->send_again), noted = false;
        int r;

        if (!dying) {
                r = witness_check(c->base.agent, c->witness, facts, reterr_refusal);
                if (r < 0)
                        return r;
                noted = witness_was_killed(c->base.agent, c->witness, facts);
        }
        r = free_and_strdup(&c->started_at, facts->started_at);
        if (r < 0)
                return r;
        if (!facts->running)
                return ended_for_kill(c);
        return dying || noted ? inspect_later(c, reterr_refusal) : kill_now(c, facts->pid);
}

/* Before the inspection in which the witness is to hold. */
static int begin_kill(VerbCall *c) {
        c->checked_usec = agent_now(CLOCK_REALTIME);
        return begin_inspect(c);
}

/* ---- terminate */

static void on_stopped(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status != 404)
                r = agent_refuse_answer(c->base.agent, c->container, "stop", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int send_stop(VerbCall *c) {
        usec_t grace = MIN(c->grace_usec, GRACE_MAX_USEC);
        char verb[64];

        (void) snprintf(verb, sizeof(verb), "stop?t=%" PRIu64, (grace + USEC_PER_SEC - 1) / USEC_PER_SEC);
        return verb_request(c, "POST", verb, grace + TERMINATE_SLACK_USEC, false, on_stopped);
}

static void on_thawed_for_stop(void *userdata, int r, const Refusal *refusal) {
        VerbCall *c = userdata;

        c->thaw = NULL;
        if (r >= 0)
                r = send_stop(c);
        if (r < 0)
                verb_finish(c, r, refusal);
}

/* The Engine would thaw it itself, but only behind the signal, and the note would stay. */
static int begin_terminate(VerbCall *c) {
        if (is_frozen_by_us(c))
                return agent_thaw_begin(c->base.agent, c->container, on_thawed_for_stop, c, &c->thaw);
        return send_stop(c);
}

/* ---- signal */

static void on_signalled(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status == 409)
                r = refuse(&refusal, REFUSAL_WRONG_STATE, "Container %.*s does not run, so no signal reaches it. Start the session first.",
                           CONTAINER_SHORT, c->container);
        else if (answer->outcome != ENGINE_OK)
                r = agent_refuse_answer(c->base.agent, c->container, "signal", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int begin_signal(VerbCall *c) {
        char verb[64];

        (void) snprintf(verb, sizeof(verb), "kill?signal=%i", c->signo);
        return verb_request(c, "POST", verb, SIGNAL_TIMEOUT_USEC, true, on_signalled);
}

/* ---- remove */

static void on_removed(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        /* 409: it runs, or its removal is under way. */
        if (answer->outcome != ENGINE_OK && answer->status != 404 && answer->status != 409)
                r = agent_refuse_answer(c->base.agent, c->container, "remove", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int begin_remove(VerbCall *c) {
        return verb_request(c, "DELETE", "?v=1", REMOVE_TIMEOUT_USEC, false, on_removed);
}

/* ---- all of them */

static const Verb verb_check_witness = { begin_inspect, inspected_for_witness };
static const Verb verb_thaw = { begin_thaw, NULL };
/* Who kills has proven that the files are saved. Were an absent container a broken witness, that copy would be dropped. */
static const Verb verb_kill = { begin_kill, inspected_for_kill, .absent_is_done = true };
static const Verb verb_terminate = { begin_terminate, NULL };
static const Verb verb_remove = { begin_remove, NULL };
static const Verb verb_signal = { begin_signal, NULL };

static void on_timer(void *userdata) {
        VerbCall *c = userdata;
        int r;

        if (c->deadline_usec == 0)
                c->deadline_usec = agent_now(CLOCK_BOOTTIME) + KILL_TIMEOUT_USEC;
        r = c->killed || c->send_again ? begin_inspect(c) : c->verb->begin(c);
        if (r != 0)
                verb_finish(c, MIN(r, 0), NULL);
}

static int verb_start(Agent *a, const Verb *verb, const char *container, const VerbCall *with, ProviderCall **ret) {
        VerbCall *c;
        int r;

        if (!container_id_is_valid(container))
                return -EINVAL;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = *with;
        c->witness = NULL;
        c->verb = verb;
        c->backoff = (Backoff) { .min_usec = 20 * USEC_PER_MSEC, .max_usec = 500 * USEC_PER_MSEC };
        agent_call_init(&c->base, a, verb_free);
        r = free_and_strdup(&c->container, container);
        if (r >= 0)
                r = free_and_strdup(&c->witness, with->witness);
        if (r >= 0)
                r = timer_new(a->event, on_timer, c, &c->timer);
        if (r >= 0)
                r = timer_arm(c->timer, 0);
        if (r < 0) {
                verb_free(&c->base);
                return r;
        }
        if (ret)
                *ret = &c->base.call;
        return 0;
}

int agent_check_witness(Agent *a, const char *container, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_check_witness, container, &(const VerbCall) { .witness = (char *) witness, .cb = cb, .userdata = userdata }, ret);
}

int agent_thaw(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_thaw, container, &(const VerbCall) { .cb = cb, .userdata = userdata }, ret);
}

int agent_kill(Agent *a, const char *container, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_kill, container, &(const VerbCall) { .witness = (char *) witness, .cb = cb, .userdata = userdata }, ret);
}

int agent_terminate(Agent *a, const char *container, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_terminate, container, &(const VerbCall) { .grace_usec = grace_usec, .cb = cb, .userdata = userdata }, ret);
}

int agent_remove(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_remove, container, &(const VerbCall) { .cb = cb, .userdata = userdata }, ret);
}

int agent_signal(Agent *a, const char *container, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        if (signo <= 0 || signo >= NSIG)
                return -EINVAL;
        return verb_start(a, &verb_signal, container, &(const VerbCall) { .signo = signo, .cb = cb, .userdata = userdata }, ret);
}
