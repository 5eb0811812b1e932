/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a push builds upon: brings the parent's layers into the repository of the sessions (mounted from another
 * repository of the registry, copied from another registry) and proves them, in a thread beside the new layer's. */

#include <pthread.h>

#include "oci/layer-image.h"

typedef struct LayerBase {
        const LayerRegistry *configured;
        const LayerImage *parent;       /* its registry is used by nobody else meanwhile */
        Registry *target;               /* own connection */
        pthread_t thread;
        bool running;
        atomic_bool cancel;
        int result;
        Refusal *refusal;
} LayerBase;

/* `host`/`repository`: the sessions'. */
int layer_base_start(LayerBase *b, const LayerRegistry *configured, const LayerImage *parent, const char *host, const char *repository);
int layer_base_wait(LayerBase *b, Refusal **reterr_refusal);
void layer_base_done(LayerBase *b);     /* stops it */
