/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "basic/macro.h"

/* The word of the NULL-terminated list that s was most likely meant to be, or NULL if none is near: at most a third of
 * its letters are wrong (added, left out, replaced or swapped with a neighbour); case does not count. */
const char *nearest_word(const char *s, const char *const *words);
