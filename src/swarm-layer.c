/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swarm-layer: the child that moves bulk data between writable layers and registries. One request on stdin, lines on
 * stdout (oci/layer-request.h); the only program of the project that talks to registries. */

#include <curl/curl.h>
#include <signal.h>
#include <sys/resource.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "oci/layer-channel.h"
#include "oci/layer-image.h"
#include "oci/layer-proof.h"
#include "oci/layer-push.h"

static int run_resolve(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal) {
        _cleanup_layer_image_ LayerImage image = {};
        int r;

        layer_channel_stage(channel, "resolving", -1);
        r = layer_image_open(&request->registry, request->image, &image, reterr_refusal);
        if (r < 0)
                return r;
        if (image.manifest.n_layers >= MANIFEST_LAYERS_MAX)
                return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED,
                              "The image %s has %zu layers, so there is no room for one with a session's files. Use an image with fewer.",
                              request->image, image.manifest.n_layers);
        ret->image = image_reference_format(&image.reference);
        ret->manifest_digest = strdup(image.reference.digest);
        ret->bytes = layer_image_bytes(&image);
        ret->session_layers = (unsigned) (image.manifest.n_layers - image.manifest.n_base_layers);
        ret->volumes = TAKE_PTR(image.config.volumes);
        ret->user = TAKE_PTR(image.config.user);
        ret->working_dir = TAKE_PTR(image.config.working_dir);
        return ret->image && ret->manifest_digest ? 0 : -ENOMEM;
}

/* A push that was cut off leaves a tag whose digest nobody has been told. 0: there is nothing under it. */
static int find_digest(Registry *registry, const char *tag, char ret[static 80], Refusal **reterr_refusal) {
        _cleanup_free_ char *data = NULL, *type = NULL;
        size_t size;
        int r = registry_get_manifest(registry, tag, &data, &size, &type, ret, reterr_refusal);

        return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int delete_tagged(Registry *registry, const ImageReference *reference, LayerResult *ret, Refusal **reterr_refusal) {
        char digest[80];
        int r = find_digest(registry, reference->tag, digest, reterr_refusal);

        ret->unchanged = r == 0;
        if (r <= 0)
                return r;
        r = registry_delete_manifest(registry, digest, reterr_refusal);
        /* Only the registry's own bytes say that this was the digest, and deleting one that is absent is a success. */
        if (r >= 0)
                r = find_digest(registry, reference->tag, digest, reterr_refusal);
        return r <= 0 ? r : refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                                   "The registry %s still has %s:%s after its manifest was deleted. Look at the registry's log, then try again.",
                                   reference->host, reference->repository, reference->tag);
}

static int run_delete(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal) {
        _cleanup_image_reference_ ImageReference reference = {};
        _cleanup_registry_ Registry *registry = NULL;
        int r;

        layer_channel_stage(channel, "deleting", -1);
        r = image_reference_parse(request->image, &reference, reterr_refusal);
        if (r < 0)
                return r;
        r = registry_open(&request->registry, reference.host, reference.repository, &registry);
        if (r < 0)
                return r;
        r = reference.digest ? registry_delete_manifest(registry, reference.digest, reterr_refusal)
                             : delete_tagged(registry, &reference, ret, reterr_refusal);
        if (r < 0)
                return r;
        ret->image = image_reference_format(&reference);
        return ret->image ? 0 : -ENOMEM;
}

static int run_verify(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal) {
        _cleanup_layer_image_ LayerImage image = {};
        int r;

        layer_channel_stage(channel, "proving", -1);
        r = layer_image_open(&request->registry, request->image, &image, reterr_refusal);
        if (r < 0)
                return r;
        r = layer_prove_image(image.registry, &image.manifest, 0, layer_channel_counter(channel), reterr_refusal);
        if (r < 0)
                return r;
        ret->image = image_reference_format(&image.reference);
        ret->manifest_digest = strdup(image.reference.digest);
        ret->bytes = layer_image_bytes(&image);
        ret->session_layers = (unsigned) (image.manifest.n_layers - image.manifest.n_base_layers);
        return ret->image && ret->manifest_digest ? 0 : -ENOMEM;
}

static int run_push(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal) {
        crash_point(CRASH_LAYER_STARTED);
        return layer_push(request, channel, ret, reterr_refusal);
}

static int read_request(LayerRequest *ret, Refusal **reterr_refusal) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = layer_channel_read_request(&line);
        if (r < 0)
                return r;
        r = layer_request_from_json(line, ret, reterr_refusal);
        explicit_bzero(line, strlen(line));
        return r;
}

static int run(LayerChannel **channel, LayerResult *ret, Refusal **reterr_refusal) {
        static int (*const verbs[_LAYER_VERB_MAX])(const LayerRequest *, LayerChannel *, LayerResult *, Refusal **) = {
                [LAYER_RESOLVE] = run_resolve,
                [LAYER_PUSH] = run_push,
                [LAYER_DELETE] = run_delete,
                [LAYER_VERIFY] = run_verify,
        };
        _cleanup_(layer_request_done) LayerRequest request = { .verb = _LAYER_VERB_INVALID };
        int r, q;

        r = read_request(&request, reterr_refusal);
        if (r == -ECONNRESET)
                return r;
        q = layer_channel_open(channel);
        if (q < 0 || r < 0)
                return q < 0 ? q : r;
        return verbs[request.verb](&request, *channel, ret, reterr_refusal);
}

/* Each level of a directory tree holds a descriptor. */
static void raise_limits(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) >= 0) {
                limit.rlim_cur = MIN(limit.rlim_max, (rlim_t) 4096);
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
}

int main(int argc, char *argv[]) {
        LayerLine line = { .type = LAYER_LINE_RESULT };
        LayerChannel *channel = NULL;
        int r;

        log_open("swarm-layer");
        raise_limits();
        (void) signal(SIGIO, SIG_IGN);          /* somebody else wants a file that a lease is just being tried on */
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return EXIT_FAILURE;
        r = run(&channel, &line.result, &line.refusal);
        if (!channel) {
                log_error_errno(r, "No request could be read: %m");
                return EXIT_FAILURE;
        }
        if (r < 0) {
                line.type = LAYER_LINE_ERROR;
                line.refusal = refusal_of(r, &line.refusal);
                if (r != -EBADRQC)
                        log_error_errno(r, "The request failed: %m");
        }
        if (layer_channel_finish(channel, &line) < 0)
                r = -EIO;
        layer_line_done(&line);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
