/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "store/table.h"

#define COLUMN(record, field, t) { #field, COLUMN_##t, offsetof(record, field) }

static const Column session_columns[] = {
#define C(field, t) COLUMN(SessionRecord, field, t)
        C(id, TEXT),
        C(name, TEXT),
        C(state, TEXT),
        C(state_detail, TEXT),
        C(stop_reason, TEXT),
        C(wanted, BOOL),
        C(owner_uid, UINT),
        C(organization, TEXT),
        C(provider, TEXT),
        C(template_name, TEXT),
        C(node, TEXT),
        C(image, TEXT),
        C(base_image, TEXT),
        C(spec, TEXT),
        C(generation, UINT64),
        C(next_generation, UINT64),
        C(failures, UINT),
        C(created_usec, UINT64),
        C(started_usec, UINT64),
        C(stopped_usec, UINT64),
        C(last_activity_usec, UINT64),
        C(ended_usec, UINT64),
        C(end_reason, TEXT),
        C(ended_by_uid, UINT),
        C(from_session, TEXT),
        C(from_generation, UINT64),
#undef C
};

static const Column snapshot_columns[] = {
#define C(field, t) COLUMN(SnapshotRecord, field, t)
        C(session, TEXT),
        C(generation, UINT64),
        C(phase, PHASE),
        C(kind, TEXT),
        C(job, UINT64),
        C(image, TEXT),
        C(repository, TEXT),
        C(tag, TEXT),
        C(witness, TEXT),
        C(bytes, UINT64),
        C(uncompressed_bytes, UINT64),
        C(entries, UINT64),
        C(session_layers, UINT),
        C(created_usec, UINT64),
        C(frozen_usec, UINT64),
        C(dropped, TEXT),
#undef C
};

static const Column job_columns[] = {
#define C(field, t) COLUMN(JobRecord, field, t)
        C(id, UINT64),
        C(type, TEXT),
        C(session, TEXT),
        C(owner_uid, UINT),
        C(state, TEXT),
        C(stage, TEXT),
        C(error_name, TEXT),
        C(error_message, TEXT),
        C(bytes_done, UINT64),
        C(bytes_total, UINT64),
        C(created_usec, UINT64),
        C(started_usec, UINT64),
        C(ended_usec, UINT64),
        C(frozen_usec, UINT64),
        C(exit_code, INT),
#undef C
};

const Table session_table = { "sessions", "id", session_columns, ELEMENTSOF(session_columns) };
const Table snapshot_table = { "snapshots", "session, generation", snapshot_columns, ELEMENTSOF(snapshot_columns) };
const Table job_table = { "jobs", "id", job_columns, ELEMENTSOF(job_columns) };

char *table_upsert_sql(const Table *t) {
        char *sql = NULL;
        size_t size;
        FILE *f = open_memstream(&sql, &size);
        if (!f)
                return NULL;

        fprintf(f, "INSERT INTO %s (", t->name);
        for (size_t i = 0; i < t->n_columns; i++)
                fprintf(f, "%s%s", i ? ", " : "", t->columns[i].name);
        fputs(") VALUES (", f);
        for (size_t i = 0; i < t->n_columns; i++)
                fprintf(f, "%s?%zu", i ? ", " : "", i + 1);
        /* Not INSERT OR REPLACE: that deletes first, and the delete would cascade. */
        fprintf(f, ") ON CONFLICT (%s) DO UPDATE SET ", t->key);
        for (size_t i = 0; i < t->n_columns; i++)
                fprintf(f, "%s%s = excluded.%s", i ? ", " : "", t->columns[i].name, t->columns[i].name);
        if (fclose(f) != 0) {
                free(sql);
                return NULL;
        }
        return sql;
}

