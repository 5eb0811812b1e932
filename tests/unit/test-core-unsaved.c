/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a full disk keeps from being saved is not done: neither at once, nor later when there is room again. */

#include <signal.h>
#include <sys/resource.h>

#include "core-fixture.h"

static void fill_disk(bool full) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = full ? 0 : limit.rlim_max;
        assert_true(signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL) != SIG_ERR);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Proven, and it cannot be recorded: the session is thawed, and that is over before the job is. */
static void test_record_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "omicron");

        fake_set_latency(f->p, FAKE_CAPTURE, 200 * USEC_PER_MSEC);
        fake_set_latency(f->p, FAKE_THAW, 200 * USEC_PER_MSEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->frozen);
        fill_disk(true);
        WAIT_FOR(f, fake_calls(f->p, FAKE_THAW) == 1);
        assert_false(job_state_is_ended(j->state));
        WAIT_FOR(f, job_state_is_ended(j->state));
        fill_disk(false);
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, REFUSAL_STORE_FAILED);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->frozen);
        /* Nor is anything left of that generation. */
        WAIT_FOR(f, !s->snapshots);
        assert_int_equal(fake_calls(f->p, FAKE_REST), 0);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Killed for its memory it is not started again, also where only its next save can be recorded. */
static void test_reason_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "rho");
        _cleanup_free_ char *node = strdup(s->node);

        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, s->state == SESSION_LOST);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
        fake_set_latency(f->p, FAKE_CAPTURE, 200 * USEC_PER_MSEC);
        assert_int_equal(fake_exhaust_memory(f->p, s->id), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_CAPTURE) == 1);
        assert_true(s->wanted);
        fill_disk(true);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        fill_disk(false);
        assert_int_equal(s->stop_reason, STOP_REASON_RESOURCE_LIMIT);
        assert_false(s->wanted);
}

/* The files are safe and the container is gone; that it rests is told when that is on the disk. */
static void test_end_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "pi");

        fake_set_latency(f->p, FAKE_REST, 200 * USEC_PER_MSEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REST) == 1);
        fill_disk(true);
        WAIT_FOR(f, streq_ptr(j->stage, "waiting for the store"));
        assert_false(job_state_is_ended(j->state));
        fill_disk(false);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_DONE);
        assert_int_equal(s->state, SESSION_HIBERNATED);
        assert_int_equal(fake_losses(f->p), 0);
}

/* The disk is full from the moment on at which the first generation is to go by the limit. */
static void fill_at_limit(void *userdata, ObjectKind kind, void *object, uint64_t mask) {
        const Snapshot *first = kind == OBJECT_SESSION ? session_find_any_snapshot(object, 1) : NULL;

        if (first && first->record.phase == SNAPSHOT_INTENT)
                fill_disk(true);
}

/* What is deleted, is so on the disk first, or it would be a generation without files after a crash. */
static void test_deletion_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "sigma");

        run_job(f, s, JOB_SNAPSHOT, NULL);
        f->m->config->generations_max = 1;
        manager_set_observer(f->m, fill_at_limit, NULL);
        run_job(f, s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, !f->m->store_healthy);
        assert_int_equal(fake_calls(f->p, FAKE_DELETE_IMAGE), 0);
        manager_set_observer(f->m, NULL, NULL);
        fill_disk(false);
        WAIT_FOR(f, !session_find_any_snapshot(s, 1));
        assert_int_equal(fake_calls(f->p, FAKE_DELETE_IMAGE), 1);
}

