/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The Engine's streams, cut at every place: the first byte of the input says into how long pieces. */

#include <assert.h>

#include "provider/engine-json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_object(json_t *object, void *userdata) {
        size_t *count = userdata;

        assert(json_is_object(object));
        (void) json_timestamp(json_at(object, "time"));
        (void) json_u64(json_at(object, "timeNano"));
        (void) json_string_at(object, "Actor", "Attributes", "name");
        (*count)++;
        return 0;
}

static int feed(const char *data, size_t size, size_t piece, size_t *ret_count) {
        JsonStream s = {};
        int r = 0;

        *ret_count = 0;
        for (size_t at = 0; at < size && r >= 0; at += piece)
                r = json_stream_feed(&s, data + at, size - at < piece ? size - at : piece, on_object, ret_count);
        json_stream_done(&s);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t whole, cut;
        int r, q;

        if (size < 1)
                return 0;
        r = feed((const char *) data + 1, size - 1, size, &whole);
        q = feed((const char *) data + 1, size - 1, data[0] % 64 + 1U, &cut);
        /* How the bytes arrive must make no difference. */
        assert((r < 0) == (q < 0));
        assert(whole == cut);
        return 0;
}
