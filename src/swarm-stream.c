/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swarm-stream: the child that carries the bytes of a shell, of a command or of a session's output between the Engine and
 * whoever asked. One request on stdin, lines on stdout (stream/stream-request.h). It needs no capability and is told no secret. */

#include "stream/stream-answer.h"
#include "stream/stream-pump.h"

static int read_request(StreamRequest *ret) {
        _cleanup_free_ char *line = malloc(STREAM_REQUEST_LINE_MAX);
        size_t n = 0;

        if (!line)
                return -ENOMEM;
        /* Nothing follows it. */
        while (n == 0 || line[n - 1] != '\n') {
                ssize_t k = n < STREAM_REQUEST_LINE_MAX ? read(STDIN_FILENO, line + n, STREAM_REQUEST_LINE_MAX - n) : 0;
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EBADMSG;
                n += (size_t) k;
        }
        return stream_request_from_json(line, n, ret);
}

/* What is said first, and, where it was granted, last. */
static int run(const StreamRequest *request, StreamMessage *ret) {
        _cleanup_(stream_pump_freep) StreamPump *pump = NULL;
        _cleanup_(stream_message_done) StreamMessage begun = {};
        int r, socket;

        r = stream_pump_open(request, &pump, ret);
        if (r < 0)
                return r;
        r = stream_ask(request, stream_pump_decoder(pump), &socket, ret);
        if (r < 0)
                return r;
        begun = *ret;
        *ret = (StreamMessage) {};
        stream_io_say(&begun);
        return stream_pump_run(pump, socket, ret);
}

int main(int argc, char *argv[]) {
        _cleanup_(stream_request_done) StreamRequest request = {};
        _cleanup_(stream_message_done) StreamMessage message = {};
        int r = stream_io_setup();

        if (r >= 0)
                r = read_request(&request);
        if (r >= 0)
                r = run(&request, &message);
        if (r < 0 && r != -EBADRQC) {
                fprintf(stderr, "<3>The request failed: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        stream_io_say(&message);
        return EXIT_SUCCESS;
}
