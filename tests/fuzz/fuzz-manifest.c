/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Manifests, indexes and configs from a registry. What is taken can be built upon, and the result is taken again. */

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static const NewLayer layer = { DIGEST, DIGEST, 1, 2 };

static void try_manifest(const char *text, size_t size) {
        const ManifestFacts facts = { .session = "s", .generation = 1, .job = 2, .tag = "s-g1-x", .created = 3 };
        const Descriptor config = { (char *) MEDIA_TYPE_OCI_CONFIG, (char *) DIGEST, 4 };
        _cleanup_manifest_ Manifest m = {}, child = {};
        _cleanup_free_ char *built = NULL;

        if (manifest_parse(text, size, "x", &m, NULL) < 0)
                return;
        assert(m.n_base_layers <= m.n_layers && m.n_layers <= MANIFEST_LAYERS_MAX);
        for (size_t i = 0; i < m.n_layers; i++)
                assert(digest_is_valid(m.layers[i].digest));
        assert(manifest_build(&m, &config, &layer, 1, &facts, &built) >= 0);
        assert(manifest_parse(built, strlen(built), "x", &child, NULL) >= 0 || m.n_layers == MANIFEST_LAYERS_MAX);
}

static void try_config(const char *text, size_t size) {
        _cleanup_image_config_ ImageConfig c = {}, child = {};
        _cleanup_free_ char *built = NULL;

        if (image_config_parse(text, size, "x", &c, NULL) < 0)
                return;
        assert(image_config_extend(&c, &layer, 1, 5, &built) >= 0);
        assert(image_config_parse(built, strlen(built), "x", &child, NULL) >= 0 || c.n_diff_ids == MANIFEST_LAYERS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = (const char *) data;
        _cleanup_refusal_ Refusal *refusal = NULL;
        Descriptor d;

        if (size > 64 * KIB)
                return 0;
        if (manifest_is_index(text, size, NULL, "x", &refusal) < 0)
                assert(refusal && utf8_is_valid(refusal->message));
        if (manifest_index_pick(text, size, "amd64", "x", &d, NULL) >= 0) {
                assert(digest_is_valid(d.digest));
                descriptor_done(&d);
        }
        try_manifest(text, size);
        try_config(text, size);
        return 0;
}
