/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the Swarm provider reads and writes, without a Swarm: states, specs, address ranges. */

#include "engine-script.h"
#include "provider/swarm-internal.h"
#include "provider/swarm-network.h"
#include "provider/swarm-parse.h"
#include "provider/swarm-spec.h"

static json_t *json(const char *text) {
        json_t *o = json_loads(text, 0, NULL);
        assert_non_null(o);
        return o;
}

static void test_states(void **state) {
        for (int i = 0; i < _SWARM_TASK_MAX; i++) {
                assert_non_null(swarm_task_state_to_string(i));
                assert_int_equal(swarm_task_state_from_string(swarm_task_state_to_string(i)), i);
        }
        for (int i = 0; i < _SWARM_STATE_MAX; i++)
                assert_non_null(swarm_state_to_string(i));
        assert_int_equal(swarm_task_state_from_string("dreaming"), -EINVAL);
        assert_null(swarm_task_state_to_string(_SWARM_TASK_MAX));
}

static void test_info(void **state) {
        _cleanup_json_ json_t *o = json("{\"ServerVersion\":\"20.10.24\",\"Driver\":\"overlay2\",\"LiveRestoreEnabled\":true,\"SystemTime\":\"2026-11-21T01:21:35Z\","
                "\"Plugins\":{\"Log\":[\"local\",\"journald\"]},\"Swarm\":{\"NodeID\":\"abc\",\"LocalNodeState\":\"active\",\"ControlAvailable\":true,"
                "\"Cluster\":{\"Spec\":{\"Orchestration\":{\"TaskHistoryRetentionLimit\":0}}}}}"), *none = json("{\"ServerVersion\":\"x\"}"), *bad = json("{}");
        static const struct {
                const char *options;
                bool mapped;
        } security[] = {
                { "\"name=seccomp,profile=builtin\",\"name=cgroupns\"", false }, { "\"name=usernsx\",1", false },
                { "\"name=seccomp\",\"name=userns\"", true }, { "\"name=rootless,x=y\"", true },
        };
        SwarmInfo i;

        for (size_t k = 0; k < ELEMENTSOF(security); k++) {
                _cleanup_free_ char *text = strformat("{\"ServerVersion\":\"x\",\"SecurityOptions\":[%s]}", security[k].options);
                _cleanup_json_ json_t *engine = json(text);
                assert_int_equal(swarm_info_parse(engine, &i), 0);
                assert_int_equal(i.mapped_users, security[k].mapped);
        }
        assert_int_equal(swarm_info_parse(o, &i), 0);
        assert_int_equal(i.state, SWARM_ACTIVE);
        assert_true(i.manager && i.live_restore && i.journald && i.history_off && !i.mapped_users);
        assert_string_equal(i.node, "abc");
        assert_string_equal(i.storage_driver, "overlay2");
        assert_int_equal(swarm_info_parse(none, &i), 0);
        assert_int_equal(i.state, SWARM_INACTIVE);
        assert_false(i.manager || i.live_restore || i.journald || i.history_off);
        assert_int_equal(swarm_info_parse(bad, &i), -EBADMSG);
        assert_int_equal(swarm_info_parse(NULL, &i), -EBADMSG);
}

