/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <poll.h>
#include <signal.h>
#include <systemd/sd-event.h>

#include "follow.h"
#include "left-out.h"
#include "output.h"
#include "progress.h"

/* Properties without a change signal are read so often while a progress bar shows them, else only to be sure. */
#define TICK_TERMINAL_USEC (500 * USEC_PER_MSEC)
#define TICK_USEC (5 * USEC_PER_SEC)
/* At a time. A bus allows a connection 128 calls without an answer, unless it is configured otherwise. */
#define READS_MAX 64U
/* So long may service or bus be away. */
#define AWAY_MAX_USEC (60 * USEC_PER_SEC)

typedef struct FollowedJob {
        Follow *follow;
        char *path, *label;
        uint64_t id;
        json_t *properties;             /* NULL until read */
        sd_bus_slot *reading;
        bool stale;                     /* to be read, or once more when it has been */
        bool ended;
        int status;
} FollowedJob;

struct Follow {
        Context *context;
        const char *wanted;
        sd_event *event;
        sd_event_source *tick;
        FollowedJob **jobs;
        size_t n_jobs, n_reading;
        usec_t away_since;              /* CLOCK_MONOTONIC, 0 = it answers */
        bool finished;                  /* all have ended */
        bool disconnected;
        bool bar;                       /* a progress line is wanted */
        bool attended;                  /* a command that belongs to this program */
        int interrupted;                /* the signal for which it is being canceled */
        int first_status;               /* of calls that failed before there was a job */
        size_t first_index;
};

static int follow_read(Follow *f);

static void job_free(FollowedJob *j) {
        sd_bus_slot_unref(j->reading);
        json_decref(j->properties);
        free(j->path);
        free(j->label);
        free(j);
}

static void draw(Follow *f) {
        size_t ended = 0;
        FollowedJob *show = NULL;

        if (!f->bar)
                return;
        for (size_t i = 0; i < f->n_jobs; i++) {
                ended += f->jobs[i]->ended;
                if (!f->jobs[i]->ended && !show)
                        show = f->jobs[i];
        }
        progress_draw(show ? show->label : NULL, show ? show->properties : NULL, ended, f->n_jobs);
}

static bool all_ended(const Follow *f) {
        for (size_t i = 0; i < f->n_jobs; i++)
                if (!f->jobs[i]->ended)
                        return false;
        return true;
}

/* Of a shell or a command that is waited for, here or by `wait`, the exit code is the status. */
static bool tells_exit_code(const FollowedJob *j) {
        const char *type = value_string(j->properties, "Type");

        return j->follow->attended || (type && STR_IN_SET(type, "shell", "execute") && streq(j->follow->wanted, "done"));
}

static void job_ended(FollowedJob *j, int status) {
        j->ended = true;
        j->status = status != 0 && tells_exit_code(j) ? EXIT_NO_COMMAND : status;
        j->follow->finished = all_ended(j->follow);
}

static int exit_code_of(const FollowedJob *j) {
        const json_t *code = json_object_get(j->properties, "ExitCode");

        if (json_is_integer(code))
                return (int) json_integer_value(code) & 0xff;
        return report(EXIT_NO_COMMAND, "What ran in %s has ended, and its exit code is not known.", j->label);
}

