/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stream/stream-answer.h"
#include "stream/stream-io.h"

#define INTERIM_MAX 16U                 /* answers from 100 to 199 before the one that counts */
#define REFUSAL_BODY_MAX (64 * KIB)

int stream_failed(StreamMessage *ret, const char *format, ...) {
        char *message;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0)
                return -ENOMEM;
        if ((size_t) n > STREAM_MESSAGE_MAX)
                message[STREAM_MESSAGE_MAX] = 0;
        utf8_repair(message);
        *ret = (StreamMessage) { .type = STREAM_SAYS_STATUS, .message = message };
        return -EBADRQC;
}

static int connect_to(const char *path, int *ret, StreamMessage *ret_message) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (fd < 0)
                return -errno;
        memcpy(address.sun_path, path, strlen(path) + 1);
        /* It waits while many others wait for the Engine: a socket of this kind cannot be polled for that. */
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return stream_failed(ret_message, "cannot connect to %s: %s", path, strerror(errno));
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

static char *format_request(const StreamRequest *r) {
        const char *body = strempty(r->body);

        return strformat("%s %s HTTP/1.1\r\n"
                         "Host: docker\r\n"
                         "%s"
                         "Content-Type: application/json\r\n"
                         "Content-Length: %zu\r\n"
                         "\r\n%s",
                         r->method, r->path,
                         r->kind == STREAM_OUTPUT ? "Connection: close\r\n" : "Connection: Upgrade\r\nUpgrade: tcp\r\n",
                         strlen(body), body);
}

static int send_request(int fd, const StreamRequest *r) {
        _cleanup_free_ char *text = format_request(r);
        size_t size = text ? strlen(text) : 0, sent = 0;

        if (!text)
                return -ENOMEM;
        while (sent < size) {
                struct pollfd fds[2] = { { fd, POLLOUT, 0 } };
                (void) stream_io_wait(fds, ELEMENTSOF(fds), -1, false);
                ssize_t n = send(fd, text + sent, size - sent, MSG_NOSIGNAL);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n < 0)
                        /* It may have answered before it was told all; the answer tells more. */
                        return 0;
                sent += (size_t) n;
        }
        return 0;
}

/* Waits for more: 1, 0 at the end, or -ENOBUFS. A connection that is reset has ended. */
static int receive(int fd, StreamDecoder *d) {
        for (;;) {
                struct pollfd fds[2] = { { fd, POLLIN, 0 } };
                size_t space;
                char *p = stream_decoder_space(d, &space);

                if (space == 0)
                        return -ENOBUFS;
                (void) stream_io_wait(fds, ELEMENTSOF(fds), -1, false);
                if (!fds[0].revents)
                        continue;
                ssize_t n = recv(fd, p, space, 0);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n <= 0)
                        return 0;
                stream_decoder_received(d, (size_t) n);
                return 1;
        }
}

static int receive_head(int fd, StreamDecoder *d, StreamHead *ret, StreamMessage *ret_message) {
        for (unsigned interim = 0; interim <= INTERIM_MAX;) {
                int r = stream_decoder_head(d, ret);

                if (r < 0)
                        break;
                if (r > 0) {
                        if (ret->status >= 200 || ret->status == 101)
                                return 0;
                        interim++;
                        continue;
                }
                r = receive(fd, d);
                if (r < 0)
                        return r;
                if (r == 0)
                        return stream_failed(ret_message, "the Engine closed the connection before it had answered");
        }
        return stream_failed(ret_message, "what the Engine answered is no HTTP");
}

/* The body of a refusal, up to so much as is looked at. */
static int receive_refusal(int fd, StreamDecoder *d, const StreamHead *head, StreamMessage *ret) {
        _cleanup_free_ char *body = malloc(REFUSAL_BODY_MAX);
        size_t have = 0;

        if (!body)
                return -ENOMEM;
        stream_decoder_begin(d, &head->body, false);
        while (have < REFUSAL_BODY_MAX) {
                const char *data;
                size_t size;
                unsigned stream;

                if (stream_decoder_run(d, &data, &size, &stream) < 0)
                        break;
                size = MIN(size, REFUSAL_BODY_MAX - have);
                memcpy(body + have, data, size);
                have += size;
                stream_decoder_take(d, size);
                if (d->body.ended || (size == 0 && receive(fd, d) <= 0))
                        break;
        }
        *ret = (StreamMessage) { .type = STREAM_SAYS_STATUS, .status = head->status };
        ret->message = stream_head_reason(head->status, body, have);
        return ret->message ? -EBADRQC : -ENOMEM;
}

/* An Engine that does not switch protocols on request answers with 200, and then does the same. */
static bool is_granted(StreamKind kind, long status) {
        return status == 200 || (status == 101 && kind != STREAM_OUTPUT);
}

int stream_ask(const StreamRequest *request, StreamDecoder *d, int *ret_socket, StreamMessage *ret) {
        _cleanup_close_ int fd = -EBADF;
        StreamHead head;
        int r;

        r = connect_to(request->socket, &fd, ret);
        if (r < 0)
                return r;
        r = send_request(fd, request);
        if (r < 0)
                return r;
        r = receive_head(fd, d, &head, ret);
        if (r < 0)
                return r;
        if (head.status == 101 && request->kind == STREAM_OUTPUT)
                return stream_failed(ret, "the Engine switched to a protocol that it was not asked for");
        if (!is_granted(request->kind, head.status))
                return receive_refusal(fd, d, &head, ret);
        stream_decoder_begin(d, &head.body, request->framed);
        *ret = (StreamMessage) { .type = STREAM_SAYS_STATUS, .status = head.status };
        *ret_socket = TAKE_FD(fd);
        return 0;
}
