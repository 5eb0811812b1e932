/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "oci/manifest.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CONFIG "\"config\":{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"" DIGEST "\",\"size\":10}"
#define LAYER "{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\"digest\":\"" DIGEST "\",\"size\":20}"
#define OCI_LAYER "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"" DIGEST "\",\"size\":30}"
#define DOCKER "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_DOCKER_MANIFEST "\"," CONFIG ",\"layers\":[" LAYER "]}"

static int parse(const char *s, Manifest *ret) {
        return manifest_parse(s, strlen(s), "test", ret, NULL);
}

static void test_parse(void **state) {
        _cleanup_manifest_ Manifest m = {};

        assert_int_equal(parse(DOCKER, &m), 0);
        assert_int_equal(m.n_layers, 1);
        assert_int_equal(m.n_base_layers, 1);
        assert_int_equal(m.config.size, 10);
        assert_string_equal(m.layers[0].digest, DIGEST);
        manifest_done(&m);
        /* OCI made mediaType optional */
        assert_int_equal(parse("{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "," OCI_LAYER "],\"annotations\":{\"" ANNOTATION_BASE_LAYERS "\":\"1\",\"" ANNOTATION_SESSION "\":\"s\"}}", &m), 0);
        assert_int_equal(m.n_layers, 2);
        assert_int_equal(m.n_base_layers, 1);
        assert_string_equal(m.session, "s");
}

static void test_refused(void **state) {
        static const char *const bad[] = {
                "", "[]", "{}", "{\"schemaVersion\":1,\"layers\":[]}", "{\"schemaVersion\":2}", "{\"schemaVersion\":2,\"layers\":[]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":{}}", "{\"schemaVersion\":2," CONFIG ",\"layers\":[{}]}", "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "],\"manifests\":[]}",
                "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v1+json\"," CONFIG ",\"layers\":[" LAYER "]}",
                "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_INDEX "\",\"manifests\":[]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":-1}]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:x\",\"size\":1}]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.nondistributable.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":1}]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\",\"digest\":\"" DIGEST "\",\"size\":1}]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":1,\"urls\":[\"http://x\"]}]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"evil\\nheader\",\"digest\":\"" DIGEST "\",\"size\":1}]}",
                "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x/y\",\"digest\":\"" DIGEST "\",\"size\":99999999},\"layers\":[" LAYER "]}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "],\"annotations\":{\"" ANNOTATION_BASE_LAYERS "\":\"2\"}}",
                "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "],\"annotations\":{\"" ANNOTATION_BASE_LAYERS "\":\"-1\"}}",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                Manifest m;
                if (manifest_parse(bad[i], strlen(bad[i]), "test", &m, &refusal) != -EBADRQC)
                        fail_msg("%s was taken", bad[i]);
                assert_int_equal(refusal->code, REFUSAL_IMAGE_REFUSED);
        }
}

