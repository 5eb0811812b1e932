/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "swarmctl.h"

#define AGENT_PROGRAM "/usr/bin/pkttyagent"
/* How long it may take to register; without it polkit just has nobody to ask. */
#define AGENT_READY_MSEC 5000

static _noreturn_ void agent_run(int notify, pid_t parent) {
        char fd[16];
        /* Gives way to the desktop's agent, as systemd's tools do. Outside of a login session there is none, and there
         * polkit never looks for one that gives way. */
        const char *fallback = getenv("XDG_SESSION_ID") ? "--fallback" : NULL;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(EXIT_SUCCESS);
        int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
        if (tty < 0)
                _exit(EXIT_FAILURE);
        /* Pipes of the caller would never see the end of file while the agent holds them. */
        for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
                (void) dup2(tty, i);
        (void) fcntl(notify, F_SETFD, 0);
        (void) snprintf(fd, sizeof(fd), "%d", notify);
        (void) execl(AGENT_PROGRAM, AGENT_PROGRAM, "--notify-fd", fd, fallback, (char *) NULL);
        _exit(EXIT_FAILURE);
}

/* The other way round than usual: on another machine its polkit cannot reach an agent here. Root is never asked. */
static bool agent_wanted(const Context *c) {
        return c->args->ask_password && !c->args->host && geteuid() != 0 && isatty(STDIN_FILENO) &&
               isatty(STDERR_FILENO) && access(AGENT_PROGRAM, X_OK) == 0;
}

void polkit_agent_open(Context *c) {
        int p[2];

        if (c->agent_pid > 0 || !agent_wanted(c) || pipe2(p, O_CLOEXEC) < 0)
                return;
        pid_t self = getpid();
        c->agent_pid = fork();
        if (c->agent_pid == 0)
                agent_run(p[1], self);
        (void) close(p[1]);
        /* It closes its end when it is registered. */
        if (c->agent_pid > 0)
                (void) poll(&(struct pollfd) { .fd = p[0], .events = POLLIN }, 1, AGENT_READY_MSEC);
        (void) close(p[0]);
}

void polkit_agent_close(Context *c) {
        if (c->agent_pid <= 0)
                return;
        (void) kill(c->agent_pid, SIGTERM);
        (void) kill(c->agent_pid, SIGCONT);
        (void) waitpid(c->agent_pid, NULL, 0);
        c->agent_pid = 0;
}
