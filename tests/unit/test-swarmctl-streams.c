/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What swarmctl does to go inside a session: its command line, points in time, the key that leaves, and bytes to and fro. */

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <utmp.h>
#include <cmocka.h>

#include "arguments.h"
#include "forward.h"
#include "timestamp.h"

static uint32_t groups_of(const char *verb) {
        return streq(verb, "logs") ? OPTIONS_LOGS : streq(verb, "exec") ? OPTIONS_EXECUTE : streq(verb, "watch") ? OPTIONS_WATCH : OPTIONS_CREATE;
}

static int parse(Arguments *a, char **ret_error, const char *line, ...) {
        char *argv[32] = { (char *) "swarmctl" };
        int argc = 1;
        va_list ap;

        *a = (Arguments) ARGUMENTS_INIT;
        *ret_error = NULL;
        va_start(ap, line);
        for (const char *s = line; s; s = va_arg(ap, const char *))
                argv[argc++] = (char *) s;
        va_end(ap);
        return arguments_parse(a, groups_of, argc, argv, ret_error);
}
#define PARSE(...) parse(&a, &error, __VA_ARGS__, NULL)

static void test_command_line(void **state) {
        Arguments a;
        char *error;

        /* The session ends the options, with "--" behind it or without. */
        assert_int_equal(PARSE("-q", "exec", "-e", "A=1", "dev", "ls", "-q", "--", "--host=x"), 0);
        assert_int_equal(strv_length(a.words), 2);
        assert_int_equal(strv_length(a.command), 4);
        assert_string_equal(a.command[2], "--");
        assert_string_equal(a.env[0], "A=1");
        assert_null(a.host);
        arguments_done(&a);
        assert_int_equal(PARSE("exec", "dev", "--", "ls", "-l"), 0);
        assert_string_equal(a.command[0], "ls");
        arguments_done(&a);
        assert_int_equal(PARSE("exec", "--", "dev", "ls", "-l"), 0);
        assert_string_equal(a.words[1], "dev");
        assert_int_equal(strv_length(a.command), 2);
        arguments_done(&a);
        assert_int_equal(PARSE("exec", "dev"), 0);
        assert_null(a.command);
        arguments_done(&a);
        assert_int_equal(PARSE("exec", "-u", "0:0", "--working-directory=/", "dev", "sh"), 0);
        assert_string_equal(a.user, "0:0");
        assert_string_equal(a.working_directory, "/");
        arguments_done(&a);
}

/* What a name or a letter means depends on the verb, wherever that stands. */
static void test_shared_names(void **state) {
        Arguments a;
        char *error;

        assert_int_equal(PARSE("logs", "dev", "-tfn5", "--until=@5"), 0);
        assert_true(a.timestamps && a.follow);
        assert_int_equal(a.lines, 5);
        assert_int_equal(a.until_usec, 5 * USEC_PER_SEC);
        assert_null(a.until);
        arguments_done(&a);
        assert_int_equal(PARSE("--until=@5", "logs", "dev", "-n", "all"), 0);
        assert_int_equal(a.until_usec, 5 * USEC_PER_SEC);
        assert_int_equal(a.lines, UINT64_MAX);
        arguments_done(&a);
        assert_int_equal(PARSE("--until", "running", "watch", "dev"), 0);
        assert_string_equal(a.until, "running");
        assert_int_equal(a.until_usec, 0);
        arguments_done(&a);
        assert_int_equal(PARSE("create", "-t", "small", "dev"), 0);
        assert_string_equal(a.template_name, "small");
        assert_false(a.timestamps);
        arguments_done(&a);
        assert_int_equal(PARSE("logs", "dev", "--since=@0", "-n0"), 0);
        assert_int_equal(a.since_usec, 1);      /* 0 is none */
        assert_int_equal(a.lines, 0);
        arguments_done(&a);
        for (const char *const *wrong = (const char *const[]) { "--since=soon", "--until=", "--lines=-1", "--lines=few", NULL }; *wrong; wrong++) {
                assert_int_equal(PARSE("logs", "dev", *wrong), -EINVAL);
                assert_int_equal(strncmp(error, *wrong, 7), 0);
                free(error);
                arguments_done(&a);
        }
}

/* 2026-11-23 10:20:30.5 UTC */
#define NOW (UINT64_C(1795429230500000))
#define AT(hours, minutes, seconds) (UINT64_C(1795392000000000) + (((hours) * UINT64_C(60) + (minutes)) * 60 + (seconds)) * USEC_PER_SEC)

