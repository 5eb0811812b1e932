/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verb `push`: writable layer → blobs, config, manifest, proof, index. */

#include "oci/layer-channel.h"
#include "oci/layer-request.h"

/* Fills *ret, also on failure as far as it came; layer_result_done() frees it. -EBADRQC with the refusal; -ECANCELED; -errno: this
 * machine's fault. */
int layer_push(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal);
