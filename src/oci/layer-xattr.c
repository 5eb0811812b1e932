/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>
#include <sys/xattr.h>

#include "basic/string-util.h"
#include "oci/layer-xattr.h"

#define NAMES_MAX (64 * KIB)            /* XATTR_LIST_MAX */
/* Go's archive/tar, which unpacks for Docker, refuses pax headers over 1 MiB. */
#define VALUES_MAX (768 * KIB)
#define OVERLAY_PREFIX "trusted.overlay."

typedef enum XattrPolicy {
        XATTR_KEEP,
        XATTR_IGNORE,                   /* noise of this machine */
        XATTR_CAPABILITY,               /* keep, as version 2 */
        XATTR_WHITEOUT,
        XATTR_REDIRECT,
        XATTR_DROP,                     /* cannot be carried: listed */
} XattrPolicy;

/* The first prefix that fits decides (a whole name is one too, all names that begin so are alike). containerd refuses
 * trusted.*, and overlay's own names would be taken for its own again where the layer is unpacked. */
static const struct {
        const char *prefix;
        XattrPolicy policy;
} policies[] = {
        { OVERLAY_PREFIX "whiteout", XATTR_WHITEOUT },
        { OVERLAY_PREFIX "redirect", XATTR_REDIRECT },
        { OVERLAY_PREFIX "metacopy", XATTR_REDIRECT },
        { OVERLAY_PREFIX "overlay.", XATTR_DROP },              /* escaped: an overlay inside the container */
        { OVERLAY_PREFIX, XATTR_IGNORE },
        { "user.overlay.", XATTR_DROP },
        { "user.", XATTR_KEEP },
        { "system.posix_acl_access", XATTR_KEEP },
        { "system.posix_acl_default", XATTR_KEEP },
        { "system.", XATTR_IGNORE },
        { "security.capability", XATTR_CAPABILITY },
        { "security.", XATTR_IGNORE },                          /* selinux, evm: of this machine and inode */
        { "", XATTR_DROP },
};

int xattr_list_init(XattrList *l) {
        *l = (XattrList) { .names = malloc(NAMES_MAX), .values = malloc(VALUES_MAX) };
        return l->names && l->values ? 0 : -ENOMEM;
}

void xattr_list_done(XattrList *l) {
        free(l->items);
        free(l->dropped);
        free(l->names);
        free(l->values);
        *l = (XattrList) {};
}

static XattrPolicy policy_of(const char *name) {
        for (size_t i = 0;; i++)
                if (startswith(name, policies[i].prefix))
                        return policies[i].policy;
}

static int append(XattrList *l, char *name, void *value, size_t size) {
        if (l->n == l->allocated) {
                size_t n = MAX(l->allocated * 2, (size_t) 8);
                Xattr *p = reallocarray(l->items, n, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                l->items = p;
                l->allocated = n;
        }
        l->items[l->n++] = (Xattr) { name, value, size };
        return 0;
}

static int append_dropped(XattrList *l, const char *name) {
        if (l->n_dropped == l->dropped_allocated) {
                size_t n = MAX(l->dropped_allocated * 2, (size_t) 8);
                const char **p = reallocarray(l->dropped, n, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                l->dropped = p;
                l->dropped_allocated = n;
        }
        l->dropped[l->n_dropped++] = name;
        return 0;
}

/* struct vfs_ns_cap_data (linux/capability.h) of revision 3 is one of revision 2 and a namespace's root id behind it,
 * which means nothing in an image. */
static void capability_to_v2(uint8_t *value, size_t *size) {
        if (*size != 24 || value[3] != 0x03)
                return;
        value[3] = 0x02;
        *size = 20;
}

/* An empty value deletes a pax record. Names with these bytes libarchive writes URL-encoded, which nobody reads back. */
static bool tar_can_hold(const char *name, size_t size) {
        for (; *name; name++)
                if (*name <= 0x20 || *name >= 0x7f || *name == '%' || *name == '=')
                        return false;
        return size > 0;
}

static ssize_t get(const XattrOwner *o, const char *name, void *value, size_t size) {
        return o->fd >= 0 ? fgetxattr(o->fd, name, value, size) : lgetxattr(o->path, name, value, size);
}

static int keep(XattrList *l, const XattrOwner *o, char *name, XattrPolicy policy) {
        char *value = l->values + l->values_used;
        ssize_t n;
        size_t size, left = VALUES_MAX - l->values_used;

        n = get(o, name, value, left);
        if (n < 0 && errno != ERANGE)
                return errno == ENODATA ? 0 : -errno;
        if (n < 0 || (size_t) n > left) /* with no room at all the kernel tells the size and writes nothing */
                return l->lossy ? append_dropped(l, name) : -E2BIG;
        size = (size_t) n;
        if (policy == XATTR_CAPABILITY)
                capability_to_v2((uint8_t *) value, &size);
        if (!tar_can_hold(name, size))
                return append_dropped(l, name);
        l->values_used += size;
        return append(l, name, value, size);
}

int xattr_is_opaque(const XattrOwner *o) {
        char value[8];
        ssize_t n = get(o, OVERLAY_PREFIX "opaque", value, sizeof(value));

        /* "x" says only that whiteouts by attribute may be inside (kernel 6.8) */
        if (n >= 0)
                return n == 1 && value[0] == 'y';
        return errno == ENODATA || errno == EOPNOTSUPP || errno == ERANGE ? 0 : -errno;
}

/* 1 when the file has it, 0 when not. */
static int is_there(const XattrOwner *o, const char *name) {
        if (get(o, name, NULL, 0) >= 0)
                return 1;
        return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
}

int xattr_is_redirected(const XattrOwner *o) {
        int r = is_there(o, OVERLAY_PREFIX "redirect");
        return r != 0 ? r : is_there(o, OVERLAY_PREFIX "metacopy");
}

int xattr_is_copied_up(const XattrOwner *o) {
        return is_there(o, OVERLAY_PREFIX "origin");
}

static int take(XattrList *l, const XattrOwner *o, char *name, XattrFlags *flags) {
        XattrPolicy policy = policy_of(name);

        switch (policy) {
        case XATTR_IGNORE:
                return 0;
        case XATTR_DROP:
                return append_dropped(l, name);
        case XATTR_WHITEOUT:
                flags->whiteout = true;
                return 0;
        case XATTR_REDIRECT:
                flags->redirected = true;
                return 0;
        case XATTR_KEEP:
        case XATTR_CAPABILITY:
                return keep(l, o, name, policy);
        }
        return -EINVAL;
}

static bool has(const XattrList *l, const char *name) {
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->items[i].name, name))
                        return true;
        return false;
}

