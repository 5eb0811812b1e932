/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The proof that an image's layers are in the registry, by reading them back. */

#include <stdatomic.h>

#include "oci/blob-pieces.h"
#include "oci/manifest.h"
#include "oci/registry.h"

/* Layers `from` to n of any image: session layers whole, by their digest, base layers at their end. */
int layer_prove_image(Registry *g, const Manifest *m, size_t from, atomic_uint_fast64_t *progress, Refusal **reterr_refusal);

/* A layer that was sent just now: whole, by its pieces, over two connections, `g` and another one that is opened as `configured`: a
 * registry sends over one what a processor reads, and here that is half of them. */
int layer_prove_sent(const LayerRegistry *configured, Registry *g, const Descriptor *d, const BlobPieces *pieces, atomic_uint_fast64_t *progress,
                     Refusal **reterr_refusal);
