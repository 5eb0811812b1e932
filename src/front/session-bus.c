/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.swarm.Orchestrator.Session: properties, look-up, announcements. The methods are in session-verbs.c and session-streams.c. */

#include "front/front-internal.h"

char *session_path(const Session *s) {
        return bus_path_encode(SWARM_PATH_SESSION, s->id);
}

static int append_path(sd_bus_message *m, const void *object) {
        _cleanup_free_ char *path = session_path(object);

        return path ? sd_bus_message_append_basic(m, 'o', path) : -ENOMEM;
}

static int append_state(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', session_state_to_string(((const Session *) object)->state));
}

static int append_stop_reason(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', strempty(stop_reason_to_string(((const Session *) object)->stop_reason)));
}

static int append_limits(sd_bus_message *m, const void *object) {
        const Session *s = object;

        return sd_bus_message_append(m, "a{sv}", 4,
                                     "CPUs", "d", s->spec.cpus,
                                     "MemoryBytes", "t", s->spec.memory_bytes,
                                     "CPUsReserved", "d", s->spec.reserved_cpus,
                                     "MemoryReservedBytes", "t", s->spec.reserved_memory_bytes);
}

static int append_snapshot(sd_bus_message *m, const void *object) {
        const Session *s = object;
        const Snapshot *snapshot = s->generation > 0 ? session_find_snapshot(s, s->generation) : NULL;

        return sd_bus_message_append_basic(m, 's', snapshot ? strempty(snapshot->record.image) : "");
}

static int append_current_job(sd_bus_message *m, const void *object) {
        const Job *j = session_current_job(object);
        _cleanup_free_ char *path = j ? job_path(j->id) : strdup("/");

        return path ? sd_bus_message_append_basic(m, 'o', path) : -ENOMEM;
}

static int append_current_image(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', strempty(session_current_image(object)));
}

static int append_jobs(sd_bus_message *m, const void *object) {
        const Session *s = object;
        int r;

        r = sd_bus_message_open_container(m, 'a', "o");
        for (const Job *j = s->jobs; r >= 0 && j; j = j->next) {
                _cleanup_free_ char *path = job_path(j->id);

                r = path ? sd_bus_message_append_basic(m, 'o', path) : -ENOMEM;
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

#define PUBLIC .flags = FIELD_PUBLIC | FIELD_DESCRIBE
#define COLUMN .flags = FIELD_PUBLIC | FIELD_DESCRIBE | FIELD_DEFAULT
#define PRIVATE .flags = FIELD_PRIVATE | FIELD_DESCRIBE
#define FIELD(name, signature, member, flags) BUS_FIELD(name, signature, Session, member, flags)

const BusField session_fields[] = {
        FIELD("Id", "s", id, COLUMN),
        FIELD("Name", "s", name, COLUMN),
        BUS_FIELD_FUNCTION("State", "s", append_state, COLUMN),
        FIELD("StateDetail", "s", state_detail, PUBLIC),
        FIELD("Owner", "u", owner_uid, COLUMN),
        FIELD("Organization", "s", organization, PUBLIC),
        FIELD("Template", "s", template_name, COLUMN),
        FIELD("Image", "s", image, PUBLIC),
        FIELD("Provider", "s", provider_name, COLUMN),
        FIELD("Node", "s", node, COLUMN),
        BUS_FIELD_FUNCTION("Limits", "a{sv}", append_limits, PUBLIC | FIELD_SPEC),
        FIELD("CreatedUSec", "t", created_usec, COLUMN),
        FIELD("StartedUSec", "t", started_usec, PUBLIC),
        FIELD("StoppedUSec", "t", stopped_usec, PUBLIC),
        FIELD("LastActivityUSec", "t", last_activity_usec, PUBLIC),
        BUS_FIELD_FUNCTION("StopReason", "s", append_stop_reason, PUBLIC),
        FIELD("Health", "s", health, PUBLIC),
        FIELD("Generation", "t", generation, PUBLIC),
        BUS_FIELD_FUNCTION("Snapshot", "s", append_snapshot, PUBLIC),
        BUS_FIELD_FUNCTION("CurrentJob", "o", append_current_job, PUBLIC),
        /* Not properties. */
        BUS_FIELD_FUNCTION("Path", "o", append_path, .flags = FIELD_PUBLIC),
        FIELD("EndedUSec", "t", ended_usec, .flags = FIELD_PUBLIC | FIELD_ENDED),
        FIELD("EndReason", "s", state_detail, .flags = FIELD_PUBLIC | FIELD_ENDED),
        FIELD("EndedBy", "u", ended_by_uid, .flags = FIELD_PUBLIC | FIELD_ENDED),
        FIELD("Labels", "a{ss}", spec.labels, PRIVATE | FIELD_SPEC),
        FIELD("Command", "as", spec.command, PRIVATE | FIELD_SPEC),
        FIELD("Environment", "as", spec.env, PRIVATE | FIELD_SPEC),
        FIELD("Routes", "as", spec.routes, PRIVATE | FIELD_SPEC),
        FIELD("BaseImage", "s", base_image, PRIVATE),
        FIELD("Features", "as", spec.features, .flags = FIELD_DESCRIBE),
        FIELD("HealthCheck", "as", spec.healthcheck, .flags = FIELD_DESCRIBE),
        FIELD("IdleTimeoutUSec", "t", spec.idle_timeout_usec, .flags = FIELD_DESCRIBE),
        FIELD("StopGraceUSec", "t", spec.stop_grace_usec, .flags = FIELD_DESCRIBE),
        FIELD("Wanted", "b", wanted, .flags = FIELD_DESCRIBE),
        FIELD("Failures", "u", failures, .flags = FIELD_DESCRIBE),
        FIELD("FromSession", "s", from_session, .flags = FIELD_DESCRIBE),
        FIELD("FromGeneration", "t", from_generation, .flags = FIELD_DESCRIBE),
        FIELD("Container", "s", container, .flags = FIELD_DESCRIBE),
        BUS_FIELD_FUNCTION("CurrentImage", "s", append_current_image, .flags = FIELD_DESCRIBE),
        BUS_FIELD_FUNCTION("Jobs", "ao", append_jobs, .flags = FIELD_DESCRIBE),
        {},
};

/* By id only: a name is no path. */
int session_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_free_ char *id = NULL;
        Session *s;
        int r;

        r = bus_path_decode(path, SWARM_PATH_SESSION, &id);
        if (r <= 0)
                return r;
        s = manager_find_session(f->manager, id);
        if (!s || !streq(s->id, id))
                return 0;
        *ret = s;
        return 1;
}

int session_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_strv_ Strv paths = calloc(HASH_CNT(hh_id, f->manager->sessions_by_id) + 1, sizeof(char *));
        Session *s, *next;
        size_t n = 0;

        if (!paths)
                return -ENOMEM;
        HASH_ITER(hh_id, f->manager->sessions_by_id, s, next)
                if (!(paths[n++] = session_path(s)))
                        return -ENOMEM;
        *ret = TAKE_PTR(paths);
        return 0;
}

