/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The slave end of the caller's pty. */

#include "basic/macro.h"

/* Makes it raw, ours and non-blocking. *ret_signals is readable when its size may have changed. */
int stream_terminal_open(int fd, int *ret_signals);
/* True when it has another size than the last time; *rows and *columns are that, and then the new one. */
bool stream_terminal_resized(int fd, int signals, unsigned *rows, unsigned *columns);
