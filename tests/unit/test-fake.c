/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <cmocka.h>

#include "provider/fake.h"

typedef struct Seen {
        bool exists, wanted, frozen;
        TaskState task;
        char image[160], node[32], health[16];
        uint64_t generation;
        int exit_code;
} Seen;

typedef struct Fixture {
        sd_event *event;
        Provider *p;
        Seen last;              /* of session "s" */
        unsigned n_sessions, n_lists, n_nodes, n_down;
        ProviderHealth health;

        int result;             /* of the call in flight; 1 = none yet */
        RefusalCode code;
        char image[160], witness[256], stage[16];
        unsigned n_progress, n_volumes;
} Fixture;

static void on_list_begin(Provider *p, void *userdata) {
        Fixture *f = userdata;
        f->n_sessions = 0;
}

static void on_session(Provider *p, const ProviderObservation *o, void *userdata) {
        Fixture *f = userdata;

        f->n_sessions++;
        if (!streq(o->session, "s"))
                return;
        f->last = (Seen) { .exists = o->exists, .wanted = o->wanted, .frozen = o->frozen, .task = o->task,
                           .generation = o->generation, .exit_code = o->exit_code };
        snprintf(f->last.image, sizeof(f->last.image), "%s", strempty(o->image));
        snprintf(f->last.node, sizeof(f->last.node), "%s", strempty(o->node));
        snprintf(f->last.health, sizeof(f->last.health), "%s", strempty(o->health));
}

static void on_list_end(Provider *p, void *userdata) {
        Fixture *f = userdata;
        f->n_lists++;
}

static void on_node(Provider *p, const ProviderNode *n, void *userdata) {
        Fixture *f = userdata;
        f->n_nodes++;
        f->n_down += streq(n->state, "down");
}

static void on_node_removed(Provider *p, const char *id, void *userdata) {
}

static void on_health(Provider *p, ProviderHealth health, const char *detail, void *userdata) {
        Fixture *f = userdata;
        f->health = health;
}

static void begin(Fixture *f, const FakeOptions *options) {
        ProviderObserver observer = { on_list_begin, on_session, on_list_end, on_node, on_node_removed, on_health, f };

        f->health = _PROVIDER_HEALTH_INVALID;
        f->n_lists = f->n_nodes = 0;
        assert_int_equal(fake_new(f->event, options, &f->p), 0);
        assert_int_equal(f->p->vtable->start(f->p, &observer), 0);
        /* Nothing is told from within the call. */
        assert_int_equal(f->n_lists, 0);
        while (f->n_lists == 0)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        assert_int_equal(f->health, PROVIDER_HEALTHY);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        assert_int_equal(sd_event_new(&f->event), 0);
        begin(f, NULL);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        provider_free(f->p);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

/* ---- calls that are waited for */

static void on_done(void *userdata, int r, const Refusal *refusal) {
        Fixture *f = userdata;

        assert_int_equal(f->result, 1);
        assert_true(r <= 0);
        assert_true((r == -EBADRQC) == (refusal != NULL));
        f->result = r;
        f->code = refusal ? refusal->code : _REFUSAL_INVALID;
}

static void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        if (r < 0)
                return;
        snprintf(f->image, sizeof(f->image), "%s", image->image);
        f->n_volumes = (unsigned) strv_length(image->volumes);
}

static void on_capture(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        assert_true((r >= 0) == (result != NULL));
        if (r < 0)
                return;
        snprintf(f->image, sizeof(f->image), "%s", result->image);
        snprintf(f->witness, sizeof(f->witness), "%s", result->witness);
}

static void on_progress(void *userdata, const ProviderCaptureProgress *progress) {
        Fixture *f = userdata;

        f->n_progress++;
        snprintf(f->stage, sizeof(f->stage), "%s", progress->stage);
}

static int settle(Fixture *f, int r) {
        if (r < 0)
                return r;
        while (f->result == 1)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        return f->result;
}

#define CALL(f, verb, ...) ({ (f)->result = 1; ProviderCall *_c = NULL; settle((f), (f)->p->vtable->verb((f)->p, __VA_ARGS__, (f), &_c)); })

