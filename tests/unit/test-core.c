/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sessions through their whole life. */

#include "core-fixture.h"
#include "core/session-record.h"

static void test_story(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "alpha");

        assert_int_equal(fake_write(f->p, s->id, 42), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->state, SESSION_HIBERNATED);
        assert_int_equal(s->generation, 1);
        assert_int_equal(s->stop_reason, STOP_REASON_MANUAL);
        WAIT_FOR(f, s->task == TASK_NONE);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(value_of(f, s), 42);

        assert_int_equal(fake_write(f->p, s->id, 43), 0);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(s->generation, 2);
        assert_int_equal(fake_write(f->p, s->id, 44), 0);
        run_job(f, s, JOB_STOP, NULL);
        assert_int_equal(s->state, SESSION_STOPPED);
        assert_int_equal(s->generation, 3);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 44);
        run_job(f, s, JOB_RESTART, NULL);
        assert_int_equal(value_of(f, s), 44);
        assert_int_equal(s->generation, 4);

        /* An older generation only when it is named; the number of the next one is not used again. */
        run_job(f, s, JOB_HIBERNATE, NULL);
        run_job(f, s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        assert_int_equal(value_of(f, s), 42);
        assert_int_equal(s->generation, 1);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->generation, 6);

        run_job(f, s, JOB_DESTROY, NULL);
        assert_null(manager_find_session(f->m, "alpha"));
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_wrong_state(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "beta");

        expect_refused(s, JOB_RESTORE, NULL, REFUSAL_WRONG_STATE);
        expect_refused(s, JOB_START, NULL, REFUSAL_WRONG_STATE);
        run_job(f, s, JOB_HIBERNATE, NULL);
        expect_refused(s, JOB_HIBERNATE, NULL, REFUSAL_WRONG_STATE);
        expect_refused(s, JOB_SNAPSHOT, NULL, REFUSAL_WRONG_STATE);
        expect_refused(s, JOB_RESTORE, &(JobOptions) { .generation = 7 }, REFUSAL_NO_SUCH_GENERATION);
        expect_refused(s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 1 }, REFUSAL_BUSY);
        assert_int_equal(s->state, SESSION_HIBERNATED);
}

/* Refused before anything is stopped; what saves nothing goes on. */
static void test_no_registry(void **state) {
        static const JobType saving[] = { JOB_HIBERNATE, JOB_SNAPSHOT, JOB_STOP, JOB_RESTART };
        Fixture *f = *state;
        Session *s = create_running(f, "unsaved");
        const ProviderVTable *vtable = f->p->vtable;
        ProviderVTable strict = *vtable;

        strict.capabilities |= PROVIDER_NEEDS_REGISTRY;
        f->p->vtable = &strict;
        run_job(f, s, JOB_SNAPSHOT, NULL);
        f->m->config->registry_url[0] = 0;
        for (size_t i = 0; i < ELEMENTSOF(saving); i++)
                expect_refused(s, saving[i], NULL, REFUSAL_REGISTRY_FAILED);
        assert_int_equal(s->state, SESSION_RUNNING);
        run_job(f, s, JOB_STOP, &(JobOptions) { .discard = true });
        f->p->vtable = vtable;
}

static void test_exit_is_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "epsilon");

        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 3), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_int_equal(s->stop_reason, STOP_REASON_EXITED);
        assert_int_equal(s->exit_code, 3);
        assert_string_equal(s->state_detail, "The main process ended with exit code 3.");
        run_job(f, s, JOB_START, NULL);
        assert_true(isempty(s->state_detail));
        assert_int_equal(value_of(f, s), 9);
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_exit_of_what_is_unhealthy(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "unwell");

        assert_int_equal(fake_set_session_health(f->p, s->id, "unhealthy"), 0);
        WAIT_FOR(f, streq_ptr(s->health, "unhealthy"));
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_string_equal(s->state_detail, "The main process ended with exit code 0 after its health check had failed, for which its provider ends it.");
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(fake_set_session_health(f->p, s->id, "healthy"), 0);
        WAIT_FOR(f, streq_ptr(s->health, "healthy"));
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_string_equal(s->state_detail, "The main process ended with exit code 0.");
}

