/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a walk passes over, a disk that fails while a writable layer is read, and what is replaced meanwhile. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "basic/string-util.h"
#include "oci/layer-walk.h"

static int origin_error;
static const char *replaced;            /* by a directory with attributes, as soon as these are asked for */

/* These four instead of the C library's. */
static ssize_t get(const char *name, void *value, size_t size) {
        if (streq(name, "system.posix_acl_default")) {
                memset(value, 'v', MIN(size, (size_t) 4));
                return 4;
        }
        errno = streq(name, "trusted.overlay.origin") ? origin_error : ENODATA;
        return errno == 0 ? 0 : -1;
}

ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
        return get(name, value, size);
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size) {
        return get(name, value, size);
}

static void replace(void) {
        assert_int_equal(unlink(replaced), 0);
        assert_int_equal(mkdir(replaced, 0755), 0);
}

/* The open file's own attributes stay what they are. */
ssize_t flistxattr(int fd, char *list, size_t size) {
        struct stat st;

        if (replaced && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode))
                replace();
        return 0;
}

ssize_t llistxattr(const char *path, char *list, size_t size) {
        static const char names[] = "system.posix_acl_default";

        if (!replaced || !endswith(path, strrchr(replaced, '/')))
                return 0;
        replace();
        assert_true(size >= sizeof(names));
        memcpy(list, names, sizeof(names));
        return sizeof(names);
}

static int count(const void *data, size_t n, void *userdata) {
        *(size_t *) userdata += n;
        return 0;
}

static int walk_by(LayerWalk *w, size_t *ret_size) {
        _cleanup_layer_tar_ LayerTar *tar = NULL;

        *ret_size = 0;
        assert_int_equal(layer_tar_new(count, NULL, ret_size, &tar), 0);
        w->tar = tar;
        int r = layer_walk_run(w, NULL);
        if (r >= 0 && layer_tar_entries(tar) > 0)
                assert_int_equal(layer_tar_finish(tar), 0);
        layer_walk_done(w);
        return r;
}

static int walk(const char *upperdir, size_t *ret_size) {
        return walk_by(&(LayerWalk) { .upperdir = upperdir }, ret_size);
}

/* Bytes that a walk emits by an index of the same files, which was clean at that time. */
static size_t walk_again(const char *upperdir, const char *path, usec_t clean_usec) {
        _cleanup_layer_index_writer_ LayerIndexWriter *writer = NULL;
        _cleanup_layer_index_reader_ LayerIndexReader *reader = NULL;
        size_t size;

        assert_int_equal(layer_index_create(path, &writer), 0);
        assert_int_equal(walk_by(&(LayerWalk) { .upperdir = upperdir, .new_index = writer }, &size), 0);
        assert_int_equal(layer_index_commit(writer, &(const LayerIndexInfo) {
                .image = (char *) "image", .upperdir = (char *) upperdir, .clean_usec = clean_usec, .boot = (char *) "boot",
        }), 0);
        assert_int_equal(layer_index_open(path, &reader), 0);
        assert_int_equal(walk_by(&(LayerWalk) { .upperdir = upperdir, .index = reader }, &size), 0);
        return size;
}

/* Within a tick of the kernel's clock a file may be written to twice and have one change time. */
static void test_changed_just_before(void **state) {
        char directory[] = "/tmp/test-layer-walk.XXXXXX", path[80], index[64];
        struct stat st;

        origin_error = ENODATA;
        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/file", directory);
        (void) snprintf(index, sizeof(index), "%s.index", directory);
        assert_int_equal(mknod(path, S_IFREG | 0644, 0), 0);
        assert_int_equal(stat(path, &st), 0);
        usec_t changed = (usec_t) layer_index_ctime(&st) / NSEC_PER_USEC;
        assert_true(walk_again(directory, index, changed + LAYER_TICK_USEC / 2) > 0);
        assert_int_equal(walk_again(directory, index, changed + 2 * LAYER_TICK_USEC), 0);

        assert_int_equal(unlink(index), 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(directory), 0);
}

/* A socket in the place of a file of an older layer, which comes back where nobody says that it is gone. */
static void test_origin_unreadable(void **state) {
        char directory[] = "/tmp/test-layer-walk.XXXXXX", below[64], path[80];
        size_t size;

        assert_non_null(mkdtemp(directory));
        (void) snprintf(below, sizeof(below), "%s/below", directory);
        (void) snprintf(path, sizeof(path), "%s/socket", below);
        assert_int_equal(mkdir(below, 0755), 0);
        assert_int_equal(mknod(path, S_IFSOCK | 0644, 0), 0);

        origin_error = 0;
        assert_int_equal(walk(directory, &size), 0);
        size_t with_whiteout = size;
        origin_error = ENODATA;
        assert_int_equal(walk(directory, &size), 0);
        assert_true(size < with_whiteout);
        origin_error = EIO;
        assert_int_equal(walk(directory, &size), -EIO);

        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(below), 0);
        assert_int_equal(rmdir(directory), 0);
}

/* A pipe with the attributes of what took its place while it was looked at could not be unpacked. */
static void test_replaced(void **state) {
        static const mode_t types[] = { S_IFIFO, S_IFREG };
        char directory[] = "/tmp/test-layer-walk.XXXXXX", path[80];
        size_t size;

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/file", directory);
        replaced = path;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                assert_int_equal(mknod(path, types[i] | 0644, 0), 0);
                assert_int_equal(walk_by(&(LayerWalk) { .upperdir = directory, .live = true }, &size), 0);
                assert_int_equal(size, 0);
                assert_int_equal(rmdir(path), 0);
        }
        replaced = NULL;
        assert_int_equal(rmdir(directory), 0);
}

/* One with data was open by then: it comes whole, as it was. */
static void test_replaced_while_open(void **state) {
        char directory[] = "/tmp/test-layer-walk.XXXXXX", path[80];
        size_t size, alone;
        FILE *f;

        assert_non_null(mkdtemp(directory));
        (void) snprintf(path, sizeof(path), "%s/file", directory);
        for (int i = 0; i < 2; i++) {
                f = fopen(path, "w");
                assert_non_null(f);
                assert_int_equal(fwrite("data", 1, 4, f), 4);
                assert_int_equal(fclose(f), 0);
                replaced = i == 0 ? NULL : path;
                assert_int_equal(walk_by(&(LayerWalk) { .upperdir = directory, .live = true }, i == 0 ? &alone : &size), 0);
        }
        assert_true(alone > 0);
        assert_int_equal(size, alone);
        replaced = NULL;
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(directory), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_changed_just_before), cmocka_unit_test(test_origin_unreadable), cmocka_unit_test(test_replaced),
                cmocka_unit_test(test_replaced_while_open),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
