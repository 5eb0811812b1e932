/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A store that was lost, or put back from a backup: what the cluster and the registry know beyond it. */

#include <jansson.h>
#include <sqlite3.h>

#include "core-fixture.h"
#include "core/session-record.h"

static void test_rebuild(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "mu");
        _cleanup_free_ char *id = strdup(s->id), *command = strformat("rm -f %s*", f->store);

        assert_int_equal(fake_write(f->p, s->id, 21), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        manager_free(f->m);
        assert_int_equal(system(command), 0);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "mu");
        assert_non_null(s);
        assert_string_equal(s->id, id);
        assert_int_equal(s->generation, 1);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 21);
}

static Session *lose_store(Fixture *f, const char *name) {
        _cleanup_free_ char *command = strformat("rm -f %s*", f->store);

        manager_free(f->m);
        assert_int_equal(system(command), 0);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        return manager_find_session(f->m, name);
}

/* And its container was removed meanwhile: that files are gone is said, for nobody else can know it. */
static void test_rebuild_without_a_container(void **state) {
        Fixture *f = *state;

        for (unsigned saved = 0; saved < 2; saved++) {
                const char *name = saved ? "saved" : "unsaved";
                Session *s = create_running(f, name);

                if (saved) {
                        run_job(f, s, JOB_HIBERNATE, NULL);
                        run_job(f, s, JOB_START, NULL);
                }
                manager_free(f->m);
                open_manager(f);
                assert_int_equal(fake_kill_container(f->p, manager_find_session(f->m, name)->id), 0);
                s = lose_store(f, name);
                WAIT_FOR(f, !s->operation && !s->task_wanted);
                assert_int_equal(s->state, saved ? SESSION_STOPPED : SESSION_FAILED);
                assert_non_null(strstr(strempty(s->state_detail), "removed from outside"));
                assert_false(s->wanted);
        }
}

/* The provider has such a session, with that record but for the name. */
static Session *tell_renamed(Fixture *f, const char *label, const ProviderObservation *observation, const char *name) {
        ProviderObservation told = *observation;
        ProviderObserver observer;
        json_t *o = json_loads(label, 0, NULL);

        json_object_set_new(o, "name", json_string(name));
        _cleanup_free_ char *record = json_dumps(o, 0);
        json_decref(o);
        told.record = record;
        manager_observer(manager_find_provider(f->m, "fake"), &observer);
        observer.on_session(f->p, &told, observer.userdata);
        Session *s = manager_find_session(f->m, name);
        assert_non_null(s);
        return s;
}

/* A label that somebody has removed: the image is that of a generation all the same. */
static void test_rebuild_without_a_number(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "label");
        _cleanup_free_ char *label = NULL, *image = NULL;

        for (unsigned i = 0; i < 2; i++) {
                run_job(f, s, JOB_HIBERNATE, NULL);
                if (i == 0)
                        run_job(f, s, JOB_START, NULL);
        }
        assert_int_equal(session_to_label(s, &label), 0);
        image = strdup(session_current_image(s));
        s = tell_renamed(f, label, &(const ProviderObservation) { .session = "0abcdefghjkm", .exists = true, .image = image }, "other");
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->generation, 2);
        assert_int_equal(s->next_generation, 3);
        assert_string_equal(session_current_image(s), image);

        /* One that runs from it builds upon it, so it stays. */
        s = tell_renamed(f, label, &(const ProviderObservation) {
                .session = "1abcdefghjkm", .exists = true, .wanted = true, .image = image, .task = TASK_RUNNING, .container = "c",
        }, "third");
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(s->generation, 2);
        expect_refused(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 2 }, REFUSAL_BUSY);
}

static void back_up(Fixture *f) {
        _cleanup_free_ char *command = strformat("rm -rf %s/old && mkdir %s/old && cp %s* %s/old", f->dir, f->dir, f->store, f->dir);

        assert_int_equal(system(command), 0);
}

