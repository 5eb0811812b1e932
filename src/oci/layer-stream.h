/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A tar, as it is produced, to a blob in a registry: hashed, compressed and sent at once, in bounded memory, with no
 * byte on a disk. Threads: the producer, one that hashes the tar, two that compress; the caller's sends.
 *
 * The tar is cut into pieces of exactly 256 KiB, each a gzip member of its own (RFC 1952, 2.2: members follow each other;
 * Docker reads them), so that the same tar with the same salt gives the same blob on the same kind of CPU. */

#include <stdatomic.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "oci/blob-pieces.h"
#include "oci/layer-tar.h"
#include "oci/manifest.h"
#include "oci/registry.h"

typedef struct LayerStreamSpec {
        /* Runs in a thread of its own and writes the tar to the sink; returns when all is read. */
        int (*produce)(layer_tar_sink sink, layer_tar_place place, void *sink_userdata, void *userdata, Refusal **reterr_refusal);
        void *userdata;
        Registry *registry;
        /* Goes into the blob. A registry that holds a damaged blob keeps it when the same bytes come once more (distribution
         * 2.8), so a push that is tried again must have others. */
        uint32_t salt;
        atomic_bool *cancel;            /* set here on a failure, so that the producer stops */
        atomic_uint_fast64_t *sent;     /* progress: compressed bytes */
        unsigned *breaks;               /* uploads that broke and were to be tried again, of all streams for this layer */
} LayerStreamSpec;

typedef struct LayerStreamResult {
        NewLayer layer;
        BlobPieces pieces;              /* of its blob; the caller's */
        bool empty;                     /* nothing was produced, nothing sent */
        usec_t read_usec, upload_usec;
} LayerStreamResult;

/* An upload that breaks is tried again from memory while all pieces are still there. -ECONNRESET with the refusal: it may be
 * tried again, but the tar has to be produced anew. */
int layer_stream_run(const LayerStreamSpec *spec, LayerStreamResult *ret, Refusal **reterr_refusal);

/* Sleeps after attempt `n` (1, 2) of something that `g` has failed in. -ECANCELED. */
int layer_stream_back_off(unsigned n, const Registry *g, const atomic_bool *cancel);
#define LAYER_STREAM_RETRIES 2U
