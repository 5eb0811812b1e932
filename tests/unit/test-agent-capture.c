/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Saving a container's files: what is asked for, and what is frozen and thawed on every way to the end. */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent-model.h"

static void test_snapshot(void **state) {
        static const char *const asked[] = {
                "\"session\":\"1session\"", "\"repository\":\"sessions/default\"", "\"tag\":\"precopy\"", "\"generation\":1,", "\"job\":2,",
                "\"lossy\":true", "\"layers_max\":7",
        };
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        for (size_t i = 0; i < ELEMENTSOF(asked); i++)
                assert_int_equal(count_requests(f, asked[i]), 1);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_true(f->frozen_usec >= 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_int_equal(MODEL(f, m->n_unpause), 1);
        assert_int_equal(count_requests(f, "{\"type\":\"frozen\"}"), 1);
        assert_int_equal(count_requests(f, "\"precopy\":true"), 1);
        /* The second one goes by the index of the first, above its image. */
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(count_requests(f, "\"fallback_image\":\"" BASE "\""), 1);
        assert_int_equal(count_requests(f, "/index/" ID ".index\""), 1);
        /* Without a name that can be one the index is worth nothing. */
        assert_int_equal(write_file_atomic(f->a->index_dir, ID ".image", SAVED "\n"), 0);
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        agent_forget(f->a, ID);
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
}

/* Its index could not be written: the one of the generation before serves the next capture. */
static void test_index_not_written(void **state) {
        Fixture *f = *state;

        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(capture(f, CAPTURE_EXITED, "no-room"), 0);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(count_requests(f, "/index/" ID ".index\""), 2);
}

static void test_exited(void **state) {
        static const char *const times[] = { "\"started_at\":\"", "\"finished_at\":\"" };
        Fixture *f = *state;

        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 1500 * USEC_PER_MSEC, on_done, f, NULL)), 0);
        assert_string_equal(MODEL(f, (const char *) m->last), "stop?t=2");
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(f->frozen_usec, 0);
        assert_int_equal(count_requests(f, "\"frozen_realtime_usec\":1767323100500000"), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), 0);
        /* Of another run either time tells. */
        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                _cleanup_free_ char *other = strdup(f->witness);
                char *year = strstr(other, times[i]);
                assert_non_null(year);
                year[strlen(times[i])] = '1';
                assert_int_equal(CALL(f, agent_check_witness(f->a, ID, other, on_done, f, NULL)), -EBADRQC);
                assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        }
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        MODEL(f, m->running = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

static void begin_removal(Fixture *f, const char *stage) {
        if (streq(stage, "copying"))
                MODEL(f, m->dead = true);
}

/* The Engine goes on to tell of a container of which it has begun to remove the files. */
static void test_being_removed(void **state) {
        Fixture *f = *state;

        MODEL(f, m->running = false);
        f->on_stage = begin_removal;
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(count_requests(f, "\"verb\":\"push\""), 1);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(count_requests(f, "\"verb\":\"push\""), 1);
        /* What was proven before that stays so. */
        MODEL(f, m->dead = false);
        f->on_stage = NULL;
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        MODEL(f, m->dead = true);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
}

static void test_out_of_memory(void **state) {
        Fixture *f = *state;

        MODEL(f, m->running = false);
        MODEL(f, m->exit_code = 137);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_false(f->out_of_memory);
        MODEL(f, m->out_of_memory = true);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_true(f->out_of_memory);
        /* The Engine heard of the end first. */
        MODEL(f, m->out_of_memory = false);
        MODEL(f, strcpy(m->events, "{\"Action\":\"oom\"}\n"));
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_true(f->out_of_memory);
        /* That was another process of it. */
        MODEL(f, m->exit_code = 1);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_false(f->out_of_memory);
}

static void test_refusals(void **state) {
        Fixture *f = *state;

        MODEL(f, m->mounts = "[{\"Type\":\"bind\",\"Destination\":\"/host\"}]");
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "/host (bind)"));
        MODEL(f, m->mounts = "[{\"Type\":\"volume\",\"Name\":\"" ID "\",\"Destination\":\"/declared\"}]");
        MODEL(f, m->driver = "{\"Name\":\"btrfs\",\"Data\":null}");
        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "btrfs"));
        MODEL(f, m->driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/u\"}}");
        MODEL(f, m->running = true);
        MODEL(f, m->paused = true);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_true(MODEL(f, m->paused));
        MODEL(f, m->paused = false);
        MODEL(f, m->fail_pause = 500);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_false(noted(f));
        MODEL(f, m->exists = false);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(begin_capture(f, "../x", CAPTURE_HOLD, "hold", NULL), -EINVAL);
}

