/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in the containers of the provider in memory, and their output. */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <cmocka.h>

#include "provider/fake.h"

typedef struct Fixture {
        sd_event *event;
        Provider *p;
        TaskState task;         /* of session "s" */
        bool frozen;
        int in, out, err;       /* the test's ends */
        ProviderCall *call;
        unsigned n_begun;
        int result;             /* 1 = none yet */
        RefusalCode code;
        int exit_code;
        char text[8192];        /* that was read from out */
        size_t n_text;
} Fixture;

static void on_list(Provider *p, void *userdata) {
}

static void on_session(Provider *p, const ProviderObservation *o, void *userdata) {
        ((Fixture *) userdata)->task = o->task;
        ((Fixture *) userdata)->frozen = o->frozen;
}

static void on_node(Provider *p, const ProviderNode *n, void *userdata) {
}

static void on_node_removed(Provider *p, const char *id, void *userdata) {
}

static void on_health(Provider *p, ProviderHealth health, const char *detail, void *userdata) {
}

static usec_t monotonic(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

/* Turns the loop until the condition holds; the deadline only bounds a failure. */
#define WAIT_FOR(f, condition)                                                          \
        do {                                                                            \
                usec_t _end = monotonic() + 20 * USEC_PER_SEC;                          \
                while (!(condition)) {                                                  \
                        assert_true(sd_event_run((f)->event, 10000) >= 0);              \
                        if (monotonic() > _end)                                         \
                                fail_msg("never came true: %s", #condition);            \
                }                                                                       \
        } while (0)

static void turn(Fixture *f) {
        for (unsigned i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, USEC_PER_MSEC) >= 0);
}

static void on_done(void *userdata, int r, const Refusal *refusal) {
        Fixture *f = userdata;

        assert_int_equal(f->result, 1);
        f->result = r;
        f->code = refusal ? refusal->code : _REFUSAL_INVALID;
        f->call = NULL;
}

static void on_command(void *userdata, int r, const Refusal *refusal, int exit_code) {
        on_done(userdata, r, refusal);
        ((Fixture *) userdata)->exit_code = exit_code;
}

static void on_begun(void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(f->result, 1);
        f->n_begun++;
}

static void run(Fixture *f) {
        ProviderSpec spec = { .session = "s", .name = "s", .image = "base", .record = "{}" };

        f->result = 1;
        assert_int_equal(f->p->vtable->run(f->p, &spec, on_done, f, &f->call), 0);
        WAIT_FOR(f, f->result == 0 && f->task == TASK_RUNNING);
        f->result = 1;
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void) signal(SIGPIPE, SIG_IGN);
        *f = (Fixture) { .in = -1, .out = -1, .err = -1 };
        assert_int_equal(sd_event_new(&f->event), 0);
        assert_int_equal(fake_new(f->event, &(FakeOptions) { .control = "", .state = "" }, &f->p), 0);
        assert_int_equal(f->p->vtable->start(f->p, &(ProviderObserver) { on_list, on_session, on_list, on_node, on_node_removed, on_health, f }), 0);
        run(f);
        *state = f;
        return 0;
}

static void close_in(Fixture *f) {
        closep(&f->in);
        f->in = -1;
}

static void close_out(Fixture *f) {
        closep(&f->out);
        f->out = -1;
}

static int teardown(void **state) {
        Fixture *f = *state;

        provider_free(f->p);
        sd_event_unref(f->event);
        close_in(f);
        close_out(f);
        closep(&f->err);
        free(f);
        return 0;
}

static int start(Fixture *f, ProviderCommand command, char *const *argv, const int *fds, size_t n_fds) {
        command.session = "s";
        command.argv = argv;
        command.fds = fds;
        command.n_fds = n_fds;
        f->result = 1;
        f->n_begun = 0;
        f->n_text = 0;
        f->text[0] = 0;
        return f->p->vtable->execute(f->p, &command, on_begun, on_command, f, &f->call);
}

#define WORDS(...) ((char *const *) (const char *const[]) { __VA_ARGS__, NULL })

