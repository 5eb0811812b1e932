/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sessions through their whole life, on the provider in memory and a real store in a folder of the test. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "basic/log.h"
#include "core/session-object.h"
#include "provider/fake.h"

typedef struct Fixture {
        char dir[64], store[128], cluster[128];
        sd_event *event;
        Manager *m;
        Provider *p;
        bool stopped;
} Fixture;

static void open_manager(Fixture *f) {
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_(template_table_freep) TemplateTable *templates = NULL;
        _cleanup_(store_closep) Store *store = NULL;

        assert_int_equal(config_load((const char *const[]) { NULL }, NULL, &config, NULL), 0);
        assert_int_equal(free_and_strdup(&config->registry_url, "http://registry.fake"), 0);
        strv_free(config->providers);
        config->providers = strv_copy((char *[]) { (char *) "fake", NULL });
        assert_non_null(config->providers);
        config->sessions_per_user_max = 1000;
        assert_int_equal(template_table_load("/nonexistent", &templates, NULL), 0);
        assert_int_equal(store_open(f->store, &store), 0);
        assert_int_equal(manager_new(f->event, config, templates, store, &f->m), 0);
        TAKE_PTR(config);
        TAKE_PTR(templates);
        TAKE_PTR(store);
        assert_int_equal(fake_new(f->event, &(FakeOptions) { .control = "", .state = f->cluster }, &f->p), 0);
        assert_int_equal(manager_add_provider(f->m, f->p), 0);
        assert_int_equal(manager_start(f->m), 0);
}

static int setup_cluster(void **state, const char *cluster) {
        Fixture *f = calloc(1, sizeof(*f));
        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-core-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->store, sizeof(f->store), "%s/state.db", f->dir);
        if (cluster)
                snprintf(f->cluster, sizeof(f->cluster), "%s/%s", f->dir, cluster);
        assert_int_equal(sd_event_new(&f->event), 0);
        open_manager(f);
        *state = f;
        return 0;
}

static int setup(void **state) {
        return setup_cluster(state, "cluster.json");
}

/* A cluster in memory alone, for large numbers. */
static int setup_volatile(void **state) {
        return setup_cluster(state, NULL);
}

