/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.swarm.Orchestrator.Manager: its vtable, and the methods that are about the whole. */

#include "front/front-internal.h"

static int method_get_session(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_free_ char *path = NULL;
        Session *s;
        int r;

        r = front_read_session(front_of(m), m, &s, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        path = session_path(s);
        return path ? sd_bus_reply_method_return(m, "o", path) : -ENOMEM;
}

static int method_get_job(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_free_ char *path = NULL;
        uint64_t id;
        Job *j;
        int r;

        r = sd_bus_message_read_basic(m, 't', &id);
        if (r >= 0)
                r = manager_get_job(front_of(m)->manager, id, &j, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        path = job_path(j->id);
        return path ? sd_bus_reply_method_return(m, "o", path) : -ENOMEM;
}

static int append_by_state(sd_bus_message *m, const ManagerTotals *totals) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', "SessionsByState");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a{su}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{su}");
        for (SessionState s = 0; r >= 0 && s < _SESSION_STATE_MAX; s++)
                if (totals->by_state[s] > 0)
                        r = sd_bus_message_append(m, "{su}", session_state_to_string(s), totals->by_state[s]);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_providers(sd_bus_message *m, const Manager *manager) {
        int r;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', "Providers");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "aa{sv}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "a{sv}");
        for (const ProviderEntry *e = manager->providers; r >= 0 && e; e = e->hh.next)
                r = sd_bus_message_append(m, "a{sv}", 3, "Name", "s", e->name, "Health", "s", provider_health_to_string(e->health),
                                          "Detail", "s", provider_detail(e));
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_totals(sd_bus_message *m, const Manager *manager) {
        ManagerTotals t;
        uint32_t ready = 0;

        manager_totals(manager, &t);
        for (const Node *n = manager->nodes; n; n = n->hh.next)
                ready += streq_ptr(n->state, "ready");

        int r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}",
                                      "Version", "s", PROJECT_VERSION,
                                      "Sessions", "u", t.sessions,
                                      "SessionsMax", "u", manager->config->sessions_max,
                                      "JobsRunning", "u", t.jobs_running,
                                      "CPUsUsed", "d", t.cpus_used,
                                      "CPUsTotal", "d", t.cpus_total,
                                      "MemoryUsedBytes", "t", t.memory_used_bytes,
                                      "MemoryTotalBytes", "t", t.memory_total_bytes,
                                      "StorageUsedBytes", "t", t.storage_used_bytes,
                                      "Nodes", "u", (uint32_t) HASH_COUNT(manager->nodes),
                                      "NodesReady", "u", ready,
                                      "StoreHealthy", "b", (int) manager->store_healthy,
                                      "DefaultOrganization", "s", strempty(manager->config->default_organization));
        return r < 0 ? r : append_by_state(m, &t);
}

static int method_get_status(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const Manager *manager = front_of(m)->manager;
        int r;

        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = append_totals(reply, manager);
        if (r >= 0)
                r = append_providers(reply, manager);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_strv_ Strv warnings = NULL;
        Front *f = front_of(m);
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_admit(f, m, uid, SWARM_ACTION_ADMIN_NODES, "reload", &NO_SUBJECT, reterr);
        if (r <= 0)
                return front_parked(r);
        r = f->hooks.reload(f->hooks.userdata, &warnings);
        if (r < 0)
                return front_refused(uid, "reload", &NO_SUBJECT, r, NULL, reterr);
        STRV_FOREACH(w, warnings)       /* a value that was cut may end within a character, a file be named in any bytes */
                utf8_repair(*w);
        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, warnings);
        if (r < 0)
                return r;
        /* Nothing of it is kept in the state, so it does not wait for a disk that may be full. */
        log_event(LOG_INFO, MESSAGE_REQUEST_ACCEPTED, LOG_FIELDS(.actor_uid = uid), "uid %u asked to reload the configuration.", uid);
        return sd_bus_send(NULL, reply, NULL);
}

static int property_get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                                sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append_basic(reply, 's', PROJECT_VERSION);
}

#define VERB(member)                                                                                            \
        SD_BUS_METHOD_WITH_ARGS(member, SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags),               \
                                SD_BUS_RESULT("o", job), method_session_verb, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("CreateSession", SD_BUS_ARGS("s", name, "a{sv}", options, "t", flags), SD_BUS_RESULT("o", session, "o", job),
                                method_create_session, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("GetSession", SD_BUS_ARGS("s", session), SD_BUS_RESULT("o", path),
                                method_get_session, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSessions", SD_BUS_ARGS("a{sv}", filter, "t", flags), SD_BUS_RESULT("aa{sv}", sessions, "s", next),
                                method_list_sessions, SD_BUS_VTABLE_UNPRIVILEGED),
        VERB("StartSession"),
        VERB("StopSession"),
        VERB("RestartSession"),
        VERB("HibernateSession"),
        VERB("RestoreSession"),
        VERB("SnapshotSession"),
        VERB("DestroySession"),
        SD_BUS_METHOD_WITH_ARGS("DescribeSession", SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags), SD_BUS_RESULT("a{sv}", description),
                                method_session_describe, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("TouchSession", SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags), SD_BUS_NO_RESULT,
                                method_session_touch, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("KillSession", SD_BUS_ARGS("s", session, "s", who, "i", signal, "a{sv}", options, "t", flags), SD_BUS_NO_RESULT,
                                method_session_kill, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSnapshots", SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags), SD_BUS_RESULT("aa{sv}", snapshots),
                                method_session_list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DeleteSnapshot", SD_BUS_ARGS("s", session, "t", generation, "a{sv}", options, "t", flags), SD_BUS_RESULT("o", job),
                                method_session_delete_snapshot, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenSessionShell", SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags), SD_BUS_RESULT("h", pty, "o", job),
                                method_session_open_shell, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("ExecuteInSession",
                                SD_BUS_ARGS("s", session, "as", command, "h", stdin, "h", stdout, "h", stderr, "a{sv}", options, "t", flags),
                                SD_BUS_RESULT("o", job), method_session_execute, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),
        SD_BUS_METHOD_WITH_ARGS("OpenSessionLogs", SD_BUS_ARGS("s", session, "a{sv}", options, "t", flags), SD_BUS_RESULT("h", output),
                                method_session_open_logs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListNodes", SD_BUS_ARGS("a{sv}", filter, "t", flags), SD_BUS_RESULT("aa{sv}", nodes),
                                method_list_nodes, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListTemplates", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("aa{sv}", templates),
                                method_list_templates, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetTemplate", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a{sv}", template),
                                method_get_template, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListProviders", SD_BUS_ARGS("a{sv}", options, "t", flags), SD_BUS_RESULT("aa{sv}", providers),
                                method_list_providers, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_ARGS("a{sv}", filter, "t", flags), SD_BUS_RESULT("aa{sv}", jobs, "s", next),
                                method_list_jobs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetJob", SD_BUS_ARGS("t", id), SD_BUS_RESULT("o", job),
                                method_get_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CancelJob", SD_BUS_ARGS("t", id, "t", flags), SD_BUS_NO_RESULT,
                                method_cancel_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStatus", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", status),
                                method_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("as", warnings),
                                method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("SessionNew", SD_BUS_ARGS("o", session), 0),
        SD_BUS_SIGNAL_WITH_ARGS("SessionRemoved", SD_BUS_ARGS("o", session), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("o", job), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("o", job, "s", result), 0),
        SD_BUS_PROPERTY("Version", "s", property_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};