char *table_select_sql(const Table *t, const char *tail) {
        char *sql = NULL;
        size_t size;
        FILE *f = open_memstream(&sql, &size);
        if (!f)
                return NULL;

        fputs("SELECT ", f);
        for (size_t i = 0; i < t->n_columns; i++)
                fprintf(f, "%s%s", i ? ", " : "", t->columns[i].name);
        fprintf(f, " FROM %s %s", t->name, tail);
        if (fclose(f) != 0) {
                free(sql);
                return NULL;
        }
        return sql;
}

static int bind_text(sqlite3_stmt *stmt, int i, const char *s) {
        /* Static: the caller's record outlives the step. A NULL pointer binds SQL NULL. */
        return sqlite3_bind_text(stmt, i, s, -1, SQLITE_STATIC);
}

int table_bind(const Table *t, sqlite3_stmt *stmt, const void *record) {
        for (size_t i = 0; i < t->n_columns; i++) {
                const void *field = (const char *) record + t->columns[i].offset;
                int rc = SQLITE_OK, n = (int) i + 1;

                switch (t->columns[i].type) {
                case COLUMN_TEXT:
                        rc = bind_text(stmt, n, *(char *const *) field);
                        break;
                case COLUMN_UINT64:
                        rc = sqlite3_bind_int64(stmt, n, (int64_t) *(const uint64_t *) field);
                        break;
                case COLUMN_UINT:
                        rc = sqlite3_bind_int64(stmt, n, *(const unsigned *) field);
                        break;
                case COLUMN_INT:
                        rc = sqlite3_bind_int(stmt, n, *(const int *) field);
                        break;
                case COLUMN_BOOL:
                        rc = sqlite3_bind_int(stmt, n, *(const bool *) field);
                        break;
                case COLUMN_PHASE:
                        rc = bind_text(stmt, n, snapshot_phase_to_string(*(const SnapshotPhase *) field));
                        break;
                }
                if (rc != SQLITE_OK)
                        return sqlite_to_errno(sqlite3_db_handle(stmt), rc);
        }
        return 0;
}

static int load_column(const Column *c, sqlite3_stmt *stmt, int i, void *field) {
        const char *s = NULL;
        int64_t v = 0;

        if (c->type == COLUMN_TEXT || c->type == COLUMN_PHASE) {
                s = (const char *) sqlite3_column_text(stmt, i);
                if (!s && sqlite3_column_type(stmt, i) != SQLITE_NULL)
                        return -ENOMEM;
        } else
                v = sqlite3_column_int64(stmt, i);

        switch (c->type) {
        case COLUMN_TEXT:
                *(const char **) field = s;
                return 0;
        case COLUMN_UINT64:
                *(uint64_t *) field = (uint64_t) v;
                return 0;
        case COLUMN_UINT:
                if (v < 0 || v > UINT32_MAX)
                        return -EBADMSG;
                *(unsigned *) field = (unsigned) v;
                return 0;
        case COLUMN_INT:
                if (v < INT32_MIN || v > INT32_MAX)
                        return -EBADMSG;
                *(int *) field = (int) v;
                return 0;
        case COLUMN_BOOL:
                *(bool *) field = v != 0;
                return 0;
        case COLUMN_PHASE: {
                SnapshotPhase p = snapshot_phase_from_string(s);
                if (p < 0)
                        return -EBADMSG;
                *(SnapshotPhase *) field = p;
                return 0;
        }
        }
        return -EBADMSG;
}

int table_load(const Table *t, sqlite3_stmt *stmt, void *ret_record) {
        for (size_t i = 0; i < t->n_columns; i++) {
                int r = load_column(&t->columns[i], stmt, (int) i, (char *) ret_record + t->columns[i].offset);
                if (r < 0)
                        return r;
        }
        return 0;
}

void table_record_done(const Table *t, void *record, size_t size) {
        for (size_t i = 0; i < t->n_columns; i++)
                if (t->columns[i].type == COLUMN_TEXT)
                        free(*(char **) ((char *) record + t->columns[i].offset));
        memset(record, 0, size);
}