static Session *put_back(Fixture *f, const char *name) {
        _cleanup_free_ char *command = strformat("rm -f %s* && cp %s/old/* %s", f->store, f->dir, f->dir);

        manager_free(f->m);
        assert_int_equal(system(command), 0);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        return manager_find_session(f->m, name);
}

/* A store from a backup: what was saved after it is not lost, and its numbers are not used once more. */
static void test_older_store(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "xi");

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        manager_free(f->m);
        back_up(f);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "xi");
        for (uint64_t i = 2; i <= 3; i++) {
                run_job(f, s, JOB_START, NULL);
                assert_int_equal(fake_write(f->p, s->id, i), 0);
                run_job(f, s, JOB_HIBERNATE, NULL);
        }
        assert_int_equal(s->generation, 3);
        s = put_back(f, "xi");
        assert_int_equal(s->generation, 3);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 3);
        assert_non_null(session_find_snapshot(s, 1));
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 4);
        /* A label alone that somebody has changed is not believed. */
        ProviderObserver observer;
        _cleanup_free_ char *label = NULL;
        assert_int_equal(session_to_label(s, &label), 0);
        manager_observer(manager_find_provider(f->m, "fake"), &observer);
        ProviderObservation o = { .session = s->id, .exists = true, .image = s->base_image, .record = label };
        for (uint64_t i = 5; i < 8; i++) {
                o.generation = i == 7 ? UINT64_MAX : i;
                observer.on_session(f->p, &o, observer.userdata);
                assert_int_equal(s->generation, 4);
                assert_int_equal(s->next_generation, 5);
        }
}

/* Its session was destroyed since, and another one made by that name: nothing of that is touched, and it is taken up when the old one goes. */
static void test_older_store_of_a_name(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "same");
        _cleanup_free_ char *id = NULL;

        run_job(f, s, JOB_HIBERNATE, NULL);
        back_up(f);
        run_job(f, s, JOB_DESTROY, NULL);
        s = create_running(f, "same");
        id = strdup(s->id);
        assert_int_equal(fake_write(f->p, id, 3), 0);
        s = put_back(f, "same");
        assert_string_not_equal(s->id, id);
        Job *j = request(s, JOB_START, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        run_job(f, s, JOB_DESTROY, NULL);
        WAIT_FOR(f, manager_find_session(f->m, id));
        s = manager_find_session(f->m, "same");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(value_of(f, s), 3);
        assert_int_equal(fake_losses(f->p), 0);
}

static void save_and_back_up(Fixture *f, Session *s, JobType verb) {
        uint64_t before = fake_calls(f->p, FAKE_CAPTURE);

        fake_set_latency(f->p, FAKE_CAPTURE, 20 * USEC_PER_MSEC);
        Job *j = request(s, verb, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_CAPTURE) > before);
        back_up(f);
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_DONE);
}

/* A backup made in the middle of a hibernation knows of an intent alone: the cluster names what became of it. */
static void test_backup_amid_a_hibernation(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "amid");

        for (uint64_t i = 1; i <= 2; i++) {
                assert_int_equal(fake_write(f->p, s->id, 10 * i), 0);
                save_and_back_up(f, s, JOB_HIBERNATE);
                if (i == 2)
                        run_job(f, s, JOB_START, NULL);
                s = put_back(f, "amid");
                WAIT_FOR(f, !s->operation && !session_state_is_transient(s->state));
                assert_int_equal(s->state, i == 2 ? SESSION_RUNNING : SESSION_HIBERNATED);
                assert_int_equal(s->generation, i);
                assert_int_equal(HASH_COUNT(s->snapshots), i);
                assert_true(fake_has_image(f->p, session_current_image(s)));
                if (i == 1)
                        run_job(f, s, JOB_START, NULL);
                assert_int_equal(value_of(f, s), 10 * i);
        }
}

