/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>

#include "oci/layer-proof.h"
#include "oci/layer-stream.h"

#define HALF_MIN (4 * MIB)              /* less is not worth a connection */

/* A registry may answer 500 for a blob that somebody else is just storing in the same repository once more. */
static bool try_again(Registry *g, int r, unsigned *attempt) {
        if (r != -EBADRQC || !registry_failure_is_passing(g) || ++*attempt > LAYER_STREAM_RETRIES)
                return false;
        (void) layer_stream_back_off(*attempt, g, NULL);
        return true;
}

static int prove_layer(Registry *g, const Manifest *m, size_t i, atomic_uint_fast64_t *progress, Refusal **reterr_refusal) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        unsigned attempt = 0;
        int r;

        do {
                refusal = refusal_free(refusal);
                r = i < m->n_base_layers ? registry_prove_blob_tail(g, m->layers + i, &refusal)
                                         : registry_prove_blob(g, m->layers + i, progress, &refusal);
        } while (try_again(g, r, &attempt));
        if (r == -EBADRQC && reterr_refusal)
                *reterr_refusal = TAKE_PTR(refusal);
        return r;
}

int layer_prove_image(Registry *g, const Manifest *m, size_t from, atomic_uint_fast64_t *progress, Refusal **reterr_refusal) {
        int r = 0;

        for (size_t i = from; r >= 0 && i < m->n_layers; i++)
                r = prove_layer(g, m, i, progress, reterr_refusal);
        return r;
}

/* Some of a layer's pieces, and who reads them. */
typedef struct Part {
        Registry *registry;
        const Descriptor *descriptor;
        const BlobPieces *pieces;
        size_t from, to;
        atomic_uint_fast64_t *progress;
        atomic_bool cancel;
        int result;
        Refusal *refusal;
} Part;

static void *prove_part(void *userdata) {
        Part *p = userdata;
        unsigned attempt = 0;

        do {
                p->refusal = refusal_free(p->refusal);
                p->result = registry_prove_pieces(p->registry, p->descriptor, p->pieces, p->from, p->to, p->progress, &p->refusal);
        } while (try_again(p->registry, p->result, &attempt));
        return NULL;
}

/* The piece with which the second half of the bytes begins; n where there is nothing to divide. */
static size_t middle(const BlobPieces *pieces) {
        uint64_t size = blob_pieces_begin(pieces, pieces->n);
        size_t i = 0;

        while (i < pieces->n && blob_pieces_begin(pieces, i) < size / 2)
                i++;
        return size < 2 * HALF_MIN ? pieces->n : i;
}

static int prove_parts(const LayerRegistry *configured, Part *first, Part *second) {
        pthread_t thread;
        bool threaded;
        int r;

        r = registry_open(configured, registry_host(first->registry), registry_repository(first->registry), &second->registry);
        if (r < 0)
                return r;
        registry_set_cancel(second->registry, &second->cancel);
        threaded = pthread_create(&thread, NULL, prove_part, second) == 0;
        prove_part(first);
        atomic_store(&second->cancel, first->result < 0);
        if (threaded)
                (void) pthread_join(thread, NULL);
        else if (first->result >= 0)
                prove_part(second);
        second->registry = registry_close(second->registry);
        return first->result < 0 ? first->result : second->result;
}

int layer_prove_sent(const LayerRegistry *configured, Registry *g, const Descriptor *d, const BlobPieces *pieces, atomic_uint_fast64_t *progress,
                     Refusal **reterr_refusal) {
        Part first = { .registry = g, .descriptor = d, .pieces = pieces, .to = middle(pieces), .progress = progress },
             second = { .descriptor = d, .pieces = pieces, .from = first.to, .to = pieces->n, .progress = progress };
        int r;

        if (second.from == second.to) {
                prove_part(&first);
                r = first.result;
        } else
                r = prove_parts(configured, &first, &second);
        if (r == -EBADRQC && reterr_refusal) {
                refusal_free(*reterr_refusal);
                *reterr_refusal = first.result == r ? TAKE_PTR(first.refusal) : TAKE_PTR(second.refusal);
        }
        refusal_free(first.refusal);
        refusal_free(second.refusal);
        return r;
}
