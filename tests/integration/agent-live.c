/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent on a real Engine, registry and swarm-layer. */

#include <signal.h>
#include <sys/wait.h>

#include "agent-rig.h"

static void test_hold_and_kill(void **state) {
        Fixture *f = *state;
        char upper[PATH_MAX], counter[64], saved[64];

        start_container(f, f->base, WRITER);
        RUN("docker exec %s sh -c 'while [ ! -e /counter ]; do sleep 0.01; done; rm -rf /home; mkdir /new'", f->container);
        upperdir(f, upper, sizeof(upper));
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_inspect(f, ".State.Paused", "true");
        assert_int_equal(run(counter, sizeof(counter), "cat %s/counter", upper), 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), 0);
                run_for(f, 200 * USEC_PER_MSEC);
        }
        char image[256];
        strcpy(image, f->image);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_inspect(f, ".State.ExitCode", "137");
        /* Not one more turn of its loop, and no handler, ran. */
        assert_int_equal(run(saved, sizeof(saved), "cat %s/counter", upper), 0);
        assert_string_equal(saved, counter);
        assert_int_not_equal(run(NULL, 0, "test -e %s/trapped", upper), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c 'cat /counter; test ! -e /home -a -d /new'", image), 0);
        assert_string_equal(saved, counter);
        RUN("docker rm -f %s >/dev/null", f->container);
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_false(note_exists(f->a->frozen_dir, f->container));
        /* What was made from a generation is saved above it. */
        start_container(f, image, IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s cat /counter", f->image), 0);
        assert_string_equal(saved, counter);
        assert_int_equal(CALL(f, agent_delete_image(f->a, f->image, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_delete_image(f->a, f->image, on_done, f, NULL)), 0);
}

static void test_thaw_breaks_witness(void **state) {
        Fixture *f = *state;

        start_container(f, f->base, IDLER);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(capture(f, CAPTURE_HOLD), 0);
                RUN("docker unpause %s >/dev/null", f->container);
                RUN("docker pause %s >/dev/null", f->container);
                assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
                assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
                assert_inspect(f, ".State.Running", "true");
        }
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        RUN("docker pause %s >/dev/null", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_inspect(f, ".State.Paused", "true");
}

/* Deleted, changed and new files between snapshots; the last one is compared with the container itself. */
static void test_snapshots(void **state) {
        Fixture *f = *state;
        char there[16384], saved[16384];
        static const char list[] = "cd / && find bin etc home tmp srv -print 2>/dev/null | sort; cat /srv/*/* 2>/dev/null | md5sum";

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'mkdir -p /srv/a /srv/b; for i in $(seq 3000); do echo $i >/srv/a/$i; done; "
            "dd if=/dev/urandom of=/srv/b/big bs=1M count=40 2>/dev/null'", f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_inspect(f, ".State.Paused", "false");
        usec_t first = f->took_usec;
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_true(f->unchanged);
        RUN("docker exec %s sh -c 'rm /srv/a/17 /srv/a/18; echo changed >/srv/a/19; mkdir /srv/c; echo new >/srv/c/x; rm -rf /home'", f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_true(f->took_usec < first);
        assert_true(f->bytes < 100 * KIB);
        RUN("docker exec %s sh -c 'rm -r /srv/c; mkdir /home; echo 2 >/srv/a/17'", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(run(there, sizeof(there), "docker exec %s sh -c '%s'", f->container, list), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c '%s'", f->image, list), 0);
        assert_true(strlen(there) > 1000);
        assert_string_equal(there, saved);
        /* Without its index all is read again, with the same result. */
        agent_forget(f->a, f->container);
        assert_int_equal(capture(f, CAPTURE_THAW), 0);
        assert_int_equal(run(saved, sizeof(saved), "docker run --rm %s sh -c '%s'", f->image, list), 0);
        assert_string_equal(there, saved);
}

static void test_terminate(void **state) {
        Fixture *f = *state;
        char text[64];

        start_container(f, f->base, IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        /* Thawed before its signal, so that its handler runs. */
        assert_int_equal(CALL(f, agent_terminate(f->a, f->container, 5 * USEC_PER_SEC, on_done, f, NULL)), 0);
        assert_inspect(f, ".State.ExitCode", "0");
        assert_int_equal(capture(f, CAPTURE_EXITED), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(run(text, sizeof(text), "docker run --rm %s cat /trapped", f->image), 0);
        assert_string_equal(text, "saved");
        RUN("docker start %s >/dev/null", f->container);
        assert_int_equal(CALL(f, agent_kill(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        RUN("docker kill %s >/dev/null", f->container);
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* The child reads files: with a hold the container is frozen by then. */
static bool child_works(const Fixture *f) {
        return streq(f->stage, "saving") || streq(f->stage, "copying");
}

static void kill_child(Fixture *f) {
        char path[64], text[256] = "";

        if (!child_works(f))
                return;
        snprintf(path, sizeof(path), "/proc/self/task/%i/children", getpid());
        _cleanup_fclose_ FILE *file = fopen(path, "re");
        assert_non_null(file);
        if (fgets(text, sizeof(text), file))
                (void) kill(atoi(text), SIGKILL);
}

static void until_child_works(Fixture *f) {
        f->n_done += child_works(f);
}

static void test_interruptions(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null'", f->container);
        f->on_stage = kill_child;
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_non_null(strstr(f->message, "signal 9"));
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(capture(f, CAPTURE_THAW), -EBADRQC);
        assert_inspect(f, ".State.Paused", "false");
        f->on_stage = until_child_works;
        assert_int_equal(begin_capture(f, CAPTURE_HOLD, &call), 0);
        settle(f);
        provider_call_cancel(call);
        char paused[16];
        do {
                run_for(f, 20 * USEC_PER_MSEC);
                inspect(f, ".State.Paused", paused, sizeof(paused));
        } while (streq(paused, "true"));        /* the limit of the whole test bounds that */
        /* The agent goes in the middle. */
        f->n_done = 0;
        assert_int_equal(begin_capture(f, CAPTURE_HOLD, &call), 0);
        settle(f);
        f->a = agent_free(f->a);
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(make_agent(f, getenv("SWARM_LAYER")), 0);
        f->on_stage = NULL;
        RUN("$SWARM_RIG registry stop");
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_REGISTRY_FAILED);
        assert_inspect(f, ".State.Paused", "false");
        RUN("$SWARM_RIG registry start");
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
}

/* An agent that is killed with SIGKILL in the middle: its child dies with it, agent_thaw_all(, USEC_PER_SEC) frees what is frozen. */
static void test_agent_killed(void **state) {
        Fixture *f = *state;

        start_container(f, f->base, IDLER);
        RUN("docker exec %s sh -c 'dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null'", f->container);
        pid_t pid = fork();
        if (pid == 0) {
                Fixture child = *f;
                if (sd_event_new(&child.event) < 0 || http_new(child.event, &child.http) < 0 || make_agent(&child, getenv("SWARM_LAYER")) < 0)
                        _exit(1);
                child.on_stage = until_child_works;
                if (begin_capture(&child, CAPTURE_HOLD, NULL) < 0)
                        _exit(2);
                settle(&child);
                (void) kill(getpid(), SIGKILL);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_inspect(f, ".State.Paused", "true");
        assert_int_equal(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC), 0);
        assert_inspect(f, ".State.Paused", "false");
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
}

/* The Engine crashes while a container is held, and comes back: whatever it did to it, nothing is taken for unchanged
 * that may have run, and the files can be saved. */
static void test_engine_crash(void **state) {
        Fixture *f = *state;
        char running[16], paused[16];

        start_container(f, f->base, WRITER);
        RUN("docker exec %s sh -c 'while [ ! -e /counter ]; do sleep 0.01; done'", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        RUN("$SWARM_RIG engine crash");
        assert_int_equal(CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_true(agent_thaw_all(f->socket, f->dir, USEC_PER_SEC) < 0);
        assert_true(note_exists(f->a->frozen_dir, f->container));
        RUN("$SWARM_RIG engine start");
        inspect(f, ".State.Running", running, sizeof(running));
        inspect(f, ".State.Paused", paused, sizeof(paused));
        print_message("  after the restart: running %s, paused %s\n", running, paused);
        int r = CALL(f, agent_check_witness(f->a, f->container, f->witness, on_done, f, NULL));
        assert_true((r == 0) == streq(paused, "true"));
        assert_int_equal(CALL(f, agent_thaw(f->a, f->container, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, streq(running, "true") ? CAPTURE_HOLD : CAPTURE_EXITED), 0);
}

static void test_mounts(void **state) {
        Fixture *f = *state;

        assert_int_equal(setenv("AGENT_LIVE_ARGS", "-v agent-live:/srv --tmpfs /scratch", 1), 0);
        start_container(f, f->base, IDLER);
        assert_int_equal(unsetenv("AGENT_LIVE_ARGS"), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "/srv (volume)"));
        RUN("docker rm -fv %s >/dev/null", f->container);
        start_container(f, "$SWARM_VOLUME_IMAGE", IDLER);
        assert_int_equal(capture(f, CAPTURE_HOLD), 0);
        RUN("docker rm -fv %s >/dev/null", f->container);
        assert_int_equal(capture(f, CAPTURE_HOLD), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        f->container[0] = 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hold_and_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_thaw_breaks_witness, setup, teardown),
                cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
                cmocka_unit_test_setup_teardown(test_terminate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interruptions, setup, teardown),
                cmocka_unit_test_setup_teardown(test_agent_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_engine_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
        };

        return need_rig() ?: cmocka_run_group_tests(tests, NULL, NULL);
}
