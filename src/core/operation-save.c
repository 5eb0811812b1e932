/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything that saves files: hibernate, stop, the end of a main process, snapshot. The order is that of
 * docs/ARCHITECTURE.md §6: intent, freeze and copy, proof, record, kill, record. */

#include <jansson.h>
#include <signal.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"
#include "core/session-record.h"

/* From when on it is said that a session has not many layers left. */
#define LAYERS_LEFT_MIN 10U

static bool is_snapshot(const Operation *o) {
        return o->job->type == JOB_SNAPSHOT;
}

/* Its main process has ended. Where that had been known before, it is the saving that fails: the next try waits. */
static void settle_exited(Operation *o) {
        Session *s = o->session;
        _cleanup_free_ char *detail = strformat("The main process has ended; its files are still in its container and will be saved. The last try failed: %s",
                                                o->error ? o->error->message : "no reason known.");

        s->failures = o->from_state == SESSION_EXITED ? s->failures + 1 : 0;
        if (s->stop_reason == STOP_REASON_NONE)
                s->stop_reason = o->from_state == SESSION_EXITED ? STOP_REASON_MANUAL : STOP_REASON_EXITED;
        session_set_state(s, SESSION_EXITED, detail);
}

/* What the session is, if its saving is undone: what the provider last saw of its container. What was removed is reconciled. */
static void settle_state(Operation *o) {
        Session *s = o->session;

        if (s->task == TASK_EXITED || o->from_state == SESSION_EXITED)
                settle_exited(o);
        else if (s->task == TASK_LOST)
                session_set_state(s, SESSION_LOST, o->error ? o->error->message : NULL);
        else if (s->exists && s->task_wanted && s->task != TASK_GONE) {
                s->failures = 0;
                /* The way to rest that ends here may have been begun by a service that died. */
                s->wanted = true;
                session_set_state(s, SESSION_RUNNING, NULL);
        }
}

static void settle(Operation *o) {
        Session *s = o->session;

        if (!is_snapshot(o))
                settle_state(o);
        if (o->error && o->error->code != REFUSAL_CANCELED)
                log_event(LOG_WARNING, MESSAGE_CAPTURE_ABORTED, SESSION_FIELDS(s, o->job), "Session %s: its files were not saved, it is %s: %s", s->name,
                          session_state_to_string(s->state), o->error->message);
        operation_undone(o);
}

static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r < 0 && o->session->task == TASK_RUNNING) {
                operation_retry(o, operation_undo_save, "thawing");
                return;
        }
        settle(o);
}

/* By who has asked for it, or because that could not be saved: then it has changed nothing of what the session is to do. */
static bool is_taken_back(const Operation *o) {
        return o->error && (o->error->code == REFUSAL_CANCELED || o->error->code == REFUSAL_STORE_FAILED);
}

/* The number stays burned; the row stays as an intent until what may have reached the registry is deleted. The
 * provider thaws by itself when a capture fails or is cancelled; asking again makes sure that it is over. */
void operation_undo_save(Operation *o) {
        Session *s = o->session;

        if (o->snapshot) {
                o->snapshot->record.phase = SNAPSHOT_INTENT;
                snapshot_mark_dirty(s, o->snapshot);
                o->snapshot = NULL;
        }
        s->wanted = (is_taken_back(o) ? o->from_wanted : s->wanted) || o->from_state == SESSION_RUNNING;
        job_set_stage(o->job, "thawing");
        int r = s->provider->vtable->thaw(s->provider, s->id, on_thawed, o, &o->call);
        if (r < 0)
                on_thawed(o, r, NULL);
}

static void save_intent(Operation *o, SessionState state) {
        Session *s = o->session;

        o->undo = operation_undo_save;
        o->cancelable = true;
        job_set_stage(o->job, "preparing");
        int r = session_burn_generation(s, o->job, &o->snapshot);
        if (r < 0) {
                operation_fail_with(o, r, NULL);
                return;
        }
        if (state != s->state)
                session_set_state(s, state, NULL);
        operation_commit_then_next(o);
}

