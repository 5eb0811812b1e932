/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How values look to a person. */

#include "value.h"

typedef enum Format {
        FORMAT_AUTO,            /* by the property's name: …USec, …Bytes, Owner, … */
        FORMAT_PLAIN,
        FORMAT_STATE,           /* coloured */
        FORMAT_BYTES,
        FORMAT_AGO,             /* time stamp: "5min ago", "in 2h" */
        FORMAT_TIMESTAMP,       /* time stamp: "Tue 2024-05-07 10:00:00 UTC; 5min ago" */
        FORMAT_TIMESPAN,
        FORMAT_USER,
        FORMAT_FRACTION,        /* 0 … 1 as per cent; negative = unknown */
        FORMAT_JOB,             /* object path of a job: its number */
        FORMAT_COUNT,           /* how many are in a list */
        FORMAT_LIMITS,          /* of a session: "2 CPUs (0 reserved), 4.0G of memory (490M reserved)" */
} Format;

Format format_of_property(const char *name);
/* New string, "-" for what is absent or empty. NULL when memory is short. `now` is CLOCK_REALTIME. */
char *format_value(Format format, const json_t *value, usec_t now);
/* A colour name of libsmartcols for a session's, job's, node's or provider's state, or NULL. */
const char *format_state_color(const char *state);
/* "MemoryBytes" → "MEMORY", "LastActivityUSec" → "LAST ACTIVITY". New string. */
char *format_heading(const char *property);
/* The same for a line of its own: "Memory", "Last activity". */
char *format_label(const char *property);
/* For cells and terminals: no control characters, all on one line. In place. */
void format_make_printable(char *s);
usec_t format_now(void);
