/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "oci/layer-names.h"
#include "oci/layer-walk.h"

#define DEPTH_MAX 2000U                 /* each level holds a descriptor */
#define READ_SIZE (256 * KIB)           /* stays in the second-level cache on its way to the tar */
#define HOLES_MAX (64 * GIB)            /* a layer holds no holes: unpacking would fill the disk */
/* What stands before the paths of a layer where an Engine unpacks it: as much as here, and on another node not less than
 * this (/var/lib/docker/overlay2/ID/diff/ are 95 bytes). */
#define UNPACKED_BELOW 128U

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
        LayerLinks links;
        XattrList xattrs;
        char *buf;
        bool doomed;                    /* will end with -EAGAIN: only the links are still looked at */
        char path[LAYER_INDEX_PATH_MAX + 256 + 2];
        size_t path_length, path_max;
        char skip[LAYER_INDEX_PATH_MAX + 1];    /* what the index has below this went with it */
        Refusal **refusal;
} Walker;

/* Names are bytes, and what is told is text. */
static void printable(const char *name, char buf[static 512]) {
        size_t n = 0;

        for (; *name && n < 500; name++)
                n += (size_t) ((unsigned char) *name < 0x20 || *name == '\\' || (unsigned char) *name >= 0x7f
                                       ? snprintf(buf + n, 5, "\\x%02x", (unsigned char) *name) : snprintf(buf + n, 2, "%c", *name));
        buf[n] = 0;
}

static int refuse_path(Walker *w, RefusalCode code, const char *problem, const char *remedy) {
        char shown[512];

        printable(w->path, shown);
        return refuse(w->refusal, code, "The file /%s cannot be saved: %s. %s.", shown, problem, remedy);
}

static int note_dropped(Walker *w, const char *why) {
        char shown[512];

        if (w->walk->n_dropped++ >= LAYER_DROPPED_MAX)
                return 0;
        printable(w->path, shown);
        return strv_consume(&w->walk->dropped, strformat("/%s (%s)", shown, why));
}

/* 0: left out and listed. */
static int drop_or_refuse(Walker *w, const char *why) {
        if (w->walk->lossy)
                return note_dropped(w, why);
        return refuse_path(w, REFUSAL_FILES_REFUSED, why, "Remove it, or save with --lossy (option `lossy`), which leaves it out");
}

static int refuse_changed(Walker *w) {
        return refuse_path(w, REFUSAL_FILES_CHANGED, "it changed while it was read, though the session should be frozen", "Try again");
}

static void level_done(Level *l) {
        if (l->fd >= 0)
                (void) close(l->fd);
        layer_names_done(&l->names);
        *l = (Level) { .fd = -EBADF };
}

static void pop_level(Walker *w) {
        level_done(w->levels + --w->depth);
}

static void walker_done(Walker *w) {
        while (w->depth > 0)
                pop_level(w);
        free(w->levels);
        layer_links_done(&w->links);
        xattr_list_done(&w->xattrs);
        free(w->buf);
}

void layer_walk_done(LayerWalk *w) {
        layer_links_done(&w->resend);
        w->dropped = strv_free(w->dropped);
}

/* Opens without following a link, without touching the access time where that is allowed. */
static int open_beneath(int dir, const char *name, int flags) {
        flags |= O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
        int fd = openat(dir, name, flags | O_NOATIME);
        if (fd < 0 && errno == EPERM)
                fd = openat(dir, name, flags);
        return fd < 0 ? -errno : fd;
}

static Level *top(Walker *w) {
        return w->levels + w->depth - 1;
}

static int push_level(Walker *w, int fd, const struct stat *st) {
        if (w->depth == w->allocated) {
                size_t n = MAX(w->allocated * 2, (size_t) 16);
                Level *p = reallocarray(w->levels, n, sizeof(*p));
                if (!p) {
                        (void) close(fd);
                        return -ENOMEM;
                }
                w->levels = p;
                w->allocated = n;
        }
        w->levels[w->depth++] = (Level) { .fd = fd, .path_length = w->path_length, .st = *st };
        return layer_names_read(&top(w)->names, fd, w->buf, READ_SIZE);
}