static void test_too_many_layers(void **state) {
        _cleanup_free_ char *s = strdup("{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER);
        Manifest m;

        for (unsigned i = 0; i < MANIFEST_LAYERS_MAX; i++) {
                char *t = strformat("%s," LAYER, s);
                free(s);
                s = t;
        }
        char *t = strformat("%s]}", s);
        free(s);
        s = t;
        assert_int_equal(parse(s, &m), -EBADRQC);
}

#define ENTRY(arch, more) "{\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"digest\":\"" DIGEST "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"" more "}}"

static void test_index(void **state) {
        static const char index[] = "{\"schemaVersion\":2,\"manifests\":[" ENTRY("s390x", "") "," ENTRY("mips", ",\"variant\":\"odd\"") "," ENTRY("amd64", ",\"variant\":\"v2\"") "]}";
        _cleanup_refusal_ Refusal *refusal = NULL;
        Descriptor d;

        assert_int_equal(manifest_is_index(index, strlen(index), NULL, "test", NULL), 1);
        assert_int_equal(manifest_is_index(index, strlen(index), MEDIA_TYPE_OCI_INDEX "; charset=utf-8", "test", NULL), 1);
        assert_int_equal(manifest_is_index(index, strlen(index), MEDIA_TYPE_OCI_MANIFEST, "test", NULL), -EBADRQC);
        assert_int_equal(manifest_is_index(DOCKER, strlen(DOCKER), MEDIA_TYPE_DOCKER_MANIFEST, "test", NULL), 0);
        assert_int_equal(manifest_is_index(DOCKER, strlen(DOCKER), "application/json", "test", NULL), 0);
        assert_int_equal(manifest_index_pick(index, strlen(index), "s390x", "test", &d, NULL), 0);
        descriptor_done(&d);
        assert_int_equal(manifest_index_pick(index, strlen(index), "amd64", "test", &d, NULL), 0);
        descriptor_done(&d);
        assert_int_equal(manifest_index_pick(index, strlen(index), "riscv64", "test", &d, &refusal), -EBADRQC);
        assert_non_null(strstr(refusal->message, "linux/riscv64"));
        assert_non_null(oci_architecture());
}

static char *make_config(const char *more) {
        return strformat("{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=1\"],\"Volumes\":{\"/b\":{},\"/a\":{}},\"User\":\"u\"},\"x\":[1.5,null],"
                         "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIGEST "\"]}%s}", oci_architecture(), more);
}

static const NewLayer added = { DIGEST, DIGEST, 40, 50 };

static void test_config(void **state) {
        _cleanup_free_ char *text = make_config(",\"history\":[{\"empty_layer\":true},{\"created_by\":\"x\"}]"), *out = NULL, *again = NULL, *same = NULL;
        _cleanup_image_config_ ImageConfig c = {}, d = {};

        assert_int_equal(image_config_parse(text, strlen(text), "test", &c, NULL), 0);
        assert_int_equal(c.n_diff_ids, 1);
        assert_string_equal(c.user, "u");
        assert_null(c.working_dir);
        assert_string_equal(c.volumes[0], "/a");
        assert_string_equal(c.volumes[1], "/b");
        assert_int_equal(image_config_extend(&c, &added, 1, 1700000000123456, &out), 0);
        assert_int_equal(image_config_extend(&c, &added, 1, 1700000000123456, &again), 0);
        assert_string_equal(out, again);
        assert_non_null(strstr(out, "2023-11-14T22:13:20.123456Z"));
        assert_non_null(strstr(out, "\"x\":[1.5,null]"));
        assert_int_equal(image_config_parse(out, strlen(out), "test", &d, NULL), 0);
        assert_int_equal(d.n_diff_ids, 2);
        assert_int_equal(json_array_size(json_object_get(d.json, "history")), 3);
        /* nothing added: the same document, whatever the time */
        assert_int_equal(image_config_extend(&c, NULL, 0, 5, &same), 0);
        assert_string_equal(same, text);
}

static void test_config_refused(void **state) {
        static const char *const bad[] = {
                "", "[]", "{}", "{\"rootfs\":{}}", "{\"rootfs\":{\"diff_ids\":{}}}", "{\"rootfs\":{\"diff_ids\":[1]}}", "{\"rootfs\":{\"diff_ids\":[\"sha256:1\"]}}",
                "{\"os\":\"windows\",\"rootfs\":{\"diff_ids\":[]}}", "{\"os\":\"linux\",\"architecture\":\"pdp11\",\"rootfs\":{\"diff_ids\":[]}}",
        };
        ImageConfig c;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (image_config_parse(bad[i], strlen(bad[i]), "test", &c, NULL) != -EBADRQC)
                        fail_msg("%s was taken", bad[i]);
        /* without a history there is none to extend */
        _cleanup_free_ char *text = make_config(""), *out = NULL;
        assert_int_equal(image_config_parse(text, strlen(text), "test", &c, NULL), 0);
        assert_int_equal(image_config_extend(&c, &added, 1, 5, &out), 0);
        assert_null(strstr(out, "history"));
        image_config_done(&c);
}

static char *repeat(const char *before, const char *piece, size_t size, const char *after) {
        size_t n = strlen(piece), used = strlen(before);
        char *s = malloc(size + n + used + strlen(after) + 1);

        strcpy(s, before);
        for (; used + n + strlen(after) < size; used += n)
                memcpy(s + used, piece, n);
        strcpy(s + used - 1, after);    /* in the place of the last comma */
        return s;
}

/* What a registry sends must not fill the memory: each of these would take some hundred MiB. */
static void test_many_values(void **state) {
        static const char *const pieces[] = { "{},", "[],", "[[[[[]]]]],", "0,", "\"\\\"\"," };
        ImageConfig c;
        Manifest m;

        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                _cleanup_free_ char *manifest = repeat("{\"schemaVersion\":2," CONFIG ",\"layers\":[],\"x\":[", pieces[i], MANIFEST_SIZE_MAX, "]}"),
                                    *config = repeat("{\"rootfs\":{\"diff_ids\":[]},\"x\":[", pieces[i], CONFIG_SIZE_MAX, "]}");
                if (parse(manifest, &m) != -EBADRQC || image_config_parse(config, strlen(config), "test", &c, NULL) != -EBADRQC)
                        fail_msg("%s was taken", pieces[i]);
        }
        /* In a string they are bytes like others. */
        _cleanup_free_ char *text = repeat("{\"rootfs\":{\"diff_ids\":[]},\"x\":\"", "\\\",[{,", MIB, "\"}");
        assert_int_equal(image_config_parse(text, strlen(text), "test", &c, NULL), 0);
        image_config_done(&c);
}

