/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Carries bytes between this program's standard input and output and descriptors that the service has handed out. The flags of
 * the former stay as they are: the caller's shell shares them. */

#include "basic/macro.h"

typedef enum ForwardEnd {
        FORWARD_CLOSED,                 /* by the other end, and all that came is written */
        FORWARD_ESCAPED,                /* ^] three times within a second */
        FORWARD_UNREAD,                 /* nobody reads the output any more */
        FORWARD_INTERRUPTED,            /* by a signal */
} ForwardEnd;

/* Three of these within a second end the connection, whatever the session does. */
#define ESCAPE_CHARACTER 0x1d
typedef struct Escape {
        unsigned n;
        usec_t first_usec;
} Escape;
bool escape_take(Escape *e, const char *bytes, size_t n, usec_t now);

/* Both ways, until the end of it. A terminal is raw meanwhile, and what it was before afterwards, also where SIGHUP, SIGINT,
 * SIGQUIT or SIGTERM ends it; its size is the pty's. Input from elsewhere ends with ^D. -errno: the output cannot be written. */
int forward_pty(int pty, int *ret_signal);
/* To standard output alone. */
int forward_output(int fd, int *ret_signal);
