/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A blob as it was sent, in pieces with a checksum each, so that reading it back can be compared in any part of it, by several
 * connections at once, at a fraction of the cost of a digest. The checksum is for what storage and networks do to bytes. It proves nothing
 * against somebody who makes others of the same checksum on purpose; whoever restores the blob checks its digest. */

#include "basic/macro.h"

typedef struct BlobPiece {
        uint64_t end;                   /* offset in the blob; a piece begins where the one before ends */
        uint64_t checksum;
} BlobPiece;

typedef struct BlobPieces {
        BlobPiece *items;
        size_t n, allocated;
} BlobPieces;

void blob_pieces_done(BlobPieces *p);
/* `end` is beyond that of the last one. 0 or -ENOMEM. */
int blob_pieces_add(BlobPieces *p, uint64_t end, uint64_t checksum);
/* The first byte of piece `n`, or the blob's size where there is none. */
uint64_t blob_pieces_begin(const BlobPieces *p, size_t n);

/* CRC-64 of ECMA-182, reflected; 0 for the first bytes, then what the last call has returned. */
uint64_t blob_checksum(uint64_t before, const void *data, size_t size);

/* Bytes that come one after the other, compared with the pieces `from` up to and without `to`. */
typedef struct BlobCheck {
        const BlobPieces *pieces;       /* not owned */
        size_t next, to;
        uint64_t offset;                /* in the blob, of the byte that comes next */
        uint64_t checksum;              /* of what came of piece `next` */
} BlobCheck;

/* The first byte to come is that of piece `from`, or, with `whole`, of the blob. */
BlobCheck blob_check_begin(const BlobPieces *pieces, size_t from, size_t to, bool whole);
/* -EBADMSG at the first piece that is another. What comes before and behind the pieces is passed over. */
int blob_check_bytes(BlobCheck *c, const void *data, size_t size);
bool blob_check_is_complete(const BlobCheck *c);
