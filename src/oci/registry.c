/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <strings.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/reference.h"
#include "oci/registry-http.h"

#define TIMEOUT_DEFAULT (60 * USEC_PER_SEC)

Registry *registry_close(Registry *g) {
        if (!g)
                return NULL;
        if (g->curl)
                curl_easy_cleanup(g->curl);
        if (g->password)
                explicit_bzero(g->password, strlen(g->password));
        free(g->host);
        free(g->repository);
        free(g->url);
        free(g->ca_file);
        free(g->username);
        free(g->password);
        free(g->token);
        free(g);
        return NULL;
}

static bool is_configured_host(const LayerRegistry *configured, const char *host) {
        const char *own;
        size_t n;

        return configured->url && registry_url_is_valid(configured->url, &own, &n) && strlen(host) == n && strncasecmp(own, host, n) == 0;
}

/* Docker's rule for insecure registries: 127.0.0.0/8 and ::1 always are. */
static bool is_local_host(const char *host) {
        const char *rest = startswith(host, "localhost") ?: startswith(host, "[::1]"), *number = startswith(host, "127.");
        return (number && !number[strspn(number, "0123456789.:")]) || (rest && (!*rest || *rest == ':'));
}

static int set_address(Registry *g, const LayerRegistry *configured, const char *host) {
        g->configured = is_configured_host(configured, host);
        if (g->configured) {
                g->url = strdup(configured->url);
                if (!g->url || free_and_strdup(&g->ca_file, configured->ca_file) < 0 ||
                    free_and_strdup(&g->username, configured->username) < 0 || free_and_strdup(&g->password, configured->password) < 0)
                        return -ENOMEM;
                if (endswith(g->url, "/"))
                        g->url[strlen(g->url) - 1] = 0;
                return 0;
        }
        g->url = strformat("%s://%s", is_local_host(host) ? "http" : "https", streq(host, "docker.io") ? "registry-1.docker.io" : host);
        return g->url ? 0 : -ENOMEM;
}

int registry_open(const LayerRegistry *configured, const char *host, const char *repository, Registry **ret) {
        _cleanup_registry_ Registry *g = calloc(1, sizeof(*g));

        if (!g || !(g->host = strdup(host)) || !(g->repository = strdup(repository)) || set_address(g, configured, host) < 0)
                return -ENOMEM;
        g->timeout_usec = configured->timeout_usec ?: TIMEOUT_DEFAULT;
        g->curl = curl_easy_init();
        if (!g->curl)
                return -ENOMEM;
        *ret = TAKE_PTR(g);
        return 0;
}

const char *registry_host(const Registry *g) {
        return g->host;
}

const char *registry_repository(const Registry *g) {
        return g->repository;
}

void registry_set_cancel(Registry *g, const atomic_bool *cancel) {
        g->cancel = cancel;
}

bool registry_failure_is_passing(const Registry *g) {
        return g->failure.passing;
}

usec_t registry_failure_wait(const Registry *g) {
        return g->failure.wait_usec;
}

/* Reads what is at `url` into memory and hashes it. -ENOENT when there is nothing. */
static int get_hashed(Registry *g, const char *url, const HttpCall *call, const char *doing, HttpAnswer *ret,
                      char ret_digest[static DIGEST_SIZE], Refusal **reterr_refusal) {
        int r = registry_call(g, url, call, ret, doing, reterr_refusal);

        if (r < 0)
                return r;
        if (r == 404)
                return -ENOENT;
        return ret->body ? digest_of(ret->body, ret->size, ret_digest) : registry_refuse(g, ret, doing, reterr_refusal);
}

int registry_get_manifest(Registry *g, const char *reference, char **ret_data, size_t *ret_size, char **ret_content_type,
                          char ret_digest[static 80], Refusal **reterr_refusal) {
        const HttpCall call = { .method = "GET", .accept = MANIFEST_ACCEPT, .max = MANIFEST_SIZE_MAX, .takes = { 200, 404 } };
        _cleanup_free_ char *url = registry_path(g, "manifests/%s", reference), *doing = strformat("reading the manifest %s%c%s", g->repository, strchr(reference, ':') ? '@' : ':', reference);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r;

        r = get_hashed(g, url, &call, doing, &a, ret_digest, reterr_refusal);
        if (r < 0)
                return r;
        if (digest_is_valid(reference) && !streq(reference, ret_digest))
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s gave a manifest for %s/%s that has another digest. Its storage is damaged: push the image again.",
                              g->host, g->repository, reference);
        *ret_data = TAKE_PTR(a.body);
        *ret_size = a.size;
        *ret_content_type = TAKE_PTR(a.content_type);
        return 0;
}

int registry_put_manifest(Registry *g, const char *reference, const char *media_type, const char *data, size_t size, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "PUT", .content_type = media_type, .body = data, .body_size = size, .max = MIB, .takes = { 201 } };
        _cleanup_free_ char *url = registry_path(g, "manifests/%s", reference), *doing = strformat("storing the manifest %s:%s", g->repository, reference);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, url, &call, &a, doing, reterr_refusal);

        return MIN(r, 0);
}

int registry_delete_manifest(Registry *g, const char *digest, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "DELETE", .max = MIB, .takes = { 202, 200, 404 } };
        _cleanup_free_ char *url = registry_path(g, "manifests/%s", digest), *doing = strformat("deleting the manifest %s@%s", g->repository, digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, url, &call, &a, doing, reterr_refusal);

        return MIN(r, 0);
}

int registry_has_blob(Registry *g, const char *digest, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "HEAD", .takes = { 200, 404 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/%s", digest), *doing = strformat("looking for the blob %s@%s", g->repository, digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, url, &call, &a, doing, reterr_refusal);

        return r < 0 ? r : r == 200;
}

int registry_get_blob(Registry *g, const Descriptor *d, size_t max, char **ret_data, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "GET", .max = MIN((uint64_t) max, d->size), .takes = { 200, 404 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/%s", d->digest), *doing = strformat("reading the blob %s@%s", g->repository, d->digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        char digest[DIGEST_SIZE];
        int r;

        r = get_hashed(g, url, &call, doing, &a, digest, reterr_refusal);
        if (r < 0)
                return r;
        if (a.size != d->size || !streq(digest, d->digest))
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s gave other bytes than those of the blob %s@%s. Its storage is damaged: push the image again.",
                              g->host, g->repository, d->digest);
        *ret_data = TAKE_PTR(a.body);
        return 0;
}
