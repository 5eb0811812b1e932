/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Refusals as D-Bus errors. A code becomes org.swarm.Orchestrator.Error.<Name>; malformed arguments and denials get the
 * standard names that every client knows. */

#include <systemd/sd-bus.h>

#include "basic/refusal.h"

#define BUS_ERROR_INTERACTIVE "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"

/* Static string; never NULL. */
const char *bus_error_name(RefusalCode code);

/* Sets e and returns a negative errno, as a method handler wants it. For what a function returned that may refuse or
 * break: -EBADRQC takes *refusal, everything else becomes INTERNAL with strerror. Takes *refusal, which may be NULL inside. */
int bus_error_set(sd_bus_error *e, int r, Refusal **refusal);

/* A refusal made on the spot. */
int bus_error_setf(sd_bus_error *e, RefusalCode code, const char *format, ...) _printf_(3, 4);