static void proc_path(int dir, const char *name, char buf[static 320]) {
        (void) snprintf(buf, 320, "/proc/self/fd/%d/%s", dir, name);
}

/* Docker and containerd count in nanoseconds and give everything else a time of 0. */
static bool time_can_be_set(const struct stat *st) {
        return st->st_mtim.tv_sec >= 0 && st->st_mtim.tv_sec < INT64_MAX / (int64_t) (USEC_PER_SEC * NSEC_PER_USEC);
}

/* The attributes of w->path, checked for what cannot be carried. 1 when it is gone (only of a living tree). */
static int read_xattrs(Walker *w, int dir, const char *name, const Level *parent, const struct stat *st, XattrFlags *flags) {
        char proc[320];
        int r;

        proc_path(dir, name, proc);
        r = xattr_list_read(&w->xattrs, proc, flags);
        if (r == -E2BIG)
                return refuse_path(w, REFUSAL_FILES_REFUSED, "its extended attributes are larger than a layer can hold", "Remove some of them");
        if (r == -ENOENT)
                return w->walk->live ? 1 : refuse_changed(w);
        if (r < 0)
                return r;
        if (flags->redirected)
                return refuse_path(w, REFUSAL_FILES_REFUSED, "its data are in another layer (overlay redirect_dir or metacopy)",
                                   "Load the overlay module with redirect_dir=off metacopy=off on this node and start the session anew");
        if (parent->default_acl && !S_ISLNK(st->st_mode)) {
                r = xattr_list_disinherit(&w->xattrs, st->st_mode);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < w->xattrs.n_dropped; i++) {
                char shown[512];
                printable(w->xattrs.dropped[i], shown);
                r = note_dropped(w, shown);
                if (r < 0)
                        return r;
        }
        return time_can_be_set(st) ? 0 : note_dropped(w, "its time, which is not between 1970 and 2262");
}

/* A directory's own entry, with its marker. w->path must be the directory's. */
static int emit_directory(Walker *w, Level *l) {
        XattrFlags flags;
        int r;

        l->emitted = true;
        if (l->path_length == 0 || w->doomed)
                return 0;               /* the top has no entry: unpackers ignore it */
        r = read_xattrs(w, l->fd, ".", l - 1, &l->st, &flags);
        if (r != 0)
                return r < 0 ? r : 0;
        l->default_acl = xattr_list_has_default_acl(&w->xattrs);
        r = layer_tar_entry(w->walk->tar, w->path, &l->st, NULL, NULL, &w->xattrs);
        return r < 0 || !l->marker ? r : layer_tar_opaque(w->walk->tar, w->path);
}

/* The directories down to the current one. Unpackers make a parent that has no entry as root:root 0755, so each gets its
 * entry before what is in it. */
static int emit_parents(Walker *w) {
        int r = 0;

        for (size_t i = 1; r >= 0 && i < w->depth; i++) {
                Level *l = w->levels + i;
                if (l->emitted)
                        continue;
                char saved = w->path[l->path_length];
                w->path[l->path_length] = 0;
                r = emit_directory(w, l);
                w->path[l->path_length] = saved;
        }
        return r;
}

static bool is_below(const char *path, const char *parent) {
        const char *rest = *parent ? startswith(path, parent) : NULL;
        return rest && *rest == '/';
}

/* An index entry whose path is no longer there. Everything lies in the current directory: what the index has below
 * a directory that vanished is skipped with it. */
static int handle_vanished(Walker *w, const LayerIndexEntry *e) {
        if (is_below(e->path, w->skip))
                return 0;
        (void) stpcpy(w->skip, e->path);
        if (top(w)->forced || e->type == LAYER_INDEX_LEFT_OUT)
                return 0;
        /* Overlay takes a whiteout away only by putting something in its place. */
        if (e->type == LAYER_INDEX_WHITEOUT)
                return w->walk->live ? 0 : -ESTALE;
        int r = emit_parents(w);
        return r < 0 || w->doomed ? r : layer_tar_whiteout(w->walk->tar, e->path);
}

