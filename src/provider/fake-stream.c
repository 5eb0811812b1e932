/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in the containers of the provider in memory, and their output: what flows through descriptors that are not ours. They are
 * opened anew where they could block, so that the flags of the others' stay as they are. */

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>

#include "provider/fake-internal.h"

#define PIECE_MAX 4096
#define LINE_SIZE 64
#define LOG_LINES 10
#define END_OF_INPUT 4          /* ^D */

struct FakeStream {
        FakeCall *call;
        char *container;        /* NULL: it has not begun */
        Strv argv, env;
        char *user, *directory;
        bool terminal;
        ProviderLogs logs;
        int in, out, err;
        sd_event_source *in_source, *out_source;
        bool over;              /* it ends when all is written */
        bool hung_up;           /* at once, for nobody reads it any more */
        char line[LINE_SIZE];
        size_t n_line;
        char *pending;          /* to be written */
        size_t n_pending;
};

/* ---- descriptors */

static int open_again(int fd, int mode) {
        _cleanup_free_ char *path = NULL;
        struct stat st;
        int again = -1;

        if (fstat(fd, &st) < 0)
                return -errno;
        /* What has a position shares it. */
        if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
                path = strformat("/proc/self/fd/%i", fd);
                again = path ? open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
        }
        if (again < 0)
                again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return again < 0 ? -errno : again;
}

static ssize_t read_some(int fd, char *buffer, size_t size) {
        ssize_t n = recv(fd, buffer, size, MSG_DONTWAIT);

        return n < 0 && errno == ENOTSOCK ? read(fd, buffer, size) : n;
}

static ssize_t write_some(int fd, const char *buffer, size_t size) {
        ssize_t n = send(fd, buffer, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        return n < 0 && errno == ENOTSOCK ? write(fd, buffer, size) : n;
}

static int put(FakeStream *t, const char *bytes, size_t n) {
        char *p = realloc(t->pending, t->n_pending + n + 1);

        if (!p)
                return -ENOMEM;
        memcpy(p + t->n_pending, bytes, n);
        t->pending = p;
        t->n_pending += n;
        return 0;
}

static void put_text(FakeStream *t, const char *before, const char *text) {
        _cleanup_free_ char *line = strformat("%s%s\n", before, text);

        if (line)
                (void) put(t, line, strlen(line));
}

static void stop_io(FakeStream *t) {
        t->in_source = sd_event_source_disable_unref(t->in_source);
        t->out_source = sd_event_source_disable_unref(t->out_source);
}

FakeStream *fake_stream_free(FakeStream *t) {
        if (!t)
                return NULL;
        stop_io(t);
        closep(&t->in);
        closep(&t->out);
        closep(&t->err);
        strv_free(t->argv);
        strv_free(t->env);
        free(t->container);
        free(t->user);
        free(t->directory);
        free(t->pending);
        free(t);
        return NULL;
}

/* ---- what is read and written */

static void end_with(FakeStream *t, int code) {
        t->over = true;
        t->call->exit_code = code;
}

static void hang_up(FakeStream *t) {
        t->n_pending = 0;
        t->hung_up = !t->over;
        t->over = true;
}

static void take_line(FakeStream *t) {
        struct winsize size;
        const char *number;
        uint64_t code;

        t->line[MIN(t->n_line, (size_t) LINE_SIZE - 1)] = 0;
        number = startswith(t->line, "exit ");
        if (number && parse_u64(number, &code) >= 0 && code <= 255)
                end_with(t, (int) code);
        else if (t->terminal && streq(t->line, "size") && ioctl(t->in, TIOCGWINSZ, &size) >= 0) {
                _cleanup_free_ char *answer = strformat("%ux%u", size.ws_row, size.ws_col);
                put_text(t, "", strempty(answer));
        } else if (!t->terminal && streq(t->line, "error"))
                (void) write_some(t->err, "error\n", strlen("error\n"));
        t->n_line = 0;
}

static void take_input(FakeStream *t, const char *bytes, size_t n) {
        for (size_t i = 0; i < n && !t->over; i++) {
                if (t->terminal && bytes[i] == END_OF_INPUT && t->n_line == 0) {
                        end_with(t, 0);
                        return;
                }
                (void) put(t, bytes + i, 1);
                if (bytes[i] == '\n' || bytes[i] == '\r')
                        take_line(t);
                else if (t->n_line < LINE_SIZE)
                        t->line[t->n_line++] = bytes[i];
        }
}

static void read_input(FakeStream *t) {
        char piece[PIECE_MAX];
        ssize_t n = read_some(t->in, piece, sizeof(piece));

        if (n > 0)
                take_input(t, piece, (size_t) n);
        else if (t->terminal && (n == 0 || errno != EAGAIN))
                hang_up(t);
        else if (n == 0 || errno != EAGAIN)
                end_with(t, 0);
}

static void write_output(FakeStream *t) {
        ssize_t n = write_some(t->out, t->pending, MIN(t->n_pending, (size_t) PIECE_MAX));

        if (n > 0) {
                t->n_pending -= (size_t) n;
                memmove(t->pending, t->pending + n, t->n_pending);
        } else if (n < 0 && errno != EAGAIN)
                hang_up(t);
}

/* ---- the loop */

static void on_turn(void *userdata);

static bool wants_input(const FakeStream *t) {
        return t->in >= 0 && !t->over && t->n_pending == 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        FakeStream *t = userdata;

        /* Nobody is left at the other end. */
        if (source == t->out_source && (revents & (EPOLLERR | EPOLLHUP)))
                hang_up(t);
        on_turn(t->call);
        return 0;
}

/* Waits for what comes next. Files are always ready, and epoll does not take them. */
static int watch(FakeStream *t) {
        Fake *f = t->call->fake;
        int r;

        stop_io(t);
        if (t->over && t->n_pending == 0)
                return fake_delay_start(f, &t->call->delay, 0, on_turn, t->call);
        r = sd_event_add_io(f->event, &t->out_source, t->out, t->n_pending > 0 ? EPOLLOUT : 0, on_io, t);
        if (r == -EPERM && t->n_pending > 0)
                return fake_delay_start(f, &t->call->delay, 0, on_turn, t->call);
        if (r < 0 && r != -EPERM)
                return r;
        r = wants_input(t) ? sd_event_add_io(f->event, &t->in_source, t->in, EPOLLIN, on_io, t) : 0;
        if (r == -EPERM)
                return fake_delay_start(f, &t->call->delay, 0, on_turn, t->call);
        return MIN(r, 0);
}

/* Its container has ended, or is another one by now. 1: what was written until then is still to be read; negative: nothing is. */
static int check_container(const FakeStream *t, const FakeSession *s, Refusal **reterr_refusal) {
        if (s && s->task == TASK_RUNNING && streq_ptr(s->container, t->container))
                return 0;
        if (t->call->op == FAKE_READ_LOGS && (!t->logs.follow || (s && s->task == TASK_EXITED)))
                return 1;
        return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "The container of session %s has ended, and with it what ran in it.", t->call->session);
}

