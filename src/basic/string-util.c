/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <math.h>
#include <stdarg.h>

#include "basic/string-util.h"

const char *endswith(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);
        return n >= m && streq(s + n - m, suffix) ? s + n - m : NULL;
}

bool str_in_set(const char *s, const char *const *set) {
        for (; s && *set; set++)
                if (streq(s, *set))
                        return true;
        return false;
}

int free_and_strdup(char **p, const char *s) {
        char *copy = s ? strdup(s) : NULL;
        if (s && !copy)
                return -ENOMEM;
        free(*p);
        *p = copy;
        return 0;
}

char *strformat(const char *format, ...) {
        char *s = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&s, format, ap) < 0)
                s = NULL;
        va_end(ap);
        return s;
}

Strv strv_free(Strv v) {
        for (char **s = v; s && *s; s++)
                free(*s);
        free(v);
        return NULL;
}

size_t strv_length(char *const *v) {
        size_t n = 0;
        while (v && v[n])
                n++;
        return n;
}

int strv_consume(Strv *v, char *s) {
        size_t n = strv_length(*v);
        char **p = s ? reallocarray(*v, n + 2, sizeof(char *)) : NULL;
        if (!p) {
                free(s);
                return -ENOMEM;
        }
        p[n] = s;
        p[n + 1] = NULL;
        *v = p;
        return 0;
}

int strv_extend(Strv *v, const char *s) {
        return strv_consume(v, strdup(s));
}

Strv strv_copy(char *const *v) {
        _cleanup_strv_ Strv copy = calloc(strv_length(v) + 1, sizeof(char *));
        for (size_t i = 0; copy && v && v[i]; i++)
                if (!(copy[i] = strdup(v[i])))
                        return NULL;
        return TAKE_PTR(copy);
}

bool strv_contains(char *const *v, const char *s) {
        STRV_FOREACH(i, v)
                if (streq(*i, s))
                        return true;
        return false;
}

