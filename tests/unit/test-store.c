/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is kept comes back as it was, by transactions. */

#include <sys/stat.h>

#include "store-fixture.h"
#include "store/table.h"

/* Gives every column a value of its own, through the same table that the code uses for offsets but not for values. */
static void fill(const Table *t, void *record, unsigned seed, bool nulls) {
        for (size_t i = 0; i < t->n_columns; i++) {
                void *field = (char *) record + t->columns[i].offset;
                switch (t->columns[i].type) {
                case COLUMN_TEXT:
                        *(char **) field = strformat("%s-%u ünï'\"", t->columns[i].name, seed);
                        if (nulls && STR_IN_SET(t->columns[i].name, "state_detail", "stop_reason", "template_name", "node",
                                                "base_image", "end_reason", "from_session", "image", "witness", "dropped",
                                                "stage", "error_name", "error_message") &&
                            !(t == &session_table && streq(t->columns[i].name, "image"))) {
                                free(*(char **) field);
                                *(char **) field = NULL;
                        }
                        break;
                case COLUMN_UINT64:
                        *(uint64_t *) field = seed * 1000 + i;
                        break;
                case COLUMN_UINT:
                        *(unsigned *) field = seed * 2000 + (unsigned) i;
                        break;
                case COLUMN_INT:
                        *(int *) field = (int) seed;
                        break;
                case COLUMN_BOOL:
                        *(bool *) field = seed % 2;
                        break;
                case COLUMN_PHASE:
                        *(SnapshotPhase *) field = seed % _SNAPSHOT_PHASE_MAX;
                        break;
                }
        }
}

typedef struct Expect {
        const Table *table;
        const void *records[4];         /* in the order in which they are to come */
        size_t n, seen;
} Expect;

static int compare(const void *record, void *userdata) {
        Expect *e = userdata;
        assert_true(e->seen < e->n);
        const char *want = e->records[e->seen++];
        for (size_t i = 0; i < e->table->n_columns; i++) {
                const Column *c = &e->table->columns[i];
                const void *a = (const char *) record + c->offset, *b = want + c->offset;
                switch (c->type) {
                case COLUMN_TEXT:
                        if (!streq_ptr(*(char *const *) a, *(char *const *) b))
                                fail_msg("%s: %s != %s", c->name, strna(*(char *const *) a), strna(*(char *const *) b));
                        break;
                case COLUMN_UINT64:
                        assert_int_equal(*(const uint64_t *) a, *(const uint64_t *) b);
                        break;
                case COLUMN_UINT:
                case COLUMN_PHASE:
                        assert_int_equal(*(const unsigned *) a, *(const unsigned *) b);
                        break;
                case COLUMN_INT:
                        assert_int_equal(*(const int *) a, *(const int *) b);
                        break;
                case COLUMN_BOOL:
                        assert_int_equal(*(const bool *) a, *(const bool *) b);
                        break;
                }
        }
        return 0;
}

static int compare_session(const SessionRecord *r, void *userdata) { return compare(r, userdata); }
static int compare_snapshot(const SnapshotRecord *r, void *userdata) { return compare(r, userdata); }
static int compare_job(const JobRecord *r, void *userdata) { return compare(r, userdata); }

static void assert_stored(Store *s, const SessionRecord sessions[static 2], const SnapshotRecord snapshots[static 3], const JobRecord jobs[static 2]) {
        Expect es = { &session_table, { &sessions[0], &sessions[1] }, 2 };
        Expect en = { &snapshot_table, { &snapshots[0], &snapshots[1], &snapshots[2] }, 3 };
        Expect ej = { &job_table, { &jobs[0], &jobs[1] }, 2 };

        assert_int_equal(store_each_session(s, compare_session, &es), 0);
        assert_int_equal(es.seen, 2);
        assert_int_equal(store_each_snapshot(s, compare_snapshot, &en), 0);
        assert_int_equal(en.seen, 3);
        assert_int_equal(store_each_job(s, compare_job, &ej), 0);
        assert_int_equal(ej.seen, 2);
}

