/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A table of the file as a list of columns, each bound to a field of its record struct. From it come the SQL, the
 * binding of parameters, the row → struct function and the freeing of a struct. */

#include "store/sqlite-util.h"
#include "store/store.h"

typedef enum ColumnType {
        COLUMN_TEXT,            /* char *; NULL allowed where the schema allows it */
        COLUMN_UINT64,          /* uint64_t, usec_t */
        COLUMN_UINT,            /* unsigned, uid_t */
        COLUMN_INT,
        COLUMN_BOOL,
        COLUMN_PHASE,           /* SnapshotPhase, saved as its name */
} ColumnType;

typedef struct Column {
        const char *name;
        ColumnType type;
        size_t offset;
} Column;

typedef struct Table {
        const char *name;
        const char *key;        /* columns of the primary key, as in SQL */
        const Column *columns;
        size_t n_columns;
} Table;

extern const Table session_table, snapshot_table, job_table;

char *table_upsert_sql(const Table *t);                         /* NULL when memory is short */
char *table_select_sql(const Table *t, const char *tail);       /* SELECT … FROM t <tail> */
int table_bind(const Table *t, sqlite3_stmt *stmt, const void *record);
/* Strings point into the statement: valid until its next step. -EBADMSG for values that no program of ours wrote. */
int table_load(const Table *t, sqlite3_stmt *stmt, void *ret_record);
void table_record_done(const Table *t, void *record, size_t size);
