/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/sysmacros.h>
#include <time.h>

#include "oci/layer-walker.h"

#define HOLES_MAX (64 * GIB)            /* a layer holds no holes: unpacking would fill the disk */
/* What stands before the paths of a layer where an Engine unpacks it: as much as here, and on another node not less than
 * this (/var/lib/docker/overlay2/ID/diff/ are 95 bytes). */
#define UNPACKED_BELOW 128U
#define SETTLED_SEC 30                  /* after which the kernel gives up what a disk does not do */

void walker_printable(const char *name, char buf[static 512]) {
        size_t n = 0;

        for (; *name && n < 500; name++)
                n += (size_t) ((unsigned char) *name < 0x20 || *name == '\\' || (unsigned char) *name >= 0x7f
                                       ? snprintf(buf + n, 5, "\\x%02x", (unsigned char) *name) : snprintf(buf + n, 2, "%c", *name));
        buf[n] = 0;
}

int walker_refuse(Walker *w, RefusalCode code, const char *problem, const char *remedy) {
        char shown[512];

        walker_printable(w->path, shown);
        return refuse(w->refusal, code, "The file /%s cannot be saved: %s. %s.", shown, problem, remedy);
}

int walker_note_dropped(Walker *w, const char *why) {
        char shown[512];

        if (w->walk->n_dropped++ >= LAYER_DROPPED_MAX)
                return 0;
        walker_printable(w->path, shown);
        return strv_consume(&w->walk->dropped, strformat("/%s (%s)", shown, why));
}

/* 0: left out and listed. */
static int drop_or_refuse(Walker *w, const char *why) {
        if (w->walk->lossy)
                return walker_note_dropped(w, why);
        return walker_refuse(w, REFUSAL_FILES_REFUSED, why,
                             "Remove it, or save with --lossy (option `lossy`) of stop, hibernate or snapshot, which leaves it out");
}

