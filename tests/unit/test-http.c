/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The server is a thread that answers by the path of the request; it never reads more than one request a connection
 * unless the path says so. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/string-util.h"
#include "event/event-util.h"
#include "event/http.h"

static char socket_path[] = "/tmp/test-http-XXXXXX.sock";
static int listen_fd = -EBADF;

static void send_all(int fd, const char *s, size_t n) {
        while (n > 0) {
                ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
                if (k <= 0)
                        return;
                s += k;
                n -= (size_t) k;
        }
}

static void send_text(int fd, const char *s) {
        send_all(fd, s, strlen(s));
}

static void serve_big(int fd, size_t size) {
        static const char zeros[4096];
        char head[128];

        (void) snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
        send_text(fd, head);
        for (size_t i = 0; i < size; i += sizeof(zeros))
                send_all(fd, zeros, MIN(sizeof(zeros), size - i));
}

static void serve_stream(int fd, unsigned n, unsigned pause_usec, bool cut) {
        send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (unsigned i = 0; i < n; i++) {
                send_text(fd, "4\r\nping\r\n");
                (void) usleep(pause_usec);
        }
        if (!cut)
                send_text(fd, "0\r\n\r\n");
}

static void serve_echo(int fd, const char *request, size_t size) {
        char head[128];

        (void) snprintf(head, sizeof(head), "HTTP/1.1 201 Created\r\nX-Echo: yes\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", size);
        send_text(fd, head);
        send_all(fd, request, size);
}

/* The number of the connection, for as many requests as come on it. */
static void serve_kept(int fd, char *buffer, size_t size) {
        static atomic_uint connections;
        unsigned n = atomic_fetch_add(&connections, 1);
        char answer[128];

        do {
                (void) snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%4u", n);
                send_text(fd, answer);
        } while (recv(fd, buffer, size, 0) > 0);
}

static size_t content_length(const char *request) {
        const char *p = strcasestr(request, "\r\nContent-Length:");
        return p ? strtoul(p + 17, NULL, 10) : 0;
}

