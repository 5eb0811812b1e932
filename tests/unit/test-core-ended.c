/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a session's node, its Engine or the kernel ends or takes away, without anybody having asked for it. */

#include "core-fixture.h"

/* What the end of the Engine takes along while it comes up is no bad command: it is saved and started again. */
static void test_engine_dies_under_a_start(void **state) {
        Fixture *f = *state;
        Session *s = create_exiting(f, "under");
        Job *j;

        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "The Engine crashed.");
        WAIT_FOR(f, !provider_ready(f));
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        fake_list(f->p);
        WAIT_FOR(f, provider_ready(f));
        j = request(s, JOB_START, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, REFUSAL_PROVIDER_UNAVAILABLE);
        WAIT_FOR(f, fake_calls(f->p, FAKE_CAPTURE) == 2);
        assert_true(s->wanted);
}

/* The service dies with a generation proven, and comes back without the node. */
static void test_proven_and_lost(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "proven");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        fake_set_latency(f->p, FAKE_REST, 60 * USEC_PER_SEC);
        (void) request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REST) == 1);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "proven");
        WAIT_FOR(f, s->state == SESSION_LOST);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(s->generation, 1);
        assert_int_equal(value_of(f, s), 7);
}

/* Nothing that it could be restored from: an empty session would take its name. */
static void test_lost_and_never_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "unsaved");

        assert_int_equal(fake_lose_node(f->p, s->node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        expect_refused(s, JOB_RESTORE, NULL, REFUSAL_NO_SUCH_GENERATION);
        run_job(f, s, JOB_DESTROY, NULL);
}

/* Swarm gives up the tasks of a node that it missed for a while, and ends them when it is back. */
static void test_node_away_for_a_moment(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "moment");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && s->generation == 1 && !s->operation);
        assert_int_equal(value_of(f, s), 9);
        assert_int_equal(fake_losses(f->p), 0);
}

static bool is_at_rest(const Session *s) {
        return s->state == SESSION_STOPPED && !s->operation && !s->jobs;
}

/* A drain ends what runs on the node, and is for its maintenance: nobody meant the session. It goes on when a node takes it, however
 * long that is and whatever has become of the service since. */
static void test_drained(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "drained");

        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-1", true), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, is_at_rest(s));
        assert_int_equal(s->generation, 1);
        assert_non_null(strstr(s->state_detail, "drained"));
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "drained");
        assert_true(is_at_rest(s));
        assert_int_equal(fake_calls(f->p, FAKE_RUN), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 9);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Its end is seen only when the node is active again. What ends by itself later stays so. */
static void test_drained_for_a_moment(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "moment");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        assert_int_equal(fake_set_drained(f->p, node, true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_set_drained(f->p, node, false), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "active"));
        assert_int_equal(fake_exit_session(f->p, s->id, 143), 0);
        WAIT_FOR(f, s->generation == 1 && s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 9);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->generation == 2 && is_at_rest(s));
        assert_false(s->wanted);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Whoever does not want it to go on says so. */
static void test_drained_and_stopped(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "stays");

        assert_int_equal(fake_set_drained(f->p, "fake-1", true), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, is_at_rest(s));
        run_job(f, s, JOB_STOP, NULL);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_null(s->state_detail);
        expect_refused(s, JOB_STOP, NULL, REFUSAL_WRONG_STATE);
        assert_int_equal(fake_set_drained(f->p, "fake-1", false), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", false), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "active"));
        assert_true(is_at_rest(s));
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(fake_losses(f->p), 0);
}

