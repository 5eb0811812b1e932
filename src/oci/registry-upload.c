/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>

#include "basic/crash-points.h"
#include "basic/io-util.h"
#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/registry-http.h"

#define COMMIT_PATIENCE 5U              /* storing may copy the blob inside the registry's storage */

/* POST: opens an upload and gives its address. */
static int open_upload(Registry *g, char **ret_location, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "POST", .max = MIB, .takes = { 202 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/uploads/"), *doing = strformat("opening an upload to %s", g->repository);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, url, &call, &a, doing, reterr_refusal);

        if (r < 0)
                return r;
        if (!a.location || url_resolve(url, a.location, ret_location) < 0)
                return registry_refuse(g, &a, doing, reterr_refusal);
        return 0;
}

/* Gives the upload up; what the registry says to that does not matter (it purges old uploads by itself). One that has just been
 * silent for a minute must not keep a frozen container waiting for another. */
static void drop_upload(Registry *g, const char *location) {
        const HttpCall call = { .method = "DELETE", .max = MIB, .brief = true };
        _cleanup_http_answer_ HttpAnswer a = {};
        RegistryFailure failure = g->failure;

        (void) registry_call(g, location, &call, &a, "dropping an upload", NULL);
        g->failure = failure;
}

static int with_digest(const char *location, const char *digest, char **ret) {
        _cleanup_free_ char *pair = strformat("digest=%s", digest);
        CURLU *u = curl_url();
        char *url = NULL;
        int r = -ENOMEM;

        if (pair && u && curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
            curl_url_set(u, CURLUPART_QUERY, pair, CURLU_APPENDQUERY) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK) {
                *ret = strdup(url);
                r = *ret ? 0 : -ENOMEM;
        }
        curl_free(url);
        curl_url_cleanup(u);
        return r;
}

/* PUT: closes the upload under its digest, with the rest of the bytes if there are any. */
static int commit_upload(Registry *g, const char *location, const char *digest, const void *data, size_t size, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "PUT", .content_type = "application/octet-stream", .body = data, .body_size = size,
                                .max = MIB, .takes = { 201 }, .patience = COMMIT_PATIENCE };
        _cleanup_free_ char *url = NULL, *doing = strformat("storing the blob %s@%s", g->repository, digest);
        _cleanup_http_answer_ HttpAnswer a = {};
        int r;

        r = with_digest(location, digest, &url);
        if (r < 0)
                return r;
        r = registry_call(g, url, &call, &a, doing, reterr_refusal);
        if (r != -EBADRQC)
                return MIN(r, 0);
        /* An answer may be lost after the blob was stored (libcurl sends such a request once more on its own, and gets
         * 404 for an upload that is done). */
        RegistryFailure failure = g->failure;
        bool stored = registry_has_blob(g, digest, NULL) > 0;
        g->failure = failure;
        return stored ? 0 : r;
}

int registry_put_blob(Registry *g, const char *digest, const void *data, size_t size, Refusal **reterr_refusal) {
        _cleanup_free_ char *location = NULL;
        int r;

        r = registry_has_blob(g, digest, reterr_refusal);
        if (r != 0)
                return r < 0 ? r : 0;
        r = open_upload(g, &location, reterr_refusal);
        if (r < 0)
                return r;
        return commit_upload(g, location, digest, data, size, reterr_refusal);
}

int registry_mount_blob(Registry *g, const char *digest, const char *from_repository, Refusal **reterr_refusal) {
        const HttpCall call = { .method = "POST", .max = MIB, .takes = { 201, 202 } };
        _cleanup_free_ char *url = registry_path(g, "blobs/uploads/?mount=%s&from=%s", digest, from_repository),
                            *doing = strformat("mounting the blob %s@%s into %s", from_repository, digest, g->repository), *location = NULL;
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, url, &call, &a, doing, reterr_refusal);

        if (r < 0)
                return r;
        if (r == 201)
                return 1;
        /* It would not mount and opened an ordinary upload instead. */
        if (a.location && url_resolve(url, a.location, &location) >= 0)
                drop_upload(g, location);
        return 0;
}

/* The source of a PATCH. */
typedef struct Watched {
        registry_source source;
        void *userdata;
        uint64_t sent;
        bool ended;
} Watched;

static ssize_t read_watched(void *buf, size_t size, void *userdata) {
        Watched *w = userdata;
        ssize_t n;

        if (w->sent > 0)
                crash_point(CRASH_LAYER_BLOB_HALF);
        n = w->source(buf, size, w->userdata);
        if (n > 0)
                w->sent += (uint64_t) n;
        w->ended = n == 0;
        return n;
}

