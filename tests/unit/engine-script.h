/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An Engine that is a thread and answers one request a connection by the script of the test. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/string-util.h"

typedef struct Exchange {
        const char *path;               /* what the request line must begin with: "GET /v1.41/info" */
        const char *status;             /* NULL: hang up without an answer */
        const char *headers, *body;
} Exchange;

typedef struct EngineScript {
        char socket[64];
        int listen_fd;
        pthread_t thread;
        const Exchange *script;
        size_t n_script, served;
        char last[8192];
        bool wrong;
} EngineScript;

#define PING(version) { "GET /_ping", "200 OK", "Api-Version: " version "\r\n", "OK" }

static inline size_t content_length(const char *request) {
        const char *p = strstr(request, "Content-Length: ");
        return p ? strtoul(p + 16, NULL, 10) : 0;
}

static inline void read_request(EngineScript *e, int fd) {
        size_t size = 0;
        char *end = NULL;

        while (!end || size < (size_t) (end + 4 - e->last) + content_length(e->last)) {
                ssize_t n = recv(fd, e->last + size, sizeof(e->last) - 1 - size, 0);
                if (n <= 0)
                        break;
                size += (size_t) n;
                e->last[size] = 0;
                end = strstr(e->last, "\r\n\r\n");
        }
}

static inline void send_all(int fd, const char *s, size_t n) {
        for (ssize_t k; n > 0 && (k = send(fd, s, n, MSG_NOSIGNAL)) > 0; n -= (size_t) k)
                s += k;
}

static inline void *server_main(void *userdata) {
        EngineScript *e = userdata;

        for (size_t i = 0; i < e->n_script; i++) {
                const Exchange *x = e->script + i;
                _cleanup_close_ int fd = accept(e->listen_fd, NULL, NULL);

                if (fd < 0)
                        return NULL;
                read_request(e, fd);
                e->wrong = e->wrong || !startswith(e->last, x->path);
                e->served++;
                if (x->status) {
                        _cleanup_free_ char *a = strformat("HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", x->status,
                                                           strempty(x->headers), strlen(strempty(x->body)), strempty(x->body));
                        send_all(fd, a, strlen(a));
                }
                (void) shutdown(fd, SHUT_WR);
        }
        return NULL;
}

static inline void engine_script_open(EngineScript *e) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void) snprintf(e->socket, sizeof(e->socket), "/tmp/test-engine-%d.sock", getpid());
        (void) unlink(e->socket);
        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", e->socket);
        e->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(e->listen_fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        assert_int_equal(listen(e->listen_fd, 16), 0);
}

static inline void engine_script_serve(EngineScript *e, const Exchange *script, size_t n) {
        e->script = script;
        e->n_script = n;
        assert_int_equal(pthread_create(&e->thread, NULL, server_main, e), 0);
}

static inline void engine_script_close(EngineScript *e) {
        (void) shutdown(e->listen_fd, SHUT_RDWR);
        (void) close(e->listen_fd);
        if (e->script)
                (void) pthread_join(e->thread, NULL);
        (void) unlink(e->socket);
}
