/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Takes sessions through the Swarm provider on a real Engine. Run in a rig, by provider-swarm.sh:
 *     provider-swarm-drive life|hibernate|initialize|many|crash|node|conflict ENGINE-SOCKET IMAGE@DIGEST [NUMBER]
 * Prints what it sees and measures; the first thing that is not as it should be ends it with a failure. */

#include <signal.h>
#include <time.h>

#include "basic/log.h"
#include "provider/engine-json.h"
#include "provider/engine.h"
#include "provider/swarm.h"

#define CHECK(x)                                                                        \
        do {                                                                            \
                if (!(x)) {                                                             \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
                        exit(EXIT_FAILURE);                                             \
                }                                                                       \
        } while (0)

#define SESSIONS_MAX 256

typedef struct Seen {
        char session[64];
        bool exists, wanted, frozen;
        TaskState task;
        int exit_code;
        char image[256], container[80], node[64], error[512], record[256], health[32];
        uint64_t generation;
        usec_t started_usec;
} Seen;

typedef struct Drive {
        sd_event *event;
        Http *http;
        Engine *engine;
        Provider *provider;
        Agent *agent;
        char *local;                    /* node that sessions are placed on; NULL: any */
        const char *socket, *image;
        unsigned lists, nodes;
        ProviderHealth health;
        char detail[512];
        Seen seen[SESSIONS_MAX];
        size_t n_seen;

        unsigned done, in_flight;
        int result;
        RefusalCode code;
        char message[1024];
        char captured[256], witness[1024];
        json_t *answer;
        long status;
} Drive;

static usec_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static Seen *seen(Drive *d, const char *session) {
        for (size_t i = 0; i < d->n_seen; i++)
                if (streq(d->seen[i].session, session))
                        return d->seen + i;
        CHECK(d->n_seen < SESSIONS_MAX);
        (void) snprintf(d->seen[d->n_seen].session, sizeof(d->seen[0].session), "%s", session);
        return d->seen + d->n_seen++;
}

/* ---- observer ---- */

static void on_list_begin(Provider *p, void *userdata) {
        Drive *d = userdata;
        for (size_t i = 0; i < d->n_seen; i++)
                d->seen[i].exists = false;
}

#define COPY(to, from) (void) snprintf((to), sizeof(to), "%s", strempty(from))

static void on_session(Provider *p, const ProviderObservation *o, void *userdata) {
        Drive *d = userdata;
        Seen *s = seen(d, o->session);

        s->exists = o->exists;
        s->wanted = o->wanted;
        s->frozen = o->frozen;
        s->task = o->task;
        s->exit_code = o->exit_code;
        s->generation = o->generation;
        s->started_usec = o->started_usec;
        COPY(s->image, o->image);
        COPY(s->container, o->container);
        COPY(s->node, o->node);
        COPY(s->error, o->error);
        COPY(s->record, o->record);
        COPY(s->health, o->health);
        log_debug("session %s exists=%d wanted=%d task=%s exit=%d frozen=%d health=%s node=%s container=%.12s error=%s", o->session, o->exists,
                  o->wanted, task_state_to_string(o->task), o->exit_code, o->frozen, s->health, s->node, s->container, s->error);
}

static void on_list_end(Provider *p, void *userdata) {
        Drive *d = userdata;
        d->lists++;
}

static void on_node(Provider *p, const ProviderNode *n, void *userdata) {
        Drive *d = userdata;
        d->nodes++;
        log_debug("node %s %s %s %s %s %s cpus=%" PRIu64 " memory=%" PRIu64 " agent=%d", n->id, n->name, n->state, n->availability, n->role,
                  strna(n->address), n->nano_cpus, n->memory_bytes, n->agent);
}

static void on_node_removed(Provider *p, const char *id, void *userdata) {
}

static void on_health(Provider *p, ProviderHealth health, const char *detail, void *userdata) {
        Drive *d = userdata;
        d->health = health;
        COPY(d->detail, detail);
        log_debug("health %s: %s", provider_health_to_string(health), d->detail);
}

/* ---- waiting ---- */

