/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What happens to a container from the first byte that is read of its files until it is killed. Its processes stand still
 * or have ended, but docker cp writes into it all the same, and others may thaw, start or end it.
 *
 * An Engine remembers 256 events, those of all containers together: on a busy node less than a long save takes. So it is
 * listened to from the beginning. It has the container locked, for a copy as for a freeze or a signal, until the event is
 * with everybody who listens: what came before our kill is therefore told before the kill, and needs no question.
 *
 * What an Engine tells is at times old: containerd tells it of each freeze and thaw as well, and one that is told late undoes a
 * freeze that came after it, for the Engine alone, until that one is told as well. So an unpause counts as long as no pause has
 * followed it, or if it may have come after the witness was looked at: by that the container has not run until then.
 *
 * Nothing was missed if the freeze was told: an Engine answers before it begins to listen, but what it remembers it forgets
 * from the old end. The same shows what a question afterwards is worth, where nobody has listened or the stream broke; of a
 * container that has ended, its end shows it. Without that something may have been missed, which counts as if it were told.
 *
 * Source: moby daemon/archive_unix.go, pause.go and kill.go (the lock), daemon/events/events.go (256, in order), daemon/monitor.go
 * (ProcessEvent: what containerd tells). */

#include "basic/log.h"
#include "provider/agent-internal.h"

struct AgentWatch {
        Agent *agent;
        char *container;
        usec_t since_usec;              /* of the witness */
        usec_t ended_usec;              /* likewise, of one that has ended; CLOCK_REALTIME */
        bool exited;                    /* it has ended; else it is frozen */
        bool whole;                     /* nothing was missed so far */
        bool unpaused;                  /* while nobody killed it, and no pause was told since */
        AgentEvidence evidence;
        EngineCall *stream, *past;
        agent_watch_cb cb;              /* of who kills it; NULL: nobody yet */
        void *userdata;
        AgentWatch *prev, *next;        /* on agent->watches */
};

AgentWatch *agent_watch_free(AgentWatch *w) {
        if (!w)
                return NULL;
        DL_DELETE(w->agent->watches, w);
        engine_call_cancel(w->stream);
        engine_call_cancel(w->past);
        free(w->container);
        free(w);
        return NULL;
}

static int watch_new(Agent *a, const char *container, bool exited, usec_t since_usec, usec_t ended_usec, AgentWatch **ret) {
        AgentWatch *w = calloc(1, sizeof(*w));

        if (!w)
                return -ENOMEM;
        *w = (AgentWatch) { .agent = a, .exited = exited, .since_usec = since_usec, .ended_usec = ended_usec };
        DL_APPEND(a->watches, w);
        w->container = strdup(container);
        if (!w->container) {
                agent_watch_free(w);
                return -ENOMEM;
        }
        *ret = w;
        return 0;
}

/* ---- what is told */

/* The last thing: who kills may free the watch, and the agent. */
static void tell(AgentWatch *w, const EngineAnswer *past) {
        if (w->cb)
                w->cb(w->userdata, past);
}

/* A kill of a paused container thaws it without an event. Of one that has ended its own end may still come. What was copied into it
 * before the freeze or the end was read with the rest; if it was after one that is forgotten, then nothing counts as whole. */
static bool breaks(const AgentWatch *w, const char *action) {
        return streq(action, "start") || (w->whole && streq(action, "extract-to-dir")) ||
                (!w->exited && STR_IN_SET(action, "kill", "unpause", "die"));
}

static void on_event(json_t *event, void *userdata) {
        AgentWatch *w = userdata;
        const char *action = json_string_at(event, "Action"), *signal = json_string_at(event, "Actor", "Attributes", "signal");
        bool killed = streq_ptr(action, "kill") && streq_ptr(signal, "9");

        if (!action)
                return;
        if (!w->cb && streq(action, "destroy"))
                agent_watch_free(w);
        else if (streq(action, w->exited ? "die" : "pause")) {
                w->whole = true;
                w->unpaused = false;
        } else if (!w->cb && !w->exited && streq(action, "unpause"))
                w->unpaused = true;
        else if (w->evidence == EVIDENCE_NONE && breaks(w, action)) {
                w->evidence = killed && w->whole ? EVIDENCE_KILLED : EVIDENCE_BROKEN;
                tell(w, NULL);
        }
}