static void serve(int fd) {
        char buffer[65536];
        size_t size = 0;
        char *end = NULL;

        while (!end || size < (size_t) (end + 4 - buffer) + content_length(buffer)) {
                ssize_t n = recv(fd, buffer + size, sizeof(buffer) - 1 - size, 0);
                if (n <= 0)
                        return;
                size += (size_t) n;
                buffer[size] = 0;
                end = strstr(buffer, "\r\n\r\n");
        }
        const char *path = strchr(buffer, ' ') + 1;
        if (startswith(path, "/echo"))
                serve_echo(fd, buffer, size);
        else if (startswith(path, "/kept"))
                serve_kept(fd, buffer, sizeof(buffer));
        else if (startswith(path, "/big"))
                serve_big(fd, 20 * MIB);
        else if (startswith(path, "/error"))
                send_text(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{\"message\":\"no such it\"}");
        else if (startswith(path, "/stream"))
                serve_stream(fd, 20, 2000, false);
        else if (startswith(path, "/cut-stream"))
                serve_stream(fd, 5, 1000, true);
        else if (startswith(path, "/endless"))
                serve_stream(fd, 2000, 2000, false);
        else if (startswith(path, "/cut"))
                send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        else if (startswith(path, "/headers"))
                for (unsigned i = 0; i < 20000; i++)
                        send_text(fd, i == 0 ? "HTTP/1.1 200 OK\r\n" : "X-More: 0123456789012345678901234567890123456789\r\n");
        else if (startswith(path, "/hang"))
                (void) recv(fd, buffer, 1, 0);
        else if (startswith(path, "/nothing"))
                return;
        else
                send_text(fd, "nonsense\r\n\r\n");
}

static void *connection_main(void *userdata) {
        int fd = (int) (intptr_t) userdata;
        serve(fd);
        (void) shutdown(fd, SHUT_RDWR);
        (void) close(fd);
        return NULL;
}

static void *server_main(void *userdata) {
        for (;;) {
                pthread_t t;
                int fd = accept(listen_fd, NULL, NULL);
                if (fd < 0)
                        return NULL;
                if (pthread_create(&t, NULL, connection_main, (void *) (intptr_t) fd) == 0)
                        (void) pthread_detach(t);
        }
}

static int group_setup(void **state) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        pthread_t t;
        int fd = mkstemps(socket_path, 5);

        assert_true(fd >= 0);
        (void) close(fd);
        (void) unlink(socket_path);
        (void) strncpy(sa.sun_path, socket_path, sizeof(sa.sun_path) - 1);
        listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(listen_fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        assert_int_equal(listen(listen_fd, 64), 0);
        assert_int_equal(pthread_create(&t, NULL, server_main, NULL), 0);
        return pthread_detach(t);
}

static int group_teardown(void **state) {
        (void) unlink(socket_path);
        return 0;
}

/* ---- one client per test ---- */

typedef struct Fixture Fixture;
typedef struct Result {
        Fixture *fixture;
        HttpRequest *req;
        bool done;
        unsigned pieces;
        size_t bytes, body_size;
        HttpFailure failure;
        long status;
        char *body, *header;
        char error[64];
        /* what the callbacks do */
        bool cancel_on_data, free_client_on_data, free_client_on_done, again_on_done, cancel_on_done;
        HttpRequest **victim;
        int data_result;
} Result;

struct Fixture {
        sd_event *event;
        Http *http;
        HttpEndpoint endpoint;
        Result results[64];
};

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(http_new(f->event, &f->http), 0);
        f->endpoint = (HttpEndpoint) { .base_url = "http://localhost", .unix_socket = socket_path };
        for (size_t i = 0; i < ELEMENTSOF(f->results); i++)
                f->results[i].fixture = f;
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        http_free(f->http);
        for (size_t i = 0; i < ELEMENTSOF(f->results); i++) {
                free(f->results[i].body);
                free(f->results[i].header);
        }
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void on_done(HttpRequest *req, const HttpResponse *response, void *userdata);

static int on_data(HttpRequest *req, const void *data, size_t size, void *userdata) {
        Result *r = userdata;

        r->pieces++;
        r->bytes += size;
        r->status = http_request_status(req);
        if (r->cancel_on_data)
                r->req = http_request_cancel(r->req);
        if (r->free_client_on_data)
                r->fixture->http = http_free(r->fixture->http);
        return r->data_result;
}

static int begin_full(Result *r, const HttpSpec *spec) {
        HttpSpec s = *spec;

        s.on_done = on_done;
        s.userdata = r;
        s.method = s.method ?: "GET";
        return http_request(r->fixture->http, &r->fixture->endpoint, &s, &r->req);
}

static void begin(Result *r, const char *path) {
        assert_int_equal(begin_full(r, &(const HttpSpec) { .path = path }), 0);
        assert_false(r->done);
}

static void on_done(HttpRequest *req, const HttpResponse *response, void *userdata) {
        Result *r = userdata;
        const char *header;

        assert_false(r->done);
        assert_ptr_equal(req, r->req);
        if (r->cancel_on_done)
                http_request_cancel(r->req);
        r->done = true;
        r->req = NULL;
        r->failure = response->failure;
        assert_int_equal(response->failure == HTTP_OK, !response->error);
        (void) snprintf(r->error, sizeof(r->error), "%s", strempty(response->error));
        r->status = response->status;
        r->body_size = response->body_size;
        r->body = response->body ? strdup(response->body) : NULL;
        header = http_request_header(req, "x-echo");
        r->header = header ? strdup(header) : NULL;
        if (r->victim)
                *r->victim = http_request_cancel(*r->victim);
        if (r->again_on_done)
                begin(r + 1, "/echo");
        if (r->free_client_on_done)
                r->fixture->http = http_free(r->fixture->http);
}

static void run(Result *r) {
        for (unsigned i = 0; !r->done && i < 100000; i++)
                assert_true(sd_event_run(r->fixture->event, 10 * USEC_PER_SEC) > 0);
        assert_true(r->done);
}

static void run_for(Fixture *f, unsigned turns) {
        for (unsigned i = 0; i < turns; i++)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
}

static void test_echo(void **state) {
        Fixture *f = *state;
        Result *r = f->results;
        static const char *const headers[] = { "X-Registry-Auth: abc", NULL };

        assert_int_equal(begin_full(r, &(const HttpSpec) {
                .method = "POST", .path = "/echo?a=%20b", .body = "{\"a\":1}", .headers = headers }), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_OK);
        assert_int_equal(r->status, 201);
        assert_string_equal(r->header, "yes");
        assert_non_null(startswith(r->body, "POST /echo?a=%20b HTTP/1.1\r\n"));
        assert_non_null(strstr(r->body, "Content-Type: application/json\r\n"));
        assert_non_null(strstr(r->body, "X-Registry-Auth: abc\r\n"));
        assert_non_null(endswith(r->body, "\r\n\r\n{\"a\":1}"));
        assert_null(strstr(r->body, "Expect"));

        assert_int_equal(begin_full(r + 1, &(const HttpSpec) { .method = "POST", .path = "/echo" }), 0);
        run(r + 1);
        assert_non_null(strstr(r[1].body, "Content-Length: 0\r\n"));
        assert_int_equal(begin_full(r + 2, &(const HttpSpec) { .method = "DELETE", .path = "/echo" }), 0);
        run(r + 2);
        assert_non_null(startswith(r[2].body, "DELETE /echo HTTP/1.1\r\n"));
        assert_null(strstr(r[2].body, "Content-Length"));
        assert_int_equal(begin_full(r + 3, &(const HttpSpec) { .method = "HEAD", .path = "/echo" }), 0);
        run(r + 3);
        assert_int_equal(r[3].status, 201);
        assert_null(r[3].body);
        assert_int_equal(begin_full(r + 4, &(const HttpSpec) { .method = "PUT", .path = "/echo", .body = "a\0b", .body_size = 3 }), 0);
        run(r + 4);
        assert_non_null(strstr(r[4].body, "Content-Length: 3\r\n"));
}

/* What stops may answer on the old connections and take no new ones. */
static void test_fresh(void **state) {
        Fixture *f = *state;
        Result *r = f->results;
        static const char *const expected[] = { "   0", "   0", "   1" };

        for (unsigned i = 0; i < ELEMENTSOF(expected); i++) {
                assert_int_equal(begin_full(r + i, &(const HttpSpec) { .method = "GET", .path = "/kept", .fresh = i == 2 }), 0);
                run(r + i);
                assert_string_equal(r[i].body, expected[i]);
        }
}

static void test_refused_strings(void **state) {
        Fixture *f = *state;
        static const char *const headers[] = { "X: a\r\nY: b", NULL };

        assert_int_equal(begin_full(f->results, &(const HttpSpec) { .path = "/a b" }), -EINVAL);
        assert_int_equal(begin_full(f->results, &(const HttpSpec) { .path = "/a\r\nX: y" }), -EINVAL);
        assert_int_equal(begin_full(f->results, &(const HttpSpec) { .path = "echo" }), -EINVAL);
        assert_int_equal(begin_full(f->results, &(const HttpSpec) { .path = "/echo", .headers = headers }), -EINVAL);
}

static void test_error_status(void **state) {
        Result *r = ((Fixture *) *state)->results;

        begin(r, "/error");
        run(r);
        assert_int_equal(r->failure, HTTP_OK);
        assert_int_equal(r->status, 404);
        assert_string_equal(r->body, "{\"message\":\"no such it\"}");
}

static void test_failures(void **state) {
        Fixture *f = *state;
        Result *r = f->results;
        static const struct {
                const char *path;
                HttpFailure failure;
        } table[] = {
                { "/cut", HTTP_BROKEN }, { "/nothing", HTTP_BROKEN }, { "/nonsense", HTTP_BROKEN },
                { "/big", HTTP_TOO_LARGE }, { "/headers", HTTP_TOO_LARGE },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++, r++) {
                begin(r, table[i].path);
                run(r);
                assert_int_equal(r->failure, table[i].failure);
        }
        assert_int_equal(begin_full(r, &(const HttpSpec) { .path = "/echo", .response_max = 10 }), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_TOO_LARGE);
        r++;
        f->endpoint.unix_socket = "/nonexistent/socket";
        begin(r, "/echo");
        run(r);
        assert_int_equal(r->failure, HTTP_UNREACHABLE);
        assert_string_equal(r->error, "No such file or directory");
        r++;
        f->endpoint = (HttpEndpoint) { .base_url = "http://127.0.0.1:1" };
        begin(r, "/echo");
        run(r);
        assert_int_equal(r->failure, HTTP_UNREACHABLE);
        r++;
        /* Longer than a name can be, so that no resolver of the machine is asked, which may take long or know everything. */
        f->endpoint = (HttpEndpoint) { .base_url = "http://a-name-of-a-host-that-is-longer-than-the-sixty-three-letters-that-one-can-have" };
        begin(r, "/echo");
        run(r);
        assert_int_equal(r->failure, HTTP_UNREACHABLE);
}

static void test_timeout(void **state) {
        Result *r = ((Fixture *) *state)->results;

        assert_int_equal(begin_full(r, &(const HttpSpec) { .path = "/hang", .timeout_usec = 50 * USEC_PER_MSEC }), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_TIMEOUT);
        assert_int_equal(r->status, 0);
}

static HttpSpec stream_spec(const char *path) {
        return (HttpSpec) { .path = path, .timeout_usec = USEC_INFINITY, .on_data = on_data };
}

static void test_stream(void **state) {
        Result *r = ((Fixture *) *state)->results;
        HttpSpec spec = stream_spec("/stream"), cut = stream_spec("/cut-stream"), big = stream_spec("/big");

        assert_int_equal(begin_full(r, &spec), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_OK);
        assert_int_equal(r->bytes, 80);
        assert_true(r->pieces > 1);
        assert_null(r->body);
        r++;
        assert_int_equal(begin_full(r, &cut), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_BROKEN);
        assert_int_equal(r->bytes, 20);
        r++;
        assert_int_equal(begin_full(r, &big), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_OK);
        assert_int_equal(r->bytes, 20 * MIB);
        r++;
        r->data_result = -EBADMSG;
        spec = stream_spec("/endless");
        assert_int_equal(begin_full(r, &spec), 0);
        run(r);
        assert_int_equal(r->failure, HTTP_BROKEN);
        assert_int_equal(r->pieces, 1);
        assert_int_equal(r->status, 200);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Result *r = f->results;
        HttpSpec endless = stream_spec("/endless");

        begin(r, "/echo");
        r->req = http_request_cancel(r->req);
        begin(r + 1, "/hang");
        run_for(f, 5);
        r[1].req = http_request_cancel(r[1].req);

        r[2].cancel_on_data = true;
        r[2].data_result = -EIO;        /* whatever is returned after a cancel means nothing */
        assert_int_equal(begin_full(r + 2, &endless), 0);
        while (r[2].pieces == 0)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) > 0);
        run_for(f, 10);
        assert_int_equal(r[2].pieces, 1);

        /* one done cancels another that may be done, too */
        r[3].victim = &r[4].req;
        r[4].victim = &r[3].req;
        begin(r + 3, "/echo");
        begin(r + 4, "/echo");
        while (!r[3].done && !r[4].done)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) > 0);
        run_for(f, 10);
        assert_true(r[3].done != r[4].done);

        r[5].cancel_on_done = true;
        begin(r + 5, "/echo");
        run(r + 5);
        assert_non_null(r[5].body);
        for (unsigned i = 0; i < 3; i++)
                assert_false(r[i].done);
}

