/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "basic/log.h"
#include "basic/names.h"
#include "store/migrations.h"
#include "store/sqlite-util.h"
#include "store/store.h"
#include "store/table.h"

typedef enum Statement {
        STATEMENT_PUT_SESSION,
        STATEMENT_PUT_SNAPSHOT,
        STATEMENT_PUT_JOB,
        STATEMENT_DELETE_SNAPSHOT,
        STATEMENT_DELETE_JOB,
        STATEMENT_PRUNE_SESSIONS,
        STATEMENT_HAS_ENDED,
        _STATEMENT_MAX,
} Statement;

struct Store {
        sqlite3 *db;
        sqlite3_stmt *statements[_STATEMENT_MAX];
        bool in_transaction;
        int error;                      /* first failure in the open transaction: its commit returns this */
};

static const char *const statement_sql[_STATEMENT_MAX] = {
        /* STATEMENT_PUT_*: from the column tables */
        [STATEMENT_DELETE_SNAPSHOT] = "DELETE FROM snapshots WHERE session = ?1 AND generation = ?2",
        [STATEMENT_DELETE_JOB] = "DELETE FROM jobs WHERE id = ?1",
        [STATEMENT_PRUNE_SESSIONS] =
                "DELETE FROM sessions WHERE ended_usec > 0 AND (ended_usec < ?1 OR id NOT IN "
                "(SELECT id FROM sessions WHERE ended_usec > 0 ORDER BY ended_usec DESC, id DESC LIMIT ?2))",
        [STATEMENT_HAS_ENDED] = "SELECT 1 FROM sessions WHERE id = ?1 AND ended_usec > 0",
};

static const char *const snapshot_phase_names[_SNAPSHOT_PHASE_MAX] = {
        [SNAPSHOT_INTENT] = "intent",
        [SNAPSHOT_PROVEN] = "proven",
        [SNAPSHOT_KEPT] = "kept",
        [SNAPSHOT_INHERITED] = "inherited",
};
DEFINE_NAMES(snapshot_phase, SnapshotPhase)

void session_record_done(SessionRecord *r) {
        table_record_done(&session_table, r, sizeof(*r));
}

void snapshot_record_done(SnapshotRecord *r) {
        table_record_done(&snapshot_table, r, sizeof(*r));
}

void job_record_done(JobRecord *r) {
        table_record_done(&job_table, r, sizeof(*r));
}

/* The file must exist with its final mode before SQLite writes to it; SQLite gives the WAL the mode of the file. No
 * descriptor of an existing file is opened here: closing it would drop the POSIX locks that SQLite holds on it. */
static int prepare_file(const char *path) {
        struct stat st, wal;

        if (stat(path, &st) < 0) {
                if (errno != ENOENT)
                        return -errno;
                _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
                return fd < 0 ? -errno : 0;
        }
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        if (st.st_size > 0)
                return 0;

        /* SQLite takes an empty file for a new one and deletes its WAL, which may hold the only copy of the data. */
        _cleanup_free_ char *wal_path = strformat("%s-wal", path);
        if (!wal_path)
                return -ENOMEM;
        return stat(wal_path, &wal) >= 0 && wal.st_size > 0 ? -EBADMSG : 0;
}

/* While a file is only looked at, closing it must neither copy the WAL into it nor delete the WAL. */
static int set_hands_off(sqlite3 *db, bool on) {
        int persist = on;
        int rc = sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int) on, NULL);
        if (rc == SQLITE_OK)
                rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
        return sqlite_to_errno(db, rc);
}

static int check_damage(sqlite3 *db) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r = sqlite_prepare(db, "PRAGMA quick_check(1)", &stmt);
        if (r < 0)
                return r;

        int rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
                return rc == SQLITE_DONE ? -EBADMSG : sqlite_to_errno(db, rc);
        const char *s = (const char *) sqlite3_column_text(stmt, 0);
        if (!s)
                return -ENOMEM;
        if (streq(s, "ok"))
                return 0;
        log_debug("SQLite: quick_check: %s", s);
        return -EBADMSG;
}

