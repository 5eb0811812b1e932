/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Logging to journald with fields, or to stderr when stderr is not connected to the journal.
 * Library code (basic, event, bus, oci) logs at debug only and returns errors; program code logs each failure once. */

#include <syslog.h>

#include "basic/macro.h"
#include "basic/message-ids.h"

void log_open(const char *identifier);          /* reads SWARM_LOG_LEVEL; picks journal or stderr */
int log_set_max_level(int level);               /* LOG_EMERG … LOG_DEBUG */
int log_get_max_level(void);
const char *log_level_to_string(int level);     /* "info" … */
int log_level_from_string(const char *s);
const char *log_target_to_string(void);         /* "journal" or "console" */
int log_set_target(const char *target);         /* "journal", "console", "auto"; -EINVAL */

/* The context that is attached to each record as SWARM_* fields. Members may be NULL or UID_UNSET. */
#define UID_UNSET ((uid_t) -1)
typedef struct LogFields {
        const char *session;            /* SWARM_SESSION: the id */
        const char *session_name;       /* SWARM_SESSION_NAME */
        uid_t owner_uid;                /* SWARM_OWNER_UID */
        uid_t actor_uid;                /* SWARM_ACTOR_UID: who asked */
        uint64_t job;                   /* SWARM_JOB; 0 = none */
        const char *provider;           /* SWARM_PROVIDER */
        const char *node;               /* SWARM_NODE */
        const char *const *extra;       /* more "KEY=value" strings, NULL-terminated */
} LogFields;
#define LOG_FIELDS(...) (&(const LogFields) { .owner_uid = UID_UNSET, .actor_uid = UID_UNSET, __VA_ARGS__ })

/* Returns -abs(error) so that callers can `return log_error_errno(r, …)`. error 0 = none; %m prints it. */
int log_internal(int level, int error, const char *file, int line, const char *func,
                 const char *message_id, const LogFields *fields, const char *format, ...) _printf_(8, 9);

#define log_full(level, error, ...) log_internal((level), (error), __FILE__, __LINE__, __func__, NULL, NULL, __VA_ARGS__)
/* With a MESSAGE_ID (an SD_ID128-like hex string of message-ids.h) and fields: what an operator must be able to find. */
#define log_event(level, id, fields, ...) log_internal((level), 0, __FILE__, __LINE__, __func__, (id), (fields), __VA_ARGS__)
#define log_event_errno(level, error, id, fields, ...) log_internal((level), (error), __FILE__, __LINE__, __func__, (id), (fields), __VA_ARGS__)
#define log_debug(...) log_full(LOG_DEBUG, 0, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, 0, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, 0, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, 0, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, 0, __VA_ARGS__)
#define log_debug_errno(e, ...) log_full(LOG_DEBUG, (e), __VA_ARGS__)
#define log_warning_errno(e, ...) log_full(LOG_WARNING, (e), __VA_ARGS__)
#define log_error_errno(e, ...) log_full(LOG_ERR, (e), __VA_ARGS__)
#define log_oom() log_full(LOG_ERR, ENOMEM, "Out of memory.")
