/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A session: one container's life, and the generations of its files. */

#include <uthash.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"
#include "core/job.h"
#include "core/provider.h"
#include "core/session-state.h"
#include "event/event-util.h"
#include "store/store.h"

typedef struct Operation Operation;
typedef struct CommitWait CommitWait;
typedef struct Stream Stream;

/* What the container is made with; saved as JSON (core/session-spec.c). */
typedef struct SessionSpec {
        Strv command;
        Strv env;                       /* may hold secrets: never logged, never a property */
        Strv labels;
        double cpus;
        uint64_t memory_bytes;
        double reserved_cpus;
        uint64_t reserved_memory_bytes;
        usec_t idle_timeout_usec, stop_grace_usec;
        Strv healthcheck;
        usec_t healthcheck_interval_usec;
        unsigned healthcheck_retries;
        Strv features, routes;
        bool volumes_ephemeral;
} SessionSpec;

void session_spec_done(SessionSpec *s);
int session_spec_to_json(const SessionSpec *s, char **ret);              /* a new string */
int session_spec_from_json(const char *json, SessionSpec *ret);         /* -EBADMSG */

typedef struct Snapshot {
        SnapshotRecord record;
        UT_hash_handle hh;              /* session->snapshots by generation */
        bool dirty;
        bool doubtful;                  /* the intent of an earlier process: how its push ended is not known */
} Snapshot;

struct Session {
        Manager *manager;
        char *id, *name;
        SessionState state;
        char *state_detail;
        StopReason stop_reason;
        bool wanted;
        uid_t owner_uid;
        char *organization, *provider_name, *template_name, *node;
        char *image, *base_image;
        SessionSpec spec;
        uint64_t generation, next_generation;
        unsigned failures;
        usec_t created_usec, started_usec, stopped_usec, last_activity_usec;
        char *from_session;
        uint64_t from_generation;
        char *health;                   /* from the provider; NULL without a check */

        usec_t ended_usec;              /* > 0: destroyed, waiting to be archived */
        char *end_reason;               /* "destroyed", "canceled"; NULL while it is to live */
        uid_t ended_by_uid;

        Provider *provider;             /* NULL while no provider of that name is configured */
        Snapshot *snapshots;            /* by generation */
        Job *jobs;                      /* queue; the running one first */
        Operation *operation;           /* of the running job */
        Stream *streams;                /* shells, commands, and whoever reads its output */

        /* What the provider last said. */
        bool exists, task_wanted, frozen;
        usec_t undrained_usec;          /* when a drain of its node ended while it ran (core_uptime()); 0 = none that may still end it */
        bool exited_while_away;         /* the exit was found, not seen: the Engine or the machine had gone down; or its node was drained */
        usec_t exit_seen_usec;          /* core_uptime(); 0 = none */
        Timer *retry;                   /* a save of an exited session that failed is tried again */
        Timer *garbage_retry;
        Backoff garbage_backoff;
        CommitWait *garbage_wait;       /* what is to go is so on the disk first */
        CommitWait *destroy_wait;       /* as is the request before which other jobs have to go */
        ProviderCall *call;             /* of the orchestrator itself, beside any operation: thaw, delete */
        Snapshot *garbage;              /* what the call deletes */
        TaskState task;
        int exit_code;
        bool exited_unhealthy;          /* its health check failed when it was last seen running */
        char *container, *task_error, *observed_image;
        uint64_t observed_generation;
        unsigned list_serial;           /* of the list that named it last */

        uint64_t counted_memory_bytes;  /* of its reservation, in its provider's sum */
        bool dirty;
        UT_hash_handle hh_id, hh_name;
};

/* The running job of the session, or NULL. */
Job *session_current_job(const Session *s);
/* A proven generation. NULL if there is none. */
Snapshot *session_find_snapshot(const Session *s, uint64_t generation);
/* Newest proven generation's image, or the base image. */
const char *session_current_image(const Session *s);
/* For sentences: the name of its node, or the node's id while that is all that is known of it; NULL if it has none. */
const char *session_node_name(const Session *s);

/* The one place that changes the state: checks the table, marks it for saving, logs, tells the observer. */
void session_set_state(Session *s, SessionState state, const char *detail);

/* Queues a verb: validates options and state, checks limits, creates the job. The reply goes out after
 * manager_on_commit(). */
int session_request(Session *s, JobType verb, const JobOptions *options, uid_t actor, Job **ret, Refusal **reterr_refusal);
/* The owner did something. extend_usec moves the idle deadline at least so far from now. */
int session_touch(Session *s, usec_t now, usec_t extend_usec, Refusal **reterr_refusal);
int session_kill(Session *s, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret, Refusal **reterr_refusal);
