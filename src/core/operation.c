/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <utlist.h>

#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"

/* Which steps a verb takes. A session that has exited is saved first, one that runs is stopped first. */
static OperationPlan plan_of(const Session *s, const Job *j) {
        const operation_step *up = operation_steps_up;
        const operation_step *down = j->options.discard ? operation_steps_discard :
                                     s->state == SESSION_EXITED ? operation_steps_save_exited :
                                     j->type == JOB_HIBERNATE ? operation_steps_hibernate : operation_steps_stop;

        switch (j->type) {
        case JOB_CREATE:
                return (OperationPlan) { operation_steps_create };
        case JOB_RESTORE:
                return (OperationPlan) { up };
        case JOB_START:
                return s->state == SESSION_EXITED ? (OperationPlan) { down, up } : (OperationPlan) { up };
        case JOB_STOP:
                return session_state_is_rest(s->state) ? (OperationPlan) { operation_steps_ask, operation_steps_stay } : (OperationPlan) { down };
        case JOB_HIBERNATE:
                return (OperationPlan) { down };
        case JOB_RESTART:
                return (OperationPlan) { down, up };
        case JOB_SAVE_EXITED:
                return (OperationPlan) { down, s->wanted && session_has_place(s) ? up : NULL };
        case JOB_SNAPSHOT:
                return (OperationPlan) { operation_steps_snapshot };
        case JOB_DESTROY:
                return (OperationPlan) { operation_steps_ask, operation_steps_destroy };
        case JOB_DELETE_SNAPSHOT:
                return (OperationPlan) { operation_steps_delete_snapshot };
        default:
                return (OperationPlan) {};
        }
}

static void on_timer(void *userdata) {
        Operation *o = userdata;
        o->on_timer(o);
}

/* The newest there is. That a session is to go on from a newer one says that the row of that was lost: then it goes on from none. */
static uint64_t begin_generation(const Session *s) {
        return MAX(session_newest_generation(s), s->generation);
}

static int start(Session *s, Job *j, OperationPlan plan, Snapshot *snapshot) {
        /* What the orchestrator did by itself on this session must not meet the operation half way. */
        s->call = provider_call_cancel(s->call);
        s->garbage = NULL;

        Operation *o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;
        *o = (Operation) {
                .session = s,
                .job = j,
                .plan = plan,
                .from_state = s->state,
                .from_wanted = s->wanted,
                .rest_state = j->type == JOB_HIBERNATE ? SESSION_HIBERNATED : SESSION_STOPPED,
                .restore_generation = j->options.generation > 0 ? j->options.generation : begin_generation(s),
                .snapshot = snapshot,
                .backoff = { .min_usec = USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC },
                .actor_uid = j->actor_uid,
                .begun_usec = core_uptime(),
        };
        int r = timer_new(s->manager->event, on_timer, o, &o->timer);
        if (r < 0) {
                free(o);
                return r;
        }
        s->operation = o;
        o->plan.first[0](o);
        return 0;
}

int operation_start(Session *s, Job *j) {
        return start(s, j, plan_of(s, j), NULL);
}

int operation_recover(Session *s, JobType type, const JobOptions *options, const operation_step *steps, Snapshot *snapshot) {
        Job *j;
        int r = job_new(s->manager, s, type, options, 0, &j);
        if (r < 0)
                return r;
        /* Before what waits. */
        DL_DELETE(s->jobs, j);
        DL_PREPEND(s->jobs, j);
        j->state = JOB_RUNNING;
        j->started_usec = core_now();
        return start(s, j, (OperationPlan) { steps }, snapshot);
}

Operation *operation_free(Operation *o) {
        if (!o)
                return NULL;
        provider_call_cancel(o->call);
        commit_wait_cancel(o->wait);
        timer_free(o->timer);
        timer_free(o->doubt);
        refusal_free(o->error);
        if (o->session->operation == o)
                o->session->operation = NULL;
        free(o);
        return NULL;
}

/* Ends the job, then looks at what the session needs next. */
static void operation_end(Operation *o, JobState state) {
        Session *s = o->session;
        Job *j = o->job;
        Refusal *error = TAKE_PTR(o->error);

        operation_free(o);
        job_end(j, state, error);
        if (s->state == SESSION_GONE)
                manager_end_session(s);
        else
                session_reconcile(s);
}

void operation_undone(Operation *o) {
        operation_end(o, o->error && o->error->code == REFUSAL_CANCELED ? JOB_CANCELED :
                         o->error && o->error->code == REFUSAL_INTERRUPTED ? JOB_INTERRUPTED : JOB_FAILED);
}

