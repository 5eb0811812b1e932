/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "bus/bus-error.h"
#include "bus/bus-log-control.h"

#define LOG_CONTROL_PATH "/org/freedesktop/LogControl1"
#define LOG_CONTROL_INTERFACE "org.freedesktop.LogControl1"

static int property_get_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                              sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(reply, "s", log_level_to_string(log_get_max_level()));
}

static int property_set_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                              sd_bus_message *value, void *userdata, sd_bus_error *reterr) {
        const char *s;
        int r, level;

        r = sd_bus_message_read_basic(value, 's', &s);
        if (r < 0)
                return r;
        level = log_level_from_string(s);
        if (level < 0)
                return bus_error_setf(reterr, REFUSAL_INVALID_ARGUMENT,
                                      "\"%.64s\" is not a log level. Known are: emerg, alert, crit, err, warning, notice, info, debug.", s);
        log_info("Log level is %s now.", s);
        return log_set_max_level(level);
}

static int property_get_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(reply, "s", log_target_to_string());
}

static int property_set_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *value, void *userdata, sd_bus_error *reterr) {
        const char *s;
        int r;

        r = sd_bus_message_read_basic(value, 's', &s);
        if (r < 0)
                return r;
        if (log_set_target(s) < 0)
                return bus_error_setf(reterr, REFUSAL_INVALID_ARGUMENT, "\"%.64s\" is not a log target. Known are: journal, console, auto.", s);
        return 0;
}

static int property_get_identifier(sd_bus *bus, const char *path, const char *interface, const char *property,
                                   sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const BusLogControl *control = userdata;

        return sd_bus_message_append(reply, "s", control->identifier);
}

static const sd_bus_vtable log_control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", property_get_level, property_set_level, 0, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", property_get_target, property_set_target, 0, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", property_get_identifier, 0, 0),
        SD_BUS_VTABLE_END,
};

/* Object callbacks run before vtables: 0 lets the vtable have the message. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const BusLogControl *control = userdata;
        int r;

        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Set") <= 0)
                return 0;
        r = control->authorize(control->userdata, m, reterr);
        return r < 0 ? r : r == 0 ? 1 : 0;
}

int bus_log_control_register(sd_bus *bus, const BusLogControl *control) {
        int r;

        r = sd_bus_add_object(bus, NULL, LOG_CONTROL_PATH, on_message, (void *) control);
        if (r < 0)
                return r;
        return sd_bus_add_object_vtable(bus, NULL, LOG_CONTROL_PATH, LOG_CONTROL_INTERFACE, log_control_vtable, (void *) control);
}
