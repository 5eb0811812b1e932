/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include "basic/string-util.h"
#include "engine-gate.h"

#define PIECE_MAX (64 * KIB)

typedef struct Connection {
        EngineGate *gate;
        int client, engine;
        sd_event_source *from_client, *from_engine;
        char *held;                     /* what the client said, and the Engine has not heard */
        size_t held_size;
        struct Connection *prev, *next;
} Connection;

struct EngineGate {
        sd_event *event;
        char *path, *engine, *hold;
        int listen;
        sd_event_source *source;
        Connection *connections;
};

static Connection *connection_free(Connection *c) {
        DL_DELETE(c->gate->connections, c);
        sd_event_source_disable_unref(c->from_client);
        sd_event_source_disable_unref(c->from_engine);
        if (c->client >= 0)
                close(c->client);
        if (c->engine >= 0)
                close(c->engine);
        free(c->held);
        free(c);
        return NULL;
}

/* Requests and answers of one container are small: they find room in the socket. */
static bool forward(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
                if (n < 0)
                        return false;
                data += n;
                size -= (size_t) n;
        }
        return true;
}

static bool is_held_back(const EngineGate *g, const char *data, size_t size) {
        return g->hold && memmem(data, size, g->hold, strlen(g->hold));
}

/* From then on only the end of the connection is heard of. */
static bool hold_back(Connection *c, const char *data, size_t size) {
        c->held = malloc(size);
        if (!c->held || sd_event_source_set_io_events(c->from_client, 0) < 0)
                return false;
        memcpy(c->held, data, size);
        c->held_size = size;
        return true;
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Connection *c = userdata;
        char data[PIECE_MAX];
        bool from_client = fd == c->client, good = false;
        ssize_t n = from_client && c->held ? 0 : read(fd, data, sizeof(data));

        if (n > 0 && from_client && is_held_back(c->gate, data, (size_t) n))
                good = hold_back(c, data, (size_t) n);
        else if (n > 0)
                good = forward(from_client ? c->engine : c->client, data, (size_t) n);
        if (!good)
                connection_free(c);
        return 0;
}

static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        EngineGate *g = userdata;
        Connection *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        *c = (Connection) { .gate = g, .client = accept4(fd, NULL, NULL, SOCK_CLOEXEC), .engine = connect_to(g->engine) };
        DL_APPEND(g->connections, c);
        if (c->client < 0 || c->engine < 0 ||
            sd_event_add_io(g->event, &c->from_client, c->client, EPOLLIN, on_readable, c) < 0 ||
            sd_event_add_io(g->event, &c->from_engine, c->engine, EPOLLIN, on_readable, c) < 0)
                connection_free(c);
        return 0;
}

static int gate_listen(EngineGate *g) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", g->path);
        g->listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (g->listen < 0 || bind(g->listen, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(g->listen, 16) < 0)
                return -errno;
        return sd_event_add_io(g->event, &g->source, g->listen, EPOLLIN, on_connection, g);
}

int engine_gate_new(sd_event *event, const char *path, const char *engine, EngineGate **ret) {
        EngineGate *g = calloc(1, sizeof(*g));
        int r;

        if (!g)
                return -ENOMEM;
        *g = (EngineGate) { .event = sd_event_ref(event), .path = strdup(path), .engine = strdup(engine), .listen = -EBADF };
        r = g->path && g->engine ? gate_listen(g) : -ENOMEM;
        if (r < 0) {
                engine_gate_free(g);
                return r;
        }
        *ret = g;
        return 0;
}

EngineGate *engine_gate_free(EngineGate *g) {
        if (!g)
                return NULL;
        while (g->connections)
                connection_free(g->connections);
        sd_event_source_disable_unref(g->source);
        if (g->listen >= 0)
                close(g->listen);
        (void) unlink(g->path);
        sd_event_unref(g->event);
        free(g->path);
        free(g->engine);
        free(g->hold);
        free(g);
        return NULL;
}

void engine_gate_hold(EngineGate *g, const char *request) {
        (void) free_and_strdup(&g->hold, request);
}

unsigned engine_gate_held(const EngineGate *g) {
        const Connection *c;
        unsigned n = 0;

        DL_FOREACH(g->connections, c)
                n += c->held != NULL;
        return n;
}

void engine_gate_refuse(EngineGate *g) {
        static const char answer[] = "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 31\r\n\r\n{\"message\":\"permission denied\"}";
        Connection *c, *tmp;

        (void) free_and_strdup(&g->hold, NULL);
        DL_FOREACH_SAFE(g->connections, c, tmp)
                if (c->held) {
                        (void) forward(c->client, answer, strlen(answer));
                        connection_free(c);
                }
}

void engine_gate_let_go(EngineGate *g) {
        Connection *c, *tmp;

        (void) free_and_strdup(&g->hold, NULL);
        DL_FOREACH_SAFE(g->connections, c, tmp) {
                _cleanup_free_ char *held = TAKE_PTR(c->held);
                if (held && (!forward(c->engine, held, c->held_size) || sd_event_source_set_io_events(c->from_client, EPOLLIN) < 0))
                        connection_free(c);
        }
}
