/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/capability.h>
#include <sys/statfs.h>
#include <time.h>

#include "basic/crash-points.h"
#include "basic/log.h"
#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/layer-base.h"
#include "oci/layer-pass.h"
#include "oci/layer-proof.h"
#include "oci/layer-push.h"
#include "oci/layer-walk.h"
#include "oci/registry-http.h"

#define LAYERS_MAX_DEFAULT 100U

/* syncfs() in a thread of its own. A page that is dirty already takes a second write through a shared mapping without
 * a new change time, so an index is only good when everything was clean at some moment at or after its time. */
typedef struct Sync {
        pthread_t thread;
        bool running;
        int fd, error;
} Sync;

typedef struct Push {
        const LayerRequest *request;
        LayerChannel *channel;
        LayerResult *result;
        char *host;                     /* of the sessions' registry */
        char *boot;                     /* NULL: not known */
        Registry *registry;
        LayerImage parent;
        LayerBase base;
        LayerIndexReader *index;        /* of the parent generation, where it is used */
        LayerIndexWriter *new_index;
        NewLayer layers[2];
        BlobPieces pieces[2];           /* of these layers' blobs */
        size_t n_layers;
        Sync sync;
        struct stat upperdir;
        usec_t clean_usec, created_usec;
        bool no_ctimes;                 /* change times on this file system do not tell what changed */
        bool frozen;                    /* asked for and told */
        bool read_done;
} Push;

