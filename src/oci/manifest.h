/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Image manifests, indexes and configs: OCI image-spec v1 and Docker's v2 schema 2, which Engines accept mixed
 * (an OCI manifest may list Docker layers: moby checks only the prefix of a layer's media type). */

#include <jansson.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"

#define MANIFEST_SIZE_MAX (4 * MIB)             /* distribution's own limit */
#define CONFIG_SIZE_MAX (8 * MIB)
#define MANIFEST_LAYERS_MAX 125U                /* Engine: ErrMaxDepthExceeded above that */

#define MEDIA_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_TYPE_OCI_LAYER_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MEDIA_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_TYPE_DOCKER_INDEX "application/vnd.docker.distribution.manifest.list.v2+json"
#define MANIFEST_ACCEPT MEDIA_TYPE_OCI_MANIFEST ", " MEDIA_TYPE_OCI_INDEX ", " MEDIA_TYPE_DOCKER_MANIFEST ", " MEDIA_TYPE_DOCKER_INDEX

#define ANNOTATION_SESSION "org.swarm.orchestrator.session"
#define ANNOTATION_GENERATION "org.swarm.orchestrator.generation"
#define ANNOTATION_JOB "org.swarm.orchestrator.job"
#define ANNOTATION_TAG "org.swarm.orchestrator.tag"
#define ANNOTATION_BASE_LAYERS "org.swarm.orchestrator.base-layers"
#define ANNOTATION_CREATED "org.opencontainers.image.created"

typedef struct Descriptor {
        char *media_type;
        char *digest;
        uint64_t size;
} Descriptor;

void descriptor_done(Descriptor *d);

typedef struct Manifest {
        Descriptor config;
        Descriptor *layers;             /* base first */
        size_t n_layers;
        size_t n_base_layers;           /* by our annotation; n_layers where there is none (a base image) */
        char *session;                  /* by our annotation, or NULL */
} Manifest;

void manifest_done(Manifest *m);
#define _cleanup_manifest_ _cleanup_(manifest_done)

/* `what` names the image in the sentences. The refusals are ImageRefused. */

/* 1 for an index or manifest list, 0 for a manifest. Decided by the document's own mediaType or members; a
 * Content-Type that contradicts is refused, as are unknown types and schema 1. content_type may be NULL. */
int manifest_is_index(const char *data, size_t size, const char *content_type, const char *what, Refusal **reterr_refusal);
int manifest_parse(const char *data, size_t size, const char *what, Manifest *ret, Refusal **reterr_refusal);
/* The manifest for linux on this architecture ("amd64", "arm64", …: oci_architecture()). */
int manifest_index_pick(const char *data, size_t size, const char *architecture, const char *what, Descriptor *ret, Refusal **reterr_refusal);
const char *oci_architecture(void);

typedef struct ImageConfig {
        json_t *json;
        size_t n_diff_ids;
        char *user, *working_dir;
        Strv volumes;                   /* sorted */
} ImageConfig;

void image_config_done(ImageConfig *c);
#define _cleanup_image_config_ _cleanup_(image_config_done)

/* Refuses configs of another system or architecture and broken diff_ids. */
int image_config_parse(const char *data, size_t size, const char *what, ImageConfig *ret, Refusal **reterr_refusal);

/* A layer that a push adds. */
typedef struct NewLayer {
        char diff_id[80];               /* of the tar */
        char digest[80];                /* of the compressed blob */
        uint64_t size;                  /* compressed */
        uint64_t uncompressed_size;
} NewLayer;

/* The parent's config with the layers added, everything else as it is: no environment and no label of the session.
 * The same input gives the same bytes. */
int image_config_extend(const ImageConfig *parent, const NewLayer *layers, size_t n_layers, usec_t created, char **ret);

typedef struct ManifestFacts {
        const char *session;
        uint64_t generation, job;
        const char *tag;                /* which no other push has: makes each manifest unique */
        usec_t created;
        size_t n_base_layers;
} ManifestFacts;

int manifest_build(const Manifest *parent, const Descriptor *config, const NewLayer *layers, size_t n_layers,
                   const ManifestFacts *facts, char **ret);
