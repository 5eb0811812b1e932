/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
#include "core/reconcile.h"

static const char *const reconcile_action_names[_RECONCILE_ACTION_MAX] = {
        [RECONCILE_NONE] = "none",
        [RECONCILE_CREATE] = "create",
        [RECONCILE_SET_RUNNING] = "set-running",
        [RECONCILE_SET_EXITED] = "set-exited",
        [RECONCILE_SET_LOST] = "set-lost",
        [RECONCILE_SET_REMOVED] = "set-removed",
        [RECONCILE_SAVE_EXITED] = "save-exited",
        [RECONCILE_THAW] = "thaw",
        [RECONCILE_ABORT_SAVE] = "abort-save",
        [RECONCILE_FINISH_REST] = "finish-rest",
        [RECONCILE_FINISH_RECORD] = "finish-record",
        [RECONCILE_ABORT_RESUME] = "abort-resume",
        [RECONCILE_RESUME] = "resume",
        [RECONCILE_LAY_DOWN] = "lay-down",
        [RECONCILE_DESTROY] = "destroy",
};
DEFINE_NAMES_TO_STRING(reconcile_action, ReconcileAction)

/* By what the provider sees of the task. `gone` stands for a container that is not there any more. */
typedef struct Row {
        ReconcileAction coming;         /* pending, starting */
        ReconcileAction running, exited, failed, lost, gone;
} Row;

static const Row rows[_SESSION_STATE_MAX] = {
        /*                        coming            running                exited                 failed                 lost                gone */
        [SESSION_NEW]         = { RECONCILE_CREATE, RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_CREATE,   RECONCILE_CREATE },
        [SESSION_PLACING]     = { RECONCILE_CREATE, RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_SET_LOST, RECONCILE_CREATE },
        [SESSION_STARTING]    = { RECONCILE_CREATE, RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_CREATE,      RECONCILE_SET_LOST, RECONCILE_CREATE },
        [SESSION_RUNNING]     = { RECONCILE_NONE,   RECONCILE_NONE,        RECONCILE_SET_EXITED,  RECONCILE_SET_REMOVED, RECONCILE_SET_LOST, RECONCILE_SET_REMOVED },
        [SESSION_STOPPING]    = { RECONCILE_NONE,   RECONCILE_ABORT_SAVE,  RECONCILE_SET_EXITED,  RECONCILE_SET_REMOVED, RECONCILE_SET_LOST, RECONCILE_SET_REMOVED },
        [SESSION_HIBERNATING] = { RECONCILE_NONE,   RECONCILE_ABORT_SAVE,  RECONCILE_SET_EXITED,  RECONCILE_SET_REMOVED, RECONCILE_SET_LOST, RECONCILE_SET_REMOVED },
        [SESSION_STOPPED]     = { RECONCILE_NONE,   RECONCILE_SET_RUNNING, RECONCILE_SET_EXITED,  RECONCILE_NONE,        RECONCILE_NONE,     RECONCILE_NONE },
        [SESSION_HIBERNATED]  = { RECONCILE_NONE,   RECONCILE_SET_RUNNING, RECONCILE_SET_EXITED,  RECONCILE_NONE,        RECONCILE_NONE,     RECONCILE_NONE },
        [SESSION_RESUMING]    = { RECONCILE_RESUME, RECONCILE_SET_RUNNING, RECONCILE_SET_EXITED,  RECONCILE_RESUME,      RECONCILE_SET_LOST, RECONCILE_ABORT_RESUME },
        [SESSION_EXITED]      = { RECONCILE_NONE,   RECONCILE_SET_RUNNING, RECONCILE_SAVE_EXITED, RECONCILE_SET_REMOVED, RECONCILE_SET_LOST, RECONCILE_SET_REMOVED },
        [SESSION_FAILED]      = { RECONCILE_NONE,   RECONCILE_SET_RUNNING, RECONCILE_SET_EXITED,  RECONCILE_NONE,        RECONCILE_NONE,     RECONCILE_NONE },
        [SESSION_LOST]        = { RECONCILE_NONE,   RECONCILE_SET_RUNNING, RECONCILE_SET_EXITED,  RECONCILE_SET_REMOVED, RECONCILE_NONE,     RECONCILE_SET_REMOVED },
        [SESSION_DESTROYING]  = { RECONCILE_DESTROY, RECONCILE_DESTROY,    RECONCILE_DESTROY,     RECONCILE_DESTROY,     RECONCILE_DESTROY,  RECONCILE_DESTROY },
        [SESSION_GONE]        = { RECONCILE_NONE,   RECONCILE_NONE,        RECONCILE_NONE,        RECONCILE_NONE,        RECONCILE_NONE,     RECONCILE_NONE },
};

static ReconcileAction by_task(const ReconcileInput *in) {
        const Row *row = &rows[in->state];

        if (!in->exists)
                return row->gone;
        switch (in->task) {
        case TASK_PENDING:
        case TASK_STARTING:
                return row->coming;
        case TASK_RUNNING:
                return row->running;
        case TASK_EXITED:
                return row->exited;
        case TASK_FAILED:
                return row->failed;
        case TASK_LOST:
                return row->lost;
        default:
                return row->gone;
        }
}

ReconcileAction reconcile(const ReconcileInput *in) {
        if (in->state < 0 || in->state >= _SESSION_STATE_MAX)
                return RECONCILE_NONE;

        /* The files are in the registry; whatever became of the container, nothing is lost. Its node being down is the one
         * case that waits: the witness cannot be asked. */
        if (in->proven && (in->state == SESSION_STOPPING || in->state == SESSION_HIBERNATING)) {
                if (in->exists && in->task == TASK_LOST)
                        return RECONCILE_SET_LOST;
                return in->exists && in->task_wanted ? RECONCILE_FINISH_REST : RECONCILE_FINISH_RECORD;
        }
        /* At rest, a container that goes away only slowly says nothing; one that somebody else asked for does. */
        if (session_state_is_rest(in->state) && (!in->exists || !in->task_wanted))
                return in->wanted ? RECONCILE_RESUME : RECONCILE_NONE;
        /* No container and no files: left so, whatever Swarm makes of its wish would be a second session. */
        if ((session_state_is_rest(in->state) || in->state == SESSION_FAILED) && in->exists && in->task_wanted &&
            (in->task == TASK_GONE || in->task == TASK_FAILED))
                return RECONCILE_LAY_DOWN;
        /* A start that the service did not see to its end, or a session that was rebuilt from the cluster: it may have run for long. */
        if (in->state == SESSION_RESUMING && in->exists && in->task_wanted && in->task == TASK_GONE)
                return RECONCILE_SET_REMOVED;
        if (in->state == SESSION_RUNNING && in->task == TASK_RUNNING && in->exists && in->frozen)
                return RECONCILE_THAW;
        return by_task(in);
}
