/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in a container, and its output. */

#include <sched.h>
#include <sys/mount.h>

#include "execute-fixture.h"

/* ---- it ends by itself */

static void test_exit_code(void **state) {
        Fixture *f = *state;

        begin(f, false, NULL);
        assert_non_null(strstr(f->model.created, "\"Cmd\":[\"make\",\"all\"]"));
        assert_non_null(strstr(f->model.created, "\"Tty\":false"));
        assert_int_equal(count_streams_with(f, "/v1.41/exec/" EXEC "/start"), 1);
        assert_int_equal(count_streams_with(f, "\"framed\":true"), 1);
        assert_int_equal(count_streams_with(f, "\"kind\":\"command\""), 1);
        command_end(f, 3);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(f->exit_code, 3);
        assert_false(command_noted(f));
}

/* Its output is closed before it ends. */
static void test_ends_behind_its_output(void **state) {
        Fixture *f = *state;
        unsigned n;

        begin(f, false, NULL);
        stream_ends(f, HELD);
        n = MODEL(f, m->n_look);
        UNTIL(f, MODEL(f, m->n_look) >= n + 4);
        assert_int_equal(f->n_done, 0);
        command_end(f, 0);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(f->exit_code, 0);
}

static void assert_reads(int fd, const char *expected) {
        char text[64] = "";

        assert_int_equal(read_full(fd, text, sizeof(text) - 1), strlen(expected));
        assert_string_equal(text, expected);
}

static void test_descriptors(void **state) {
        Fixture *f = *state;
        int in[2], out[2], err[2];

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(pipe2(err, O_CLOEXEC), 0);
        stream_modes(f, "echo");
        MODEL(f, m->command_code = 0);
        f->n_done = 0;
        assert_int_equal(agent_execute(f->a, ID, &(const ProviderCommand) {
                .argv = (char *const[]) { (char *) "cat", NULL }, .fds = (const int[]) { in[0], out[1], err[1] }, .n_fds = 3,
        }, on_begun, on_command_done, f, NULL), 0);
        (void) close(in[0]);
        (void) close(out[1]);
        (void) close(err[1]);
        assert_int_equal(write_full(in[1], "hello", 5), 0);
        (void) close(in[1]);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        /* Nobody holds the other ends any more. */
        assert_reads(out[0], "hello");
        assert_reads(err[0], "errors\n");
        (void) close(out[0]);
        (void) close(err[0]);
}

static void test_shell(void **state) {
        static const char *const wanted[] = {
                "\"Cmd\":[\"/bin/sh\",\"-c\",", "\"Tty\":true", "\"User\":\"daemon\"", "\"WorkingDir\":\"/srv\"", "\"Env\":[\"TERM=vt100\"]",
                "\"DetachKeys\":\"ctrl-@",
        };
        Fixture *f = *state;
        int master, slave;

        assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
        stream_modes(f, "terminal");
        MODEL(f, m->command_code = 0);
        f->n_done = 0;
        assert_int_equal(agent_execute(f->a, ID, &(const ProviderCommand) {
                .terminal = true, .fds = &slave, .n_fds = 1, .user = "daemon", .directory = "/srv",
                .env = (char *const[]) { (char *) "TERM=vt100", NULL },
        }, on_begun, on_command_done, f, NULL), 0);
        (void) close(slave);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(f->n_begun, 1);
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                assert_non_null(strstr(f->model.created, wanted[i]));
        assert_int_equal(count_streams_with(f, "\"kind\":\"terminal\""), 1);
        assert_int_equal(count_streams_with(f, "\"framed\":true"), 0);
        (void) close(master);
}

static void test_bad_request(void **state) {
        Fixture *f = *state;
        const int fds[] = { 0, 1, 2 };

        assert_int_equal(agent_execute(f->a, "../x", &(const ProviderCommand) { .fds = fds, .n_fds = 3 }, on_begun, on_command_done, f, NULL), -EINVAL);
        assert_int_equal(agent_execute(f->a, ID, &(const ProviderCommand) { .fds = fds, .n_fds = 2 }, on_begun, on_command_done, f, NULL), -EINVAL);
        assert_int_equal(agent_execute(f->a, ID, &(const ProviderCommand) { .fds = (const int[]) { -1, 1, 2 }, .n_fds = 3 }, on_begun,
                                       on_command_done, f, NULL), -EBADF);
}

/* ---- it does not begin */