/* Takes from the index what comes before `path` (NULL: everything below the current directory). */
static int drain_index(Walker *w, const char *path) {
        const LayerIndexEntry *e;
        int r;

        while (w->walk->index && (e = layer_index_peek(w->walk->index))) {
                if (path ? layer_path_compare(e->path, path) >= 0 : w->path_length > 0 && !is_below(e->path, w->path))
                        return 0;
                r = handle_vanished(w, e);
                if (r < 0)
                        return r;
                r = layer_index_advance(w->walk->index);
                if (r < 0)
                        return r == -EBADMSG ? -ESTALE : r;
        }
        return 0;
}

typedef struct Known {
        LayerIndexType type;            /* 0: not in the index */
        bool unchanged;
} Known;

/* Too near to the moment of the index to tell whether the file changed after it. A file system without fractions of seconds
 * (ext4 with inodes of 128 bytes) gives every change within a second the same time. */
static bool is_young(const Walker *w, int64_t ctime_nsec) {
        const int64_t second = (int64_t) (USEC_PER_SEC * NSEC_PER_USEC);
        return ctime_nsec + (ctime_nsec % second == 0 ? second : 0) >= w->threshold_nsec;
}

/* Looks w->path up in the index. */
static int look_up(Walker *w, const struct stat *st, bool whiteout, Known *ret) {
        const LayerIndexEntry *e;
        int r;

        *ret = (Known) {};
        r = drain_index(w, w->path);
        if (r < 0 || !w->walk->index)
                return r;
        e = layer_index_peek(w->walk->index);
        if (!e || !streq(e->path, w->path))
                return 0;
        ret->type = e->type;
        if (whiteout)                   /* they share an inode, whose ctime changes with each new link to it */
                ret->unchanged = e->type == LAYER_INDEX_WHITEOUT;
        else
                ret->unchanged = e->type != LAYER_INDEX_LEFT_OUT && e->inode == st->st_ino &&
                                 e->ctime_nsec == layer_index_ctime(st) && !is_young(w, e->ctime_nsec) &&
                                 e->size == (uint64_t) st->st_size && layer_index_type_is_directory(e->type) == S_ISDIR(st->st_mode);
        if (layer_index_type_is_directory(e->type) && !S_ISDIR(st->st_mode))
                (void) stpcpy(w->skip, e->path);
        r = layer_index_advance(w->walk->index);
        return r == -EBADMSG ? -ESTALE : r;
}

static int add_to_index(Walker *w, LayerIndexType type, const struct stat *st) {
        return w->walk->new_index ? layer_index_append(w->walk->new_index, w->path, type, st) : 0;
}

/* A file that shrank under a living walk is filled up; the next pass sends it again. */
static int pad(Walker *w, uint64_t left) {
        int r = 0;

        memset(w->buf, 0, READ_SIZE);
        for (; r >= 0 && left > 0; left -= MIN(left, READ_SIZE))
                r = layer_tar_data(w->walk->tar, w->buf, (size_t) MIN(left, READ_SIZE));
        return r;
}

static int copy_data(Walker *w, int fd, const struct stat *st) {
        uint64_t left = (uint64_t) st->st_size;
        struct stat now;

        while (left > 0) {
                if (w->walk->cancel && atomic_load(w->walk->cancel))
                        return -ECANCELED;
                ssize_t n = read(fd, w->buf, (size_t) MIN(left, READ_SIZE));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                int r = layer_tar_data(w->walk->tar, w->buf, (size_t) n);
                if (r < 0)
                        return r;
                left -= (uint64_t) n;
                if (w->walk->bytes)
                        atomic_fetch_add(w->walk->bytes, (uint64_t) n);
        }
        if (w->walk->live)
                return pad(w, left);
        if (fstat(fd, &now) < 0)
                return -errno;
        return left > 0 || now.st_ino != st->st_ino || now.st_size != st->st_size || layer_index_ctime(&now) != layer_index_ctime(st)
                       ? refuse_changed(w) : 0;
}