/* A process that is in the kernel for long is waited for; who is given up meanwhile is not frozen after all. */
static void test_busy(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);

        MODEL(f, m->n_busy_pause = 3);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(MODEL(f, m->n_pause), 4);
        assert_true(MODEL(f, m->paused));
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);

        MODEL(f, m->n_busy_pause = UINT32_MAX);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", &call), 0);
        UNTIL(f, MODEL(f, m->n_pause) > 5);
        provider_call_cancel(call);
        UNTIL(f, !agent_freeze_is_unsettled(f->a, ID));
        assert_false(noted(f));
        assert_false(MODEL(f, m->paused));
}

/* A freeze that has failed with version 2 of control groups comes to pass later, while the Engine says that the container runs. */
static void test_half_frozen(void **state) {
        Fixture *f = *state;
        ProviderCall *call;
        NEED_CGROUP(f);
        if (child_enter_unified(f) < 0)
                skip();

        MODEL(f, m->n_busy_pause = UINT32_MAX);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", &call), 0);
        UNTIL(f, MODEL(f, m->n_pause) > 2);
        assert_int_equal(child_freeze(f), '1');
        provider_call_cancel(call);
        MODEL(f, m->n_busy_pause = 2);
        UNTIL(f, !agent_freeze_is_unsettled(f->a, ID));
        assert_int_equal(child_freeze(f), '0');
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));

        /* Each try begins anew, for what the kernel has frozen by then is frozen no second time. */
        MODEL(f, m->n_busy_pause = 2);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_int_equal(child_freeze(f), '0');

        /* Refused for something else, and carried out in part all the same. */
        MODEL(f, m->fail_pause = 500);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_false(noted(f));

        /* Nobody answers the second try. */
        MODEL(f, (m->fail_pause = 503, m->n_busy_pause = 1, m->n_pause = 0));
        f->n_done = 0;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", NULL), 0);
        UNTIL(f, MODEL(f, m->n_pause) > 1);
        MODEL(f, m->fail_pause = 0);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_int_equal(child_freeze(f), '0');
        assert_false(noted(f));

        /* The service ends meanwhile. */
        MODEL(f, (m->fail_pause = 0, m->n_busy_pause = UINT32_MAX));
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hold", &call), 0);
        UNTIL(f, MODEL(f, m->n_busy_pause) < UINT32_MAX && child_freeze(f) == '1');
        agent_free(f->a);
        make_agent(f);
        assert_int_equal(child_freeze(f), '0');
        assert_false(noted(f));
        child_leave_unified(f);
}

#define SNAPSHOTS "io.containerd.snapshotter.v1.overlayfs/snapshots"

/* In the child: a root directory like that of a container, its files at <dir>/<upper>. */
static int enter_overlay(const char *dir, const char *upper) {
        _cleanup_free_ char *options = strformat("lowerdir=%s/lower,upperdir=%s/%s,workdir=%s/work", dir, dir, upper, dir);
        const char *const names[] = { "lower", "work", "merged", "other", "io.containerd.snapshotter.v1.overlayfs", SNAPSHOTS, SNAPSHOTS "/7",
                                      SNAPSHOTS "/7/fs" };

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("tmpfs", dir, "tmpfs", 0, NULL) < 0 ||
            chdir(dir) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (mkdir(names[i], 0755) < 0)
                        return -errno;
        if (mount("overlay", "merged", "overlay", 0, options) < 0 || chroot("merged") < 0)
                return -errno;
        return 0;
}

