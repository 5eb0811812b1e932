/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A manager on the provider in memory and a real store in a folder of the test. */

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

static inline void open_manager(Fixture *f) {
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

static inline int setup_cluster(void **state, const char *cluster) {
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

static inline int setup(void **state) {
        return setup_cluster(state, "cluster.json");
}

/* A cluster in memory alone, for large numbers. */
static inline int setup_volatile(void **state) {
        return setup_cluster(state, NULL);
}

static inline int teardown(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *command = strformat("rm -r %s", f->dir);

        manager_free(f->m);
        sd_event_unref(f->event);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

static inline usec_t monotonic(void) {
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
static inline void crash(Fixture *f) {
        manager_free(f->m);
        open_manager(f);
}

static inline void on_stopped(void *userdata) {
        ((Fixture *) userdata)->stopped = true;
}

/* The service is stopped in an orderly way and comes back. */
static inline void restart(Fixture *f) {
        f->stopped = false;
        manager_stop(f->m, 10 * USEC_PER_SEC, on_stopped, f);
        while (!f->stopped)
                assert_true(sd_event_run(f->event, 100000) >= 0);
        crash(f);
}

static inline bool provider_ready(Fixture *f) {
        return manager_find_provider(f->m, "fake")->listed;
}

static inline Session *create(Fixture *f, const char *name, const char *image) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        int r = manager_create_session(f->m, &(SessionParameters) { .name = name, .image = image, .owner = UID_UNSET }, 0, &s, &j, &refusal);
        if (r < 0)
                fail_msg("%s", refusal ? refusal->message : strerror(-r));
        return s;
}

static inline Session *create_running(Fixture *f, const char *name) {
        Session *s = create(f, name, "base");
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        return s;
}

/* Its first main process runs on, those after it end right after their start. */
static inline Session *create_exiting(Fixture *f, const char *name) {
        SessionParameters p = { .name = name, .image = "base", .organization = "exits", .owner = UID_UNSET };
        Session *s;
        Job *j;

        WAIT_FOR(f, provider_ready(f));
        assert_int_equal(manager_create_session(f->m, &p, 0, &s, &j, NULL), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        return s;
}

static inline Job *request(Session *s, JobType verb, const JobOptions *options) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Job *j;
        int r = session_request(s, verb, options, 0, &j, &refusal);
        if (r < 0)
                fail_msg("%s: %s", job_type_to_string(verb), refusal ? refusal->message : strerror(-r));
        return j;
}

static inline void expect_refused(Session *s, JobType verb, const JobOptions *options, RefusalCode code) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Job *j;
        assert_int_equal(session_request(s, verb, options, 1000, &j, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, code);
        /* A sentence, with the session's name in it. */
        assert_non_null(strstr(refusal->message, s->name));
        assert_int_equal(refusal->message[strlen(refusal->message) - 1], '.');
}

static inline void run_job(Fixture *f, Session *s, JobType verb, const JobOptions *options) {
        Job *j = request(s, verb, options);
        WAIT_FOR(f, job_state_is_ended(j->state));
        if (j->state != JOB_DONE)
                fail_msg("%s: %s", job_type_to_string(verb), j->error ? j->error->message : "?");
}

static inline uint64_t value_of(Fixture *f, const Session *s) {
        uint64_t v = 0;
        assert_int_equal(fake_read(f->p, s->id, &v), 0);
        return v;
}
