/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <strings.h>

#include "basic/string-util.h"
#include "oci/layer-base.h"
#include "oci/layer-proof.h"
#include "oci/registry-http.h"

static int bring_layer(LayerBase *b, const Descriptor *d, bool same_registry, Refusal **reterr_refusal) {
        int r;

        r = registry_has_blob(b->target, d->digest, reterr_refusal);
        if (r != 0)
                return r < 0 ? r : 0;
        if (same_registry) {
                r = registry_mount_blob(b->target, d->digest, b->parent->reference.repository, reterr_refusal);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
        return registry_copy_blob(b->parent->registry, b->target, d, NULL, reterr_refusal);
}

static int bring_layers(LayerBase *b, Refusal **reterr_refusal) {
        const ImageReference *from = &b->parent->reference;
        bool same_registry = strcasecmp(from->host, registry_host(b->target)) == 0;
        int r = 0;

        if (same_registry && streq(from->repository, registry_repository(b->target)))
                return 0;
        for (size_t i = 0; r >= 0 && i < b->parent->manifest.n_layers; i++)
                r = bring_layer(b, b->parent->manifest.layers + i, same_registry, reterr_refusal);
        return r;
}

static void *run(void *userdata) {
        LayerBase *b = userdata;

        b->result = bring_layers(b, &b->refusal);
        if (b->result >= 0)
                b->result = layer_prove_image(b->target, &b->parent->manifest, 0, NULL, &b->refusal);
        return NULL;
}

int layer_base_start(LayerBase *b, const LayerRegistry *configured, const LayerImage *parent, const char *host, const char *repository) {
        int r;

        *b = (LayerBase) { .configured = configured, .parent = parent };
        r = registry_open(configured, host, repository, &b->target);
        if (r < 0)
                return r;
        registry_set_cancel(b->target, &b->cancel);
        registry_set_cancel(parent->registry, &b->cancel);
        r = -pthread_create(&b->thread, NULL, run, b);
        b->running = r >= 0;
        return r;
}

int layer_base_wait(LayerBase *b, Refusal **reterr_refusal) {
        if (b->running)
                (void) pthread_join(b->thread, NULL);
        b->running = false;
        if (b->result == -EBADRQC && reterr_refusal) {
                refusal_free(*reterr_refusal);
                *reterr_refusal = TAKE_PTR(b->refusal);
        }
        return b->result;
}

void layer_base_done(LayerBase *b) {
        atomic_store(&b->cancel, true);
        (void) layer_base_wait(b, NULL);
        b->target = registry_close(b->target);
        b->refusal = refusal_free(b->refusal);
}
