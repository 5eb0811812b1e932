/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <curl/curl.h>
#include <sys/epoll.h>
#include <utlist.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "event/event-util.h"
#include "event/http.h"

#define TIMEOUT_DEFAULT_USEC (30 * USEC_PER_SEC)
#define CONNECT_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define RESPONSE_MAX_DEFAULT (16 * MIB)
#define HEADERS_MAX (256 * KIB)
#define CONNECTIONS_KEPT_MAX 32L

/* No callback of a caller runs while curl is on the stack, since curl refuses to add or remove handles then. curl's own
 * callbacks only buffer; `deliver` hands out one piece or one result per dispatch and is armed again for the next,
 * so whatever the caller's callback does to requests or to the whole client is safe. Its priority is above that
 * of the sockets: a stream's buffer never holds more than one round of reading. */
struct Http {
        sd_event *event;
        CURLM *multi;
        sd_event_source *timer;
        Deferred *deliver;
        HttpRequest *requests;          /* all that have not been reported as done */
        HttpRequest *current;           /* the one that a callback is being called for */
        bool *gone;                     /* set by http_free() under a callback */
};

struct HttpRequest {
        HttpRequest *prev, *next;
        Http *http;
        CURL *easy;
        struct curl_slist *headers;
        char error[CURL_ERROR_SIZE];

        char *body;                     /* request body: curl does not copy it */
        size_t body_size;
        char *data;                     /* what has come and is not delivered */
        size_t data_size, data_allocated;
        size_t total, total_max, header_bytes;

        http_data_cb on_data;
        http_done_cb on_done;
        void *userdata;

        HttpFailure failure;
        bool in_multi, finished, too_large, oom, in_done;
        bool local;                     /* by a socket of this machine */
};

static HttpRequest *request_free(HttpRequest *req) {
        if (!req)
                return NULL;
        if (req->in_multi)
                (void) curl_multi_remove_handle(req->http->multi, req->easy);
        curl_easy_cleanup(req->easy);
        curl_slist_free_all(req->headers);
        if (req->body)
                explicit_bzero(req->body, req->body_size);
        free(req->body);
        free(req->data);
        free(req);
        return NULL;
}
DEFINE_CLEANUP(HttpRequest *, request_free)

/* ---- curl multi on the loop ---- */

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Http *h = userdata;
        int action = 0, running;

        if (revents & EPOLLIN)
                action |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                action |= CURL_CSELECT_OUT;
        if (revents & (EPOLLERR | EPOLLHUP))
                action |= CURL_CSELECT_ERR | CURL_CSELECT_IN;
        (void) curl_multi_socket_action(h->multi, fd, action, &running);
        deferred_arm(h->deliver);
        return 0;
}

static int on_curl_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Http *h = userdata;
        int running;

        (void) curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        deferred_arm(h->deliver);
        return 0;
}