/* A process of which the kernel tells that upper directory. 0: not without more rights. */
static pid_t fork_in_overlay(const char *dir, const char *upper) {
        int ready[2];
        char ok = 0;
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                (void) !write(ready[1], enter_overlay(dir, upper) < 0 ? "n" : "y", 1);
                pause();
                _exit(0);
        }
        assert_int_equal(read(ready[0], &ok, 1), 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        if (ok == 'y')
                return pid;
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        return 0;
}

/* The container's process becomes one in an overlay, of which the Engine says nothing. */
static void run_in_overlay(Fixture *f, const char *upper) {
        _cleanup_free_ char *dir = strformat("%s/overlay", f->dir);
        pid_t other;

        assert_int_equal(mkdir(dir, 0755), 0);
        other = fork_in_overlay(dir, upper);
        if (other == 0)
                skip();
        (void) kill(f->child, SIGKILL);
        (void) waitpid(f->child, NULL, 0);
        MODEL(f, m->driver = "{\"Name\":\"overlayfs\",\"Data\":null}");
        f->child = other;
}

/* The Engine does not tell where the files are, and the kernel only as long as the container runs. */
static void test_upper_noted(void **state) {
        _cleanup_free_ char *wanted = NULL;
        Fixture *f = *state;
        unsigned n;

        wanted = strformat("\"upperdir\":\"%s/overlay/" SNAPSHOTS "/7/fs\"", f->dir);
        run_in_overlay(f, SNAPSHOTS "/7/fs");
        agent_observe(f->a, ID);
        UNTIL(f, agent_upper_is_noted(f->a, ID));
        n = MODEL(f, m->n_inspect);
        agent_observe(f->a, ID);
        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(count_requests(f, wanted), 1);
        assert_int_equal(MODEL(f, m->n_inspect), n + 2);
        agent_forget(f->a, ID);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "docker cp 0123456789ab:"));
        /* Whoever did not see it start sees it before it is stopped. */
        MODEL(f, m->running = true);
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_false(MODEL(f, m->running));
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(count_requests(f, wanted), 2);
        /* What the Engine tells goes before what was noted. */
        MODEL(f, m->driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/told\"}}");
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(count_requests(f, "\"upperdir\":\"/told\""), 1);
}

/* Whatever a container has mounted on its root, only what can be a layer of it is read. */
static void test_upper_elsewhere(void **state) {
        Fixture *f = *state;

        run_in_overlay(f, "other");
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_false(agent_upper_is_noted(f->a, ID));
}

static void unpause_by_somebody(Fixture *f, const char *stage) {
        if (STR_IN_SET(stage, "copying", "reading") && MODEL(f, m->paused)) {
                MODEL(f, m->paused = false);
                let_run(f);
                MODEL(f, m->paused = true);
        }
}

