/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A synchronous client of one repository of one registry (OCI distribution-spec v1; tried against distribution 2.8).
 * For the bulk-data child only: every call blocks. An object belongs to one thread. Failures are RegistryFailed
 * refusals that name the registry, what was tried, its answer and the remedy; -errno is this machine's fault. */

#include <stdatomic.h>

#include "basic/macro.h"
#include "basic/refusal.h"
#include "oci/blob-pieces.h"
#include "oci/layer-request.h"
#include "oci/manifest.h"

typedef struct Registry Registry;

/* The repository `repository` on `host`. Where `host` is that of `configured`, its URL, CA and credentials are used.
 * Every other host is reached anonymously over https (http on 127.0.0.0/8, [::1] and localhost, as Docker does), with the
 * limits of `configured`. */
int registry_open(const LayerRegistry *configured, const char *host, const char *repository, Registry **ret);
Registry *registry_close(Registry *g);
DEFINE_CLEANUP(Registry *, registry_close)
#define _cleanup_registry_ _cleanup_(registry_closep)

/* As they were opened; the object's. */
const char *registry_host(const Registry *g);
const char *registry_repository(const Registry *g);

/* Calls end with -ECANCELED soon after this becomes true. Set before the first call; not owned. */
void registry_set_cancel(Registry *g, const atomic_bool *cancel);

/* Whether the last failure may pass by itself: the connection broke, or the registry said 5xx or 429, and not that it wants to be left
 * alone for longer than one waits. */
bool registry_failure_is_passing(const Registry *g);
/* For how long it wants to be, then. 0: it has not said. */
usec_t registry_failure_wait(const Registry *g);

/* A manifest or index by tag or digest: *ret_data is NUL-terminated and of *ret_size bytes, hashed and compared where
 * `reference` is a digest. -ENOENT (no refusal) when the registry does not have it. */
int registry_get_manifest(Registry *g, const char *reference, char **ret_data, size_t *ret_size, char **ret_content_type,
                          char ret_digest[static 80], Refusal **reterr_refusal);
int registry_put_manifest(Registry *g, const char *reference, const char *media_type, const char *data, size_t size, Refusal **reterr_refusal);
/* Absent is success. */
int registry_delete_manifest(Registry *g, const char *digest, Refusal **reterr_refusal);

/* 1 there, 0 not. */
int registry_has_blob(Registry *g, const char *digest, Refusal **reterr_refusal);
/* 1 mounted, 0 the registry would not. */
int registry_mount_blob(Registry *g, const char *digest, const char *from_repository, Refusal **reterr_refusal);
/* A small blob into memory (NUL-terminated), hashed. -ENOENT when it is not there. */
int registry_get_blob(Registry *g, const Descriptor *d, size_t max, char **ret_data, Refusal **reterr_refusal);
int registry_put_blob(Registry *g, const char *digest, const void *data, size_t size, Refusal **reterr_refusal);

/* Reads the whole blob and compares length and SHA-256. */
int registry_prove_blob(Registry *g, const Descriptor *d, atomic_uint_fast64_t *progress, Refusal **reterr_refusal);
/* Reads a range that ends with the last byte: the cheap proof that the blob's file is there and as long as it should be. */
int registry_prove_blob_tail(Registry *g, const Descriptor *d, Refusal **reterr_refusal);
/* Reads pieces `from` up to and without `to` of a blob that is of these pieces, and compares them and the blob's length. */
int registry_prove_pieces(Registry *g, const Descriptor *d, const BlobPieces *pieces, size_t from, size_t to, atomic_uint_fast64_t *progress,
                          Refusal **reterr_refusal);

/* Streams the blob from one registry into another, hashing. */
int registry_copy_blob(Registry *from, Registry *to, const Descriptor *d, atomic_uint_fast64_t *progress, Refusal **reterr_refusal);

/* Gives the next bytes of a blob: their number, 0 at the end, or -errno. Returns as soon as there are any. */
typedef ssize_t (*registry_source)(void *buf, size_t size, void *userdata);

/* Sends a blob of unknown length: POST, one chunked PATCH, PUT with the digest, which is asked for when the source
 * has ended. */
int registry_upload_blob(Registry *g, registry_source source, const char *(*digest)(void *userdata), void *userdata, Refusal **reterr_refusal);
