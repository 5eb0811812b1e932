/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks polkit without waiting: the message is parked, and when polkit has answered it enters its handler again from the
 * top, where the same check finds the verdict. So a handler changes nothing before its check, makes one check only, and
 * must be able to parse its message twice. A verdict holds for that message, that action and those details alone.
 *
 * Without a polkit that answers, everybody but uid 0 is denied. A polkit that hangs costs its callers the timeout, and
 * nobody else anything. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct BusPolkit BusPolkit;

typedef struct BusPolkitConfig {
        unsigned queries_max;                   /* in flight */
        unsigned queries_per_user_max;
        usec_t timeout_usec;                    /* of a query without interaction */
        usec_t interactive_timeout_usec;        /* of one where somebody types a password */
        bool always_ask;                        /* uid 0 too */
} BusPolkitConfig;

typedef struct BusPolkitRequest {
        const char *action;
        const char *const *details;             /* key, value, key, value …, NULL */
        const char *what;                       /* for sentences: "hibernate session dev" */
} BusPolkitRequest;

int bus_polkit_new(sd_bus *bus, sd_event *event, const BusPolkitConfig *config, BusPolkit **ret);
BusPolkit *bus_polkit_free(BusPolkit *p);
DEFINE_CLEANUP(BusPolkit *, bus_polkit_free)
void bus_polkit_set_config(BusPolkit *p, const BusPolkitConfig *config);

/* 1: allowed. 0: asked, the handler returns 1. Negative: denied or failed, and the error is set: AccessDenied,
 * InteractiveAuthorizationRequired, LimitExceeded. */
int bus_polkit_check(BusPolkit *p, sd_bus_message *m, uid_t uid, const BusPolkitRequest *request, sd_bus_error *reterr);

/* The caller has gone: its questions are forgotten (for BusCallers' callback). */
void bus_polkit_caller_gone(BusPolkit *p, const char *sender);