void operation_next(Operation *o) {
        o->on_observed = NULL;
        timer_disarm(o->timer);
        timer_disarm(o->doubt);
        if (!o->plan.first[++o->step]) {
                if (!o->plan.then) {
                        if (o->error)
                                operation_undone(o);
                        else
                                operation_end(o, JOB_DONE);
                        return;
                }
                o->plan = (OperationPlan) { o->plan.then };
                o->step = 0;
                o->undo = NULL;
                o->from_state = o->session->state;
                o->from_wanted = false;         /* that was before what is done by now */
        }
        o->plan.first[o->step](o);
}

void operation_undo_by(Operation *o, const operation_step *steps) {
        o->plan = (OperationPlan) { steps };
        o->step = 0;
        o->undo = NULL;
        o->plan.first[0](o);
}

void operation_fail(Operation *o, Refusal *error) {
        refusal_free(o->error);
        o->error = error;
        o->cancelable = false;
        o->on_observed = NULL;
        timer_disarm(o->timer);
        timer_disarm(o->doubt);
        if (o->undo)
                o->undo(o);
        else
                operation_undone(o);
}

void operation_fail_with(Operation *o, int r, const Refusal *refusal) {
        Refusal *copy = refusal_copy(refusal);
        operation_fail(o, refusal_of(r, &copy));
}

void operation_provider_done(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r < 0)
                operation_fail_with(o, r, refusal);
        else
                operation_next(o);
}

static void on_saved(void *userdata, int r) {
        Operation *o = userdata;
        Refusal *error = NULL;

        o->wait = NULL;
        if (r >= 0) {
                operation_next(o);
                return;
        }
        (void) refuse(&error, REFUSAL_STORE_FAILED,
                      "The state of session \"%s\" could not be saved: %s. Nothing more was done. Make room in the state directory and try again.",
                      o->session->name, strerror(-r));
        operation_fail(o, error);
}

void operation_commit_then_next(Operation *o) {
        int r = manager_on_commit(o->session->manager, on_saved, o, &o->wait);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void on_surely_saved(void *userdata, int r) {
        Operation *o = userdata;

        o->wait = NULL;
        if (r >= 0)
                operation_next(o);
        else {
                job_set_stage(o->job, "waiting for the store");
                operation_commit_surely(o);
        }
}

void operation_commit_surely(Operation *o) {
        o->cancelable = false;
        if (manager_on_commit(o->session->manager, on_surely_saved, o, &o->wait) < 0)
                operation_retry(o, operation_commit_surely, "waiting for memory");
}

static bool is_to_be_destroyed(const Session *s) {
        /* That request is not on the disk yet, and may be refused for it. */
        if (s->destroy_wait)
                return false;
        for (const Job *j = s->jobs; j; j = j->next)
                if (j->type == JOB_DESTROY && j->state == JOB_QUEUED)
                        return true;
        return false;
}

static void on_retry(Operation *o) {
        Refusal *error = NULL;

        if (!is_to_be_destroyed(o->session)) {
                o->resume(o);
                return;
        }
        (void) refuse(&error, REFUSAL_CANCELED, "Session \"%s\" is destroyed instead; until then the job was %s", o->session->name,
                      strempty(o->job->stage));
        o->undo = NULL;
        operation_fail(o, error);
}

void operation_give_way(Operation *o) {
        if (o->on_timer == on_retry && timer_is_armed(o->timer))
                (void) timer_arm(o->timer, 0);
}

void operation_retry(Operation *o, operation_step step, const char *stage) {
        o->resume = step;
        o->on_timer = on_retry;
        job_set_stage(o->job, stage);
        (void) timer_arm(o->timer, backoff_next(&o->backoff));
        if (is_to_be_destroyed(o->session))
                operation_give_way(o);
}

void operation_wait_for(Operation *o, operation_step step, const char *whom, int r, const Refusal *refusal) {
        _cleanup_free_ char *stage = strformat("waiting for the %s: %s", whom, refusal ? refusal->message : strerror(-r));

        operation_retry(o, step, stage);
}

bool operation_is_cancelable(const Operation *o) {
        return o->cancelable;
}

bool operation_is_cancelable_save(const Operation *o) {
        return o->cancelable && o->undo == operation_undo_save;
}

bool operation_is_unsaved(const Operation *o) {
        return o->wait && o->step == 0 && o->session->state != SESSION_DESTROYING;
}

void operation_cancel(Operation *o, uid_t actor, Refusal *reason) {
        o->actor_uid = actor;
        o->call = provider_call_cancel(o->call);
        commit_wait_cancel(TAKE_PTR(o->wait));
        operation_fail(o, reason);
}

void operation_observed(Operation *o) {
        if (o->on_observed)
                o->on_observed(o);
}
