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

typedef struct GroupFile {
        const char *controller, *file;
        const char *thaw, *freeze;      /* of a freezer: what is written to it */
} GroupFile;

static const GroupFile freezers[] = {
        { "freezer", "freezer.state", "THAWED", "FROZEN" },
        { "", "cgroup.freeze", "0", "1" },
};
/* They tell whether anything is in the group. */
static const GroupFile members[] = {
        { .controller = "cpuacct", .file = "cgroup.procs" },
        { .controller = "", .file = "cgroup.events" },
};

/* A process may be in a group below its container's, which bears its id. */
static int group_file(pid_t pid, const GroupFile *f, const char *container, char **ret) {
        _cleanup_free_ char *path = NULL;
        int r = cgroup_file(pid, f->controller, f->file, &path);
        char *p = r >= 0 ? strstr(path, container) : NULL;

        if (!p)
                return r < 0 ? r : -ENOENT;
        p[strcspn(p, "/")] = 0;
        *ret = strformat("%s/%s", path, f->file);
        return *ret ? 0 : -ENOMEM;
}

/* Whichever is there. */
static int group_file_any(pid_t pid, const GroupFile f[static 2], const char *container, const GroupFile **ret, char **ret_file) {
        int r = -ENOENT;

        for (size_t i = 0; i < 2 && r < 0 && r != -ENOMEM; i++) {
                r = group_file(pid, f + i, container, ret_file);
                *ret = f + i;
        }
        return r;
}

static bool is_in(pid_t pid, const char *container) {
        _cleanup_free_ char *cgroups = NULL;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%i/cgroup", pid);
        return read_file(path, PROC_FILE_MAX, &cgroups) >= 0 && strstr(cgroups, container);
}

/* By any of its processes. -ESRCH: there is none. */
static int find_group_file(const char *container, const GroupFile f[static 2], const GroupFile **ret, char **ret_file) {
        DIR *d = opendir("/proc");
        struct dirent *entry;
        int r = -ESRCH;

        if (!d)
                return -errno;
        while (r < 0 && r != -ENOMEM && (entry = readdir(d))) {
                uint64_t pid;

                if (parse_u64(entry->d_name, &pid) >= 0 && pid <= INT32_MAX && is_in((pid_t) pid, container))
                        r = group_file_any((pid_t) pid, f, container, ret, ret_file);
        }
        closedir(d);
        return r;
}

int agent_set_frozen(const char *container, bool frozen) {
        _cleanup_free_ char *file = NULL;
        const GroupFile *f = freezers;
        int r = find_group_file(container, freezers, &f, &file);

        return r < 0 ? r : write_freezer(file, frozen ? f->freeze : f->thaw);
}

/* ---- what is left in it */

static bool is_empty(const char *file) {
        _cleanup_free_ char *text = NULL;
        int r = read_file(file, PROC_FILE_MAX, &text);

        if (r < 0)
                return r == -ENOENT || r == -ENODEV;
        return !*text || startswith(text, "populated 0") || strstr(text, "\npopulated 0");
}

/* Where processes of others cannot be seen, none is no answer. */
static bool sees_others(void) {
        _cleanup_free_ char *text = NULL;

        return read_file("/proc/1/cgroup", PROC_FILE_MAX, &text) >= 0;
}

void agent_members_of(pid_t pid, const char *container, char **file) {
        const GroupFile *f;

        (void) group_file_any(pid, members, container, &f, file);
}

bool agent_has_ended(const char *container, char **file) {
        const GroupFile *f;

        if (!*file && find_group_file(container, members, &f, file) == -ESRCH)
                return sees_others();
        return *file && is_empty(*file);
}
