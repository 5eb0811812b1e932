/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "oci/layer-pass.h"
#include "oci/layer-walk.h"

#define LINK_ATTEMPTS_MAX 3U

typedef struct Attempt {
        LayerPass *pass;
        LayerWalk walk;
        atomic_bool cancel;
        unsigned breaks;
} Attempt;

/* Runs in the stream's producer thread. */
static int produce(layer_tar_sink sink, layer_tar_place place, void *sink_userdata, void *userdata, Refusal **reterr_refusal) {
        Attempt *a = userdata;
        LayerPass *p = a->pass;
        _cleanup_layer_tar_ LayerTar *tar = NULL;
        int r;

        r = layer_tar_new(sink, place, sink_userdata, &tar);
        if (r < 0)
                return r;
        a->walk.tar = tar;
        r = layer_walk_run(&a->walk, reterr_refusal);
        p->entries = layer_tar_entries(tar);
        if (r >= 0 && p->entries > 0)
                r = layer_tar_finish(tar);
        if (r < 0 || !p->on_read)
                return r;
        p->read_done = true;
        return p->on_read(p->userdata);
}

static int attempt(LayerPass *p, Attempt *a, Refusal **reterr_refusal) {
        const LayerStreamSpec spec = {
                .produce = produce,
                .userdata = a,
                .registry = p->registry,
                .salt = p->salt,
                .cancel = &a->cancel,
                .breaks = &a->breaks,
        };
        int r;

        p->writer = layer_index_discard(p->writer);
        if (p->new_index) {
                r = layer_index_create(p->new_index, &p->writer);
                if (r < 0)
                        return r;
        }
        a->walk.new_index = p->writer;
        atomic_store(&a->cancel, false);
        return layer_stream_run(&spec, &p->stream, reterr_refusal);
}

int layer_pass_run(LayerPass *p, Refusal **reterr_refusal) {
        Attempt a = {
                .pass = p,
                .walk = {
                        .upperdir = p->upperdir,
                        .index = p->index,
                        .live = p->live,
                        .lossy = p->lossy,
                        .cancel = &a.cancel,
                        .bytes = layer_channel_counter(p->channel),
                },
        };
        _cleanup_refusal_ Refusal *refusal = NULL;
        unsigned links = 0;
        int r;

        for (;;) {
                refusal = refusal_free(refusal);
                r = attempt(p, &a, &refusal);
                if (p->read_done || !(r == -ECONNRESET || (r == -EAGAIN && ++links <= LINK_ATTEMPTS_MAX)))
                        break;
                if (r == -ECONNRESET)
                        (void) layer_stream_back_off(a.breaks, p->registry, NULL);
        }
        if (r == -EAGAIN)
                r = -ESTALE;
        else if (r == -ECONNRESET)
                r = -EBADRQC;
        if (r == -EBADRQC && reterr_refusal)
                *reterr_refusal = TAKE_PTR(refusal);
        p->dropped = TAKE_PTR(a.walk.dropped);
        layer_walk_done(&a.walk);
        return r;
}

void layer_pass_done(LayerPass *p) {
        p->writer = layer_index_discard(p->writer);
        p->dropped = strv_free(p->dropped);
        blob_pieces_done(&p->stream.pieces);
}
