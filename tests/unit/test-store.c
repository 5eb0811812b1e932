/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "store/migrations.h"
#include "store/store.h"
#include "store/table.h"

typedef struct Fixture {
        char dir[64], path[96];
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
        *state = f;
        return 0;
}

static int teardown(void **state) {
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

static SessionRecord session(const char *id) {
        return (SessionRecord) {
                .id = (char *) id, .name = (char *) "name", .state = (char *) "running", .organization = (char *) "default",
                .provider = (char *) "swarm", .image = (char *) "debian:12", .spec = (char *) "{}", .next_generation = 1,
                .created_usec = 1,
        };
}

static SnapshotRecord snapshot(const char *id, uint64_t generation) {
        return (SnapshotRecord) {
                .session = (char *) id, .generation = generation, .kind = (char *) "hibernate",
                .repository = (char *) "sessions/default", .tag = (char *) "t", .created_usec = 1,
        };
}

static JobRecord job(uint64_t id) {
        return (JobRecord) {
                .id = id, .type = (char *) "create", .session = (char *) "0session0000", .state = (char *) "queued",
        };
}

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

static int count_session(const SessionRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }
static int count_snapshot(const SnapshotRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }
static int count_job(const JobRecord *r, void *userdata) { (*(int *) userdata)++; return 0; }

static int n_sessions(Store *s) {
        int n = 0;
        assert_int_equal(store_each_session(s, count_session, &n), 0);
        return n;
}

static int n_ended(Store *s, usec_t before, unsigned limit) {
        int n = 0;
        assert_int_equal(store_each_ended_session(s, before, limit, count_session, &n), 0);
        return n;
}

static int n_snapshots(Store *s) {
        int n = 0;
        assert_int_equal(store_each_snapshot(s, count_snapshot, &n), 0);
        return n;
}

static int n_jobs(Store *s) {
        int n = 0;
        assert_int_equal(store_each_job(s, count_job, &n), 0);
        return n;
}

static Store *open_ok(const char *path) {
        Store *s = NULL;
        assert_int_equal(store_open(path, &s), 0);
        return s;
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
                Expect es = { &session_table, { &sessions[0], &sessions[1] }, 2 };
                Expect en = { &snapshot_table, { &snapshots[0], &snapshots[1], &snapshots[2] }, 3 };
                Expect ej = { &job_table, { &jobs[0], &jobs[1] }, 2 };
                assert_int_equal(store_each_session(s, compare_session, &es), 0);
                assert_int_equal(es.seen, 2);
                assert_int_equal(store_each_snapshot(s, compare_snapshot, &en), 0);
                assert_int_equal(en.seen, 3);
                assert_int_equal(store_each_job(s, compare_job, &ej), 0);
                assert_int_equal(ej.seen, 2);
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

/* The whole file as a string, so that "not touched" can be told. */
static char *read_all(const char *path, size_t *ret_size) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        struct stat st;
        assert_non_null(f);
        assert_int_equal(fstat(fileno(f), &st), 0);
        char *p = malloc((size_t) st.st_size + 1);
        assert_non_null(p);
        assert_int_equal(fread(p, 1, (size_t) st.st_size, f), st.st_size);
        *ret_size = (size_t) st.st_size;
        return p;
}

static void write_all(const char *path, const char *data, size_t n) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(data, 1, n, f), n);
}

static void assert_refused_untouched(const char *path, int error) {
        _cleanup_free_ char *before = NULL, *after = NULL, *wal = strformat("%s-wal", path), *wal_before = NULL, *wal_after = NULL;
        size_t n_before, n_after;
        Store *s = NULL;

        before = read_all(path, &n_before);
        bool has_wal = access(wal, F_OK) == 0;
        size_t wal_n_before = 0, wal_n_after = 0;
        if (has_wal)
                wal_before = read_all(wal, &wal_n_before);
        assert_int_equal(store_open(path, &s), error);
        assert_null(s);
        after = read_all(path, &n_after);
        assert_int_equal(n_before, n_after);
        assert_memory_equal(before, after, n_before);
        if (has_wal) {
                wal_after = read_all(wal, &wal_n_after);
                assert_int_equal(wal_n_before, wal_n_after);
                assert_memory_equal(wal_before, wal_after, wal_n_before);
        }
}

static sqlite3 *raw_open(const char *path) {
        sqlite3 *db = NULL;
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        return db;
}

