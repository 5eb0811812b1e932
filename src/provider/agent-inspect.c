/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the Engine says of a container: GET /containers/{id}/json (Engine API reference, ContainerInspect). */

#include "basic/log.h"
#include "oci/reference.h"
#include "provider/agent-internal.h"

#define MOUNTINFO_MAX (4 * MIB)
#define ANONYMOUS_VOLUME_LENGTH 64      /* hex digits */

void container_facts_done(ContainerFacts *f) {
        free(f->id);
        free(f->started_at);
        free(f->finished_at);
        free(f->image);
        free(f->upperdir);
        free(f->driver);
        strv_free(f->mounts);
        *f = (ContainerFacts) {};
}

/* "\040" and the like: so the kernel writes white space, backslashes, and commas within an option. */
static char *unescape_octal(const char *s, size_t n) {
        char *result = malloc(n + 1), *p = result;

        if (!result)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '\\' && i + 3 < n && strspn(s + i + 1, "01234567") >= 3) {
                        *p++ = (char) ((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
                        i += 3;
                } else
                        *p++ = s[i];
        }
        *p = 0;
        return result;
}

/* A field of a line of mountinfo, from 0; see proc(5). */
static const char *field(const char *line, size_t end, unsigned n, size_t *ret_length) {
        const char *p = line;

        for (; n > 0 && p < line + end; n--) {
                p += strcspn(p, " \n");
                if (*p != ' ')
                        return NULL;
                p++;
        }
        *ret_length = strcspn(p, " \n");
        return p;
}

static bool field_is(const char *f, size_t n, const char *s) {
        return f && n == strlen(s) && strncmp(f, s, n) == 0;
}

static int option_upperdir(const char *options, size_t n, char **ret) {
        static const char key[] = "upperdir=";
        const char *end = options + n;

        for (const char *p = options; p < end;) {
                size_t length = 0;
                while (p + length < end && p[length] != ',')
                        length++;
                if (length > strlen(key) && strncmp(p, key, strlen(key)) == 0) {
                        *ret = unescape_octal(p + strlen(key), length - strlen(key));
                        return *ret ? 0 : -ENOMEM;
                }
                p += length + 1;
        }
        return -ENOENT;
}

int upperdir_from_mountinfo(const char *mountinfo, char **ret) {
        for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                size_t end = strcspn(line, "\n"), n_point = 0, n_type = 0, n_options = 0;
                const char *point = field(line, end, 4, &n_point), *dash = strstr(line, " - "), *type, *options;

                if (!field_is(point, n_point, "/") || !dash || dash > line + end)
                        continue;
                type = field(dash + 3, end - (size_t) (dash + 3 - line), 0, &n_type);
                options = field(dash + 3, end - (size_t) (dash + 3 - line), 2, &n_options);
                if (field_is(type, n_type, "overlay") && options)
                        return option_upperdir(options, n_options, ret);
        }
        return -ENOENT;
}

/* <root>/io.containerd.snapshotter.v1.overlayfs/snapshots/<number>/fs (containerd, snapshots/overlay). A process that has
 * come by the right to mount may show there what it likes, and must not get files of the host saved so. */
static bool is_layer_of_containerd(const char *path) {
        static const char below[] = "/io.containerd.snapshotter.v1.overlayfs/snapshots/";
        const char *p = path[0] == '/' && !strstr(path, "/../") ? strstr(path, below) : NULL;
        size_t digits;

        if (!p)
                return false;
        p += strlen(below);
        digits = strspn(p, "0123456789");
        return digits > 0 && streq(p + digits, "/fs");
}

/* With the containerd image store the Engine does not tell; the kernel does, as long as the container runs. */
static int find_upperdir(const json_t *json, pid_t pid, char **ret, bool *ret_told) {
        _cleanup_free_ char *path = NULL, *text = NULL, *upper = NULL;
        const char *told = json_string_at(json, "GraphDriver", "Data", "UpperDir");
        int r;

        *ret_told = told && told[0] == '/';
        if (*ret_told)
                return free_and_strdup(ret, told);
        if (pid <= 0)
                return 0;
        path = strformat("/proc/%i/mountinfo", pid);
        if (!path)
                return -ENOMEM;
        r = read_file(path, MOUNTINFO_MAX, &text);
        if (r >= 0)
                r = upperdir_from_mountinfo(text, &upper);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !is_layer_of_containerd(upper)) {
                log_debug("No upper directory of process %i in its mounts.", pid);
                return 0;
        }
        *ret = TAKE_PTR(upper);
        return 0;
}

/* An anonymous volume of a VOLUME of the image: whether such an image may be used was decided when the session was made. */
static bool mount_is_declared(const json_t *mount, const json_t *declared) {
        const char *type = json_string_at(mount, "Type"), *name = json_string_at(mount, "Name"),
                   *destination = json_string_at(mount, "Destination");

        return streq_ptr(type, "volume") && destination && json_object_get(declared, destination) && name &&
               strlen(name) == ANONYMOUS_VOLUME_LENGTH && strspn(name, "0123456789abcdef") == ANONYMOUS_VOLUME_LENGTH;
}

