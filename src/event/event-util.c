/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/random.h>
#include <time.h>

#include "event/event-util.h"

struct Deferred {
        sd_event_source *source;
        event_cb cb;
        void *userdata;
};

struct Timer {
        sd_event_source *source;
        event_cb cb;
        void *userdata;
};

/* In both handlers the callback may free the object, so nothing is touched after it. sd-event keeps the source alive
 * until its dispatch is over. */
static int on_deferred(sd_event_source *s, void *userdata) {
        Deferred *d = userdata;

        d->cb(d->userdata);
        return 0;
}

int deferred_new(sd_event *event, int64_t priority, event_cb cb, void *userdata, Deferred **ret) {
        _cleanup_(deferred_freep) Deferred *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->cb = cb;
        d->userdata = userdata;
        r = sd_event_add_defer(event, &d->source, on_deferred, d);
        if (r < 0)
                return r;
        /* A defer source is born armed. */
        r = sd_event_source_set_enabled(d->source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(d->source, priority);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(d);
        return 0;
}

void deferred_arm(Deferred *d) {
        (void) sd_event_source_set_enabled(d->source, SD_EVENT_ONESHOT);
}

Deferred *deferred_free(Deferred *d) {
        if (!d)
                return NULL;
        sd_event_source_disable_unref(d->source);
        free(d);
        return NULL;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Timer *t = userdata;

        t->cb(t->userdata);
        return 0;
}

int timer_new(sd_event *event, event_cb cb, void *userdata, Timer **ret) {
        _cleanup_(timer_freep) Timer *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        t->cb = cb;
        t->userdata = userdata;
        r = sd_event_add_time(event, &t->source, CLOCK_BOOTTIME, UINT64_MAX, 0, on_timer, t);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

int timer_arm(Timer *t, usec_t after_usec) {
        int r;

        if (after_usec == USEC_INFINITY) {
                timer_disarm(t);
                return 0;
        }
        /* sd-event may delay by the accuracy to wake up less often. A twentieth of the wait is never noticed, while its
         * own default of 250 ms would be for the short timers. */
        r = sd_event_source_set_time_accuracy(t->source, MIN(after_usec / 20 + 1, 250 * USEC_PER_MSEC));
        if (r < 0)
                return r;
        r = sd_event_source_set_time_relative(t->source, after_usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(t->source, SD_EVENT_ONESHOT);
}

void timer_disarm(Timer *t) {
        if (t)
                (void) sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
}

bool timer_is_armed(const Timer *t) {
        return sd_event_source_get_enabled(t->source, NULL) > 0;
}

Timer *timer_free(Timer *t) {
        if (!t)
                return NULL;
        sd_event_source_disable_unref(t->source);
        free(t);
        return NULL;
}

static uint64_t random_below(uint64_t n) {
        uint64_t v;

        if (n == 0)
                return 0;
        if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v)) {
                struct timespec ts;
                (void) clock_gettime(CLOCK_MONOTONIC, &ts);
                v = (uint64_t) ts.tv_nsec;
        }
        return v % n;
}

usec_t backoff_next(Backoff *b) {
        usec_t v = b->min_usec;

        for (unsigned i = 0; i < b->attempts && v < b->max_usec; i++)
                if (__builtin_mul_overflow(v, UINT64_C(2), &v))
                        v = b->max_usec;
        v = MIN(v, b->max_usec);
        if (v < b->max_usec)
                b->attempts++;
        /* Jitter is taken off, not put on, so that max stays the longest wait. */
        return v - random_below(v / 4 + 1);
}
