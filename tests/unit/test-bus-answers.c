/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whose long answers wait for the bus, and who may have another one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus/bus-answers.h"

#define MAX_BYTES (12 * MIB)

enum { ALICE = 1, BOB, CAROL };

static BusAnswers *new_answers(void) {
        BusAnswers *a;

        assert_int_equal(bus_answers_new(MAX_BYTES, &a), 0);
        return a;
}

static void add(BusAnswers *a, uid_t uid, uint64_t cookie, size_t mib) {
        assert_int_equal(bus_answers_add(a, uid, cookie, mib * MIB), 0);
}

static void test_one_user(void **state) {
        _cleanup_(bus_answers_freep) BusAnswers *a = new_answers();

        for (uint64_t cookie = 1; cookie <= 12; cookie++) {
                assert_true(bus_answers_may_have(a, ALICE));
                add(a, ALICE, cookie, 1);
        }
        add(a, ALICE, 13, 1);
        assert_false(bus_answers_may_have(a, ALICE));
        bus_answers_update(a, 13);              /* all still there */
        assert_false(bus_answers_may_have(a, ALICE));
        bus_answers_update(a, 12);
        assert_true(bus_answers_may_have(a, ALICE));
}

static void test_equal_parts(void **state) {
        _cleanup_(bus_answers_freep) BusAnswers *a = new_answers();

        add(a, ALICE, 1, 40);
        assert_false(bus_answers_may_have(a, ALICE));
        add(a, BOB, 2, 6);
        assert_true(bus_answers_may_have(a, BOB));
        add(a, BOB, 3, 1);
        assert_false(bus_answers_may_have(a, BOB));     /* half of 12 is 6 */
        add(a, CAROL, 4, 4);
        assert_true(bus_answers_may_have(a, CAROL));    /* a third */
        add(a, CAROL, 5, 1);
        assert_false(bus_answers_may_have(a, CAROL));
        bus_answers_update(a, 3);                       /* Alice's has left, and Bob's first */
        assert_true(bus_answers_may_have(a, ALICE));
        bus_answers_update(a, 0);
        add(a, BOB, 9, 13);
        assert_false(bus_answers_may_have(a, BOB));
        assert_true(bus_answers_may_have(a, CAROL));
}

/* Signals that were sent since are among what is queued: what is left is never taken for less than it is. */
static void test_others_in_the_queue(void **state) {
        _cleanup_(bus_answers_freep) BusAnswers *a = new_answers();

        add(a, ALICE, 10, 13);
        bus_answers_update(a, 100);
        assert_false(bus_answers_may_have(a, ALICE));
        bus_answers_update(a, 1);
        assert_false(bus_answers_may_have(a, ALICE));   /* one that may be this one */
        bus_answers_update(a, 0);
        assert_true(bus_answers_may_have(a, ALICE));
}

/* What the library sends by itself leaves with the next one at the latest. */
static void test_unknown_cookie(void **state) {
        _cleanup_(bus_answers_freep) BusAnswers *a = new_answers();

        add(a, ALICE, 1, 1);
        add(a, ALICE, 0, 13);
        bus_answers_update(a, 1);
        assert_false(bus_answers_may_have(a, ALICE));
        add(a, BOB, 7, 1);
        bus_answers_update(a, 1);
        assert_false(bus_answers_may_have(a, ALICE));
        add(a, BOB, 8, 1);
        bus_answers_update(a, 1);
        assert_true(bus_answers_may_have(a, ALICE));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_user),
                cmocka_unit_test(test_equal_parts),
                cmocka_unit_test(test_others_in_the_queue),
                cmocka_unit_test(test_unknown_cookie),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