/* With pipes, the ends of the command closed here. */
static void execute(Fixture *f, ProviderCommand command, char *const *argv) {
        int in[2], out[2], err[2];

        close_in(f);
        close_out(f);
        closep(&f->err);
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(pipe2(err, O_CLOEXEC), 0);
        assert_int_equal(start(f, command, argv, (const int[]) { in[0], out[1], err[1] }, 3), 0);
        /* The flags of these are shared with everybody who holds them. */
        assert_false(fcntl(in[0], F_GETFL) & O_NONBLOCK);
        assert_false(fcntl(out[1], F_GETFL) & O_NONBLOCK);
        close(in[0]);
        close(out[1]);
        close(err[1]);
        f->in = in[1];
        f->out = out[0];
        f->err = err[0];
        assert_int_equal(fcntl(f->out, F_SETFL, O_NONBLOCK), 0);
        assert_int_equal(fcntl(f->err, F_SETFL, O_NONBLOCK), 0);
}

static void say(Fixture *f, const char *text) {
        assert_int_equal(write(f->in, text, strlen(text)), strlen(text));
}

static bool has_read(Fixture *f, const char *text) {
        ssize_t n = read(f->out, f->text + f->n_text, sizeof(f->text) - 1 - f->n_text);

        f->n_text += (size_t) MAX(n, 0);
        f->text[f->n_text] = 0;
        return streq(f->text, text);
}

static void expect_end(Fixture *f, int exit_code) {
        WAIT_FOR(f, f->result != 1);
        assert_int_equal(f->result, 0);
        assert_int_equal(f->exit_code, exit_code);
        assert_int_equal(f->n_begun, 1);
}

static void expect_refused(Fixture *f, RefusalCode code, unsigned n_begun) {
        WAIT_FOR(f, f->result != 1);
        assert_int_equal(f->result, -EBADRQC);
        assert_int_equal(f->code, code);
        assert_int_equal(f->n_begun, n_begun);
}

static void test_pipes(void **state) {
        Fixture *f = *state;
        char error[16] = "";

        execute(f, (ProviderCommand) {}, WORDS("cat"));
        WAIT_FOR(f, f->n_begun == 1);
        say(f, "hello\n");
        WAIT_FOR(f, has_read(f, "hello\n"));
        say(f, "error\n");
        WAIT_FOR(f, has_read(f, "hello\nerror\n"));
        assert_int_equal(read(f->err, error, sizeof(error)), 6);
        assert_string_equal(error, "error\n");
        say(f, "exit 256\nexit 7\nmore\n");
        expect_end(f, 7);
        assert_true(has_read(f, "hello\nerror\nexit 256\nexit 7\n"));

        execute(f, (ProviderCommand) {}, NULL);
        say(f, "no newline");
        close_in(f);
        expect_end(f, 0);
        assert_true(has_read(f, "no newline"));

        execute(f, (ProviderCommand) {}, NULL);
        WAIT_FOR(f, f->n_begun == 1);
        close_out(f);
        expect_refused(f, REFUSAL_CANCELED, 1);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 3);
}

static void test_programs(void **state) {
        Fixture *f = *state;

        execute(f, (ProviderCommand) {}, WORDS("true"));
        expect_end(f, 0);
        execute(f, (ProviderCommand) {}, WORDS("false"));
        expect_end(f, 1);
        execute(f, (ProviderCommand) { .env = WORDS("A=1", "B={{2}}"), .user = "1:2", .directory = "/tmp" }, WORDS("show", "two words"));
        expect_end(f, 0);
        assert_true(has_read(f, "argument show\nargument two words\nenv A=1\nenv B={{2}}\nuser 1:2\ndirectory /tmp\n"));
        execute(f, (ProviderCommand) {}, WORDS("missing"));
        expect_refused(f, REFUSAL_PROVIDER_FAILED, 0);
        assert_int_equal(start(f, (ProviderCommand) {}, NULL, NULL, 0), -EINVAL);
}

/* epoll takes no files; and a file goes on from where it is. */
static void test_files(void **state) {
        Fixture *f = *state;
        FILE *in = tmpfile(), *out = tmpfile();
        char text[32] = "";

        assert_true(in && out);
        fputs("one\ntwo\n", in);
        rewind(in);
        fputs("before\n", out);
        fflush(out);
        assert_int_equal(start(f, (ProviderCommand) {}, NULL, (const int[]) { fileno(in), fileno(out), fileno(out) }, 3), 0);
        expect_end(f, 0);
        assert_int_equal(pread(fileno(out), text, sizeof(text) - 1, 0), 15);
        assert_string_equal(text, "before\none\ntwo\n");
        fclose(in);
        fclose(out);
}

