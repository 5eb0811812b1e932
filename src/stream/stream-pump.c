/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/socket.h>
#include <time.h>

#include "stream/stream-answer.h"
#include "stream/stream-pump.h"
#include "stream/stream-terminal.h"

#define FIRST_FD 3
#define TO_ENGINE_SIZE (64 * KIB)
#define SIZE_INTERVAL_MSEC 50           /* between two sizes: who drags a window makes a thousand a second, each a request to the Engine */

/* What is waited for; stdout is the last. */
enum { POLL_ENGINE, POLL_IN, POLL_OUT, POLL_ERR, POLL_SIGNALS, POLL_STDOUT, _POLL_MAX };

struct StreamPump {
        StreamKind kind;
        int socket, signals;
        StreamIo in, out, err;          /* err: of a command; in.fd is -EBADF when nothing comes from there any more */
        bool engine_closed;             /* nothing comes from it */
        bool engine_deaf;               /* it was told that nothing comes, or takes nothing */
        unsigned rows, columns;
        bool size_changed;
        int64_t said_msec;              /* when a size was told last */

        StreamDecoder from;
        size_t space;                   /* to receive to */
        const char *run;                /* the next bytes to write, and where to */
        size_t run_size;
        unsigned run_stream;
        char said[STREAM_MESSAGE_MAX];  /* by the Engine itself, between the frames */
        size_t n_said;

        size_t to_begin, to_end;
        char to[TO_ENGINE_SIZE];
};

/* ---- begin */

static int open_terminal(StreamPump *p) {
        int r = stream_terminal_open(FIRST_FD, &p->signals);

        p->in.type = STREAM_IO_PLAIN;
        p->size_changed = true;
        return r;
}

static int open_descriptors(StreamPump *p) {
        int r = stream_io_open(FIRST_FD, &p->in);

        if (r < 0)
                return r;
        if (p->kind == STREAM_TERMINAL) {
                r = open_terminal(p);
                p->out = p->in;
        } else if (p->kind == STREAM_OUTPUT) {
                p->out = p->in;
                p->in.fd = -EBADF;
        } else {
                r = stream_io_open(FIRST_FD + 1, &p->out);
                if (r >= 0)
                        r = stream_io_open(FIRST_FD + 2, &p->err);
                if (!p->in.readable)
                        p->in.fd = -EBADF;
        }
        return r;
}

int stream_pump_open(const StreamRequest *request, StreamPump **ret, StreamMessage *ret_message) {
        _cleanup_(stream_pump_freep) StreamPump *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->kind = request->kind;
        p->socket = p->signals = -EBADF;
        r = open_descriptors(p);
        if (r < 0)
                return stream_failed(ret_message, p->kind == STREAM_TERMINAL ? "the terminal cannot be taken: %s" : "a descriptor cannot be used: %s",
                                     strerror(-r));
        *ret = TAKE_PTR(p);
        return 0;
}

StreamDecoder *stream_pump_decoder(StreamPump *p) {
        return &p->from;
}

StreamPump *stream_pump_free(StreamPump *p) {
        if (!p)
                return NULL;
        closep(&p->socket);
        closep(&p->signals);
        free(p);
        return NULL;
}

/* ---- from the Engine */

static const StreamIo *run_target(const StreamPump *p) {
        return p->run_stream == STREAM_FRAME_STDERR && p->kind == STREAM_COMMAND ? &p->err : &p->out;
}

/* 1: it is over, *ret says how. */
static int end(StreamMessage *ret, StreamEnd how, const char *message) {
        char *copy = message ? strdup(message) : NULL;

        if (message && !copy)
                return -ENOMEM;
        *ret = (StreamMessage) { .type = STREAM_SAYS_END, .end = how, .message = copy };
        return 1;
}

/* As far as there is room for it. */
static void take_said(StreamPump *p) {
        size_t n = MIN(p->run_size, sizeof(p->said) - p->n_said);

        memcpy(p->said + p->n_said, p->run, n);
        p->n_said += n;
        stream_decoder_take(&p->from, p->run_size);
}

static int end_of_engine(StreamPump *p, StreamMessage *ret) {
        _cleanup_free_ char *reason = NULL;

        if (p->n_said > 0) {
                reason = stream_head_reason(0, p->said, p->n_said);
                return reason ? end(ret, STREAM_END_ERROR, reason) : -ENOMEM;
        }
        if (stream_decoder_end(&p->from, p->engine_closed) < 0)
                return end(ret, STREAM_END_ERROR, "the Engine's stream is cut off");
        return end(ret, STREAM_END_ENGINE, NULL);
}

/* Finds what is to be written next. 1: there will be nothing any more. */
static int find_run(StreamPump *p, StreamMessage *ret) {
        /* It moves what is there, so it comes first. */
        (void) stream_decoder_space(&p->from, &p->space);
        for (;;) {
                if (stream_decoder_run(&p->from, &p->run, &p->run_size, &p->run_stream) < 0)
                        return end(ret, STREAM_END_ERROR, "what the Engine sent is not in the format of its streams");
                if (p->run_size == 0 || p->run_stream != STREAM_FRAME_ERROR)
                        break;
                take_said(p);
        }
        if (p->run_size > 0 || !(p->engine_closed || p->from.body.ended))
                return 0;
        return end_of_engine(p, ret);
}