static void test_task_meaning(void **state) {
        static const struct {
                SwarmTaskState state;
                const char *container, *error;
                TaskState up, down;
        } table[] = {
                { SWARM_TASK_NEW, NULL, NULL, TASK_PENDING, TASK_PENDING },
                { SWARM_TASK_ALLOCATED, NULL, NULL, TASK_PENDING, TASK_PENDING },
                { SWARM_TASK_PENDING, NULL, "no suitable node", TASK_PENDING, TASK_PENDING },
                { SWARM_TASK_ASSIGNED, NULL, NULL, TASK_STARTING, TASK_LOST },
                { SWARM_TASK_PREPARING, NULL, NULL, TASK_STARTING, TASK_LOST },
                { SWARM_TASK_STARTING, "c", NULL, TASK_STARTING, TASK_LOST },
                { SWARM_TASK_RUNNING, "c", NULL, TASK_RUNNING, TASK_LOST },
                { SWARM_TASK_COMPLETE, "c", NULL, TASK_EXITED, TASK_LOST },
                { SWARM_TASK_FAILED, "c", "task: non-zero exit (1)", TASK_EXITED, TASK_LOST },
                { SWARM_TASK_FAILED, "c", "starting container failed: no such program", TASK_FAILED, TASK_FAILED },
                { SWARM_TASK_FAILED, NULL, "node is missing network attachments", TASK_FAILED, TASK_FAILED },
                { SWARM_TASK_SHUTDOWN, "c", NULL, TASK_EXITED, TASK_LOST },
                { SWARM_TASK_REJECTED, NULL, "No such image", TASK_FAILED, TASK_FAILED },
                { SWARM_TASK_ORPHANED, "c", NULL, TASK_LOST, TASK_LOST },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                SwarmTask t = { .state = table[i].state, .container = table[i].container, .error = table[i].error };
                assert_int_equal(swarm_task_meaning(&t, false), table[i].up);
                assert_int_equal(swarm_task_meaning(&t, true), table[i].down);
        }
}

static void test_task(void **state) {
        _cleanup_json_ json_t *o = json("{\"ID\":\"t1\",\"ServiceID\":\"s1\",\"NodeID\":\"n1\",\"CreatedAt\":\"2026-11-21T01:30:16.424813847Z\","
                "\"DesiredState\":\"shutdown\",\"Spec\":{\"ContainerSpec\":{\"Image\":\"i\"}},\"Status\":{\"Timestamp\":\"2026-11-21T01:30:17Z\","
                "\"State\":\"failed\",\"Err\":\"task: non-zero exit (137)\",\"ContainerStatus\":{\"ContainerID\":\"c1\",\"ExitCode\":137}}}"),
                *bad = json("{\"ID\":\"t1\",\"ServiceID\":\"s1\",\"DesiredState\":\"x\",\"Status\":{\"State\":\"failed\"}}");
        SwarmTask t, running = { .desired = SWARM_TASK_RUNNING, .created_usec = 1 }, removed = { .desired = SWARM_TASK_REMOVE, .created_usec = UINT64_MAX };

        assert_int_equal(swarm_task_parse(o, &t), 0);
        assert_int_equal(t.exit_code, 137);
        assert_string_equal(t.container, "c1");
        assert_int_equal(t.created_usec, UINT64_C(1795224616424813));
        assert_int_equal(swarm_task_parse(bad, &t), -EBADMSG);
        /* what shall run, then what has ended, then what is being removed; the younger of equals */
        assert_true(swarm_task_is_better(&t, NULL));
        assert_true(swarm_task_is_better(&running, &t));
        assert_false(swarm_task_is_better(&t, &running));
        assert_true(swarm_task_is_better(&t, &removed));
        SwarmTask younger = t;
        younger.created_usec++;
        assert_true(swarm_task_is_better(&younger, &t));
        assert_false(swarm_task_is_better(&t, &younger));
}

static void test_slot(void **state) {
        const SwarmTask of_last_run = { .state = SWARM_TASK_COMPLETE, .desired = SWARM_TASK_SHUTDOWN, .force_update = 3 },
                removed = { .state = SWARM_TASK_COMPLETE, .desired = SWARM_TASK_REMOVE, .force_update = 3 },
                history = { .state = SWARM_TASK_COMPLETE, .desired = SWARM_TASK_SHUTDOWN, .force_update = 2 },
                going_history = { .state = SWARM_TASK_COMPLETE, .desired = SWARM_TASK_REMOVE, .force_update = 2 };
        _cleanup_json_ json_t *task = json("{\"ID\":\"t\",\"ServiceID\":\"s\",\"DesiredState\":\"shutdown\",\"Status\":{\"State\":\"complete\"},"
                "\"Spec\":{\"ForceUpdate\":3}}"),
                *service = json("{\"ID\":\"s\",\"Spec\":{\"Name\":\"web\",\"TaskTemplate\":{\"ForceUpdate\":3}}}");
        SwarmService s;
        SwarmTask t;

        /* a Swarm that has just begun to lead has not looked at it yet */
        assert_true(swarm_task_keeps_slot(&of_last_run, 3));
        assert_true(swarm_task_keeps_slot(&removed, 3));
        assert_true(swarm_task_keeps_slot(&going_history, 3));
        assert_false(swarm_task_keeps_slot(&history, 3));
        assert_int_equal(swarm_task_parse(task, &t), 0);
        assert_int_equal(t.force_update, 3);
        assert_int_equal(swarm_service_parse(service, &s), 0);
        assert_int_equal(s.force_update, 3);
}

