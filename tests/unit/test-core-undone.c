/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What fails, is cancelled, or is cut off by the end of the service: in what state it leaves a session. */

#include "core-fixture.h"

/* A restore that a crash cuts off goes on with the generation that was asked for. */
static void test_restore_cut_off(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "cut");

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        (void) request(s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        WAIT_FOR(f, s->task == TASK_PENDING && s->task_wanted);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "cut");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(s->generation, 1);
        assert_int_equal(value_of(f, s), 1);
}

static void test_capture_fails(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "gamma");

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry is full."), 0);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, REFUSAL_REGISTRY_FAILED);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->frozen);
        assert_int_equal(value_of(f, s), 7);
        /* The number is burned. */
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 2);
        assert_int_equal(fake_losses(f->p), 0);
}

static void note_states(void *userdata, ObjectKind kind, void *object, uint64_t mask) {
        if (kind == OBJECT_SESSION)
                *(uint32_t *) userdata |= UINT32_C(1) << ((Session *) object)->state;
}

/* The main process is gone, so the session does not run, whatever became of its files. */
static void test_stop_fails_after_the_end(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "ended");
        uint32_t seen = 0;

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        manager_set_observer(f->m, note_states, &seen);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry is full."), 0);
        Job *j = request(s, JOB_STOP, NULL);
        WAIT_FOR(f, s->state == SESSION_STOPPING);
        seen = 0;
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->state, SESSION_EXITED);
        assert_non_null(strstr(s->state_detail, "still in its container"));
        assert_non_null(strstr(s->state_detail, "The registry is full."));
        assert_int_equal(value_of(f, s), 7);
        run_job(f, s, JOB_STOP, NULL);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->stop_reason, STOP_REASON_MANUAL);
        assert_int_equal(seen & UINT32_C(1) << SESSION_RUNNING, 0);
        run_job(f, s, JOB_START, NULL);

        /* It ends while it is hibernated: what it left is saved at once. */
        fake_set_latency(f->p, FAKE_CAPTURE, 500 * USEC_PER_MSEC);
        j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->frozen);
        seen = 0;
        assert_int_equal(fake_exit_session(f->p, s->id, 9), 0);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_int_equal(s->stop_reason, STOP_REASON_EXITED);
        assert_int_equal(seen & UINT32_C(1) << SESSION_RUNNING, 0);
        assert_int_equal(s->failures, 0);
        manager_set_observer(f->m, NULL, NULL);
        assert_int_equal(fake_losses(f->p), 0);
}

/* What waited behind a save that failed is not possible any more, and the save is tried again all the same. */
static void test_save_fails_before_others(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "others");
        Job *stop, *snapshot;

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry is full."), 0);
        stop = request(s, JOB_STOP, NULL);
        snapshot = request(s, JOB_SNAPSHOT, NULL);
        WAIT_FOR(f, job_state_is_ended(stop->state) && job_state_is_ended(snapshot->state));
        assert_int_equal(snapshot->state, JOB_FAILED);
        assert_int_equal(snapshot->error->code, REFUSAL_WRONG_STATE);
        assert_int_equal(s->state, SESSION_EXITED);
        assert_true(s->retry && timer_is_armed(s->retry));
        assert_int_equal(timer_arm(s->retry, 0), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_int_equal(fake_losses(f->p), 0);
}

/* The generation is proven, and then there is nothing any more to lay to rest. */
static void test_rest_of_nothing(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "vanished");

        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        fake_set_latency(f->p, FAKE_REST, 50 * USEC_PER_MSEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REST) == 1);
        assert_int_equal(fake_vanish(f->p, s->id), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_DONE);
        assert_int_equal(s->state, SESSION_HIBERNATED);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, s), 7);

        /* The node goes down: it can be restored elsewhere, or goes on when the node is back. */
        fake_set_latency(f->p, FAKE_REST, 50 * USEC_PER_MSEC);
        j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REST) == 2);
        _cleanup_free_ char *node = strdup(s->node);
        assert_int_equal(fake_lose_node(f->p, node), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->state, SESSION_LOST);
        assert_non_null(session_find_snapshot(s, 2));
        fake_set_latency(f->p, FAKE_REST, 0);
        assert_int_equal(fake_return_node(f->p, node, false), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->frozen && !s->operation);
        assert_int_equal(value_of(f, s), 7);
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "delta");

        fake_set_latency(f->p, FAKE_CAPTURE, 500 * USEC_PER_MSEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->frozen);
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_CANCELED);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->frozen);
        assert_int_equal(job_cancel(j, 0, NULL), -EBADRQC);
}