/* "SwOr": tells a store from any other SQLite file. */
#define APPLICATION_ID 0x53774f72
#define _STRINGIFY(x) #x
#define STRINGIFY(x) _STRINGIFY(x)

/* Only reads. */
static int check_file(sqlite3 *db) {
        int64_t version, application, tables;
        int r;

        r = sqlite_query_int64(db, "PRAGMA user_version", &version);
        if (r < 0)
                return r;
        r = sqlite_query_int64(db, "PRAGMA application_id", &application);
        if (r < 0)
                return r;
        r = sqlite_query_int64(db, "SELECT count(*) FROM sqlite_schema", &tables);
        if (r < 0)
                return r;
        /* A new file has none of them; one that is somebody else's is not made ours. */
        if (application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0))
                return -EBADMSG;
        if (version > (int64_t) store_schema_version)
                return -EPROTO;
        return check_damage(db);
}

static int configure(sqlite3 *db) {
        int on;

        /* Harmless to the file; a damaged or hostile one must not make SQLite run its own SQL. */
        if (sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, &on) != SQLITE_OK)
                return -EINVAL;
        return sqlite_exec(db,
                           "PRAGMA locking_mode = EXCLUSIVE;"
                           "PRAGMA trusted_schema = OFF;"
                           "PRAGMA cell_size_check = ON;"
                           "PRAGMA mmap_size = 0;"
                           "PRAGMA cache_size = -1024;"
                           "PRAGMA temp_store = MEMORY;"
                           "PRAGMA foreign_keys = ON;");
}

/* Sets what is kept in the file. */
static int adopt(sqlite3 *db, const char *path) {
        int r;

        r = sqlite_exec(db,
                        "PRAGMA journal_mode = WAL;"
                        "PRAGMA synchronous = FULL;"
                        "PRAGMA journal_size_limit = 4194304;"
                        "PRAGMA application_id = " STRINGIFY(APPLICATION_ID) ";");
        if (r < 0)
                return r;
        r = migrate(db, store_migrations, store_schema_version);
        if (r < 0)
                return r;
        return chmod(path, 0600) < 0 ? -errno : 0;
}

