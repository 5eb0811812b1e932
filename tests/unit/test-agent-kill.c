/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a container: its witness, and what it died of; signals. */

#include <dlfcn.h>
#include <signal.h>
#include <sys/capability.h>

#include "agent-model.h"

static unsigned caps_until_failure;

/* In the place of libcap's: the memory for one of them is not there. */
cap_t cap_get_proc(void) {
        cap_t (*real)(void) = (cap_t (*)(void)) dlsym(RTLD_NEXT, "cap_get_proc");

        assert_non_null(real);
        if (caps_until_failure > 0 && --caps_until_failure == 0) {
                errno = ENOMEM;
                return NULL;
        }
        return real();
}

static void test_hold_and_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_string_equal(f->image, SAVED);
        assert_true(f->frozen_usec > 0);
        assert_true(MODEL(f, m->paused));
        assert_true(noted(f));
        assert_int_equal(count_requests(f, "\"password\":\"secret\""), 1);
        assert_int_equal(count_requests(f, "\"image\":\"" BASE "\""), 1);
        assert_int_equal(count_requests(f, "\"upperdir\":\"/var/lib/docker/overlay2/x/diff\""), 1);
        char witness[512];
        strcpy(witness, f->witness);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(MODEL(f, m->n_unpause), 0);
        /* The kill is known to be ours, to a later agent too; done twice it does nothing. */
        agent_free(f->a);
        make_agent(f);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_true(noted(f));
        MODEL(f, m->exists = false);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_false(noted(f));
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* Done when the processes are dead, whatever the Engine is still busy with, as Docker is for long; a later agent knows it
 * as well. */
static void test_kill_is_seen_early(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->slow_kill = true);
        char witness[512];
        strcpy(witness, f->witness);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_true(MODEL(f, m->running));
        agent_free(f->a);
        make_agent(f);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        f->n_done = 0;
        assert_int_equal(agent_kill(f->a, ID, witness, on_done, f, NULL), 0);
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->n_done, 0);
        MODEL(f, m->running = m->paused = false);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        /* Not for another run of it. */
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, witness, "another run"), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), -EBADRQC);
        (void) close(MODEL(f, m->kill_fd));
}

static void kill_is_refused(Fixture *f) {
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
}

/* Dead, but not of our kill: what it wrote before its end is not in the copy. */
static void test_other_deaths(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_stop = true);
        kill_is_refused(f);
}

/* Removed, as by Swarm for an Engine that stops: all of it that is left is what was saved. */
static void test_removed_before_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_removal = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        /* Nor is it listened to any more. */
        assert_null(f->a->watches);
        UNTIL(f, count_streams(f) == 0);
}

/* What it wrote before it was removed is gone without a copy, and nobody is told that all is well. */
static void test_unpaused_and_removed_before_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_unpause = m->foreign_removal = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* The same where it is removed behind the kill: the signal was ours, but what was first was not. */
static void test_unpaused_and_removed_behind_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_unpause = m->removed_by_kill = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(MODEL(f, m->n_kill), 1);
}

static void test_unpaused_before_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_unpause = true);
        kill_is_refused(f);
}

static void test_copied_into_before_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_true(witness_since(f->witness) > 0);
        MODEL(f, m->foreign_copy = true);
        kill_is_refused(f);
}

static int end_of(Fixture *f) {
        return CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL));
}

