/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What may become of the store's file: other versions, damage, a lock, a full disk, a crash. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store-fixture.h"
#include "store/migrations.h"

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
        _cleanup_free_ char *back = strformat("PRAGMA user_version = %zu", store_schema_version);
        store_close(open_ok(f->path));
        sqlite3 *db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, "PRAGMA user_version = 999"), 0);
        sqlite3_close(db);
        assert_refused_untouched(f->path, -EPROTO);

        /* The newer version stands in the WAL alone. */
        db = raw_open(f->path);
        assert_int_equal(sqlite_exec(db, back), 0);
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

static void assert_busy(const char *path) {
        int status;

        if (fork() == 0) {
                Store *second = NULL;
                /* No clean-up: the child holds a copy of the parent's connection and must not close it. */
                _exit(store_open(path, &second) == -EBUSY ? 0 : 1);
        }
        wait(&status);
        assert_int_equal(status, 0);
}

static void test_locked(void **state) {
        Fixture *f = *state;
        Store *s = open_ok(f->path);
        SessionRecord a = session("0aaaaaaaaaaa");

        assert_busy(f->path);
        /* And before its first write as well as after it. */
        assert_int_equal(store_put_session(s, &a), 0);
        assert_busy(f->path);
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

/* A later version's column, of which the first knew nothing. */
static int check_first_job(const JobRecord *r, void *userdata) {
        assert_int_equal(r->frozen_usec, 4);
        assert_int_equal(r->exit_code, -1);
        (*(int *) userdata)++;
        return 0;
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
        n = 0;
        assert_int_equal(store_each_job(s, check_first_job, &n), 0);
        assert_int_equal(n, 1);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_newer_schema), T(test_foreign_file), T(test_damaged), T(test_locked), T(test_killed),
                T(test_file_size_limit), T(test_disk_full), T(test_first_release), T(test_migrate_steps),
                T(test_wal_is_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
