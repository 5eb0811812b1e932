/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container's control group, where the Engine does not get at it: its freezer, and whether anything is left in it. */

#include <dirent.h>
#include <fcntl.h>

#include "provider/agent-internal.h"

/* It is root's. */
static int write_freezer(const char *file, const char *value) {
        cap_t before = agent_use_capability(CAP_DAC_OVERRIDE);
        _cleanup_close_ int fd = open(file, O_WRONLY | O_CLOEXEC);
        int r = fd < 0 ? -errno : write_full(fd, value, strlen(value));

        agent_lay_down(before);
        return r;
}

/* What a freeze that failed has left. The Engine knows of none, and runc freezes no second time what the kernel has frozen ("container
 * not running"), so that the Engine would never come to know. Source: runc libcontainer/container_linux.go, Pause. */
int agent_let_run(pid_t first) {
        _cleanup_free_ char *file = NULL;
        int r = cgroup_file(first, "", "cgroup.freeze", &file);

        return r < 0 ? r : write_freezer(file, "0");
}

typedef struct Freezer {
        const char *controller, *file, *thaw, *freeze;
} Freezer;

static const Freezer freezers[] = {
        { "freezer", "freezer.state", "THAWED", "FROZEN" },
        { "", "cgroup.freeze", "0", "1" },
};

/* A process may be in a group below its container's, which bears its id. */
static int group_of(pid_t pid, const char *controller, const char *container, const char *file, char **ret) {
        _cleanup_free_ char *path = NULL;
        int r = cgroup_file(pid, controller, file, &path);
        char *p = r >= 0 ? strstr(path, container) : NULL;

        if (!p)
                return r < 0 ? r : -ENOENT;
        p[strcspn(p, "/")] = 0;
        *ret = strformat("%s/%s", path, file);
        return *ret ? 0 : -ENOMEM;
}

int cgroup_members_file(pid_t pid, const char *container, char **ret) {
        int r = group_of(pid, "cpuacct", container, "cgroup.procs", ret);

        return r < 0 && r != -ENOMEM ? group_of(pid, "", container, "cgroup.events", ret) : r;
}

bool cgroup_is_empty(const char *members) {
        _cleanup_free_ char *text = NULL;
        int r = read_file(members, PROC_FILE_MAX, &text);

        if (r < 0)
                return r == -ENOENT || r == -ENODEV;
        return !*text || startswith(text, "populated 0") || strstr(text, "\npopulated 0");
}

static int find_freezer(const char *container, const Freezer **ret, char **ret_file) {
        DIR *d = opendir("/proc");
        struct dirent *entry;
        int r = -ENOENT;

        if (!d)
                return -errno;
        while (r < 0 && r != -ENOMEM && (entry = readdir(d))) {
                _cleanup_free_ char *cgroups = NULL;
                char path[64];
                uint64_t pid;

                if (parse_u64(entry->d_name, &pid) < 0 || pid > INT32_MAX)
                        continue;
                (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cgroup", pid);
                if (read_file(path, PROC_FILE_MAX, &cgroups) < 0 || !strstr(cgroups, container))
                        continue;
                for (size_t i = 0; i < ELEMENTSOF(freezers) && r < 0; i++) {
                        r = group_of((pid_t) pid, freezers[i].controller, container, freezers[i].file, ret_file);
                        *ret = freezers + i;
                }
        }
        closedir(d);
        return r;
}

int agent_set_frozen(const char *container, bool frozen) {
        _cleanup_free_ char *file = NULL;
        const Freezer *f = freezers;
        int r = find_freezer(container, &f, &file);

        return r < 0 ? r : write_freezer(file, frozen ? f->freeze : f->thaw);
}
