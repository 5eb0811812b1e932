/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <stdarg.h>
#include <strings.h>
#include <time.h>

#include "basic/string-util.h"
#include "oci/json-fields.h"
#include "oci/registry-http.h"

#define HEADER_VALUE_MAX (8 * KIB)
#define ERROR_BODY_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define BRIEF_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define RETRY_WAIT_MAX_SEC 10           /* a registry that wants to be left alone for longer is not asked again */
#define RETRY_AFTER_MAX_SEC (365 * 86400)       /* of what is told */
#define BULK_SPEED_MIN 1024L            /* bytes/s that a transfer must reach over the time limit */

usec_t monotonic_usec(void) {
        struct timespec ts;
        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

void http_answer_done(HttpAnswer *a) {
        free(a->body);
        free(a->location);
        free(a->authenticate);
        free(a->content_type);
        free(a->content_range);
        free(a->url);
        *a = (HttpAnswer) {};
}

char *registry_path(const Registry *g, const char *format, ...) {
        _cleanup_free_ char *tail = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&tail, format, ap) < 0)
                tail = NULL;
        va_end(ap);
        return tail ? strformat("%s/v2/%s/%s", g->url, g->repository, tail) : NULL;
}

/* What the callbacks of one exchange need. */
typedef struct Exchange {
        Registry *registry;
        const HttpCall *call;
        HttpAnswer *answer;
        usec_t refused_usec;            /* CLOCK_MONOTONIC; since when the body of an error comes */
        bool enough;                    /* of that body */
} Exchange;

static char **wanted_header(HttpAnswer *a, const char *name, size_t n) {
        const struct {
                const char *name;
                char **to;
        } wanted[] = {
                { "location", &a->location },
                { "www-authenticate", &a->authenticate },
                { "content-type", &a->content_type },
                { "content-range", &a->content_range },
        };

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                if (strlen(wanted[i].name) == n && strncasecmp(wanted[i].name, name, n) == 0)
                        return wanted[i].to;
        return NULL;
}

static size_t on_header(char *line, size_t size, size_t count, void *userdata) {
        Exchange *x = userdata;
        size_t n = size * count, all = n;
        const char *colon = memchr(line, ':', n);
        char **to = colon ? wanted_header(x->answer, line, (size_t) (colon - line)) : NULL;

        if (!to)
                return all;
        /* Of several challenges the Bearer one is the one we can answer anew. */
        if (*to && (to != &x->answer->authenticate || strncasecmp(*to, "Bearer", 6) == 0))
                return all;
        n -= (size_t) (++colon - line);
        for (; n > 0 && isspace((unsigned char) *colon); n--)
                colon++;
        while (n > 0 && isspace((unsigned char) colon[n - 1]))
                n--;
        if (n > HEADER_VALUE_MAX || memchr(colon, 0, n))
                return all;
        free(*to);
        *to = strndup(colon, n);
        return *to ? all : 0;
}

static int collect(HttpAnswer *a, const void *data, size_t n) {
        char *p = realloc(a->body, a->size + n + 1);

        if (!p)
                return -ENOMEM;
        memcpy(p + a->size, data, n);
        a->body = p;
        a->size += n;
        p[a->size] = 0;
        return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata) {
        Exchange *x = userdata;
        HttpAnswer *a = x->answer;
        size_t n = size * count;
        bool good;

        (void) curl_easy_getinfo(x->registry->curl, CURLINFO_RESPONSE_CODE, &a->status);
        good = a->status >= 200 && a->status < 300;
        if (n > (good ? x->call->max : REGISTRY_ERROR_BODY_MAX) - a->received) {
                x->enough = !good;      /* the first 64 KiB of an error are */
                a->too_big = good;
                return 0;
        }
        if (!good && x->refused_usec == 0)
                x->refused_usec = monotonic_usec();
        a->received += n;
        a->callback_error = good && x->call->sink ? x->call->sink(data, n, x->call->userdata) : collect(a, data, n);
        return a->callback_error < 0 ? 0 : n;
}

static size_t on_upload(char *buf, size_t size, size_t count, void *userdata) {
        Exchange *x = userdata;
        ssize_t n = x->call->source(buf, size * count, x->call->userdata);

        if (n < 0) {
                x->answer->callback_error = (int) n;
                return CURL_READFUNC_ABORT;
        }
        return (size_t) n;
}

static int on_progress(void *userdata, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un) {
        Exchange *x = userdata;

        if (x->refused_usec > 0 && monotonic_usec() > x->refused_usec + ERROR_BODY_TIMEOUT_USEC)
                x->enough = true;
        return x->enough || (x->registry->cancel && atomic_load(x->registry->cancel));
}