static void step_intend_hibernate(Operation *o) {
        o->session->wanted = false;
        save_intent(o, SESSION_HIBERNATING);
}

static void step_intend_stop(Operation *o) {
        o->session->wanted = o->job->type == JOB_RESTART;
        save_intent(o, SESSION_STOPPING);
}

static void step_intend_save_exited(Operation *o) {
        if (o->job->type != JOB_SAVE_EXITED)
                o->session->wanted = o->job->type == JOB_RESTART || o->job->type == JOB_START;
        save_intent(o, o->rest_state == SESSION_HIBERNATED ? SESSION_HIBERNATING : SESSION_STOPPING);
}

static void step_intend_snapshot(Operation *o) {
        save_intent(o, o->session->state);
}

static void step_terminate(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_STOP_INTENT_SAVED);
        o->cancelable = false;
        job_set_stage(o->job, "stopping the main process");
        int r = s->provider->vtable->terminate(s->provider, s->id, s->spec.stop_grace_usec, operation_provider_done, o, &o->call);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

/* Somebody may have started its container once more, beside its task. Who asks for an end of it shall have that. */
static void step_terminate_again(Operation *o) {
        if (o->job->type == JOB_SAVE_EXITED)
                operation_next(o);
        else
                step_terminate(o);
}

static void step_terminated(Operation *o) {
        crash_point(CRASH_STOP_EXITED);
        o->from_state = SESSION_EXITED;
        operation_next(o);
}

static void on_progress(void *userdata, const ProviderCaptureProgress *p) {
        Operation *o = userdata;

        job_set_stage(o->job, p->stage);
        job_set_progress(o->job, p->bytes_done, p->bytes_total);
}

static char *names_to_json(char *const *names) {
        json_t *a = json_array();
        STRV_FOREACH(n, names) {
                /* File names are bytes; those that are no UTF-8 are shown with their bad bytes replaced. */
                json_t *v = json_string(*n);
                json_array_append_new(a, v ? v : json_string_nocheck("(name that is not UTF-8)"));
        }
        char *text = json_dumps(a, JSON_COMPACT);
        json_decref(a);
        return text;
}

static int record_result(Operation *o, const ProviderCaptureResult *c) {
        SnapshotRecord *r = &o->snapshot->record;

        if (free_and_strdup(&r->image, c->image) < 0 || free_and_strdup(&r->witness, c->witness) < 0)
                return -ENOMEM;
        free(r->dropped);
        r->dropped = c->dropped && c->dropped[0] ? names_to_json(c->dropped) : NULL;
        r->bytes = c->bytes;
        r->uncompressed_bytes = c->uncompressed_bytes;
        r->entries = c->entries;
        r->session_layers = c->session_layers;
        r->frozen_usec = o->job->frozen_usec = c->frozen_usec;
        r->phase = SNAPSHOT_PROVEN;
        job_set_progress(o->job, c->bytes, (int64_t) c->bytes);
        return 0;
}

/* What was killed is the main process only if that ended by the signal. It would end so again: the end is its own then,
 * also where a stop of the Engine just before could have been the cause. */
static void note_reason(Operation *o, const ProviderCaptureResult *c) {
        Session *s = o->session;

        if (!c->out_of_memory || s->exit_code != 128 + SIGKILL || s->stop_reason != STOP_REASON_EXITED)
                return;
        o->from_wanted = false;
        if (o->job->type == JOB_SAVE_EXITED) {
                s->wanted = false;
                o->plan.then = NULL;
        }
        s->stop_reason = STOP_REASON_RESOURCE_LIMIT;
        session_mark_dirty(s);
        session_changed(s, CHANGE_STATE);
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *c) {
        Operation *o = userdata;

        o->call = NULL;
        if (r >= 0) {
                crash_point(CRASH_CAPTURE_PUSHED);
                r = record_result(o, c);
                note_reason(o, c);
        }
        if (r < 0)
                operation_fail_with(o, r, refusal);
        else
                operation_next(o);
}

