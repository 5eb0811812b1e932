/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Templates: what a session is made from, the .yaml files in <config>/templates.d, in the form of ARCHITECTURE §8. A template with
 * a mistake is refused with file, line and reason; the others of the same file and of other files still load. */

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"

typedef struct Template {
        char *name;                             /* ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ */
        char *image;
        char *size;                             /* shared-cpu-1x …, or NULL */
        double cpus;                            /* 0 = default; from cpus or size */
        uint64_t memory_bytes;                  /* 0 = default */
        int cpu_reservation_percent, memory_reservation_percent;        /* -1 = default */
        Strv command;
        Strv env;                               /* "K=V" */
        Strv labels;                            /* "K=V" */
        Strv features;
        Strv routes;                            /* "code=8080" */
        usec_t idle_timeout_usec;               /* 0 = default, USEC_INFINITY = never */
        usec_t stop_grace_usec;                 /* 0 = default */
        Strv healthcheck;                       /* argv in Docker's form, or NULL */
        usec_t healthcheck_interval_usec;       /* 30 s */
        unsigned healthcheck_retries;           /* 3 */
        bool volumes_ephemeral;                 /* volumes: ephemeral */
        char *provider;                         /* or NULL */
        char *description;
        char *path;                             /* file it came from */
} Template;

typedef struct TemplateTable TemplateTable;

/* Reads all files of the directory in the order of their names; a later file's template of the same name wins over an
 * earlier one's (logged). Mistakes are logged and returned, one sentence each. A missing directory is an empty table. */
int template_table_load(const char *dir, TemplateTable **ret, Strv *ret_errors);
TemplateTable *template_table_free(TemplateTable *t);
DEFINE_CLEANUP(TemplateTable *, template_table_free)

const Template *template_table_find(const TemplateTable *t, const char *name);
/* In the order of their names. NULL ends. */
const Template *template_table_nth(const TemplateTable *t, size_t i);
size_t template_table_size(const TemplateTable *t);

/* cpu share that a Fly size name stands for, on both providers; -EINVAL for an unknown name. */
int size_to_cpus(const char *size, double *ret);
