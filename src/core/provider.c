/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "basic/names.h"
#include "basic/string-util.h"
#include "core/provider.h"

#define COMMAND_FDS 3           /* without a terminal */

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

/* Above the standard ones, wherever those of the caller are. */
static int copy_fds(const ProviderCommand *from, ProviderCommand *ret) {
        int *fds = calloc(COMMAND_FDS, sizeof(int));

        if (!fds)
                return -ENOMEM;
        ret->fds = fds;
        for (size_t i = 0; i < from->n_fds; i++) {
                fds[i] = fcntl(from->fds[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
                if (fds[i] < 0)
                        return -errno;
                ret->n_fds++;
        }
        return 0;
}

int provider_command_copy(const ProviderCommand *from, ProviderCommand *ret) {
        char *session = NULL, *user = NULL, *directory = NULL;
        int r;

        *ret = (ProviderCommand) { .terminal = from->terminal };
        if (from->n_fds != (from->terminal ? 1 : COMMAND_FDS))
                return -EINVAL;
        r = free_and_strdup(&session, from->session);
        if (r >= 0)
                r = free_and_strdup(&user, from->user);
        if (r >= 0)
                r = free_and_strdup(&directory, from->directory);
        ret->session = session;
        ret->user = user;
        ret->directory = directory;
        ret->argv = strv_copy(from->argv);
        ret->env = strv_copy(from->env);
        if (r < 0 || !ret->argv || !ret->env)
                return -ENOMEM;
        return copy_fds(from, ret);
}

void provider_command_close(ProviderCommand *c) {
        for (size_t i = 0; i < c->n_fds; i++)
                (void) close(c->fds[i]);
        free((int *) c->fds);
        c->fds = NULL;
        c->n_fds = 0;
}

void provider_command_done(ProviderCommand *c) {
        provider_command_close(c);
        /* They may hold secrets. */
        STRV_FOREACH(e, c->env)
                explicit_bzero(*e, strlen(*e));
        strv_free((char **) c->argv);
        strv_free((char **) c->env);
        free((char *) c->session);
        free((char *) c->user);
        free((char *) c->directory);
        *c = (ProviderCommand) {};
}