/* One made during its creation knows of no generation: the session does not begin anew from its image. */
static void test_backup_amid_a_creation(void **state) {
        Fixture *f = *state;

        for (unsigned running = 0; running < 2; running++) {
                const char *name = running ? "goes-on" : "rests";
                fake_set_latency(f->p, FAKE_CREATE, 20 * USEC_PER_MSEC);
                Session *s = create(f, name, "base");
                WAIT_FOR(f, s->state == SESSION_PLACING && fake_calls(f->p, FAKE_CREATE) == 1);
                back_up(f);
                WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
                assert_int_equal(fake_write(f->p, s->id, 7), 0);
                run_job(f, s, JOB_HIBERNATE, NULL);
                if (running) {
                        run_job(f, s, JOB_START, NULL);
                        assert_int_equal(fake_write(f->p, s->id, 8), 0);
                }
                s = put_back(f, name);
                WAIT_FOR(f, !s->operation && !session_state_is_transient(s->state));
                assert_int_equal(s->state, running ? SESSION_RUNNING : SESSION_STOPPED);
                assert_int_equal(s->generation, 1);
                if (!running)
                        run_job(f, s, JOB_START, NULL);
                assert_int_equal(value_of(f, s), running ? 8 : 7);
                run_job(f, s, JOB_DESTROY, NULL);
        }
        assert_int_equal(fake_losses(f->p), 0);
}

/* Of a snapshot the cluster says nothing. What is whole in the registry is kept: it may be all that there is of what somebody was
 * told is safe. */
static void test_backup_amid_a_snapshot(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "whole");

        assert_int_equal(fake_write(f->p, s->id, 5), 0);
        save_and_back_up(f, s, JOB_SNAPSHOT);
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(fake_write(f->p, s->id, 6), 0);
        s = put_back(f, "whole");
        WAIT_FOR(f, session_find_snapshot(s, 1));
        assert_int_equal(s->generation, 2);
        assert_int_equal(value_of(f, s), 6);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 3);
        run_job(f, s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        assert_int_equal(value_of(f, s), 5);
}

static void delete_row(Fixture *f, uint64_t generation) {
        _cleanup_free_ char *sql = strformat("DELETE FROM snapshots WHERE generation = %" PRIu64, generation);
        sqlite3 *db;

        assert_int_equal(sqlite3_open(f->store, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The row of a generation that could not be used was deleted by hand. The cluster names what it held: neither an older one nor
 * nothing at all takes its place. */
static void test_row_deleted(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "row");

        for (uint64_t i = 1; i <= 2; i++) {
                assert_int_equal(fake_write(f->p, s->id, 10 * i), 0);
                run_job(f, s, JOB_HIBERNATE, NULL);
                manager_free(f->m);
                delete_row(f, i);
                open_manager(f);
                WAIT_FOR(f, provider_ready(f));
                s = manager_find_session(f->m, "row");
                assert_int_equal(s->generation, i);
                run_job(f, s, JOB_START, NULL);
                assert_int_equal(s->generation, i);
                assert_int_equal(value_of(f, s), 10 * i);
        }
        assert_int_equal(HASH_COUNT(s->snapshots), 2);
        assert_int_equal(fake_losses(f->p), 0);
}

/* And the service of the session is gone as well: nobody names it any more. */
static void test_row_and_record_lost(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "nobody");

        for (uint64_t i = 1; i <= 2; i++) {
                assert_int_equal(fake_write(f->p, s->id, 10 * i), 0);
                run_job(f, s, JOB_HIBERNATE, NULL);
                if (i == 1)
                        run_job(f, s, JOB_START, NULL);
        }
        assert_int_equal(fake_vanish(f->p, s->id), 0);
        manager_free(f->m);
        delete_row(f, 2);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "nobody");
        for (unsigned i = 0; i < 2; i++) {
                Job *j = request(s, i == 0 ? JOB_START : JOB_RESTORE, NULL);
                WAIT_FOR(f, job_state_is_ended(j->state));
                assert_int_equal(j->state, JOB_FAILED);
                assert_int_equal(j->error->code, REFUSAL_NO_SUCH_GENERATION);
                assert_int_equal(s->state, SESSION_HIBERNATED);
        }
        run_job(f, s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        assert_int_equal(value_of(f, s), 10);
}

/* A push that is cut off leaves nothing, or something whole; the registry may be away when that is asked. */
static void test_cut_off_pushes(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "cut");

        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        (void) request(s, JOB_SNAPSHOT, NULL);
        WAIT_FOR(f, fake_calls(f->p, FAKE_CAPTURE) == 1);
        crash(f);
        assert_int_equal(fake_fail_next(f->p, FAKE_VERIFY_IMAGE, 1, REFUSAL_REGISTRY_FAILED, "The registry is away."), 0);
        s = manager_find_session(f->m, "cut");
        assert_non_null(session_find_any_snapshot(s, 1));
        WAIT_FOR(f, s->garbage_retry && timer_is_armed(s->garbage_retry));
        assert_non_null(session_find_any_snapshot(s, 1));
        assert_int_equal(timer_arm(s->garbage_retry, 0), 0);
        WAIT_FOR(f, !s->snapshots);
        assert_int_equal(s->generation, 0);
        assert_int_equal(s->next_generation, 2);
}

