/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sessions through their whole life. */

#include "core-fixture.h"
#include "core/identifier.h"

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

static usec_t an_hour_later(void) {
        struct timespec ts;
        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return ((usec_t) ts.tv_sec + 3600) * USEC_PER_SEC;
}

static int count_ended(const SessionRecord *r, void *userdata) {
        ++*(unsigned *) userdata;
        return 0;
}

static unsigned ended(Fixture *f) {
        unsigned n = 0;

        assert_int_equal(store_each_ended_session(f->m->store, 0, UINT32_MAX, count_ended, &n), 0);
        return n;
}

/* Of a session that is gone, its record and its jobs go with the time alone, each with its own. */
static void test_time_to_keep(void **state) {
        Fixture *f = *state;
        usec_t (*clock)(void) = core_now;

        (void) request(create_running(f, "gone"), JOB_DESTROY, NULL);
        WAIT_FOR(f, ended(f) == 1 && f->m->jobs_running == 0);
        core_now = an_hour_later;
        f->m->config->ended_sessions_keep_usec = 3599 * USEC_PER_SEC;
        f->m->config->jobs_keep_usec = 3700 * USEC_PER_SEC;
        assert_int_equal(timer_arm(f->m->prune, 0), 0);
        WAIT_FOR(f, ended(f) == 0);
        assert_int_equal(HASH_COUNT(f->m->jobs), 2);
        f->m->config->jobs_keep_usec = 3500 * USEC_PER_SEC;
        assert_int_equal(timer_arm(f->m->prune, 0), 0);
        WAIT_FOR(f, HASH_COUNT(f->m->jobs) == 0);
        core_now = clock;
}

static void expect_too_late(Fixture *f, Session *s, Job *j, RefusalCode code) {
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(j->error->code, code);
        assert_non_null(strstr(j->error->message, "StartTimeoutSec="));
        assert_int_equal(s->state, SESSION_STOPPED);
        WAIT_FOR(f, !s->operation && !s->task_wanted);
}

/* What gets no place, or does not come up, in time is taken back, and the job says which. */
static void test_start_timeout(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "slow");
        Job *j;

        run_job(f, s, JOB_STOP, NULL);
        f->m->config->start_timeout_usec = 300 * USEC_PER_MSEC;
        fake_set_latency(f->p, FAKE_START, 3600 * USEC_PER_SEC);
        expect_too_late(f, s, request(s, JOB_START, NULL), REFUSAL_NO_CAPACITY);

        /* Time enough for a place, and to see that it has one. */
        f->m->config->start_timeout_usec = 3 * USEC_PER_SEC;
        fake_set_latency(f->p, FAKE_START, USEC_PER_SEC);
        j = request(s, JOB_START, NULL);
        WAIT_FOR(f, s->task == TASK_PENDING);
        fake_set_latency(f->p, FAKE_START, 3600 * USEC_PER_SEC);
        expect_too_late(f, s, j, REFUSAL_TIMED_OUT);

        fake_set_latency(f->p, FAKE_START, 0);
        f->m->config->start_timeout_usec = 300 * USEC_PER_SEC;
        run_job(f, s, JOB_START, NULL);
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
                T(test_jobs_are_kept),
                T(test_time_to_keep),
                T(test_start_timeout),
        };
        log_open("test-core");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
