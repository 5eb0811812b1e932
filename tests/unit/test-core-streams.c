/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shells, commands and output: beside a session's operations, and gone with its container or with the service. */

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

static void on_begun(void *userdata, int r, const Refusal *refusal) {
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

static void hang_up(Heard *h) {
        closep(&h->in);
        if (h->out != h->in)
                closep(&h->out);
        h->in = h->out = -1;
}

#define WORDS(...) ((char *const *) (const char *const[]) { __VA_ARGS__, NULL })

/* Asks for a command with pipes, or with a terminal; the descriptors that are handed over are closed at once. */
static int execute_as(Session *s, ProviderCommand c, uid_t uid, Heard *h, Refusal **refusal) {
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

static void execute(Session *s, ProviderCommand c, Heard *h) {
        static const char *const cat[] = { "cat", NULL };
        _cleanup_refusal_ Refusal *refusal = NULL;

        if (!c.argv && !c.terminal)
                c.argv = (char *const *) cat;
        if (execute_as(s, c, 0, h, &refusal) < 0)
                fail_msg("%s", refusal ? refusal->message : "?");
        assert_int_equal(h->n, 0);
}

static void begin(Fixture *f, Session *s, ProviderCommand c, Heard *h) {
        execute(s, c, h);
        WAIT_FOR(f, h->n == 1);
        assert_int_equal(h->r, 0);
}

static int read_logs_as(Session *s, ProviderLogs l, uid_t uid, Heard *h, Refusal **refusal) {
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

static void follow(Fixture *f, Session *s, Heard *h) {
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true, .lines = 1 }, 0, h, NULL), 0);
        WAIT_FOR(f, h->n == 1);
        assert_int_equal(h->r, 0);
}

static void expect_sentence(const Refusal *refusal, RefusalCode code, const char *part) {
        assert_non_null(refusal);
        if (refusal->code != code || !strstr(refusal->message, part))
                fail_msg("%s: %s", refusal_code_to_string(refusal->code), refusal->message);
        assert_int_equal(refusal->message[strlen(refusal->message) - 1], '.');
}

static void refused_as(Session *s, ProviderCommand c, uid_t uid, RefusalCode code, const char *part) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        uint64_t last = s->manager->last_job_id;
        Heard h;

        assert_int_equal(execute_as(s, c, uid, &h, &refusal), -EBADRQC);
        expect_sentence(refusal, code, part);
        assert_int_equal(s->manager->last_job_id, last);
}

static void refused(Session *s, ProviderCommand c, RefusalCode code, const char *part) {
        refused_as(s, c, 0, code, part);
}

static void logs_refused(Session *s, ProviderLogs l, RefusalCode code, const char *part) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Heard h;

        assert_int_equal(read_logs_as(s, l, 0, &h, &refusal), -EBADRQC);
        expect_sentence(refusal, code, part);
}

static unsigned count_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static bool says(Heard *h, const char *text) {
        char buffer[256] = "";

        return read(h->out, buffer, sizeof(buffer) - 1) > 0 && streq(buffer, text);
}

static void expect_ended(Fixture *f, Heard *h, JobState state) {
        WAIT_FOR(f, job_state_is_ended(h->job->state));
        if (h->job->state != state)
                fail_msg("%s: %s", job_state_to_string(h->job->state), h->job->error ? h->job->error->message : "?");
        assert_int_equal(h->n, 1);
        assert_null(h->job->stream);
        assert_null(h->job->session);
        assert_int_equal(h->job->error != NULL, state != JOB_DONE);
        hang_up(h);
}

static void expect_nothing_left(Fixture *f, Session *s) {
        assert_null(s->streams);
        assert_int_equal(f->m->streams, 0);
        assert_int_equal(fake_losses(f->p), 0);
}

/* ---- what there is when all goes well */

