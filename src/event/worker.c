/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "event/event-util.h"
#include "event/worker-child.h"
#include "event/worker.h"

#define READ_SIZE (64 * KIB)
#define STDERR_LINE_MAX (8 * KIB)
#define INPUT_MAX (16 * MIB)
#define WORKER_FDS_MAX 64U

typedef struct Lines {
        int fd;
        sd_event_source *source;
        char *buffer;
        size_t size, allocated;
} Lines;

/* Of all loops of the process: it is their number that its limit of tasks is about. */
static unsigned n_kept;

struct Worker {
        sd_event *event;
        pid_t pid;
        sd_event_source *child;         /* owns the pidfd */
        Timer *silence;
        char *log_prefix;
        usec_t timeout_usec;

        Lines out, err;
        int input_fd;
        sd_event_source *input_source;
        char *input;                    /* queued; may hold secrets */
        size_t input_size, input_sent;

        worker_line_cb on_line;
        worker_exit_cb on_exit;
        void *userdata;
        bool ended;                     /* no line is delivered any more */
        bool *gone;                     /* set by worker_free() under a callback */
};

/* ---- lines ---- */

static int lines_reserve(Lines *l) {
        size_t n = MAX(l->allocated * 2, (size_t) READ_SIZE * 2);
        char *p;

        if (l->allocated - l->size > READ_SIZE)
                return 0;
        p = realloc(l->buffer, n);
        if (!p)
                return -ENOMEM;
        l->buffer = p;
        l->allocated = n;
        return 0;
}

static void lines_close(Lines *l) {
        l->source = sd_event_source_disable_unref(l->source);
        closep(&l->fd);
        l->fd = -EBADF;
}

/* Reads once. 1: something came, 0: nothing now, negative: the end, and the descriptor is closed. */
static int lines_read(Lines *l) {
        ssize_t n;

        if (l->fd < 0)
                return -EPIPE;
        if (lines_reserve(l) < 0) {
                lines_close(l);
                return -ENOMEM;
        }
        n = read(l->fd, l->buffer + l->size, READ_SIZE);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                lines_close(l);
                return -EPIPE;
        }
        l->size += (size_t) n;
        return 1;
}

static void lines_consume(Lines *l, size_t n) {
        memmove(l->buffer, l->buffer + n, l->size - n);
        l->size -= n;
}

static void log_line(Worker *w, const char *line) {
        int level = LOG_INFO;

        if (line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>') {
                level = line[1] - '0';
                line += 3;
        }
        if (*line)
                log_full(level, 0, "%s: %s", w->log_prefix, line);
}

/* Logs what is complete; at the end, or when a line gets too long, also what is not. */
static void log_lines(Worker *w, bool all) {
        Lines *l = &w->err;
        size_t done = 0;

        while (done < l->size) {
                char *p = l->buffer + done, *nl = memchr(p, '\n', l->size - done);
                size_t n = nl ? (size_t) (nl - p) : l->size - done;

                if (!nl && !all && n < STDERR_LINE_MAX)
                        break;
                _cleanup_free_ char *line = strndup(p, MIN(n, STDERR_LINE_MAX));
                if (line)
                        log_line(w, line);
                done += n > STDERR_LINE_MAX ? STDERR_LINE_MAX : n + (nl ? 1 : 0);
        }
        lines_consume(l, done);
}

static void worker_kill(Worker *w) {
        if (w->child)
                (void) sd_event_source_send_child_signal(w->child, SIGKILL, NULL, 0);
}

static void worker_end(Worker *w, const char *why) {
        log_warning("%s: killed: %s.", w->log_prefix, why);
        w->ended = true;
        w->out.size = 0;
        lines_close(&w->out);
        worker_kill(w);
}

/* Negative when the worker was freed by the callback. */
static int deliver_lines(Worker *w) {
        Lines *l = &w->out;
        size_t done = 0;
        bool gone = false;

        w->gone = &gone;
        while (!w->ended) {
                char *p = l->buffer + done, *nl = l->size > done ? memchr(p, '\n', l->size - done) : NULL;

                if (!nl)
                        break;
                if ((size_t) (nl - p) > WORKER_LINE_MAX)
                        goto too_long;
                *nl = 0;
                done += (size_t) (nl - p) + 1;
                if (w->silence)
                        (void) timer_arm(w->silence, w->timeout_usec);
                w->on_line(w, p, (size_t) (nl - p), w->userdata);
                if (gone)
                        return -ECANCELED;
        }
        w->gone = NULL;
        if (w->ended)
                return 0;
        lines_consume(l, done);
        if (l->size <= WORKER_LINE_MAX)
                return 0;
too_long:
        w->gone = NULL;
        worker_end(w, "a line of its output is too long");
        return 0;
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Worker *w = userdata;

        if (lines_read(&w->out) > 0)
                (void) deliver_lines(w);
        return 0;
}

static int on_errors(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Worker *w = userdata;

        log_lines(w, lines_read(&w->err) < 0);
        return 0;
}

