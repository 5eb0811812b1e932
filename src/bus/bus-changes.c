/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <uthash.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "bus/bus-changes.h"
#include "event/event-util.h"

/* Objects announced in one turn of the loop, so that a full list of thousands does not hold up the callers. */
#define BATCH_MAX 64
#define PROPERTIES_MAX 64

typedef struct Change {
        char *path;
        const BusChangeClass *class;
        uint64_t mask;
        UT_hash_handle hh;
} Change;

struct BusChanges {
        sd_bus *bus;
        Deferred *idle;
        Change *changes;                        /* in the order in which they were noted first */
        void *userdata;
};

static void change_free(BusChanges *c, Change *i) {
        HASH_DEL(c->changes, i);
        free(i->path);
        free(i);
}

static int emit_changed(BusChanges *c, const BusChangeClass *class, const char *path, uint64_t mask) {
        char *names[PROPERTIES_MAX + 1];
        size_t n = 0;

        for (const BusChangedProperty *p = class->properties; p->name && n < PROPERTIES_MAX; p++)
                if (p->mask & mask)
                        names[n++] = (char *) p->name;
        names[n] = NULL;
        return n > 0 ? sd_bus_emit_properties_changed_strv(c->bus, path, class->interface, names) : 0;
}

static void emit(BusChanges *c, const BusChangeClass *class, const char *path, uint64_t mask) {
        int r;

        if (mask & BUS_CHANGED_REMOVED)
                r = sd_bus_emit_interfaces_removed(c->bus, path, class->interface, NULL);
        else if (mask & BUS_CHANGED_ADDED)
                r = sd_bus_emit_interfaces_added(c->bus, path, class->interface, NULL);
        else
                r = emit_changed(c, class, path, mask);
        /* -ENOENT: the object went within the same turn; its removal follows. */
        if (r < 0 && r != -ENOENT)
                log_debug_errno(r, "Cannot announce a change of %s: %m", path);
        if (class->announce)
                class->announce(c->userdata, path, mask);
}

static void emit_first(BusChanges *c) {
        Change *i = c->changes;
        uint64_t mask = i->mask;
        const BusChangeClass *class = i->class;
        _cleanup_free_ char *path = TAKE_PTR(i->path);

        HASH_DEL(c->changes, i);
        free(i);
        emit(c, class, path, mask);
}

static void on_idle(void *userdata) {
        BusChanges *c = userdata;

        for (unsigned n = 0; c->changes && n < BATCH_MAX; n++)
                emit_first(c);
        if (c->changes)
                deferred_arm(c->idle);
}

void bus_changes_note(BusChanges *c, const BusChangeClass *class, const char *path, uint64_t mask) {
        Change *i;

        HASH_FIND_STR(c->changes, path, i);
        if (i && (mask & BUS_CHANGED_REMOVED) && (i->mask & BUS_CHANGED_ADDED)) {
                /* Came and went without anybody being told of it. */
                change_free(c, i);
                return;
        }
        if (i && (mask & BUS_CHANGED_ADDED) && (i->mask & BUS_CHANGED_REMOVED)) {
                emit(c, i->class, i->path, i->mask);
                i->mask = 0;
        }
        if (!i) {
                i = calloc(1, sizeof(*i));
                if (i)
                        i->path = strdup(path);
                if (!i || !i->path) {
                        free(i);
                        emit(c, class, path, mask);
                        return;
                }
                i->class = class;
                HASH_ADD_KEYPTR(hh, c->changes, i->path, strlen(i->path), i);
                deferred_arm(c->idle);
        }
        i->mask |= mask;
}

int bus_changes_new(sd_bus *bus, sd_event *event, void *userdata, BusChanges **ret) {
        _cleanup_(bus_changes_freep) BusChanges *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->bus = sd_bus_ref(bus);
        c->userdata = userdata;
        r = deferred_new(event, SD_EVENT_PRIORITY_IDLE, on_idle, c, &c->idle);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

BusChanges *bus_changes_free(BusChanges *c) {
        Change *i, *next;

        if (!c)
                return NULL;
        HASH_ITER(hh, c->changes, i, next)
                change_free(c, i);
        deferred_free(c->idle);
        sd_bus_unref(c->bus);
        free(c);
        return NULL;
}