static void test_command(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "alpha");
        Heard h;

        s->last_activity_usec = 1;
        WAIT_FOR(f, !s->dirty);
        unsigned fds = count_fds();
        execute(s, (ProviderCommand) { .env = WORDS("A={{B}}"), .user = "root:root", .directory = "/" }, &h);
        assert_true(s->last_activity_usec > 1);
        assert_int_equal(h.job->type, JOB_EXECUTE);
        assert_int_equal(h.job->state, JOB_RUNNING);
        assert_int_equal(h.job->exit_code, -1);
        assert_true(h.job->started_usec > 0);
        assert_true(job_is_cancelable(h.job));
        /* Beside the queue. */
        assert_null(s->jobs);
        assert_null(session_current_job(s));
        assert_int_equal(f->m->jobs_running, 0);
        /* The intent first. */
        assert_true(h.job->dirty);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 1);
        assert_false(h.job->dirty);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.r, 0);
        assert_null(h.job->stage);
        /* Those of the test and of the provider: one more would keep a pipe open whose other end is closed. */
        assert_int_equal(count_fds(), fds + 5);
        assert_int_equal(write(h.in, "hello\n", 6), 6);
        WAIT_FOR(f, says(&h, "hello\n"));
        s->last_activity_usec = 1;
        assert_int_equal(write(h.in, "exit 7\n", 7), 7);
        expect_ended(f, &h, JOB_DONE);
        assert_int_equal(h.job->exit_code, 7);
        assert_true(s->last_activity_usec > 1);
        expect_nothing_left(f, s);
        assert_int_equal(count_fds(), fds);

        /* What it ended with is known for as long as its job is. */
        uint64_t id = h.job->id;
        Job *j;
        WAIT_FOR(f, !h.job->dirty);
        crash(f);
        assert_int_equal(manager_get_job(f->m, id, &j, NULL), 0);
        assert_int_equal(j->state, JOB_DONE);
        assert_int_equal(j->exit_code, 7);
}

static void test_shell(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "beta");
        Heard h;

        begin(f, s, (ProviderCommand) { .terminal = true }, &h);
        assert_int_equal(h.job->type, JOB_SHELL);
        hang_up(&h);
        expect_ended(f, &h, JOB_CANCELED);
        assert_int_equal(h.job->exit_code, -1);
        expect_nothing_left(f, s);
}

static void test_output(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "gamma");
        unsigned fds = count_fds();
        Heard h;

        s->last_activity_usec = 1;
        uint64_t last = f->m->last_job_id;
        follow(f, s, &h);
        assert_int_equal(f->m->last_job_id, last);
        assert_int_equal(f->m->streams, 1);
        assert_true(s->last_activity_usec > 1);
        hang_up(&h);
        WAIT_FOR(f, !s->streams);
        expect_nothing_left(f, s);

        /* Also of what has ended, as long as its container is there. */
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .lines = 3, .since_usec = 5, .until_usec = UINT64_MAX }, 0, &h, NULL), 0);
        WAIT_FOR(f, h.n == 1 && !s->streams);
        assert_int_equal(h.r, 0);
        hang_up(&h);
        assert_int_equal(count_fds(), fds);
}

/* ---- what is refused */

static void test_words(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "delta");
        _cleanup_free_ char *large = malloc(40 * KIB);
        char user[70], directory[4098];
        const char *many[1027];

        refused(s, (ProviderCommand) {}, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("") }, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("", "x"), .terminal = true }, REFUSAL_INVALID_ARGUMENT, "no program");
        refused(s, (ProviderCommand) { .argv = WORDS("\xff") }, REFUSAL_INVALID_ARGUMENT, "not valid UTF-8");
        for (size_t i = 0; i < 1025; i++)
                many[i] = "A=";
        many[1025] = NULL;
        refused(s, (ProviderCommand) { .argv = (char *const *) many }, REFUSAL_LIMIT_EXCEEDED, "command has 1025 entries");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = (char *const *) many }, REFUSAL_LIMIT_EXCEEDED, "env has 1025 entries");
        memset(large, 'x', 40 * KIB);
        large[40 * KIB - 1] = 0;
        refused(s, (ProviderCommand) { .argv = WORDS(large, large, large, large) }, REFUSAL_LIMIT_EXCEEDED, "bytes");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS("A") }, REFUSAL_INVALID_ARGUMENT, "no \"=\"");
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS("A=1", "1A=2") }, REFUSAL_INVALID_ARGUMENT, "bad name");
        memcpy(large, "A=", 2);
        refused(s, (ProviderCommand) { .argv = WORDS("x"), .env = WORDS(large) }, REFUSAL_LIMIT_EXCEEDED, "variable A");

        memset(user, 'u', sizeof(user));
        user[65] = 0;
        const char *const users[] = { "", "a b", "root;", ":", "root:", ":root", "a:b:c", user };
        for (size_t i = 0; i < ELEMENTSOF(users); i++)
                refused(s, (ProviderCommand) { .argv = WORDS("x"), .user = users[i] }, REFUSAL_INVALID_ARGUMENT, "user of the command");
        memset(directory, 'd', sizeof(directory));
        directory[0] = '/';
        directory[4096] = 0;
        const char *const directories[] = { "", "tmp", "/\xff", directory };
        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                refused(s, (ProviderCommand) { .argv = WORDS("x"), .directory = directories[i] }, REFUSAL_INVALID_ARGUMENT, "working directory");
        logs_refused(s, (ProviderLogs) { .since_usec = 2, .until_usec = 1 }, REFUSAL_INVALID_ARGUMENT, "later than");
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE) + fake_calls(f->p, FAKE_READ_LOGS), 0);

        /* What is just in the limits. */
        Heard h;
        user[64] = 0;
        directory[4095] = 0;
        many[1024] = NULL;
        begin(f, s, (ProviderCommand) { .argv = WORDS("true"), .env = (char *const *) many, .user = user, .directory = directory }, &h);
        expect_ended(f, &h, JOB_DONE);
        expect_nothing_left(f, s);
}