/* ---- input ---- */

static void input_done(Worker *w) {
        if (w->input)
                explicit_bzero(w->input, w->input_size);
        free(TAKE_PTR(w->input));
        w->input_size = w->input_sent = 0;
}

static void input_shut(Worker *w) {
        input_done(w);
        w->input_source = sd_event_source_disable_unref(w->input_source);
        closep(&w->input_fd);
        w->input_fd = -EBADF;
}

static void input_write(Worker *w) {
        while (w->input_sent < w->input_size) {
                ssize_t n = send(w->input_fd, w->input + w->input_sent, w->input_size - w->input_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        (void) sd_event_source_set_enabled(w->input_source, SD_EVENT_ON);
                        return;
                }
                if (n < 0) {
                        /* The child does not want it. Its exit tells more. */
                        input_shut(w);
                        return;
                }
                w->input_sent += (size_t) n;
        }
        input_done(w);
        (void) sd_event_source_set_enabled(w->input_source, SD_EVENT_OFF);
}

static int on_input(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        input_write(userdata);
        return 0;
}

int worker_send(Worker *w, const char *data, size_t size) {
        char *p;

        if (w->input_fd < 0)
                return -EPIPE;
        if (size > INPUT_MAX - w->input_size)
                return -ENOBUFS;
        if (size == 0)
                return 0;
        /* Not realloc(): it would leave a copy of a secret behind. */
        p = malloc(w->input_size + size);
        if (!p)
                return -ENOMEM;
        if (w->input) {
                memcpy(p, w->input, w->input_size);
                explicit_bzero(w->input, w->input_size);
                free(w->input);
        }
        memcpy(p + w->input_size, data, size);
        w->input = p;
        w->input_size += size;
        return sd_event_source_set_enabled(w->input_source, SD_EVENT_ON);
}

/* ---- end ---- */

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Worker *w = userdata;

        /* NULL: the owner has let go of it, only the reaping was left. */
        if (!w) {
                (void) sd_event_source_set_floating(s, false);
                return 0;
        }
        /* sd-event reaps it after this dispatch, which is the last one: nothing can be signalled by us any more, and who lets go of the worker by
         * what it has written leaves no source behind that waits for its end. */
        w->child = sd_event_source_unref(w->child);
        /* What it wrote is in the pipes. Not until their end: a grandchild may hold them open. */
        while (lines_read(&w->err) > 0)
                log_lines(w, false);
        log_lines(w, true);
        while (!w->ended && lines_read(&w->out) > 0)
                if (deliver_lines(w) < 0)
                        return 0;
        if (w->out.size > 0 && !w->ended)
                log_debug("%s: ended within a line of output, which is dropped.", w->log_prefix);
        w->ended = true;
        input_shut(w);
        lines_close(&w->out);
        lines_close(&w->err);
        if (w->silence)
                timer_disarm(w->silence);
        w->on_exit(w, si->si_code, si->si_status, w->userdata);
        return 0;
}

static void on_silence(void *userdata) {
        worker_end(userdata, "it was silent for too long");
}

pid_t worker_pid(const Worker *w) {
        return w->pid;
}

unsigned workers_kept(void) {
        return n_kept;
}

/* Or not any more to be: the loop has ended. */
static void on_reaped(void *userdata) {
        n_kept--;
}

/* Kills the child and leaves the source to the loop, which reaps it when it is dead. */
static void worker_abandon(Worker *w) {
        worker_kill(w);
        (void) sd_event_source_set_userdata(w->child, NULL);
        if (sd_event_source_set_floating(w->child, true) >= 0 && sd_event_source_set_destroy_callback(w->child, on_reaped) >= 0)
                n_kept++;
        w->child = sd_event_source_unref(w->child);
}

Worker *worker_free(Worker *w) {
        if (!w)
                return NULL;
        if (w->gone)
                *w->gone = true;
        if (w->child)
                worker_abandon(w);
        input_shut(w);
        lines_close(&w->out);
        lines_close(&w->err);
        free(w->out.buffer);
        free(w->err.buffer);
        timer_free(w->silence);
        free(w->log_prefix);
        sd_event_unref(w->event);
        free(w);
        return NULL;
}

/* ---- begin ---- */

/* sd-event insists on SIGCHLD being blocked even where it watches by pidfd. */
static int block_sigchld(void) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

/* Above the standard descriptors, so that none of the child's dup2() overwrites one that is still needed. */
static int fd_above_stdio(int *fd) {
        int n;

        if (*fd > STDERR_FILENO)
                return 0;
        n = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (n < 0)
                return -errno;
        (void) close(*fd);
        *fd = n;
        return 0;
}

