/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "basic/io-util.h"
#include "stream/stream-io.h"

#define PATIENCE_USEC 20000             /* for one transfer that waits although it should not */

static void on_alarm(int signo) {
}

int stream_io_setup(void) {
        /* Without SA_RESTART: it is there to interrupt. */
        struct sigaction alarm_action = { .sa_handler = on_alarm }, ignore = { .sa_handler = SIG_IGN };

        if (sigaction(SIGALRM, &alarm_action, NULL) < 0 || sigaction(SIGPIPE, &ignore, NULL) < 0)
                return -errno;
        return 0;
}

/* Without a question to the file system, which may be the caller's own, or away, and need not answer: nothing has begun yet, and a
 * session whose command is about to begin is not frozen before that has. */
int stream_io_open(int fd, StreamIo *ret) {
        int flags = fcntl(fd, F_GETFL);
        struct statx st;

        if (flags < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
                return -errno;
        *ret = (StreamIo) {
                .fd = fd,
                .type = S_ISSOCK(st.stx_mode) ? STREAM_IO_SOCKET : S_ISREG(st.stx_mode) || S_ISDIR(st.stx_mode) ? STREAM_IO_PLAIN : STREAM_IO_SHARED,
                .readable = !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY,
        };
        return 0;
}

/* Comes again and again, so that none is lost that comes just before the transfer begins. */
static void set_alarm(bool on) {
        struct itimerval t = { { 0, on ? PATIENCE_USEC : 0 }, { 0, on ? PATIENCE_USEC : 0 } };

        (void) setitimer(ITIMER_REAL, &t, NULL);
}

static ssize_t result(ssize_t n) {
        if (n >= 0)
                return n;
        return errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno;
}

ssize_t stream_io_read(const StreamIo *io, void *buf, size_t size) {
        ssize_t n;

        if (io->type == STREAM_IO_SOCKET)
                return result(recv(io->fd, buf, size, MSG_DONTWAIT));
        if (io->type == STREAM_IO_PLAIN)
                return result(read(io->fd, buf, size));
        set_alarm(true);
        n = result(read(io->fd, buf, size));
        set_alarm(false);
        return n;
}

ssize_t stream_io_write(const StreamIo *io, const void *data, size_t size) {
        ssize_t n;

        if (io->type == STREAM_IO_SOCKET)
                return result(send(io->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL));
        if (io->type == STREAM_IO_PLAIN)
                return result(write(io->fd, data, size));
        set_alarm(true);
        /* A pipe that is ready takes so much at once. */
        n = result(write(io->fd, data, MIN(size, (size_t) PIPE_BUF)));
        set_alarm(false);
        return n;
}

bool stream_io_wait(struct pollfd *fds, size_t n, int timeout_msec, bool say) {
        struct pollfd *out = fds + n - 1;

        *out = (struct pollfd) { STDOUT_FILENO, say ? POLLOUT : 0, 0 };
        if (poll(fds, n, timeout_msec) < 0) {
                if (errno != EINTR)
                        _exit(EXIT_FAILURE);
                for (size_t i = 0; i < n; i++)
                        fds[i].revents = 0;
        }
        if (out->revents & (POLLERR | POLLHUP | POLLNVAL))
                _exit(EXIT_FAILURE);
        return out->revents & POLLOUT;
}

void stream_io_say(const StreamMessage *m) {
        _cleanup_free_ char *line = NULL;

        if (stream_message_to_json(m, &line) < 0 || write_full(STDOUT_FILENO, line, strlen(line)) < 0)
                _exit(EXIT_FAILURE);
}
