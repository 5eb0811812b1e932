/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Swarm provider against an Engine that answers by a script. */

#include "engine-script.h"
#include "provider/swarm-internal.h"

#define INFO_NOW "{\"ServerVersion\":\"26.1.5\",\"Driver\":\"overlay2\",\"SystemTime\":\"2026-11-21T01:00:02Z\"," \
                 "\"Swarm\":{\"LocalNodeState\":\"active\",\"ControlAvailable\":true,\"NodeID\":\"n1\"}}"
#define NETWORKS "[{\"Name\":\"n\",\"Id\":\"net\",\"Driver\":\"overlay\",\"Scope\":\"swarm\"}]"
/* What comes first: of each call that needs the Swarm, on a connection that is new. */
#define CONNECTED \
        PING("1.44"), { "GET /v1.44/info", "200 OK", NULL, INFO_NOW }, { "GET /v1.44/networks", "200 OK", NULL, NETWORKS }
#define SERVICE(version, replicas, force) SERVICE_OF("abc", version, replicas, force)
#define SERVICE_OF(session, version, replicas, force) \
        "{\"ID\":\"s1\",\"Version\":{\"Index\":" version "},\"Spec\":{\"Name\":\"web\",\"Labels\":{\"swarm.session\":\"" session "\"}," \
        "\"Mode\":{\"Replicated\":{\"Replicas\":" replicas "}}," \
        "\"TaskTemplate\":{\"ForceUpdate\":" force ",\"ContainerSpec\":{\"Image\":\"h/r@sha256:1\"}}}}"

typedef struct World {
        EngineScript server;
        sd_event *event;
        Http *http;
        Provider *p;
        bool done;
        int result;
        RefusalCode code;
        char message[1024];             /* of the refusal */
        ProviderHealth health;
        char *detail;
} World;

static inline void world_open(World *w, const Exchange *script, size_t n) {
        *w = (World) { .health = PROVIDER_HEALTHY };
        engine_script_open(&w->server);
        engine_script_serve(&w->server, script, n);
        assert_int_equal(sd_event_new(&w->event), 0);
        assert_int_equal(http_new(w->event, &w->http), 0);
        assert_int_equal(swarm_provider_new(w->event, w->http, &(const SwarmConfig) {
                .engine_socket = w->server.socket, .network = "n", .default_organization = "default", .subnet = "10.128.0.0/16", .log_driver = "local",
        }, &w->p), 0);
}

static inline void world_close(World *w) {
        provider_free(w->p);
        http_free(w->http);
        sd_event_unref(w->event);
        engine_script_close(&w->server);
        free(w->detail);
        assert_false(w->server.wrong);
        assert_int_equal(w->server.served, w->server.n_script);
}

static inline void on_done(void *userdata, int r, const Refusal *refusal) {
        World *w = userdata;

        w->done = true;
        w->result = r;
        w->code = refusal ? refusal->code : _REFUSAL_INVALID;
        (void) snprintf(w->message, sizeof(w->message), "%s", refusal ? refusal->message : "");
}

typedef int (*start_fn)(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);

static inline void ask_to_start(World *w, start_fn fn) {
        static const ProviderSpec spec = { .session = "abc", .name = "web", .image = "h/r@sha256:1", .record = "{}", .memory_bytes = GIB };
        ProviderCall *call;

        assert_int_equal(fn(w->p, &spec, on_done, w, &call), 0);
        while (!w->done)
                assert_true(sd_event_run(w->event, 10 * USEC_PER_SEC) > 0);
}

static inline void start(World *w, start_fn fn) {
        ask_to_start(w, fn);
        assert_int_equal(w->result, 0);
}
