/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a walk puts into the tar: a path's attributes, its data, its other names, and the directories above it. */

#include "oci/layer-walker.h"

/* Docker and containerd count in nanoseconds and give everything else a time of 0. */
static bool time_can_be_set(const struct stat *st) {
        return st->st_mtim.tv_sec >= 0 && st->st_mtim.tv_sec < INT64_MAX / (int64_t) (USEC_PER_SEC * NSEC_PER_USEC);
}

/* The attributes of w->path, checked for what cannot be carried. 1 when it is gone (only of a living tree). */
static int read_xattrs(Walker *w, const XattrOwner *owner, const Level *parent, const struct stat *st, XattrFlags *flags) {
        int r = xattr_list_read(&w->xattrs, owner, w->walk->lossy, flags);

        if (r == -E2BIG)
                return walker_refuse(w, REFUSAL_FILES_REFUSED, "its extended attributes are larger than a layer can hold",
                                     "Remove some of them, or save with --lossy (option `lossy`) of stop, hibernate or snapshot, "
                                     "which leaves out what is too much");
        if (r == -ENOENT)
                return w->walk->live ? 1 : walker_refuse_changed(w);
        if (r < 0)
                return r;
        if (flags->redirected)
                return walker_refuse(w, REFUSAL_FILES_REFUSED, "its data are in another layer (overlay redirect_dir or metacopy)",
                                     "Save with --lossy (option `lossy`), which leaves it out, after you have copied it (docker cp), and load the overlay "
                                     "module with redirect_dir=off metacopy=off on this node");
        if (parent->default_acl && !S_ISLNK(st->st_mode)) {
                r = xattr_list_disinherit(&w->xattrs, st->st_mode);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < w->xattrs.n_dropped; i++) {
                char shown[512];
                walker_printable(w->xattrs.dropped[i], shown);
                r = walker_note_dropped(w, shown);
                if (r < 0)
                        return r;
        }
        return time_can_be_set(st) ? 0 : walker_note_dropped(w, "its time, which is not between 1970 and 2262");
}

/* A directory's own entry, with its marker. w->path must be the directory's. */
static int emit_directory(Walker *w, Level *l) {
        XattrFlags flags;
        int r;

        l->emitted = true;
        if (l->path_length == 0 || w->doomed)
                return 0;               /* the top has no entry: unpackers ignore it */
        r = read_xattrs(w, XATTR_OWNER_FD(l->fd), l - 1, &l->st, &flags);
        if (r != 0)
                return r < 0 ? r : 0;
        l->default_acl = xattr_list_has_default_acl(&w->xattrs);
        r = layer_tar_entry(w->walk->tar, w->path, &l->st, NULL, NULL, &w->xattrs);
        return r < 0 || !l->marker ? r : layer_tar_opaque(w->walk->tar, w->path);
}

