/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a container whose files are proven:
 *   inspect: the witness holds → SIGKILL, to all but its main process first (agent-others.c) → two things, in any order:
 *   that it is dead, from its main process or by inspections, and what happened to it first, from its watch (agent-watch.c)
 *   → note, done
 * Between the inspection and our signal somebody else may have thawed or ended it, so only the watch shows that no code of
 * it ran: the first thing must be that signal. It also shows what docker cp has written, which works on frozen ones; if that
 * is known in time, no signal is sent, and the container can go on.
 * One that had ended before its files were saved gets no signal; its watch must show no new start and no docker cp. */

#include <sys/epoll.h>
#include <sys/pidfd.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "provider/agent-internal.h"

typedef struct Kill {
        VerbCall call;
        char *started_at;               /* of the run that is killed */
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        Backoff backoff;                /* between inspections */
        pid_t main;                     /* of which the others were ended */
        bool sent, send_again;          /* the signal was sent, or may have been; it may have to be, once more */
        sd_event_source *exit;          /* of the main process */
        AgentWatch *watch;              /* what happened to it since its files were read */
        bool dead, dead_for_engine;     /* for the kernel; for the Engine too */
        bool found_dead;                /* it had ended before its files were saved: no signal is to be sent */
} Kill;

static void kill_done(VerbCall *call) {
        Kill *k = CONTAINER_OF(call, Kill, call);

        sd_event_source_disable_unref(k->exit);
        agent_watch_leave(k->watch);
        free(k->started_at);
}

/* ---- the end */

static int refuse_changed(Kill *k, Refusal **reterr_refusal) {
        return witness_refuse_changed(k->call.container, "did not stay as it was until our kill", reterr_refusal);
}

/* With the note the witness goes on to hold, should this service end before the kill is followed up, and the sweep knows
 * a container that is of no use any more. Without it the files would be saved once more, which is no harm. */
static int note_ended(Kill *k) {
        Agent *a = k->call.base.agent;
        const char *container = k->call.container;
        int r;

        r = note_write_killed(a->frozen_dir, container, k->call.witness, k->started_at);
        if (r < 0)
                log_warning_errno(r, "The note of the killed container %.*s cannot be written: %m", CONTAINER_SHORT, container);
        if (agent_reap_later(a, container, k->started_at) < 0)
                log_oom();
        return r;
}

/* Ends the call when it is known that the container is dead, and of what. The Engine answers a kill only when it has also
 * taken down network and mounts, ten times as long after; nobody has to wait for that. */
static void decide(Kill *k) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        AgentEvidence evidence = agent_watch_evidence(k->watch);
        bool asking = agent_watch_is_asking(k->watch),
             saved = k->found_dead ? evidence == EVIDENCE_NONE && !asking && agent_watch_is_whole(k->watch)
                                   : evidence == EVIDENCE_KILLED && (k->dead || k->dead_for_engine);
        int r = 0;

        if (saved) {
                r = note_ended(k);
                if (r < 0 && !k->dead_for_engine) {
                        k->dead = false;        /* then only the Engine's word will do */
                        return;
                }
                crash_point(CRASH_CAPTURE_KILLED);
                r = 0;
        } else if (k->dead_for_engine && !asking)
                r = refuse_changed(k, &refusal);
        else
                return;
        k->watch = agent_watch_free(k->watch);
        verb_finish(&k->call, r, refusal);
}

/* ---- what happened first */

static void on_watch(void *userdata, const EngineAnswer *past) {
        Kill *k = userdata;

        if (k->found_dead && past && past->outcome != ENGINE_OK) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                int r = agent_refuse_answer(k->call.base.agent, k->call.container, "tell the events of", past, &refusal);
                verb_finish(&k->call, r, refusal);
        } else
                decide(k);
}

static bool is_undecided(const Kill *k) {
        return agent_watch_evidence(k->watch) == EVIDENCE_NONE;
}

/* ---- that it is dead */

/* The main process was the first of its pid namespace: when it is reaped, all of the container is dead. */
static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Kill *k = userdata;

        k->exit = sd_event_source_disable_unref(k->exit);
        k->dead = true;
        if (!agent_watch_is_listening(k->watch) && !agent_watch_is_asking(k->watch) && is_undecided(k))
                (void) agent_watch_ask(k->watch);
        decide(k);
        return 0;
}

static void watch_process(Kill *k, pid_t pid) {
        int fd = pid > 0 ? pidfd_open(pid, 0) : -1;

        k->exit = sd_event_source_disable_unref(k->exit);
        if (fd < 0)
                return;
        if (sd_event_add_io(k->call.base.agent->event, &k->exit, fd, EPOLLIN, on_process_exit, k) >= 0)
                (void) sd_event_source_set_io_fd_own(k->exit, true);
        else
                (void) close(fd);
}

/* Were it thawed now, its main process would go on without the others. With version 1 of control groups it is dead when it is thawed, which
 * nobody else would do: who is to lay it to rest asks for its kill again and again. */
static void end_main(const Kill *k) {
        if (k->main <= 0 || agent_end_main(k->main) < 0)
                return;
        log_warning("Container %.*s is not killed by the Docker Engine. Its processes were ended while it was frozen: it is thawed for its end, "
                    "and its files are saved once more.", CONTAINER_SHORT, k->call.container);
        if (agent_thaw_begin(k->call.base.agent, k->call.container, NULL, NULL, NULL) < 0)
                log_oom();
}

