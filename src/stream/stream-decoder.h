/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What has come from the Engine and is not written yet: the head of its answer, then runs of bytes of one stream each, with the
 * chunks and frames between them taken out. It holds this much and no more; who does not take the runs is not sent further. */

#include "stream/stream-body.h"
#include "stream/stream-frames.h"
#include "stream/stream-head.h"

#define STREAM_DECODER_SIZE STREAM_HEAD_MAX

/* The buffer is [run, run_end) what is decoded and not taken, a gap, [raw, raw_end) what is as it came. */
typedef struct StreamDecoder {
        StreamBody body;
        StreamFrames frames;
        bool framed, broken;
        size_t run, run_end, raw, raw_end;
        size_t body_size;               /* at raw: known to be of the body */
        size_t frame_size;              /* of that: known to be of a frame of this stream */
        unsigned frame_stream, run_stream;
        char buffer[STREAM_DECODER_SIZE];
} StreamDecoder;

/* Where to receive; *ret_size is 0 while it is full. */
char *stream_decoder_space(StreamDecoder *d, size_t *ret_size);
void stream_decoder_received(StreamDecoder *d, size_t size);

/* 1: the head is there and taken, 0: not yet, -EBADMSG. The head of an interim answer (100 to 199, but not 101) is one as well. */
int stream_decoder_head(StreamDecoder *d, StreamHead *ret);

/* From here on it is that body. */
void stream_decoder_begin(StreamDecoder *d, const StreamBody *body, bool framed);
/* *ret_size is 0 when more is needed, or there is none. The same is returned until it is taken. -EBADMSG. */
int stream_decoder_run(StreamDecoder *d, const char **ret_data, size_t *ret_size, unsigned *ret_stream);
void stream_decoder_take(StreamDecoder *d, size_t size);

/* Nothing comes any more, and all runs are taken: 0, or -EBADMSG if something is cut off. `closed`: so is the connection. */
int stream_decoder_end(StreamDecoder *d, bool closed);