static void wait_task(Fixture *f, TaskState task) {
        for (unsigned i = 0; f->last.task != task && i < 1000; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
        assert_int_equal(f->last.task, task);
}

static void turn(Fixture *f) {
        for (unsigned i = 0; i < 4; i++)
                assert_true(sd_event_run(f->event, USEC_PER_MSEC) >= 0);
}

static int run_image(Fixture *f, const char *session, const char *image, uint64_t generation) {
        ProviderSpec spec = { .session = session, .name = session, .image = image, .generation = generation, .record = "{}" };

        return CALL(f, run, &spec, on_done);
}

static void create(Fixture *f) {
        assert_int_equal(CALL(f, resolve_image, "base:1", on_image), 0);
        assert_non_null(startswith(f->image, "registry.fake/base@sha256:"));
        assert_int_equal(run_image(f, "s", f->image, 0), 0);
        wait_task(f, TASK_RUNNING);
}

static int capture(Fixture *f, CaptureMode mode, const char *tag) {
        ProviderCapture c = { .session = "s", .mode = mode, .generation = 1, .repository = "registry.fake/sessions/default", .tag = tag };

        f->n_progress = 0;
        f->result = 1;
        ProviderCall *call = NULL;
        return settle(f, f->p->vtable->capture(f->p, &c, on_progress, on_capture, f, &call));
}

static int rest(Fixture *f, const char *image, uint64_t generation) {
        ProviderRest r = { .session = "s", .witness = f->witness, .image = image, .generation = generation, .record = "{\"at\":\"rest\"}" };

        return CALL(f, rest, &r, on_done);
}

static int discard(Fixture *f, const char *image) {
        ProviderRest r = { .session = "s", .image = image, .record = "{\"at\":\"rest\"}" };

        return CALL(f, discard, &r, on_done);
}

/* ---- tests */

static void test_images(void **state) {
        Fixture *f = *state;
        char first[160];

        assert_int_equal(CALL(f, resolve_image, "base:1", on_image), 0);
        strcpy(first, f->image);
        assert_int_equal(CALL(f, resolve_image, "base:1", on_image), 0);
        assert_string_equal(first, f->image);
        assert_int_equal(CALL(f, resolve_image, first, on_image), 0);
        assert_string_equal(first, f->image);
        assert_int_equal(CALL(f, resolve_image, "base:2", on_image), 0);
        assert_string_not_equal(first, f->image);
        assert_int_equal(f->n_volumes, 0);
        assert_int_equal(CALL(f, resolve_image, "10.99.0.1:5000/a/volumes:x", on_image), 0);
        assert_non_null(startswith(f->image, "10.99.0.1:5000/a/volumes@sha256:"));
        assert_int_equal(f->n_volumes, 1);
        assert_int_equal(CALL(f, resolve_image, "missing", on_image), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_NO_SUCH_IMAGE);
        assert_int_equal(CALL(f, delete_image, first, on_done), 0);
        assert_false(fake_has_image(f->p, first));
        assert_int_equal(CALL(f, delete_image, first, on_done), 0);
}

static void test_hibernate(void **state) {
        Fixture *f = *state;
        char image[160];
        uint64_t value;

        create(f);
        assert_true(f->last.wanted && f->last.exists);
        assert_int_equal(fake_write(f->p, "s", 42), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g1"), 0);
        assert_int_equal(f->n_progress, 9);
        assert_true(f->last.frozen);
        assert_int_equal(fake_write(f->p, "s", 43), -EAGAIN);
        assert_true(fake_has_image(f->p, f->image));
        strcpy(image, f->image);
        assert_int_equal(rest(f, image, 1), 0);
        assert_int_equal(f->last.task, TASK_NONE);
        assert_false(f->last.wanted);
        assert_int_equal(f->last.generation, 1);
        assert_string_equal(f->last.image, image);
        assert_string_equal(f->last.node, "");

        assert_int_equal(run_image(f, "s", image, 1), 0);
        wait_task(f, TASK_RUNNING);
        assert_int_equal(fake_read(f->p, "s", &value), 0);
        assert_int_equal(value, 42);
        assert_int_equal(fake_losses(f->p), 0);
        assert_int_equal(CALL(f, remove, "s", on_done), 0);
        assert_false(f->last.exists);
        assert_int_equal(CALL(f, remove, "s", on_done), 0);
        assert_int_equal(CALL(f, thaw, "s", on_done), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_NO_SUCH_SESSION);
}

static void test_witness_breaks(void **state) {
        Fixture *f = *state;

        create(f);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g1"), 0);
        assert_int_equal(fake_set_frozen(f->p, "s", false), 0);
        assert_int_equal(rest(f, f->image, 1), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        /* Frozen again is not the same: it has run. */
        assert_int_equal(fake_set_frozen(f->p, "s", true), 0);
        assert_int_equal(rest(f, f->image, 1), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(f->last.task, TASK_RUNNING);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g2"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(CALL(f, thaw, "s", on_done), 0);
        assert_false(f->last.frozen);
}

/* Killed by the first half of rest, the second one refused: the witness still holds, so it can be completed. */
static void test_rest_in_halves(void **state) {
        Fixture *f = *state;

        create(f);
        assert_int_equal(fake_write(f->p, "s", 7), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g1"), 0);
        assert_int_equal(fake_break_next(f->p, FAKE_REST_UPDATE, 1, EIO), 0);
        assert_int_equal(rest(f, f->image, 1), -EIO);
        assert_int_equal(f->last.task, TASK_EXITED);
        assert_int_equal(f->last.exit_code, 137);
        assert_int_equal(rest(f, f->image, 1), 0);
        assert_int_equal(fake_losses(f->p), 0);
}

static void test_snapshot_and_exit(void **state) {
        Fixture *f = *state;
        uint64_t value;

        create(f);
        assert_int_equal(capture(f, CAPTURE_EXITED, "s-g1"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(capture(f, CAPTURE_THAW, "s-g1"), 0);
        assert_false(f->last.frozen);
        assert_int_equal(fake_write(f->p, "s", 9), 0);
        assert_int_equal(fake_exit_session(f->p, "s", 3), 0);
        wait_task(f, TASK_EXITED);
        assert_int_equal(f->last.exit_code, 3);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g2"), -EBADRQC);
        assert_int_equal(capture(f, CAPTURE_EXITED, "s-g2"), 0);
        assert_int_equal(rest(f, f->image, 2), 0);
        assert_int_equal(fake_losses(f->p), 0);
        assert_int_equal(fake_read(f->p, "s", &value), -ENODATA);

        /* A stop goes the same way. */
        assert_int_equal(run_image(f, "s", f->image, 2), 0);
        wait_task(f, TASK_RUNNING);
        assert_int_equal(CALL(f, terminate, "s", USEC_PER_SEC, on_done), 0);
        assert_int_equal(f->last.task, TASK_EXITED);
        assert_int_equal(capture(f, CAPTURE_EXITED, "s-g3"), 0);
}

static void test_losses_are_seen(void **state) {
        Fixture *f = *state;
        char base[160];

        create(f);
        strcpy(base, f->image);
        assert_int_equal(fake_write(f->p, "s", 1), 0);
        assert_int_equal(discard(f, base), 0);
        assert_int_equal(fake_losses(f->p), 0);
        assert_int_equal(run_image(f, "s", base, 0), 0);
        wait_task(f, TASK_RUNNING);
        assert_int_equal(fake_write(f->p, "s", 1), 0);
        assert_int_equal(fake_exit_session(f->p, "s", 0), 0);
        wait_task(f, TASK_EXITED);
        assert_int_equal(run_image(f, "s", base, 0), 0);
        assert_int_equal(fake_losses(f->p), 1);
}

static void test_cancel_thaws(void **state) {
        Fixture *f = *state;
        ProviderCapture c = { .session = "s", .mode = CAPTURE_HOLD, .repository = "registry.fake/r", .tag = "t" };
        ProviderCall *call = NULL;

        create(f);
        fake_set_latency(f->p, FAKE_CAPTURE, 100 * USEC_PER_MSEC);
        f->result = 1;
        f->n_progress = 0;
        assert_int_equal(f->p->vtable->capture(f->p, &c, on_progress, on_capture, f, &call), 0);
        while (f->n_progress < 3)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        assert_true(f->last.frozen);
        provider_call_cancel(call);
        turn(f);
        assert_false(f->last.frozen);
        assert_int_equal(f->result, 1);
        assert_false(fake_has_image(f->p, "registry.fake/r:t"));
}

static void test_failures(void **state) {
        Fixture *f = *state;

        create(f);
        assert_int_equal(fake_fail_next(f->p, FAKE_CAPTURE, 1, REFUSAL_REGISTRY_FAILED, "The registry is full."), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g1"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_REGISTRY_FAILED);
        assert_false(f->last.frozen);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g2"), 0);
        assert_int_equal(fake_fail_next(f->p, FAKE_THAW, 1, REFUSAL_PROVIDER_FAILED, "No."), 0);
        assert_int_equal(CALL(f, thaw, "s", on_done), -EBADRQC);
        assert_int_equal(CALL(f, thaw, "s", on_done), 0);
        assert_int_equal(fake_calls(f->p, FAKE_CAPTURE), 2);
        assert_int_equal(CALL(f, signal, "s", 10, on_done), 0);
        assert_int_equal(CALL(f, signal, "s", 9, on_done), 0);
        assert_int_equal(f->last.exit_code, 137);
}

static void test_behaviours(void **state) {
        Fixture *f = *state;
        char *check[] = { (char *) "CMD", (char *) "true", NULL };
        ProviderSpec spec = { .session = "s", .image = "registry.fake/unhealthy@sha256:0", .healthcheck = check };

        assert_int_equal(run_image(f, "s", "registry.fake/unpullable@sha256:0", 0), 0);
        wait_task(f, TASK_FAILED);
        assert_int_equal(run_image(f, "s", "registry.fake/exits@sha256:0", 0), 0);
        wait_task(f, TASK_EXITED);
        assert_int_equal(run_image(f, "s", "registry.fake/gone@sha256:0", 4), 0);
        wait_task(f, TASK_FAILED);
        assert_int_equal(CALL(f, run, &spec, on_done), 0);
        wait_task(f, TASK_RUNNING);
        assert_string_equal(f->last.health, "unhealthy");
        assert_int_equal(fake_kill_container(f->p, "s"), 0);
        wait_task(f, TASK_GONE);
        assert_int_equal(fake_vanish(f->p, "s"), 0);
        turn(f);
        assert_false(f->last.exists);
}

static void test_nodes(void **state) {
        Fixture *f = *state;
        ProviderSpec spec = { .session = "s", .image = "registry.fake/b@sha256:0", .node = "fake-2" };

        assert_int_equal(CALL(f, create, &spec, on_done), 0);
        wait_task(f, TASK_RUNNING);
        assert_string_equal(f->last.node, "fake-2");
        assert_int_equal(fake_lose_node(f->p, "fake-2"), 0);
        wait_task(f, TASK_LOST);
        assert_true(f->n_down > 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "x"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_int_equal(fake_return_node(f->p, "fake-2", false), 0);
        wait_task(f, TASK_RUNNING);
        assert_int_equal(fake_lose_node(f->p, "fake-2"), 0);
        assert_int_equal(fake_return_node(f->p, "fake-2", true), 0);
        wait_task(f, TASK_EXITED);
        assert_int_equal(f->last.exit_code, 137);
        assert_int_equal(CALL(f, remove, "s", on_done), 0);
        assert_int_equal(fake_lose_node(f->p, "fake-2"), 0);
        assert_int_equal(CALL(f, create, &spec, on_done), 0);
        turn(f);
        assert_int_equal(f->last.task, TASK_PENDING);
        assert_int_equal(fake_return_node(f->p, "fake-2", false), 0);
        wait_task(f, TASK_RUNNING);

        fake_set_health(f->p, PROVIDER_UNAVAILABLE, "Down for the test.");
        turn(f);
        assert_int_equal(f->health, PROVIDER_UNAVAILABLE);
        assert_int_equal(CALL(f, thaw, "s", on_done), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        f->n_lists = 0;
        fake_set_health(f->p, PROVIDER_HEALTHY, NULL);
        turn(f);
        assert_int_equal(f->n_lists, 1);
}

/* ---- the state file and the control socket */

static int ask(Fixture *f, int fd, const char *path, const char *command, char *reply, size_t size) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };

        snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
        if (sendto(fd, command, strlen(command), 0, (struct sockaddr *) &to, sizeof(to)) < 0)
                return -errno;
        for (unsigned i = 0; i < 100; i++) {
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
                ssize_t n = recv(fd, reply, size - 1, MSG_DONTWAIT);
                if (n < 0)
                        continue;
                reply[n] = 0;
                return strstr(reply, "\"ok\":true") ? 0 : -EINVAL;
        }
        return -ETIMEDOUT;
}

static void test_control(void **state) {
        Fixture *f = *state;
        char dir[] = "/tmp/test-fake-XXXXXX", path[64], own[64], reply[1024];
        struct sockaddr_un from = { .sun_family = AF_UNIX };

        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/control", dir);
        snprintf(own, sizeof(own), "%s/own", dir);
        provider_free(f->p);
        begin(f, &(const FakeOptions) { .control = path });
        create(f);

        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        strcpy(from.sun_path, own);
        assert_int_equal(bind(fd, (struct sockaddr *) &from, sizeof(from)), 0);
        assert_int_equal(ask(f, fd, path, "{\"op\":\"write\",\"session\":\"s\",\"value\":12}", reply, sizeof(reply)), 0);
        assert_int_equal(ask(f, fd, path, "{\"op\":\"read\",\"session\":\"s\"}", reply, sizeof(reply)), 0);
        assert_non_null(strstr(reply, "\"value\":12"));
        assert_non_null(strstr(reply, "\"task\":\"running\""));
        assert_int_equal(ask(f, fd, path, "{\"fail\":\"thaw\",\"code\":\"Busy\",\"message\":\"Not now.\"}", reply, sizeof(reply)), 0);
        assert_int_equal(CALL(f, thaw, "s", on_done), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(ask(f, fd, path, "{\"fail\":\"thaw\",\"code\":\"-EIO\"}", reply, sizeof(reply)), 0);
        assert_int_equal(CALL(f, thaw, "s", on_done), -EIO);
        assert_int_equal(ask(f, fd, path, "{\"latency_usec\":{\"thaw\":20000}}", reply, sizeof(reply)), 0);
        assert_int_equal(ask(f, fd, path, "{\"op\":\"exit\",\"session\":\"s\",\"code\":5}", reply, sizeof(reply)), 0);
        assert_int_equal(f->last.exit_code, 5);
        assert_int_equal(ask(f, fd, path, "{\"op\":\"losses\"}", reply, sizeof(reply)), 0);
        assert_non_null(strstr(reply, "\"losses\":0"));
        static const char *const bad[] = { "{}", "[]", "nonsense", "{\"op\":\"fly\"}", "{\"op\":\"exit\",\"session\":\"x\"}",
                                           "{\"op\":7}", "{\"fail\":\"thaw\",\"code\":\"Odd\"}", "{\"latency_usec\":{\"thaw\":-1}}" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(ask(f, fd, path, bad[i], reply, sizeof(reply)), -EINVAL);
        (void) unlink(own);
        provider_free(f->p);
        f->p = NULL;
        assert_int_equal(rmdir(dir), 0);
}

static void test_state_survives(void **state) {
        Fixture *f = *state;
        char dir[] = "/tmp/test-fake-XXXXXX", path[64], image[160];
        uint64_t value;
        FakeOptions options = { .state = path };

        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/state", dir);
        provider_free(f->p);
        begin(f, &options);
        create(f);
        assert_int_equal(fake_write(f->p, "s", 77), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "s-g1"), 0);
        strcpy(image, f->image);

        /* A daemon that is killed takes nothing with it and undoes nothing: the first provider is left alone. */
        Provider *killed = f->p;
        begin(f, &options);
        assert_true(f->last.frozen);
        assert_int_equal(rest(f, image, 1), 0);
        provider_free(f->p);
        begin(f, &options);
        assert_int_equal(f->last.task, TASK_NONE);
        assert_int_equal(f->last.generation, 1);
        assert_int_equal(run_image(f, "s", image, 1), 0);
        wait_task(f, TASK_RUNNING);
        assert_int_equal(fake_read(f->p, "s", &value), 0);
        assert_int_equal(value, 77);

        provider_free(f->p);
        provider_free(killed);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fake_new(f->event, &options, &f->p), -EBADMSG);
        f->p = NULL;
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static void test_many(void **state) {
        enum { N = 20000 };
        Fixture *f = *state;
        struct timespec a, b;
        unsigned done = 0;

        (void) clock_gettime(CLOCK_MONOTONIC, &a);
        for (unsigned i = 0; i < N; i++) {
                char id[16];
                snprintf(id, sizeof(id), "n%u", i);
                ProviderSpec spec = { .session = id, .image = "registry.fake/b@sha256:0", .record = "{}" };
                assert_int_equal(f->p->vtable->create(f->p, &spec, NULL, NULL, NULL), 0);
        }
        f->n_sessions = 0;
        /* Pending, starting, running. */
        while (f->n_sessions < 3 * N && done++ < 10 * N)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        assert_int_equal(f->n_sessions, 3 * N);
        f->n_lists = 0;
        fake_list(f->p);
        while (f->n_lists == 0)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        assert_int_equal(f->n_sessions, N);
        (void) clock_gettime(CLOCK_MONOTONIC, &b);
        print_message("%u sessions created and listed in %ld ms\n", (unsigned) N,
                      (long) ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_images, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hibernate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_witness_breaks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rest_in_halves, setup, teardown),
                cmocka_unit_test_setup_teardown(test_snapshot_and_exit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_losses_are_seen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel_thaws, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                cmocka_unit_test_setup_teardown(test_behaviours, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nodes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_control, setup, teardown),
                cmocka_unit_test_setup_teardown(test_state_survives, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