static void assert_changed(Fixture *f, int r) {
        assert_int_equal(r, -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* What was seen while the files were saved counts, however much happens elsewhere: there is no kill, and it can go on. */
static void test_copied_into_and_forgotten(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(count_streams(f), 1);
        happens(f, COPIED);
        forgets(f);
        UNTIL(f, agent_watch_evidence(f->a->watches) == EVIDENCE_BROKEN);
        assert_changed(f, end_of(f));
        assert_changed(f, end_of(f));
        assert_int_equal(MODEL(f, m->n_kill), 0);
        assert_true(MODEL(f, m->running));
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        UNTIL(f, count_streams(f) == 0);
        /* The next save has it. */
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(end_of(f), 0);
        UNTIL(f, count_streams(f) == 0);
}

/* containerd told the Engine late of a thaw before the freeze, and then of the freeze. */
static void test_told_late_of_a_thaw(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        happens(f, UNPAUSED);
        UNTIL(f, agent_watch_is_unpaused(f->a->watches));
        happens(f, PAUSED);
        UNTIL(f, !agent_watch_is_unpaused(f->a->watches));
        assert_int_equal(end_of(f), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
}

/* What is copied into it meanwhile is in no copy: it was frozen all the time. */
static void test_copied_into_behind_a_late_thaw(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        happens(f, UNPAUSED COPIED PAUSED);
        UNTIL(f, agent_watch_evidence(f->a->watches) == EVIDENCE_BROKEN);
        assert_changed(f, end_of(f));
        assert_int_equal(MODEL(f, m->n_kill), 0);
}

/* Without a pause behind it, it was somebody else's. */
static void test_unpaused_while_saved(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        happens(f, UNPAUSED);
        UNTIL(f, agent_watch_is_unpaused(f->a->watches));
        assert_changed(f, end_of(f));
        assert_int_equal(MODEL(f, m->n_kill), 0);
        UNTIL(f, count_streams(f) == 0);
}

static void test_busy_node(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        UNTIL(f, agent_watch_is_whole(f->a->watches));
        forgets(f);
        assert_int_equal(end_of(f), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
}

/* Who has not listened all the time believes only what reaches back to the freeze. */
static void test_stream_breaks(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        cut_streams(f);
        UNTIL(f, !f->a->watches);
        forgets(f);
        kill_is_refused(f);
}

static void test_stream_breaks_and_nothing_is_forgotten(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        cut_streams(f);
        UNTIL(f, !f->a->watches);
        assert_int_equal(end_of(f), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
}

/* Another agent asks what happened before it. */
static void test_copied_into_before_another_agent(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        agent_free(f->a);
        happens(f, COPIED);
        make_agent(f);
        kill_is_refused(f);
}

static void test_copied_into_before_the_freeze(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        agent_free(f->a);
        MODEL(f, strcpy(m->events, COPIED PAUSED));
        make_agent(f);
        assert_int_equal(end_of(f), 0);
}

/* A snapshot kills nobody, and a save that failed does not either. */
static void test_nobody_listens_for_nothing(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_streams(f), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "error"), -EBADRQC);
        UNTIL(f, count_streams(f) == 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(count_streams(f), 1);
        happens(f, "{\"Action\":\"destroy\"}\n");
        UNTIL(f, count_streams(f) == 0);
        assert_null(f->a->watches);
}

static void save_ended(Fixture *f) {
        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
}

static void test_copied_into_after_its_end(void **state) {
        Fixture *f = *state;

        save_ended(f);
        happens(f, DIED COPIED);
        forgets(f);
        UNTIL(f, agent_watch_evidence(f->a->watches) == EVIDENCE_BROKEN);
        assert_changed(f, end_of(f));
        /* Told only when it is asked. */
        save_ended(f);
        MODEL(f, strcpy(m->events, DIED COPIED));
        assert_changed(f, end_of(f));
        /* Its own end may be told late; what went before the copy was read. */
        forgets(f);
        MODEL(f, strcpy(m->older, DIED COPIED));
        save_ended(f);
        happens(f, DIED);
        assert_int_equal(end_of(f), 0);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        UNTIL(f, count_streams(f) == 0);
}

/* There what is remembered must reach back to its end. */
static void test_stream_breaks_after_its_end(void **state) {
        Fixture *f = *state;

        save_ended(f);
        cut_streams(f);
        UNTIL(f, !f->a->watches);
        assert_changed(f, end_of(f));
        MODEL(f, strcpy(m->older, DIED COPIED));
        assert_changed(f, end_of(f));
        MODEL(f, strcpy(m->older, DIED));
        assert_int_equal(end_of(f), 0);
        assert_int_equal(MODEL(f, m->n_kill), 0);
}

static void test_engine_crash_at_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->crash = true);
        kill_is_refused(f);
}

/* It is dead, or is when it is thawed; and nobody who asks for its kill again would thaw it. */
static void test_kill_is_refused(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);
        if (child_enter_unified(f) < 0)
                skip();

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->refuse_kill = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        UNTIL(f, !noted(f));
        assert_false(MODEL(f, m->paused));
        MODEL(f, m->running = false);
        assert_changed(f, end_of(f));
        child_leave_unified(f);
}

static bool set_in_force(cap_value_t which, cap_flag_value_t value) {
        cap_t caps = cap_get_proc();
        bool set;

        assert_non_null(caps);
        set = cap_set_flag(caps, CAP_EFFECTIVE, 1, &which, value) >= 0 && cap_set_proc(caps) >= 0;
        (void) cap_free(caps);
        return set;
}

static bool is_in_force(cap_value_t which) {
        cap_flag_value_t value = CAP_CLEAR;
        cap_t caps = cap_get_proc();

        assert_non_null(caps);
        assert_int_equal(cap_get_flag(caps, which, CAP_EFFECTIVE, &value), 0);
        (void) cap_free(caps);
        return value == CAP_SET;
}

/* A capability is in force while it is needed, and not longer, whatever there is no memory for. */
static void test_capability_without_memory(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);
        if (!is_in_force(CAP_DAC_OVERRIDE) || child_enter_unified(f) < 0)
                skip();

        assert_true(set_in_force(CAP_DAC_OVERRIDE, CAP_CLEAR));
        for (unsigned i = 1; i <= 3; i++) {
                child_write_freeze(&f->model, "1");
                caps_until_failure = i;
                assert_int_equal(agent_let_run(f->child), 0);
                caps_until_failure = 0;
                assert_false(is_in_force(CAP_DAC_OVERRIDE));
                assert_int_equal(child_freeze(f), '0');
        }
        assert_true(set_in_force(CAP_DAC_OVERRIDE, CAP_SET));
        child_leave_unified(f);
}