int walker_refuse_changed(Walker *w) {
        return walker_refuse(w, REFUSAL_FILES_CHANGED, "it changed while it was read, though the session should be frozen", "Try again");
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
        return layer_names_read(&walker_top(w)->names, fd, w->buf, LAYER_READ_SIZE);
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
        if (walker_top(w)->forced || e->type == LAYER_INDEX_LEFT_OUT)
                return 0;
        /* Overlay takes a whiteout away only by putting something in its place. */
        if (e->type == LAYER_INDEX_WHITEOUT)
                return w->walk->live ? 0 : -ESTALE;
        return layer_emit_whiteout(w, e->path);
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

/* With a change time that it will not have, where it is to count as changed the next time. */
static int add_file_to_index(Walker *w, const struct stat *st) {
        struct stat unsettled = *st;

        unsettled.st_ctim = (struct timespec) {};
        return add_to_index(w, LAYER_INDEX_FILE, w->unsettled ? &unsettled : st);
}

static int visit_whiteout(Walker *w, const struct stat *st) {
        Known known;
        int r;

        r = look_up(w, st, true, &known);
        if (r < 0)
                return r;
        /* Where everything older is hidden it would hide nothing, and show as a file of its own. */
        if (!known.unchanged && !walker_top(w)->forced && !w->doomed)
                r = layer_emit_whiteout(w, w->path);
        return r < 0 ? r : add_to_index(w, LAYER_INDEX_WHITEOUT, st);
}

/* What was there a moment ago in a living tree, and has been taken from the index already; what the index has below it
 * went with it. */
static int handle_gone(Walker *w, const Known *known) {
        if (layer_index_type_is_directory(known->type))
                (void) stpcpy(w->skip, w->path);
        if (known->type == 0 || known->type == LAYER_INDEX_WHITEOUT || known->type == LAYER_INDEX_LEFT_OUT || walker_top(w)->forced || w->doomed)
                return 0;
        return layer_emit_whiteout(w, w->path);
}

/* What is left out may have taken the place of a file of an older layer, which must not come back for it. Where there is
 * no older directory a whiteout would show. */
static int visit_left_out(Walker *w, const struct stat *st) {
        Known known;
        int hides, r;

        r = look_up(w, st, false, &known);
        if (r < 0)
                return r;
        hides = known.type == 0 && !walker_top(w)->forced && !w->doomed;
        if (hides && w->depth > 1)
                hides = xattr_is_copied_up(XATTR_OWNER_FD(walker_top(w)->fd));
        if (hides < 0)
                return hides;
        r = hides ? layer_emit_whiteout(w, w->path) : handle_gone(w, &known);
        return r < 0 ? r : add_to_index(w, LAYER_INDEX_LEFT_OUT, st);
}

static int visit_file(Walker *w, const char *name, const struct stat *st) {
        Known known;
        int r;

        r = look_up(w, st, false, &known);
        if (r < 0)
                return r;
        if (known.unchanged && !walker_top(w)->forced) {
                const struct LayerLink *link = st->st_nlink > 1 ? layer_links_get(&w->links, st->st_ino) : NULL;
                bool again = st->st_nlink > 1 && ((link && layer_links_path(&w->links, link)) || layer_links_get(&w->walk->resend, st->st_ino));
                if (!again) {
                        r = st->st_nlink > 1 && !link ? layer_links_put(&w->links, st->st_ino, st->st_mode, NULL) : 0;
                        return r < 0 ? r : add_to_index(w, LAYER_INDEX_FILE, st);
                }
        }
        r = layer_emit_file(w, name, st);
        return r < 0 ? r : r > 0 ? handle_gone(w, &known) : add_file_to_index(w, st);
}

static int enter_directory(Walker *w, const char *name, const struct stat *st, int *ret_opaque) {
        int fd, r;

        fd = open_beneath(walker_top(w)->fd, name, O_DIRECTORY);
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
                return w->walk->live ? 1 : walker_refuse_changed(w);
        if (fd < 0)
                return fd;
        r = push_level(w, fd, st);
        if (r == -ENOENT && w->walk->live) {    /* removed since: it tells no names any more */
                pop_level(w);
                return 1;
        }
        if (r < 0)
                return r;
        *ret_opaque = xattr_is_opaque(XATTR_OWNER_FD(fd));
        return *ret_opaque < 0 ? *ret_opaque : 0;
}

static int visit_directory(Walker *w, const char *name, const struct stat *st) {
        bool forced = walker_top(w)->forced;
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
        walker_top(w)->marker = opaque && !forced && known.type != LAYER_INDEX_OPAQUE;
        walker_top(w)->forced = forced || walker_top(w)->marker;
        return known.unchanged && !walker_top(w)->forced ? 0 : layer_emit_parents(w);
}

/* Only where it is left out: else the refusal comes when its attributes are read. 1: it was. */
static int leave_out_redirected(Walker *w, const char *name, const struct stat *st) {
        char proc[320];
        int r;

        if (!w->walk->lossy || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)))
                return 0;
        proc_path(walker_top(w)->fd, name, proc);
        r = xattr_is_redirected(XATTR_OWNER_PATH(proc));
        if (r <= 0)
                return r == -ENOENT ? 0 : r;    /* who opens it sees that as well */
        r = walker_note_dropped(w, "its data are in another layer");
        if (r >= 0)
                r = visit_left_out(w, st);
        return r < 0 ? r : 1;
}

static int visit(Walker *w, const char *name) {
        bool too_long = w->path_length > w->path_max, reserved = startswith(name, ".wh.");
        struct stat st;
        int r;

        if (fstatat(walker_top(w)->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno != ENOENT ? -errno : w->walk->live ? 0 : walker_refuse_changed(w);
        if (st.st_dev != w->device)
                return walker_refuse(w, REFUSAL_FILES_REFUSED, "it lies on another file system", "Unmount it");
        if (S_ISSOCK(st.st_mode)) {
                r = walker_note_dropped(w, "socket");
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
        r = leave_out_redirected(w, name, &st);
        if (r != 0)
                return MIN(r, 0);
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

        w->path_length = walker_top(w)->path_length;
        w->path[w->path_length] = 0;
        r = drain_index(w, NULL);
        pop_level(w);
        return r;
}

static int walk_all(Walker *w) {
        while (w->depth > 0) {
                Level *l = walker_top(w);
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
        struct timespec now;
        struct stat st;
        int fd;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        w->settled_nsec = (now.tv_sec - SETTLED_SEC) * (int64_t) (USEC_PER_SEC * NSEC_PER_USEC);
        w->path_max = LAYER_INDEX_PATH_MAX - MIN(MAX(strlen(w->walk->upperdir) + 1, UNPACKED_BELOW), LAYER_INDEX_PATH_MAX);
        w->buf = malloc(LAYER_READ_SIZE);
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
