/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <math.h>

#include "basic/string-util.h"
#include "bus/bus-options.h"

typedef struct Reader {
        sd_bus_message *message;
        const char *what, *noun, *key;  /* "option", or "argument" */
        size_t bytes;                   /* of all strings so far */
        Refusal **refusal;
} Reader;

static int read_string(Reader *in, const char **ret) {
        const char *s;
        size_t n;
        int r;

        r = sd_bus_message_read_basic(in->message, 's', &s);
        if (r <= 0)
                return r;
        n = strlen(s);
        if (n > BUS_OPTION_STRING_MAX)
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: %s `%s` holds a string of %zu bytes; the limit is %" PRIu64 ".",
                              in->what, in->noun, in->key, n, BUS_OPTION_STRING_MAX);
        in->bytes += n;
        if (in->bytes > BUS_OPTIONS_BYTES_MAX)
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: the %ss hold more than %" PRIu64 " KiB of text, which is the limit.",
                              in->what, in->noun, BUS_OPTIONS_BYTES_MAX / KIB);
        *ret = s;
        return 1;
}

static int refuse_entries(Reader *in) {
        return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: %s `%s` has more than %d entries, which is the limit.",
                      in->what, in->noun, in->key, BUS_OPTION_ENTRIES_MAX);
}

static int read_strv(Reader *in, Strv *ret) {
        _cleanup_strv_ Strv v = calloc(BUS_OPTION_ENTRIES_MAX + 1, sizeof(char *));
        const char *s = NULL;
        int r;

        if (!v)
                return -ENOMEM;
        r = sd_bus_message_enter_container(in->message, 'a', "s");
        if (r < 0)
                return r;
        for (size_t n = 0; (r = read_string(in, &s)) > 0; n++) {
                if (n >= BUS_OPTION_ENTRIES_MAX)
                        return refuse_entries(in);
                v[n] = strdup(s);
                if (!v[n])
                        return -ENOMEM;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return sd_bus_message_exit_container(in->message);
}

static int read_pair(Reader *in, char **ret) {
        const char *key, *value;
        int r;

        r = read_string(in, &key);
        if (r < 0)
                return r;
        r = read_string(in, &value);
        if (r < 0)
                return r;
        if (isempty(key) || strchr(key, '='))
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: option `%s` has the key \"%s\"; a key is not empty and holds no \"=\".",
                              in->what, in->key, key);
        *ret = strformat("%s=%s", key, value);
        return *ret ? 1 : -ENOMEM;
}

static int compare_keys(const void *a, const void *b) {
        const char *x = *(char *const *) a, *y = *(char *const *) b;
        size_t n = strcspn(x, "="), m = strcspn(y, "=");

        return memcmp(x, y, MIN(n, m)) ?: (n > m) - (n < m);
}

/* Sorted, not each compared with each: callers whom nobody has authorized yet must not buy much time with it. */
static int refuse_twice(Reader *in, char *const *v, size_t n) {
        _cleanup_free_ char **sorted = reallocarray(NULL, n + 1, sizeof(char *));

        if (!sorted)
                return -ENOMEM;
        memcpy(sorted, v, n * sizeof(char *));
        qsort(sorted, n, sizeof(char *), compare_keys);
        for (size_t i = 1; i < n; i++)
                if (compare_keys(sorted + i - 1, sorted + i) == 0)
                        return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: option `%s` has the key \"%.*s\" twice.", in->what, in->key,
                                      (int) strcspn(sorted[i], "="), sorted[i]);
        return 0;
}

