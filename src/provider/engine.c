/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <time.h>
#include <utlist.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "event/event-util.h"
#include "provider/engine-json.h"
#include "provider/engine.h"

#define TIMEOUT_DEFAULT_USEC (30 * USEC_PER_SEC)
#define PING_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (2 * USEC_PER_SEC)
#define AGREEMENTS_MAX 3
#define MESSAGE_MAX 1024

struct Engine {
        sd_event *event;
        Http *http;
        char *socket;
        unsigned minor;                 /* 0: not agreed on */
        HttpRequest *ping;
        EngineCall *calls;
};

struct EngineCall {
        EngineCall *prev, *next;
        Engine *engine;
        char *method, *path, *body, *auth;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        size_t response_max;
        bool repeatable, fresh, list, once;
        engine_object_cb on_object;
        engine_cb on_done;
        void *userdata;

        HttpRequest *http;
        Timer *timer;                   /* next attempt, or the report of `failure` */
        Backoff backoff;
        bool waits_for_ping, in_done;
        unsigned agreements;
        HttpFailure failure;            /* of the ping; HTTP_OK = none */
        JsonStream stream;
        char *stream_error, *failure_text;
        bool *gone;                     /* set when it is cancelled under on_object */
};

static const char *const outcome_names[] = {
        [ENGINE_OK] = "ok",
        [ENGINE_REFUSED] = "refused",
        [ENGINE_CONFLICT] = "conflict",
        [ENGINE_RETRYABLE] = "retryable",
        [ENGINE_UNKNOWN] = "unknown",
        [ENGINE_BROKEN] = "broken",
};

