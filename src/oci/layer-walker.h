/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a walk is, shared by its two halves: layer-walk.c goes through the directory and compares it with the index,
 * layer-emit.c puts into the tar what that finds to be new. */

#include <fcntl.h>

#include "oci/layer-names.h"
#include "oci/layer-walk.h"

#define LAYER_READ_SIZE (256 * KIB)     /* stays in the second-level cache on its way to the tar */

/* A directory on the way from the top to where the walk is. */
typedef struct Level {
        int fd;
        LayerNames names;
        size_t next;
        size_t path_length;
        struct stat st;
        bool emitted;
        bool marker;                    /* its entry comes with the opaque marker */
        bool default_acl;               /* what is in it would inherit when it is unpacked */
        bool forced;                    /* everything below is emitted: older layers are hidden here */
} Level;

typedef struct Walker {
        LayerWalk *walk;
        Level *levels;
        size_t depth, allocated;
        dev_t device;
        int64_t threshold_nsec;         /* of the index: changed from here on */
        int64_t settled_nsec;           /* what was begun before this has come to its end */
        bool unsettled;                 /* the file emitted last: of what was read, something may still be on its way */
        LayerLinks links;
        XattrList xattrs;
        char *buf;                      /* LAYER_READ_SIZE */
        bool doomed;                    /* will end with -EAGAIN: only the links are still looked at */
        char path[LAYER_INDEX_PATH_MAX + 256 + 2];
        size_t path_length, path_max;
        char skip[LAYER_INDEX_PATH_MAX + 1];    /* what the index has below this went with it */
        Refusal **refusal;
} Walker;

static inline Level *walker_top(Walker *w) {
        return w->levels + w->depth - 1;
}

/* Opens without following a link, without touching the access time where that is allowed. */
static inline int open_beneath(int dir, const char *name, int flags) {
        flags |= O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
        int fd = openat(dir, name, flags | O_NOATIME);
        if (fd < 0 && errno == EPERM)
                fd = openat(dir, name, flags);
        return fd < 0 ? -errno : fd;
}

static inline void proc_path(int dir, const char *name, char buf[static 320]) {
        (void) snprintf(buf, 320, "/proc/self/fd/%d/%s", dir, name);
}

/* ---- layer-walk.c: what is told of the file at w->path */

/* Names are bytes, and what is told is text. */
void walker_printable(const char *name, char buf[static 512]);
int walker_refuse(Walker *w, RefusalCode code, const char *problem, const char *remedy);
int walker_refuse_changed(Walker *w);   /* it did although it is frozen */
int walker_note_dropped(Walker *w, const char *why);

/* ---- layer-emit.c: nothing of it once the walk is doomed */

/* The directories down to the current one. Unpackers make a parent that has no entry as root:root 0755, so each gets its
 * entry before what is in it. */
int layer_emit_parents(Walker *w);
/* The file at w->path, `name` in the current directory, with its parents. 1: not there any more, nothing was emitted. */
int layer_emit_file(Walker *w, const char *name, const struct stat *st);
/* That `path`, in the current directory, is gone; with its parents. */
int layer_emit_whiteout(Walker *w, const char *path);
