/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What connects a person with a running session: a shell, a command, or the output of its main process. Streams stand beside
 * the session's operations: they do not wait for one, keep none from beginning, and end with the container, or with the
 * service. Shells and commands are jobs that say how they ended; output is read without one. */

#include "core/manager.h"

typedef struct Stream Stream;

/* Called once: r = 0 when bytes go to and fro. Else why it did not begin; its job, if it has one, has ended then. The stream is not the
 * caller's to forget any more. */
typedef void (*stream_begun_cb)(void *userdata, int r, const Refusal *refusal);

/* `session` of the command and of the logs is not looked at; one with a terminal is a shell. Validates, checks state and limits; the job's intent is saved
 * before the provider is asked. Counts as activity of the session, at the begin and at the end. */
int session_execute(Session *s, const ProviderCommand *command, uid_t actor, stream_begun_cb cb, void *userdata, Stream **ret, Job **ret_job,
                    Refusal **reterr_refusal);
int session_read_logs(Session *s, const ProviderLogs *logs, uid_t actor, stream_begun_cb cb, void *userdata, Stream **ret, Refusal **reterr_refusal);
/* Nobody waits for its begin any more: it is ended if it has not begun. NULL is fine. */
void stream_forget(Stream *t);