/* As in a pipe to head(1): that is why the command was ended, and nothing to be told. */
static bool output_is_unread(void) {
        struct pollfd p = { .fd = STDOUT_FILENO };

        return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

/* What is in the properties is the result. */
static void job_judge(FollowedJob *j) {
        const char *state = value_string(j->properties, "State"), *message = value_string(j->properties, "ErrorMessage");

        if (!state || STR_IN_SET(state, "queued", "running"))
                return;
        if (streq(state, j->follow->wanted)) {
                job_ended(j, 0);
                if (tells_exit_code(j))
                        j->status = exit_code_of(j);
                return;
        }
        if (j->follow->attended && streq(state, "canceled") && output_is_unread()) {
                job_ended(j, 0);
                j->status = EXIT_SIGNAL + SIGPIPE;
                return;
        }
        if (j->follow->bar)
                progress_clear();
        if (streq(state, "done"))
                job_ended(j, report(EXIT_FAILURE, "Job %" PRIu64 " was done before it could be canceled.", j->id));
        else if (isempty(message))
                job_ended(j, report(EXIT_FAILURE, "Job %" PRIu64 " on %s ended as %s.", j->id, j->label, state));
        else
                job_ended(j, report(exit_status_of_error(value_string(j->properties, "ErrorName")), "%s", message));
}

static usec_t monotonic(Follow *f) {
        uint64_t t = 0;
        (void) sd_event_now(f->event, CLOCK_MONOTONIC, &t);
        return t;
}

/* Nobody answers. It may come back: a restart of the service, or of the network under ssh. */
static int follow_away(Follow *f) {
        if (f->away_since == 0)
                f->away_since = monotonic(f);
        if (monotonic(f) - f->away_since < AWAY_MAX_USEC)
                return 0;
        if (f->bar)
                progress_clear();
        return sd_event_exit(f->event, report(f->attended ? EXIT_NO_COMMAND : EXIT_UNAVAILABLE,
                "The orchestrator has not answered for a minute. Its jobs go on or are resumed when it is back; 'swarmctl jobs --all' shows them then."));
}

static int job_take(FollowedJob *j, sd_bus_message *m) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e && (sd_bus_error_has_names(e, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_METHOD, SD_BUS_ERROR_UNKNOWN_INTERFACE, SWARM_ERROR_NO_SUCH_JOB))) {
                job_ended(j, report(EXIT_FAILURE, "Job %" PRIu64 " is not known any more, so its result was not seen.", j->id));
                return 0;
        }
        if (e && exit_status_of_error(e->name) == EXIT_UNAVAILABLE)
                return follow_away(j->follow);
        if (e) {
                job_ended(j, report_bus_error(j->follow->context, e, -EIO));
                return 0;
        }
        json_decref(TAKE_PTR(j->properties));
        int r = value_read(m, &j->properties);
        if (r < 0) {
                job_ended(j, report(EXIT_FAILURE, "The properties of job %" PRIu64 " cannot be read: %s.", j->id, strerror(-r)));
                return 0;
        }
        j->follow->away_since = 0;
        job_judge(j);
        draw(j->follow);
        return 0;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        FollowedJob *j = userdata;

        j->reading = sd_bus_slot_unref(j->reading);
        j->follow->n_reading--;
        int r = job_take(j, m);
        return r < 0 ? r : follow_read(j->follow);
}

static int job_read(FollowedJob *j) {
        Follow *f = j->follow;

        int r = sd_bus_call_method_async(f->context->bus, &j->reading, SWARM_BUS_NAME, j->path,
                                         "org.freedesktop.DBus.Properties", "GetAll", on_properties, j, "s", SWARM_INTERFACE_JOB);
        if (r < 0)
                return r;
        j->stale = false;
        f->n_reading++;
        return 0;
}

/* As many as may be read now. */
static int follow_read(Follow *f) {
        int r = 0;

        for (size_t i = 0; r >= 0 && !f->disconnected && i < f->n_jobs && f->n_reading < READS_MAX; i++)
                if (f->jobs[i]->stale && !f->jobs[i]->ended && !f->jobs[i]->reading)
                        r = job_read(f->jobs[i]);
        return r;
}

static int follow_refresh(Follow *f) {
        for (size_t i = 0; i < f->n_jobs; i++)
                f->jobs[i]->stale = true;
        return follow_read(f);
}

static void follow_refresh_path(Follow *f, const char *path) {
        for (size_t i = 0; i < f->n_jobs; i++)
                if (streq_ptr(f->jobs[i]->path, path))
                        f->jobs[i]->stale = true;
        (void) follow_read(f);
}

static int on_job_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        follow_refresh_path(userdata, sd_bus_message_get_path(m));
        return 0;
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path;

        if (sd_bus_message_read(m, "o", &path) >= 0)
                follow_refresh_path(userdata, path);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *owner;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) >= 0 && *owner)
                (void) follow_refresh(userdata);
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Follow *f = userdata;

        f->disconnected = true;
        return follow_away(f);
}

/* Floating slots: they go with the connection. The first call here is the first over the connection: it shows
 * whether the bus can be reached. */
