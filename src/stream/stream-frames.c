/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "stream/stream-frames.h"

static int parse_header(StreamFrames *f) {
        const uint8_t *h = f->header;

        if (h[0] > STREAM_FRAME_ERROR || h[1] != 0 || h[2] != 0 || h[3] != 0)
                return -EBADMSG;
        f->left = (uint32_t) h[4] << 24 | (uint32_t) h[5] << 16 | (uint32_t) h[6] << 8 | h[7];
        return 0;
}

int stream_frames_step(StreamFrames *f, const char *data, size_t size, size_t *ret_skip, size_t *ret_size, unsigned *ret_stream) {
        size_t skip = 0, n;

        /* Frames without bytes are stepped over as well. */
        while (f->left == 0 && skip < size) {
                if (f->have == STREAM_FRAME_HEADER)
                        f->have = 0;
                n = MIN(STREAM_FRAME_HEADER - f->have, size - skip);
                memcpy(f->header + f->have, data + skip, n);
                f->have += n;
                skip += n;
                if (f->have == STREAM_FRAME_HEADER && parse_header(f) < 0)
                        return -EBADMSG;
        }
        n = MIN((size_t) f->left, size - skip);
        f->left -= (uint32_t) n;
        *ret_skip = skip;
        *ret_size = n;
        *ret_stream = f->header[0];
        return 0;
}
