/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Structures to JSON objects and back by a table of fields, with a limit on each. */

#include <jansson.h>

#include "basic/macro.h"

typedef enum JsonFieldType {
        JSON_FIELD_STRING,              /* char *; absent when NULL */
        JSON_FIELD_U64,                 /* uint64_t; absent when 0 */
        JSON_FIELD_I64,                 /* int64_t */
        JSON_FIELD_UNSIGNED,            /* unsigned; absent when 0 */
        JSON_FIELD_BOOL,                /* bool; absent when false */
        JSON_FIELD_STRV,                /* Strv; absent when empty */
} JsonFieldType;

typedef struct JsonField {
        const char *name;
        JsonFieldType type;
        size_t offset;                  /* in the structure */
        size_t max;                     /* bytes of a string, entries of a vector (each at most 4 KiB × 4) */
} JsonField;

/* Tables end with a nameless entry. */

/* A new object, or NULL: memory, a string that is not UTF-8, a number above INT64_MAX. */
json_t *json_fields_pack(const JsonField *fields, const void *from);

/* Fills `to` (which the caller frees, also after a failure) from an object. Keys that the table does not know are an
 * error unless they are in `also` (NULL-terminated, may be NULL). -EINVAL, and *ret_bad (may be NULL) is the key. */
int json_fields_unpack(json_t *object, const JsonField *fields, const char *const *also, void *to, const char **ret_bad);

void json_fields_free(const JsonField *fields, void *from);

/* One object from one line: duplicates, trailing bytes and too many values are refused. NULL on any error. */
#define JSON_VALUES_MAX 100000U
json_t *json_object_from_string(const char *data, size_t size);

/* Compact, keys in the order they were set, with a newline at the end if asked for. */
int json_to_string(const json_t *object, bool newline, char **ret);

#define _cleanup_json_ _cleanup_(json_decrefp)
