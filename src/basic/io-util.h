/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing of descriptors that block, over interruptions and short transfers, and of small files. */

#include "basic/macro.h"

/* Until `size` bytes are there, or the end. Their number, or -errno. */
ssize_t read_full(int fd, void *buf, size_t size);
/* 0 or -errno; some of it may have been written then. */
int write_full(int fd, const void *data, size_t size);

/* The whole file with a NUL behind it; -E2BIG: `max` bytes or more. */
int read_file(const char *path, size_t max, char **ret);
/* Writes a file of mode 0600 whole and to the disk, or not at all. */
int write_file_atomic(const char *dir, const char *name, const char *content);