/* What is emitted must be what was looked at. 1: it is another thing by now. */
static int open_file(Walker *w, const char *name, const struct stat *st, int *ret) {
        _cleanup_close_ int fd = open_beneath(top(w)->fd, name, 0);
        struct stat now;

        if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO)
                return w->walk->live ? 1 : refuse_changed(w);
        if (fd < 0)
                return fd;
        if (fstat(fd, &now) < 0)
                return -errno;
        if (now.st_ino != st->st_ino || !S_ISREG(now.st_mode))
                return w->walk->live ? 1 : refuse_changed(w);
        if (w->walk->live) {
                /* A write sets the change time before it brings the bytes, so one that began before the moment of the
                 * index must not end behind the read. To look for data waits for it, as a read does not (ext4, btrfs). */
                (void) lseek(fd, 0, SEEK_DATA);
                (void) lseek(fd, 0, SEEK_SET);
        }
        *ret = TAKE_FD(fd);
        return 0;
}

static int emit_regular(Walker *w, const char *name, const struct stat *st) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (st->st_size > 0) {
                r = open_file(w, name, st, &fd);
                if (r != 0)
                        return r;
        }
        r = layer_tar_entry(w->walk->tar, w->path, st, NULL, NULL, &w->xattrs);
        return r < 0 || fd < 0 ? r : copy_data(w, fd, st);
}

static int emit_special(Walker *w, const char *name, const struct stat *st) {
        char target[LAYER_INDEX_PATH_MAX + 1];
        ssize_t n;

        if (S_ISLNK(st->st_mode)) {
                n = readlinkat(top(w)->fd, name, target, sizeof(target));
                if (n < 0 && (errno == ENOENT || errno == EINVAL))
                        return w->walk->live ? 1 : refuse_changed(w);
                if (n < 0 || n >= (ssize_t) sizeof(target))
                        return n < 0 ? -errno : -ENAMETOOLONG;
                target[n] = 0;
        }
        return layer_tar_entry(w->walk->tar, w->path, st, NULL, S_ISLNK(st->st_mode) ? target : NULL, &w->xattrs);
}

/* *ret_path becomes the name under which the inode is in the tar already, if it is. */
static int look_at_link(Walker *w, const struct stat *st, const char **ret_path) {
        const struct LayerLink *link = layer_links_get(&w->links, st->st_ino);
        const char *path = link ? layer_links_path(&w->links, link) : NULL;

        if (path) {
                *ret_path = path;
                return 0;
        }
        if (link) {
                /* Passed over under another name, which would stay a file of its own. */
                int r = layer_links_put(&w->walk->resend, st->st_ino, NULL);
                if (r < 0)
                        return r;
                w->doomed = true;
        }
        return layer_links_put(&w->links, st->st_ino, w->path);
}

/* 1: not there any more, nothing was emitted. */
static int emit_file(Walker *w, const char *name, const struct stat *st) {
        const char *first = NULL;
        XattrFlags flags;
        int r;

        if (st->st_nlink > 1) {
                r = look_at_link(w, st, &first);
                if (r < 0)
                        return r;
        }
        if (w->doomed)
                return 0;
        /* First, as these use the storage for attributes too. */
        r = emit_parents(w);
        if (r < 0)
                return r;
        r = read_xattrs(w, top(w)->fd, name, top(w), st, &flags);
        if (r > 0 && st->st_nlink > 1 && !first)
                layer_links_forget(&w->links, st->st_ino);
        if (r != 0)
                return r;
        if (first)
                return layer_tar_entry(w->walk->tar, w->path, st, first, NULL, &w->xattrs);
        if (flags.whiteout && S_ISREG(st->st_mode) && st->st_size == 0)
                return top(w)->forced ? 0 : layer_tar_whiteout(w->walk->tar, w->path);
        r = S_ISREG(st->st_mode) ? emit_regular(w, name, st) : emit_special(w, name, st);
        if (r > 0 && st->st_nlink > 1)
                layer_links_forget(&w->links, st->st_ino);
        return r;
}