static void receive(StreamPump *p) {
        size_t space;
        char *to = stream_decoder_space(&p->from, &space);
        ssize_t n;

        /* Of a connection that is closed the poll says so all the time, and no room would look like its end. */
        if (space == 0)
                return;
        n = recv(p->socket, to, space, 0);
        if (n > 0)
                stream_decoder_received(&p->from, (size_t) n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                /* Also a reset, as of an Engine whose command ended before it had read all of its input. Whether something
                 * is missing is seen by the format. */
                p->engine_closed = true;
}

/* 1: over. */
static int write_run(StreamPump *p, StreamMessage *ret) {
        ssize_t n = stream_io_write(run_target(p), p->run, p->run_size);

        if (n == -EAGAIN)
                return 0;
        if (n == -EPIPE || n == -EIO || n == -EBADF || n == -ECONNRESET || n == -ENOTCONN)
                return end(ret, STREAM_END_CALLER, NULL);
        if (n < 0) {
                _cleanup_free_ char *message = strformat("its output cannot be written: %s", strerror((int) -n));
                return message ? end(ret, STREAM_END_ERROR, message) : -ENOMEM;
        }
        stream_decoder_take(&p->from, (size_t) n);
        return 0;
}

/* ---- to the Engine */

static void drop_input(StreamPump *p) {
        p->in.fd = -EBADF;
        p->to_begin = p->to_end = 0;
        p->engine_deaf = true;
}

static void read_input(StreamPump *p) {
        ssize_t n = stream_io_read(&p->in, p->to + p->to_end, sizeof(p->to) - p->to_end);

        if (n > 0)
                p->to_end += (size_t) n;
        else if (p->kind == STREAM_TERMINAL)
                /* Nothing, or the caller's modes make a character an end of file. That it is closed the poll says. */
                return;
        else if (n != -EAGAIN)
                /* A directory, say, has no more to give than an empty file. */
                p->in.fd = -EBADF;
}

/* A terminal's end is the connection's; what has no input has nothing to end, and an Engine takes that for a client that is gone. */
static void shut_input(StreamPump *p) {
        if (p->kind != STREAM_COMMAND || p->in.fd >= 0 || p->to_end > 0 || p->engine_deaf)
                return;
        (void) shutdown(p->socket, SHUT_WR);
        p->engine_deaf = true;
}

static void send_input(StreamPump *p) {
        ssize_t n = send(p->socket, p->to + p->to_begin, p->to_end - p->to_begin, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
                drop_input(p);
        if (n <= 0)
                return;
        p->to_begin += (size_t) n;
        if (p->to_begin == p->to_end)
                p->to_begin = p->to_end = 0;
}

/* ---- the loop */

/* What is not waited for is left out, but for who reads: that they are gone is to be noticed at any time. */
static void watch(StreamPump *p, struct pollfd fds[static _POLL_MAX]) {
        short out = p->run_size > 0 && run_target(p) == &p->out ? POLLOUT : 0, err = p->run_size > 0 && !out ? POLLOUT : 0;
        short engine = 0;

        if (!p->engine_closed && !p->from.body.ended && p->space > 0)
                engine |= POLLIN;
        if (p->to_end > 0)
                engine |= POLLOUT;
        fds[POLL_ENGINE] = (struct pollfd) { engine ? p->socket : -1, engine, 0 };
        fds[POLL_IN] = (struct pollfd) { p->to_end < sizeof(p->to) ? p->in.fd : -1, POLLIN, 0 };
        fds[POLL_OUT] = (struct pollfd) { p->out.fd, out, 0 };
        fds[POLL_ERR] = (struct pollfd) { p->kind == STREAM_COMMAND ? p->err.fd : -1, err, 0 };
        fds[POLL_SIGNALS] = (struct pollfd) { p->size_changed ? -1 : p->signals, POLLIN, 0 };
}

static int64_t now_msec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Milliseconds until the next size may be told; -1: there is none. */
static int until_size(const StreamPump *p) {
        return p->size_changed ? (int) MAX(p->said_msec + SIZE_INTERVAL_MSEC - now_msec(), (int64_t) 0) : -1;
}

static void say_size(StreamPump *p) {
        p->size_changed = false;
        p->said_msec = now_msec();
        if (stream_terminal_resized(FIRST_FD, p->signals, &p->rows, &p->columns))
                stream_io_say(&(const StreamMessage) { .type = STREAM_SAYS_SIZE, .rows = p->rows, .columns = p->columns });
}

static bool is_gone(const struct pollfd *fd) {
        return fd->revents & (POLLERR | POLLHUP | POLLNVAL);
}

/* 1: over. */
static int turn(StreamPump *p, StreamMessage *ret) {
        struct pollfd fds[_POLL_MAX];
        int r, timeout = until_size(p);

        shut_input(p);
        watch(p, fds);
        if (stream_io_wait(fds, ELEMENTSOF(fds), timeout > 0 ? timeout : -1, timeout == 0))
                say_size(p);
        else if (fds[POLL_SIGNALS].revents)
                p->size_changed = true;
        if (is_gone(fds + POLL_OUT) || is_gone(fds + POLL_ERR))
                return end(ret, STREAM_END_CALLER, NULL);
        if (p->run_size > 0 && (fds[POLL_OUT].revents | fds[POLL_ERR].revents) & POLLOUT) {
                r = write_run(p, ret);
                if (r != 0)
                        return r;
        }
        if (fds[POLL_ENGINE].revents & ~POLLOUT)
                receive(p);
        if (p->to_end > 0 && fds[POLL_ENGINE].revents)
                send_input(p);
        if (fds[POLL_IN].revents)
                read_input(p);
        return 0;
}

int stream_pump_run(StreamPump *p, int socket, StreamMessage *ret) {
        int r;

        p->socket = socket;
        do {
                r = find_run(p, ret);
                if (r == 0)
                        r = turn(p, ret);
        } while (r == 0);
        return r < 0 ? r : 0;
}