static void test_others(void **state) {
        _cleanup_json_ json_t *service = json("{\"ID\":\"s1\",\"Version\":{\"Index\":13},\"Spec\":{\"Name\":\"web\",\"Labels\":{\"swarm.session\":\"abc\","
                "\"swarm.generation\":\"7\",\"swarm.record\":\"{}\"},\"TaskTemplate\":{\"ContainerSpec\":{\"Image\":\"i\"}},\"Mode\":{\"Replicated\":{\"Replicas\":1}}}}"),
                *node = json("{\"ID\":\"n1\",\"Spec\":{\"Role\":\"manager\",\"Availability\":\"drain\"},\"Description\":{\"Hostname\":\"h\",\"Resources\":"
                             "{\"NanoCPUs\":2000000000,\"MemoryBytes\":5}},\"Status\":{\"State\":\"down\",\"Addr\":\"10.99.0.1\"}}"),
                *container = json("{\"Id\":\"c1\",\"State\":\"paused\",\"Status\":\"Up 3 minutes (unhealthy) (Paused)\",\"Labels\":{\"swarm.session\":\"abc\"}}"),
                *exited = json("{\"Id\":\"c1\",\"State\":\"exited\",\"Status\":\"Exited (143) 2 seconds ago\"}"),
                *of_task = json("{\"Id\":\"c1\",\"Names\":[\"/web.1.t1\"],\"Labels\":{\"com.docker.swarm.task.name\":\"web.1.t1\"}}"),
                *of_commit = json("{\"Id\":\"c2\",\"Names\":[\"/mine\"],\"Labels\":{\"com.docker.swarm.task.name\":\"web.1.t1\"}}"),
                *event = json("{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"c1\",\"Attributes\":{\"com.docker.swarm.service.id\":\"s1\",\"swarm.session\":\"abc\"}}}"),
                *other = json("{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"v\"}}");
        SwarmService s;
        ProviderNode n;
        SwarmContainer c;
        SwarmEvent e;

        assert_int_equal(swarm_service_parse(service, &s), 0);
        assert_int_equal(s.generation, 7);
        assert_int_equal(s.version, 13);
        assert_int_equal(s.replicas, 1);
        assert_string_equal(s.session, "abc");
        assert_int_equal(swarm_node_parse(node, &n), 0);
        assert_string_equal(n.state, "down");
        assert_string_equal(n.availability, "drain");
        assert_int_equal(n.nano_cpus, UINT64_C(2000000000));
        assert_int_equal(swarm_container_parse(container, &c), 0);
        assert_true(c.frozen);
        assert_string_equal(c.health, "unhealthy");
        assert_false(c.ended);
        assert_int_equal(swarm_container_parse(exited, &c), 0);
        assert_true(c.ended);
        assert_int_equal(c.exit_code, 143);
        assert_false(c.of_task);
        assert_int_equal(swarm_container_parse(of_task, &c), 0);
        assert_true(c.of_task);
        assert_int_equal(swarm_container_parse(of_commit, &c), 0);
        assert_false(c.of_task);
        assert_int_equal(swarm_event_parse(event, &e), 0);
        assert_int_equal(e.type, SWARM_EVENT_CONTAINER);
        assert_string_equal(e.session, "abc");
        assert_int_equal(swarm_event_parse(other, &e), -EBADMSG);
}

