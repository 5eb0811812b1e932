/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <strings.h>

#include "basic/string-util.h"
#include "oci/json-fields.h"
#include "oci/registry-http.h"

#define TOKEN_ANSWER_MAX (1 * MIB)
#define TOKEN_LENGTH_MAX (64 * KIB)
#define TOKEN_LIFETIME_DEFAULT 60               /* seconds, where expires_in is absent (distribution: token spec) */
#define TOKEN_RENEW_EARLY (15 * USEC_PER_SEC)

/* Members of `Bearer realm="…",service="…",scope="…"` (RFC 7235, distribution's auth/token). */
typedef struct Challenge {
        char *realm, *service, *scope;
} Challenge;

static void challenge_done(Challenge *c) {
        free(c->realm);
        free(c->service);
        free(c->scope);
}

/* One key=value or key="value" at *s; moves *s behind it and its comma. 0 at the end. */
static int next_parameter(const char **s, char **ret_key, char **ret_value) {
        const char *p = *s + strspn(*s, " ,\t");
        size_t n = strcspn(p, "= ,");
        _cleanup_free_ char *key = NULL, *value = NULL;
        size_t used = 0;

        if (!*p)
                return 0;
        if (n == 0 || p[n] != '=')
                return -EBADMSG;
        key = strndup(p, n);
        p += n + 1;
        value = malloc(strlen(p) + 1);
        if (!key || !value)
                return -ENOMEM;
        if (*p == '"') {
                for (p++; *p && *p != '"'; p++) {
                        if (*p == '\\' && p[1])
                                p++;
                        value[used++] = *p;
                }
                if (*p != '"')
                        return -EBADMSG;
                p++;
        } else
                while (*p && *p != ',' && *p != ' ')
                        value[used++] = *p++;
        value[used] = 0;
        *s = p;
        *ret_key = TAKE_PTR(key);
        *ret_value = TAKE_PTR(value);
        return 1;
}

static int parse_challenge(const char *s, Challenge *c) {
        int r;

        for (;;) {
                _cleanup_free_ char *key = NULL, *value = NULL;
                r = next_parameter(&s, &key, &value);
                if (r <= 0)
                        return r;
                char **to = strcasecmp(key, "realm") == 0 ? &c->realm : strcasecmp(key, "service") == 0 ? &c->service :
                            strcasecmp(key, "scope") == 0 ? &c->scope : NULL;
                if (to && !*to)
                        *to = TAKE_PTR(value);
        }
}

static int append_query(CURLU *u, const char *key, const char *value) {
        _cleanup_free_ char *pair = strformat("%s=%s", key, value);
        return pair && curl_url_set(u, CURLUPART_QUERY, pair, CURLU_APPENDQUERY | CURLU_URLENCODE) == CURLUE_OK ? 0 : -ENOMEM;
}

/* Scopes of several repositories (a mount) come separated by spaces and go as parameters of their own. */
static int append_scopes(CURLU *u, const char *scope) {
        _cleanup_free_ char *copy = strdup(scope);
        char *save = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save))
                if (append_query(u, "scope", s) < 0)
                        return -ENOMEM;
        return 0;
}

static int token_url(const Registry *g, const Challenge *c, char **ret) {
        _cleanup_free_ char *realm = NULL;
        char *url = NULL;
        CURLU *u;
        int r;

        r = url_resolve(g->url, c->realm, &realm);
        if (r < 0)
                return r;
        u = curl_url();
        if (!u)
                return -ENOMEM;
        if (curl_url_set(u, CURLUPART_URL, realm, 0) != CURLUE_OK)
                r = -EINVAL;
        if (r >= 0 && c->service)
                r = append_query(u, "service", c->service);
        if (r >= 0 && c->scope)
                r = append_scopes(u, c->scope);
        if (r >= 0)
                r = curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK && (*ret = strdup(url)) ? 0 : -ENOMEM;
        curl_free(url);
        curl_url_cleanup(u);
        return r;
}

/* What goes into a header must not end it. */
static bool token_is_valid(const char *s) {
        if (isempty(s) || strlen(s) > TOKEN_LENGTH_MAX)
                return false;
        for (; *s; s++)
                if (*s <= 0x20 || *s >= 0x7f)
                        return false;
        return true;
}

static int take_token(Registry *g, const HttpAnswer *a, Refusal **reterr_refusal) {
        _cleanup_json_ json_t *j = a->body ? json_object_from_string(a->body, a->size) : NULL;
        const char *token = json_string_value(json_object_get(j, "token")) ?: json_string_value(json_object_get(j, "access_token"));
        const json_t *expires = json_object_get(j, "expires_in");
        uint64_t seconds = json_is_integer(expires) && json_integer_value(expires) > 0 ? (uint64_t) json_integer_value(expires) : TOKEN_LIFETIME_DEFAULT;

        if (!token || !token_is_valid(token))
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The token service of the registry %s gave no usable token. Check the registry's configuration.", g->host);
        seconds = MIN(MAX(seconds, UINT64_C(60)), UINT64_C(86400));
        g->token_expires_usec = monotonic_usec() + seconds * USEC_PER_SEC - TOKEN_RENEW_EARLY;
        return free_and_strdup(&g->token, token) < 0 ? -ENOMEM : 1;
}

int registry_authenticate(Registry *g, const char *challenge, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "GET", .max = TOKEN_ANSWER_MAX, .anonymous = !g->username, .password_only = true };
        _cleanup_(challenge_done) Challenge c = {};
        _cleanup_http_answer_ HttpAnswer a = {};
        _cleanup_free_ char *url = NULL;
        int r;

        if (strncasecmp(challenge, "Bearer ", 7) != 0)
                return 0;
        r = parse_challenge(challenge + 7, &c);
        if (r == -ENOMEM)
                return r;
        r = r < 0 || !c.realm ? -EINVAL : token_url(g, &c, &url);
        if (r == -EINVAL)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s names a token service that cannot be used. Check its configuration.", g->host);
        if (r < 0)
                return r;
        r = http_exchange(g, url, &call, &a);
        if (r < 0)
                return r;
        if (a.code != CURLE_OK)
                return registry_refuse_transport(g, &a, "asking its token service", reterr_refusal);
        if (a.status != 200)
                return registry_refuse(g, &a, "giving a token", reterr_refusal);
        return take_token(g, &a, reterr_refusal);
}
