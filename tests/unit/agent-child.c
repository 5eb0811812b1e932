/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The container's process, a child in a control group of its own. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent-model.h"

/* The cpu time of the child's control group; cgroup v1 has a file of its own for it, v2 a line. */
static uint64_t child_cpu(Fixture *f) {
        static const char *const files[] = { "cpuacct.usage", "cpu.stat" };
        uint64_t cpu = 0;

        for (size_t i = 0; i < ELEMENTSOF(files) && cpu == 0; i++) {
                _cleanup_free_ char *path = strformat("%s/%s", f->cgroup, files[i]);
                FILE *file = fopen(path, "re");
                if (!file)
                        continue;
                if (fscanf(file, i == 0 ? "%" SCNu64 : "usage_usec %" SCNu64, &cpu) != 1)
                        cpu = 0;
                (void) fclose(file);
        }
        return cpu;
}

static void nap(void) {
        struct timespec ts = { .tv_nsec = 5 * 1000 * 1000 };
        (void) nanosleep(&ts, NULL);
}

static char child_state(Fixture *f) {
        _cleanup_free_ char *path = strformat("/proc/%i/stat", f->child);
        FILE *file = fopen(path, "re");
        char state = 0;

        if (file) {
                if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
                        state = 0;
                (void) fclose(file);
        }
        return state;
}

void child_wait_quiet(Fixture *f) {
        uint64_t before;

        do {
                before = child_cpu(f);
                nap();
        } while (f->cgroup[0] && child_state(f) != 'Z' && (child_state(f) != 'S' || child_cpu(f) != before));
}

void let_run(Fixture *f) {
        uint64_t before = child_cpu(f);

        (void) kill(f->child, SIGUSR1);
        while (f->cgroup[0] && child_state(f) != 'Z' && child_cpu(f) == before)
                nap();
        child_wait_quiet(f);
}

/* As runc does in version 2 of control groups. */
void child_write_freeze(const Model *m, const char *value) {
        int fd = m->unified_fd > 0 ? openat(m->unified_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC) : -1;

        if (fd >= 0) {
                (void) !write(fd, value, 1);
                (void) close(fd);
        }
}

static bool child_is_frozen(const Model *m) {
        int fd = openat(m->unified_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
        char events[128];
        ssize_t n = fd >= 0 ? read(fd, events, sizeof(events)) : -1;

        if (fd >= 0)
                (void) close(fd);
        return n >= 0 && memmem(events, (size_t) n, "frozen 1", strlen("frozen 1"));
}

/* runc answers when the kernel says so, which it does a moment before the child has left the processor. */
void child_await_frozen(Fixture *f) {
        static const struct timespec tick = { .tv_nsec = 10000000L };
        uint64_t before, now = child_cpu(f);

        if (f->model.unified_fd <= 0)
                return;
        do {
                before = now;
                (void) nanosleep(&tick, NULL);
                now = child_cpu(f);
        } while (before != now || !child_is_frozen(&f->model));
}

char child_read_freeze(const Model *m) {
        int fd = m->unified_fd > 0 ? openat(m->unified_fd, "cgroup.freeze", O_RDONLY | O_CLOEXEC) : -1;
        char c = 0;

        if (fd >= 0) {
                (void) !read(fd, &c, 1);
                (void) close(fd);
        }
        return c;
}

char child_freeze(Fixture *f) {
        char c = child_read_freeze(&f->model);

        assert_int_not_equal(c, 0);
        return c;
}

static void on_usr1(int signo) {
        for (volatile unsigned i = 0; i < 5 * 1000 * 1000; i++)
                ;
}

/* Makes no such file where there is none: the folder is then no cgroup. */
bool write_procs(int dir, pid_t pid) {
        int fd = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        bool written = fd >= 0 && dprintf(fd, "%i\n", pid) > 0;

        if (fd >= 0)
                (void) close(fd);
        return written;
}

bool child_enter_cgroup(Fixture *f) {
        static const char *const roots[] = { "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup" };

        for (size_t i = 0; i < ELEMENTSOF(roots); i++) {
                snprintf(f->cgroup, sizeof(f->cgroup), "%s/swarm-test-agent-%i-" ID, roots[i], getpid());
                if (mkdir(f->cgroup, 0755) < 0)
                        continue;
                _cleanup_close_ int fd = open(f->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd >= 0 && write_procs(fd, f->child))
                        return true;
                (void) rmdir(f->cgroup);
        }
        f->cgroup[0] = 0;
        return false;
}

/* Where the machine has version 1, version 2 is mounted for this process alone. */
int child_enter_unified(Fixture *f) {
        _cleanup_free_ char *mount_point = strformat("%s/unified", f->dir), *cgroup = strformat("%s/swarm-test-agent-%i-" ID, mount_point, getpid());
        int fd;

        if (strncmp(f->cgroup, "/sys/fs/cgroup/swarm-", strlen("/sys/fs/cgroup/swarm-")) == 0)
                return f->model.unified_fd = open(f->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mkdir(mount_point, 0755) < 0 ||
            mount("cgroup2", mount_point, "cgroup2", 0, NULL) < 0 || mkdir(cgroup, 0755) < 0)
                return -1;
        fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || !write_procs(fd, f->child))
                return -1;
        return f->model.unified_fd = fd;
}

