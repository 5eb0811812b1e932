/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the Swarm provider asks of an Engine for a call, and what it makes of answers that are lost, late or of no use. */

#include <fcntl.h>

#include "swarm-fixture.h"

/* The update is in force and Swarm has made no task of it yet. Another one would end the container that is about to begin, with
 * what it has written by then. */
static void test_answer_to_run_lost(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "0", "4") },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "0", "4") },
                { "POST /v1.44/services/s1/update?version=7", NULL, NULL, NULL },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("8", "1", "5") },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        start(&w, w.p->vtable->run);
        world_close(&w);
}

static void test_answer_to_create_lost(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "POST /v1.44/services/create", NULL, NULL, NULL },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "0") },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        start(&w, w.p->vtable->create);
        world_close(&w);
}

/* The same where its last task had failed, which Swarm may list on. */
static void test_answer_to_another_run_lost(void **state) {
#define FAILED "[{\"ID\":\"t1\",\"ServiceID\":\"s1\",\"DesiredState\":\"shutdown\",\"Status\":{\"State\":\"rejected\"},\"Spec\":{\"ForceUpdate\":4}}]"
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "GET /v1.44/tasks", "200 OK", NULL, FAILED },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "POST /v1.44/services/s1/update?version=7", "500 Oops", NULL, "{\"message\":\"rpc error: update out of sequence\"}" },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("8", "1", "5") },
                { "GET /v1.44/tasks", "200 OK", NULL, FAILED },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        start(&w, w.p->vtable->run);
        world_close(&w);
}

/* Somebody else's change is no start. */
static void test_conflict_with_another(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "GET /v1.44/tasks", "200 OK", NULL, FAILED },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "POST /v1.44/services/s1/update?version=7", "500 Oops", NULL, "{\"message\":\"rpc error: update out of sequence\"}" },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("8", "1", "4") },
                { "POST /v1.44/services/s1/update?version=8", "200 OK", NULL, "{}" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        start(&w, w.p->vtable->run);
        world_close(&w);
}

/* The service was removed by somebody else, and the session's name is how the id of another service begins: the Engine tells of
 * that one instead, and of several that it cannot tell which one is meant. */
static void test_name_like_an_id(void **state) {
#define ANOTHER "{\"ID\":\"webx1\",\"Version\":{\"Index\":9},\"Spec\":{\"Name\":\"shop\",\"Labels\":{\"swarm.session\":\"xyz\"}}}"
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, ANOTHER },
                { "POST /v1.44/services/create", "200 OK", NULL, "{\"ID\":\"s1\"}" },
        }, of_several[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "400 Bad Request", NULL, "{\"message\":\"service web is ambiguous (2 matches found)\"}" },
                { "POST /v1.44/services/create", "200 OK", NULL, "{\"ID\":\"s1\"}" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        start(&w, w.p->vtable->run);
        world_close(&w);
        world_open(&w, of_several, ELEMENTSOF(of_several));
        start(&w, w.p->vtable->run);
        world_close(&w);
}

/* A creation that a crash cut off: the list has shown that its container has ended, and its task does not say so yet. Told as
 * started, nothing would be heard of that end any more, and its files would go when the start has taken too long. */
static void test_ended_before_it_is_asked_for(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "POST /v1.44/services/create", "409 Conflict", NULL, "{\"message\":\"name conflicts with an existing object\"}" },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "0") },
                { "GET /v1.44/tasks", "200 OK", NULL, "[{\"ID\":\"t1\",\"ServiceID\":\"s1\",\"NodeID\":\"n1\",\"DesiredState\":\"running\",\"Status\":"
                  "{\"State\":\"running\",\"ContainerStatus\":{\"ContainerID\":\"c1\"}},\"Spec\":{\"ContainerSpec\":{\"Image\":\"h/r@sha256:1\"}}}]" },
        };
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "h/r@sha256:1", .version = 7, .replicas = 1 };
        SwarmSession *ss;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        assert_int_equal(swarm_session_update(swarm_of(w.p), &service, &ss), 0);
        swarm_session_set_task(ss, &(const SwarmTask) {
                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .image = "h/r@sha256:1",
                .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING,
        });
        swarm_session_set_ended(ss, "c1", 0);
        assert_int_equal(ss->task, TASK_EXITED);
        ask_to_start(&w, w.p->vtable->create);
        assert_int_equal(w.result, -EBADRQC);
        world_close(&w);
}