static void test_create_fails(void **state) {
        Fixture *f = *state;
        Session *s = create(f, "eta", "missing");

        WAIT_FOR(f, s->state == SESSION_FAILED && !s->operation);
        assert_non_null(strstr(s->state_detail, "No registry has an image"));
        assert_non_null(strstr(s->state_detail, "start it when that is mended, or destroy it."));
        s = create(f, "theta", "unpullable");
        WAIT_FOR(f, s->state == SESSION_FAILED && !s->operation);
        s = create(f, "iota", "volumes");
        WAIT_FOR(f, s->state == SESSION_FAILED && !s->operation);
        assert_non_null(strstr(s->state_detail, "VOLUME"));
        run_job(f, s, JOB_DESTROY, NULL);
}

/* What the provider says can be as long as a caller made the name of a program. */
static void test_long_reason(void **state) {
        char said[100 * 1024 + 1];
        ProviderObserver observer;
        Fixture *f = *state;

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        Session *s = create(f, "kappa", "base");
        Job *j = s->jobs;
        WAIT_FOR(f, s->state == SESSION_STARTING);
        memset(said, 'x', sizeof(said) - 1);
        said[sizeof(said) - 1] = 0;
        (void) manager_observer(manager_find_provider(f->m, "fake"), &observer);
        observer.on_session(f->p, &(ProviderObservation) { .session = s->id, .exists = true, .wanted = true, .task = TASK_FAILED, .error = said },
                            observer.userdata);
        WAIT_FOR(f, s->state == SESSION_FAILED && !s->operation);
        assert_true(strlen(j->error->message) < 2048);
        assert_non_null(strstr(j->error->message, "xxx... Session \"kappa\" is left as failed: start it when that is mended"));

        _cleanup_refusal_ Refusal *refusal = NULL;
        assert_int_equal(refuse(&refusal, REFUSAL_INTERNAL, "\"%s\" is not understood.", said), -EBADRQC);
        assert_int_equal(strlen(refusal->message), REFUSAL_MESSAGE_MAX);
        assert_non_null(endswith(refusal->message, "xxx..."));
}

typedef struct Ended {
        unsigned n;
        char name[64], reason[64];
        uid_t by;
        usec_t when;
} Ended;

static int take_ended(const SessionRecord *r, void *userdata) {
        Ended *e = userdata;

        if (e->n++ == 0) {
                (void) snprintf(e->name, sizeof(e->name), "%s", r->name);
                (void) snprintf(e->reason, sizeof(e->reason), "%s", strempty(r->end_reason));
                e->by = r->ended_by_uid;
                e->when = r->ended_usec;
        }
        return 0;
}

/* Of the session nothing is left but a row in the archive. */
static void expect_ended(Fixture *f, const char *name, const char *id, const char *reason, uid_t by) {
        uint64_t value;
        Ended e = {};

        assert_null(manager_find_session(f->m, name));
        assert_int_equal(fake_read(f->p, id, &value), -ENOENT);
        assert_int_equal(store_each_ended_session(f->m->store, 0, 10, take_ended, &e), 0);
        assert_string_equal(e.name, name);
        assert_string_equal(e.reason, reason);
        assert_int_equal(e.by, by);
        assert_true(e.when > 0);
}

