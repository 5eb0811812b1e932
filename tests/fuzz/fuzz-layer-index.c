/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Index files: whatever is in one, reading ends, in order, or the file is refused. The checksum would stop nearly every
 * input at the door, so it is mended first; the input lacks it. */

#include <sys/mman.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/layer-index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(LayerIndexReader *r) {
        _cleanup_free_ char *last = strdup("");
        const LayerIndexEntry *e;

        while ((e = layer_index_peek(r))) {
                assert(strlen(e->path) <= LAYER_INDEX_PATH_MAX && e->path[0] != 0 && e->path[0] != '/');
                assert(layer_path_compare(last, e->path) < 0);
                assert(free_and_strdup(&last, e->path) >= 0);
                if (layer_index_advance(r) < 0)
                        return;
        }
        assert(layer_index_info(r)->image && layer_index_info(r)->upperdir);
        assert(layer_index_rewind(r) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_layer_index_reader_ LayerIndexReader *r = NULL;
        _cleanup_close_ int fd = memfd_create("index", MFD_CLOEXEC);
        char digest[DIGEST_SIZE], path[64];

        assert(fd >= 0 && digest_of(data, size, digest) >= 0);
        assert(write(fd, data, size) == (ssize_t) size && write(fd, digest + 7, 64) == 64);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (layer_index_open(path, &r) >= 0)
                read_all(r);
        return 0;
}
