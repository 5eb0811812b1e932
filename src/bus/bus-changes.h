/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Changes of objects, collected until the loop has nothing else to do, then sent: one InterfacesAdded,
 * PropertiesChanged or InterfacesRemoved for each object, whatever happened to it meanwhile. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct BusChanges BusChanges;

#define BUS_CHANGED_ADDED (UINT64_C(1) << 0)
#define BUS_CHANGED_REMOVED (UINT64_C(1) << 1)

/* A property is announced when its mask meets what was noted. Those that emit nothing are not listed. */
typedef struct BusChangedProperty {
        const char *name;
        uint64_t mask;
} BusChangedProperty;

typedef struct BusChangeClass {
        const char *interface;
        const BusChangedProperty *properties;   /* ends with a NULL name */
        /* Called after the standard signal was sent, for signals of our own; may be NULL. */
        void (*announce)(void *userdata, const char *path, uint64_t mask);
} BusChangeClass;

int bus_changes_new(sd_bus *bus, sd_event *event, void *userdata, BusChanges **ret);
BusChanges *bus_changes_free(BusChanges *c);
DEFINE_CLEANUP(BusChanges *, bus_changes_free)

/* Never fails: what cannot be noted is sent at once or logged. */
void bus_changes_note(BusChanges *c, const BusChangeClass *class, const char *path, uint64_t mask);
