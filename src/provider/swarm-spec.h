/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The service of a session, as Engine API JSON (ServiceSpec). */

#include "core/provider.h"
#include "provider/engine-json.h"

#define SWARM_PIDS_MAX 4096

/* Everything but the network and the nodes to keep away from, which are found out later. -ENOMEM. */
int swarm_spec_build(const ProviderSpec *spec, const char *log_driver, json_t **ret);
/* Fills those in. `node` or NULL; `avoid`: ids of nodes that have no agent. */
int swarm_spec_place(json_t *service, const char *network, const char *node, char *const *avoid);
/* Makes `service` an update of `old` (its Spec): foreign labels stay, and ForceUpdate is counted on. Without that Swarm starts
 * nothing while the last task of a service is still being removed, or has ended by itself. */
int swarm_spec_update(json_t *service, const json_t *old);
/* Changes a Spec in place to no task, and, unless NULL, to that image, generation and record. */
int swarm_spec_rest(json_t *spec, const char *image, uint64_t generation, const char *record);
