/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Answers of an Engine: the first byte of the input says what was asked, the rest is the answer. */

#include <assert.h>

#include "provider/swarm-network.h"
#include "provider/swarm-parse.h"
#include "provider/swarm-spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_info(const json_t *o) {
        SwarmInfo i;

        if (swarm_info_parse(o, &i) >= 0)
                assert(swarm_state_to_string(i.state) && i.version);
}

static void on_tasks(const json_t *o) {
        const json_t *v;
        SwarmTask best, t;
        bool found = false;
        size_t i;

        json_array_foreach(o, i, v) {
                if (swarm_task_parse(v, &t) < 0)
                        continue;
                assert(t.id && t.service && swarm_task_state_to_string(t.state) && swarm_task_state_to_string(t.desired));
                assert(task_state_to_string(swarm_task_meaning(&t, true)) && task_state_to_string(swarm_task_meaning(&t, false)));
                if (swarm_task_is_better(&t, found ? &best : NULL)) {
                        /* never better than itself: a list has one best task */
                        assert(!swarm_task_is_better(&t, &t));
                        best = t;
                        found = true;
                }
        }
}

/* A service that is read is changed and written back. */
static void on_service(json_t *o) {
        static const ProviderSpec spec = { .session = "s", .name = "n", .image = "i", .record = "{}" };
        _cleanup_json_ json_t *made = NULL;
        SwarmService s;

        if (swarm_service_parse(o, &s) < 0)
                return;
        assert(s.id && s.name);
        assert(swarm_spec_build(&spec, "local", &made) >= 0);
        assert(swarm_spec_place(made, "net", NULL, NULL) >= 0);
        assert(swarm_spec_update(made, s.spec) >= 0);
        assert(streq_ptr(json_string_at(made, "Labels", PROVIDER_LABEL_SESSION), "s"));
        if (json_is_object(s.spec)) {
                assert(swarm_spec_rest(s.spec, "new", 9, "{}") >= 0);
                assert(swarm_service_parse(o, &s) >= 0);
                assert(s.replicas == 0 && s.generation == 9 && streq_ptr(s.image, "new"));
        }
}

static void on_services(json_t *o) {
        json_t *v;
        size_t i;

        json_array_foreach(o, i, v)
                on_service(v);
}

static void on_nodes(const json_t *o) {
        const json_t *v;
        ProviderNode n;
        size_t i;

        json_array_foreach(o, i, v)
                if (swarm_node_parse(v, &n) >= 0)
                        assert(n.id && n.name && n.state && n.availability && n.role);
}

static void on_containers(const json_t *o) {
        const json_t *v;
        SwarmContainer c;
        size_t i;

        json_array_foreach(o, i, v)
                if (swarm_container_parse(v, &c) >= 0)
                        assert(c.id);
}

static void on_networks(const json_t *o) {
        const Prefix p = { .address = UINT32_C(0x0a800000), .bits = 16 };
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r = prefix_check(&p, NULL, o, &refusal);

        assert(r == 0 || (r == -EBADRQC && refusal));
}

static void on_event(const json_t *o) {
        SwarmEvent e;

        if (swarm_event_parse(o, &e) >= 0)
                assert(e.action && e.id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *o = NULL;

        if (size < 1)
                return 0;
        o = json_loadb((const char *) data + 1, size - 1, JSON_DECODE_ANY, NULL);
        switch (data[0]) {
        case 'i':
                on_info(o);
                break;
        case 't':
                on_tasks(o);
                break;
        case 's':
                on_services(o);
                break;
        case 'n':
                on_nodes(o);
                break;
        case 'c':
                on_containers(o);
                break;
        case 'w':
                on_networks(o);
                break;
        case 'e':
                on_event(o);
                break;
        }
        return 0;
}
