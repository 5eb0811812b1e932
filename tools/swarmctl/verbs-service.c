/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs about the service itself. */

#include "output.h"
#include "swarmctl.h"

#define LOG_CONTROL_PATH "/org/freedesktop/LogControl1"
#define LOG_CONTROL_INTERFACE "org.freedesktop.LogControl1"

/* What was wrong in the files is told; the rest is in force. */
int verb_reload(Context *c, char *const *words) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_t *warnings = NULL;
        json_t *warning;
        size_t i;

        polkit_agent_open(c);
        int r = context_call_manager(c, "Reload", &reply, NULL);
        if (r == 0)
                r = context_read(reply, &warnings);
        if (r != 0)
                return r;
        json_array_foreach(warnings, i, warning)
                (void) report(0, "%s", strempty(json_string_value(warning)));
        return json_array_size(warnings) > 0 ? EXIT_FAILURE : 0;
}

static int get_log_level(Context *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_json_ json_t *level = NULL;

        int r = context_new_call(c, LOG_CONTROL_PATH, "org.freedesktop.DBus.Properties", "Get", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "ss", LOG_CONTROL_INTERFACE, "LogLevel");
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r == 0)
                r = context_read(reply, &level);
        if (r == 0 && c->args->json != JSON_OFF)
                return output_json(c->args, level);
        if (r == 0)
                printf("%s\n", strna(json_string_value(level)));
        return r;
}

int verb_log_level(Context *c, char *const *words) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        if (!words)
                return get_log_level(c);
        polkit_agent_open(c);
        int r = context_new_call(c, LOG_CONTROL_PATH, "org.freedesktop.DBus.Properties", "Set", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "ssv", LOG_CONTROL_INTERFACE, "LogLevel", "s", words[0]);
        return r < 0 ? r : context_call(c, m, NULL);
}