static void open_terminal(Fixture *f) {
        struct winsize size = { .ws_row = 24, .ws_col = 80 };
        int slave;

        close_in(f);
        close_out(f);
        f->in = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(f->in >= 0 && grantpt(f->in) == 0 && unlockpt(f->in) == 0);
        assert_int_equal(ioctl(f->in, TIOCSWINSZ, &size), 0);
        slave = ioctl(f->in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(slave >= 0);
        f->out = dup(f->in);
        assert_int_equal(fcntl(f->out, F_SETFL, O_NONBLOCK), 0);
        assert_int_equal(start(f, (ProviderCommand) { .terminal = true }, NULL, &slave, 1), 0);
        close(slave);
        WAIT_FOR(f, f->n_begun == 1);
}

static void test_terminal(void **state) {
        struct winsize size = { .ws_row = 50, .ws_col = 132 };
        Fixture *f = *state;

        open_terminal(f);
        say(f, "size\r");
        WAIT_FOR(f, has_read(f, "size\r24x80\n"));
        assert_int_equal(ioctl(f->in, TIOCSWINSZ, &size), 0);
        say(f, "size\n");
        WAIT_FOR(f, has_read(f, "size\r24x80\nsize\n50x132\n"));
        say(f, "x\004\r\004");
        expect_end(f, 0);

        open_terminal(f);
        close_in(f);
        close_out(f);
        expect_refused(f, REFUSAL_CANCELED, 1);
}

/* Nobody reads, and the loop goes on all the same. */
static void test_slow_reader(void **state) {
        static const char piece[4096];
        Fixture *f = *state;
        size_t sent = 0, got = 0;
        char buffer[65536];

        execute(f, (ProviderCommand) {}, NULL);
        assert_int_equal(fcntl(f->in, F_SETFL, O_NONBLOCK), 0);
        for (unsigned idle = 0; idle < 50; ) {
                ssize_t n = write(f->in, piece, sizeof(piece));
                sent += (size_t) MAX(n, 0);
                idle = n < 0 ? idle + 1 : 0;
                turn(f);
        }
        assert_true(sent > 65536);
        close_in(f);
        WAIT_FOR(f, ({ ssize_t n = read(f->out, buffer, sizeof(buffer)); got += (size_t) MAX(n, 0); n; }) == 0);
        assert_int_equal(got, sent);
        expect_end(f, 0);
}

static void test_container_goes(void **state) {
        Fixture *f = *state;

        execute(f, (ProviderCommand) {}, NULL);
        WAIT_FOR(f, f->n_begun == 1);
        assert_int_equal(fake_set_frozen(f->p, "s", true), 0);
        WAIT_FOR(f, f->frozen);
        say(f, "hello\n");
        turn(f);
        assert_false(has_read(f, "hello\n"));
        assert_int_equal(fake_set_frozen(f->p, "s", false), 0);
        WAIT_FOR(f, has_read(f, "hello\n"));
        assert_int_equal(fake_exit_session(f->p, "s", 0), 0);
        expect_refused(f, REFUSAL_WRONG_STATE, 1);
        execute(f, (ProviderCommand) {}, NULL);
        expect_refused(f, REFUSAL_WRONG_STATE, 0);

        run(f);
        assert_int_equal(fake_set_frozen(f->p, "s", true), 0);
        execute(f, (ProviderCommand) {}, NULL);
        expect_refused(f, REFUSAL_BUSY, 0);
        assert_int_equal(fake_vanish(f->p, "s"), 0);
        execute(f, (ProviderCommand) {}, NULL);
        expect_refused(f, REFUSAL_NO_SUCH_SESSION, 0);
}

static void read_logs(Fixture *f, ProviderLogs logs) {
        int out[2];

        close_out(f);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
        logs.session = "s";
        logs.fd = out[1];
        f->result = 1;
        f->n_begun = 0;
        f->n_text = 0;
        assert_int_equal(f->p->vtable->read_logs(f->p, &logs, on_begun, on_done, f, &f->call), 0);
        close(out[1]);
        f->out = out[0];
}

static unsigned count_lines(Fixture *f) {
        unsigned n = 0;

        WAIT_FOR(f, f->result != 1);
        assert_int_equal(f->result, 0);
        assert_int_equal(f->n_begun, 1);
        (void) has_read(f, "");
        for (const char *p = f->text; (p = strchr(p, '\n')); p++)
                n++;
        return n;
}

static void test_logs(void **state) {
        Fixture *f = *state;
        usec_t now = (usec_t) time(NULL) * USEC_PER_SEC;

        read_logs(f, (ProviderLogs) { .lines = UINT64_MAX });
        assert_int_equal(count_lines(f), 10);
        assert_true(startswith(f->text, "s "));
        assert_non_null(strstr(f->text, " line 1\n"));
        read_logs(f, (ProviderLogs) { .lines = 2, .timestamps = true });
        assert_int_equal(count_lines(f), 2);
        assert_true(startswith(f->text, "20"));
        assert_non_null(strstr(f->text, " line 10\n"));
        read_logs(f, (ProviderLogs) { .lines = 0 });
        assert_int_equal(count_lines(f), 0);
        read_logs(f, (ProviderLogs) { .lines = 10, .since_usec = now + 3600 * USEC_PER_SEC });
        assert_int_equal(count_lines(f), 0);
        read_logs(f, (ProviderLogs) { .lines = 10, .until_usec = now - 3600 * USEC_PER_SEC });
        assert_int_equal(count_lines(f), 0);
        read_logs(f, (ProviderLogs) { .lines = 10, .since_usec = now - 3600 * USEC_PER_SEC, .until_usec = now + 3600 * USEC_PER_SEC });
        assert_int_equal(count_lines(f), 10);
}

static void test_follow(void **state) {
        Fixture *f = *state;

        read_logs(f, (ProviderLogs) { .follow = true, .lines = 0 });
        WAIT_FOR(f, f->n_begun == 1);
        assert_int_equal(fake_write(f->p, "s", 5), 0);
        WAIT_FOR(f, has_read(f, "write 5\n"));
        assert_int_equal(fake_write(f->p, "s", 6), 0);
        assert_int_equal(fake_exit_session(f->p, "s", 0), 0);
        assert_int_equal(count_lines(f), 2);
        /* What has ended still tells. */
        read_logs(f, (ProviderLogs) { .follow = true, .lines = 3 });
        assert_int_equal(count_lines(f), 3);

        run(f);
        read_logs(f, (ProviderLogs) { .follow = true, .lines = 3 });
        WAIT_FOR(f, f->n_begun == 1);
        close_out(f);
        WAIT_FOR(f, f->result == 0);
        read_logs(f, (ProviderLogs) { .follow = true, .lines = 3 });
        WAIT_FOR(f, f->n_begun == 1);
        assert_int_equal(fake_kill_container(f->p, "s"), 0);
        expect_refused(f, REFUSAL_WRONG_STATE, 1);
}

/* Nobody is called after that. */
static void test_cancel(void **state) {
        Fixture *f = *state;

        execute(f, (ProviderCommand) {}, NULL);
        provider_call_cancel(f->call);
        turn(f);
        assert_int_equal(f->n_begun, 0);
        execute(f, (ProviderCommand) {}, NULL);
        WAIT_FOR(f, f->n_begun == 1);
        provider_call_cancel(f->call);
        say(f, "");
        turn(f);
        assert_int_equal(f->result, 1);
        assert_int_equal(read(f->out, f->text, 1), 0);
}

static void test_failures(void **state) {
        Fixture *f = *state;

        assert_int_equal(fake_fail_next(f->p, FAKE_EXECUTE, 1, REFUSAL_BUSY, "Not now."), 0);
        execute(f, (ProviderCommand) {}, NULL);
        expect_refused(f, REFUSAL_BUSY, 0);
        assert_int_equal(fake_break_next(f->p, FAKE_READ_LOGS, 1, EIO), 0);
        read_logs(f, (ProviderLogs) { .lines = 3 });
        WAIT_FOR(f, f->result != 1);
        assert_int_equal(f->result, -EIO);
        assert_int_equal(f->n_begun, 0);
        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "It is away.");
        execute(f, (ProviderCommand) {}, NULL);
        expect_refused(f, REFUSAL_PROVIDER_UNAVAILABLE, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_pipes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_programs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_terminal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(test_container_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_logs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
