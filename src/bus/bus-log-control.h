/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.freedesktop.LogControl1(5): what `systemctl service-log-level` and `service-log-target` talk to. Everybody may
 * read; writing is decided by a callback, since a property setter cannot wait for the answer of another service. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

/* Before a property is set. 1: go on. 0: parked, will be entered again. Negative with the error set: refused. */
typedef int (*bus_log_control_authorize_cb)(void *userdata, sd_bus_message *m, sd_bus_error *reterr);

typedef struct BusLogControl {
        const char *identifier;         /* SyslogIdentifier */
        bus_log_control_authorize_cb authorize;
        void *userdata;
} BusLogControl;

/* `control` must live as long as the bus. */
int bus_log_control_register(sd_bus *bus, const BusLogControl *control);
