/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Carries what a command writes from a pipe to where this program writes, where that is a local socket: who listens there is told who
 * wrote, which is to be the user, and not the service. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Outlet Outlet;

/* *ret_output: what to give to the command. Of no such socket: a copy of `fd`, and nothing is carried (NULL). */
int outlet_new(sd_event *event, int fd, Outlet **ret, int *ret_output);
/* The command has ended: carries what it has left. NULL is fine. */
void outlet_finish(Outlet *o);
Outlet *outlet_free(Outlet *o);
DEFINE_CLEANUP(Outlet *, outlet_free)
