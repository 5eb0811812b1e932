/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* orchestrator.conf: the reader, and every value it finds given to every key of that name. */

#include "basic/conf-parser.h"
#include "basic/log.h"
#include "core/config-table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int assign(void *userdata, const char *file, unsigned line, const char *section, const char *key, const char *value) {
        assert(line > 0 && *section && *key && strlen(value) <= CONF_LINE_MAX);
        for (size_t i = 0; i < config_n_keys; i++)
                if (streq(config_keys[i].name, key))
                        (void) config_key_set(&config_keys[i], userdata, value);
        return 0;
}

static int problem(void *userdata, const char *file, unsigned line, const char *text) {
        assert(endswith(text, ".") || endswith(text, "one."));
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Config *c = calloc(1, sizeof(*c));
        const ConfHandler handler = { assign, problem, c };

        (void) log_set_max_level(LOG_EMERG);
        assert(c);
        assert(conf_parse_buffer("f", (const char *) data, size, &handler) == 0);
        config_free(c);
        return 0;
}