static void test_chain(void **state) {
        Result *r = ((Fixture *) *state)->results;

        for (unsigned i = 0; i < 10; i++)
                r[i].again_on_done = true;
        begin(r, "/echo");
        run(r + 10);
}

static void test_free_client(void **state) {
        Fixture *f = *state;
        Result *r = f->results;
        HttpSpec endless = stream_spec("/endless");

        begin(r + 1, "/hang");
        begin(r + 2, "/echo");
        r->free_client_on_done = true;
        begin(r, "/echo");
        run(r);
        assert_null(f->http);
        run_for(f, 5);

        assert_int_equal(http_new(f->event, &f->http), 0);
        r[3].free_client_on_data = true;
        assert_int_equal(begin_full(r + 3, &endless), 0);
        while (r[3].pieces == 0)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) > 0);
        run_for(f, 5);
        assert_int_equal(r[3].pieces, 1);
        assert_false(r[3].done);
        assert_false(r[1].done);
}

static void test_many(void **state) {
        Fixture *f = *state;
        HttpSpec stream = stream_spec("/stream");

        for (unsigned i = 0; i < ELEMENTSOF(f->results); i++)
                if (i % 2)
                        begin(f->results + i, "/echo");
                else
                        assert_int_equal(begin_full(f->results + i, &stream), 0);
        for (unsigned i = 0; i < ELEMENTSOF(f->results); i++) {
                run(f->results + i);
                assert_int_equal(f->results[i].failure, HTTP_OK);
                assert_int_equal(i % 2 ? 80 : f->results[i].bytes, 80);
        }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_echo), T(test_fresh), T(test_refused_strings), T(test_error_status), T(test_failures), T(test_timeout),
                T(test_stream), T(test_cancel), T(test_chain), T(test_free_client), T(test_many),
        };
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
