/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <langinfo.h>
#include <wchar.h>

#include "basic/string-util.h"
#include "layout.h"

/* What libsmartcols prints for a byte that is no character here: "\xc3". */
#define ESCAPED_WIDTH 4

/* The next character: its bytes and its columns. Not at the end. */
static size_t step(const char *s, mbstate_t *state, size_t *ret_width) {
        wchar_t c;
        size_t n = mbrtowc(&c, s, MB_CUR_MAX, state);

        if (n == 0 || n > MB_CUR_MAX) {
                *state = (mbstate_t) {};
                *ret_width = ESCAPED_WIDTH;
                return 1;
        }
        int width = wcwidth(c);
        *ret_width = width < 0 ? ESCAPED_WIDTH * n : (size_t) width;
        return n;
}

size_t layout_width(const char *s) {
        size_t columns = 0, width;
        mbstate_t state = {};

        while (*s) {
                s += step(s, &state, &width);
                columns += width;
        }
        return columns;
}

/* Bytes of the longest beginning that takes no more than so many columns. */
static size_t beginning(const char *s, size_t columns) {
        const char *p = s;
        mbstate_t state = {};
        size_t width;

        while (*p) {
                size_t n = step(p, &state, &width);
                if (width > columns)
                        break;
                columns -= width;
                p += n;
        }
        return (size_t) (p - s);
}

char *layout_shorten(const char *s, size_t width) {
        const char *mark = streq(nl_langinfo(CODESET), "UTF-8") ? "…" : "...";

        if (layout_width(s) <= width)
                return strdup(s);
        size_t left = width - MIN(width, layout_width(mark));
        return strformat("%.*s%s", (int) beginning(s, left), s, mark);
}

void layout_fit(size_t *widths, const size_t *minimum, size_t n, size_t available) {
        size_t total = n > 0 ? n - 1 : 0;

        for (size_t i = 0; i < n; i++)
                total += widths[i];
        while (total > available) {
                size_t widest = n;

                for (size_t i = 0; i < n; i++)
                        if (minimum[i] > 0 && widths[i] > minimum[i] && (widest == n || widths[i] > widths[widest]))
                                widest = i;
                if (widest == n)
                        return;
                widths[widest]--;
                total--;
        }
}
