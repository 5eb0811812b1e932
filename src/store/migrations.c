/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "basic/string-util.h"
#include "store/migrations.h"

/* Numbers of 64 bits without a sign are kept in SQLite's signed integers bit by bit (UINT64_MAX is -1); none of them
 * is compared or sorted above 2^63 here. */
static const char schema_1[] =
        "CREATE TABLE sessions ("
        "  id TEXT NOT NULL PRIMARY KEY,"
        "  name TEXT NOT NULL,"
        "  state TEXT NOT NULL,"
        "  state_detail TEXT,"
        "  stop_reason TEXT,"
        "  wanted INTEGER NOT NULL,"
        "  owner_uid INTEGER NOT NULL,"
        "  organization TEXT NOT NULL,"
        "  provider TEXT NOT NULL,"
        "  template_name TEXT,"
        "  node TEXT,"
        "  image TEXT NOT NULL,"
        "  base_image TEXT,"
        "  spec TEXT NOT NULL,"
        "  generation INTEGER NOT NULL,"
        "  next_generation INTEGER NOT NULL,"
        "  failures INTEGER NOT NULL,"
        "  created_usec INTEGER NOT NULL,"
        "  started_usec INTEGER NOT NULL,"
        "  stopped_usec INTEGER NOT NULL,"
        "  last_activity_usec INTEGER NOT NULL,"
        "  ended_usec INTEGER NOT NULL,"
        "  end_reason TEXT,"
        "  ended_by_uid INTEGER NOT NULL,"
        "  from_session TEXT,"
        "  from_generation INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX sessions_ended ON sessions (ended_usec, id) WHERE ended_usec > 0;"

        /* Deferred: within a transaction the order of the rows is the caller's affair. */
        "CREATE TABLE snapshots ("
        "  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
        "  generation INTEGER NOT NULL,"
        "  phase TEXT NOT NULL,"
        "  kind TEXT NOT NULL,"
        "  job INTEGER NOT NULL,"
        "  image TEXT,"
        "  repository TEXT NOT NULL,"
        "  tag TEXT NOT NULL,"
        "  witness TEXT,"
        "  bytes INTEGER NOT NULL,"
        "  uncompressed_bytes INTEGER NOT NULL,"
        "  entries INTEGER NOT NULL,"
        "  session_layers INTEGER NOT NULL,"
        "  created_usec INTEGER NOT NULL,"
        "  frozen_usec INTEGER NOT NULL,"
        "  dropped TEXT,"
        "  PRIMARY KEY (session, generation)"
        ") STRICT, WITHOUT ROWID;"

        /* A job outlives its session, hence no reference. AUTOINCREMENT keeps the highest id in sqlite_sequence when
         * the rows are gone. */
        "CREATE TABLE jobs ("
        "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  type TEXT NOT NULL,"
        "  session TEXT NOT NULL,"
        "  owner_uid INTEGER NOT NULL,"
        "  state TEXT NOT NULL,"
        "  stage TEXT,"
        "  error_name TEXT,"
        "  error_message TEXT,"
        "  bytes_done INTEGER NOT NULL,"
        "  bytes_total INTEGER NOT NULL,"
        "  created_usec INTEGER NOT NULL,"
        "  started_usec INTEGER NOT NULL,"
        "  ended_usec INTEGER NOT NULL,"
        "  frozen_usec INTEGER NOT NULL"
        ") STRICT;";

const Migration store_migrations[] = {
        { .sql = schema_1 },
        {},                             /* 2: the phase "inherited", which version 1 cannot read */
        { .sql = "ALTER TABLE jobs ADD COLUMN exit_code INTEGER NOT NULL DEFAULT -1" },
};
const size_t store_schema_version = ELEMENTSOF(store_migrations);

static int set_version(sqlite3 *db, size_t version) {
        /* PRAGMA takes no parameters. */
        _cleanup_free_ char *sql = strformat("PRAGMA user_version = %zu", version);
        return sql ? sqlite_exec(db, sql) : -ENOMEM;
}

static int apply(sqlite3 *db, const Migration *steps, size_t from, size_t to) {
        int r;

        for (size_t i = from; i < to; i++) {
                if (steps[i].sql) {
                        r = sqlite_exec(db, steps[i].sql);
                        if (r < 0)
                                return r;
                }
                if (steps[i].run) {
                        r = steps[i].run(db);
                        if (r < 0)
                                return r;
                }
        }
        return set_version(db, to);
}

int migrate(sqlite3 *db, const Migration *steps, size_t n_steps) {
        int64_t version;
        int r = sqlite_query_int64(db, "PRAGMA user_version", &version);
        if (r < 0)
                return r;
        if (version < 0)
                return -EBADMSG;
        if ((uint64_t) version > n_steps)
                return -EPROTO;
        if ((uint64_t) version == n_steps)
                return 0;

        r = sqlite_exec(db, "BEGIN IMMEDIATE");
        if (r < 0)
                return r;
        r = apply(db, steps, (size_t) version, n_steps);
        if (r >= 0)
                r = sqlite_exec(db, "COMMIT");
        if (r < 0) {
                (void) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
                return r;
        }
        log_debug("Store schema migrated from version %" PRIi64 " to %zu.", version, n_steps);
        return 1;
}
