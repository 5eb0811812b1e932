/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the Engine and reads its answer as far as the stream that follows it. */

#include "stream/stream-decoder.h"
#include "stream/stream-request.h"

/* 0: granted, `d` is at the begin of the stream. -EBADRQC: *ret (which the caller frees) says why not. Else -errno. */
int stream_ask(const StreamRequest *r, StreamDecoder *d, int *ret_socket, StreamMessage *ret);
/* What is said when it could not be asked. */
int stream_failed(StreamMessage *ret, const char *format, ...) _printf_(2, 3);
