/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every file of this folder needs of SQLite: results as errnos, statements that clean up after themselves. */

#include <sqlite3.h>

#include "basic/macro.h"

static inline void sqlite_stmt_finalizep(sqlite3_stmt **p) {
        (void) sqlite3_finalize(*p);
}
#define _cleanup_stmt_ _cleanup_(sqlite_stmt_finalizep)

/* The errno of store.h for the last failure on db (which may be NULL) with result code rc. Logs SQLite's own text at
 * debug level: it may quote SQL but never values. */
int sqlite_to_errno(sqlite3 *db, int rc);

/* 0, or what sqlite_to_errno() makes of the failure. */
int sqlite_exec(sqlite3 *db, const char *sql);
int sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret);
/* First column of the first row. -ENODATA without a row. */
int sqlite_query_int64(sqlite3 *db, const char *sql, int64_t *ret);
