/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Places where a test may kill the process dead (SIGKILL), compiled in by -Dcrash-points=true only.
 * SWARM_CRASH_POINT names the one that fires. SWARM_CRASH_LOG names a file to which each point that is passed is
 * appended, one name a line, so that a test can show that none of them is dead code. */

#include "basic/macro.h"

#define CRASH_POINT_TABLE(X)                                                                                      \
        /* create */                                                                                              \
        X(CREATE_INTENT_SAVED, "create-intent-saved")           /* row saved, nothing asked of the provider */    \
        X(CREATE_SERVICE_MADE, "create-service-made")           /* the provider has the service, not yet saved */ \
        X(CREATE_RUNNING_SEEN, "create-running-seen")           /* the task runs, `running` not yet saved */      \
        /* everything that saves files: hibernate, stop, exit, snapshot */                                        \
        X(CAPTURE_INTENT_SAVED, "capture-intent-saved")         /* generation burned, container untouched */      \
        X(CAPTURE_FROZEN, "capture-frozen")                     /* container frozen, no byte sent */              \
        X(CAPTURE_PUSHED, "capture-pushed")                     /* proof done, snapshot record not saved */       \
        X(CAPTURE_RECORD_SAVED, "capture-record-saved")         /* snapshot record saved, container alive */      \
        X(CAPTURE_KILLED, "capture-killed")                     /* container killed, service not updated */       \
        X(CAPTURE_RESTED, "capture-rested")                     /* service at 0 replicas, end state not saved */  \
        X(CAPTURE_DONE, "capture-done")                         /* end state saved, job reply not sent */         \
        /* stop */                                                                                                \
        X(STOP_INTENT_SAVED, "stop-intent-saved")               /* stopping saved, no signal sent */              \
        X(STOP_EXITED, "stop-exited")                           /* main process gone, files only on the node */   \
        /* start, restore */                                                                                      \
        X(RESTORE_INTENT_SAVED, "restore-intent-saved")                                                           \
        X(RESTORE_SERVICE_UPDATED, "restore-service-updated")   /* 1 replica asked for, not yet saved */          \
        X(RESTORE_RUNNING_SEEN, "restore-running-seen")                                                           \
        /* destroy */                                                                                             \
        X(DESTROY_INTENT_SAVED, "destroy-intent-saved")                                                           \
        X(DESTROY_SERVICE_REMOVED, "destroy-service-removed")                                                     \
        X(DESTROY_GENERATIONS_DELETED, "destroy-generations-deleted")                                             \
        /* in swarm-layer */                                                                                      \
        X(LAYER_STARTED, "layer-started")                                                                         \
        X(LAYER_BLOB_HALF, "layer-blob-half")                   /* some bytes of the first blob are sent */       \
        X(LAYER_BLOB_PUSHED, "layer-blob-pushed")                                                                 \
        X(LAYER_MANIFEST_PUSHED, "layer-manifest-pushed")       /* manifest there, proof not yet done */          \
        X(LAYER_PROVEN, "layer-proven")                         /* proof done, result line not written */

typedef enum CrashPoint {
#define X(id, name) CRASH_##id,
        CRASH_POINT_TABLE(X)
#undef X
        _CRASH_POINT_MAX,
} CrashPoint;

#if HAVE_CRASH_POINTS
void crash_point(CrashPoint p);
#else
static inline void crash_point(CrashPoint p) {
}
#endif
