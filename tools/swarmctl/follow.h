/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows jobs to their end. Subscribed before the call that makes the job, so that no signal is missed; and since a
 * signal is only a hint, the result is always read from the job's properties: at the start, after each signal, after
 * the service came back, over a new connection if the old one broke. */

#include "swarmctl.h"

typedef struct Follow Follow;

/* Subscribes, unless --no-block. 0, exit status (said), -errno. `wanted`: the state that counts as success. */
int follow_new(Context *c, const char *wanted, Follow **ret);
Follow *follow_free(Follow *f);
DEFINE_CLEANUP(Follow *, follow_free)
/* `label` names the session in the progress line. */
int follow_add(Follow *f, const char *path, const char *label);
/* One could not be started: its exit status, said already, takes its place in the order. */
void follow_add_failure(Follow *f, int status);
/* The one job is a command of this program: its exit code is the status, SIGINT and SIGTERM cancel it, and nothing is shown beside what it
 * shows. Returns the loop in which it is waited for. */
sd_event *follow_attend(Follow *f);
/* Waits for all, unless --no-block. The exit status of the first that failed, else 0; or -errno. */
int follow_run(Follow *f);