static int follow_subscribe(Follow *f) {
        static const struct {
                const char *rule;
                sd_bus_message_handler_t handler;
        } matches[] = {
                { "type='signal',sender='" SWARM_BUS_NAME "',path_namespace='" SWARM_PATH_JOB "',"
                  "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'", on_job_changed },
                { "type='signal',sender='" SWARM_BUS_NAME "',path='" SWARM_PATH "',"
                  "interface='" SWARM_INTERFACE_MANAGER "',member='JobRemoved'", on_job_removed },
                { "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                  "member='NameOwnerChanged',arg0='" SWARM_BUS_NAME "'", on_owner_changed },
                { "type='signal',sender='org.freedesktop.DBus.Local',interface='org.freedesktop.DBus.Local',"
                  "member='Disconnected'", on_disconnected },
        };

        for (size_t i = 0; i < ELEMENTSOF(matches); i++) {
                int r = sd_bus_add_match(f->context->bus, NULL, matches[i].rule, matches[i].handler, f);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int follow_reconnect(Follow *f) {
        for (size_t i = 0; i < f->n_jobs; i++)
                f->jobs[i]->reading = sd_bus_slot_unref(f->jobs[i]->reading);
        f->n_reading = 0;
        (void) sd_bus_detach_event(f->context->bus);
        context_disconnect(f->context);
        if (context_open(f->context) < 0 || follow_subscribe(f) < 0)
                return follow_away(f);
        int r = sd_bus_attach_event(f->context->bus, f->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        f->disconnected = false;
        return follow_refresh(f);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata) {
        Follow *f = userdata;

        int r = f->disconnected ? follow_reconnect(f) : follow_refresh(f);
        if (r < 0)
                return sd_event_exit(f->event, r);
        draw(f);
        r = sd_event_source_set_time_relative(s, f->bar ? TICK_TERMINAL_USEC : f->away_since ? USEC_PER_SEC : TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Ends before the jobs do. */
static int leave(Follow *f, const char *why, int code) {
        if (f->bar)
                progress_clear();
        for (size_t i = 0; i < f->n_jobs; i++) {
                const FollowedJob *j = f->jobs[i];
                if (!j->ended)
                        (void) report(0, "%s: job %" PRIu64 " on %s goes on. 'swarmctl cancel %" PRIu64 "' cancels it, "
                                      "'swarmctl wait %" PRIu64 "' follows it again.", why, j->id, j->label, j->id, j->id);
        }
        return sd_event_exit(f->event, code);
}

static int on_canceled(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Follow *f = userdata;
        return sd_event_exit(f->event, EXIT_SIGNAL + f->interrupted);
}

/* Once more, or where the answer cannot come: it is not waited for. */
static int cancel_attended(Follow *f, int signo) {
        int r = f->interrupted || f->disconnected || f->n_jobs == 0 ? -ENOTCONN
                : sd_bus_call_method_async(f->context->bus, NULL, SWARM_BUS_NAME, SWARM_PATH, SWARM_INTERFACE_MANAGER, "CancelJob",
                                           on_canceled, f, "tt", f->jobs[0]->id, UINT64_C(0));

        f->interrupted = signo;
        return r < 0 ? sd_event_exit(f->event, EXIT_SIGNAL + signo) : 0;
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Follow *f = userdata;

        if (f->attended)
                return cancel_attended(f, (int) si->ssi_signo);
        return leave(userdata, "Detached", EXIT_DETACHED);
}

/* Of `wait` only. */
static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        return leave(userdata, "The time is over", EXIT_TIMEOUT);
}

static int follow_prepare(Follow *f) {
        usec_t timeout = f->context->args->timeout_usec;

        int r = sd_event_new(&f->event);
        if (r >= 0 && timeout > 0 && timeout != USEC_INFINITY)
                r = sd_event_add_time_relative(f->event, NULL, CLOCK_MONOTONIC, timeout, 0, on_timeout, f);
        if (r >= 0)
                r = sd_event_add_time_relative(f->event, &f->tick, CLOCK_MONOTONIC,
                                               f->bar ? TICK_TERMINAL_USEC : TICK_USEC, 0, on_tick, f);
        return r < 0 ? r : follow_subscribe(f);
}

int follow_new(Context *c, const char *wanted, Follow **ret) {
        _cleanup_(follow_freep) Follow *f = NULL;

        int r = context_connect(c);
        if (r != 0)
                return r;
        f = malloc(sizeof(*f));
        if (!f)
                return -ENOMEM;
        *f = (Follow) {
                .context = c, .wanted = wanted,
                .bar = isatty(STDERR_FILENO) && !c->args->quiet && c->args->block,
        };
        if (c->args->block) {
                r = follow_prepare(f);
                if (r < 0)
                        return report_unreachable(c, r);
        }
        *ret = TAKE_PTR(f);
        return 0;
}

sd_event *follow_attend(Follow *f) {
        f->attended = true;
        f->bar = false;
        return f->event;
}

Follow *follow_free(Follow *f) {
        if (!f)
                return NULL;
        for (size_t i = 0; i < f->n_jobs; i++)
                job_free(f->jobs[i]);
        free(f->jobs);
        if (f->event && f->context->bus)
                (void) sd_bus_detach_event(f->context->bus);
        sd_event_source_unref(f->tick);
        sd_event_unref(f->event);
        free(f);
        return NULL;
}

int follow_add(Follow *f, const char *path, const char *label) {
        _cleanup_free_ char *number = NULL;
        FollowedJob **jobs = reallocarray(f->jobs, f->n_jobs + 1, sizeof(*jobs));
        FollowedJob *j = malloc(sizeof(*j));

        if (jobs)
                f->jobs = jobs;
        if (!jobs || !j) {
                free(j);
                return -ENOMEM;
        }
        *j = (FollowedJob) { .follow = f, .path = strdup(path), .label = strdup(label) };
        f->jobs[f->n_jobs++] = j;
        if (!j->path || !j->label)
                return -ENOMEM;
        if (sd_bus_path_decode(path, SWARM_PATH_JOB, &number) <= 0 || parse_u64(number, &j->id) < 0)
                return report(EXIT_FAILURE, "The orchestrator answered with '%s', which is no job.", path);
        return 0;
}

void follow_add_failure(Follow *f, int status) {
        if (f->first_status != 0)
                return;
        f->first_status = status;
        f->first_index = f->n_jobs;
}

/* In the order in which they were asked for. */
static int first_failure(const Follow *f) {
        for (size_t i = 0; i < f->n_jobs; i++) {
                if (f->first_status != 0 && f->first_index == i)
                        return f->first_status;
                if (f->jobs[i]->status != 0)
                        return f->jobs[i]->status;
        }
        return f->first_status;
}

static int wait_for_all(Follow *f) {
        int r = catch_interrupts(f->event, on_interrupt, f);

        if (r >= 0)
                r = sd_bus_attach_event(f->context->bus, f->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = follow_refresh(f);
        if (r < 0)
                return r;
        polkit_agent_close(f->context);         /* nothing is asked any more; its messages would spoil the line */
        /* Not sd_event_exit() for the good end: it closes the connection, which is still needed. */
        while (r >= 0 && !f->finished && sd_event_get_state(f->event) != SD_EVENT_FINISHED)
                r = sd_event_run(f->event, UINT64_MAX);
        if (r >= 0 && !f->finished)
                (void) sd_event_get_exit_code(f->event, &r);
        else
                r = MIN(r, 0);
        if (f->bar)
                progress_clear();
        return r;
}

static int print_json(Follow *f) {
        _cleanup_json_ json_t *all = json_array();
        int r = 0;

        for (size_t i = 0; all && i < f->n_jobs; i++) {
                FollowedJob *j = f->jobs[i];

                if (!j->properties)
                        r = context_get_all(f->context, j->path, SWARM_INTERFACE_JOB, &j->properties);
                if (r != 0)
                        return r;
                if (json_array_append(all, j->properties) < 0)
                        return -ENOMEM;
        }
        return all ? output_json(f->context->args, all) : -ENOMEM;
}

int follow_run(Follow *f) {
        const Arguments *a = f->context->args;
        int r = 0;

        if (a->block && f->n_jobs > 0)
                r = wait_for_all(f);
        for (size_t i = 0; r == 0 && a->block && !a->quiet && i < f->n_jobs; i++)
                if (f->jobs[i]->properties && f->jobs[i]->status == 0)
                        r = left_out_report(f->context, f->jobs[i]->properties, f->jobs[i]->label);
        if (r != 0)
                return r;
        if (a->json != JSON_OFF && f->n_jobs > 0)
                r = print_json(f);
        for (size_t i = 0; !a->block && !a->quiet && a->json == JSON_OFF && i < f->n_jobs; i++)
                (void) report(0, "Job %" PRIu64 " on %s is %s.", f->jobs[i]->id, f->jobs[i]->label,
                              streq(f->wanted, "canceled") ? "being canceled" : "under way");
        return r != 0 ? r : first_failure(f);
}
