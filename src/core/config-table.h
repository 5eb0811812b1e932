/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one table of configuration keys. Defaults and ranges are kept as a person writes them, so that the manual page,
 * docs/limits.md and the example file can be compared with them word for word. */

#include "core/config.h"

typedef enum ConfigType {
        CONFIG_NUMBER,          /* unsigned */
        CONFIG_PERCENT,         /* unsigned; "12" or "12%" */
        CONFIG_SPAN,            /* usec_t; max "infinity" allows that word */
        CONFIG_SIZE,            /* uint64_t */
        CONFIG_CPUS,            /* double; three decimals count */
        CONFIG_BOOLEAN,         /* bool */
        CONFIG_STRING,          /* char *; empty = NULL */
        CONFIG_WORDS,           /* Strv, separated by white space */
} ConfigType;

typedef struct ConfigKey {
        const char *section, *name;
        ConfigType type;
        size_t offset;                          /* in Config */
        const char *value;                      /* default; "" = none. It obeys the range and the check */
        const char *min, *max;                  /* inclusive; NULL where there is no order */
        bool (*check)(const char *value);       /* strings: one value; words: each. NULL = anything */
        const char *form;                       /* goes with check: what a value has to be, "an absolute path" */
        bool hidden;                            /* a wrong value may hold a password: not quoted in the warning */
        bool fixed;                             /* read once: a change waits for the next start of the service */
} ConfigKey;

extern const ConfigKey config_keys[];
extern const size_t config_n_keys;

/* Sets a field. -EINVAL: the form is wrong; -ERANGE: outside of the range; -ENOMEM. The field stays on failure. */
int config_key_set(const ConfigKey *k, Config *c, const char *value);
