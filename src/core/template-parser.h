/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads one template file into a table. Apart from core/template.h for the table itself and for the tests. */

#include "core/template.h"

#define TEMPLATES_MAX 1000
#define TEMPLATE_FILES_MAX 1000
#define TEMPLATE_ENTRIES_MAX 256                /* of env, labels, features, routes, command */

TemplateTable *template_table_new(void);        /* NULL when memory is short */
/* Takes *t, whose template wins over one of the same name. -E2BIG: the table is full; *t stays. */
int template_table_add(TemplateTable *table, Template *t);
void template_done(Template *t);

/* Adds the templates of a file; mistakes are logged and added to *errors, one sentence each with file and line.
 * 0 or -ENOMEM. */
int template_parse_buffer(TemplateTable *table, const char *path, const char *data, size_t size, Strv *errors);
/* Logs and adds one sentence. line 0: the file as a whole. */
int template_report(Strv *errors, const char *path, unsigned line, const char *text);
