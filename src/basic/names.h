/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Enumerations and their texts: a table `PREFIX_names` in the order of the values, without gaps, and the two ways through it.
 * -EINVAL is the value of every _…_INVALID. */

#include "basic/macro.h"

/* The index of `s`; -EINVAL when it is in no place, or NULL. */
int name_find(const char *const *names, size_t n, const char *s);

/* The text of a value; NULL when it has none. */
#define DEFINE_NAMES_TO_STRING(prefix, type)                                                            \
        const char *prefix##_to_string(type value) {                                                    \
                return (size_t) value < ELEMENTSOF(prefix##_names) ? prefix##_names[value] : NULL;      \
        }

#define DEFINE_NAMES(prefix, type)                                                                      \
        DEFINE_NAMES_TO_STRING(prefix, type)                                                            \
        type prefix##_from_string(const char *s) {                                                      \
                return (type) name_find(prefix##_names, ELEMENTSOF(prefix##_names), s);                 \
        }
