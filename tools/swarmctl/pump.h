/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Carries what is typed at a terminal into a pipe. A command that had the terminal itself would go on to read it while this program
 * is stopped by Ctrl-Z, or killed. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Pump Pump;

/* *ret_input: what to give to the command. Not of a terminal: a copy of `fd`, and nothing is pumped (NULL). */
int pump_new(sd_event *event, int fd, Pump **ret, int *ret_input);
Pump *pump_free(Pump *p);
DEFINE_CLEANUP(Pump *, pump_free)
