/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <endian.h>
#include <isa-l.h>
#include <pthread.h>
#include <time.h>

#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/layer-stream.h"
#include "oci/registry-http.h"

#define BACK_OFF_MIN_USEC (500 * USEC_PER_MSEC)
#define BACK_OFF_TICK_USEC (50 * USEC_PER_MSEC)
#define PIECE_SIZE (256 * KIB)          /* what is in work of them fits into the second-level caches */
#define SLOTS 32U                       /* so many pieces, from the first, stay in memory and can be sent again */
#define SLOTS_AHEAD 16U                  /* so many are in work from then on */
#define PACKED_MAX (PIECE_SIZE + PIECE_SIZE / 64 + 4 * KIB)     /* stored blocks, gzip header and trailer */
#define COMPRESSORS 2U

typedef struct Slot {
        uint8_t *in, *out;
        size_t in_size, out_size;
        uint64_t checksum;              /* of out */
        bool packed;
} Slot;

typedef struct Stream {
        const LayerStreamSpec *spec;
        pthread_mutex_t lock;
        /* each for those who wait for it: a piece was filled, packed, a slot got free */
        pthread_cond_t filling, packing, freeing;
        Slot slots[SLOTS];
        /* numbers of pieces so far */
        uint64_t begun, filled, hashed, claimed, sent;
        bool ended;                     /* no further piece */
        bool stopped;                   /* somebody failed: everybody returns */
        int error;                      /* of the producer or a compressor */
        Refusal *refusal;               /* of the producer */
        size_t fill;                    /* bytes in the slot being filled (producer only) */
        uint64_t tar_size;              /* producer */
        char tar_digest[DIGEST_SIZE];
        /* the sender's */
        size_t offset;                  /* in the piece being sent */
        DigestContext *blob;
        char blob_digest[DIGEST_SIZE];
        uint64_t blob_size;
        BlobPieces pieces;              /* that were sent */
        usec_t started, read_usec;
        pthread_t threads[2 + COMPRESSORS];
        unsigned n_threads;
} Stream;

/* A piece behind the first ones is only begun when all but SLOTS_AHEAD before it are done. */
static Slot *slot_of(Stream *s, uint64_t n) {
        return s->slots + (n < SLOTS ? n : n % SLOTS_AHEAD);
}

static void stop(Stream *s, int error) {
        pthread_mutex_lock(&s->lock);
        if (error < 0 && s->error >= 0)
                s->error = error;
        s->stopped = true;
        pthread_cond_broadcast(&s->filling);
        pthread_cond_broadcast(&s->packing);
        pthread_cond_broadcast(&s->freeing);
        pthread_mutex_unlock(&s->lock);
}

/* Waits for a free slot. The lock is not held. */
static int acquire(Stream *s) {
        int r;

        pthread_mutex_lock(&s->lock);
        while (!s->stopped && s->filled >= MIN(s->sent, s->hashed) + (s->filled < SLOTS ? SLOTS : SLOTS_AHEAD))
                pthread_cond_wait(&s->freeing, &s->lock);
        r = s->stopped ? -ECANCELED : 0;
        if (r >= 0)
                s->begun = s->filled + 1;
        pthread_mutex_unlock(&s->lock);
        return r;
}

static void publish(Stream *s) {
        Slot *slot = slot_of(s, s->filled);

        pthread_mutex_lock(&s->lock);
        slot->in_size = s->fill;
        slot->packed = false;
        s->filled++;
        s->fill = 0;
        pthread_cond_broadcast(&s->filling);
        pthread_mutex_unlock(&s->lock);
}

/* Where the next byte goes. NULL: stopped. */
static uint8_t *next_place(Stream *s) {
        if (s->fill == 0 && s->begun == s->filled && acquire(s) < 0)
                return NULL;
        return slot_of(s, s->filled)->in + s->fill;
}

static void *place(size_t *ret_size, void *userdata) {
        Stream *s = userdata;

        *ret_size = PIECE_SIZE - s->fill;
        return next_place(s);
}

static int sink(const void *data, size_t size, void *userdata) {
        Stream *s = userdata;

        s->tar_size += size;
        while (size > 0) {
                size_t n = MIN(size, PIECE_SIZE - s->fill);
                uint8_t *to = next_place(s);

                if (!to)
                        return -ECANCELED;
                if (to != data)
                        memcpy(to, data, n);
                s->fill += n;
                data = (const char *) data + n;
                size -= n;
                if (s->fill == PIECE_SIZE)
                        publish(s);
        }
        return 0;
}

