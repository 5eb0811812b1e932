/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the Engine has kept of a container's output: GET /containers/ID/json says whether it has a terminal, whose output has no frames,
 * then swarm-stream reads GET /containers/ID/logs. Source: Engine API reference, ContainerLogs. */

#include <fcntl.h>

#include "provider/agent-internal.h"

typedef struct LogsCall {
        AgentCall base;
        char *container;
        char *driver;                   /* log driver */
        ProviderLogs logs;              /* its descriptor: until it has begun */
        EngineCall *request;
        AgentStream *stream;
        Timer *timer;
        provider_begun_cb begun;
        provider_done_cb done;
        void *userdata;
} LogsCall;

static void logs_close(LogsCall *c) {
        if (c->logs.fd >= 0)
                (void) close(c->logs.fd);
        c->logs.fd = -EBADF;
}

static void logs_free(AgentCall *call) {
        LogsCall *c = CONTAINER_OF(call, LogsCall, base);

        agent_call_unlink(call);
        engine_call_cancel(c->request);
        agent_stream_free(c->stream);
        timer_free(c->timer);
        logs_close(c);
        free(c->container);
        free(c->driver);
        free(c);
}

static void finish(LogsCall *c, int r, const Refusal *refusal) {
        provider_done_cb done = c->done;
        void *userdata = c->userdata;

        logs_free(&c->base);
        done(userdata, r, refusal);
}

static int refuse_status(LogsCall *c, long status, const char *message, Refusal **reterr_refusal) {
        const char *engine = engine_socket(c->base.agent->engine);

        if (status == 404)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "Container %.*s is not there any more, and its output went with it.",
                              CONTAINER_SHORT, c->container);
        if (message && strstr(message, "does not support reading"))
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE,
                              "The output of container %.*s is not kept where it can be read: its log driver is \"%s\". Set LogDriver= to one that "
                              "can be read, as \"local\"; it holds for containers that are started from then on.", CONTAINER_SHORT, c->container,
                              c->driver);
        return refuse(reterr_refusal, status == 0 ? REFUSAL_PROVIDER_UNAVAILABLE : REFUSAL_PROVIDER_FAILED,
                      "The Docker Engine at %s did not give the output of container %.*s: %s.", engine, CONTAINER_SHORT, c->container,
                      message ?: "it gave no reason");
}

static int refuse_end(LogsCall *c, const StreamMessage *m, Refusal **reterr_refusal) {
        return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                      "The Docker Engine at %s stopped within the output of container %.*s: %s. Try again.", engine_socket(c->base.agent->engine),
                      CONTAINER_SHORT, c->container, m->message ?: "the connection broke");
}

static void on_message(const StreamMessage *m, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        LogsCall *c = userdata;
        int r = 0;

        if (m->type == STREAM_SAYS_SIZE)
                return;
        if (m->type == STREAM_SAYS_STATUS && (m->status == 200 || m->status == 101)) {
                logs_close(c);
                c->begun(c->userdata);
                return;
        }
        if (m->type == STREAM_SAYS_STATUS)
                r = refuse_status(c, m->status, m->message, &refusal);
        else if (m->end == STREAM_END_ERROR)
                r = refuse_end(c, m, &refusal);
        finish(c, r, refusal);
}

static char *seconds(const char *key, usec_t usec) {
        return usec == 0 ? strdup("") : strformat("&%s=%" PRIu64 ".%06" PRIu64 "000", key, usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

static char *logs_path(const LogsCall *c) {
        const ProviderLogs *l = &c->logs;
        _cleanup_free_ char *since = seconds("since", l->since_usec), *until = seconds("until", l->until_usec), *lines = NULL;

        lines = l->lines == UINT64_MAX ? strdup("all") : strformat("%" PRIu64, MIN(l->lines, (uint64_t) INT32_MAX));
        if (!since || !until || !lines)
                return NULL;
        return strformat("/containers/%s/logs?stdout=1&stderr=1&follow=%i&timestamps=%i&tail=%s%s%s", c->container, l->follow, l->timestamps,
                         lines, since, until);
}

static int begin(LogsCall *c, bool terminal) {
        _cleanup_free_ char *path = logs_path(c);

        if (!path)
                return -ENOMEM;
        return agent_stream_new(c->base.agent, &(const AgentStreamSpec) {
                .container = c->container,
                .method = "GET",
                .path = path,
                .kind = STREAM_OUTPUT,
                .framed = !terminal,
                .fds = &c->logs.fd,
                .n_fds = 1,
                .on_message = on_message,
                .userdata = c,
        }, &c->stream);
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        LogsCall *c = userdata;
        int r;

        c->request = NULL;
        if (answer->outcome == ENGINE_OK) {
                r = free_and_strdup(&c->driver, json_string_at(answer->json, "HostConfig", "LogConfig", "Type") ?: "unknown");
                if (r >= 0)
                        r = begin(c, json_true_at(answer->json, "Config", "Tty"));
        } else
                r = refuse_status(c, answer->status, answer->message, &refusal);
        if (r < 0)
                finish(c, r, refusal);
}

static void on_timer(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        LogsCall *c = userdata;
        int r = agent_streams_check(workers_kept(), &refusal);

        if (r >= 0)
                r = agent_request(c->base.agent, &(const AgentRequest) {
                        .method = "GET",
                        .container = c->container,
                        .verb = "json",
                        .timeout_usec = INSPECT_TIMEOUT_USEC,
                        .on_done = on_inspected,
                        .userdata = c,
                }, &c->request);
        if (r < 0)
                finish(c, r, refusal);
}

int agent_read_logs(Agent *a, const char *container, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done,
                    void *userdata, ProviderCall **ret) {
        LogsCall *c;
        int r;

        if (!container_id_is_valid(container))
                return -EINVAL;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (LogsCall) { .logs = *logs, .begun = begun, .done = done, .userdata = userdata };
        c->logs.session = NULL;
        agent_call_init(&c->base, a, logs_free);
        c->logs.fd = fcntl(logs->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        r = c->logs.fd < 0 ? -errno : free_and_strdup(&c->container, container);
        if (r >= 0)
                r = timer_new(a->event, on_timer, c, &c->timer);
        if (r >= 0)
                r = timer_arm(c->timer, 0);
        if (r < 0) {
                logs_free(&c->base);
                return r;
        }
        if (ret)
                *ret = &c->base.call;
        return 0;
}
