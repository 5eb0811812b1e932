/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <uthash.h>

#include "bus/bus-rate.h"

#define MINUTE_USEC (60 * USEC_PER_SEC)

/* Kept as the time at which the bucket would be full again, so that nothing has to be refilled. */
typedef struct Bucket {
        uid_t uid;
        usec_t full_usec;
        UT_hash_handle hh;
} Bucket;

struct BusRate {
        Bucket *buckets;
        usec_t swept_usec;
};

int bus_rate_new(BusRate **ret) {
        BusRate *r = calloc(1, sizeof(*r));

        if (!r)
                return -ENOMEM;
        *ret = r;
        return 0;
}

static void bucket_free(BusRate *r, Bucket *b) {
        HASH_DEL(r->buckets, b);
        free(b);
}

BusRate *bus_rate_free(BusRate *r) {
        Bucket *b, *next;

        if (!r)
                return NULL;
        HASH_ITER(hh, r->buckets, b, next)
                bucket_free(r, b);
        free(r);
        return NULL;
}

/* A full bucket says nothing, so the table holds only those who asked within the last minute. */
static void sweep(BusRate *r, usec_t now_usec) {
        Bucket *b, *next;

        if (now_usec < r->swept_usec + MINUTE_USEC)
                return;
        HASH_ITER(hh, r->buckets, b, next)
                if (b->full_usec <= now_usec)
                        bucket_free(r, b);
        r->swept_usec = now_usec;
}

static Bucket *bucket_get(BusRate *r, uid_t uid) {
        Bucket *b;

        HASH_FIND(hh, r->buckets, &uid, sizeof(uid), b);
        if (b)
                return b;
        b = calloc(1, sizeof(*b));
        if (!b)
                return NULL;
        b->uid = uid;
        HASH_ADD(hh, r->buckets, uid, sizeof(b->uid), b);
        return b;
}

usec_t bus_rate_take(BusRate *r, uid_t uid, usec_t now_usec, unsigned per_minute) {
        usec_t cost, full;
        Bucket *b;

        if (per_minute == 0)
                return 0;
        sweep(r, now_usec);
        b = bucket_get(r, uid);
        if (!b)
                return USEC_INFINITY;

        cost = MINUTE_USEC / per_minute;
        full = MAX(b->full_usec, now_usec) + cost;
        if (full > now_usec + MINUTE_USEC)
                return full - now_usec - MINUTE_USEC;
        b->full_usec = full;
        return 0;
}
