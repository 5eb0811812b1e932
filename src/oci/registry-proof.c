/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading blobs back: what a registry says of them, with 200 and the right length, holds of files that are gone or damaged as well. */

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/registry-http.h"

#define TAIL_BYTES 4096U

static int refuse_damaged(Registry *g, const Descriptor *d, const char *how, Refusal **reterr_refusal) {
        return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                      "The registry %s no longer holds the blob %s@%s as it was stored (%s). Check its storage; push the image again.",
                      g->host, g->repository, d->digest, how);
}

typedef struct Prover {
        DigestContext *context;
        atomic_uint_fast64_t *progress;
} Prover;

static int prove_bytes(const void *data, size_t n, void *userdata) {
        Prover *p = userdata;
        digest_context_update(p->context, data, n);
        if (p->progress)
                atomic_fetch_add(p->progress, n);
        return 0;
}

int registry_prove_blob(Registry *g, const Descriptor *d, atomic_uint_fast64_t *progress, Refusal **reterr_refusal) {
        _cleanup_digest_context_ DigestContext *context = digest_context_new();
        Prover prover = { context, progress };
        const HttpCall call = { .method = "GET", .max = d->size, .sink = prove_bytes, .userdata = &prover, .takes = { 200, 404 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/%s", d->digest), *doing = strformat("reading back the blob %s@%s", g->repository, d->digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        char digest[DIGEST_SIZE];
        int r;

        if (!context)
                return -ENOMEM;
        r = registry_call(g, url, &call, &a, doing, reterr_refusal);
        if (r < 0)
                return r;
        if (r == 404)
                return refuse_damaged(g, d, "it is gone", reterr_refusal);
        if (a.received != d->size)
                return refuse_damaged(g, d, "its length differs", reterr_refusal);
        digest_context_finish(context, digest);
        return streq(digest, d->digest) ? 0 : refuse_damaged(g, d, "its bytes differ", reterr_refusal);
}

/* "bytes 10-19/20" says exactly what was asked for: from `from` to before `end`. */
static bool range_is(const char *content_range, uint64_t from, uint64_t end, uint64_t size) {
        char expected[96];

        (void) snprintf(expected, sizeof(expected), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from, end - 1, size);
        return streq_ptr(content_range, expected);
}

int registry_prove_blob_tail(Registry *g, const Descriptor *d, Refusal **reterr_refusal) {
        uint64_t from = d->size > TAIL_BYTES ? d->size - TAIL_BYTES : 0;
        char range[64];
        const HttpCall call = { .method = "GET", .range = range, .max = d->size - from, .takes = { 206, 404, 416 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/%s", d->digest), *doing = strformat("reading the end of the blob %s@%s", g->repository, d->digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r;

        /* Not every storage answers ranges; a whole small blob is as good. */
        if (d->size <= TAIL_BYTES)
                return registry_prove_blob(g, d, NULL, reterr_refusal);
        (void) snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, from, d->size - 1);
        r = registry_call(g, url, &call, &a, doing, reterr_refusal);
        if (r == -EBADRQC && a.too_big && a.status == 200)
                return registry_prove_blob(g, d, NULL, reterr_refusal);
        if (r < 0)
                return r;
        if (r == 404)
                return refuse_damaged(g, d, "it is gone", reterr_refusal);
        if (r == 416)
                return refuse_damaged(g, d, "it is too short", reterr_refusal);
        return a.received == d->size - from && range_is(a.content_range, from, d->size, d->size)
                       ? 0 : refuse_damaged(g, d, "its length differs", reterr_refusal);
}

typedef struct Comparison {
        const HttpAnswer *answer;
        const BlobPieces *pieces;
        size_t from, to;
        BlobCheck check;
        atomic_uint_fast64_t *progress;
} Comparison;

static int compare_bytes(const void *data, size_t n, void *userdata) {
        Comparison *c = userdata;

        /* Not every storage answers ranges: 200 brings all of the blob, to each who asks for a part of it. */
        bool whole = c->answer->status == 200;

        if (!c->check.pieces)
                c->check = blob_check_begin(c->pieces, c->from, c->to, whole);
        if (c->progress && (!whole || c->from == 0))
                atomic_fetch_add(c->progress, n);
        return blob_check_bytes(&c->check, data, n);
}

int registry_prove_pieces(Registry *g, const Descriptor *d, const BlobPieces *pieces, size_t from, size_t to, atomic_uint_fast64_t *progress,
                          Refusal **reterr_refusal) {
        uint64_t begin = blob_pieces_begin(pieces, from), end = blob_pieces_begin(pieces, to);
        _cleanup_http_answer_ HttpAnswer a = {};
        Comparison c = { .answer = &a, .pieces = pieces, .from = from, .to = to, .progress = progress };
        char range[64];
        const HttpCall call = { .method = "GET", .range = range, .max = d->size, .sink = compare_bytes, .userdata = &c, .takes = { 206, 200, 404, 416 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/%s", d->digest), *doing = strformat("reading back the blob %s@%s", g->repository, d->digest);
        int r;

        (void) snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, begin, end - 1);
        r = registry_call(g, url, &call, &a, doing, reterr_refusal);
        if (r == -EBADMSG)
                return refuse_damaged(g, d, "its bytes differ", reterr_refusal);
        if (r < 0)
                return r;
        if (r == 404)
                return refuse_damaged(g, d, "it is gone", reterr_refusal);
        if (r == 416)
                return refuse_damaged(g, d, "it is too short", reterr_refusal);
        return c.check.pieces && blob_check_is_complete(&c.check) &&
               (r == 200 ? a.received == d->size : a.received == end - begin && range_is(a.content_range, begin, end, d->size))
                       ? 0 : refuse_damaged(g, d, "its length differs", reterr_refusal);
}
