/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <signal.h>
#include <stdarg.h>

#include "format.h"
#include "output.h"
#include "swarmctl.h"

/* Longer than the service lets polkit think: 30 s without a person, 5 min with one. */
#define CALL_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define CALL_INTERACTIVE_TIMEOUT_USEC (330 * USEC_PER_SEC)

int report(int status, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        /* Parts of a sentence may come from a registry, an image, another user. */
        if (text)
                format_make_printable(text);
        (void) output_flush();
        fprintf(stderr, "%s\n", text ? text : strerror(ENOMEM));
        return status;
}

#define CANNOT_BE_STARTED \
        "The orchestrator cannot be started: its unit is masked or broken. 'systemctl status swarm-orchestratord' says which; " \
        "'systemctl unmask swarm-orchestratord' takes a mask away."

static const struct {
        const char *name;
        int status;
        const char *sentence;   /* for errors that the bus makes, NULL: the error's own */
} errors[] = {
        { SWARM_ERROR_NO_SUCH_SESSION, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_TEMPLATE, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_NODE, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_PROVIDER, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_JOB, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_GENERATION, EXIT_NOT_FOUND },
        { SWARM_ERROR_NO_SUCH_IMAGE, EXIT_NOT_FOUND },
        { SWARM_ERROR_SESSION_EXISTS, EXIT_WRONG_STATE },
        { SWARM_ERROR_WRONG_STATE, EXIT_WRONG_STATE },
        { SWARM_ERROR_BUSY, EXIT_WRONG_STATE },
        { SWARM_ERROR_NOT_CANCELABLE, EXIT_WRONG_STATE },
        { SWARM_ERROR_LIMIT_EXCEEDED, EXIT_LIMIT },
        { SWARM_ERROR_RATE_LIMITED, EXIT_LIMIT },
        { SWARM_ERROR_NO_CAPACITY, EXIT_LIMIT },
        { SWARM_ERROR_PROVIDER_UNAVAILABLE, EXIT_UNAVAILABLE },
        { SD_BUS_ERROR_INVALID_ARGS, EXIT_USAGE },
        { SD_BUS_ERROR_ACCESS_DENIED, EXIT_DENIED },
        { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, EXIT_DENIED },
        { SD_BUS_ERROR_UNKNOWN_OBJECT, EXIT_NOT_FOUND },
        { SD_BUS_ERROR_SERVICE_UNKNOWN, EXIT_UNAVAILABLE,
          "The orchestrator is not running here and the bus cannot start it. Start it with "
          "'systemctl start swarm-orchestratord', or name its machine with -H." },
        { "org.freedesktop.systemd1.NoSuchUnit", EXIT_UNAVAILABLE,
          "The orchestrator is installed but not enabled. Enable it with 'systemctl enable --now swarm-orchestratord'." },
        /* A mask hides the unit that its alias, which the bus starts, points to. */
        { SD_BUS_ERROR_FILE_EXISTS, EXIT_UNAVAILABLE, CANNOT_BE_STARTED },
        { "org.freedesktop.systemd1.UnitMasked", EXIT_UNAVAILABLE, CANNOT_BE_STARTED },
        { "org.freedesktop.systemd1.LoadFailed", EXIT_UNAVAILABLE, CANNOT_BE_STARTED },
        { "org.freedesktop.DBus.Error.TimedOut", EXIT_UNAVAILABLE,
          "The orchestrator was started and did not come up in time. 'journalctl -u swarm-orchestratord' says why." },
        { SD_BUS_ERROR_NAME_HAS_NO_OWNER, EXIT_UNAVAILABLE,
          "The orchestrator is not running here. Start it with 'systemctl start swarm-orchestratord'." },
        { SD_BUS_ERROR_NO_REPLY, EXIT_UNAVAILABLE,
          "The orchestrator did not answer. What was asked may still be done; 'swarmctl jobs' shows it, and "
          "'journalctl -u swarm-orchestratord' why." },
        { SD_BUS_ERROR_TIMEOUT, EXIT_UNAVAILABLE,
          "The orchestrator did not answer in time. What was asked may still be done; 'swarmctl jobs' shows it." },
        { SD_BUS_ERROR_DISCONNECTED, EXIT_UNAVAILABLE, "The connection to the bus was lost. What was asked may still be done." },
};

int exit_status_of_error(const char *name) {
        for (size_t i = 0; name && i < ELEMENTSOF(errors); i++)
                if (streq(errors[i].name, name))
                        return errors[i].status;
        /* org.freedesktop.systemd1.* and org.freedesktop.DBus.Error.Spawn.*: activation failed */
        if (name && (startswith(name, "org.freedesktop.DBus.Error.Spawn.") || startswith(name, "org.freedesktop.systemd1.")))
                return EXIT_UNAVAILABLE;
        return EXIT_FAILURE;
}

int report_bus_error(const Context *c, const sd_bus_error *e, int r) {
        if (!sd_bus_error_is_set(e))
                return r;
        int status = exit_status_of_error(e->name);
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                if (errors[i].sentence && streq(errors[i].name, e->name))
                        return report(status, "%s", errors[i].sentence);
        const char *message = isempty(e->message) ? e->name : e->message;
        bool named = !c->subject || strstr(message, c->subject);
        return report(status, "%s%s%s", named ? "" : c->subject, named ? "" : ": ", message);
}

int report_unreachable(const Context *c, int r) {
        if (c->args->host)
                return report(EXIT_UNAVAILABLE, "The bus of %s cannot be reached, or the connection was cut; ssh says above why.", c->args->host);
        return report(EXIT_UNAVAILABLE, "The system bus cannot be reached: %s.", strerror(-r));
}