static uint32_t poll_to_epoll(int what) {
        return (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
}

static int socket_callback(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data) {
        Http *h = userdata;
        sd_event_source *source = socket_data;

        if (what == CURL_POLL_REMOVE) {
                (void) curl_multi_assign(h->multi, fd, NULL);
                sd_event_source_disable_unref(source);
                return 0;
        }
        if (source)
                return sd_event_source_set_io_events(source, poll_to_epoll(what)) < 0 ? -1 : 0;
        if (sd_event_add_io(h->event, &source, fd, poll_to_epoll(what), on_io, h) < 0)
                return -1;
        (void) sd_event_source_set_description(source, "http-socket");
        if (curl_multi_assign(h->multi, fd, source) != CURLM_OK) {
                sd_event_source_disable_unref(source);
                return -1;
        }
        return 0;
}

static int timer_callback(CURLM *multi, long timeout_ms, void *userdata) {
        Http *h = userdata;

        if (timeout_ms < 0)
                return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        if (sd_event_source_set_time_relative(h->timer, (uint64_t) timeout_ms * USEC_PER_MSEC) < 0)
                return -1;
        return sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* ---- what curl hands over ---- */

static int request_reserve(HttpRequest *req, size_t size) {
        size_t need = req->data_size + size + 1, n = MAX(req->data_allocated, (size_t) 4096);
        char *p;

        if (need <= req->data_allocated)
                return 0;
        while (n < need)
                n *= 2;
        p = realloc(req->data, n);
        if (!p)
                return -ENOMEM;
        req->data = p;
        req->data_allocated = n;
        return 0;
}

static size_t write_callback(char *data, size_t unit, size_t n, void *userdata) {
        HttpRequest *req = userdata;
        size_t size = unit * n;

        req->total += size;
        if (req->total > req->total_max) {
                req->too_large = true;
                return 0;
        }
        if (request_reserve(req, size) < 0) {
                req->oom = true;
                return 0;
        }
        memcpy(req->data + req->data_size, data, size);
        req->data_size += size;
        req->data[req->data_size] = 0;
        return size;
}

static size_t header_callback(char *data, size_t unit, size_t n, void *userdata) {
        HttpRequest *req = userdata;

        req->header_bytes += unit * n;
        if (req->header_bytes > HEADERS_MAX) {
                req->too_large = true;
                return 0;
        }
        return unit * n;
}

/* ---- results ---- */

/* The distinction that matters to callers is whether the other side may have acted on the request. */
static HttpFailure classify(HttpRequest *req, CURLcode code) {
        long sent = 0;

        switch (code) {
        case CURLE_OK:
                return HTTP_OK;
        case CURLE_WRITE_ERROR:
                return req->too_large ? HTTP_TOO_LARGE : req->oom ? HTTP_INTERNAL : HTTP_BROKEN;
        case CURLE_FILESIZE_EXCEEDED:
                return HTTP_TOO_LARGE;
        case CURLE_OUT_OF_MEMORY:
        case CURLE_URL_MALFORMAT:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_FAILED_INIT:
                return HTTP_INTERNAL;
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CONNECT_ERROR:
                return HTTP_UNREACHABLE;
        default:
                (void) curl_easy_getinfo(req->easy, CURLINFO_REQUEST_SIZE, &sent);
                if (sent <= 0)
                        return HTTP_UNREACHABLE;
                return code == CURLE_OPERATION_TIMEDOUT ? HTTP_TIMEOUT : HTTP_BROKEN;
        }
}

static void request_finish(HttpRequest *req, HttpFailure failure, const char *error) {
        if (req->in_multi) {
                (void) curl_multi_remove_handle(req->http->multi, req->easy);
                req->in_multi = false;
        }
        req->finished = true;
        req->failure = failure;
        if (failure != HTTP_OK && req->error[0] == 0)
                (void) snprintf(req->error, sizeof(req->error), "%s", error);
}

static const char *failure_text(HttpRequest *req, CURLcode code) {
        long error = 0;

        if (req->too_large)
                return "the answer is longer than allowed";
        if (!req->local || code != CURLE_COULDNT_CONNECT || curl_easy_getinfo(req->easy, CURLINFO_OS_ERRNO, &error) != CURLE_OK || error <= 0)
                return curl_easy_strerror(code);
        /* curl speaks of the host and the port of the URL, which nobody is connected to. */
        req->error[0] = 0;
        return strerror((int) error);
}

static void collect_finished(Http *h) {
        CURLMsg *msg;
        int left;

        while ((msg = curl_multi_info_read(h->multi, &left))) {
                CURLcode code = msg->data.result;
                HttpRequest *req = NULL;

                if (msg->msg != CURLMSG_DONE)
                        continue;
                (void) curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **) &req);
                request_finish(req, classify(req, code), failure_text(req, code));
        }
}

static bool request_has_piece(const HttpRequest *req) {
        return req->on_data && req->data_size > 0;
}

static void deliver_piece(Http *h, HttpRequest *req) {
        _cleanup_free_ char *data = TAKE_PTR(req->data);
        size_t size = req->data_size;
        bool gone = false;
        int r;

        req->data_size = req->data_allocated = 0;
        h->current = req;
        h->gone = &gone;
        r = req->on_data(req, data, size, req->userdata);
        if (gone)
                return;
        h->gone = NULL;
        /* NULL when the callback has cancelled this request. */
        req = TAKE_PTR(h->current);
        if (!req || r >= 0)
                return;
        req->data_size = 0;
        (void) snprintf(req->error, sizeof(req->error), "the reader ended it: %s", strerror(-r));
        request_finish(req, HTTP_BROKEN, "the reader ended it");
        deferred_arm(h->deliver);
}

static void deliver_result(Http *h, HttpRequest *req) {
        HttpResponse response = {
                .failure = req->failure,
                .error = req->failure == HTTP_OK ? NULL : req->error,
                .body = req->on_data || req->data_size == 0 ? NULL : req->data,
                .body_size = req->on_data ? 0 : req->data_size,
        };

        (void) curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &response.status);
        DL_DELETE(h->requests, req);
        req->in_done = true;
        /* From here on the request belongs to this frame: h may be freed by the callback. */
        req->on_done(req, &response, req->userdata);
        request_free(req);
}