static void capture(Operation *o, CaptureMode mode) {
        Session *s = o->session;

        crash_point(CRASH_CAPTURE_INTENT_SAVED);
        o->cancelable = true;
        int r = s->provider->vtable->capture(s->provider, &(ProviderCapture) {
                .session = s->id,
                .mode = mode,
                .generation = o->snapshot->record.generation,
                .job = o->job->id,
                .image = session_current_image(s),
                .repository = o->snapshot->record.repository,
                .tag = o->snapshot->record.tag,
                .lossy = o->job->options.lossy,
                .layers_max = s->manager->config->session_layers_max,
        }, on_progress, on_captured, o, &o->call);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_capture_hold(Operation *o) {
        capture(o, CAPTURE_HOLD);
}

static void step_capture_thaw(Operation *o) {
        capture(o, CAPTURE_THAW);
}

static void step_capture_exited(Operation *o) {
        capture(o, CAPTURE_EXITED);
}

static void step_save_proven(Operation *o) {
        o->cancelable = false;
        job_set_stage(o->job, "recording");
        snapshot_mark_dirty(o->session, o->snapshot);
        operation_commit_then_next(o);
}

/* What was proven is a copy of the files as they were at the freeze, and all there is if the container goes meanwhile. */
static void undo_rest(Operation *o) {
        session_keep_snapshot(o->session, o->snapshot);
        o->snapshot = NULL;
        operation_undo_save(o);
}

static void step_rest(Operation *o);

static void on_rested(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;
        Session *s = o->session;

        o->call = NULL;
        if (r >= 0) {
                session_expect_task(s, false);
                operation_next(o);
        } else if (r == -EBADRQC && refusal->code == REFUSAL_FILES_CHANGED)
                operation_fail_with(o, r, refusal);
        /* Nothing is left that could be laid to rest: what was proven is all there is, and the next start makes the record anew. */
        else if (!s->exists)
                operation_next(o);
        /* Whether the container ran on shows when its node is back, if ever. */
        else if (s->task == TASK_LOST)
                operation_fail_with(o, r, refusal);
        else
                operation_wait_for(o, step_rest, "provider", r, refusal);
}

/* The files are safe. From here on only a witness that broke or that cannot be asked turns back; everything else is tried
 * until it is done. */
static void step_rest(Operation *o) {
        Session *s = o->session;
        _cleanup_free_ char *label = NULL;

        crash_point(CRASH_CAPTURE_RECORD_SAVED);
        o->undo = undo_rest;
        o->cancelable = false;
        job_set_stage(o->job, "removing the container");
        int r = session_to_label(s, &label);
        if (r >= 0)
                r = s->provider->vtable->rest(s->provider, &(ProviderRest) {
                        .session = s->id,
                        .witness = o->snapshot->record.witness,
                        .image = o->snapshot->record.image,
                        .generation = o->snapshot->record.generation,
                        .record = label,
                }, on_rested, o, &o->call);
        if (r < 0)
                on_rested(o, r, NULL);
}

static void step_save_rested(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_CAPTURE_RESTED);
        o->undo = NULL;
        session_keep_snapshot(s, o->snapshot);
        s->failures = 0;
        s->stopped_usec = core_now();
        if (s->stop_reason == STOP_REASON_NONE)
                s->stop_reason = o->job->type == JOB_SAVE_EXITED ? STOP_REASON_EXITED : STOP_REASON_MANUAL;
        /* Nowhere else is it to be seen afterwards: the container is gone. */
        _cleanup_free_ char *detail = o->job->type == JOB_SAVE_EXITED && s->exit_seen_usec > 0 ?
                strformat("The main process ended with exit code %i%s.", s->exit_code, session_exit_remark(s)) : NULL;
        session_set_state(s, o->rest_state, detail);
        operation_commit_surely(o);
}

