/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "oci/layer-request.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define IMAGE "10.99.0.1:5000/library/base@" DIGEST

static LayerRequest full_request(void) {
        return (LayerRequest) {
                .verb = LAYER_PUSH,
                .registry = { (char *) "https://registry.example.com:5000", (char *) "/etc/ca.pem", (char *) "user", (char *) "pa\"ss\\\n\xc3\xa9", 1000000 },
                .image = (char *) IMAGE,
                .repository = (char *) "sessions/default",
                .tag = (char *) "s-g1",
                .session = (char *) "0123",
                .generation = 1,
                .job = UINT64_C(1) << 62,
                .upperdir = (char *) "/var/lib/docker/overlay2/x/diff",
                .fallback_image = (char *) IMAGE,
                .index = (char *) "/run/a",
                .new_index = (char *) "/run/b",
                .frozen_realtime_usec = UINT64_C(1700000000000000),
                .precopy = true,
                .lossy = true,
                .layers_max = 100,
        };
}

static void test_request_round_trip(void **state) {
        LayerRequest in = full_request(), out;
        _cleanup_free_ char *a = NULL, *b = NULL;
        _cleanup_refusal_ Refusal *refusal = NULL;

        assert_int_equal(layer_request_to_json(&in, &a), 0);
        assert_ptr_equal(strchr(a, '\n'), a + strlen(a) - 1);
        assert_int_equal(layer_request_from_json(a, &out, &refusal), 0);
        assert_int_equal(layer_request_to_json(&out, &b), 0);
        assert_string_equal(a, b);
        assert_int_equal(out.verb, LAYER_PUSH);
        assert_string_equal(out.registry.password, in.registry.password);
        assert_int_equal(out.job, in.job);
        assert_int_equal(out.frozen_realtime_usec, in.frozen_realtime_usec);
        assert_true(out.precopy && out.lossy);
        assert_int_equal(out.layers_max, 100);
        layer_request_done(&out);
        assert_null(out.image);
}

static void test_minimal_requests(void **state) {
        static const char *const good[] = {
                "{\"verb\":\"resolve\",\"image\":\"alpine\"}",
                "{\"verb\":\"delete\",\"image\":\"" IMAGE "\"}\n",
                "{\"verb\":\"verify\",\"registry\":{\"url\":\"http://10.99.0.1:5000\"},\"image\":\"" IMAGE "\"}",
                "{\"verb\":\"push\",\"registry\":{\"url\":\"http://h\"},\"image\":\"" IMAGE "\",\"repository\":\"a\",\"tag\":\"t\",\"session\":\"s\",\"upperdir\":\"/u\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                LayerRequest r;
                assert_int_equal(layer_request_from_json(good[i], &r, NULL), 0);
                layer_request_done(&r);
        }
}

static void test_bad_requests(void **state) {
        static const char *const bad[] = {
                "", "{", "[]", "null", "{}", "\"x\"", "{\"verb\":\"resolve\"}", "{\"verb\":\"none\",\"image\":\"a\"}", "{\"verb\":3,\"image\":\"a\"}",
                "{\"verb\":\"resolve\",\"image\":\"a\"} x", "{\"verb\":\"resolve\",\"image\":\"a\",\"image\":\"b\"}", "{\"verb\":\"resolve\",\"image\":7}",
                "{\"verb\":\"resolve\",\"image\":\"a\",\"more\":1}", "{\"verb\":\"resolve\",\"image\":\"a\",\"registry\":[]}",
                "{\"verb\":\"resolve\",\"image\":\"a\",\"registry\":{\"url\":\"x\"}}", "{\"verb\":\"resolve\",\"image\":\"a\",\"registry\":{\"token\":\"x\"}}",
                "{\"verb\":\"resolve\",\"image\":\"a\",\"registry\":{\"url\":\"http://h\",\"ca_file\":\"relative\"}}",
                "{\"verb\":\"resolve\",\"image\":\"a\",\"generation\":-1}", "{\"verb\":\"resolve\",\"image\":\"a\",\"generation\":1.5}",
                "{\"verb\":\"resolve\",\"image\":\"a\",\"layers_max\":4294967296}", "{\"verb\":\"resolve\",\"image\":\"a\",\"lossy\":\"yes\"}",
                "{\"verb\":\"resolve\",\"image\":\"a\\u0000b\"}", "{\"verb\":\"resolve\",\"image\":\"\xff\"}",
                "{\"verb\":\"delete\",\"image\":\"\"}", "{\"verb\":\"push\",\"image\":\"" IMAGE "\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                LayerRequest r;
                if (layer_request_from_json(bad[i], &r, &refusal) != -EBADRQC)
                        fail_msg("%s was taken", bad[i]);
                assert_int_equal(refusal->code, REFUSAL_INVALID_ARGUMENT);
                assert_int_equal(r.verb, _LAYER_VERB_INVALID);
        }
}