static void test_states(void **state) {
        const ProviderCommand c = { .argv = WORDS("true") };
        Fixture *f = *state;

        fake_set_latency(f->p, FAKE_START, 3600 * USEC_PER_SEC);
        Session *s = create(f, "epsilon", "base");
        WAIT_FOR(f, s->state == SESSION_PLACING);
        refused(s, c, REFUSAL_WRONG_STATE, "Wait until it runs.");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_WRONG_STATE, "has no container");
        fake_set_latency(f->p, FAKE_START, 0);
        s = create_running(f, "zeta");
        fake_set_latency(f->p, FAKE_CAPTURE, 3600 * USEC_PER_SEC);
        Job *j = request(s, JOB_HIBERNATE, NULL);
        WAIT_FOR(f, s->state == SESSION_HIBERNATING);
        refused(s, c, REFUSAL_WRONG_STATE, "Session \"zeta\" is hibernating, so nothing can be run in it. Wait until what is under way has ended, or cancel its job.");
        assert_int_equal(job_cancel(j, 0, NULL), 0);
        WAIT_FOR(f, s->state == SESSION_RUNNING && !s->operation);
        fake_set_latency(f->p, FAKE_CAPTURE, 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(fake_exit_session(f->p, s->id, 0), 0);
        WAIT_FOR(f, s->state == SESSION_EXITED && s->failures == 1 && !s->jobs);
        refused(s, c, REFUSAL_WRONG_STATE, "Start it again");
        s = create_running(f, "eta");
        run_job(f, s, JOB_HIBERNATE, NULL);
        refused(s, c, REFUSAL_WRONG_STATE, "Start or restore it first.");
        _cleanup_free_ char *journal = strformat("journalctl SWARM_SESSION=%s.", s->id);
        logs_refused(s, (ProviderLogs) {}, REFUSAL_WRONG_STATE, journal);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE) + fake_calls(f->p, FAKE_READ_LOGS), 0);
}

static void test_providers(void **state) {
        const ProviderCommand c = { .argv = WORDS("true") };
        Fixture *f = *state;
        Session *s = create_running(f, "theta");
        ProviderVTable less = *f->p->vtable;
        const ProviderVTable *all = f->p->vtable;

        less.capabilities &= ~(uint32_t) (PROVIDER_CAN_EXECUTE | PROVIDER_CAN_READ_LOGS);
        less.execute = NULL;
        less.read_logs = NULL;
        f->p->vtable = &less;
        refused(s, c, REFUSAL_PROVIDER_FAILED, "Session \"theta\" lives at provider \"fake\", which cannot run commands");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_FAILED, "cannot read the output");
        f->p->vtable = all;
        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "It is away.");
        WAIT_FOR(f, manager_find_provider(f->m, "fake")->health == PROVIDER_UNAVAILABLE);
        refused(s, c, REFUSAL_PROVIDER_UNAVAILABLE, "It is away.");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_UNAVAILABLE, "It is away.");
}