/* What comes first where no list has named the session yet, and it has no container. */
#define LOCATED \
        PING("1.44"), { "GET /v1.44/services?filters=", "200 OK", NULL, "[" SERVICE("7", "1", "4") "]" }, \
        { "GET /v1.44/tasks", "200 OK", NULL, "[]" }

static int lay_to_rest(World *w) {
        static const ProviderRest rest = { .session = "abc", .image = "h/r@sha256:2", .generation = 1, .record = "{}" };
        ProviderCall *call;

        assert_int_equal(w->p->vtable->discard(w->p, &rest, on_done, w, &call), 0);
        while (!w->done)
                assert_true(sd_event_run(w->event, 10 * USEC_PER_SEC) > 0);
        return w->result;
}

/* Nobody is told that a session is at rest before the Swarm has accepted that. */
static void test_answer_to_rest_lost(void **state) {
        static const Exchange script[] = {
                LOCATED,
                { "GET /v1.44/services/s1", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "POST /v1.44/services/s1/update?version=7", NULL, NULL, NULL },
                { "GET /v1.44/services/s1", "200 OK", NULL, SERVICE("8", "1", "4") },
                { "POST /v1.44/services/s1/update?version=8", "500 Oops", NULL, "{\"message\":\"rpc error: update out of sequence\"}" },
                { "GET /v1.44/services/s1", "200 OK", NULL, SERVICE("9", "1", "4") },
                { "POST /v1.44/services/s1/update?version=9", "200 OK", NULL, "{}" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        assert_int_equal(lay_to_rest(&w), 0);
        world_close(&w);
}

/* Somebody has given it to another session meanwhile. */
static void test_service_of_another(void **state) {
        static const Exchange script[] = {
                LOCATED,
                { "GET /v1.44/services/s1", "200 OK", NULL, SERVICE_OF("xyz", "8", "1", "4") },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        assert_int_equal(lay_to_rest(&w), -EBADMSG);
        world_close(&w);
}

/* A service of the session's name that is not the session's is left alone. */
static void test_name_is_taken(void **state) {
        static const Exchange create[] = {
                CONNECTED,
                { "POST /v1.44/services/create", "409 Conflict", NULL, "{\"message\":\"name conflicts with an existing object\"}" },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE_OF("xyz", "7", "1", "4") },
        }, run[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE_OF("", "7", "0", "4") },
        };
        World w;

        /* Whoever removed that of another session would lose its files. */
        world_open(&w, create, ELEMENTSOF(create));
        ask_to_start(&w, w.p->vtable->create);
        assert_int_equal(w.code, REFUSAL_SESSION_EXISTS);
        assert_non_null(strstr(w.message, "is another session's, xyz,"));
        assert_non_null(strstr(w.message, "Leave that service alone, or its files are lost."));
        world_close(&w);

        world_open(&w, run, ELEMENTSOF(run));
        ask_to_start(&w, w.p->vtable->run);
        assert_int_equal(w.code, REFUSAL_SESSION_EXISTS);
        assert_non_null(strstr(w.message, "docker service rm web"));
        world_close(&w);
}

#define MISLABELED "{\"ID\":\"s1\",\"Version\":{\"Index\":7},\"Spec\":{\"Name\":\"web\",\"Labels\":{\"swarm.record\":\"{\\\"name\\\":\\\"web\\\"}\"}," \
                   "\"Mode\":{\"Replicated\":{\"Replicas\":1}}," \
                   "\"TaskTemplate\":{\"ForceUpdate\":4,\"ContainerSpec\":{\"Image\":\"h/r@sha256:1\",\"Labels\":{\"swarm.session\":\"abc\"}}}}}"

/* It runs where no list shows it: its label was removed. */
static void test_mislabeled(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, MISLABELED },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        ask_to_start(&w, w.p->vtable->run);
        assert_int_equal(w.code, REFUSAL_WRONG_STATE);
        assert_non_null(strstr(w.message, "docker service update --label-add swarm.session=abc web"));
        world_close(&w);
}