/* What was made after a backup, or since the label was written, is in the registry under a number that is given out once more. */
static void test_number_used_twice(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "omicron");
        _cleanup_free_ char *command = strformat("rm -f %s*", f->store), *image = NULL, *tag = NULL;

        assert_int_equal(fake_write(f->p, s->id, 1), 0);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        image = strdup(session_find_snapshot(s, 1)->record.image);
        tag = strdup(session_find_snapshot(s, 1)->record.tag);
        manager_free(f->m);
        assert_int_equal(system(command), 0);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "omicron");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        assert_int_equal(s->next_generation, 1);

        /* Neither the clean-up of a push that failed touches it, nor one that did not. */
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry would not."), 0);
        Job *j = request(s, JOB_SNAPSHOT, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state) && !s->snapshots);
        assert_int_equal(j->state, JOB_FAILED);
        assert_true(fake_has_image(f->p, image));
        s->next_generation = 1;
        assert_int_equal(fake_write(f->p, s->id, 2), 0);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_true(fake_has_image(f->p, image));
        assert_string_not_equal(session_find_snapshot(s, 1)->record.tag, tag);
        assert_string_not_equal(session_find_snapshot(s, 1)->record.image, image);
}

/* Labels are anybody's who may talk to the Engine: one with the name of a session is not that session, and one that cannot be
 * taken up leaves nothing behind. */
static void test_foreign_labels(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "tau");
        ProviderObserver observer;
        _cleanup_free_ char *label = NULL;

        manager_observer(manager_find_provider(f->m, "fake"), &observer);
        observer.on_session(f->p, &(const ProviderObservation) { .session = "tau", .exists = true, .task = TASK_NONE }, observer.userdata);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(s->task, TASK_RUNNING);

        /* one of ours whose image somebody has changed to a tag */
        assert_int_equal(session_to_label(s, &label), 0);
        observer.on_session(f->p, &(const ProviderObservation) {
                .session = "0abcdefghjkm", .exists = true, .image = "busybox:latest", .generation = 3, .record = label,
        }, observer.userdata);
        assert_null(manager_find_session(f->m, "0abcdefghjkm"));
        assert_int_equal(HASH_CNT(hh_id, f->m->sessions_by_id), 1);
}

