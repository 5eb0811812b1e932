/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image that is in a registry: its manifest and config. */

#include "oci/manifest.h"
#include "oci/reference.h"
#include "oci/registry.h"

typedef struct LayerImage {
        ImageReference reference;       /* with the digest of the manifest for this machine */
        Registry *registry;             /* its repository */
        Manifest manifest;
        ImageConfig config;
} LayerImage;

void layer_image_done(LayerImage *i);
#define _cleanup_layer_image_ _cleanup_(layer_image_done)

/* By tag or digest; follows an index to linux on this architecture. Refuses with NoSuchImage when the registry does
 * not have it. */
int layer_image_open(const LayerRegistry *configured, const char *image, LayerImage *ret, Refusal **reterr_refusal);

uint64_t layer_image_bytes(const LayerImage *i);        /* of all layers */
