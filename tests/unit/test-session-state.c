/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "core/provider.h"
#include "core/reconcile.h"
#include "core/session-state.h"

/* Every pair, as the design draws it: a row a state, the states that may follow it. */
static const char *const expected[_SESSION_STATE_MAX] = {
        [SESSION_NEW] = "placing failed resuming stopped destroying",
        [SESSION_PLACING] = "starting running exited failed lost resuming stopped destroying",
        [SESSION_STARTING] = "running exited failed lost resuming stopped destroying",
        [SESSION_RUNNING] = "stopping hibernating exited failed lost stopped destroying",
        [SESSION_STOPPING] = "stopped running exited failed lost resuming destroying",
        [SESSION_STOPPED] = "resuming running exited destroying",
        [SESSION_HIBERNATING] = "hibernated running exited failed lost stopped destroying",
        [SESSION_HIBERNATED] = "resuming running exited destroying",
        [SESSION_RESUMING] = "running hibernated stopped exited failed lost destroying",
        [SESSION_EXITED] = "stopping hibernating running failed lost stopped destroying",
        [SESSION_FAILED] = "placing resuming running exited lost destroying",
        [SESSION_LOST] = "running exited resuming failed stopped starting destroying",
        [SESSION_DESTROYING] = "gone",
        [SESSION_GONE] = "",
};

static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);
        for (const char *p = list; (p = strstr(p, word)); p += n)
                if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
                        return true;
        return false;
}

static void test_transitions(void **state) {
        for (int from = 0; from < _SESSION_STATE_MAX; from++)
                for (int to = 0; to < _SESSION_STATE_MAX; to++)
                        if (session_state_may_follow(from, to) != has_word(expected[from], session_state_to_string(to)))
                                fail_msg("%s to %s", session_state_to_string(from), session_state_to_string(to));
        assert_false(session_state_may_follow(_SESSION_STATE_INVALID, SESSION_NEW));
        assert_false(session_state_may_follow(SESSION_NEW, _SESSION_STATE_MAX));
}

/* From every state something leads on to the end. */
static void test_every_state_has_an_exit(void **state) {
        for (int s = 0; s < SESSION_GONE; s++)
                assert_true(session_state_may_follow(s, SESSION_DESTROYING) || session_state_may_follow(s, SESSION_GONE));
}

static void test_verbs(void **state) {
        /* A state in which nothing is under way answers to some verb beside destroy. */
        for (int s = 0; s < SESSION_DESTROYING; s++) {
                unsigned n = 0;
                for (int v = 0; v < _JOB_TYPE_MAX; v++)
                        n += session_state_allows(s, v);
                assert_true(session_state_allows(s, JOB_DESTROY));
                if (!session_state_is_transient(s))
                        assert_true(n >= 2);
        }
        assert_false(session_state_allows(SESSION_HIBERNATED, JOB_HIBERNATE));
        assert_false(session_state_allows(SESSION_RUNNING, JOB_RESTORE));
        assert_false(session_state_allows(SESSION_GONE, JOB_DESTROY));
        assert_false(session_state_allows(SESSION_RUNNING, _JOB_TYPE_MAX));
}

/* Never to undo what was asked for. */
static void test_remedies(void **state) {
        for (int s = 0; s < _SESSION_STATE_MAX; s++)
                for (int v = 0; v < _JOB_TYPE_MAX; v++)
                        assert_true(endswith(session_state_remedy(s, v), "."));
        assert_non_null(strstr(session_state_remedy(SESSION_RUNNING, JOB_START), "nothing to do"));
        assert_non_null(strstr(session_state_remedy(SESSION_RUNNING, JOB_RESTORE), "Hibernate or stop"));
        assert_non_null(strstr(session_state_remedy(SESSION_STOPPED, JOB_HIBERNATE), "nothing to do"));
        assert_non_null(strstr(session_state_remedy(SESSION_HIBERNATED, JOB_STOP), "nothing to do"));
        assert_non_null(strstr(session_state_remedy(SESSION_HIBERNATED, JOB_SNAPSHOT), "Start or restore"));
        /* Who wants to get in waits for what comes up, has what ends stay, and has what is gone come back. */
        for (JobType v = JOB_SHELL; v <= JOB_EXECUTE; v++) {
                for (int s = 0; s < _SESSION_STATE_MAX; s++)
                        assert_int_equal(session_state_allows(s, v), s == SESSION_RUNNING);
                assert_string_equal(session_state_remedy(SESSION_PLACING, v), "Wait until it runs.");
                assert_string_equal(session_state_remedy(SESSION_RESUMING, v), "Wait until it runs.");
                assert_non_null(strstr(session_state_remedy(SESSION_HIBERNATING, v), "cancel its job"));
                assert_non_null(strstr(session_state_remedy(SESSION_STOPPED, v), "Start or restore"));
                assert_non_null(strstr(session_state_remedy(SESSION_EXITED, v), "Start it again"));
        }
}

static void test_names(void **state) {
        for (int s = 0; s < _SESSION_STATE_MAX; s++)
                assert_int_equal(session_state_from_string(session_state_to_string(s)), s);
        for (int t = 0; t < _JOB_TYPE_MAX; t++)
                assert_int_equal(job_type_from_string(job_type_to_string(t)), t);
        for (int r = 0; r < _STOP_REASON_MAX; r++)
                assert_int_equal(stop_reason_from_string(stop_reason_to_string(r)), r);
        for (int a = 0; a < _RECONCILE_ACTION_MAX; a++)
                assert_non_null(reconcile_action_to_string(a));
        assert_null(session_state_to_string(_SESSION_STATE_MAX));
        assert_int_equal(session_state_from_string("sleeping"), -EINVAL);
        assert_int_equal(session_state_from_string(NULL), -EINVAL);
}

