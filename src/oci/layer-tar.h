/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tar of a layer: pax format by libarchive, the same bytes for the same input (no access, change or birth time, no
 * names of users, attributes as SCHILY.xattr.* records, which Docker and containerd read). */

#include <sys/stat.h>

#include "basic/macro.h"
#include "oci/layer-xattr.h"

typedef struct LayerTar LayerTar;

/* Gets the tar's bytes in order. 0 or -errno, which every function here then returns. */
typedef int (*layer_tar_sink)(const void *data, size_t size, void *userdata);

/* Where the sink will put the bytes that it gets next, and for how many there is room: what is written there before it gets
 * them need not be copied. NULL when there is no such place just now. */
typedef void *(*layer_tar_place)(size_t *ret_size, void *userdata);

int layer_tar_new(layer_tar_sink sink, layer_tar_place place, void *userdata, LayerTar **ret);     /* `place` may be NULL */
LayerTar *layer_tar_free(LayerTar *t);          /* without an end: what was written is not a tar */
DEFINE_CLEANUP(LayerTar *, layer_tar_free)
#define _cleanup_layer_tar_ _cleanup_(layer_tar_freep)

/* `path` is relative, without "./"; directories have no slash at the end. `hardlink` or `symlink` or neither.
 * A regular file (without hardlink) wants st->st_size bytes of layer_tar_data(). */
int layer_tar_entry(LayerTar *t, const char *path, const struct stat *st, const char *hardlink, const char *symlink, const XattrList *xattrs);
int layer_tar_data(LayerTar *t, const void *data, size_t size);
/* Where the next bytes for layer_tar_data() are best read to, as the sink's `place` says. */
void *layer_tar_room(LayerTar *t, size_t *ret_size);

/* ".wh.<name>" for a path that is gone, and the marker of a directory that hides what is below it. */
int layer_tar_whiteout(LayerTar *t, const char *path);
int layer_tar_opaque(LayerTar *t, const char *directory);

int layer_tar_finish(LayerTar *t);
uint64_t layer_tar_entries(const LayerTar *t);
