/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The witness shows whether a container ran again after its files were saved. A frozen one: same start, still paused,
 * and the cpu time of its cgroup is what it was (that does not move while it is frozen, not even by a nanosecond, and
 * thawing costs every task some). An exited one: same start, same end. */

#include "provider/agent-internal.h"

#define WITNESS_MAX (4 * KIB)

static char *next_line(char **p) {
        char *line = *p;

        if (!line || !*line)
                return NULL;
        *p = line + strcspn(line, "\n");
        if (**p == '\n')
                *(*p)++ = 0;
        return line;
}

static bool list_contains(const char *list, const char *word) {
        size_t n = strlen(word);

        for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
                if (strcspn(p, ",") == n && strncmp(p, word, n) == 0)
                        return true;
        return false;
}

/* Lines are "hierarchy-ID:controller-list:path"; the unified hierarchy is "0::path". Source: cgroups(7). */
int cgroup_path_parse(const char *cgroup, const char *controller, char **ret) {
        _cleanup_free_ char *text = strdup(cgroup);
        char *p = text, *line;

        if (!text)
                return -ENOMEM;
        while ((line = next_line(&p))) {
                char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
                if (!path)
                        continue;
                *list++ = 0;
                *path++ = 0;
                if (*controller ? !list_contains(list, controller) : !(streq(line, "0") && *list == 0))
                        continue;
                return free_and_strdup(ret, path);
        }
        return -ENOENT;
}

/* 36 35 98:0 /root /mount/point options [optional fields…] - type source super-options. Source: proc(5). */
int cgroup_mount_parse(const char *mountinfo, const char *controller, char **ret_mount, char **ret_root) {
        _cleanup_free_ char *text = strdup(mountinfo);
        char *p = text, *line;

        if (!text)
                return -ENOMEM;
        while ((line = next_line(&p))) {
                char *dash = strstr(line, " - ");
                char root[4096], mount[4096], type[64], super[1024];
                if (!dash || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 ||
                    sscanf(dash + 3, "%63s %*s %1023s", type, super) != 2)
                        continue;
                if (*controller ? !(streq(type, "cgroup") && list_contains(super, controller)) : !streq(type, "cgroup2"))
                        continue;
                int r = free_and_strdup(ret_mount, mount);
                return r < 0 ? r : free_and_strdup(ret_root, root);
        }
        return -ENOENT;
}

static int read_proc(pid_t pid, const char *name, char **ret) {
        char path[64];

        if (pid > 0)
                (void) snprintf(path, sizeof(path), "/proc/%i/%s", pid, name);
        else
                (void) snprintf(path, sizeof(path), "/proc/self/%s", name);
        return read_file(path, PROC_FILE_MAX, ret);
}

int cgroup_file(pid_t pid, const char *controller, const char *name, char **ret) {
        _cleanup_free_ char *cgroups = NULL, *mounts = NULL, *path = NULL, *mount = NULL, *root = NULL;
        const char *below;
        int r;

        r = read_proc(pid, "cgroup", &cgroups);
        if (r >= 0)
                r = read_proc(0, "mountinfo", &mounts);
        if (r >= 0)
                r = cgroup_path_parse(cgroups, controller, &path);
        if (r >= 0)
                r = cgroup_mount_parse(mounts, controller, &mount, &root);
        if (r < 0)
                return r;
        /* What is mounted may be a part of the hierarchy only. */
        below = streq(root, "/") ? path : startswith(path, root);
        if (!below)
                return -ENOENT;
        *ret = strformat("%s%s/%s", mount, below, name);
        return *ret ? 0 : -ENOMEM;
}

int cgroup_read(pid_t pid, const char *controller, const char *name, char **ret) {
        _cleanup_free_ char *file = NULL;
        int r = cgroup_file(pid, controller, name, &file);

        return r < 0 ? r : read_file(file, PROC_FILE_MAX, ret);
}

bool cgroup_is_to_freeze(pid_t pid) {
        _cleanup_free_ char *freeze = NULL;

        return pid > 0 && cgroup_read(pid, "", "cgroup.freeze", &freeze) >= 0 && startswith(freeze, "1");
}

static int parse_usage_usec(const char *stat, uint64_t *ret) {
        const char *p = startswith(stat, "usage_usec ") ? stat : strstr(stat, "\nusage_usec ");
        char digits[32];

        if (!p || sscanf(p + (*p == '\n') + strlen("usage_usec "), "%31[0-9]", digits) != 1)
                return -EBADMSG;
        return parse_u64(digits, ret);
}

int cgroup_cpu_nsec(pid_t pid, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        uint64_t usec;
        int r;

        if (pid <= 0)
                return -ESRCH;
        /* The first version has nanoseconds; where both are mounted, the second one may have no cpu controller. */
        r = cgroup_read(pid, "cpuacct", "cpuacct.usage", &text);
        if (r >= 0) {
                text[strcspn(text, "\n")] = 0;
                return parse_u64(text, ret);
        }
        r = cgroup_read(pid, "", "cpu.stat", &text);
        if (r >= 0)
                r = parse_usage_usec(text, &usec);
        if (r >= 0)
                *ret = usec * NSEC_PER_USEC;
        return r;
}

