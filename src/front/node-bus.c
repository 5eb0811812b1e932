/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.swarm.Orchestrator.Node, and Manager.ListNodes. */

#include "front/front-internal.h"

static int append_cpus(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 'd', &(double) { (double) ((const Node *) object)->nano_cpus / 1e9 });
}

#define FIELD(name, signature, member) BUS_FIELD(name, signature, Node, member)

static const BusField node_fields[] = {
        FIELD("Id", "s", id),
        FIELD("Name", "s", name),
        FIELD("Provider", "s", provider),
        FIELD("State", "s", state),
        FIELD("Availability", "s", availability),
        FIELD("Role", "s", role),
        FIELD("Address", "s", address),
        FIELD("EngineVersion", "s", engine_version),
        BUS_FIELD_FUNCTION("CPUs", "d", append_cpus),
        FIELD("MemoryBytes", "t", memory_bytes),
        FIELD("Agent", "b", agent),
        {},
};

int node_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_free_ char *id = NULL;
        Node *n;
        int r;

        r = bus_path_decode(path, SWARM_PATH_NODE, &id);
        if (r <= 0)
                return r;
        HASH_FIND_STR(f->manager->nodes, id, n);
        if (!n)
                return 0;
        *ret = n;
        return 1;
}

int node_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_strv_ Strv paths = NULL;
        int r;

        for (Node *n = f->manager->nodes; n; n = n->hh.next) {
                r = strv_consume(&paths, bus_path_encode(SWARM_PATH_NODE, n->id));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(paths);
        return 0;
}

typedef struct NodeFilter {
        const char *provider, *state;
} NodeFilter;

static const BusOption filter_options[] = {
        BUS_OPTION("provider", "s", NodeFilter, provider),
        BUS_OPTION("state", "s", NodeFilter, state),
};

static int filter_check(Front *f, const NodeFilter *filter, Refusal **reterr_refusal) {
        if (filter->provider && !manager_find_provider(f->manager, filter->provider))
                return front_refuse_provider(f, filter->provider, reterr_refusal);
        if (filter->state && !STR_IN_SET(filter->state, "ready", "down", "unknown", "disconnected"))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "\"%.64s\" is not a state of a node. Known are: ready, down, unknown, disconnected.", filter->state);
        return 0;
}

int method_list_nodes(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Front *f = front_of(m);
        NodeFilter filter = {};
        int r;

        r = bus_options_read(m, "ListNodes", filter_options, ELEMENTSOF(filter_options), &filter, NULL, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, "ListNodes", SWARM_FLAGS_NONE, NULL, &refusal);
        if (r >= 0)
                r = filter_check(f, &filter, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = front_await_providers(f, m);
        if (r <= 0)
                return front_parked(r);
        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (Node *n = f->manager->nodes; r >= 0 && n; n = n->hh.next) {
                if (filter.provider && !streq_ptr(n->provider, filter.provider))
                        continue;
                if (filter.state && !streq_ptr(n->state, filter.state))
                        continue;
                r = bus_fields_append(reply, node_fields, 0, n);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int property_get(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *reterr) {
        return bus_field_append_value(reply, bus_field_find(node_fields, property), userdata);
}

const sd_bus_vtable node_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Name", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Provider", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Availability", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Role", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Address", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("EngineVersion", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("CPUs", "d", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MemoryBytes", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Agent", "b", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

/* Nodes change seldom, and then several at once. */
static const BusChangedProperty changed_properties[] = {
        { "Name", UINT64_MAX },
        { "State", UINT64_MAX },
        { "Availability", UINT64_MAX },
        { "Role", UINT64_MAX },
        { "Address", UINT64_MAX },
        { "EngineVersion", UINT64_MAX },
        { "CPUs", UINT64_MAX },
        { "MemoryBytes", UINT64_MAX },
        { "Agent", UINT64_MAX },
        {},
};

const BusChangeClass node_changes = {
        .interface = SWARM_INTERFACE_NODE,
        .properties = changed_properties,
};
