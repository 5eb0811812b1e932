/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define LOWER_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"

void image_reference_done(ImageReference *r) {
        free(r->host);
        free(r->repository);
        free(r->tag);
        free(r->digest);
        *r = (ImageReference) {};
}

static bool port_is_valid(const char *s, size_t n) {
        unsigned v = 0;

        if (n == 0 || n > 5)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (!isdigit((unsigned char) s[i]))
                        return false;
                v = v * 10 + (unsigned) (s[i] - '0');
        }
        return v > 0 && v <= 65535;
}

static bool domain_is_valid(const char *s, size_t n) {
        bool edge = true;               /* at the first letter of a label: no hyphen */

        if (n == 0 || n > 253)
                return false;
        for (size_t i = 0; i < n; i++) {
                char c = s[i];
                bool alnum = isalnum((unsigned char) c);
                if (c == '.') {
                        if (edge || s[i - 1] == '-')
                                return false;
                        edge = true;
                        continue;
                }
                if (!alnum && (c != '-' || edge))
                        return false;
                edge = false;
        }
        return !edge && s[n - 1] != '-';
}

static bool host_n_is_valid(const char *s, size_t n) {
        const char *colon;

        if (n > 0 && s[0] == '[') {
                const char *end = memchr(s, ']', n);
                if (!end || end == s + 1 || end - s > 40)
                        return false;
                for (const char *p = s + 1; p < end; p++)
                        if (!isxdigit((unsigned char) *p) && *p != ':')
                                return false;
                size_t rest = n - (size_t) (end + 1 - s);
                return rest == 0 || (end[1] == ':' && port_is_valid(end + 2, rest - 1));
        }
        colon = memchr(s, ':', n);
        if (!colon)
                return domain_is_valid(s, n);
        return domain_is_valid(s, (size_t) (colon - s)) && port_is_valid(colon + 1, n - (size_t) (colon + 1 - s));
}

bool registry_host_is_valid(const char *s) {
        return host_n_is_valid(s, strlen(s));
}

/* Between two runs of letters and digits: one dot, one or two underscores, any number of hyphens. */
static bool separator_is_valid(const char *s, size_t n) {
        return (n == 1 && (*s == '.' || *s == '_')) || (n == 2 && s[0] == '_' && s[1] == '_') || strspn(s, "-") >= n;
}

static bool component_is_valid(const char *s, size_t n) {
        size_t i = MIN(strspn(s, LOWER_DIGITS), n);

        if (i == 0)
                return false;
        while (i < n) {
                size_t sep = MIN(strcspn(s + i, LOWER_DIGITS), n - i);
                size_t run = MIN(strspn(s + i + sep, LOWER_DIGITS), n - i - sep);
                if (run == 0 || !separator_is_valid(s + i, sep))
                        return false;
                i += sep + run;
        }
        return true;
}

bool repository_is_valid(const char *s) {
        if (strlen(s) > REPOSITORY_LENGTH_MAX)
                return false;
        for (;;) {
                size_t n = strcspn(s, "/");
                if (!component_is_valid(s, n))
                        return false;
                if (!s[n])
                        return true;
                s += n + 1;
        }
}

bool tag_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > 128 || *s == '.' || *s == '-')
                return false;
        return strspn(s, LOWER_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZ_.-") == n;
}

bool registry_url_is_valid(const char *url, const char **ret_host, size_t *ret_length) {
        const char *host = startswith(url, "https://") ?: startswith(url, "http://");

        if (!host)
                return false;
        size_t n = strcspn(host, "/");
        if (!host_n_is_valid(host, n) || (host[n] && host[n + 1]))
                return false;
        if (ret_host)
                *ret_host = host;
        if (ret_length)
                *ret_length = n;
        return true;
}

/* Docker's rule for what stands before the first slash: a host has a dot, a port or a capital, or is "localhost". */
static bool looks_like_host(const char *s, size_t n) {
        if (n == strlen("localhost") && strncmp(s, "localhost", n) == 0)
                return true;
        for (size_t i = 0; i < n; i++)
                if (s[i] == '.' || s[i] == ':' || isupper((unsigned char) s[i]))
                        return true;
        return false;
}

static int split_host(const char *s, char **ret_host, const char **ret_rest) {
        size_t n = strcspn(s, "/");
        bool named = s[n] == '/' && looks_like_host(s, n);
        char *host = named ? strndup(s, n) : strdup("docker.io");

        if (!host)
                return -ENOMEM;
        *ret_host = host;
        *ret_rest = named ? s + n + 1 : s;
        return streq(host, "index.docker.io") ? free_and_strdup(ret_host, "docker.io") : 0;
}

/* Cuts "@digest" and ":tag" off `name`. */
static int split_suffixes(char *name, ImageReference *ref) {
        char *at = strchr(name, '@'), *slash, *colon;

        if (at) {
                if (!digest_is_valid(at + 1))
                        return -EINVAL;
                if (!(ref->digest = strdup(at + 1)))
                        return -ENOMEM;
                *at = 0;
        }
        slash = strrchr(name, '/');
        colon = strchr(slash ?: name, ':');
        if (colon) {
                if (!tag_is_valid(colon + 1))
                        return -EINVAL;
                if (!(ref->tag = strdup(colon + 1)))
                        return -ENOMEM;
                *colon = 0;
        } else if (!at && !(ref->tag = strdup("latest")))
                return -ENOMEM;
        return 0;
}

static int parse(const char *s, ImageReference *ref) {
        _cleanup_free_ char *name = NULL;
        const char *rest;
        int r;

        r = split_host(s, &ref->host, &rest);
        if (r < 0)
                return r;
        name = strdup(rest);
        if (!name)
                return -ENOMEM;
        r = split_suffixes(name, ref);
        if (r < 0)
                return r;
        ref->repository = streq(ref->host, "docker.io") && !strchr(name, '/') ? strformat("library/%s", name) : TAKE_PTR(name);
        if (!ref->repository)
                return -ENOMEM;
        if (!registry_host_is_valid(ref->host) || !repository_is_valid(ref->repository) ||
            strlen(ref->host) + 1 + strlen(ref->repository) > REPOSITORY_LENGTH_MAX)
                return -EINVAL;
        return 0;
}

/* Docker refuses 64 hex digits as a name since they would be taken for an image id. */
static bool is_image_id(const char *s) {
        return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* What a person typed, cut and made printable for the sentence. */
static void printable(const char *s, char *buf, size_t n) {
        size_t i;
        for (i = 0; i + 1 < n && s[i]; i++)
                buf[i] = isprint((unsigned char) s[i]) && (unsigned char) s[i] < 0x80 ? s[i] : '?';
        buf[i] = 0;
}

int image_reference_parse(const char *s, ImageReference *ret, Refusal **reterr_refusal) {
        _cleanup_image_reference_ ImageReference ref = {};
        char shown[128];
        int r;

        *ret = (ImageReference) {};
        r = isempty(s) || strlen(s) > REFERENCE_LENGTH_MAX || is_image_id(s) ? -EINVAL : parse(s, &ref);
        if (r == -EINVAL) {
                printable(strempty(s), shown, sizeof(shown));
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The image name \"%s\" is not valid: write it as [host[:port]/]repository[:tag][@sha256:…], "
                              "in lower case.", shown);
        }
        if (r < 0)
                return r;
        *ret = ref;
        ref = (ImageReference) {};
        return 0;
}

char *image_reference_format(const ImageReference *r) {
        if (r->digest)
                return strformat("%s/%s@%s", r->host, r->repository, r->digest);
        return strformat("%s/%s:%s", r->host, r->repository, r->tag);
}