static int property_get(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *reterr) {
        return bus_field_append_value(reply, bus_field_find(session_fields, property), userdata);
}

#define VERB(member)                                                                                           \
        SD_BUS_METHOD_WITH_ARGS(member, SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("o", job),    \
                                method_session_verb, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable session_vtable[] = {
        SD_BUS_VTABLE_START(0),
        VERB("Start"),
        VERB("Stop"),
        VERB("Restart"),
        VERB("Hibernate"),
        VERB("Restore"),
        VERB("Snapshot"),
        VERB("Destroy"),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("a{sv}", description),
                                method_session_describe, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("Touch", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_NO_RESULT,
                                method_session_touch, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("s", who, "i", signal, "a{sv}", options, "t", flags), SD_BUS_NO_RESULT,
                                method_session_kill, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSnapshots", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("aa{sv}", snapshots),
                                method_session_list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DeleteSnapshot", SD_BUS_ARGS("t", generation, "a{sv}", options, "t", flags),
                                SD_BUS_RESULT("o", job), method_session_delete_snapshot, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenShell", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("h", pty, "o", job),
                                method_session_open_shell, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("Execute",
                                SD_BUS_ARGS("as", command, "h", stdin, "h", stdout, "h", stderr, "a{sv}", options, "t", flags),
                                SD_BUS_RESULT("o", job), method_session_execute, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("OpenLogs", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("h", output),
                                method_session_open_logs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Name", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateDetail", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Owner", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Organization", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Template", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Image", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Provider", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Node", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Limits", "a{sv}", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("CreatedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StartedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StoppedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastActivityUSec", "t", property_get, 0, 0),
        SD_BUS_PROPERTY("StopReason", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Health", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Generation", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Snapshot", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("CurrentJob", "o", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static const BusChangedProperty changed_properties[] = {
        { "State", CHANGE_STATE },
        { "StateDetail", CHANGE_STATE },
        { "StartedUSec", CHANGE_STATE },
        { "StoppedUSec", CHANGE_STATE },
        { "StopReason", CHANGE_STATE },
        { "Node", CHANGE_PLACE },
        { "Health", CHANGE_HEALTH },
        { "Generation", CHANGE_GENERATION },
        { "Snapshot", CHANGE_GENERATION },
        { "CurrentJob", CHANGE_JOB },
        {},
};

static void announce(void *userdata, const char *path, uint64_t mask) {
        Front *f = userdata;
        const char *signal = mask & CHANGE_REMOVED ? "SessionRemoved" : mask & CHANGE_ADDED ? "SessionNew" : NULL;

        if (signal)
                (void) sd_bus_emit_signal(f->bus, SWARM_PATH, SWARM_INTERFACE_MANAGER, signal, "o", path);
}

const BusChangeClass session_changes = {
        .interface = SWARM_INTERFACE_SESSION,
        .properties = changed_properties,
        .announce = announce,
};