static void turn(Drive *d) {
        CHECK(sd_event_run(d->event, 50 * USEC_PER_MSEC) >= 0);
}

#define WAIT(seconds, condition)                                                                \
        do {                                                                                    \
                usec_t _end = now_usec() + (usec_t) (seconds) * USEC_PER_SEC;                   \
                while (!(condition) && now_usec() < _end)                                       \
                        turn(d);                                                                \
                CHECK(condition);                                                               \
        } while (0)

static void on_done(void *userdata, int r, const Refusal *refusal) {
        Drive *d = userdata;

        d->done++;
        d->in_flight--;
        d->result = r;
        d->code = refusal ? refusal->code : _REFUSAL_INVALID;
        COPY(d->message, refusal ? refusal->message : NULL);
        if (r < 0)
                log_debug("result %d: %s", r, d->message);
}

#define DO(call)                                                \
        do {                                                    \
                d->in_flight++;                                 \
                CHECK((call) >= 0);                             \
                WAIT(150, d->in_flight == 0);                   \
        } while (0)

#define P(member, ...) d->provider->vtable->member(d->provider, __VA_ARGS__, on_done, d, NULL)

static void on_answer(const EngineAnswer *a, void *userdata) {
        Drive *d = userdata;

        d->in_flight--;
        d->status = a->status;
        json_decref(d->answer);
        d->answer = json_incref(a->json);
}

static void engine(Drive *d, const char *method, const char *format, const char *argument) {
        _cleanup_free_ char *path = NULL;

        #pragma GCC diagnostic push
        #pragma GCC diagnostic ignored "-Wformat-nonliteral"
        path = strformat(format, argument);
        #pragma GCC diagnostic pop
        d->in_flight++;
        CHECK(engine_call(d->engine, &(const EngineRequest) { .method = method, .path = path, .on_done = on_answer, .userdata = d }, NULL) >= 0);
        WAIT(30, d->in_flight == 0);
}

/* ---- parts ---- */

static const char *const env[] = { "A=1", "B={\"x\": 2}", NULL }, *const labels[] = { "mine=yes", PROVIDER_LABEL_SESSION "=forged", NULL };

static ProviderSpec spec_of(Drive *d, const char *session, const char *name) {
        return (ProviderSpec) {
                .session = session,
                .name = name,
                .image = d->image,
                .env = (char *const *) env,
                .labels = (char *const *) labels,
                .record = "{\"a\":\"record\"}",
                .organization = "default",
                .node = d->local,
                .nano_cpus = 500000000,
                .memory_bytes = 64 * MIB,
                .reserved_memory_bytes = 4 * MIB,
                .stop_grace_usec = 3 * USEC_PER_SEC,
        };
}

static void discard(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        const ProviderRest r = { .session = a.session, .image = a.image, .record = a.record };

        DO(P(discard, &r));
}

static void provider_begin(Drive *d, bool initialize) {
        static ProviderObserver observer = {
                .on_list_begin = on_list_begin, .on_session = on_session, .on_list_end = on_list_end,
                .on_node = on_node, .on_node_removed = on_node_removed, .on_health = on_health,
        };
        const char *user = getenv("SWARM_REGISTRY_USER"), *password = getenv("SWARM_REGISTRY_PASSWORD");
        const SwarmConfig config = {
                .registry = getenv("SWARM_REGISTRY"),
                .pull_username = isempty(user) ? NULL : user,
                .pull_password = isempty(user) ? NULL : password,
                .engine_socket = d->socket,
                .initialize = initialize,
                .network = "swarm-sessions",
                .default_organization = "default",
                .subnet = "10.128.0.0/16",
                .log_driver = "auto",
                .agent = d->agent,
        };

        observer.userdata = d;
        CHECK(swarm_provider_new(d->event, d->http, &config, &d->provider) >= 0);
        CHECK(d->provider->vtable->start(d->provider, &observer) >= 0);
}

