/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent on a real Engine, registry and swarm-layer: in a rig, by agent-live.sh. */

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "provider/agent-internal.h"

typedef struct Fixture {
        sd_event *event;
        Http *http;
        Agent *a;
        char dir[64], socket[PATH_MAX];
        char base[256];
        char container[65];
        unsigned generation;

        unsigned n_done;
        char stage[32];
        int r;
        RefusalCode code;
        char message[1024], image[256], witness[512];
        uint64_t bytes;
        bool unchanged;
        usec_t frozen_usec, begun_usec, took_usec;
        void (*on_stage)(struct Fixture *f);
} Fixture;

/* ---- the outside */

static int run(char *output, size_t size, const char *format, ...) _printf_(3, 4);
static int run(char *output, size_t size, const char *format, ...) {
        char *command = NULL;
        size_t n = 0;
        va_list ap;

        va_start(ap, format);
        assert_true(vasprintf(&command, format, ap) > 0);
        va_end(ap);
        FILE *p = popen(command, "re");
        assert_non_null(p);
        char buffer[4096];
        for (size_t k; (k = fread(buffer, 1, sizeof(buffer), p)) > 0;) {
                k = MIN(k, size > n + 1 ? size - n - 1 : 0);
                memcpy(output + n, buffer, k);
                n += k;
        }
        if (size > 0)
                output[n] = 0;
        while (n > 0 && output[n - 1] == '\n')
                output[--n] = 0;
        int status = pclose(p);
        free(command);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define RUN(...) assert_int_equal(run(NULL, 0, __VA_ARGS__), 0)

/* It writes, and would leave a mark if a signal reached its handler. */
#define WRITER "trap 'echo trapped >/trapped; exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i >/counter; [ $((i%50)) = 0 ] && sleep 0.01; done"
#define IDLER "trap 'echo saved >/trapped; exit 0' TERM; while :; do sleep 0.1; done"

static void start_container(Fixture *f, const char *image, const char *program) {
        char *argument = getenv("AGENT_LIVE_ARGS");

        /* By the environment, where no other shell looks into it. */
        assert_int_equal(setenv("PROGRAM", program, 1), 0);
        assert_int_equal(run(f->container, sizeof(f->container), "docker run -d %s %s sh -c \"$PROGRAM\"", strempty(argument), image), 0);
        assert_int_equal(strlen(f->container), 64);
}

static void inspect(Fixture *f, const char *what, char *ret, size_t size) {
        assert_int_equal(run(ret, size, "docker inspect -f '{{%s}}' %s", what, f->container), 0);
}

static void assert_inspect(Fixture *f, const char *what, const char *expected) {
        char text[256];

        inspect(f, what, text, sizeof(text));
        assert_string_equal(text, expected);
}

static void upperdir(Fixture *f, char *ret, size_t size) {
        inspect(f, ".GraphDriver.Data.UpperDir", ret, size);
}

/* ---- the agent */

static void on_done(void *userdata, int r, const Refusal *refusal) {
        Fixture *f = userdata;

        f->n_done++;
        f->r = r;
        f->code = refusal ? refusal->code : _REFUSAL_INVALID;
        snprintf(f->message, sizeof(f->message), "%s", refusal ? refusal->message : "");
        if (r < 0)
                print_message("  %i: %s\n", r, f->message);
}

static void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        snprintf(f->image, sizeof(f->image), "%s", image ? image->image : "");
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        Fixture *f = userdata;

        f->took_usec = agent_now(CLOCK_MONOTONIC) - f->begun_usec;
        on_done(userdata, r, refusal);
        if (!result)
                return;
        snprintf(f->image, sizeof(f->image), "%s", result->image);
        snprintf(f->witness, sizeof(f->witness), "%s", result->witness);
        f->frozen_usec = result->frozen_usec;
        f->bytes = result->bytes;
        f->unchanged = result->unchanged;
        print_message("  %" PRIu64 " ms, frozen %" PRIu64 ".%" PRIu64 " ms, %" PRIu64 " bytes, %" PRIu64 " entries, %u layers%s\n",
                      f->took_usec / 1000, result->frozen_usec / 1000, result->frozen_usec % 1000 / 100, result->bytes, result->entries,
                      result->session_layers, result->unchanged ? ", unchanged" : "");
}