static void *run_producer(void *userdata) {
        Stream *s = userdata;
        int r;

        r = s->spec->produce(sink, place, s, s->spec->userdata, &s->refusal);
        if (r < 0) {
                stop(s, r);
                return NULL;
        }
        if (s->fill > 0)
                publish(s);
        pthread_mutex_lock(&s->lock);
        s->ended = true;
        s->read_usec = monotonic_usec() - s->started;
        pthread_cond_broadcast(&s->filling);
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

/* Waits until piece n is filled. 1; 0 when there will be none; -ECANCELED. The lock is held. */
static int await_piece(Stream *s, uint64_t n) {
        while (!s->stopped && !s->ended && s->filled <= n)
                pthread_cond_wait(&s->filling, &s->lock);
        return s->stopped ? -ECANCELED : s->filled > n;
}

static void *run_hasher(void *userdata) {
        Stream *s = userdata;
        _cleanup_digest_context_ DigestContext *context = digest_context_new();

        if (!context) {
                stop(s, -ENOMEM);
                return NULL;
        }
        pthread_mutex_lock(&s->lock);
        while (await_piece(s, s->hashed) > 0) {
                const Slot *slot = slot_of(s, s->hashed);
                pthread_mutex_unlock(&s->lock);
                digest_context_update(context, slot->in, slot->in_size);
                pthread_mutex_lock(&s->lock);
                s->hashed++;
                pthread_cond_signal(&s->freeing);
        }
        pthread_mutex_unlock(&s->lock);
        digest_context_finish(context, s->tar_digest);
        return NULL;
}

/* In the place of the time in the header of the first member (MTIME; RFC 1952, 2.3.1), which who unpacks does not look at. */
static void put_salt(Slot *slot, uint32_t salt) {
        const uint32_t raw = htole32(salt);
        memcpy(slot->out + 4, &raw, sizeof(raw));
}

static int compress_piece(Slot *slot, uint8_t *level_buf) {
        struct isal_zstream z;

        isal_deflate_stateless_init(&z);
        z.level = 1;
        z.level_buf = level_buf;
        z.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
        z.gzip_flag = IGZIP_GZIP;
        z.end_of_stream = 1;
        z.flush = NO_FLUSH;
        z.next_in = slot->in;
        z.avail_in = (uint32_t) slot->in_size;
        z.next_out = slot->out;
        z.avail_out = PACKED_MAX;
        if (isal_deflate_stateless(&z) != COMP_OK || z.avail_in > 0)
                return -EIO;
        slot->out_size = PACKED_MAX - z.avail_out;
        return 0;
}

static void *run_compressor(void *userdata) {
        Stream *s = userdata;
        _cleanup_free_ uint8_t *level_buf = malloc(ISAL_DEF_LVL1_DEFAULT);

        if (!level_buf) {
                stop(s, -ENOMEM);
                return NULL;
        }
        pthread_mutex_lock(&s->lock);
        while (await_piece(s, s->claimed) > 0) {
                if (s->filled <= s->claimed)
                        continue;       /* the other one has taken it meanwhile */
                uint64_t n = s->claimed++;
                Slot *slot = slot_of(s, n);
                pthread_mutex_unlock(&s->lock);
                int r = compress_piece(slot, level_buf);
                if (r < 0) {
                        stop(s, r);
                        return NULL;
                }
                if (n == 0)
                        put_salt(slot, s->spec->salt);
                slot->checksum = blob_checksum(0, slot->out, slot->out_size);
                pthread_mutex_lock(&s->lock);
                slot->packed = true;
                pthread_cond_signal(&s->packing);
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

/* Waits until piece n is packed. As await_piece(). */
static int await_packed(Stream *s, uint64_t n) {
        for (;;) {
                int r = await_piece(s, n);
                if (r <= 0 || slot_of(s, n)->packed)
                        return r;
                pthread_cond_wait(&s->packing, &s->lock);
        }
}

/* registry_source: the next bytes of the blob. */
static ssize_t next_bytes(void *buf, size_t size, void *userdata) {
        Stream *s = userdata;
        const Slot *slot;
        size_t n;
        int r;

        pthread_mutex_lock(&s->lock);
        slot = slot_of(s, s->sent);
        if (s->offset > 0 && s->offset == slot->out_size) {
                s->offset = 0;
                s->sent++;
                pthread_cond_signal(&s->freeing);
        }
        r = await_packed(s, s->sent);
        pthread_mutex_unlock(&s->lock);
        if (r <= 0)
                return r;
        slot = slot_of(s, s->sent);
        if (s->offset == 0) {
                r = blob_pieces_add(&s->pieces, s->blob_size + slot->out_size, slot->checksum);
                if (r < 0)
                        return r;
        }
        n = MIN(size, slot->out_size - s->offset);
        memcpy(buf, slot->out + s->offset, n);
        digest_context_update(s->blob, buf, n);
        s->offset += n;
        s->blob_size += n;
        if (s->spec->sent)
                atomic_fetch_add(s->spec->sent, n);
        return (ssize_t) n;
}

static const char *blob_digest(void *userdata) {
        Stream *s = userdata;
        digest_context_finish(s->blob, s->blob_digest);
        return s->blob_digest;
}

/* Back to the first byte, as long as no slot is used a second time; none will be before that byte was sent anew. */
static bool rewind_stream(Stream *s) {
        bool possible;

        pthread_mutex_lock(&s->lock);
        possible = s->begun <= SLOTS && !s->stopped;
        if (possible)
                s->sent = s->offset = s->blob_size = s->pieces.n = 0;
        pthread_mutex_unlock(&s->lock);
        digest_context_reset(s->blob);
        return possible;
}

int layer_stream_back_off(unsigned n, const Registry *g, const atomic_bool *cancel) {
        const struct timespec tick = { .tv_nsec = BACK_OFF_TICK_USEC * NSEC_PER_USEC };
        usec_t wait = MAX((BACK_OFF_MIN_USEC << (2 * (n - 1))), registry_failure_wait(g));

        for (usec_t waited = 0; waited < wait; waited += BACK_OFF_TICK_USEC) {
                if (cancel && atomic_load(cancel))
                        return -ECANCELED;
                (void) nanosleep(&tick, NULL);
        }
        return 0;
}

static int send_blob(Stream *s, Refusal **reterr_refusal) {
        int r;

        for (;;) {
                r = registry_upload_blob(s->spec->registry, next_bytes, blob_digest, s, reterr_refusal);
                if (r != -EBADRQC || !registry_failure_is_passing(s->spec->registry) || *s->spec->breaks == LAYER_STREAM_RETRIES)
                        return r;
                ++*s->spec->breaks;
                if (!rewind_stream(s))
                        return -ECONNRESET;
                r = layer_stream_back_off(*s->spec->breaks, s->spec->registry, s->spec->cancel);
                if (r < 0)
                        return r;
        }
}

static int start_threads(Stream *s) {
        void *(*const runs[2 + COMPRESSORS])(void *) = { run_producer, run_hasher, run_compressor, run_compressor };

        for (; s->n_threads < ELEMENTSOF(runs); s->n_threads++) {
                int r = -pthread_create(s->threads + s->n_threads, NULL, runs[s->n_threads], s);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int allocate(Stream *s) {
        s->blob = digest_context_new();
        if (!s->blob)
                return -ENOMEM;
        for (unsigned i = 0; i < SLOTS; i++) {
                s->slots[i].in = malloc(PIECE_SIZE);
                s->slots[i].out = malloc(PACKED_MAX);
                if (!s->slots[i].in || !s->slots[i].out)
                        return -ENOMEM;
        }
        return 0;
}

static void stream_done(Stream *s) {
        for (unsigned i = 0; i < SLOTS; i++) {
                free(s->slots[i].in);
                free(s->slots[i].out);
        }
        digest_context_free(s->blob);
        blob_pieces_done(&s->pieces);
        refusal_free(s->refusal);
        pthread_cond_destroy(&s->filling);
        pthread_cond_destroy(&s->packing);
        pthread_cond_destroy(&s->freeing);
        pthread_mutex_destroy(&s->lock);
}

/* Waits for the first piece: a tar without one is no layer. */
static int send_all(Stream *s, bool *ret_empty, Refusal **reterr_refusal) {
        int r;

        pthread_mutex_lock(&s->lock);
        r = await_piece(s, 0);
        pthread_mutex_unlock(&s->lock);
        *ret_empty = r == 0;
        return r <= 0 ? r : send_blob(s, reterr_refusal);
}

static int finish(Stream *s, int r, bool empty, LayerStreamResult *ret, Refusal **reterr_refusal) {
        /* What the producer met is the cause; that the upload then was stopped is the effect. */
        if (s->error < 0 && s->error != -ECANCELED) {
                if (s->refusal && reterr_refusal) {
                        refusal_free(*reterr_refusal);
                        *reterr_refusal = TAKE_PTR(s->refusal);
                }
                return s->error;
        }
        if (r < 0)
                return r;
        *ret = (LayerStreamResult) {
                .empty = empty,
                .pieces = s->pieces,
                .read_usec = s->read_usec,
                .upload_usec = monotonic_usec() - s->started,
                .layer = { .size = s->blob_size, .uncompressed_size = s->tar_size },
        };
        s->pieces = (BlobPieces) {};
        memcpy(ret->layer.diff_id, s->tar_digest, DIGEST_SIZE);
        memcpy(ret->layer.digest, s->blob_digest, DIGEST_SIZE);
        return 0;
}

int layer_stream_run(const LayerStreamSpec *spec, LayerStreamResult *ret, Refusal **reterr_refusal) {
        _cleanup_(stream_done) Stream s = { .spec = spec, .started = monotonic_usec() };
        bool empty = false;
        int r;

        pthread_mutex_init(&s.lock, NULL);
        pthread_cond_init(&s.filling, NULL);
        pthread_cond_init(&s.packing, NULL);
        pthread_cond_init(&s.freeing, NULL);
        r = allocate(&s);
        if (r >= 0)
                r = start_threads(&s);
        if (r >= 0)
                r = send_all(&s, &empty, reterr_refusal);
        if (r < 0) {
                atomic_store(spec->cancel, true);
                stop(&s, -ECANCELED);
        }
        while (s.n_threads > 0)
                (void) pthread_join(s.threads[--s.n_threads], NULL);
        return finish(&s, r, empty, ret, reterr_refusal);
}
