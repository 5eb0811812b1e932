/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Strings and vectors of strings. What is returned as a new one is the caller's to free. */

#include "basic/macro.h"

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* NULL equals NULL only. */
static inline bool streq_ptr(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool isempty(const char *s) {
        return !s || !*s;
}

static inline const char *strempty(const char *s) {
        return s ? s : "";
}

static inline const char *strna(const char *s) {
        return s ? s : "n/a";
}

/* The rest of s behind the prefix, or NULL. */
static inline const char *startswith(const char *s, const char *prefix) {
        size_t n = strlen(prefix);
        return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

const char *endswith(const char *s, const char *suffix);        /* where the suffix begins, or NULL */
bool str_in_set(const char *s, const char *const *set);         /* NULL is in none; the set ends with NULL */

/* Replaces *p by a copy of s (NULL frees). 0 or -ENOMEM; on failure *p is as it was. */
int free_and_strdup(char **p, const char *s);

/* Formats into a new string; NULL when memory is short. */
char *strformat(const char *format, ...) _printf_(1, 2);

/* NULL-terminated string vectors. The _free ones accept NULL. */
typedef char **Strv;
Strv strv_free(Strv v);
DEFINE_CLEANUP(Strv, strv_free)
#define _cleanup_strv_ _cleanup_(strv_freep)
size_t strv_length(char *const *v);
int strv_extend(Strv *v, const char *s);        /* appends a copy; 0 or -ENOMEM */
int strv_consume(Strv *v, char *s);             /* appends s itself, frees it on failure */
Strv strv_copy(char *const *v);                 /* NULL when memory is short; an empty vector for NULL */
bool strv_contains(char *const *v, const char *s);
#define STRV_FOREACH(s, v) for (typeof(*(v)) *s = (v); s && *s; s++)

bool utf8_is_valid(const char *s);
void utf8_repair(char *s);              /* writes "?" over each byte that is no part of a character */

/* Decimal, whole string, no sign, no white space. 0, -EINVAL or -ERANGE. */
int parse_u64(const char *s, uint64_t *ret);
/* "512", "64K", "4G", "1.5G" (powers of 1024). */
int parse_size(const char *s, uint64_t *ret);
/* "30s", "2h", "1h 30min", "500ms", "infinity"; a bare number is seconds. */
int parse_usec(const char *s, usec_t *ret);
/* yes/no, true/false, 1/0, on/off: 1, 0 or -EINVAL. */
int parse_boolean(const char *s);

char *format_bytes(char *buf, size_t n, uint64_t bytes);       /* "12.3M" */
char *format_timespan(char *buf, size_t n, usec_t t);          /* "1h 30min" */
char *hexdigest(const uint8_t *data, size_t n);                /* lower case, new string */