static void test_round_trip(void **state) {
        Fixture *f = *state;
        SessionRecord sessions[2] = {};
        SnapshotRecord snapshots[3] = {};
        JobRecord jobs[2] = {};
        struct stat st;

        /* Two records of different values each: a column that is bound to the wrong field shows. */
        for (unsigned i = 0; i < 2; i++) {
                fill(&session_table, &sessions[i], i + 1, i == 1);
                sessions[i].ended_usec = 0;
                fill(&job_table, &jobs[i], i + 1, i == 1);
        }
        sessions[1].owner_uid = (uid_t) -1;
        sessions[1].last_activity_usec = USEC_INFINITY;
        jobs[1].bytes_total = UINT64_MAX;
        jobs[1].exit_code = -1;
        for (unsigned i = 0; i < 3; i++) {
                fill(&snapshot_table, &snapshots[i], i, i == 1);
                free_and_strdup(&snapshots[i].session, sessions[0].id);
                snapshots[i].generation = i + 1;
        }

        Store *s = open_ok(f->path);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_begin(s), -EALREADY);
        /* The snapshot before its session: references are checked at the commit. */
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(store_put_snapshot(s, &snapshots[i]), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(store_put_session(s, &sessions[i]), 0);
                assert_int_equal(store_put_job(s, &jobs[i]), 0);
        }
        assert_int_equal(store_commit(s), 0);

        for (int again = 0; again < 2; again++) {
                assert_stored(s, sessions, snapshots, jobs);
                store_close(s);
                s = open_ok(f->path);
        }

        /* Saving again changes the row and does not take its snapshots away. */
        free_and_strdup(&sessions[0].state, "stopped");
        assert_int_equal(store_put_session(s, &sessions[0]), 0);
        Expect es = { &session_table, { &sessions[0], &sessions[1] }, 2 };
        assert_int_equal(store_each_session(s, compare_session, &es), 0);
        assert_int_equal(n_snapshots(s), 3);
        assert_int_equal(store_delete_snapshot(s, sessions[0].id, 2), 0);
        assert_int_equal(n_snapshots(s), 2);
        store_close(s);

        for (unsigned i = 0; i < 2; i++) {
                session_record_done(&sessions[i]);
                job_record_done(&jobs[i]);
        }
        for (unsigned i = 0; i < 3; i++)
                snapshot_record_done(&snapshots[i]);
        assert_null(sessions[0].id);
}

static int stop_at_first(const SessionRecord *r, void *userdata) { (*(int *) userdata)++; return -ECANCELED; }

static void test_callback_stops(void **state) {
        Fixture *f = *state;
        _cleanup_(store_closep) Store *s = open_ok(f->path);
        SessionRecord a = session("0aaaaaaaaaaa"), b = session("0bbbbbbbbbbb");
        int n = 0;

        assert_int_equal(store_put_session(s, &a), 0);
        assert_int_equal(store_put_session(s, &b), 0);
        assert_int_equal(store_each_session(s, stop_at_first, &n), -ECANCELED);
        assert_int_equal(n, 1);
}

static void test_rollback(void **state) {
        Fixture *f = *state;
        _cleanup_(store_closep) Store *s = open_ok(f->path);
        SessionRecord a = session("0aaaaaaaaaaa");
        SnapshotRecord orphan = snapshot("0nobody00000", 1);

        assert_int_equal(store_commit(s), -EINVAL);
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &a), 0);
        store_rollback(s);
        assert_int_equal(n_sessions(s), 0);

        /* A snapshot of a session that does not exist. */
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &a), 0);
        assert_int_equal(store_put_snapshot(s, &orphan), 0);
        assert_int_equal(store_commit(s), -EINVAL);
        assert_int_equal(n_sessions(s), 0);

        /* A row that the schema refuses spoils the whole transaction, whether its caller looked or not. */
        a.name = NULL;
        SessionRecord b = session("0bbbbbbbbbbb");
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &b), 0);
        assert_int_equal(store_put_session(s, &a), -EINVAL);
        assert_int_equal(store_commit(s), -EINVAL);
        assert_int_equal(n_sessions(s), 0);

        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &b), 0);
        assert_int_equal(store_commit(s), 0);
        assert_int_equal(n_sessions(s), 1);
}