/* Whatever the store and the provider say, the action fits the table and never throws files away. */
static void walk(ReconcileInput in) {
        ReconcileAction a = reconcile(&in);

        switch (a) {
        case RECONCILE_SET_RUNNING:
        case RECONCILE_ABORT_SAVE:
                assert_true(in.exists && in.task == TASK_RUNNING);
                assert_true(session_state_may_follow(in.state, SESSION_RUNNING));
                break;
        case RECONCILE_SET_EXITED:
                assert_true(session_state_may_follow(in.state, SESSION_EXITED));
                break;
        case RECONCILE_SET_LOST:
                assert_true(session_state_may_follow(in.state, SESSION_LOST));
                break;
        case RECONCILE_SET_REMOVED:
                assert_true(session_state_may_follow(in.state, SESSION_FAILED));
                /* Never while a container with files may be there. */
                assert_true(!in.exists || in.task == TASK_NONE || in.task == TASK_GONE || in.task == TASK_FAILED);
                break;
        case RECONCILE_FINISH_REST:
        case RECONCILE_FINISH_RECORD:
                assert_true(in.proven);
                break;
        case RECONCILE_RESUME:
                assert_true(in.state == SESSION_RESUMING || session_state_may_follow(in.state, SESSION_RESUMING));
                /* Nothing runs that a second start could double. */
                assert_true(!in.exists || in.task != TASK_RUNNING || !in.task_wanted);
                break;
        case RECONCILE_LAY_DOWN:
                assert_true(in.exists && (in.task == TASK_GONE || in.task == TASK_FAILED));
                break;
        case RECONCILE_SAVE_EXITED:
                assert_true(in.exists && in.task == TASK_EXITED && in.state == SESSION_EXITED);
                break;
        default:
                break;
        }
        /* A transient state is always resolved once the provider has made up its mind. */
        if (session_state_is_transient(in.state) && in.task != TASK_PENDING && in.task != TASK_STARTING)
                assert_int_not_equal(a, RECONCILE_NONE);
}

static void test_reconcile_walk(void **state) {
        for (unsigned bits = 0; bits < 32; bits++)
                for (int s = 0; s < _SESSION_STATE_MAX; s++)
                        for (int t = 0; t < _TASK_STATE_MAX; t++)
                                walk((ReconcileInput) { .state = s, .task = t, .wanted = bits & 1, .exists = bits & 2, .task_wanted = bits & 4,
                                                        .frozen = bits & 8, .proven = bits & 16 });
}

static void test_reconcile_cases(void **state) {
        static const struct {
                ReconcileInput in;
                ReconcileAction out;
        } cases[] = {
                { { SESSION_PLACING, true, false, false, TASK_NONE }, RECONCILE_CREATE },
                { { SESSION_HIBERNATING, false, true, true, TASK_RUNNING, true }, RECONCILE_ABORT_SAVE },
                { { SESSION_HIBERNATING, false, true, true, TASK_RUNNING, true, true }, RECONCILE_FINISH_REST },
                { { SESSION_HIBERNATING, false, true, true, TASK_EXITED, false, true }, RECONCILE_FINISH_REST },
                { { SESSION_HIBERNATING, false, true, false, TASK_NONE, false, true }, RECONCILE_FINISH_RECORD },
                { { SESSION_HIBERNATING, false, true, true, TASK_LOST, false, true }, RECONCILE_SET_LOST },
                { { SESSION_STOPPING, false, true, true, TASK_EXITED }, RECONCILE_SET_EXITED },
                { { SESSION_RESUMING, true, true, false, TASK_NONE }, RECONCILE_ABORT_RESUME },
                { { SESSION_RESUMING, true, true, true, TASK_GONE }, RECONCILE_SET_REMOVED },
                { { SESSION_RESUMING, true, true, true, TASK_RUNNING }, RECONCILE_SET_RUNNING },
                { { SESSION_RUNNING, true, true, true, TASK_RUNNING, true }, RECONCILE_THAW },
                { { SESSION_RUNNING, true, true, true, TASK_RUNNING }, RECONCILE_NONE },
                { { SESSION_STOPPED, true, true, false, TASK_NONE }, RECONCILE_RESUME },
                { { SESSION_STOPPED, false, true, false, TASK_NONE }, RECONCILE_NONE },
                { { SESSION_STOPPED, false, true, true, TASK_GONE }, RECONCILE_LAY_DOWN },
                { { SESSION_FAILED, false, true, true, TASK_FAILED }, RECONCILE_LAY_DOWN },
                { { SESSION_STOPPED, false, true, true, TASK_EXITED }, RECONCILE_SET_EXITED },
                { { SESSION_STOPPED, false, true, false, TASK_EXITED }, RECONCILE_NONE },
                { { SESSION_DESTROYING, false, false, false, TASK_NONE }, RECONCILE_DESTROY },
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if (reconcile(&cases[i].in) != cases[i].out)
                        fail_msg("case %zu: %s instead of %s", i, reconcile_action_to_string(reconcile(&cases[i].in)),
                                 reconcile_action_to_string(cases[i].out));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_transitions),
                cmocka_unit_test(test_every_state_has_an_exit),
                cmocka_unit_test(test_verbs),
                cmocka_unit_test(test_remedies),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_reconcile_walk),
                cmocka_unit_test(test_reconcile_cases),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