static void on_progress(void *userdata, const ProviderCaptureProgress *progress) {
        Fixture *f = userdata;

        snprintf(f->stage, sizeof(f->stage), "%s", progress->stage);
        if (f->on_stage)
                f->on_stage(f);
}

static int settle(Fixture *f) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + 90 * USEC_PER_SEC;

        while (f->n_done == 0) {
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                assert_true(agent_now(CLOCK_MONOTONIC) < end);
        }
        return f->r;
}

static void run_for(Fixture *f, usec_t usec) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + usec;

        while (agent_now(CLOCK_MONOTONIC) < end)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
}

#define CALL(f, what) ({ (f)->n_done = 0; assert_int_equal(what, 0); settle(f); })

static int begin_capture(Fixture *f, CaptureMode mode, ProviderCall **ret) {
        char tag[64];

        snprintf(tag, sizeof(tag), "%.12s-g%u", f->container, ++f->generation);
        f->begun_usec = agent_now(CLOCK_MONOTONIC);
        f->n_done = 0;
        f->stage[0] = 0;
        return agent_capture(f->a, f->container, &(const ProviderCapture) {
                .session = "1live", .mode = mode, .generation = f->generation, .job = 1, .image = f->base,
                .repository = "sessions/default", .tag = tag, .layers_max = 100,
        }, on_progress, on_captured, f, ret);
}

static int capture(Fixture *f, CaptureMode mode) {
        assert_int_equal(begin_capture(f, mode, NULL), 0);
        return settle(f);
}

