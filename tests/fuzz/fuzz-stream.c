/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An Engine's answer and the stream behind it, cut at every place: the first byte of the input says into how long pieces, and
 * whether the stream has frames. */

#include "stream/stream-decoder.h"
#include "stream/stream-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Outcome {
        long status;
        int result;             /* 0: a whole stream */
        uint64_t bytes, sum;
} Outcome;

static void take(StreamDecoder *d, Outcome *o, const char *data, size_t size, unsigned stream) {
        for (size_t i = 0; i < size; i++)
                o->sum = (o->sum ^ (uint8_t) data[i] ^ stream << 8) * UINT64_C(0x100000001b3);
        o->bytes += size;
        stream_decoder_take(d, size);
}

/* 1: it is over. */
static int decode(StreamDecoder *d, Outcome *o, bool framed) {
        const char *run;
        unsigned stream;
        size_t n;

        if (o->status == 0) {
                StreamHead head;
                int r = stream_decoder_head(d, &head);

                if (r <= 0) {
                        o->result = r;
                        return r < 0;
                }
                assert(head.status >= 100 && head.status <= 999);
                o->status = head.status;
                stream_decoder_begin(d, &head.body, framed);
        }
        for (;;) {
                o->result = stream_decoder_run(d, &run, &n, &stream);
                if (o->result < 0)
                        return 1;
                if (n == 0)
                        break;
                assert(stream <= STREAM_FRAME_ERROR);
                if (o->bytes == 0) {
                        _cleanup_free_ char *reason = stream_head_reason(o->status, run, MIN(n, 16U));
                        assert(reason && *reason && utf8_is_valid(reason));
                }
                /* Not all of it: the rest must be there the next time. */
                take(d, o, run, (n + 1) / 2, stream);
        }
        return d->body.ended;
}

static Outcome feed(StreamDecoder *d, const char *data, size_t size, size_t piece, bool framed) {
        Outcome o = {};
        size_t at = 0, space;

        memset(d, 0, sizeof(*d));
        while (at < size) {
                char *to = stream_decoder_space(d, &space);
                size_t n = MIN(MIN(space, piece), size - at);

                assert(n > 0 && to + n <= d->buffer + sizeof(d->buffer));
                memcpy(to, data + at, n);
                stream_decoder_received(d, n);
                at += n;
                if (decode(d, &o, framed))
                        break;
        }
        if (o.result == 0)
                o.result = stream_decoder_end(d, at == size);
        return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        StreamDecoder *d;
        Outcome whole, cut;
        bool framed;

        if (size < 1)
                return 0;
        d = malloc(sizeof(*d));
        assert(d);
        framed = data[0] & 0x80;
        whole = feed(d, (const char *) data + 1, size - 1, size, framed);
        cut = feed(d, (const char *) data + 1, size - 1, data[0] % 64 + 1U, framed);
        free(d);
        /* How the bytes arrive must make no difference. */
        assert(whole.status == cut.status && whole.result == cut.result && whole.bytes == cut.bytes && whole.sum == cut.sum);
        return 0;
}
