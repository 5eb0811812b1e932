/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From an overlay upperdir to the entries of a layer: the whole directory, or, with an index of an earlier generation,
 * what changed since then, with whiteouts for what vanished.
 *
 * On-disk forms (kernel, Documentation/filesystems/overlayfs.rst): a whiteout is a character device 0:0, all of a mount
 * share one inode; a directory with trusted.overlay.opaque = "y" hides what lies below it; redirect and metacopy mean
 * that the data are in another layer, which cannot be read from here. */

#include <stdatomic.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"
#include "oci/layer-index.h"
#include "oci/layer-links.h"
#include "oci/layer-tar.h"

#define LAYER_DROPPED_MAX 100U
/* Files with a change time so shortly before the moment of an index may have been written to once more in the same
 * tick of the kernel's clock. */
#define LAYER_TICK_USEC (20 * USEC_PER_MSEC)

typedef struct LayerWalk {
        /* set by the caller; nothing is owned but `resend` and `dropped` */
        const char *upperdir;
        LayerIndexReader *index;        /* or NULL: everything */
        LayerIndexWriter *new_index;    /* or NULL */
        LayerTar *tar;
        bool live;                      /* not frozen: what changes while being read is padded or cut, and comes again in
                                         * the pass after this one */
        bool lossy;
        const atomic_bool *cancel;
        atomic_uint_fast64_t *bytes;    /* progress */
        LayerLinks resend;              /* inodes to emit whatever the index says; kept over calls */
        Strv dropped;                   /* filled; printable */
        size_t n_dropped;
} LayerWalk;

/* Walks and emits. -EAGAIN: a linked file turned out to have been passed over although another of its names is new;
 * `resend` knows it now: do it again. -ESTALE: the index does not describe this directory: a full walk is needed.
 * Refuses (FilesRefused, FilesChanged) by name. */
int layer_walk_run(LayerWalk *w, Refusal **reterr_refusal);
void layer_walk_done(LayerWalk *w);