static void check_service(Drive *d, const char *name) {
        const json_t *spec, *container;

        engine(d, "GET", "/services/%s", name);
        spec = json_at(d->answer, "Spec");
        container = json_at(spec, "TaskTemplate", "ContainerSpec");
        CHECK(streq_ptr(json_string_at(spec, "EndpointSpec", "Mode"), "dnsrr"));
        CHECK(streq_ptr(json_string_at(spec, "TaskTemplate", "RestartPolicy", "Condition"), "none"));
        CHECK(json_integer_at(spec, "TaskTemplate", "Resources", "Limits", "Pids") == 4096);
        CHECK(json_integer_at(spec, "TaskTemplate", "Resources", "Limits", "NanoCPUs") == 500000000);
        CHECK(json_integer_at(container, "StopGracePeriod") == INT64_C(3000000000));
        CHECK(streq_ptr(json_string_at(container, "Labels", "mine"), "yes"));
        CHECK(streq_ptr(json_string_at(container, "Labels", PROVIDER_LABEL_SESSION), json_string_at(spec, "Labels", PROVIDER_LABEL_SESSION)));
        CHECK(json_array_size(json_at(container, "Env")) == 2);
        CHECK(streq_ptr(json_string_value(json_array_get(json_at(container, "CapabilityDrop"), 0)), "CAP_NET_RAW"));
}

static void check_create(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one"), b = spec_of(d, "s-two", "one");
        usec_t begin = now_usec();

        DO(P(create, &a));
        CHECK(d->result == 0);
        printf("create accepted after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("create running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(seen(d, "s-one")->wanted && seen(d, "s-one")->container[0] && seen(d, "s-one")->node[0] && seen(d, "s-one")->started_usec > 0);
        CHECK(streq(seen(d, "s-one")->record, "{\"a\":\"record\"}"));
        CHECK(streq(seen(d, "s-one")->image, d->image));
        check_service(d, "one");
        /* again is success, another session under that name is refused */
        DO(P(create, &a));
        CHECK(d->result == 0);
        DO(P(create, &b));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_SESSION_EXISTS);
        printf("refused: %s\n", d->message);
}

