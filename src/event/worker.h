/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A supervised child process that speaks JSON lines: the request goes to its stdin (never argv or environment),
 * lines come back on its stdout, its stderr is logged line by line. The child dies with its parent
 * (PR_SET_PDEATHSIG), gets no descriptor but those and what `fds` names, default signals, and only the capabilities that are asked for. */

#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Worker Worker;

/* One line without its newline; `line` is valid during the call. Lines longer than WORKER_LINE_MAX end the worker. */
typedef void (*worker_line_cb)(Worker *w, const char *line, size_t length, void *userdata);
/* Called once, after the last line, when the child is reaped. `status` as in siginfo: code is CLD_EXITED or
 * CLD_KILLED …. The owner calls worker_free(). */
typedef void (*worker_exit_cb)(Worker *w, int code, int status, void *userdata);

#define WORKER_LINE_MAX (1 * MIB)

typedef struct WorkerSpec {
        const char *const *argv;        /* argv[0] is the path; NULL-terminated */
        const char *log_prefix;         /* for the stderr lines */
        const int *ambient_caps;        /* capability numbers raised between fork and exec; -1 ends; NULL = none */
        const int *fds;                 /* become descriptors 3, 4 … of the child; borrowed */
        size_t n_fds;
        usec_t timeout_usec;            /* no line for so long = killed; USEC_INFINITY = never */
        worker_line_cb on_line;
        worker_exit_cb on_exit;
        void *userdata;
} WorkerSpec;

int worker_spawn(sd_event *event, const WorkerSpec *spec, Worker **ret);
int worker_send(Worker *w, const char *data, size_t size);      /* queued, written from the loop */
pid_t worker_pid(const Worker *w);
Worker *worker_free(Worker *w);                                 /* kills and reaps without calling back; never blocks long */
DEFINE_CLEANUP(Worker *, worker_free)
/* Children of freed workers that are not dead yet: killed, and kept by the kernel, as in a write to a file system that does not answer. */
unsigned workers_kept(void);
