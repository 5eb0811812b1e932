/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What carries out the manager's decisions: the providers that Providers= names, and this node's agent. */

#include <systemd/sd-event.h>

#include "core/manager.h"

typedef struct Backends Backends;

/* Strings are borrowed and must outlive the backends. */
typedef struct BackendsOptions {
        const char *layer_path;         /* the swarm-layer binary */
        const char *stream_path;        /* the swarm-stream binary */
        const char *state_dir, *runtime_dir;
} BackendsOptions;

int backends_new(sd_event *event, const BackendsOptions *options, Backends **ret);
Backends *backends_free(Backends *b);   /* after the manager, which owns the providers */
DEFINE_CLEANUP(Backends *, backends_free)

/* Gives the configured providers to the manager. Logs what fails. */
int backends_add_providers(Backends *b, Manager *m);
/* Takes registry and credentials of another configuration; the providers stay as they are. */
int backends_reload(Backends *b, const Config *c);
