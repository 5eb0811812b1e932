/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Image references and registry URLs: what is taken is normal (its own text gives itself) and safe to put in a URL. */

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_tame(const char *s) {
        for (; s && *s; s++)
                if (*s <= 0x20 || *s >= 0x7f || strchr("?#%&\\\"'<>", *s))
                        return false;
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_image_reference_ ImageReference a = {}, b = {};
        _cleanup_free_ char *text = strndup((const char *) data, size), *normal = NULL, *again = NULL;
        _cleanup_refusal_ Refusal *refusal = NULL;
        const char *host;
        size_t n;

        if (text && registry_url_is_valid(text, &host, &n))
                assert(n > 0 && is_tame(text));
        if (!text || image_reference_parse(text, &a, &refusal) < 0) {
                assert(!refusal || utf8_is_valid(refusal->message));
                return 0;
        }
        assert(registry_host_is_valid(a.host) && repository_is_valid(a.repository));
        assert(a.tag || a.digest);
        assert(!a.digest || digest_is_valid(a.digest));
        normal = image_reference_format(&a);
        assert(is_tame(normal));
        assert(image_reference_parse(normal, &b, NULL) >= 0);
        again = image_reference_format(&b);
        assert(streq(normal, again));
        return 0;
}