bool xattr_list_has_default_acl(const XattrList *l) {
        return has(l, "system.posix_acl_default");
}

/* struct posix_acl_xattr_header and three entries (linux/posix_acl_xattr.h) */
static void minimal_acl(mode_t mode, uint8_t acl[static 28]) {
        static const uint8_t tags[] = { 0x01, 0x04, 0x20 };     /* ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_OTHER */

        memset(acl, 0, 28);
        acl[0] = 2;
        for (unsigned i = 0; i < 3; i++) {
                uint8_t *e = acl + 4 + 8 * i;
                e[0] = tags[i];
                e[2] = (uint8_t) (mode >> (6 - 3 * i) & 7);
                memset(e + 4, 0xff, 4);
        }
}

int xattr_list_disinherit(XattrList *l, mode_t mode) {
        static uint8_t none[] = { 2, 0, 0, 0 };
        static char access_name[] = "system.posix_acl_access", default_name[] = "system.posix_acl_default";
        int r = 0;

        if (!has(l, access_name)) {
                minimal_acl(mode, l->minimal_acl);
                r = append(l, access_name, l->minimal_acl, sizeof(l->minimal_acl));
        }
        if (r >= 0 && S_ISDIR(mode) && !has(l, default_name))
                r = append(l, default_name, none, sizeof(none));
        return r;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(((const Xattr *) a)->name, ((const Xattr *) b)->name);
}

/* More names than the kernel tells (E2BIG): those that matter can still be asked for. */
static ssize_t list_known(XattrList *l, const XattrOwner *o) {
        static const char *const known[] = {
                OVERLAY_PREFIX "opaque", OVERLAY_PREFIX "whiteout", OVERLAY_PREFIX "redirect", OVERLAY_PREFIX "metacopy",
                "system.posix_acl_access", "system.posix_acl_default", "security.capability",
        };
        char *end = l->names;
        int r = append_dropped(l, "its attributes, whose names fill more than 64 KiB");

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(known); i++) {
                r = is_there(o, known[i]);
                if (r > 0)
                        end = stpcpy(end, known[i]) + 1;
        }
        return r < 0 ? r : end - l->names;
}

static ssize_t list_names(XattrList *l, const XattrOwner *o) {
        ssize_t n = o->fd >= 0 ? flistxattr(o->fd, l->names, NAMES_MAX) : llistxattr(o->path, l->names, NAMES_MAX);

        if (n >= 0)
                return n;
        if (errno != ERANGE && errno != E2BIG)
                return errno == EOPNOTSUPP ? 0 : -errno;
        return l->lossy ? list_known(l, o) : -E2BIG;
}

int xattr_list_read(XattrList *l, const XattrOwner *o, bool lossy, XattrFlags *ret_flags) {
        ssize_t n;
        int r;

        *ret_flags = (XattrFlags) {};
        l->n = l->n_dropped = l->values_used = 0;
        l->lossy = lossy;
        n = list_names(l, o);
        if (n < 0)
                return (int) n;
        for (char *name = l->names; name < l->names + n; name += strlen(name) + 1) {
                r = take(l, o, name, ret_flags);
                if (r < 0)
                        return r;
        }
        if (l->n > 1)
                qsort(l->items, l->n, sizeof(Xattr), compare_names);
        return 0;
}