/* A node takes sessions as well when it comes back, with its agent. */
static void test_drained_beside_lost_node(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "beside");
        const char *other = streq(s->node, "fake-1") ? "fake-2" : "fake-1";

        assert_int_equal(fake_lose_node(f->p, other), 0);
        assert_int_equal(fake_set_drained(f->p, s->node, true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, is_at_rest(s));
        assert_int_equal(fake_calls(f->p, FAKE_RUN), 0);
        assert_int_equal(fake_return_node(f->p, other, true), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_string_equal(s->node, other);
        assert_int_equal(fake_losses(f->p), 0);
}

static usec_t shifted_now(void) {
        return 3600 * USEC_PER_SEC;
}

static usec_t shifted_uptime(void) {
        return monotonic() + 3600 * USEC_PER_SEC;
}

/* How long ago the Engine was away does not depend on a clock that was set back since: what ends by itself stays so. */
static void test_clock_set_back(void **state) {
        Fixture *f = *state;
        usec_t (*now)(void) = core_now, (*uptime)(void) = core_uptime;
        Session *s = create_running(f, "back");

        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "The Engine is away.");
        WAIT_FOR(f, !provider_ready(f));
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        fake_list(f->p);
        WAIT_FOR(f, provider_ready(f));
        core_now = shifted_now;
        core_uptime = shifted_uptime;
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->generation == 1 && !s->operation);
        core_now = now;
        core_uptime = uptime;
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_false(s->wanted);
}

/* Killed for its memory it would be so again: that end is its own, whatever its node did just before. */
static void test_memory_used_up(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "greedy");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        unsigned n = fake_calls(f->p, FAKE_RUN);
        assert_int_equal(fake_exhaust_memory(f->p, s->id), 0);
        WAIT_FOR(f, s->generation == 1 && !s->operation);
        assert_int_equal(fake_calls(f->p, FAKE_RUN), n);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->stop_reason, STOP_REASON_RESOURCE_LIMIT);
        assert_false(s->wanted);
        assert_non_null(strstr(s->state_detail, "--memory="));
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 9);
        assert_int_equal(fake_exit_session(f->p, s->id, 137), 0);
        WAIT_FOR(f, s->generation == 2 && !s->operation);
        assert_int_equal(fake_losses(f->p), 0);
}

/* What a reboot of the node ended is saved and started again. */
static void test_node_reboot(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "zeta");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 11), 0);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(s->stop_reason, STOP_REASON_NODE_LOST);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
        assert_int_equal(value_of(f, s), 11);

        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "The Engine is away.");
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        fake_list(f->p);
        WAIT_FOR(f, s->state == SESSION_RUNNING && s->generation == 1 && !s->operation);
        assert_int_equal(value_of(f, s), 11);
        assert_int_equal(fake_losses(f->p), 0);
}

/* The service dies with a generation proven, and its container ran on: it is to run, as if it had not been hibernated. */
static void test_proven_and_ran_on(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "on");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        fake_set_latency(f->p, FAKE_REST, 60 * USEC_PER_SEC);
        (void) request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REST) == 1);
        assert_int_equal(fake_set_frozen(f->p, s->id, false), 0);
        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "on");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_true(s->wanted);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && s->generation == 2 && !s->operation);
        assert_int_equal(value_of(f, s), 2);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Its node is down, and with it the files 2; of the files 1 there is a generation. */