/* Of scheme, host and port; a port that goes without saying is not counted. 0: it has none of them. */
static size_t origin_length(const char *url) {
        const char *host = strstr(url, "://"), *port = strncasecmp(url, "https:", 6) == 0 ? ":443" : ":80";
        size_t n;

        if (!host)
                return 0;
        n = (size_t) (host - url) + 3 + strcspn(host + 3, "/?#");
        return strncmp(url + n - strlen(port), port, strlen(port)) == 0 ? n - strlen(port) : n;
}

bool url_same_origin(const char *a, const char *b) {
        size_t na = origin_length(a), nb = origin_length(b);
        return na > 0 && na == nb && strncasecmp(a, b, na) == 0;
}

static int add_header(struct curl_slist **list, const char *name, const char *value) {
        _cleanup_free_ char *line = value ? strformat("%s: %s", name, value) : NULL;
        struct curl_slist *more;

        if (!value)
                return 0;
        more = line ? curl_slist_append(*list, line) : NULL;
        if (!more)
                return -ENOMEM;
        *list = more;
        return 0;
}

static int make_headers(const HttpCall *call, struct curl_slist **ret) {
        struct curl_slist *list = curl_slist_append(NULL, "Expect:");

        if (!list)
                return -ENOMEM;
        if (add_header(&list, "Accept", call->accept) < 0 || add_header(&list, "Range", call->range) < 0 ||
            add_header(&list, "Content-Type", call->content_type) < 0 ||
            add_header(&list, "Transfer-Encoding", call->source ? "chunked" : NULL) < 0) {
                curl_slist_free_all(list);
                return -ENOMEM;
        }
        *ret = list;
        return 0;
}

static void set_limits(Registry *g, const HttpCall *call) {
        bool bulk = call->source || call->sink;
        usec_t timeout = call->brief ? MIN(g->timeout_usec, BRIEF_TIMEOUT_USEC) : g->timeout_usec * MAX(call->patience, 1U);
        long seconds = (long) (timeout / USEC_PER_SEC);

        curl_easy_setopt(g->curl, CURLOPT_CONNECTTIMEOUT, MAX(1L, MIN(seconds, 15L)));
        curl_easy_setopt(g->curl, CURLOPT_LOW_SPEED_LIMIT, bulk ? BULK_SPEED_MIN : 1L);
        curl_easy_setopt(g->curl, CURLOPT_LOW_SPEED_TIME, MAX(1L, seconds));
        if (!bulk)
                curl_easy_setopt(g->curl, CURLOPT_TIMEOUT, MAX(1L, seconds) * 2);
}