static void on_deliver(void *userdata) {
        Http *h = userdata;
        HttpRequest *req, *ready = NULL;

        collect_finished(h);
        DL_FOREACH(h->requests, req)
                if (request_has_piece(req) || req->finished) {
                        ready = req;
                        break;
                }
        if (!ready)
                return;
        /* Armed before the callback: after it nothing may be there any more. */
        deferred_arm(h->deliver);
        if (request_has_piece(ready))
                deliver_piece(h, ready);
        else
                deliver_result(h, ready);
}

/* ---- client ---- */

static int http_setup(Http *h) {
        int r;

        r = deferred_new(h->event, SD_EVENT_PRIORITY_NORMAL - 1, on_deliver, h, &h->deliver);
        if (r < 0)
                return r;
        r = sd_event_add_time(h->event, &h->timer, CLOCK_BOOTTIME, UINT64_MAX, 1, on_curl_timer, h);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        h->multi = curl_multi_init();
        if (!h->multi)
                return -ENOMEM;
        if (curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_callback) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_callback) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT_MAX) != CURLM_OK)
                return -EIO;
        return 0;
}

int http_new(sd_event *event, Http **ret) {
        _cleanup_(http_freep) Http *h = NULL;
        int r;

        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return -EIO;
        if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS)) {
                curl_global_cleanup();
                return -EOPNOTSUPP;
        }
        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->event = sd_event_ref(event);
        r = http_setup(h);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(h);
        return 0;
}

Http *http_free(Http *h) {
        HttpRequest *req, *tmp;

        if (!h)
                return NULL;
        if (h->gone)
                *h->gone = true;
        DL_FOREACH_SAFE(h->requests, req, tmp) {
                DL_DELETE(h->requests, req);
                request_free(req);
        }
        if (h->multi)
                (void) curl_multi_cleanup(h->multi);
        sd_event_source_disable_unref(h->timer);
        deferred_free(h->deliver);
        sd_event_unref(h->event);
        free(h);
        curl_global_cleanup();
        return NULL;
}

/* ---- requests ---- */

/* A space or a line break in a path or header would let a caller's string write a request of its own. */
static bool path_is_valid(const char *s) {
        if (isempty(s) || s[0] != '/')
                return false;
        for (; *s; s++)
                if ((unsigned char) *s <= ' ' || *s == 0x7f || *s == '#')
                        return false;
        return true;
}

static int request_add_header(HttpRequest *req, const char *header) {
        struct curl_slist *l;

        for (const char *p = header; *p; p++)
                if (*p == '\r' || *p == '\n')
                        return -EINVAL;
        l = curl_slist_append(req->headers, header);
        if (!l)
                return -ENOMEM;
        req->headers = l;
        return 0;
}

static int request_set_headers(HttpRequest *req, const HttpSpec *spec) {
        _cleanup_free_ char *type = NULL;
        int r;

        if (req->body) {
                type = strformat("Content-Type: %s", spec->content_type ?: "application/json");
                if (!type)
                        return -ENOMEM;
                r = request_add_header(req, type);
                if (r < 0)
                        return r;
        }
        /* Without this curl waits a second for "100 Continue" before it sends a long body. */
        r = request_add_header(req, "Expect:");
        for (const char *const *i = spec->headers; r >= 0 && i && *i; i++)
                r = request_add_header(req, *i);
        if (r < 0)
                return r;
        return curl_easy_setopt(req->easy, CURLOPT_HTTPHEADER, req->headers) == CURLE_OK ? 0 : -EIO;
}

static int request_set_body(HttpRequest *req, const HttpSpec *spec) {
        size_t size = spec->body ? spec->body_size ?: strlen(spec->body) : 0;

        if (spec->body) {
                req->body = malloc(size + 1);
                if (!req->body)
                        return -ENOMEM;
                memcpy(req->body, spec->body, size);
                req->body[size] = 0;
                req->body_size = size;
        } else if (!STR_IN_SET(spec->method, "POST", "PUT", "PATCH"))
                return 0;
        /* Methods that usually carry a body say so even when it is empty (Content-Length: 0). */
        if (curl_easy_setopt(req->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) size) != CURLE_OK ||
            curl_easy_setopt(req->easy, CURLOPT_POSTFIELDS, req->body ?: "") != CURLE_OK)
                return -EIO;
        return 0;
}

