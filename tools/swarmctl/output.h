/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables, blocks of "Key: value", JSON, and questions. */

#include "arguments.h"
#include "format.h"

typedef struct Column {
        const char *key;                /* property */
        const char *heading;            /* NULL: made from the key */
        Format format;
        bool right;                     /* numbers */
        bool may_shorten;               /* cut when the terminal is narrow */
        bool only_full;                 /* with --full only: long, and seldom looked at */
        bool zero_is_default;           /* a limit that is not set */
        const char *otherwise;          /* property shown where that one is empty */
} Column;

/* Prints an array of objects: as JSON if that is asked for, else as a table with "N things listed." below. `columns`
 * ends with an entry without a key. -errno. */
int output_table(const Arguments *a, const json_t *rows, const Column *columns, const char *things);
/* The same for one object: "       Key: value" lines; NULL columns = every member. */
int output_block(const Arguments *a, const json_t *object, const Column *columns);
/* One such line; colour as of format_state_color(). */
void output_line(const char *key, const char *value, const char *color);
/* KEY=VALUE lines, unformatted; NULL keys = all. */
int output_properties(const Arguments *a, const json_t *object);
int output_json(const Arguments *a, const json_t *value);
/* Columns for --fields; free() them, the strings are the fields'. Its last entry has no key. NULL: memory is short. */
Column *output_columns_of(char *const *fields);

/* Writes what is buffered. What could not be written is remembered; 0, or that error of now or before. */
int output_flush(void);

/* Asks on the terminal. 1 yes, 0 no, -ENOTTY when nobody can be asked. */
int output_ask(const char *format, ...) _printf_(1, 2);

/* Pipes stdout through a pager if it is a terminal and --no-pager was not given. */
void pager_open(const Arguments *a);
void pager_close(void);
