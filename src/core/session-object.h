/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the core do with sessions and jobs, and nobody else. */

#include "core/manager.h"

/* ---- session.c */

/* 0, or the refusal of a provider that is known to be away. */
int provider_entry_check(const ProviderEntry *e, Refusal **reterr_refusal);
/* The same, or there is none of that name. */
int session_check_provider(Session *s, Refusal **reterr_refusal);

int session_new(Manager *m, const char *id, Session **ret);
Session *session_free(Session *s);              /* takes it out of the tables */
DEFINE_CLEANUP(Session *, session_free)
/* Into the tables, by id and by name; -EEXIST. */
int session_link(Session *s);
void session_mark_dirty(Session *s);
void session_changed(Session *s, uint64_t mask);

/* The fields of a journal record about it. */
#define SESSION_FIELDS(s, j)                                                                                      \
        LOG_FIELDS(.session = (s)->id, .session_name = (s)->name, .owner_uid = (s)->owner_uid,                    \
                   .actor_uid = (j) ? (j)->actor_uid : UID_UNSET, .job = (j) ? (j)->id : 0,                       \
                   .provider = (s)->provider_name, .node = (s)->node)

/* In its state that verb may begin; also a stop of what is at rest and is to be started again by itself, which then is not. */
bool session_allows(const Session *s, JobType verb);
/* The provider has accepted that a task is wanted, or none: what it said before that is out of date. */
void session_expect_task(Session *s, bool wanted);

/* Burns the next number and records the intent. */
int session_burn_generation(Session *s, Job *job, Snapshot **ret);
int session_add_snapshot(Session *s, const SnapshotRecord *r);
const Node *session_find_node(const Session *s);        /* the one it runs or ran on; NULL if that is not known */
/* In whatever phase; number 0 is the one that a clone was made from, when it has inherited that. */
Snapshot *session_find_any_snapshot(const Session *s, uint64_t generation);
int session_add_snapshot_of_label(Session *s, uint64_t generation, const char *image);
void session_drop_snapshot(Session *s, Snapshot *snapshot);
void snapshot_mark_dirty(Session *s, Snapshot *snapshot);

/* ---- generation.c */

/* 1: a clone was made from it, and has it from now on; the session is without it. 0: nobody else needs it. */
int session_bequeath_snapshot(Session *s, Snapshot *snapshot);
/* By which its registry knows it: its digest, or, where a push was cut off, its tag. A new string. */
char *snapshot_reference(const Session *s, const Snapshot *snapshot);
/* More generations than GenerationsMax=: the oldest that nothing needs is marked to go. */
void session_limit_generations(Session *s);
/* Is the generation that the verb is about there, and may it go, if it is to go? Asked again when a job's turn comes. */
int session_check_generation(Session *s, JobType verb, const JobOptions *options, Refusal **reterr_refusal);
/* May another layer be put upon what its container was made from? Only what saves is refused. */
int session_check_layers(const Session *s, JobType verb, const JobOptions *options, Refusal **reterr_refusal);
/* What runs now, or is stored for the next start. */
void session_set_generation(Session *s, uint64_t generation);
/* Not always that: it may have been restored from an older one. To that nobody goes back without asking. 0: there is none. */
uint64_t session_newest_generation(const Session *s);
/* A proven one becomes the newest generation. */
void session_keep_snapshot(Session *s, Snapshot *snapshot);

/* ---- garbage.c */

/* Generations that are marked to go, or whose push was cut off, and that no operation works on: deletes one. */
void session_collect_garbage(Session *s);

/* ---- job.c */

/* A job of the orchestrator itself or, through session_request(), of a caller. It starts when its turn comes. */
int job_new(Manager *m, Session *s, JobType type, const JobOptions *options, uid_t actor, Job **ret);
Job *job_free(Job *j);
/* What is asked for keeps the files as they are now. */
bool job_is_to_save(JobType type, const JobOptions *options);
int job_link(Manager *m, Job *j);
void job_mark_dirty(Job *j);
void job_changed(Job *j, uint64_t mask);
/* Takes it out of the session's queue; it stays readable for a while. Takes error. */
void job_end(Job *j, JobState state, Refusal *error);
/* Starts the first of the queue if nothing runs and the provider is there. */
void session_start_next_job(Session *s);

