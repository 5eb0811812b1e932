/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs that only look have in common. */

#include "swarmctl.h"

typedef int (*look_cb)(Context *c, const char *word, json_t **ret);
typedef int (*print_cb)(Context *c, const char *word, const json_t *object);

/* All are tried; the first failure counts. JSON: one value after the other. */
int look_at_each(Context *c, char *const *words, look_cb look, print_cb print);
/* The whole at a glance: what `status` prints without an argument. */
int look_at_all(Context *c);
