/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests to the child and its lines: what is taken says the same when it is written and read again. */

#include "basic/string-util.h"
#include "oci/layer-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(const char *text) {
        _cleanup_free_ char *a = NULL, *b = NULL;
        _cleanup_refusal_ Refusal *refusal = NULL;
        LayerRequest r, again;

        if (layer_request_from_json(text, &r, &refusal) < 0) {
                assert(refusal && utf8_is_valid(refusal->message));
                return;
        }
        assert(layer_request_to_json(&r, &a) >= 0);
        assert(layer_request_from_json(a, &again, NULL) >= 0);
        assert(layer_request_to_json(&again, &b) >= 0);
        assert(streq(a, b));
        layer_request_done(&r);
        layer_request_done(&again);
}

static void try_line(const char *text) {
        _cleanup_free_ char *a = NULL, *b = NULL;
        LayerLine l, again;

        if (layer_line_from_json(text, &l) < 0)
                return;
        assert(layer_line_to_json(&l, &a) >= 0);
        assert(layer_line_from_json(a, &again) >= 0);
        assert(layer_line_to_json(&again, &b) >= 0);
        assert(streq(a, b));
        layer_line_done(&l);
        layer_line_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);

        if (text) {
                try_request(text);
                try_line(text);
        }
        return 0;
}
