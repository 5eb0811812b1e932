/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "store/sqlite-util.h"

/* The errno of the last failure on one of the two files, as os_unix.c keeps it. */
static int file_errno(sqlite3 *db, int which) {
        sqlite3_file *f = NULL;
        int e = 0;

        if (sqlite3_file_control(db, "main", which, &f) != SQLITE_OK || !f || !f->pMethods)
                return 0;
        (void) f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &e);
        return e;
}

/* SQLite reports a full disk as SQLITE_FULL where write() says ENOSPC, but quotas and file size limits as a plain
 * I/O error (os_unix.c, unixWrite). sqlite3_system_errno() is what errno was some calls later: asked last. */
static int system_errno(sqlite3 *db) {
        int candidates[3] = {};

        if (db) {
                candidates[0] = file_errno(db, SQLITE_FCNTL_JOURNAL_POINTER);
                candidates[1] = file_errno(db, SQLITE_FCNTL_FILE_POINTER);
                candidates[2] = sqlite3_system_errno(db);
        }
        for (size_t i = 0; i < ELEMENTSOF(candidates); i++)
                switch (candidates[i]) {
                case EDQUOT:
                case EFBIG:
                case ENOSPC:
                        return -ENOSPC;
                }
        return candidates[2] > 0 ? -candidates[2] : -EIO;
}

int sqlite_to_errno(sqlite3 *db, int rc) {
        static const struct {
                int code, error;
        } table[] = {
                { SQLITE_FULL,       -ENOSPC  },
                { SQLITE_READONLY,   -EROFS   },
                { SQLITE_BUSY,       -EBUSY   },
                { SQLITE_LOCKED,     -EBUSY   },
                { SQLITE_CORRUPT,    -EBADMSG },
                { SQLITE_NOTADB,     -EBADMSG },
                { SQLITE_NOMEM,      -ENOMEM  },
                { SQLITE_PERM,       -EACCES  },
                { SQLITE_AUTH,       -EACCES  },
                { SQLITE_CONSTRAINT, -EINVAL  },
                { SQLITE_MISMATCH,   -EINVAL  },
                { SQLITE_MISUSE,     -EINVAL  },
                { SQLITE_TOOBIG,     -E2BIG   },
        };
        int primary = rc & 0xff;

        if (primary == SQLITE_OK || primary == SQLITE_ROW || primary == SQLITE_DONE)
                return 0;
        log_debug("SQLite: %s (%s)", db ? sqlite3_errmsg(db) : "no database", sqlite3_errstr(rc));
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].code == primary)
                        return table[i].error;
        /* SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_PROTOCOL … */
        if (rc == SQLITE_IOERR_NOMEM)
                return -ENOMEM;
        return system_errno(db);
}

int sqlite_exec(sqlite3 *db, const char *sql) {
        return sqlite_to_errno(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret) {
        return sqlite_to_errno(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL));
}

int sqlite_query_int64(sqlite3 *db, const char *sql, int64_t *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r = sqlite_prepare(db, sql, &stmt);
        if (r < 0)
                return r;

        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_DONE)
                return -ENODATA;
        if (rc != SQLITE_ROW)
                return sqlite_to_errno(db, rc);
        *ret = sqlite3_column_int64(stmt, 0);
        return 0;
}
