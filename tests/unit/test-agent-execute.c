/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in a container, and its output. */

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent-model.h"

#define HELD "{\"end\":\"engine\"}"
#define GIVEN_UP "{\"end\":\"caller\"}"

/* A command with nothing to read, whose output nobody wants. */
static int execute(Fixture *f, ProviderCall **ret) {
        static char *const argv[] = { (char *) "make", (char *) "all", NULL };
        _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int fds[] = { null, null, null };

        f->n_done = f->n_begun = 0;
        return agent_execute(f->a, ID, &(const ProviderCommand) { .argv = (char *const *) argv, .fds = fds, .n_fds = 3 },
                             on_begun, on_command_done, f, ret);
}

static int run(Fixture *f) {
        assert_int_equal(execute(f, NULL), 0);
        run_until(f, 1);
        return f->r;
}

static bool command_noted(Fixture *f) {
        return note_exists(f->a->commands_dir, EXEC);
}

/* Its process is there, and it waits to be told how it ends. */
static void begin(Fixture *f, bool ignores_hangup, ProviderCall **ret) {
        unsigned n = MODEL(f, m->n_look);

        command_start(f, ignores_hangup);
        stream_modes(f, "wait");
        assert_int_equal(execute(f, ret), 0);
        UNTIL(f, f->n_begun == 1);
        /* Its process is found by two looks. */
        UNTIL(f, MODEL(f, m->n_look) >= n + 2);
        assert_int_equal(f->n_done, 0);
        /* Answers come in order: this one behind that of the second look. */
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        f->n_done = 0;
        assert_true(command_noted(f));
}

static bool command_lives(Fixture *f) {
        return waitpid(MODEL(f, m->command), NULL, WNOHANG) == 0;
}

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
        const struct winsize size = { .ws_row = 40, .ws_col = 132 };
        Fixture *f = *state;
        int master, slave;

        assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
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
        for (size_t i = 0; i < 7; i++) {
                static const char *const wanted[] = {
                        "\"Cmd\":[\"/bin/sh\",\"-c\",", "\"Tty\":true", "\"User\":\"daemon\"", "\"WorkingDir\":\"/srv\"",
                        "\"Env\":[\"TERM=vt100\"]", "\"ConsoleSize\":[40,132]", "\"DetachKeys\":\"ctrl-@",
                };
                assert_non_null(strstr(f->model.created, wanted[i]));
        }
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

static void test_not_created(void **state) {
        Fixture *f = *state;

        MODEL(f, m->n_fail_create = 1);
        MODEL(f, m->fail_create = 500);
        MODEL(f, m->create_message = "{\"message\":\"the test says no\"}");
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
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

/* ---- a container that is frozen */

static void test_paused_for_a_moment(void **state) {
        Fixture *f = *state;

        MODEL(f, m->n_fail_create = 2);
        MODEL(f, m->fail_create = 409);
        MODEL(f, m->create_message = "{\"message\":\"Container is paused, unpause the container before exec\"}");
        MODEL(f, m->command_code = 0);
        stream_modes(f, "paused\npaused\nend");
        assert_int_equal(run(f), 0);
        assert_int_equal(MODEL(f, m->n_create), 3);
        assert_int_equal(count_streams_with(f, "POST"), 3);
        assert_int_equal(f->n_begun, 1);
}

static void test_paused_by_somebody(void **state) {
        Fixture *f = *state;

        MODEL(f, m->paused = true);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_non_null(strstr(f->message, "Unpause"));
}

/* The Engine is not asked before it is thawed. */
static void test_waits_for_our_thaw(void **state) {
        Fixture *f = *state;

        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->command_code = 0);
        assert_int_equal(execute(f, NULL), 0);
        run_for(f, 300 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_create), 0);
        assert_int_equal(note_remove(f->a->frozen_dir, ID), 0);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(MODEL(f, m->n_create), 1);
}

/* It has not begun, and never will: no freeze waits for it. */
static void test_canceled_before_freeze(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);

        stream_modes(f, "wait");
        assert_int_equal(execute(f, &call), 0);
        UNTIL(f, f->n_begun == 1);
        provider_call_cancel(call);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        run_for(f, 3 * USEC_PER_SEC);
        assert_int_equal(MODEL(f, m->n_pause), 1);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
}