static usec_t clock_usec(clockid_t clock) {
        struct timespec ts;
        (void) clock_gettime(clock, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static usec_t realtime_usec(void) {
        return clock_usec(CLOCK_REALTIME);
}

/* How far the clock of the change times is ahead of one that nobody sets. */
static int64_t clock_lead_usec(void) {
        return (int64_t) (realtime_usec() - clock_usec(CLOCK_BOOTTIME));
}

static void *run_sync(void *userdata) {
        Sync *s = userdata;

        s->error = syncfs(s->fd) < 0 ? -errno : 0;
        return NULL;
}

static int sync_start(Sync *s) {
        int r = -pthread_create(&s->thread, NULL, run_sync, s);
        s->running = r >= 0;
        return r;
}

static void sync_wait(Sync *s) {
        if (s->running)
                (void) pthread_join(s->thread, NULL);
        s->running = false;
}

static void drop_layers(Push *p) {
        while (p->n_layers > 0)
                blob_pieces_done(p->pieces + --p->n_layers);
}

/* Gives up what belongs to one parent. */
static void push_reset(Push *p) {
        layer_base_done(&p->base);
        layer_image_done(&p->parent);
        p->registry = registry_close(p->registry);
        p->index = layer_index_close(p->index);
        p->new_index = layer_index_discard(p->new_index);
        drop_layers(p);
}

static void push_done(Push *p) {
        sync_wait(&p->sync);
        push_reset(p);
        free(p->host);
        free(p->boot);
        if (p->sync.fd >= 0)
                (void) close(p->sync.fd);
}

/* Without CAP_SYS_ADMIN trusted.overlay.opaque reads as absent, and deleted files would come back without an error. */
static int check_capabilities(Refusal **reterr_refusal) {
        static const cap_value_t needed[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH };
        cap_t caps = cap_get_proc();
        bool all = caps != NULL;

        for (size_t i = 0; all && i < ELEMENTSOF(needed); i++) {
                cap_flag_value_t v = CAP_CLEAR;
                all = cap_get_flag(caps, needed[i], CAP_EFFECTIVE, &v) >= 0 && v == CAP_SET;
        }
        (void) cap_free(caps);
        return all ? 0 : refuse(reterr_refusal, REFUSAL_INTERNAL,
                                "swarm-layer cannot read writable layers without CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH: "
                                "add them to the CapabilityBoundingSet= of the service.");
}

static int open_upperdir(Push *p, Refusal **reterr_refusal) {
        struct statfs fs;

        p->sync.fd = open(p->request->upperdir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (p->sync.fd < 0)
                return refuse(reterr_refusal, REFUSAL_FILES_REFUSED,
                              "The writable layer %s of session %s cannot be opened: %s. Check that its container still exists.",
                              p->request->upperdir, p->request->session, strerror(errno));
        if (fstat(p->sync.fd, &p->upperdir) < 0 || fstatfs(p->sync.fd, &fs) < 0)
                return -errno;
        /* tmpfs never cleans a page, so writes through mappings leave no trace in change times */
        p->no_ctimes = (uint64_t) fs.f_type == TMPFS_MAGIC;
        return 0;
}

/* 0 when the index describes this directory as of the image asked for; -ESTALE in every other case. So is one of an earlier
 * boot: where the power was lost, what fdatasync() has put on the disk is there with the change time of before. */
static int open_index(Push *p) {
        const LayerIndexInfo *info;

        if (p->no_ctimes || layer_index_open(p->request->index, &p->index) < 0)
                return -ESTALE;
        info = layer_index_info(p->index);
        return streq(info->image, p->request->image) && streq(info->upperdir, p->request->upperdir) &&
               info->device == p->upperdir.st_dev && info->inode == p->upperdir.st_ino && p->boot && streq_ptr(info->boot, p->boot) ? 0 : -ESTALE;
}

static size_t session_layers(const Push *p) {
        return p->parent.manifest.n_layers - p->parent.manifest.n_base_layers + p->n_layers;
}

/* With an index, too long a chain ends in a full walk upon the image the container runs from. */
static int check_layer_count(Push *p, Refusal **reterr_refusal) {
        unsigned max = p->request->layers_max ?: LAYERS_MAX_DEFAULT;
        size_t more = p->request->precopy ? 2 : 1, session = session_layers(p) + more, all = p->parent.manifest.n_layers + more;

        if (session <= max && all <= MANIFEST_LAYERS_MAX)
                return 0;
        if (p->index)
                return -ESTALE;
        return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED,
                      "The session %s cannot be saved: its image would have %zu layers, %zu of them of the session, where at most %u and %u are allowed. "
                      "Copy its files into a new session; a clone would have the same layers.", p->request->session, all, session, MANIFEST_LAYERS_MAX, max);
}

/* Whether the image is one of the sessions' repository, which nobody but this service pushes. */
static bool is_generation(const Push *p, const char *image) {
        const char *path = startswith(image, p->host), *rest = path && *path == '/' ? startswith(path + 1, p->request->repository) : NULL;
        return rest && *rest == '@';
}

static int refuse_lost_parent(const Push *p, const char *image, Refusal **reterr_refusal) {
        return refuse(reterr_refusal, REFUSAL_NO_SUCH_IMAGE,
                      "The session %s cannot be saved: the generation that its container runs from, %s, is no longer in the registry. Put it back from a backup of the "
                      "registry, or copy the session's files out of its container (docker cp), which keeps them until it is destroyed.", p->request->session, image);
}

static int open_parent(Push *p, bool by_index, Refusal **reterr_refusal) {
        const LayerRequest *q = p->request;
        const char *image = !by_index && q->index && q->fallback_image ? q->fallback_image : q->image;
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r;

        r = by_index ? open_index(p) : 0;
        if (r < 0)
                return r;
        layer_channel_stage(p->channel, "preparing", -1);
        r = layer_image_open(&q->registry, image, &p->parent, &refusal);
        if (r == -EBADRQC && by_index) {
                /* Gone or damaged. An index must not keep a session from being saved upon what its container runs from. */
                if (refusal->code != REFUSAL_NO_SUCH_IMAGE)
                        log_warning("Session %s is not saved upon its last generation: %s", q->session, refusal->message);
                return -ESTALE;
        }
        if (r == -EBADRQC && refusal->code == REFUSAL_NO_SUCH_IMAGE && is_generation(p, image))
                return refuse_lost_parent(p, image, reterr_refusal);
        if (r == -EBADRQC)
                *reterr_refusal = TAKE_PTR(refusal);
        if (r < 0)
                return r;
        r = check_layer_count(p, reterr_refusal);
        if (r < 0)
                return r;
        r = registry_open(&q->registry, p->host, q->repository, &p->registry);
        if (r < 0)
                return r;
        return layer_base_start(&p->base, &q->registry, &p->parent, p->host, q->repository);
}

/* The container may thaw from here on. */
static int on_read(void *userdata) {
        Push *p = userdata;

        sync_wait(&p->sync);
        p->read_done = true;
        return layer_channel_read_done(p->channel);
}

static int keep_dropped(Push *p, Strv *dropped) {
        STRV_FOREACH(s, *dropped)
                if (!strv_contains(p->result->dropped, *s) && strv_length(p->result->dropped) < LAYER_DROPPED_MAX &&
                    strv_extend(&p->result->dropped, *s) < 0)
                        return -ENOMEM;
        return 0;
}

static void take_layer(Push *p, LayerPass *pass) {
        p->result->entries += pass->entries;
        p->result->read_usec += pass->stream.read_usec;
        if (pass->stream.empty)
                return;
        p->result->upload_usec += pass->stream.upload_usec;
        p->result->bytes += pass->stream.layer.size;
        p->result->uncompressed_bytes += pass->stream.layer.uncompressed_size;
        p->layers[p->n_layers] = pass->stream.layer;
        p->pieces[p->n_layers++] = pass->stream.pieces;
        pass->stream.pieces = (BlobPieces) {};
        crash_point(CRASH_LAYER_BLOB_PUSHED);
}

static void warn_without_index(const Push *p, int r) {
        log_warning_errno(r, "The index of session %s cannot be written to %s, so its next save takes longer: %m. Make room there.",
                          p->request->session, strna(p->request->new_index));
}

static LayerPass make_pass(Push *p, LayerIndexReader *index, const char *new_index, bool live) {
        return (LayerPass) {
                .upperdir = p->request->upperdir,
                .index = index,
                .new_index = new_index,
                .registry = p->registry,
                .salt = (uint32_t) p->request->generation,
                .channel = p->channel,
                .live = live,
                .lossy = p->request->lossy,
                .on_read = live ? NULL : on_read,
                .userdata = p,
        };
}

/* The pass over a frozen or stopped container. */
static int last_pass(Push *p, LayerIndexReader *index, Refusal **reterr_refusal) {
        _cleanup_(layer_pass_done) LayerPass pass = make_pass(p, index, p->no_ctimes ? NULL : p->request->new_index, false);
        int r;

        layer_channel_stage(p->channel, "saving", -1);
        r = layer_pass_run(&pass, reterr_refusal);
        if (r >= 0)
                r = keep_dropped(p, &pass.dropped);
        if (r < 0)
                return r;
        p->new_index = TAKE_PTR(pass.writer);
        take_layer(p, &pass);
        return 0;
}

static int one_pass(Push *p, Refusal **reterr_refusal) {
        int r;

        p->clean_usec = MIN(p->request->frozen_realtime_usec ?: UINT64_MAX, realtime_usec());
        p->created_usec = realtime_usec();      /* in the config too, which is then another one at each attempt */
        if (p->request->new_index && !p->no_ctimes && !p->sync.running) {
                r = sync_start(&p->sync);
                if (r < 0)
                        return r;
        }
        return last_pass(p, p->index, reterr_refusal);
}

/* Once: a second attempt finds the container frozen. */
static int freeze(Push *p) {
        int r = p->frozen ? 0 : layer_channel_freeze(p->channel);

        p->frozen = p->frozen || r >= 0;
        return r;
}

/* First everything while the container runs, then, frozen, what changed meanwhile. */
static int two_passes(Push *p, Refusal **reterr_refusal) {
        const char *scratch = p->request->new_index ?: "/var/tmp/swarm-layer-index";
        _cleanup_(layer_pass_done) LayerPass pass = make_pass(p, p->index, scratch, true);
        _cleanup_layer_index_reader_ LayerIndexReader *delta = NULL;
        LayerIndexInfo info = {
                .image = p->request->image,
                .upperdir = p->request->upperdir,
                .device = p->upperdir.st_dev,
                .inode = p->upperdir.st_ino,
                .clean_usec = realtime_usec(),
                .boot = p->boot,
        };
        int64_t lead = clock_lead_usec();
        int r;

        p->clean_usec = info.clean_usec;
        if (syncfs(p->sync.fd) < 0)
                return -errno;
        layer_channel_stage(p->channel, "copying", -1);
        r = layer_pass_run(&pass, reterr_refusal);
        if (r >= 0)
                r = keep_dropped(p, &pass.dropped);
        if (r < 0)
                return r;
        r = layer_index_reopen(pass.writer, &info, &delta);
        if (r < 0)
                warn_without_index(p, r);
        r = freeze(p);
        if (r < 0)
                return r;
        /* There is no telling what changed since that copy: all of it once more, frozen. */
        if (!delta || clock_lead_usec() < lead - (int64_t) LAYER_TICK_USEC / 2)
                return one_pass(p, reterr_refusal);
        take_layer(p, &pass);
        p->created_usec = realtime_usec();
        r = last_pass(p, delta, reterr_refusal);
        if (r != -ESTALE)
                return r;
        /* It has what was there for a moment only: a directory that takes the place of a deleted one leaves the whiteout of that
         * behind, which overlay then removes. */
        drop_layers(p);
        layer_result_done(p->result);
        return one_pass(p, reterr_refusal);
}

static int put_config(Push *p, Descriptor *ret, char **ret_data, Refusal **reterr_refusal) {
        _cleanup_free_ char *data = NULL;
        char digest[DIGEST_SIZE];
        int r;

        r = image_config_extend(&p->parent.config, p->layers, p->n_layers, p->created_usec, &data);
        if (r < 0)
                return r;
        r = digest_of(data, strlen(data), digest);
        if (r < 0)
                return r;
        r = registry_put_blob(p->registry, digest, data, strlen(data), reterr_refusal);
        if (r < 0)
                return r;
        *ret = (Descriptor) { .media_type = strdup(MEDIA_TYPE_OCI_CONFIG), .digest = strdup(digest), .size = strlen(data) };
        *ret_data = TAKE_PTR(data);
        return ret->media_type && ret->digest ? 0 : -ENOMEM;
}

static int put_manifest(Push *p, const Descriptor *config, char ret_digest[static DIGEST_SIZE], Refusal **reterr_refusal) {
        const ManifestFacts facts = {
                .session = p->request->session,
                .generation = p->request->generation,
                .job = p->request->job,
                .tag = p->request->tag,
                .created = p->created_usec,
                .n_base_layers = p->parent.manifest.n_base_layers,
        };
        _cleanup_free_ char *data = NULL;
        int r;

        r = manifest_build(&p->parent.manifest, config, p->layers, p->n_layers, &facts, &data);
        if (r < 0)
                return r;
        r = digest_of(data, strlen(data), ret_digest);
        if (r < 0)
                return r;
        r = registry_put_manifest(p->registry, p->request->tag, MEDIA_TYPE_OCI_MANIFEST, data, strlen(data), reterr_refusal);
        if (r >= 0)
                crash_point(CRASH_LAYER_MANIFEST_PUSHED);
        return r;
}

/* Reads back what this push stored; what it builds upon was proven beside it. */
static int prove(Push *p, const char *digest, const Descriptor *config, Refusal **reterr_refusal) {
        _cleanup_free_ char *data = NULL, *type = NULL, *config_data = NULL;
        _cleanup_manifest_ Manifest m = {};
        char found[80];
        size_t size;
        int r;

        r = registry_get_manifest(p->registry, digest, &data, &size, &type, found, reterr_refusal);
        if (r >= 0)
                r = registry_get_blob(p->registry, config, CONFIG_SIZE_MAX, &config_data, reterr_refusal);
        if (r == -ENOENT)
                return refuse(reterr_refusal, REFUSAL_REGISTRY_FAILED,
                              "The registry %s took the image %s/%s@%s and does not give it back. Check its storage.",
                              p->host, p->host, p->request->repository, digest);
        if (r < 0)
                return r;
        r = manifest_parse(data, size, p->request->tag, &m, reterr_refusal);
        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < p->n_layers; i++)
                r = layer_prove_sent(&p->request->registry, p->registry, m.layers + m.n_layers - p->n_layers + i, p->pieces + i,
                                     layer_channel_counter(p->channel), reterr_refusal);
        return r;
}

/* Without it, or with the one of an earlier generation, the next save is right as well. */
static void commit_index(Push *p) {
        LayerIndexInfo info = {
                .image = p->result->image,
                .upperdir = p->request->upperdir,
                .device = p->upperdir.st_dev,
                .inode = p->upperdir.st_ino,
                .clean_usec = p->clean_usec,
                .boot = p->boot,
        };

        int r = p->sync.error;
        if (r >= 0 && p->new_index)
                r = layer_index_commit(p->new_index, &info);
        if (r < 0)
                warn_without_index(p, r);
}

static int wait_for_base(Push *p, Refusal **reterr_refusal) {
        int r = layer_base_wait(&p->base, reterr_refusal);

        /* The generation that the index describes is damaged, so the next attempt must not build upon it. A server error may
         * say so too: meanwhile the registry has taken the new layer, so it is not the registry itself that is down. */
        if (r == -EBADRQC && p->index)
                (void) unlink(p->request->index);
        return r;
}

static int store_image(Push *p, Refusal **reterr_refusal) {
        _cleanup_(descriptor_done) Descriptor config = {};
        _cleanup_free_ char *config_data = NULL;
        char digest[DIGEST_SIZE];
        usec_t started;
        int r;

        r = put_config(p, &config, &config_data, reterr_refusal);
        if (r < 0)
                return r;
        r = wait_for_base(p, reterr_refusal);
        if (r < 0)
                return r;
        r = put_manifest(p, &config, digest, reterr_refusal);
        if (r < 0)
                return r;
        started = monotonic_usec();
        layer_channel_stage(p->channel, "proving", (int64_t) p->result->bytes);
        r = prove(p, digest, &config, reterr_refusal);
        if (r < 0)
                return r;
        crash_point(CRASH_LAYER_PROVEN);
        p->result->proof_usec = monotonic_usec() - started;
        p->result->session_layers = (unsigned) session_layers(p);
        p->result->unchanged = p->n_layers == 0;
        p->result->manifest_digest = strdup(digest);
        p->result->image = strformat("%s/%s@%s", p->host, p->request->repository, digest);
        if (!p->result->manifest_digest || !p->result->image)
                return -ENOMEM;
        commit_index(p);
        return 0;
}

static int push_upon(Push *p, bool by_index, Refusal **reterr_refusal) {
        int r;

        r = open_parent(p, by_index, reterr_refusal);
        if (r < 0)
                return r;
        if (p->request->precopy && !p->no_ctimes)
                r = two_passes(p, reterr_refusal);
        else {
                r = p->request->precopy || p->request->freeze ? freeze(p) : 0;
                if (r >= 0)
                        r = one_pass(p, reterr_refusal);
        }
        return r < 0 ? r : store_image(p, reterr_refusal);
}

int layer_push(const LayerRequest *request, LayerChannel *channel, LayerResult *ret, Refusal **reterr_refusal) {
        _cleanup_(push_done) Push p = { .request = request, .channel = channel, .result = ret, .sync = { .fd = -EBADF } };
        const char *host;
        size_t n;
        int r;

        r = check_capabilities(reterr_refusal);
        if (r < 0)
                return r;
        if (!registry_url_is_valid(request->registry.url, &host, &n))
                return -EINVAL;
        p.host = strndup(host, n);
        if (!p.host)
                return -ENOMEM;
        p.boot = layer_index_boot();
        r = open_upperdir(&p, reterr_refusal);
        if (r < 0)
                return r;
        r = push_upon(&p, request->index != NULL, reterr_refusal);
        if (r != -ESTALE)
                return r;
        if (!request->fallback_image)
                return refuse(reterr_refusal, REFUSAL_FILES_REFUSED,
                              "The index of session %s does not fit its files, and the request names no image for a full walk. Save the session again.",
                              request->session);
        push_reset(&p);
        layer_result_done(ret);
        return push_upon(&p, false, reterr_refusal);
}
