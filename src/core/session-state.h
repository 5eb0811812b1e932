/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The states of a session, which changes are legal, and which verb is allowed where. Pure. */

#include "basic/macro.h"

typedef enum SessionState {
        SESSION_NEW,            /* request saved */
        SESSION_PLACING,        /* the provider is asked for a place */
        SESSION_STARTING,       /* placed; image, network and main process come up */
        SESSION_RUNNING,
        SESSION_STOPPING,       /* main process is asked to end, then its files are saved */
        SESSION_STOPPED,        /* at rest, files saved */
        SESSION_HIBERNATING,    /* frozen, files being saved */
        SESSION_HIBERNATED,     /* at rest, files saved */
        SESSION_RESUMING,       /* from rest to running */
        SESSION_EXITED,         /* main process ended by itself; files still on the node, about to be saved */
        SESSION_FAILED,         /* could not be started; says why */
        SESSION_LOST,           /* its node is down */
        SESSION_DESTROYING,
        SESSION_GONE,           /* destroyed; only the archive knows it */
        _SESSION_STATE_MAX,
        _SESSION_STATE_INVALID = -EINVAL,
} SessionState;

const char *session_state_to_string(SessionState s);
SessionState session_state_from_string(const char *s);

bool session_state_may_follow(SessionState from, SessionState to);
/* An operation is under way; after a start of the service it is resolved by reconciliation. */
bool session_state_is_transient(SessionState s);
/* Files are saved in a generation (or were never touched) and no container is wanted. */
bool session_state_is_rest(SessionState s);
/* Counts against quotas that bound what runs. */
bool session_state_is_active(SessionState s);

/* Kinds of jobs: a verb of a session, or what the orchestrator starts by itself. */
typedef enum JobType {
        JOB_CREATE,
        JOB_START,
        JOB_STOP,
        JOB_RESTART,
        JOB_HIBERNATE,
        JOB_RESTORE,
        JOB_SNAPSHOT,
        JOB_DESTROY,
        JOB_SAVE_EXITED,        /* by itself: save the files of a session whose main process ended */
        JOB_DELETE_SNAPSHOT,
        JOB_SHELL,              /* core/stream.h: beside the session's queue */
        JOB_EXECUTE,            /* likewise */
        _JOB_TYPE_MAX,
        _JOB_TYPE_INVALID = -EINVAL,
} JobType;

const char *job_type_to_string(JobType t);
JobType job_type_from_string(const char *s);

/* May the verb begin in this state? */
bool session_state_allows(SessionState s, JobType verb);

/* What to do about a verb that is refused in this state: a full sentence. */
const char *session_state_remedy(SessionState s, JobType verb);

typedef enum StopReason {
        STOP_REASON_NONE,
        STOP_REASON_INACTIVITY,
        STOP_REASON_MANUAL,
        STOP_REASON_ERROR,
        STOP_REASON_RESOURCE_LIMIT,
        STOP_REASON_BUDGET,
        STOP_REASON_NODE_LOST,
        STOP_REASON_EXITED,
        _STOP_REASON_MAX,
        _STOP_REASON_INVALID = -EINVAL,
} StopReason;

const char *stop_reason_to_string(StopReason r);        /* "" for none */
StopReason stop_reason_from_string(const char *s);
