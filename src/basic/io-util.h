/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing of descriptors that block, over interruptions and short transfers. */

#include "basic/macro.h"

/* Until `size` bytes are there, or the end. Their number, or -errno. */
ssize_t read_full(int fd, void *buf, size_t size);
/* 0 or -errno; some of it may have been written then. */
int write_full(int fd, const void *data, size_t size);
