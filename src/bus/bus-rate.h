/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A token bucket for each uid: so many changes a minute, as a burst or spread. Knows no clock and no bus. */

#include "basic/macro.h"

typedef struct BusRate BusRate;

int bus_rate_new(BusRate **ret);
BusRate *bus_rate_free(BusRate *r);
DEFINE_CLEANUP(BusRate *, bus_rate_free)

/* Takes one token at `now_usec` (monotonic). 0, or how long to wait for the next one; USEC_INFINITY when memory is
 * short. per_minute 0 is no limit. */
usec_t bus_rate_take(BusRate *r, uid_t uid, usec_t now_usec, unsigned per_minute);
