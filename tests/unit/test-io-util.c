/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that are read whole, whatever their size. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/io-util.h"

static void test_read_file(void **state) {
        static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8192, 100000 };
        char path[] = "/tmp/test-io-util-XXXXXX";
        int fd = mkstemp(path);

        assert_true(fd >= 0);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ char *written = malloc(sizes[i] + 1), *text = NULL, *none = NULL;

                assert_non_null(written);
                memset(written, 'a' + (int) i, sizes[i]);
                written[sizes[i]] = 0;
                assert_int_equal(ftruncate(fd, 0), 0);
                assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
                assert_int_equal(write_full(fd, written, sizes[i]), 0);
                assert_int_equal(read_file(path, sizes[i] + 1, &text), 0);
                assert_string_equal(text, written);
                assert_int_equal(read_file(path, sizes[i], &none), -E2BIG);
                assert_null(none);
        }
        (void) close(fd);
        assert_int_equal(unlink(path), 0);
}

static void test_read_file_of_the_kernel(void **state) {
        _cleanup_free_ char *text = NULL;

        assert_int_equal(read_file("/proc/self/mountinfo", 64 * MIB, &text), 0);
        assert_non_null(strstr(text, " /proc "));
        assert_int_equal(read_file("/proc/self/nothing", MIB, &text), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read_file),
                cmocka_unit_test(test_read_file_of_the_kernel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
