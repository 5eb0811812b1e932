/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "swarmctl.h"

/* Tells, on stderr, what a job that saved files has left out of its generation: names and attributes that a layer cannot
 * hold, and with --lossy sockets too, which no layer ever holds. Asks nobody for a password. `job`: the properties of one
 * that is done; any other than a saving one says nothing. `label`: its session's name. 0 or -errno. */
int left_out_report(Context *c, const json_t *job, const char *label);
/* The same for the record of the generation. Exposed for the tests. */
int left_out_print(const json_t *snapshot, const char *label, bool sockets);
