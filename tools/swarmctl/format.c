/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <pwd.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "basic/string-util.h"
#include "format.h"
#include "swarm-orchestrator.h"

usec_t format_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static const struct {
        const char *suffix;     /* of the property's name */
        Format format;
} formats[] = {
        { "TimeoutUSec", FORMAT_TIMESPAN },
        { "FrozenUSec", FORMAT_TIMESPAN },
        { "GraceUSec", FORMAT_TIMESPAN },
        { "IntervalUSec", FORMAT_TIMESPAN },
        { "AgeUSec", FORMAT_TIMESPAN },
        { "USec", FORMAT_AGO },
        { "Bytes", FORMAT_BYTES },
        { "BytesDone", FORMAT_BYTES },
        { "BytesTotal", FORMAT_BYTES },
        { "Owner", FORMAT_USER },
        { "UID", FORMAT_USER },
        { "EndedBy", FORMAT_USER },
        { "State", FORMAT_STATE },
        { "Health", FORMAT_STATE },
        { "Progress", FORMAT_FRACTION },
        { "CurrentJob", FORMAT_JOB },
        { "Limits", FORMAT_LIMITS },
};

Format format_of_property(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                if (endswith(name, formats[i].suffix))
                        return formats[i].format;
        return FORMAT_PLAIN;
}

static const struct {
        const char *state, *color;
} colors[] = {
        { "running", "green" }, { "ready", "green" }, { "healthy", "green" }, { "done", "green" },
        { "failed", "red" }, { "lost", "red" }, { "down", "red" }, { "unavailable", "red" }, { "unhealthy", "red" },
        { "degraded", "yellow" }, { "interrupted", "yellow" }, { "canceled", "yellow" }, { "exited", "yellow" },
        { "new", "cyan" }, { "placing", "cyan" }, { "starting", "cyan" }, { "resuming", "cyan" }, { "hibernating", "cyan" },
        { "stopping", "cyan" }, { "destroying", "cyan" }, { "queued", "cyan" },
};

const char *format_state_color(const char *state) {
        for (size_t i = 0; state && i < ELEMENTSOF(colors); i++)
                if (streq(colors[i].state, state))
                        return colors[i].color;
        return NULL;
}

/* The words of a property's name with blanks between them, without its unit; turned into another case but for the first
 * letter, if that is wanted, and those of "CPUs". */
static char *words_of(const char *property, int (*turn)(int c), bool keep_first) {
        static const char *const units[] = { "USec", "Bytes", "UID" };
        size_t length = strlen(property);

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (endswith(property, units[i]) && length > strlen(units[i])) {
                        length -= strlen(units[i]);
                        break;
                }
        char *s = malloc(length * 2 + 1), *p = s;
        if (!s)
                return NULL;
        for (size_t i = 0; i < length; i++) {
                unsigned char c = (unsigned char) property[i], before = i > 0 ? (unsigned char) property[i - 1] : 0;
                unsigned char after = i + 1 < length ? (unsigned char) property[i + 1] : 0;

                if (isupper(c) && islower(before))
                        *p++ = ' ';
                bool keep = isupper(c) && (isupper(before) || isupper(after) || (keep_first && i == 0));
                *p++ = (char) (keep ? c : turn(c));
        }
        *p = 0;
        return s;
}

char *format_heading(const char *property) {
        return words_of(property, toupper, false);
}

char *format_label(const char *property) {
        return words_of(property, tolower, true);
}

void format_make_printable(char *s) {
        for (; *s; s++) {
                unsigned char c = (unsigned char) *s, next = (unsigned char) s[1];

                if (c == '\n' || c == '\t')
                        *s = ' ';
                else if (c < ' ' || c == 0x7f)
                        *s = '?';
                else if (c == 0xc2 && next >= 0x80 && next <= 0x9f)     /* U+0080 … U+009F, controls as well */
                        s[0] = s[1] = '?';
        }
}

/* One unit is enough in a column; two below an hour would change at every look. */
static char *format_ago(usec_t t, usec_t now) {
        bool past = t <= now;
        usec_t d = past ? now - t : t - now;
        char span[64];

        if (d < USEC_PER_SEC)
                return strdup("now");
        d -= d % (d < 60 * USEC_PER_SEC ? USEC_PER_SEC : d < 86400 * USEC_PER_SEC ? 60 * USEC_PER_SEC : 3600 * USEC_PER_SEC);
        format_timespan(span, sizeof(span), d);
        return strformat(past ? "%s ago" : "in %s", span);
}

