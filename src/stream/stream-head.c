/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <jansson.h>
#include <strings.h>

#include "basic/string-util.h"
#include "stream/stream-head.h"
#include "stream/stream-request.h"

#define VALUE_MAX 256U                  /* of the two header fields that are looked at */

typedef struct Text {
        const char *data;
        size_t size;
} Text;

static Text strip(Text t) {
        while (t.size > 0 && (t.data[0] == ' ' || t.data[0] == '\t'))
                t.data++, t.size--;
        while (t.size > 0 && (t.data[t.size - 1] == ' ' || t.data[t.size - 1] == '\t'))
                t.size--;
        return t;
}

static bool text_equals(Text t, const char *s) {
        return t.size == strlen(s) && strncasecmp(t.data, s, t.size) == 0;
}

/* "HTTP/1.1 101 UPGRADED", with or without a reason. */
static int parse_status_line(Text line, long *ret) {
        const char *p = line.data;

        if (line.size < strlen("HTTP/1.1 200") || strncmp(p, "HTTP/1.", 7) != 0 || !isdigit((uint8_t) p[7]) || p[8] != ' ' ||
            p[9] < '1' || p[9] > '9' || !isdigit((uint8_t) p[10]) || !isdigit((uint8_t) p[11]) || (line.size > 12 && p[12] != ' '))
                return -EBADMSG;
        *ret = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
        return 0;
}

static int parse_length(Text value, StreamBody *body) {
        char text[VALUE_MAX];
        uint64_t n;

        if (value.size >= sizeof(text))
                return -EBADMSG;
        memcpy(text, value.data, value.size);
        text[value.size] = 0;
        /* Twice is one too many: whoever reads the other one finds another end. */
        if (body->framing != STREAM_BODY_UNTIL_CLOSE || parse_u64(text, &n) < 0)
                return -EBADMSG;
        stream_body_begin(body, STREAM_BODY_LENGTH, n);
        return 0;
}

static int parse_field(Text line, StreamBody *body) {
        const char *colon = memchr(line.data, ':', line.size);
        Text name, value;

        /* A line that begins with a blank would go on with the field before it, which nobody writes any more. */
        if (!colon || colon == line.data || line.data[0] == ' ' || line.data[0] == '\t')
                return -EBADMSG;
        name = (Text) { line.data, (size_t) (colon - line.data) };
        value = strip((Text) { colon + 1, line.size - name.size - 1 });
        if (text_equals(name, "Content-Length"))
                return parse_length(value, body);
        if (!text_equals(name, "Transfer-Encoding"))
                return 0;
        if (body->framing != STREAM_BODY_UNTIL_CLOSE || !text_equals(value, "chunked"))
                return -EBADMSG;
        stream_body_begin(body, STREAM_BODY_CHUNKED, 0);
        return 0;
}

static int parse_lines(Text head, StreamHead *ret) {
        StreamHead h = {};
        bool first = true;
        int r;

        stream_body_begin(&h.body, STREAM_BODY_UNTIL_CLOSE, 0);
        while (head.size > 0) {
                const char *end = memmem(head.data, head.size, "\r\n", 2);
                Text line = { head.data, (size_t) (end - head.data) };

                for (size_t i = 0; i < line.size; i++)
                        if (iscntrl((uint8_t) line.data[i]) && line.data[i] != '\t')
                                return -EBADMSG;
                r = first ? parse_status_line(line, &h.status) : parse_field(line, &h.body);
                if (r < 0)
                        return r;
                first = false;
                head = (Text) { end + 2, head.size - line.size - 2 };
        }
        if (h.status < 200 || h.status == 204 || h.status == 304)
                /* They have no body, whatever their head says. What comes behind 101 is another protocol's. */
                stream_body_begin(&h.body, h.status == 101 ? STREAM_BODY_UNTIL_CLOSE : STREAM_BODY_LENGTH, 0);
        *ret = h;
        return 0;
}

ssize_t stream_head_parse(const char *data, size_t size, StreamHead *ret) {
        static const char begin[] = "HTTP/1.";
        const char *end = memmem(data, MIN(size, (size_t) STREAM_HEAD_MAX), "\r\n\r\n", 4);
        int r;

        /* What is no answer at all is not waited for. */
        if (memcmp(data, begin, MIN(size, sizeof(begin) - 1)) != 0)
                return -EBADMSG;
        if (!end)
                return size < STREAM_HEAD_MAX ? 0 : -EBADMSG;
        r = parse_lines((Text) { data, (size_t) (end - data) + 2 }, ret);
        return r < 0 ? r : end + 4 - data;
}

/* ---- why it was refused */

/* What is shown to people must not steer their terminals. */
static void make_printable(char *s) {
        utf8_repair(s);
        for (; *s; s++)
                if (iscntrl((uint8_t) *s))
                        *s = ' ';
}

static char *message_of(const char *text) {
        json_t *o = json_loads(text, 0, NULL);
        const char *message = json_string_value(json_object_get(o, "message"));
        char *copy = strdup(message ? message : text);

        json_decref(o);
        return copy;
}

char *stream_head_reason(long status, const char *body, size_t size) {
        _cleanup_free_ char *text = malloc(size + 1), *message = NULL;
        Text t;

        if (!text)
                return NULL;
        memcpy(text, body, size);
        text[size] = 0;
        for (size_t i = 0; i < size; i++)
                if (text[i] == 0)
                        text[i] = '?';
        utf8_repair(text);
        message = message_of(text);
        if (!message)
                return NULL;
        if (strlen(message) > STREAM_MESSAGE_MAX)
                message[STREAM_MESSAGE_MAX] = 0;
        /* The cut may have gone through a character. */
        make_printable(message);
        t = strip((Text) { message, strlen(message) });
        return t.size > 0 ? strndup(t.data, t.size) : strformat("it answered with status %li and gave no reason", status);
}
