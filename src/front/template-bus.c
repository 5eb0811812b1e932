/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The manager's methods about templates, which are no objects. */

#include "front/front-internal.h"

#define LISTED .flags = FIELD_PUBLIC
#define FIELD(name, signature, member, ...) BUS_FIELD(name, signature, Template, member, ##__VA_ARGS__)

/* A part of nothing is a part as well: what is not said is -1, not 0. */
static int append_cpu_reservation(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 'x', &(int64_t) { ((const Template *) object)->cpu_reservation_percent });
}

static int append_memory_reservation(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 'x', &(int64_t) { ((const Template *) object)->memory_reservation_percent });
}

/* Of a check that is the image's own nothing is known. */
static int append_health_interval(sd_bus_message *m, const void *object) {
        const Template *t = object;
        return sd_bus_message_append_basic(m, 't', &(uint64_t) { t->healthcheck ? t->healthcheck_interval_usec : 0 });
}

static int append_health_retries(sd_bus_message *m, const void *object) {
        const Template *t = object;
        return sd_bus_message_append_basic(m, 'u', &(uint32_t) { t->healthcheck ? t->healthcheck_retries : 0 });
}

static const BusField template_fields[] = {
        FIELD("Name", "s", name, LISTED),
        FIELD("Description", "s", description, LISTED),
        FIELD("Image", "s", image, LISTED),
        FIELD("Size", "s", size, LISTED),
        FIELD("CPUs", "d", cpus, LISTED),
        FIELD("MemoryBytes", "t", memory_bytes, LISTED),
        FIELD("Provider", "s", provider, LISTED),
        FIELD("Command", "as", command),
        FIELD("Environment", "as", env),
        FIELD("Labels", "a{ss}", labels),
        FIELD("Features", "as", features),
        FIELD("Routes", "as", routes),
        FIELD("IdleTimeoutUSec", "t", idle_timeout_usec),
        FIELD("StopGraceUSec", "t", stop_grace_usec),
        FIELD("HealthCheck", "as", healthcheck),
        BUS_FIELD_FUNCTION("HealthCheckIntervalUSec", "t", append_health_interval),
        BUS_FIELD_FUNCTION("HealthCheckRetries", "u", append_health_retries),
        BUS_FIELD_FUNCTION("CPUReservationPercent", "x", append_cpu_reservation),
        BUS_FIELD_FUNCTION("MemoryReservationPercent", "x", append_memory_reservation),
        FIELD("VolumesEphemeral", "b", volumes_ephemeral),
        {},
};

int method_list_templates(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const TemplateTable *table = front_of(m)->manager->templates;
        int r;

        r = bus_no_options_read(m, "ListTemplates", &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < template_table_size(table); i++)
                r = bus_fields_append(reply, template_fields, FIELD_PUBLIC, template_table_nth(table, i));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

int method_get_template(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Front *f = front_of(m);
        Subject subject = NO_SUBJECT;
        const Template *t;
        const char *name;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        t = template_table_find(f->manager->templates, name);
        if (!t)
                return bus_error_setf(reterr, REFUSAL_NO_SUCH_TEMPLATE, "There is no template \"%.64s\". 'swarmctl templates' (ListTemplates) lists those that there are.", name);
        subject.template_name = t->name;
        r = front_authorize(f, m, uid, SWARM_ACTION_VIEW, "get-template", &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        r = bus_reply_new(m, &reply, "");
        if (r < 0)
                return r;
        r = bus_fields_append(reply, template_fields, 0, t);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
