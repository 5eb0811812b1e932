/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/ioctl.h>

#include "basic/string-util.h"
#include "format.h"
#include "output.h"
#include "progress.h"

#define BAR_WIDTH 24

static bool drawn;

/* "[=========>      ]  60%", or "" when nobody knows how far it is. */
static void format_bar(char *buf, size_t n, double progress) {
        char bar[BAR_WIDTH + 1];
        int filled = (int) (progress * BAR_WIDTH);

        if (!(progress >= 0 && progress <= 1)) {
                *buf = 0;
                return;
        }
        for (int i = 0; i < BAR_WIDTH; i++)
                bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
        bar[BAR_WIDTH] = 0;
        (void) snprintf(buf, n, "[%s] %3.0f%%", bar, progress * 100);
}

static void format_amount(char *buf, size_t n, const json_t *job) {
        uint64_t done = value_u64(job, "BytesDone"), total = value_u64(job, "BytesTotal");
        char a[32], b[32];

        *buf = 0;
        if (done > 0 && total > 0)
                (void) snprintf(buf, n, "%s of %s", format_bytes(a, sizeof(a), done), format_bytes(b, sizeof(b), total));
        else if (done > 0)
                (void) snprintf(buf, n, "%s", format_bytes(a, sizeof(a), done));
}

/* Never cuts inside of a UTF-8 sequence; wide characters may leave it some columns short of what fits. */
static void cut(char *s, size_t width) {
        size_t columns = 0;

        for (; *s; s++)
                if (((unsigned char) *s & 0xc0) != 0x80 && columns++ == width) {
                        *s = 0;
                        return;
                }
}

char *progress_format(const char *label, const json_t *job, size_t ended, size_t total, size_t width) {
        const json_t *fraction = json_object_get(job, "Progress");
        const char *type = value_string(job, "Type"), *stage = value_string(job, "Stage");
        char count[64] = "", bar[BAR_WIDTH + 16], amount[80];

        if (isempty(stage))
                stage = strempty(value_string(job, "State"));
        if (total > 1)
                (void) snprintf(count, sizeof(count), "%zu of %zu done  ", ended, total);
        format_bar(bar, sizeof(bar), json_is_number(fraction) ? json_number_value(fraction) : -1);
        format_amount(amount, sizeof(amount), job);
        char *line = strformat("%s%s%s%s%s%s%s%s%s%s", count, strempty(type), type ? " " : "", strempty(label),
                               *stage ? ": " : "", stage, *bar ? "  " : "", bar, *amount ? "  " : "", amount);
        if (!line)
                return NULL;
        format_make_printable(line);
        cut(line, width);
        return line;
}

void progress_draw(const char *label, const json_t *job, size_t ended, size_t total) {
        struct winsize ws;
        size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) >= 0 && ws.ws_col > 1 ? ws.ws_col - 1U : 79;
        _cleanup_free_ char *line = progress_format(label, job, ended, total, width);

        if (!line)
                return;
        (void) output_flush();
        fprintf(stderr, "\r%s\033[K", line);
        drawn = true;
}

void progress_clear(void) {
        if (drawn)
                (void) fputs("\r\033[K", stderr);
        drawn = false;
}
