/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests to the child that carries streams, and its lines: what is taken says the same when it is written and read again. */

#include "stream/stream-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(const char *data, size_t size) {
        _cleanup_free_ char *a = NULL, *b = NULL;
        StreamRequest r, again;

        if (stream_request_from_json(data, size, &r) < 0)
                return;
        /* Of these the first lines of an HTTP request are made. */
        assert(!strpbrk(r.path, " \r\n") && !strpbrk(r.method, " \r\n"));
        assert(stream_request_to_json(&r, &a) >= 0);
        assert(stream_request_from_json(a, strlen(a), &again) >= 0);
        assert(stream_request_to_json(&again, &b) >= 0);
        assert(streq(a, b));
        stream_request_done(&r);
        stream_request_done(&again);
}

static void try_message(const char *data, size_t size) {
        _cleanup_free_ char *a = NULL, *b = NULL;
        StreamMessage m, again;

        if (stream_message_from_json(data, size, &m) < 0)
                return;
        assert(!m.message || strlen(m.message) <= STREAM_MESSAGE_MAX);
        assert(m.rows <= UINT16_MAX && m.columns <= UINT16_MAX);
        assert(stream_message_to_json(&m, &a) >= 0);
        assert(stream_message_from_json(a, strlen(a), &again) >= 0);
        assert(stream_message_to_json(&again, &b) >= 0);
        assert(streq(a, b));
        stream_message_done(&m);
        stream_message_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        try_request((const char *) data, size);
        try_message((const char *) data, size);
        return 0;
}
