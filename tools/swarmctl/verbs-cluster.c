/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs that look at what sessions are made from and run on: templates, nodes, providers, and all at a glance. */

#include "look.h"
#include "output.h"

#define FIELD(f) offsetof(Arguments, f)

static const Column node_columns[] = {
        { "Name", "NAME" },
        { "Id", "ID", .only_full = true },
        { "Provider", "PROVIDER" },
        { "State", "STATE", FORMAT_STATE },
        { "Availability", "AVAILABILITY" },
        { "Role", "ROLE" },
        { "Address", "ADDRESS" },
        { "CPUs", "CPUS", .right = true },
        { "MemoryBytes", "MEMORY", FORMAT_BYTES, .right = true },
        { "EngineVersion", "ENGINE", .may_shorten = true },
        { "Agent", "AGENT" },
        {},
};

static const Column template_columns[] = {
        { "Name", "NAME" },
        { "Image", "IMAGE", .may_shorten = true },
        { "Size", "SIZE" },
        { "CPUs", "CPUS", .right = true, .zero_is_default = true },
        { "MemoryBytes", "MEMORY", FORMAT_BYTES, .right = true, .zero_is_default = true },
        { "Provider", "PROVIDER" },
        { "Description", "DESCRIPTION", .may_shorten = true },
        {},
};

static const Column provider_columns[] = {
        { "Name", "NAME" },
        { "Health", "HEALTH", FORMAT_STATE },
        { "Capabilities", "CAPABILITIES" },
        { "Detail", "DETAIL", .may_shorten = true },
        {},
};

static const Column template_lines[] = {
        { "Name", "Template" },
        { "Description", "Description" },
        { "Image", "Image" },
        { "Size", "Size" },
        { "CPUs", "CPUs", .zero_is_default = true },
        { "MemoryBytes", "Memory", FORMAT_BYTES, .zero_is_default = true },
        { "CPUReservationPercent", "% of CPUs reserved" },
        { "MemoryReservationPercent", "% of memory reserved" },
        { "Provider", "Provider" },
        { "Command", "Command" },
        { "Environment", "Environment" },
        { "Labels", "Labels" },
        { "Features", "Features" },
        { "Routes", "Routes" },
        { "IdleTimeoutUSec", "Idle timeout", FORMAT_TIMESPAN, .zero_is_default = true },
        { "StopGraceUSec", "Stop grace", FORMAT_TIMESPAN, .zero_is_default = true },
        { "HealthCheck", "Health check" },
        { "HealthCheckIntervalUSec", "Interval", FORMAT_TIMESPAN, .zero_is_default = true },
        { "HealthCheckRetries", "Retries", .zero_is_default = true },
        { "VolumesEphemeral", "Volumes lost" },
        {},
};

static const WireOption node_filters[] = {
        { "provider", "s", FIELD(provider) },
        { "state", "s", FIELD(state) },
};

static void print_sessions(const json_t *status) {
        const json_t *by_state = json_object_get(status, "SessionsByState");
        char line[512];
        const char *state;
        json_t *n;
        int used = snprintf(line, sizeof(line), "%" PRIu64 " of at most %" PRIu64, value_u64(status, "Sessions"), value_u64(status, "SessionsMax"));
        const char *separator = ": ";

        json_object_foreach((json_t *) by_state, state, n)
                if (json_integer_value(n) > 0 && used < (int) sizeof(line)) {
                        used += snprintf(line + used, sizeof(line) - (size_t) used, "%s%" JSON_INTEGER_FORMAT " %s", separator, json_integer_value(n), state);
                        separator = ", ";
                }
        output_line("Sessions", line, NULL);
}

/* Not what is used, but what what runs may use at most. */
static void print_shares(const json_t *status) {
        char used[32], total[32], line[128];

        (void) snprintf(line, sizeof(line), "sessions may use %.6g, ready nodes have %.6g",
                        json_number_value(json_object_get(status, "CPUsUsed")), json_number_value(json_object_get(status, "CPUsTotal")));
        output_line("CPUs", line, NULL);
        (void) snprintf(line, sizeof(line), "sessions may use %s, ready nodes have %s",
                        format_bytes(used, sizeof(used), value_u64(status, "MemoryUsedBytes")),
                        format_bytes(total, sizeof(total), value_u64(status, "MemoryTotalBytes")));
        output_line("Memory", line, NULL);
}

static void print_providers(const json_t *providers) {
        size_t i;
        json_t *p;

        json_array_foreach(providers, i, p) {
                const char *health = strempty(value_string(p, "Health")), *detail = strempty(value_string(p, "Detail"));
                _cleanup_free_ char *line = strformat("%s %s%s%s", strempty(value_string(p, "Name")), health, *detail ? ": " : "", detail);
                if (line) {
                        format_make_printable(line);
                        output_line(i == 0 ? "Providers" : "", line, format_state_color(health));
                }
        }
}

static int print_status(const Arguments *a, const json_t *status) {
        char line[128];

        if (a->json != JSON_OFF)
                return output_json(a, status);
        output_line("Version", strna(value_string(status, "Version")), NULL);
        print_sessions(status);
        (void) snprintf(line, sizeof(line), "%" PRIu64 " under way", value_u64(status, "JobsRunning"));
        output_line("Jobs", line, NULL);
        (void) snprintf(line, sizeof(line), "%" PRIu64 " of %" PRIu64 " ready", value_u64(status, "NodesReady"), value_u64(status, "Nodes"));
        output_line("Nodes", line, NULL);
        print_shares(status);
        output_line("Saved files", format_bytes(line, sizeof(line), value_u64(status, "StorageUsedBytes")), NULL);
        if (json_is_false(json_object_get(status, "StoreHealthy")))
                output_line("Store", "cannot be written; nothing can be changed until it can", "red");
        print_providers(json_object_get(status, "Providers"));
        return 0;
}

int look_at_all(Context *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_t *status = NULL;

        int r = context_call_manager(c, "GetStatus", &reply, NULL);
        if (r == 0)
                r = context_read(reply, &status);
        return r != 0 ? r : print_status(c->args, status);
}

/* A list that comes in one piece: options, flags → aa{sv}. */
static int list_plain(Context *c, const char *member, const WireOption *filters, size_t n, const Column *columns, const char *things) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_json_ json_t *rows = NULL;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, member, &m);
        if (r != 0)
                return r;
        r = append_options(m, c->args, filters, n);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", UINT64_C(0));
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r == 0)
                r = context_read(reply, &rows);
        return r != 0 ? r : output_table(c->args, rows, columns, things);
}

static int get_template(Context *c, const char *name, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = context_call_manager(c, "GetTemplate", &reply, "s", name);
        return r != 0 ? r : context_read(reply, ret);
}

static int print_template(Context *c, const char *word, const json_t *template) {
        return output_block(c->args, template, template_lines);
}

int verb_templates(Context *c, char *const *words) {
        return words ? look_at_each(c, words, get_template, print_template)
                     : list_plain(c, "ListTemplates", NULL, 0, template_columns, "templates");
}

int verb_nodes(Context *c, char *const *words) {
        return list_plain(c, "ListNodes", node_filters, ELEMENTSOF(node_filters), node_columns, "nodes");
}

int verb_providers(Context *c, char *const *words) {
        return list_plain(c, "ListProviders", NULL, 0, provider_columns, "providers");
}