static void test_newer_schema(void **state) {
        Fixture *f = *state;
        store_close(open_ok(f->path));
        sqlite3 *db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, "PRAGMA user_version = 999"), 0);
        sqlite3_close(db);
        assert_refused_untouched(f->path, -EPROTO);

        /* The newer version stands in the WAL alone. */
        db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, "PRAGMA user_version = 1"), 0);
        sqlite3_close(db);
        store_close(open_ok(f->path));
        if (fork() == 0) {
                db = raw_open(f->path);
                _exit(sqlite_exec(db, "PRAGMA journal_mode = WAL; PRAGMA user_version = 1000") == 0 ? 0 : 1);
        }
        int status;
        wait(&status);
        assert_int_equal(status, 0);
        assert_refused_untouched(f->path, -EPROTO);
}

static void test_foreign_file(void **state) {
        Fixture *f = *state;
        sqlite3 *db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, "CREATE TABLE photos (id)"), 0);
        sqlite3_close(db);
        assert_refused_untouched(f->path, -EBADMSG);
}

static void test_damaged(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *good = NULL;
        size_t n;

        Store *s = open_ok(f->path);
        assert_int_equal(store_begin(s), 0);
        for (unsigned i = 0; i < 500; i++) {
                _cleanup_free_ char *id = strformat("0%011u", i);
                SessionRecord r = session(id);
                assert_int_equal(store_put_session(s, &r), 0);
        }
        assert_int_equal(store_commit(s), 0);
        store_close(s);
        good = read_all(f->path, &n);
        assert_true(n > 8 * 4096);

        write_all(f->path, "this is no database, however long the text may be that stands here in its stead", 79);
        assert_refused_untouched(f->path, -EBADMSG);
        write_all(f->path, good, n / 2);
        assert_refused_untouched(f->path, -EBADMSG);
        for (size_t page = 1; page < n / 4096; page += 5) {
                _cleanup_free_ char *bad = malloc(n);
                memcpy(bad, good, n);
                memset(bad + page * 4096, 0x5a, 4096);
                write_all(f->path, bad, n);
                assert_refused_untouched(f->path, -EBADMSG);
        }

        /* Emptied beside a WAL with data: SQLite itself would delete the WAL. */
        _cleanup_free_ char *wal = strformat("%s-wal", f->path);
        write_all(f->path, "", 0);
        write_all(wal, good, n);
        assert_refused_untouched(f->path, -EBADMSG);
        assert_int_equal(unlink(wal), 0);

        write_all(f->path, good, n);
        s = open_ok(f->path);
        assert_int_equal(n_sessions(s), 500);
        store_close(s);

        assert_int_equal(store_open(f->dir, &s), -EBADMSG);
        assert_int_equal(store_open("/nonexistent/store.db", &s), -ENOENT);
}

static void test_locked(void **state) {
        Fixture *f = *state;
        Store *s = open_ok(f->path);
        int status;

        if (fork() == 0) {
                Store *second = NULL;
                /* No clean-up: the child holds a copy of the parent's connection and must not close it. */
                _exit(store_open(f->path, &second) == -EBUSY ? 0 : 1);
        }
        wait(&status);
        assert_int_equal(status, 0);
        /* And before its first write as well as after it. */
        SessionRecord a = session("0aaaaaaaaaaa");
        assert_int_equal(store_put_session(s, &a), 0);
        if (fork() == 0) {
                Store *second = NULL;
                _exit(store_open(f->path, &second) == -EBUSY ? 0 : 1);
        }
        wait(&status);
        assert_int_equal(status, 0);
        assert_int_equal(n_sessions(s), 1);
        store_close(s);
        store_close(open_ok(f->path));
}

static void test_killed(void **state) {
        Fixture *f = *state;
        int status, fds[2];
        char c;

        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
                Store *s = NULL;
                if (store_open(f->path, &s) < 0 || store_begin(s) < 0)
                        _exit(1);
                SessionRecord a = session("0aaaaaaaaaaa");
                if (store_put_session(s, &a) < 0 || store_commit(s) < 0 || store_begin(s) < 0)
                        _exit(2);
                /* Enough to spill pages of the open transaction into the WAL. */
                for (unsigned i = 0; i < 20000; i++) {
                        char id[16];
                        snprintf(id, sizeof(id), "1%011u", i);
                        SessionRecord r = session(id);
                        if (store_put_session(s, &r) < 0)
                                _exit(3);
                }
                if (write(fds[1], "x", 1) != 1)
                        _exit(4);
                for (;;)
                        pause();
        }
        assert_int_equal(read(fds[0], &c, 1), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(fds[0]);
        close(fds[1]);

        Store *s = open_ok(f->path);
        assert_int_equal(n_sessions(s), 1);
        store_close(s);
}

