/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file of templates.d. What loads obeys the rules that the core relies on. */

#include "basic/log.h"
#include "core/identifier.h"
#include "core/rules.h"
#include "core/template-parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const Template *t) {
        assert(session_name_is_valid(t->name) && t->image && *t->image && t->path);
        assert(t->cpus == 0 || (t->cpus >= 0.1 && t->cpus <= 16));
        assert(t->memory_bytes == 0 || (t->memory_bytes >= 64 * MIB && t->memory_bytes <= 32 * GIB));
        assert(strv_length(t->env) <= TEMPLATE_ENTRIES_MAX && strv_length(t->command) <= TEMPLATE_ENTRIES_MAX);
        STRV_FOREACH(e, t->env)
                assert(env_assignment_check(*e, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        TemplateTable *t = template_table_new();
        _cleanup_strv_ Strv errors = NULL;

        (void) log_set_max_level(LOG_EMERG);
        assert(t);
        assert(template_parse_buffer(t, "f", (const char *) data, size, &errors) == 0);
        for (size_t i = 0; i < template_table_size(t); i++)
                check(template_table_nth(t, i));
        template_table_free(t);
        return 0;
}