static void cancel_create(Fixture *f, Session *s) {
        _cleanup_free_ char *id = strdup(s->id), *name = strdup(s->name);
        Job *j = s->jobs;

        assert_int_equal(job_cancel(j, 1000, NULL), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_CANCELED);
        assert_int_equal(j->error->code, REFUSAL_CANCELED);
        expect_ended(f, name, id, "canceled", 1000);
}

/* Wherever it is by then. */
static void test_create_canceled(void **state) {
        Fixture *f = *state;
        Session *s;
        Job *j;

        /* Before its turn: the provider has not said what it has. */
        SessionParameters p = { .name = "cancel", .image = "base", .owner = UID_UNSET };
        assert_false(provider_ready(f));
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, NULL), 0);
        assert_int_equal(j->state, JOB_QUEUED);
        cancel_create(f, s);
        assert_int_equal(fake_calls(f->p, FAKE_REMOVE), 0);

        /* Before anything was asked for. */
        fake_set_latency(f->p, FAKE_RESOLVE, 60 * USEC_PER_SEC);
        s = create(f, "cancel", "base");
        WAIT_FOR(f, fake_calls(f->p, FAKE_RESOLVE) == 1);
        cancel_create(f, s);
        fake_set_latency(f->p, FAKE_RESOLVE, 0);

        /* With a service, and then a container. */
        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        s = create(f, "cancel", "base");
        WAIT_FOR(f, s->exists && s->task == TASK_PENDING);
        cancel_create(f, s);
        fake_set_latency(f->p, FAKE_START, 0);
        s = create(f, "cancel", "base");
        WAIT_FOR(f, s->task == TASK_STARTING);
        cancel_create(f, s);
        /* It may run by now. */
        assert_int_equal(fake_calls(f->p, FAKE_SIGNAL), 1);

        s = create_running(f, "cancel");
        run_job(f, s, JOB_DESTROY, NULL);
        assert_int_equal(fake_losses(f->p), 0);
}

/* It is as final as any destroy. */
static void test_create_canceled_and_crash(void **state) {
        Fixture *f = *state;
        Session *s;

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        fake_set_latency(f->p, FAKE_REMOVE, 60 * USEC_PER_SEC);
        s = create(f, "cancel", "base");
        _cleanup_free_ char *id = strdup(s->id);
        WAIT_FOR(f, s->exists && s->task == TASK_PENDING);
        assert_int_equal(job_cancel(s->jobs, 1000, NULL), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_REMOVE) == 1);
        assert_int_equal(s->state, SESSION_DESTROYING);
        crash(f);
        WAIT_FOR(f, provider_ready(f) && !manager_find_session(f->m, "cancel"));
        expect_ended(f, "cancel", id, "canceled", 1000);
}

/* Who destroys what is being created gets what he asked for, and no failure. */
static void test_destroy_while_created(void **state) {
        Fixture *f = *state;
        Session *s;

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        s = create(f, "short", "base");
        _cleanup_free_ char *id = strdup(s->id);
        WAIT_FOR(f, s->exists && s->task == TASK_PENDING);
        Job *created = s->jobs, *snapshot = request(s, JOB_SNAPSHOT, NULL), *destroyed = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, job_state_is_ended(destroyed->state));
        assert_int_equal(destroyed->state, JOB_DONE);
        assert_int_equal(created->state, JOB_CANCELED);
        assert_int_equal(snapshot->state, JOB_CANCELED);
        expect_ended(f, "short", id, "destroyed", 0);
}