/* PATCH: the bytes. *location becomes the newest one. */
static int send_upload(Registry *g, char **location, registry_source source, void *userdata, Refusal **reterr_refusal) {
        Watched watched = { source, userdata };
        const HttpCall call = { .method = "PATCH", .content_type = "application/octet-stream", .source = read_watched,
                                .userdata = &watched, .max = MIB, .takes = { 202, 401 } };
        _cleanup_free_ char *doing = strformat("uploading a layer to %s", g->repository), *next = NULL;
        _cleanup_http_answer_ HttpAnswer a = {};
        int r = registry_call(g, *location, &call, &a, doing, reterr_refusal);

        if (r < 0)
                return r;
        if (r == 401 || !a.location || url_resolve(*location, a.location, &next) < 0) {
                int k = registry_refuse(g, &a, doing, reterr_refusal);
                /* A token that ended between POST and PATCH: the next attempt fetches a new one. */
                g->failure.passing = r == 401 && g->token;
                return k;
        }
        /* libcurl ends without an error when the answer comes before that and the connection is closed with it. What was
         * read until then has a digest as well, under which the registry would take and give back half a layer. */
        if (!watched.ended) {
                g->failure.passing = true;
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s answered before it had all bytes while %s. Check it, and the proxy in front of it.", g->host, doing);
        }
        free(*location);
        *location = TAKE_PTR(next);
        return 0;
}

int registry_upload_blob(Registry *g, registry_source source, const char *(*digest)(void *userdata), void *userdata, Refusal **reterr_refusal) {
        _cleanup_free_ char *location = NULL;
        int r;

        r = open_upload(g, &location, reterr_refusal);
        if (r < 0)
                return r;
        r = send_upload(g, &location, source, userdata, reterr_refusal);
        if (r >= 0)
                r = commit_upload(g, location, digest(userdata), NULL, 0, reterr_refusal);
        if (r < 0 && r != -ECANCELED)
                drop_upload(g, location);
        return r;
}

/* Copying: one thread reads the source registry into a pipe, this one uploads what comes out of it. */
typedef struct Copy {
        Registry *from;
        const Descriptor *descriptor;
        atomic_uint_fast64_t *progress;
        int in, out;                    /* the pipe */
        DigestContext *context;
        char digest[DIGEST_SIZE];
        Refusal *refusal;
        int result;
} Copy;

static int write_to_pipe(const void *data, size_t n, void *userdata) {
        Copy *c = userdata;

        digest_context_update(c->context, data, n);
        return write_full(c->in, data, n);
}

static void *read_source(void *userdata) {
        Copy *c = userdata;
        const HttpCall call = { .method = "GET", .max = c->descriptor->size, .sink = write_to_pipe, .userdata = c, .takes = { 200 } };
        _cleanup_free_ char *url = registry_path(c->from, "blobs/%s", c->descriptor->digest),
                            *doing = strformat("reading the blob %s@%s", c->from->repository, c->descriptor->digest);
        _cleanup_http_answer_ HttpAnswer a = {};

        c->result = registry_call(c->from, url, &call, &a, doing, &c->refusal);
        digest_context_finish(c->context, c->digest);
        if (c->result >= 0 && !streq(c->digest, c->descriptor->digest))
                c->result = refuse(&c->refusal, REFUSAL_REGISTRY_FAILED,
                                   "The registry %s gave other bytes than those of the blob %s@%s. Push the image again.",
                                   c->from->host, c->from->repository, c->descriptor->digest);
        (void) close(c->in);
        return NULL;
}

static ssize_t read_from_pipe(void *buf, size_t size, void *userdata) {
        Copy *c = userdata;
        ssize_t n = read(c->out, buf, size);

        if (n > 0 && c->progress)
                atomic_fetch_add(c->progress, (uint64_t) n);
        return n < 0 ? -errno : n;
}

static const char *copied_digest(void *userdata) {
        return ((Copy *) userdata)->descriptor->digest;
}

int registry_copy_blob(Registry *from, Registry *to, const Descriptor *d, atomic_uint_fast64_t *progress, Refusal **reterr_refusal) {
        _cleanup_digest_context_ DigestContext *context = digest_context_new();
        Copy copy = { .from = from, .descriptor = d, .progress = progress, .context = context };
        _cleanup_refusal_ Refusal *refusal = NULL;
        pthread_t thread;
        int fds[2], r;

        if (!context)
                return -ENOMEM;
        if (pipe(fds) < 0)
                return -errno;
        copy.out = fds[0];
        copy.in = fds[1];
        r = -pthread_create(&thread, NULL, read_source, &copy);
        if (r < 0) {
                (void) close(fds[0]);
                (void) close(fds[1]);
                return r;
        }
        /* Bytes that differ end the upload by its digest, which the target checks too. */
        r = registry_upload_blob(to, read_from_pipe, copied_digest, &copy, &refusal);
        (void) close(fds[0]);
        (void) pthread_join(thread, NULL);
        if (copy.result < 0 && copy.result != -EPIPE) {
                if (reterr_refusal && copy.refusal)
                        *reterr_refusal = TAKE_PTR(copy.refusal);
                r = copy.result;
        } else if (r == -EBADRQC && reterr_refusal)
                *reterr_refusal = TAKE_PTR(refusal);
        refusal_free(copy.refusal);
        return r;
}
