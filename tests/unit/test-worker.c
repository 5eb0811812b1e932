/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "event/event-util.h"
#include "event/worker-child.h"
#include "event/worker.h"

typedef struct Fixture {
        sd_event *event;
        Worker *worker;
        Strv lines;
        size_t n_lines, bytes;
        bool keep, free_on_line, exited, late;
        int code, status;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        assert_true(sd_event_new(&f->event) >= 0);
        f->keep = true;
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;
        worker_free(f->worker);
        strv_free(f->lines);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void on_line(Worker *w, const char *line, size_t length, void *userdata) {
        Fixture *f = userdata;

        assert_int_equal(strlen(line), length);
        f->late = f->late || f->exited;
        f->n_lines++;
        f->bytes += length;
        if (f->keep)
                assert_int_equal(strv_extend(&f->lines, line), 0);
        if (f->free_on_line)
                f->worker = worker_free(f->worker);
}

static void on_exit_cb(Worker *w, int code, int status, void *userdata) {
        Fixture *f = userdata;

        assert_false(f->exited);
        f->exited = true;
        f->code = code;
        f->status = status;
        f->worker = worker_free(f->worker);
}

static int spawn_with(Fixture *f, const char *script, const int *caps, usec_t timeout, const int *fds, size_t n_fds) {
        const char *argv[] = { "/bin/sh", "-c", script, NULL };

        return worker_spawn(f->event, &(const WorkerSpec) {
                .argv = argv,
                .log_prefix = "child",
                .ambient_caps = caps,
                .fds = fds,
                .n_fds = n_fds,
                .timeout_usec = timeout,
                .on_line = on_line,
                .on_exit = on_exit_cb,
                .userdata = f,
        }, &f->worker);
}

static void spawn_full(Fixture *f, const char *script, const int *caps, usec_t timeout) {
        assert_int_equal(spawn_with(f, script, caps, timeout, NULL, 0), 0);
}

static void spawn(Fixture *f, const char *script) {
        spawn_full(f, script, NULL, USEC_INFINITY);
}

static void run(Fixture *f) {
        for (unsigned i = 0; !f->exited && i < 1000000; i++)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
        assert_true(f->exited);
        assert_false(f->late);
}

static void test_lines(void **state) {
        Fixture *f = *state;

        spawn(f, "echo one; echo; printf 'two\\ncut'; exit 7");
        assert_true(worker_pid(f->worker) > 0);
        run(f);
        assert_int_equal(strv_length(f->lines), 3);
        assert_string_equal(f->lines[0], "one");
        assert_string_equal(f->lines[1], "");
        assert_string_equal(f->lines[2], "two");
        assert_int_equal(f->code, CLD_EXITED);
        assert_int_equal(f->status, 7);
}

static void test_input(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *big = malloc(3 * MIB);

        f->keep = false;
        memset(big, 'x', 3 * MIB);
        for (size_t i = 999; i < 3 * MIB; i += 1000)
                big[i] = '\n';
        spawn(f, "head -c 3145739");
        assert_int_equal(worker_send(f->worker, "begin\n", 6), 0);
        assert_int_equal(worker_send(f->worker, big, 3 * MIB), 0);
        assert_int_equal(worker_send(f->worker, "\nend\n", 5), 0);
        run(f);
        assert_int_equal(f->status, 0);
        assert_int_equal(f->bytes + f->n_lines, 3 * MIB + 11);
}

static void test_input_refused(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *big = calloc(1, MIB);

        spawn(f, "exec <&-; sleep 0.1; echo ok");
        assert_int_equal(worker_send(f->worker, big, MIB), 0);
        run(f);
        assert_string_equal(f->lines[0], "ok");
        assert_int_equal(f->status, 0);
}

static void test_grandchild_keeps_pipe(void **state) {
        Fixture *f = *state;

        spawn(f, "sleep 3 & echo done");
        run(f);
        assert_string_equal(f->lines[0], "done");
        assert_int_equal(f->code, CLD_EXITED);
}

/* That of a child, whose parent has `score`: in a file in the place of the kernel's, which needs a right to be below 0. */
static void check_oom_score(const char *score, const char *expected) {
        char *argv[] = { (char *) "/bin/true", NULL }, buffer[16] = {};
        int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd = open("/proc/self/oom_score_adj", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        pid_t pid;

        assert_int_equal(write(fd, score, strlen(score)), strlen(score));
        pid = worker_child_fork(&(const ChildSetup) { .in = null, .out = null, .err = null, .parent = getpid(), .argv = argv, .envp = argv + 1 });
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(pread(fd, buffer, sizeof(buffer) - 1, 0) > 0);
        assert_string_equal(buffer, expected);
        (void) close(fd);
        (void) close(null);
}

/* A daemon may be one that is spared when memory is short. */
static void test_oom_score(void **state) {
        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", "/proc", "tmpfs", 0, NULL) < 0)
                skip();
        assert_int_equal(mkdir("/proc/self", 0755), 0);
        check_oom_score("-500", "0500");        /* of a file the first byte is overwritten */
        check_oom_score("300", "300");
        check_oom_score("0", "0");
        assert_int_equal(umount2("/proc", MNT_DETACH), 0);
}

static void test_environment(void **state) {
        Fixture *f = *state;

        assert_int_equal(setenv("NOTIFY_SOCKET", "/run/x", 1), 0);
        assert_int_equal(setenv("SWARM_TEST", "kept", 1), 0);
        spawn(f, "echo \"${NOTIFY_SOCKET:-none} $SWARM_TEST\"; ls /proc/self/fd | wc -l; grep -E 'SigBlk|SigIgn' /proc/self/status");
        (void) unsetenv("NOTIFY_SOCKET");
        run(f);
        assert_string_equal(f->lines[0], "none kept");
        /* 0, 1, 2 and the one that ls reads the directory with */
        assert_int_equal(atoi(f->lines[1]), 4);
        assert_string_equal(f->lines[2], "SigBlk:\t0000000000000000");
        assert_string_equal(f->lines[3], "SigIgn:\t0000000000000000");
}

/* A file that holds a digit, at the lowest descriptor that is not below `at`. */
static int digit_at(int at, char digit) {
        _cleanup_fclose_ FILE *file = tmpfile();
        int fd;

        assert_non_null(file);
        assert_int_equal(write(fileno(file), &digit, 1), 1);
        assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
        fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, at);
        assert_true(fd >= at);
        return fd;
}

/* So many, and in such an order, that some lie where others are to be; and one that is given twice. */
static void test_descriptors(void **state) {
        Fixture *f = *state;
        int fds[11];

        for (size_t i = 0; i < 10; i++)
                fds[9 - i] = digit_at(3, (char) ('9' - (int) i));
        fds[10] = fds[9];
        assert_true(fds[9] < 13);
        assert_int_equal(spawn_with(f, "for i in 3 4 5 6 7 8 9; do head -c1 /dev/fd/$i; done; echo; [ /dev/fd/13 -ef /dev/fd/12 ] && echo same; "
                                    "ls /proc/self/fd | wc -l", NULL, USEC_INFINITY, fds, 11), 0);
        run(f);
        assert_string_equal(f->lines[0], "0123456");
        assert_string_equal(f->lines[1], "same");
        /* 0 to 13, and the one that ls reads the directory with */
        assert_int_equal(atoi(f->lines[2]), 15);
        for (size_t i = 0; i < 10; i++) {
                /* Ours is as it was. */
                assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
                (void) close(fds[i]);
        }
}

/* A daemon that was started without standard descriptors may have been given them for something else. */
static void test_descriptors_below(void **state) {
        Fixture *f = *state;
        _cleanup_close_ int saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
        _cleanup_close_ int digit = digit_at(10, '7');

        assert_int_equal(dup2(digit, STDIN_FILENO), STDIN_FILENO);
        assert_int_equal(spawn_with(f, "head -c1 <&3; echo; cat", NULL, USEC_INFINITY, (const int[]) { STDIN_FILENO }, 1), 0);
        (void) worker_send(f->worker, "sent\n", 5);
        while (strv_length(f->lines) < 2)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
        assert_string_equal(f->lines[0], "7");
        assert_string_equal(f->lines[1], "sent");
        assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
}

static void test_descriptors_bad(void **state) {
        Fixture *f = *state;
        int many[100] = {};

        assert_int_equal(spawn_with(f, "true", NULL, USEC_INFINITY, (const int[]) { STDERR_FILENO, -EBADF }, 2), -EBADF);
        assert_int_equal(spawn_with(f, "true", NULL, USEC_INFINITY, many, ELEMENTSOF(many)), -EINVAL);
        assert_null(f->worker);
}

static uint64_t caps_of(const char *line, const char *key) {
        const char *p = startswith(line, key);
        assert_non_null(p);
        return strtoull(p, NULL, 16);
}

static void test_capabilities(void **state) {
        static const int caps[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, -1 };
        const uint64_t want = UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_DAC_READ_SEARCH;
        Fixture *f = *state;

        if (geteuid() != 0)
                skip();
        spawn_full(f, "grep -E 'CapPrm|CapEff|CapBnd|CapAmb' /proc/self/status", caps, USEC_INFINITY);
        run(f);
        assert_int_equal(caps_of(f->lines[0], "CapPrm:"), want);
        assert_int_equal(caps_of(f->lines[1], "CapEff:"), want);
        assert_int_equal(caps_of(f->lines[2], "CapBnd:"), want);
        assert_int_equal(caps_of(f->lines[3], "CapAmb:"), want);
}

static void test_no_capabilities(void **state) {
        Fixture *f = *state;

        spawn(f, "grep -E 'CapPrm|CapEff|CapAmb' /proc/self/status");
        run(f);
        assert_int_equal(caps_of(f->lines[0], "CapPrm:"), 0);
        assert_int_equal(caps_of(f->lines[1], "CapEff:"), 0);
        assert_int_equal(caps_of(f->lines[2], "CapAmb:"), 0);
}

static void test_killed(void **state) {
        Fixture *f = *state;

        spawn(f, "kill -9 $$");
        run(f);
        assert_int_equal(f->code, CLD_KILLED);
        assert_int_equal(f->status, SIGKILL);
}

static void test_silence(void **state) {
        Fixture *f = *state;

        /* Together the lines take longer than that. */
        spawn_full(f, "echo a; sleep 1.2; echo b; sleep 1.2; echo c; sleep 60", NULL, 2 * USEC_PER_SEC);
        run(f);
        assert_int_equal(f->n_lines, 3);
        assert_int_equal(f->code, CLD_KILLED);
}

static void test_long_line(void **state) {
        Fixture *f = *state;

        f->keep = false;
        spawn(f, "echo first; head -c 2000000 /dev/zero | tr '\\0' x; echo; echo never");
        run(f);
        assert_int_equal(f->n_lines, 1);
        assert_int_equal(f->code, CLD_KILLED);
}

static void test_large_output(void **state) {
        Fixture *f = *state;

        f->keep = false;
        spawn(f, "seq 1 500000; seq 1 2000 >&2");
        run(f);
        assert_int_equal(f->n_lines, 500000);
        assert_int_equal(f->bytes, 2888895);
        assert_int_equal(f->status, 0);
}

static void assert_reaped(Fixture *f, pid_t pid) {
        for (unsigned i = 0; i < 100 && kill(pid, 0) >= 0; i++)
                (void) sd_event_run(f->event, 20 * USEC_PER_MSEC);
        assert_int_equal(kill(pid, 0), -1);
        assert_int_equal(errno, ESRCH);
}

static void test_free_running(void **state) {
        Fixture *f = *state;
        pid_t pid;

        spawn(f, "sleep 60");
        pid = worker_pid(f->worker);
        f->worker = worker_free(f->worker);
        assert_reaped(f, pid);
        assert_false(f->exited);
}

static void test_free_on_line(void **state) {
        Fixture *f = *state;
        pid_t pid;

        f->free_on_line = true;
        spawn(f, "echo one; echo two; exec sleep 60");
        pid = worker_pid(f->worker);
        while (f->n_lines == 0)
                assert_true(sd_event_run(f->event, USEC_PER_SEC) > 0);
        assert_null(f->worker);
        assert_reaped(f, pid);
        assert_int_equal(f->n_lines, 1);
        assert_false(f->exited);
}

/* The loop goes away while the child is being reaped. */
static unsigned count_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

/* Of what is ready at the same time the loop takes the last when it has taken the first: the end, and with it the line that was to come
 * before. Nothing stays behind. */
static void test_free_by_last_line(void **state) {
        Fixture *f = *state;
        unsigned before = 0;

        f->free_on_line = true;
        for (unsigned i = 0; i < 20; i++) {
                siginfo_t si;

                f->n_lines = 0;
                spawn(f, "echo said >&2; echo last");
                assert_int_equal(waitid(P_PID, (id_t) worker_pid(f->worker), &si, WEXITED | WNOWAIT), 0);
                while (f->n_lines == 0)
                        assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) >= 0);
                assert_null(f->worker);
                while (sd_event_run(f->event, 0) > 0)
                        ;
                if (i == 0)
                        before = count_fds();
        }
        assert_int_equal(count_fds(), before);
}

