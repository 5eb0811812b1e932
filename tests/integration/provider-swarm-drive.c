/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Takes sessions through the Swarm provider on a real Engine. Run in a rig, by provider-swarm.sh:
 *     provider-swarm-drive life|hibernate|initialize|many|crash|node|conflict ENGINE-SOCKET IMAGE@DIGEST [NUMBER]
 * Prints what it sees and measures; the first thing that is not as it should be ends it with a failure. */

#include <signal.h>
#include <time.h>

#include "basic/log.h"
#include "swarm-drive.h"

static void check_service(Drive *d, const char *name) {
        const json_t *spec, *container;

        engine(d, "GET", "/services/%s", name);
        spec = json_at(d->answer, "Spec");
        container = json_at(spec, "TaskTemplate", "ContainerSpec");
        CHECK(streq_ptr(json_string_at(spec, "EndpointSpec", "Mode"), "dnsrr"));
        CHECK(streq_ptr(json_string_at(spec, "TaskTemplate", "RestartPolicy", "Condition"), "none"));
        CHECK(json_integer_at(spec, "TaskTemplate", "Resources", "Limits", "Pids") == 4096);
        CHECK(json_integer_at(spec, "TaskTemplate", "Resources", "Limits", "NanoCPUs") == 500000000);
        CHECK(json_integer_at(container, "StopGracePeriod") == INT64_C(3000000000));
        CHECK(streq_ptr(json_string_at(container, "Labels", "mine"), "yes"));
        CHECK(streq_ptr(json_string_at(container, "Labels", PROVIDER_LABEL_SESSION), json_string_at(spec, "Labels", PROVIDER_LABEL_SESSION)));
        CHECK(json_array_size(json_at(container, "Env")) == 2);
        CHECK(streq_ptr(json_string_value(json_array_get(json_at(container, "CapabilityDrop"), 0)), "CAP_NET_RAW"));
}

static void check_create(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one"), b = spec_of(d, "s-two", "one");
        usec_t begin = now_usec();

        DONE(P(create, &a));
        printf("create accepted after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("create running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(seen(d, "s-one")->wanted && seen(d, "s-one")->container[0] && seen(d, "s-one")->node[0] && seen(d, "s-one")->started_usec > 0);
        CHECK(streq(seen(d, "s-one")->record, "{\"a\":\"record\"}"));
        CHECK(streq(seen(d, "s-one")->image, d->image));
        check_service(d, "one");
        /* again is success, another session under that name is refused */
        DONE(P(create, &a));
        DO(P(create, &b));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_SESSION_EXISTS);
        printf("refused: %s\n", d->message);
}