static void on_turn(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        FakeCall *c = userdata;
        FakeStream *t = c->stream;
        const FakeSession *s = fake_find(c->fake, c->session);
        int r = check_container(t, s, &refusal);

        if (r == 0 && (s->frozen || fake_session_is_lost(s))) {
                stop_io(t);             /* until it changes */
                return;
        }
        if (r > 0)
                t->over = true;
        if (r >= 0 && t->n_pending > 0)
                write_output(t);
        else if (r >= 0 && wants_input(t))
                read_input(t);
        if (r >= 0 && t->hung_up && c->op == FAKE_EXECUTE)
                r = refuse(&refusal, REFUSAL_CANCELED, "Nobody reads what the command in session %s writes any more, so it was ended.", c->session);
        if (r < 0 || (t->over && t->n_pending == 0)) {
                fake_call_finish(c, MIN(r, 0), refusal);
                return;
        }
        r = watch(t);
        if (r < 0)
                fake_call_finish(c, r, NULL);
}

void fake_streams_changed(const FakeSession *s) {
        FakeCall *c;

        DL_FOREACH(s->fake->calls, c)
                if (c->stream && c->stream->container && streq(c->session, s->id))
                        (void) fake_delay_start(s->fake, &c->delay, 0, on_turn, c);
}

void fake_streams_wrote(const FakeSession *s, uint64_t value) {
        _cleanup_free_ char *number = strformat("%" PRIu64, value);
        FakeCall *c;

        DL_FOREACH(s->fake->calls, c)
                if (c->op == FAKE_READ_LOGS && c->stream->container && streq(c->session, s->id) && !c->stream->over)
                        put_text(c->stream, "write ", strempty(number));
        fake_streams_changed(s);
}

