/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A job is one long operation on one session that somebody (or the orchestrator) asked for. */

#include <uthash.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "core/session-state.h"

typedef struct Job Job;
typedef struct Manager Manager;
typedef struct Session Session;
typedef struct Stream Stream;

typedef enum JobState {
        JOB_QUEUED,
        JOB_RUNNING,
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELED,
        JOB_INTERRUPTED,                /* the service died under it */
        _JOB_STATE_MAX,
        _JOB_STATE_INVALID = -EINVAL,
} JobState;

const char *job_state_to_string(JobState s);
JobState job_state_from_string(const char *s);
static inline bool job_state_is_ended(JobState s) {
        return s >= JOB_DONE;
}

/* What a verb takes beside the session. */
typedef struct JobOptions {
        uint64_t generation;            /* restore, delete-snapshot; 0 = newest */
        bool lossy;                     /* hibernate, stop, snapshot, restart: leave out what a layer cannot hold */
        bool discard;                   /* stop, restart, destroy: do not save the files */
        bool keep_snapshots;            /* destroy: leave the generations in the registry */
        bool automatic;                 /* the orchestrator's own: nobody else would try again what fails */
} JobOptions;

struct Job {
        Manager *manager;
        uint64_t id;
        JobType type;
        JobState state;
        char *session_id;
        Session *session;               /* NULL when the session is gone */
        uid_t actor_uid;                /* who asked; 0 for the orchestrator itself */
        JobOptions options;

        char *stage;                    /* what it does now, for people; may be NULL */
        uint64_t bytes_done;
        int64_t bytes_total;            /* -1 unknown */
        usec_t created_usec, started_usec, ended_usec;
        usec_t frozen_usec;             /* how long the container stood still */
        Refusal *error;                 /* failed, canceled, interrupted */
        int exit_code;                  /* of a shell or a command that has ended by itself; -1 = none */
        Stream *stream;                 /* shell, execute: what it stands for, until it ends */
        bool cancel_requested;

        bool dirty;                     /* to be saved at the end of the turn */
        UT_hash_handle hh;              /* manager->jobs by id */
        struct Job *next, *prev;        /* session's queue, the running one first; a shell and a command stand beside it */
};

/* It waits for no other job of its session, and none waits for it. */
static inline bool job_is_stream(const Job *j) {
        return j->type == JOB_SHELL || j->type == JOB_EXECUTE;
}

double job_progress(const Job *j);      /* 0 … 1, -1 unknown */
bool job_is_cancelable(const Job *j);
/* A queued job ends at once; a running one is undone as far as it got and ends as `canceled` later. */
int job_cancel(Job *j, uid_t actor, Refusal **reterr_refusal);
/* The request for it could not be saved and is refused: it must not be carried out when its turn comes. */
void job_withdraw(Job *j);

/* For the operations (core/operation-*.c) only. */
void job_set_stage(Job *j, const char *stage);
void job_set_progress(Job *j, uint64_t bytes_done, int64_t bytes_total);
