/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <archive.h>
#include <archive_entry.h>
#include <sys/sysmacros.h>

#include "basic/string-util.h"
#include "oci/layer-tar.h"

struct LayerTar {
        struct archive *archive;
        struct archive_entry *entry;
        layer_tar_sink sink;
        layer_tar_place place;
        void *userdata;
        int error;                      /* of the sink */
        uint64_t entries;
};

LayerTar *layer_tar_free(LayerTar *t) {
        if (!t)
                return NULL;
        archive_entry_free(t->entry);
        /* Freeing closes, which would write an end; archive_write_fail() would prevent that, but leaks. */
        if (t->error >= 0)
                t->error = -ECANCELED;
        if (t->archive)
                (void) archive_write_free(t->archive);
        free(t);
        return NULL;
}

static la_ssize_t on_write(struct archive *a, void *userdata, const void *data, size_t size) {
        LayerTar *t = userdata;

        if (t->error >= 0)
                t->error = t->sink(data, size, t->userdata);
        if (t->error < 0) {
                archive_set_error(a, -t->error, "the sink failed");
                return -1;
        }
        return (la_ssize_t) size;
}

/* ARCHIVE_WARN is no failure: it says that a name is not ASCII, and the name is written as it is then. */
static int check(LayerTar *t, int r) {
        if (r >= ARCHIVE_WARN)
                return 0;
        if (t->error < 0)
                return t->error;
        r = archive_errno(t->archive);
        return r > 0 ? -r : -EIO;
}

int layer_tar_new(layer_tar_sink sink, layer_tar_place place, void *userdata, LayerTar **ret) {
        _cleanup_layer_tar_ LayerTar *t = calloc(1, sizeof(*t));

        if (!t || !(t->archive = archive_write_new()) || !(t->entry = archive_entry_new()))
                return -ENOMEM;
        t->sink = sink;
        t->place = place;
        t->userdata = userdata;
        /* No blocking: the sink gets libarchive's own pieces. hdrcharset is left alone: BINARY adds a header to each entry. So does
         * libarchive by itself where a name is not in the charset of the locale, which is to be "C": in one of UTF-8 a name that
         * has two surrogates (CESU-8, as Java writes it) would become another name, without a word. */
        if (archive_write_set_format_pax(t->archive) != ARCHIVE_OK ||
            archive_write_set_format_option(t->archive, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
            archive_write_set_bytes_per_block(t->archive, 0) != ARCHIVE_OK ||
            archive_write_set_bytes_in_last_block(t->archive, 1) != ARCHIVE_OK ||
            archive_write_open(t->archive, t, NULL, on_write, NULL) != ARCHIVE_OK)
                return -EIO;
        *ret = TAKE_PTR(t);
        return 0;
}

static int write_header(LayerTar *t) {
        t->entries++;
        return check(t, archive_write_header(t->archive, t->entry));
}

int layer_tar_entry(LayerTar *t, const char *path, const struct stat *st, const char *hardlink, const char *symlink, const XattrList *xattrs) {
        struct archive_entry *e = archive_entry_clear(t->entry);

        archive_entry_set_pathname(e, path);
        archive_entry_set_mode(e, st->st_mode);
        archive_entry_set_uid(e, st->st_uid);
        archive_entry_set_gid(e, st->st_gid);
        archive_entry_set_mtime(e, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
        archive_entry_set_size(e, S_ISREG(st->st_mode) && !hardlink ? st->st_size : 0);
        if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
                archive_entry_set_rdevmajor(e, major(st->st_rdev));
                archive_entry_set_rdevminor(e, minor(st->st_rdev));
        }
        if (symlink)
                archive_entry_set_symlink(e, symlink);
        if (hardlink)
                archive_entry_set_hardlink(e, hardlink);
        /* Of each name: who unpacks it sets the owner once more, and with that the kernel takes a capability away. */
        for (size_t i = 0; xattrs && i < xattrs->n; i++)
                archive_entry_xattr_add_entry(e, xattrs->items[i].name, xattrs->items[i].value, xattrs->items[i].size);
        return write_header(t);
}

/* libarchive passes data on as they are, from where they are, if it is not to make blocks of them. */
void *layer_tar_room(LayerTar *t, size_t *ret_size) {
        return t->place ? t->place(ret_size, t->userdata) : NULL;
}

int layer_tar_data(LayerTar *t, const void *data, size_t size) {
        while (size > 0) {
                la_ssize_t n = archive_write_data(t->archive, data, size);
                if (n <= 0)
                        return check(t, n < 0 ? (int) n : ARCHIVE_FATAL);
                data = (const char *) data + n;
                size -= (size_t) n;
        }
        return 0;
}

static int write_marker(LayerTar *t, const char *path) {
        struct archive_entry *e = archive_entry_clear(t->entry);

        archive_entry_set_pathname(e, path);
        archive_entry_set_mode(e, S_IFREG);
        archive_entry_set_size(e, 0);
        archive_entry_set_mtime(e, 0, 0);
        return write_header(t);
}

int layer_tar_whiteout(LayerTar *t, const char *path) {
        const char *slash = strrchr(path, '/');
        int dir = slash ? (int) (slash + 1 - path) : 0;
        _cleanup_free_ char *marker = strformat("%.*s.wh.%s", dir, path, path + dir);

        return marker ? write_marker(t, marker) : -ENOMEM;
}

int layer_tar_opaque(LayerTar *t, const char *directory) {
        _cleanup_free_ char *marker = strformat("%s/.wh..wh..opq", directory);
        return marker ? write_marker(t, marker) : -ENOMEM;
}

int layer_tar_finish(LayerTar *t) {
        return check(t, archive_write_close(t->archive));
}

uint64_t layer_tar_entries(const LayerTar *t) {
        return t->entries;
}