static int read_pairs(Reader *in, Strv *ret) {
        _cleanup_strv_ Strv v = calloc(BUS_OPTION_ENTRIES_MAX + 1, sizeof(char *));
        size_t n;
        int r;

        if (!v)
                return -ENOMEM;
        r = sd_bus_message_enter_container(in->message, 'a', "{ss}");
        if (r < 0)
                return r;
        for (n = 0; (r = sd_bus_message_enter_container(in->message, 'e', "ss")) > 0; n++) {
                if (n >= BUS_OPTION_ENTRIES_MAX)
                        return refuse_entries(in);
                r = read_pair(in, v + n);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(in->message);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = refuse_twice(in, v, n);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return sd_bus_message_exit_container(in->message);
}

static int read_double(Reader *in, double *ret) {
        int r = sd_bus_message_read_basic(in->message, 'd', ret);

        if (r >= 0 && !isfinite(*ret))
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: option `%s` is not a finite number.", in->what, in->key);
        return r;
}

static int read_bool(Reader *in, bool *ret) {
        int b, r;

        r = sd_bus_message_read_basic(in->message, 'b', &b);
        if (r >= 0)
                *ret = b;
        return r;
}

static int read_value(Reader *in, const BusOption *option, void *member) {
        if (streq(option->signature, "s"))
                return read_string(in, member);
        if (streq(option->signature, "as"))
                return read_strv(in, member);
        if (streq(option->signature, "a{ss}"))
                return read_pairs(in, member);
        if (streq(option->signature, "d"))
                return read_double(in, member);
        if (streq(option->signature, "b"))
                return read_bool(in, member);
        return sd_bus_message_read_basic(in->message, option->signature[0], member);
}

static int refuse_unknown(Reader *in, const BusOption *table, size_t n) {
        _cleanup_free_ char *known = NULL;

        for (size_t i = 0; i < n; i++) {
                char *longer = strformat("%s%s%s", strempty(known), known ? ", " : "", table[i].key);

                free(known);
                known = longer;
                if (!known)
                        return -ENOMEM;
        }
        if (!known)
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: unknown option `%.64s`; it takes none.", in->what, in->key);
        return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: unknown option `%.64s`. Known are: %s.", in->what, in->key, known);
}

static int read_entry(Reader *in, const BusOption *table, size_t n, void *target, uint64_t *seen) {
        const char *contents;
        size_t i;
        int r;

        r = sd_bus_message_read_basic(in->message, 's', &in->key);
        if (r < 0)
                return r;
        for (i = 0; i < n; i++)
                if (streq(table[i].key, in->key))
                        break;
        if (i >= n)
                return refuse_unknown(in, table, n);
        if (*seen & (UINT64_C(1) << i))
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: option `%s` is given twice.", in->what, in->key);
        *seen |= UINT64_C(1) << i;

        r = sd_bus_message_peek_type(in->message, NULL, &contents);
        if (r < 0)
                return r;
        if (!streq(contents, table[i].signature))
                return refuse(in->refusal, REFUSAL_INVALID_ARGUMENT, "%s: option `%s` has the type \"%s\"; it must be \"%s\".", in->what,
                              in->key, contents, table[i].signature);
        r = sd_bus_message_enter_container(in->message, 'v', table[i].signature);
        if (r < 0)
                return r;
        r = read_value(in, &table[i], (char *) target + table[i].offset);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(in->message);
}

int bus_options_read(sd_bus_message *m, const char *what, const BusOption *table, size_t n, void *target,
                     uint64_t *ret_seen, Refusal **reterr_refusal) {
        Reader in = { .message = m, .what = what, .noun = "option", .refusal = reterr_refusal };
        uint64_t seen = 0;
        int r;

        assert(n <= 64);

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_entry(&in, table, n, target, &seen);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (ret_seen)
                *ret_seen = seen;
        return sd_bus_message_exit_container(m);
}

int bus_flags_read(sd_bus_message *m, const char *what, uint64_t known, uint64_t *ret, Refusal **reterr_refusal) {
        uint64_t flags;
        int r;

        r = sd_bus_message_read_basic(m, 't', &flags);
        if (r < 0)
                return r;
        if ((flags & ~known) && known == 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "%s: unknown flag 0x%" PRIx64 ". There are none; write 0.", what, flags);
        if (flags & ~known)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "%s: unknown flag 0x%" PRIx64 "; known are 0x%" PRIx64 ".", what,
                              flags & ~known, known);
        if (ret)
                *ret = flags;
        return 0;
}

int bus_strv_read(sd_bus_message *m, const char *what, const char *name, Strv *ret, Refusal **reterr_refusal) {
        Reader in = { .message = m, .what = what, .noun = "argument", .key = name, .refusal = reterr_refusal };

        return read_strv(&in, ret);
}

int bus_no_options_read(sd_bus_message *m, const char *what, Refusal **reterr_refusal) {
        int r = bus_options_read(m, what, NULL, 0, NULL, NULL, reterr_refusal);

        return r < 0 ? r : bus_flags_read(m, what, 0, NULL, reterr_refusal);
}