static void test_clone(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "kappa"), *clone;
        _cleanup_refusal_ Refusal *refusal = NULL;
        Job *j;

        SessionParameters p = { .name = "lambda", .from = "kappa", .owner = UID_UNSET };
        assert_int_equal(manager_create_session(f->m, &p, 0, &clone, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_NO_SUCH_GENERATION);
        assert_int_equal(fake_write(f->p, s->id, 5), 0);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(fake_write(f->p, s->id, 6), 0);
        refusal = refusal_free(refusal);
        assert_int_equal(manager_create_session(f->m, &p, 0, &clone, &j, &refusal), 0);
        WAIT_FOR(f, clone->state == SESSION_RUNNING && !clone->operation);
        assert_int_equal(value_of(f, clone), 5);
        assert_int_equal(value_of(f, s), 6);
        /* The source may go; what the clone runs from stays. */
        _cleanup_free_ char *image = strdup(clone->base_image);
        run_job(f, s, JOB_DESTROY, NULL);
        assert_true(fake_has_image(f->p, image));
        run_job(f, clone, JOB_HIBERNATE, NULL);
        run_job(f, clone, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, clone), 5);
        assert_int_equal(fake_losses(f->p), 0);
}

static void create_waited(Fixture *f, const SessionParameters *p, Session **ret) {
        Session *s;
        Job *j;

        assert_int_equal(manager_create_session(f->m, p, 0, &s, &j, NULL), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        *ret = s;
}

/* Docker would say so only when the task comes to a node. */
static void test_more_cpus_than_any_node(void **state) {
        Fixture *f = *state;
        SessionParameters p = { .image = "base", .cpus = 4, .owner = UID_UNSET };
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f) && HASH_COUNT(f->m->nodes) == 2);
        Node *small = f->m->nodes, *large = small->hh.next;
        small->nano_cpus = UINT64_C(2000000000);
        large->nano_cpus = UINT64_C(4000000000);
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, NULL), 0);
        p.node = small->id;
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_NO_CAPACITY);
        p.node = NULL;
        p.cpus = 4.5;
        refusal = refusal_free(refusal);
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, &refusal), -EBADRQC);
        assert_non_null(strstr(refusal->message, "4.5 CPUs, and 4 are the most"));
}

static void test_clone_reserves_as_its_source(void **state) {
        Fixture *f = *state;
        Session *s, *clone;

        WAIT_FOR(f, provider_ready(f));
        f->m->config->cpu_reservation_percent = 50;
        create_waited(f, &(SessionParameters) { .name = "source", .image = "base", .cpus = 2, .memory_bytes = 256 * MIB,
                                                .memory_reservation_bytes = 64 * MIB, .owner = UID_UNSET }, &s);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        f->m->config->cpu_reservation_percent = 0;
        create_waited(f, &(SessionParameters) { .name = "same", .from = "source", .owner = UID_UNSET }, &clone);
        assert_true(clone->spec.reserved_cpus == 1);
        assert_int_equal(clone->spec.reserved_memory_bytes, 64 * MIB);
        create_waited(f, &(SessionParameters) { .name = "half", .from = "source", .cpus = 1, .memory_bytes = 128 * MIB, .owner = UID_UNSET }, &clone);
        assert_true(clone->spec.reserved_cpus == 0.5);
        assert_int_equal(clone->spec.reserved_memory_bytes, 32 * MIB);
        create_waited(f, &(SessionParameters) { .name = "asked", .from = "source", .memory_reservation_bytes = 16 * MIB, .owner = UID_UNSET }, &clone);
        assert_int_equal(clone->spec.reserved_memory_bytes, 16 * MIB);
}

static void test_last_of_several_assignments_counts(void **state) {
        Fixture *f = *state;
        Session *s;
        char *env[] = { (char *) "A=1", (char *) "AB=2", (char *) "A=3", NULL };

        WAIT_FOR(f, provider_ready(f));
        create_waited(f, &(SessionParameters) { .name = "assigned", .image = "base", .env = env, .owner = UID_UNSET }, &s);
        assert_int_equal(strv_length(s->spec.env), 2);
        assert_string_equal(s->spec.env[0], "AB=2");
        assert_string_equal(s->spec.env[1], "A=3");
}

