/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A disk that takes what is written and does not confirm it: fsync() fails, as after an error of the medium. */

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core-fixture.h"

static sqlite3_vfs vfs;
static sqlite3_io_methods methods;
static const sqlite3_io_methods *real_methods;
static int (*real_open)(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *ret_flags);
static bool disk_fails;

static int sync_file(sqlite3_file *file, int flags) {
        return disk_fails ? SQLITE_IOERR_FSYNC : real_methods->xSync(file, flags);
}

static int open_file(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *ret_flags) {
        int r = real_open(v, name, file, flags, ret_flags);

        if (r == SQLITE_OK && flags & SQLITE_OPEN_WAL) {
                real_methods = file->pMethods;
                methods = *real_methods;
                methods.xSync = sync_file;
                file->pMethods = &methods;
        }
        return r;
}

/* The log of each database that is opened from now on. */
static int use_own_disk(void **state) {
        vfs = *sqlite3_vfs_find(NULL);
        real_open = vfs.xOpen;
        vfs.zName = "failing";
        vfs.xOpen = open_file;
        return sqlite3_vfs_register(&vfs, 1) == SQLITE_OK ? 0 : -1;
}

static void count(const char *path, int expected) {
        sqlite3 *db;
        sqlite3_stmt *stmt;

        assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM jobs", -1, &stmt, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(stmt, 0), expected);
        (void) sqlite3_finalize(stmt);
        (void) sqlite3_close(db);
}

static int put_job(Store *s, uint64_t id) {
        const JobRecord j = { .id = id, .type = (char *) "create", .session = (char *) "0session0000", .state = (char *) "queued" };
        int r = store_begin(s);

        if (r >= 0)
                r = store_put_job(s, &j);
        return r < 0 ? r : store_commit(s);
}

/* It is told apart from a failure after which nothing is in force. */
static void test_in_doubt(void **state) {
        char dir[] = "/tmp/test-store-sync-XXXXXX";
        _cleanup_free_ char *path = NULL, *command = NULL;
        int status;

        assert_non_null(mkdtemp(dir));
        path = strformat("%s/state.db", dir);
        command = strformat("rm -r %s", dir);
        pid_t pid = fork();
        if (pid == 0) {
                Store *s;
                if (store_open(path, &s) < 0 || put_job(s, 1) < 0)
                        _exit(1);
                disk_fails = true;
                if (put_job(s, 2) != -ENOTRECOVERABLE)
                        _exit(2);
                /* without closing, as after a kill */
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        count(path, 2);
        assert_int_equal(system(command), 0);
}

static void answer(void *userdata, int r) {
        _exit(EXIT_SUCCESS);
}

static void destroy_on_failing_disk(void **state, int ready) {
        Fixture *f;
        Session *s;

        alarm(20);
        if (setup(state) != 0)
                _exit(EXIT_SUCCESS);
        f = *state;
        s = create_running(f, "doubt");
        if (write(ready, f->dir, sizeof(f->dir)) < 0)
                _exit(EXIT_SUCCESS);
        disk_fails = true;
        (void) request(s, JOB_DESTROY, NULL);
        (void) manager_on_commit(f->m, answer, NULL, NULL);
        while (sd_event_run(f->event, UINT64_MAX) >= 0)
                ;
        _exit(EXIT_SUCCESS);
}

/* Nobody is told that nothing was done: the process ends before. */
static void test_nobody_is_answered(void **state) {
        _cleanup_free_ char *command = NULL;
        char dir[sizeof(((Fixture *) NULL)->dir)];
        int fds[2], status;

        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0)
                destroy_on_failing_disk(state, fds[1]);
        close(fds[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(read(fds[0], dir, sizeof(dir)), sizeof(dir));
        close(fds[0]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
        command = strformat("rm -r %s", dir);
        assert_int_equal(system(command), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_in_doubt),
                cmocka_unit_test(test_nobody_is_answered),
        };
        return cmocka_run_group_tests(tests, use_own_disk, NULL);
}
