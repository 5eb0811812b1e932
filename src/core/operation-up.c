/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From nothing, or from rest, to running. */

#include "basic/crash-points.h"
#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"
#include "core/session-record.h"

/* A list that was begun before the service was made does not name it. */
#define TAKEN_AWAY_USEC (3 * USEC_PER_SEC)
/* Of one session without a success, some five minutes after the first. */
#define AUTOMATIC_STARTS_MAX 5U
/* Bytes that are quoted of what a provider says: an Engine repeats the name of a program that it cannot start, however long
 * that is, and the remedy comes after it. */
#define SAID_MAX 1024

static bool is_create(const Operation *o) {
        return o->job->type == JOB_CREATE;
}

/* A creation that fails leaves the session behind, with its name and settings: whoever asked for it must hear of that. */
static void name_remedy(Operation *o) {
        Refusal *error = NULL;

        if (!o->error)
                return;
        if (refuse(&error, o->error->code, "%s Session \"%s\" is left as failed: start it when that is mended, or destroy it.", o->error->message,
                   o->session->name) != -EBADRQC)
                return;
        refusal_free(o->error);
        o->error = error;
}

static bool is_canceled_create(const Operation *o) {
        return is_create(o) && o->error && o->error->code == REFUSAL_CANCELED;
}

/* Whoever cancels a creation wants nothing of it: no name that is taken, no service, nothing to clear away by hand. */
static void undo_create(Operation *o, const operation_step *steps) {
        const char *reason = "canceled";

        for (const Job *j = o->session->jobs; j; j = j->next)
                if (j->type == JOB_DESTROY)
                        reason = "destroyed";
        (void) free_and_strdup(&o->session->end_reason, reason);
        operation_undo_by(o, steps);
}

/* Of what was running, only the orchestrator knows that it shall run again. */
static bool is_to_be_tried_again(const Operation *o, SessionState back) {
        return o->job->options.automatic && session_state_is_rest(back) && o->session->failures < AUTOMATIC_STARTS_MAX &&
                (!o->error || o->error->code != REFUSAL_CANCELED);
}

/* Where a session ends whose start was undone. */
static void settle(Operation *o) {
        Session *s = o->session;
        bool again;

        if (is_canceled_create(o)) {
                /* A new one has asked the provider for nothing, nor has an attempt that a crash cut off. */
                undo_create(o, o->from_state == SESSION_NEW ? operation_steps_forget : operation_steps_destroy);
                return;
        }
        SessionState back = is_create(o) || o->from_state == SESSION_FAILED ? SESSION_FAILED :
                            session_state_is_rest(o->from_state) ? o->from_state : SESSION_STOPPED;

        again = is_to_be_tried_again(o, back);
        s->wanted = again;
        s->failures = again ? s->failures + 1 : 0;
        if (back == SESSION_FAILED)
                s->stop_reason = STOP_REASON_ERROR;
        if (is_create(o))
                name_remedy(o);
        _cleanup_free_ char *detail = again && o->error ? strformat("%s It is tried again by itself.", o->error->message) : NULL;
        session_set_state(s, back, detail ?: o->error ? o->error->message : NULL);
        operation_undone(o);
}

/* A request that could not be saved, or that names what is not there, has not changed either what the session is to do by itself. */
static bool is_left_waiting(const Operation *o) {
        return !o->job->options.automatic && o->from_wanted && session_state_is_rest(o->from_state) && o->error &&
               (o->error->code == REFUSAL_STORE_FAILED || o->error->code == REFUSAL_NO_SUCH_GENERATION);
}

/* Nothing was asked for yet, so one that was lost still is, or is what its node brings back. */
static void undo_unasked(Operation *o) {
        Session *s = o->session;

        if (is_left_waiting(o)) {
                s->wanted = true;
                session_set_state(s, o->from_state, o->error->message);
                operation_undone(o);
        } else if (o->from_state == SESSION_LOST)
                operation_undone(o);
        else
                settle(o);
}

