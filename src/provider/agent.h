/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The orchestrator's hands on one node: what must be done beside the container itself. It finds the writable layer,
 * freezes and thaws through the node's Engine, records and checks witnesses, signals, and runs `swarm-layer`. The
 * provider calls it in process for its own node; for another node the same calls go over that node's bus.
 *
 * What it froze is noted in <runtime>/frozen/<container> before it freezes, and the note goes when it is thawed: so
 * agent_thaw_all() can free what a dead daemon left, and leaves alone what somebody else paused. When it is killed the
 * note says so until the container is gone (agent_forget(), agent_thaw_all()): the witness goes on to hold for that run
 * of the container, which was killed while it was frozen, so that a kill can be followed up after a crash.
 *
 * At most two captures at a time, one per container, the others wait in stage "waiting"; at most four requests to
 * registries for resolve, verify and delete. Every step has a deadline; they stand in agent-internal.h. */

#include <systemd/sd-event.h>

#include "core/provider.h"
#include "event/http.h"
#include "oci/layer-request.h"

typedef struct Agent Agent;

typedef struct AgentConfig {
        const char *engine_socket;      /* path of the node's Engine socket */
        const char *layer_path;         /* the swarm-layer binary */
        const char *stream_path;        /* the swarm-stream binary */
        const char *state_dir;          /* indexes live in <state>/index */
        const char *runtime_dir;        /* notes live in <runtime>/frozen and <runtime>/commands */
        const LayerRegistry *registry;  /* with the push credential; copied */
} AgentConfig;

int agent_new(sd_event *event, Http *http, const AgentConfig *config, Agent **ret);
Agent *agent_free(Agent *a);            /* cancels all calls; captures in flight are killed and their containers thawed; commands are hung up */
DEFINE_CLEANUP(Agent *, agent_free)

/* Takes effect for calls that begin later (Reload). */
int agent_set_registry(Agent *a, const LayerRegistry *registry);

/* Completion as in core/provider.h. `container` is the full container id on this node; -EINVAL: it is none.
 * Resolved images are kept for 10 s; the same reference asked for by many at a time is resolved once. */
int agent_resolve_image(Agent *a, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret);
/* What is saved lies above the image that the container was made from, as the Engine says; `image` of the capture counts
 * only where that one is not pinned by a digest. Mounts are refused by name, but for anonymous volumes of the image's
 * own VOLUMEs, on which was decided at create. */
int agent_capture(Agent *a, const char *container, const ProviderCapture *capture,
                  provider_capture_progress_cb progress, provider_capture_cb cb, void *userdata, ProviderCall **ret);
/* Looks at a container that runs and notes where its writable layer lies, if the Engine does not tell that once it has ended
 * (containerd image store). Nothing is called back; what is noted already is not looked at again. */
void agent_observe(Agent *a, const char *container);
/* Only thaws what carries a note of ours; not frozen is success. */
int agent_thaw(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* The files are proven: checks the witness, then SIGKILL; done when the processes are dead, though the Engine may still be
 * taking down their network. REFUSAL_FILES_CHANGED when the Engine's events, which are listened to since agent_capture() began to
 * read, show anything else before that kill, or may have been missed; there is no kill if that is known before. An exited
 * container whose witness holds, and one that is not there, is success without a signal. What is dead is removed after
 * a while, unless Swarm has. Where the Engine refuses the signal, or does not heed it, the container is ended by a thaw. */
int agent_kill(Agent *a, const char *container, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* The image's or the service's stop signal, grace, SIGKILL. Done when it has exited; gone is success. Thawed first. */
int agent_terminate(Agent *a, const char *container, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* Removes a container that does not run, with its files: what an Engine keeps of a task that had ended by itself before
 * its service was scaled to 0. One that runs or is gone is left as it is, which is success. */
int agent_remove(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret);
int agent_signal(Agent *a, const char *container, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* A command in a container that runs; `session` of the command is not looked at. What ends it is the end of its container too, and
 * that of this service: one that a crash of it has left is ended by the next agent. No signal of ours and no byte reaches a
 * container while we have it frozen: its processes would run for it. */
int agent_execute(Agent *a, const char *container, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done,
                  void *userdata, ProviderCall **ret);
/* What the Engine has kept of its output, whether it runs or has ended; `session` of the logs is not looked at. */
int agent_read_logs(Agent *a, const char *container, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done,
                    void *userdata, ProviderCall **ret);
/* By tag or digest: all of it is read back. */
int agent_verify_image(Agent *a, const char *image, provider_image_cb cb, void *userdata, ProviderCall **ret);
/* Called back with 1: there was nothing under that tag. */
int agent_delete_image(Agent *a, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* Forgets the index and the note of a container that is gone. Without it they are found every hour. */
void agent_forget(Agent *a, const char *container);

#define AGENT_THAW_ALL_USEC (10 * USEC_PER_SEC)
/* For ExecStopPost=: thaws everything that carries a note, synchronously, without an Agent; tries for that long, and waits for an
 * answer as long once more. */
int agent_thaw_all(const char *engine_socket, const char *runtime_dir, usec_t timeout_usec);