/* sd-bus sends no message with one of these, though other libraries take them for characters. */
static bool is_noncharacter(uint32_t c) {
        return (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

/* Bytes of the character there; 0: none. */
static size_t utf8_length(const uint8_t *p) {
        uint32_t c, min;
        size_t n;

        if (*p < 0x80)
                return 1;
        if ((*p & 0xe0) == 0xc0)
                n = 2, c = *p & 0x1f, min = 0x80;
        else if ((*p & 0xf0) == 0xe0)
                n = 3, c = *p & 0x0f, min = 0x800;
        else if ((*p & 0xf8) == 0xf0)
                n = 4, c = *p & 0x07, min = 0x10000;
        else
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        return c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || is_noncharacter(c) ? 0 : n;
}

bool utf8_is_valid(const char *s) {
        for (size_t n; *s; s += n) {
                n = utf8_length((const uint8_t *) s);
                if (n == 0)
                        return false;
        }
        return true;
}

void utf8_repair(char *s) {
        for (size_t n; *s; s += n) {
                n = utf8_length((const uint8_t *) s);
                if (n == 0) {
                        *s = '?';
                        n = 1;
                }
        }
}

int parse_u64(const char *s, uint64_t *ret) {
        uint64_t v = 0;

        if (isempty(s))
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(v, UINT64_C(10), &v) || __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        }
        *ret = v;
        return 0;
}

typedef struct Unit {
        const char *name;
        uint64_t factor;
} Unit;

/* The unsigned decimal (with an optional fraction) at *s; moves *s behind it. */
static int parse_decimal(const char **s, double *ret) {
        const char *p = *s;
        double v = 0, scale = 1;

        if (!isdigit((unsigned char) *p))
                return -EINVAL;
        for (; isdigit((unsigned char) *p); p++)
                v = v * 10 + (*p - '0');
        if (*p == '.' && isdigit((unsigned char) p[1]))
                for (p++; isdigit((unsigned char) *p); p++)
                        v += (*p - '0') * (scale /= 10);
        *s = p;
        *ret = v;
        return 0;
}

static const Unit *find_unit(const char *s, size_t n, const Unit *units) {
        for (const Unit *u = units; u->name; u++)
                if (strlen(u->name) == n && strncmp(s, u->name, n) == 0)
                        return u;
        return NULL;
}

int parse_size(const char *s, uint64_t *ret) {
        static const Unit units[] = {
                { "", 1 }, { "B", 1 }, { "K", KIB }, { "M", MIB }, { "G", GIB }, { "T", 1024 * GIB },
                /* as docker has them */
                { "b", 1 }, { "k", KIB }, { "m", MIB }, { "g", GIB }, { "t", 1024 * GIB }, {},
        };
        double v;
        int r;

        if (isempty(s))
                return -EINVAL;
        /* Whole numbers are read exactly: a double holds 53 bits only. */
        if (strspn(s, "0123456789") == strlen(s))
                return parse_u64(s, ret);
        r = parse_decimal(&s, &v);
        if (r < 0)
                return r;
        const Unit *u = find_unit(s, strlen(s), units);
        if (!u)
                return -EINVAL;
        v *= (double) u->factor;
        if (v >= 0x1p63)
                return -ERANGE;
        *ret = (uint64_t) v;
        return 0;
}

int parse_usec(const char *s, usec_t *ret) {
        static const Unit units[] = {
                { "", USEC_PER_SEC }, { "us", 1 }, { "usec", 1 }, { "ms", USEC_PER_MSEC }, { "msec", USEC_PER_MSEC },
                { "s", USEC_PER_SEC }, { "sec", USEC_PER_SEC }, { "second", USEC_PER_SEC }, { "seconds", USEC_PER_SEC },
                { "m", 60 * USEC_PER_SEC }, { "min", 60 * USEC_PER_SEC }, { "minute", 60 * USEC_PER_SEC }, { "minutes", 60 * USEC_PER_SEC },
                { "h", 3600 * USEC_PER_SEC }, { "hr", 3600 * USEC_PER_SEC }, { "hour", 3600 * USEC_PER_SEC }, { "hours", 3600 * USEC_PER_SEC },
                { "d", 86400 * USEC_PER_SEC }, { "day", 86400 * USEC_PER_SEC }, { "days", 86400 * USEC_PER_SEC },
                { "w", 7 * 86400 * USEC_PER_SEC }, { "week", 7 * 86400 * USEC_PER_SEC }, { "weeks", 7 * 86400 * USEC_PER_SEC }, {},
        };
        double sum = 0;

        if (isempty(s))
                return -EINVAL;
        if (streq(s, "infinity")) {
                *ret = USEC_INFINITY;
                return 0;
        }
        while (*s) {
                double v;
                int r = parse_decimal(&s, &v);
                if (r < 0)
                        return r;
                s += strspn(s, " ");
                size_t n = strcspn(s, " 0123456789.");
                const Unit *u = find_unit(s, n, units);
                if (!u)
                        return -EINVAL;
                sum += v * (double) u->factor;
                s += n;
                s += strspn(s, " ");
        }
        if (sum >= 0x1p63)
                return -ERANGE;
        *ret = (usec_t) llround(sum);
        return 0;
}

int parse_boolean(const char *s) {
        if (STR_IN_SET(s, "yes", "true", "1", "on"))
                return 1;
        if (STR_IN_SET(s, "no", "false", "0", "off"))
                return 0;
        return -EINVAL;
}

char *format_bytes(char *buf, size_t n, uint64_t bytes) {
        static const char suffixes[] = "BKMGTPE";
        double v = (double) bytes;
        size_t i = 0;

        for (; v >= 1024 && suffixes[i + 1]; i++)
                v /= 1024;
        (void) snprintf(buf, n, i == 0 || v >= 100 ? "%.0f%c" : "%.1f%c", v, suffixes[i]);
        return buf;
}

char *format_timespan(char *buf, size_t n, usec_t t) {
        static const Unit units[] = {
                { "d", 86400 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC }, { "min", 60 * USEC_PER_SEC }, { "s", USEC_PER_SEC }, {},
        };
        size_t used = 0;
        unsigned parts = 0;

        if (t == USEC_INFINITY) {
                (void) snprintf(buf, n, "infinity");
                return buf;
        }
        if (t < USEC_PER_SEC) {
                (void) snprintf(buf, n, "%" PRIu64 "ms", t / USEC_PER_MSEC);
                return buf;
        }
        for (const Unit *u = units; u->name && parts < 2 && used < n; u++) {
                if (t < u->factor)
                        continue;
                used += (size_t) snprintf(buf + used, n - used, "%s%" PRIu64 "%s", parts++ ? " " : "", t / u->factor, u->name);
                t %= u->factor;
        }
        return buf;
}

char *hexdigest(const uint8_t *data, size_t n) {
        char *s = malloc(n * 2 + 1);
        if (!s)
                return NULL;
        for (size_t i = 0; i < n; i++)
                (void) snprintf(s + i * 2, 3, "%02x", data[i]);
        if (n == 0)
                *s = 0;
        return s;
}
