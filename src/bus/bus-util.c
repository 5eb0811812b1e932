/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "bus/bus-util.h"

int bus_register_objects(sd_bus *bus, const BusObject *table, size_t n, void *userdata) {
        int r;

        for (const BusObject *o = table; o < table + n; o++) {
                r = o->find ? sd_bus_add_fallback_vtable(bus, NULL, o->path, o->interface, o->vtable, o->find, userdata) :
                              sd_bus_add_object_vtable(bus, NULL, o->path, o->interface, o->vtable, userdata);
                if (r < 0)
                        return r;
                if (o->enumerator) {
                        r = sd_bus_add_node_enumerator(bus, NULL, o->path, o->enumerator, userdata);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

void *bus_registered_userdata(sd_bus *bus) {
        return sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
}

int bus_path_decode(const char *path, const char *prefix, char **ret) {
        return sd_bus_path_decode(path, prefix, ret);
}

char *bus_path_encode(const char *prefix, const char *id) {
        char *path;

        return sd_bus_path_encode(prefix, id, &path) < 0 ? NULL : path;
}

static int append_pair(sd_bus_message *m, const char *pair) {
        const char *eq = strchr(pair, '=');
        _cleanup_free_ char *key = eq ? strndup(pair, (size_t) (eq - pair)) : strdup(pair);

        return key ? sd_bus_message_append(m, "{ss}", key, eq ? eq + 1 : "") : -ENOMEM;
}

static int append_pairs(sd_bus_message *m, char *const *pairs) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (char *const *p = pairs; r >= 0 && p && *p; p++)
                r = append_pair(m, *p);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int strv_bytes(char *const *v) {
        size_t n = 0;

        for (; v && *v; v++)
                n += strlen(*v) + 16;
        return (int) MIN(n, (size_t) INT32_MAX / 2);
}

const BusField *bus_field_find(const BusField *table, const char *name) {
        for (; table->name; table++)
                if (streq(table->name, name))
                        return table;
        return NULL;
}

/* Returns about how many bytes the value takes. */
static int append_value(sd_bus_message *m, const BusField *f, const void *object) {
        const void *member = (const char *) object + f->offset;
        int r;

        if (f->append)
                return f->append(m, object);
        if (streq(f->signature, "s")) {
                const char *s = strempty(*(char *const *) member);

                r = sd_bus_message_append_basic(m, 's', s);
                return r < 0 ? r : (int) strlen(s);
        }
        if (streq(f->signature, "as")) {
                r = sd_bus_message_append_strv(m, *(char ***) member);
                return r < 0 ? r : strv_bytes(*(char *const *const *) member);
        }
        if (streq(f->signature, "a{ss}")) {
                r = append_pairs(m, *(char *const *const *) member);
                return r < 0 ? r : strv_bytes(*(char *const *const *) member);
        }
        if (streq(f->signature, "b"))
                return sd_bus_message_append_basic(m, 'b', &(int) { *(const bool *) member });
        return sd_bus_message_append_basic(m, f->signature[0], member);
}

int bus_field_append_value(sd_bus_message *m, const BusField *field, const void *object) {
        int r = append_value(m, field, object);

        return r < 0 ? r : 0;
}

int bus_field_append_entry(sd_bus_message *m, const BusField *field, const void *object) {
        int r, bytes;

        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 's', field->name);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'v', field->signature);
        if (r < 0)
                return r;
        bytes = append_value(m, field, object);
        if (bytes < 0)
                return bytes;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        return r < 0 ? r : bytes + (int) strlen(field->name) + 24;
}

int bus_fields_append(sd_bus_message *m, const BusField *table, unsigned flags, const void *object) {
        int r, bytes = 8;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (; r >= 0 && table->name; table++)
                if ((table->flags & flags) == flags) {
                        r = bus_field_append_entry(m, table, object);
                        bytes += r;
                }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : bytes;
}

int bus_reply_new(sd_bus_message *call, sd_bus_message **ret, const char *types, ...) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r < 0)
                return r;
        if (!isempty(types)) {
                va_start(ap, types);
                r = sd_bus_message_appendv(reply, types, ap);
                va_end(ap);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(reply);
        return 0;
}
