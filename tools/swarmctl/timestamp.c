/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <time.h>

#include "basic/string-util.h"
#include "timestamp.h"

/* In both forms the day stands; the rest may be less exact. */
static const char *const formats[] = {
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%H:%M:%S", "%H:%M",
};

static int subtract(usec_t now, usec_t span, usec_t *ret) {
        if (span > now)
                return -ERANGE;
        *ret = now - span;
        return 0;
}

static int add(usec_t now, usec_t span, usec_t *ret) {
        return __builtin_add_overflow(now, span, ret) || *ret > INT64_MAX ? -ERANGE : 0;
}

static int parse_relative(const char *s, usec_t now, usec_t *ret) {
        bool before = *s != '+';
        const char *ago = endswith(s, " ago");
        _cleanup_free_ char *text = ago ? strndup(s, (size_t) (ago - s)) : strdup(s + 1);
        usec_t span;

        if (!text)
                return -ENOMEM;
        int r = parse_usec(text, &span);
        if (r < 0)
                return r;
        return before ? subtract(now, span, ret) : add(now, span, ret);
}

/* "", or ".5" and more digits; *s moves behind it. */
static int take_fraction(const char **s, usec_t *ret) {
        usec_t scale = USEC_PER_SEC, v = 0;

        if (**s == '.') {
                if (!isdigit((unsigned char) *++*s))
                        return -EINVAL;
                for (; isdigit((unsigned char) **s); ++*s)
                        v += (usec_t) (**s - '0') * (scale /= 10);      /* from the seventh on: 0 */
        }
        *ret = v;
        return 0;
}

static int parse_seconds(const char *s, usec_t *ret) {
        size_t n = strcspn(s, ".");
        _cleanup_free_ char *whole = strndup(s, n);
        const char *rest = s + n;
        uint64_t seconds;
        usec_t fraction;

        if (!whole)
                return -ENOMEM;
        int r = parse_u64(whole, &seconds);
        if (r >= 0)
                r = take_fraction(&rest, &fraction);
        if (r < 0 || *rest)
                return r < 0 ? r : -EINVAL;
        if (seconds >= INT64_MAX / USEC_PER_SEC)
                return -ERANGE;
        *ret = seconds * USEC_PER_SEC + fraction;
        return 0;
}

/* mktime() makes another day of the 30th of February. */
static int make_time(const struct tm *tm, bool universal, time_t *ret) {
        struct tm copy = *tm;

        copy.tm_isdst = -1;
        time_t t = universal ? timegm(&copy) : mktime(&copy);
        if (t < 0 || copy.tm_mday != tm->tm_mday || copy.tm_mon != tm->tm_mon)
                return -EINVAL;
        *ret = t;
        return 0;
}

/* Behind the time: nothing, " UTC", "Z", "+01:00". */
static int take_zone(const char *s, bool *ret_universal, time_t *ret_offset) {
        struct tm tm = {};

        *ret_universal = *s;
        *ret_offset = 0;
        if (!*s || streq(s, " UTC"))
                return 0;
        const char *end = strchr("Z+-", *s) ? strptime(s, "%z", &tm) : NULL;
        if (!end || *end)
                return -EINVAL;
        *ret_offset = (time_t) tm.tm_gmtoff;
        return 0;
}

static int finish_calendar(const char *rest, bool seconds, const struct tm *tm, usec_t *ret) {
        usec_t fraction = 0;
        time_t offset, t;
        bool universal;
        int r;

        r = seconds ? take_fraction(&rest, &fraction) : 0;
        if (r >= 0)
                r = take_zone(rest, &universal, &offset);
        if (r >= 0)
                r = make_time(tm, universal, &t);
        if (r < 0)
                return r;
        if (t < offset)
                return -ERANGE;
        *ret = (usec_t) (t - offset) * USEC_PER_SEC + fraction;
        return 0;
}

static int parse_calendar(const char *s, const struct tm *today, usec_t *ret) {
        for (size_t i = 0; isdigit((unsigned char) *s) && i < ELEMENTSOF(formats); i++) {
                struct tm tm = { .tm_year = today->tm_year, .tm_mon = today->tm_mon, .tm_mday = today->tm_mday };
                const char *rest = strptime(s, formats[i], &tm);

                if (rest && finish_calendar(rest, endswith(formats[i], "%S"), &tm, ret) >= 0)
                        return 0;
        }
        return -EINVAL;
}

int parse_timestamp(const char *s, usec_t now, usec_t *ret) {
        static const char *const days[] = { "yesterday", "today", "tomorrow" };
        time_t seconds = (time_t) (now / USEC_PER_SEC);
        struct tm today;

        if (streq(s, "now")) {
                *ret = now;
                return 0;
        }
        if (*s == '@')
                return parse_seconds(s + 1, ret);
        if (*s == '-' || *s == '+' || endswith(s, " ago"))
                return parse_relative(s, now, ret);
        if (!localtime_r(&seconds, &today))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(days); i++)
                if (streq(s, days[i])) {
                        struct tm tm = { .tm_year = today.tm_year, .tm_mon = today.tm_mon, .tm_mday = today.tm_mday + (int) i - 1, .tm_isdst = -1 };
                        *ret = (usec_t) mktime(&tm) * USEC_PER_SEC;
                        return 0;
                }
        return parse_calendar(s, &today, ret);
}
