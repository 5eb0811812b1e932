/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of images, normalised as Docker does (distribution/reference: normalize.go, regexp.go):
 * "alpine" is docker.io/library/alpine:latest, "host:5000/a/b@sha256:…" is itself. */

#include "basic/macro.h"
#include "basic/refusal.h"

#define REFERENCE_LENGTH_MAX 1024
#define REPOSITORY_LENGTH_MAX 255               /* host and repository together, as distribution has it */

typedef struct ImageReference {
        char *host;                     /* "docker.io", "10.99.0.1:5000", "[::1]:5000" */
        char *repository;               /* "library/alpine" */
        char *tag;                      /* NULL only when there is a digest */
        char *digest;                   /* or NULL */
} ImageReference;

void image_reference_done(ImageReference *r);
#define _cleanup_image_reference_ _cleanup_(image_reference_done)

/* Refuses with InvalidArgument; *ret is then empty. */
int image_reference_parse(const char *s, ImageReference *ret, Refusal **reterr_refusal);

/* host/repository[:tag][@digest]; the tag is left out when there is a digest. NULL when memory is short. */
char *image_reference_format(const ImageReference *r);

bool registry_host_is_valid(const char *s);     /* name, IPv4 or [IPv6], and an optional port */
bool repository_is_valid(const char *s);
bool tag_is_valid(const char *s);

/* "http://host[:port]" or "https://…", nothing behind it but one slash. *ret_host (may be NULL) points into url,
 * *ret_length without that slash. */
bool registry_url_is_valid(const char *url, const char **ret_host, size_t *ret_length);
