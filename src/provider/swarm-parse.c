/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <limits.h>

#include "basic/names.h"
#include "provider/swarm-parse.h"

static const char *const swarm_state_names[_SWARM_STATE_MAX] = {
        [SWARM_INACTIVE] = "inactive",
        [SWARM_PENDING] = "pending",
        [SWARM_ACTIVE] = "active",
        [SWARM_ERROR] = "error",
        [SWARM_LOCKED] = "locked",
};
DEFINE_NAMES_TO_STRING(swarm_state, SwarmState)

static const char *const swarm_task_state_names[_SWARM_TASK_MAX] = {
        [SWARM_TASK_NEW] = "new",
        [SWARM_TASK_ALLOCATED] = "allocated",
        [SWARM_TASK_PENDING] = "pending",
        [SWARM_TASK_ASSIGNED] = "assigned",
        [SWARM_TASK_ACCEPTED] = "accepted",
        [SWARM_TASK_PREPARING] = "preparing",
        [SWARM_TASK_READY] = "ready",
        [SWARM_TASK_STARTING] = "starting",
        [SWARM_TASK_RUNNING] = "running",
        [SWARM_TASK_COMPLETE] = "complete",
        [SWARM_TASK_SHUTDOWN] = "shutdown",
        [SWARM_TASK_FAILED] = "failed",
        [SWARM_TASK_REJECTED] = "rejected",
        [SWARM_TASK_REMOVE] = "remove",
        [SWARM_TASK_ORPHANED] = "orphaned",
};
DEFINE_NAMES(swarm_task_state, SwarmTaskState)

static const char *const event_type_names[_SWARM_EVENT_MAX] = {
        [SWARM_EVENT_SERVICE] = "service",
        [SWARM_EVENT_NODE] = "node",
        [SWARM_EVENT_CONTAINER] = "container",
};

static const char *nonempty(const char *s) {
        return isempty(s) ? NULL : s;
}

static bool has_log_driver(const json_t *o, const char *name) {
        const json_t *logs = json_at(o, "Plugins", "Log"), *v;
        size_t i;

        json_array_foreach(logs, i, v)
                if (streq_ptr(json_string_value(v), name))
                        return true;
        return false;
}

/* "name=userns" with --userns-remap, "name=rootless" for an Engine that is not root's; either may have more behind a comma. */
static bool has_mapped_users(const json_t *o) {
        const json_t *options = json_at(o, "SecurityOptions"), *v;
        size_t i;

        json_array_foreach(options, i, v) {
                const char *s = strempty(json_string_value(v)), *rest = startswith(s, "name=userns") ?: startswith(s, "name=rootless");
                if (rest && (!*rest || *rest == ','))
                        return true;
        }
        return false;
}

int swarm_info_parse(const json_t *o, SwarmInfo *ret) {
        const json_t *swarm = json_at(o, "Swarm");
        const json_t *history = json_at(swarm, "Cluster", "Spec", "Orchestration", "TaskHistoryRetentionLimit");
        int state = name_find(swarm_state_names, ELEMENTSOF(swarm_state_names), json_string_at(swarm, "LocalNodeState"));

        if (!json_is_object(o) || !json_string_at(o, "ServerVersion"))
                return -EBADMSG;
        *ret = (SwarmInfo) {
                /* Podman and Engines without the member: there is no Swarm. */
                .state = state < 0 ? SWARM_INACTIVE : state,
                .manager = json_true_at(swarm, "ControlAvailable"),
                .live_restore = json_true_at(o, "LiveRestoreEnabled"),
                .mapped_users = has_mapped_users(o),
                .journald = has_log_driver(o, "journald"),
                .history_off = json_is_integer(history) && json_integer_value(history) == 0,
                .node = nonempty(json_string_at(swarm, "NodeID")),
                .error = nonempty(json_string_at(swarm, "Error")),
                .version = json_string_at(o, "ServerVersion"),
                .system_time = json_string_at(o, "SystemTime"),
                .storage_driver = nonempty(json_string_at(o, "Driver")),
        };
        return 0;
}

