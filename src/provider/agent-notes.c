/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "basic/io-util.h"
#include "provider/agent-internal.h"

#define NOTE_MAX (64 * KIB)

int read_file(const char *path, size_t max, char **ret) {
        _cleanup_free_ char *buffer = malloc(max + 1);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        ssize_t n;

        if (fd < 0)
                return -errno;
        if (!buffer)
                return -ENOMEM;
        n = read_full(fd, buffer, max);
        if (n < 0)
                return (int) n;
        if ((size_t) n == max)
                return -E2BIG;
        buffer[n] = 0;
        char *p = realloc(buffer, (size_t) n + 1);
        *ret = p ? p : buffer;
        TAKE_PTR(buffer);
        return 0;
}

static int write_synced(int fd, const char *content) {
        int r = write_full(fd, content, strlen(content));

        return r < 0 ? r : fsync(fd) < 0 ? -errno : 0;
}

int write_file_atomic(const char *dir, const char *name, const char *content) {
        _cleanup_free_ char *tmp = strformat(".%s.tmp", name);
        _cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        int r;

        if (dir_fd < 0)
                return -errno;
        if (!tmp)
                return -ENOMEM;
        fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = write_synced(fd, content);
        if (r >= 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, tmp, 0);
                return r;
        }
        return fsync(dir_fd) < 0 ? -errno : 0;
}

static int note_write(const char *dir, const char *container, json_t *json) {
        _cleanup_json_ json_t *owned = json;
        _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        return text ? write_file_atomic(dir, container, text) : -ENOMEM;
}

int note_write_frozen(const char *dir, const char *container) {
        return note_write(dir, container, json_pack("{s:s, s:I}", "state", "frozen", "since_usec", (json_int_t) agent_now(CLOCK_REALTIME)));
}

int note_write_killed(const char *dir, const char *container, const char *witness, const char *started_at) {
        return note_write(dir, container, json_pack("{s:s, s:s, s:s}", "state", "killed", "witness", witness, "started_at", started_at));
}

void note_done(Note *n) {
        free(n->witness);
        free(n->started_at);
        *n = (Note) {};
}

int note_read(const char *dir, const char *container, Note *ret) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container), *text = NULL;
        _cleanup_json_ json_t *json = NULL;
        Note n = {};
        int r;

        if (!path)
                return -ENOMEM;
        r = read_file(path, NOTE_MAX, &text);
        if (r < 0)
                return r;
        /* That it is there says that it was us; what cannot be read in it is taken for frozen. */
        json = json_loads(text, 0, NULL);
        if (streq_ptr(json_string_at(json, "state"), "killed")) {
                r = free_and_strdup(&n.witness, json_string_at(json, "witness"));
                if (r >= 0)
                        r = free_and_strdup(&n.started_at, json_string_at(json, "started_at"));
                if (r < 0) {
                        note_done(&n);
                        return r;
                }
        }
        *ret = n;
        return 0;
}

bool note_exists(const char *dir, const char *container) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container);

        return path && access(path, F_OK) >= 0;
}

int note_remove(const char *dir, const char *container) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container);

        if (!path)
                return -ENOMEM;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