/* Nothing goes to it from the freeze on, and all of it again after the thaw. */
static void test_held_while_frozen(void **state) {
        Fixture *f = *state;
        unsigned done;
        NEED_CGROUP(f);

        command_start(f, false);
        stream_modes(f, "wait");
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, f->n_begun == 1);
        assert_int_not_equal(stream_state(f), 'T');
        done = f->n_done;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        run_until(f, done + 1);
        assert_int_equal(f->r, 0);
        UNTIL(f, stream_state(f) == 'T');
        run_for(f, 300 * USEC_PER_MSEC);
        assert_int_equal(stream_state(f), 'T');
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        UNTIL(f, stream_state(f) != 'T');
        f->n_done = 0;
        command_end(f, 7);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->exit_code, 7);
}

/* Frozen while it begins it would hold up the Engine, which then thaws nothing. */
static void test_begins_before_the_freeze(void **state) {
        Fixture *f = *state;
        unsigned done;
        NEED_CGROUP(f);

        stream_modes(f, "wait");
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, f->n_begun == 1);
        done = f->n_done;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        run_for(f, 500 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 0);
        assert_int_not_equal(stream_state(f), 'T');
        command_start(f, false);
        run_until(f, done + 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(MODEL(f, m->n_pause), 1);
        UNTIL(f, stream_state(f) == 'T');
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        UNTIL(f, stream_state(f) != 'T');
        f->n_done = 0;
        command_end(f, 7);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->exit_code, 7);
}

/* It hears of the end of its container. */
static void test_killed_while_frozen(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        command_start(f, false);
        stream_modes(f, "wait");
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, f->n_begun == 1);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        run_until(f, 1);
        UNTIL(f, stream_state(f) == 'T');
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        f->n_done = 0;
        command_end(f, 137);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->r, -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_non_null(strstr(f->message, "ended with the command still running"));
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

/* ---- it is ended */

static void test_caller_gone(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, false, NULL);
        stream_ends(f, GIVEN_UP);
        assert_int_equal(command_wait(f), SIGHUP);
        run_until(f, 1);
        assert_int_equal(f->r, -EBADRQC);
        assert_int_equal(f->code, REFUSAL_CANCELED);
        assert_false(command_noted(f));
}

static void test_caller_gone_behind_its_end(void **state) {
        Fixture *f = *state;

        begin(f, false, NULL);
        command_end(f, 4);
        stream_ends(f, GIVEN_UP);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(f->exit_code, 4);
}

static void test_hangup_ignored(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, true, NULL);
        stream_ends(f, GIVEN_UP);
        assert_int_equal(command_wait(f), SIGKILL);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_CANCELED);
}

static void test_canceled(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);

        begin(f, false, &call);
        provider_call_cancel(call);
        assert_int_equal(command_wait(f), SIGHUP);
        UNTIL(f, !command_noted(f));
        assert_int_equal(f->n_done, 0);
}

/* Canceled before it is there: it is looked for until it is. */
static void test_canceled_at_its_begin(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);

        stream_modes(f, "wait");
        assert_int_equal(execute(f, &call), 0);
        UNTIL(f, f->n_begun == 1);
        provider_call_cancel(call);
        UNTIL(f, MODEL(f, m->n_look) >= 3);
        command_start(f, false);
        assert_int_equal(command_wait(f), SIGHUP);
        UNTIL(f, !command_noted(f));
        /* And before the Engine was asked. */
        assert_int_equal(execute(f, &call), 0);
        provider_call_cancel(call);
        assert_false(command_noted(f));
}

/* Its signal would make a frozen container run. */
static void test_canceled_while_frozen(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);

        begin(f, false, &call);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        provider_call_cancel(call);
        run_for(f, 500 * USEC_PER_MSEC);
        assert_true(command_lives(f));
        assert_int_equal(note_remove(f->a->frozen_dir, ID), 0);
        assert_int_equal(command_wait(f), SIGHUP);
        UNTIL(f, !command_noted(f));
}

