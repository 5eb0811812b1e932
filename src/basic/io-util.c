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

#define READ_FILE_FIRST ((size_t) 4 * KIB)

int read_file(const char *path, size_t max, char **ret) {
        _cleanup_free_ char *buffer = NULL;
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        size_t n = 0, size = 0;

        if (fd < 0)
                return -errno;
        /* Files of the kernel have no size to go by, and `max` may be much more than any of them has. */
        while (n == size) {
                if (size == max)
                        return -E2BIG;
                size = MIN(MAX(2 * size, READ_FILE_FIRST), max);
                char *p = realloc(buffer, size + 1);
                if (!p)
                        return -ENOMEM;
                buffer = p;
                ssize_t k = read_full(fd, buffer + n, size - n);
                if (k < 0)
                        return (int) k;
                n += (size_t) k;
        }
        buffer[n] = 0;
        *ret = TAKE_PTR(buffer);
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