void child_leave_unified(Fixture *f) {
        _cleanup_free_ char *mount_point = strformat("%s/unified", f->dir), *cgroup = strformat("%s/swarm-test-agent-%i-" ID, mount_point, getpid());
        int root = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void) close(f->model.unified_fd);
        f->model.unified_fd = 0;
        if (root < 0)
                return;
        assert_true(write_procs(root, f->child));
        (void) close(root);
        assert_int_equal(rmdir(cgroup), 0);
        assert_int_equal(umount(mount_point), 0);
}

#define FREEZER "/sys/fs/cgroup/freezer"

int child_enter_freezer(Fixture *f) {
        _cleanup_free_ char *cgroup = strformat(FREEZER "/swarm-test-agent-%i-" ID, getpid());

        if (mkdir(cgroup, 0755) < 0)
                return -1;
        f->freezer_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (f->freezer_fd >= 0 && write_procs(f->freezer_fd, f->child))
                return f->freezer_fd;
        (void) rmdir(cgroup);
        return -1;
}

bool child_thaw_freezer(Fixture *f) {
        _cleanup_close_ int fd = openat(f->freezer_fd, "freezer.state", O_RDWR | O_CLOEXEC);
        char state[16] = "";

        return pread(fd, state, sizeof(state) - 1, 0) > 0 && startswith(state, "FROZEN") && pwrite(fd, "THAWED", 6, 0) == 6;
}

/* Nothing is frozen in the root. */
bool child_leave_freezer(Fixture *f) {
        _cleanup_free_ char *cgroup = strformat(FREEZER "/swarm-test-agent-%i-" ID, getpid());
        _cleanup_close_ int root = open(FREEZER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void) close(f->freezer_fd);
        f->freezer_fd = 0;
        return write_procs(root, f->child) && rmdir(cgroup) >= 0;
}

void child_start(Fixture *f) {
        f->child = fork();
        assert_true(f->child >= 0);
        if (f->child == 0) {
                sigset_t none;
                sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL);
                (void) signal(SIGUSR1, on_usr1);
                for (;;)
                        pause();
        }
}

/* ---- the command's process */

void command_start(Fixture *f, bool ignores_hangup) {
        int ready[2];
        char c;
        pid_t pid;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                sigset_t none;
                sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL);
                (void) signal(SIGHUP, ignores_hangup ? SIG_IGN : SIG_DFL);
                if (f->cgroup[0]) {
                        int dir = open(f->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        (void) write_procs(dir, getpid());
                }
                (void) !write(ready[1], "", 1);
                for (;;)
                        pause();
        }
        assert_int_equal(read(ready[0], &c, 1), 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        MODEL(f, m->command = pid);
}

void command_end(Fixture *f, int code) {
        pid_t pid = MODEL(f, m->command);

        (void) kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        MODEL(f, m->command_code = code);
}

int command_wait(Fixture *f) {
        pid_t pid = MODEL(f, m->command);
        int status = 0;

        UNTIL(f, waitpid(pid, &status, WNOHANG) == pid);
        MODEL(f, m->command_code = 128 + WTERMSIG(status));
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
