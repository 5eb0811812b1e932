/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager on the bus: every interface of dbus/ but the agent's. A handler parses and validates, finds, authorizes,
 * calls one core function, and replies when the manager has saved the intent. */

#include <systemd/sd-bus.h>

#include "core/manager.h"

typedef struct Front Front;

typedef struct FrontHooks {
        /* Reads the configuration again and gives it to the manager. *ret_warnings: one sentence each. */
        int (*reload)(void *userdata, Strv *ret_warnings);
        void *userdata;
} FrontHooks;

/* Registers everything and becomes the manager's observer. The bus need not be connected yet; the name is requested by
 * the caller, afterwards. */
int front_new(sd_bus *bus, Manager *m, const FrontHooks *hooks, Front **ret);
Front *front_free(Front *f);            /* before the manager's free: requests that wait get no answer */
DEFINE_CLEANUP(Front *, front_free)

/* The manager has another configuration. */
void front_reload_config(Front *f);
