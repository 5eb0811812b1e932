/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>

#include "pump.h"

struct Pump {
        int terminal, pipe;
        sd_event_source *read_source, *write_source;
        char bytes[4096];               /* a line of a terminal */
        size_t n;
};

static void pump_close(Pump *p) {
        p->read_source = sd_event_source_disable_unref(p->read_source);
        p->write_source = sd_event_source_disable_unref(p->write_source);
        closep(&p->pipe);
        p->pipe = -EBADF;
}

static int on_typed(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Pump *p = userdata;
        ssize_t n = read(fd, p->bytes, sizeof(p->bytes));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {                   /* ^D, or it is gone */
                pump_close(p);
                return 0;
        }
        p->n = (size_t) n;
        (void) sd_event_source_set_enabled(p->read_source, SD_EVENT_OFF);
        return sd_event_source_set_enabled(p->write_source, SD_EVENT_ON);
}

static int on_writable(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Pump *p = userdata;
        ssize_t n = write(fd, p->bytes, p->n);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n < 0) {                    /* the command reads no more */
                pump_close(p);
                return 0;
        }
        p->n -= (size_t) n;
        memmove(p->bytes, p->bytes + n, p->n);
        if (p->n > 0)
                return 0;
        (void) sd_event_source_set_enabled(p->write_source, SD_EVENT_OFF);
        return sd_event_source_set_enabled(p->read_source, SD_EVENT_ON);
}

static int pump_open(Pump *p, sd_event *event, int *ret_input) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ret_input = fds[0];
        p->pipe = fds[1];
        /* This end is ours alone. */
        if (fcntl(p->pipe, F_SETFL, O_WRONLY | O_NONBLOCK) < 0)
                return -errno;
        (void) signal(SIGPIPE, SIG_IGN);
        int r = sd_event_add_io(event, &p->read_source, p->terminal, EPOLLIN, on_typed, p);
        if (r >= 0)
                r = sd_event_add_io(event, &p->write_source, p->pipe, EPOLLOUT, on_writable, p);
        return r < 0 ? r : sd_event_source_set_enabled(p->write_source, SD_EVENT_OFF);
}

int pump_new(sd_event *event, int fd, Pump **ret, int *ret_input) {
        _cleanup_(pump_freep) Pump *p = NULL;
        _cleanup_close_ int input = -1;

        if (!isatty(fd)) {
                input = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (input < 0)
                        return -errno;
                *ret_input = TAKE_FD(input);
                return 0;
        }
        p = malloc(sizeof(*p));
        if (!p)
                return -ENOMEM;
        *p = (Pump) { .terminal = fd, .pipe = -EBADF };
        int r = pump_open(p, event, &input);
        if (r < 0)
                return r;
        *ret_input = TAKE_FD(input);
        *ret = TAKE_PTR(p);
        return 0;
}

Pump *pump_free(Pump *p) {
        if (!p)
                return NULL;
        pump_close(p);
        free(p);
        return NULL;
}
