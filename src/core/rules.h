/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The rules that templates and requests share, for what people write. */

#include "basic/refusal.h"

int parse_cpus(const char *s, double *ret);     /* "0.5", "2"; at most three decimals. 0 or -EINVAL */
int env_entry_check(const char *s, Refusal **reterr_refusal);          /* K=V */
int env_assignment_check(const char *s, Refusal **reterr_refusal);     /* of a service: besides, no "{{" (Swarm would expand it) */
/* As many, and as long, as a service may have; UTF-8. `what` begins the sentence. */
int words_check(const char *what, char *const *words, Refusal **reterr_refusal);
int label_check(const char *key, const char *value, Refusal **reterr_refusal); /* reserved prefixes com.docker., org.swarm., swarm. */