static void set_authorization(Registry *g, const char *url, const HttpCall *call) {
        /* The password goes to the registry itself and to the token service it names, never where a redirect leads. */
        if (call->anonymous || (!call->password_only && !url_same_origin(g->url, url)))
                return;
        if (g->token && !call->password_only) {
                curl_easy_setopt(g->curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
                curl_easy_setopt(g->curl, CURLOPT_XOAUTH2_BEARER, g->token);
        } else if (g->username) {
                curl_easy_setopt(g->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
                curl_easy_setopt(g->curl, CURLOPT_USERNAME, g->username);
                curl_easy_setopt(g->curl, CURLOPT_PASSWORD, g->password);
        }
}

static void set_body(Registry *g, const HttpCall *call, Exchange *x) {
        if (call->source) {
                curl_easy_setopt(g->curl, CURLOPT_UPLOAD, 1L);
                curl_easy_setopt(g->curl, CURLOPT_READFUNCTION, on_upload);
                curl_easy_setopt(g->curl, CURLOPT_READDATA, x);
                curl_easy_setopt(g->curl, CURLOPT_UPLOAD_BUFFERSIZE, (long) MIB);
        } else if (streq(call->method, "HEAD"))
                curl_easy_setopt(g->curl, CURLOPT_NOBODY, 1L);
        else if (!streq(call->method, "GET") && !streq(call->method, "DELETE")) {
                curl_easy_setopt(g->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) call->body_size);
                curl_easy_setopt(g->curl, CURLOPT_POSTFIELDS, call->body ?: "");
        }
}

int http_exchange(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret) {
        Exchange x = { .registry = g, .call = call, .answer = ret };
        struct curl_slist *headers = NULL;
        int r;

        http_answer_done(ret);
        r = make_headers(call, &headers);
        if (r < 0)
                return r;
        curl_easy_reset(g->curl);       /* keeps the connections */
        curl_easy_setopt(g->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(g->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(g->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(g->curl, CURLOPT_USERAGENT, "swarm-orchestrator/" PROJECT_VERSION);
        curl_easy_setopt(g->curl, CURLOPT_URL, url);
        curl_easy_setopt(g->curl, CURLOPT_ERRORBUFFER, ret->error);
        curl_easy_setopt(g->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(g->curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(g->curl, CURLOPT_HEADERDATA, &x);
        curl_easy_setopt(g->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(g->curl, CURLOPT_WRITEDATA, &x);
        curl_easy_setopt(g->curl, CURLOPT_BUFFERSIZE, (long) (512 * KIB));
        curl_easy_setopt(g->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(g->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(g->curl, CURLOPT_XFERINFODATA, &x);
        if (g->ca_file)
                curl_easy_setopt(g->curl, CURLOPT_CAINFO, g->ca_file);
        set_limits(g, call);
        set_authorization(g, url, call);
        set_body(g, call, &x);
        curl_easy_setopt(g->curl, CURLOPT_CUSTOMREQUEST, streq(call->method, "HEAD") ? NULL : call->method);
        ret->code = curl_easy_perform(g->curl);
        if (x.enough)
                ret->code = CURLE_OK;   /* the status says it all; whoever goes on sending is not heard to the end */
        (void) curl_easy_getinfo(g->curl, CURLINFO_RESPONSE_CODE, &ret->status);
        (void) curl_easy_getinfo(g->curl, CURLINFO_RETRY_AFTER, &ret->retry_after);
        curl_easy_setopt(g->curl, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(g->curl, CURLOPT_ERRORBUFFER, NULL);
        curl_slist_free_all(headers);
        return (ret->url = strdup(url)) ? 0 : -ENOMEM;
}

int url_resolve(const char *base, const char *location, char **ret) {
        CURLU *u = curl_url();
        char *url = NULL, *scheme = NULL, *user = NULL;
        int r = -EINVAL;

        if (!u)
                return -ENOMEM;
        if (curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK && curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
            curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && STR_IN_SET(scheme, "http", "https") &&
            (streq(scheme, "https") || startswith(base, "http://")) &&
            curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK) {
                *ret = strdup(url);
                r = *ret ? 0 : -ENOMEM;
        }
        curl_free(url);
        curl_free(scheme);
        curl_free(user);
        curl_url_cleanup(u);
        return r;
}

/* The registry's own words, cut and made printable: errors[0].message (distribution-spec, error codes) or the
 * token service's `details`. */
static void registry_words(const HttpAnswer *a, char *buf, size_t n) {
        _cleanup_json_ json_t *j = a->body ? json_object_from_string(a->body, a->size) : NULL;
        const json_t *first = json_array_get(json_object_get(j, "errors"), 0);
        const char *s = json_string_value(json_object_get(first, "message")) ?: json_string_value(json_object_get(j, "details"));
        size_t i;

        for (i = 0; s && s[i] && i + 1 < n; i++)
                buf[i] = (unsigned char) s[i] >= 0x20 && (unsigned char) s[i] < 0x7f ? s[i] : '?';
        buf[i] = 0;
}

int registry_refuse_transport(Registry *g, const HttpAnswer *a, const char *doing, Refusal **reterr_refusal) {
        if (g->cancel && atomic_load(g->cancel))
                return -ECANCELED;
        if (a->callback_error < 0)
                return a->callback_error;
        if (a->too_big)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s sent more than it may while %s. Check what runs at that address.", g->host, doing);
        if (a->code == CURLE_OPERATION_TIMEDOUT)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s did not answer in time while %s. Check that it runs and that this node reaches it.", g->host, doing);
        if (a->code == CURLE_SSL_CACERT_BADFILE)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The certificate of the registry %s cannot be checked while %s: %s. Check CAFile= in orchestrator.conf; if it is not set, "
                              "install the package ca-certificates.", g->host, doing, a->error[0] ? a->error : curl_easy_strerror(a->code));
        g->failure.passing = a->code != CURLE_PEER_FAILED_VERIFICATION;
        if (a->code == CURLE_SSL_CONNECT_ERROR && !g->configured)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s does not speak TLS as is expected of it, while %s: %s. Only the registry of URL= in orchestrator.conf may do "
                              "without: check that the name of the image is right, and that URL= still is.", g->host, doing,
                              a->error[0] ? a->error : curl_easy_strerror(a->code));
        return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                      "The connection to the registry %s failed while %s: %s. Check that it runs and that this node reaches it.",
                      g->host, doing, a->error[0] ? a->error : curl_easy_strerror(a->code));
}

int registry_refuse(Registry *g, const HttpAnswer *a, const char *doing, Refusal **reterr_refusal) {
        static const struct {
                long from, to;
                bool passing;
                const char *remedy;
        } remedies[] = {
                { 200, 299, false, "Check what runs at that address" },
                { 300, 399, false, "Check the registry's address in the configuration" },
                { 401, 401, false, "Check the credential swarm-registry-push, see CREDENTIALS in orchestrator.conf(5)" },
                { 403, 403, false, "Check what the registry credential may do" },
                { 404, 404, false, "Check the name, and that the registry has not lost its files" },
                { 405, 405, false, "Enable it in the registry's configuration (for deletion: storage.delete.enabled)" },
                { 413, 413, false, "Raise the size limit of the registry or of the proxy in front of it" },
                { 429, 429, true, "Try again later" },
                { 400, 499, false, "See the registry's log" },
                { 500, 599, true, "Try again, and see the registry's log" },
        };
        const char *remedy = "See the registry's log";
        char words[201], later[64];

        for (size_t i = 0; i < ELEMENTSOF(remedies); i++)
                if (a->status >= remedies[i].from && a->status <= remedies[i].to) {
                        remedy = remedies[i].remedy;
                        g->failure.passing = remedies[i].passing;
                        break;
                }
        if (a->status == 401 && !g->configured)
                remedy = "Only the registry of URL= in orchestrator.conf is given a password: check the name of the image, or copy it there";
        if (g->failure.passing && a->retry_after > 0) {
                (void) snprintf(later, sizeof(later), "Try again in %u s", (unsigned) MIN(a->retry_after, (curl_off_t) RETRY_AFTER_MAX_SEC));
                remedy = later;
                /* Sooner it would be of no use, and the session may be frozen until then. */
                g->failure.passing = a->retry_after <= RETRY_WAIT_MAX_SEC;
                g->failure.wait_usec = g->failure.passing ? (usec_t) a->retry_after * USEC_PER_SEC : 0;
        }
        registry_words(a, words, sizeof(words));
        return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED, "The registry %s answered %ld%s%s while %s. %s.", g->host, a->status,
                      words[0] ? ": " : "", words, doing, remedy);
}

static bool is_redirect(const HttpAnswer *a, const HttpCall *call) {
        return a->status >= 300 && a->status < 400 && a->status != 304 && a->location && STR_IN_SET(call->method, "GET", "HEAD");
}

static int follow_redirects(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret, const char *doing, Refusal **reterr_refusal) {
        _cleanup_free_ char *current = strdup(url);
        int r = current ? 0 : -ENOMEM;

        for (unsigned i = 0; r >= 0 && i <= REGISTRY_REDIRECTS_MAX; i++) {
                char *next = NULL;
                r = http_exchange(g, current, call, ret);
                if (r < 0)
                        return r;
                if (ret->code != CURLE_OK)
                        return registry_refuse_transport(g, ret, doing, reterr_refusal);
                if (!is_redirect(ret, call))
                        return 0;
                r = url_resolve(current, ret->location, &next);
                if (r == -EINVAL)
                        return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                                      "The registry %s redirected to an address that is not allowed while %s. Check its configuration.", g->host, doing);
                free(current);
                current = next;
        }
        return r < 0 ? r : refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                                  "The registry %s redirected more than %d times while %s. Check its configuration.",
                                  g->host, REGISTRY_REDIRECTS_MAX, doing);
}

/* Any status is success here. */
static int call_authorized(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret, const char *doing, Refusal **reterr_refusal) {
        int r;

        g->failure = (RegistryFailure) {};
        /* It is renewed early, so it is good for a stream that begins now; and a stream cannot be sent again with another one. */
        if (g->token && !call->source && monotonic_usec() > g->token_expires_usec) {
                free(g->token);
                g->token = NULL;
        }
        r = follow_redirects(g, url, call, ret, doing, reterr_refusal);
        /* Bytes of a stream that were sent are gone, so a stream cannot be sent again here. */
        if (r < 0 || ret->status != 401 || !ret->authenticate || call->source || !url_same_origin(g->url, ret->url))
                return r;
        r = registry_authenticate(g, ret->authenticate, reterr_refusal);
        if (r <= 0)
                return r;
        return follow_redirects(g, url, call, ret, doing, reterr_refusal);
}

int registry_call(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret, const char *doing, Refusal **reterr_refusal) {
        int r = url && doing ? call_authorized(g, url, call, ret, doing, reterr_refusal) : -ENOMEM;

        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(call->takes) && call->takes[i]; i++)
                if (ret->status == call->takes[i])
                        return call->takes[i];
        return registry_refuse(g, ret, doing, reterr_refusal);
}
