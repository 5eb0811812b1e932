/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "outlet.h"

struct Outlet {
        int pipe, target;
        sd_event_source *source;
        char bytes[64 * KIB];
};

static void outlet_close(Outlet *o) {
        o->source = sd_event_source_disable_unref(o->source);
        closep(&o->pipe);
        o->pipe = -EBADF;
}

/* The socket is shared with others, who may have made it non-blocking. */
static int write_all(int fd, const char *bytes, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, bytes, n);

                if (k < 0 && errno == EAGAIN) {
                        (void) poll(&(struct pollfd) { .fd = fd, .events = POLLOUT }, 1, -1);
                        continue;
                }
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                bytes += k;
                n -= (size_t) k;
        }
        return 0;
}

/* A reader that has gone is gone for the command, too. */
static void outlet_carry(Outlet *o) {
        ssize_t n = read(o->pipe, o->bytes, sizeof(o->bytes));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0 || write_all(o->target, o->bytes, (size_t) n) < 0)
                outlet_close(o);
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        outlet_carry(userdata);
        return 0;
}

void outlet_finish(Outlet *o) {
        while (o && o->pipe >= 0)
                outlet_carry(o);
}

static bool is_local_socket(int fd) {
        socklen_t n = sizeof(int);
        int domain;

        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) >= 0 && domain == AF_UNIX;
}

static int outlet_open(Outlet *o, sd_event *event, int *ret_output) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        o->pipe = fds[0];
        *ret_output = fds[1];
        (void) signal(SIGPIPE, SIG_IGN);
        return sd_event_add_io(event, &o->source, o->pipe, EPOLLIN, on_output, o);
}

int outlet_new(sd_event *event, int fd, Outlet **ret, int *ret_output) {
        _cleanup_(outlet_freep) Outlet *o = NULL;
        _cleanup_close_ int output = -1;

        if (!is_local_socket(fd)) {
                output = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (output < 0)
                        return -errno;
                *ret_output = TAKE_FD(output);
                return 0;
        }
        o = malloc(sizeof(*o));
        if (!o)
                return -ENOMEM;
        *o = (Outlet) { .pipe = -EBADF, .target = fd };
        int r = outlet_open(o, event, &output);
        if (r < 0)
                return r;
        *ret_output = TAKE_FD(output);
        *ret = TAKE_PTR(o);
        return 0;
}

Outlet *outlet_free(Outlet *o) {
        if (!o)
                return NULL;
        outlet_close(o);
        free(o);
        return NULL;
}
