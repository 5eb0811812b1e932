/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process of a worker until it executes its program. */

#include <sys/types.h>

#include "basic/macro.h"

typedef struct ChildSetup {
        int in, out, err;               /* above the standard descriptors */
        int *fds;                       /* become 3, 4 …; overwritten in the child. All others are closed there */
        size_t n_fds;
        pid_t parent;                   /* it dies with that */
        const int *caps;                /* numbers of the capabilities it keeps; -1 ends; NULL = none */
        char **argv, **envp;            /* argv[0] is the path */
} ChildSetup;

/* The pid, or a negative errno. A program that cannot be executed is said on its stderr, and ends it with 126 or 127. */
pid_t worker_child_fork(const ChildSetup *setup);
/* This process's without what systemd gave it: the child would report readiness or log in its place. The caller frees
 * the array alone; the strings are the environment's. */
int worker_child_environment(char ***ret);
