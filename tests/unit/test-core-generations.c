/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which generation is current, and which stay: what something runs from, builds upon or waits for goes by no deletion and by
 * no limit. */

#include "core-fixture.h"

static const JobOptions first = { .generation = 1 };

/* Running from generation 1, with newer ones beside it. */
static Session *create_upon_first(Fixture *f, const char *name) {
        Session *s = create_running(f, name);

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_START, NULL);
        return s;
}

static void expect_ended(Fixture *f, Job *j, JobState state, RefusalCode code) {
        WAIT_FOR(f, job_state_is_ended(j->state));
        if (j->state != state)
                fail_msg("%s is %s: %s", job_type_to_string(j->type), job_state_to_string(j->state), j->error ? j->error->message : "");
        if (state == JOB_FAILED)
                assert_int_equal(j->error->code, code);
}

/* A save without an index builds upon what the container was made from, however many newer ones there are. */
static void test_container_needs_its_image(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "upon");

        f->m->config->generations_max = 2;
        for (uint64_t i = 2; i <= 5; i++) {
                assert_int_equal(fake_write(f->p, s->id, i), 0);
                run_job(f, s, JOB_SNAPSHOT, NULL);
        }
        assert_int_equal(s->generation, 5);
        assert_non_null(session_find_snapshot(s, 1));
        assert_null(session_find_snapshot(s, 2));
        assert_null(session_find_snapshot(s, 3));
        expect_refused(s, JOB_DELETE_SNAPSHOT, &first, REFUSAL_BUSY);
        /* Nor the newest, which nothing runs from yet: it is what is restored if the container goes. */
        expect_refused(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 5 }, REFUSAL_BUSY);

        /* At rest nothing is made from it any more, and the limit holds again. */
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_null(session_find_snapshot(s, 1));
        assert_non_null(session_find_snapshot(s, 5));
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 5);
}

/* What is right when it is asked for may be wrong when its turn comes. */
static void test_delete_in_the_queue(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "queue");

        run_job(f, s, JOB_HIBERNATE, NULL);
        /* Before it: what is to be restored stays. */
        Job *restore = request(s, JOB_RESTORE, &first);
        expect_refused(s, JOB_DELETE_SNAPSHOT, &first, REFUSAL_BUSY);
        expect_ended(f, restore, JOB_DONE, 0);
        assert_int_equal(s->generation, 1);

        /* After it. */
        assert_int_equal(fake_write(f->p, s->id, 7), 0);
        Job *hibernate = request(s, JOB_HIBERNATE, NULL), *delete = request(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 2 });
        restore = request(s, JOB_RESTORE, &(JobOptions) { .generation = 2 });
        expect_ended(f, hibernate, JOB_DONE, 0);
        expect_ended(f, delete, JOB_FAILED, REFUSAL_BUSY);
        expect_ended(f, restore, JOB_DONE, 0);
        assert_int_equal(s->generation, 2);
        assert_int_equal(value_of(f, s), 1);
}

/* A restore never ends in an empty session because the limit was faster. */
static void test_limit_and_queue(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "limit");

        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_START, NULL);
        f->m->config->generations_max = 2;
        assert_int_equal(fake_write(f->p, s->id, 3), 0);
        Job *hibernate = request(s, JOB_HIBERNATE, NULL), *restore = request(s, JOB_RESTORE, &first);
        expect_ended(f, hibernate, JOB_DONE, 0);
        expect_ended(f, restore, JOB_DONE, 0);
        assert_int_equal(s->generation, 1);
        assert_int_equal(value_of(f, s), 1);
        assert_non_null(session_find_snapshot(s, 3));
        assert_int_equal(fake_losses(f->p), 0);
}

/* What cannot have another layer is not stopped for a save that cannot be. */
static void test_no_room_for_a_layer(void **state) {
        static const JobType saves[] = { JOB_STOP, JOB_RESTART, JOB_HIBERNATE, JOB_SNAPSHOT };
        Fixture *f = *state;
        Session *s = create_upon_first(f, "layers");

        f->m->config->session_layers_max = 2;
        expect_refused(s, JOB_SNAPSHOT, NULL, REFUSAL_IMAGE_REFUSED);   /* it takes two */
        f->m->config->session_layers_max = 1;
        for (size_t i = 0; i < ELEMENTSOF(saves); i++)
                expect_refused(s, saves[i], NULL, REFUSAL_IMAGE_REFUSED);
        assert_int_equal(s->state, SESSION_RUNNING);

        /* By its turn there may be room no more. */
        f->m->config->session_layers_max = 3;
        Job *snapshot = request(s, JOB_SNAPSHOT, NULL), *stop = request(s, JOB_STOP, NULL);
        f->m->config->session_layers_max = 1;
        expect_ended(f, snapshot, JOB_DONE, 0);
        expect_ended(f, stop, JOB_FAILED, REFUSAL_IMAGE_REFUSED);
        assert_int_equal(s->state, SESSION_RUNNING);

        run_job(f, s, JOB_STOP, &(JobOptions) { .discard = true });
        run_job(f, s, JOB_START, NULL);
        run_job(f, s, JOB_DESTROY, NULL);
        assert_int_equal(fake_losses(f->p), 0);
}