static void count(Provider *p, const ProviderObservation *o, void *userdata) {
        *(unsigned *) userdata += o->task == TASK_FAILED;
}

/* A start that was cut off before its service was laid down: what the next task says counts, also if it says what the last one did. */
static void test_fails_again(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "GET /v1.44/tasks", "200 OK", NULL, FAILED },
                { "GET /v1.44/services/web", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "POST /v1.44/services/s1/update?version=7", "200 OK", NULL, "{}" },
        };
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "h/r@sha256:1", .version = 7, .replicas = 1, .force_update = 4 };
        SwarmTask t = {
                .id = "t1", .service = "s1", .node = "n1", .image = "h/r@sha256:1", .error = "No such image: h/r@sha256:1",
                .state = SWARM_TASK_REJECTED, .desired = SWARM_TASK_SHUTDOWN, .created_usec = 5, .force_update = 4,
        };
        unsigned failed = 0;
        SwarmSession *ss;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        swarm_of(w.p)->observer = (ProviderObserver) { .on_session = count, .userdata = &failed };
        swarm_of(w.p)->listed = true;
        assert_int_equal(swarm_session_update(swarm_of(w.p), &service, &ss), 0);
        swarm_session_set_task(ss, &t);
        assert_true(swarm_session_report(ss));
        assert_int_equal(failed, 1);
        start(&w, w.p->vtable->run);
        /* until Swarm has made the next one */
        swarm_session_set_task(ss, &t);
        assert_true(swarm_session_report(ss));
        assert_int_equal(failed, 1);
        assert_true(ss->hot_until_usec > swarm_now());
        t.id = "t2";
        t.created_usec = 6;
        t.force_update = 5;
        swarm_session_set_task(ss, &t);
        assert_true(swarm_session_report(ss));
        assert_int_equal(failed, 2);
        world_close(&w);
}

/* What an Engine keeps that maps users would be proven, and no Engine could unpack it again. */
static void test_mapped_users(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/info", "200 OK", NULL, "{\"ServerVersion\":\"26.1.5\",\"Driver\":\"overlay2\",\"SecurityOptions\":[\"name=userns\"],"
                                                     "\"Swarm\":{\"LocalNodeState\":\"active\",\"ControlAvailable\":true,\"NodeID\":\"n1\"}}" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        ask_to_start(&w, w.p->vtable->create);
        assert_int_equal(w.result, -EBADRQC);
        assert_int_equal(w.code, REFUSAL_PROVIDER_UNAVAILABLE);
        world_close(&w);
}

/* A frozen container and an Engine that is about to stop, which lists no tasks for a moment, and lets the container run on for its
 * end. What it wrote then would go with the service: its container is there as long as the Engine does not say otherwise of that one. */
static void test_rest_without_tasks(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/services/s1", "200 OK", NULL, SERVICE("7", "1", "4") },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
        };
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "h/r@sha256:1", .version = 7, .replicas = 1 };
        SwarmSession *ss;
        ProviderCall *call;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        assert_int_equal(swarm_session_update(swarm_of(w.p), &service, &ss), 0);
        swarm_session_set_task(ss, &(const SwarmTask) {
                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .image = "h/r@sha256:1",
                .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING,
        });
        assert_int_equal(w.p->vtable->rest(w.p, &(const ProviderRest) {
                .session = "abc", .witness = "{}", .image = "h/r@sha256:2", .generation = 1, .record = "{}",
        }, on_done, &w, &call), 0);
        while (!w.done)
                assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
        /* of which only its agent could say what became of it, and there is none here */
        assert_int_equal(w.result, -EBADRQC);
        world_close(&w);
}

