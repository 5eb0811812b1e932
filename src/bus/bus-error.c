/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "basic/string-util.h"
#include "bus/bus-error.h"
#include "swarm-orchestrator.h"

static const char *const error_names[_REFUSAL_MAX] = {
#define X(code, name) [REFUSAL_##code] = SWARM_ERROR_PREFIX name,
        REFUSAL_TABLE(X)
#undef X
};

const char *bus_error_name(RefusalCode code) {
        if (code == REFUSAL_INVALID_ARGUMENT)
                return SD_BUS_ERROR_INVALID_ARGS;
        if (code == REFUSAL_ACCESS_DENIED)
                return SD_BUS_ERROR_ACCESS_DENIED;
        return error_names[code >= 0 && code < _REFUSAL_MAX ? code : REFUSAL_INTERNAL];
}

int bus_error_set(sd_bus_error *e, int r, Refusal **refusal) {
        _cleanup_refusal_ Refusal *copy = refusal_of(r, refusal);

        return copy ? sd_bus_error_set(e, bus_error_name(copy->code), copy->message) : -ENOMEM;
}

int bus_error_setf(sd_bus_error *e, RefusalCode code, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0)
                return -ENOMEM;
        utf8_repair(message);
        return sd_bus_error_set(e, bus_error_name(code), message);
}