static usec_t now_boottime(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

/* ---- what an answer means ---- */

/* Swarm's errors come through gRPC and lose their kind on the way: these are told by their text. First match counts.
 * Source: moby daemon/cluster/errors.go, swarmkit manager/state/store/memory.go. */
static const struct {
        const char *text;
        EngineOutcome outcome;
} error_texts[] = {
        { "update out of sequence", ENGINE_CONFLICT },
        { "Manager is being prepared", ENGINE_RETRYABLE },
        { "does not have a leader", ENGINE_RETRYABLE },
        { "not a swarm manager", ENGINE_REFUSED },
        { "already part of a swarm", ENGINE_REFUSED },
        { "needs to be unlocked", ENGINE_REFUSED },
        { "certificates have expired", ENGINE_REFUSED },
        { "deadline exceeded", ENGINE_UNKNOWN },
        { "context canceled", ENGINE_UNKNOWN },
        { "transport is closing", ENGINE_UNKNOWN },
        { "connection error", ENGINE_UNKNOWN },
        { ": unavailable", ENGINE_UNKNOWN },            /* containerd went away; it may have passed it on before */
        { "error reading from server", ENGINE_UNKNOWN },        /* the same with Engine 28, which names no kind behind it */
};

static EngineOutcome classify_status(long status, const char *message) {
        if ((status >= 200 && status < 300) || status == 304)
                return ENGINE_OK;
        if (status >= 500)
                for (size_t i = 0; i < ELEMENTSOF(error_texts); i++)
                        if (message && strstr(message, error_texts[i].text))
                                return error_texts[i].outcome;
        if (status == 503 || status == 429)
                return ENGINE_RETRYABLE;
        if (status == 502 || status == 504)
                return ENGINE_UNKNOWN;
        return ENGINE_REFUSED;
}

static EngineOutcome classify_failure(HttpFailure f) {
        switch (f) {
        case HTTP_UNREACHABLE:
                return ENGINE_RETRYABLE;
        case HTTP_BROKEN:
        case HTTP_TIMEOUT:
                return ENGINE_UNKNOWN;
        default:
                return ENGINE_BROKEN;
        }
}

/* ---- calls ---- */

static EngineCall *call_free(EngineCall *c) {
        if (!c)
                return NULL;
        http_request_cancel(c->http);
        timer_free(c->timer);
        if (c->auth)
                explicit_bzero(c->auth, strlen(c->auth));
        if (c->body)
                explicit_bzero(c->body, strlen(c->body));
        free(c->auth);
        free(c->body);
        free(c->method);
        free(c->path);
        free(c->stream_error);
        free(c->failure_text);
        json_stream_done(&c->stream);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(EngineCall *, call_free)

/* Some of the Engine's words are a sentence; what quotes them ends with a full stop of its own. */
static char *words_of(const char *message) {
        const char *said = isempty(message) ? "no reason was given" : message;
        size_t n = strnlen(said, MESSAGE_MAX);

        while (n > 1 && said[n - 1] == '.')
                n--;
        return strndup(said, n);
}

/* The engine may be freed by the callback. */
static void call_finish(EngineCall *c, EngineOutcome outcome, long status, json_t *json, const char *message) {
        EngineAnswer answer = { .outcome = outcome, .status = status, .json = json };
        _cleanup_free_ char *text = NULL;

        if (outcome != ENGINE_OK) {
                text = words_of(message);
                answer.message = text ?: "out of memory";
                log_debug("%s %s: %s (%ld): %s", c->method, c->path, outcome_names[outcome], status, answer.message);
        }
        DL_DELETE(c->engine->calls, c);
        c->in_done = true;
        c->on_done(&answer, c->userdata);
        call_free(c);
}

static bool call_may_repeat(const EngineCall *c, EngineOutcome outcome) {
        if (c->once || c->on_object)
                return false;
        return outcome == ENGINE_RETRYABLE || (outcome == ENGINE_UNKNOWN && c->repeatable);
}

/* Later again, or the end. */
static void call_fail(EngineCall *c, EngineOutcome outcome, long status, const char *message) {
        usec_t wait;

        if (call_may_repeat(c, outcome)) {
                wait = backoff_next(&c->backoff);
                if (c->deadline_usec == USEC_INFINITY || now_boottime() + wait < c->deadline_usec) {
                        if (timer_arm(c->timer, wait) >= 0)
                                return;
                }
        }
        call_finish(c, outcome, status, NULL, message);
}

static int call_send(EngineCall *c);
static int engine_ping(Engine *e);

/* 1: it is sent or waits for the version; negative: cannot be sent. */
static int call_begin(EngineCall *c) {
        if (c->engine->minor > 0)
                return call_send(c);
        c->waits_for_ping = true;
        return engine_ping(c->engine);
}

static void on_call_timer(void *userdata) {
        EngineCall *c = userdata;
        HttpFailure failure = c->failure;
        int r;

        if (failure != HTTP_OK) {
                _cleanup_free_ char *text = TAKE_PTR(c->failure_text);
                c->failure = HTTP_OK;
                call_fail(c, classify_failure(failure), 0, text);
                return;
        }
        r = call_begin(c);
        if (r < 0)
                call_finish(c, ENGINE_BROKEN, 0, NULL, strerror(-r));
}

/* ---- versions ---- */

static unsigned parse_minor(const char *version) {
        unsigned major, minor;

        return version && sscanf(version, "%u.%u", &major, &minor) == 2 && major == 1 && minor < 1000 ? minor : 0;
}

/* "client version 1.44 is too old. Minimum supported API version is 1.46, …" */
static unsigned minimum_of(const char *message) {
        const char *p = message ? strstr(message, "Minimum supported API version is ") : NULL;
        return p ? parse_minor(p + strlen("Minimum supported API version is ")) : 0;
}

static void engine_agree(Engine *e, unsigned offered, unsigned minimum) {
        unsigned minor = MAX(MIN(offered, (unsigned) ENGINE_API_MAX), minimum);

        if (minor != e->minor)
                log_debug("Docker Engine at %s: API 1.%u.", e->socket, minor);
        e->minor = minor;
}

static void ping_failed(Engine *e, HttpFailure failure, const char *text) {
        EngineCall *c;

        /* Reported from each call's timer: a callback may free calls, or the engine. */
        DL_FOREACH(e->calls, c)
                if (c->waits_for_ping) {
                        c->waits_for_ping = false;
                        c->failure = failure;
                        (void) free_and_strdup(&c->failure_text, text);
                        (void) timer_arm(c->timer, 0);
                }
}

static void on_ping(HttpRequest *req, const HttpResponse *response, void *userdata) {
        Engine *e = userdata;
        unsigned offered;
        EngineCall *c;

        e->ping = NULL;
        if (response->failure != HTTP_OK) {
                /* A ping changes nothing: however it failed, the calls have not left. */
                ping_failed(e, HTTP_UNREACHABLE, response->error);
                return;
        }
        offered = parse_minor(http_request_header(req, "Api-Version"));
        if (offered < ENGINE_API_MIN) {
                ping_failed(e, HTTP_INTERNAL, offered == 0 ? "it does not answer like a Docker Engine"
                                                           : "its API is older than 1.41 (Docker 20.10)");
                return;
        }
        engine_agree(e, offered, 0);
        DL_FOREACH(e->calls, c)
                if (c->waits_for_ping) {
                        c->waits_for_ping = false;
                        (void) timer_arm(c->timer, 0);
                }
}

static int engine_ping(Engine *e) {
        const HttpEndpoint endpoint = { .base_url = "http://localhost", .unix_socket = e->socket };

        if (e->ping)
                return 1;
        return http_request(e->http, &endpoint, &(const HttpSpec) {
                .method = "GET",
                .path = "/_ping",
                .timeout_usec = PING_TIMEOUT_USEC,
                .response_max = 64 * KIB,
                .on_done = on_ping,
                .userdata = e,
        }, &e->ping);
}

/* Whether this answer was about the version, and the call goes out again. */
static bool call_agree_again(EngineCall *c, HttpRequest *req, long status, const char *message) {
        unsigned offered = parse_minor(http_request_header(req, "Api-Version"));

        if (status != 400 || offered < ENGINE_API_MIN || !message || !strstr(message, "client version") ||
            ++c->agreements > AGREEMENTS_MAX)
                return false;
        engine_agree(c->engine, offered, minimum_of(message));
        json_stream_done(&c->stream);
        (void) free_and_strdup(&c->stream_error, NULL);
        return timer_arm(c->timer, 0) >= 0;
}

/* ---- answers ---- */

static int on_stream_object(json_t *o, void *userdata) {
        EngineCall *c = userdata;
        const char *error = json_string_at(o, "errorDetail", "message") ?: json_string_at(o, "error");
        const bool *gone = c->gone;

        if (error)
                (void) free_and_strdup(&c->stream_error, error);
        else if (http_request_status(c->http) >= 400)
                (void) free_and_strdup(&c->stream_error, json_string_at(o, "message") ?: "no reason was given");
        else
                c->on_object(o, c->userdata);
        return *gone ? -ECANCELED : 0;
}

static int on_stream_data(HttpRequest *req, const void *data, size_t size, void *userdata) {
        EngineCall *c = userdata;
        bool gone = false;
        /* Split in a copy: the call, and the buffer in it, may go under the callback. */
        JsonStream stream = c->stream;
        int r;

        c->stream = (JsonStream) {};
        c->gone = &gone;
        r = json_stream_feed(&stream, data, size, on_stream_object, c);
        if (gone) {
                json_stream_done(&stream);
                return 0;
        }
        c->gone = NULL;
        c->stream = stream;
        return r;
}

static void on_http_done(HttpRequest *req, const HttpResponse *response, void *userdata) {
        EngineCall *c = userdata;
        _cleanup_json_ json_t *json = NULL;
        const char *message;
        EngineOutcome outcome;

        if (response->failure != HTTP_OK) {
                c->http = NULL;
                if (response->failure == HTTP_UNREACHABLE)
                        c->engine->minor = 0;   /* another Engine may come up */
                call_fail(c, classify_failure(response->failure), response->status, response->error);
                return;
        }
        if (response->body)
                json = json_loadb(response->body, response->body_size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        message = json_string_at(json, "message") ?: c->stream_error;
        if (call_agree_again(c, req, response->status, message)) {
                c->http = NULL;
                return;
        }
        c->http = NULL;
        outcome = classify_status(response->status, message);
        if (outcome == ENGINE_OK && c->stream_error)
                outcome = ENGINE_REFUSED;
        if (outcome == ENGINE_OK && response->body && !json)
                call_finish(c, ENGINE_BROKEN, response->status, NULL, "its answer is not JSON");
        else if (outcome == ENGINE_OK && c->list && !json_is_array(json) && !json_is_null(json))
                call_finish(c, ENGINE_BROKEN, response->status, NULL, "its answer is no list");
        else if (outcome == ENGINE_OK)
                call_finish(c, outcome, response->status, json, NULL);
        else
                call_fail(c, outcome, response->status, message);
}

static int call_send(EngineCall *c) {
        _cleanup_free_ char *base = strformat("http://localhost/v1.%u", c->engine->minor), *auth = NULL;
        const char *headers[2] = {};
        usec_t timeout = USEC_INFINITY, now = now_boottime();
        int r;

        if (c->auth)
                auth = strformat("X-Registry-Auth: %s", c->auth);
        if (!base || (c->auth && !auth))
                return -ENOMEM;
        headers[0] = auth;
        if (c->deadline_usec != USEC_INFINITY)
                timeout = c->deadline_usec > now ? c->deadline_usec - now : 1;
        r = http_request(c->engine->http, &(const HttpEndpoint) { .base_url = base, .unix_socket = c->engine->socket },
                         &(const HttpSpec) {
                .method = c->method,
                .path = c->path,
                .body = c->body,
                .headers = headers,
                .timeout_usec = timeout,
                .response_max = c->response_max,
                .fresh = c->fresh,
                .on_data = c->on_object ? on_stream_data : NULL,
                .on_done = on_http_done,
                .userdata = c,
        }, &c->http);
        if (auth)
                explicit_bzero(auth, strlen(auth));
        return r < 0 ? r : 1;
}

/* ---- interface ---- */

int engine_new(sd_event *event, Http *http, const char *socket_path, Engine **ret) {
        _cleanup_(engine_freep) Engine *e = calloc(1, sizeof(*e));

        if (!e)
                return -ENOMEM;
        e->event = sd_event_ref(event);
        e->http = http;
        e->socket = strdup(socket_path);
        if (!e->socket)
                return -ENOMEM;
        *ret = TAKE_PTR(e);
        return 0;
}

Engine *engine_free(Engine *e) {
        EngineCall *c, *tmp;

        if (!e)
                return NULL;
        DL_FOREACH_SAFE(e->calls, c, tmp)
                engine_call_cancel(c);
        http_request_cancel(e->ping);
        sd_event_unref(e->event);
        free(e->socket);
        free(e);
        return NULL;
}

static int call_new(Engine *e, const EngineRequest *q, EngineCall **ret) {
        _cleanup_(call_freep) EngineCall *c = calloc(1, sizeof(*c));
        usec_t timeout = q->timeout_usec ?: TIMEOUT_DEFAULT_USEC;

        if (!c)
                return -ENOMEM;
        c->engine = e;
        c->method = strdup(q->method);
        c->path = strdup(q->path);
        c->auth = q->registry_auth ? strdup(q->registry_auth) : NULL;
        c->body = q->body ? json_dumps(q->body, JSON_COMPACT) : NULL;
        if (!c->method || !c->path || (q->registry_auth && !c->auth) || (q->body && !c->body))
                return -ENOMEM;
        c->deadline_usec = timeout == USEC_INFINITY ? USEC_INFINITY : now_boottime() + timeout;
        c->response_max = q->response_max;
        c->repeatable = q->repeatable || STR_IN_SET(q->method, "GET", "HEAD", "DELETE");
        c->fresh = q->fresh;
        c->list = q->list;
        c->once = q->once;
        c->on_object = q->on_object;
        c->on_done = q->on_done;
        c->userdata = q->userdata;
        c->backoff = (Backoff) { .min_usec = RETRY_MIN_USEC, .max_usec = RETRY_MAX_USEC };
        *ret = TAKE_PTR(c);
        return 0;
}

int engine_call(Engine *e, const EngineRequest *request, EngineCall **ret) {
        _cleanup_(call_freep) EngineCall *c = NULL;
        int r;

        r = call_new(e, request, &c);
        if (r < 0)
                return r;
        r = timer_new(e->event, on_call_timer, c, &c->timer);
        if (r < 0)
                return r;
        r = call_begin(c);
        if (r < 0)
                return r;
        DL_APPEND(e->calls, c);
        if (ret)
                *ret = c;
        TAKE_PTR(c);
        return 0;
}

EngineCall *engine_call_cancel(EngineCall *c) {
        if (!c || c->in_done)
                return NULL;
        if (c->gone)
                *c->gone = true;
        DL_DELETE(c->engine->calls, c);
        return call_free(c);
}

const char *engine_socket(const Engine *e) {
        return e->socket;
}

unsigned engine_api_minor(const Engine *e) {
        return e->minor;
}