static int find_mounts(const json_t *json, Strv *ret) {
        const json_t *declared = json_at(json, "Config", "Volumes"), *mount;
        json_t *tmpfs = json_at(json, "HostConfig", "Tmpfs"), *value;
        const char *destination;
        size_t i;

        json_array_foreach(json_at(json, "Mounts"), i, mount) {
                if (mount_is_declared(mount, declared))
                        continue;
                int r = strv_consume(ret, strformat("%s (%s)", strna(json_string_at(mount, "Destination")),
                                                    strna(json_string_at(mount, "Type"))));
                if (r < 0)
                        return r;
        }
        json_object_foreach(tmpfs, destination, value) {
                int r = strv_consume(ret, strformat("%s (tmpfs)", destination));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "host/repo:tag@sha256:…" without the tag; NULL in *ret for what is not pinned. */
static int pinned_image(const char *image, char **ret) {
        _cleanup_image_reference_ ImageReference reference = {};

        if (image_reference_parse(strempty(image), &reference, NULL) == -ENOMEM)
                return -ENOMEM;
        free(*ret);
        *ret = reference.digest ? image_reference_format(&reference) : NULL;
        return reference.digest && !*ret ? -ENOMEM : 0;
}

static int facts_parse_state(const json_t *json, ContainerFacts *f) {
        const json_t *state = json_at(json, "State");
        int r;

        f->running = json_true_at(state, "Running");
        f->paused = json_true_at(state, "Paused");
        f->dead = json_true_at(state, "Dead");
        f->pid = (pid_t) json_integer_at(state, "Pid");
        f->exit_code = (int) json_integer_at(state, "ExitCode");
        f->out_of_memory = json_true_at(state, "OOMKilled");
        f->finished_usec = json_timestamp(json_at(state, "FinishedAt"));
        r = free_and_strdup(&f->id, json_string_at(json, "Id"));
        if (r >= 0)
                r = free_and_strdup(&f->started_at, json_string_at(state, "StartedAt"));
        if (r >= 0)
                r = free_and_strdup(&f->finished_at, json_string_at(state, "FinishedAt"));
        if (r >= 0)
                r = pinned_image(json_string_at(json, "Config", "Image"), &f->image);
        if (r >= 0)
                r = free_and_strdup(&f->driver, json_string_at(json, "GraphDriver", "Name") ?:
                                                json_string_at(json, "Storage", "RootFS", "Snapshot", "Name"));
        return r;
}

int container_facts_parse(const json_t *json, ContainerFacts *ret) {
        ContainerFacts f = {};
        int r;

        if (!json_is_object(json_at(json, "State")) || !json_string_at(json, "Id") || !json_string_at(json, "State", "StartedAt"))
                return -EBADMSG;
        r = facts_parse_state(json, &f);
        if (r >= 0)
                r = find_upperdir(json, f.pid, &f.upperdir, &f.upperdir_told);
        if (r >= 0)
                r = find_mounts(json, &f.mounts);
        if (r < 0) {
                container_facts_done(&f);
                return r;
        }
        *ret = f;
        return 0;
}

int agent_read_facts(Agent *a, const char *container, const EngineAnswer *answer, ContainerFacts *ret, Refusal **reterr_refusal) {
        return answer->outcome == ENGINE_OK ? container_facts_parse(answer->json, ret)
                                            : agent_refuse_answer(a, container, "inspect", answer, reterr_refusal);
}

/* The Engine says so before it takes away the first file, and tells of the container until the last one is gone, or for
 * good if that fails (moby daemon/delete.go). */
int container_check_whole(const ContainerFacts *f, const char *session, Refusal **reterr_refusal) {
        if (!f->dead)
                return 0;
        return refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                      "Container %.*s of session %s is being removed, or an end of Docker cut its removal off, so its files may lack some and are "
                      "not saved. Copy what you need of them%s%s on its node. Then go on from the last generation: stop the session with the "
                      "option `discard`, and start it.", CONTAINER_SHORT, f->id, session, f->upperdir ? " from " : "", strempty(f->upperdir));
}

int container_check_saveable(const ContainerFacts *f, const char *session, CaptureMode mode, Refusal **reterr_refusal) {
        int r = container_check_whole(f, session, reterr_refusal);

        if (r < 0)
                return r;
        if (strv_length(f->mounts) > 0)
                return refuse(reterr_refusal, REFUSAL_FILES_REFUSED,
                              "Session %s has files outside of its writable layer, which would be lost: %s%s%s. "
                              "Make it without these mounts.", session, f->mounts[0], f->mounts[1] ? ", " : "",
                              f->mounts[1] ? f->mounts[2] ? "and others" : f->mounts[1] : "");
        if (!f->upperdir)
                return refuse(reterr_refusal, REFUSAL_FILES_REFUSED,
                              "The writable layer of session %s cannot be found with the storage driver %s%s. Copy what you need: docker cp "
                              "%.*s:/PATH . For new sessions set \"storage-driver\": \"overlay2\" in the daemon.json of the node.",
                              session, strna(f->driver), f->running ? "" : ", for its container ended before anybody saw it run",
                              CONTAINER_SHORT, f->id);
        if (mode == CAPTURE_EXITED && f->running)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE,
                              "The main process of session %s has not ended. Stop it first, or hibernate it.", session);
        if (mode != CAPTURE_EXITED && !f->running)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "The main process of session %s has ended (exit code %i).",
                              session, f->exit_code);
        return 0;
}