int swarm_task_parse(const json_t *o, SwarmTask *ret) {
        const json_t *status = json_at(o, "Status");
        int state = swarm_task_state_from_string(json_string_at(status, "State")),
            desired = swarm_task_state_from_string(json_string_at(o, "DesiredState"));

        if (state < 0 || desired < 0 || !json_string_at(o, "ID") || !json_string_at(o, "ServiceID"))
                return -EBADMSG;
        *ret = (SwarmTask) {
                .id = json_string_at(o, "ID"),
                .service = json_string_at(o, "ServiceID"),
                .node = nonempty(json_string_at(o, "NodeID")),
                .container = nonempty(json_string_at(status, "ContainerStatus", "ContainerID")),
                .error = nonempty(json_string_at(status, "Err")),
                .image = json_string_at(o, "Spec", "ContainerSpec", "Image"),
                .state = state,
                .desired = desired,
                .exit_code = (int) json_integer_at(status, "ContainerStatus", "ExitCode"),
                .force_update = json_u64(json_at(o, "Spec", "ForceUpdate")),
                .created_usec = json_timestamp(json_at(o, "CreatedAt")),
                .since_usec = json_timestamp(json_at(status, "Timestamp")),
        };
        return 0;
}

/* running (or on its way there), stopped for good, being removed */
static int desired_rank(SwarmTaskState desired) {
        return desired <= SWARM_TASK_RUNNING ? 2 : desired == SWARM_TASK_REMOVE ? 0 : 1;
}

bool swarm_task_is_better(const SwarmTask *a, const SwarmTask *b) {
        if (!b)
                return true;
        if (desired_rank(a->desired) != desired_rank(b->desired))
                return desired_rank(a->desired) > desired_rank(b->desired);
        return a->created_usec > b->created_usec;
}

bool swarm_task_keeps_slot(const SwarmTask *t, uint64_t force_update) {
        return t->desired == SWARM_TASK_REMOVE || t->force_update >= force_update;
}

/* Docker has made a container, but its main process was never started. Source: swarmkit agent/exec/controller.go,
 * moby daemon/cluster/executor/container/controller.go. */
static bool never_started(const SwarmTask *t) {
        return !t->container || (t->error && startswith(t->error, "starting container failed"));
}

TaskState swarm_task_meaning(const SwarmTask *t, bool node_down) {
        switch (t->state) {
        case SWARM_TASK_NEW:
        case SWARM_TASK_ALLOCATED:
        case SWARM_TASK_PENDING:
                return TASK_PENDING;
        case SWARM_TASK_ASSIGNED ... SWARM_TASK_STARTING:
                return node_down ? TASK_LOST : TASK_STARTING;
        case SWARM_TASK_RUNNING:
                return node_down ? TASK_LOST : TASK_RUNNING;
        case SWARM_TASK_COMPLETE:
        case SWARM_TASK_SHUTDOWN:
        case SWARM_TASK_FAILED:
                /* The files of an exited container are out of reach as well while its node is down. */
                return never_started(t) ? TASK_FAILED : node_down ? TASK_LOST : TASK_EXITED;
        case SWARM_TASK_REJECTED:
                return TASK_FAILED;
        case SWARM_TASK_ORPHANED:
                return TASK_LOST;
        default:
                return TASK_NONE;
        }
}

int swarm_service_parse(const json_t *o, SwarmService *ret) {
        const json_t *spec = json_at(o, "Spec"), *labels = json_at(spec, "Labels");
        const char *record = json_string_at(labels, PROVIDER_LABEL_RECORD);
        _cleanup_json_ json_t *read = record ? json_loads(record, 0, NULL) : NULL;
        const char *generation = json_string_at(labels, PROVIDER_LABEL_GENERATION), *recorded = json_string_at(read, "name");
        const char *label = nonempty(json_string_at(labels, PROVIDER_LABEL_SESSION)),
                   *contained = nonempty(json_string_at(spec, "TaskTemplate", "ContainerSpec", "Labels", PROVIDER_LABEL_SESSION));
        uint64_t n = 0;

        if (!json_string_at(o, "ID") || !json_string_at(spec, "Name"))
                return -EBADMSG;
        if (generation)
                (void) parse_u64(generation, &n);
        *ret = (SwarmService) {
                .id = json_string_at(o, "ID"),
                .name = json_string_at(spec, "Name"),
                /* Who changes the labels of a service leaves its container alone, and those of that as they are. */
                .session = contained ?: label,
                .labeled = label && streq(label, contained ?: label),
                .record = record,
                .named = streq_ptr(recorded, json_string_at(spec, "Name")),
                .copied = recorded && !streq_ptr(recorded, json_string_at(spec, "Name")),
                .image = json_string_at(spec, "TaskTemplate", "ContainerSpec", "Image"),
                .version = json_u64(json_at(o, "Version", "Index")),
                .generation = n,
                .replicas = json_u64(json_at(spec, "Mode", "Replicated", "Replicas")),
                .force_update = json_u64(json_at(spec, "TaskTemplate", "ForceUpdate")),
                .spec = (json_t *) spec,
        };
        return 0;
}

