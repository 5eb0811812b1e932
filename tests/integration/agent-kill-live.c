/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who interferes with a container between its witness and its end, on a real Engine. A kill may succeed only when no code
 * of the container ran after the witness; whatever it wrote otherwise is not saved, and the kill has to say so.
 *
 * There are two windows: before the agent's kill, and within it, between the inspection in which the witness held and the
 * signal. For the second one a gate before the Engine holds the signal back until the other has done his work. */

#include "agent-rig.h"
#include "engine-gate.h"

static EngineGate *gate;

/* Counts, and says so when it is to stop: the one ends then, the other goes on. */
#define COUNT "i=0; while :; do i=$((i+1)); echo $i >/counter; sleep 0.01; done"
#define ENDS "trap 'echo ended >/mark; exit 0' TERM; " COUNT
#define GOES_ON "trap 'echo went on >/mark' TERM; " COUNT

typedef struct Files {
        char upper[PATH_MAX];
        char counter[64];               /* at the witness */
} Files;

/* What somebody does to the container, how one sees that its code ran, and what becomes of it. */
typedef struct Round {
        bool within;                    /* the kill, else before it */
        const char *program, *deed;
        bool (*ran)(const Files *files);
        const char *again;              /* a second deed, or NULL */
        bool busy;                      /* so much happens elsewhere then that the Engine forgets what happened to it */
        bool stands_still;              /* only its events tell: its processes are frozen until the end */
        const char *held[2], *left[2];  /* what `inspect` says before the kill goes on, and after it; or nothing */
        CaptureMode saved_by;           /* what it wrote */
} Round;

static const Round *played;

static int setup_gated(void **state) {
        char path[PATH_MAX];
        Fixture *f;

        played = *state;
        assert_int_equal(setup(state), 0);
        f = *state;
        f->a = agent_free(f->a);
        (void) snprintf(path, sizeof(path), "%s/gate.sock", f->dir);
        assert_int_equal(engine_gate_new(f->event, path, f->socket, &gate), 0);
        strcpy(f->socket, path);
        return make_agent(f, getenv("SWARM_LAYER"));
}

static int teardown_gated(void **state) {
        Fixture *f = *state;

        f->a = agent_free(f->a);
        gate = engine_gate_free(gate);
        return teardown(state);
}

/* ---- what the container wrote */

static bool read_upper(const Files *files, const char *name, char *ret, size_t size) {
        _cleanup_free_ char *path = strformat("%s/%s", files->upper, name), *text = NULL;

        if (!path || read_file(path, 64 * KIB, &text) < 0)
                return false;
        (void) snprintf(ret, size, "%.*s", (int) strcspn(text, "\n"), text);
        return true;
}

static bool is_marked(const Files *files) {
        char mark[64];

        return read_upper(files, "mark", mark, sizeof(mark));
}

/* The counter is there and has moved on since. The file is empty for a moment whenever it is written. */
static bool counted_on(const Files *files) {
        char counter[64];

        return read_upper(files, "counter", counter, sizeof(counter)) && counter[0] && !streq(counter, files->counter);
}

static bool is_untouched(const Files *files) {
        char counter[64];

        return read_upper(files, "counter", counter, sizeof(counter)) && streq(counter, files->counter) && !is_marked(files);
}

/* Saved, and frozen since. */
static void save(Fixture *f, const char *program, Files *ret) {
        start_container(f, f->base, program);
        upperdir(f, ret->upper, sizeof(ret->upper));
        ret->counter[0] = 0;
        UNTIL(f, counted_on(ret));
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_true(read_upper(ret, "counter", ret->counter, sizeof(ret->counter)));
        assert_false(is_marked(ret));
}

/* ---- the kill, and how it ends */

#define KILL(f) agent_kill((f)->a, (f)->container, (f)->witness, on_done, (f), NULL)

/* Inspected, and the witness held: all that is left is the signal, which the Engine does not get yet. */
static void begin_kill(Fixture *f) {
        f->n_done = 0;
        engine_gate_hold(gate, "/kill?signal=KILL ");
        assert_int_equal(KILL(f), 0);
        UNTIL(f, engine_gate_held(gate) > 0);
        assert_int_equal(f->n_done, 0);
}

