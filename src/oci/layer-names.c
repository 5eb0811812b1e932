/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>

#include "basic/string-util.h"
#include "oci/layer-names.h"

#define TEXT_MAX (2 * GIB)              /* offsets are 32 bits */

void layer_names_done(LayerNames *names) {
        free(names->text);
        free(names->offsets);
        *names = (LayerNames) {};
}

static int append(LayerNames *names, const char *name) {
        size_t size = strlen(name) + 1;

        if (names->used + size > names->text_allocated) {
                size_t n = MAX(names->text_allocated + names->text_allocated / 2 + size, (size_t) 1024);
                char *p = n < TEXT_MAX ? realloc(names->text, n) : NULL;
                if (!p)
                        return -ENOMEM;
                names->text = p;
                names->text_allocated = n;
        }
        if (names->n == names->offsets_allocated) {
                size_t n = MAX(names->offsets_allocated + names->offsets_allocated / 2, (size_t) 32);
                uint32_t *p = reallocarray(names->offsets, n, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                names->offsets = p;
                names->offsets_allocated = n;
        }
        memcpy(names->text + names->used, name, size);
        names->offsets[names->n++] = (uint32_t) names->used;
        names->used += size;
        return 0;
}

static int compare(const void *a, const void *b, void *text) {
        return strcmp((const char *) text + *(const uint32_t *) a, (const char *) text + *(const uint32_t *) b);
}

/* What is removed and made again between two reads of a directory may be told by both. */
static void drop_repeated(LayerNames *names) {
        size_t n = 0;

        for (size_t i = 0; i < names->n; i++)
                if (n == 0 || !streq(layer_names_get(names, i), layer_names_get(names, n - 1)))
                        names->offsets[n++] = names->offsets[i];
        names->n = n;
}

int layer_names_read(LayerNames *names, int fd, void *buf, size_t size) {
        for (;;) {
                ssize_t n = getdents64(fd, buf, size);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *d = (const struct dirent64 *) ((char *) buf + at);
                        at += d->d_reclen;
                        int r = STR_IN_SET(d->d_name, ".", "..") ? 0 : append(names, d->d_name);
                        if (r < 0)
                                return r;
                }
        }
        if (names->n > 1)
                qsort_r(names->offsets, names->n, sizeof(uint32_t), compare, names->text);
        drop_repeated(names);
        return 0;
}