static unsigned count_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void on_begun(void *userdata) {
        fail();
}

static void on_command_done(void *userdata, int r, const Refusal *refusal, int exit_code) {
        assert_int_equal(exit_code, -1);
        on_done(userdata, r, refusal);
}

/* A session that has no task has no container to go into, and one whose node has no agent no way. What was handed over with the call is
 * closed with it, also where it is given up. */
static void test_nothing_to_go_into(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
                { "GET /v1.44/tasks", "200 OK", NULL, "[]" },
        };
        static const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .version = 7, .replicas = 1 };
        const ProviderCommand command = { .session = "abc", .fds = (const int[]) { 0, 1, 2 }, .n_fds = 3 };
        const ProviderLogs logs = { .session = "abc", .fd = 1 };
        const RefusalCode wanted[] = { REFUSAL_WRONG_STATE, REFUSAL_WRONG_STATE, REFUSAL_PROVIDER_UNAVAILABLE };
        SwarmSession *ss;
        ProviderCall *call;
        unsigned before;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        assert_true(w.p->vtable->capabilities & PROVIDER_CAN_EXECUTE);
        assert_true(w.p->vtable->capabilities & PROVIDER_CAN_READ_LOGS);
        assert_int_equal(swarm_session_update(swarm_of(w.p), &service, &ss), 0);
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                if (i == 2)
                        swarm_session_set_task(ss, &(const SwarmTask) {
                                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING,
                        });
                w.done = false;
                if (i == 1)
                        assert_int_equal(w.p->vtable->read_logs(w.p, &logs, on_begun, on_done, &w, &call), 0);
                else
                        assert_int_equal(w.p->vtable->execute(w.p, &command, on_begun, on_command_done, &w, &call), 0);
                assert_false(w.done);
                while (!w.done)
                        assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
                assert_int_equal(w.result, -EBADRQC);
                assert_int_equal(w.code, wanted[i]);
        }
        before = count_fds();
        assert_int_equal(w.p->vtable->execute(w.p, &command, on_begun, on_command_done, &w, &call), 0);
        assert_true(count_fds() > before);
        provider_call_cancel(call);
        assert_int_equal(w.p->vtable->read_logs(w.p, &logs, on_begun, on_done, &w, &call), 0);
        provider_call_cancel(call);
        assert_int_equal(count_fds(), before);
        assert_int_equal(w.p->vtable->execute(w.p, &(const ProviderCommand) { .session = "abc", .fds = command.fds, .n_fds = 1 }, on_begun,
                                              on_command_done, &w, &call), -EINVAL);
        assert_int_equal(w.p->vtable->read_logs(w.p, &(const ProviderLogs) { .session = "abc", .fd = -1 }, on_begun, on_done, &w, &call), -EBADF);
        assert_int_equal(count_fds(), before);
        world_close(&w);
}

static void remove_session(World *w) {
        ProviderCall *call;

        assert_int_equal(w->p->vtable->remove(w->p, "abc", on_done, w, &call), 0);
        while (!w->done)
                assert_true(sd_event_run(w->event, 10 * USEC_PER_SEC) > 0);
        assert_int_equal(w->result, 0);
}

/* Swarm finds a container by its name. One that somebody has renamed stays when all else of the session is gone, and is removed; what
 * runs from an image that was committed from a session is not, though it has all of its labels. */
