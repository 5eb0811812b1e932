/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the agent reads: mounts, control groups, what the Engine says of a container. */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent-model.h"

static void test_parse_mounts(void **state) {
        static const char good[] =
                "22 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n"
                "398 137 0:55 / / rw,relatime master:32 shared:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/a\\040b\\054c/diff,workdir=/w\n"
                "399 398 0:58 / /proc rw - proc proc rw\n";
        _cleanup_free_ char *upper = NULL, *mount = NULL, *root = NULL, *path = NULL;

        assert_int_equal(upperdir_from_mountinfo(good, &upper), 0);
        assert_string_equal(upper, "/var/lib/a b,c/diff");
        assert_int_equal(upperdir_from_mountinfo("", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - overlay", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - ext4 /dev/x rw,upperdir=/no\n", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - overlay o rw,lowerdir=/x\n", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("\n\n1\n - \n", &upper), -ENOENT);

        static const char mounts[] =
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                "41 31 0:38 /machine /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_int_equal(cgroup_mount_parse(mounts, "cpuacct", &mount, &root), 0);
        assert_string_equal(mount, "/sys/fs/cgroup/cpu,cpuacct");
        assert_string_equal(root, "/");
        assert_int_equal(cgroup_mount_parse(mounts, "acct", &mount, &root), -ENOENT);
        assert_int_equal(cgroup_mount_parse(mounts, "", &mount, &root), 0);
        assert_string_equal(root, "/machine");

        static const char groups[] = "12:cpu,cpuacct:/docker/x\n2:memory:/m\n0::/unified/x\n";
        assert_int_equal(cgroup_path_parse(groups, "cpuacct", &path), 0);
        assert_string_equal(path, "/docker/x");
        assert_int_equal(cgroup_path_parse(groups, "", &path), 0);
        assert_string_equal(path, "/unified/x");
        assert_int_equal(cgroup_path_parse(groups, "cpua", &path), -ENOENT);
        assert_int_equal(cgroup_path_parse("::\n:\n\n", "cpuacct", &path), -ENOENT);
}

static void test_parse_facts(void **state) {
        static const char text[] =
                "{\"Id\":\"abc\",\"State\":{\"Running\":true,\"Paused\":true,\"Pid\":1,\"StartedAt\":\"" STARTED "\",\"FinishedAt\":\"" FINISHED "\"},"
                "\"Config\":{\"Image\":\"base:latest\",\"Volumes\":{\"/data\":{}}},\"HostConfig\":{\"Tmpfs\":{\"/scratch\":\"\"}},"
                "\"GraphDriver\":{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/u\"}},\"Mounts\":["
                "{\"Type\":\"volume\",\"Name\":\"" ID "\",\"Destination\":\"/data\"},"
                "{\"Type\":\"volume\",\"Name\":\"named\",\"Destination\":\"/data\"},"
                "{\"Type\":\"bind\",\"Source\":\"/x\",\"Destination\":\"/host\"},{}]}";
        _cleanup_json_ json_t *json = json_loads(text, 0, NULL);
        ContainerFacts facts = {};

        assert_int_equal(container_facts_parse(json, &facts), 0);
        assert_true(facts.running && facts.paused);
        assert_int_equal(facts.finished_usec, UINT64_C(1767323100500000));
        assert_null(facts.image);
        assert_string_equal(facts.upperdir, "/u");
        assert_int_equal(strv_length(facts.mounts), 4);
        assert_string_equal(facts.mounts[0], "/data (volume)");
        assert_string_equal(facts.mounts[1], "/host (bind)");
        assert_string_equal(facts.mounts[3], "/scratch (tmpfs)");
        container_facts_done(&facts);
#define DIGEST "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
        static const char *const images[][2] = {
                { "host:5000/a/b:tag" DIGEST, "host:5000/a/b" DIGEST },
                { "host.test/b" DIGEST, "host.test/b" DIGEST },
                { "localhost/b" DIGEST, "localhost/b" DIGEST },
                { "b" DIGEST, "docker.io/library/b" DIGEST },
                { "host.test/b:1", NULL },
                { "host.test/b@sha256:00", NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(images); i++) {
                assert_int_equal(json_object_set_new(json_at(json, "Config"), "Image", json_string(images[i][0])), 0);
                assert_int_equal(container_facts_parse(json, &facts), 0);
                assert_true(streq_ptr(facts.image, images[i][1]));
                container_facts_done(&facts);
        }
        json_t *empty = json_object();
        assert_int_equal(container_facts_parse(empty, &facts), -EBADMSG);
        json_decref(empty);
        assert_int_equal(container_facts_parse(NULL, &facts), -EBADMSG);

        assert_true(container_id_is_valid(ID));
        assert_false(container_id_is_valid("../etc"));
        assert_false(container_id_is_valid(".hidden"));
        assert_false(container_id_is_valid("a/b"));
        assert_false(container_id_is_valid("a?b"));
        assert_false(container_id_is_valid(""));
        assert_false(container_id_is_valid(NULL));
}

/* A pid that leads elsewhere ends nobody: the cgroup of a process that runs is not frozen. */
static void test_others_of_what_runs(void **state) {
        pid_t child = fork(), again;

        if (child == 0) {
                (void) pause();
                _exit(0);
        }
        assert_true(child > 0);
        assert_true(agent_end_others(child) < 0);
        assert_true(agent_end_others(getpid()) < 0);
        assert_int_equal(agent_end_others(0), -ESRCH);
        again = waitpid(child, NULL, WNOHANG);
        (void) kill(child, SIGKILL);
        (void) waitpid(child, NULL, 0);
        assert_int_equal(again, 0);
}

/* On a node with many containers, each upon many layers. To be the last: it leaves the mounts of this machine. */
static void test_many_mounts(void **state) {
        char path[4000] = "/tmp";
        uint64_t nsec;

        if (geteuid() != 0 || cgroup_cpu_nsec(getpid(), &nsec) < 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/tmp", "tmpfs", 0, NULL) < 0)
                skip();
        while (strlen(path) + 202 < sizeof(path)) {
                (void) snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%0200d", 0);
                assert_int_equal(mkdir(path, 0700), 0);
        }
        for (unsigned i = 0; i < 400; i++)
                assert_int_equal(mount("none", path, "tmpfs", 0, NULL), 0);
        assert_int_equal(cgroup_cpu_nsec(getpid(), &nsec), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_mounts),
                cmocka_unit_test(test_parse_facts),
                cmocka_unit_test(test_others_of_what_runs),
                cmocka_unit_test(test_many_mounts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
