/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The protocol between the agent and its child `swarm-layer`: JSON objects, one a line.
 *
 * The agent writes one request (`verb` and its members), later only {"type":"frozen"} where the child asked for it.
 * The child writes
 *   {"type":"progress","stage":S,"bytes_done":N,"bytes_total":N|-1}     at most ten a second
 *   {"type":"freeze"}       push with `freeze` or `precopy`: ready to read; freeze the container, then answer "frozen"
 *   {"type":"read-done"}    push: every byte that the layer needs has been read; a snapshot may thaw now
 *   {"type":"result", …}    the last line of a success
 *   {"type":"error","code":C,"message":M}  the last line of a failure; C is a RefusalCode name, M a full sentence
 * All traffic with registries is in this child: no credential of a registry is known to any other code path than the
 * one that writes the request, and what a hostile registry answers is parsed only here. */

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"

typedef struct LayerRegistry {
        char *url;              /* "http://10.99.0.1:5000" or "https://registry.example.com" */
        char *ca_file;          /* PEM, or NULL */
        char *username, *password;      /* Basic (or for the token service), or NULL */
        usec_t timeout_usec;            /* no answer, or no progress of a transfer, for so long is a failure; 0 = 60 s */
} LayerRegistry;

typedef enum LayerVerb {
        LAYER_RESOLVE,          /* image reference → digest and facts */
        LAYER_PUSH,             /* writable layer → blobs, config, manifest, proof */
        LAYER_DELETE,           /* delete a manifest by digest or by tag; absent is success */
        LAYER_VERIFY,           /* the proof alone, for a manifest that is there */
        _LAYER_VERB_MAX,
        _LAYER_VERB_INVALID = -EINVAL,
} LayerVerb;

typedef struct LayerRequest {
        LayerVerb verb;
        LayerRegistry registry;         /* where session images live */
        char *image;                    /* resolve: reference as the user wrote it. verify, delete: host/repo@digest, or
                                         * host/repo:tag of a push that was cut off.
                                         * push: the parent, host/repo@digest: the image the container runs from, or,
                                         * with `index`, the generation that the index describes */
        char *repository;               /* push: "sessions/default" */
        char *tag;                      /* push: of this push alone, "<session>-g<n>-<random>" */
        char *session;                  /* push: id, for the annotations */
        uint64_t generation, job;       /* push */
        char *upperdir;                 /* push: absolute path */
        char *fallback_image;           /* push with an index: parent to use with a full walk when `image` is gone */
        char *index;                    /* push: path of the index of the parent generation, or NULL: full walk */
        char *new_index;                /* push: where to write the index of this generation (whole, fsynced) */
        usec_t frozen_realtime_usec;    /* push: when the container exited; ctimes from 20 ms before it on count as
                                         * changed the next time. Where a freeze is asked for it is taken at "frozen" */
        bool freeze;                    /* push: asks for the freeze, but not before the parent image was found */
        bool precopy;                   /* push: two passes, the first of them before the freeze */
        bool lossy;                     /* push: leave out what a layer cannot hold instead of refusing */
        unsigned layers_max;            /* push: refuse above so many session layers (default 100) */
} LayerRequest;

typedef struct LayerResult {
        char *image;                    /* push, resolve: host/repo@sha256:… of the manifest for linux of this machine */
        char *manifest_digest;          /* push */
        uint64_t bytes;                 /* push: compressed bytes of the new layer(s); 0 = unchanged. resolve: of all layers */
        uint64_t uncompressed_bytes;
        uint64_t entries;
        unsigned session_layers;        /* push: layers above the base image, the new one included */
        bool unchanged;                 /* push: no new layer was needed (the manifest is new all the same).
                                         * delete by tag: there was nothing under it */
        Strv dropped;                   /* push: sockets, and, with lossy, whatever else was left out; at most 100 */
        Strv volumes;                   /* resolve: VOLUME paths of the config */
        char *user, *working_dir;       /* resolve */
        usec_t read_usec, upload_usec, proof_usec;      /* push: how long each took */
} LayerResult;

void layer_request_done(LayerRequest *r);
void layer_result_done(LayerResult *r);

/* One line with the newline. The caller frees, and should explicit_bzero() the request. */
int layer_request_to_json(const LayerRequest *r, char **ret);
int layer_request_from_json(const char *line, LayerRequest *ret, Refusal **reterr_refusal);

typedef enum LayerLineType {
        LAYER_LINE_PROGRESS,
        LAYER_LINE_FREEZE,
        LAYER_LINE_READ_DONE,
        LAYER_LINE_RESULT,
        LAYER_LINE_ERROR,
        _LAYER_LINE_MAX,
        _LAYER_LINE_INVALID = -EINVAL,
} LayerLineType;

typedef struct LayerLine {
        LayerLineType type;
        char *stage;                    /* progress */
        uint64_t bytes_done;
        int64_t bytes_total;            /* -1 unknown */
        LayerResult result;
        Refusal *refusal;               /* error */
} LayerLine;

void layer_line_done(LayerLine *l);
int layer_line_to_json(const LayerLine *l, char **ret);         /* a new string, with the newline */
int layer_line_from_json(const char *line, LayerLine *ret);     /* -EINVAL, -EBADMSG */
