/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the store says against what the provider sees → what is to be done. Pure; one function, no memory. It is asked
 * whenever something was observed and no operation is under way, so also after a crash at any point. */

#include "core/provider.h"
#include "core/session-state.h"

typedef enum ReconcileAction {
        RECONCILE_NONE,
        RECONCILE_CREATE,               /* go on with a creation that was cut off */
        RECONCILE_SET_RUNNING,          /* it runs: say so */
        RECONCILE_SET_EXITED,           /* its main process is over */
        RECONCILE_SET_LOST,             /* its node is down */
        RECONCILE_SET_REMOVED,          /* the container was removed behind our back */
        RECONCILE_SAVE_EXITED,          /* save the files of an exited container */
        RECONCILE_THAW,                 /* runs, but frozen by an operation that is gone */
        RECONCILE_ABORT_SAVE,           /* nothing proven: thaw, and it runs on */
        RECONCILE_FINISH_REST,          /* proven: remove the container, if the witness holds */
        RECONCILE_FINISH_RECORD,        /* proven and removed: only the record is missing */
        RECONCILE_ABORT_RESUME,         /* nothing was started: at rest, as before */
        RECONCILE_RESUME,               /* at rest or half started, and wanted */
        RECONCILE_LAY_DOWN,             /* at rest, but the provider still asks for a task that is not there */
        RECONCILE_DESTROY,              /* go on with it */
        _RECONCILE_ACTION_MAX,
} ReconcileAction;

typedef struct ReconcileInput {
        SessionState state;
        bool wanted;                    /* the session should run */
        bool exists;                    /* the provider has a record of it */
        bool task_wanted;               /* … that asks for a task */
        TaskState task;
        bool frozen;
        bool proven;                    /* a generation is proven and recorded, and its operation not ended */
} ReconcileInput;

ReconcileAction reconcile(const ReconcileInput *in);
const char *reconcile_action_to_string(ReconcileAction a);
