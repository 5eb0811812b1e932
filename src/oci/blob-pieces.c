/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <isa-l.h>

#include "oci/blob-pieces.h"

void blob_pieces_done(BlobPieces *p) {
        free(p->items);
        *p = (BlobPieces) {};
}

int blob_pieces_add(BlobPieces *p, uint64_t end, uint64_t checksum) {
        if (p->n == p->allocated) {
                size_t n = MAX(2 * p->allocated, (size_t) 256);
                BlobPiece *items = reallocarray(p->items, n, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                p->items = items;
                p->allocated = n;
        }
        p->items[p->n++] = (BlobPiece) { end, checksum };
        return 0;
}

uint64_t blob_pieces_begin(const BlobPieces *p, size_t n) {
        return n == 0 || p->n == 0 ? 0 : p->items[MIN(n, p->n) - 1].end;
}

uint64_t blob_checksum(uint64_t before, const void *data, size_t size) {
        return crc64_ecma_refl(before, data, size);
}

BlobCheck blob_check_begin(const BlobPieces *pieces, size_t from, size_t to, bool whole) {
        return (BlobCheck) { .pieces = pieces, .next = from, .to = to, .offset = whole ? 0 : blob_pieces_begin(pieces, from) };
}

int blob_check_bytes(BlobCheck *c, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0 && c->next < c->to) {
                const BlobPiece *piece = c->pieces->items + c->next;
                uint64_t begin = blob_pieces_begin(c->pieces, c->next);
                bool before = c->offset < begin;
                size_t n = (size_t) MIN((uint64_t) size, (before ? begin : piece->end) - c->offset);

                if (!before)
                        c->checksum = blob_checksum(c->checksum, p, n);
                p += n;
                size -= n;
                c->offset += n;
                if (c->offset < piece->end)
                        continue;
                if (c->checksum != piece->checksum)
                        return -EBADMSG;
                c->checksum = 0;
                c->next++;
        }
        return 0;
}

bool blob_check_is_complete(const BlobCheck *c) {
        return c->next == c->to;
}
