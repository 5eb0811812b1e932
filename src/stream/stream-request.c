/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <jansson.h>
#include <sys/un.h>

#include "basic/names.h"
#include "stream/stream-request.h"

#define METHOD_LENGTH_MAX 16
#define STREAM_PATH_MAX (8 * KIB)
#define STREAM_BODY_MAX (64 * KIB)
#define STATUS_MAX 999

#define _cleanup_json_ _cleanup_(json_decrefp)

static const char *const stream_kind_names[_STREAM_KIND_MAX] = {
        [STREAM_TERMINAL] = "terminal",
        [STREAM_COMMAND] = "command",
        [STREAM_OUTPUT] = "output",
};
DEFINE_NAMES(stream_kind, StreamKind)

static const char *const stream_end_names[_STREAM_END_MAX] = {
        [STREAM_END_ENGINE] = "engine",
        [STREAM_END_CALLER] = "caller",
        [STREAM_END_ERROR] = "error",
};

/* ---- both */

/* Takes the object over; NULL: there was no memory for it, or a string is no UTF-8. */
static int to_line(json_t *object, size_t max, char **ret) {
        _cleanup_json_ json_t *o = object;
        size_t n;
        char *s;

        if (!o)
                return -EBADMSG;
        s = json_dumps(o, JSON_COMPACT);
        n = s ? strlen(s) : 0;
        if (!s || n + 1 > max) {
                free(s);
                return s ? -EBADMSG : -ENOMEM;
        }
        /* Its NUL makes room for the newline. */
        char *line = realloc(s, n + 2);
        if (!line) {
                free(s);
                return -ENOMEM;
        }
        memcpy(line + n, "\n", 2);
        *ret = line;
        return 0;
}

static json_t *from_line(const char *line, size_t size, size_t max) {
        json_t *object = size <= max ? json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL) : NULL;

        if (object && !json_is_object(object)) {
                json_decref(object);
                return NULL;
        }
        return object;
}

/* ---- the request */

/* What goes into the first line of an HTTP request holds nothing that would end that. */
static bool is_printable(const char *s, size_t max) {
        size_t n = strlen(s);

        if (n == 0 || n > max)
                return false;
        for (; *s; s++)
                if (*s <= ' ' || *s > '~')
                        return false;
        return true;
}

static bool request_is_valid(const StreamRequest *r) {
        return r->socket && r->socket[0] == '/' && strlen(r->socket) < sizeof(((struct sockaddr_un *) NULL)->sun_path) &&
               r->method && is_printable(r->method, METHOD_LENGTH_MAX) &&
               r->path && r->path[0] == '/' && is_printable(r->path, STREAM_PATH_MAX) &&
               (!r->body || strlen(r->body) <= STREAM_BODY_MAX) && stream_kind_to_string(r->kind);
}

int stream_request_to_json(const StreamRequest *r, char **ret) {
        if (!request_is_valid(r))
                return -EBADMSG;
        return to_line(json_pack("{s:s, s:s, s:s, s:s*, s:s, s:b}", "socket", r->socket, "method", r->method, "path", r->path,
                                 "body", r->body, "kind", stream_kind_to_string(r->kind), "framed", r->framed),
                       STREAM_REQUEST_LINE_MAX, ret);
}

int stream_request_from_json(const char *line, size_t size, StreamRequest *ret) {
        _cleanup_json_ json_t *o = from_line(line, size, STREAM_REQUEST_LINE_MAX);
        const char *socket, *method, *path, *kind, *body = NULL;
        StreamRequest r = {};
        int framed = 0;

        if (!o || json_unpack_ex(o, NULL, JSON_STRICT, "{s:s, s:s, s:s, s?:s, s:s, s?:b}", "socket", &socket, "method", &method,
                                 "path", &path, "body", &body, "kind", &kind, "framed", &framed) < 0)
                return -EBADMSG;
        r = (StreamRequest) {
                .socket = (char *) socket, .method = (char *) method, .path = (char *) path, .body = (char *) body,
                .kind = stream_kind_from_string(kind),
                .framed = framed,
        };
        if (!request_is_valid(&r))
                return -EBADMSG;
        r.socket = strdup(socket);
        r.method = strdup(method);
        r.path = strdup(path);
        r.body = body ? strdup(body) : NULL;
        if (!r.socket || !r.method || !r.path || (body && !r.body)) {
                stream_request_done(&r);
                return -ENOMEM;
        }
        *ret = r;
        return 0;
}