/* A clone that is made while a deletion waits. */
static void test_clone_and_queue(void **state) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source"), *clone;
        Job *snapshot = request(s, JOB_SNAPSHOT, NULL), *hibernate = request(s, JOB_HIBERNATE, NULL), *delete, *j;

        (void) snapshot;
        expect_refused(s, JOB_DELETE_SNAPSHOT, &first, REFUSAL_BUSY);
        expect_ended(f, hibernate, JOB_DONE, 0);
        run_job(f, s, JOB_START, NULL);
        (void) request(s, JOB_SNAPSHOT, NULL);
        delete = request(s, JOB_DELETE_SNAPSHOT, &first);
        assert_int_equal(manager_create_session(f->m, &(SessionParameters) { .name = "clone", .from = "source:1", .owner = UID_UNSET }, 0, &clone, &j, &refusal), 0);
        expect_ended(f, delete, JOB_FAILED, REFUSAL_BUSY);
        expect_ended(f, j, JOB_DONE, 0);
        assert_int_equal(value_of(f, clone), 1);
}

/* Without a number the newest is meant, also where the source runs from an older one. */
static void test_clone_of_the_newest(void **state) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source"), *clone;
        Job *j;

        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_RESTORE, &first);
        assert_int_equal(manager_create_session(f->m, &(SessionParameters) { .name = "clone", .from = "source", .owner = UID_UNSET }, 0, &clone, &j, &refusal), 0);
        expect_ended(f, j, JOB_DONE, 0);
        assert_int_equal(value_of(f, clone), 2);
}

static Session *clone_of(Fixture *f, const char *from, const char *name, Job **ret) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *clone;

        assert_int_equal(manager_create_session(f->m, &(SessionParameters) { .name = name, .from = from, .owner = UID_UNSET }, 0, &clone, ret, &refusal), 0);
        return clone;
}

static void destroy(Fixture *f, const char *name) {
        Session *s;

        assert_int_equal(manager_get_session(f->m, name, &s, NULL), 0);
        run_job(f, s, JOB_DESTROY, NULL);
}

/* What clones were made from outlives its session with the last of them, and no longer. */
static void test_clones_inherit(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source");
        _cleanup_free_ char *image = strdup(session_find_snapshot(s, 1)->record.image);
        Job *one, *two;

        (void) clone_of(f, "source:1", "one", &one);
        (void) clone_of(f, "source:1", "two", &two);
        expect_ended(f, one, JOB_DONE, 0);
        expect_ended(f, two, JOB_DONE, 0);
        destroy(f, "source");
        assert_true(fake_has_image(f->p, image));

        crash(f);
        WAIT_FOR(f, provider_ready(f));
        assert_int_equal(manager_get_session(f->m, "one", &s, NULL), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, s), 1);
        /* It is none of its own that could be restored or deleted. */
        assert_null(session_find_snapshot(s, 0));
        expect_refused(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 0 }, REFUSAL_NO_SUCH_GENERATION);

        destroy(f, "one");
        assert_true(fake_has_image(f->p, image));
        destroy(f, "two");
        assert_false(fake_has_image(f->p, image));
        assert_int_equal(fake_losses(f->p), 0);
}

/* One that has just been destroyed as well would take it along unseen. */
static void test_ended_clone_inherits_nothing(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source"), *clone;
        _cleanup_free_ char *image = strdup(session_find_snapshot(s, 1)->record.image);
        Job *create;

        clone = clone_of(f, "source:1", "clone", &create);
        expect_ended(f, create, JOB_DONE, 0);
        clone->ended_usec = 1;
        destroy(f, "source");
        clone->ended_usec = 0;
        assert_false(fake_has_image(f->p, image));
}

/* Also by the end of a clone that never ran. */
static void test_canceled_clone_inherits(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source");
        _cleanup_free_ char *image = strdup(session_find_snapshot(s, 1)->record.image);
        Job *create;

        fake_set_latency(f->p, FAKE_START, 60 * USEC_PER_SEC);
        Session *clone = clone_of(f, "source:1", "clone", &create);
        WAIT_FOR(f, clone->exists && clone->task == TASK_PENDING);
        destroy(f, "source");
        assert_true(fake_has_image(f->p, image));
        assert_int_equal(job_cancel(create, 0, NULL), 0);
        expect_ended(f, create, JOB_CANCELED, 0);
        WAIT_FOR(f, manager_get_session(f->m, "clone", &s, NULL) < 0);
        assert_false(fake_has_image(f->p, image));
}

static void test_no_clone_of_what_goes(void **state) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Fixture *f = *state;
        Session *s = create_upon_first(f, "source"), *clone;
        Job *j;

        fake_set_latency(f->p, FAKE_DELETE_IMAGE, 60 * USEC_PER_SEC);
        (void) request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_DELETE_IMAGE) == 1);
        assert_int_equal(manager_create_session(f->m, &(SessionParameters) { .name = "late", .from = "source", .owner = UID_UNSET }, 0, &clone, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_WRONG_STATE);
}

