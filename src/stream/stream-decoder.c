/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "stream/stream-decoder.h"

char *stream_decoder_space(StreamDecoder *d, size_t *ret_size) {
        size_t run = d->run_end - d->run, raw = d->raw_end - d->raw;

        if (run + raw == 0)
                d->run = d->run_end = d->raw = d->raw_end = 0;
        /* Not for every few bytes. */
        else if (sizeof(d->buffer) - d->raw_end < sizeof(d->buffer) / 4 && run + raw <= sizeof(d->buffer) / 2) {
                memmove(d->buffer, d->buffer + d->run, run);
                memmove(d->buffer + run, d->buffer + d->raw, raw);
                d->run = 0;
                d->run_end = d->raw = run;
                d->raw_end = run + raw;
        }
        *ret_size = sizeof(d->buffer) - d->raw_end;
        return d->buffer + d->raw_end;
}

void stream_decoder_received(StreamDecoder *d, size_t size) {
        d->raw_end += size;
}

int stream_decoder_head(StreamDecoder *d, StreamHead *ret) {
        ssize_t n = stream_head_parse(d->buffer + d->raw, d->raw_end - d->raw, ret);

        if (n <= 0)
                return (int) n;
        memmove(d->buffer, d->buffer + d->raw + n, d->raw_end - d->raw - (size_t) n);
        d->raw_end -= d->raw + (size_t) n;
        d->raw = 0;
        return 1;
}

void stream_decoder_begin(StreamDecoder *d, const StreamBody *body, bool framed) {
        d->body = *body;
        d->framed = framed;
        d->run = d->run_end = d->raw;
}

/* How many bytes at raw are of one stream. */
static int find_payload(StreamDecoder *d) {
        size_t skip;
        int r;

        while (d->frame_size == 0) {
                if (d->body_size == 0) {
                        r = stream_body_step(&d->body, d->buffer + d->raw, d->raw_end - d->raw, &skip, &d->body_size);
                        if (r < 0)
                                return r;
                        d->raw += skip;
                        if (d->body_size == 0)
                                return 0;
                }
                skip = 0;
                if (d->framed)
                        r = stream_frames_step(&d->frames, d->buffer + d->raw, d->body_size, &skip, &d->frame_size, &d->frame_stream);
                else {
                        d->frame_size = d->body_size;
                        d->frame_stream = STREAM_FRAME_STDOUT;
                        r = 0;
                }
                if (r < 0)
                        return r;
                d->raw += skip;
                d->body_size -= skip;
        }
        return 0;
}

int stream_decoder_run(StreamDecoder *d, const char **ret_data, size_t *ret_size, unsigned *ret_stream) {
        for (;;) {
                if (!d->broken && find_payload(d) < 0)
                        d->broken = true;
                /* What came in order before the mistake is not lost. */
                if (d->broken && d->run == d->run_end)
                        return -EBADMSG;
                if (d->broken || d->frame_size == 0)
                        break;
                if (d->run == d->run_end) {
                        d->run = d->run_end = d->raw;
                        d->run_stream = d->frame_stream;
                } else if (d->run_stream != d->frame_stream)
                        break;
                /* Short frames, as of single lines, become one run. */
                if (d->run_end != d->raw)
                        memmove(d->buffer + d->run_end, d->buffer + d->raw, d->frame_size);
                d->run_end += d->frame_size;
                d->raw += d->frame_size;
                d->body_size -= d->frame_size;
                d->frame_size = 0;
        }
        *ret_data = d->buffer + d->run;
        *ret_size = d->run_end - d->run;
        *ret_stream = d->run_stream;
        return 0;
}

void stream_decoder_take(StreamDecoder *d, size_t size) {
        d->run += size;
}

int stream_decoder_end(StreamDecoder *d, bool closed) {
        if (closed && stream_body_close(&d->body) < 0)
                return -EBADMSG;
        return !d->framed || stream_frames_whole(&d->frames) ? 0 : -EBADMSG;
}
