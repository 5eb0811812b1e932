/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Docker Swarm provider: a session is a replicated service named after it, with one task (restart condition
 * none: Swarm never makes a second container by itself) or none (at rest), and with the labels of core/provider.h. What
 * touches the container itself (freeze, capture, signal) is done by the agent of the node that runs it.
 *
 * Observation: the Engine's event stream (services, nodes, and the containers of this node), a full list after each
 * (re)connection, and tasks polled by service name, since Swarm has no events for tasks: fast while one is on its way,
 * slowly otherwise. */

#include <systemd/sd-event.h>

#include "core/provider.h"
#include "event/http.h"
#include "provider/agent.h"

typedef struct SwarmConfig {
        const char *engine_socket;      /* of a manager */
        bool initialize;                /* InitializeSwarm=: make a Swarm when a session is created and there is none */
        const char *advertise_address;  /* for that; NULL or "" = detected */
        const char *network;            /* of the default organization; others get "<network>-<organization>" */
        const char *default_organization;
        const char *subnet;             /* IPv4 prefix of that network; the others get the next free ones of its size */
        const char *log_driver;         /* "auto", or a driver of the Engine's */
        const char *registry;           /* host[:port] the pull credential is for */
        const char *pull_username, *pull_password;      /* NULL: none */
        Agent *agent;                   /* of this node; borrowed; NULL: sessions run, but cannot be captured */
} SwarmConfig;

/* `http` is borrowed. Strings are copied. -EINVAL: subnet. */
int swarm_provider_new(sd_event *event, Http *http, const SwarmConfig *config, Provider **ret);
/* For Reload: takes effect when the Engine is asked the next time whether it has a Swarm. */
void swarm_provider_set_initialize(Provider *p, bool initialize);
/* For Reload: takes effect for services that are made or updated from now on. */
int swarm_provider_set_pull_credential(Provider *p, const char *registry, const char *username, const char *password);
