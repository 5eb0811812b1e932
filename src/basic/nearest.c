/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>

#include "basic/nearest.h"

#define WORD_MAX 48

static bool same(char a, char b) {
        return tolower((unsigned char) a) == tolower((unsigned char) b);
}

/* Optimal string alignment distance. Both at most WORD_MAX long. */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
        size_t d[WORD_MAX + 1][WORD_MAX + 1];

        for (size_t i = 0; i <= n; i++)
                d[i][0] = i;
        for (size_t j = 0; j <= m; j++)
                d[0][j] = j;
        for (size_t i = 1; i <= n; i++)
                for (size_t j = 1; j <= m; j++) {
                        size_t best = d[i - 1][j - 1] + !same(a[i - 1], b[j - 1]);
                        best = MIN(best, d[i - 1][j] + 1);
                        best = MIN(best, d[i][j - 1] + 1);
                        if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                                best = MIN(best, d[i - 2][j - 2] + 1);
                        d[i][j] = best;
                }
        return d[n][m];
}

const char *nearest_word(const char *s, const char *const *words) {
        const char *nearest = NULL;
        size_t n = strlen(s), least = SIZE_MAX;

        if (n > WORD_MAX)
                return NULL;
        for (; words && *words; words++) {
                size_t m = strlen(*words);
                if (m > WORD_MAX)
                        continue;
                size_t d = distance(s, n, *words, m);
                if (d < least && d <= MAX(MAX(n, m) / 3, (size_t) 1)) {
                        least = d;
                        nearest = *words;
                }
        }
        return nearest;
}
