/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What swarm-stream is asked for, and what it says. The child carries bytes between one request to a Docker Engine and
 * descriptors that it was given, so that neither a slow reader nor a fast writer holds up the service's loop. It gets one line of
 * JSON on stdin and writes lines of JSON to stdout:
 *
 *     {"socket":P,"method":M,"path":"/v1.41/…","body":S,"kind":K,"framed":B}
 *
 * kind "terminal": descriptor 3 is the slave end of a pty, which is made raw and becomes the child's controlling terminal, so
 * that it hears of each new size. "command": 3, 4 and 5 are stdin, stdout and stderr. Both ask for an upgrade of the connection
 * ("Connection: Upgrade", "Upgrade: tcp"). "output": 3 is written to. framed: the Engine's stream has its 8 byte
 * headers {STREAM, 0, 0, 0, SIZE as 4 bytes big endian}, as those without a terminal have; STREAM is 1 stdout, 2 stderr.
 *
 * Exactly one of these comes first:
 *     {"status":N}                        101 or 200: bytes go to and fro
 *     {"status":N,"message":S}            the Engine refused; 0: it could not be asked, or what came is no answer
 * Then, of a terminal, {"rows":R,"columns":C} for each new size (and at once, if it has one), and at the end one of
 *     {"end":"engine"}                    the Engine's stream is over, and all of it is written
 *     {"end":"caller"}                    nobody reads any more, or the other end of the terminal is closed
 *     {"end":"error","message":S}         the stream is broken
 * It exits with 0 after any of these. Source: Engine API reference, ContainerAttach ("Hijacking", "Stream format"). */

#include "basic/macro.h"
#include "basic/string-util.h"

typedef enum StreamKind {
        STREAM_TERMINAL,
        STREAM_COMMAND,
        STREAM_OUTPUT,
        _STREAM_KIND_MAX,
        _STREAM_KIND_INVALID = -EINVAL,
} StreamKind;

const char *stream_kind_to_string(StreamKind k);
StreamKind stream_kind_from_string(const char *s);

typedef struct StreamRequest {
        char *socket, *method, *path, *body;    /* body may be NULL */
        StreamKind kind;
        bool framed;
} StreamRequest;

typedef enum StreamEnd {
        STREAM_END_ENGINE,
        STREAM_END_CALLER,
        STREAM_END_ERROR,
        _STREAM_END_MAX,
        _STREAM_END_INVALID = -EINVAL,
} StreamEnd;

/* One line of the child. */
typedef struct StreamMessage {
        enum { STREAM_SAYS_STATUS, STREAM_SAYS_SIZE, STREAM_SAYS_END } type;
        long status;
        unsigned rows, columns;         /* at most 65535 each */
        StreamEnd end;
        char *message;                  /* NULL */
} StreamMessage;

#define STREAM_REQUEST_LINE_MAX (512 * KIB)     /* bytes, with the newline */
#define STREAM_LINE_MAX (32 * KIB)              /* of the child */
#define STREAM_MESSAGE_MAX 4096                 /* bytes; the child cuts what is longer */

/* Strings of their own. -EBADMSG: not one of them. */
int stream_request_to_json(const StreamRequest *r, char **ret);                 /* one line with its newline */
int stream_request_from_json(const char *line, size_t size, StreamRequest *ret);
void stream_request_done(StreamRequest *r);
int stream_message_to_json(const StreamMessage *m, char **ret);
int stream_message_from_json(const char *line, size_t size, StreamMessage *ret);
void stream_message_done(StreamMessage *m);
