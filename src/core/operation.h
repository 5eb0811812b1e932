/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What carries a job out: a list of steps, each of which saves an intent, asks the provider for one thing or waits for
 * an observation. A step ends by calling operation_next(), operation_fail() or, where it undoes itself, by
 * operation_undone(). One operation is in flight per session; nothing of it outlives the process: what a crash leaves
 * is resolved by core/reconcile. */

#include "core/manager.h"

typedef struct Operation Operation;
typedef void (*operation_step)(Operation *o);

/* Lists of steps, each NULL-terminated. */
typedef struct OperationPlan {
        const operation_step *first;
        const operation_step *then;     /* or NULL */
} OperationPlan;

struct Operation {
        Session *session;
        Job *job;
        OperationPlan plan;
        size_t step;                    /* of plan.first */
        bool cancelable;                /* set by each step */

        ProviderCall *call;             /* what is asked of the provider now */
        CommitWait *wait;
        Timer *timer;
        Timer *doubt;                   /* what was seen may be old: looks again in a moment */
        Backoff backoff;
        void (*on_observed)(Operation *o);
        void (*on_timer)(Operation *o);
        void (*undo)(Operation *o);     /* takes back what the steps so far did; ends with operation_undone() */
        operation_step resume;          /* what the retry timer repeats */

        /* What it works on. */
        SessionState from_state;        /* where it began and, undone, ends */
        bool from_wanted;               /* what the session was to do before */
        Snapshot *snapshot;             /* the generation being taken or deleted */
        uint64_t restore_generation;
        SessionState rest_state;        /* hibernated or stopped */
        Refusal *error;                 /* why it is being undone */
        uid_t actor_uid;                /* who asked for what it does now: for the job, or for its end */
        usec_t begun_usec;              /* core_uptime() */
};

/* The plan of the job's verb, in the state in which the session is. */
int operation_start(Session *s, Job *j);
/* By the orchestrator itself, after a crash: a new job with a plan of its own. `options` and `snapshot` may be NULL. */
int operation_recover(Session *s, JobType type, const JobOptions *options, const operation_step *steps, Snapshot *snapshot);
Operation *operation_free(Operation *o);
bool operation_is_cancelable(const Operation *o);
/* It saves files, and its container may be frozen. */
bool operation_is_cancelable_save(const Operation *o);
/* Nothing but its intent has been made, and that is not on the disk yet. */
bool operation_is_unsaved(const Operation *o);
void operation_cancel(Operation *o, uid_t actor, Refusal *reason);      /* takes reason */
void operation_observed(Operation *o);
/* The session is to be destroyed: what only waits for another try ends. */
void operation_give_way(Operation *o);
/* Of a destroy that is under way: what it has not deleted yet stays in the registry. */
void operation_keep_generations(Operation *o);

/* For steps. */
void operation_next(Operation *o);
void operation_fail(Operation *o, Refusal *error);      /* takes error; runs undo */
void operation_fail_with(Operation *o, int r, const Refusal *refusal);
void operation_undone(Operation *o);                    /* job failed or canceled, with o->error */
void operation_undo_by(Operation *o, const operation_step *steps);      /* for `undo`: these, then operation_undone() */
void operation_commit_then_next(Operation *o);          /* the next step comes when all is on disk */
void operation_retry(Operation *o, operation_step step, const char *stage);     /* after a while, without end */
/* The same, because the provider or the registry (`whom`) has refused or failed with that, which is told as the stage. */
void operation_wait_for(Operation *o, operation_step step, const char *whom, int r, const Refusal *refusal);
void operation_provider_done(void *userdata, int r, const Refusal *refusal);    /* provider_done_cb: next or fail */

/* Thaws what a save froze, gives the generation up; for `undo`. */
void operation_undo_save(Operation *o);
/* Asks the provider to lay the session to rest as its newest generation, whatever is in its container. */
int operation_discard(Operation *o, provider_done_cb cb);
void operation_discarded(Operation *o);         /* it has done so */

/* For what must not fail any more: tries again until the store takes it. */
void operation_commit_surely(Operation *o);

extern const operation_step operation_steps_create[], operation_steps_up[], operation_steps_hibernate[], operation_steps_stop[], operation_steps_stay[],
        operation_steps_save_exited[], operation_steps_snapshot[], operation_steps_discard[], operation_steps_lay_down[], operation_steps_finish_rest[],
        operation_steps_finish_record[], operation_steps_ask[], operation_steps_destroy[], operation_steps_forget[], operation_steps_delete_snapshot[];