/* What the kernel keeps of earlier ones is in nobody's count of what is open, and leaves room for what saves sessions. */
static void test_too_many_kept(void **state) {
        _cleanup_refusal_ Refusal *refusal = NULL;

        assert_int_equal(agent_streams_check(CHILDREN_KEPT_MAX - 1, &refusal), 0);
        assert_int_equal(agent_streams_check(CHILDREN_KEPT_MAX, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
}

static void test_refused(void **state) {
        static const struct {
                const char *mode;
                RefusalCode code;
                const char *says;
        } cases[] = {
                { "refuse", REFUSAL_PROVIDER_FAILED, "no room" },
                { "absent", REFUSAL_WRONG_STATE, "ended before" },
                { "stopped", REFUSAL_WRONG_STATE, "does not run" },
                { "unreachable", REFUSAL_PROVIDER_UNAVAILABLE, "connection refused" },
                { "exit", REFUSAL_PROVIDER_UNAVAILABLE, "ended with status 3" },
                { "nonsense", REFUSAL_PROVIDER_UNAVAILABLE, "not understood" },
                { "early", REFUSAL_PROVIDER_UNAVAILABLE, "not understood" },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                stream_modes(f, cases[i].mode);
                assert_int_equal(run(f), -EBADRQC);
                assert_int_equal(f->code, cases[i].code);
                assert_non_null(strstr(f->message, cases[i].says));
                assert_int_equal(f->n_begun, 0);
                assert_false(command_noted(f));
        }
}

/* A freeze does not wait for it longer than for one that is slow. */
static void test_never_begins(void **state) {
        Fixture *f = *state;
        unsigned done;
        NEED_CGROUP(f);

        stream_modes(f, "wait");
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, f->n_begun == 1);
        done = f->n_done;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        run_for(f, COMMAND_BEGIN_USEC / 2);
        assert_int_equal(MODEL(f, m->n_pause), 0);
        run_until(f, done + 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(MODEL(f, m->n_pause), 1);
}

/* Who asked is told where to make room, and nothing is begun. */
static void test_no_room_for_its_note(void **state) {
        Fixture *f = *state;
        const char *dir = f->a->commands_dir;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("full", dir, "tmpfs", 0, "nr_inodes=1") < 0)
                skip();
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_non_null(strstr(f->message, "gets no new command, because that cannot be noted in"));
        assert_non_null(strstr(f->message, dir));
        assert_int_equal(count_streams_with(f, "POST"), 0);
        assert_int_equal(umount(dir), 0);
}

static void test_not_created(void **state) {
        Fixture *f = *state;

        MODEL(f, m->n_fail_create = 1);
        MODEL(f, m->fail_create = 500);
        MODEL(f, m->create_message = "{\"message\":\"the test says no\"}");
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        MODEL(f, m->n_fail_create = 1);
        MODEL(f, m->fail_create = 400);
        MODEL(f, m->create_message = "{\"message\":\"unable to find user x: no matching entries in passwd file\"}");
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_INVALID_ARGUMENT);
        assert_non_null(strstr(f->message, "unable to find user x"));
        MODEL(f, m->n_fail_create = 1);
        MODEL(f, m->fail_create = 200);
        MODEL(f, m->create_message = "{\"Id\":\"../../x\"}");
        assert_int_equal(run(f), -EBADMSG);
        MODEL(f, m->running = false);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        MODEL(f, m->exists = false);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(count_streams_with(f, "POST"), 0);
}

/* ---- the size of its terminal */

static void test_sizes(void **state) {
        Fixture *f = *state;
        unsigned n;

        stream_modes(f, "size");
        MODEL(f, m->n_fail_resize = 1000);
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, MODEL(f, m->n_resize) >= 3);
        /* A frozen one would run for it. */
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        run_for(f, 100 * USEC_PER_MSEC);
        n = MODEL(f, m->n_resize);
        run_for(f, 700 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_resize), n);
        assert_int_equal(note_remove(f->a->frozen_dir, ID), 0);
        MODEL(f, m->n_fail_resize = 0);
        UNTIL(f, MODEL(f, m->size[0]) != 0);
        assert_string_equal(f->model.size, "h=25&w=81");
        MODEL(f, m->command_code = 0);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
}

/* ---- output */

static int logs(Fixture *f, int fd, ProviderLogs with) {
        with.fd = fd;
        f->n_done = f->n_begun = 0;
        assert_int_equal(agent_read_logs(f->a, ID, &with, on_begun, on_done, f, NULL), 0);
        assert_int_equal(f->n_begun, 0);
        return 0;
}

static void test_logs(void **state) {
        Fixture *f = *state;
        int out[2];

        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        stream_modes(f, "output");
        logs(f, out[1], (ProviderLogs) { .lines = UINT64_MAX });
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(f->n_begun, 1);
        assert_int_equal(count_streams_with(f, "/v1.41/containers/" ID "/logs?stdout=1&stderr=1&follow=0&timestamps=0&tail=all\""), 1);
        assert_int_equal(count_streams_with(f, "\"framed\":true"), 1);
        MODEL(f, m->tty = "true");
        logs(f, out[1], (ProviderLogs) { .follow = true, .timestamps = true, .lines = 10, .since_usec = 1500000, .until_usec = 2000001 });
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(count_streams_with(f, "follow=1&timestamps=1&tail=10&since=1.500000000&until=2.000001000\""), 1);
        assert_int_equal(count_streams_with(f, "\"framed\":true"), 1);
        (void) close(out[1]);
        assert_reads(out[0], "output\noutput\n");
        (void) close(out[0]);
}

static void test_no_logs(void **state) {
        static const struct {
                const char *mode;
                RefusalCode code;
                const char *says;
        } cases[] = {
                { "unsupported", REFUSAL_WRONG_STATE, "LogDriver=" },
                { "absent", REFUSAL_WRONG_STATE, "went with it" },
                { "unreachable", REFUSAL_PROVIDER_UNAVAILABLE, "connection refused" },
                { "refuse", REFUSAL_PROVIDER_FAILED, "no room" },
                { "cut", REFUSAL_PROVIDER_FAILED, "connection reset" },
        };
        _cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                stream_modes(f, cases[i].mode);
                logs(f, null, (ProviderLogs) {});
                run_until(f, 1);
                assert_int_equal(f->code, cases[i].code);
                assert_non_null(strstr(f->message, cases[i].says));
        }
        stream_modes(f, "unread");
        logs(f, null, (ProviderLogs) {});
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        MODEL(f, m->exists = false);
        logs(f, null, (ProviderLogs) {});
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_too_many_kept),
                TEST(test_exit_code),
                TEST(test_ends_behind_its_output),
                TEST(test_descriptors),
                TEST(test_shell),
                TEST(test_bad_request),
                TEST(test_refused),
                TEST(test_never_begins),
                TEST(test_no_room_for_its_note),
                TEST(test_not_created),
                TEST(test_sizes),
                TEST(test_logs),
                TEST(test_no_logs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
