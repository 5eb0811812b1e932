/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <time.h>

#include "basic/log.h"
#include "swarm-drive.h"

usec_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

Seen *seen(Drive *d, const char *session) {
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

void turn(Drive *d) {
        CHECK(sd_event_run(d->event, 50 * USEC_PER_MSEC) >= 0);
}

void on_done(void *userdata, int r, const Refusal *refusal) {
        Drive *d = userdata;

        d->done++;
        d->in_flight--;
        d->result = r;
        d->code = refusal ? refusal->code : _REFUSAL_INVALID;
        COPY(d->message, refusal ? refusal->message : NULL);
        if (r < 0)
                log_debug("result %d: %s", r, d->message);
}

static void on_answer(const EngineAnswer *a, void *userdata) {
        Drive *d = userdata;

        d->in_flight--;
        d->status = a->status;
        json_decref(d->answer);
        d->answer = json_incref(a->json);
}

void engine(Drive *d, const char *method, const char *format, const char *argument) {
        _cleanup_free_ char *path = NULL;

        #pragma GCC diagnostic push
        #pragma GCC diagnostic ignored "-Wformat-nonliteral"
        path = strformat(format, argument);
        #pragma GCC diagnostic pop
        d->in_flight++;
        CHECK(engine_call(d->engine, &(const EngineRequest) { .method = method, .path = path, .on_done = on_answer, .userdata = d }, NULL) >= 0);
        WAIT(30, d->in_flight == 0);
}

void rig(const char *arguments) {
        _cleanup_free_ char *command = strformat("\"$SWARM_RIG\" %s", arguments);
        CHECK(system(command) == 0);
}

void shell(const char *format, const char *argument) {
        _cleanup_free_ char *command = NULL;

        #pragma GCC diagnostic push
        #pragma GCC diagnostic ignored "-Wformat-nonliteral"
        command = strformat(format, argument);
        #pragma GCC diagnostic pop
        CHECK(system(command) == 0);
}

/* ---- what stands there ---- */

static const char *const env[] = { "A=1", "B={\"x\": 2}", NULL }, *const labels[] = { "mine=yes", PROVIDER_LABEL_SESSION "=forged", NULL };

ProviderSpec spec_of(Drive *d, const char *session, const char *name) {
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

void discard(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        const ProviderRest r = { .session = a.session, .image = a.image, .record = a.record };

        DO(P(discard, &r));
}

void provider_begin(Drive *d, bool initialize) {
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

void agent_begin(Drive *d) {
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

void stay_here(Drive *d) {
        engine(d, "GET", "/%s", "info");
        d->local = strdup(json_string_at(d->answer, "Swarm", "NodeID"));
}