/* Somebody removes the service that a job waits for: the job must not wait until its time is over. */
static void test_start_taken_away(void **state) {
        Fixture *f = *state;

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        Session *s = create(f, "taken", "base");
        WAIT_FOR(f, s->exists && s->task == TASK_PENDING);
        Job *j = s->jobs;
        assert_int_equal(fake_vanish(f->p, s->id), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_non_null(strstr(j->error->message, "service was removed from outside"));
        WAIT_FOR(f, s->state == SESSION_FAILED && !s->operation);

        fake_set_latency(f->p, FAKE_START, 0);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(fake_write(f->p, s->id, 5), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        j = request(s, JOB_RESTORE, NULL);
        WAIT_FOR(f, s->exists && s->task == TASK_PENDING && s->task_wanted);
        assert_int_equal(fake_vanish(f->p, s->id), 0);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        WAIT_FOR(f, s->state == SESSION_HIBERNATED && !s->operation);
        fake_set_latency(f->p, FAKE_START, 0);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, s), 5);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Whatever cannot be finished, a session can be destroyed. */
static void test_destroy_goes_first(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "stuck");
        _cleanup_free_ char *id = strdup(s->id);

        assert_int_equal(fake_fail_next(f->p, FAKE_REST, 1000, REFUSAL_PROVIDER_FAILED, "Docker would not."), 0);
        Job *stuck = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, stuck->stage && strstr(stuck->stage, "Docker would not."));
        Job *destroy = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, job_state_is_ended(destroy->state));
        assert_int_equal(destroy->state, JOB_DONE);
        assert_int_equal(stuck->state, JOB_CANCELED);
        assert_non_null(strstr(stuck->error->message, "Docker would not."));
        expect_ended(f, "stuck", id, "destroyed", 0);
}

/* The image was misspelt, and the provider, which was asked for nothing, cannot say that nothing is there. */
static void test_destroy_of_what_was_never_made(void **state) {
        Fixture *f = *state;
        Session *s = create(f, "typo", "missing");
        _cleanup_free_ char *id = strdup(s->id);

        WAIT_FOR(f, s->state == SESSION_FAILED && !s->jobs);
        assert_int_equal(fake_fail_next(f->p, FAKE_REMOVE, 1000, REFUSAL_PROVIDER_FAILED, "There is no Swarm."), 0);
        Job *j = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_DONE);
        expect_ended(f, "typo", id, "destroyed", 0);
}

/* A registry that does not come back keeps generations, but not the session. */
static void test_destroy_without_registry(void **state) {
        const JobOptions keep = { .keep_snapshots = true };
        Fixture *f = *state;
        Session *s = create_running(f, "kept");
        _cleanup_free_ char *id = strdup(s->id), *image = NULL;

        run_job(f, s, JOB_SNAPSHOT, NULL);
        image = strdup(session_find_snapshot(s, 1)->record.image);
        assert_int_equal(fake_fail_next(f->p, FAKE_DELETE_IMAGE, 1000, REFUSAL_REGISTRY_FAILED, "It is gone."), 0);
        Job *j = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, j->stage && strstr(j->stage, "It is gone."));
        expect_refused(s, JOB_DESTROY, NULL, REFUSAL_WRONG_STATE);
        assert_ptr_equal(request(s, JOB_DESTROY, &keep), j);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_DONE);
        expect_ended(f, "kept", id, "destroyed", 0);
        assert_true(fake_has_image(f->p, image));
}

/* What is to be kept is kept, whatever cuts the destruction off. */
static void test_destroy_keeps_generations(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "kept");
        _cleanup_free_ char *image = NULL;

        run_job(f, s, JOB_SNAPSHOT, NULL);
        image = strdup(session_find_snapshot(s, 1)->record.image);
        fake_set_latency(f->p, FAKE_REMOVE, 60 * USEC_PER_SEC);
        (void) request(s, JOB_DESTROY, &(JobOptions) { .keep_snapshots = true });
        WAIT_FOR(f, fake_calls(f->p, FAKE_REMOVE) == 1);
        crash(f);
        WAIT_FOR(f, provider_ready(f) && !manager_find_session(f->m, "kept"));
        assert_true(fake_has_image(f->p, image));
}

