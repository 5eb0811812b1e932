/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shells, commands and output that end by what befalls them: beside a session's operations, and gone with its container or the service. */

#include "streams-fixture.h"

/* ---- what ends them */

static void test_not_begun(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "kappa");
        Heard h;

        execute(s, (ProviderCommand) { .argv = WORDS("missing") }, &h);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.r, -EBADRQC);
        assert_int_equal(h.code, REFUSAL_PROVIDER_FAILED);
        assert_string_equal(h.job->error->message, h.message);
        assert_int_equal(fake_break_next(f->p, FAKE_EXECUTE, 1, EIO), 0);
        execute(s, (ProviderCommand) {}, &h);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.code, REFUSAL_INTERNAL);
        assert_int_equal(fake_fail_next(f->p, FAKE_READ_LOGS, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(read_logs_as(s, (ProviderLogs) {}, 0, &h, NULL), 0);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.code, REFUSAL_BUSY);
        hang_up(&h);
        /* It has ended before its turn came. */
        execute(s, (ProviderCommand) {}, &h);
        uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
        session_set_state(s, SESSION_STOPPING, NULL);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.code, REFUSAL_WRONG_STATE);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), calls);
        expect_nothing_left(f, s);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "lambda");
        Heard h;

        /* Before it is saved, before it has begun, and then. */
        for (unsigned i = 0; i < 3; i++) {
                fake_set_latency(f->p, FAKE_EXECUTE, i == 1 ? 3600 * USEC_PER_SEC : 0);
                uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
                execute(s, (ProviderCommand) {}, &h);
                if (i > 0)
                        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == calls + 1);
                if (i > 1)
                        WAIT_FOR(f, h.n == 1);
                /* It sees for itself to what could not be saved. */
                job_withdraw(h.job);
                assert_int_equal(h.job->state, JOB_RUNNING);
                assert_int_equal(job_cancel(h.job, 1000, NULL), 0);
                assert_int_equal(h.job->state, JOB_CANCELED);
                assert_int_equal(h.job->error->code, REFUSAL_CANCELED);
                assert_non_null(strstr(h.job->error->message, "1000"));
                assert_int_equal(h.r, i > 1 ? 0 : -EBADRQC);
                assert_false(job_is_cancelable(h.job));
                assert_int_equal(job_cancel(h.job, 1000, NULL), -EBADRQC);
                expect_ended(f, &h, JOB_CANCELED);
        }
        expect_nothing_left(f, s);
        assert_int_equal(s->state, SESSION_RUNNING);
}

static void test_forget(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "mu");
        Heard h;

        stream_forget(NULL);
        execute(s, (ProviderCommand) {}, &h);
        stream_forget(h.stream);
        assert_int_equal(h.job->state, JOB_CANCELED);
        assert_int_equal(h.n, 0);
        hang_up(&h);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true }, 0, &h, NULL), 0);
        stream_forget(h.stream);
        assert_int_equal(h.n, 0);
        hang_up(&h);
        expect_nothing_left(f, s);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);

        /* What has begun goes on. */
        execute(s, (ProviderCommand) {}, &h);
        Stream *t = h.stream;
        WAIT_FOR(f, h.n == 1);
        stream_forget(t);
        assert_int_equal(h.job->state, JOB_RUNNING);
        closep(&h.out);
        h.out = -1;
        expect_ended(f, &h, JOB_CANCELED);
}

static void fill_disk(bool full) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = full ? 0 : limit.rlim_max;
        assert_true(signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL) != SIG_ERR);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "nu");
        Heard h;

        fill_disk(true);
        execute(s, (ProviderCommand) {}, &h);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.code, REFUSAL_STORE_FAILED);
        assert_non_null(strstr(h.message, "\"nu\" could not be saved"));
        fill_disk(false);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        WAIT_FOR(f, f->m->store_healthy);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        expect_nothing_left(f, s);
}

/* Neither keeps it from anything. */
static void test_hibernate(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "xi");
        Heard shell, command, logs;

        begin(f, s, (ProviderCommand) { .terminal = true }, &shell);
        begin(f, s, (ProviderCommand) {}, &command);
        follow(f, s, &logs);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(shell.job->state, JOB_RUNNING);
        assert_int_equal(fake_write(f->p, s->id, 5), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->state, SESSION_HIBERNATED);
        expect_ended(f, &shell, JOB_FAILED);
        expect_ended(f, &command, JOB_FAILED);
        assert_int_equal(command.job->error->code, REFUSAL_WRONG_STATE);
        assert_int_equal(command.job->exit_code, -1);
        WAIT_FOR(f, !s->streams);
        hang_up(&logs);
        expect_nothing_left(f, s);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, s), 5);
}