/* Without memory nothing is saved, and not even that can be undone. With memory all is well again. */
static void test_no_memory(void **state) {
        Fixture *f = *state;
        _cleanup_(store_closep) Store *s = open_ok(f->path);
        SessionRecord a = session("0aaaaaaaaaaa"), b = session("0bbbbbbbbbbb");

        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &a), 0);
        assert_true(sqlite3_hard_heap_limit64(1) >= 0);
        assert_int_equal(store_commit(s), -ENOMEM);
        assert_int_equal(store_begin(s), -ENOMEM);
        assert_true(sqlite3_hard_heap_limit64(0) >= 0);
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_put_session(s, &b), 0);
        assert_int_equal(store_commit(s), 0);
        assert_int_equal(n_sessions(s), 1);
}

static void test_job_ids(void **state) {
        Fixture *f = *state;
        Store *s = open_ok(f->path);
        uint64_t id = 99;

        assert_int_equal(store_last_job_id(s, &id), 0);
        assert_int_equal(id, 0);
        JobRecord a = job(7), b = job(3), none = job(0);
        assert_int_equal(store_put_job(s, &a), 0);
        assert_int_equal(store_put_job(s, &b), 0);
        assert_int_equal(store_put_job(s, &none), -EINVAL);
        assert_int_equal(store_delete_job(s, 7), 0);
        assert_int_equal(store_delete_job(s, 7), 0);
        assert_int_equal(n_jobs(s), 1);
        store_close(s);
        s = open_ok(f->path);
        assert_int_equal(store_last_job_id(s, &id), 0);
        assert_int_equal(id, 7);
        store_close(s);
}

static int remember(const SessionRecord *r, void *userdata) {
        return strv_extend(userdata, r->id);
}

static void test_ended_and_prune(void **state) {
        Fixture *f = *state;
        _cleanup_(store_closep) Store *s = open_ok(f->path);
        _cleanup_strv_ Strv ids = NULL;

        for (unsigned i = 0; i < 10; i++) {
                _cleanup_free_ char *id = strformat("0session000%u", i);
                SessionRecord r = session(id);
                SnapshotRecord n = snapshot(id, 1);
                r.ended_usec = i >= 2 ? i * 100 : 0;
                r.end_reason = (char *) (i >= 2 ? "destroyed" : NULL);
                assert_int_equal(store_put_session(s, &r), 0);
                assert_int_equal(store_put_snapshot(s, &n), 0);
        }
        assert_int_equal(n_sessions(s), 2);
        assert_int_equal(n_snapshots(s), 2);
        assert_int_equal(n_ended(s, 0, 100), 8);
        assert_int_equal(n_ended(s, USEC_INFINITY, 100), 8);
        assert_int_equal(n_ended(s, 500, 100), 3);
        assert_int_equal(store_each_ended_session(s, 900, 2, remember, &ids), 0);
        assert_int_equal(strv_length(ids), 2);
        assert_string_equal(ids[0], "0session0008");
        assert_string_equal(ids[1], "0session0007");
        assert_int_equal(store_has_ended_session(s, "0session0008"), 1);
        assert_int_equal(store_has_ended_session(s, "0session0001"), 0);
        assert_int_equal(store_has_ended_session(s, "0session0010"), 0);

        assert_int_equal(store_prune_sessions(s, 400, 100), 0);
        assert_int_equal(n_ended(s, 0, 100), 6);
        assert_int_equal(store_prune_sessions(s, 0, 2), 0);
        assert_int_equal(n_ended(s, 0, 100), 2);
        assert_int_equal(n_ended(s, 801, 100), 1);
        assert_int_equal(store_prune_sessions(s, USEC_INFINITY, 0), 0);
        assert_int_equal(n_ended(s, 0, 100), 0);
        assert_int_equal(n_sessions(s), 2);
        assert_int_equal(n_snapshots(s), 2);
}

static void test_phases(void **state) {
        for (int i = 0; i < _SNAPSHOT_PHASE_MAX; i++)
                assert_int_equal(snapshot_phase_from_string(snapshot_phase_to_string(i)), i);
        assert_null(snapshot_phase_to_string(_SNAPSHOT_PHASE_INVALID));
        assert_int_equal(snapshot_phase_from_string("nonsense"), _SNAPSHOT_PHASE_INVALID);
        assert_int_equal(snapshot_phase_from_string(NULL), _SNAPSHOT_PHASE_INVALID);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_round_trip), T(test_callback_stops), T(test_rollback), T(test_no_memory), T(test_job_ids),
                T(test_ended_and_prune), cmocka_unit_test(test_phases),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
