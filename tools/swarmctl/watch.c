/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `watch`: a line for every change of state, of some sessions or of all. As in follow.c, a signal only says that
 * something is to be read. */

#include <systemd/sd-event.h>
#include <time.h>

#include "output.h"
#include "swarmctl.h"

typedef struct Watched Watched;
typedef struct Watch {
        Context *context;
        sd_event *event;
        Watched **sessions;
        size_t n_sessions;
        bool all;                       /* those that come later, too */
} Watch;

struct Watched {
        Watch *watch;
        char *path, *name, *state;
        sd_bus_slot *reading;
        bool stale, gone;
};

static int watched_refresh(Watched *s);

static void watched_free(Watched *s) {
        sd_bus_slot_unref(s->reading);
        free(s->path);
        free(s->name);
        free(s->state);
        free(s);
}

static Watched *watch_find(Watch *w, const char *path) {
        for (size_t i = 0; i < w->n_sessions; i++)
                if (streq(w->sessions[i]->path, path))
                        return w->sessions[i];
        return NULL;
}

static int watch_add(Watch *w, const char *path, Watched **ret) {
        Watched **sessions = reallocarray(w->sessions, w->n_sessions + 1, sizeof(*sessions));
        Watched *s = malloc(sizeof(*s));

        if (sessions)
                w->sessions = sessions;
        if (!sessions || !s) {
                free(s);
                return -ENOMEM;
        }
        *s = (Watched) { .watch = w, .path = strdup(path) };
        if (!s->path) {
                watched_free(s);
                return -ENOMEM;
        }
        w->sessions[w->n_sessions++] = s;
        if (ret)
                *ret = s;
        return 0;
}

static void watch_remove(Watch *w, Watched *s) {
        for (size_t i = 0; i < w->n_sessions; i++)
                if (w->sessions[i] == s) {
                        w->sessions[i] = w->sessions[--w->n_sessions];
                        watched_free(s);
                        return;
                }
}

static int print_change(const Arguments *a, const char *name, const char *state, const char *detail) {
        char date[32] = "";
        time_t now = time(NULL);
        struct tm tm;

        if (localtime_r(&now, &tm))
                (void) strftime(date, sizeof(date), "%FT%T%z", &tm);
        if (a->json != JSON_OFF) {
                _cleanup_json_ json_t *line = json_pack("{s:s, s:s, s:s, s:s}", "Time", date, "Name", name, "State", state, "StateDetail", detail);
                return line ? output_json(a, line) : -ENOMEM;
        }
        _cleanup_free_ char *text = strformat("%s %s %s%s%s", date, name, state, *detail ? ": " : "", detail);
        if (!text)
                return -ENOMEM;
        format_make_printable(text);
        printf("%s\n", text);
        return 0;
}

/* Ends the loop when all are where they were wanted, or one cannot come there any more. */
static int watch_judge(Watch *w) {
        const char *until = w->context->args->until;
        size_t there = 0;

        for (size_t i = 0; until && i < w->n_sessions; i++) {
                const Watched *s = w->sessions[i];

                if (streq_ptr(s->state, until))
                        there++;
                else if (s->state && STR_IN_SET(s->state, "gone", "failed"))
                        return sd_event_exit(w->event, report(EXIT_WRONG_STATE, "%s is %s and will not be %s by itself.", strna(s->name), s->state, until));
        }
        if (until && there == w->n_sessions)
                return sd_event_exit(w->event, 0);
        if (w->all)
                return 0;
        for (size_t i = 0; i < w->n_sessions; i++)
                if (!w->sessions[i]->gone)
                        return 0;
        return sd_event_exit(w->event, 0);      /* nothing is left to watch */
}

static int watched_set(Watched *s, const char *state, const char *detail) {
        Watch *w = s->watch;

        if (streq_ptr(s->state, state))
                return 0;
        int r = free_and_strdup(&s->state, state);
        if (r < 0)
                return r;
        r = print_change(w->context->args, strna(s->name), state, strempty(detail));
        if (output_flush() != 0)
                return sd_event_exit(w->event, EXIT_FAILURE);           /* nobody reads any more */
        return r < 0 ? r : watch_judge(w);
}

