/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/string-util.h"
#include "core/rules.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

#define ENV_NAME_MAX 256
#define ENV_VALUE_MAX (32 * KIB)
#define LABEL_KEY_MAX 128
#define LABEL_VALUE_MAX (4 * KIB)
#define WORDS_MAX 1024                  /* of a command, an environment or the labels */
#define WORDS_BYTES_MAX (128 * KIB)     /* Swarm keeps the whole spec in each of its tasks; raft takes 1.5 MiB a change */

int parse_cpus(const char *s, double *ret) {
        size_t whole = strspn(s, DIGITS), decimals = s[whole] == '.' ? strspn(s + whole + 1, DIGITS) : 0;

        /* No strtod() on its own: it takes signs, exponents, hexadecimals and "nan" too. */
        if (whole == 0 || whole > 6 || decimals > 3 || (s[whole] == '.' && decimals == 0) ||
            s[whole + (decimals ? decimals + 1 : 0)] != 0)
                return -EINVAL;
        *ret = 0;
        for (size_t i = 0; i < whole; i++)
                *ret = *ret * 10 + (s[i] - '0');
        for (double scale = 0.1, *v = ret; decimals > 0; decimals--, scale /= 10)
                *v += (s[++whole] - '0') * scale;
        return 0;
}

static bool has_control(const char *s, const char *allowed) {
        for (; *s; s++)
                if (((unsigned char) *s < ' ' || *s == 0x7f) && !strchr(allowed, *s))
                        return true;
        return false;
}

static bool is_printable(const char *s, size_t n) {
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] < ' ' || (unsigned char) s[i] >= 0x7f)
                        return false;
        return n > 0;
}

/* The value may be a secret: no sentence here quotes it. */
int env_entry_check(const char *s, Refusal **reterr_refusal) {
        const char *equals = strchr(s, '=');

        if (!equals)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "An environment entry has no \"=\"; write each as NAME=value.");

        size_t n = (size_t) (equals - s);
        if (n > ENV_NAME_MAX)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The name of an environment variable has %zu bytes; at most %i are allowed.", n, ENV_NAME_MAX);
        if (n == 0 || (*s >= '0' && *s <= '9') || strspn(s, UPPER LOWER DIGITS "_") < n) {
                bool shown = is_printable(s, n);
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "An environment variable has a bad name%s%.*s%s; names hold letters, digits and \"_\" and do not begin "
                              "with a digit.", shown ? ", \"" : "", shown ? (int) n : 0, s, shown ? "\"" : "");
        }

        const char *value = equals + 1;
        if (strlen(value) > ENV_VALUE_MAX)
                return refuse(reterr_refusal, REFUSAL_LIMIT_EXCEEDED,
                              "The environment variable %.*s has a value of %zu bytes; at most %llu are allowed.",
                              (int) n, s, strlen(value), (unsigned long long) ENV_VALUE_MAX);
        if (!utf8_is_valid(value))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The value of the environment variable %.*s is not valid UTF-8; encode it, for example in base64.",
                              (int) n, s);
        if (has_control(value, "\t\n\r"))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The value of the environment variable %.*s holds a control character; remove or encode it.",
                              (int) n, s);
        return 0;
}

int env_assignment_check(const char *s, Refusal **reterr_refusal) {
        int r = env_entry_check(s, reterr_refusal);
        if (r < 0)
                return r;

        /* Swarm expands Go templates in a service's environment. */
        const char *equals = strchr(s, '=');
        if (strstr(equals + 1, "{{"))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The value of the environment variable %.*s holds \"{{\", which Swarm would expand; encode it, "
                              "for example in base64.", (int) (equals - s), s);
        return 0;
}

int words_check(const char *what, char *const *words, Refusal **reterr) {
        size_t n = 0, bytes = 0;

        STRV_FOREACH(w, words) {
                n++;
                bytes += strlen(*w) + 1;
                if (!utf8_is_valid(*w))
                        return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "Entry %zu of %s is not valid UTF-8.", n, what);
        }
        if (n > WORDS_MAX || bytes > WORDS_BYTES_MAX)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED, "%s has %zu entries with %zu bytes; at most %d entries and %llu bytes are possible.", what, n,
                              bytes, WORDS_MAX, (unsigned long long) WORDS_BYTES_MAX);
        return 0;
}

int label_check(const char *key, const char *value, Refusal **reterr_refusal) {
        static const char *const reserved[] = { "com.docker.", "org.swarm.", "swarm." };
        size_t n = strlen(key);

        if (n == 0 || n > LABEL_KEY_MAX || strspn(key, UPPER LOWER DIGITS "._-/") != n || strchr("._-/", key[0]) ||
            strchr("._-/", key[n - 1]))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "A label's key has 1 to %i letters, digits, \".\", \"_\", \"-\" or \"/\" and begins and ends with "
                              "a letter or digit; \"%.40s\" does not follow that.", LABEL_KEY_MAX,
                              utf8_is_valid(key) && !has_control(key, "") && n <= 40 ? key : "…");
        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (startswith(key, reserved[i]))
                        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                                      "The label %s begins with \"%s\", which is reserved; choose another prefix.", key, reserved[i]);
        if (strlen(value) > LABEL_VALUE_MAX)
                return refuse(reterr_refusal, REFUSAL_LIMIT_EXCEEDED,
                              "The label %s has a value of %zu bytes; at most %llu are allowed.", key, strlen(value),
                              (unsigned long long) LABEL_VALUE_MAX);
        if (!utf8_is_valid(value) || has_control(value, "\t\n"))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The value of the label %s is not valid UTF-8 or holds a control character; remove or encode it.", key);
        return 0;
}
