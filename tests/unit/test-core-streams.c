/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shells, commands and output: what there is of them, and what is refused. */

#include "streams-fixture.h"

/* ---- what there is when all goes well */

static void test_command(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "alpha");
        Heard h;

        s->last_activity_usec = 1;
        WAIT_FOR(f, !s->dirty);
        unsigned fds = count_fds();
        execute(s, (ProviderCommand) { .env = WORDS("A={{B}}"), .user = "root:root", .directory = "/" }, &h);
        assert_true(s->last_activity_usec > 1);
        assert_int_equal(h.job->type, JOB_EXECUTE);
        assert_int_equal(h.job->state, JOB_RUNNING);
        assert_int_equal(h.job->exit_code, -1);
        assert_true(h.job->started_usec > 0);
        assert_true(job_is_cancelable(h.job));
        /* Beside the queue. */
        assert_null(s->jobs);
        assert_null(session_current_job(s));
        assert_int_equal(f->m->jobs_running, 0);
        /* The intent first. */
        assert_true(h.job->dirty);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 1);
        assert_false(h.job->dirty);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.r, 0);
        assert_null(h.job->stage);
        /* Those of the test and of the provider: one more would keep a pipe open whose other end is closed. */
        assert_int_equal(count_fds(), fds + 5);
        assert_int_equal(write(h.in, "hello\n", 6), 6);
        WAIT_FOR(f, says(&h, "hello\n"));
        s->last_activity_usec = 1;
        assert_int_equal(write(h.in, "exit 7\n", 7), 7);
        expect_ended(f, &h, JOB_DONE);
        assert_int_equal(h.job->exit_code, 7);
        assert_true(s->last_activity_usec > 1);
        expect_nothing_left(f, s);
        assert_int_equal(count_fds(), fds);

        /* What it ended with is known for as long as its job is. */
        uint64_t id = h.job->id;
        Job *j;
        WAIT_FOR(f, !h.job->dirty);
        crash(f);
        assert_int_equal(manager_get_job(f->m, id, &j, NULL), 0);
        assert_int_equal(j->state, JOB_DONE);
        assert_int_equal(j->exit_code, 7);
}

static void test_shell(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "beta");
        Heard h;

        begin(f, s, (ProviderCommand) { .terminal = true }, &h);
        assert_int_equal(h.job->type, JOB_SHELL);
        hang_up(&h);
        expect_ended(f, &h, JOB_CANCELED);
        assert_int_equal(h.job->exit_code, -1);
        expect_nothing_left(f, s);
}

static void test_output(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "gamma");
        unsigned fds = count_fds();
        Heard h;

        s->last_activity_usec = 1;
        uint64_t last = f->m->last_job_id;
        follow(f, s, &h);
        assert_int_equal(f->m->last_job_id, last);
        assert_int_equal(f->m->streams, 1);
        assert_true(s->last_activity_usec > 1);
        hang_up(&h);
        WAIT_FOR(f, !s->streams);
        expect_nothing_left(f, s);

        /* Also of what has ended, as long as its container is there. */
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .lines = 3, .since_usec = 5, .until_usec = UINT64_MAX }, 0, &h, NULL), 0);
        WAIT_FOR(f, h.n == 1 && !s->streams);
        assert_int_equal(h.r, 0);
        hang_up(&h);
        assert_int_equal(count_fds(), fds);
}

/* ---- what is refused */

static void test_words(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "delta");
        _cleanup_free_ char *large = malloc(40 * KIB);
        char user[70], directory[4098];
        const char *many[1027];

        refused(s, (ProviderCommand) {}, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("") }, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("", "x"), .terminal = true }, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("\xff") }, REFUSAL_INVALID_ARGUMENT, "not valid UTF-8");
        for (size_t i = 0; i < 1025; i++)
                many[i] = "A=";
        many[1025] = NULL;
        refused(s, (ProviderCommand) { .argv = (char *const *) many }, REFUSAL_LIMIT_EXCEEDED, "command has 1025 entries");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = (char *const *) many }, REFUSAL_LIMIT_EXCEEDED, "env has 1025 entries");
        memset(large, 'x', 40 * KIB);
        large[40 * KIB - 1] = 0;
        refused(s, (ProviderCommand) { .argv = WORDS(large, large, large, large) }, REFUSAL_LIMIT_EXCEEDED, "bytes");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS("A") }, REFUSAL_INVALID_ARGUMENT, "no \"=\"");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS("A=1", "1A=2") }, REFUSAL_INVALID_ARGUMENT, "bad name");
        memcpy(large, "A=", 2);
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS(large) }, REFUSAL_LIMIT_EXCEEDED, "variable A");

        memset(user, 'u', sizeof(user));
        user[65] = 0;
        const char *const users[] = { "", "a b", "root;", ":", "root:", ":root", "a:b:c", user };
        for (size_t i = 0; i < ELEMENTSOF(users); i++)
                refused(s, (ProviderCommand) { .argv = WORDS("x"), .user = users[i] }, REFUSAL_INVALID_ARGUMENT, "user of the command");
        memset(directory, 'd', sizeof(directory));
        directory[0] = '/';
        directory[4096] = 0;
        const char *const directories[] = { "", "tmp", "/\xff", directory };
        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                refused(s, (ProviderCommand) { .argv = WORDS("x"), .directory = directories[i] }, REFUSAL_INVALID_ARGUMENT, "working directory");
        logs_refused(s, (ProviderLogs) { .since_usec = 2, .until_usec = 1 }, REFUSAL_INVALID_ARGUMENT, "later than");
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE) + fake_calls(f->p, FAKE_READ_LOGS), 0);

        /* What is just in the limits. */
        Heard h;
        user[64] = 0;
        directory[4095] = 0;
        many[1024] = NULL;
        begin(f, s, (ProviderCommand) { .argv = WORDS("true"), .env = (char *const *) many, .user = user, .directory = directory }, &h);
        expect_ended(f, &h, JOB_DONE);
        expect_nothing_left(f, s);
}