static int watched_gone(Watched *s) {
        Watch *w = s->watch;

        if (s->gone)
                return 0;
        s->gone = true;
        s->reading = sd_bus_slot_unref(s->reading);
        int r = watched_set(s, "gone", NULL);
        if (w->all)
                watch_remove(w, s);
        return r;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_json_ json_t *properties = NULL;
        Watched *s = userdata;

        s->reading = sd_bus_slot_unref(s->reading);
        const sd_bus_error *e = sd_bus_message_get_error(m);
        if (e && sd_bus_error_has_names(e, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_METHOD, SD_BUS_ERROR_UNKNOWN_INTERFACE))
                return watched_gone(s);
        if (e)          /* the service is away: it is read again when it is back */
                return 0;
        int r = value_read(m, &properties);
        if (r < 0)
                return sd_event_exit(s->watch->event, r);
        if (value_string(properties, "Name"))
                r = free_and_strdup(&s->name, value_string(properties, "Name"));
        if (r >= 0)
                r = watched_set(s, strna(value_string(properties, "State")), value_string(properties, "StateDetail"));
        if (r >= 0 && s->stale)
                r = watched_refresh(s);
        return r < 0 ? sd_event_exit(s->watch->event, r) : 0;
}

static int watched_refresh(Watched *s) {
        s->stale = s->reading;
        if (s->gone || s->reading)
                return 0;
        return sd_bus_call_method_async(s->watch->context->bus, &s->reading, SWARM_BUS_NAME, s->path, "org.freedesktop.DBus.Properties",
                                        "GetAll", on_properties, s, "s", SWARM_INTERFACE_SESSION);
}

/* A change signal carries the new state, which a read afterwards may have passed already. */
static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_json_ json_t *interface = NULL, *changed = NULL;
        Watch *w = userdata;
        Watched *s = watch_find(w, sd_bus_message_get_path(m));

        if (!s || s->gone || value_read(m, &interface) < 0 || value_read(m, &changed) < 0)
                return 0;
        const char *state = value_string(changed, "State");
        if (!streq_ptr(json_string_value(interface), SWARM_INTERFACE_SESSION) || !state)
                return 0;
        if (!s->name || s->reading)
                return watched_refresh(s);
        return watched_set(s, state, value_string(changed, "StateDetail"));
}

static int on_new(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Watch *w = userdata;
        Watched *s = NULL;
        const char *path;

        if (!w->all || sd_bus_message_read(m, "o", &path) < 0 || watch_find(w, path))
                return 0;
        int r = watch_add(w, path, &s);
        return r < 0 ? r : watched_refresh(s);
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path;
        Watched *s;

        if (sd_bus_message_read(m, "o", &path) < 0 || !(s = watch_find(userdata, path)))
                return 0;
        return watched_gone(s);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Watch *w = userdata;
        const char *owner;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0 || isempty(owner))
                return 0;
        for (size_t i = 0; i < w->n_sessions; i++)
                (void) watched_refresh(w->sessions[i]);
        return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Watch *w = userdata;
        return sd_event_exit(w->event, report(EXIT_UNAVAILABLE, "The connection to the bus was lost."));
}

static int on_interrupt(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Watch *w = userdata;
        return sd_event_exit(w->event, w->context->args->until ? EXIT_DETACHED : 0);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Watch *w = userdata;
        const char *until = w->context->args->until;

        for (size_t i = 0; until && i < w->n_sessions; i++)
                if (!streq_ptr(w->sessions[i]->state, until))
                        return sd_event_exit(w->event, report(EXIT_TIMEOUT, "The time is over, and session %s is not %s but %s.",
                                                              strna(w->sessions[i]->name), until, strna(w->sessions[i]->state)));
        return sd_event_exit(w->event, until ? report(EXIT_TIMEOUT, "The time is over before all were %s.", until) : 0);
}

