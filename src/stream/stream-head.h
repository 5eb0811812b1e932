/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The head of an HTTP/1.1 answer: its status, and where its body ends. */

#include "basic/macro.h"
#include "stream/stream-body.h"

#define STREAM_HEAD_MAX (64 * KIB)

typedef struct StreamHead {
        long status;            /* 100 to 999 */
        StreamBody body;        /* at its begin */
} StreamHead;

/* How long the head is if it is there as a whole, 0 if more is needed, -EBADMSG: what came is none, or it is longer than
 * STREAM_HEAD_MAX. */
ssize_t stream_head_parse(const char *data, size_t size, StreamHead *ret);

/* The Engine's reason from what it sent with a refusal, {"message":…} or text, as UTF-8 without control characters and of at most
 * STREAM_MESSAGE_MAX bytes; never empty. NULL when memory is short. */
char *stream_head_reason(long status, const char *body, size_t size);