int layer_emit_parents(Walker *w) {
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

/* A file that shrank under a living walk is filled up; the next pass sends it again. */
static int pad(Walker *w, uint64_t left) {
        int r = 0;

        memset(w->buf, 0, LAYER_READ_SIZE);
        for (; r >= 0 && left > 0; left -= MIN(left, LAYER_READ_SIZE))
                r = layer_tar_data(w->walk->tar, w->buf, (size_t) MIN(left, LAYER_READ_SIZE));
        return r;
}

static int copy_data(Walker *w, int fd, const struct stat *st) {
        uint64_t left = (uint64_t) st->st_size;
        struct stat now;

        while (left > 0) {
                if (w->walk->cancel && atomic_load(w->walk->cancel))
                        return -ECANCELED;
                size_t room;
                void *buf = layer_tar_room(w->walk->tar, &room);
                if (!buf) {
                        buf = w->buf;
                        room = LAYER_READ_SIZE;
                }
                ssize_t n = read(fd, buf, (size_t) MIN(left, room));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                int r = layer_tar_data(w->walk->tar, buf, (size_t) n);
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
                       ? walker_refuse_changed(w) : 0;
}

/* Whether bytes may still come without a new change time. A direct write, as of a database, sets it when it begins, and its bytes go
 * past the page cache to a disk that may take seconds, frozen or not. Nobody waits for it here but who changes the file. As long as
 * it is under way it holds the file open for writing, and then there is no lease for a reader; one that there is is given
 * back at once. Without CAP_LEASE there never is. */
static bool may_still_be_written(const Walker *w, int fd, const struct stat *st) {
        if (!w->walk->new_index || layer_index_ctime(st) < w->settled_nsec)
                return false;
        if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
                return true;
        (void) fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
}

/* What is emitted must be what was looked at. 1: it is another thing by now. */
static int open_file(Walker *w, const char *name, const struct stat *st, int *ret) {
        _cleanup_close_ int fd = open_beneath(walker_top(w)->fd, name, 0);
        struct stat now;

        if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO)
                return w->walk->live ? 1 : walker_refuse_changed(w);
        if (fd < 0)
                return fd;
        if (fstat(fd, &now) < 0)
                return -errno;
        if (now.st_ino != st->st_ino || !S_ISREG(now.st_mode))
                return w->walk->live ? 1 : walker_refuse_changed(w);
        if (w->walk->live) {
                /* A write sets the change time before it brings the bytes, so one that began before the moment of the
                 * index must not end behind the read. To look for data waits for it, as a read does not (ext4, btrfs). */
                (void) lseek(fd, 0, SEEK_DATA);
                (void) lseek(fd, 0, SEEK_SET);
        }
        w->unsettled = may_still_be_written(w, fd, &now);
        *ret = TAKE_FD(fd);
        return 0;
}

static int emit_regular(Walker *w, int fd, const struct stat *st) {
        int r = layer_tar_entry(w->walk->tar, w->path, st, NULL, NULL, &w->xattrs);
        return r < 0 || fd < 0 ? r : copy_data(w, fd, st);
}

static int emit_special(Walker *w, const char *name, const struct stat *st) {
        char target[LAYER_INDEX_PATH_MAX + 1];
        ssize_t n;

        if (S_ISLNK(st->st_mode)) {
                n = readlinkat(walker_top(w)->fd, name, target, sizeof(target));
                if (n < 0 && (errno == ENOENT || errno == EINVAL))
                        return w->walk->live ? 1 : walker_refuse_changed(w);
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

        if (path && link->type == (st->st_mode & S_IFMT)) {
                *ret_path = path;
                return 0;
        }
        /* In a living tree the number may have come back as another file: of the same type the next pass puts it right, but what
         * another type's attributes are set on could not be unpacked. */
        if (link && !path) {
                /* Passed over under another name, which would stay a file of its own. */
                int r = layer_links_put(&w->walk->resend, st->st_ino, st->st_mode, NULL);
                if (r < 0)
                        return r;
                w->doomed = true;
        }
        return layer_links_put(&w->links, st->st_ino, st->st_mode, w->path);
}

/* 1: `name` is another file by now, whose attributes may be ones that no file of this type takes: a layer with them could not be
 * unpacked. */
static int is_another(Walker *w, const char *name, const struct stat *st) {
        struct stat now;

        if (!w->walk->live)
                return 0;
        if (fstatat(walker_top(w)->fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 1 : -errno;
        return now.st_ino != st->st_ino || (now.st_mode & S_IFMT) != (st->st_mode & S_IFMT);
}

/* A file with data is looked at open, so that it is the same all through: `fd`, else -EBADF. */
static int look_at_file(Walker *w, int fd, const char *name, const struct stat *st, XattrFlags *flags) {
        const Level *parent = walker_top(w);
        char proc[320];
        int r;

        if (fd >= 0)
                return read_xattrs(w, XATTR_OWNER_FD(fd), parent, st, flags);
        proc_path(parent->fd, name, proc);
        r = read_xattrs(w, XATTR_OWNER_PATH(proc), parent, st, flags);
        return r == 0 ? is_another(w, name, st) : r;
}

int layer_emit_file(Walker *w, const char *name, const struct stat *st) {
        _cleanup_close_ int fd = -EBADF;
        const char *first = NULL;
        XattrFlags flags;
        int r;

        w->unsettled = false;
        if (st->st_nlink > 1) {
                r = look_at_link(w, st, &first);
                if (r < 0)
                        return r;
        }
        if (w->doomed)
                return 0;
        /* First, as these use the storage for attributes too. */
        r = layer_emit_parents(w);
        if (r < 0)
                return r;
        if (S_ISREG(st->st_mode) && st->st_size > 0 && !first)
                r = open_file(w, name, st, &fd);
        if (r == 0)
                r = look_at_file(w, fd, name, st, &flags);
        if (r > 0 && st->st_nlink > 1 && !first)
                layer_links_forget(&w->links, st->st_ino);
        if (r != 0)
                return r;
        if (first)
                return layer_tar_entry(w->walk->tar, w->path, st, first, NULL, &w->xattrs);
        if (flags.whiteout && S_ISREG(st->st_mode) && st->st_size == 0)
                return walker_top(w)->forced ? 0 : layer_tar_whiteout(w->walk->tar, w->path);
        r = S_ISREG(st->st_mode) ? emit_regular(w, fd, st) : emit_special(w, name, st);
        if (r > 0 && st->st_nlink > 1)
                layer_links_forget(&w->links, st->st_ino);
        return r;
}

int layer_emit_whiteout(Walker *w, const char *path) {
        int r = layer_emit_parents(w);

        return r < 0 || w->doomed ? r : layer_tar_whiteout(w->walk->tar, path);
}
