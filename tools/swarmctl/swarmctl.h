/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs share: the connection, calls whose errors are already told, exit statuses. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "arguments.h"
#include "swarm-orchestrator.h"
#include "value.h"

/* Documented in swarmctl(1). */
typedef enum ExitStatus {
        EXIT_USAGE = 2,                 /* the command line, or an argument that the service refuses */
        EXIT_NOT_FOUND = 3,
        EXIT_DENIED = 4,
        EXIT_WRONG_STATE = 5,           /* wrong state, busy, exists already */
        EXIT_LIMIT = 6,                 /* quota, rate, capacity */
        EXIT_UNAVAILABLE = 7,           /* service or provider cannot be reached */
        EXIT_TIMEOUT = 124,             /* as timeout(1) */
        EXIT_DETACHED = 130,            /* Ctrl-C, as a shell counts it */
        EXIT_SIGNAL = 128,              /* and the number of the signal that ended it */
        EXIT_NO_COMMAND = 255,          /* as ssh(1): no exit code of a command, for whatever reason */
} ExitStatus;

typedef struct Context {
        const Arguments *args;
        sd_bus *bus;                    /* NULL until the first call */
        pid_t agent_pid;                /* of the polkit agent */
        const char *subject;            /* which of several arguments it is about; NULL where there is one only */
} Context;

/* A verb: the words behind it. 0, an exit status (everything is said), or -errno (nothing is said yet). */
typedef int (*verb_cb)(Context *c, char *const *words);

/* Connects if that is still to be done. 0, exit status (said), -errno. */
int context_connect(Context *c);
int context_open(Context *c);           /* a new connection; 0 or -errno, says nothing */
void context_disconnect(Context *c);
void context_done(Context *c);

/* Every function below: 0, an exit status (the service's sentence is on stderr), or -errno. */

/* An empty call of a method; the caller appends arguments, then hands it to context_call(). */
int context_new_call(Context *c, const char *path, const char *interface, const char *member, sd_bus_message **ret);
int context_call(Context *c, sd_bus_message *m, sd_bus_message **ret_reply);
/* The common case: a method of the manager, its arguments as for sd_bus_message_append(). */
int context_call_manager(Context *c, const char *member, sd_bus_message **ret_reply, const char *types, ...);
/* The first value of the reply. */
int context_read(sd_bus_message *reply, json_t **ret);
int context_get_session(Context *c, const char *id_or_name, char **ret_path);
int context_get_all(Context *c, const char *path, const char *interface, json_t **ret);

/* Appends a{sv} with those members that are set; the field's type follows from the signature: s char*, as and a{ss}
 * Strv ("K=V"), d double, t uint64_t, u uid_t, b bool (only if true). */
typedef struct WireOption {
        const char *key, *signature;
        size_t offset;                  /* in Arguments */
} WireOption;
int append_members(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n);  /* into an open one */
int append_options(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n);

/* Exit status that a D-Bus error name stands for. */
int exit_status_of_error(const char *name);
/* Says it on stderr, returns the exit status. */
int report_bus_error(const Context *c, const sd_bus_error *e, int r);
int report_unreachable(const Context *c, int r);
int report(int status, const char *format, ...) _printf_(2, 3);

/* SIGINT and SIGTERM go to the loop. To be called just before it: while a call waits for its answer, or a person for a
 * password prompt, Ctrl-C ends the program. */
int catch_interrupts(sd_event *event, sd_event_signal_handler_t handler, void *userdata);

/* The text agent that asks for passwords, if there is a terminal and the answers reach the right machine. */
void polkit_agent_open(Context *c);
void polkit_agent_close(Context *c);

int verb_list(Context *c, char *const *words);
int verb_status(Context *c, char *const *words);
int verb_show(Context *c, char *const *words);
int verb_describe(Context *c, char *const *words);
int verb_snapshots(Context *c, char *const *words);
int verb_watch(Context *c, char *const *words);

int verb_create(Context *c, char *const *words);
int verb_start(Context *c, char *const *words);
int verb_stop(Context *c, char *const *words);
int verb_restart(Context *c, char *const *words);
int verb_hibernate(Context *c, char *const *words);
int verb_restore(Context *c, char *const *words);
int verb_snapshot(Context *c, char *const *words);
int verb_delete_snapshot(Context *c, char *const *words);
int verb_destroy(Context *c, char *const *words);
int verb_touch(Context *c, char *const *words);
int verb_kill(Context *c, char *const *words);

int verb_shell(Context *c, char *const *words);
int verb_exec(Context *c, char *const *words);
int verb_logs(Context *c, char *const *words);

int verb_jobs(Context *c, char *const *words);
int verb_wait(Context *c, char *const *words);
int verb_cancel(Context *c, char *const *words);
int verb_templates(Context *c, char *const *words);
int verb_nodes(Context *c, char *const *words);
int verb_providers(Context *c, char *const *words);
int verb_reload(Context *c, char *const *words);
int verb_log_level(Context *c, char *const *words);