/* What is refused because it could not be saved is not carried out later, not even what knows no way back. */
static void test_request_not_saved(void **state) {
        const JobOptions first = { .generation = 1 };
        Fixture *f = *state;
        Session *s = create_running(f, "sigma");

        run_job(f, s, JOB_SNAPSHOT, NULL);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        for (unsigned i = 0; i < 2; i++) {
                fill_disk(true);
                Job *j = request(s, i ? JOB_DESTROY : JOB_DELETE_SNAPSHOT, i ? NULL : &first);
                WAIT_FOR(f, job_state_is_ended(j->state));
                assert_int_equal(j->state, JOB_FAILED);
                assert_int_equal(j->error->code, REFUSAL_STORE_FAILED);
                fill_disk(false);
                WAIT_FOR(f, f->m->store_healthy && !s->operation);
                assert_int_equal(s->state, SESSION_RUNNING);
                assert_non_null(session_find_snapshot(s, 1));
        }
        assert_int_equal(fake_calls(f->p, FAKE_DELETE_IMAGE), 0);
        assert_int_equal(fake_calls(f->p, FAKE_REMOVE), 0);
        run_job(f, s, JOB_DELETE_SNAPSHOT, &first);
}

/* The same of what waits for another job, and of what waits for the provider. */
static void test_queued_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "tau");

        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        Job *hibernate = request(s, JOB_HIBERNATE, NULL), *stop = request(s, JOB_STOP, NULL);
        WAIT_FOR(f, s->frozen);
        job_withdraw(hibernate);
        job_withdraw(stop);
        assert_int_equal(stop->state, JOB_CANCELED);
        assert_non_null(strstr(stop->error->message, "could not be saved"));
        assert_int_equal(hibernate->state, JOB_RUNNING);
        assert_null(hibernate->next);
}

static unsigned withdrawn;

static void withdraw_unsaved(void *userdata, int r) {
        assert_true(r < 0);
        withdrawn++;
        job_withdraw(userdata);
}

/* The disk is full from the moment on at which the session is to go. */
static void fill_at_destroy(void *userdata, ObjectKind kind, void *object, uint64_t mask) {
        if (kind == OBJECT_SESSION && ((Session *) object)->state == SESSION_DESTROYING)
                fill_disk(true);
}

/* The same of what got its turn when the one before it met that failure. */
static void test_next_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "upsilon");

        run_job(f, s, JOB_SNAPSHOT, NULL);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        fill_disk(true);
        Job *deletion = request(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 1 });
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, deletion, NULL), 0);
        Job *destroy = request(s, JOB_DESTROY, NULL);
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, destroy, NULL), 0);
        WAIT_FOR(f, !f->m->store_healthy);
        fill_disk(false);
        WAIT_FOR(f, f->m->store_healthy && !s->operation);
        assert_int_equal(destroy->state, JOB_CANCELED);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(fake_calls(f->p, FAKE_REMOVE), 0);

        /* But what is under way is not undone by another request that joined it. */
        manager_set_observer(f->m, fill_at_destroy, NULL);
        destroy = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, streq_ptr(destroy->stage, "waiting for the store"));
        manager_set_observer(f->m, NULL, NULL);
        assert_true(request(s, JOB_DESTROY, &(JobOptions) { .keep_snapshots = true }) == destroy);
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, destroy, NULL), 0);
        WAIT_FOR(f, withdrawn == 3);
        fill_disk(false);
        WAIT_FOR(f, job_state_is_ended(destroy->state));
        assert_int_equal(destroy->state, JOB_DONE);
}

