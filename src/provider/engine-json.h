/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading what an Engine answers: a walk into nested objects, and a splitter for streams of objects. */

#include <jansson.h>

#include "basic/macro.h"
#include "basic/string-util.h"

#define _cleanup_json_ _cleanup_(json_decrefp)

/* The value under a chain of keys, or NULL. NULL and JSON values of other types are fine all the way, and jansson's
 * json_string_value(), json_integer_value() … take NULL: so a missing member needs no code of its own. */
json_t *json_at_keys(const json_t *o, const char *const *keys);
#define json_at(o, ...) json_at_keys((o), (const char *const[]) { __VA_ARGS__, NULL })
#define json_string_at(o, ...) json_string_value(json_at((o), __VA_ARGS__))
#define json_integer_at(o, ...) json_integer_value(json_at((o), __VA_ARGS__))
#define json_true_at(o, ...) json_is_true(json_at((o), __VA_ARGS__))
/* Whole numbers from 0 on; 0 for anything else. */
uint64_t json_u64(const json_t *o);

/* Sets a member and takes the value, NULL included (-ENOMEM). */
int json_take(json_t *o, const char *key, json_t *value);
int json_take_string(json_t *o, const char *key, const char *value);    /* a NULL value sets nothing */
int json_take_u64(json_t *o, const char *key, uint64_t value);
/* The member object, made when it is not there or is no object. */
int json_object_ensure(json_t *o, const char *key, json_t **ret);
json_t *json_strv(char *const *v);                                      /* NULL when memory is short */

/* "2026-11-21T01:21:17.982721928Z" (RFC 3339, UTC or with an offset) as microseconds since the epoch; 0 if it is
 * none, or lies before the epoch (Docker says 0001-01-01 for "never"). */
usec_t json_timestamp(const json_t *o);

/* A stream of JSON objects, one after another, white space or RS (RFC 7464) between them: /events, pull progress. */
typedef struct JsonStream {
        char *buffer;
        size_t size, allocated;
        size_t depth;
        bool in_string, escaped;
} JsonStream;
#define JSON_STREAM_OBJECT_MAX (1 * MIB)

/* Called for each object (borrowed); negative ends the reading with that. */
typedef int (*json_stream_cb)(json_t *object, void *userdata);
/* -EBADMSG: no JSON object; -E2BIG: one longer than JSON_STREAM_OBJECT_MAX. Useless afterwards. */
int json_stream_feed(JsonStream *s, const char *data, size_t size, json_stream_cb cb, void *userdata);
void json_stream_done(JsonStream *s);
