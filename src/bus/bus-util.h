/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Objects as data, paths, and the parts of answers that every interface needs. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"
#include "basic/string-util.h"

#define _cleanup_bus_message_ _cleanup_(sd_bus_message_unrefp)

/* One row registers one interface. With `find` the row is for all objects below `path`, looked up at each call, so that
 * an object that goes leaves nothing behind; without it for the one object at `path`. */
typedef struct BusObject {
        const char *path;
        const char *interface;
        const sd_bus_vtable *vtable;
        sd_bus_object_find_t find;
        sd_bus_node_enumerator_t enumerator;
} BusObject;

/* Floating slots: they live as long as the bus. */
int bus_register_objects(sd_bus *bus, const BusObject *table, size_t n, void *userdata);

/* What was given to bus_register_objects(), from within a handler. */
void *bus_registered_userdata(sd_bus *bus);

/* The id behind `prefix` in an object path. 1, or 0 if it is not one, or -ENOMEM. */
int bus_path_decode(const char *path, const char *prefix, char **ret);
/* sd_bus_path_encode(), NULL when memory is short. */
char *bus_path_encode(const char *prefix, const char *id);

/* A value of an object as a property and as a dictionary entry, from one table. Without `append` the member at `offset`
 * is sent as its signature says: s char * (NULL is sent as ""), i int, u uint32_t, t uint64_t, x int64_t, d double, b bool,
 * as Strv, a{ss} Strv of "K=V". `flags` are the table's owner's. */
typedef struct BusField {
        const char *name;
        const char *signature;
        size_t offset;
        int (*append)(sd_bus_message *m, const void *object);   /* the value alone; about how many bytes, or -errno */
        unsigned flags;
} BusField;

#define BUS_FIELD(name_, signature_, type, member, ...) { .name = (name_), .signature = (signature_), .offset = offsetof(type, member), ##__VA_ARGS__ }
#define BUS_FIELD_FUNCTION(name_, signature_, function, ...) { .name = (name_), .signature = (signature_), .append = (function), ##__VA_ARGS__ }

/* Tables end with a NULL name. */
const BusField *bus_field_find(const BusField *table, const char *name);
/* The value, as a property getter wants it. */
int bus_field_append_value(sd_bus_message *m, const BusField *field, const void *object);
/* A {sv} entry. Returns about how many bytes it takes, or -errno. */
int bus_field_append_entry(sd_bus_message *m, const BusField *field, const void *object);
/* All fields of the table that have all of `flags`, as one a{sv}. Returns bytes, or -errno. */
int bus_fields_append(sd_bus_message *m, const BusField *table, unsigned flags, const void *object);

/* A method's answer with the given body ("" for none), not yet sent. */
int bus_reply_new(sd_bus_message *call, sd_bus_message **ret, const char *types, ...);