static Session *create_lost(Fixture *f, const char *name) {
        Session *s = create_running(f, name);

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        assert_int_equal(fake_lose_node(f->p, s->node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        return s;
}

/* A restore that cannot begin leaves what the node may bring back as it is. */
static void test_restore_of_lost_fails(void **state) {
        Fixture *f = *state;
        Session *s = create_lost(f, "patient");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_fail_next(f->p, FAKE_RUN, 1, REFUSAL_PROVIDER_UNAVAILABLE, "The Engine did not answer."), 0);
        Job *j = request(s, JOB_RESTORE, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->state, SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 2);

        /* Nor does one that is canceled before it has begun. */
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        j = request(s, JOB_RESTORE, NULL);
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        assert_int_equal(j->state, JOB_CANCELED);
        assert_int_equal(s->state, SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && s->generation == 2 && !s->operation);
        assert_int_equal(value_of(f, s), 2);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Nor does one of files that its registry has lost. */
static void test_restore_of_lost_without_image(void **state) {
        Fixture *f = *state;
        Session *s = create_lost(f, "hollow");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_forget_image(f->p, session_find_snapshot(s, 1)->record.image), 0);
        Job *j = request(s, JOB_RESTORE, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->state, SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 2);
        assert_int_equal(j->error->code, REFUSAL_NO_SUCH_GENERATION);
        assert_int_equal(fake_losses(f->p), 0);
}

/* A session that waits for a node goes on waiting for it when something else was asked for that cannot be done. */
static void test_restore_of_waiting_without_image(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "patient");

        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-1", true), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 143), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && s->wanted && !s->jobs);
        assert_int_equal(fake_forget_image(f->p, session_find_snapshot(s, 1)->record.image), 0);
        Job *j = request(s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->error->code, REFUSAL_NO_SUCH_GENERATION);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(fake_set_drained(f->p, "fake-1", false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 7);
}

/* What waits behind a save that fails is refused, and then the files are saved all the same. */
static void test_exited_with_a_queue(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "queue");

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        fake_set_latency(f->p, FAKE_CAPTURE, 100 * USEC_PER_MSEC);
        Job *j = request(s, JOB_HIBERNATE, NULL), *next;
        WAIT_FOR(f, s->frozen);
        next = request(s, JOB_SNAPSHOT, NULL);
        assert_int_equal(fake_exit_session(f->p, s->id, 9), 0);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);
        WAIT_FOR(f, job_state_is_ended(j->state) && job_state_is_ended(next->state));
        assert_int_equal(next->state, JOB_FAILED);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_int_equal(s->generation, 2);
        assert_int_equal(fake_losses(f->p), 0);
}

/* A drain has ended it, so it is to go on. Somebody would stop it instead, and takes that back. */
static void test_stop_of_exited_canceled(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "goes-on");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry is away."), 0);
        assert_int_equal(fake_set_drained(f->p, node, true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 143), 0);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        Job *j = request(s, JOB_STOP, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_CAPTURE) == 2);
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(s->state, SESSION_EXITED);
        assert_true(s->wanted);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);
        assert_int_equal(fake_losses(f->p), 0);
}

/* It is asked for before anybody knows that the node is back. */
static void test_restore_of_what_is_back(void **state) {
        Fixture *f = *state;
        Session *s = create_lost(f, "back");
        _cleanup_free_ char *node = strdup(s->node);

        fake_set_health(f->p, PROVIDER_UNAVAILABLE, NULL);
        WAIT_FOR(f, !provider_ready(f));
        Job *j = request(s, JOB_RESTORE, NULL);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        fake_list(f->p);
        WAIT_FOR(f, job_state_is_ended(j->state));
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(fake_losses(f->p), 0);
        assert_int_equal(value_of(f, s), 2);
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, REFUSAL_WRONG_STATE);
}

/* Its container goes while nobody looks, and its service is laid to rest before what waits gets its turn. */
static void test_removed_with_a_queue(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "removed");

        fake_set_health(f->p, PROVIDER_UNAVAILABLE, NULL);
        WAIT_FOR(f, !provider_ready(f));
        Job *j = request(s, JOB_SNAPSHOT, NULL);
        assert_int_equal(fake_kill_container(f->p, s->id), 0);
        fake_set_latency(f->p, FAKE_DISCARD, 60 * USEC_PER_SEC);
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        fake_list(f->p);
        WAIT_FOR(f, fake_calls(f->p, FAKE_DISCARD) == 1);
        assert_non_null(session_current_job(s));
        assert_int_equal(session_current_job(s)->type, JOB_STOP);
        assert_int_equal(j->state, JOB_QUEUED);
        assert_ptr_equal(s->jobs->next, j);
}