/* A job that a refused request would have replaced goes on. */
static void test_replacement_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "phi");

        withdrawn = 0;
        fake_set_latency(f->p, FAKE_CAPTURE, 20 * USEC_PER_SEC);
        Job *hibernate = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->frozen);
        Job *start = request(s, JOB_START, NULL);
        WAIT_FOR(f, !start->dirty);
        fill_disk(true);
        Job *destroy = request(s, JOB_DESTROY, NULL);
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, destroy, NULL), 0);
        WAIT_FOR(f, withdrawn == 1);
        fill_disk(false);
        assert_int_equal(destroy->state, JOB_CANCELED);
        assert_int_equal(hibernate->state, JOB_RUNNING);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);        /* of the steps that are left */
        WAIT_FOR(f, job_state_is_ended(hibernate->state));
        assert_int_equal(hibernate->state, JOB_DONE);
        WAIT_FOR(f, job_state_is_ended(start->state));
        assert_int_equal(start->state, JOB_DONE);

        /* Nor is a session given up that was being made. */
        fake_set_latency(f->p, FAKE_START, USEC_PER_SEC);
        s = create(f, "chi", "base");
        WAIT_FOR(f, s->state == SESSION_STARTING && !s->dirty);
        fill_disk(true);
        destroy = request(s, JOB_DESTROY, NULL);
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, destroy, NULL), 0);
        WAIT_FOR(f, withdrawn == 2);
        fill_disk(false);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->jobs);
        assert_int_equal(fake_calls(f->p, FAKE_REMOVE), 0);
}

/* To rest while its node is drained, as all are; there it waits to be started again by itself. */
static Session *create_waiting(Fixture *f, const char *name) {
        Session *s = create_running(f, name);

        assert_int_equal(fake_set_drained(f->p, "fake-1", true), 0);
        assert_int_equal(fake_set_drained(f->p, "fake-2", true), 0);
        WAIT_FOR(f, streq(session_find_node(s)->availability, "drain"));
        assert_int_equal(fake_exit_session(f->p, s->id, 143), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->jobs && !s->dirty);
        assert_true(s->wanted);
        return s;
}

/* A stop of what is at rest has nothing to undo: nothing of it may be done before it is saved. */
static void test_stay_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_waiting(f, "psi");

        withdrawn = 0;
        fill_disk(true);
        Job *stop = request(s, JOB_STOP, NULL);
        assert_int_equal(manager_on_commit(f->m, withdraw_unsaved, stop, NULL), 0);
        WAIT_FOR(f, withdrawn == 1);
        assert_true(job_state_is_ended(stop->state));
        fill_disk(false);
        WAIT_FOR(f, f->m->store_healthy && !s->jobs);
        assert_int_equal(fake_set_drained(f->p, "fake-1", false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
}

/* Nor does it wait no more because a start that somebody asked for was refused. */
static void test_start_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_waiting(f, "alpha");

        fill_disk(true);
        Job *start = request(s, JOB_START, NULL);
        WAIT_FOR(f, job_state_is_ended(start->state));
        assert_int_equal(start->error->code, REFUSAL_STORE_FAILED);
        fill_disk(false);
        WAIT_FOR(f, f->m->store_healthy && !s->jobs);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(fake_set_drained(f->p, "fake-1", false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
}

static CommitWait *waits_as_well;
static int told_late;

static void on_told_as_well(void *userdata, int r) {
        fail_msg("was canceled before");
}

static void on_told_late(void *userdata, int r) {
        told_late = r;
}

static void wait_instead(void *userdata, int r) {
        Session *s = userdata;

        assert_int_equal(r, 0);
        commit_wait_cancel(waits_as_well);
        fill_disk(true);
        session_mark_dirty(s);
        assert_int_equal(manager_on_commit(s->manager, on_told_late, NULL, NULL), 0);
}

/* Who begins to wait while others are told waits for the next commit, also where one of those has gone meanwhile. */
static void test_waits_for_the_next(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "omega");

        told_late = 1;
        assert_int_equal(manager_on_commit(f->m, wait_instead, s, NULL), 0);
        assert_int_equal(manager_on_commit(f->m, on_told_as_well, NULL, &waits_as_well), 0);
        WAIT_FOR(f, told_late != 1);
        fill_disk(false);
        assert_true(told_late < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_record_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_reason_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_end_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_request_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_queued_not_saved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_next_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_replacement_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_deletion_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_stay_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_start_not_saved, setup_volatile, teardown),
                cmocka_unit_test_setup_teardown(test_waits_for_the_next, setup_volatile, teardown),
        };
        log_open("test-core-unsaved");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
