/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "oci/layer-tar.h"

typedef struct Buffer {
        char data[64 * 1024];
        size_t size;
        int fail;
} Buffer;

static int sink(const void *data, size_t size, void *userdata) {
        Buffer *b = userdata;

        if (b->fail < 0)
                return b->fail;
        assert_true(b->size + size <= sizeof(b->data));
        memcpy(b->data + b->size, data, size);
        b->size += size;
        return 0;
}

static bool contains(const Buffer *b, const void *what, size_t n) {
        return memmem(b->data, b->size, what, n) != NULL;
}

static bool has_record(const Buffer *b, const char *record) {
        return contains(b, record, strlen(record));
}

static struct stat make_stat(mode_t mode, off_t size) {
        struct stat st = { .st_mode = mode, .st_size = size, .st_uid = 1000, .st_gid = 3000000 };
        st.st_mtim.tv_sec = 1700000000;
        st.st_mtim.tv_nsec = 123456789;
        st.st_atim.tv_sec = st.st_ctim.tv_sec = 42;
        return st;
}

static void test_records(void **state) {
        Buffer b = {};
        _cleanup_layer_tar_ LayerTar *t = NULL;
        char acl[4] = { 2, 0, 0, 0 }, binary[] = { 'a', 0, '\n', (char) 0xff };
        Xattr items[] = { { (char *) "user.binary", binary, sizeof(binary) }, { (char *) "system.posix_acl_access", acl, sizeof(acl) } };
        XattrList xattrs = { .items = items, .n = 2 };
        struct stat st = make_stat(S_IFREG | 04755, 5);

        assert_int_equal(layer_tar_new(sink, NULL, &b, &t), 0);
        assert_int_equal(layer_tar_entry(t, "dir/file", &st, NULL, NULL, &xattrs), 0);
        assert_int_equal(layer_tar_data(t, "hello", 5), 0);
        assert_int_equal(layer_tar_finish(t), 0);
        assert_int_equal(layer_tar_entries(t), 1);
        assert_int_equal(b.size % 512, 0);
        assert_true(has_record(&b, "mtime=1700000000.123456789\n"));
        assert_true(has_record(&b, "gid=3000000\n"));
        assert_true(contains(&b, "SCHILY.xattr.user.binary=a\0\n\xff\n", 31));
        assert_true(contains(&b, "SCHILY.xattr.system.posix_acl_access=\2\0\0\0\n", 42));
        assert_false(has_record(&b, "LIBARCHIVE"));
        assert_false(has_record(&b, "atime="));
        assert_false(has_record(&b, "ctime="));
        assert_false(has_record(&b, "hdrcharset"));
        assert_false(has_record(&b, "SCHILY.acl"));
}

static void test_names(void **state) {
        Buffer b = {};
        _cleanup_layer_tar_ LayerTar *t = NULL;
        struct stat st = make_stat(S_IFREG | 0644, 0);
        char longest[256];

        memset(longest, 'n', 255);
        longest[255] = 0;
        assert_int_equal(layer_tar_new(sink, NULL, &b, &t), 0);
        assert_int_equal(layer_tar_entry(t, longest, &st, NULL, NULL, NULL), 0);
        assert_true(has_record(&b, longest));
        assert_false(has_record(&b, "hdrcharset"));
        assert_int_equal(layer_tar_entry(t, "utf8-\xc3\xa9", &st, NULL, NULL, NULL), 0);
        assert_true(has_record(&b, "path=utf8-\xc3\xa9\n"));
        assert_int_equal(layer_tar_entry(t, "decomposed-e\xcc\x81", &st, NULL, NULL, NULL), 0);
        assert_true(has_record(&b, "decomposed-e\xcc\x81"));
        assert_int_equal(layer_tar_entry(t, "odd-\xff\xfe", &st, NULL, NULL, NULL), 0);
        assert_true(has_record(&b, "odd-\xff\xfe"));
        /* two surrogates are another name than the character that they stand for in UTF-16 */
        assert_int_equal(layer_tar_entry(t, "pair-\xed\xa0\xbd\xed\xb8\x80", &st, "to-\xed\xa0\xbd\xed\xb8\x81", NULL, NULL), 0);
        assert_true(has_record(&b, "path=pair-\xed\xa0\xbd\xed\xb8\x80\n"));
        assert_true(has_record(&b, "linkpath=to-\xed\xa0\xbd\xed\xb8\x81\n"));
        assert_int_equal(layer_tar_whiteout(t, longest), 0);
        assert_true(has_record(&b, ".wh.nnnn"));
        assert_int_equal(layer_tar_whiteout(t, "a/b/c"), 0);
        assert_true(has_record(&b, "a/b/.wh.c"));
        assert_int_equal(layer_tar_opaque(t, "a/b"), 0);
        assert_true(has_record(&b, "a/b/.wh..wh..opq"));
        assert_int_equal(layer_tar_finish(t), 0);
        assert_int_equal(layer_tar_entries(t), 8);
}

static void write_all(Buffer *b) {
        _cleanup_layer_tar_ LayerTar *t = NULL;
        struct stat dir = make_stat(S_IFDIR | 01777, 4096), link = make_stat(S_IFREG | 0600, 99), symlink = make_stat(S_IFLNK | 0777, 3), null = make_stat(S_IFCHR | 0666, 0);

        null.st_rdev = 0x103;
        assert_int_equal(layer_tar_new(sink, NULL, b, &t), 0);
        assert_int_equal(layer_tar_entry(t, "dir", &dir, NULL, NULL, NULL), 0);
        assert_int_equal(layer_tar_entry(t, "dir/link", &link, "dir/first", NULL, NULL), 0);
        assert_int_equal(layer_tar_entry(t, "dir/symlink", &symlink, NULL, "to", NULL), 0);
        assert_int_equal(layer_tar_entry(t, "dir/null", &null, NULL, NULL, NULL), 0);
        assert_int_equal(layer_tar_finish(t), 0);
}

static void test_same_bytes(void **state) {
        static Buffer a, b;

        write_all(&a);
        write_all(&b);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        assert_true(has_record(&a, "dir/first"));
}

static void test_failing_sink(void **state) {
        static Buffer b;
        _cleanup_layer_tar_ LayerTar *t = NULL;
        struct stat st = make_stat(S_IFREG | 0644, 5);

        assert_int_equal(layer_tar_new(sink, NULL, &b, &t), 0);
        b.fail = -ECANCELED;
        assert_int_equal(layer_tar_entry(t, "x", &st, NULL, NULL, NULL), -ECANCELED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_records),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_same_bytes),
                cmocka_unit_test(test_failing_sink),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
