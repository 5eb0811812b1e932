/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How wide the columns of a table become, and what is left of a text that is too long for its own. */

#include "basic/macro.h"

/* Columns of a terminal that the text takes. */
size_t layout_width(const char *s);
/* The text in at most so many columns; one that was cut ends with "…", or "..." where the locale has no such character.
 * New string. */
char *layout_shorten(const char *s, size_t width);
/* Makes columns with `minimum[i]` > 0 narrower, the widest first, none below its minimum, until all fit into `available`
 * with one blank between two. */
void layout_fit(size_t *widths, const size_t *minimum, size_t n, size_t available);
