/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in a container that is frozen, or ends, and those that are ended. */

#include "execute-fixture.h"

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

/* The Engine says that it has ended, for its output cannot be handed out. */
static void test_caller_gone_from_one_that_writes(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        for (unsigned known = 0; known < 2; known++) {
                if (known)
                        begin(f, false, NULL);
                else
                        command_start(f, false);
                MODEL(f, m->command_code = COMMAND_UNREAD_CODE);
                if (!known) {
                        stream_modes(f, "wait");
                        assert_int_equal(execute(f, NULL), 0);
                }
                stream_ends(f, GIVEN_UP);
                assert_int_equal(command_wait(f), SIGHUP);
                run_until(f, 1);
                assert_int_equal(f->r, -EBADRQC);
                assert_int_equal(f->code, REFUSAL_CANCELED);
                assert_false(command_noted(f));
                MODEL(f, m->command_code = -1);
                assert_int_equal(note_remove(f->dir, "end"), 0);
        }
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

/* The Engine says nothing, for nobody takes the output that it has. */
static void test_unread_at_the_end(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, false, NULL);
        MODEL(f, m->running = false);
        (void) kill(f->child, SIGKILL);
        command_end(f, 137);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_non_null(strstr(f->message, "still running"));
        UNTIL(f, stream_state(f) == 0);
        assert_false(command_noted(f));
}

/* Whoever reads it takes his time. */
static void test_unread_in_one_that_runs(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        begin(f, false, NULL);
        command_end(f, 0);
        run_for(f, COMMAND_UNREAD_USEC + 500 * USEC_PER_MSEC);
        assert_int_equal(f->n_done, 0);
        assert_int_not_equal(stream_state(f), 0);
        stream_ends(f, HELD);
        run_until(f, 1);
        assert_int_equal(f->exit_code, 0);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_paused_for_a_moment),
                TEST(test_paused_by_somebody),
                TEST(test_waits_for_our_thaw),
                TEST(test_canceled_before_freeze),
                TEST(test_held_while_frozen),
                TEST(test_begins_before_the_freeze),
                TEST(test_killed_while_frozen),
                TEST(test_caller_gone),
                TEST(test_caller_gone_from_one_that_writes),
                TEST(test_caller_gone_behind_its_end),
                TEST(test_hangup_ignored),
                TEST(test_canceled),
                TEST(test_canceled_at_its_begin),
                TEST(test_canceled_while_frozen),
                TEST(test_process_of_another),
                TEST(test_left_behind),
                TEST(test_left_running),
                TEST(test_left_notes),
                TEST(test_container_ended),
                TEST(test_unread_at_the_end),
                TEST(test_unread_in_one_that_runs),
                TEST(test_engine_away),
                TEST(test_stream_broken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
