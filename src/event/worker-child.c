/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "basic/string-util.h"
#include "event/worker-child.h"

extern char **environ;

/* Between fork and exec: system calls only, since other threads may hold malloc's lock. */

static void child_reset_signals(void) {
        struct sigaction sa = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int s = 1; s < _NSIG; s++)
                (void) sigaction(s, &sa, NULL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The daemon may be one that is spared when memory is short. A child that parses foreign bytes is not, which needs no right. */
static void child_reset_oom_score(void) {
        int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
        char sign;

        if (fd < 0)
                return;
        if (read(fd, &sign, 1) == 1 && sign == '-')
                (void) !pwrite(fd, "0", 1, 0);
        (void) close(fd);
}

static bool cap_wanted(const int *caps, int cap) {
        for (; caps && *caps >= 0; caps++)
                if (*caps == cap)
                        return true;
        return false;
}

/* What the child holds after exec is its ambient set (or, for root, its bounding set). A capability that the daemon does
 * not hold itself is left out: the child says best what it cannot do without. */
static void child_set_capabilities(const int *caps) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};

        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if (geteuid() == 0)
                for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
                        if (!cap_wanted(caps, c))
                                (void) prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
        if (syscall(SYS_capget, &header, data) < 0)
                return;
        data[0].inheritable = data[1].inheritable = 0;
        for (const int *c = caps; c && *c >= 0; c++)
                data[*c / 32].inheritable |= data[*c / 32].permitted & (1U << (*c % 32));
        if (syscall(SYS_capset, &header, data) < 0)
                return;
        for (const int *c = caps; c && *c >= 0; c++)
                (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, *c, 0, 0);
}

/* The standard descriptors, and what `fds` names behind them. These may have any number, also one that another is to get: so
 * they are first moved above all of the targets. dup2() leaves close-on-exec behind. */
static bool child_set_descriptors(const ChildSetup *c) {
        int first = STDERR_FILENO + 1, end = first + (int) c->n_fds;

        for (size_t i = 0; i < c->n_fds; i++) {
                c->fds[i] = fcntl(c->fds[i], F_DUPFD, end);
                if (c->fds[i] < 0)
                        return false;
        }
        if (dup2(c->in, STDIN_FILENO) < 0 || dup2(c->out, STDOUT_FILENO) < 0 || dup2(c->err, STDERR_FILENO) < 0)
                return false;
        for (size_t i = 0; i < c->n_fds; i++)
                if (dup2(c->fds[i], first + (int) i) < 0)
                        return false;
        return syscall(SYS_close_range, (unsigned) end, ~0U, 0U) >= 0;
}

static _noreturn_ void child_run(const ChildSetup *c) {
        static const char message[] = "<3>cannot be executed\n";

        child_reset_signals();
        if (!child_set_descriptors(c))
                _exit(126);
        child_reset_oom_score();
        child_set_capabilities(c->caps);
        /* After the capabilities, since a change of credentials clears it; the parent may be dead by now. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != c->parent)
                _exit(126);
        execve(c->argv[0], c->argv, c->envp);
        (void) !write(STDERR_FILENO, message, sizeof(message) - 1);
        _exit(127);
}

int worker_child_environment(char ***ret) {
        static const char *const dropped[] = {
                "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=",
                "CREDENTIALS_DIRECTORY=", "JOURNAL_STREAM=",
        };
        char **env = calloc(strv_length(environ) + 1, sizeof(char *));
        size_t n = 0;

        if (!env)
                return -ENOMEM;
        STRV_FOREACH(e, environ) {
                bool keep = true;
                for (size_t i = 0; i < ELEMENTSOF(dropped); i++)
                        if (startswith(*e, dropped[i]))
                                keep = false;
                if (keep)
                        env[n++] = *e;
        }
        *ret = env;
        return 0;
}

pid_t worker_child_fork(const ChildSetup *setup) {
        sigset_t all, saved;
        pid_t pid;

        /* Over the fork, so that no handler of the parent runs in the child. */
        sigfillset(&all);
        if (sigprocmask(SIG_SETMASK, &all, &saved) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                child_run(setup);
        if (pid < 0)
                pid = -errno;
        (void) sigprocmask(SIG_SETMASK, &saved, NULL);
        return pid;
}