static void step_save_kept(Operation *o) {
        crash_point(CRASH_CAPTURE_RECORD_SAVED);
        o->undo = NULL;
        o->cancelable = false;
        session_keep_snapshot(o->session, o->snapshot);
        operation_commit_surely(o);
}

/* Each run of a session that writes adds one, and a session that has all that it may have is saved no more. */
static void warn_of_layers(const Session *s, const Job *j, const SnapshotRecord *r) {
        unsigned max = s->manager->config->session_layers_max;

        if (r->session_layers + LAYERS_LEFT_MIN >= max)
                log_event(LOG_WARNING, MESSAGE_SESSION_LAYERS, SESSION_FIELDS(s, j),
                          "Session %s has %u of the %u layers that it may have above its base image (SessionLayersMax=); with all of them it cannot be "
                          "saved any more. Copy its files into a new session in time; a clone would have the same layers.", s->name,
                          r->session_layers, max);
}

static const char *end_message_id(const Operation *o) {
        return is_snapshot(o) ? MESSAGE_SESSION_SNAPSHOT : o->rest_state == SESSION_HIBERNATED ? MESSAGE_SESSION_HIBERNATED : MESSAGE_SESSION_STOPPED;
}

static void step_log_saved(Operation *o) {
        Session *s = o->session;
        const SnapshotRecord *r = &o->snapshot->record;
        usec_t duration = core_uptime() - o->begun_usec;
        _cleanup_free_ char *image = strformat("SWARM_IMAGE=%s", r->image), *bytes = strformat("SWARM_BYTES=%" PRIu64, r->bytes),
                            *took = strformat("SWARM_DURATION_USEC=%" PRIu64, duration), *frozen = strformat("SWARM_FROZEN_USEC=%" PRIu64, r->frozen_usec);

        crash_point(CRASH_CAPTURE_DONE);
        log_event(LOG_NOTICE, end_message_id(o),
                  LOG_FIELDS(.session = s->id, .session_name = s->name, .owner_uid = s->owner_uid, .actor_uid = o->job->actor_uid, .job = o->job->id,
                             .provider = s->provider_name, .node = s->node, .extra = (const char *const[]) { image, bytes, took, frozen, NULL }),
                  "Session %s: generation %" PRIu64 " saved as %s (%" PRIu64 " bytes, %.3f s, frozen %.3f s).", s->name, r->generation, r->image,
                  r->bytes, (double) duration / USEC_PER_SEC, (double) r->frozen_usec / USEC_PER_SEC);
        warn_of_layers(s, o->job, r);
        o->snapshot = NULL;
        o->restore_generation = s->generation;
        session_limit_generations(s);
        operation_next(o);
}

/* It is at rest, and is not started again by itself any more. */
static void step_stay(Operation *o) {
        Session *s = o->session;

        s->wanted = false;
        s->failures = 0;
        timer_disarm(s->retry);
        session_mark_dirty(s);
        session_set_state(s, s->state, NULL);
        operation_commit_surely(o);
}

#define STEPS_REST step_save_proven, step_rest, step_save_rested, step_log_saved

const operation_step operation_steps_hibernate[] = { step_intend_hibernate, step_capture_hold, STEPS_REST, NULL };
const operation_step operation_steps_stop[] = { step_intend_stop, step_terminate, step_terminated, step_capture_exited, STEPS_REST, NULL };
const operation_step operation_steps_stay[] = { step_stay, NULL };
const operation_step operation_steps_save_exited[] = { step_intend_save_exited, step_terminate_again, step_capture_exited, STEPS_REST, NULL };
const operation_step operation_steps_snapshot[] = { step_intend_snapshot, step_capture_thaw, step_save_proven, step_save_kept, step_log_saved, NULL };
/* After a crash between the record and the end. */
const operation_step operation_steps_finish_rest[] = { step_rest, step_save_rested, step_log_saved, NULL };
const operation_step operation_steps_finish_record[] = { step_save_rested, step_log_saved, NULL };
