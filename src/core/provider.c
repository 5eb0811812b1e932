/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
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