static void on_discarded(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r < 0)
                log_warning("Session %s: the start that failed could not be taken back at the provider, ignoring: %s", o->session->name,
                            refusal ? refusal->message : strerror(-r));
        else
                operation_discarded(o);
        settle(o);
}

/* The container that runs, or ran, was made from what was asked for. */
static void take_generation(Operation *o) {
        if (!is_create(o))
                session_set_generation(o->session, session_find_snapshot(o->session, o->restore_generation) ? o->restore_generation : 0);
}

/* The provider was asked for a task, and none has run yet: there are no files that could be lost. */
static void undo_asked(Operation *o) {
        Session *s = o->session;

        if (is_canceled_create(o)) {
                undo_create(o, operation_steps_destroy);
                return;
        }

        if (s->task == TASK_RUNNING || s->task == TASK_EXITED) {
                /* Came up after all. */
                take_generation(o);
                s->wanted = true;
                session_set_state(s, SESSION_RUNNING, NULL);
                operation_undone(o);
                return;
        }
        /* What its node brings back may hold files that nobody has saved, and goes on then. */
        if (s->task == TASK_LOST) {
                s->wanted = true;
                session_mark_dirty(s);
                operation_undone(o);
                return;
        }
        /* Nor does it go on if the service dies now. */
        if (o->error && o->error->code == REFUSAL_CANCELED) {
                s->wanted = false;
                session_mark_dirty(s);
        }
        int r = operation_discard(o, on_discarded);
        if (r < 0)
                on_discarded(o, r, NULL);
}

static void step_save_placing(Operation *o) {
        o->undo = settle;
        o->cancelable = true;
        o->session->wanted = true;
        if (o->session->state == SESSION_NEW)
                session_set_state(o->session, SESSION_PLACING, NULL);
        session_mark_dirty(o->session);
        job_set_stage(o->job, "placing");
        operation_commit_then_next(o);
}

static int check_image(Session *s, const ProviderImage *image, Refusal **reterr) {
        if (image->volumes && image->volumes[0] && !s->spec.volumes_ephemeral)
                return refuse(reterr, REFUSAL_IMAGE_REFUSED,
                              "Image \"%s\" declares the volume %s: what is written there would be lost with the container. Use an image without VOLUME, "
                              "or say `volumes: ephemeral` in the template.", s->image, image->volumes[0]);
        return 0;
}

static void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Operation *o = userdata;
        Refusal *error = NULL;

        o->call = NULL;
        if (r < 0) {
                operation_fail_with(o, r, refusal);
                return;
        }
        r = check_image(o->session, image, &error);
        if (r >= 0)
                r = free_and_strdup(&o->session->base_image, image->image);
        if (r < 0) {
                operation_fail(o, refusal_of(r, &error));
                return;
        }
        session_mark_dirty(o->session);
        operation_next(o);
}

