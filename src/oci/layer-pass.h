/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One pass of a push over the upperdir: walk, tar, stream, with the attempts that a broken connection or a divided group
 * of hard links needs. */

#include "oci/layer-channel.h"
#include "oci/layer-index.h"
#include "oci/layer-stream.h"

typedef struct LayerPass {
        /* set by the caller, not owned */
        const char *upperdir;
        LayerIndexReader *index;        /* or NULL */
        const char *new_index;          /* path, or NULL */
        Registry *registry;
        uint32_t salt;                  /* of the stream */
        LayerChannel *channel;
        bool live, lossy;
        /* Called once, in another thread, when everything has been read; no attempt after that reads again. */
        int (*on_read)(void *userdata);
        void *userdata;
        /* filled, owned by the pass */
        bool read_done;
        LayerIndexWriter *writer;
        LayerStreamResult stream;
        uint64_t entries;
        Strv dropped;
} LayerPass;

/* -ESTALE: the index does not fit; needs a full walk. */
int layer_pass_run(LayerPass *p, Refusal **reterr_refusal);
void layer_pass_done(LayerPass *p);
