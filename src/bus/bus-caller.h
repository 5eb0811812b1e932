/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who calls. sd_bus_query_sender_creds() would block the loop with a call to the bus, so the bus is asked in the
 * background once for each connection (GetConnectionUnixUser of the D-Bus specification), while the message waits; then
 * it enters its handler again from the top. Unique names are never used again during a bus's life, so what is known of
 * one stays true; it is dropped when the connection ends. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define BUS_CALLERS_MAX 4096            /* connections remembered */
#define BUS_CALLER_PARKED_MAX 128       /* messages of one connection that wait for its uid */

typedef struct BusCallers BusCallers;

/* A connection that was asked about has ended. */
typedef void (*bus_caller_gone_cb)(void *userdata, const char *sender);

int bus_callers_new(sd_bus *bus, bus_caller_gone_cb gone, void *userdata, BusCallers **ret);
BusCallers *bus_callers_free(BusCallers *c);
DEFINE_CLEANUP(BusCallers *, bus_callers_free)

/* 1: *ret is the caller's uid. 0: not known yet; the handler returns 1 and is entered again. -EBUSY: too many messages
 * of this caller wait already. Nothing may have changed before. */
int bus_callers_get_uid(BusCallers *c, sd_bus_message *m, uid_t *ret);

/* Puts a message that was parked back, so that its handler runs again from the top; answers it with an error if that is
 * not possible. */
void bus_message_reenter(sd_bus_message *m);