static int inspect_later(Kill *k, Refusal **reterr_refusal) {
        usec_t wait = backoff_next(&k->backoff);

        if (agent_now(CLOCK_BOOTTIME) + wait >= k->deadline_usec) {
                end_main(k);
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                              "Container %.*s is still there %u s after it was to be killed. See the Docker Engine's journal.",
                              CONTAINER_SHORT, k->call.container, (unsigned) (KILL_TIMEOUT_USEC / USEC_PER_SEC));
        }
        int r = timer_arm(k->call.timer, wait);
        return r < 0 ? r : 1;
}

/* It does not run. What it died of is known already, or the Engine is asked. */
static int ended(Kill *k, bool noted) {
        int r;

        if (!k->sent && (noted || witness_since(k->call.witness) == 0)) {
                (void) note_ended(k);
                return 0;
        }
        k->found_dead = !k->sent;
        k->dead_for_engine = true;
        if (is_undecided(k)) {
                r = agent_watch_ask(k->watch);
                return r < 0 ? r : 1;
        }
        decide(k);
        return 1;
}

/* ---- the signal */

static void on_answer(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        Kill *k = CONTAINER_OF(c, Kill, call);
        int r;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK)
                k->exit = sd_event_source_disable_unref(k->exit);
        switch (answer->outcome) {
        case ENGINE_OK:
        case ENGINE_UNKNOWN:
                k->sent = true;
                k->send_again = answer->outcome == ENGINE_UNKNOWN;
                r = verb_inspect(c);
                break;
        case ENGINE_RETRYABLE:
                k->send_again = true;
                r = inspect_later(k, &refusal);
                break;
        default:
                /* 409: it is not running any more. What ended it shows in its witness. 404: it is gone, and its files are saved. */
                if (answer->status == 409 || answer->status == 404)
                        r = inspect_later(k, &refusal);
                else {
                        end_main(k);
                        r = agent_refuse_answer(c->base.agent, c->container, "kill", answer, &refusal);
                }
        }
        if (r < 0)
                verb_finish(c, r, refusal);
}

static void end_others(Kill *k, pid_t pid) {
        int r = agent_end_others(pid);

        k->main = pid;
        if (r < 0)
                log_warning_errno(r, "Processes of the frozen container %.*s may write for a moment before they end, for they cannot be ended "
                                  "while it is frozen: %m", CONTAINER_SHORT, k->call.container);
}

static int send_signal(Kill *k, pid_t pid, Refusal **reterr_refusal) {
        int r;

        if (agent_watch_evidence(k->watch) == EVIDENCE_BROKEN)
                return refuse_changed(k, reterr_refusal);
        k->send_again = false;
        watch_process(k, pid);
        r = agent_watch_listen(k->watch);
        if (r >= 0)
                end_others(k, pid);
        if (r >= 0)
                r = verb_request(&k->call, "POST", "kill?signal=KILL", SIGNAL_TIMEOUT_USEC, true, on_answer);
        return r < 0 ? r : 1;
}

/* ---- all of it */

static int kill_inspected(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        Kill *k = CONTAINER_OF(c, Kill, call);
        /* Gone, or thawed and on its way out. */
        bool dying = k->sent && (!facts->running || !facts->paused || !k->send_again), noted = false;
        int r;

        if (!dying) {
                r = witness_check(c->base.agent, c->witness, facts, reterr_refusal);
                if (r < 0)
                        return r;
                noted = witness_was_killed(c->base.agent, c->witness, facts);
        }
        r = free_and_strdup(&k->started_at, facts->started_at);
        if (r < 0)
                return r;
        if (!facts->running)
                return ended(k, noted);
        return dying || noted ? inspect_later(k, reterr_refusal) : send_signal(k, facts->pid, reterr_refusal);
}

static int kill_begin(VerbCall *c) {
        Kill *k = CONTAINER_OF(c, Kill, call);
        int r;

        if (!k->watch) {
                k->deadline_usec = agent_now(CLOCK_BOOTTIME) + KILL_TIMEOUT_USEC;
                k->backoff = (Backoff) { .min_usec = 20 * USEC_PER_MSEC, .max_usec = 500 * USEC_PER_MSEC };
                r = agent_watch_take(c->base.agent, c->container, c->witness, on_watch, k, &k->watch);
                if (r < 0)
                        return r;
        }
        return verb_inspect(c);
}

/* Who kills has proven that the files are saved. Were an absent container a broken witness, that copy would be dropped. But one that
 * was heard to run on before it went, as for an Engine that stops, goes with a word: what it wrote then is in no copy. That our
 * signal came to it afterwards does not change that. */
static int kill_absent(VerbCall *c, Refusal **reterr_refusal) {
        Kill *k = CONTAINER_OF(c, Kill, call);
        bool broken = agent_watch_evidence(k->watch) == EVIDENCE_BROKEN;

        /* Nothing more comes that would end it. */
        k->watch = agent_watch_free(k->watch);
        return broken ? refuse_changed(k, reterr_refusal) : 0;
}

static const Verb verb_kill = { sizeof(Kill), kill_begin, kill_inspected, kill_done, .absent_is_done = true, .absent = kill_absent };

int agent_kill(Agent *a, const char *container, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_kill, container, &(const VerbCall) { .witness = (char *) witness, .cb = cb, .userdata = userdata }, ret);
}
