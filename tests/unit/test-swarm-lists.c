/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the Swarm provider is told by lists and events, and what it makes of those that are refused, or too long. */

#include "swarm-fixture.h"

/* Events are asked for from the time on at which the connection was made: a creation that asks the Engine how it is while
 * the list is read must not make that later. */
static void test_events_of_the_list(void **state) {
        static const Exchange script[] = {
                CONNECTED,
                { "POST /v1.44/services/create", "200 OK", NULL, "{\"ID\":\"s1\"}" },
        };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        swarm_of(w.p)->phase = SWARM_LISTING;
        assert_int_equal(free_and_strdup(&swarm_of(w.p)->system_time, "2026-11-21T01:00:01Z"), 0);
        start(&w, w.p->vtable->create);
        assert_string_equal(swarm_of(w.p)->system_time, "2026-11-21T01:00:01Z");
        world_close(&w);
}

/* What has ended is told by as much text as a list of all. */
static void test_much_has_ended(void **state) {
        static const char head[] = "[{\"ID\":\"t1\",\"ServiceID\":\"s1\",\"DesiredState\":\"shutdown\",\"Status\":{\"State\":\"complete\"},\"Spec\":\"",
                          tail[] = "\"}]";
        const SwarmService service = { .id = "s1", .name = "web", .session = "abc", .image = "i", .version = 1, .replicas = 1 };
        const size_t size = 20 * MIB;
        _cleanup_free_ char *body = malloc(size);
        SwarmSession *ss;
        Swarm *s;
        World w;

        assert_non_null(body);
        memset(body, 'x', size);
        memcpy(body, head, strlen(head));
        strcpy(body + size - sizeof(tail), tail);
        const Exchange script[] = { PING("1.44"), { "GET /v1.44/tasks", "200 OK", NULL, body } };

        world_open(&w, script, ELEMENTSOF(script));
        s = swarm_of(w.p);
        assert_int_equal(swarm_session_update(s, &service, &ss), 0);
        swarm_session_set_task(ss, &(const SwarmTask) {
                .id = "t1", .service = "s1", .node = "n1", .container = "c1", .image = "i", .state = SWARM_TASK_RUNNING, .desired = SWARM_TASK_RUNNING,
        });
        ss->hot_until_usec = 0;
        s->phase = SWARM_WATCHING;
        s->swept_usec = swarm_now();
        assert_int_equal(timer_arm(s->sweep, 0), 0);
        while (ss->hot_until_usec == 0 && s->phase == SWARM_WATCHING)
                assert_true(sd_event_run(w.event, 20 * USEC_PER_SEC) > 0);
        assert_int_equal(s->phase, SWARM_WATCHING);
        world_close(&w);
}

static void note_health(Provider *p, ProviderHealth health, const char *detail, void *userdata) {
        World *w = userdata;

        w->health = health;
        assert_int_equal(free_and_strdup(&w->detail, detail), 0);
}

/* An Engine that answers, but does not list what runs in its Swarm: nothing is known, and whoever waits sees why. */
static void test_list_fails(void **state) {
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/info", "200 OK", NULL, INFO_NOW },
                { "GET /v1.44/nodes", "500 Oops", NULL, "{\"message\":\"rpc error: the raft log is damaged\"}" },
        };
        ProviderObserver observer = { .on_health = note_health };
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        observer.userdata = &w;
        assert_int_equal(w.p->vtable->start(w.p, &observer), 0);
        while (w.server.served < ELEMENTSOF(script) || swarm_of(w.p)->phase != SWARM_WAITING)
                assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
        assert_int_equal(w.health, PROVIDER_UNAVAILABLE);
        assert_non_null(w.detail);
        assert_non_null(strstr(w.detail, "the raft log is damaged"));
        world_close(&w);
}

/* What refuses the events is not asked again at once each time, since each time everything is listed. */
static void test_events_refused(void **state) {
#define REFUSED { "GET /v1.44/events?", "403 Forbidden", NULL, "{\"message\":\"no events for you\"}" }
        static const Exchange script[] = { PING("1.44"), REFUSED, REFUSED, REFUSED, REFUSED };
        static const unsigned attempts[] = { 1, 2, 3, 1 };
        Swarm *s;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        s = swarm_of(w.p);
        for (size_t i = 0; i < ELEMENTSOF(attempts); i++) {
                s->phase = SWARM_WATCHING;
                assert_int_equal(swarm_watch(s), 0);
                /* The last one is good for a while, and missed at once. */
                if (i == ELEMENTSOF(attempts) - 1)
                        s->watched_usec -= 10 * USEC_PER_SEC;
                while (s->phase != SWARM_WAITING)
                        assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
                assert_int_equal(s->watch_backoff.attempts, attempts[i]);
        }
        world_close(&w);
}

/* The more sessions there are, the smaller is the part of them that is asked for at a time: all of it is held at once, and an answer
 * that is too long makes the Swarm unavailable. */
static void test_list_of_many(void **state) {
        /* {"label":["swarm.session"],"id":["0"]} */
        static const Exchange script[] = {
                PING("1.44"),
                { "GET /v1.44/nodes", "200 OK", NULL, "[]" },
                { "GET /v1.44/services?filters=%7B%22label%22%3A%5B%22swarm.session%22%5D%2C%22id%22%3A%5B%220%22%5D%7D ", "200 OK", NULL, "[]" },
        };
        SwarmSession *ss;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        for (unsigned i = 0; i < 10000; i++) {
                char id[16];
                (void) snprintf(id, sizeof(id), "%u", i);
                assert_int_equal(swarm_session_update(swarm_of(w.p), &(const SwarmService) { .id = id, .name = id, .session = id }, &ss), 0);
        }
        swarm_of(w.p)->listed = true;
        swarm_list(swarm_of(w.p));
        while (w.server.served < ELEMENTSOF(script))
                assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
        world_close(&w);
}

static void free_provider(Provider *p, const ProviderObservation *o, void *userdata) {
        World *w = userdata;

        w->p = provider_free(w->p);
}

static void hear_list(Provider *p, void *userdata) {
}

/* Whoever is told of a session may have heard enough. */
static void test_freed_under_a_list(void **state) {
        static const Exchange script[] = {};
        SwarmSession *ss;
        World w;

        world_open(&w, script, ELEMENTSOF(script));
        for (unsigned i = 0; i < 3; i++) {
                const char *id = (const char *const[]) { "abc", "def", "ghi" }[i];
                assert_int_equal(swarm_session_update(swarm_of(w.p), &(const SwarmService) { .id = id, .name = id, .session = id }, &ss), 0);
        }
        swarm_of(w.p)->observer = (ProviderObserver) {
                .on_list_begin = hear_list, .on_session = free_provider, .on_list_end = hear_list, .userdata = &w,
        };
        assert_false(swarm_sessions_report(swarm_of(w.p)));
        assert_null(w.p);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_events_of_the_list),
                cmocka_unit_test(test_much_has_ended),
                cmocka_unit_test(test_list_fails),
                cmocka_unit_test(test_events_refused),
                cmocka_unit_test(test_list_of_many),
                cmocka_unit_test(test_freed_under_a_list),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
