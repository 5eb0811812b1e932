/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* To rest without saving: because the caller said so, because a start was undone, because there is no container any
 * more. The record in the cluster is left as that of any session at rest, with the newest generation there is. */

#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"
#include "core/session-record.h"

int operation_discard(Operation *o, provider_done_cb cb) {
        Session *s = o->session;
        uint64_t generation = session_newest_generation(s);
        const Snapshot *snapshot = session_find_snapshot(s, generation);
        _cleanup_free_ char *label = NULL;
        int r = session_to_label(s, &label);

        if (r < 0)
                return r;
        return s->provider->vtable->discard(s->provider, &(ProviderRest) {
                .session = s->id,
                .image = snapshot ? snapshot->record.image : s->base_image,
                .generation = snapshot ? generation : 0,
                .record = label,
        }, cb, o, &o->call);
}

void operation_discarded(Operation *o) {
        Session *s = o->session;

        session_expect_task(s, false);
        session_set_generation(s, session_newest_generation(s));
        o->restore_generation = s->generation;
}

static void step_intend_discard(Operation *o) {
        o->cancelable = false;
        o->undo = operation_undo_save;
        o->session->wanted = o->job->type == JOB_RESTART;
        session_set_state(o->session, SESSION_STOPPING, NULL);
        session_mark_dirty(o->session);
        operation_commit_then_next(o);
}

static void step_discard(Operation *o) {
        job_set_stage(o->job, "removing the container");
        int r = operation_discard(o, operation_provider_done);
        if (r < 0)
                operation_fail_with(o, r, NULL);
}

static void step_save_discarded(Operation *o) {
        Session *s = o->session;

        operation_discarded(o);
        s->stopped_usec = core_now();
        s->stop_reason = STOP_REASON_MANUAL;
        session_set_state(s, SESSION_STOPPED, NULL);
        log_event(LOG_NOTICE, MESSAGE_SESSION_STOPPED, SESSION_FIELDS(s, o->job),
                  "Session %s: stopped, what was not saved was discarded as asked. It goes on from generation %" PRIu64 ".", s->name, s->generation);
        operation_commit_surely(o);
}

const operation_step operation_steps_discard[] = { step_intend_discard, step_discard, step_save_discarded, NULL };

static void step_lay_down(Operation *o);

static void on_laid_down(void *userdata, int r, const Refusal *refusal) {
        Operation *o = userdata;

        o->call = NULL;
        if (r >= 0) {
                operation_discarded(o);
                operation_next(o);
                return;
        }
        operation_wait_for(o, step_lay_down, "provider", r, refusal);
}

static void step_lay_down(Operation *o) {
        o->cancelable = false;
        job_set_stage(o->job, "laying the service to rest");
        int r = operation_discard(o, on_laid_down);
        if (r < 0)
                on_laid_down(o, r, NULL);
}

const operation_step operation_steps_lay_down[] = { step_lay_down, NULL };
