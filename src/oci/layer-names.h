/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names in one directory, sorted by their bytes, in little more memory than the names themselves: a directory may
 * hold a million. */

#include "basic/macro.h"

typedef struct LayerNames {
        char *text;                     /* NUL-terminated, one behind the other */
        uint32_t *offsets;              /* into text, in order of the names */
        size_t n;
        size_t used, text_allocated, offsets_allocated;
} LayerNames;

/* Reads all of the directory `fd` through `buf`. */
int layer_names_read(LayerNames *names, int fd, void *buf, size_t size);
void layer_names_done(LayerNames *names);

static inline const char *layer_names_get(const LayerNames *names, size_t i) {
        return names->text + names->offsets[i];
}