static void check_rest_and_run(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        char container[80];
        usec_t begin;

        COPY(container, seen(d, "s-one")->container);
        discard(d);
        CHECK(d->result == 0);
        WAIT(5, !seen(d, "s-one")->wanted && seen(d, "s-one")->task == TASK_NONE);
        /* at once, while Swarm is still removing the old container */
        begin = now_usec();
        DO(P(run, &a));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("run at once after rest: running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(!streq(container, seen(d, "s-one")->container));
        COPY(container, seen(d, "s-one")->container);
        DO(P(run, &a));
        CHECK(d->result == 0);
        for (usec_t end = now_usec() + 2 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        CHECK(streq(container, seen(d, "s-one")->container));

        discard(d);
        for (usec_t end = now_usec() + 5 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        begin = now_usec();
        DO(P(run, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("run after rest: running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
}

static void check_container_events(Drive *d) {
        engine(d, "POST", "/containers/%s/pause", seen(d, "s-one")->container);
        WAIT(3, seen(d, "s-one")->frozen);
        engine(d, "POST", "/containers/%s/unpause", seen(d, "s-one")->container);
        WAIT(3, !seen(d, "s-one")->frozen);
}

static void check_exit(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        usec_t begin = now_usec();

        engine(d, "POST", "/containers/%s/kill?signal=KILL", seen(d, "s-one")->container);
        WAIT(10, seen(d, "s-one")->task == TASK_EXITED);
        printf("exit seen after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(seen(d, "s-one")->exit_code == 137 && seen(d, "s-one")->container[0]);
        DO(P(run, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_WRONG_STATE);
        printf("refused: %s\n", d->message);
        engine(d, "DELETE", "/containers/%s?force=1", seen(d, "s-one")->container);
        WAIT(5, seen(d, "s-one")->task == TASK_GONE);
        discard(d);
        CHECK(d->result == 0);
        DO(P(run, &a));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
}

static void check_failures(Drive *d) {
        ProviderSpec bad = spec_of(d, "s-bad", "bad"), command = spec_of(d, "s-command", "command"), nowhere = spec_of(d, "s-nowhere", "nowhere");
        static const char *const argv[] = { "/nonexistent/program", NULL };
        _cleanup_free_ char *image = strdup(d->image);
        usec_t begin = now_usec();

        image[strlen(image) - 1] = image[strlen(image) - 1] == '0' ? '1' : '0';
        bad.image = image;
        command.command = (char *const *) argv;
        nowhere.node = "nosuchnode";
        DO(P(create, &bad));
        DO(P(create, &command));
        DO(P(create, &nowhere));
        WAIT(15, seen(d, "s-bad")->task == TASK_FAILED && seen(d, "s-command")->task == TASK_FAILED && seen(d, "s-nowhere")->task == TASK_FAILED);
        printf("three failures seen after %" PRIu64 " ms\n  %s\n  %s\n  %s\n", (now_usec() - begin) / 1000, seen(d, "s-bad")->error,
               seen(d, "s-command")->error, seen(d, "s-nowhere")->error);
        /* a failed one can be run again */
        nowhere.node = NULL;
        DO(P(run, &nowhere));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-nowhere")->task == TASK_RUNNING);
        DO(P(remove, "s-bad"));
        CHECK(d->result == 0);
        DO(P(remove, "s-command"));
        DO(P(remove, "s-nowhere"));
        WAIT(5, !seen(d, "s-bad")->exists && !seen(d, "s-command")->exists && !seen(d, "s-nowhere")->exists);
}

static void check_again(Drive *d) {
        unsigned lists = d->lists;

        d->provider = provider_free(d->provider);
        seen(d, "s-one")->task = TASK_NONE;
        provider_begin(d, false);
        WAIT(10, d->lists > lists);
        CHECK(seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
        CHECK(!seen(d, "s-bad")->exists);
}

static void check_removed_behind_us(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        engine(d, "DELETE", "/services/%s", "one");
        WAIT(5, !seen(d, "s-one")->exists);
        DO(P(run, &a));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
}

static void check_remove(Drive *d) {
        usec_t begin = now_usec();

        DO(P(remove, "s-one"));
        CHECK(d->result == 0);
        printf("removed after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(5, !seen(d, "s-one")->exists);
        DO(P(remove, "s-one"));
        CHECK(d->result == 0);
        engine(d, "GET", "/containers/json?all=1&filters={%%22label%%22:[%%22%s%%22]}", PROVIDER_LABEL_SESSION);
        CHECK(json_array_size(d->answer) == 0);
}

/* The rig may have workers, and what the test does beside the provider it does on this node. */
static void stay_here(Drive *d) {
        engine(d, "GET", "/%s", "info");
        d->local = strdup(json_string_at(d->answer, "Swarm", "NodeID"));
}

static void life(Drive *d) {
        stay_here(d);
        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->nodes > 0);
        CHECK(d->health == PROVIDER_DEGRADED);
        check_create(d);
        check_rest_and_run(d);
        check_container_events(d);
        check_exit(d);
        check_failures(d);
        check_again(d);
        check_removed_behind_us(d);
        check_remove(d);
}

static void initialize(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        provider_begin(d, false);
        WAIT(10, d->health == PROVIDER_UNAVAILABLE);
        printf("unavailable: %s\n", d->detail);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_PROVIDER_UNAVAILABLE);
        /* By a reload, which waits for nothing else; and from the start. */
        swarm_provider_set_initialize(d->provider, true);
        WAIT(2, d->lists == 1 && d->health == PROVIDER_HEALTHY);
        d->provider = provider_free(d->provider);
        provider_begin(d, true);
        WAIT(10, d->lists == 2);
        DO(P(create, &a));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        engine(d, "GET", "/%s", "info");
        printf("initialised: %s\n", json_string_at(json_array_get(json_at(d->answer, "Swarm", "RemoteManagers"), 0), "Addr"));
        DO(P(remove, "s-one"));
}

static unsigned count(Drive *d, TaskState task) {
        unsigned n = 0;

        for (size_t i = 0; i < d->n_seen; i++)
                n += d->seen[i].exists && d->seen[i].task == task;
        return n;
}

static usec_t cpu_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static void many(Drive *d, unsigned n) {
        usec_t begin, cpu;

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        begin = now_usec();
        for (unsigned i = 0; i < n; i++) {
                char session[32], name[32];
                (void) snprintf(session, sizeof(session), "s-%u", i);
                (void) snprintf(name, sizeof(name), "many-%u", i);
                ProviderSpec s = spec_of(d, session, name);
                d->in_flight++;
                CHECK(P(create, &s) >= 0);
        }
        WAIT(120, d->in_flight == 0);
        printf("%u accepted after %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000);
        WAIT(180, count(d, TASK_RUNNING) == n);
        printf("%u running after %" PRIu64 " ms, cpu %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000, cpu_usec() / 1000);
        cpu = cpu_usec();
        begin = now_usec();
        while (now_usec() < begin + 20 * USEC_PER_SEC)
                CHECK(sd_event_run(d->event, USEC_PER_SEC) >= 0);
        printf("%u idle: %.2f %% of a core\n", n, 100.0 * (double) (cpu_usec() - cpu) / (double) (now_usec() - begin));
        begin = now_usec();
        for (unsigned i = 0; i < n; i++) {
                char session[32];
                (void) snprintf(session, sizeof(session), "s-%u", i);
                d->in_flight++;
                CHECK(P(remove, session) >= 0);
        }
        WAIT(180, d->in_flight == 0);
        printf("%u removed after %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000);
}

static void rig(const char *arguments) {
        _cleanup_free_ char *command = strformat("\"$SWARM_RIG\" %s", arguments);
        CHECK(system(command) == 0);
}

static void shell(const char *format, const char *argument) {
        _cleanup_free_ char *command = NULL;

        #pragma GCC diagnostic push
        #pragma GCC diagnostic ignored "-Wformat-nonliteral"
        command = strformat(format, argument);
        #pragma GCC diagnostic pop
        CHECK(system(command) == 0);
}

static void agent_begin(Drive *d) {
        const char *layer = getenv("SWARM_LAYER"), *rig_dir = getenv("SWARM_RIG_DIR"), *registry = getenv("SWARM_REGISTRY");
        _cleanup_free_ char *state = strformat("%s/tmp/drive-state", strempty(rig_dir)), *runtime = strformat("%s/tmp/drive-run", strempty(rig_dir)),
                            *url = strformat("http://%s", strempty(registry));
        const LayerRegistry r = { .url = url };

        CHECK(layer && rig_dir && registry);
        shell("mkdir -p %s", state);
        shell("mkdir -p %s", runtime);
        CHECK(agent_new(d->event, d->http, &(const AgentConfig) {
                .engine_socket = d->socket, .layer_path = layer, .state_dir = state, .runtime_dir = runtime, .registry = &r,
        }, &d->agent) >= 0);
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        Drive *d = userdata;

        on_done(d, r, refusal);
        if (result) {
                COPY(d->captured, result->image);
                COPY(d->witness, result->witness);
                printf("captured %" PRIu64 " entries, %" PRIu64 " bytes, frozen for %" PRIu64 " ms\n", result->entries, result->bytes, result->frozen_usec / 1000);
        }
}

static void capture(Drive *d, CaptureMode mode, uint64_t generation, const char *parent, const char *tag) {
        const ProviderCapture c = {
                .session = "s-one", .mode = mode, .generation = generation, .job = generation, .image = parent,
                .repository = "sessions/default", .tag = tag, .layers_max = 100,
        };

        d->in_flight++;
        CHECK(d->provider->vtable->capture(d->provider, &c, NULL, on_captured, d, NULL) >= 0);
        WAIT(60, d->in_flight == 0);
}

static void rest(Drive *d, uint64_t generation) {
        const ProviderRest r = { .session = "s-one", .witness = d->witness, .image = d->captured, .generation = generation, .record = "{\"at\":\"rest\"}" };

        DO(P(rest, &r));
}

/* Through the agent: save a running one, bring it back, save a stopped one; and a container that ran on is never killed. */
static void hibernate(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        _cleanup_free_ char *first = NULL;
        usec_t begin;

        agent_begin(d);
        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->health == PROVIDER_HEALTHY);
        DO(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        shell("docker exec %s sh -c 'echo hello >/kept'", seen(d, "s-one")->container);

        capture(d, CAPTURE_HOLD, 1, d->image, "s-one-g1");
        CHECK(d->result == 0);
        first = strdup(d->captured);
        WAIT(5, seen(d, "s-one")->frozen);
        DO(P(check_witness, "s-one", d->witness));
        CHECK(d->result == 0);
        /* somebody lets it run: it is not touched */
        shell("docker unpause %s >/dev/null", seen(d, "s-one")->container);
        (void) usleep(100 * 1000);
        rest(d, 1);
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_FILES_CHANGED);
        printf("refused: %s\n", d->message);
        WAIT(5, !seen(d, "s-one")->frozen);
        CHECK(seen(d, "s-one")->task == TASK_RUNNING);

        capture(d, CAPTURE_HOLD, 2, d->image, "s-one-g2");
        CHECK(d->result == 0);
        begin = now_usec();
        rest(d, 2);
        CHECK(d->result == 0);
        printf("rest accepted after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(5, !seen(d, "s-one")->wanted && seen(d, "s-one")->task == TASK_NONE);
        CHECK(seen(d, "s-one")->generation == 2 && streq(seen(d, "s-one")->image, d->captured) && streq(seen(d, "s-one")->record, "{\"at\":\"rest\"}"));
        rest(d, 2);
        CHECK(d->result == 0);

        a.image = d->captured;
        a.generation = 2;
        begin = now_usec();
        DO(P(run, &a));
        CHECK(d->result == 0);
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        printf("restored after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        shell("test \"$(docker exec %s cat /kept)\" = hello", seen(d, "s-one")->container);

        shell("docker exec %s sh -c 'echo more >>/kept'", seen(d, "s-one")->container);
        begin = now_usec();
        DO(P(terminate, "s-one", 5 * USEC_PER_SEC));
        CHECK(d->result == 0);
        WAIT(5, seen(d, "s-one")->task == TASK_EXITED);
        printf("terminated after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        a.image = strdup(d->captured);
        capture(d, CAPTURE_EXITED, 3, a.image, "s-one-g3");
        CHECK(d->result == 0);
        rest(d, 3);
        CHECK(d->result == 0);
        DO(P(delete_image, a.image));
        CHECK(d->result == 0);
        free((char *) a.image);
        a.image = d->captured;
        DO(P(run, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        shell("test \"$(docker exec %s tail -n1 /kept)\" = more", seen(d, "s-one")->container);
        DO(P(remove, "s-one"));
        CHECK(d->result == 0);
        DO(P(delete_image, first));
        CHECK(d->result == 0);
        DO(P(delete_image, d->captured));
        CHECK(d->result == 0);
}

/* The Engine dies under us and comes back. */
static void crash(Drive *d) {
        ProviderSpec a, b;
        unsigned lists;
        usec_t begin;

        stay_here(d);
        a = spec_of(d, "s-one", "one");
        b = spec_of(d, "s-two", "two");

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        DO(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        lists = d->lists;
        rig("engine crash");
        begin = now_usec();
        WAIT(10, d->health == PROVIDER_UNAVAILABLE);
        printf("unavailable after %" PRIu64 " ms: %s\n", (now_usec() - begin) / 1000, d->detail);
        CHECK(seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
        /* asked while it is away, done when it is back */
        d->in_flight++;
        CHECK(P(create, &b) >= 0);
        rig("engine start");
        begin = now_usec();
        WAIT(60, d->health != PROVIDER_UNAVAILABLE && d->lists > lists);
        printf("back after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(60, d->in_flight == 0);
        printf("create over the crash: %d %s\n", d->result, d->message);
        WAIT(60, seen(d, "s-one")->task == TASK_EXITED);
        if (d->result == 0)
                WAIT(60, seen(d, "s-two")->task == TASK_RUNNING);
        DO(P(remove, "s-one"));
        CHECK(d->result == 0);
        DO(P(remove, "s-two"));
        CHECK(d->result == 0);
}

/* A worker dies; its session is lost, and is started elsewhere when that is asked for. */
static void node(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        _cleanup_free_ char *worker = NULL;
        usec_t begin;

        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->nodes == 2);
        engine(d, "GET", "/%s", "nodes?filters=%7B%22role%22:%5B%22worker%22%5D%7D");
        worker = strdup(json_string_at(json_array_get(d->answer, 0), "ID"));
        a.node = worker;
        DO(P(create, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        CHECK(streq(seen(d, "s-one")->node, worker));
        rig("engine crash w1");
        begin = now_usec();
        WAIT(60, seen(d, "s-one")->task == TASK_LOST);
        printf("lost after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        a.node = NULL;
        begin = now_usec();
        DO(P(run, &a));
        CHECK(d->result == 0);
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        printf("running elsewhere after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(!streq(seen(d, "s-one")->node, worker));
        rig("engine start w1");
        for (usec_t end = now_usec() + 8 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        CHECK(seen(d, "s-one")->task == TASK_RUNNING && !streq(seen(d, "s-one")->node, worker));
        /* and one that comes back before anybody has given it up */
        discard(d);
        a.node = worker;
        DO(P(run, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        rig("engine crash w1");
        WAIT(60, seen(d, "s-one")->task == TASK_LOST);
        rig("engine start w1");
        begin = now_usec();
        WAIT(60, seen(d, "s-one")->task == TASK_EXITED);
        printf("its node back: exited, after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        DO(P(remove, "s-one"));
        CHECK(d->result == 0);
}

static void conflict(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        CHECK(system("docker network create --subnet 10.128.77.0/24 in-the-way >/dev/null") == 0);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_NETWORK_CONFLICT);
        printf("refused: %s\n", d->message);
        CHECK(system("docker network rm in-the-way >/dev/null && ip route add blackhole 10.128.9.0/24") == 0);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_NETWORK_CONFLICT);
        printf("refused: %s\n", d->message);
        CHECK(system("ip route del blackhole 10.128.9.0/24") == 0);
        a.organization = "other";
        DO(P(create, &a));
        CHECK(d->result == 0);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        engine(d, "GET", "/networks/%s", "swarm-sessions-other");
        CHECK(streq_ptr(json_string_at(json_array_get(json_at(d->answer, "IPAM", "Config"), 0), "Subnet"), "10.129.0.0/16"));
        CHECK(json_at(d->answer, "Options", "encrypted"));
        DO(P(remove, "s-one"));
}

int main(int argc, char *argv[]) {
        Drive drive = {}, *d = &drive;

        log_open("provider-swarm-drive");
        CHECK(argc >= 4);
        (void) setvbuf(stdout, NULL, _IOLBF, 0);
        (void) signal(SIGPIPE, SIG_IGN);
        d->socket = argv[2];
        d->image = argv[3];
        d->health = _PROVIDER_HEALTH_INVALID;
        CHECK(sd_event_new(&d->event) >= 0);
        CHECK(http_new(d->event, &d->http) >= 0);
        CHECK(engine_new(d->event, d->http, d->socket, &d->engine) >= 0);
        if (streq(argv[1], "life"))
                life(d);
        else if (streq(argv[1], "initialize"))
                initialize(d);
        else if (streq(argv[1], "hibernate"))
                hibernate(d);
        else if (streq(argv[1], "crash"))
                crash(d);
        else if (streq(argv[1], "node"))
                node(d);
        else if (streq(argv[1], "conflict"))
                conflict(d);
        else if (streq(argv[1], "many"))
                many(d, argc > 4 ? (unsigned) atoi(argv[4]) : 20);
        else
                CHECK(false);
        d->provider = provider_free(d->provider);
        agent_free(d->agent);
        free(d->local);
        json_decref(d->answer);
        engine_free(d->engine);
        http_free(d->http);
        sd_event_unref(d->event);
        printf("ok\n");
        return EXIT_SUCCESS;
}