static void test_other_ends(void **state) {
        static const JobType verbs[] = { JOB_STOP, JOB_RESTART, JOB_DESTROY };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                _cleanup_free_ char *name = strformat("pi-%zu", i);
                Session *s = create_running(f, name);
                Heard h, waits, logs;

                begin(f, s, (ProviderCommand) {}, &h);
                follow(f, s, &logs);
                fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
                uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
                execute(s, (ProviderCommand) {}, &waits);
                WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == calls + 1);
                fake_set_latency(f->p, FAKE_EXECUTE, 0);
                run_job(f, s, verbs[i], NULL);
                expect_ended(f, &h, JOB_FAILED);
                if (verbs[i] == JOB_DESTROY) {
                        assert_int_equal(waits.code, REFUSAL_NO_SUCH_SESSION);
                        expect_ended(f, &waits, JOB_FAILED);
                } else {
                        assert_int_equal(job_cancel(waits.job, 0, NULL), 0);
                        expect_ended(f, &waits, JOB_CANCELED);
                }
                WAIT_FOR(f, f->m->streams == 0);
                hang_up(&logs);
        }
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_stop(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "rho");
        Heard h, logs, waits;
        Job *j;

        begin(f, s, (ProviderCommand) {}, &h);
        follow(f, s, &logs);
        fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
        execute(s, (ProviderCommand) {}, &waits);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 2);
        uint64_t first = h.job->id, second = waits.job->id;
        f->stopped = false;
        manager_stop(f->m, 10 * USEC_PER_SEC, on_stopped, f);
        WAIT_FOR(f, f->stopped);
        expect_nothing_left(f, s);
        assert_int_equal(h.n, 1);
        assert_int_equal(waits.n, 1);
        assert_int_equal(waits.code, REFUSAL_INTERRUPTED);
        refused(s, (ProviderCommand) { .argv = WORDS("cat") }, REFUSAL_PROVIDER_UNAVAILABLE, "is stopping");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_UNAVAILABLE, "is stopping");
        waits.job = NULL;
        crash(f);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(manager_get_job(f->m, i ? second : first, &j, NULL), 0);
                assert_int_equal(j->state, JOB_INTERRUPTED);
                assert_non_null(strstr(j->error->message, "was stopped"));
                assert_int_equal(j->exit_code, -1);
        }
        assert_int_equal(f->m->jobs_running + f->m->streams, 0);
        hang_up(&h);
        hang_up(&logs);
        hang_up(&waits);
}

static void test_crash(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "sigma");
        Heard h, logs, waits;
        Job *j;

        begin(f, s, (ProviderCommand) {}, &h);
        follow(f, s, &logs);
        fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
        execute(s, (ProviderCommand) {}, &waits);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 2);
        uint64_t id = h.job->id;
        h.job = waits.job = NULL;
        crash(f);
        /* Whoever waited in this process has heard of it. */
        assert_int_equal(h.n, 1);
        assert_int_equal(waits.n, 1);
        assert_int_equal(waits.code, REFUSAL_INTERRUPTED);
        assert_int_equal(manager_get_job(f->m, id, &j, NULL), 0);
        assert_int_equal(j->state, JOB_INTERRUPTED);
        assert_non_null(strstr(j->error->message, "while the command ran"));
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "sigma");
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(fake_losses(f->p), 0);
        hang_up(&h);
        hang_up(&logs);
        hang_up(&waits);
}

/* Who runs many commands makes nobody else's jobs be forgotten; of the commands the newest stay. */
static void test_many_are_forgotten(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "many");
        uint64_t snapshot, last = 0;
        Job *j;

        run_job(f, s, JOB_SNAPSHOT, NULL);
        snapshot = f->m->last_job_id;
        f->m->config->jobs_max = 3;
        for (int i = 0; i < 10; i++) {
                Heard h;

                begin(f, s, (ProviderCommand) { .argv = WORDS("true") }, &h);
                WAIT_FOR(f, !s->streams);
                last = f->m->last_job_id;
                hang_up(&h);
        }
        WAIT_FOR(f, HASH_COUNT(f->m->jobs) <= 2 + 3 + 3);
        assert_int_equal(manager_get_job(f->m, snapshot, &j, NULL), 0);
        assert_int_equal(manager_get_job(f->m, last, &j, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_not_begun, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_saved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hibernate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
                cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_are_forgotten, setup, teardown),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        log_set_max_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
