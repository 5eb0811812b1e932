/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>

#include "basic/string-util.h"
#include "forward.h"

#define ESCAPE_TIMES 3
#define ESCAPE_USEC USEC_PER_SEC
#define END_OF_INPUT '\x04'             /* ^D */

/* A circle would save some copying that nobody notices. */
typedef struct Buffer {
        char bytes[16 * KIB];
        size_t n;
} Buffer;

typedef struct Forward {
        int in, out;                    /* ours; in -1: nothing goes there */
        int far;                        /* the session's */
        bool is_pty;
        bool in_is_terminal;
        bool in_over, far_over;
        bool at_line;                   /* nothing was typed, or a whole line */
        Escape escape;
        struct termios before;          /* of the terminal */
        Buffer typed, shown;
        ForwardEnd end;
        bool ended;
        int error;                      /* of the output; 0 or -errno */
} Forward;

static volatile sig_atomic_t caught, resized, continued;

static void on_signal(int signo) {
        if (signo == SIGWINCH)
                resized = 1;
        else if (signo == SIGCONT)
                continued = 1;
        else
                caught = signo;
}

static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH, SIGCONT, SIGPIPE };

typedef struct SignalState {
        struct sigaction actions[ELEMENTSOF(signals)];
        sigset_t mask;
} SignalState;

/* They come while ppoll() waits, and at no other time. What is ignored, as of nohup(1), stays it. */
static void take_signals(SignalState *before) {
        sigset_t mask;

        caught = resized = continued = 0;
        (void) sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                struct sigaction action = { .sa_handler = signals[i] == SIGPIPE ? SIG_IGN : on_signal };

                (void) sigaction(signals[i], NULL, before->actions + i);
                if (before->actions[i].sa_handler != SIG_IGN)
                        (void) sigaction(signals[i], &action, NULL);
                (void) sigaddset(&mask, signals[i]);
        }
        (void) sigprocmask(SIG_BLOCK, &mask, &before->mask);
}