static int visit_whiteout(Walker *w, const struct stat *st) {
        Known known;
        int r;

        r = look_up(w, st, true, &known);
        if (r < 0)
                return r;
        /* Where everything older is hidden it would hide nothing, and show as a file of its own. */
        if (!known.unchanged && !top(w)->forced && !w->doomed && ((r = emit_parents(w)) < 0 || (r = layer_tar_whiteout(w->walk->tar, w->path)) < 0))
                return r;
        return add_to_index(w, LAYER_INDEX_WHITEOUT, st);
}

/* What was there a moment ago in a living tree, and has been taken from the index already; what the index has below it
 * went with it. */
static int handle_gone(Walker *w, const Known *known) {
        int r;

        if (layer_index_type_is_directory(known->type))
                (void) stpcpy(w->skip, w->path);
        if (known->type == 0 || known->type == LAYER_INDEX_WHITEOUT || known->type == LAYER_INDEX_LEFT_OUT || top(w)->forced || w->doomed)
                return 0;
        r = emit_parents(w);
        return r < 0 ? r : layer_tar_whiteout(w->walk->tar, w->path);
}

/* What is left out may have taken the place of a file of an older layer, which must not come back for it. Where there is
 * no older directory a whiteout would show. */
static int visit_left_out(Walker *w, const struct stat *st) {
        char proc[320];
        Known known;
        int hides, r;

        r = look_up(w, st, false, &known);
        if (r < 0)
                return r;
        proc_path(top(w)->fd, ".", proc);
        hides = known.type == 0 && !top(w)->forced && !w->doomed;
        if (hides && w->depth > 1)
                hides = xattr_is_copied_up(proc);
        if (hides < 0)
                return hides;
        if (hides)
                r = (r = emit_parents(w)) < 0 ? r : layer_tar_whiteout(w->walk->tar, w->path);
        else
                r = handle_gone(w, &known);
        return r < 0 ? r : add_to_index(w, LAYER_INDEX_LEFT_OUT, st);
}

static int visit_file(Walker *w, const char *name, const struct stat *st) {
        Known known;
        int r;

        r = look_up(w, st, false, &known);
        if (r < 0)
                return r;
        if (known.unchanged && !top(w)->forced) {
                const struct LayerLink *link = st->st_nlink > 1 ? layer_links_get(&w->links, st->st_ino) : NULL;
                bool again = st->st_nlink > 1 && ((link && layer_links_path(&w->links, link)) || layer_links_get(&w->walk->resend, st->st_ino));
                if (!again) {
                        r = st->st_nlink > 1 && !link ? layer_links_put(&w->links, st->st_ino, NULL) : 0;
                        return r < 0 ? r : add_to_index(w, LAYER_INDEX_FILE, st);
                }
        }
        r = emit_file(w, name, st);
        return r < 0 ? r : r > 0 ? handle_gone(w, &known) : add_to_index(w, LAYER_INDEX_FILE, st);
}

static int enter_directory(Walker *w, const char *name, const struct stat *st, int *ret_opaque) {
        char proc[320];
        int fd, r;

        if (w->depth >= DEPTH_MAX)
                return refuse_path(w, REFUSAL_FILES_REFUSED, "it lies too deep", "Move it up");
        fd = open_beneath(top(w)->fd, name, O_DIRECTORY);
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
                return w->walk->live ? 1 : refuse_changed(w);
        if (fd < 0)
                return fd;
        r = push_level(w, fd, st);
        if (r == -ENOENT && w->walk->live) {    /* removed since: it tells no names any more */
                pop_level(w);
                return 1;
        }
        if (r < 0)
                return r;
        proc_path(top(w)->fd, ".", proc);
        *ret_opaque = xattr_is_opaque(proc);
        return *ret_opaque < 0 ? *ret_opaque : 0;
}