static void test_states(void **state) {
        const ProviderCommand c = { .argv = WORDS("true") };
        Fixture *f = *state;

        fake_set_latency(f->p, FAKE_START, 3600 * USEC_PER_SEC);
        Session *s = create(f, "epsilon", "base");
        WAIT_FOR(f, s->state == SESSION_PLACING);
        refused(s, c, REFUSAL_WRONG_STATE, "Wait until it runs.");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_WRONG_STATE, "has no container");
        fake_set_latency(f->p, FAKE_START, 0);
        s = create_running(f, "zeta");
        fake_set_latency(f->p, FAKE_CAPTURE, 3600 * USEC_PER_SEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->state == SESSION_HIBERNATING);
        refused(s, c, REFUSAL_WRONG_STATE, "Session \"zeta\" is hibernating, so nothing can be run in it. Wait until what is under way has ended, or cancel its job.");
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        refused(s, c, REFUSAL_WRONG_STATE, "Start it again");
        s = create_running(f, "eta");
        run_job(f, s, JOB_HIBERNATE, NULL);
        refused(s, c, REFUSAL_WRONG_STATE, "Start or restore it first.");
        _cleanup_free_ char *journal = strformat("journalctl SWARM_SESSION=%s.", s->id);
        logs_refused(s, (ProviderLogs) {}, REFUSAL_WRONG_STATE, journal);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE) + fake_calls(f->p, FAKE_READ_LOGS), 0);
}

static void test_providers(void **state) {
        const ProviderCommand c = { .argv = WORDS("true") };
        Fixture *f = *state;
        Session *s = create_running(f, "theta");
        ProviderVTable less = *f->p->vtable;
        const ProviderVTable *all = f->p->vtable;

        less.capabilities &= ~(uint32_t) (PROVIDER_CAN_EXECUTE | PROVIDER_CAN_READ_LOGS);
        less.execute = NULL;
        less.read_logs = NULL;
        f->p->vtable = &less;
        refused(s, c, REFUSAL_PROVIDER_FAILED, "Session \"theta\" lives at provider \"fake\", which cannot run commands");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_FAILED, "cannot read the output");
        f->p->vtable = all;
        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "It is away.");
        WAIT_FOR(f, manager_find_provider(f->m, "fake")->health == PROVIDER_UNAVAILABLE);
        refused(s, c, REFUSAL_PROVIDER_UNAVAILABLE, "It is away.");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_UNAVAILABLE, "It is away.");
}

static void test_limits(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "iota");
        Heard h[4], *rest = calloc(512, sizeof(*rest));

        assert_non_null(rest);
        f->m->config->streams_per_user_max = 2;
        f->m->config->running_jobs_per_user_max = 0;    /* they are none of these */
        assert_int_equal(execute_as(s, (ProviderCommand) { .terminal = true }, 1000, &h[0], NULL), 0);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true }, 1000, &h[1], NULL), 0);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, REFUSAL_LIMIT_EXCEEDED, "You have 2 shells, commands and readers of output open already (StreamsPerUserMax=)");
        assert_int_equal(execute_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1001, &h[2], NULL), 0);
        assert_int_equal(f->m->streams, 3);
        WAIT_FOR(f, h[0].n + h[1].n + h[2].n == 3);
        /* The place of one that has ended is free. */
        hang_up(&h[1]);
        WAIT_FOR(f, f->m->streams == 2);
        assert_int_equal(execute_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, &h[3], NULL), 0);
        WAIT_FOR(f, h[3].n == 1);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, REFUSAL_LIMIT_EXCEEDED, "StreamsPerUserMax=");

        struct rlimit files = {};
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = MIN(files.rlim_max, (rlim_t) 16384);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
        for (unsigned i = 0; i < 509; i++)
                execute(s, (ProviderCommand) {}, &rest[i]);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 0, REFUSAL_LIMIT_EXCEEDED, "512 shells, commands and readers of output are open already");
        session_end_streams(s, JOB_CANCELED, NULL);
        expect_nothing_left(f, s);
        for (unsigned i = 0; i < 509; i++)
                hang_up(&rest[i]);
        for (unsigned i = 0; i < 4; i++)
                hang_up(&h[i]);
        free(rest);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_command, setup, teardown),
                cmocka_unit_test_setup_teardown(test_shell, setup, teardown),
                cmocka_unit_test_setup_teardown(test_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_words, setup, teardown),
                cmocka_unit_test_setup_teardown(test_states, setup, teardown),
                cmocka_unit_test_setup_teardown(test_providers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        log_set_max_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