/* ---- listening, and asking afterwards */

static void on_stream_end(const EngineAnswer *answer, void *userdata) {
        AgentWatch *w = userdata;

        log_debug("The Engine has stopped telling of container %.*s: %s", CONTAINER_SHORT, w->container, answer->message ?: "closed");
        w->stream = NULL;
        w->whole = false;
        /* A question tells what was told until then, or does not reach back to the freeze. */
        if (!w->cb)
                agent_watch_free(w);
}

int agent_watch_listen(AgentWatch *w) {
        if (w->stream)
                return 0;
        w->whole = false;
        return agent_request_events(w->agent, &(const AgentEventsRequest) {
                .container = w->container,
                .since_usec = w->since_usec,
                .timeout_usec = USEC_INFINITY,
                .on_object = on_event,
                .on_done = on_stream_end,
                .userdata = w,
        }, &w->stream);
}

static void on_past_end(const EngineAnswer *answer, void *userdata) {
        AgentWatch *w = userdata;

        w->past = NULL;
        tell(w, answer);
}

int agent_watch_ask(AgentWatch *w) {
        usec_t now = agent_now(CLOCK_REALTIME), since = w->since_usec;

        w->past = engine_call_cancel(w->past);
        if (!w->stream)
                w->whole = false;
        /* What was copied into it between its end and the witness is in the copy, so that is asked for only where there is
         * nothing else to go by. */
        if (w->exited && !w->whole)
                since = w->ended_usec - MIN(w->ended_usec, USEC_PER_SEC);
        return agent_request_events(w->agent, &(const AgentEventsRequest) {
                .container = w->container,
                /* The clock may have been set back. */
                .since_usec = MIN(since, now),
                .until_usec = now,
                .timeout_usec = KILL_TIMEOUT_USEC,
                .on_object = on_event,
                .on_done = on_past_end,
                .userdata = w,
        }, &w->past);
}

bool agent_watch_is_asking(const AgentWatch *w) {
        return w->past;
}

bool agent_watch_is_listening(const AgentWatch *w) {
        return w->stream;
}

bool agent_watch_is_unpaused(const AgentWatch *w) {
        return w->unpaused;
}

AgentEvidence agent_watch_evidence(const AgentWatch *w) {
        return w->evidence;
}

bool agent_watch_is_whole(const AgentWatch *w) {
        return w->whole;
}

/* ---- from the capture to the kill */

int agent_watch_begin(Agent *a, const char *container, bool exited, usec_t since_usec) {
        AgentWatch *w;
        int r;

        agent_watch_forget(a, container);
        r = watch_new(a, container, exited, since_usec, 0, &w);
        if (r < 0)
                return r;
        r = agent_watch_listen(w);
        if (r < 0) {
                agent_watch_free(w);
                return r;
        }
        /* Nothing need happen to what has ended, so nothing shows when the Engine begins to listen. It does so within a
         * moment, and tells all since the witness first; the first byte is read when a registry has answered. */
        w->whole = exited;
        return 0;
}

int agent_watch_take(Agent *a, const char *container, const char *witness, agent_watch_cb cb, void *userdata, AgentWatch **ret) {
        usec_t since_usec = witness_since(witness), ended_usec = 0;
        bool exited = witness_ended(witness, &ended_usec);
        AgentWatch *w;
        int r = 0;

        DL_FOREACH(a->watches, w)
                if (!w->cb && w->since_usec == since_usec && streq(w->container, container))
                        break;
        if (!w)
                r = watch_new(a, container, exited, since_usec, ended_usec, &w);
        if (r < 0)
                return r;
        w->ended_usec = ended_usec;
        if (w->unpaused)
                w->evidence = EVIDENCE_BROKEN;
        w->cb = cb;
        w->userdata = userdata;
        *ret = w;
        return 0;
}

AgentWatch *agent_watch_leave(AgentWatch *w) {
        if (!w)
                return NULL;
        w->cb = NULL;
        w->past = engine_call_cancel(w->past);
        if (!w->stream || w->unpaused)
                agent_watch_free(w);
        return NULL;
}

void agent_watch_forget(Agent *a, const char *container) {
        AgentWatch *w, *tmp;

        DL_FOREACH_SAFE(a->watches, w, tmp)
                if (!w->cb && streq(w->container, container))
                        agent_watch_free(w);
}