static void step_resolve_image(Operation *o) {
        Session *s = o->session;

        if (s->base_image) {
                operation_next(o);
                return;
        }
        job_set_stage(o->job, "resolving the image");
        int r = s->provider->vtable->resolve_image(s->provider, s->image, on_image, o, &o->call);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_save_image(Operation *o) {
        operation_commit_then_next(o);
}

typedef int (*start_fn)(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);

/* The environment of the container: the user's, and the features that the image understands. */
static int make_env(const Session *s, Strv *ret) {
        _cleanup_strv_ Strv env = strv_copy(s->spec.env);
        _cleanup_free_ char *features = NULL;

        if (!env)
                return -ENOMEM;
        STRV_FOREACH(f, s->spec.features) {
                char *joined = strformat("%s%s%s", features ? features : "SWARM_FEATURES=", features ? "," : "", *f);
                if (!joined)
                        return -ENOMEM;
                free(features);
                features = joined;
        }
        if (features && strv_extend(&env, features) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(env);
        return 0;
}

static int ask_for_task(Operation *o, start_fn start) {
        Session *s = o->session;
        Snapshot *snapshot = is_create(o) ? NULL : session_find_snapshot(s, o->restore_generation);
        _cleanup_free_ char *record = NULL;
        _cleanup_strv_ Strv env = NULL;
        int r;

        /* Never an empty session in the place of one with files. */
        if (!is_create(o) && o->restore_generation > 0 && !snapshot)
                return -ESTALE;
        r = session_to_label(s, &record);
        if (r < 0)
                return r;
        r = make_env(s, &env);
        if (r < 0)
                return r;
        return start(s->provider, &(ProviderSpec) {
                .session = s->id,
                .name = s->name,
                .image = snapshot ? snapshot->record.image : s->base_image,
                .generation = snapshot ? snapshot->record.generation : 0,
                .command = s->spec.command,
                .env = env,
                .labels = s->spec.labels,
                .record = record,
                .organization = s->organization,
                .node = is_create(o) ? s->node : NULL,
                .nano_cpus = (uint64_t) (s->spec.cpus * 1e9),
                .memory_bytes = s->spec.memory_bytes,
                .reserved_nano_cpus = (uint64_t) (s->spec.reserved_cpus * 1e9),
                .reserved_memory_bytes = s->spec.reserved_memory_bytes,
                .stop_grace_usec = s->spec.stop_grace_usec,
                .healthcheck = s->spec.healthcheck,
                .healthcheck_interval_usec = s->spec.healthcheck_interval_usec,
                .healthcheck_retries = s->spec.healthcheck_retries,
        }, operation_provider_done, o, &o->call);
}

static void step_create(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_CREATE_INTENT_SAVED);
        o->undo = undo_asked;
        o->cancelable = false;
        job_set_stage(o->job, "creating the service");
        int r = ask_for_task(o, s->provider->vtable->create);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_created(Operation *o) {
        crash_point(CRASH_CREATE_SERVICE_MADE);
        session_expect_task(o->session, true);
        if (o->session->state == SESSION_PLACING)
                session_set_state(o->session, SESSION_STARTING, NULL);
        operation_next(o);
}

static void fail_start(Operation *o, RefusalCode code, const char *what) {
        Session *s = o->session;
        const char *said = strempty(s->task_error);
        bool is_long = strlen(said) > SAID_MAX;
        Refusal *error = NULL;

        (void) refuse(&error, code, "Session \"%s\" could not be started: %s%s%.*s%s", s->name, what, isempty(said) ? "" : " The provider says: ",
                      SAID_MAX, said, is_long ? "..." : isempty(said) || endswith(said, ".") ? "" : ".");
        operation_fail(o, error);
}

/* Swarm has one sentence for a registry that is away, for one that lost the image, and for a node whose disk is full. */
static void fail_task(Operation *o) {
        bool no_image = startswith(strempty(o->session->task_error), "No such image");

        fail_start(o, REFUSAL_PROVIDER_FAILED, !no_image ? "the task failed before its main process ran." :
                   is_create(o) || o->restore_generation == 0 ? "its node could not get its image. Check that the registry runs and still holds it, "
                   "and that the node has room for it." :
                   "its node could not get the image of that generation. Check that the registry runs and still holds it and that the node "
                   "has room for it, or restore another generation: 'swarmctl snapshots' (ListSnapshots) lists those that there are.");
}

/* It ran, and is over already. What it wrote is saved like that of any session whose main process ends. */
static void exited_at_once(Operation *o) {
        Session *s = o->session;
        Refusal *error = NULL;

        take_generation(o);
        s->stop_reason = STOP_REASON_EXITED;
        s->wanted = session_was_ended_by_engine(s);
        if (s->wanted)
                (void) refuse(&error, REFUSAL_PROVIDER_UNAVAILABLE,
                              "The provider of session \"%s\" went down while the session came up, and its main process ended with that (exit code %i). "
                              "Its files are being saved, then it is started again.", s->name, s->exit_code);
        else
                (void) refuse(&error, REFUSAL_PROVIDER_FAILED,
                              "The main process of session \"%s\" ended with exit code %i right after its start%s; its files are being saved.", s->name,
                              s->exit_code, s->exited_unhealthy ? ": its health check had failed, for which its provider ends it. Mend the check or give it more time" :
                              ". Give a command that keeps running");
        o->undo = NULL;
        session_set_state(s, SESSION_EXITED, error ? error->message : NULL);
        operation_fail(o, error);
}

/* What was asked for is not there any more. */
static const char *taken_away(const Session *s) {
        return !s->exists ? "its service was removed from outside." :
               !s->task_wanted ? "its service was scaled to zero from outside." :
               s->task == TASK_GONE ? "its container was removed from outside before it ran." : NULL;
}

static void on_taken_away(void *userdata) {
        Operation *o = userdata;
        const char *why = taken_away(o->session);

        if (why)
                fail_start(o, REFUSAL_PROVIDER_FAILED, why);
}

/* True while there is nothing to wait for; it fails when that lasts. */
static bool look_for_loss(Operation *o) {
        if (!taken_away(o->session)) {
                timer_disarm(o->doubt);
                return false;
        }
        if (!o->doubt && timer_new(o->session->manager->event, on_taken_away, o, &o->doubt) < 0)
                log_oom();
        else if (!timer_is_armed(o->doubt))
                (void) timer_arm(o->doubt, TAKEN_AWAY_USEC);
        return true;
}

static void on_start_observed(Operation *o) {
        Session *s = o->session;

        if (look_for_loss(o))
                return;
        switch (s->task) {
        case TASK_RUNNING:
                crash_point(is_create(o) ? CRASH_CREATE_RUNNING_SEEN : CRASH_RESTORE_RUNNING_SEEN);
                operation_next(o);
                break;
        case TASK_EXITED:
                exited_at_once(o);
                break;
        case TASK_FAILED:
                fail_task(o);
                break;
        case TASK_PENDING:
                job_set_stage(o->job, "waiting for a place");
                break;
        case TASK_STARTING:
                job_set_stage(o->job, "starting the container");
                break;
        default:
                break;
        }
}

static void on_start_timeout(Operation *o) {
        fail_start(o, o->session->task == TASK_PENDING ? REFUSAL_NO_CAPACITY : REFUSAL_TIMED_OUT,
                   "it was not running within StartTimeoutSec=.");
}

static void step_wait_running(Operation *o) {
        o->cancelable = true;
        o->on_observed = on_start_observed;
        o->on_timer = on_start_timeout;
        (void) timer_arm(o->timer, o->session->manager->config->start_timeout_usec);
        on_start_observed(o);
}

static void step_save_running(Operation *o) {
        Session *s = o->session;

        o->cancelable = false;
        take_generation(o);
        s->wanted = true;
        s->failures = 0;
        s->started_usec = s->last_activity_usec = core_now();
        s->stop_reason = STOP_REASON_NONE;
        session_set_state(s, SESSION_RUNNING, NULL);
        session_mark_dirty(s);
        session_changed(s, CHANGE_STATE);
        operation_commit_surely(o);
}

static void step_log_running(Operation *o) {
        Session *s = o->session;

        log_event(LOG_NOTICE, is_create(o) ? MESSAGE_SESSION_CREATED : o->job->type == JOB_RESTORE ? MESSAGE_SESSION_RESTORED : MESSAGE_SESSION_STARTED,
                  SESSION_FIELDS(s, o->job), "Session %s runs on node %s (%s, generation %" PRIu64 ", %.1f s).", s->name, strna(session_node_name(s)),
                  job_type_to_string(o->job->type), s->generation, (double) (core_uptime() - o->begun_usec) / USEC_PER_SEC);
        operation_next(o);
}

const operation_step operation_steps_create[] = {
        step_save_placing, step_resolve_image, step_save_image, step_create, step_created, step_wait_running, step_save_running, step_log_running, NULL,
};

static void step_save_resuming(Operation *o) {
        Session *s = o->session;

        o->undo = undo_unasked;
        o->cancelable = true;
        /* What is wanted already goes on after a crash, with the newest files. A start that somebody asked for does so once the
         * provider has heard of it: before that only they know which files they meant. What goes on so says a generation as well. */
        s->wanted = s->wanted && (o->job->options.generation == 0 || o->job->options.automatic);
        if (s->state != SESSION_RESUMING)
                session_set_state(s, SESSION_RESUMING, NULL);
        session_mark_dirty(s);
        job_set_stage(o->job, "placing");
        operation_commit_then_next(o);
}

static void on_generation(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Operation *o = userdata;
        const Session *s = o->session;
        Refusal *error = NULL;

        o->call = NULL;
        /* While its registry does not answer, a node may have it all the same. */
        if (r != -EBADRQC || refusal->code != REFUSAL_NO_SUCH_IMAGE) {
                operation_next(o);
                return;
        }
        (void) refuse(&error, REFUSAL_NO_SUCH_GENERATION,
                      "Generation %" PRIu64 " of session \"%s\" cannot be restored: its registry does not have it any more. Nothing was changed. "
                      "Restore another one: 'swarmctl snapshots %s' (ListSnapshots) lists them, and 'swarmctl delete-snapshot' (DeleteSnapshot) takes what is gone from there.",
                      o->restore_generation, s->name, s->name);
        operation_fail(o, error);
}

/* Before anything is asked for: to take that back would have the cluster forget which generation it was. */
static void fail_without_row(Operation *o) {
        const Session *s = o->session;
        Refusal *error = NULL;

        (void) refuse(&error, REFUSAL_NO_SUCH_GENERATION,
                      "Session \"%s\" goes on from generation %" PRIu64 ", of which the orchestrator has no record any more, and no other one takes its place "
                      "unasked. Restore one of those that 'swarmctl snapshots %s' (ListSnapshots) lists, or destroy the session.", s->name,
                      o->restore_generation, s->name);
        operation_fail(o, error);
}

/* A list from a backup names generations that were deleted since. Such a one must not take the place of a container that its node may
 * bring back, nor run from what a node still has of it: it could not be saved any more. */
static void step_find_generation(Operation *o) {
        Session *s = o->session;
        const Snapshot *snapshot = session_find_snapshot(s, o->restore_generation);

        if (o->restore_generation > 0 && !snapshot) {
                fail_without_row(o);
                return;
        }
        if (!snapshot || o->job->type != JOB_RESTORE || (o->job->options.generation == 0 && o->from_state != SESSION_LOST)) {
                operation_next(o);
                return;
        }
        job_set_stage(o->job, "looking for the generation");
        int r = s->provider->vtable->resolve_image(s->provider, snapshot->record.image, on_generation, o, &o->call);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_run(Operation *o) {
        Session *s = o->session;

        crash_point(CRASH_RESTORE_INTENT_SAVED);
        o->undo = undo_asked;
        o->cancelable = false;
        job_set_stage(o->job, "starting the service");
        int r = ask_for_task(o, s->provider->vtable->run);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_ran(Operation *o) {
        crash_point(CRASH_RESTORE_SERVICE_UPDATED);
        session_expect_task(o->session, true);
        operation_next(o);
}

/* A session whose creation failed before its image was known resolves it now. */
const operation_step operation_steps_up[] = {
        step_save_resuming, step_resolve_image, step_save_image, step_find_generation, step_run, step_ran, step_wait_running, step_save_running, step_log_running, NULL,
};