/* They are told in one line, which has a limit. */
static void test_many_volumes(void **state) {
        char *text = malloc(8 * MIB), *p = stpcpy(text, "{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Volumes\":{");
        _cleanup_refusal_ Refusal *refusal = NULL;
        ImageConfig c;

        for (unsigned i = 0; i < 900; i++)
                p += sprintf(p, "%s\"/%04u%0*d\":{}", i > 0 ? "," : "", i, 4000, 0);
        strcpy(p, "}}}");
        assert_int_equal(image_config_parse(text, strlen(text), "test", &c, &refusal), -EBADRQC);
        assert_non_null(strstr(refusal->message, "volumes"));
        free(text);
}

static void test_build(void **state) {
        const Descriptor config = { (char *) MEDIA_TYPE_OCI_CONFIG, (char *) DIGEST, 77 };
        ManifestFacts facts = { .session = "s", .generation = 3, .job = 4, .tag = "s-g3-x", .created = 1700000000000001, .n_base_layers = 1 };
        _cleanup_manifest_ Manifest parent = {}, m = {};
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;

        assert_int_equal(parse(DOCKER, &parent), 0);
        assert_int_equal(manifest_build(&parent, &config, &added, 1, &facts, &a), 0);
        assert_int_equal(manifest_build(&parent, &config, &added, 1, &facts, &b), 0);
        assert_string_equal(a, b);
        /* All that a lost store may repeat is the same, and the digest is not. */
        facts.tag = "s-g3-y";
        assert_int_equal(manifest_build(&parent, &config, &added, 1, &facts, &c), 0);
        assert_string_not_equal(a, c);
        assert_int_equal(parse(a, &m), 0);
        assert_int_equal(m.n_layers, 2);
        assert_int_equal(m.n_base_layers, 1);
        assert_string_equal(m.layers[0].media_type, parent.layers[0].media_type);
        assert_string_equal(m.layers[1].media_type, MEDIA_TYPE_OCI_LAYER_GZIP);
        assert_int_equal(m.layers[1].size, 40);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_too_many_layers),
                cmocka_unit_test(test_index),
                cmocka_unit_test(test_config),
                cmocka_unit_test(test_config_refused),
                cmocka_unit_test(test_many_values),
                cmocka_unit_test(test_many_volumes),
                cmocka_unit_test(test_build),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
