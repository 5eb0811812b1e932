/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "provider/fake-internal.h"

void fake_delay_stop(FakeDelay *d) {
        d->timer = sd_event_source_disable_unref(d->timer);
        if (!d->queued)
                return;
        DL_DELETE(d->fake->due, d);
        d->fake->n_due--;
        d->queued = false;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        FakeDelay *d = userdata;

        fake_delay_stop(d);
        d->cb(d->userdata);
        return 0;
}

/* Those that were queued before this turn; what they queue waits for the next one. */
static int on_turn(sd_event_source *source, void *userdata) {
        Fake *f = userdata;

        for (size_t n = f->n_due; n > 0 && f->due; n--) {
                FakeDelay *d = f->due;
                fake_delay_stop(d);
                d->cb(d->userdata);
        }
        return 0;
}

static int arm_turn(Fake *f) {
        if (f->turn)
                return sd_event_source_set_enabled(f->turn, SD_EVENT_ONESHOT);
        return sd_event_add_defer(f->event, &f->turn, on_turn, f);
}

int fake_delay_start(Fake *f, FakeDelay *d, usec_t usec, void (*cb)(void *userdata), void *userdata) {
        int r;

        fake_delay_stop(d);
        d->fake = f;
        d->cb = cb;
        d->userdata = userdata;
        if (usec > 0)
                return sd_event_add_time_relative(f->event, &d->timer, CLOCK_MONOTONIC, usec, 1, on_timer, d);
        r = arm_turn(f);
        if (r < 0)
                return r;
        DL_APPEND(f->due, d);
        f->n_due++;
        d->queued = true;
        return 0;
}