/* A note that cannot be written: the Engine's word is waited for, and the kill is done all the same. */
static void test_kill_without_note(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        _cleanup_free_ char *dir = f->a->frozen_dir;
        f->a->frozen_dir = strdup("/nowhere/frozen");
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_false(MODEL(f, m->running));
        free(f->a->frozen_dir);
        f->a->frozen_dir = TAKE_PTR(dir);
}

static void test_witness_breaks(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        /* Somebody unpauses it and pauses it again: only the cpu time tells. */
        MODEL(f, m->paused = false);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        let_run(f);
        MODEL(f, m->paused = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        /* It ended by itself, with the code of a kill: not ours. */
        MODEL(f, m->running = m->paused = false);
        MODEL(f, m->exit_code = 137);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, "{}", on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_INVALID_ARGUMENT);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, "{\"container\":\"x\",\"started_at\":\"\",\"cpu_nsec\":0}", on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

static void test_signals(void **state) {
        Fixture *f = *state;

        assert_int_equal(CALL(f, agent_signal(f->a, ID, SIGHUP, on_done, f, NULL)), 0);
        assert_string_equal(MODEL(f, (const char *) m->last), "kill?signal=1");
        assert_int_equal(agent_signal(f->a, ID, 0, on_done, f, NULL), -EINVAL);
        assert_int_equal(agent_signal(f->a, ID, 100, on_done, f, NULL), -EINVAL);
        MODEL(f, m->running = false);
        assert_int_equal(CALL(f, agent_signal(f->a, ID, SIGHUP, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hold_and_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill_is_seen_early, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_deaths, setup, teardown),
                cmocka_unit_test_setup_teardown(test_removed_before_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unpaused_and_removed_before_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unpaused_and_removed_behind_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unpaused_before_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_before_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_and_forgotten, setup, teardown),
                cmocka_unit_test_setup_teardown(test_told_late_of_a_thaw, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_behind_a_late_thaw, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unpaused_while_saved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_busy_node, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stream_breaks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stream_breaks_and_nothing_is_forgotten, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_before_another_agent, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_before_the_freeze, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nobody_listens_for_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_copied_into_after_its_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stream_breaks_after_its_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_engine_crash_at_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_capability_without_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill_without_note, setup, teardown),
                cmocka_unit_test_setup_teardown(test_witness_breaks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