/* Fills the store until it says no, then frees what can be freed and goes on. Exit code 0 if all was as it should be. */
static int fill_until_full(const char *path) {
        Store *s = NULL;
        int r = 0, committed = 0, n = 0;
        char *big = malloc(4096);

        memset(big, 'x', 4095);
        big[4095] = 0;
        if (store_open(path, &s) < 0)
                return 10;
        for (unsigned i = 0; i < 5000; i++) {
                char id[16];
                snprintf(id, sizeof(id), "1%011u", i);
                SessionRecord row = session(id);
                row.spec = big;
                if (store_begin(s) < 0)
                        return 11;
                r = store_put_session(s, &row);
                int k = store_commit(s);
                if (r >= 0)
                        r = k;
                else if (k != r)
                        return 12;
                if (r < 0)
                        break;
                committed++;
        }
        if (r != -ENOSPC)
                return r == 0 ? 13 : -r;
        if (store_each_session(s, count_session, &n) < 0 || n != committed)
                return 14;
        store_close(s);
        n = 0;
        if (store_open(path, &s) < 0)
                return 15;
        if (store_each_session(s, count_session, &n) < 0 || n != committed)
                return 16;
        store_close(s);
        free(big);
        return 0;
}

static void test_file_size_limit(void **state) {
        Fixture *f = *state;
        int status;

        if (fork() == 0) {
                signal(SIGXFSZ, SIG_IGN);
                setrlimit(RLIMIT_FSIZE, &(struct rlimit) { 300 * 1024, 300 * 1024 });
                _exit(fill_until_full(f->path));
        }
        wait(&status);
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_true(WIFEXITED(status));
}

static void test_disk_full(void **state) {
        Fixture *f = *state;
        int status;

        if (fork() == 0) {
                if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                    mount("tmpfs", f->dir, "tmpfs", 0, "size=1m,mode=0700") < 0)
                        _exit(77);
                _exit(fill_until_full(f->path));
        }
        wait(&status);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

/* A file of version 1 as the first release wrote it. Not generated from the present schema: it must stay as it is. */
static const char first_release[] =
        "PRAGMA application_id = 1400328050; PRAGMA user_version = 1;"
        "CREATE TABLE sessions (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, state_detail TEXT,"
        " stop_reason TEXT, wanted INTEGER NOT NULL, owner_uid INTEGER NOT NULL, organization TEXT NOT NULL,"
        " provider TEXT NOT NULL, template_name TEXT, node TEXT, image TEXT NOT NULL, base_image TEXT, spec TEXT NOT NULL,"
        " generation INTEGER NOT NULL, next_generation INTEGER NOT NULL, failures INTEGER NOT NULL,"
        " created_usec INTEGER NOT NULL, started_usec INTEGER NOT NULL, stopped_usec INTEGER NOT NULL,"
        " last_activity_usec INTEGER NOT NULL, ended_usec INTEGER NOT NULL, end_reason TEXT, ended_by_uid INTEGER NOT NULL,"
        " from_session TEXT, from_generation INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE INDEX sessions_ended ON sessions (ended_usec, id) WHERE ended_usec > 0;"
        "CREATE TABLE snapshots (session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
        " generation INTEGER NOT NULL, phase TEXT NOT NULL, kind TEXT NOT NULL, job INTEGER NOT NULL, image TEXT,"
        " repository TEXT NOT NULL, tag TEXT NOT NULL, witness TEXT, bytes INTEGER NOT NULL,"
        " uncompressed_bytes INTEGER NOT NULL, entries INTEGER NOT NULL, session_layers INTEGER NOT NULL,"
        " created_usec INTEGER NOT NULL, frozen_usec INTEGER NOT NULL, dropped TEXT,"
        " PRIMARY KEY (session, generation)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, session TEXT NOT NULL,"
        " owner_uid INTEGER NOT NULL, state TEXT NOT NULL, stage TEXT, error_name TEXT, error_message TEXT,"
        " bytes_done INTEGER NOT NULL, bytes_total INTEGER NOT NULL, created_usec INTEGER NOT NULL,"
        " started_usec INTEGER NOT NULL, ended_usec INTEGER NOT NULL, frozen_usec INTEGER NOT NULL) STRICT;"
        "INSERT INTO sessions VALUES ('0aaaaaaaaaaa', 'one', 'hibernated', NULL, 'inactivity', 1, 1000, 'default', 'swarm',"
        " 'development', 'n1', 'debian:12', 'r/debian@sha256:00', '{}', 3, 4, 0, 1, 2, 3, 4, 0, NULL, 0, NULL, 0);"
        "INSERT INTO snapshots VALUES ('0aaaaaaaaaaa', 3, 'kept', 'hibernate', 5, 'r/s@sha256:01', 'sessions/default', 't', 'w',"
        " 10, 20, 30, 1, 5, 6, NULL);"
        "INSERT INTO jobs VALUES (5, 'hibernate', '0aaaaaaaaaaa', 1000, 'done', NULL, NULL, NULL, 10, -1, 1, 2, 3, 4);";

