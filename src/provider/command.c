/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "provider/command.h"

#define FDS_MAX 3

/* Above the standard ones, wherever those of the caller are. */
static int copy_fds(const ProviderCommand *from, ProviderCommand *ret) {
        int *fds = calloc(FDS_MAX, sizeof(int));

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

int command_copy(const ProviderCommand *from, ProviderCommand *ret) {
        char *session = NULL, *user = NULL, *directory = NULL;
        int r;

        *ret = (ProviderCommand) { .terminal = from->terminal };
        if (from->n_fds != (from->terminal ? 1 : FDS_MAX))
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

void command_close(ProviderCommand *c) {
        for (size_t i = 0; i < c->n_fds; i++)
                (void) close(c->fds[i]);
        free((int *) c->fds);
        c->fds = NULL;
        c->n_fds = 0;
}

void command_done(ProviderCommand *c) {
        command_close(c);
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
