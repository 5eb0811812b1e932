/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

#include "event/event-util.h"

typedef struct Fixture {
        sd_event *event;
        Deferred *deferred;
        Timer *timer;
        unsigned calls;
        char order[8];
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        assert_true(sd_event_new(&f->event) >= 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;
        deferred_free(f->deferred);
        timer_free(f->timer);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static void count(void *userdata) {
        Fixture *f = userdata;
        f->calls++;
}

static void count_and_free(void *userdata) {
        Fixture *f = userdata;
        f->calls++;
        f->deferred = deferred_free(f->deferred);
        f->timer = timer_free(f->timer);
}

static void run_until_idle(Fixture *f) {
        while (sd_event_run(f->event, 20 * USEC_PER_MSEC) > 0)
                ;
}

static void test_deferred(void **state) {
        Fixture *f = *state;

        assert_int_equal(deferred_new(f->event, 0, count, f, &f->deferred), 0);
        run_until_idle(f);
        assert_int_equal(f->calls, 0);
        deferred_arm(f->deferred);
        deferred_arm(f->deferred);
        assert_int_equal(f->calls, 0);
        run_until_idle(f);
        assert_int_equal(f->calls, 1);
        deferred_arm(f->deferred);
        run_until_idle(f);
        assert_int_equal(f->calls, 2);
        deferred_arm(f->deferred);
        f->deferred = deferred_free(f->deferred);
        run_until_idle(f);
        assert_int_equal(f->calls, 2);
}

static void test_free_inside(void **state) {
        Fixture *f = *state;

        assert_int_equal(deferred_new(f->event, 0, count_and_free, f, &f->deferred), 0);
        deferred_arm(f->deferred);
        run_until_idle(f);
        assert_int_equal(f->calls, 1);
        assert_null(f->deferred);

        assert_int_equal(timer_new(f->event, count_and_free, f, &f->timer), 0);
        assert_int_equal(timer_arm(f->timer, 1000), 0);
        run_until_idle(f);
        assert_int_equal(f->calls, 2);
        assert_null(f->timer);
}

static Fixture *order_fixture;
static void order(char c) {
        order_fixture->order[order_fixture->calls++] = c;
}
static void order_a(void *userdata) {
        order('a');
}
static void order_b(void *userdata) {
        order('b');
}

static void test_priority(void **state) {
        Fixture *f = order_fixture = *state;
        _cleanup_(deferred_freep) Deferred *a = NULL, *b = NULL;

        assert_int_equal(deferred_new(f->event, SD_EVENT_PRIORITY_IDLE, order_a, NULL, &a), 0);
        assert_int_equal(deferred_new(f->event, SD_EVENT_PRIORITY_IMPORTANT, order_b, NULL, &b), 0);
        deferred_arm(a);
        deferred_arm(b);
        run_until_idle(f);
        assert_string_equal(f->order, "ba");
}

static usec_t now_usec(void) {
        struct timespec ts;
        assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

/* How long a timer of 30 ms took. */
static usec_t wait_for_timer(Fixture *f) {
        usec_t begin = now_usec();

        f->calls = 0;
        assert_int_equal(timer_arm(f->timer, 30 * USEC_PER_MSEC), 0);
        assert_true(timer_is_armed(f->timer));
        while (f->calls == 0)
                assert_true(sd_event_run(f->event, 20 * USEC_PER_SEC) > 0);
        assert_false(timer_is_armed(f->timer));
        return now_usec() - begin;
}

static void test_timer(void **state) {
        Fixture *f = *state;
        usec_t took = USEC_INFINITY;

        assert_int_equal(timer_new(f->event, count, f, &f->timer), 0);
        assert_false(timer_is_armed(f->timer));
        /* A busy machine may be late, but not each time. */
        for (unsigned i = 0; i < 20 && took > 200 * USEC_PER_MSEC; i++) {
                took = wait_for_timer(f);
                assert_int_equal(f->calls, 1);
                assert_true(took >= 30 * USEC_PER_MSEC);
        }
        assert_true(took <= 200 * USEC_PER_MSEC);

        assert_int_equal(timer_arm(f->timer, 1000), 0);
        timer_disarm(f->timer);
        run_until_idle(f);
        assert_int_equal(f->calls, 1);
        assert_int_equal(timer_arm(f->timer, USEC_INFINITY), 0);
        assert_false(timer_is_armed(f->timer));
}

static void test_backoff(void **state) {
        Backoff b = { .min_usec = 100, .max_usec = 1000 };
        static const usec_t expected[] = { 100, 200, 400, 800, 1000, 1000, 1000 };

        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                assert_in_range(backoff_next(&b), expected[i] - expected[i] / 4, expected[i]);
        backoff_reset(&b);
        assert_in_range(backoff_next(&b), 75, 100);
        b = (Backoff) { .min_usec = USEC_INFINITY / 2 + 1, .max_usec = USEC_INFINITY };
        (void) backoff_next(&b);
        assert_true(backoff_next(&b) >= USEC_INFINITY - USEC_INFINITY / 4);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_deferred, setup, teardown),
                cmocka_unit_test_setup_teardown(test_free_inside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_priority, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer, setup, teardown),
                cmocka_unit_test(test_backoff),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