static void give_signals_back(const SignalState *before) {
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaction(signals[i], before->actions + i, NULL);
        (void) sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

bool escape_take(Escape *e, const char *bytes, size_t n, usec_t now) {
        for (size_t i = 0; i < n; i++) {
                if (bytes[i] != ESCAPE_CHARACTER) {
                        e->n = 0;
                        continue;
                }
                if (e->n == 0 || now - e->first_usec > ESCAPE_USEC)
                        *e = (Escape) { .first_usec = now };
                if (++e->n == ESCAPE_TIMES)
                        return true;
        }
        return false;
}

static usec_t now_monotonic(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

/* One of our own that never blocks, where there can be one: what is opened anew has flags of its own. */
static int open_again(int fd, int mode) {
        _cleanup_free_ char *path = NULL;
        struct stat st;

        if (fstat(fd, &st) >= 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
                path = strformat("/proc/self/fd/%d", fd);
                int again = path ? open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
                if (again >= 0)
                        return again;
        }
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return copy < 0 ? -errno : copy;
}

static void make_raw(const Forward *f) {
        struct termios raw = f->before;

        cfmakeraw(&raw);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void pass_size(const Forward *f) {
        static const int places[] = { STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO };
        struct winsize size;

        for (size_t i = 0; f->is_pty && i < ELEMENTSOF(places); i++)
                if (ioctl(places[i], TIOCGWINSZ, &size) >= 0) {
                        (void) ioctl(f->far, TIOCSWINSZ, &size);
                        return;
                }
}

static void end(Forward *f, ForwardEnd how) {
        if (!f->ended)
                f->end = how;
        f->ended = true;
}

/* Positive: so many bytes. 0: it is over. -EAGAIN: nothing yet. */
static ssize_t fill(Buffer *b, int fd) {
        size_t room = sizeof(b->bytes) - b->n;
        ssize_t n = recv(fd, b->bytes + b->n, room, MSG_DONTWAIT);

        if (n < 0 && errno == ENOTSOCK)
                n = read(fd, b->bytes + b->n, room);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
        b->n += (size_t) n;
        return n;
}

/* Not more at once than what a pipe takes that says it can be written to. */
static int drain(Buffer *b, int fd) {
        size_t most = MIN(b->n, (size_t) PIPE_BUF);
        ssize_t n = send(fd, b->bytes, most, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == ENOTSOCK)
                n = write(fd, b->bytes, most);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        b->n -= (size_t) n;
        memmove(b->bytes, b->bytes + n, b->n);
        return 0;
}

/* As a person would end it: the first ^D only sends what stands in a line that is not finished. There is room: it was read into. */
static void type_end(Forward *f) {
        f->in_over = true;
        for (int i = f->at_line ? 1 : 2; i > 0 && f->typed.n < sizeof(f->typed.bytes); i--)
                f->typed.bytes[f->typed.n++] = END_OF_INPUT;
}

static void read_typed(Forward *f) {
        size_t before = f->typed.n;
        ssize_t n = fill(&f->typed, f->in);

        if (n == -EAGAIN)
                return;
        if (n == 0 && f->in_is_terminal)
                end(f, FORWARD_UNREAD);         /* it is gone */
        else if (n == 0)
                type_end(f);
        else if (f->in_is_terminal && escape_take(&f->escape, f->typed.bytes + before, (size_t) n, now_monotonic()))
                end(f, FORWARD_ESCAPED);
        else
                f->at_line = f->typed.bytes[f->typed.n - 1] == '\n' || f->typed.bytes[f->typed.n - 1] == '\r';
}

static void write_shown(Forward *f) {
        int r = drain(&f->shown, f->out);

        if (r == -EPIPE || r == -EIO || r == -ECONNRESET)
                end(f, FORWARD_UNREAD);
        else if (r < 0) {
                f->error = r;
                end(f, FORWARD_UNREAD);
        }
}

static bool has_room(const Buffer *b) {
        return b->n + 2 <= sizeof(b->bytes);    /* two for ^D */
}

/* A descriptor that nothing is wanted of is left out: it would say that it was hung up, without end. */
static struct pollfd pollfd_for(int fd, int events) {
        return (struct pollfd) { .fd = events ? fd : -1, .events = (short) events };
}

static void turn(Forward *f, const sigset_t *mask) {
        struct pollfd p[] = {
                pollfd_for(f->in, !f->in_over && has_room(&f->typed) ? POLLIN : 0),
                pollfd_for(f->far, (!f->far_over && has_room(&f->shown) ? POLLIN : 0) | (!f->far_over && f->typed.n > 0 ? POLLOUT : 0)),
                { .fd = f->out, .events = f->shown.n > 0 ? POLLOUT : 0 },
        };

        if (ppoll(p, ELEMENTSOF(p), NULL, mask) < 0)
                return;                         /* a signal */
        if (p[2].revents & POLLOUT)
                write_shown(f);
        else if (p[2].revents & (POLLERR | POLLHUP | POLLNVAL))
                end(f, FORWARD_UNREAD);
        if (p[1].revents & POLLOUT && drain(&f->typed, f->far) < 0)
                f->typed.n = 0;
        if (p[1].revents & (POLLIN | POLLHUP | POLLERR) && has_room(&f->shown) && fill(&f->shown, f->far) == 0)
                f->far_over = true;
        if (p[0].revents)
                read_typed(f);
        if (f->far_over && f->shown.n == 0)
                end(f, FORWARD_CLOSED);
}

static void loop(Forward *f, const sigset_t *mask) {
        pass_size(f);
        while (!f->ended) {
                turn(f, mask);
                if (caught)
                        end(f, FORWARD_INTERRUPTED);
                if (continued && f->in_is_terminal)
                        make_raw(f);            /* the shell has had it meanwhile */
                if (continued || resized)
                        pass_size(f);
                continued = resized = 0;
        }
}

static int run(Forward *f, int *ret_signal) {
        SignalState before = {};

        f->out = open_again(STDOUT_FILENO, O_WRONLY);
        if (f->out < 0)
                return f->out;
        (void) fcntl(f->far, F_SETFL, fcntl(f->far, F_GETFL) | O_NONBLOCK);
        take_signals(&before);
        if (f->in_is_terminal)
                make_raw(f);
        loop(f, &before.mask);
        if (f->in_is_terminal)
                (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &f->before);
        give_signals_back(&before);
        (void) close(f->out);
        *ret_signal = caught;
        return f->error < 0 ? f->error : (int) f->end;
}

int forward_pty(int pty, int *ret_signal) {
        _cleanup_free_ Forward *f = malloc(sizeof(*f));
        _cleanup_close_ int in = -1;

        if (!f)
                return -ENOMEM;
        in = open_again(STDIN_FILENO, O_RDONLY);
        if (in < 0)
                return in;
        *f = (Forward) { .in = in, .far = pty, .is_pty = true, .at_line = true };
        f->in_is_terminal = tcgetattr(STDIN_FILENO, &f->before) >= 0;
        return run(f, ret_signal);
}

int forward_output(int fd, int *ret_signal) {
        _cleanup_free_ Forward *f = malloc(sizeof(*f));

        if (!f)
                return -ENOMEM;
        *f = (Forward) { .in = -1, .far = fd, .in_over = true };
        return run(f, ret_signal);
}
