/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inodes with several names, and the first of these names in the tar. Open addressing and one block of text rather
 * than a node for each: a million linked files must fit beside the rest in 64 MB. */

#include <sys/stat.h>

#include "basic/macro.h"

typedef struct LayerLinks {
        struct LayerLink {
                uint64_t inode;         /* 0 = free: no file has that number */
                uint32_t path;          /* offset in text; or one of the two below */
                uint32_t type;          /* S_IFMT of the file that has that name in the tar */
        } *slots;
        size_t n, allocated;            /* a power of two */
        char *text;
        size_t text_used, text_allocated;
} LayerLinks;

#define LAYER_LINK_PASSED UINT32_MAX            /* seen, not in the tar */
#define LAYER_LINK_FORGOTTEN (UINT32_MAX - 1)

void layer_links_done(LayerLinks *l);
struct LayerLink *layer_links_get(const LayerLinks *l, uint64_t inode);         /* NULL when unknown */
int layer_links_put(LayerLinks *l, uint64_t inode, mode_t mode, const char *path);      /* path NULL = passed; replaces */
void layer_links_forget(LayerLinks *l, uint64_t inode);                         /* unknown again */
static inline const char *layer_links_path(const LayerLinks *l, const struct LayerLink *link) {
        return link->path == LAYER_LINK_PASSED ? NULL : l->text + link->path;
}