static void test_limits(void **state) {
        Fixture *f = *state;
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *s, *other;
        Job *j, *none;

        WAIT_FOR(f, provider_ready(f));
        f->m->config->sessions_per_user_max = 1;
        SessionParameters p = { .image = "base", .owner = UID_UNSET };
        f->m->config->running_jobs_per_user_max = 1;
        assert_int_equal(manager_create_session(f->m, &p, 1000, &s, &j, &refusal), 0);
        /* a creation is a job as any other, whoever is to own the session */
        p.owner = 1001;
        assert_int_equal(manager_create_session(f->m, &p, 1000, &other, &none, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
        refusal = refusal_free(refusal);
        p.owner = UID_UNSET;
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_true(session_name_is_valid(s->name));
        assert_true(session_id_is_valid(s->id));
        assert_false(session_name_is_valid(s->id));
        assert_int_equal(manager_create_session(f->m, &p, 1000, &s, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
        f->m->config->sessions_max = 1;
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
}

/* What is counted as it changes is what would be counted now. */
static void expect_usage(Fixture *f) {
        uint64_t reserved = 0;
        unsigned jobs = 0;

        for (const Session *s = f->m->sessions_by_id; s; s = s->hh_id.next) {
                unsigned mine = 0;
                for (const Session *i = f->m->sessions_by_id; i; i = i->hh_id.next)
                        mine += i->owner_uid == s->owner_uid;
                assert_int_equal(usage_sessions_of(f->m, s->owner_uid), mine);
                reserved += session_state_is_active(s->state) ? s->spec.reserved_memory_bytes : 0;
        }
        for (const Job *j = f->m->jobs; j; j = j->hh.next) {
                unsigned mine = 0;
                for (const Job *i = f->m->jobs; i; i = i->hh.next)
                        mine += i->actor_uid == j->actor_uid && !job_state_is_ended(i->state);
                assert_int_equal(usage_jobs_of(f->m, j->actor_uid), mine);
                jobs += !job_state_is_ended(j->state);
        }
        assert_int_equal(f->m->jobs_running, jobs);
        assert_int_equal(manager_find_provider(f->m, "fake")->reserved_memory_bytes, reserved);
}

static void test_usage(void **state) {
        static const JobType verbs[] = { JOB_HIBERNATE, JOB_STOP, JOB_SNAPSHOT, JOB_RESTART, JOB_DESTROY };
        _cleanup_free_ char *command = NULL;
        Fixture *f = *state;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        for (uid_t i = 0; i < 20; i++) {
                SessionParameters p = { .image = i % 7 == 6 ? "missing" : "base", .memory_bytes = (i + 1) * 100 * MIB, .owner = 1000 + i % 3 };
                assert_int_equal(manager_create_session(f->m, &p, 1000 + i % 2, &s, &j, NULL), 0);
                expect_usage(f);
        }
        while (f->m->jobs_running > 0) {
                assert_true(sd_event_run(f->event, 100000) >= 0);
                expect_usage(f);
        }
        unsigned n = 0;
        for (s = f->m->sessions_by_id; s; s = s->hh_id.next, n++)
                (void) session_request(s, verbs[n % ELEMENTSOF(verbs)], NULL, 1000 + n % 2, &j, NULL);
        expect_usage(f);
        for (int i = 0; i < 20; i++)
                assert_true(sd_event_run(f->event, 100000) >= 0);
        expect_usage(f);
        crash(f);
        expect_usage(f);
        WAIT_FOR(f, provider_ready(f) && f->m->jobs_running == 0);
        expect_usage(f);

        /* Without the store: from what the provider says. */
        command = strformat("rm -f %s*", f->store);
        manager_free(f->m);
        assert_int_equal(system(command), 0);
        open_manager(f);
        WAIT_FOR(f, provider_ready(f) && f->m->jobs_running == 0);
        assert_non_null(f->m->sessions_by_id);
        expect_usage(f);
        assert_int_equal(usage_sessions_of(f->m, 4711), 0);
}

static void test_bad_parameters(void **state) {
        Fixture *f = *state;
        const SessionParameters bad[] = {
                { .name = "Upper", .image = "base" },
                { .name = "x" },
                { .name = "x", .image = "base", .cpus = 99 },
                { .name = "x", .image = "base", .cpus = 0.01 },
                { .name = "x", .image = "base", .memory_bytes = 1 },
                { .name = "x", .image = "base", .env = (char *[]) { (char *) "NOEQUALS", NULL } },
                { .name = "x", .image = "base", .env = (char *[]) { (char *) "A={{.Node.ID}}", NULL } },
                { .name = "x", .image = "base", .labels = (char *[]) { (char *) "com.docker.x=1", NULL } },
                { .name = "x", .image = "base", .command = (char *[]) { (char *) "\xff", NULL } },
                { .name = "x", .template_name = "nope" },
                { .name = "x", .image = "base", .provider = "nope" },
                { .name = "x", .image = "base", .node = "nope" },
                { .name = "x", .image = "base", .organization = "No" },
                { .name = "x", .from = "nope" },
                { .name = "x", .from = "nope", .image = "base" },
        };
        WAIT_FOR(f, provider_ready(f));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                SessionParameters p = bad[i];
                Session *s;
                Job *j;
                p.owner = UID_UNSET;
                if (manager_create_session(f->m, &p, 0, &s, &j, &refusal) != -EBADRQC)
                        fail_msg("case %zu was taken", i);
                assert_true(strlen(refusal->message) > 20);
                assert_int_equal(refusal->message[strlen(refusal->message) - 1], '.');
        }
        assert_null(f->m->sessions_by_id);
        assert_null(f->m->jobs);
}

static void test_generations_max(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "nu");

        f->m->config->generations_max = 2;
        for (int i = 0; i < 4; i++)
                run_job(f, s, JOB_SNAPSHOT, NULL);
        WAIT_FOR(f, HASH_COUNT(s->snapshots) == 2);
        assert_non_null(session_find_snapshot(s, 4));
        assert_non_null(session_find_snapshot(s, 3));
        run_job(f, s, JOB_DELETE_SNAPSHOT, &(JobOptions) { .generation = 3 });
        assert_int_equal(HASH_COUNT(s->snapshots), 1);
}

/* More than the bus could list at once; here only the core is asked. */
static void test_many(void **state) {
        Fixture *f = *state;
        ManagerTotals totals;

        f->m->config->sessions_max = f->m->config->sessions_per_user_max = f->m->config->running_jobs_max = 10000;
        f->m->config->memory_reservation_percent = 0;
        for (int i = 0; i < 3000; i++) {
                _cleanup_free_ char *name = strformat("many-%d", i);
                (void) create(f, name, "base");
        }
        WAIT_FOR(f, (manager_totals(f->m, &totals), totals.by_state[SESSION_RUNNING] == 3000));
        assert_int_equal(totals.sessions, 3000);
}

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

static usec_t just_after_the_epoch(void) {
        return 60 * USEC_PER_SEC;
}

/* Kept for longer than there has been time for is kept: a count alone limits them then. */
static void test_jobs_are_kept(void **state) {
        Fixture *f = *state;
        usec_t (*clock)(void) = core_now;
        Session *s = create_running(f, "kept");

        f->m->config->jobs_keep_usec = USEC_INFINITY;
        for (unsigned max = 3; max > 1; max--) {
                while (HASH_COUNT(f->m->jobs) <= max)
                        run_job(f, s, JOB_SNAPSHOT, NULL);
                f->m->config->jobs_max = max;
                assert_int_equal(timer_arm(f->m->prune, 0), 0);
                WAIT_FOR(f, HASH_COUNT(f->m->jobs) <= max);
                assert_int_equal(HASH_COUNT(f->m->jobs), max);
                /* a machine that does not know the time yet */
                core_now = just_after_the_epoch;
                f->m->config->jobs_keep_usec = 3600 * USEC_PER_SEC;
        }
        core_now = clock;
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_story),
                T(test_wrong_state),
                T(test_no_registry),
                T(test_exit_is_saved),
                T(test_exit_of_what_is_unhealthy),
                T(test_clone),
                T(test_more_cpus_than_any_node),
                T(test_clone_reserves_as_its_source),
                T(test_last_of_several_assignments_counts),
                T(test_limits),
                T(test_usage),
                T(test_bad_parameters),
                T(test_generations_max),
                cmocka_unit_test_setup_teardown(test_many, setup_volatile, teardown),
                T(test_rebuild),
                T(test_older_store),
                T(test_backup_amid_a_hibernation),
                T(test_backup_amid_a_snapshot),
                T(test_cut_off_pushes),
                T(test_number_used_twice),
                T(test_foreign_labels),
                T(test_jobs_are_kept),
        };
        log_open("test-core");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
