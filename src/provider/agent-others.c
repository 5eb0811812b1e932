/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a frozen container's other processes. The Engine signals the first one only, and thaws the container for that.
 * The kernel ends the others when the first one has given back its memory, which takes a while if it is much; until then they
 * would run, and what they wrote would be in no generation. A signal that they have got while frozen lets none run again. */

#include <fcntl.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/pidfd.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

/* Only what is frozen is signalled: whatever cgroup a wrong pid leads to, it is none that others work in. */
static int find_frozen(pid_t first, const char **ret_controller) {
        _cleanup_free_ char *state = NULL, *events = NULL;
        int r = cgroup_read(first, "freezer", "freezer.state", &state);

        *ret_controller = "freezer";
        if (r >= 0 && startswith(state, "FROZEN"))
                return 0;
        /* Where both versions are mounted, the one that Docker does not use says that nothing is frozen. */
        *ret_controller = "";
        r = cgroup_read(first, "", "cgroup.events", &events);
        if (r < 0)
                return r;
        return startswith(events, "frozen 1") || strstr(events, "\nfrozen 1") ? 0 : -EBUSY;
}

static int read_path(pid_t pid, const char *controller, char **ret) {
        _cleanup_free_ char *cgroups = NULL;
        char path[64];
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%i/cgroup", pid);
        r = read_file(path, PROC_FILE_MAX, &cgroups);
        return r < 0 ? r : cgroup_path_parse(cgroups, controller, ret);
}

static int end_process(pid_t pid, const char *controller, const char *cgroup) {
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        _cleanup_free_ char *its = NULL;
        int r;

        if (fd < 0)
                return errno == ESRCH ? 0 : -errno;
        /* The number may have become somebody else's, but not from now on. */
        r = read_path(pid, controller, &its);
        if (r < 0)
                return r == -ESRCH || r == -ENOENT ? 0 : r;
        if (!streq(its, cgroup))
                return 0;
        return pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH ? -errno : 0;
}

static int end_members(pid_t first, const char *controller) {
        _cleanup_free_ char *members = NULL, *cgroup = NULL;
        int r, failed = 0;
        char *end;

        r = read_path(first, controller, &cgroup);
        if (r >= 0)
                r = cgroup_read(first, controller, "cgroup.procs", &members);
        if (r < 0)
                return r;
        for (const char *p = members; *p; p = end + strspn(end, "\n")) {
                long pid = strtol(p, &end, 10);

                if (end == p)
                        return -EBADMSG;
                r = pid > 0 && pid != first ? end_process((pid_t) pid, controller, cgroup) : 0;
                if (r < 0)
                        failed = r;
        }
        return failed;
}

static int end_main(pid_t first, const char *controller) {
        _cleanup_free_ char *cgroup = NULL;
        int r = read_path(first, controller, &cgroup);

        return r < 0 ? r : end_process(first, controller, cgroup);
}

/* Held by the service, and in force here only. Root needs none for processes of root. Returns what was before, with which it is laid down:
 * no memory is needed for that any more. */
cap_t agent_use_capability(cap_value_t needed) {
        cap_t before = cap_get_proc(), caps = before ? cap_dup(before) : NULL;

        if (!caps || cap_set_flag(caps, CAP_EFFECTIVE, 1, &needed, CAP_SET) < 0 || cap_set_proc(caps) < 0)
                log_debug_errno(errno, "Capability %i cannot be used: %m", needed);
        if (caps)
                (void) cap_free(caps);
        return before;
}

void agent_lay_down(cap_t before) {
        if (!before)
                return;
        if (cap_set_proc(before) < 0)
                log_debug_errno(errno, "A capability cannot be laid down: %m");
        (void) cap_free(before);
}

static int end_frozen(pid_t first, int (*end)(pid_t first, const char *controller)) {
        const char *controller;
        cap_t before;
        int r;

        r = first > 0 ? find_frozen(first, &controller) : -ESRCH;
        if (r < 0)
                return r;
        before = agent_use_capability(CAP_KILL);
        r = end(first, controller);
        agent_lay_down(before);
        return r;
}

int agent_end_others(pid_t first) {
        return end_frozen(first, end_members);
}

int agent_end_main(pid_t first) {
        return end_frozen(first, end_main);
}

int agent_signal_process(int pidfd, int signo) {
        cap_t before = agent_use_capability(CAP_KILL);
        int r = pidfd_send_signal(pidfd, signo, NULL, 0) < 0 ? -errno : 0;

        agent_lay_down(before);
        return r;
}