/* A list that was asked for before the end may tell of a session after it. What was destroyed does not come back by that. */
static void test_destroyed_is_told_of(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "upsilon");
        _cleanup_free_ char *id = strdup(s->id), *image = strdup(s->base_image), *label = NULL;
        ProviderObserver observer;

        assert_int_equal(session_to_label(s, &label), 0);
        Job *j = request(s, JOB_DESTROY, NULL);
        WAIT_FOR(f, job_state_is_ended(j->state));
        manager_observer(manager_find_provider(f->m, "fake"), &observer);
        observer.on_session(f->p, &(const ProviderObservation) {
                .session = id, .exists = true, .wanted = true, .image = image, .record = label, .task = TASK_PENDING,
        }, observer.userdata);
        assert_null(manager_find_session(f->m, id));
        assert_int_equal(fake_calls(f->p, FAKE_RUN), 0);
}

/* What no version has written is not taken up: a session without an image would keep the store from saving anything more. */
static void test_damaged_labels(void **state) {
        static const char *const damages[] = {
                "{\"image\": null}", "{\"image\": \"\"}", "{\"image\": \"A B\"}", "{\"base_image\": \"\\n\"}", "{\"organization\": \"../x\"}", "{\"organization\": \"\"}",
                "{\"template\": \"A\"}", "{\"from_session\": \"x/y\"}", "{\"next_generation\": 3}", "{\"spec\": []}", "{\"spec\": {\"cpus\": 1e300}}",
                "{\"spec\": {\"cpus\": -1}}", "{\"spec\": {\"memory_bytes\": -1}}", "{\"spec\": {\"reserved_memory_bytes\": 4611686018427387904}}",
                "{\"spec\": {\"env\": [\"=\"]}}", "{\"spec\": {\"labels\": [\"no-value\"]}}", "{\"spec\": {\"labels\": [\"swarm.session=1\"]}}",
                "{\"name\": \"a.b\"}", "{\"owner_uid\": 4294967295}", "{\"version\": 2}", NULL,
        };
        static const char image[] = "registry.fake:5000/swarm-sessions/default@sha256:0123456789012345678901234567890123456789012345678901234567890123";
        Fixture *f = *state;
        Session *s = create_running(f, "upsilon");
        ProviderObserver observer;
        _cleanup_free_ char *label = NULL;

        s->next_generation = 4;
        assert_int_equal(session_to_label(s, &label), 0);
        manager_observer(manager_find_provider(f->m, "fake"), &observer);
        for (size_t i = 0; i < ELEMENTSOF(damages); i++) {
                json_t *o = json_loads(label, 0, NULL), *damage = damages[i] ? json_loads(damages[i], 0, NULL) : json_object();
                json_object_set_new(o, "name", json_string("other"));
                assert_int_equal(json_object_update(o, damage), 0);
                if (json_is_null(json_object_get(o, "image")))
                        json_object_del(o, "image");
                _cleanup_free_ char *record = json_dumps(o, 0);
                observer.on_session(f->p, &(const ProviderObservation) {
                        .session = "0abcdefghjkm", .exists = true, .image = image, .generation = 3, .record = record,
                }, observer.userdata);
                if (damages[i] && manager_find_session(f->m, "0abcdefghjkm"))
                        fail_msg("taken up: %s", damages[i]);
                json_decref(o);
                json_decref(damage);
        }
        s = manager_find_session(f->m, "other");
        assert_non_null(s);
        assert_string_equal(session_find_snapshot(s, 3)->record.repository, "swarm-sessions/default");
        assert_int_equal(manager_commit_now(f->m), 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_rebuild),
                T(test_rebuild_without_a_container),
                T(test_rebuild_without_a_number),
                T(test_older_store),
                T(test_older_store_of_a_name),
                T(test_backup_amid_a_hibernation),
                T(test_backup_amid_a_creation),
                T(test_backup_amid_a_snapshot),
                T(test_row_deleted),
                T(test_row_and_record_lost),
                T(test_cut_off_pushes),
                T(test_number_used_twice),
                T(test_foreign_labels),
                T(test_destroyed_is_told_of),
                T(test_damaged_labels),
        };
        log_open("test-core-rebuild");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