static void test_limits(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "iota");
        Heard h[4], *rest = calloc(512, sizeof(*rest));

        assert_non_null(rest);
        f->m->config->streams_per_user_max = 2;
        f->m->config->running_jobs_per_user_max = 0;    /* they are none of these */
        assert_int_equal(execute_as(s, (ProviderCommand) { .terminal = true }, 1000, &h[0], NULL), 0);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true }, 1000, &h[1], NULL), 0);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, REFUSAL_LIMIT_EXCEEDED, "You have 2 shells, commands and readers of output open already (StreamsPerUserMax=)");
        assert_int_equal(execute_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1001, &h[2], NULL), 0);
        assert_int_equal(f->m->streams, 3);
        WAIT_FOR(f, h[0].n + h[1].n + h[2].n == 3);
        /* The place of one that has ended is free. */
        hang_up(&h[1]);
        WAIT_FOR(f, f->m->streams == 2);
        assert_int_equal(execute_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, &h[3], NULL), 0);
        WAIT_FOR(f, h[3].n == 1);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 1000, REFUSAL_LIMIT_EXCEEDED, "StreamsPerUserMax=");

        struct rlimit files = {};
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = MIN(files.rlim_max, (rlim_t) 16384);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
        for (unsigned i = 0; i < 509; i++)
                execute(s, (ProviderCommand) {}, &rest[i]);
        refused_as(s, (ProviderCommand) { .argv = WORDS("cat") }, 0, REFUSAL_LIMIT_EXCEEDED, "512 shells, commands and readers of output are open already");
        session_end_streams(s, JOB_CANCELED, NULL);
        expect_nothing_left(f, s);
        for (unsigned i = 0; i < 509; i++)
                hang_up(&rest[i]);
        for (unsigned i = 0; i < 4; i++)
                hang_up(&h[i]);
        free(rest);
}

/* ---- what ends them */

static void test_not_begun(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "kappa");
        Heard h;

        execute(s, (ProviderCommand) { .argv = WORDS("missing") }, &h);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.r, -EBADRQC);
        assert_int_equal(h.code, REFUSAL_PROVIDER_FAILED);
        assert_string_equal(h.job->error->message, h.message);
        assert_int_equal(fake_break_next(f->p, FAKE_EXECUTE, 1, EIO), 0);
        execute(s, (ProviderCommand) {}, &h);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.code, REFUSAL_INTERNAL);
        assert_int_equal(fake_fail_next(f->p, FAKE_READ_LOGS, 1, REFUSAL_BUSY, "Not now."), 0);
        assert_int_equal(read_logs_as(s, (ProviderLogs) {}, 0, &h, NULL), 0);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.code, REFUSAL_BUSY);
        hang_up(&h);
        /* It has ended before its turn came. */
        execute(s, (ProviderCommand) {}, &h);
        uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
        session_set_state(s, SESSION_STOPPING, NULL);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(h.code, REFUSAL_WRONG_STATE);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), calls);
        expect_nothing_left(f, s);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "lambda");
        Heard h;

        /* Before it is saved, before it has begun, and then. */
        for (unsigned i = 0; i < 3; i++) {
                fake_set_latency(f->p, FAKE_EXECUTE, i == 1 ? 3600 * USEC_PER_SEC : 0);
                uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
                execute(s, (ProviderCommand) {}, &h);
                if (i > 0)
                        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == calls + 1);
                if (i > 1)
                        WAIT_FOR(f, h.n == 1);
                /* It sees for itself to what could not be saved. */
                job_withdraw(h.job);
                assert_int_equal(h.job->state, JOB_RUNNING);
                assert_int_equal(job_cancel(h.job, 1000, NULL), 0);
                assert_int_equal(h.job->state, JOB_CANCELED);
                assert_int_equal(h.job->error->code, REFUSAL_CANCELED);
                assert_non_null(strstr(h.job->error->message, "1000"));
                assert_int_equal(h.r, i > 1 ? 0 : -EBADRQC);
                assert_false(job_is_cancelable(h.job));
                assert_int_equal(job_cancel(h.job, 1000, NULL), -EBADRQC);
                expect_ended(f, &h, JOB_CANCELED);
        }
        expect_nothing_left(f, s);
        assert_int_equal(s->state, SESSION_RUNNING);
}