static char *dump(json_t *json) {
        _cleanup_json_ json_t *owned = json;

        return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

static char *witness_frozen(const char *container, const char *started_at, uint64_t cpu_nsec, usec_t since_usec) {
        return dump(json_pack("{s:s, s:s, s:I, s:I}", "container", container, "started_at", started_at,
                              "cpu_nsec", (json_int_t) cpu_nsec, "since_usec", (json_int_t) since_usec));
}

usec_t witness_since(const char *witness) {
        _cleanup_json_ json_t *json = strlen(witness) <= WITNESS_MAX ? json_loads(witness, 0, NULL) : NULL;

        return json_u64(json_at(json, "since_usec"));
}

bool witness_ended(const char *witness, usec_t *ret_usec) {
        _cleanup_json_ json_t *json = strlen(witness) <= WITNESS_MAX ? json_loads(witness, 0, NULL) : NULL;
        const json_t *finished_at = json_at(json, "finished_at");

        *ret_usec = json_timestamp(finished_at);
        return finished_at;
}

int witness_take_frozen(const ContainerFacts *facts, const char *session, usec_t since_usec, uint64_t *ret_cpu_nsec, char **ret,
                        Refusal **reterr_refusal) {
        int r;

        r = cgroup_cpu_nsec(facts->pid, ret_cpu_nsec);
        if (r < 0)
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                              "The cpu time of session %s cannot be read (process %i of container %.*s: %s), so there would be no "
                              "telling whether it ran again. Its control group must be visible to the agent.",
                              session, facts->pid, CONTAINER_SHORT, facts->id, strerror(-r));
        *ret = witness_frozen(facts->id, facts->started_at, *ret_cpu_nsec, since_usec);
        return *ret ? 0 : -ENOMEM;
}

int witness_check_cpu(const ContainerFacts *facts, const char *session, uint64_t cpu_nsec, Refusal **reterr_refusal) {
        uint64_t now_nsec;
        int r;

        r = cgroup_cpu_nsec(facts->pid, &now_nsec);
        if (r < 0 || now_nsec != cpu_nsec)
                return refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                              "Session %s ran while it was to be frozen: somebody else unpaused its container %.*s. Save it again.",
                              session, CONTAINER_SHORT, facts->id);
        return 0;
}

char *witness_exited(const char *container, const char *started_at, const char *finished_at, usec_t since_usec) {
        return dump(json_pack("{s:s, s:s, s:s, s:I}", "container", container, "started_at", started_at, "finished_at", finished_at,
                              "since_usec", (json_int_t) since_usec));
}

int witness_refuse_changed(const char *container, const char *how, Refusal **reterr_refusal) {
        return refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                      "Container %.*s %s after its files were saved, so they may have changed. Save them again.",
                      CONTAINER_SHORT, container, how);
}

static int refuse_changed(const ContainerFacts *facts, const char *how, Refusal **reterr_refusal) {
        return witness_refuse_changed(facts->id, how, reterr_refusal);
}

bool witness_was_killed(Agent *a, const char *witness, const ContainerFacts *facts) {
        Note note = {};
        bool same;

        if (note_read(a->frozen_dir, facts->id, &note) < 0)
                return false;
        same = streq_ptr(note.witness, witness) && streq_ptr(note.started_at, facts->started_at);
        note_done(&note);
        return same;
}

static int check_frozen(Agent *a, const char *witness, const json_t *json, const ContainerFacts *facts, Refusal **reterr_refusal) {
        uint64_t cpu_nsec;
        int r;

        if (witness_was_killed(a, witness, facts))
                return 0;
        if (!facts->running)
                return refuse_changed(facts, "ran again and ended", reterr_refusal);
        if (!facts->paused)
                return refuse_changed(facts, "was unpaused", reterr_refusal);
        r = cgroup_cpu_nsec(facts->pid, &cpu_nsec);
        if (r < 0)
                return r;
        return cpu_nsec == json_u64(json_at(json, "cpu_nsec")) ? 0 : refuse_changed(facts, "ran", reterr_refusal);
}

int witness_check(Agent *a, const char *witness, const ContainerFacts *facts, Refusal **reterr_refusal) {
        _cleanup_json_ json_t *json = strlen(witness) <= WITNESS_MAX ? json_loads(witness, 0, NULL) : NULL;
        const char *container = json_string_at(json, "container"), *started_at = json_string_at(json, "started_at"),
                   *finished_at = json_string_at(json, "finished_at");

        if (!container || !started_at || (!finished_at && !json_is_integer(json_at(json, "cpu_nsec"))))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "The witness of container %.*s cannot be read. Save its files again.",
                              CONTAINER_SHORT, facts->id);
        if (!streq(container, facts->id))
                return refuse_changed(facts, "took the place of the one that was saved", reterr_refusal);
        if (!streq(started_at, facts->started_at))
                return refuse_changed(facts, "was started again", reterr_refusal);
        if (!finished_at)
                return check_frozen(a, witness, json, facts, reterr_refusal);
        if (facts->running || !streq_ptr(finished_at, facts->finished_at))
                return refuse_changed(facts, "was started again", reterr_refusal);
        return 0;
}