/* The number that the Engine names is of something else. */
static void test_process_of_another(void **state) {
        Fixture *f = *state;
        char first = f->cgroup[0];
        ProviderCall *call;
        unsigned n;

        f->cgroup[0] = 0;
        command_start(f, false);
        f->cgroup[0] = first;
        stream_modes(f, "wait");
        assert_int_equal(execute(f, &call), 0);
        UNTIL(f, f->n_begun == 1);
        provider_call_cancel(call);
        n = MODEL(f, m->n_look);
        UNTIL(f, MODEL(f, m->n_look) >= n + 4);
        assert_true(command_lives(f));
        f->a = agent_free(f->a);
        assert_true(command_lives(f));
        make_agent(f);
}

/* ---- this service ends */

static void test_left_behind(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, false, NULL);
        f->a = agent_free(f->a);
        assert_int_equal(command_wait(f), SIGHUP);
        make_agent(f);
        assert_true(command_noted(f));
        UNTIL(f, !command_noted(f));
}

/* As after a crash: nobody has told it. */
static void test_left_running(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, true, NULL);
        f->a = agent_free(f->a);
        assert_true(command_lives(f));
        make_agent(f);
        assert_int_equal(command_wait(f), SIGKILL);
        UNTIL(f, !command_noted(f));
}

static void test_left_notes(void **state) {
        Fixture *f = *state;

        assert_int_equal(write_file_atomic(f->a->commands_dir, EXEC, "{\"container\":\"" ID "\"}"), 0);
        assert_int_equal(write_file_atomic(f->a->commands_dir, "odd", "no JSON"), 0);
        MODEL(f, m->no_command = true);
        f->a = agent_free(f->a);
        make_agent(f);
        assert_false(note_exists(f->a->commands_dir, "odd"));
        UNTIL(f, !command_noted(f));
}

/* ---- what else ends it */

static void test_container_ended(void **state) {
        Fixture *f = *state;

        MODEL(f, m->command_code = 137);
        MODEL(f, m->running = true);
        stream_modes(f, "wait\nend");
        assert_int_equal(execute(f, NULL), 0);
        UNTIL(f, f->n_begun == 1);
        MODEL(f, m->running = false);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_non_null(strstr(f->message, "still running"));
        /* Killed alone: it runs on. */
        MODEL(f, m->running = true);
        assert_int_equal(run(f), 0);
        assert_int_equal(f->exit_code, 137);
        MODEL(f, m->no_command = true);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_non_null(strstr(f->message, "restart"));
}

static void test_engine_away(void **state) {
        Fixture *f = *state;

        MODEL(f, m->fail_look = 500);
        assert_int_equal(run(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_non_null(strstr(f->message, "went away"));
}

static void test_stream_broken(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        command_start(f, false);
        stream_modes(f, "broken");
        assert_int_equal(execute(f, NULL), 0);
        assert_int_equal(command_wait(f), SIGHUP);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_non_null(strstr(f->message, "connection reset"));
        MODEL(f, m->command_code = 5);
        stream_modes(f, "die");
        assert_int_equal(run(f), 0);
        assert_int_equal(f->exit_code, 5);
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

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_canceled_before_freeze),
                TEST(test_exit_code), TEST(test_ends_behind_its_output), TEST(test_descriptors), TEST(test_shell), TEST(test_bad_request),
                TEST(test_refused), TEST(test_not_created), TEST(test_paused_for_a_moment), TEST(test_paused_by_somebody),
                TEST(test_waits_for_our_thaw), TEST(test_held_while_frozen), TEST(test_begins_before_the_freeze),
                TEST(test_killed_while_frozen), TEST(test_sizes),
                TEST(test_caller_gone), TEST(test_caller_gone_behind_its_end), TEST(test_hangup_ignored), TEST(test_canceled),
                TEST(test_canceled_at_its_begin), TEST(test_canceled_while_frozen), TEST(test_process_of_another), TEST(test_left_behind),
                TEST(test_left_running), TEST(test_left_notes), TEST(test_container_ended), TEST(test_engine_away), TEST(test_stream_broken),
                TEST(test_logs), TEST(test_no_logs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
