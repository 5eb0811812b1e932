/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <uthash.h>

#include "basic/log.h"
#include "bus/bus-caller.h"
#include "bus/bus-error.h"

typedef struct Caller {
        BusCallers *callers;
        char *name;
        bool known;
        uid_t uid;
        sd_bus_slot *slot;                      /* the question to the bus */
        sd_bus_message **parked;
        size_t n_parked, n_allocated;
        UT_hash_handle hh;
} Caller;

struct BusCallers {
        sd_bus *bus;
        sd_bus_slot *match;
        Caller *callers;                        /* in the order in which they came */
        bus_caller_gone_cb gone;
        void *userdata;
};

static void caller_free(Caller *c) {
        if (!c)
                return;
        if (c->callers)
                HASH_DEL(c->callers->callers, c);
        for (size_t i = 0; i < c->n_parked; i++)
                sd_bus_message_unref(c->parked[i]);
        free(c->parked);
        sd_bus_slot_unref(c->slot);
        free(c->name);
        free(c);
}

void bus_message_reenter(sd_bus_message *m) {
        int r;

        r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(m), m);
        if (r < 0) {
                log_debug_errno(r, "Cannot take a parked message up again: %m");
                (void) sd_bus_reply_method_errnof(m, r, "The request could not be taken up again: %s. Repeat it.", strerror(-r));
        }
}

static void caller_release(Caller *c, const char *error) {
        for (size_t i = 0; i < c->n_parked; i++) {
                if (error)
                        (void) sd_bus_reply_method_errorf(c->parked[i], SD_BUS_ERROR_ACCESS_DENIED,
                                                          "The message bus did not tell who asks: %s.", error);
                else
                        bus_message_reenter(c->parked[i]);
                sd_bus_message_unref(c->parked[i]);
        }
        free(c->parked);
        c->parked = NULL;
        c->n_parked = c->n_allocated = 0;
}

static int caller_park(Caller *c, sd_bus_message *m) {
        if (c->n_parked >= BUS_CALLER_PARKED_MAX)
                return -EBUSY;
        if (c->n_parked >= c->n_allocated) {
                size_t n = MAX(c->n_allocated * 2, (size_t) 4);
                sd_bus_message **p = reallocarray(c->parked, n, sizeof(*p));

                if (!p)
                        return -ENOMEM;
                c->parked = p;
                c->n_allocated = n;
        }
        c->parked[c->n_parked++] = sd_bus_message_ref(m);
        return 0;
}

static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Caller *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        uint32_t uid;
        int r;

        if (e) {
                caller_release(c, e->message ?: e->name);
                caller_free(c);
                return 1;
        }
        r = sd_bus_message_read_basic(reply, 'u', &uid);
        if (r < 0) {
                caller_release(c, "its answer cannot be read");
                caller_free(c);
                return 1;
        }
        c->known = true;
        c->uid = uid;
        c->slot = sd_bus_slot_unref(c->slot);
        caller_release(c, NULL);
        return 1;
}

/* The oldest that nobody waits for makes room. */
static void callers_trim(BusCallers *c) {
        Caller *i, *next;

        if (HASH_COUNT(c->callers) < BUS_CALLERS_MAX)
                return;
        HASH_ITER(hh, c->callers, i, next)
                if (i->known) {
                        caller_free(i);
                        return;
                }
}

static int caller_new(BusCallers *callers, const char *name, Caller **ret) {
        Caller *c;
        int r;

        callers_trim(callers);
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->name = strdup(name);
        if (!c->name) {
                caller_free(c);
                return -ENOMEM;
        }
        r = sd_bus_call_method_async(callers->bus, &c->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "GetConnectionUnixUser", on_uid, c, "s", name);
        if (r < 0) {
                caller_free(c);
                return r;
        }
        c->callers = callers;
        HASH_ADD_KEYPTR(hh, callers->callers, c->name, strlen(c->name), c);
        *ret = c;
        return 0;
}

int bus_callers_get_uid(BusCallers *callers, sd_bus_message *m, uid_t *ret) {
        const char *sender = sd_bus_message_get_sender(m);
        Caller *c;
        int r;

        if (!sender)
                return -ENXIO;
        HASH_FIND_STR(callers->callers, sender, c);
        if (c && c->known) {
                *ret = c->uid;
                return 1;
        }
        if (!c) {
                r = caller_new(callers, sender, &c);
                if (r < 0)
                        return r;
        }
        return caller_park(c, m);
}

static int on_name_lost(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        BusCallers *callers = userdata;
        const char *name;
        Caller *c;

        if (sd_bus_message_read_basic(m, 's', &name) < 0)
                return 0;
        HASH_FIND_STR(callers->callers, name, c);
        if (!c)
                return 0;
        if (callers->gone)
                callers->gone(callers->userdata, name);
        caller_free(c);
        return 0;
}

int bus_callers_new(sd_bus *bus, bus_caller_gone_cb gone, void *userdata, BusCallers **ret) {
        _cleanup_(bus_callers_freep) BusCallers *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->bus = sd_bus_ref(bus);
        c->gone = gone;
        c->userdata = userdata;
        r = sd_bus_add_match_async(bus, &c->match,
                                   "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                   "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                                   on_name_lost, NULL, c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

BusCallers *bus_callers_free(BusCallers *c) {
        Caller *i, *next;

        if (!c)
                return NULL;
        HASH_ITER(hh, c->callers, i, next)
                caller_free(i);
        sd_bus_slot_unref(c->match);
        sd_bus_unref(c->bus);
        free(c);
        return NULL;
}
