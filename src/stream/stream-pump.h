/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Carries the bytes to and fro until one side is at its end. Each direction has one buffer; a side that does not read stops
 * the one that writes to it, and nothing else. */

#include "stream/stream-decoder.h"
#include "stream/stream-io.h"

typedef struct StreamPump StreamPump;

/* Looks at the descriptors and takes the terminal. -EBADRQC: *ret says what is wrong with them. */
int stream_pump_open(const StreamRequest *r, StreamPump **ret, StreamMessage *ret_message);
/* Where the answer is received to. */
StreamDecoder *stream_pump_decoder(StreamPump *p);
/* Returns when it is over; *ret says how. It says sizes of the terminal meanwhile. */
int stream_pump_run(StreamPump *p, int socket, StreamMessage *ret);
StreamPump *stream_pump_free(StreamPump *p);
DEFINE_CLEANUP(StreamPump *, stream_pump_free)
