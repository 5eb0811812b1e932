/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Extended attributes of files in an overlay upperdir, and which of them a layer carries: user.*, POSIX ACLs (raw) and
 * security.capability. Overlay's own are read here and never leave. */

#include "basic/macro.h"

typedef struct Xattr {
        char *name;                     /* in the list's storage */
        void *value;
        size_t size;
} Xattr;

/* Reusable storage for the attributes of one file at a time. */
typedef struct XattrList {
        Xattr *items;
        size_t n, allocated;
        char *names, *values;           /* XATTR_LIST_MAX and the sum limit */
        size_t values_used;
        const char **dropped;           /* what the layer cannot hold: names, in the storage, or a sentence's part */
        size_t n_dropped, dropped_allocated;
        uint8_t minimal_acl[28];
        bool lossy;
} XattrList;

int xattr_list_init(XattrList *l);
void xattr_list_done(XattrList *l);

typedef struct XattrFlags {
        bool whiteout;                  /* trusted.overlay.whiteout is there */
        bool redirected;                /* trusted.overlay.redirect or .metacopy: the data are elsewhere */
} XattrFlags;

/* Whose they are: an open file, which is asked at once, or else a path, /proc/self/fd/N/name, whose last symlink is not followed. */
typedef struct XattrOwner {
        int fd;
        const char *path;               /* with fd -EBADF */
} XattrOwner;
#define XATTR_OWNER_PATH(p) (&(const XattrOwner) { .fd = -EBADF, .path = (p) })
#define XATTR_OWNER_FD(f) (&(const XattrOwner) { .fd = (f) })

/* -E2BIG: more than a layer's header holds; with `lossy` what is too much is `dropped` instead. */
int xattr_list_read(XattrList *l, const XattrOwner *o, bool lossy, XattrFlags *ret_flags);

/* 1 when the directory is opaque, 0 when not. */
int xattr_is_opaque(const XattrOwner *o);

/* 1 when some of the data are in another layer (`redirected`), 0 when not. */
int xattr_is_redirected(const XattrOwner *o);

/* 1 when the directory was copied up, so that a lower layer has one there, 0 when not. */
int xattr_is_copied_up(const XattrOwner *o);

bool xattr_list_has_default_acl(const XattrList *l);

/* For an entry of a directory with a default ACL: whoever unpacks it lets it inherit that ACL, so what the file does not
 * have is said explicitly (an ACL that only repeats the mode, and an empty default ACL, are none to the kernel). */
int xattr_list_disinherit(XattrList *l, mode_t mode);
