/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTP/1.1 client on the loop: one curl multi handle glued to an sd_event (socket callback to io source, timer
 * callback to time source). Never blocks; needs a libcurl with the asynchronous resolver (http_new() checks). */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Http Http;
typedef struct HttpRequest HttpRequest;

/* Connection-wide settings; copied. */
typedef struct HttpEndpoint {
        const char *base_url;           /* "http://localhost/v1.41" or "https://host:2376/…"; no slash at the end */
        const char *unix_socket;        /* path, or NULL for TCP */
        const char *ca_file;            /* PEM, or NULL for the system's */
        const char *cert_file, *key_file;       /* client certificate, or NULL */
} HttpEndpoint;

typedef enum HttpFailure {
        HTTP_OK,                /* an answer came; look at `status` */
        HTTP_UNREACHABLE,       /* refused, no such socket, name not found: the request never left */
        HTTP_BROKEN,            /* connection lost in the middle: the request may have been carried out */
        HTTP_TIMEOUT,           /* deadline passed: may have been carried out */
        HTTP_TOO_LARGE,         /* answer longer than allowed */
        HTTP_INTERNAL,
} HttpFailure;

typedef struct HttpResponse {
        HttpFailure failure;
        const char *error;              /* text of the failure, NULL with HTTP_OK */
        long status;                    /* HTTP status, 0 if none came */
        const char *body;               /* NUL-terminated; NULL when streamed or empty */
        size_t body_size;
} HttpResponse;

/* Called once, from the loop, never from within http_request(). The response is valid during the call. The request
 * is freed after it returns; the owner forgets its pointer. */
typedef void (*http_done_cb)(HttpRequest *req, const HttpResponse *response, void *userdata);
/* For streams: called with each piece as it comes. Return negative to end the request as HTTP_BROKEN. */
typedef int (*http_data_cb)(HttpRequest *req, const void *data, size_t size, void *userdata);

typedef struct HttpSpec {
        const char *method;             /* "GET", "POST", … */
        const char *path;               /* appended to base_url; begins with "/" */
        const char *body;               /* copied; NULL for none */
        size_t body_size;               /* 0 with a body = strlen */
        const char *content_type;       /* default application/json when there is a body */
        const char *const *headers;     /* more "Name: value", NULL-terminated; copied */
        usec_t timeout_usec;            /* whole request; 0 = 30 s; USEC_INFINITY for streams */
        size_t response_max;            /* bytes; 0 = 16 MiB */
        bool fresh;                     /* on a connection of its own; a POST always is */
        http_data_cb on_data;           /* makes it a stream: body is not collected */
        http_done_cb on_done;
        void *userdata;
} HttpSpec;

int http_new(sd_event *event, Http **ret);      /* -EOPNOTSUPP: the resolver of this libcurl blocks */
Http *http_free(Http *h);                       /* cancels what is in flight without calling back */
DEFINE_CLEANUP(Http *, http_free)

int http_request(Http *h, const HttpEndpoint *endpoint, const HttpSpec *spec, HttpRequest **ret);
/* HTTP status so far, 0 before the answer began: for on_data, which may be reading an error's text. */
long http_request_status(HttpRequest *req);
/* The value of a response header (last answer), or NULL. Valid as long as the request. */
const char *http_request_header(HttpRequest *req, const char *name);
/* Cancels: no callback any more. NULL is fine. */
HttpRequest *http_request_cancel(HttpRequest *req);
DEFINE_CLEANUP(HttpRequest *, http_request_cancel)