typedef struct Seen {
        TaskState task;
        int exit_code;
        unsigned n;
} Seen;

static void see(Provider *p, const ProviderObservation *o, void *userdata) {
        Seen *seen = userdata;

        *seen = (Seen) { .task = o->task, .exit_code = o->exit_code, .n = seen->n + 1 };
}

/* But for a Swarm that is seen anew. */
static void assert_older_says_nothing(Swarm *s, const SwarmService *service) {
        SwarmService newer = *service, older = *service;
        SwarmSession *ss;

        newer.version = 1000;
        older.generation = 7;
        assert_int_equal(swarm_session_update(s, &newer, &ss), 0);
        assert_int_equal(swarm_session_update(s, &older, &ss), 0);
        assert_int_equal(ss->generation, 0);
        swarm_list(s);
        assert_int_equal(swarm_session_update(s, &older, &ss), 0);
        assert_int_equal(ss->generation, 7);
}

/* What the Engine says of a container counts more than what its task says until Swarm has heard of it. */
static void test_ended(void **state) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "i", .version = 1, .replicas = 1 };
        SwarmTask t = {
                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .image = "i",
                .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING, .created_usec = 5,
        };
        SwarmSession *ss;
        Http *http;
        Provider *p;
        Seen seen = {};

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_new(event, &http), 0);
        assert_int_equal(swarm_provider_new(event, http, &(const SwarmConfig) {
                .engine_socket = "/nonexistent", .network = "n", .default_organization = "default", .subnet = "10.128.0.0/16", .log_driver = "auto",
        }, &p), 0);
        swarm_of(p)->observer = (ProviderObserver) { .on_session = see, .userdata = &seen };
        swarm_of(p)->listed = true;
        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);

#define SHOWS(expected, code)                                           \
        do {                                                            \
                assert_true(swarm_session_report(ss));                  \
                assert_int_equal(seen.task, expected);                  \
                assert_int_equal(seen.exit_code, code);                 \
        } while (0)
        swarm_session_set_task(ss, &t);
        SHOWS(TASK_RUNNING, 0);
        swarm_session_set_ended(ss, "another", 1);
        SHOWS(TASK_RUNNING, 0);
        swarm_session_set_ended(ss, "c1", 143);
        SHOWS(TASK_EXITED, 143);
        unsigned n = seen.n;
        swarm_session_set_task(ss, &t);
        SHOWS(TASK_EXITED, 143);
        assert_int_equal(seen.n, n);
        t.state = SWARM_TASK_FAILED;
        t.desired = SWARM_TASK_SHUTDOWN;
        t.exit_code = 143;
        swarm_session_set_task(ss, &t);
        SHOWS(TASK_EXITED, 143);
        /* The next one is another. */
        t = (SwarmTask) {
                .id = "t2", .service = "s1", .node = "n1", .container = "c2", .image = "i",
                .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING, .created_usec = 6,
        };
        swarm_session_set_task(ss, &t);
        SHOWS(TASK_RUNNING, 0);
#undef SHOWS
        assert_older_says_nothing(swarm_of(p), &service);
        provider_free(p);
        http_free(http);
}