static char *format_timestamp(usec_t t, usec_t now) {
        _cleanup_free_ char *ago = format_ago(t, now);
        time_t seconds = (time_t) (t / USEC_PER_SEC);
        struct tm tm;
        char date[64];

        if (!ago || !localtime_r(&seconds, &tm) || strftime(date, sizeof(date), "%a %F %T %Z", &tm) == 0)
                return NULL;
        return strformat("%s; %s", date, ago);
}

static char *format_user(json_int_t uid) {
        const struct passwd *pw = getpwuid((uid_t) uid);
        return pw ? strdup(pw->pw_name) : strformat("%" JSON_INTEGER_FORMAT, uid);
}

static char *format_integer(Format format, json_int_t v, usec_t now) {
        usec_t u = (usec_t) MAX(v, 0);
        char buf[64];

        switch (format) {
        case FORMAT_BYTES:
                return v < 0 ? strdup("-") : strdup(format_bytes(buf, sizeof(buf), u));
        case FORMAT_AGO:
                return v <= 0 ? strdup("-") : format_ago(u, now);
        case FORMAT_TIMESTAMP:
                return v <= 0 ? strdup("-") : format_timestamp(u, now);
        case FORMAT_TIMESPAN:
                return v <= 0 ? strdup("-") : strdup(format_timespan(buf, sizeof(buf), u));
        case FORMAT_USER:
                return format_user(v);
        default:
                return strformat("%" JSON_INTEGER_FORMAT, v);
        }
}

static char *format_real(Format format, double v) {
        if (format == FORMAT_FRACTION)
                return v < 0 ? strdup("-") : strformat("%.0f%%", v * 100);
        return strformat("%.6g", v);
}

/* "a, b" and "K=V, L=W"; what is nested deeper stays JSON. */
static char *format_container(const json_t *value, usec_t now) {
        _cleanup_free_ char *all = NULL;
        size_t n = json_is_array(value) ? json_array_size(value) : json_object_size(value);
        void *iter = json_is_object(value) ? json_object_iter((json_t *) value) : NULL;

        for (size_t i = 0; i < n; i++) {
                const json_t *member = iter ? json_object_iter_value(iter) : json_array_get(value, i);
                const char *key = iter ? json_object_iter_key(iter) : NULL;
                bool nested = json_is_object(member) || json_is_array(member);
                _cleanup_free_ char *one = nested ? json_dumps(member, JSON_COMPACT)
                                                  : format_value(key ? format_of_property(key) : FORMAT_PLAIN, member, now);
                char *longer = one ? strformat("%s%s%s%s%s", strempty(all), all ? ", " : "", strempty(key), key ? "=" : "", one) : NULL;
                if (!longer)
                        return NULL;
                free(all);
                all = longer;
                if (iter)
                        iter = json_object_iter_next((json_t *) value, iter);
        }
        return all ? TAKE_PTR(all) : strdup("-");
}

static char *format_limits(const json_t *limits) {
        char memory[32], reserved[32];

        return strformat("%.6g CPUs (%.6g reserved), %s of memory (%s reserved)",
                         json_number_value(json_object_get(limits, "CPUs")), json_number_value(json_object_get(limits, "CPUsReserved")),
                         format_bytes(memory, sizeof(memory), value_u64(limits, "MemoryBytes")),
                         format_bytes(reserved, sizeof(reserved), value_u64(limits, "MemoryReservedBytes")));
}

char *format_value(Format format, const json_t *value, usec_t now) {
        char *s = NULL;

        switch (value ? json_typeof(value) : JSON_NULL) {
        case JSON_STRING:
                s = strdup(json_string_value(value));
                break;
        case JSON_INTEGER:
                s = format_integer(format, json_integer_value(value), now);
                break;
        case JSON_REAL:
                s = format_real(format, json_real_value(value));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                return strdup(json_is_true(value) ? "yes" : "no");
        case JSON_NULL:
                return strdup(value && format == FORMAT_TIMESPAN ? "infinity" : "-");
        default:
                s = format == FORMAT_COUNT ? strformat("%zu", json_array_size(value)) :
                    format == FORMAT_LIMITS ? format_limits(value) : format_container(value, now);
        }
        if (!s)
                return NULL;
        if (format == FORMAT_JOB) {
                char *job = NULL;
                (void) sd_bus_path_decode(s, SWARM_PATH_JOB, &job);     /* "/": there is none */
                free(s);
                return job ?: strdup("-");
        }
        format_make_printable(s);
        if (*s)
                return s;
        free(s);
        return strdup("-");
}
