/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swarm-stream, the child that carries bytes between a container and who called, so that neither holds up the loop.
 *
 * It stands still while the container is frozen by us. What is typed then would reach the container's terminal, and the kernel would
 * answer it there: a ^C ends a frozen process with version 2 of control groups, and wakes one that handles it for a moment. Either
 * takes cpu time in the container, by which its witness says that it ran on. */

#include <signal.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

struct AgentStream {
        Agent *agent;
        char *container;
        Worker *worker;
        bool answered, over;            /* there was a status; there was the last message */
        bool held;
        Timer *timer;                   /* until it is looked again whether it is thawed */
        Backoff backoff;
        agent_stream_cb on_message;
        void *userdata;
        AgentStream *prev, *next;       /* on agent->streams */
};

AgentStream *agent_stream_free(AgentStream *s) {
        if (!s)
                return NULL;
        DL_DELETE(s->agent->streams, s);
        worker_free(s->worker);
        timer_free(s->timer);
        free(s->container);
        free(s);
        return NULL;
}

/* ---- what it says */

static bool status_is_good(long status) {
        return status == 101 || status == 200;
}

/* The last thing: the stream may be freed by it. */
static void tell(AgentStream *s, const StreamMessage *m) {
        if (s->over)
                return;
        if (m->type == STREAM_SAYS_STATUS)
                s->answered = true;
        s->over = m->type == STREAM_SAYS_END || (m->type == STREAM_SAYS_STATUS && !status_is_good(m->status));
        s->on_message(m, s->userdata);
}

/* It says nothing any more of its own. */
static void tell_broken(AgentStream *s, const char *why) {
        _cleanup_free_ char *text = strdup(why);

        tell(s, &(const StreamMessage) {
                .type = s->answered ? STREAM_SAYS_END : STREAM_SAYS_STATUS,
                .end = STREAM_END_ERROR,
                .message = text,
        });
}

static void on_line(Worker *w, const char *line, size_t length, void *userdata) {
        AgentStream *s = userdata;
        StreamMessage m = {};

        if (stream_message_from_json(line, length, &m) < 0 || (!s->answered && m.type != STREAM_SAYS_STATUS)) {
                stream_message_done(&m);
                tell_broken(s, "swarm-stream has said what is not understood");
                return;
        }
        tell(s, &m);
        stream_message_done(&m);
}

static void on_child_exit(Worker *w, int code, int status, void *userdata) {
        AgentStream *s = userdata;
        char why[128];

        /* Its number may be another's from now on. */
        s->worker = worker_free(s->worker);
        if (code == CLD_EXITED)
                (void) snprintf(why, sizeof(why), "swarm-stream ended with status %i; its reason is in the journal", status);
        else
                (void) snprintf(why, sizeof(why), "swarm-stream was killed by signal %i (%s)", status, strsignal(status));
        tell_broken(s, why);
}

/* ---- while the container is frozen */

static void look_again(AgentStream *s) {
        int r = timer_arm(s->timer, backoff_next(&s->backoff));

        if (r < 0)
                log_warning_errno(r, "A command in container %.*s gets no input until the service is restarted: %m", CONTAINER_SHORT, s->container);
}

static void hold(AgentStream *s) {
        if (s->held || !s->worker)
                return;
        s->held = true;
        s->backoff = (Backoff) { .min_usec = SETTLE_USEC, .max_usec = 10 * SETTLE_USEC };
        if (kill(worker_pid(s->worker), SIGSTOP) < 0)
                log_debug_errno(errno, "swarm-stream of container %.*s cannot be stopped: %m", CONTAINER_SHORT, s->container);
        look_again(s);
}

static void on_timer(void *userdata) {
        AgentStream *s = userdata;

        if (note_says_frozen(s->agent->frozen_dir, s->container)) {
                look_again(s);
                return;
        }
        s->held = false;
        if (s->worker && kill(worker_pid(s->worker), SIGCONT) < 0)
                log_debug_errno(errno, "swarm-stream of container %.*s cannot go on: %m", CONTAINER_SHORT, s->container);
}

/* Output is read of a frozen one all the same. */
void agent_streams_hold(Agent *a, const char *container) {
        AgentStream *s;

        DL_FOREACH(a->streams, s)
                if (s->container && streq(s->container, container))
                        hold(s);
}

/* ---- begin */

static int send_request(AgentStream *s, const AgentStreamSpec *spec) {
        Engine *engine = s->agent->engine;
        _cleanup_free_ char *path = strformat("/v1.%u%s", engine_api_minor(engine) ?: ENGINE_API_MIN, spec->path), *line = NULL;
        int r;

        if (!path)
                return -ENOMEM;
        r = stream_request_to_json(&(const StreamRequest) {
                .socket = (char *) engine_socket(engine),
                .method = (char *) spec->method,
                .path = path,
                .body = (char *) spec->body,
                .kind = spec->kind,
                .framed = spec->framed,
        }, &line);
        return r < 0 ? r : worker_send(s->worker, line, strlen(line));
}

static int start_child(AgentStream *s, const AgentStreamSpec *spec) {
        static const int no_caps[] = { -1 };
        int r;

        r = worker_spawn(s->agent->event, &(const WorkerSpec) {
                .argv = (const char *const[]) { s->agent->stream_path, NULL },
                .log_prefix = "swarm-stream",
                .ambient_caps = no_caps,
                .fds = spec->fds,
                .n_fds = spec->n_fds,
                .timeout_usec = USEC_INFINITY,
                .on_line = on_line,
                .on_exit = on_child_exit,
                .userdata = s,
        }, &s->worker);
        if (r < 0)
                return log_warning_errno(r, "%s cannot be started: %m", s->agent->stream_path);
        return send_request(s, spec);
}

int agent_streams_check(unsigned kept, Refusal **reterr_refusal) {
        if (kept < CHILDREN_KEPT_MAX)
                return 0;
        return refuse(reterr_refusal, REFUSAL_LIMIT_EXCEEDED,
                      "No shell, command or reader of output can be begun now: the kernel lets %u children that carried the bytes of earlier ones not end, as it does while "
                      "a file system does not answer them. Have an administrator look for swarm-stream in state D, and end what serves that file system.", kept);
}

int agent_stream_new(Agent *a, const AgentStreamSpec *spec, AgentStream **ret) {
        AgentStream *s = calloc(1, sizeof(*s));
        int r = 0;

        if (!s)
                return -ENOMEM;
        *s = (AgentStream) { .agent = a, .on_message = spec->on_message, .userdata = spec->userdata };
        DL_APPEND(a->streams, s);
        if (spec->kind != STREAM_OUTPUT)
                r = free_and_strdup(&s->container, spec->container);
        if (r >= 0)
                r = timer_new(a->event, on_timer, s, &s->timer);
        if (r >= 0)
                r = a->stream_path ? start_child(s, spec) : -ENOENT;
        if (r < 0) {
                agent_stream_free(s);
                return r;
        }
        *ret = s;
        return 0;
}