static void check_rest_and_run(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        char container[80];
        usec_t begin;

        COPY(container, seen(d, "s-one")->container);
        discard(d);
        CHECK(d->result == 0);
        WAIT(5, !seen(d, "s-one")->wanted && seen(d, "s-one")->task == TASK_NONE);
        /* at once, while Swarm is still removing the old container */
        begin = now_usec();
        DONE(P(run, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("run at once after rest: running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(!streq(container, seen(d, "s-one")->container));
        COPY(container, seen(d, "s-one")->container);
        DONE(P(run, &a));
        for (usec_t end = now_usec() + 2 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        CHECK(streq(container, seen(d, "s-one")->container));

        discard(d);
        for (usec_t end = now_usec() + 5 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        begin = now_usec();
        DO(P(run, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        printf("run after rest: running after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
}

static void check_container_events(Drive *d) {
        engine(d, "POST", "/containers/%s/pause", seen(d, "s-one")->container);
        WAIT(3, seen(d, "s-one")->frozen);
        engine(d, "POST", "/containers/%s/unpause", seen(d, "s-one")->container);
        WAIT(3, !seen(d, "s-one")->frozen);
}

static void check_exit(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        usec_t begin = now_usec();

        engine(d, "POST", "/containers/%s/kill?signal=KILL", seen(d, "s-one")->container);
        WAIT(10, seen(d, "s-one")->task == TASK_EXITED);
        printf("exit seen after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(seen(d, "s-one")->exit_code == 137 && seen(d, "s-one")->container[0]);
        DO(P(run, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_WRONG_STATE);
        printf("refused: %s\n", d->message);
        engine(d, "DELETE", "/containers/%s?force=1", seen(d, "s-one")->container);
        WAIT(5, seen(d, "s-one")->task == TASK_GONE);
        discard(d);
        CHECK(d->result == 0);
        DONE(P(run, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
}

static void check_failures(Drive *d) {
        ProviderSpec bad = spec_of(d, "s-bad", "bad"), command = spec_of(d, "s-command", "command"), nowhere = spec_of(d, "s-nowhere", "nowhere");
        static const char *const argv[] = { "/nonexistent/program", NULL };
        _cleanup_free_ char *image = strdup(d->image);
        usec_t begin = now_usec();

        image[strlen(image) - 1] = image[strlen(image) - 1] == '0' ? '1' : '0';
        bad.image = image;
        command.command = (char *const *) argv;
        nowhere.node = "nosuchnode";
        DO(P(create, &bad));
        DO(P(create, &command));
        DO(P(create, &nowhere));
        WAIT(15, seen(d, "s-bad")->task == TASK_FAILED && seen(d, "s-command")->task == TASK_FAILED && seen(d, "s-nowhere")->task == TASK_FAILED);
        printf("three failures seen after %" PRIu64 " ms\n  %s\n  %s\n  %s\n", (now_usec() - begin) / 1000, seen(d, "s-bad")->error,
               seen(d, "s-command")->error, seen(d, "s-nowhere")->error);
        /* a failed one can be run again */
        nowhere.node = NULL;
        DONE(P(run, &nowhere));
        WAIT(20, seen(d, "s-nowhere")->task == TASK_RUNNING);
        DONE(P(remove, "s-bad"));
        DO(P(remove, "s-command"));
        DO(P(remove, "s-nowhere"));
        WAIT(5, !seen(d, "s-bad")->exists && !seen(d, "s-command")->exists && !seen(d, "s-nowhere")->exists);
}

static void check_again(Drive *d) {
        unsigned lists = d->lists;

        d->provider = provider_free(d->provider);
        seen(d, "s-one")->task = TASK_NONE;
        provider_begin(d, false);
        WAIT(10, d->lists > lists);
        CHECK(seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
        CHECK(!seen(d, "s-bad")->exists);
}

static void check_removed_behind_us(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        engine(d, "DELETE", "/services/%s", "one");
        WAIT(5, !seen(d, "s-one")->exists);
        DONE(P(run, &a));
        WAIT(20, seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
}

static void check_remove(Drive *d) {
        usec_t begin = now_usec();

        DONE(P(remove, "s-one"));
        printf("removed after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(5, !seen(d, "s-one")->exists);
        DONE(P(remove, "s-one"));
        engine(d, "GET", "/containers/json?all=1&filters={%%22label%%22:[%%22%s%%22]}", PROVIDER_LABEL_SESSION);
        CHECK(json_array_size(d->answer) == 0);
}

static void life(Drive *d) {
        stay_here(d);
        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->nodes > 0);
        CHECK(d->health == PROVIDER_DEGRADED);
        check_create(d);
        check_rest_and_run(d);
        check_container_events(d);
        check_exit(d);
        check_failures(d);
        check_again(d);
        check_removed_behind_us(d);
        check_remove(d);
}

static void initialize(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        provider_begin(d, false);
        WAIT(10, d->health == PROVIDER_UNAVAILABLE);
        printf("unavailable: %s\n", d->detail);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_PROVIDER_UNAVAILABLE);
        /* By a reload, which waits for nothing else; and from the start. */
        swarm_provider_set_initialize(d->provider, true);
        WAIT(2, d->lists == 1 && d->health == PROVIDER_HEALTHY);
        d->provider = provider_free(d->provider);
        provider_begin(d, true);
        WAIT(10, d->lists == 2);
        DONE(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        engine(d, "GET", "/%s", "info");
        printf("initialised: %s\n", json_string_at(json_array_get(json_at(d->answer, "Swarm", "RemoteManagers"), 0), "Addr"));
        DO(P(remove, "s-one"));
}

static unsigned count(Drive *d, TaskState task) {
        unsigned n = 0;

        for (size_t i = 0; i < d->n_seen; i++)
                n += d->seen[i].exists && d->seen[i].task == task;
        return n;
}

static usec_t cpu_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static void many(Drive *d) {
        unsigned n = d->number;
        usec_t begin, cpu;

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        begin = now_usec();
        for (unsigned i = 0; i < n; i++) {
                char session[32], name[32];
                (void) snprintf(session, sizeof(session), "s-%u", i);
                (void) snprintf(name, sizeof(name), "many-%u", i);
                ProviderSpec s = spec_of(d, session, name);
                d->in_flight++;
                CHECK(P(create, &s) >= 0);
        }
        WAIT(120, d->in_flight == 0);
        printf("%u accepted after %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000);
        WAIT(180, count(d, TASK_RUNNING) == n);
        printf("%u running after %" PRIu64 " ms, cpu %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000, cpu_usec() / 1000);
        cpu = cpu_usec();
        begin = now_usec();
        while (now_usec() < begin + 20 * USEC_PER_SEC)
                CHECK(sd_event_run(d->event, USEC_PER_SEC) >= 0);
        printf("%u idle: %.2f %% of a core\n", n, 100.0 * (double) (cpu_usec() - cpu) / (double) (now_usec() - begin));
        begin = now_usec();
        for (unsigned i = 0; i < n; i++) {
                char session[32];
                (void) snprintf(session, sizeof(session), "s-%u", i);
                d->in_flight++;
                CHECK(P(remove, session) >= 0);
        }
        WAIT(180, d->in_flight == 0);
        printf("%u removed after %" PRIu64 " ms\n", n, (now_usec() - begin) / 1000);
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        Drive *d = userdata;

        on_done(d, r, refusal);
        if (result) {
                COPY(d->captured, result->image);
                COPY(d->witness, result->witness);
                printf("captured %" PRIu64 " entries, %" PRIu64 " bytes, frozen for %" PRIu64 " ms\n", result->entries, result->bytes, result->frozen_usec / 1000);
        }
}

static void capture(Drive *d, CaptureMode mode, uint64_t generation, const char *parent, const char *tag) {
        const ProviderCapture c = {
                .session = "s-one", .mode = mode, .generation = generation, .job = generation, .image = parent,
                .repository = "sessions/default", .tag = tag, .layers_max = 100,
        };

        d->in_flight++;
        CHECK(d->provider->vtable->capture(d->provider, &c, NULL, on_captured, d, NULL) >= 0);
        WAIT(60, d->in_flight == 0);
}

static void rest(Drive *d, uint64_t generation) {
        const ProviderRest r = { .session = "s-one", .witness = d->witness, .image = d->captured, .generation = generation, .record = "{\"at\":\"rest\"}" };

        DO(P(rest, &r));
}

static void check_ran_on(Drive *d) {
        capture(d, CAPTURE_HOLD, 1, d->image, "s-one-g1");
        CHECK(d->result == 0);
        WAIT(5, seen(d, "s-one")->frozen);
        /* somebody lets it run: it is not touched */
        shell("docker unpause %s >/dev/null", seen(d, "s-one")->container);
        (void) usleep(100 * 1000);
        rest(d, 1);
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_FILES_CHANGED);
        printf("refused: %s\n", d->message);
        WAIT(5, !seen(d, "s-one")->frozen);
        CHECK(seen(d, "s-one")->task == TASK_RUNNING);
}

static void check_hold_and_rest(Drive *d) {
        usec_t begin;

        capture(d, CAPTURE_HOLD, 2, d->image, "s-one-g2");
        CHECK(d->result == 0);
        begin = now_usec();
        rest(d, 2);
        CHECK(d->result == 0);
        printf("rest accepted after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(5, !seen(d, "s-one")->wanted && seen(d, "s-one")->task == TASK_NONE);
        CHECK(seen(d, "s-one")->generation == 2 && streq(seen(d, "s-one")->image, d->captured) && streq(seen(d, "s-one")->record, "{\"at\":\"rest\"}"));
        rest(d, 2);
        CHECK(d->result == 0);
}

/* From the image that was captured last. */
static void restore(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        usec_t begin = now_usec();

        a.image = d->captured;
        a.generation = 2;
        DONE(P(run, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        printf("restored after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
}

static void check_exited_and_rest(Drive *d) {
        _cleanup_free_ char *parent = strdup(d->captured);
        usec_t begin;

        shell("docker exec %s sh -c 'echo more >>/kept'", seen(d, "s-one")->container);
        begin = now_usec();
        DONE(P(terminate, "s-one", 5 * USEC_PER_SEC));
        WAIT(5, seen(d, "s-one")->task == TASK_EXITED);
        printf("terminated after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        capture(d, CAPTURE_EXITED, 3, parent, "s-one-g3");
        CHECK(d->result == 0);
        rest(d, 3);
        CHECK(d->result == 0);
        DONE(P(delete_image, parent));
}

/* Through the agent: save a running one, bring it back, save a stopped one; and a container that ran on is never killed. */
static void hibernate(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        _cleanup_free_ char *first = NULL;

        agent_begin(d);
        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->health == PROVIDER_HEALTHY);
        DO(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        shell("docker exec %s sh -c 'echo hello >/kept'", seen(d, "s-one")->container);
        check_ran_on(d);
        first = strdup(d->captured);
        check_hold_and_rest(d);
        restore(d);
        shell("test \"$(docker exec %s cat /kept)\" = hello", seen(d, "s-one")->container);
        check_exited_and_rest(d);
        restore(d);
        shell("test \"$(docker exec %s tail -n1 /kept)\" = more", seen(d, "s-one")->container);
        DONE(P(remove, "s-one"));
        DONE(P(delete_image, first));
        DONE(P(delete_image, d->captured));
}

/* The Engine dies under us and comes back. */
static void crash(Drive *d) {
        ProviderSpec a, b;
        unsigned lists;
        usec_t begin;

        stay_here(d);
        a = spec_of(d, "s-one", "one");
        b = spec_of(d, "s-two", "two");

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        DO(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        lists = d->lists;
        rig("engine crash");
        begin = now_usec();
        WAIT(10, d->health == PROVIDER_UNAVAILABLE);
        printf("unavailable after %" PRIu64 " ms: %s\n", (now_usec() - begin) / 1000, d->detail);
        CHECK(seen(d, "s-one")->exists && seen(d, "s-one")->task == TASK_RUNNING);
        /* asked while it is away, done when it is back */
        d->in_flight++;
        CHECK(P(create, &b) >= 0);
        rig("engine start");
        begin = now_usec();
        WAIT(60, d->health != PROVIDER_UNAVAILABLE && d->lists > lists);
        printf("back after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        WAIT(60, d->in_flight == 0);
        printf("create over the crash: %d %s\n", d->result, d->message);
        WAIT(60, seen(d, "s-one")->task == TASK_EXITED);
        if (d->result == 0)
                WAIT(60, seen(d, "s-two")->task == TASK_RUNNING);
        DONE(P(remove, "s-one"));
        DONE(P(remove, "s-two"));
}

/* A worker dies; its session is lost, and is started elsewhere when that is asked for. */
static void node(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");
        _cleanup_free_ char *worker = NULL;
        usec_t begin;

        provider_begin(d, false);
        WAIT(10, d->lists == 1 && d->nodes == 2);
        engine(d, "GET", "/%s", "nodes?filters=%7B%22role%22:%5B%22worker%22%5D%7D");
        worker = strdup(json_string_at(json_array_get(d->answer, 0), "ID"));
        a.node = worker;
        DO(P(create, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        CHECK(streq(seen(d, "s-one")->node, worker));
        rig("engine crash w1");
        begin = now_usec();
        WAIT(60, seen(d, "s-one")->task == TASK_LOST);
        printf("lost after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        a.node = NULL;
        begin = now_usec();
        DONE(P(run, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        printf("running elsewhere after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        CHECK(!streq(seen(d, "s-one")->node, worker));
        rig("engine start w1");
        for (usec_t end = now_usec() + 8 * USEC_PER_SEC; now_usec() < end;)
                turn(d);
        CHECK(seen(d, "s-one")->task == TASK_RUNNING && !streq(seen(d, "s-one")->node, worker));
        /* and one that comes back before anybody has given it up */
        discard(d);
        a.node = worker;
        DO(P(run, &a));
        WAIT(30, seen(d, "s-one")->task == TASK_RUNNING);
        rig("engine crash w1");
        WAIT(60, seen(d, "s-one")->task == TASK_LOST);
        rig("engine start w1");
        begin = now_usec();
        WAIT(60, seen(d, "s-one")->task == TASK_EXITED);
        printf("its node back: exited, after %" PRIu64 " ms\n", (now_usec() - begin) / 1000);
        DONE(P(remove, "s-one"));
}

static void conflict(Drive *d) {
        ProviderSpec a = spec_of(d, "s-one", "one");

        provider_begin(d, false);
        WAIT(10, d->lists == 1);
        CHECK(system("docker network create --subnet 10.128.77.0/24 in-the-way >/dev/null") == 0);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_NETWORK_CONFLICT);
        printf("refused: %s\n", d->message);
        CHECK(system("docker network rm in-the-way >/dev/null && ip route add blackhole 10.128.9.0/24") == 0);
        DO(P(create, &a));
        CHECK(d->result == -EBADRQC && d->code == REFUSAL_NETWORK_CONFLICT);
        printf("refused: %s\n", d->message);
        CHECK(system("ip route del blackhole 10.128.9.0/24") == 0);
        a.organization = "other";
        DONE(P(create, &a));
        WAIT(20, seen(d, "s-one")->task == TASK_RUNNING);
        engine(d, "GET", "/networks/%s", "swarm-sessions-other");
        CHECK(streq_ptr(json_string_at(json_array_get(json_at(d->answer, "IPAM", "Config"), 0), "Subnet"), "10.129.0.0/16"));
        CHECK(json_at(d->answer, "Options", "encrypted"));
        DO(P(remove, "s-one"));
}

static const struct Part {
        const char *name;
        void (*drive)(Drive *d);
} parts[] = {
        { "life", life },
        { "hibernate", hibernate },
        { "initialize", initialize },
        { "many", many },
        { "crash", crash },
        { "node", node },
        { "conflict", conflict },
};

int main(int argc, char *argv[]) {
        const struct Part *part = NULL;
        Drive drive = {}, *d = &drive;

        log_open("provider-swarm-drive");
        CHECK(argc >= 4);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                if (streq(parts[i].name, argv[1]))
                        part = parts + i;
        CHECK(part);
        (void) setvbuf(stdout, NULL, _IOLBF, 0);
        (void) signal(SIGPIPE, SIG_IGN);
        d->socket = argv[2];
        d->image = argv[3];
        d->number = argc > 4 ? (unsigned) atoi(argv[4]) : 20;
        d->health = _PROVIDER_HEALTH_INVALID;
        CHECK(sd_event_new(&d->event) >= 0);
        CHECK(http_new(d->event, &d->http) >= 0);
        CHECK(engine_new(d->event, d->http, d->socket, &d->engine) >= 0);
        part->drive(d);
        d->provider = provider_free(d->provider);
        agent_free(d->agent);
        free(d->local);
        json_decref(d->answer);
        engine_free(d->engine);
        http_free(d->http);
        sd_event_unref(d->event);
        printf("ok\n");
        return EXIT_SUCCESS;
}
