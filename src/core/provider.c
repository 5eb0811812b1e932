/* SPDX-License-Identifier: LGPL-2.1-or-later */

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

const char *task_state_to_string(TaskState s) {
        return s >= 0 && s < _TASK_STATE_MAX ? task_state_names[s] : NULL;
}

TaskState task_state_from_string(const char *s) {
        for (int i = 0; s && i < _TASK_STATE_MAX; i++)
                if (streq(task_state_names[i], s))
                        return i;
        return _TASK_STATE_INVALID;
}

static const char *const provider_health_names[_PROVIDER_HEALTH_MAX] = {
        [PROVIDER_HEALTHY] = "healthy",
        [PROVIDER_DEGRADED] = "degraded",
        [PROVIDER_UNAVAILABLE] = "unavailable",
};

const char *provider_health_to_string(ProviderHealth h) {
        return h >= 0 && h < _PROVIDER_HEALTH_MAX ? provider_health_names[h] : NULL;
}

ProviderHealth provider_health_from_string(const char *s) {
        for (int i = 0; s && i < _PROVIDER_HEALTH_MAX; i++)
                if (streq(provider_health_names[i], s))
                        return i;
        return _PROVIDER_HEALTH_INVALID;
}
