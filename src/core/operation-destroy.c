/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Destroy, and the end of a single generation. What is to go is marked first, so that a crash leaves it to go. */

#include <signal.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"

static void drop_generations(Session *s) {
        while (s->snapshots)
                session_drop_snapshot(s, s->snapshots);
}

static void step_intend_destroy(Operation *o) {
        Session *s = o->session;

        o->cancelable = false;
        s->wanted = false;
        /* What is not to be deleted is forgotten now, or it would be deleted after a crash. */
        if (o->job->options.keep_snapshots)
                drop_generations(s);
        if (!s->end_reason)
                (void) free_and_strdup(&s->end_reason, "destroyed");
        /* What goes on after a crash is still what that one asked for. */
        if (s->state != SESSION_DESTROYING) {
                s->ended_by_uid = o->actor_uid;
                session_set_state(s, SESSION_DESTROYING, o->error ? o->error->message : NULL);
        }
        session_mark_dirty(s);
        operation_commit_surely(o);
}

static void on_killed(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r < 0)
                log_debug("Session %s: not killed before its removal, ignoring: %s", o->session->name, refusal ? refusal->message : strerror(-r));
        operation_next(o);
}

/* Nothing of what it would still write is kept, so it gets no grace, nor one that may have come up since it was seen last. The
 * removal does not depend on this. */
static void step_kill(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_DESTROY_INTENT_SAVED);
        if (s->task != TASK_RUNNING && s->task != TASK_STARTING) {
                operation_next(o);
                return;
        }
        job_set_stage(o->job, "killing the container");
        int r = s->provider->vtable->signal(s->provider, s->id, SIGKILL, on_killed, o, &o->call);
        if (r < 0)
                on_killed(o, r, NULL);
}

static void step_remove(Operation *o);

static void on_removed(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r >= 0) {
                operation_next(o);
                return;
        }
        operation_wait_for(o, step_remove, "provider", r, refusal);
}

/* Its image was never found, so no provider was asked to run it. One that has no Swarm yet could not say that nothing is there,
 * and the destruction would wait for it without end. */
static bool was_never_asked_for(const Session *s) {
        return !s->base_image && !s->exists && !s->snapshots;
}

static void step_remove(Operation *o) {
        Session *s = o->session;

        if (was_never_asked_for(s)) {
                operation_next(o);
                return;
        }
        job_set_stage(o->job, "removing the service");
        int r = s->provider->vtable->remove(s->provider, s->id, on_removed, o, &o->call);
        if (r < 0)
                on_removed(o, r, NULL);
}

static void step_delete_generations(Operation *o);

static void on_generation_deleted(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r >= 0) {
                session_drop_snapshot(o->session, o->snapshot);
                o->snapshot = NULL;
                step_delete_generations(o);
                return;
        }
        operation_wait_for(o, step_delete_generations, "registry", r, refusal);
}

static void delete_image(Operation *o, provider_done_cb cb) {
        Session *s = o->session;
        _cleanup_free_ char *reference = snapshot_reference(s, o->snapshot);

        int r = !reference ? -ENOMEM : s->provider->vtable->delete_image(s->provider, reference, cb, o, &o->call);
        if (r < 0)
                cb(o, r, NULL);
}

/* A registry that does not come back must not keep the session for ever. */
void operation_keep_generations(Operation *o) {
        bool deleting = o->snapshot;

        o->snapshot = NULL;
        drop_generations(o->session);
        if (!deleting)
                return;
        o->call = provider_call_cancel(o->call);
        timer_disarm(o->timer);
        operation_next(o);
}

/* One after the other; what a clone was made from goes over to that. */
static void step_delete_generations(Operation *o) {
        int r;

        while ((o->snapshot = o->session->snapshots)) {
                r = session_bequeath_snapshot(o->session, o->snapshot);
                if (r > 0)
                        continue;
                job_set_stage(o->job, "deleting generations");
                if (r < 0)
                        on_generation_deleted(o, r, NULL);
                else
                        delete_image(o, on_generation_deleted);
                return;
        }
        operation_next(o);
}

static void step_removed(Operation *o) {
        crash_point(CRASH_DESTROY_SERVICE_REMOVED);
        operation_next(o);
}

static void step_save_gone(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_DESTROY_GENERATIONS_DELETED);
        s->ended_usec = core_now();
        session_set_state(s, SESSION_GONE, NULL);
        operation_commit_surely(o);
}

static void step_log_gone(Operation *o) {
        Session *s = o->session;

        log_event(LOG_NOTICE, MESSAGE_SESSION_DESTROYED, SESSION_FIELDS(s, o->job), "Session %s: destroyed.%s%s", s->name,
                  o->error ? " Its creation was undone: " : "", o->error ? o->error->message : "");
        operation_next(o);
}

/* There is no way back from what follows. Where the request cannot be saved it is refused, and then it is not to be carried out
 * as soon as something can be saved. */
static void step_save_request(Operation *o) {
        operation_commit_then_next(o);
}

const operation_step operation_steps_ask[] = { step_save_request, NULL };

const operation_step operation_steps_destroy[] = {
        step_intend_destroy, step_kill, step_remove, step_removed, step_delete_generations, step_save_gone, step_log_gone, NULL,
};

/* Of a creation that asked nobody for anything yet. */
const operation_step operation_steps_forget[] = { step_intend_destroy, step_delete_generations, step_save_gone, step_log_gone, NULL };

/* It could not be saved that the generation is to go. */
static void undo_intend_delete(Operation *o) {
        o->snapshot->record.phase = SNAPSHOT_KEPT;
        snapshot_mark_dirty(o->session, o->snapshot);
        o->snapshot = NULL;
        operation_undone(o);
}

static void step_intend_delete(Operation *o) {
        o->cancelable = false;
        o->snapshot = session_find_snapshot(o->session, o->job->options.generation);
        if (!o->snapshot) {
                Refusal *error = NULL;
                (void) refuse(&error, REFUSAL_NO_SUCH_GENERATION, "Session \"%s\" has no generation %" PRIu64 " any more.", o->session->name,
                              o->job->options.generation);
                operation_fail(o, error);
                return;
        }
        o->undo = undo_intend_delete;
        o->snapshot->record.phase = SNAPSHOT_INTENT;
        snapshot_mark_dirty(o->session, o->snapshot);
        operation_commit_then_next(o);
}

/* A failure leaves the row as an intent: the collection of what was left over goes on with it. */
static void step_delete(Operation *o) {
        o->undo = NULL;
        job_set_stage(o->job, "deleting the generation");
        delete_image(o, operation_provider_done);
}

static void step_save_deleted(Operation *o) {
        Session *s = o->session;
        uint64_t generation = o->snapshot->record.generation;

        session_drop_snapshot(s, o->snapshot);
        o->snapshot = NULL;
        log_event(LOG_INFO, MESSAGE_SNAPSHOT_DELETED, SESSION_FIELDS(s, o->job), "Session %s: generation %" PRIu64 " deleted.", s->name, generation);
        operation_commit_surely(o);
}

const operation_step operation_steps_delete_snapshot[] = { step_intend_delete, step_delete, step_save_deleted, NULL };
