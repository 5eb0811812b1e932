/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/resource.h>

#include "basic/string-util.h"
#include "oci/layer-index.h"
#include "oci/layer-links.h"

static char directory[] = "/tmp/test-layer-index.XXXXXX";
static char path[128];

static const LayerIndexInfo info = {
        .image = (char *) "h/r@sha256:x", .upperdir = (char *) "/upper", .device = 7, .inode = 8, .clean_usec = 1700000000000000,
        .boot = (char *) "f47ac10b-58cc-4372-a567-0e02b2c3d479",
};

static int setup(void **state) {
        if (!mkdtemp(directory))
                return -1;
        (void) snprintf(path, sizeof(path), "%s/index", directory);
        return 0;
}

static int teardown(void **state) {
        (void) unlink(path);
        return rmdir(directory);
}

static void test_order(void **state) {
        static const char *const sorted[] = { "a", "a/b", "a/b/c", "a/b\x01", "a/b ", "a/b-c", "a/c", "a\x01", "a b", "a-b", "a.b", "a0", "b", "\xc3\xa9", "\xff" };

        for (size_t i = 0; i < ELEMENTSOF(sorted); i++)
                for (size_t j = 0; j < ELEMENTSOF(sorted); j++) {
                        int c = layer_path_compare(sorted[i], sorted[j]);
                        assert_int_equal(c < 0, i < j);
                        assert_int_equal(c == 0, i == j);
                }
}

static struct stat make_stat(uint64_t i) {
        struct stat st = { .st_ino = i, .st_size = (off_t) (i * 3) };
        st.st_ctim.tv_sec = 1700000000;
        st.st_ctim.tv_nsec = (long) i;
        return st;
}

static void make_index(unsigned n) {
        _cleanup_layer_index_writer_ LayerIndexWriter *w = NULL;

        (void) unlink(path);
        assert_int_equal(layer_index_create(path, &w), 0);
        for (unsigned i = 0; i < n; i++) {
                char name[64];
                struct stat st = make_stat(i + 1);
                (void) snprintf(name, sizeof(name), "dir%03u/file%03u", i / 100, i % 100);
                assert_int_equal(layer_index_append(w, name, i % 2 ? LAYER_INDEX_FILE : LAYER_INDEX_WHITEOUT, &st), 0);
        }
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(layer_index_commit(w, &info), 0);
        assert_int_equal(access(path, F_OK), 0);
}

static void test_round_trip(void **state) {
        _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;

        make_index(1000);
        assert_int_equal(layer_index_open(path, &r), 0);
        assert_string_equal(layer_index_info(r)->image, info.image);
        assert_int_equal(layer_index_info(r)->clean_usec, info.clean_usec);
        assert_string_equal(layer_index_info(r)->boot, info.boot);
        for (unsigned pass = 0; pass < 2; pass++) {
                for (unsigned i = 0; i < 1000; i++) {
                        const LayerIndexEntry *e = layer_index_peek(r);
                        char name[64];
                        assert_non_null(e);
                        (void) snprintf(name, sizeof(name), "dir%03u/file%03u", i / 100, i % 100);
                        assert_string_equal(e->path, name);
                        assert_int_equal(e->inode, i + 1);
                        assert_int_equal(e->size, (i + 1) * 3);
                        assert_int_equal(e->ctime_nsec, INT64_C(1700000000000000000) + i + 1);
                        assert_int_equal(e->type, i % 2 ? LAYER_INDEX_FILE : LAYER_INDEX_WHITEOUT);
                        assert_int_equal(layer_index_advance(r), 0);
                }
                assert_null(layer_index_peek(r));
                assert_int_equal(layer_index_advance(r), 0);
                assert_int_equal(layer_index_rewind(r), 0);
        }
}

static void test_empty(void **state) {
        _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;

        make_index(0);
        assert_int_equal(layer_index_open(path, &r), 0);
        assert_null(layer_index_peek(r));
        assert_int_equal(layer_index_open("/nonexistent/index", &r), -ENOENT);
}

static void test_reopen(void **state) {
        _cleanup_layer_index_writer_ LayerIndexWriter *w = NULL;
        _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;
        struct stat st = make_stat(5);

        (void) unlink(path);
        assert_int_equal(layer_index_create(path, &w), 0);
        assert_int_equal(layer_index_append(w, "x", LAYER_INDEX_OPAQUE, &st), 0);
        assert_int_equal(layer_index_reopen(w, &info, &r), 0);
        assert_string_equal(layer_index_peek(r)->path, "x");
        assert_true(layer_index_type_is_directory(layer_index_peek(r)->type));
        assert_int_equal(access(path, F_OK), -1);
}

