/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Timers and deferred calls on an sd_event loop. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef void (*event_cb)(void *userdata);

/* One call at the end of the loop turn, however often it was armed. Free with deferred_free(); freeing cancels. */
typedef struct Deferred Deferred;
int deferred_new(sd_event *event, int64_t priority, event_cb cb, void *userdata, Deferred **ret);
void deferred_arm(Deferred *d);
Deferred *deferred_free(Deferred *d);
DEFINE_CLEANUP(Deferred *, deferred_free)

/* A one-shot timer that can be armed again (CLOCK_BOOTTIME). */
typedef struct Timer Timer;
int timer_new(sd_event *event, event_cb cb, void *userdata, Timer **ret);
int timer_arm(Timer *t, usec_t after_usec);
void timer_disarm(Timer *t);            /* NULL is fine */
bool timer_is_armed(const Timer *t);
Timer *timer_free(Timer *t);
DEFINE_CLEANUP(Timer *, timer_free)

/* Exponential backoff with a quarter of jitter: min, 2 min, 4 min … max. Value type, no allocation. */
typedef struct Backoff {
        usec_t min_usec, max_usec;
        unsigned attempts;
} Backoff;
usec_t backoff_next(Backoff *b);
static inline void backoff_reset(Backoff *b) {
        b->attempts = 0;
}