static int check_first_release(const SessionRecord *r, void *userdata) {
        assert_string_equal(r->name, "one");
        assert_string_equal(r->stop_reason, "inactivity");
        assert_int_equal(r->generation, 3);
        assert_true(r->wanted);
        return count_session(r, userdata);
}

static void test_first_release(void **state) {
        Fixture *f = *state;
        uint64_t id;
        int n = 0;

        sqlite3 *db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, first_release), 0);
        sqlite3_close(db);
        Store *s = open_ok(f->path);
        assert_int_equal(store_each_session(s, check_first_release, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(n_snapshots(s), 1);
        assert_int_equal(n_jobs(s), 1);
        assert_int_equal(store_last_job_id(s, &id), 0);
        assert_int_equal(id, 5);
        store_close(s);
}

static int double_all(sqlite3 *db) {
        return sqlite_exec(db, "UPDATE t SET b = a * 2");
}

static int broken_step(sqlite3 *db) {
        return -EIO;
}

static void test_migrate_steps(void **state) {
        Fixture *f = *state;
        static const Migration steps[] = {
                { .sql = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (21);" },
                { .sql = "ALTER TABLE t ADD COLUMN b INTEGER", .run = double_all },
                { .sql = "INSERT INTO t VALUES (1, 1)", .run = broken_step },
        };
        int64_t v;

        sqlite3 *db = raw_open(f->path);
        assert_int_equal(migrate(db, steps, 1), 1);
        assert_int_equal(migrate(db, steps, 1), 0);
        assert_int_equal(migrate(db, steps, 2), 1);
        assert_int_equal(sqlite_query_int64(db, "SELECT b FROM t", &v), 0);
        assert_int_equal(v, 42);
        /* A step that fails leaves the file at the version that it had. */
        assert_int_equal(migrate(db, steps, 3), -EIO);
        assert_int_equal(sqlite_query_int64(db, "PRAGMA user_version", &v), 0);
        assert_int_equal(v, 2);
        assert_int_equal(sqlite_query_int64(db, "SELECT count(*) FROM t", &v), 0);
        assert_int_equal(v, 1);
        assert_int_equal(migrate(db, steps, 1), -EPROTO);
        assert_int_equal(sqlite_exec(db, "PRAGMA user_version = -5"), 0);
        assert_int_equal(migrate(db, steps, 2), -EBADMSG);
        sqlite3_close(db);
}

static void test_wal_is_bounded(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *wal = strformat("%s-wal", f->path);
        Store *s = open_ok(f->path);
        struct stat st;

        assert_int_equal(store_begin(s), 0);
        for (unsigned i = 0; i < 60000; i++) {
                JobRecord j = job(i + 1);
                assert_int_equal(store_put_job(s, &j), 0);
        }
        assert_int_equal(store_commit(s), 0);
        for (unsigned i = 0; i < 3; i++) {
                JobRecord j = job(i + 1);
                j.state = (char *) "done";
                assert_int_equal(store_put_job(s, &j), 0);
        }
        assert_int_equal(stat(wal, &st), 0);
        assert_true(st.st_size <= 4 * (off_t) MIB);
        store_close(s);
        assert_int_equal(stat(wal, &st), -1);
}

static void test_phases(void **state) {
        for (int i = 0; i < _SNAPSHOT_PHASE_MAX; i++)
                assert_int_equal(snapshot_phase_from_string(snapshot_phase_to_string(i)), i);
        assert_null(snapshot_phase_to_string(_SNAPSHOT_PHASE_INVALID));
        assert_int_equal(snapshot_phase_from_string("nonsense"), _SNAPSHOT_PHASE_INVALID);
        assert_int_equal(snapshot_phase_from_string(NULL), _SNAPSHOT_PHASE_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_round_trip), T(test_callback_stops), T(test_rollback), T(test_no_memory), T(test_job_ids), T(test_ended_and_prune),
                T(test_newer_schema), T(test_foreign_file), T(test_damaged), T(test_locked), T(test_killed),
                T(test_file_size_limit), T(test_disk_full), T(test_first_release), T(test_migrate_steps),
                T(test_wal_is_bounded), cmocka_unit_test(test_phases),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
