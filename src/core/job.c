/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <utlist.h>

#include "basic/log.h"
#include "basic/names.h"
#include "core/operation.h"
#include "core/session-object.h"

static const char *const job_state_names[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",
        [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",
        [JOB_FAILED] = "failed",
        [JOB_CANCELED] = "canceled",
        [JOB_INTERRUPTED] = "interrupted",
};
DEFINE_NAMES(job_state, JobState)

int job_link(Manager *m, Job *j) {
        Job *other;

        HASH_FIND(hh, m->jobs, &j->id, sizeof(j->id), other);
        if (other)
                return -EEXIST;
        int r = job_state_is_ended(j->state) || job_is_stream(j) ? 0 : usage_add_job(j);
        if (r < 0)
                return r;
        HASH_ADD(hh, m->jobs, id, sizeof(j->id), j);
        m->last_job_id = MAX(m->last_job_id, j->id);
        return 0;
}

int job_new(Manager *m, Session *s, JobType type, const JobOptions *options, uid_t actor, Job **ret) {
        Job *j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        *j = (Job) {
                .manager = m,
                .id = m->last_job_id + 1,
                .type = type,
                .state = JOB_QUEUED,
                .session = s,
                .session_id = strdup(s->id),
                .actor_uid = actor,
                .bytes_total = -1,
                .exit_code = -1,
                .created_usec = core_now(),
        };
        if (options)
                j->options = *options;
        if (!j->session_id || job_link(m, j) < 0) {
                free(j->session_id);
                free(j);
                return -ENOMEM;
        }
        if (!job_is_stream(j))
                DL_APPEND(s->jobs, j);
        job_mark_dirty(j);
        job_changed(j, CHANGE_ADDED);
        if (!job_is_stream(j))
                session_changed(s, CHANGE_JOB);
        *ret = j;
        return 0;
}

Job *job_free(Job *j) {
        if (!j)
                return NULL;
        if (j->hh.tbl)
                HASH_DEL(j->manager->jobs, j);
        manager_forget_job(j->manager, j);
        refusal_free(j->error);
        free(j->session_id);
        free(j->stage);
        free(j);
        return NULL;
}

void job_changed(Job *j, uint64_t mask) {
        manager_changed(j->manager, OBJECT_JOB, j, mask);
}

double job_progress(const Job *j) {
        if (j->state == JOB_DONE)
                return 1;
        if (j->bytes_total <= 0)
                return -1;
        return MIN(1.0, (double) j->bytes_done / (double) j->bytes_total);
}

void job_set_stage(Job *j, const char *stage) {
        if (streq_ptr(j->stage, stage))
                return;
        (void) free_and_strdup(&j->stage, stage);
        job_changed(j, CHANGE_PROGRESS);
}

void job_set_progress(Job *j, uint64_t bytes_done, int64_t bytes_total) {
        if (j->bytes_done == bytes_done && j->bytes_total == bytes_total)
                return;
        j->bytes_done = bytes_done;
        j->bytes_total = bytes_total;
        job_changed(j, CHANGE_PROGRESS);
}

bool job_is_to_save(JobType type, const JobOptions *options) {
        return type == JOB_HIBERNATE || type == JOB_SNAPSHOT || ((type == JOB_STOP || type == JOB_RESTART) && !options->discard);
}

bool job_is_cancelable(const Job *j) {
        if (j->state == JOB_QUEUED)
                return true;
        if (job_is_stream(j))
                return j->stream;
        return j->state == JOB_RUNNING && j->session && j->session->operation && operation_is_cancelable(j->session->operation);
}

static void log_end(const Job *j) {
        Session *s = j->session;

        /* What becomes of a stream it says itself. */
        if (!s || job_is_stream(j))
                return;
        if (j->state == JOB_FAILED)
                log_event(LOG_WARNING, MESSAGE_JOB_FAILED, SESSION_FIELDS(s, j), "Session %s: %s (job %" PRIu64 ") failed: %s", s->name,
                          job_type_to_string(j->type), j->id, j->error ? j->error->message : "no reason known.");
        else
                log_debug("Session %s: %s (job %" PRIu64 ") ended: %s.", s->name, job_type_to_string(j->type), j->id,
                          job_state_to_string(j->state));
}

void job_end(Job *j, JobState state, Refusal *error) {
        Session *s = j->session;

        assert(!job_state_is_ended(j->state));
        if (!job_is_stream(j))
                usage_remove_job(j);
        j->state = state;
        j->ended_usec = core_now();
        refusal_free(j->error);
        j->error = error;
        log_end(j);
        job_mark_dirty(j);
        job_changed(j, CHANGE_STATE);
        manager_job_ended(j->manager);
        manager_calm_down(j->manager);
        j->session = NULL;
        if (!s || job_is_stream(j))
                return;
        DL_DELETE(s->jobs, j);
        session_changed(s, CHANGE_JOB);
}

static int job_start(Job *j) {
        j->state = JOB_RUNNING;
        j->started_usec = core_now();
        job_mark_dirty(j);
        job_changed(j, CHANGE_STATE);
        return operation_start(j->session, j);
}

static void cancel(Job *j, uid_t actor, Refusal *error) {
        if (job_is_stream(j)) {
                stream_end(j->stream, JOB_CANCELED, error);
                return;
        }
        /* Of a creation the session itself has to be undone, also before its turn came. */
        if (j->state == JOB_QUEUED && (j->type != JOB_CREATE || job_start(j) < 0)) {
                job_end(j, JOB_CANCELED, error);
                return;
        }
        j->cancel_requested = true;
        operation_cancel(j->session->operation, actor, error);
}

/* Nobody was told of that session. */
static void forget_created(Job *j) {
        Session *s = manager_find_session(j->manager, j->session_id);

        if (!s || s->operation || s->jobs)
                return;
        (void) free_and_strdup(&s->end_reason, "canceled");
        int r = operation_recover(s, JOB_DESTROY, NULL, operation_steps_forget, NULL);
        if (r < 0)
                log_error_errno(r, "Session %s, whose creation was refused, could not be removed: %m", s->name);
}

/* Nothing was done for it. One that ran at the time met the same failure with its own intent; one that got its turn just then
 * still waits for the next try to save that. */
static bool is_unsaved(const Job *j) {
        /* A stream tells whoever began it, and ends, when its intent is not saved. */
        if (job_is_stream(j))
                return false;
        return j->state == JOB_QUEUED || (j->state == JOB_RUNNING && operation_is_unsaved(j->session->operation));
}

void job_withdraw(Job *j) {
        Refusal *error = NULL;

        if (j->type == JOB_CREATE && j->state == JOB_FAILED)
                forget_created(j);
        if (!is_unsaved(j))
                return;
        (void) refuse(&error, REFUSAL_CANCELED, "The request for the job could not be saved, so it was refused.");
        cancel(j, j->actor_uid, error);
}

int job_cancel(Job *j, uid_t actor, Refusal **reterr) {
        Refusal *error = NULL;

        if (job_state_is_ended(j->state))
                return refuse(reterr, REFUSAL_NOT_CANCELABLE, "Job %" PRIu64 " has ended already: %s.", j->id, job_state_to_string(j->state));
        if (!job_is_cancelable(j))
                return refuse(reterr, REFUSAL_NOT_CANCELABLE,
                              "Job %" PRIu64 " (%s, %s) is past the point where it could be undone. It will end by itself.", j->id,
                              job_type_to_string(j->type), isempty(j->stage) ? "running" : j->stage);
        if (j->cancel_requested)
                return 0;

        (void) refuse(&error, REFUSAL_CANCELED, "The job was canceled by uid %u.", actor);
        cancel(j, actor, error);
        return 0;
}

/* A queued job may have become impossible by what ran before it. */
static bool refuse_if_impossible(Session *s, Job *j) {
        Refusal *error = NULL;

        if (session_allows(s, j->type) && session_check_generation(s, j->type, &j->options, &error) >= 0 &&
            session_check_layers(s, j->type, &j->options, &error) >= 0)
                return false;
        if (!error)
                (void) refuse(&error, REFUSAL_WRONG_STATE, "Session \"%s\" is %s by now, so %s is not possible any more. %s", s->name,
                      session_state_to_string(s->state), job_type_to_string(j->type), session_state_remedy(s->state, j->type));
        job_end(j, JOB_FAILED, error);
        return true;
}

void session_start_next_job(Session *s) {
        ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);
        Job *j;

        if (s->operation || s->manager->stopping)
                return;
        while ((j = s->jobs)) {
                if (!e || !e->listed) {
                        job_set_stage(j, "waiting for the provider");
                        return;
                }
                if (refuse_if_impossible(s, j))
                        continue;
                int r = job_start(j);
                if (r >= 0)
                        return;
                job_end(j, JOB_FAILED, refusal_of(r, NULL));
        }
}

void job_mark_dirty(Job *j) {
        if (j->dirty)
                return;
        j->dirty = true;
        manager_mark_job(j->manager, j);
}
