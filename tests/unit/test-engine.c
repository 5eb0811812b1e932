/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The client of the Engine API, on an Engine that answers by script. */

#include "engine-script.h"
#include "provider/engine-json.h"
#include "provider/engine.h"

typedef struct Fixture {
        EngineScript server;
        sd_event *event;
        Http *http;
        Engine *engine;
        EngineCall *call;
        bool done, cancel_on_object;
        EngineOutcome outcome;
        long status;
        char *message, *json;
        unsigned objects;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        engine_script_open(&f->server);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(http_new(f->event, &f->http), 0);
        assert_int_equal(engine_new(f->event, f->http, f->server.socket, &f->engine), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        engine_free(f->engine);
        http_free(f->http);
        sd_event_unref(f->event);
        engine_script_close(&f->server);
        free(f->message);
        free(f->json);
        free(f);
        return 0;
}

static void serve(Fixture *f, const Exchange *script, size_t n) {
        engine_script_serve(&f->server, script, n);
}

static void on_done(const EngineAnswer *a, void *userdata) {
        Fixture *f = userdata;

        assert_false(f->done);
        f->done = true;
        f->call = NULL;
        f->outcome = a->outcome;
        f->status = a->status;
        assert_int_equal(a->outcome == ENGINE_OK, !a->message);
        f->message = a->message ? strdup(a->message) : NULL;
        f->json = a->json ? json_dumps(a->json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
}

static void on_object(json_t *o, void *userdata) {
        Fixture *f = userdata;

        f->objects++;
        if (f->cancel_on_object)
                f->call = engine_call_cancel(f->call);
}

static void call(Fixture *f, const char *method, const char *path, json_t *body, EngineRequest q) {
        f->done = false;
        free(TAKE_PTR(f->message));
        free(TAKE_PTR(f->json));
        q.method = method;
        q.path = path;
        q.body = body;
        q.on_done = on_done;
        q.userdata = f;
        assert_int_equal(engine_call(f->engine, &q, &f->call), 0);
        for (unsigned i = 0; !f->done && i < 1000 && !(f->cancel_on_object && f->objects > 0); i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
}

static void test_versions(void **state) {
        Fixture *f = *state;
        static const Exchange script[] = {
                PING("1.41"),
                { "GET /v1.41/info", "200 OK", NULL, "{\"a\":1}" },
                /* replaced by one that does not know 1.41 any more */
                { "GET /v1.41/info", "400 Bad Request", "Api-Version: 1.52\r\n",
                  "{\"message\":\"client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade\"}" },
                { "GET /v1.44/info", "200 OK", NULL, "{\"a\":2}" },
                /* from the future */
                { "GET /v1.44/info", "400 Bad Request", "Api-Version: 1.70\r\n",
                  "{\"message\":\"client version 1.44 is too old. Minimum supported API version is 1.60, please upgrade\"}" },
                { "GET /v1.60/info", "200 OK", NULL, "{\"a\":3}" },
                /* and back */
                { "GET /v1.60/info", "400 Bad Request", "Api-Version: 1.43\r\n",
                  "{\"message\":\"client version 1.60 is too new. Maximum supported API version is 1.43\"}" },
                { "GET /v1.43/info", "200 OK", NULL, "{\"a\":4}" },
        };

        serve(f, script, ELEMENTSOF(script));
        for (unsigned i = 1; i <= 4; i++) {
                char expected[16];
                call(f, "GET", "/info", NULL, (EngineRequest) {});
                assert_int_equal(f->outcome, ENGINE_OK);
                (void) snprintf(expected, sizeof(expected), "{\"a\":%u}", i);
                assert_string_equal(f->json, expected);
        }
        assert_int_equal(engine_api_minor(f->engine), 43);
        assert_false(f->server.wrong);
}

static void test_too_old(void **state) {
        static const Exchange script[] = { PING("1.40") };
        Fixture *f = *state;

        serve(f, script, 1);
        call(f, "GET", "/info", NULL, (EngineRequest) {});
        assert_int_equal(f->outcome, ENGINE_BROKEN);
        assert_non_null(strstr(f->message, "1.41"));
}

static void test_outcomes(void **state) {
        Fixture *f = *state;
        static const struct {
                const char *status, *body;
                EngineOutcome outcome;
        } table[] = {
                { "201 Created", "{\"ID\":\"x\"}", ENGINE_OK },
                { "200 OK", "\"nodeid\"\n", ENGINE_OK },
                { "204 No Content", "", ENGINE_OK },
                { "304 Not Modified", "", ENGINE_OK },
                { "404 Not Found", "{\"message\":\"no such service\"}", ENGINE_REFUSED },
                { "409 Conflict", "nonsense", ENGINE_REFUSED },
                { "500 Oops", "{\"message\":\"rpc error: code = Unknown desc = update out of sequence\"}", ENGINE_CONFLICT },
                { "500 Oops", "{\"message\":\"something else\"}", ENGINE_REFUSED },
                { "503 Unavailable", "{\"message\":\"This node is not a swarm manager. Use docker swarm init\"}", ENGINE_REFUSED },
                { "503 Unavailable", "{\"message\":\"This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.\"}", ENGINE_RETRYABLE },
                { "503 Unavailable", "", ENGINE_RETRYABLE },
                { "500 Oops", "{\"message\":\"Cannot pause container 1: connection closed: unavailable\"}", ENGINE_UNKNOWN },
                { "500 Oops", "{\"message\":\"cannot pause container 1: Unavailable: error reading from server: connection reset by peer\"}", ENGINE_UNKNOWN },
                { "503 Unavailable", "{\"message\":\"cannot kill container: 1: Unavailable: error reading from server: connection reset by peer\"}", ENGINE_UNKNOWN },
                { "500 Oops", "{\"message\":\"rpc error: code = DeadlineExceeded desc = context deadline exceeded\"}", ENGINE_UNKNOWN },
                { "200 OK", "{\"cut", ENGINE_BROKEN },
                { NULL, NULL, ENGINE_UNKNOWN },
        };
        Exchange script[ELEMENTSOF(table) + 1] = { PING("1.41") };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                script[i + 1] = (Exchange) { "POST /v1.41/x", table[i].status, NULL, table[i].body };
        serve(f, script, ELEMENTSOF(script));
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                call(f, "POST", "/x", NULL, (EngineRequest) { .once = true });
                assert_int_equal(f->outcome, table[i].outcome);
                assert_true(!f->message || !endswith(f->message, "."));
        }
        assert_false(f->server.wrong);
}

/* What is no list does not say that there is nothing. */
static void test_lists(void **state) {
        Fixture *f = *state;
        static const struct {
                const char *body;
                EngineOutcome outcome;
        } table[] = {
                { "[]", ENGINE_OK },
                { "[{}]", ENGINE_OK },
                { "null", ENGINE_OK },
                { "", ENGINE_BROKEN },
                { "{}", ENGINE_BROKEN },
                { "0", ENGINE_BROKEN },
        };
        Exchange script[ELEMENTSOF(table) + 1] = { PING("1.41") };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                script[i + 1] = (Exchange) { "GET /v1.41/tasks", "200 OK", NULL, table[i].body };
        serve(f, script, ELEMENTSOF(script));
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                call(f, "GET", "/tasks", NULL, (EngineRequest) { .list = true, .once = true });
                assert_int_equal(f->outcome, table[i].outcome);
        }
        assert_false(f->server.wrong);
}

static void test_retries(void **state) {
        Fixture *f = *state;
        static const Exchange script[] = {
                PING("1.41"),
                { "GET /v1.41/a", NULL, NULL, NULL },
                { "GET /v1.41/a", "503 Unavailable", NULL, "{\"message\":\"The swarm does not have a leader\"}" },
                { "GET /v1.41/a", "200 OK", NULL, "{}" },
                { "POST /v1.41/b", "503 Unavailable", NULL, "{}" },
                { "POST /v1.41/b", NULL, NULL, NULL },
        };
        _cleanup_json_ json_t *body = json_pack("{s:s}", "k", "v");

        serve(f, script, ELEMENTSOF(script));
        call(f, "GET", "/a", NULL, (EngineRequest) {});
        assert_int_equal(f->outcome, ENGINE_OK);
        call(f, "POST", "/b", body, (EngineRequest) { .registry_auth = "abc=" });
        assert_int_equal(f->outcome, ENGINE_UNKNOWN);
        assert_int_equal(f->server.served, 6);
        assert_non_null(strstr(f->server.last, "X-Registry-Auth: abc=\r\n"));
        assert_non_null(strstr(f->server.last, "{\"k\":\"v\"}"));
        assert_false(f->server.wrong);
}

static void test_out_of_reach(void **state) {
        Fixture *f = *state;

        (void) unlink(f->server.socket);
        call(f, "GET", "/info", NULL, (EngineRequest) { .timeout_usec = 400 * USEC_PER_MSEC });
        assert_int_equal(f->outcome, ENGINE_RETRYABLE);
        call(f, "GET", "/info", NULL, (EngineRequest) { .once = true });
        assert_int_equal(f->outcome, ENGINE_RETRYABLE);
}

/* Who may make containers may give them labels of any characters. What he does so ends nobody's watch and no list. */
static void test_nul_in_a_string(void **state) {
        Fixture *f = *state;
        static const Exchange script[] = {
                PING("1.41"),
                { "GET /v1.41/events", "200 OK", NULL, "{\"Type\":\"a\",\"x\":\"1\\u00002\"}{\"Type\":\"b\"}" },
                { "GET /v1.41/networks", "200 OK", NULL, "[{\"Labels\":{\"x\":\"1\\u00002\"}}]" },
        };

        serve(f, script, ELEMENTSOF(script));
        call(f, "GET", "/events", NULL, (EngineRequest) { .on_object = on_object, .timeout_usec = USEC_INFINITY });
        assert_int_equal(f->outcome, ENGINE_OK);
        assert_int_equal(f->objects, 2);
        call(f, "GET", "/networks", NULL, (EngineRequest) { .list = true });
        assert_int_equal(f->outcome, ENGINE_OK);
}

static void test_stream(void **state) {
        Fixture *f = *state;
        static const Exchange script[] = {
                PING("1.41"),
                { "GET /v1.41/events", "200 OK", NULL, "{\"Type\":\"a\"}\n{\"Type\":\"b\"}{\"Type\":\"{\\\"}\"}\n" },
                { "POST /v1.41/images/create", "200 OK", NULL, "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"not found: x\"},\"error\":\"not found\"}\r\n" },
                { "GET /v1.41/events", "500 Oops", NULL, "{\"message\":\"no events\"}" },
                { "GET /v1.41/events", "200 OK", NULL, "{\"Type\":\"a\"} garbage" },
                { "GET /v1.41/events", "200 OK", NULL, "{\"Type\":\"a\"}{\"Type\":\"b\"}" },
        };

        serve(f, script, ELEMENTSOF(script));
        call(f, "GET", "/events", NULL, (EngineRequest) { .on_object = on_object, .timeout_usec = USEC_INFINITY });
        assert_int_equal(f->outcome, ENGINE_OK);
        assert_int_equal(f->objects, 3);
        call(f, "POST", "/images/create", NULL, (EngineRequest) { .on_object = on_object });
        assert_int_equal(f->outcome, ENGINE_REFUSED);
        assert_int_equal(f->status, 200);
        assert_string_equal(f->message, "not found: x");
        call(f, "GET", "/events", NULL, (EngineRequest) { .on_object = on_object });
        assert_int_equal(f->outcome, ENGINE_REFUSED);
        assert_string_equal(f->message, "no events");
        call(f, "GET", "/events", NULL, (EngineRequest) { .on_object = on_object });
        assert_int_equal(f->outcome, ENGINE_UNKNOWN);
        f->objects = 0;
        f->cancel_on_object = true;
        call(f, "GET", "/events", NULL, (EngineRequest) { .on_object = on_object });
        for (unsigned i = 0; i < 5; i++)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        assert_false(f->done);
        assert_int_equal(f->objects, 1);
}

static int collect(json_t *o, void *userdata) {
        char *p = userdata;
        (void) strcat(p, json_string_value(json_object_get(o, "k")) ?: "?");
        return 0;
}

static void test_json_stream(void **state) {
        static const char text[] = "\x1e{\"k\":\"a\"}\n{\"k\":\"}\\\\\",\"o\":{\"p\":[{}]}}\r\n {\"k\":\"c\"}";
        char out[64];

        /* in pieces of every size */
        for (size_t piece = 1; piece < sizeof(text); piece++) {
                JsonStream s = {};
                out[0] = 0;
                for (size_t i = 0; i < sizeof(text) - 1; i += piece)
                        assert_int_equal(json_stream_feed(&s, text + i, MIN(piece, sizeof(text) - 1 - i), collect, out), 0);
                assert_string_equal(out, "a}\\c");
                json_stream_done(&s);
        }
        static const char *const bad[] = { "[1]", "x", "{\"k\":}", "\"s\"", "}" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                JsonStream s = {};
                assert_int_equal(json_stream_feed(&s, bad[i], strlen(bad[i]), collect, out), -EBADMSG);
                json_stream_done(&s);
        }
        _cleanup_free_ char *big = malloc(2 * MIB);
        JsonStream s = {};
        memset(big, ' ', 2 * MIB);
        big[0] = '{';
        assert_int_equal(json_stream_feed(&s, big, 2 * MIB, collect, out), -E2BIG);
        json_stream_done(&s);
}

static usec_t stamp(const char *s) {
        _cleanup_json_ json_t *o = json_string(s);
        return json_timestamp(o);
}

static void test_values(void **state) {
        assert_int_equal(stamp("2026-11-21T01:21:17.982721928Z"), UINT64_C(1795224077982721));
        assert_int_equal(stamp("2026-11-21T01:21:17Z"), UINT64_C(1795224077000000));
        assert_int_equal(stamp("2026-11-21T03:21:17+02:00"), UINT64_C(1795224077000000));
        assert_int_equal(stamp("0001-01-01T00:00:00Z"), 0);
        assert_int_equal(stamp("yesterday"), 0);
        assert_int_equal(json_timestamp(NULL), 0);

        _cleanup_json_ json_t *o = json_loads("{\"a\":{\"b\":[1],\"n\":null,\"i\":-3,\"s\":\"x\"}}", 0, NULL);
        assert_string_equal(json_string_at(o, "a", "s"), "x");
        assert_null(json_string_at(o, "a", "n", "m"));
        assert_null(json_string_at(o, "a", "b", "c"));
        assert_null(json_string_at(NULL, "a"));
        assert_int_equal(json_u64(json_at(o, "a", "i")), 0);

        _cleanup_free_ char *e = engine_escape("a b/c\"{é}"), *filters = engine_filters("label", "k=v", "label", "x", "id", "1", NULL),
                            *auth = engine_registry_auth("u", "p?>", "10.99.0.1:5000");
        assert_string_equal(e, "a%20b%2Fc%22%7B%C3%A9%7D");
        assert_string_equal(filters, "%7B%22label%22%3A%5B%22k%3Dv%22%2C%22x%22%5D%2C%22id%22%3A%5B%221%22%5D%7D");
        assert_string_equal(auth, "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiIsInNlcnZlcmFkZHJlc3MiOiIxMC45OS4wLjE6NTAwMCJ9");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_versions), T(test_too_old), T(test_outcomes), T(test_lists), T(test_retries), T(test_out_of_reach), T(test_stream),
                T(test_nul_in_a_string),
                cmocka_unit_test(test_json_stream), cmocka_unit_test(test_values),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
