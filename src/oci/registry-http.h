/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the registry client share: one HTTP exchange, with redirects, authorization and limits. */

#include <curl/curl.h>

#include "oci/registry.h"

#define REGISTRY_ERROR_BODY_MAX (64 * KIB)
#define REGISTRY_REDIRECTS_MAX 5

typedef struct RegistryFailure {
        bool passing;                   /* it may pass by itself, soon enough to be waited for */
        usec_t wait_usec;               /* for so long the registry asked to be left alone (Retry-After) */
} RegistryFailure;

struct Registry {
        char *host;                     /* as the sentences name it */
        char *repository;
        char *url;                      /* scheme://host[:port] */
        bool configured;                /* it is the one of URL=, and not just the host of an image */
        char *ca_file, *username, *password;
        usec_t timeout_usec;
        char *token;                    /* Bearer */
        usec_t token_expires_usec;      /* CLOCK_MONOTONIC */
        const atomic_bool *cancel;
        RegistryFailure failure;        /* the last one */
        CURL *curl;
};

/* Gets bytes of a 2xx answer. 0 or -errno, which ends the call. */
typedef int (*registry_sink)(const void *data, size_t size, void *userdata);

typedef struct HttpCall {
        const char *method;
        const char *accept, *content_type, *range;      /* header values, or NULL */
        const void *body;               /* with body_size; or */
        size_t body_size;
        registry_source source;         /* sent chunked */
        registry_sink sink;             /* else the body is collected */
        void *userdata;                 /* of source or sink */
        uint64_t max;                   /* bytes of a 2xx body */
        short takes[4];                 /* the statuses that the caller can use, up to a 0 */
        unsigned patience;              /* times the registry's usual time limit; 0 = 1 */
        bool brief;                     /* 5 s at most: its outcome does not matter */
        bool anonymous;                 /* send no Authorization */
        bool password_only;             /* Basic, never the token: for the token service itself */
} HttpCall;

typedef struct HttpAnswer {
        CURLcode code;                  /* the transport's own result; CURLE_OK with any status */
        long status;
        curl_off_t retry_after;         /* seconds; 0: not said */
        char *body;                     /* NUL-terminated; NULL when empty or sent to the sink */
        size_t size;
        uint64_t received;              /* body bytes, to the sink as well */
        char *location, *authenticate, *content_type, *content_range;
        char *url;                      /* that was asked in the end */
        char error[CURL_ERROR_SIZE];
        bool too_big;
        int callback_error;             /* of source or sink */
} HttpAnswer;

void http_answer_done(HttpAnswer *a);
#define _cleanup_http_answer_ _cleanup_(http_answer_done)

/* Does `call` on `url` (absolute). Follows redirects of GET and HEAD; answers 401 challenges once. Returns the status, one of
 * those that the call takes; any other and a transport that failed are refusals. `doing` completes "… while <doing>"; it and
 * `url` are NULL where there was no memory for them. */
int registry_call(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret, const char *doing, Refusal **reterr_refusal);

/* One exchange: no redirect, no challenge. */
int http_exchange(Registry *g, const char *url, const HttpCall *call, HttpAnswer *ret);

/* The refusal for an answer that is of no use. */
int registry_refuse(Registry *g, const HttpAnswer *a, const char *doing, Refusal **reterr_refusal);
int registry_refuse_transport(Registry *g, const HttpAnswer *a, const char *doing, Refusal **reterr_refusal);

/* Fetches a token for a "Bearer …" challenge. 0 when the challenge cannot be met (the 401 stands), 1 when it was. */
int registry_authenticate(Registry *g, const char *challenge, Refusal **reterr_refusal);

/* What `location` means, seen from `base`. -EINVAL: not http(s), has a user, or goes from https to http. */
int url_resolve(const char *base, const char *location, char **ret);
bool url_same_origin(const char *a, const char *b);
char *registry_path(const Registry *g, const char *format, ...) _printf_(2, 3); /* url/v2/repository/… */

usec_t monotonic_usec(void);