static void test_forget(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "mu");
        Heard h;

        stream_forget(NULL);
        execute(s, (ProviderCommand) {}, &h);
        stream_forget(h.stream);
        assert_int_equal(h.job->state, JOB_CANCELED);
        assert_int_equal(h.n, 0);
        hang_up(&h);
        assert_int_equal(read_logs_as(s, (ProviderLogs) { .follow = true }, 0, &h, NULL), 0);
        stream_forget(h.stream);
        assert_int_equal(h.n, 0);
        hang_up(&h);
        expect_nothing_left(f, s);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);

        /* What has begun goes on. */
        execute(s, (ProviderCommand) {}, &h);
        Stream *t = h.stream;
        WAIT_FOR(f, h.n == 1);
        stream_forget(t);
        assert_int_equal(h.job->state, JOB_RUNNING);
        closep(&h.out);
        h.out = -1;
        expect_ended(f, &h, JOB_CANCELED);
}

static void fill_disk(bool full) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = full ? 0 : limit.rlim_max;
        assert_true(signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL) != SIG_ERR);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_not_saved(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "nu");
        Heard h;

        fill_disk(true);
        execute(s, (ProviderCommand) {}, &h);
        WAIT_FOR(f, h.n == 1);
        assert_int_equal(h.code, REFUSAL_STORE_FAILED);
        assert_non_null(strstr(h.message, "\"nu\" could not be saved"));
        fill_disk(false);
        expect_ended(f, &h, JOB_FAILED);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        WAIT_FOR(f, f->m->store_healthy);
        assert_int_equal(fake_calls(f->p, FAKE_EXECUTE), 0);
        expect_nothing_left(f, s);
}

/* Neither keeps it from anything. */
static void test_hibernate(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "xi");
        Heard shell, command, logs;

        begin(f, s, (ProviderCommand) { .terminal = true }, &shell);
        begin(f, s, (ProviderCommand) {}, &command);
        follow(f, s, &logs);
        run_job(f, s, JOB_SNAPSHOT, NULL);
        assert_int_equal(shell.job->state, JOB_RUNNING);
        assert_int_equal(fake_write(f->p, s->id, 5), 0);
        run_job(f, s, JOB_HIBERNATE, NULL);
        assert_int_equal(s->state, SESSION_HIBERNATED);
        expect_ended(f, &shell, JOB_FAILED);
        expect_ended(f, &command, JOB_FAILED);
        assert_int_equal(command.job->error->code, REFUSAL_WRONG_STATE);
        assert_int_equal(command.job->exit_code, -1);
        WAIT_FOR(f, !s->streams);
        hang_up(&logs);
        expect_nothing_left(f, s);
        run_job(f, s, JOB_RESTORE, NULL);
        assert_int_equal(value_of(f, s), 5);
}