int swarm_node_parse(const json_t *o, ProviderNode *ret) {
        const json_t *description = json_at(o, "Description");
        const char *address = nonempty(json_string_at(o, "Status", "Addr"));

        if (!json_string_at(o, "ID"))
                return -EBADMSG;
        *ret = (ProviderNode) {
                .id = json_string_at(o, "ID"),
                .name = nonempty(json_string_at(description, "Hostname")) ?: json_string_at(o, "ID"),
                .state = json_string_at(o, "Status", "State") ?: "unknown",
                .availability = json_string_at(o, "Spec", "Availability") ?: "active",
                .role = json_string_at(o, "Spec", "Role") ?: "worker",
                .address = address,
                .engine_version = json_string_at(description, "Engine", "EngineVersion"),
                .nano_cpus = json_u64(json_at(description, "Resources", "NanoCPUs")),
                .memory_bytes = json_u64(json_at(description, "Resources", "MemoryBytes")),
        };
        return 0;
}

/* "Up 3 minutes (healthy)", "Up 2 seconds (health: starting)", "Up 4 minutes (Paused)" */
static const char *status_health(const char *status) {
        static const struct {
                const char *text, *health;
        } table[] = {
                { "(healthy)", "healthy" }, { "(unhealthy)", "unhealthy" }, { "(health: starting)", "starting" },
        };

        for (size_t i = 0; status && i < ELEMENTSOF(table); i++)
                if (strstr(status, table[i].text))
                        return table[i].health;
        return NULL;
}

/* "Exited (143) 2 seconds ago" */
static int status_exit_code(const char *status) {
        const char *code = status ? startswith(status, "Exited (") : NULL;
        long n = code ? strtol(code, NULL, 10) : 0;

        return n >= 0 && n <= INT_MAX ? (int) n : 0;
}

static bool has_name(const json_t *container, const char *name) {
        const json_t *v;
        size_t i;

        json_array_foreach(json_at(container, "Names"), i, v) {
                const char *s = json_string_value(v);
                if (s && name && streq_ptr(startswith(s, "/"), name))
                        return true;
        }
        return false;
}

int swarm_container_parse(const json_t *o, SwarmContainer *ret) {
        const char *state = json_string_at(o, "State");

        if (!json_string_at(o, "Id"))
                return -EBADMSG;
        *ret = (SwarmContainer) {
                .id = json_string_at(o, "Id"),
                .session = nonempty(json_string_at(o, "Labels", PROVIDER_LABEL_SESSION)),
                .health = status_health(json_string_at(o, "Status")),
                .frozen = streq_ptr(state, "paused"),
                .ended = STR_IN_SET(state, "exited", "dead"),
                .exit_code = status_exit_code(json_string_at(o, "Status")),
                .of_task = has_name(o, json_string_at(o, "Labels", "com.docker.swarm.task.name")),
                .task = json_string_at(o, "Labels", SWARM_LABEL_TASK),
                .image = json_string_at(o, "ImageID"),
                .service = json_string_at(o, "Labels", "com.docker.swarm.service.id"),
        };
        return 0;
}

int swarm_event_parse(const json_t *o, SwarmEvent *ret) {
        const json_t *attributes = json_at(o, "Actor", "Attributes");
        int type = name_find(event_type_names, ELEMENTSOF(event_type_names), json_string_at(o, "Type"));

        if (type < 0 || !json_string_at(o, "Action") || !json_string_at(o, "Actor", "ID"))
                return -EBADMSG;
        *ret = (SwarmEvent) {
                .type = type,
                .action = json_string_at(o, "Action"),
                .id = json_string_at(o, "Actor", "ID"),
                .service = json_string_at(attributes, "com.docker.swarm.service.id"),
                .session = json_string_at(attributes, PROVIDER_LABEL_SESSION),
        };
        return 0;
}