static int end_kill(Fixture *f) {
        engine_gate_let_go(gate);
        return settle(f);
}

static void assert_broken(Fixture *f, int r) {
        assert_int_equal(r, -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        /* Nor does it hold later on. */
        if (!played->stands_still) {
                assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
                assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        }
        assert_int_equal(CALL(f, KILL(f)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

#define LIST "cat counter; [ ! -e mark ] || cat mark"

/* What it wrote after the first witness is saved by another capture, and then its end can be made. */
static void assert_saved_again(Fixture *f, const Files *files, CaptureMode mode) {
        char there[128], saved[128];

        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, mode), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c 'cd / && " LIST "'", f->image), 0);
        assert_int_equal(CALL(f, KILL(f)), 0);
        assert_int_equal(run(there, sizeof(there), "cd %s && " LIST, files->upper), 0);
        assert_string_equal(saved, there);
}

/* More events than an Engine remembers, none of them of the container. */
static void be_busy(Fixture *f) {
        char told[256];

        RUN("docker run -d --name busy %s sleep 600 >/dev/null", f->base);
        RUN("docker kill -s CONT $(yes busy | head -n 300) >/dev/null");
        RUN("docker rm -f busy >/dev/null");
        assert_int_equal(run(told, sizeof(told), "docker events --since 1h --until 0s --filter container=%s", f->container), 0);
        assert_string_equal(told, "");
}

/* ---- nobody's code runs */

static void test_nobody(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, ENDS, &files);
        begin_kill(f);
        assert_int_equal(end_kill(f), 0);
        assert_true(is_untouched(&files));
        assert_int_equal(CALL(f, KILL(f)), 0);
}

static void test_nobody_on_busy_node(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, ENDS, &files);
        be_busy(f);
        begin_kill(f);
        be_busy(f);
        assert_int_equal(end_kill(f), 0);
        assert_true(is_untouched(&files));
}

/* Another agent has nothing to go by then. */
static void test_another_agent_on_busy_node(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, ENDS, &files);
        f->a = agent_free(f->a);
        be_busy(f);
        assert_int_equal(make_agent(f, getenv("SWARM_LAYER")), 0);
        assert_int_equal(CALL(f, KILL(f)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_saved_again(f, &files, CAPTURE_EXITED);
}

/* A SIGKILL is as good as ours: no code outlives it. */
static void test_killed_within(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, ENDS, &files);
        begin_kill(f);
        RUN("docker kill %s >/dev/null", f->container);
        assert_int_equal(end_kill(f), 0);
        assert_true(is_untouched(&files));
}

/* The others are dead by then. Thawed alone, the main process would go on as if nothing were. */
static void test_refused(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, "trap 'echo ended >/mark' TERM; (" COUNT ") & while :; do sleep 1; done", &files);
        begin_kill(f);
        engine_gate_refuse(gate);
        assert_int_equal(settle(f), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        RUN("timeout 20 docker wait %s >/dev/null", f->container);
        assert_inspect(f, ".State.ExitCode", "137");
        assert_true(is_untouched(&files));
        assert_int_equal(capture(f, CAPTURE_EXITED), 0);
        assert_int_equal(CALL(f, KILL(f)), 0);
}

/* ---- its code runs, or somebody writes into it: before the kill, or within it */

#define CRASH "$SWARM_RIG engine crash && $SWARM_RIG engine start"
#define STOP "docker stop $CONTAINER >/dev/null"
#define PAUSE "docker pause $CONTAINER >/dev/null"
#define COPY "d=$(mktemp -d); echo copied >$d/mark && docker cp $d/mark $CONTAINER:/mark && rm -r $d"
#define UNPAUSE "docker unpause $CONTAINER >/dev/null"
#define RUNS { ".State.Running", "true" }
#define KILLED { ".State.ExitCode", "137" }

static void act(Fixture *f, const char *deed) {
        RUN("CONTAINER=%s; %s", f->container, deed);
}

static void assert_state(Fixture *f, const char *const state[static 2]) {
        if (state[0])
                assert_inspect(f, state[0], state[1]);
}

static void play(void **state) {
        Fixture *f = *state;
        Files files;

        save(f, played->program, &files);
        if (played->within)
                begin_kill(f);
        act(f, played->deed);
        UNTIL(f, played->ran(&files));
        if (played->again)
                act(f, played->again);
        if (played->busy)
                be_busy(f);
        if (played->stands_still)
                UNTIL(f, agent_watch_evidence(f->a->watches) == EVIDENCE_BROKEN);
        assert_state(f, played->held);
        assert_broken(f, played->within ? end_kill(f) : CALL(f, KILL(f)));
        assert_state(f, played->left);
        assert_saved_again(f, &files, played->saved_by);
}

#define ROUND(title, ...) { title, play, setup_gated, teardown_gated, &(Round) { __VA_ARGS__ } }
#define BEFORE(title, program, deed, ran, ...) ROUND(title " before", false, program, deed, ran, __VA_ARGS__)
#define WITHIN(title, program, deed, ran, ...) ROUND(title " within", true, program, deed, ran, __VA_ARGS__)

int main(void) {
        const struct CMUnitTest tests[] = {
                BEFORE("stopped", ENDS, STOP, is_marked, .saved_by = CAPTURE_EXITED),
                BEFORE("unpaused", ENDS, UNPAUSE, counted_on, .left = RUNS, .saved_by = CAPTURE_HOLD),
                /* The next Engine ends what the one before left, with the signal of a stop. */
                BEFORE("crash", ENDS, CRASH, is_marked, .saved_by = CAPTURE_EXITED),
                BEFORE("copied into", ENDS, COPY, is_marked, .stands_still = true, .left = RUNS, .saved_by = CAPTURE_HOLD),
                BEFORE("copied into, and forgotten", ENDS, COPY, is_marked, .busy = true, .stands_still = true, .left = RUNS, .saved_by = CAPTURE_HOLD),
                cmocka_unit_test_setup_teardown(test_nobody, setup_gated, teardown_gated),
                cmocka_unit_test_setup_teardown(test_nobody_on_busy_node, setup_gated, teardown_gated),
                cmocka_unit_test_setup_teardown(test_another_agent_on_busy_node, setup_gated, teardown_gated),
                cmocka_unit_test_setup_teardown(test_killed_within, setup_gated, teardown_gated),
                cmocka_unit_test_setup_teardown(test_refused, setup_gated, teardown_gated),
                WITHIN("stopped", ENDS, STOP, is_marked, .saved_by = CAPTURE_EXITED),
                /* It is our signal that ends it, but another one let it run before that. */
                WITHIN("stopping", GOES_ON, "docker stop -t 600 $CONTAINER >/dev/null 2>&1 &", is_marked,
                       .held = RUNS, .left = KILLED, .saved_by = CAPTURE_EXITED),
                WITHIN("copied into", ENDS, COPY, is_marked, .left = KILLED, .saved_by = CAPTURE_EXITED),
                WITHIN("copied into, and forgotten", ENDS, COPY, is_marked, .busy = true, .left = KILLED, .saved_by = CAPTURE_EXITED),
                WITHIN("unpaused", ENDS, UNPAUSE, counted_on, .left = KILLED, .saved_by = CAPTURE_EXITED),
                /* When the signal comes, all looks as it did at the inspection. */
                WITHIN("paused again", ENDS, UNPAUSE, counted_on, .again = PAUSE, .left = KILLED, .saved_by = CAPTURE_EXITED),
                /* The signal gets no answer, the next Engine knows nothing of what went before, and ends it much as we would have. */
                WITHIN("crash", GOES_ON, CRASH, is_marked, .held = KILLED, .saved_by = CAPTURE_EXITED),
        };

        return need_rig() ?: cmocka_run_group_tests(tests, NULL, NULL);
}