static int request_set_endpoint(HttpRequest *req, const HttpEndpoint *e, const char *path) {
        _cleanup_free_ char *url = strformat("%s%s", e->base_url, path);
        CURL *c = req->easy;

        if (!url)
                return -ENOMEM;
        req->local = e->unix_socket;
        if (curl_easy_setopt(c, CURLOPT_URL, url) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK)
                return -EINVAL;
        if (e->unix_socket && (curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, e->unix_socket) != CURLE_OK ||
                               curl_easy_setopt(c, CURLOPT_NOPROXY, "*") != CURLE_OK))
                return -EINVAL;
        if ((e->ca_file && curl_easy_setopt(c, CURLOPT_CAINFO, e->ca_file) != CURLE_OK) ||
            (e->cert_file && curl_easy_setopt(c, CURLOPT_SSLCERT, e->cert_file) != CURLE_OK) ||
            (e->key_file && curl_easy_setopt(c, CURLOPT_SSLKEY, e->key_file) != CURLE_OK))
                return -EINVAL;
        return 0;
}

static int request_set_method(HttpRequest *req, const char *method, bool fresh) {
        if (streq(method, "HEAD"))
                return curl_easy_setopt(req->easy, CURLOPT_NOBODY, 1L) == CURLE_OK ? 0 : -EIO;
        /* On a kept connection that the other side closes curl sends the request again by itself, without knowing
         * whether it was carried out. What makes things is therefore sent on a new one. */
        if ((fresh || streq(method, "POST")) && curl_easy_setopt(req->easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK)
                return -EIO;
        return curl_easy_setopt(req->easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK ? 0 : -EIO;
}

static int request_set_options(HttpRequest *req, const HttpSpec *spec) {
        usec_t timeout = spec->timeout_usec ?: TIMEOUT_DEFAULT_USEC;
        long connect_ms = (long) (MIN(timeout, CONNECT_TIMEOUT_USEC) / USEC_PER_MSEC);
        CURL *c = req->easy;

        if (timeout != USEC_INFINITY &&
            curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long) MAX(timeout / USEC_PER_MSEC, UINT64_C(1))) != CURLE_OK)
                return -EIO;
        if (curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, MAX(connect_ms, 1L)) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_USERAGENT, "swarm-orchestrator/" PROJECT_VERSION) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_ERRORBUFFER, req->error) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_PRIVATE, req) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, write_callback) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_WRITEDATA, req) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, header_callback) != CURLE_OK ||
            curl_easy_setopt(c, CURLOPT_HEADERDATA, req) != CURLE_OK)
                return -EIO;
        return 0;
}

static int request_new(Http *h, const HttpEndpoint *endpoint, const HttpSpec *spec, HttpRequest **ret) {
        _cleanup_(request_freep) HttpRequest *req = calloc(1, sizeof(*req));
        int r;

        if (!req)
                return -ENOMEM;
        req->http = h;
        req->on_data = spec->on_data;
        req->on_done = spec->on_done;
        req->userdata = spec->userdata;
        req->total_max = spec->response_max ?: spec->on_data ? SIZE_MAX : RESPONSE_MAX_DEFAULT;
        req->easy = curl_easy_init();
        if (!req->easy)
                return -ENOMEM;
        if ((r = request_set_options(req, spec)) < 0 ||
            (r = request_set_endpoint(req, endpoint, spec->path)) < 0 ||
            (r = request_set_body(req, spec)) < 0 ||
            (r = request_set_method(req, spec->method, spec->fresh)) < 0 ||
            (r = request_set_headers(req, spec)) < 0)
                return r;
        *ret = TAKE_PTR(req);
        return 0;
}

int http_request(Http *h, const HttpEndpoint *endpoint, const HttpSpec *spec, HttpRequest **ret) {
        _cleanup_(request_freep) HttpRequest *req = NULL;
        int r;

        if (!path_is_valid(spec->path) || isempty(spec->method) || !spec->on_done)
                return -EINVAL;
        r = request_new(h, endpoint, spec, &req);
        if (r < 0)
                return r;
        if (curl_multi_add_handle(h->multi, req->easy) != CURLM_OK)
                return -EIO;
        req->in_multi = true;
        DL_APPEND(h->requests, req);
        if (ret)
                *ret = req;
        TAKE_PTR(req);
        return 0;
}

long http_request_status(HttpRequest *req) {
        long status = 0;

        (void) curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &status);
        return status;
}

const char *http_request_header(HttpRequest *req, const char *name) {
        struct curl_header *header;

        return curl_easy_header(req->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : NULL;
}

HttpRequest *http_request_cancel(HttpRequest *req) {
        /* Under its own on_done it is freed anyway when that returns, and the response must stay valid until then. */
        if (!req || req->in_done)
                return NULL;
        if (req->http->current == req)
                req->http->current = NULL;
        DL_DELETE(req->http->requests, req);
        return request_free(req);
}