static void test_renamed(void **state) {
#define CONTAINER "[{\"Id\":\"c1\",\"Names\":[\"/mine\"],\"ImageID\":\"sha256:1\",\"State\":\"exited\",\"Labels\":{\"swarm.session\":\"abc\"," \
                  "\"com.docker.swarm.task.id\":\"t1\",\"com.docker.swarm.task.name\":\"web.1.t1\"}}]"
        static const Exchange renamed[] = {
                PING("1.44"),
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, CONTAINER },
                { "GET /v1.44/images/sha256%3A1/json", "200 OK", NULL, "{\"Config\":{\"Labels\":{\"com.docker.swarm.task.id\":\"t0\"}}}" },
                { "DELETE /v1.44/containers/c1?force=1&v=1", "204 No Content", NULL, NULL },
                { "GET /v1.44/containers/json?", "200 OK", NULL, "[]" },
        }, committed[] = {
                PING("1.44"),
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, CONTAINER },
                { "GET /v1.44/images/sha256%3A1/json", "200 OK", NULL, "{\"Config\":{\"Labels\":{\"com.docker.swarm.task.id\":\"t1\"}}}" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, CONTAINER },
        };
        World w;

        world_open(&w, renamed, ELEMENTSOF(renamed));
        remove_session(&w);
        world_close(&w);
        world_open(&w, committed, ELEMENTSOF(committed));
        remove_session(&w);
        world_close(&w);
}

/* The session's own, not found by its label, is known by its container, and goes. */
static void test_mislabeled_removed(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/services?", "200 OK", NULL, "[" MISLABELED "]" },
                { "DELETE /v1.44/services/s1", "200 OK", NULL, NULL },
                { "GET /v1.44/tasks?", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, "[]" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        remove_session(&w);
        world_close(&w);
}

/* Who copied its service has a container with its labels that Swarm has named, and that is not the session's either. */
static void test_copied(void **state) {
#define COPY "[{\"Id\":\"c2\",\"Names\":[\"/copy.1.t2\"],\"ImageID\":\"sha256:1\",\"State\":\"running\",\"Labels\":{\"swarm.session\":\"abc\"," \
             "\"com.docker.swarm.task.id\":\"t2\",\"com.docker.swarm.task.name\":\"copy.1.t2\",\"com.docker.swarm.service.id\":\"s2\"}}]"
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/services?", "200 OK", NULL, "[" SERVICE("7", "1", "4") "]" },
                { "DELETE /v1.44/services/s1", "200 OK", NULL, NULL },
                { "GET /v1.44/tasks?", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, COPY },
                { "GET /v1.44/services/s2", "200 OK", NULL, "{\"ID\":\"s2\",\"Spec\":{\"Name\":\"copy\"}}" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, COPY },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        remove_session(&w);
        world_close(&w);
}

/* Nor is that service the session's when the session's own is gone: its record is that of another one. */
static void test_copied_and_absent(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/services?", "200 OK", NULL, "[{\"ID\":\"s2\",\"Spec\":{\"Name\":\"copy\",\"Labels\":{\"swarm.session\":\"abc\","
                  "\"swarm.record\":\"{\\\"name\\\":\\\"web\\\"}\"}}}]" },
                { "GET /v1.44/services?", "200 OK", NULL, "[]" },
                { "GET /v1.44/containers/json?", "200 OK", NULL, "[]" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        remove_session(&w);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answer_to_run_lost),
                cmocka_unit_test(test_answer_to_create_lost),
                cmocka_unit_test(test_answer_to_another_run_lost),
                cmocka_unit_test(test_conflict_with_another),
                cmocka_unit_test(test_name_like_an_id),
                cmocka_unit_test(test_ended_before_it_is_asked_for),
                cmocka_unit_test(test_answer_to_rest_lost),
                cmocka_unit_test(test_service_of_another),
                cmocka_unit_test(test_name_is_taken),
                cmocka_unit_test(test_mislabeled),
                cmocka_unit_test(test_fails_again),
                cmocka_unit_test(test_mapped_users),
                cmocka_unit_test(test_rest_without_tasks),
                cmocka_unit_test(test_nothing_to_go_into),
                cmocka_unit_test(test_renamed),
                cmocka_unit_test(test_mislabeled_removed),
                cmocka_unit_test(test_copied),
                cmocka_unit_test(test_copied_and_absent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
