/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "basic/names.h"
#include "basic/refusal.h"
#include "basic/string-util.h"

static const char *const refusal_code_names[_REFUSAL_MAX] = {
#define X(code, name) [REFUSAL_##code] = name,
        REFUSAL_TABLE(X)
#undef X
};
DEFINE_NAMES(refusal_code, RefusalCode)

Refusal *refusal_free(Refusal *r) {
        if (r)
                free(r->message);
        free(r);
        return NULL;
}

static Refusal *refusal_new(RefusalCode code, char *message) {
        Refusal *r = message ? malloc(sizeof(*r)) : NULL;
        if (!r) {
                free(message);
                return NULL;
        }
        *r = (Refusal) { .code = code, .message = message };
        return r;
}

Refusal *refusal_copy(const Refusal *r) {
        return r ? refusal_new(r->code, strdup(r->message)) : NULL;
}

int refuse(Refusal **reterr, RefusalCode code, const char *format, ...) {
        char *message = NULL;
        va_list ap;

        if (!reterr)
                return -EBADRQC;
        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        if (message && strlen(message) > REFUSAL_MESSAGE_MAX)
                strcpy(message + REFUSAL_MESSAGE_MAX - 3, "...");
        if (message)
                utf8_repair(message);   /* what was cut to a length may end within a character */

        Refusal *r = refusal_new(code, message);
        if (!r)
                return -ENOMEM;
        refusal_free(*reterr);
        *reterr = r;
        return -EBADRQC;
}

Refusal *refusal_of(int r, Refusal **from) {
        Refusal *refusal = NULL;

        if (r == -EBADRQC && from && *from)
                return TAKE_PTR(*from);
        (void) refuse(&refusal, REFUSAL_INTERNAL, "The operation failed inside the orchestrator: %s. See its journal.",
                      strerror(abs(r)));
        return refusal;
}
