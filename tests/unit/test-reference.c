/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/reference.h"
#include "oci/registry-http.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX

static void test_normalised(void **state) {
        static const struct {
                const char *in, *out;
        } good[] = {
                { "alpine", "docker.io/library/alpine:latest" },
                { "alpine:3.18", "docker.io/library/alpine:3.18" },
                { "user/image", "docker.io/user/image:latest" },
                { "index.docker.io/alpine", "docker.io/library/alpine:latest" },
                { "docker.io/alpine", "docker.io/library/alpine:latest" },
                { "localhost/x", "localhost/x:latest" },
                { "localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1" },
                { "10.99.0.1:5000/x@" DIGEST, "10.99.0.1:5000/x@" DIGEST },
                { "quay.io/a/b:tag@" DIGEST, "quay.io/a/b@" DIGEST },
                { "[::1]:5000/a", "[::1]:5000/a:latest" },
                { "[fd00::1]/a", "[fd00::1]/a:latest" },
                { "host.example/a__b/c-d.e---f_g", "host.example/a__b/c-d.e---f_g:latest" },
                { "UPPER.example/a:Tag_1.2-3", "UPPER.example/a:Tag_1.2-3" },
                { "Capital/a", "Capital/a:latest" },
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_image_reference_ ImageReference r = {};
                assert_int_equal(image_reference_parse(good[i].in, &r, NULL), 0);
                _cleanup_free_ char *s = image_reference_format(&r);
                assert_string_equal(s, good[i].out);
                /* what is normal stays as it is */
                _cleanup_image_reference_ ImageReference again = {};
                assert_int_equal(image_reference_parse(s, &again, NULL), 0);
                _cleanup_free_ char *t = image_reference_format(&again);
                assert_string_equal(s, t);
        }
}

static void test_refused(void **state) {
        static const char *const bad[] = {
                "", "/", ":", "@", "a/", "/a", "a//b", "A", "a:", "a@", "a@sha256:", "a@sha256:" "0123", "a@sha512:" HEX HEX, "a@" DIGEST "0", "a:b:c",
                "a:.b", "a:-b", "a b", "a\tb", "a\n", "-a", "a-", "a.", ".a", "a..b", "a___b", "a_.b", "host:0/a", "host:65536/a", "host:port/a",
                "host:/a", "-host.x/a", "host-.x/a", "host..x/a", "[::1/a", "[]/a", "[::g]/a", "host.x/a:\xff", "\xc3\xa9", HEX, "host.x/", "a@" DIGEST "@" DIGEST,
                "http://host/a", "a?b", "a#b", "a%41",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_refusal_ Refusal *refusal = NULL;
                _cleanup_image_reference_ ImageReference r = {};
                if (image_reference_parse(bad[i], &r, &refusal) != -EBADRQC)
                        fail_msg("\"%s\" was taken", bad[i]);
                assert_int_equal(refusal->code, REFUSAL_INVALID_ARGUMENT);
                assert_true(utf8_is_valid(refusal->message));
                assert_null(r.host);
        }
}

static void test_lengths(void **state) {
        char tag[256] = "a:", name[400];
        ImageReference r;

        memset(tag + 2, 't', 129);
        assert_int_equal(image_reference_parse(tag, &r, NULL), -EBADRQC);
        tag[130] = 0;
        assert_int_equal(image_reference_parse(tag, &r, NULL), 0);
        image_reference_done(&r);
        memset(name, 'n', sizeof(name));
        name[300] = 0;
        assert_int_equal(image_reference_parse(name, &r, NULL), -EBADRQC);
        name[200] = 0;
        assert_int_equal(image_reference_parse(name, &r, NULL), 0);
        image_reference_done(&r);
}

static void test_urls(void **state) {
        static const char *const bad[] = { "", "host", "ftp://host", "http://", "http:///x", "http://host/path", "http://u@host", "http://u:p@host", "https://host:x",
                                           "http://host?x", "http://host#x", "http://ho st", "HTTP://host" };
        const char *host;
        size_t n;

        assert_true(registry_url_is_valid("http://10.99.0.1:5000", &host, &n));
        assert_memory_equal(host, "10.99.0.1:5000", n);
        assert_true(registry_url_is_valid("https://registry.example.com/", &host, &n));
        assert_int_equal(n, strlen("registry.example.com"));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (registry_url_is_valid(bad[i], NULL, NULL))
                        fail_msg("\"%s\" was taken", bad[i]);
}

/* Where a password may go. Servers leave a default port out of the addresses that they give. */
static void test_origins(void **state) {
        static const char *const same[][2] = {
                { "https://host", "https://HOST/v2/" }, { "https://host:443", "https://host/v2/" }, { "https://host", "HTTPS://host:443?x" },
                { "http://[::1]:80", "http://[::1]/" }, { "http://host:5000", "http://host:5000/x" },
        }, *const other[] = {
                "http://host", "http://host:443", "https://host:80", "https://host:4443", "https://host:44", "https://host.example", "https://hos",
                "https://host@other", "https://other/https://host", "https:", "host", "",
        };

        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                assert_true(url_same_origin(same[i][0], same[i][1]));
                assert_true(url_same_origin(same[i][1], same[i][0]));
        }
        for (size_t i = 0; i < ELEMENTSOF(other); i++)
                if (url_same_origin("https://host", other[i]) || url_same_origin(other[i], "https://host:443"))
                        fail_msg("%s", other[i]);
}

static void test_digest(void **state) {
        char d[DIGEST_SIZE];

        assert_int_equal(digest_of("abc", 3, d), 0);
        assert_string_equal(d, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_true(digest_is_valid(d));
        assert_true(digest_is_valid(DIGEST));
        assert_false(digest_is_valid(NULL));
        assert_false(digest_is_valid(HEX));
        assert_false(digest_is_valid("sha256:" "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"));
        _cleanup_digest_context_ DigestContext *c = digest_context_new();
        digest_context_update(c, "a", 1);
        digest_context_reset(c);
        digest_context_update(c, "ab", 2);
        digest_context_update(c, "c", 1);
        char e[DIGEST_SIZE];
        digest_context_finish(c, e);
        assert_string_equal(d, e);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_normalised),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_urls),
                cmocka_unit_test(test_origins),
                cmocka_unit_test(test_digest),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
