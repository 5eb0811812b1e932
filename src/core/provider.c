/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
#include "basic/string-util.h"
#include "core/provider.h"

static const char *const task_state_names[_TASK_STATE_MAX] = {
        [TASK_NONE] = "none",
        [TASK_PENDING] = "pending",
        [TASK_STARTING] = "starting",
        [TASK_RUNNING] = "running",
        [TASK_EXITED] = "exited",
        [TASK_FAILED] = "failed",
        [TASK_LOST] = "lost",
        [TASK_GONE] = "gone",
};
DEFINE_NAMES(task_state, TaskState)

static const char *const provider_health_names[_PROVIDER_HEALTH_MAX] = {
        [PROVIDER_HEALTHY] = "healthy",
        [PROVIDER_DEGRADED] = "degraded",
        [PROVIDER_UNAVAILABLE] = "unavailable",
};
DEFINE_NAMES(provider_health, ProviderHealth)

int provider_capture_copy(const ProviderCapture *from, ProviderCapture *ret) {
        const char **strings[] = { &ret->session, &ret->image, &ret->repository, &ret->tag };
        int r = 0;

        *ret = *from;
        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                char *own = NULL;
                if (free_and_strdup(&own, *strings[i]) < 0)
                        r = -ENOMEM;
                *strings[i] = own;
        }
        return r;
}

void provider_capture_done(ProviderCapture *c) {
        free((char *) c->session);
        free((char *) c->image);
        free((char *) c->repository);
        free((char *) c->tag);
        *c = (ProviderCapture) {};
}