/* A start after Swarm's clock was set back: what ended then is what was started last, not history, and has unsaved files. */
static void test_clock_set_back(void **state) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "i", .version = 1, .replicas = 1 };
        SwarmTask first = {
                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .image = "i",
                .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING, .created_usec = 1000, .force_update = 4,
        };
        SwarmTask second = first;
        SwarmSession *ss;
        Http *http;
        Provider *p;

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_new(event, &http), 0);
        assert_int_equal(swarm_provider_new(event, http, &(const SwarmConfig) {
                .engine_socket = "/nonexistent", .network = "n", .default_organization = "default", .subnet = "10.128.0.0/16", .log_driver = "auto",
        }, &p), 0);
        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);
        swarm_session_set_task(ss, &first);
        service.version++;
        service.replicas = 0;
        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);
        service.version++;
        service.replicas = 1;
        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);
        /* until Swarm has made the next one */
        first.state = SWARM_TASK_COMPLETE;
        first.desired = SWARM_TASK_SHUTDOWN;
        swarm_session_set_task(ss, &first);
        assert_int_equal(ss->task, TASK_PENDING);
        second.id = "t2";
        second.container = "c2";
        second.created_usec = 10;
        second.force_update = 5;
        swarm_session_set_task(ss, &second);
        assert_int_equal(ss->task, TASK_RUNNING);
        second.state = SWARM_TASK_FAILED;
        second.desired = SWARM_TASK_SHUTDOWN;
        second.exit_code = 3;
        swarm_session_set_task(ss, &second);
        assert_int_equal(ss->task, TASK_EXITED);
        assert_int_equal(ss->exit_code, 3);
        assert_string_equal(ss->container, "c2");
        provider_free(p);
        http_free(http);
}

/* A service with the labels of a session's is not the session, whichever of them is seen first. */
static void test_two_services(void **state) {
        static const struct {
                const char *id, *name, *record;
        } own = { "s1", "web", "{\\\"name\\\":\\\"web\\\"}" }, others[] = {
                { "s2", "copy", "{\\\"name\\\":\\\"web\\\"}" }, { "s2", "bare", "" }, { "s2", "odd", "[" },
        };
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        Http *http;

        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_new(event, &http), 0);
        for (size_t i = 0; i < 2 * ELEMENTSOF(others); i++) {
                Provider *p;

                assert_int_equal(swarm_provider_new(event, http, &(const SwarmConfig) {
                        .engine_socket = "/nonexistent", .network = "n", .default_organization = "default", .subnet = "10.128.0.0/16", .log_driver = "auto",
                }, &p), 0);
                for (size_t k = 0; k < 3; k++) {
                        const typeof(own) *from = (k + i) % 2 ? &others[i / 2] : &own;
                        _cleanup_free_ char *text = strformat("{\"ID\":\"%s\",\"Version\":{\"Index\":1},\"Spec\":{\"Name\":\"%s\",\"Labels\":"
                                                              "{\"swarm.session\":\"abc\",\"swarm.record\":\"%s\"}}}", from->id, from->name, from->record);
                        _cleanup_json_ json_t *o = json(text);
                        SwarmService service;
                        SwarmSession *ss;

                        assert_int_equal(swarm_service_parse(o, &service), 0);
                        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);
                        /* A record that names another service: also when that is not there, it is none. */
                        if (streq(from->name, "copy") && k == 0)
                                assert_null(swarm_session_find(swarm_of(p), "abc"));
                        if (k > 0)
                                assert_string_equal(swarm_session_find(swarm_of(p), "abc")->service, "s1");
                }
                assert_non_null(swarm_session_find_service(swarm_of(p), "s1"));
                assert_null(swarm_session_find_service(swarm_of(p), "s2"));
                provider_free(p);
        }
        http_free(http);
}

static void note_removed(void *userdata, int r, const Refusal *refusal) {
        assert_int_equal(r, 0);
        *(bool *) userdata = true;
}

static void expect_none(Provider *p, const ProviderObservation *o, void *userdata) {
        assert_false(o->exists);
}

static void ignore_list(Provider *p, void *userdata) {
}

