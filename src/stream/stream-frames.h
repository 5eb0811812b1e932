/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Engine's stream of what has no terminal: {STREAM, 0, 0, 0, SIZE as 4 bytes big endian}, then SIZE bytes of that stream. A
 * size of up to 4 GiB is passed through as it comes. */

#include "basic/macro.h"

#define STREAM_FRAME_HEADER 8U

enum {
        STREAM_FRAME_STDIN = 0,         /* what the command was given, where it is shown: on stdout */
        STREAM_FRAME_STDOUT = 1,
        STREAM_FRAME_STDERR = 2,
        STREAM_FRAME_ERROR = 3,         /* the Engine's own: why the stream is not going on */
};

typedef struct StreamFrames {
        uint8_t header[STREAM_FRAME_HEADER];
        size_t have;                    /* of the header */
        uint32_t left;                  /* of the frame */
} StreamFrames;

/* As stream_body_step(), *ret_stream says whose the bytes are. -EBADMSG: no header. */
int stream_frames_step(StreamFrames *f, const char *data, size_t size, size_t *ret_skip, size_t *ret_size, unsigned *ret_stream);

/* Whether it may end here: between frames. */
static inline bool stream_frames_whole(const StreamFrames *f) {
        return f->left == 0 && (f->have == 0 || f->have == STREAM_FRAME_HEADER);
}
