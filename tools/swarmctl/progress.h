/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line on stderr, drawn over itself; only ever called when stderr is a terminal. */

#include "value.h"

/* `job`: properties of the one that is shown, NULL when nothing is known yet. */
void progress_draw(const char *label, const json_t *job, size_t ended, size_t total);
void progress_clear(void);

/* The line without control codes, at most `width` columns; exposed for the tests. New string. */
char *progress_format(const char *label, const json_t *job, size_t ended, size_t total, size_t width);