static void test_times(void **state) {
        static const struct {
                const char *text;
                usec_t expected;                /* 0: refused */
        } cases[] = {
                { "now", NOW }, { "today", AT(0, 0, 0) }, { "yesterday", AT(0, 0, 0) - 86400 * USEC_PER_SEC },
                { "tomorrow", AT(24, 0, 0) }, { "-1h", NOW - 3600 * USEC_PER_SEC }, { "+30s", NOW + 30 * USEC_PER_SEC },
                { "1h 30min ago", NOW - 5400 * USEC_PER_SEC },
                /* as people write it to journalctl */
                { "1 hour ago", NOW - 3600 * USEC_PER_SEC }, { "2 hours 1 minute ago", NOW - 7260 * USEC_PER_SEC },
                { "10 minutes ago", NOW - 600 * USEC_PER_SEC }, { "2 seconds ago", NOW - 2 * USEC_PER_SEC }, { "-1week", NOW - 7 * 86400 * USEC_PER_SEC }, { "-0", NOW }, { "@1.5", 1500000 }, { "@1795429230", AT(10, 20, 30) },
                { "@0.000001999", 1 }, { "2026-11-23", AT(0, 0, 0) }, { "2026-11-23 10:20", AT(10, 20, 0) },
                { "2026-11-23 10:20:30.5", NOW }, { "2026-11-23T10:20:30.500000000Z", NOW }, { "2026-11-23T10:20:30+01:00", AT(9, 20, 30) },
                { "2026-11-23 10:20:30 UTC", AT(10, 20, 30) }, { "2026-11-23T10:20:30-0200", AT(12, 20, 30) }, { "10:20", AT(10, 20, 0) },
                { "09:05:01", AT(9, 5, 1) },
                { "", 0 }, { "soon", 0 }, { "1h", 0 }, { "30", 0 }, { "@", 0 }, { "@x", 0 }, { "@1.", 0 }, { "@99999999999999999999", 0 }, { "-", 0 },
                { "+", 0 }, { "ago", 0 }, { " ago", 0 }, { "-infinity", 0 }, { "+infinity", 0 }, { "-1x", 0 }, { "-9000w", 0 },
                { "2026-02-30", 0 }, { "2026-11-23 23:59:60", 0 }, { "2026-13-01", 0 }, { "2026-11-23 25:00", 0 }, { "2026-11-23x", 0 }, { "2026-11-23 10:20.5", 0 },
                { "2026-11-23 10:20:30.", 0 }, { "2026-11-23 10:20 CET", 0 }, { "1960-01-01", 0 }, { "-2026-11-23", 0 }, { "1970-01-01T00:00:00+05:00", 0 },
        };

        assert_int_equal(setenv("TZ", "UTC", true), 0);
        tzset();
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                usec_t t = 0;
                int r = parse_timestamp(cases[i].text, NOW, &t);

                if ((r >= 0) != (cases[i].expected > 0) || (r >= 0 && t != cases[i].expected))
                        fail_msg("'%s': %d, %" PRIu64, cases[i].text, r, t);
        }
}

