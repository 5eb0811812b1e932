/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "basic/string-util.h"
#include "provider/engine-json.h"
#include "provider/engine.h"

char *engine_escape(const char *s) {
        static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        char *e = malloc(strlen(s) * 3 + 1), *p = e;

        if (!e)
                return NULL;
        for (; *s; s++)
                if (strchr(unreserved, *s))
                        *p++ = *s;
                else
                        p += snprintf(p, 4, "%%%02X", (unsigned char) *s);
        *p = 0;
        return e;
}

char *engine_filters(const char *key, ...) {
        _cleanup_json_ json_t *o = json_object();
        _cleanup_free_ char *text = NULL;
        bool ok = o;
        va_list ap;

        va_start(ap, key);
        for (const char *k = key; ok && k; k = va_arg(ap, const char *)) {
                const char *value = va_arg(ap, const char *);
                json_t *a = json_object_get(o, k);

                if (!a) {
                        a = json_array();
                        ok = json_object_set_new(o, k, a) >= 0;
                }
                ok = ok && json_array_append_new(a, json_string(value)) >= 0;
        }
        va_end(ap);
        text = ok ? json_dumps(o, JSON_COMPACT) : NULL;
        return text ? engine_escape(text) : NULL;
}

/* RFC 4648 section 5, with padding, which Docker insists on. */
static char *base64url(const char *data, size_t size) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        char *e = malloc((size + 2) / 3 * 4 + 1), *p = e;

        if (!e)
                return NULL;
        for (size_t i = 0; i < size; i += 3) {
                uint32_t v = (uint32_t) (uint8_t) data[i] << 16;
                if (i + 1 < size)
                        v |= (uint32_t) (uint8_t) data[i + 1] << 8;
                if (i + 2 < size)
                        v |= (uint8_t) data[i + 2];
                *p++ = digits[v >> 18];
                *p++ = digits[v >> 12 & 63];
                *p++ = i + 1 < size ? digits[v >> 6 & 63] : '=';
                *p++ = i + 2 < size ? digits[v & 63] : '=';
        }
        *p = 0;
        return e;
}

char *engine_registry_auth(const char *username, const char *password, const char *server) {
        _cleanup_json_ json_t *o = json_pack("{s:s,s:s,s:s}", "username", username, "password", password, "serveraddress", server);
        char *text = o ? json_dumps(o, JSON_COMPACT) : NULL, *encoded = NULL;

        if (text) {
                encoded = base64url(text, strlen(text));
                explicit_bzero(text, strlen(text));
                free(text);
        }
        return encoded;
}
