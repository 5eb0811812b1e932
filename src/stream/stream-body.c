/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "stream/stream-body.h"

#define CHUNK_LINE_MAX (4 * KIB)        /* extensions come after the size */
#define TRAILER_MAX (64 * KIB)

/* SIZE [;EXTENSION] CR LF, that many bytes, CR LF, and so on; after a SIZE of 0 the lines of the trailer and an empty one. */
enum {
        CHUNK_SIZE_FIRST,
        CHUNK_SIZE,
        CHUNK_EXTENSION,
        CHUNK_SIZE_LF,
        CHUNK_DATA,
        CHUNK_DATA_CR,
        CHUNK_DATA_LF,
        TRAILER_BEGIN,          /* of a line */
        TRAILER_LINE,
        TRAILER_LINE_LF,
        TRAILER_END_LF,
};

void stream_body_begin(StreamBody *b, StreamBodyFraming framing, uint64_t length) {
        *b = (StreamBody) {
                .framing = framing,
                .left = length,
                .state = CHUNK_SIZE_FIRST,
                .ended = framing == STREAM_BODY_LENGTH && length == 0,
        };
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size(StreamBody *b, char c) {
        int digit = hex_digit(c);

        if (digit >= 0) {
                /* More digits than a number has are refused also where they are zeros. */
                if (b->left >> 60 || b->line > 16)
                        return -EBADMSG;
                b->left = b->left << 4 | (unsigned) digit;
                b->state = CHUNK_SIZE;
                return 0;
        }
        if (b->state == CHUNK_SIZE_FIRST)
                return -EBADMSG;
        if (c == '\r')
                b->state = CHUNK_SIZE_LF;
        else if (c == ';' || c == ' ' || c == '\t')
                b->state = CHUNK_EXTENSION;
        else
                return -EBADMSG;
        return 0;
}

static int expect(StreamBody *b, char c, char expected, unsigned next) {
        if (c != expected)
                return -EBADMSG;
        b->state = next;
        return 0;
}

static int chunk_byte(StreamBody *b, char c) {
        if (++b->line > (b->state >= TRAILER_BEGIN ? TRAILER_MAX : CHUNK_LINE_MAX))
                return -EBADMSG;
        switch (b->state) {
        case CHUNK_SIZE_FIRST:
        case CHUNK_SIZE:
                return chunk_size(b, c);
        case CHUNK_EXTENSION:
                if (c == '\r')
                        b->state = CHUNK_SIZE_LF;
                return c == '\n' ? -EBADMSG : 0;
        case CHUNK_SIZE_LF:
                b->line = 0;
                return expect(b, c, '\n', b->left > 0 ? CHUNK_DATA : TRAILER_BEGIN);
        case CHUNK_DATA_CR:
                return expect(b, c, '\r', CHUNK_DATA_LF);
        case CHUNK_DATA_LF:
                b->line = 0;
                return expect(b, c, '\n', CHUNK_SIZE_FIRST);
        case TRAILER_BEGIN:
                b->state = c == '\r' ? TRAILER_END_LF : TRAILER_LINE;
                return c == '\n' ? -EBADMSG : 0;
        case TRAILER_LINE:
                if (c == '\r')
                        b->state = TRAILER_LINE_LF;
                return c == '\n' ? -EBADMSG : 0;
        case TRAILER_LINE_LF:
                return expect(b, c, '\n', TRAILER_BEGIN);
        case TRAILER_END_LF:
                b->ended = c == '\n';
                return b->ended ? 0 : -EBADMSG;
        }
        return -EBADMSG;
}

int stream_body_step(StreamBody *b, const char *data, size_t size, size_t *ret_skip, size_t *ret_size) {
        size_t skip = 0, n = 0;

        while (b->framing == STREAM_BODY_CHUNKED && b->state != CHUNK_DATA && !b->ended && skip < size) {
                int r = chunk_byte(b, data[skip++]);
                if (r < 0)
                        return r;
        }
        if (b->framing == STREAM_BODY_UNTIL_CLOSE)
                n = size;
        else if (!b->ended && (b->framing == STREAM_BODY_LENGTH || b->state == CHUNK_DATA)) {
                n = (size_t) MIN(b->left, (uint64_t) (size - skip));
                b->left -= n;
                if (b->left == 0 && b->framing == STREAM_BODY_LENGTH)
                        b->ended = true;
                else if (b->left == 0)
                        b->state = CHUNK_DATA_CR;
        }
        *ret_skip = skip;
        *ret_size = n;
        return 0;
}

int stream_body_close(StreamBody *b) {
        if (b->framing == STREAM_BODY_UNTIL_CLOSE)
                b->ended = true;
        return b->ended ? 0 : -EBADMSG;
}