static void test_runs_during_capture(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->on_stage = unpause_by_somebody;
        assert_int_equal(capture(f, CAPTURE_HOLD, "slow"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        /* A snapshot's freeze is over before its end, so it is looked at before the thaw. */
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

static void test_failures_thaw(void **state) {
        static const struct {
                const char *tag;
                CaptureMode mode;
                RefusalCode code;
        } cases[] = {
                { "error", CAPTURE_HOLD, REFUSAL_REGISTRY_FAILED },
                { "die", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "silent-end", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-die", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-exit", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "never-frozen", CAPTURE_THAW, REFUSAL_INTERNAL },
        };
        Fixture *f = *state;
        NEED_CGROUP(f);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                MODEL(f, m->n_fail_unpause = 2);
                MODEL(f, m->fail_unpause = 500);
                assert_int_equal(capture(f, cases[i].mode, cases[i].tag), -EBADRQC);
                assert_int_equal(f->code, cases[i].code);
                assert_false(MODEL(f, m->paused));
                assert_false(noted(f));
        }
        assert_int_equal(capture(f, CAPTURE_HOLD, "nonsense"), 0);
}

static void cancel_here(Fixture *f, const char *stage) {
        f->n_done++;
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;
        NEED_CGROUP(f);

        /* At every point: before its turn, while the Engine freezes, while the child works. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        provider_call_cancel(call);
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 0);

        MODEL(f, m->pause_delay_ms = 200);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->on_stage = cancel_here;
        f->n_done = 0;
        run_until(f, 1);
        UNTIL(f, noted(f));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_false(MODEL(f, m->paused));

        MODEL(f, m->pause_delay_ms = 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_false(MODEL(f, m->paused));

        /* And the agent itself goes: thawed before it has gone. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        f->a = agent_free(f->a);
        assert_false(MODEL(f, m->paused));
        make_agent(f);
        assert_false(noted(f));

        /* The same before the Engine has answered that it is frozen. */
        unsigned n = MODEL(f, m->n_pause);
        f->on_stage = NULL;
        MODEL(f, m->pause_delay_ms = 200);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        UNTIL(f, MODEL(f, m->n_pause) == n + 1);
        assert_true(MODEL(f, m->paused));
        f->a = agent_free(f->a);
        assert_false(MODEL(f, m->paused));
        make_agent(f);
        assert_false(noted(f));
}

/* A thaw whose answer was lost is asked for again, and must not meet what the next capture has frozen. */
static void test_thaw_under_way(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;
        NEED_CGROUP(f);

        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->on_stage = cancel_here;
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        f->on_stage = NULL;
        MODEL(f, m->n_drop_unpause = 1);
        provider_call_cancel(call);
        UNTIL(f, MODEL(f, m->n_drop_unpause) == 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "slow"), 0);
        assert_true(MODEL(f, m->paused));
        assert_true(noted(f));
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
}

/* The Engine froze it and did not say so. */
static void test_lost_answer(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        MODEL(f, m->drop_pause = 1);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

/* A process that began just as it was frozen: nobody gets an answer about it before it runs on. */
static void test_no_answer_while_frozen(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        MODEL(f, m->n_drop_inspect = 2);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(MODEL(f, m->n_pause), 3);
        assert_int_equal(MODEL(f, m->n_unpause), 2);
        assert_true(MODEL(f, m->paused));
        /* What is listened to has begun with the last freeze, and the thaws before it are forgotten. */
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
}

static void test_never_an_answer(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        MODEL(f, m->n_drop_inspect = 100);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(MODEL(f, m->n_pause), FREEZES_MAX);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        /* While a snapshot's container stands still it is not asked about. */
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(MODEL(f, m->n_drop_inspect), 100 - FREEZES_MAX);
}

static void test_queue(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->n_done = 0;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_BUSY);
        run_until(f, 2);
        assert_int_equal(f->r, 0);

        /* Others: two at a time. They fail, as there is no such container, but in their turn. */
        f->n_done = f->n_waiting = 0;
        assert_int_equal(begin_capture(f, "other1", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other2", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other3", CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 3);
        assert_int_equal(f->n_waiting, 1);

        /* However many they are: what is turned away when Docker is about to stop is lost. */
        f->n_done = f->n_waiting = 0;
        for (unsigned i = 0; i < 1000; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "container%u", i);
                assert_int_equal(begin_capture(f, name, CAPTURE_HOLD, "slow", NULL), 0);
        }
        run_until(f, 1000);
        assert_int_equal(f->n_waiting, 998);

        /* Those that are given up make room. */
        ProviderCall *calls[CAPTURES_MAX];
        f->n_done = f->n_waiting = 0;
        for (unsigned i = 0; i < CAPTURES_MAX; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "given-up%u", i);
                assert_int_equal(begin_capture(f, name, CAPTURE_HOLD, "slow", calls + i), 0);
        }
        assert_int_equal(begin_capture(f, "other", CAPTURE_HOLD, "slow", NULL), 0);
        for (unsigned i = 0; i < CAPTURES_MAX; i++)
                provider_call_cancel(calls[i]);
        run_until(f, 1);
        assert_int_equal(f->n_waiting, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_index_not_written, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exited, setup, teardown),
                cmocka_unit_test_setup_teardown(test_being_removed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
                cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
                cmocka_unit_test_setup_teardown(test_half_frozen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_upper_noted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_upper_elsewhere, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runs_during_capture, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_thaw, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_thaw_under_way, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_answer_while_frozen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_never_an_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