static int make_agent(Fixture *f, const char *layer) {
        char url[128];

        snprintf(url, sizeof(url), "http://%s", getenv("SWARM_REGISTRY"));
        return agent_new(f->event, f->http, &(const AgentConfig) {
                .engine_socket = f->socket, .layer_path = layer, .state_dir = f->dir, .runtime_dir = f->dir,
                .registry = &(const LayerRegistry) { .url = url },
        }, &f->a);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        snprintf(f->socket, sizeof(f->socket), "%s/docker.sock", getenv("SWARM_RIG_DIR"));
        strcpy(f->dir, "/tmp/agent-live-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        assert_int_equal(sd_event_new(&f->event), 0);
        assert_int_equal(http_new(f->event, &f->http), 0);
        assert_int_equal(make_agent(f, getenv("SWARM_LAYER")), 0);
        assert_int_equal(CALL(f, agent_resolve_image(f->a, getenv("SWARM_BASE_IMAGE"), on_image, f, NULL)), 0);
        strcpy(f->base, f->image);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        agent_free(f->a);
        http_free(f->http);
        sd_event_unref(f->event);
        if (f->container[0])
                (void) run(NULL, 0, "docker unpause %s >/dev/null 2>&1; docker rm -f %s >/dev/null", f->container, f->container);
        RUN("rm -rf %s", f->dir);
        free(f);
        return 0;
}

/* ---- tests */

static void test_hold_and_kill(void **state) {
        Fixture *f = *state;
        char upper[PATH_MAX], counter[64], saved[64];

        start_container(f, f->base, WRITER);
        RUN("docker exec %s sh -c 'while [ ! -e /counter ]; do sleep 0.01; done; rm -rf /home; mkdir /new'", f->container);
        upperdir(f, upper, sizeof(upper));
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_inspect(f, ".State.Paused", "true");
        assert_int_equal(run(counter, sizeof(counter), "cat %s/counter", upper), 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), 0);
                run_for(f, 200 * USEC_PER_MSEC);
        }
        char image[256];
        strcpy(image, f->image);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_inspect(f, ".State.ExitCode", "137");
        /* Not one more turn of its loop, and no handler, ran. */
        assert_int_equal(run(saved, sizeof(saved), "cat %s/counter", upper), 0);
        assert_string_equal(saved, counter);
        assert_int_not_equal(run(NULL, 0, "test -e %s/trapped", upper), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c 'cat /counter; test ! -e /home -a -d /new'", image), 0);
        assert_string_equal(saved, counter);
        RUN("docker rm -f %s >/dev/null", f->container);
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_false(note_exists(f->a->frozen_dir, f->container));
        /* What was made from a generation is saved above it. */
        start_container(f, image, IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s cat /counter", f->image), 0);
        assert_string_equal(saved, counter);
        assert_int_equal(CALL(f, agent_delete_image(f->a, f->image, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_delete_image(f->a, f->image, on_done, f, NULL)), 0);
}

static void test_thaw_breaks_witness(void **state) {
        Fixture *f = *state;

        start_container(f, f->base, IDLER);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(capture(f, CAPTURE_HOLD), 0);
                RUN("docker unpause %s >/dev/null", f->container);
                RUN("docker pause %s >/dev/null", f->container);
                assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
                assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
                assert_inspect(f, ".State.Running", "true");
        }
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        RUN("docker pause %s >/dev/null", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_inspect(f, ".State.Paused", "true");
}

/* Deleted, changed and new files between snapshots; the last one is compared with the container itself. */
static void test_snapshots(void **state) {
        Fixture *f = *state;
        char there[16384], saved[16384];
        static const char list[] = "cd / && find bin etc home tmp srv -print 2>/dev/null | sort; cat /srv/*/* 2>/dev/null | md5sum";

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'mkdir -p /srv/a /srv/b; for i in $(seq 3000); do echo $i >/srv/a/$i; done; "
            "dd if=/dev/urandom of=/srv/b/big bs=1M count=40 2>/dev/null'", f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_inspect(f, ".State.Paused", "false");
        usec_t first = f->took_usec;
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_true(f->unchanged);
        RUN("docker exec %s sh -c 'rm /srv/a/17 /srv/a/18; echo changed >/srv/a/19; mkdir /srv/c; echo new >/srv/c/x; rm -rf /home'", f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_true(f->took_usec < first);
        assert_true(f->bytes < 100 * KIB);
        RUN("docker exec %s sh -c 'rm -r /srv/c; mkdir /home; echo 2 >/srv/a/17'", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(run(there, sizeof(there), "docker exec %s sh -c '%s'", f->container, list), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c '%s'", f->image, list), 0);
        assert_true(strlen(there) > 1000);
        assert_string_equal(there, saved);
        /* Without its index all is read again, with the same result. */
        agent_forget(f->a, f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c '%s'", f->image, list), 0);
        assert_string_equal(there, saved);
}

static void test_terminate(void **state) {
        Fixture *f = *state;
        char text[64];

        start_container(f, f->base, IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        /* Thawed before its signal, so that its handler runs. */
        assert_int_equal(CALL(f, agent_terminate(f->a, f->container, 5 * USEC_PER_SEC, on_done, f, NULL)), 0);
        assert_inspect(f, ".State.ExitCode", "0");
        assert_int_equal(capture(f, CAPTURE_EXITED), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(run(text, sizeof(text), "docker run --rm %s cat /trapped", f->image), 0);
        assert_string_equal(text, "saved");
        RUN("docker start %s >/dev/null", f->container);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        RUN("docker kill %s >/dev/null", f->container);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* The child reads files: with a hold the container is frozen by then. */
static bool child_works(const Fixture *f) {
        return streq(f->stage, "saving") || streq(f->stage, "copying");
}

static void kill_child(Fixture *f) {
        char path[64], text[256] = "";

        if (!child_works(f))
                return;
        snprintf(path, sizeof(path), "/proc/self/task/%i/children", getpid());
        _cleanup_fclose_ FILE *file = fopen(path, "re");
        assert_non_null(file);
        if (fgets(text, sizeof(text), file))
                (void) kill(atoi(text), SIGKILL);
}

static void until_child_works(Fixture *f) {
        f->n_done += child_works(f);
}

static void test_interruptions(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null'", f->container);
        f->on_stage = kill_child;
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_non_null(strstr(f->message, "signal 9"));
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(capture(f, CAPTURE_THAW), -EBADRQC);
        assert_inspect(f, ".State.Paused", "false");
        f->on_stage = until_child_works;
        assert_int_equal(begin_capture(f, CAPTURE_HOLD, &call), 0);
        settle(f);
        provider_call_cancel(call);
        char paused[16];
        do {
                run_for(f, 20 * USEC_PER_MSEC);
                inspect(f, ".State.Paused", paused, sizeof(paused));
        } while (streq(paused, "true"));        /* the limit of the whole test bounds that */
        /* The agent goes in the middle. */
        f->n_done = 0;
        assert_int_equal(begin_capture(f, CAPTURE_HOLD, &call), 0);
        settle(f);
        f->a = agent_free(f->a);
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(make_agent(f, getenv("SWARM_LAYER")), 0);
        f->on_stage = NULL;
        RUN("$SWARM_RIG registry stop");
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_REGISTRY_FAILED);
        assert_inspect(f, ".State.Paused", "false");
        RUN("$SWARM_RIG registry start");
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
}

/* An agent that is killed with SIGKILL in the middle: its child dies with it, agent_thaw_all() frees what is frozen. */
static void test_agent_killed(void **state) {
        Fixture *f = *state;

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null'", f->container);
        pid_t pid = fork();
        if (pid == 0) {
                Fixture child = *f;
                if (sd_event_new(&child.event) < 0 || http_new(child.event, &child.http) < 0 || make_agent(&child, getenv("SWARM_LAYER")) < 0)
                        _exit(1);
                child.on_stage = until_child_works;
                if (begin_capture(&child, CAPTURE_HOLD, NULL) < 0)
                        _exit(2);
                settle(&child);
                (void) kill(getpid(), SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_inspect(f, ".State.Paused", "true");
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
}

/* The Engine crashes while a container is held, and comes back: whatever it did to it, nothing is taken for unchanged
 * that may have run, and the files can be saved. */
static void test_engine_crash(void **state) {
        Fixture *f = *state;
        char running[16], paused[16];

        start_container(f, f->base, WRITER);
        RUN("docker exec %s sh -c 'while [ ! -e /counter ]; do sleep 0.01; done'", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        RUN("$SWARM_RIG engine crash");
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_true(agent_thaw_all(f->socket, f->dir) < 0);
        assert_true(note_exists(f->a->frozen_dir, f->container));
        RUN("$SWARM_RIG engine start");
        inspect(f, ".State.Running", running, sizeof(running));
        inspect(f, ".State.Paused", paused, sizeof(paused));
        print_message("  after the restart: running %s, paused %s\n", running, paused);
        int r = CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL));
        assert_true((r == 0) == streq(paused, "true"));
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, streq(running, "true") ? CAPTURE_HOLD : CAPTURE_EXITED), 0);
}

static void test_mounts(void **state) {
        Fixture *f = *state;

        assert_int_equal(setenv("AGENT_LIVE_ARGS", "-v agent-live:/srv --tmpfs /scratch", 1), 0);
        start_container(f, f->base, IDLER);
        assert_int_equal(unsetenv("AGENT_LIVE_ARGS"), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "/srv (volume)"));
        RUN("docker rm -fv %s >/dev/null", f->container);
        start_container(f, "$SWARM_VOLUME_IMAGE", IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        RUN("docker rm -fv %s >/dev/null", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        f->container[0] = 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hold_and_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_thaw_breaks_witness, setup, teardown),
                cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
                cmocka_unit_test_setup_teardown(test_terminate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interruptions, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_engine_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
        };

        if (!getenv("SWARM_RIG_DIR") || !getenv("SWARM_LAYER")) {
                fprintf(stderr, "Runs in a rig: agent-live.sh\n");
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