static int prepare_statements(Store *s) {
        static const Table *const put[] = {
                [STATEMENT_PUT_SESSION] = &session_table,
                [STATEMENT_PUT_SNAPSHOT] = &snapshot_table,
                [STATEMENT_PUT_JOB] = &job_table,
        };

        for (size_t i = 0; i < _STATEMENT_MAX; i++) {
                _cleanup_free_ char *generated = i < ELEMENTSOF(put) ? table_upsert_sql(put[i]) : NULL;
                const char *sql = statement_sql[i] ? statement_sql[i] : generated;
                if (!sql)
                        return -ENOMEM;
                int r = sqlite_prepare(s->db, sql, &s->statements[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int store_open(const char *path, Store **ret) {
        _cleanup_(store_closep) Store *s = NULL;
        int r;

        r = prepare_file(path);
        if (r < 0)
                return r;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        r = sqlite_to_errno(s->db, sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
        if (r < 0)
                return r;
        (void) sqlite3_extended_result_codes(s->db, 1);
        (void) sqlite3_busy_timeout(s->db, 0);

        r = set_hands_off(s->db, true);
        if (r < 0)
                return r;
        r = configure(s->db);
        if (r < 0)
                return r;
        r = check_file(s->db);
        if (r < 0)
                return r;
        r = adopt(s->db, path);
        if (r < 0)
                return r;
        r = set_hands_off(s->db, false);
        if (r < 0)
                return r;
        r = prepare_statements(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_close(Store *s) {
        if (!s)
                return NULL;
        for (size_t i = 0; i < _STATEMENT_MAX; i++)
                (void) sqlite3_finalize(s->statements[i]);
        (void) sqlite3_close(s->db);
        free(s);
        return NULL;
}

int store_begin(Store *s) {
        if (s->in_transaction)
                return -EALREADY;
        /* A rollback needs memory as well, and may not have got it then. */
        store_rollback(s);
        int r = sqlite_exec(s->db, "BEGIN IMMEDIATE");
        if (r < 0)
                return r;
        s->in_transaction = true;
        s->error = 0;
        return 0;
}

void store_rollback(Store *s) {
        /* SQLite has rolled back by itself after some failures (disk full, I/O). */
        if (!sqlite3_get_autocommit(s->db))
                (void) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        s->in_transaction = false;
        s->error = 0;
}

int store_commit(Store *s) {
        if (!s->in_transaction)
                return -EINVAL;
        int r = s->error;
        if (r == 0) {
                r = sqlite_exec(s->db, "COMMIT");
                /* The end of the transaction is written before it is synced (wal.c, sqlite3WalFrames). */
                if (r < 0 && sqlite3_extended_errcode(s->db) == SQLITE_IOERR_FSYNC)
                        r = -ENOTRECOVERABLE;
        }
        if (r < 0) {
                store_rollback(s);
                return r;
        }
        s->in_transaction = false;
        return 0;
}

/* Runs a prepared statement to its end. A failure spoils the open transaction: half of it must not be committed. */
static int run_statement(Store *s, sqlite3_stmt *stmt, int bound) {
        int r = bound;

        if (r >= 0)
                r = sqlite_to_errno(s->db, sqlite3_step(stmt));
        (void) sqlite3_reset(stmt);
        (void) sqlite3_clear_bindings(stmt);
        if (r < 0 && s->in_transaction && s->error == 0)
                s->error = r;
        return r;
}

static int put(Store *s, Statement which, const Table *table, const void *record) {
        sqlite3_stmt *stmt = s->statements[which];
        return run_statement(s, stmt, table_bind(table, stmt, record));
}

int store_put_session(Store *s, const SessionRecord *r) {
        return put(s, STATEMENT_PUT_SESSION, &session_table, r);
}

int store_put_snapshot(Store *s, const SnapshotRecord *r) {
        return put(s, STATEMENT_PUT_SNAPSHOT, &snapshot_table, r);
}

int store_put_job(Store *s, const JobRecord *r) {
        /* 0 would make SQLite number the row itself… and it is "no job" everywhere else. */
        if (r->id == 0 || r->id > INT64_MAX)
                return -EINVAL;
        return put(s, STATEMENT_PUT_JOB, &job_table, r);
}

int store_delete_snapshot(Store *s, const char *session, uint64_t generation) {
        sqlite3_stmt *stmt = s->statements[STATEMENT_DELETE_SNAPSHOT];
        int rc = sqlite3_bind_text(stmt, 1, session, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
                rc = sqlite3_bind_int64(stmt, 2, (int64_t) generation);
        return run_statement(s, stmt, sqlite_to_errno(s->db, rc));
}

int store_delete_job(Store *s, uint64_t id) {
        sqlite3_stmt *stmt = s->statements[STATEMENT_DELETE_JOB];
        return run_statement(s, stmt, sqlite_to_errno(s->db, sqlite3_bind_int64(stmt, 1, (int64_t) id)));
}

int store_prune_sessions(Store *s, usec_t before_usec, unsigned keep) {
        sqlite3_stmt *stmt = s->statements[STATEMENT_PRUNE_SESSIONS];
        int rc = sqlite3_bind_int64(stmt, 1, (int64_t) MIN(before_usec, (usec_t) INT64_MAX));
        if (rc == SQLITE_OK)
                rc = sqlite3_bind_int64(stmt, 2, keep);
        return run_statement(s, stmt, sqlite_to_errno(s->db, rc));
}

typedef int (*row_cb)(const void *record, void *cb, void *userdata);

static int session_row(const void *record, void *cb, void *userdata) {
        return (*(store_session_cb *) cb)(record, userdata);
}

static int snapshot_row(const void *record, void *cb, void *userdata) {
        return (*(store_snapshot_cb *) cb)(record, userdata);
}

static int job_row(const void *record, void *cb, void *userdata) {
        return (*(store_job_cb *) cb)(record, userdata);
}

/* The first column of every table is the first of its key, and the second one the rest of it, where there is more. */
static int row_unusable(const Table *table, sqlite3_stmt *stmt) {
        const char *key = (const char *) sqlite3_column_text(stmt, 0), *rest = strchr(table->key, ',') ? (const char *) sqlite3_column_text(stmt, 1) : NULL;

        return log_error_errno(EUCLEAN, "A row of the table \"%s\" has a value that this version does not know. Its %s is '%s'%s%s%s%s.",
                               table->name, table->columns[0].name, strna(key), rest ? ", and its " : "", rest ? table->columns[1].name : "",
                               rest ? " is " : "", strempty(rest));
}

/* Calls row(record, cb, userdata) for each row of SELECT … <tail>; at most two integer parameters. */
static int each(Store *s, const Table *table, const char *tail, const int64_t *parameters, size_t n_parameters, row_cb row,
                void *cb, void *userdata) {
        _cleanup_free_ char *sql = table_select_sql(table, tail);
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r, rc;

        if (!sql)
                return -ENOMEM;
        r = sqlite_prepare(s->db, sql, &stmt);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_parameters; i++) {
                r = sqlite_to_errno(s->db, sqlite3_bind_int64(stmt, (int) i + 1, parameters[i]));
                if (r < 0)
                        return r;
        }
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
                union {
                        SessionRecord session;
                        SnapshotRecord snapshot;
                        JobRecord job;
                } record = {};

                r = table_load(table, stmt, &record);
                if (r == -EBADMSG)
                        r = row_unusable(table, stmt);
                if (r < 0)
                        return r;
                r = row(&record, cb, userdata);
                if (r < 0)
                        return r;
        }
        return sqlite_to_errno(s->db, rc);
}

int store_each_session(Store *s, store_session_cb cb, void *userdata) {
        return each(s, &session_table, "WHERE ended_usec = 0 ORDER BY id", NULL, 0, session_row, &cb, userdata);
}

int store_each_ended_session(Store *s, usec_t before_usec, unsigned limit, store_session_cb cb, void *userdata) {
        bool all = before_usec == 0 || before_usec > INT64_MAX;
        int64_t parameters[] = { all ? INT64_MAX : (int64_t) before_usec, limit };

        return each(s, &session_table,
                    "WHERE ended_usec > 0 AND ended_usec < ?1 ORDER BY ended_usec DESC, id DESC LIMIT ?2",
                    parameters, ELEMENTSOF(parameters), session_row, &cb, userdata);
}

int store_has_ended_session(Store *s, const char *id) {
        sqlite3_stmt *stmt = s->statements[STATEMENT_HAS_ENDED];
        int rc = sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
                rc = sqlite3_step(stmt);
        int r = rc == SQLITE_ROW ? 1 : sqlite_to_errno(s->db, rc);
        (void) sqlite3_reset(stmt);
        (void) sqlite3_clear_bindings(stmt);
        return r;
}

int store_each_snapshot(Store *s, store_snapshot_cb cb, void *userdata) {
        return each(s, &snapshot_table,
                    "WHERE session IN (SELECT id FROM sessions WHERE ended_usec = 0) ORDER BY session, generation",
                    NULL, 0, snapshot_row, &cb, userdata);
}

int store_each_orphan(Store *s, store_snapshot_cb cb, void *userdata) {
        return each(s, &snapshot_table, "WHERE session NOT IN (SELECT id FROM sessions) ORDER BY session, generation",
                    NULL, 0, snapshot_row, &cb, userdata);
}

int store_each_job(Store *s, store_job_cb cb, void *userdata) {
        return each(s, &job_table, "ORDER BY id", NULL, 0, job_row, &cb, userdata);
}

int store_last_job_id(Store *s, uint64_t *ret) {
        int64_t id;
        int r = sqlite_query_int64(s->db, "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'", &id);
        if (r == -ENODATA)
                id = 0;
        else if (r < 0)
                return r;
        *ret = (uint64_t) id;
        return 0;
}
