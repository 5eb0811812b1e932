/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.swarm.Orchestrator.Provider, and Manager.ListProviders. */

#include "front/front-internal.h"

static const struct {
        uint32_t bit;
        const char *name;
} capabilities[] = {
        { PROVIDER_CAN_CAPTURE, "capture" },
        { PROVIDER_CAN_CLONE, "clone" },
        { PROVIDER_CAN_SIGNAL, "signal" },
};

static int append_health(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', provider_health_to_string(((const ProviderEntry *) object)->health));
}

const char *provider_detail(const ProviderEntry *e) {
        return provider_entry_has_reported(e) ? strempty(e->detail) : "It has not answered yet.";
}

static int append_detail(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', provider_detail(object));
}

static int append_capabilities(sd_bus_message *m, const void *object) {
        const ProviderEntry *e = object;
        int r;

        r = sd_bus_message_open_container(m, 'a', "s");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(capabilities); i++)
                if (e->provider->vtable->capabilities & capabilities[i].bit)
                        r = sd_bus_message_append_basic(m, 's', capabilities[i].name);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static const BusField provider_fields[] = {
        BUS_FIELD("Name", "s", ProviderEntry, name),
        BUS_FIELD_FUNCTION("Health", "s", append_health),
        BUS_FIELD_FUNCTION("Detail", "s", append_detail),
        BUS_FIELD_FUNCTION("Capabilities", "as", append_capabilities),
        {},
};

int provider_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_free_ char *name = NULL;
        int r;

        r = bus_path_decode(path, SWARM_PATH_PROVIDER, &name);
        if (r <= 0)
                return r;
        *ret = manager_find_provider(f->manager, name);
        return !!*ret;
}

int provider_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_strv_ Strv paths = NULL;
        int r;

        for (ProviderEntry *e = f->manager->providers; e; e = e->hh.next) {
                r = strv_consume(&paths, bus_path_encode(SWARM_PATH_PROVIDER, e->name));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(paths);
        return 0;
}

int method_list_providers(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Front *f = front_of(m);
        int r;

        r = bus_no_options_read(m, "ListProviders", &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (ProviderEntry *e = f->manager->providers; r >= 0 && e; e = e->hh.next)
                r = bus_fields_append(reply, provider_fields, 0, e);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int property_get(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *reterr) {
        return bus_field_append_value(reply, bus_field_find(provider_fields, property), userdata);
}

const sd_bus_vtable provider_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Health", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Detail", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Capabilities", "as", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

static const BusChangedProperty changed_properties[] = {
        { "Health", UINT64_MAX },
        { "Detail", UINT64_MAX },
        {},
};

const BusChangeClass provider_changes = {
        .interface = SWARM_INTERFACE_PROVIDER,
        .properties = changed_properties,
};
