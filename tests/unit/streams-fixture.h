/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One who opens shells, runs commands and reads output, and what he hears. */

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "core-fixture.h"
#include "core/stream.h"

/* One stream and what was heard of it. */
typedef struct Heard {
        unsigned n;             /* times that its begin was told */
        int r;
        RefusalCode code;
        char message[512];
        Stream *stream;
        Job *job;
        int in, out;            /* the test's ends; both are the terminal's */
} Heard;

#define HEARD { .in = -1, .out = -1 }

static inline void on_begun(void *userdata, int r, const Refusal *refusal) {
        Heard *h = userdata;

        h->n++;
        h->r = r;
        h->code = refusal ? refusal->code : _REFUSAL_INVALID;
        snprintf(h->message, sizeof(h->message), "%s", refusal ? refusal->message : "");
        h->stream = NULL;
        /* Its job has failed by then. */
        if (r < 0 && h->job)
                assert_true(job_state_is_ended(h->job->state));
}

static inline void hang_up(Heard *h) {
        closep(&h->in);
        if (h->out != h->in)
                closep(&h->out);
        h->in = h->out = -1;
}

#define WORDS(...) ((char *const *) (const char *const[]) { __VA_ARGS__, NULL })

/* Asks for a command with pipes, or with a terminal; the descriptors that are handed over are closed at once. */
static inline int execute_as(Session *s, ProviderCommand c, uid_t uid, Heard *h, Refusal **refusal) {
        int in[2] = { -1, -1 }, out[2] = { -1, -1 }, r;

        *h = (Heard) HEARD;
        if (c.terminal) {
                h->in = h->out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
                assert_true(h->in >= 0 && grantpt(h->in) == 0 && unlockpt(h->in) == 0);
                in[0] = ioctl(h->in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        } else {
                assert_int_equal(pipe2(in, O_CLOEXEC), 0);
                assert_int_equal(pipe2(out, O_CLOEXEC), 0);
                h->in = in[1];
                h->out = out[0];
        }
        assert_int_equal(fcntl(h->out, F_SETFL, O_NONBLOCK), 0);
        c.fds = (const int[]) { in[0], out[1], out[1] };
        c.n_fds = c.terminal ? 1 : 3;
        r = session_execute(s, &c, uid, on_begun, h, &h->stream, &h->job, refusal);
        close(in[0]);
        closep(&out[1]);
        if (r < 0)
                hang_up(h);
        return r;
}

static inline void execute(Session *s, ProviderCommand c, Heard *h) {
        static const char *const cat[] = { "cat", NULL };
        _cleanup_refusal_ Refusal *refusal = NULL;

        if (!c.argv && !c.terminal)
                c.argv = (char *const *) cat;
        if (execute_as(s, c, 0, h, &refusal) < 0)
                fail_msg("%s", refusal ? refusal->message : "?");
        assert_int_equal(h->n, 0);
}

static inline void begin(Fixture *f, Session *s, ProviderCommand c, Heard *h) {
        execute(s, c, h);
        WAIT_FOR(f, h->n == 1);
        assert_int_equal(h->r, 0);
}

static inline int read_logs_as(Session *s, ProviderLogs l, uid_t uid, Heard *h, Refusal **refusal) {
        int out[2], r;

        *h = (Heard) HEARD;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        h->out = out[0];
        assert_int_equal(fcntl(h->out, F_SETFL, O_NONBLOCK), 0);
        l.fd = out[1];
        r = session_read_logs(s, &l, uid, on_begun, h, &h->stream, refusal);
        close(out[1]);
        if (r < 0)
                hang_up(h);
        return r;
}

static inline void follow(Fixture *f, Session *s, Heard *h) {
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true, .lines = 1 }, 0, h, NULL), 0);
        WAIT_FOR(f, h->n == 1);
        assert_int_equal(h->r, 0);
}

static inline void expect_sentence(const Refusal *refusal, RefusalCode code, const char *part) {
        assert_non_null(refusal);
        if (refusal->code != code || !strstr(refusal->message, part))
                fail_msg("%s: %s", refusal_code_to_string(refusal->code), refusal->message);
        assert_int_equal(refusal->message[strlen(refusal->message) - 1], '.');
}

static inline void refused_as(Session *s, ProviderCommand c, uid_t uid, RefusalCode code, const char *part) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        uint64_t last = s->manager->last_job_id;
        Heard h;

        assert_int_equal(execute_as(s, c, uid, &h, &refusal), -EBADRQC);
        expect_sentence(refusal, code, part);
        assert_int_equal(s->manager->last_job_id, last);
}

static inline void refused(Session *s, ProviderCommand c, RefusalCode code, const char *part) {
        refused_as(s, c, 0, code, part);
}

static inline void logs_refused(Session *s, ProviderLogs l, RefusalCode code, const char *part) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Heard h;

        assert_int_equal(read_logs_as(s, l, 0, &h, &refusal), -EBADRQC);
        expect_sentence(refusal, code, part);
}

static inline unsigned count_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static inline bool says(Heard *h, const char *text) {
        char buffer[256] = "";

        return read(h->out, buffer, sizeof(buffer) - 1) > 0 && streq(buffer, text);
}

static inline void expect_ended(Fixture *f, Heard *h, JobState state) {
        WAIT_FOR(f, job_state_is_ended(h->job->state));
        if (h->job->state != state)
                fail_msg("%s: %s", job_state_to_string(h->job->state), h->job->error ? h->job->error->message : "?");
        assert_int_equal(h->n, 1);
        assert_null(h->job->stream);
        assert_null(h->job->session);
        assert_int_equal(h->job->error != NULL, state != JOB_DONE);
        hang_up(h);
}

static inline void expect_nothing_left(Fixture *f, Session *s) {
        assert_null(s->streams);
        assert_int_equal(f->m->streams, 0);
        assert_int_equal(fake_losses(f->p), 0);
}
