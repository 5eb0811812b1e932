/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
#include "basic/string-util.h"

int name_find(const char *const *names, size_t n, const char *s) {
        for (size_t i = 0; s && i < n; i++)
                if (streq(names[i], s))
                        return (int) i;
        return -EINVAL;
}
