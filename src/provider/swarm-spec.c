/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "provider/swarm-spec.h"

#define HEALTHCHECK_RETRIES_DEFAULT 3

/* Of Docker's default set; ping works without it (net.ipv4.ping_group_range), forging other containers' packets does not. */
static const char *const dropped_capabilities[] = { "CAP_NET_RAW", NULL };

static int take_nsec(json_t *o, const char *key, usec_t usec) {
        return json_take_u64(o, key, usec > (usec_t) INT64_MAX / NSEC_PER_USEC ? (uint64_t) INT64_MAX : usec * NSEC_PER_USEC);
}

/* "K=V" strings as an object; one without "=" has an empty value. */
static int take_pairs(json_t *o, char *const *pairs) {
        STRV_FOREACH(p, pairs) {
                const char *eq = strchrnul(*p, '=');
                _cleanup_free_ char *key = strndup(*p, (size_t) (eq - *p));
                int r = key ? json_take(o, key, json_string(*eq ? eq + 1 : "")) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_generation(json_t *labels, uint64_t generation) {
        char s[32];

        (void) snprintf(s, sizeof(s), "%" PRIu64, generation);
        return json_take_string(labels, PROVIDER_LABEL_GENERATION, s);
}

static int build_healthcheck(const ProviderSpec *spec, json_t *container) {
        json_t *h;
        int r;

        if (strv_length(spec->healthcheck) == 0)
                return 0;
        if ((r = json_object_ensure(container, "Healthcheck", &h)) < 0 ||
            (r = json_take(h, "Test", json_strv(spec->healthcheck))) < 0 ||
            (r = take_nsec(h, "Interval", spec->healthcheck_interval_usec)) < 0)
                return r;
        return json_take_u64(h, "Retries", spec->healthcheck_retries ?: HEALTHCHECK_RETRIES_DEFAULT);
}

static int build_container(const ProviderSpec *spec, json_t *container) {
        json_t *labels;
        int r;

        if ((r = json_take_string(container, "Image", spec->image)) < 0 ||
            (r = json_take_string(container, "Hostname", spec->name)) < 0 ||
            (r = json_take(container, "CapabilityDrop", json_strv((char *const *) dropped_capabilities))) < 0 ||
            (r = take_nsec(container, "StopGracePeriod", spec->stop_grace_usec)) < 0 ||
            (r = json_object_ensure(container, "Labels", &labels)) < 0 ||
            (r = take_pairs(labels, spec->labels)) < 0 ||
            /* last: a user's label does not replace it */
            (r = json_take_string(labels, PROVIDER_LABEL_SESSION, spec->session)) < 0)
                return r;
        if (strv_length(spec->env) > 0 && (r = json_take(container, "Env", json_strv(spec->env))) < 0)
                return r;
        /* "Args" is the image's CMD; "Command" would be its ENTRYPOINT. */
        if (strv_length(spec->command) > 0 && (r = json_take(container, "Args", json_strv(spec->command))) < 0)
                return r;
        return build_healthcheck(spec, container);
}

static int build_resources(const ProviderSpec *spec, json_t *task) {
        json_t *resources, *limits, *reservations;
        int r;

        if ((r = json_object_ensure(task, "Resources", &resources)) < 0 ||
            (r = json_object_ensure(resources, "Limits", &limits)) < 0 ||
            (r = json_object_ensure(resources, "Reservations", &reservations)) < 0 ||
            (r = json_take_u64(limits, "NanoCPUs", spec->nano_cpus)) < 0 ||
            (r = json_take_u64(limits, "MemoryBytes", spec->memory_bytes)) < 0 ||
            (r = json_take_u64(limits, "Pids", SWARM_PIDS_MAX)) < 0 ||
            (r = json_take_u64(reservations, "NanoCPUs", spec->reserved_nano_cpus)) < 0)
                return r;
        return json_take_u64(reservations, "MemoryBytes", spec->reserved_memory_bytes);
}

/* journald: sessions are found by their id (SWARM_SESSION= from the label). local: bounded on disk. */
static json_t *build_log_driver(const char *driver) {
        if (streq(driver, "journald"))
                return json_pack("{s:s,s:{s:s,s:s}}", "Name", driver, "Options", "labels", PROVIDER_LABEL_SESSION, "tag", "{{.Name}}");
        if (STR_IN_SET(driver, "local", "json-file"))
                return json_pack("{s:s,s:{s:s,s:s}}", "Name", driver, "Options", "max-size", "10m", "max-file", "3");
        return json_pack("{s:s}", "Name", driver);
}

static int build_task(const ProviderSpec *spec, const char *log_driver, json_t *task) {
        json_t *container;
        int r;

        if ((r = json_object_ensure(task, "ContainerSpec", &container)) < 0 ||
            (r = build_container(spec, container)) < 0 ||
            (r = build_resources(spec, task)) < 0 ||
            (r = json_take(task, "LogDriver", build_log_driver(log_driver))) < 0)
                return r;
        return json_take(task, "RestartPolicy", json_pack("{s:s,s:i}", "Condition", "none", "MaxAttempts", 0));
}

int swarm_spec_build(const ProviderSpec *spec, const char *log_driver, json_t **ret) {
        _cleanup_json_ json_t *service = json_object();
        json_t *labels, *task;
        int r;

        if (!service)
                return -ENOMEM;
        if ((r = json_take_string(service, "Name", spec->name)) < 0 ||
            (r = json_object_ensure(service, "Labels", &labels)) < 0 ||
            (r = json_take_string(labels, PROVIDER_LABEL_SESSION, spec->session)) < 0 ||
            (r = json_take_string(labels, PROVIDER_LABEL_RECORD, spec->record)) < 0 ||
            (r = take_generation(labels, spec->generation)) < 0 ||
            (r = json_object_ensure(service, "TaskTemplate", &task)) < 0 ||
            (r = build_task(spec, log_driver, task)) < 0 ||
            (r = json_take(service, "Mode", json_pack("{s:{s:i}}", "Replicated", "Replicas", 1))) < 0 ||
            (r = json_take(service, "EndpointSpec", json_pack("{s:s}", "Mode", "dnsrr"))) < 0)
                return r;
        *ret = TAKE_PTR(service);
        return 0;
}

static int add_constraint(json_t *constraints, const char *operator, const char *node) {
        _cleanup_free_ char *s = strformat("node.id%s%s", operator, node);
        return s && json_array_append_new(constraints, json_string(s)) >= 0 ? 0 : -ENOMEM;
}

int swarm_spec_place(json_t *service, const char *network, const char *node, char *const *avoid) {
        _cleanup_json_ json_t *constraints = json_array();
        json_t *task = json_at(service, "TaskTemplate");
        int r = constraints ? 0 : -ENOMEM;

        if (r >= 0 && node)
                r = add_constraint(constraints, "==", node);
        else
                STRV_FOREACH(n, avoid)
                        if (r >= 0)
                                r = add_constraint(constraints, "!=", *n);
        if (r < 0)
                return r;
        r = json_take(task, "Placement", json_pack("{s:O}", "Constraints", constraints));
        if (r < 0)
                return r;
        /* Not the service's own "Networks": Engine 29 ignores that. */
        return json_take(task, "Networks", json_pack("[{s:s}]", "Target", network));
}

int swarm_spec_update(json_t *service, const json_t *old) {
        json_t *labels = json_at(service, "Labels"), *old_labels = json_at(old, "Labels");
        uint64_t force = json_u64(json_at(old, "TaskTemplate", "ForceUpdate"));

        if (json_is_object(old_labels) && json_object_update_missing(labels, old_labels) < 0)
                return -ENOMEM;
        if (json_object_update_missing(service, (json_t *) old) < 0)
                return -ENOMEM;
        return json_take_u64(json_at(service, "TaskTemplate"), "ForceUpdate", force + 1);
}

int swarm_spec_rest(json_t *spec, const char *image, uint64_t generation, const char *record) {
        json_t *mode, *replicated, *labels, *task, *container;
        const char *session;
        int r;

        if ((r = json_object_ensure(spec, "Mode", &mode)) < 0 ||
            (r = json_object_ensure(mode, "Replicated", &replicated)) < 0 ||
            (r = json_take_u64(replicated, "Replicas", 0)) < 0 ||
            !image)
                return r;
        if ((r = json_object_ensure(spec, "TaskTemplate", &task)) < 0 ||
            (r = json_object_ensure(task, "ContainerSpec", &container)) < 0 ||
            (r = json_take_string(container, "Image", image)) < 0 ||
            (r = json_object_ensure(spec, "Labels", &labels)) < 0 ||
            (r = json_take_string(labels, PROVIDER_LABEL_RECORD, record)) < 0)
                return r;
        /* Which somebody may have changed or removed. */
        session = json_string_at(container, "Labels", PROVIDER_LABEL_SESSION);
        if (session && (r = json_take_string(labels, PROVIDER_LABEL_SESSION, session)) < 0)
                return r;
        return take_generation(labels, generation);
}
