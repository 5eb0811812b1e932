/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an agent leaves behind when it ends, and what containers that are gone leave to it. */

#include "agent-model.h"

/* Frozen by an agent that is gone: thawed, by whoever finds the note. */
static void test_left_frozen(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        agent_free(f->a);
        make_agent(f);
        assert_true(MODEL(f, m->paused));
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(MODEL(f, m->n_unpause), 1);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_false(MODEL(f, m->paused));
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        MODEL(f, m->paused = true);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_true(MODEL(f, m->paused));
        assert_int_equal(agent_thaw_all("/nowhere/engine.sock", f->dir, USEC_PER_SEC), 0);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        assert_true(agent_thaw_all("/nowhere/engine.sock", f->dir, USEC_PER_SEC) < 0);
        assert_true(noted(f));
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_false(noted(f));
        assert_int_equal(agent_thaw_all(f->socket, "/nowhere", USEC_PER_SEC), 0);
}

/* The Engine says that it is not paused, and does not say whether it may be frozen all the same. */
static void test_left_in_doubt(void **state) {
        Fixture *f = *state;

        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->fail_inspect = 500);
        assert_true(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC) < 0);
        assert_true(noted(f));
        MODEL(f, m->fail_inspect = 0);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_false(noted(f));
}

/* The freeze was on its way as the agent ended, and comes to pass behind the thaw. */
static void test_left_and_frozen_late(void **state) {
        Fixture *f = *state;

        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->late_pause = true);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->late_pause = true);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

/* It is killed while it is thawed: by its note that goes on to be known as our kill. */
static void test_killed_meanwhile(void **state) {
        Fixture *f = *state;

        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, (m->fail_unpause = 500, m->n_fail_unpause = 1));
        f->n_done = 0;
        assert_int_equal(agent_thaw(f->a, ID, on_done, f, NULL), 0);
        UNTIL(f, MODEL(f, m->n_unpause) > 0);
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, "w", STARTED), 0);
        MODEL(f, m->running = false);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_true(noted(f));
}

/* An agent ended while the kernel kept one of its processes: the Engine, and so any observation, says that it runs. */
static void test_left_half_frozen(void **state) {
        Fixture *f = *state;

        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->paused = true);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, MODEL(f, m->n_inspect) > 0);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_true(noted(f));
        MODEL(f, m->paused = false);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, !noted(f));
}

static bool kept(Fixture *f, const char *name) {
        char path[256];

        snprintf(path, sizeof(path), "%s/index/%s", f->dir, name);
        return access(path, F_OK) >= 0;
}

/* What is kept of a container goes when that is gone, and not before. */
static void test_sweep(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, "w", "another run"), 0);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, "gone"), 0);
        assert_int_equal(write_file_atomic(f->a->index_dir, "gone.index", "x"), 0);
        assert_int_equal(write_file_atomic(f->a->index_dir, "gone.image", "x"), 0);
        unsigned seen = MODEL(f, m->n_inspect);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, MODEL(f, m->n_inspect) > seen && !kept(f, "gone.index") && !kept(f, "gone.image") && !note_exists(f->a->frozen_dir, "gone"));
        run_for(f, 20 * USEC_PER_MSEC);
        assert_true(kept(f, ID ".index") && kept(f, ID ".image") && noted(f));
        /* Killed, as the note says: it is of no use any more. */
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        assert_true(MODEL(f, m->exists));
        MODEL(f, m->running = false);
        seen = MODEL(f, m->n_inspect);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, MODEL(f, m->n_inspect) > seen);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_true(MODEL(f, m->exists));
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, "w", STARTED), 0);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, !MODEL(f, m->exists));
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        agent_sweep_now(f->a->sweep);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, !kept(f, ID ".index") && !kept(f, ID ".image") && !noted(f));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_left_frozen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_in_doubt, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_and_frozen_late, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed_meanwhile, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_half_frozen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