/* The start is canceled, and that does not reach the provider: what comes up and ends all the same has files that nobody has. */
static void test_exited_at_rest(void **state) {
        Fixture *f = *state;
        Session *s = create_exiting(f, "limbo");

        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_START, 200 * USEC_PER_MSEC);
        assert_int_equal(fake_break_next(f->p, FAKE_DISCARD, 1, EIO), 0);
        Job *j = request(s, JOB_START, NULL);
        WAIT_FOR(f, s->task_wanted && s->task == TASK_PENDING);
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(s->state, SESSION_HIBERNATED);
        WAIT_FOR(f, s->generation == 2 && !s->operation);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->stop_reason, STOP_REASON_EXITED);
        assert_false(s->task_wanted);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Nobody asks for a start that the orchestrator itself has begun, so it tries that again. One that somebody asked for it leaves
 * to them. */
static void test_start_again_fails(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "again");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_RUN, 1, REFUSAL_PROVIDER_UNAVAILABLE, "The Engine did not answer."), 0);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation && !s->dirty);
        assert_int_equal(s->failures, 1);
        assert_non_null(strstr(s->state_detail, "The Engine did not answer. It is tried again"));
        /* a restart of the service forgets neither that nor the pause */
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "again");
        assert_int_equal(s->state, SESSION_STOPPED);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(s->failures, 0);
        assert_int_equal(value_of(f, s), 7);

        run_job(f, s, JOB_STOP, NULL);
        assert_int_equal(fake_fail_next(f->p, FAKE_RUN, 1, REFUSAL_PROVIDER_UNAVAILABLE, "The Engine did not answer."), 0);
        Job *j = request(s, JOB_START, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_false(s->wanted);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Nor does anybody ask for it once more where the service dies before the provider has heard of it. */
static void test_start_again_cut_off(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "cut-off");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        fake_set_latency(f->p, FAKE_RUN, 60 * USEC_PER_SEC);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_RUN) == 1);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "cut-off");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 7);

        /* Who asked for one sees that it was cut off; only they know with which files. */
        run_job(f, s, JOB_STOP, NULL);
        fake_set_latency(f->p, FAKE_RUN, 60 * USEC_PER_SEC);
        (void) request(s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        WAIT_FOR(f, fake_calls(f->p, FAKE_RUN) == 2);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "cut-off");
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_false(s->wanted);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Nor where the service died after that, and what goes on from there fails. */
static void test_start_again_cut_off_and_fails(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "fails-then");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        assert_int_equal(fake_return_node(f->p, node, true), 0);
        WAIT_FOR(f, s->state == SESSION_RESUMING && s->task == TASK_PENDING && s->task_wanted);
        assert_int_equal(fake_set_drained(f->p, "fake-1", true), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        crash(f);
        /* Not either where that is cut off once more. */
        fake_set_latency(f->p, FAKE_RUN, 60 * USEC_PER_SEC);
        WAIT_FOR(f, fake_calls(f->p, FAKE_RUN) == 1);
        s = manager_find_session(f->m, "fails-then");
        assert_int_equal(s->observed_generation, 1);
        crash(f);
        assert_int_equal(fake_fail_next(f->p, FAKE_RUN, 1, REFUSAL_PROVIDER_UNAVAILABLE, "The Engine did not answer."), 0);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "fails-then");
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_true(s->wanted);
        assert_int_equal(s->failures, 1);
        assert_int_equal(fake_losses(f->p), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_engine_dies_under_a_start),
                T(test_proven_and_lost),
                T(test_lost_and_never_saved),
                T(test_node_away_for_a_moment),
                T(test_drained),
                T(test_drained_for_a_moment),
                T(test_drained_and_stopped),
                T(test_drained_beside_lost_node),
                T(test_clock_set_back),
                T(test_memory_used_up),
                T(test_node_reboot),
                T(test_proven_and_ran_on),
                T(test_restore_of_lost_fails),
                T(test_restore_of_lost_without_image),
                T(test_restore_of_waiting_without_image),
                T(test_exited_with_a_queue),
                T(test_stop_of_exited_canceled),
                T(test_restore_of_what_is_back),
                T(test_removed_with_a_queue),
                T(test_exited_at_rest),
                T(test_start_again_fails),
                T(test_start_again_cut_off),
                T(test_start_again_cut_off_and_fails),
        };
        log_open("test-core-ended");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