static int teardown(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *command = strformat("rm -r %s", f->dir);

        manager_free(f->m);
        sd_event_unref(f->event);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

static usec_t monotonic(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

/* Turns the loop until the condition holds; the deadline only bounds a failure. */
#define WAIT_FOR(f, condition)                                                          \
        do {                                                                            \
                usec_t _end = monotonic() + 20 * USEC_PER_SEC;                          \
                while (!(condition)) {                                                  \
                        assert_true(sd_event_run((f)->event, 100000) >= 0);             \
                        if (monotonic() > _end)                                         \
                                fail_msg("never came true: %s", #condition);            \
                }                                                                       \
        } while (0)

/* The service dies without a word and comes back; the cluster does not notice. */
static void crash(Fixture *f) {
        manager_free(f->m);
        open_manager(f);
}

static void on_stopped(void *userdata) {
        ((Fixture *) userdata)->stopped = true;
}

/* The service is stopped in an orderly way and comes back. */
static void restart(Fixture *f) {
        f->stopped = false;
        manager_stop(f->m, 10 * USEC_PER_SEC, on_stopped, f);
        while (!f->stopped)
                assert_true(sd_event_run(f->event, 100000) >= 0);
        crash(f);
}

static bool provider_ready(Fixture *f) {
        return manager_find_provider(f->m, "fake")->listed;
}

static Session *create(Fixture *f, const char *name, const char *image) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        int r = manager_create_session(f->m, &(SessionParameters) { .name = name, .image = image, .owner = UID_UNSET }, 0, &s, &j, &refusal);
        if (r < 0)
                fail_msg("%s", refusal ? refusal->message : strerror(-r));
        return s;
}

static Session *create_running(Fixture *f, const char *name) {
        Session *s = create(f, name, "base");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        return s;
}

static Job *request(Session *s, JobType verb, const JobOptions *options) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Job *j;
        int r = session_request(s, verb, options, 0, &j, &refusal);
        if (r < 0)
                fail_msg("%s: %s", job_type_to_string(verb), refusal ? refusal->message : strerror(-r));
        return j;
}

static void expect_refused(Session *s, JobType verb, const JobOptions *options, RefusalCode code) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Job *j;
        assert_int_equal(session_request(s, verb, options, 1000, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, code);
        /* A sentence, with the session's name in it. */
        assert_non_null(strstr(refusal->message, s->name));
        assert_int_equal(refusal->message[strlen(refusal->message) - 1], '.');
}

static void run_job(Fixture *f, Session *s, JobType verb, const JobOptions *options) {
        Job *j = request(s, verb, options);
        WAIT_FOR(f, job_state_is_ended(j->state));
        if (j->state != JOB_DONE)
                fail_msg("%s: %s", job_type_to_string(verb), j->error ? j->error->message : "?");
}

static uint64_t value_of(Fixture *f, const Session *s) {
        uint64_t v = 0;
        assert_int_equal(fake_read(f->p, s->id, &v), 0);
        return v;
}

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

/* Generation is what runs, or what is stored: a verb that fails half way does not change that. */
static void test_generation_is_what_runs(void **state) {
        static const JobOptions discard = { .discard = true }, first = { .generation = 1 };
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
        SessionParameters p = { .name = "over", .image = "base", .organization = "exits", .owner = UID_UNSET };
        Fixture *f = *state;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, NULL), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        run_job(f, s, JOB_HIBERNATE, NULL);
        fake_set_latency(f->p, FAKE_CAPTURE, 60 * USEC_PER_SEC);
        j = request(s, JOB_RESTORE, &(JobOptions) { .generation = 1 });
        WAIT_FOR(f, job_state_is_ended(j->state));
        assert_int_equal(j->state, JOB_FAILED);
        assert_int_equal(s->generation, 1);
}

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

static void test_exit_is_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "epsilon");

        assert_int_equal(fake_write(f->p, s->id, 9), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 3), 0);
        WAIT_FOR(f, s->state == SESSION_STOPPED && !s->operation);
        assert_int_equal(s->stop_reason, STOP_REASON_EXITED);
        assert_int_equal(s->exit_code, 3);
        run_job(f, s, JOB_START, NULL);
        assert_int_equal(value_of(f, s), 9);
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

static void test_limits(void **state) {
        Fixture *f = *state;
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        f->m->config->sessions_per_user_max = 1;
        SessionParameters p = { .image = "base", .owner = UID_UNSET };
        assert_int_equal(manager_create_session(f->m, &p, 1000, &s, &j, &refusal), 0);
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

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                T(test_story),
                T(test_generation_is_what_runs),
                T(test_generation_of_what_exits),
                T(test_restore_cut_off),
                T(test_wrong_state),
                T(test_no_registry),
                T(test_capture_fails),
                T(test_stop_fails_after_the_end),
                T(test_rest_of_nothing),
                T(test_proven_and_lost),
                T(test_lost_and_never_saved),
                T(test_cancel),
                T(test_exit_is_saved),
                T(test_node_reboot),
                T(test_create_fails),
                T(test_create_canceled),
                T(test_create_canceled_and_crash),
                T(test_destroy_while_created),
                T(test_start_taken_away),
                T(test_destroy_goes_first),
                T(test_destroy_without_registry),
                T(test_destroy_keeps_generations),
                T(test_clone),
                T(test_limits),
                T(test_usage),
                T(test_bad_parameters),
                T(test_crash_anywhere),
                T(test_restart_while_starting),
                T(test_generations_max),
                T(test_thaw_goes_first),
                cmocka_unit_test_setup_teardown(test_many, setup_volatile, teardown),
                T(test_rebuild),
        };
        log_open("test-core");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