/* Who has removed a session does not hear of it any more, not even in a list that was begun before. */
static void test_removed(void **state) {
        static const Exchange script[] = {
                PING("1.44"), { "DELETE /v1.44/services/s1", "200 OK", NULL, NULL }, { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json", "200 OK", NULL, "[]" },
        };
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "i", .version = 1 };
        EngineScript server = {};
        ProviderCall *call;
        SwarmSession *ss;
        bool removed = false;
        Http *http;
        Provider *p;

        engine_script_open(&server);
        engine_script_serve(&server, script, ELEMENTSOF(script));
        assert_int_equal(sd_event_new(&event), 0);
        assert_int_equal(http_new(event, &http), 0);
        assert_int_equal(swarm_provider_new(event, http, &(const SwarmConfig) {
                .engine_socket = server.socket, .network = "n", .default_organization = "default", .subnet = "10.128.0.0/16", .log_driver = "auto",
        }, &p), 0);
        swarm_of(p)->observer = (ProviderObserver) { .on_list_begin = ignore_list, .on_session = expect_none, .on_list_end = ignore_list };
        swarm_of(p)->listed = true;
        assert_int_equal(swarm_session_update(swarm_of(p), &service, &ss), 0);
        assert_int_equal(p->vtable->remove(p, "abc", note_removed, &removed, &call), 0);
        while (!removed)
                assert_true(sd_event_run(event, 10 * USEC_PER_SEC) > 0);
        assert_true(swarm_sessions_report(swarm_of(p)));
        provider_free(p);
        http_free(http);
        engine_script_close(&server);
        assert_false(server.wrong);
}

static const ProviderSpec spec = {
        .session = "abc",
        .name = "web",
        .image = "h/r@sha256:1",
        .generation = 3,
        .command = (char *const[]) { (char *) "a", (char *) "b c", NULL },
        .env = (char *const[]) { (char *) "K=V", NULL },
        .labels = (char *const[]) { (char *) "mine=x=y", (char *) "empty", (char *) "swarm.session=forged", NULL },
        .record = "{\"r\":1}",
        .nano_cpus = 1500000000,
        .memory_bytes = 4 * GIB,
        .reserved_memory_bytes = 512 * MIB,
        .stop_grace_usec = 10 * USEC_PER_SEC,
        .healthcheck = (char *const[]) { (char *) "CMD-SHELL", (char *) "true", NULL },
        .healthcheck_interval_usec = 30 * USEC_PER_SEC,
};

static void test_build(void **state) {
        _cleanup_json_ json_t *s = NULL;
        const json_t *task, *container;

        assert_int_equal(swarm_spec_build(&spec, "journald", &s), 0);
        task = json_at(s, "TaskTemplate");
        container = json_at(task, "ContainerSpec");
        assert_string_equal(json_string_at(s, "Name"), "web");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_SESSION), "abc");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_GENERATION), "3");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_RECORD), "{\"r\":1}");
        assert_string_equal(json_string_at(s, "EndpointSpec", "Mode"), "dnsrr");
        assert_int_equal(json_integer_at(s, "Mode", "Replicated", "Replicas"), 1);
        assert_string_equal(json_string_at(task, "RestartPolicy", "Condition"), "none");
        assert_string_equal(json_string_at(task, "LogDriver", "Name"), "journald");
        assert_string_equal(json_string_at(task, "LogDriver", "Options", "labels"), "swarm.session");
        assert_int_equal(json_integer_at(task, "Resources", "Limits", "NanoCPUs"), 1500000000);
        assert_int_equal(json_integer_at(task, "Resources", "Limits", "MemoryBytes"), 4 * GIB);
        assert_int_equal(json_integer_at(task, "Resources", "Limits", "Pids"), SWARM_PIDS_MAX);
        assert_int_equal(json_integer_at(task, "Resources", "Reservations", "MemoryBytes"), 512 * MIB);
        assert_string_equal(json_string_at(container, "Labels", "mine"), "x=y");
        assert_string_equal(json_string_at(container, "Labels", "empty"), "");
        assert_string_equal(json_string_at(container, "Labels", PROVIDER_LABEL_SESSION), "abc");
        assert_null(json_at(container, "Labels", PROVIDER_LABEL_RECORD));
        assert_string_equal(json_string_value(json_array_get(json_at(container, "Args"), 1)), "b c");
        assert_null(json_at(container, "Command"));
        assert_int_equal(json_integer_at(container, "StopGracePeriod"), INT64_C(10000000000));
        assert_int_equal(json_integer_at(container, "Healthcheck", "Interval"), INT64_C(30000000000));
        assert_int_equal(json_integer_at(container, "Healthcheck", "Retries"), 3);
}

