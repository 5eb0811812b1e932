/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors of somebody else. Their open files are shared, so that none can be made non-blocking: its other users would be
 * told EAGAIN who never asked for it. Each transfer is made such that it does not wait, or not for long, where poll(2) was
 * mistaken or another process was faster. And the child's own stdout, without whose reader there is nothing to do. */

#include <poll.h>

#include "basic/macro.h"
#include "stream/stream-request.h"

typedef enum StreamIoType {
        STREAM_IO_PLAIN,                /* a file, which is always ready, or what is ours alone and does not block */
        STREAM_IO_SOCKET,
        STREAM_IO_SHARED,               /* a pipe, a terminal, a device */
} StreamIoType;

typedef struct StreamIo {
        int fd;
        StreamIoType type;
        bool readable;
} StreamIo;

/* Once, before the others. */
int stream_io_setup(void);
int stream_io_open(int fd, StreamIo *ret);
/* Bytes; of a read 0 is the end; -EAGAIN: none now. */
ssize_t stream_io_read(const StreamIo *io, void *buf, size_t size);
ssize_t stream_io_write(const StreamIo *io, const void *data, size_t size);

/* Waits for these, for so long at most (-1: for ever), and ends the process when nobody reads its stdout. The last of them is
 * overwritten with that; `say`: it is waited for. True: it can be written to. */
bool stream_io_wait(struct pollfd *fds, size_t n, int timeout_msec, bool say);
/* Writes a line; ends the process if that cannot be done. */
void stream_io_say(const StreamMessage *m);
