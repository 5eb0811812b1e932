/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Saving a container's files: what is asked for, and what is frozen and thawed on every way to the end. */

#include "agent-model.h"

static void test_snapshot(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_true(f->frozen_usec >= 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_int_equal(MODEL(f, m->n_unpause), 1);
        assert_int_equal(count_requests(f, "{\"type\":\"frozen\"}"), 1);
        assert_int_equal(count_requests(f, "\"precopy\":true"), 1);
        /* The second one goes by the index of the first, above its image. */
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(count_requests(f, "\"fallback_image\":\"" BASE "\""), 1);
        assert_int_equal(count_requests(f, "/index/" ID ".index\""), 1);
        agent_forget(f->a, ID);
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
}

static void test_exited(void **state) {
        Fixture *f = *state;

        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 1500 * USEC_PER_MSEC, on_done, f, NULL)), 0);
        assert_string_equal(MODEL(f, (const char *) m->last), "stop?t=2");
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(f->frozen_usec, 0);
        assert_int_equal(count_requests(f, "\"frozen_realtime_usec\":1767323100500000"), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        MODEL(f, m->running = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

static void test_refusals(void **state) {
        Fixture *f = *state;

        MODEL(f, m->mounts = "[{\"Type\":\"bind\",\"Destination\":\"/host\"}]");
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "/host (bind)"));
        MODEL(f, m->mounts = "[{\"Type\":\"volume\",\"Name\":\"" ID "\",\"Destination\":\"/declared\"}]");
        MODEL(f, m->driver = "{\"Name\":\"btrfs\",\"Data\":null}");
        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "btrfs"));
        MODEL(f, m->driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/u\"}}");
        MODEL(f, m->running = true);
        MODEL(f, m->paused = true);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_true(MODEL(f, m->paused));
        MODEL(f, m->paused = false);
        MODEL(f, m->fail_pause = 500);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_false(noted(f));
        MODEL(f, m->exists = false);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(begin_capture(f, "../x", CAPTURE_HOLD, "hold", NULL), -EINVAL);
}

static void unpause_by_somebody(Fixture *f, const char *stage) {
        if (streq(stage, "copying") && MODEL(f, m->paused)) {
                MODEL(f, m->paused = false);
                let_run(f);
                MODEL(f, m->paused = true);
        }
}

static void test_runs_during_capture(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->on_stage = unpause_by_somebody;
        assert_int_equal(capture(f, CAPTURE_HOLD, "slow"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

static void test_failures_thaw(void **state) {
        static const struct {
                const char *tag;
                CaptureMode mode;
                RefusalCode code;
        } cases[] = {
                { "error", CAPTURE_HOLD, REFUSAL_REGISTRY_FAILED },
                { "die", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "silent-end", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-die", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-exit", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "never-frozen", CAPTURE_THAW, REFUSAL_INTERNAL },
        };
        Fixture *f = *state;
        NEED_CGROUP(f);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                MODEL(f, m->n_fail_unpause = 2);
                MODEL(f, m->fail_unpause = 500);
                assert_int_equal(capture(f, cases[i].mode, cases[i].tag), -EBADRQC);
                assert_int_equal(f->code, cases[i].code);
                assert_false(MODEL(f, m->paused));
                assert_false(noted(f));
        }
        assert_int_equal(capture(f, CAPTURE_HOLD, "nonsense"), 0);
}

static void cancel_here(Fixture *f, const char *stage) {
        f->n_done++;
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;
        NEED_CGROUP(f);

        /* At every point: before its turn, while the Engine freezes, while the child works. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        provider_call_cancel(call);
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 0);

        MODEL(f, m->pause_delay_ms = 200);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->on_stage = cancel_here;
        f->n_done = 0;
        run_until(f, 1);
        UNTIL(f, noted(f));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_false(MODEL(f, m->paused));

        MODEL(f, m->pause_delay_ms = 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_false(MODEL(f, m->paused));

        /* And the agent itself goes: thawed before it has gone. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        f->a = agent_free(f->a);
        assert_false(MODEL(f, m->paused));
        make_agent(f);
        assert_false(noted(f));
}

/* The Engine froze it and did not say so. */
static void test_lost_answer(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        MODEL(f, m->drop_pause = 1);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

static void test_queue(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->n_done = 0;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_BUSY);
        run_until(f, 2);
        assert_int_equal(f->r, 0);

        /* Others: two at a time. They fail, as there is no such container, but in their turn. */
        f->n_done = f->n_waiting = 0;
        assert_int_equal(begin_capture(f, "other1", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other2", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other3", CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 3);
        assert_int_equal(f->n_waiting, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exited, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runs_during_capture, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_thaw, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
