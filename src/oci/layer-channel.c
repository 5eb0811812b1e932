/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "basic/io-util.h"
#include "basic/string-util.h"
#include "oci/json-fields.h"
#include "oci/layer-channel.h"

#define REQUEST_MAX (1 * MIB)
#define ANSWER_MAX 256U
#define TICK_MSEC 200                   /* five progress lines a second */
#define QUIET_TICKS 5U                  /* one a second when nothing moves, so that the agent sees life */

struct LayerChannel {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        const char *stage;
        int64_t total;
        atomic_uint_fast64_t done;
        bool frozen, finished;
        int signals;
        char input[ANSWER_MAX];
        size_t input_size;
};

int layer_channel_read_request(char **ret_line) {
        _cleanup_free_ char *line = malloc(REQUEST_MAX + 1);
        size_t n = 0;

        if (!line)
                return -ENOMEM;
        while (n == 0 || line[n - 1] != '\n') {
                /* Byte for byte would be slow, but nothing follows the request before it is answered. */
                ssize_t k = read(STDIN_FILENO, line + n, REQUEST_MAX - n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0 || memchr(line + n, 0, (size_t) k)) {
                        explicit_bzero(line, n);
                        return k < 0 ? -errno : k == 0 ? n == REQUEST_MAX ? -E2BIG : -ECONNRESET : -EBADMSG;
                }
                n += (size_t) k;
        }
        line[n] = 0;
        *ret_line = TAKE_PTR(line);
        return 0;
}

/* The lock is held. */
static int write_line(LayerChannel *c, const LayerLine *line) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (c->finished)
                return 0;
        r = layer_line_to_json(line, &text);
        return r < 0 ? r : write_full(STDOUT_FILENO, text, strlen(text));
}

static void write_progress(LayerChannel *c) {
        static uint64_t last_done;
        static const char *last_stage;
        static unsigned quiet;
        uint64_t done = atomic_load(&c->done);

        pthread_mutex_lock(&c->lock);
        if (c->stage && (done != last_done || c->stage != last_stage || ++quiet >= QUIET_TICKS)) {
                LayerLine line = { .type = LAYER_LINE_PROGRESS, .bytes_done = done, .bytes_total = c->total };
                line.stage = strdup(c->stage);
                if (write_line(c, &line) < 0)
                        _exit(EXIT_FAILURE);
                free(line.stage);
                last_done = done;
                last_stage = c->stage;
                quiet = 0;
        }
        pthread_mutex_unlock(&c->lock);
}

static void take_line(LayerChannel *c, const char *data, size_t n) {
        _cleanup_json_ json_t *j = json_object_from_string(data, n);

        if (!streq(strempty(json_string_value(json_object_get(j, "type"))), "frozen"))
                _exit(EXIT_FAILURE);    /* no agent of ours */
        pthread_mutex_lock(&c->lock);
        c->frozen = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
}

static void take_input(LayerChannel *c) {
        ssize_t n = read(STDIN_FILENO, c->input + c->input_size, ANSWER_MAX - c->input_size);
        char *end;

        if (n <= 0)
                _exit(EXIT_FAILURE);
        c->input_size += (size_t) n;
        while ((end = memchr(c->input, '\n', c->input_size))) {
                size_t used = (size_t) (end + 1 - c->input);
                take_line(c, c->input, used - 1);
                memmove(c->input, c->input + used, c->input_size - used);
                c->input_size -= used;
        }
        if (c->input_size == ANSWER_MAX)
                _exit(EXIT_FAILURE);
}

static void *run_channel(void *userdata) {
        LayerChannel *c = userdata;

        for (;;) {
                struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { c->signals, POLLIN, 0 } };
                if (poll(fds, ELEMENTSOF(fds), TICK_MSEC) < 0 && errno != EINTR)
                        _exit(EXIT_FAILURE);
                if (fds[1].revents)
                        _exit(EXIT_FAILURE);
                if (fds[0].revents)
                        take_input(c);
                write_progress(c);
        }
        return NULL;
}

int layer_channel_open(LayerChannel **ret) {
        _cleanup_free_ LayerChannel *c = calloc(1, sizeof(*c));
        pthread_t thread;
        sigset_t mask;
        int r;

        if (!c)
                return -ENOMEM;
        (void) signal(SIGPIPE, SIG_IGN);
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        r = -pthread_sigmask(SIG_BLOCK, &mask, NULL);
        if (r < 0)
                return r;
        c->signals = signalfd(-1, &mask, SFD_CLOEXEC);
        if (c->signals < 0)
                return -errno;
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->changed, NULL);
        c->total = -1;
        r = -pthread_create(&thread, NULL, run_channel, c);
        if (r < 0)
                return r;
        (void) pthread_detach(thread);
        *ret = TAKE_PTR(c);             /* lives as long as the process */
        return 0;
}

void layer_channel_stage(LayerChannel *c, const char *stage, int64_t total) {
        pthread_mutex_lock(&c->lock);
        c->stage = stage;
        c->total = total;
        atomic_store(&c->done, 0);
        pthread_mutex_unlock(&c->lock);
}

atomic_uint_fast64_t *layer_channel_counter(LayerChannel *c) {
        return &c->done;
}

int layer_channel_freeze(LayerChannel *c) {
        const LayerLine line = { .type = LAYER_LINE_FREEZE };
        int r;

        pthread_mutex_lock(&c->lock);
        r = write_line(c, &line);
        while (r >= 0 && !c->frozen)
                pthread_cond_wait(&c->changed, &c->lock);
        pthread_mutex_unlock(&c->lock);
        return r;
}

int layer_channel_read_done(LayerChannel *c) {
        const LayerLine line = { .type = LAYER_LINE_READ_DONE };

        pthread_mutex_lock(&c->lock);
        int r = write_line(c, &line);
        pthread_mutex_unlock(&c->lock);
        return r;
}

int layer_channel_finish(LayerChannel *c, const LayerLine *line) {
        pthread_mutex_lock(&c->lock);
        int r = write_line(c, line);
        c->finished = true;
        pthread_mutex_unlock(&c->lock);
        return r;
}