/* ---- stream.c */

/* Ends it, its job as `state`; whoever waits for its begin is told `error`, which it takes. */
void stream_end(Stream *t, JobState state, Refusal *error);
void session_end_streams(Session *s, JobState state, const Refusal *error);

/* ---- stream-check.c */

int stream_check_command(const ProviderCommand *c, Refusal **reterr_refusal);
int stream_check_logs(const ProviderLogs *l, Refusal **reterr_refusal);
/* May one of this type begin in the session's state? */
int session_check_command(Session *s, JobType type, Refusal **reterr_refusal);
int session_check_logs(Session *s, Refusal **reterr_refusal);

/* ---- manager.c */

/* One of the store: what became of it is open. */
int session_load_snapshot(Session *s, const SnapshotRecord *r);
/* Many may have since it was looked which are to be forgotten: then it is time. */
void manager_job_ended(Manager *m);
/* A job has ended: when it was the last one, memory goes back to the system after a while. */
void manager_calm_down(Manager *m);
void node_free(Node *n);
void manager_changed(Manager *m, ObjectKind kind, void *object, uint64_t mask);
/* Destroyed and archived: out of the tables and freed. */
void manager_end_session(Session *s);

/* ---- manager-commit.c */

/* What is to be saved at the end of the turn. */
void manager_mark_session(Manager *m, Session *s);
void manager_mark_job(Manager *m, Job *j);
void manager_mark_snapshot(Manager *m, Session *s, Snapshot *snapshot);
void manager_forget_session(Manager *m, Session *s);
void manager_forget_job(Manager *m, Job *j);
void manager_forget_snapshot(Manager *m, const char *session, Snapshot *snapshot);      /* deletes its row */
int manager_commit_init(Manager *m);
void manager_commit_done(Manager *m);
int manager_commit_now(Manager *m);

/* ---- manager-observe.c */

/* Its main process ended while the provider was away, or just before, or as its node was drained or had been missed: it did not
 * want to. */
bool session_was_ended_by_engine(const Session *s);
/* While all nodes are drained or paused no start comes to anything. What is to run is started when one of them is active again. */
bool session_has_place(const Session *s);

/* Why its main process ended, where that is known, as the end of a sentence: the kernel took it for its memory; or Swarm did for
 * its health, which looks as if it had ended by itself. Else nothing. */
const char *session_exit_remark(const Session *s);
/* The observation and the operation are over: what must be done? */
void session_reconcile(Session *s);
const ProviderObserver *manager_observer(ProviderEntry *e, ProviderObserver *ret);

/* ---- manager-rebuild.c */

/* A session that the store does not have, from its record in the cluster. NULL: there is none that can be used (logged). */
Session *session_rebuild(ProviderEntry *e, const ProviderObservation *o);
/* The cluster names a generation that the store does not have, or knows only as an intent: takes it up. Not beside an operation. */
void session_take_newer(Session *s, const ProviderObservation *o);

/* ---- usage.c */

/* What the limits bound. A session counts while it is in the tables, a job and a stream until it ends. */
unsigned usage_sessions_of(const Manager *m, uid_t uid);
unsigned usage_jobs_of(const Manager *m, uid_t uid);
/* May the user begin one more job? */
int usage_check_jobs(const Manager *m, uid_t actor, Refusal **reterr_refusal);
int usage_add_session(Session *s);
void usage_update_session(Session *s);          /* its state has changed, or its provider was found */
void usage_remove_session(Session *s);
int usage_add_job(Job *j);
void usage_remove_job(Job *j);
/* May the user have one more shell, command or reader of output? */
int usage_check_streams(const Manager *m, uid_t actor, Refusal **reterr_refusal);
int usage_add_stream(Manager *m, uid_t actor);
void usage_remove_stream(Manager *m, uid_t actor);
void usage_done(Manager *m);
