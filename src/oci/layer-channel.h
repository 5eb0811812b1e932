/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The child's end of the protocol in layer-request.h: request from stdin, lines to stdout. A thread of its own writes the
 * progress and ends the process at once when stdin closes or SIGTERM comes: a child without its agent has no result
 * to give, and what it left behind in a registry is purged there. */

#include <stdatomic.h>

#include "basic/macro.h"
#include "oci/layer-request.h"

typedef struct LayerChannel LayerChannel;

/* Reads the first line, which the caller wipes and frees. */
int layer_channel_read_request(char **ret_line);

/* Starts the thread. One a process. */
int layer_channel_open(LayerChannel **ret);

/* What progress lines say from now on. `stage` must stay; total -1 = unknown. */
void layer_channel_stage(LayerChannel *c, const char *stage, int64_t total);
atomic_uint_fast64_t *layer_channel_counter(LayerChannel *c);

/* Writes "freeze" and waits for "frozen". */
int layer_channel_freeze(LayerChannel *c);
int layer_channel_read_done(LayerChannel *c);
/* The last line. Nothing is written after it. */
int layer_channel_finish(LayerChannel *c, const LayerLine *line);