static void test_limits(void **state) {
        LayerRequest r = full_request(), out;
        _cleanup_free_ char *line = NULL, *path = malloc(5001), *huge = malloc(2 * MIB);

        memset(path, '/', 5000);
        path[5000] = 0;
        r.upperdir = path;
        assert_int_equal(layer_request_to_json(&r, &line), 0);
        assert_int_equal(layer_request_from_json(line, &out, NULL), -EBADRQC);
        memset(huge, ' ', 2 * MIB - 1);
        huge[2 * MIB - 1] = 0;
        assert_int_equal(layer_request_from_json(huge, &out, NULL), -EBADRQC);
        r = full_request();
        r.generation = UINT64_MAX;
        free(line);
        line = NULL;
        assert_true(layer_request_to_json(&r, &line) < 0);
        r = full_request();
        r.session = (char *) "\xff";
        assert_true(layer_request_to_json(&r, &line) < 0);
        r = full_request();
        r.verb = _LAYER_VERB_MAX;
        assert_int_equal(layer_request_to_json(&r, &line), -EINVAL);
}

static void line_round_trip(LayerLine *in, LayerLine *out) {
        _cleanup_free_ char *a = NULL, *b = NULL;

        assert_int_equal(layer_line_to_json(in, &a), 0);
        assert_int_equal(layer_line_from_json(a, out), 0);
        assert_int_equal(layer_line_to_json(out, &b), 0);
        assert_string_equal(a, b);
}

static void test_lines(void **state) {
        LayerLine out;

        line_round_trip(&(LayerLine) { .type = LAYER_LINE_PROGRESS, .stage = (char *) "saving", .bytes_done = 5, .bytes_total = -1 }, &out);
        assert_string_equal(out.stage, "saving");
        assert_int_equal(out.bytes_total, -1);
        layer_line_done(&out);
        line_round_trip(&(LayerLine) { .type = LAYER_LINE_FREEZE }, &out);
        layer_line_done(&out);
        line_round_trip(&(LayerLine) { .type = LAYER_LINE_READ_DONE }, &out);
        layer_line_done(&out);
        line_round_trip(&(LayerLine) { .type = LAYER_LINE_ERROR, .refusal = &(Refusal) { REFUSAL_REGISTRY_FAILED, (char *) "It said no." } }, &out);
        assert_int_equal(out.refusal->code, REFUSAL_REGISTRY_FAILED);
        layer_line_done(&out);
        char *dropped[] = { (char *) "/a (socket)", (char *) "/b (socket)", NULL };
        line_round_trip(&(LayerLine) { .type = LAYER_LINE_RESULT, .result = { .image = (char *) IMAGE, .manifest_digest = (char *) DIGEST, .bytes = 1,
                                       .entries = 3, .session_layers = 2, .unchanged = true, .dropped = dropped, .proof_usec = 9 } }, &out);
        assert_string_equal(out.result.dropped[1], "/b (socket)");
        assert_true(out.result.unchanged);
        layer_line_done(&out);
}

static void test_bad_lines(void **state) {
        static const char *const bad[] = {
                "", "x", "[]", "{}", "{\"type\":\"none\"}", "{\"type\":\"freeze\",\"x\":1}", "{\"type\":\"error\"}", "{\"type\":\"error\",\"code\":\"None\",\"message\":\"x\"}",
                "{\"type\":\"error\",\"code\":\"Busy\"}", "{\"type\":\"result\",\"bytes\":\"1\"}", "{\"type\":\"result\",\"dropped\":[1]}", "{\"type\":\"result\",\"dropped\":\"x\"}",
                "{\"type\":\"progress\",\"bytes_done\":-1}", "{\"type\":\"progress\"} {}",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                LayerLine l;
                if (layer_line_from_json(bad[i], &l) >= 0)
                        fail_msg("%s was taken", bad[i]);
                assert_int_equal(l.type, _LAYER_LINE_INVALID);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_round_trip),
                cmocka_unit_test(test_minimal_requests),
                cmocka_unit_test(test_bad_requests),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_bad_lines),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