static int watch_subscribe(Watch *w) {
#define MANAGER_SIGNAL(member) "type='signal',sender='" SWARM_BUS_NAME "',path='" SWARM_PATH "',interface='" \
                               SWARM_INTERFACE_MANAGER "',member='" member "'"
        static const struct {
                const char *rule;
                sd_bus_message_handler_t handler;
        } matches[] = {
                { "type='signal',sender='" SWARM_BUS_NAME "',path_namespace='" SWARM_PATH_SESSION "',"
                  "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'", on_changed },
                { MANAGER_SIGNAL("SessionNew"), on_new },
                { MANAGER_SIGNAL("SessionRemoved"), on_removed },
                { "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                  "member='NameOwnerChanged',arg0='" SWARM_BUS_NAME "'", on_owner_changed },
                { "type='signal',sender='org.freedesktop.DBus.Local',interface='org.freedesktop.DBus.Local',"
                  "member='Disconnected'", on_disconnected },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(matches); i++)
                r = sd_bus_add_match(w->context->bus, NULL, matches[i].rule, matches[i].handler, w);
        return r;
}

static int watch_prepare(Watch *w) {
        usec_t timeout = w->context->args->timeout_usec;

        int r = sd_event_new(&w->event);
        if (r >= 0 && timeout > 0 && timeout != USEC_INFINITY)
                r = sd_event_add_time_relative(w->event, NULL, CLOCK_MONOTONIC, timeout, 0, on_timeout, w);
        return r < 0 ? r : watch_subscribe(w);
}

static int add_named(Watch *w, char *const *words) {
        STRV_FOREACH(word, words) {
                _cleanup_free_ char *path = NULL;

                int r = context_get_session(w->context, *word, &path);
                if (r == 0 && !watch_find(w, path))
                        r = watch_add(w, path, NULL);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int add_page(Watch *w, sd_bus_message *reply, char **after) {
        _cleanup_json_ json_t *rows = NULL;
        const char *next;
        json_t *row;
        size_t i;

        int r = context_read(reply, &rows);
        if (r != 0)
                return r;
        json_array_foreach(rows, i, row) {
                const char *path = value_string(row, "Path");
                if (path && !watch_find(w, path))
                        r = watch_add(w, path, NULL);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_read(reply, "s", &next);
        return r < 0 ? r : free_and_strdup(after, next);
}

static int add_all(Watch *w) {
        _cleanup_free_ char *after = strdup("");

        while (after) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

                int r = *after ? context_call_manager(w->context, "ListSessions", &reply, "a{sv}t", 2, "fields", "as", 1, "Path",
                                                      "after", "s", after, UINT64_C(0))
                               : context_call_manager(w->context, "ListSessions", &reply, "a{sv}t", 1, "fields", "as", 1, "Path", UINT64_C(0));
                if (r == 0)
                        r = add_page(w, reply, &after);
                if (r != 0 || !*after)
                        return r;
        }
        return -ENOMEM;
}

static int watch_run(Watch *w) {
        int r = catch_interrupts(w->event, on_interrupt, w);

        if (r >= 0)
                r = sd_bus_attach_event(w->context->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
        for (size_t i = 0; r >= 0 && i < w->n_sessions; i++)
                r = watched_refresh(w->sessions[i]);
        return r < 0 ? r : sd_event_loop(w->event);
}

static void watch_done(Watch *w) {
        for (size_t i = 0; i < w->n_sessions; i++)
                watched_free(w->sessions[i]);
        free(w->sessions);
        if (w->event && w->context->bus)
                (void) sd_bus_detach_event(w->context->bus);
        sd_event_unref(w->event);
}

/* Which states there are is the service's to say: it refuses a filter by one that it does not know. */
static int check_until(Context *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (!c->args->until)
                return 0;
        return context_call_manager(c, "ListSessions", &reply, "a{sv}t", 2, "state", "s", c->args->until, "limit", "u", 1, UINT64_C(0));
}

int verb_watch(Context *c, char *const *words) {
        _cleanup_(watch_done) Watch w = { .context = c, .all = !words };

        if (c->args->until && !words)
                return report(EXIT_USAGE, "--until= needs to know whose state: name the sessions.");
        int r = context_connect(c);
        if (r == 0)
                r = check_until(c);
        if (r != 0)
                return r;
        r = watch_prepare(&w);
        if (r < 0)
                return report_unreachable(c, r);
        r = words ? add_named(&w, words) : add_all(&w);
        return r != 0 ? r : watch_run(&w);
}