/* Generation is what runs, or what is stored: a verb that fails half way does not change that. */
static void test_generation_is_what_runs(void **state) {
        static const JobOptions discard = { .discard = true };
        Fixture *f = *state;
        Session *s = create_running(f, "back");
        _cleanup_free_ char *id = strdup(s->id);

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_RESTORE, &first);
        assert_int_equal(s->generation, 1);

        assert_int_equal(fake_fail_next(f->p, FAKE_DISCARD, 1, REFUSAL_PROVIDER_FAILED, "Docker would not."), 0);
        Job *j = request(s, JOB_STOP, &discard);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(s->generation, 1);
        assert_int_equal(value_of(f, s), 1);

        /* The service dies before the provider has done it, and when it has and nobody knows. */
        fake_set_latency(f->p, FAKE_DISCARD, 60 * USEC_PER_SEC);
        (void) request(s, JOB_STOP, &discard);
        WAIT_FOR(f, fake_calls(f->p, FAKE_DISCARD) == 2);
        crash(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, id);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(s->generation, 1);
        (void) request(s, JOB_STOP, &discard);
        uint64_t value;
        WAIT_FOR(f, fake_read(f->p, id, &value) == -ENODATA);
        crash(f);
        assert_int_equal(manager_find_session(f->m, id)->state, SESSION_STOPPING);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, id);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->generation, 2);

        /* A restart that discards goes to the newest like any start. */
        run_job(f, s, JOB_RESTORE, &first);
        run_job(f, s, JOB_RESTART, &discard);
        assert_int_equal(s->generation, 2);
        assert_int_equal(value_of(f, s), 2);
        assert_int_equal(fake_losses(f->p), 0);
}

/* A container that ends right after its start was made from what was asked for all the same. */
static void test_generation_of_what_exits(void **state) {
        Fixture *f = *state;
        Session *s = create_exiting(f, "over");
        Job *j;

        run_job(f, s, JOB_SNAPSHOT, NULL);
        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        j = request(s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->generation, 1);
}

static void on_ran(void *userdata, int r, const Refusal *refusal) {
        assert_int_equal(r, 0);
}

/* Somebody else rolls the service of a session at rest back, and it runs: from what is told, and what was newest stays. */
static void test_rolled_back_at_rest(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "rolled");

        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 2);
        assert_int_equal(f->p->vtable->run(f->p, &(ProviderSpec) {
                .session = s->id, .image = session_find_snapshot(s, 1)->record.image, .generation = 1,
        }, on_ran, NULL, &(ProviderCall *) { NULL }), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING);
        assert_int_equal(value_of(f, s), 1);
        assert_int_equal(s->generation, 1);
        assert_non_null(strstr(strempty(s->state_detail), "--generation=2"));

        /* The remedy that it names. */
        run_job(f, s, JOB_STOP, &(JobOptions) { .discard = true });
        run_job(f, s, JOB_RESTORE, &(JobOptions) { .generation = 2 });
        assert_int_equal(value_of(f, s), 2);
        assert_null(s->state_detail);
}

/* The registry lost what is to be restored: nothing else is lost with it, and what can be done is said. */
static void test_lost_generation(void **state) {
        Fixture *f = *state;
        Session *s = create_upon_first(f, "hole");
        Job *j;

        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(fake_forget_image(f->p, session_find_snapshot(s, 2)->record.image), 0);
        j = request(s, JOB_RESTORE, NULL);
        expect_ended(f, j, JOB_FAILED, REFUSAL_PROVIDER_FAILED);
        assert_non_null(strstr(j->error->message, "Check that the registry runs and still holds it and that the node has room for it, or restore another generation"));
        assert_non_null(endswith(j->error->message, "The provider says: No such image."));
        assert_int_equal(s->state, SESSION_HIBERNATED);
        assert_int_equal(s->generation, 2);
        run_job(f, s, JOB_RESTORE, &first);
        assert_int_equal(value_of(f, s), 1);

        /* By its number nobody is begun from it, nor from what a node may still have of it. */
        run_job(f, s, JOB_STOP, NULL);
        uint64_t starts = fake_calls(f->p, FAKE_RUN);
        j = request(s, JOB_RESTORE, &(JobOptions) { .generation = 2 });
        expect_ended(f, j, JOB_FAILED, REFUSAL_NO_SUCH_GENERATION);
        assert_int_equal(fake_calls(f->p, FAKE_RUN), starts);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->generation, 3);
        run_job(f, s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 2 });
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_container_needs_its_image, setup, teardown),
                cmocka_unit_test_setup_teardown(test_delete_in_the_queue, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limit_and_queue, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_room_for_a_layer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_clone_and_queue, setup, teardown),
                cmocka_unit_test_setup_teardown(test_clone_of_the_newest, setup, teardown),
                cmocka_unit_test_setup_teardown(test_clones_inherit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ended_clone_inherits_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_canceled_clone_inherits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_clone_of_what_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_generation_is_what_runs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_generation_of_what_exits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rolled_back_at_rest, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_generation, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