/* Whoever gives a service the label of another session, or takes it away, has not changed whose files are in its container. */
static void test_relabeled(void **state) {
        _cleanup_json_ json_t *s = NULL, *o = NULL;
        SwarmService service;

        assert_int_equal(swarm_spec_build(&spec, "journald", &s), 0);
        o = json_pack("{s:s,s:O}", "ID", "s1", "Spec", s);
        assert_int_equal(swarm_service_parse(o, &service), 0);
        assert_true(service.labeled);
        for (unsigned i = 0; i < 2; i++) {
                json_t *labels = json_at(s, "Labels");
                if (i == 0)
                        assert_int_equal(json_object_set_new(labels, PROVIDER_LABEL_SESSION, json_string("other")), 0);
                else
                        assert_int_equal(json_object_del(labels, PROVIDER_LABEL_SESSION), 0);
                assert_int_equal(swarm_service_parse(o, &service), 0);
                assert_string_equal(service.session, "abc");
                assert_false(service.labeled);
                assert_int_equal(swarm_spec_rest(s, "h/r@sha256:2", 4, "{\"r\":2}"), 0);
                assert_int_equal(swarm_service_parse(o, &service), 0);
                assert_true(service.labeled);
        }
}

/* Of several tasks the session's is the one that was there before, not the youngest: that has none of its files. */
static void test_scaled(void **state) {
        const SwarmTask first = { .id = "t1", .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING, .created_usec = 10 },
                        second = { .id = "t2", .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING, .created_usec = 20 };
        SwarmTask ended = first;
        SwarmSession ss = { .replicas = 2 };

        ended.state = SWARM_TASK_COMPLETE;
        ended.desired = SWARM_TASK_SHUTDOWN;
        assert_true(swarm_session_task_is_better(&ss, &first, NULL));
        assert_true(swarm_session_task_is_better(&ss, &first, &second));
        assert_false(swarm_session_task_is_better(&ss, &second, &first));
        assert_true(swarm_session_task_is_better(&ss, &second, &ended));
        ss.task_id = (char *) "t1";
        assert_false(swarm_session_task_is_better(&ss, &second, &ended));
        ss.task_id = (char *) "t2";
        assert_true(swarm_session_task_is_better(&ss, &second, &first));
        ended.desired = SWARM_TASK_REMOVE;
        ss.task_id = (char *) "t1";
        assert_false(swarm_session_task_is_better(&ss, &ended, &second));
        ss.replicas = 1;
        assert_true(swarm_session_task_is_better(&ss, &second, &first));
}

static void test_place_and_update(void **state) {
        _cleanup_json_ json_t *s = NULL,
                *old = json("{\"Name\":\"web\",\"Labels\":{\"theirs\":\"1\",\"swarm.generation\":\"2\"},\"TaskTemplate\":{\"ForceUpdate\":41},\"UpdateConfig\":{\"Parallelism\":1}}");
        char *avoid[] = { (char *) "n2", (char *) "n3", NULL };
        const json_t *constraints;

        assert_int_equal(swarm_spec_build(&spec, "local", &s), 0);
        assert_int_equal(swarm_spec_place(s, "net1", NULL, avoid), 0);
        constraints = json_at(s, "TaskTemplate", "Placement", "Constraints");
        assert_int_equal(json_array_size(constraints), 2);
        assert_string_equal(json_string_value(json_array_get(constraints, 1)), "node.id!=n3");
        assert_int_equal(swarm_spec_place(s, "net1", "n2", avoid), 0);
        constraints = json_at(s, "TaskTemplate", "Placement", "Constraints");
        assert_int_equal(json_array_size(constraints), 1);
        assert_string_equal(json_string_value(json_array_get(constraints, 0)), "node.id==n2");
        assert_string_equal(json_string_at(json_array_get(json_at(s, "TaskTemplate", "Networks"), 0), "Target"), "net1");

        assert_int_equal(swarm_spec_update(s, old), 0);
        assert_int_equal(json_integer_at(s, "TaskTemplate", "ForceUpdate"), 42);
        assert_string_equal(json_string_at(s, "Labels", "theirs"), "1");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_GENERATION), "3");
        assert_int_equal(json_integer_at(s, "UpdateConfig", "Parallelism"), 1);

        assert_int_equal(swarm_spec_rest(s, "h/r@sha256:2", 4, "{\"r\":2}"), 0);
        assert_int_equal(json_integer_at(s, "Mode", "Replicated", "Replicas"), 0);
        assert_string_equal(json_string_at(s, "TaskTemplate", "ContainerSpec", "Image"), "h/r@sha256:2");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_GENERATION), "4");
        assert_string_equal(json_string_at(s, "Labels", PROVIDER_LABEL_RECORD), "{\"r\":2}");
        assert_string_equal(json_string_at(s, "Labels", "theirs"), "1");
}

