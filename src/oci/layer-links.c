/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "oci/layer-links.h"

void layer_links_done(LayerLinks *l) {
        free(l->slots);
        free(l->text);
        *l = (LayerLinks) {};
}

static struct LayerLink *find(struct LayerLink *slots, size_t allocated, uint64_t inode) {
        size_t i = (size_t) ((inode * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (allocated - 1);

        while (slots[i].inode != 0 && slots[i].inode != inode)
                i = (i + 1) & (allocated - 1);
        return slots + i;
}

struct LayerLink *layer_links_get(const LayerLinks *l, uint64_t inode) {
        struct LayerLink *s = l->allocated > 0 ? find(l->slots, l->allocated, inode) : NULL;
        return s && s->inode == inode && s->path != LAYER_LINK_FORGOTTEN ? s : NULL;
}

void layer_links_forget(LayerLinks *l, uint64_t inode) {
        struct LayerLink *s = layer_links_get(l, inode);
        if (s)
                s->path = LAYER_LINK_FORGOTTEN;
}

static int grow(LayerLinks *l) {
        size_t n = MAX(l->allocated * 2, (size_t) 64);
        struct LayerLink *slots = calloc(n, sizeof(*slots));

        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < l->allocated; i++)
                if (l->slots[i].inode != 0)
                        *find(slots, n, l->slots[i].inode) = l->slots[i];
        free(l->slots);
        l->slots = slots;
        l->allocated = n;
        return 0;
}

static int add_text(LayerLinks *l, const char *path, uint32_t *ret) {
        size_t size = strlen(path) + 1;

        if (l->text_used + size > l->text_allocated) {
                size_t n = MAX(l->text_allocated + l->text_allocated / 2 + size, 4 * KIB);
                char *p = n < LAYER_LINK_FORGOTTEN ? realloc(l->text, n) : NULL;
                if (!p)
                        return -ENOMEM;
                l->text = p;
                l->text_allocated = n;
        }
        memcpy(l->text + l->text_used, path, size);
        *ret = (uint32_t) l->text_used;
        l->text_used += size;
        return 0;
}

int layer_links_put(LayerLinks *l, uint64_t inode, mode_t mode, const char *path) {
        uint32_t at = LAYER_LINK_PASSED;
        int r;

        if (inode == 0)
                return -EINVAL;
        if (l->n * 4 >= l->allocated * 3) {
                r = grow(l);
                if (r < 0)
                        return r;
        }
        if (path) {
                r = add_text(l, path, &at);
                if (r < 0)
                        return r;
        }
        struct LayerLink *s = find(l->slots, l->allocated, inode);
        l->n += s->inode == 0;
        *s = (struct LayerLink) { inode, at, mode & S_IFMT };
        return 0;
}