/* A day has 23 hours where the clock is put forward, and what it leaves out is not another day. */
static void test_local_times(void **state) {
        usec_t noon, today, yesterday;

        assert_int_equal(setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", true), 0);
        tzset();
        assert_int_equal(parse_timestamp("2026-03-30 12:00", NOW, &noon), 0);
        assert_int_equal(noon, UINT64_C(1774864800000000));
        assert_int_equal(parse_timestamp("today", noon, &today), 0);
        assert_int_equal(noon - today, 12 * 3600 * USEC_PER_SEC);
        assert_int_equal(parse_timestamp("yesterday", noon, &yesterday), 0);
        assert_int_equal(today - yesterday, 23 * 3600 * USEC_PER_SEC);
        assert_int_equal(setenv("TZ", "UTC", true), 0);
        tzset();
}

static void test_escape(void **state) {
        usec_t t = 5 * USEC_PER_SEC;
        Escape e = {};

        assert_false(escape_take(&e, "\x1d\x1d", 2, t));
        assert_true(escape_take(&e, "\x1d", 1, t + USEC_PER_SEC));
        e = (Escape) {};
        assert_false(escape_take(&e, "\x1d\x1d", 2, t));
        assert_false(escape_take(&e, "\x1d", 1, t + USEC_PER_SEC + 1));         /* too late: the first one of the next three */
        assert_true(escape_take(&e, "\x1d\x1d", 2, t + USEC_PER_SEC + 1));
        e = (Escape) {};
        assert_false(escape_take(&e, "\x1d\x1dx\x1d\x1d", 5, t));
        assert_true(escape_take(&e, "\x1d", 1, t));
        e = (Escape) {};
        assert_true(escape_take(&e, "ab\x1d\x1d\x1d" "c", 6, t));
}

/* Runs it in a child that has `in` and `out`, between them a program on a pty of its own. Its status: 0x80 and the signal, or its end. */
static pid_t forward(int in, int out, const char *program) {
        int pty, slave, signo = 0;
        struct termios t;
        pid_t child = fork(), session;

        if (child != 0)
                return child;
        if (openpty(&pty, &slave, NULL, NULL, NULL) < 0 || tcgetattr(slave, &t) < 0)
                _exit(126);
        t.c_lflag &= ~(tcflag_t) ECHO;
        (void) tcsetattr(slave, TCSANOW, &t);
        session = fork();
        if (session == 0) {
                (void) close(pty);
                (void) login_tty(slave);
                (void) execl("/bin/sh", "sh", "-c", program, NULL);
                _exit(127);
        }
        if (session < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
                _exit(126);
        for (int fd = STDERR_FILENO + 1; fd < 64; fd++)         /* whose other end would keep it from hearing of the end */
                if (fd != pty)
                        (void) close(fd);
        int r = forward_pty(pty, &signo);
        _exit(r == FORWARD_INTERRUPTED ? 0x80 + signo : r < 0 ? 125 : r);
}

static int end_of(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static char *read_all(int fd) {
        char *text = calloc(1, 1 << 20);
        size_t n = 0;
        ssize_t k;

        assert_non_null(text);
        while ((k = read(fd, text + n, (1 << 20) - 1 - n)) > 0)
                n += (size_t) k;
        return text;
}

static char *forward_text(const char *text, const char *program) {
        int in[2], out[2];

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        pid_t pid = forward(in[0], out[1], program);
        assert_true(pid > 0);
        (void) close(in[0]);
        (void) close(out[1]);
        assert_int_equal(write(in[1], text, strlen(text)), strlen(text));
        (void) close(in[1]);
        char *seen = read_all(out[0]);
        (void) close(out[0]);
        assert_int_equal(end_of(pid), FORWARD_CLOSED);
        return seen;
}

/* Through a line discipline as a session has one: the end of the input is the end of what is read there, in a line and before one. */
static void test_forward_pipes(void **state) {
        _cleanup_free_ char *lines = forward_text("one\ntwo\n", "cat"), *piece = forward_text("one\ntwo", "cat"),
                *large = forward_text("", "yes 0123456789abcde | head -n 20000");

        assert_string_equal(lines, "one\r\ntwo\r\n");
        assert_string_equal(piece, "one\r\ntwo");
        assert_int_equal(strlen(large), 20000 * 17);
}

static void wait_until_raw(int terminal) {
        struct termios t;

        do
                assert_int_equal(tcgetattr(terminal, &t), 0);
        while (t.c_lflag & ICANON);
}

static bool is_same(const struct termios *a, const struct termios *b) {
        return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag && a->c_lflag == b->c_lflag &&
               memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

static void test_forward_terminal(void **state) {
        static const int signals[] = { SIGTERM, SIGHUP, SIGINT, SIGQUIT, 0 };

        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                struct winsize size = { .ws_row = 31, .ws_col = 71 };
                struct termios before, after;
                int master, slave;

                assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
                assert_int_equal(tcgetattr(slave, &before), 0);
                int flags = fcntl(slave, F_GETFL);
                pid_t pid = forward(slave, slave, "read line; stty size; sleep 1000");
                assert_true(pid > 0);
                wait_until_raw(slave);
                assert_int_equal(write(master, "\n", 1), 1);
                char text[32] = "";
                for (size_t n = 0; !strstr(text, "31 71\r\n");) {
                        ssize_t k = read(master, text + n, sizeof(text) - 1 - n);
                        assert_true(k > 0);
                        n += (size_t) k;
                }
                if (signals[i])
                        assert_int_equal(kill(pid, signals[i]), 0);
                else
                        assert_int_equal(write(master, "\x1d\x1d\x1d", 3), 3);
                assert_int_equal(end_of(pid), signals[i] ? 0x80 + signals[i] : FORWARD_ESCAPED);
                assert_int_equal(tcgetattr(slave, &after), 0);
                assert_true(is_same(&before, &after));
                assert_int_equal(fcntl(slave, F_GETFL), flags);
                (void) close(master);
                (void) close(slave);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_command_line),
                cmocka_unit_test(test_shared_names),
                cmocka_unit_test(test_times),
                cmocka_unit_test(test_local_times),
                cmocka_unit_test(test_escape),
                cmocka_unit_test(test_forward_pipes),
                cmocka_unit_test(test_forward_terminal),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
