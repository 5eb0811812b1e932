/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where the bytes of an HTTP body are among those of the connection. Nothing is kept of them: they may be more than fit into
 * any memory. */

#include "basic/macro.h"

typedef enum StreamBodyFraming {
        STREAM_BODY_UNTIL_CLOSE,
        STREAM_BODY_LENGTH,
        STREAM_BODY_CHUNKED,
} StreamBodyFraming;

typedef struct StreamBody {
        StreamBodyFraming framing;
        uint64_t left;          /* of the body, or of this chunk */
        unsigned state;         /* of the chunks: stream-body.c */
        unsigned line;          /* bytes of the line or of the trailer so far */
        bool ended;
} StreamBody;

void stream_body_begin(StreamBody *b, StreamBodyFraming framing, uint64_t length);

/* Steps over what is not body: *ret_skip bytes of `data`; then come *ret_size bytes of it, which are taken as read. Both 0: more
 * is needed, or it has ended. -EBADMSG: no chunks. */
int stream_body_step(StreamBody *b, const char *data, size_t size, size_t *ret_skip, size_t *ret_size);

/* The connection is closed. -EBADMSG: within the body. */
int stream_body_close(StreamBody *b);
