/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/string-util.h"
#include "oci/layer-image.h"

void layer_image_done(LayerImage *i) {
        image_reference_done(&i->reference);
        registry_close(i->registry);
        manifest_done(&i->manifest);
        image_config_done(&i->config);
        *i = (LayerImage) {};
}

static int refuse_absent(const LayerImage *i, const char *name, Refusal **reterr_refusal) {
        return refuse(reterr_refusal, REFUSAL_NO_SUCH_IMAGE, "The registry %s has no image %s: push it there, or check the name.",
                      i->reference.host, name);
}

/* Reads what the reference names; an index is followed one step. */
static int read_manifest(LayerImage *i, const char *name, Refusal **reterr_refusal) {
        const char *reference = i->reference.digest ?: i->reference.tag;

        for (unsigned step = 0; step < 2; step++) {
                _cleanup_free_ char *data = NULL, *type = NULL;
                _cleanup_(descriptor_done) Descriptor picked = {};
                char digest[80];
                size_t size;
                int r;

                r = registry_get_manifest(i->registry, reference, &data, &size, &type, digest, reterr_refusal);
                if (r < 0)
                        return r == -ENOENT ? refuse_absent(i, name, reterr_refusal) : r;
                r = free_and_strdup(&i->reference.digest, digest);
                if (r < 0)
                        return r;
                r = manifest_is_index(data, size, type, name, reterr_refusal);
                if (r < 0)
                        return r;
                if (r == 0)
                        return manifest_parse(data, size, name, &i->manifest, reterr_refusal);
                r = manifest_index_pick(data, size, oci_architecture(), name, &picked, reterr_refusal);
                if (r < 0)
                        return r;
                r = free_and_strdup(&i->reference.digest, picked.digest);
                if (r < 0)
                        return r;
                reference = i->reference.digest;
        }
        return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED, "The image %s cannot be used: its index leads to another index. Use another image.", name);
}

static int read_config(LayerImage *i, const char *name, Refusal **reterr_refusal) {
        _cleanup_free_ char *data = NULL;
        int r;

        r = registry_get_blob(i->registry, &i->manifest.config, CONFIG_SIZE_MAX, &data, reterr_refusal);
        if (r == -ENOENT)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED, "The registry %s has lost the config of the image %s. Push it again.",
                              i->reference.host, name);
        if (r < 0)
                return r;
        r = image_config_parse(data, i->manifest.config.size, name, &i->config, reterr_refusal);
        if (r < 0)
                return r;
        if (i->config.n_diff_ids != i->manifest.n_layers)
                return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED, "The image %s cannot be used: its config names %zu layers, its manifest %zu. Push it again.",
                              name, i->config.n_diff_ids, i->manifest.n_layers);
        return 0;
}

int layer_image_open(const LayerRegistry *configured, const char *image, LayerImage *ret, Refusal **reterr_refusal) {
        _cleanup_layer_image_ LayerImage i = {};
        int r;

        *ret = (LayerImage) {};
        r = image_reference_parse(image, &i.reference, reterr_refusal);
        if (r < 0)
                return r;
        r = registry_open(configured, i.reference.host, i.reference.repository, &i.registry);
        if (r < 0)
                return r;
        r = read_manifest(&i, image, reterr_refusal);
        if (r < 0)
                return r;
        r = read_config(&i, image, reterr_refusal);
        if (r < 0)
                return r;
        *ret = i;
        i = (LayerImage) {};
        return 0;
}

uint64_t layer_image_bytes(const LayerImage *i) {
        uint64_t sum = 0;
        for (size_t n = 0; n < i->manifest.n_layers; n++)
                sum += i->manifest.layers[n].size;
        return sum;
}