static int visit_directory(Walker *w, const char *name, const struct stat *st) {
        bool forced = top(w)->forced;
        int opaque = 0, r;
        Known known;

        r = look_up(w, st, false, &known);
        if (r < 0)
                return r;
        r = enter_directory(w, name, st, &opaque);
        if (r != 0)
                return r < 0 ? r : handle_gone(w, &known);
        r = add_to_index(w, opaque ? LAYER_INDEX_OPAQUE : LAYER_INDEX_DIRECTORY, st);
        if (r < 0)
                return r;
        /* The marker once more would hide what the generations before this one have put there. */
        top(w)->marker = opaque && !forced && known.type != LAYER_INDEX_OPAQUE;
        top(w)->forced = forced || top(w)->marker;
        return known.unchanged && !top(w)->forced ? 0 : emit_parents(w);
}

static int visit(Walker *w, const char *name) {
        bool too_long = w->path_length > w->path_max, reserved = startswith(name, ".wh.");
        struct stat st;
        int r;

        if (fstatat(top(w)->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno != ENOENT ? -errno : w->walk->live ? 0 : refuse_changed(w);
        if (st.st_dev != w->device)
                return refuse_path(w, REFUSAL_FILES_REFUSED, "it lies on another file system", "Unmount it");
        if (S_ISSOCK(st.st_mode)) {
                r = note_dropped(w, "socket");
                return r < 0 || reserved || too_long ? r : visit_left_out(w, &st);
        }
        if (too_long)
                return drop_or_refuse(w, "its path is too long to be unpacked again");
        if (reserved)
                return drop_or_refuse(w, "names that begin with .wh. mark deleted files in layers");
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
                return visit_whiteout(w, &st);
        if (S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t) st.st_size > (uint64_t) st.st_blocks * 512 + HOLES_MAX) {
                r = drop_or_refuse(w, "it is sparse, and unpacking it would fill more than 64 GiB");
                return r < 0 ? r : visit_left_out(w, &st);
        }
        return S_ISDIR(st.st_mode) ? visit_directory(w, name, &st) : visit_file(w, name, &st);
}

static void set_path(Walker *w, const Level *l, const char *name) {
        size_t at = l->path_length, n = strlen(name);

        w->path[at] = 0;
        if (at > 0)
                w->path[at++] = '/';
        memcpy(w->path + at, name, n + 1);
        w->path_length = at + n;
}

static int leave_directory(Walker *w) {
        int r;

        w->path_length = top(w)->path_length;
        w->path[w->path_length] = 0;
        r = drain_index(w, NULL);
        pop_level(w);
        return r;
}

static int walk_all(Walker *w) {
        while (w->depth > 0) {
                Level *l = top(w);
                int r;

                if (w->walk->cancel && atomic_load(w->walk->cancel))
                        return -ECANCELED;
                if (l->next == l->names.n)
                        r = leave_directory(w);
                else {
                        const char *name = layer_names_get(&l->names, l->next++);
                        set_path(w, l, name);
                        r = visit(w, name);
                }
                if (r < 0)
                        return r;
        }
        return w->doomed ? -EAGAIN : 0;
}

static int start(Walker *w) {
        struct stat st;
        int fd;

        w->path_max = LAYER_INDEX_PATH_MAX - MIN(MAX(strlen(w->walk->upperdir) + 1, UNPACKED_BELOW), LAYER_INDEX_PATH_MAX);
        w->buf = malloc(READ_SIZE);
        if (!w->buf || xattr_list_init(&w->xattrs) < 0)
                return -ENOMEM;
        fd = open(w->walk->upperdir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0) {
                (void) close(fd);
                return -errno;
        }
        w->device = st.st_dev;
        return push_level(w, fd, &st);
}

int layer_walk_run(LayerWalk *walk, Refusal **reterr_refusal) {
        _cleanup_(walker_done) Walker w = { .walk = walk, .refusal = reterr_refusal };
        int r;

        walk->dropped = strv_free(walk->dropped);
        walk->n_dropped = 0;
        if (walk->index) {
                usec_t clean = layer_index_info(walk->index)->clean_usec;
                w.threshold_nsec = (int64_t) ((clean - MIN(clean, LAYER_TICK_USEC)) * NSEC_PER_USEC);
                r = layer_index_rewind(walk->index);
                if (r < 0)
                        return r == -EBADMSG ? -ESTALE : r;
        }
        r = start(&w);
        return r < 0 ? r : walk_all(&w);
}
