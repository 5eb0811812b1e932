/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "store-fixture.h"

int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
        *state = f;
        return 0;
}

int teardown(void **state) {
        Fixture *f = *state;
        static const char *const names[] = { "store.db", "store.db-wal", "store.db-shm", "store.db-journal" };
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char p[128];
                snprintf(p, sizeof(p), "%s/%s", f->dir, names[i]);
                (void) unlink(p);
        }
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

SessionRecord session(const char *id) {
        return (SessionRecord) {
                .id = (char *) id, .name = (char *) "name", .state = (char *) "running", .organization = (char *) "default",
                .provider = (char *) "swarm", .image = (char *) "debian:12", .spec = (char *) "{}", .next_generation = 1,
                .created_usec = 1,
        };
}

SnapshotRecord snapshot(const char *id, uint64_t generation) {
        return (SnapshotRecord) {
                .session = (char *) id, .generation = generation, .kind = (char *) "hibernate",
                .repository = (char *) "sessions/default", .tag = (char *) "t", .created_usec = 1,
        };
}

JobRecord job(uint64_t id) {
        return (JobRecord) {
                .id = id, .type = (char *) "create", .session = (char *) "0session0000", .state = (char *) "queued",
        };
}

int count_session(const SessionRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }
static int count_snapshot(const SnapshotRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }
static int count_job(const JobRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }

int n_sessions(Store *s) {
        int n = 0;
        assert_int_equal(store_each_session(s, count_session, &n), 0);
        return n;
}

int n_ended(Store *s, usec_t before, unsigned limit) {
        int n = 0;
        assert_int_equal(store_each_ended_session(s, before, limit, count_session, &n), 0);
        return n;
}

int n_snapshots(Store *s) {
        int n = 0;
        assert_int_equal(store_each_snapshot(s, count_snapshot, &n), 0);
        return n;
}

int n_jobs(Store *s) {
        int n = 0;
        assert_int_equal(store_each_job(s, count_job, &n), 0);
        return n;
}

Store *open_ok(const char *path) {
        Store *s = NULL;
        assert_int_equal(store_open(path, &s), 0);
        return s;
}
