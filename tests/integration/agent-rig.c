/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/wait.h>

#include "agent-rig.h"

/* ---- the outside */

int run(char *output, size_t size, const char *format, ...) {
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

void start_container(Fixture *f, const char *image, const char *program) {
        char *argument = getenv("AGENT_LIVE_ARGS");

        /* By the environment, where no other shell looks into it. */
        assert_int_equal(setenv("PROGRAM", program, 1), 0);
        assert_int_equal(run(f->container, sizeof(f->container), "docker run -d --label swarm.session=live %s %s sh -c \"$PROGRAM\"", strempty(argument), image), 0);
        assert_int_equal(strlen(f->container), 64);
}

void inspect(Fixture *f, const char *what, char *ret, size_t size) {
        assert_int_equal(run(ret, size, "docker inspect -f '{{%s}}' %s", what, f->container), 0);
}

void assert_inspect(Fixture *f, const char *what, const char *expected) {
        char text[256];

        inspect(f, what, text, sizeof(text));
        assert_string_equal(text, expected);
}

void upperdir(Fixture *f, char *ret, size_t size) {
        inspect(f, ".GraphDriver.Data.UpperDir", ret, size);
}

/* ---- the agent */

void on_done(void *userdata, int r, const Refusal *refusal) {
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

int settle(Fixture *f) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + 90 * USEC_PER_SEC;

        while (f->n_done == 0) {
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                assert_true(agent_now(CLOCK_MONOTONIC) < end);
        }
        return f->r;
}

void run_for(Fixture *f, usec_t usec) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + usec;

        while (agent_now(CLOCK_MONOTONIC) < end)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
}

int begin_capture(Fixture *f, CaptureMode mode, ProviderCall **ret) {
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

int capture(Fixture *f, CaptureMode mode) {
        assert_int_equal(begin_capture(f, mode, NULL), 0);
        return settle(f);
}

int make_agent(Fixture *f, const char *layer) {
        char url[128];

        snprintf(url, sizeof(url), "http://%s", getenv("SWARM_REGISTRY"));
        return agent_new(f->event, f->http, &(const AgentConfig) {
                .engine_socket = f->socket, .layer_path = layer, .state_dir = f->dir, .runtime_dir = f->dir,
                .registry = &(const LayerRegistry) { .url = url },
        }, &f->a);
}

int need_rig(void) {
        if (getenv("SWARM_RIG_DIR") && getenv("SWARM_LAYER"))
                return 0;
        fprintf(stderr, "Runs in a rig: agent-live.sh\n");
        return 77;
}

int setup(void **state) {
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

int teardown(void **state) {
        Fixture *f = *state;

        agent_free(f->a);
        http_free(f->http);
        sd_event_unref(f->event);
        if (f->container[0])
                (void) run(NULL, 0, "docker unpause %s >/dev/null 2>&1; docker rm -f %s >/dev/null", f->container, f->container);
        RUN("rm -rf %s", f->dir);
        RUN("%s >&2", getenv("SWARM_CHECKER"));
        free(f);
        return 0;
}