static void test_free_with_loop(void **state) {
        Fixture *f = *state;
        pid_t pid;

        spawn(f, "sleep 60");
        pid = worker_pid(f->worker);
        f->worker = worker_free(f->worker);
        f->event = sd_event_unref(f->event);
        assert_int_equal(kill(pid, 0), -1);
}

/* Who is let go of counts until the kernel has done with it. */
static void test_kept(void **state) {
        Fixture *f = *state;

        assert_int_equal(workers_kept(), 0);
        for (unsigned i = 0; i < 3; i++) {
                spawn(f, "sleep 60");
                f->worker = worker_free(f->worker);
        }
        assert_int_equal(workers_kept(), 3);
        while (workers_kept() > 0)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
        /* One that has ended by itself is none. */
        spawn(f, "true");
        while (!f->exited)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
        assert_int_equal(workers_kept(), 0);
        spawn(f, "sleep 60");
        f->worker = worker_free(f->worker);
        f->event = sd_event_unref(f->event);
        assert_int_equal(workers_kept(), 0);
}

static void test_missing(void **state) {
        const char *argv[] = { "/nonexistent/program", NULL };
        Fixture *f = *state;
        WorkerSpec spec = { .argv = argv, .on_line = on_line, .on_exit = on_exit_cb, .userdata = f };

        assert_int_equal(worker_spawn(f->event, &spec, &f->worker), -ENOENT);
        assert_null(f->worker);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_lines), T(test_input), T(test_input_refused), T(test_grandchild_keeps_pipe), T(test_environment),
                T(test_capabilities), T(test_no_capabilities), T(test_killed), T(test_silence),
                T(test_long_line), T(test_large_output), T(test_free_running), T(test_free_on_line),
                T(test_free_by_last_line),
                T(test_free_with_loop), T(test_kept), T(test_missing), T(test_oom_score),
                T(test_descriptors), T(test_descriptors_below), T(test_descriptors_bad),
        };
        (void) log_set_max_level(LOG_ERR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