/* The service is killed in the middle of everything; whatever it was, it goes on or is undone, and nothing is lost. */
static void test_crash_anywhere(void **state) {
        Fixture *f = *state;
        static const JobType verbs[] = { JOB_HIBERNATE, JOB_STOP, JOB_SNAPSHOT, JOB_RESTART };
        unsigned turns = 1;

        for (size_t v = 0; v < ELEMENTSOF(verbs); v++)
                for (turns = 1; turns < 40; turns += 3) {
                        _cleanup_free_ char *name = strformat("s%zu-%u", v, turns), *id = NULL;
                        Session *s = create_running(f, name);
                        assert_int_equal(fake_write(f->p, s->id, turns), 0);
                        id = strdup(s->id);
                        (void) request(s, verbs[v], NULL);
                        for (unsigned i = 0; i < turns; i++)
                                assert_true(sd_event_run(f->event, 1000) >= 0);
                        crash(f);
                        WAIT_FOR(f, provider_ready(f));
                        s = manager_find_session(f->m, id);
                        assert_non_null(s);
                        WAIT_FOR(f, !s->operation && !s->jobs && !session_state_is_transient(s->state) && s->state != SESSION_EXITED && !s->frozen);
                        if (session_state_is_rest(s->state))
                                run_job(f, s, JOB_START, NULL);
                        assert_int_equal(s->state, SESSION_RUNNING);
                        assert_int_equal(value_of(f, s), turns);
                        run_job(f, s, JOB_DESTROY, NULL);
                }
        assert_int_equal(fake_losses(f->p), 0);
}

/* Sessions that are on their way up do not suffer from a restart of the service. */
static void test_restart_while_starting(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "resumed");

        assert_int_equal(fake_write(f->p, s->id, 3), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        (void) request(s, JOB_RESTORE, NULL);
        WAIT_FOR(f, s->task == TASK_PENDING);
        s = create(f, "created", "base");
        WAIT_FOR(f, s->task == TASK_PENDING);
        fake_set_latency(f->p, FAKE_RESOLVE, 60 * USEC_PER_SEC);
        s = create(f, "resolved", "base");
        WAIT_FOR(f, fake_calls(f->p, FAKE_RESOLVE) == 3);
        restart(f);
        static const char *const names[] = { "resumed", "created", "resolved" };
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                s = manager_find_session(f->m, names[i]);
                assert_non_null(s);
                WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        }
        assert_int_equal(value_of(f, manager_find_session(f->m, "resumed")), 3);
        assert_int_equal(fake_losses(f->p), 0);
}

/* Nobody stays frozen because a registry takes its time to delete what is not needed any more. */
static void test_thaw_goes_first(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "xi");

        f->m->config->generations_max = 1;
        fake_set_latency(f->p, FAKE_DELETE_IMAGE, 60 * USEC_PER_SEC);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_DELETE_IMAGE) == 1);
        assert_int_equal(fake_set_frozen(f->p, s->id, true), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_THAW) == 1 && !s->frozen);
        WAIT_FOR(f, fake_calls(f->p, FAKE_DELETE_IMAGE) == 2);
}

/* Proven, and it ran on: what was saved is a snapshot, and the session goes on. */
static void test_witness_broken(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "rho");

        assert_int_equal(fake_fail_next(f->p, FAKE_REST, 1, REFUSAL_FILES_CHANGED, "Its container was unpaused."), 0);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, REFUSAL_FILES_CHANGED);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->frozen && !s->operation);
        assert_int_equal(fake_calls(f->p, FAKE_REST), 1);
        assert_int_equal(s->generation, 1);
        assert_int_equal(session_newest_generation(s), 1);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 2);
        assert_int_equal(fake_losses(f->p), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_restore_cut_off),
                T(test_capture_fails),
                T(test_stop_fails_after_the_end),
                T(test_save_fails_before_others),
                T(test_rest_of_nothing),
                T(test_cancel),
                T(test_create_fails),
                T(test_long_reason),
                T(test_create_canceled),
                T(test_create_canceled_and_crash),
                T(test_destroy_while_created),
                T(test_start_taken_away),
                T(test_destroy_goes_first),
                T(test_destroy_of_what_was_never_made),
                T(test_destroy_without_registry),
                T(test_destroy_keeps_generations),
                T(test_crash_anywhere),
                T(test_restart_while_starting),
                T(test_thaw_goes_first),
                T(test_witness_broken),
        };
        log_open("test-core-undone");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