static void test_prefixes(void **state) {
        static const char *const bad[] = { "", "10.0.0.0", "10.0.0.0/", "10.0.0.0/0", "10.0.0.0/33", "10.0.0/8", "1.2.3.4.5/8", "fd00::/8", "a/8", "10.0.0.0/8x" };
        char buf[PREFIX_STRING_MAX];
        Prefix a, b;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(prefix_parse(bad[i], &a), -EINVAL);
        assert_int_equal(prefix_parse(NULL, &a), -EINVAL);
        assert_int_equal(prefix_parse("10.128.3.4/16", &a), 0);
        assert_string_equal(prefix_format(&a, buf), "10.128.0.0/16");
        assert_int_equal(prefix_parse("10.128.255.255/32", &b), 0);
        assert_true(prefix_overlaps(&a, &b));
        assert_int_equal(prefix_next(&a, &b), 0);
        assert_string_equal(prefix_format(&b, buf), "10.129.0.0/16");
        assert_false(prefix_overlaps(&a, &b));
        assert_int_equal(prefix_parse("255.255.0.0/16", &a), 0);
        assert_int_equal(prefix_next(&a, &b), -ERANGE);
}

static void test_conflicts(void **state) {
        static const char routes[] =
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                "eth0\t00000000\t0163630A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                "eth0\t0063630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                "tun0\t0004800A\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0\n";
        _cleanup_json_ json_t *networks = json("[{\"Name\":\"x\",\"IPAM\":{\"Config\":[{\"Subnet\":\"172.17.0.0/16\"},{\"Subnet\":\"fd00::/8\"}]}},"
                                               "{\"Name\":\"n\",\"IPAM\":{\"Config\":null}},{}]");
        _cleanup_refusal_ Refusal *refusal = NULL;
        Prefix p;

        assert_int_equal(prefix_parse("10.129.0.0/16", &p), 0);
        assert_int_equal(prefix_check(&p, routes, networks, &refusal), 0);
        assert_int_equal(prefix_parse("10.128.0.0/16", &p), 0);
        assert_int_equal(prefix_check(&p, routes, networks, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_NETWORK_CONFLICT);
        assert_non_null(strstr(refusal->message, "10.128.4.0/22 by interface tun0"));
        assert_int_equal(prefix_parse("172.16.0.0/12", &p), 0);
        assert_int_equal(prefix_check(&p, routes, networks, &refusal), -EBADRQC);
        assert_non_null(strstr(refusal->message, "network x"));
        assert_int_equal(prefix_check(&p, NULL, NULL, NULL), 0);
        assert_int_equal(prefix_check(&p, "garbage\n\n\xff\n", NULL, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_states), cmocka_unit_test(test_info), cmocka_unit_test(test_task_meaning), cmocka_unit_test(test_task),
                cmocka_unit_test(test_two_services),
                cmocka_unit_test(test_slot), cmocka_unit_test(test_others), cmocka_unit_test(test_ended), cmocka_unit_test(test_clock_set_back),
                cmocka_unit_test(test_removed), cmocka_unit_test(test_relabeled), cmocka_unit_test(test_scaled), cmocka_unit_test(test_build), cmocka_unit_test(test_place_and_update),
                cmocka_unit_test(test_prefixes), cmocka_unit_test(test_conflicts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