int context_open(Context *c) {
        const char *host = c->args->host;

        int r = host ? sd_bus_open_system_remote(&c->bus, host) : sd_bus_open_system(&c->bus);
        if (r < 0)
                return r;
        (void) sd_bus_set_allow_interactive_authorization(c->bus, c->args->ask_password);
        (void) sd_bus_set_method_call_timeout(c->bus, c->args->ask_password ? CALL_INTERACTIVE_TIMEOUT_USEC : CALL_TIMEOUT_USEC);
        return 0;
}

int context_connect(Context *c) {
        const char *host = c->args->host;

        if (c->bus)
                return 0;
        int r = context_open(c);
        if (r == -EINVAL && host)
                return report(EXIT_USAGE, "'%s' is not a machine: write HOST or USER@HOST.", host);
        return r < 0 ? report_unreachable(c, r) : 0;
}

void context_disconnect(Context *c) {
        c->bus = sd_bus_flush_close_unref(c->bus);
}

void context_done(Context *c) {
        polkit_agent_close(c);
        context_disconnect(c);
}

int catch_interrupts(sd_event *event, sd_event_signal_handler_t handler, void *userdata) {
        static const int signals[] = { SIGINT, SIGTERM };
        sigset_t mask;
        int r = 0;

        (void) sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(event, NULL, signals[i], handler, userdata);
        return r < 0 ? r : 0;
}

int context_new_call(Context *c, const char *path, const char *interface, const char *member, sd_bus_message **ret) {
        int r = context_connect(c);
        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(c->bus, ret, SWARM_BUS_NAME, path, interface, member);
        return MIN(r, 0);
}

/* The connection itself broke, or never came about. */
static bool is_connection_error(int r, const sd_bus_error *e) {
        return r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE || r == -ESHUTDOWN || sd_bus_error_has_name(e, SD_BUS_ERROR_DISCONNECTED);
}

int context_call(Context *c, sd_bus_message *m, sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        int r = sd_bus_call(c->bus, m, 0, &error, ret_reply);
        if (r >= 0)
                return 0;
        if (is_connection_error(r, &error))
                return report_unreachable(c, r);
        return report_bus_error(c, &error, r);
}

int context_call_manager(Context *c, const char *member, sd_bus_message **ret_reply, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        va_list ap;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, member, &m);
        if (r != 0)
                return r;
        va_start(ap, types);
        r = types ? sd_bus_message_appendv(m, types, ap) : 0;
        va_end(ap);
        return r < 0 ? r : context_call(c, m, ret_reply);
}

int context_read(sd_bus_message *reply, json_t **ret) {
        int r = value_read(reply, ret);
        return r < 0 ? report(EXIT_FAILURE, "The orchestrator's answer cannot be read: %s. Its version may not fit this program's.", strerror(-r)) : 0;
}

int context_get_session(Context *c, const char *id_or_name, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;

        int r = context_call_manager(c, "GetSession", &reply, "s", id_or_name);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        return r < 0 ? r : free_and_strdup(ret_path, path);
}

int context_get_all(Context *c, const char *path, const char *interface, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;

        int r = context_new_call(c, path, "org.freedesktop.DBus.Properties", "GetAll", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", interface);
        if (r < 0)
                return r;
        r = context_call(c, m, &reply);
        return r != 0 ? r : context_read(reply, ret);
}

static int append_strings(sd_bus_message *m, char *const *v, bool pairs) {
        int r = sd_bus_message_open_container(m, 'a', pairs ? "{ss}" : "s");

        for (size_t i = 0; r >= 0 && v[i]; i++) {
                size_t n = strcspn(v[i], "=");
                _cleanup_free_ char *key = pairs ? strndup(v[i], n) : NULL;

                if (!pairs)
                        r = sd_bus_message_append(m, "s", v[i]);
                else
                        r = key ? sd_bus_message_append(m, "{ss}", key, v[i][n] ? v[i] + n + 1 : "") : -ENOMEM;
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool option_is_set(const WireOption *o, const void *field) {
        switch (*o->signature) {
        case 's':
                return *(char *const *) field;
        case 'a':
                return *(const Strv *) field;
        case 'd':
                return *(const double *) field > 0;
        case 't':
                return *(const uint64_t *) field > 0;
        case 'u':
                return *(const uid_t *) field != (uid_t) -1;
        default:
                return *(const bool *) field;
        }
}

static int append_value(sd_bus_message *m, const WireOption *o, const void *field) {
        switch (*o->signature) {
        case 's':
                return sd_bus_message_append(m, "s", *(char *const *) field);
        case 'a':
                return append_strings(m, *(const Strv *) field, o->signature[1] == '{');
        case 'd':
                return sd_bus_message_append(m, "d", *(const double *) field);
        case 't':
                return sd_bus_message_append(m, "t", *(const uint64_t *) field);
        case 'u':
                return sd_bus_message_append(m, "u", (uint32_t) *(const uid_t *) field);
        default:
                return sd_bus_message_append(m, "b", (int) *(const bool *) field);
        }
}

int append_members(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                const WireOption *o = options + i;
                const void *field = (const char *) a + o->offset;

                if (!option_is_set(o, field))
                        continue;
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", o->key);
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', o->signature);
                if (r >= 0)
                        r = append_value(m, o, field);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : 0;
}

int append_options(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_members(m, a, options, n);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return MIN(r, 0);
}
