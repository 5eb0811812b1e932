/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The state on disk: one SQLite file, WAL, synchronous=FULL, the only SQL in the tree. The manager collects what
 * changed during a loop turn and writes it in one transaction; acts outside follow the commit.
 *
 * Failing functions return -errno: -ENOSPC disk full, -EIO, -EROFS, -EBUSY another process holds it, -EBADMSG the file
 * is damaged, -EUCLEAN a row has what this program does not know (said), -EPROTO its schema is newer than this program. Nothing is ever deleted or recreated that cannot be read. */

#include "basic/macro.h"
#include "basic/string-util.h"

typedef struct Store Store;

/* Rows as plain structs; strings may be NULL where the comment says so. Loading hands out structs that the callee
 * owns (valid during the callback); saving copies. */
typedef struct SessionRecord {
        char *id, *name;
        char *state;                    /* name of a SessionState */
        char *state_detail;             /* NULL */
        char *stop_reason;              /* NULL */
        bool wanted;                    /* it should run: started again after an exit of Engine or machine */
        uid_t owner_uid;
        char *organization, *provider;
        char *template_name;            /* NULL */
        char *node;                     /* provider's node id; NULL */
        char *image;                    /* as the user wrote it */
        char *base_image;               /* host/repo@sha256:…; NULL until resolved */
        char *spec;                     /* JSON: command, env, labels, limits, health check … */
        uint64_t generation;            /* newest proven one; 0 = none */
        uint64_t next_generation;       /* numbers below are burned */
        unsigned failures;              /* saves of what has exited, or automatic starts, that failed in a row */
        usec_t created_usec, started_usec, stopped_usec, last_activity_usec;    /* 0 = never */
        usec_t ended_usec;              /* > 0: archived */
        char *end_reason;               /* "destroyed", "canceled"; NULL while it is to live */
        uid_t ended_by_uid;
        char *from_session;             /* clone: the session and generation it was made from; NULL */
        uint64_t from_generation;
} SessionRecord;

typedef enum SnapshotPhase {            /* of a generation, saved as its name */
        SNAPSHOT_INTENT,                /* number burned, nothing proven */
        SNAPSHOT_PROVEN,                /* in the registry, read back, recorded; the container may still be alive */
        SNAPSHOT_KEPT,                  /* what it was taken for is done too; it can be restored */
        SNAPSHOT_INHERITED,             /* of a session that is gone: its clone has it, as number 0, until it goes too */
        _SNAPSHOT_PHASE_MAX,
        _SNAPSHOT_PHASE_INVALID = -EINVAL,
} SnapshotPhase;

typedef struct SnapshotRecord {
        char *session;                  /* id */
        uint64_t generation;
        SnapshotPhase phase;
        char *kind;                     /* job type that took it: "hibernate", "stop", "snapshot", "exit" … */
        uint64_t job;
        char *image;                    /* host/repo@sha256:…; NULL in intent */
        char *repository, *tag;         /* the tag is "" where only the digest is known */
        char *witness;                  /* NULL in intent, and of what was found in the registry */
        uint64_t bytes, uncompressed_bytes, entries;
        unsigned session_layers;
        usec_t created_usec, frozen_usec;
        char *dropped;                  /* JSON array of names left out; NULL */
} SnapshotRecord;

typedef struct JobRecord {
        uint64_t id;
        char *type;                     /* "create", "hibernate" … */
        char *session;                  /* id of the object */
        uid_t owner_uid;                /* who asked */
        char *state;                    /* "queued", "running", "done", "failed", "canceled", "interrupted" */
        char *stage;                    /* NULL */
        char *error_name, *error_message;       /* NULL */
        uint64_t bytes_done, bytes_total;       /* UINT64_MAX = unknown */
        usec_t created_usec, started_usec, ended_usec, frozen_usec;
        int exit_code;                  /* of a shell or a command; -1 = none */
} JobRecord;

void session_record_done(SessionRecord *r);
void snapshot_record_done(SnapshotRecord *r);
void job_record_done(JobRecord *r);
const char *snapshot_phase_to_string(SnapshotPhase p);
SnapshotPhase snapshot_phase_from_string(const char *s);

/* Opens or creates <path>, migrates older schemas inside one transaction. */
int store_open(const char *path, Store **ret);
Store *store_close(Store *s);
DEFINE_CLEANUP(Store *, store_close)

int store_begin(Store *s);              /* -EALREADY: one is open */
/* Durable when it returns 0; on failure the transaction is rolled back. -ENOTRECOVERABLE: the disk did not confirm what
 * was written. It may be in force for who opens the file next, until something else is written. */
int store_commit(Store *s);
void store_rollback(Store *s);

/* Adds or replaces the row. Within store_begin() and store_commit(), where one that fails spoils the whole; else each is a
 * transaction. -EINVAL: the schema refuses it. */
int store_put_session(Store *s, const SessionRecord *r);
int store_put_snapshot(Store *s, const SnapshotRecord *r);
int store_delete_snapshot(Store *s, const char *session, uint64_t generation);
int store_put_job(Store *s, const JobRecord *r);
int store_delete_job(Store *s, uint64_t id);
/* Drops archived sessions that ended before `before_usec` or are beyond the newest `keep`. */
int store_prune_sessions(Store *s, usec_t before_usec, unsigned keep);

typedef int (*store_session_cb)(const SessionRecord *r, void *userdata);        /* negative stops and is returned */
typedef int (*store_snapshot_cb)(const SnapshotRecord *r, void *userdata);
typedef int (*store_job_cb)(const JobRecord *r, void *userdata);
int store_each_session(Store *s, store_session_cb cb, void *userdata);          /* living ones only */
/* Archived ones, newest first, those that ended before `before_usec` (0 = all), at most `limit`. */
int store_each_ended_session(Store *s, usec_t before_usec, unsigned limit, store_session_cb cb, void *userdata);
/* 1 if the session is one of those, 0 if not. */
int store_has_ended_session(Store *s, const char *id);
int store_each_snapshot(Store *s, store_snapshot_cb cb, void *userdata);        /* of living sessions */
int store_each_orphan(Store *s, store_snapshot_cb cb, void *userdata);          /* of sessions whose row somebody has deleted */
int store_each_job(Store *s, store_job_cb cb, void *userdata);
/* Highest job id ever given out; ids go on across restarts. */
int store_last_job_id(Store *s, uint64_t *ret);