static void test_other_ends(void **state) {
        static const JobType verbs[] = { JOB_STOP, JOB_RESTART, JOB_DESTROY };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                _cleanup_free_ char *name = strformat("pi-%zu", i);
                Session *s = create_running(f, name);
                Heard h, waits, logs;

                begin(f, s, (ProviderCommand) {}, &h);
                follow(f, s, &logs);
                fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
                uint64_t calls = fake_calls(f->p, FAKE_EXECUTE);
                execute(s, (ProviderCommand) {}, &waits);
                WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == calls + 1);
                fake_set_latency(f->p, FAKE_EXECUTE, 0);
                run_job(f, s, verbs[i], NULL);
                expect_ended(f, &h, JOB_FAILED);
                if (verbs[i] == JOB_DESTROY) {
                        assert_int_equal(waits.code, REFUSAL_NO_SUCH_SESSION);
                        expect_ended(f, &waits, JOB_FAILED);
                } else {
                        assert_int_equal(job_cancel(waits.job, 0, NULL), 0);
                        expect_ended(f, &waits, JOB_CANCELED);
                }
                WAIT_FOR(f, f->m->streams == 0);
                hang_up(&logs);
        }
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_stop(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "rho");
        Heard h, logs, waits;
        Job *j;

        begin(f, s, (ProviderCommand) {}, &h);
        follow(f, s, &logs);
        fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
        execute(s, (ProviderCommand) {}, &waits);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 2);
        uint64_t first = h.job->id, second = waits.job->id;
        f->stopped = false;
        manager_stop(f->m, 10 * USEC_PER_SEC, on_stopped, f);
        WAIT_FOR(f, f->stopped);
        expect_nothing_left(f, s);
        assert_int_equal(h.n, 1);
        assert_int_equal(waits.n, 1);
        assert_int_equal(waits.code, REFUSAL_INTERRUPTED);
        refused(s, (ProviderCommand) { .argv = WORDS("cat") }, REFUSAL_PROVIDER_UNAVAILABLE, "is stopping");
        logs_refused(s, (ProviderLogs) {}, REFUSAL_PROVIDER_UNAVAILABLE, "is stopping");
        waits.job = NULL;
        crash(f);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(manager_get_job(f->m, i ? second : first, &j, NULL), 0);
                assert_int_equal(j->state, JOB_INTERRUPTED);
                assert_non_null(strstr(j->error->message, "was stopped"));
                assert_int_equal(j->exit_code, -1);
        }
        assert_int_equal(f->m->jobs_running + f->m->streams, 0);
        hang_up(&h);
        hang_up(&logs);
        hang_up(&waits);
}

static void test_crash(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "sigma");
        Heard h, logs, waits;
        Job *j;

        begin(f, s, (ProviderCommand) {}, &h);
        follow(f, s, &logs);
        fake_set_latency(f->p, FAKE_EXECUTE, 3600 * USEC_PER_SEC);
        execute(s, (ProviderCommand) {}, &waits);
        WAIT_FOR(f, fake_calls(f->p, FAKE_EXECUTE) == 2);
        uint64_t id = h.job->id;
        h.job = waits.job = NULL;
        crash(f);
        /* Whoever waited in this process has heard of it. */
        assert_int_equal(h.n, 1);
        assert_int_equal(waits.n, 1);
        assert_int_equal(waits.code, REFUSAL_INTERRUPTED);
        assert_int_equal(manager_get_job(f->m, id, &j, NULL), 0);
        assert_int_equal(j->state, JOB_INTERRUPTED);
        assert_non_null(strstr(j->error->message, "while the command ran"));
        WAIT_FOR(f, provider_ready(f));
        s = manager_find_session(f->m, "sigma");
        assert_int_equal(s->state, SESSION_RUNNING);
        assert_int_equal(fake_losses(f->p), 0);
        hang_up(&h);
        hang_up(&logs);
        hang_up(&waits);
}

/* Who runs many commands makes nobody else's jobs be forgotten; of the commands the newest stay. */
static void test_many_are_forgotten(void **state) {
        Fixture *f = *state;
        Session *s = create_running(f, "many");
        uint64_t snapshot, last = 0;
        Job *j;

        run_job(f, s, JOB_SNAPSHOT, NULL);
        snapshot = f->m->last_job_id;
        f->m->config->jobs_max = 3;
        for (int i = 0; i < 10; i++) {
                Heard h;

                begin(f, s, (ProviderCommand) { .argv = WORDS("true") }, &h);
                WAIT_FOR(f, !s->streams);
                last = f->m->last_job_id;
                hang_up(&h);
        }
        WAIT_FOR(f, HASH_COUNT(f->m->jobs) <= 2 + 3 + 3);
        assert_int_equal(manager_get_job(f->m, snapshot, &j, NULL), 0);
        assert_int_equal(manager_get_job(f->m, last, &j, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_command, setup, teardown),
                cmocka_unit_test_setup_teardown(test_shell, setup, teardown),
                cmocka_unit_test_setup_teardown(test_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_words, setup, teardown),
                cmocka_unit_test_setup_teardown(test_states, setup, teardown),
                cmocka_unit_test_setup_teardown(test_providers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_begun, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_saved, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hibernate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
                cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_are_forgotten, setup, teardown),
        };

        (void) signal(SIGPIPE, SIG_IGN);
        log_set_max_level(LOG_CRIT);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
