/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The schema and its history. PRAGMA user_version holds the version of a file; step n brings a file from version n to
 * n + 1. A step that has been released is never edited: a change is a new step at the end. */

#include "store/sqlite-util.h"

typedef struct Migration {
        const char *sql;                        /* one or more statements; NULL = none */
        int (*run)(sqlite3 *db);                /* after them, for what SQL alone cannot do; NULL = none */
} Migration;

extern const Migration store_migrations[];
extern const size_t store_schema_version;       /* the version that the steps lead to */

/* Applies what is missing in one transaction: all of it or, on failure, nothing. 0: was current; 1: migrated.
 * -EPROTO: the file is newer than the steps; -EBADMSG: it has no sane version. */
int migrate(sqlite3 *db, const Migration *steps, size_t n_steps);