void stream_request_done(StreamRequest *r) {
        free(r->socket);
        free(r->method);
        free(r->path);
        free(r->body);
        *r = (StreamRequest) {};
}

/* ---- what the child says */

static bool message_is_valid(const StreamMessage *m) {
        if (m->message && strlen(m->message) > STREAM_MESSAGE_MAX)
                return false;
        switch (m->type) {
        case STREAM_SAYS_STATUS:
                return m->status >= 0 && m->status <= STATUS_MAX;
        case STREAM_SAYS_SIZE:
                return m->rows <= UINT16_MAX && m->columns <= UINT16_MAX;
        case STREAM_SAYS_END:
                return m->end >= 0 && m->end < _STREAM_END_MAX && (m->end == STREAM_END_ERROR) == !!m->message;
        }
        return false;
}

int stream_message_to_json(const StreamMessage *m, char **ret) {
        json_t *o = NULL;

        if (!message_is_valid(m))
                return -EBADMSG;
        switch (m->type) {
        case STREAM_SAYS_STATUS:
                o = json_pack("{s:I, s:s*}", "status", (json_int_t) m->status, "message", m->message);
                break;
        case STREAM_SAYS_SIZE:
                o = json_pack("{s:i, s:i}", "rows", (int) m->rows, "columns", (int) m->columns);
                break;
        case STREAM_SAYS_END:
                o = json_pack("{s:s, s:s*}", "end", stream_end_names[m->end], "message", m->message);
                break;
        }
        return to_line(o, STREAM_LINE_MAX, ret);
}

static int unpack_message(json_t *o, StreamMessage *m) {
        const char *end, *message = NULL;
        json_int_t status, rows, columns;

        if (json_unpack_ex(o, NULL, JSON_STRICT, "{s:I, s?:s}", "status", &status, "message", &message) >= 0) {
                if (status < 0 || status > STATUS_MAX)
                        return -EBADMSG;
                *m = (StreamMessage) { .type = STREAM_SAYS_STATUS, .status = (long) status };
        } else if (json_unpack_ex(o, NULL, JSON_STRICT, "{s:I, s:I}", "rows", &rows, "columns", &columns) >= 0) {
                if (rows < 0 || rows > UINT16_MAX || columns < 0 || columns > UINT16_MAX)
                        return -EBADMSG;
                *m = (StreamMessage) { .type = STREAM_SAYS_SIZE, .rows = (unsigned) rows, .columns = (unsigned) columns };
        } else if (json_unpack_ex(o, NULL, JSON_STRICT, "{s:s, s?:s}", "end", &end, "message", &message) >= 0)
                *m = (StreamMessage) { .type = STREAM_SAYS_END, .end = (StreamEnd) name_find(stream_end_names, ELEMENTSOF(stream_end_names), end) };
        else
                return -EBADMSG;
        m->message = (char *) message;
        return message_is_valid(m) ? 0 : -EBADMSG;
}

int stream_message_from_json(const char *line, size_t size, StreamMessage *ret) {
        _cleanup_json_ json_t *o = from_line(line, size, STREAM_LINE_MAX);
        StreamMessage m;
        int r = o ? unpack_message(o, &m) : -EBADMSG;

        if (r < 0)
                return r;
        if (m.message) {
                m.message = strdup(m.message);
                if (!m.message)
                        return -ENOMEM;
        }
        *ret = m;
        return 0;
}

void stream_message_done(StreamMessage *m) {
        free(m->message);
        *m = (StreamMessage) {};
}
