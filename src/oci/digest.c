/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <openssl/evp.h>

#include "basic/string-util.h"
#include "oci/digest.h"

struct DigestContext {
        EVP_MD_CTX *md;
        bool broken;                    /* OpenSSL refused something: the digest comes out as a value that nothing has */
};

bool digest_is_valid(const char *s) {
        return s && strlen(s) == DIGEST_LENGTH && strncmp(s, "sha256:", 7) == 0 && strspn(s + 7, "0123456789abcdef") == 64;
}

DigestContext *digest_context_free(DigestContext *c) {
        if (c)
                EVP_MD_CTX_free(c->md);
        free(c);
        return NULL;
}

DigestContext *digest_context_new(void) {
        _cleanup_digest_context_ DigestContext *c = calloc(1, sizeof(*c));

        if (!c || !(c->md = EVP_MD_CTX_new()))
                return NULL;
        digest_context_reset(c);
        return TAKE_PTR(c);
}

void digest_context_reset(DigestContext *c) {
        c->broken = EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1;
}

void digest_context_update(DigestContext *c, const void *data, size_t size) {
        c->broken = EVP_DigestUpdate(c->md, data, size) != 1 || c->broken;
}

void digest_context_finish(DigestContext *c, char ret[static DIGEST_SIZE]) {
        uint8_t raw[EVP_MAX_MD_SIZE] = {};
        unsigned n = 0;

        c->broken = EVP_DigestFinal_ex(c->md, raw, &n) != 1 || n != 32 || c->broken;
        memcpy(ret, "sha256:", 8);
        for (size_t i = 0; i < 32; i++)
                (void) snprintf(ret + 7 + i * 2, 3, "%02x", c->broken ? 0U : raw[i]);
}

int digest_of(const void *data, size_t size, char ret[static DIGEST_SIZE]) {
        _cleanup_digest_context_ DigestContext *c = digest_context_new();

        if (!c)
                return -ENOMEM;
        digest_context_update(c, data, size);
        digest_context_finish(c, ret);
        return 0;
}
