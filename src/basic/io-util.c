/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "basic/io-util.h"
#include "basic/string-util.h"

ssize_t read_full(int fd, void *buf, size_t size) {
        size_t n = 0;

        while (n < size) {
                ssize_t k = read(fd, (char *) buf + n, size - n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        return (ssize_t) n;
}

int write_full(int fd, const void *data, size_t size) {
        const char *p = data;

        while (size > 0) {
                ssize_t k = write(fd, p, size);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                p += k;
                size -= (size_t) k;
        }
        return 0;
}

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