static int set_nonblocking(int fd) {
        int flags = fcntl(fd, F_GETFL);
        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Stdin is a socket: a write to a child that is gone gives EPIPE there, and no SIGPIPE. */
static int worker_open_stdio(Worker *w, int ret_child[static 3]) {
        int in[2], out[2], err[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0)
                return -errno;
        w->input_fd = in[1];
        ret_child[0] = in[0];
        if (pipe2(out, O_CLOEXEC) < 0)
                return -errno;
        w->out.fd = out[0];
        ret_child[1] = out[1];
        if (pipe2(err, O_CLOEXEC) < 0)
                return -errno;
        w->err.fd = err[0];
        ret_child[2] = err[1];
        for (int i = 0; i < 3; i++) {
                r = fd_above_stdio(&ret_child[i]);
                if (r < 0)
                        return r;
        }
        r = set_nonblocking(w->out.fd);
        return r < 0 ? r : set_nonblocking(w->err.fd);
}

static int worker_watch_stdio(Worker *w) {
        int r;

        r = sd_event_add_io(w->event, &w->err.source, w->err.fd, EPOLLIN, on_errors, w);
        if (r < 0)
                return r;
        r = sd_event_add_io(w->event, &w->out.source, w->out.fd, EPOLLIN, on_output, w);
        if (r < 0)
                return r;
        r = sd_event_add_io(w->event, &w->input_source, w->input_fd, EPOLLOUT, on_input, w);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(w->input_source, SD_EVENT_OFF);
}

static int worker_watch_child(Worker *w) {
        _cleanup_close_ int pidfd = (int) syscall(SYS_pidfd_open, w->pid, 0);
        int r = pidfd < 0 ? -errno : 0;

        if (r >= 0)
                r = sd_event_add_child_pidfd(w->event, &w->child, pidfd, WEXITED, on_child, w);
        if (r < 0) {
                (void) kill(w->pid, SIGKILL);
                (void) waitpid(w->pid, NULL, 0);
                return r;
        }
        (void) sd_event_source_set_child_pidfd_own(w->child, true);
        TAKE_FD(pidfd);
        (void) sd_event_source_set_child_process_own(w->child, true);
        (void) sd_event_source_set_description(w->child, "worker");
        return 0;
}

static int worker_new(sd_event *event, const WorkerSpec *spec, Worker **ret) {
        _cleanup_(worker_freep) Worker *w = malloc(sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (Worker) {
                .event = sd_event_ref(event),
                .out.fd = -EBADF,
                .err.fd = -EBADF,
                .input_fd = -EBADF,
                .log_prefix = strdup(spec->log_prefix ?: spec->argv[0]),
                .timeout_usec = spec->timeout_usec,
                .on_line = spec->on_line,
                .on_exit = spec->on_exit,
                .userdata = spec->userdata,
        };
        if (!w->log_prefix)
                return -ENOMEM;
        if (spec->timeout_usec > 0 && spec->timeout_usec != USEC_INFINITY) {
                r = timer_new(event, on_silence, w, &w->silence);
                if (r < 0)
                        return r;
                r = timer_arm(w->silence, spec->timeout_usec);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(w);
        return 0;
}

static int worker_fork(Worker *w, const WorkerSpec *spec) {
        _cleanup_close_ int in = -EBADF, out = -EBADF, err = -EBADF;
        _cleanup_free_ char **env = NULL;
        _cleanup_free_ int *fds = NULL;
        int child[3] = { -EBADF, -EBADF, -EBADF }, r;

        r = worker_child_environment(&env);
        if (r < 0)
                return r;
        fds = calloc(spec->n_fds + 1, sizeof(int));
        if (!fds)
                return -ENOMEM;
        for (size_t i = 0; i < spec->n_fds; i++)
                fds[i] = spec->fds[i];
        r = worker_open_stdio(w, child);
        in = child[0], out = child[1], err = child[2];
        if (r < 0)
                return r;
        r = worker_watch_stdio(w);
        if (r < 0)
                return r;
        w->pid = worker_child_fork(&(const ChildSetup) {
                .in = in, .out = out, .err = err,
                .fds = fds, .n_fds = spec->n_fds,
                .parent = getpid(),
                .caps = spec->ambient_caps,
                .argv = (char **) spec->argv,
                .envp = env,
        });
        return w->pid < 0 ? w->pid : 0;
}

int worker_spawn(sd_event *event, const WorkerSpec *spec, Worker **ret) {
        _cleanup_(worker_freep) Worker *w = NULL;
        int r;

        if (!spec->argv || !spec->argv[0] || !spec->on_line || !spec->on_exit)
                return -EINVAL;
        for (const int *c = spec->ambient_caps; c && *c >= 0; c++)
                if (*c >= 64)
                        return -EINVAL;
        if (spec->n_fds > WORKER_FDS_MAX)
                return -EINVAL;
        for (size_t i = 0; i < spec->n_fds; i++)
                if (fcntl(spec->fds[i], F_GETFD) < 0)
                        return -errno;
        if (access(spec->argv[0], X_OK) < 0)
                return -errno;
        r = block_sigchld();
        if (r < 0)
                return r;
        r = worker_new(event, spec, &w);
        if (r < 0)
                return r;
        r = worker_fork(w, spec);
        if (r < 0)
                return r;
        r = worker_watch_child(w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}
