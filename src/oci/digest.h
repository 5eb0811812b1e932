/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Content digests "sha256:<64 lower-case hex digits>" (OCI image-spec, descriptor.md), and computing them. */

#include "basic/macro.h"

#define DIGEST_LENGTH (sizeof("sha256:") - 1 + 64)
#define DIGEST_SIZE (DIGEST_LENGTH + 1)         /* with the terminator */

bool digest_is_valid(const char *s);

/* A running SHA-256. */
typedef struct DigestContext DigestContext;
DigestContext *digest_context_new(void);        /* NULL when memory is short */
DigestContext *digest_context_free(DigestContext *c);
DEFINE_CLEANUP(DigestContext *, digest_context_free)
#define _cleanup_digest_context_ _cleanup_(digest_context_freep)
void digest_context_reset(DigestContext *c);
void digest_context_update(DigestContext *c, const void *data, size_t size);
void digest_context_finish(DigestContext *c, char ret[static DIGEST_SIZE]);     /* then reset() before reuse */

/* 0 or -ENOMEM. */
int digest_of(const void *data, size_t size, char ret[static DIGEST_SIZE]);
