/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The index of a generation: every path of an upperdir with inode, change time and size, as it was when the generation
 * was taken, so that the next one reads only what changed. Written and read as a stream in walk order; never trusted
 * when anything about it is odd (then the walk is a full one).
 *
 * File: "SWARMIX1"; entries; the end mark; a JSON footer; its length (u32); SHA-256 of all before (64 hex digits).
 * Entry, little-endian: u16 bytes shared with the previous path, u16 bytes that follow, u8 type, u64 inode,
 * i64 ctime (ns), u64 size, the bytes. The end mark is an entry of 0xffff, 0. */

#include <sys/stat.h>

#include "basic/macro.h"

#define LAYER_INDEX_PATH_MAX 4095U

typedef enum LayerIndexType {
        LAYER_INDEX_FILE = 'f',         /* everything that is none of the others */
        LAYER_INDEX_DIRECTORY = 'd',
        LAYER_INDEX_OPAQUE = 'o',       /* a directory that hides what is below it */
        LAYER_INDEX_WHITEOUT = 'w',
        LAYER_INDEX_LEFT_OUT = 'x',     /* what no layer can hold; where it may hide something, a whiteout stands for it */
} LayerIndexType;

static inline bool layer_index_type_is_directory(LayerIndexType t) {
        return t == LAYER_INDEX_DIRECTORY || t == LAYER_INDEX_OPAQUE;
}

typedef struct LayerIndexEntry {
        const char *path;               /* relative; valid until the next advance */
        LayerIndexType type;
        uint64_t inode;
        int64_t ctime_nsec;
        uint64_t size;
} LayerIndexEntry;

typedef struct LayerIndexInfo {
        char *image;                    /* the generation: host/repository@digest */
        char *upperdir;
        uint64_t device, inode;         /* of the upperdir */
        usec_t clean_usec;              /* realtime; what has a ctime from 20 ms before it on counts as changed */
        char *boot;                     /* of the system, in which the change times were read; NULL: not known */
} LayerIndexInfo;

/* The id of the running boot, a new string; NULL when it cannot be read. */
char *layer_index_boot(void);

/* Walk order: a directory before what is in it, names by byte value. <0, 0, >0. */
int layer_path_compare(const char *a, const char *b);

typedef struct LayerIndexReader LayerIndexReader;

/* Checks the sum over the whole file. -ENOENT; -EBADMSG: odd in any way. */
int layer_index_open(const char *path, LayerIndexReader **ret);
LayerIndexReader *layer_index_close(LayerIndexReader *r);
DEFINE_CLEANUP(LayerIndexReader *, layer_index_close)
#define _cleanup_layer_index_reader_ _cleanup_(layer_index_closep)
const LayerIndexInfo *layer_index_info(const LayerIndexReader *r);
/* The current entry, or NULL behind the last. */
const LayerIndexEntry *layer_index_peek(const LayerIndexReader *r);
int layer_index_advance(LayerIndexReader *r);
int layer_index_rewind(LayerIndexReader *r);

typedef struct LayerIndexWriter LayerIndexWriter;

/* Nothing is at `path` before the commit. What goes wrong with the disk is told by commit and reopen alone: an index
 * saves time, so its lack must not end what it would be for. -ENOMEM; -EINVAL: no path. */
int layer_index_create(const char *path, LayerIndexWriter **ret);
LayerIndexWriter *layer_index_discard(LayerIndexWriter *w);
DEFINE_CLEANUP(LayerIndexWriter *, layer_index_discard)
#define _cleanup_layer_index_writer_ _cleanup_(layer_index_discardp)
/* In walk order; -EINVAL otherwise. */
int layer_index_append(LayerIndexWriter *w, const char *path, LayerIndexType type, const struct stat *st);
/* Writes the footer, syncs, and puts the file in its place. Once. */
int layer_index_commit(LayerIndexWriter *w, const LayerIndexInfo *info);
/* Finishes the file without giving it a name and reads it back from the start (for the second of two passes). */
int layer_index_reopen(LayerIndexWriter *w, const LayerIndexInfo *info, LayerIndexReader **ret);

int64_t layer_index_ctime(const struct stat *st);       /* nanoseconds since the epoch */