/* ---- their begin */

static void show(FakeStream *t) {
        STRV_FOREACH(a, t->argv)
                put_text(t, "argument ", *a);
        STRV_FOREACH(e, t->env)
                put_text(t, "env ", *e);
        if (t->user)
                put_text(t, "user ", t->user);
        if (t->directory)
                put_text(t, "directory ", t->directory);
}

static void begin_command(FakeStream *t) {
        const char *program = strempty(t->argv[0]);
        struct termios termios;

        /* The terminal of the container is what echoes, not the one on the way to it. */
        if (t->terminal && tcgetattr(t->in, &termios) >= 0) {
                cfmakeraw(&termios);
                (void) tcsetattr(t->in, TCSANOW, &termios);
        }
        if (streq(program, "show"))
                show(t);
        if (STR_IN_SET(program, "true", "false", "show"))
                end_with(t, streq(program, "false"));
}

/* All of its lines are of the moment in which the container was started. */
static void begin_logs(FakeStream *t, const FakeSession *s) {
        const ProviderLogs *l = &t->logs;
        time_t seconds = (time_t) (s->started_usec / USEC_PER_SEC);
        char stamp[64] = "";
        struct tm tm;

        if (l->timestamps)
                (void) strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&seconds, &tm));
        bool asked = s->started_usec >= l->since_usec && (l->until_usec == 0 || s->started_usec <= l->until_usec);
        for (uint64_t i = LOG_LINES - MIN(l->lines, (uint64_t) LOG_LINES); asked && i < LOG_LINES; i++) {
                _cleanup_free_ char *line = strformat("%s %.12s line %" PRIu64, s->id, s->container, i + 1);
                put_text(t, stamp, strempty(line));
        }
        t->over = !l->follow || s->task != TASK_RUNNING;
}

int fake_stream_begin(FakeCall *c) {
        FakeStream *t = c->stream;
        const FakeSession *s = fake_find(c->fake, c->session);
        provider_begun_cb begun = c->on_begun;
        void *userdata = c->userdata;
        int r;

        r = free_and_strdup(&t->container, s->container);
        if (r < 0)
                return r;
        if (c->op == FAKE_EXECUTE)
                begin_command(t);
        else
                begin_logs(t, s);
        r = watch(t);
        if (r >= 0 && begun)
                begun(userdata);        /* which may cancel the call */
        return r;
}

/* ---- the vtable */

static int stream_new(FakeCall *c) {
        c->stream = calloc(1, sizeof(*c->stream));
        if (!c->stream)
                return -ENOMEM;
        *c->stream = (FakeStream) { .call = c, .in = -EBADF, .out = -EBADF, .err = -EBADF };
        c->exit_code = -1;
        return 0;
}

static int take_command(FakeStream *t, const ProviderCommand *command) {
        const int *fds = command->fds;
        bool terminal = command->terminal;

        if (command->n_fds != (terminal ? 1 : 3))
                return -EINVAL;
        t->terminal = terminal;
        t->argv = strv_copy(command->argv);
        t->env = strv_copy(command->env);
        if (!t->argv || !t->env || free_and_strdup(&t->user, command->user) < 0 || free_and_strdup(&t->directory, command->directory) < 0)
                return -ENOMEM;
        t->in = open_again(fds[0], O_RDONLY);
        t->out = open_again(fds[terminal ? 0 : 1], O_WRONLY);
        t->err = terminal ? -EBADF : open_again(fds[2], O_WRONLY);
        return t->in < 0 ? t->in : t->out < 0 ? t->out : !terminal && t->err < 0 ? t->err : 0;
}

bool fake_stream_runs(const FakeCall *c, const char *program) {
        return streq_ptr(c->stream->argv[0], program);
}

int fake_execute(Provider *p, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, FAKE_EXECUTE, command->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_begun = begun;
        c->on_command = done;
        r = stream_new(c);
        if (r >= 0)
                r = take_command(c->stream, command);
        return fake_call_start(c, r, ret);
}

int fake_read_logs(Provider *p, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, FAKE_READ_LOGS, logs->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_begun = begun;
        c->on_done = done;
        r = stream_new(c);
        if (r >= 0) {
                c->stream->logs = *logs;
                c->stream->logs.session = NULL;
                r = c->stream->out = open_again(logs->fd, O_WRONLY);
        }
        return fake_call_start(c, r, ret);
}
