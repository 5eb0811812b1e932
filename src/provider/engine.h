/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Client of one Docker Engine's API (unix socket), on the loop. The API version is agreed on with each Engine: the
 * smaller of its own (Api-Version of GET /_ping) and ENGINE_API_MAX, and again when a call is answered with 400
 * "client version … is too new" or "too old" (an Engine that was replaced under us).
 *
 * Source: Engine API reference 1.41 to 1.44 and moby's daemon/server (middleware/version.go, httpstatus/status.go). */

#include <jansson.h>
#include <systemd/sd-event.h>

#include "basic/macro.h"
#include "event/http.h"

#define ENGINE_API_MIN 41       /* 1.41, Engine 20.10: capabilities and pids limits of services */
#define ENGINE_API_MAX 44       /* 1.44, Engine 25.0 */

typedef struct Engine Engine;
typedef struct EngineCall EngineCall;

typedef enum EngineOutcome {
        ENGINE_OK,              /* 2xx and 304 (already so) */
        ENGINE_REFUSED,         /* understood and denied: repeating it changes nothing; `status` tells why (404, 409 …) */
        ENGINE_CONFLICT,        /* "update out of sequence": somebody else changed the object; read it and try again */
        ENGINE_RETRYABLE,       /* not carried out: out of reach, starting, no leader. Retries are used up */
        ENGINE_UNKNOWN,         /* may have been carried out: connection lost, deadline passed */
        ENGINE_BROKEN,          /* an answer that is no answer: not JSON, no list, too long */
} EngineOutcome;

typedef struct EngineAnswer {
        EngineOutcome outcome;
        long status;            /* HTTP status, 0 if none came */
        json_t *json;           /* body, borrowed; NULL if it has none or is a stream */
        const char *message;    /* the Engine's own words, or those of the failure, without a full stop; NULL with ENGINE_OK */
} EngineAnswer;

/* Called once, from the loop, never within engine_call(); the call is freed after it returns. */
typedef void (*engine_cb)(const EngineAnswer *answer, void *userdata);
/* One object of a stream (borrowed). The call may be cancelled from it. */
typedef void (*engine_object_cb)(json_t *object, void *userdata);

typedef struct EngineRequest {
        const char *method;             /* "GET", "POST" … */
        const char *path;               /* "/services/create": no version; escaped, see engine_escape() */
        json_t *body;                   /* borrowed during the call; NULL = none */
        const char *registry_auth;      /* value of X-Registry-Auth, or NULL */
        usec_t timeout_usec;            /* with all retries; 0 = 30 s; USEC_INFINITY for streams */
        size_t response_max;            /* bytes; 0 = 16 MiB */
        bool repeatable;                /* a POST that may be carried out twice; GET, HEAD and DELETE always may */
        bool fresh;                     /* on a connection of its own: one that is kept is answered also while the Engine stops */
        bool list;                      /* the answer is an array, or null for an empty one: what is neither does not say that there is nothing */
        bool once;                      /* no retries at all: the caller has a schedule of its own */
        engine_object_cb on_object;     /* makes it a stream of objects, which is never retried */
        engine_cb on_done;
        void *userdata;
} EngineRequest;

int engine_new(sd_event *event, Http *http, const char *socket_path, Engine **ret);
Engine *engine_free(Engine *e);         /* cancels all calls without calling back */
DEFINE_CLEANUP(Engine *, engine_free)

/* Waits for the version to be agreed on, sends, and within the deadline sends again what is safe to be sent again. An error of
 * a pull inside its 200 stream ("errorDetail") makes the outcome ENGINE_REFUSED. */
int engine_call(Engine *e, const EngineRequest *request, EngineCall **ret);
EngineCall *engine_call_cancel(EngineCall *c);  /* no callback any more; NULL is fine */
DEFINE_CLEANUP(EngineCall *, engine_call_cancel)

const char *engine_socket(const Engine *e);
unsigned engine_api_minor(const Engine *e);     /* 41 for 1.41; 0 = not yet agreed on */

/* Percent-encodes all but unreserved characters: path components and query values. NULL when memory is short. */
char *engine_escape(const char *s);
/* An escaped `filters` value: {"key":["value",…],…}; arguments are key, value pairs, a key may repeat, NULL ends. */
char *engine_filters(const char *key, ...) __attribute__((sentinel));
/* X-Registry-Auth: padded base64url of {"username","password","serveraddress"}. The caller erases and frees it. */
char *engine_registry_auth(const char *username, const char *password, const char *server);
