/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images: swarm-layer for what is short. */

#include "agent-model.h"

static void test_resolve(void **state) {
        Fixture *f = *state;
        ProviderCall *calls[10];

        f->n_done = 0;
        for (size_t i = 0; i < ELEMENTSOF(calls); i++)
                assert_int_equal(agent_resolve_image(f->a, "debian:12", on_image, f, calls + i), 0);
        provider_call_cancel(calls[3]);
        run_until(f, 9);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->n_done, 9);
        assert_string_equal(f->image, SAVED);
        assert_int_equal(f->n_volumes, 1);
        assert_int_equal(count_requests(f, "debian:12"), 1);
        assert_int_equal(CALL(f, agent_resolve_image(f->a, "debian:12", on_image, f, NULL)), 0);
        assert_string_equal(f->image, SAVED);
        assert_int_equal(count_requests(f, "debian:12"), 1);
        assert_int_equal(CALL(f, agent_resolve_image(f->a, "missing:1", on_image, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_NO_SUCH_IMAGE);
        assert_int_equal(CALL(f, agent_verify_image(f->a, "cut-off:1", on_image, f, NULL)), 0);
        assert_string_equal(f->image, SAVED);
        assert_int_equal(count_requests(f, "\"verb\":\"verify\""), 1);
        assert_int_equal(CALL(f, agent_verify_image(f->a, "missing:1", on_image, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_NO_SUCH_IMAGE);
        assert_int_equal(CALL(f, agent_delete_image(f->a, SAVED, on_done, f, NULL)), 0);
        assert_int_equal(count_requests(f, "\"verb\":\"delete\""), 1);

        /* More than may run: the rest waits. */
        f->n_done = 0;
        for (unsigned i = 0; i < 12; i++) {
                char reference[32];
                snprintf(reference, sizeof(reference), "many:%u", i);
                assert_int_equal(agent_resolve_image(f->a, reference, on_image, f, NULL), 0);
        }
        assert_int_equal(f->a->n_jobs, 12);
        run_until(f, 1);
        assert_true(f->a->n_jobs_running <= LAYER_JOBS_MAX);
        run_until(f, 12);
        assert_int_equal(f->a->n_jobs, 0);
}

/* What waits gets the place of those that are given up. */
static void test_canceled(void **state) {
        Fixture *f = *state;
        ProviderCall *calls[LAYER_JOBS_MAX];

        f->n_done = 0;
        for (unsigned i = 0; i < ELEMENTSOF(calls); i++) {
                char reference[32];
                snprintf(reference, sizeof(reference), "hang:%u", i);
                assert_int_equal(agent_resolve_image(f->a, reference, on_image, f, calls + i), 0);
        }
        UNTIL(f, f->a->n_jobs_running == LAYER_JOBS_MAX);
        assert_int_equal(agent_resolve_image(f->a, "debian:12", on_image, f, NULL), 0);
        run_for(f, 20 * USEC_PER_MSEC);
        for (unsigned i = 0; i < ELEMENTSOF(calls); i++)
                provider_call_cancel(calls[i]);
        run_until(f, 1);
        assert_string_equal(f->image, SAVED);
}

/* Who comes when the queue is full is told so, and the others stay in it. */
static void test_queue_full(void **state) {
        Fixture *f = *state;
        ProviderCall *calls[LAYER_JOBS_MAX + LAYER_JOBS_QUEUED_MAX];

        f->n_done = 0;
        for (unsigned i = 0; i < ELEMENTSOF(calls); i++) {
                char reference[32];
                snprintf(reference, sizeof(reference), "hang:%u", i);
                assert_int_equal(agent_resolve_image(f->a, reference, on_image, f, calls + i), 0);
                if (i + 1 == LAYER_JOBS_MAX)
                        UNTIL(f, f->a->n_jobs_running == LAYER_JOBS_MAX);
        }
        assert_int_equal(CALL(f, agent_resolve_image(f->a, "debian:12", on_image, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(CALL(f, agent_delete_image(f->a, SAVED, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(f->a->n_jobs, ELEMENTSOF(calls));

        f->n_done = 0;
        provider_call_cancel(calls[ELEMENTSOF(calls) - 1]);
        assert_int_equal(agent_resolve_image(f->a, "debian:12", on_image, f, NULL), 0);
        for (unsigned i = 0; i + 1 < ELEMENTSOF(calls); i++)
                provider_call_cancel(calls[i]);
        run_until(f, 1);
        assert_string_equal(f->image, SAVED);
}

static void test_no_layer_program(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(unlink(f->script), 0);
        assert_true(capture(f, CAPTURE_HOLD, "hold") < 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_true(CALL(f, agent_resolve_image(f->a, "x", on_image, f, NULL)) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
                cmocka_unit_test_setup_teardown(test_canceled, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queue_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_layer_program, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