static void test_wrong_order(void **state) {
        _cleanup_layer_index_writer_ LayerIndexWriter *w = NULL;
        struct stat st = make_stat(5);

        assert_int_equal(layer_index_create(path, &w), 0);
        assert_int_equal(layer_index_append(w, "b", LAYER_INDEX_FILE, &st), 0);
        assert_int_equal(layer_index_append(w, "b", LAYER_INDEX_FILE, &st), -EINVAL);
        assert_int_equal(layer_index_append(w, "a", LAYER_INDEX_FILE, &st), -EINVAL);
        assert_int_equal(layer_index_append(w, "", LAYER_INDEX_FILE, &st), -EINVAL);
}

/* Every single byte matters. */
static void test_damage(void **state) {
        _cleanup_free_ char *data = malloc(64 * KIB);
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        make_index(3);
        fd = open(path, O_RDWR);
        n = read(fd, data, 64 * KIB);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++) {
                _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;
                char odd = (char) (data[i] ^ 0x20);
                assert_int_equal(pwrite(fd, &odd, 1, i), 1);
                assert_int_equal(layer_index_open(path, &r), -EBADMSG);
                assert_int_equal(pwrite(fd, data + i, 1, i), 1);
        }
        for (ssize_t i = n - 1; i >= 0; i--) {
                _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;
                assert_int_equal(ftruncate(fd, i), 0);
                assert_int_equal(layer_index_open(path, &r), -EBADMSG);
        }
}

/* A disk that fails is told at the end, and leaves nothing behind; what was there stays. */
static void test_disk(void **state) {
        _cleanup_free_ char *nowhere = strformat("%s/no/disk", directory);
        const struct rlimit small = { 4096, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };
        LayerIndexReader *reader = NULL;
        char name[32];

        (void) unlink(path);
        (void) signal(SIGXFSZ, SIG_IGN);
        for (unsigned round = 0; round < 2; round++) {
                _cleanup_layer_index_writer_ LayerIndexWriter *w = NULL;

                assert_int_equal(layer_index_create(path, &w), 0);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
                for (unsigned i = 0; i < 5000; i++) {
                        (void) snprintf(name, sizeof(name), "file-%05u", i);
                        assert_int_equal(layer_index_append(w, name, LAYER_INDEX_FILE, &(struct stat) { .st_ino = i }), 0);
                }
                if (round == 0)
                        assert_int_equal(layer_index_commit(w, &info), -EFBIG);
                else
                        assert_int_equal(layer_index_reopen(w, &info, &reader), -EFBIG);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
                assert_int_equal(access(path, F_OK), -1);
                assert_null(reader);
        }

        _cleanup_layer_index_writer_ LayerIndexWriter *w = NULL;
        assert_int_equal(layer_index_create(nowhere, &w), 0);
        assert_int_equal(layer_index_append(w, "a", LAYER_INDEX_FILE, &(struct stat) { .st_ino = 1 }), 0);
        assert_int_equal(layer_index_commit(w, &info), -ENOENT);
}

static void test_links(void **state) {
        LayerLinks l = {};
        char name[32];

        assert_null(layer_links_get(&l, 5));
        for (uint64_t i = 1; i <= 10000; i++) {
                (void) snprintf(name, sizeof(name), "name-%" PRIu64, i);
                assert_int_equal(layer_links_put(&l, i * 4096, S_IFREG, i % 3 ? name : NULL), 0);
        }
        for (uint64_t i = 1; i <= 10000; i++) {
                const struct LayerLink *s = layer_links_get(&l, i * 4096);
                assert_non_null(s);
                (void) snprintf(name, sizeof(name), "name-%" PRIu64, i);
                if (i % 3)
                        assert_string_equal(layer_links_path(&l, s), name);
                else
                        assert_null(layer_links_path(&l, s));
                assert_null(layer_links_get(&l, i * 4096 + 1));
        }
        layer_links_forget(&l, 4096);
        assert_null(layer_links_get(&l, 4096));
        assert_int_equal(layer_links_put(&l, 4096, S_IFLNK, "again"), 0);
        assert_string_equal(layer_links_path(&l, layer_links_get(&l, 4096)), "again");
        assert_int_equal(layer_links_put(&l, 0, S_IFREG, "x"), -EINVAL);
        layer_links_done(&l);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_reopen),
                cmocka_unit_test(test_wrong_order),
                cmocka_unit_test(test_damage),
                cmocka_unit_test(test_disk),
                cmocka_unit_test(test_links),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
