/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "oci/blob-pieces.h"

#define PIECES 5U
static const uint64_t ends[PIECES] = { 1, 1000, 1001, 4000, 4096 };
static uint8_t blob[4096];

static int make(void **state) {
        BlobPieces *p = calloc(1, sizeof(*p));
        uint64_t begin = 0;

        for (size_t i = 0; i < sizeof(blob); i++)
                blob[i] = (uint8_t) (i * i >> 3);
        for (size_t i = 0; p && i < PIECES; begin = ends[i++])
                if (blob_pieces_add(p, ends[i], blob_checksum(0, blob + begin, (size_t) (ends[i] - begin))) < 0)
                        return -1;
        *state = p;
        return p ? 0 : -1;
}

static int done(void **state) {
        blob_pieces_done(*state);
        free(*state);
        return 0;
}

/* The bytes from `from` to before `to`, `step` at a time. */
static int feed(BlobCheck *c, size_t from, size_t to, size_t step) {
        int r = 0;

        for (; r >= 0 && from < to; from += step)
                r = blob_check_bytes(c, blob + from, MIN(step, to - from));
        return r;
}

/* CRC-64/XZ, whose check value is a published one. */
static void test_checksum(void **state) {
        assert_true(blob_checksum(0, "123456789", 9) == UINT64_C(0x995dc9bbdf1939fa));
        assert_true(blob_checksum(blob_checksum(0, "1234", 4), "56789", 5) == UINT64_C(0x995dc9bbdf1939fa));
        assert_true(blob_checksum(0, "", 0) == 0);
}

static void test_places(void **state) {
        const BlobPieces *p = *state, none = {};

        assert_int_equal(p->n, PIECES);
        assert_int_equal(blob_pieces_begin(p, 0), 0);
        assert_int_equal(blob_pieces_begin(p, 1), 1);
        assert_int_equal(blob_pieces_begin(p, 4), 4000);
        assert_int_equal(blob_pieces_begin(p, PIECES), sizeof(blob));
        assert_int_equal(blob_pieces_begin(&none, 0), 0);
}

static void test_many(void **state) {
        BlobPieces p = {};

        for (uint64_t i = 1; i <= 5000; i++)
                assert_int_equal(blob_pieces_add(&p, i * 7, i), 0);
        assert_int_equal(p.n, 5000);
        for (uint64_t i = 1; i <= 5000; i++)
                assert_true(p.items[i - 1].end == i * 7 && p.items[i - 1].checksum == i);
        blob_pieces_done(&p);
}

/* Each range of pieces, in steps that fall on their bounds and beside them. */
static void test_all_ranges(void **state) {
        static const size_t steps[] = { 1, 7, 999, 1000, 4096 };
        const BlobPieces *p = *state;

        for (size_t from = 0; from <= PIECES; from++)
                for (size_t to = from; to <= PIECES; to++)
                        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                                size_t begin = (size_t) blob_pieces_begin(p, from), end = (size_t) blob_pieces_begin(p, to);
                                BlobCheck part = blob_check_begin(p, from, to, false), whole = blob_check_begin(p, from, to, true);

                                assert_int_equal(feed(&part, begin, end, steps[i]), 0);
                                assert_true(blob_check_is_complete(&part));
                                assert_int_equal(feed(&whole, 0, sizeof(blob), steps[i]), 0);
                                assert_true(blob_check_is_complete(&whole));
                        }
}

static void test_short(void **state) {
        BlobCheck c = blob_check_begin(*state, 0, PIECES, false);

        assert_int_equal(feed(&c, 0, sizeof(blob) - 1, 512), 0);
        assert_false(blob_check_is_complete(&c));
        c = blob_check_begin(*state, 3, PIECES, true);
        assert_int_equal(feed(&c, 0, 1001, 512), 0);
        assert_false(blob_check_is_complete(&c));
        c = blob_check_begin(*state, 0, 1, false);
        assert_false(blob_check_is_complete(&c));
}

/* Any one byte that is another is seen by who reads it, and by nobody else. */
static void test_altered(void **state) {
        for (size_t i = 0; i < sizeof(blob); i += 5) {
                BlobCheck first = blob_check_begin(*state, 0, 3, false), second = blob_check_begin(*state, 3, PIECES, false);

                blob[i] ^= 0x10;
                assert_int_equal(feed(&first, 0, 1001, 300), i < 1001 ? -EBADMSG : 0);
                assert_int_equal(feed(&second, 1001, sizeof(blob), 300), i < 1001 ? 0 : -EBADMSG);
                blob[i] ^= 0x10;
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_checksum),
                cmocka_unit_test(test_places),
                cmocka_unit_test(test_many),
                cmocka_unit_test(test_all_ranges),
                cmocka_unit_test(test_short),
                cmocka_unit_test(test_altered),
        };
        return cmocka_run_group_tests(tests, make, done);
}
