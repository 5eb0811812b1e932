/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Commands in a session's container, and its output: the container is found, then the agent of its node connects it. */

#include <fcntl.h>

#include "provider/swarm-internal.h"

#define FIND_TIMEOUT_USEC (30 * USEC_PER_SEC)   /* what follows has none */

static void on_begun(void *userdata) {
        SwarmCall *c = userdata;

        c->begun(c->userdata);
}

/* NULL: the call is over, and freed. */
static Agent *find_agent(SwarmCall *c) {
        if (c->container)
                return swarm_call_agent(c);
        swarm_call_refuse(c, REFUSAL_WRONG_STATE, "Session %s has no container in the Swarm. Start it first.", swarm_call_subject(c));
        return NULL;
}

/* ---- commands */

static void on_command_done(void *userdata, int r, const Refusal *refusal, int exit_code) {
        SwarmCall *c = userdata;

        c->agent = NULL;
        swarm_call_detach(c);
        c->command_done(c->userdata, r, refusal, exit_code);
        swarm_call_free(c);
}

static void step_execute(SwarmCall *c) {
        Agent *agent = find_agent(c);
        int r;

        if (!agent)
                return;
        r = agent_execute(agent, c->container, &c->command, on_begun, on_command_done, c, &c->agent);
        /* A terminal ends when its last holder has closed it, and the agent has its own. */
        provider_command_close(&c->command);
        swarm_agent_begun(c, r);
}

int swarm_execute(Provider *p, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_container_call(p, command->session, FIND_TIMEOUT_USEC, step_execute, NULL, userdata, &c, ret);

        if (r < 0)
                return r;
        c->begun = begun;
        c->command_done = done;
        r = provider_command_copy(command, &c->command);
        return r < 0 ? swarm_call_undo(c, r, ret) : 0;
}

/* ---- output */

static void step_read_logs(SwarmCall *c) {
        Agent *agent = find_agent(c);
        int r;

        if (!agent)
                return;
        r = agent_read_logs(agent, c->container, &c->logs, on_begun, swarm_agent_done, c, &c->agent);
        (void) close(c->logs.fd);
        c->logs.fd = -EBADF;
        swarm_agent_begun(c, r);
}

int swarm_read_logs(Provider *p, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_container_call(p, logs->session, FIND_TIMEOUT_USEC, step_read_logs, done, userdata, &c, ret);

        if (r < 0)
                return r;
        c->begun = begun;
        c->logs = *logs;
        c->logs.session = NULL;
        c->logs.fd = fcntl(logs->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        return c->logs.fd < 0 ? swarm_call_undo(c, -errno, ret) : 0;
}
