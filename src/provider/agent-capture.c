/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Saving a container's files. The order of a hold (hibernation):
 *   inspect → swarm-layer finds the image to build upon → listen to what happens to it (agent-watch.c), freeze → witness →
 *   swarm-layer: copy, push, proof → inspect again: witness still holds → call back, frozen; agent_kill() goes on listening
 * of a snapshot:
 *   inspect → swarm-layer copies what is there → freeze → swarm-layer reads what changed meanwhile → thaw → push, proof
 * of an exited container:
 *   inspect: witness → listen → swarm-layer → inspect again: witness still holds → by a SIGKILL: ask whether it was for its memory.
 * However it ends, but for a hold that succeeds, nothing stays frozen: thawed first, then called back. */

#include "basic/crash-points.h"
#include "basic/log.h"
#include "provider/agent-internal.h"

struct AgentCapture {
        AgentCall base;
        char *container;
        ProviderCapture asked;
        provider_capture_progress_cb on_progress;
        provider_capture_cb cb;
        void *userdata;

        bool running;                   /* its turn has come */
        bool busy;                      /* it never comes: another one saves the container */
        Timer *turn;                    /* the beginning */
        Timer *deadline;

        EngineCall *request;
        ContainerFacts facts;           /* from before the freeze */
        AgentFreeze *freeze;
        AgentThawWait *thaw;
        bool frozen;                    /* by this capture, and to be thawed when it goes */
        bool watching;                  /* it is listened to, for the kill that follows */
        usec_t frozen_at_usec;          /* CLOCK_BOOTTIME, just before the request */
        usec_t frozen_since_usec;       /* the same, CLOCK_REALTIME */
        unsigned freezes;               /* so often it was tried */
        usec_t frozen_usec;             /* how long */
        uint64_t cpu_nsec;              /* of the container, at the freeze */
        char *witness;
        AgentIndex index;

        Worker *worker;
        LayerResult result;
        bool have_result;
        Refusal *child_refusal;
        bool out_of_memory;             /* it ended by the kernel for want of memory */

        bool ending;                    /* failed: thaws, then calls back */
        int end_r;
        Refusal *end_refusal;

        AgentCapture *prev, *next;      /* on agent->captures */
};

static void captures_next(Agent *a);

static void capture_free(AgentCall *call) {
        AgentCapture *c = CONTAINER_OF(call, AgentCapture, base);
        Agent *a = call->agent;

        agent_call_unlink(call);
        DL_DELETE(a->captures, c);
        if (c->running)
                a->n_captures_running--;
        /* The child first: it must not read on while the container runs. */
        worker_free(c->worker);
        engine_call_cancel(c->request);
        agent_freeze_abandon(c->freeze);
        agent_thaw_forget(c->thaw);
        if (c->watching)
                agent_watch_forget(a, c->container);
        if (c->frozen && agent_thaw_begin(a, c->container, NULL, NULL, NULL) < 0)
                log_warning("Container %.*s is still frozen: it cannot be thawed now.", CONTAINER_SHORT, c->container);
        timer_free(c->turn);
        timer_free(c->deadline);
        container_facts_done(&c->facts);
        agent_index_done(&c->index);
        layer_result_done(&c->result);
        refusal_free(c->child_refusal);
        refusal_free(c->end_refusal);
        provider_capture_done(&c->asked);
        free(c->container);
        free(c->witness);
        free(c);
        captures_next(a);
}

/* The caller's callback is the last thing: it may free the agent. */
static void capture_call_back(AgentCapture *c, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        provider_capture_cb cb = c->cb;
        void *userdata = c->userdata;

        c->frozen = false;
        capture_free(&c->base);
        if (cb)
                cb(userdata, r, refusal, result);
}

static void on_thawed_after_failure(void *userdata, int r, const Refusal *refusal) {
        AgentCapture *c = userdata;
        _cleanup_refusal_ Refusal *owned = TAKE_PTR(c->end_refusal);

        /* That it could not be thawed was logged with the remedy. What is told is why the capture failed. */
        c->thaw = NULL;
        capture_call_back(c, c->end_r, owned, NULL);
}

/* A freeze that is under way is waited for, since the container must not be frozen when the caller hears of the end. */
static void capture_unwind(AgentCapture *c) {
        if (c->freeze)
                return;
        c->thaw = agent_thaw_forget(c->thaw);
        if (c->frozen && agent_thaw_begin(c->base.agent, c->container, on_thawed_after_failure, c, &c->thaw) >= 0)
                return;
        on_thawed_after_failure(c, 0, NULL);
}

/* Takes the refusal. */
static void capture_fail(AgentCapture *c, int r, Refusal *refusal) {
        c->worker = worker_free(c->worker);
        c->request = engine_call_cancel(c->request);
        timer_disarm(c->deadline);
        refusal_free(c->end_refusal);
        c->ending = true;
        c->end_r = r;
        c->end_refusal = refusal;
        capture_unwind(c);
}

static void capture_progress(AgentCapture *c, const char *stage, uint64_t bytes_done, int64_t bytes_total) {
        if (c->on_progress)
                c->on_progress(c->userdata, &(const ProviderCaptureProgress) {
                        .stage = stage, .bytes_done = bytes_done, .bytes_total = bytes_total,
                });
}

/* ---- success */

static void capture_succeed(AgentCapture *c) {
        Agent *a = c->base.agent;
        LayerResult layer = c->result;
        _cleanup_free_ char *witness = TAKE_PTR(c->witness);
        char *none[] = { NULL };
        int r;

        c->result = (LayerResult) {};
        c->watching = false;
        r = agent_index_commit(a, c->facts.id, layer.image);
        if (r < 0 && r != -ENOENT)
                log_warning_errno(r, "The index of container %.*s cannot be kept, so all of it is read the next time: %m",
                                  CONTAINER_SHORT, c->container);
        if (c->frozen)
                c->frozen_usec = agent_now(CLOCK_BOOTTIME) - c->frozen_at_usec;
        ProviderCaptureResult result = {
                .image = layer.image,
                .witness = witness,
                .bytes = layer.bytes,
                .uncompressed_bytes = layer.uncompressed_bytes,
                .entries = layer.entries,
                .session_layers = layer.session_layers,
                .unchanged = layer.unchanged,
                .dropped = layer.dropped ?: none,
                .frozen_usec = c->frozen_usec,
                .out_of_memory = c->out_of_memory,
        };
        log_debug("Session %s: read %" PRIu64 " ms, upload %" PRIu64 " ms, proof %" PRIu64 " ms, frozen %" PRIu64 " ms.", c->asked.session,
                  layer.read_usec / USEC_PER_MSEC, layer.upload_usec / USEC_PER_MSEC, layer.proof_usec / USEC_PER_MSEC,
                  c->frozen_usec / USEC_PER_MSEC);
        capture_call_back(c, 0, NULL, &result);
        layer_result_done(&layer);
}

static int capture_inspect(AgentCapture *c, engine_cb on_done) {
        return agent_request(c->base.agent, &(const AgentRequest) {
                .method = "GET",
                .container = c->container,
                .verb = "json",
                .timeout_usec = INSPECT_TIMEOUT_USEC,
                .on_done = on_done,
                .userdata = c,
        }, &c->request);
}

static void on_out_of_memory(json_t *event, void *userdata) {
        AgentCapture *c = userdata;

        c->out_of_memory = true;
}

/* Without an answer the reason stays unknown; the files are saved all the same. */
static void on_reason_asked(const EngineAnswer *answer, void *userdata) {
        AgentCapture *c = userdata;

        c->request = NULL;
        capture_succeed(c);
}

/* The kernel tells containerd of an end and of the want of memory by two ways. If the second comes later the Engine has
 * an event of it, but inspecting does not show it. 1: asked. */
static int ask_reason(AgentCapture *c, const ContainerFacts *facts) {
        c->out_of_memory = c->facts.out_of_memory || facts->out_of_memory;
        if (c->asked.mode != CAPTURE_EXITED || c->out_of_memory || facts->exit_code != 128 + SIGKILL)
                return 0;
        int r = agent_request_events(c->base.agent, &(const AgentEventsRequest) {
                .container = c->container,
                .event = "oom",
                .since_usec = facts->finished_usec - MIN(facts->finished_usec, USEC_PER_SEC),
                .until_usec = agent_now(CLOCK_REALTIME),
                .timeout_usec = INSPECT_TIMEOUT_USEC,
                .on_object = on_out_of_memory,
                .on_done = on_reason_asked,
                .userdata = c,
        }, &c->request);
        return r < 0 ? r : 1;
}

static void on_inspected_again(const EngineAnswer *answer, void *userdata) {
        AgentCapture *c = userdata;
        ContainerFacts facts = {};
        Refusal *refusal = NULL;
        int r;

        c->request = NULL;
        r = agent_read_facts(c->base.agent, c->container, answer, &facts, &refusal);
        if (r >= 0)
                r = witness_check(c->base.agent, c->witness, &facts, &refusal);
        if (r >= 0)
                r = container_check_whole(&facts, c->asked.session, &refusal);
        if (r >= 0)
                r = ask_reason(c, &facts);
        container_facts_done(&facts);
        if (r < 0)
                capture_fail(c, r, refusal);
        else if (r == 0)
                capture_succeed(c);
}

/* The child is done. A snapshot was checked when it was thawed; what stays as it is is looked at once more. */
static void capture_check_again(AgentCapture *c) {
        Refusal *refusal = NULL;
        int r;

        if (c->asked.mode == CAPTURE_THAW && c->witness) {
                capture_succeed(c);
                return;
        }
        if (!c->witness)
                r = refuse(&refusal, REFUSAL_INTERNAL, "swarm-layer saved session %s without having it frozen. See the journal.", c->asked.session);
        else
                r = capture_inspect(c, on_inspected_again);
        if (r < 0)
                capture_fail(c, r, refusal);
}

/* ---- the snapshot's thaw */

static void on_snapshot_thawed(void *userdata, int r, const Refusal *refusal) {
        AgentCapture *c = userdata;

        c->thaw = NULL;
        if (r < 0) {
                capture_fail(c, r, refusal_copy(refusal));
                return;
        }
        c->frozen = false;
        c->frozen_usec = agent_now(CLOCK_BOOTTIME) - c->frozen_at_usec;
        /* The child may have ended meanwhile. */
        if (!c->worker)
                capture_check_again(c);
}

/* Everything has been read. 1: a thaw is under way. */
static int snapshot_thaw(AgentCapture *c) {
        Refusal *refusal = NULL;
        int r;

        if (c->asked.mode != CAPTURE_THAW || !c->frozen || c->thaw)
                return c->thaw ? 1 : 0;
        r = witness_check_cpu(&c->facts, c->asked.session, c->cpu_nsec, &refusal);
        if (r >= 0)
                r = agent_thaw_begin(c->base.agent, c->container, on_snapshot_thawed, c, &c->thaw);
        if (r < 0) {
                capture_fail(c, r, refusal);
                return r;
        }
        return 1;
}

/* ---- swarm-layer */

static void capture_freeze(AgentCapture *c);

static void on_line(Worker *w, const char *text, size_t length, void *userdata) {
        AgentCapture *c = userdata;
        LayerLine line = {};

        if (layer_line_from_json(text, &line) < 0) {
                log_debug("swarm-layer wrote a line that is not understood, which is ignored.");
                return;
        }
        switch (line.type) {
        case LAYER_LINE_PROGRESS:
                capture_progress(c, line.stage, line.bytes_done, line.bytes_total);
                break;
        case LAYER_LINE_FREEZE:
                if (c->asked.mode != CAPTURE_EXITED && !c->frozen && !c->freeze)
                        capture_freeze(c);
                break;
        case LAYER_LINE_READ_DONE:
                (void) snapshot_thaw(c);
                break;
        case LAYER_LINE_RESULT:
                layer_result_done(&c->result);
                c->result = line.result;
                line.result = (LayerResult) {};
                c->have_result = true;
                break;
        case LAYER_LINE_ERROR:
                refusal_free(c->child_refusal);
                c->child_refusal = TAKE_PTR(line.refusal);
                break;
        default:
                break;
        }
        layer_line_done(&line);
}

static void on_exit_of_layer(Worker *w, int code, int status, void *userdata) {
        AgentCapture *c = userdata;
        Refusal *refusal = NULL;
        int r;

        c->worker = worker_free(c->worker);
        if (c->child_refusal) {
                capture_fail(c, -EBADRQC, TAKE_PTR(c->child_refusal));
                return;
        }
        if (code != CLD_EXITED || status != 0 || !c->have_result || !c->result.image) {
                r = layer_refuse_exit(code, status, "saving a session's files", &refusal);
                capture_fail(c, r, refusal);
                return;
        }
        if (c->freeze) {
                r = refuse(&refusal, REFUSAL_INTERNAL, "swarm-layer ended before it had read what it asked to be frozen. See the journal.");
                capture_fail(c, r, refusal);
                return;
        }
        if (snapshot_thaw(c) == 0)
                capture_check_again(c);
}

static int capture_spawn(AgentCapture *c) {
        const char *own_image = c->facts.image ?: c->asked.image;
        LayerRequest request = {
                .verb = LAYER_PUSH,
                /* Without an index all of the writable layer is read: that lies above what the container was made from,
                 * not above a generation that was taken from it since. */
                .image = (char *) own_image,
                .repository = (char *) c->asked.repository,
                .tag = (char *) c->asked.tag,
                .session = (char *) c->asked.session,
                .generation = c->asked.generation,
                .job = c->asked.job,
                .upperdir = c->facts.upperdir,
                .frozen_realtime_usec = c->asked.mode == CAPTURE_EXITED ? c->facts.finished_usec : 0,
                .freeze = c->asked.mode != CAPTURE_EXITED,
                .precopy = c->asked.mode == CAPTURE_THAW,
                .lossy = c->asked.lossy,
                .layers_max = c->asked.layers_max,
        };
        int r;

        r = agent_index_find(c->base.agent, c->facts.id, &c->index);
        if (r < 0)
                return r;
        request.new_index = c->index.new_path;
        if (c->index.path) {
                request.index = c->index.path;
                request.image = c->index.image;
                request.fallback_image = (char *) own_image;
        }
        r = agent_spawn_layer(c->base.agent, &request, LAYER_SILENCE_USEC, true, on_line, on_exit_of_layer, c, &c->worker);
        if (r < 0)
                log_warning_errno(r, "%s cannot be started: %m", c->base.agent->layer_path);
        return r;
}

/* ---- the freeze */

static void on_frozen(void *userdata, int r, const Refusal *refusal) {
        static const char frozen_line[] = "{\"type\":\"frozen\"}\n";
        AgentCapture *c = userdata;
        Refusal *own = NULL;

        c->freeze = NULL;
        c->frozen = r >= 0;
        if (c->ending) {
                capture_unwind(c);
                return;
        }
        if (r == -EAGAIN && c->freezes < FREEZES_MAX) {
                capture_freeze(c);
                return;
        }
        if (r < 0) {
                capture_fail(c, r == -EAGAIN ? -EBADRQC : r, refusal_copy(refusal));
                return;
        }
        r = witness_take_frozen(&c->facts, c->asked.session, c->frozen_since_usec, &c->cpu_nsec, &c->witness, &own);
        if (r >= 0) {
                crash_point(CRASH_CAPTURE_FROZEN);
                r = worker_send(c->worker, frozen_line, strlen(frozen_line));
        }
        if (r < 0)
                capture_fail(c, r, own);
}

static int capture_watch(AgentCapture *c, usec_t since_usec) {
        int r = agent_watch_begin(c->base.agent, c->container, c->asked.mode == CAPTURE_EXITED, since_usec);

        c->watching = r >= 0;
        return r;
}

static void capture_freeze(AgentCapture *c) {
        usec_t patience = 0;
        int r = 0;

        c->frozen_at_usec = agent_now(CLOCK_BOOTTIME);
        c->frozen_since_usec = agent_now(CLOCK_REALTIME);
        /* What is copied into it during a snapshot is found by the next save: its container goes on. Nor is it asked about then. */
        if (c->asked.mode == CAPTURE_HOLD) {
                r = capture_watch(c, c->frozen_since_usec);
                patience = FREEZE_PATIENCE_USEC << c->freezes;
        }
        c->freezes++;
        if (r >= 0)
                r = agent_freeze(c->base.agent, c->container, patience, on_frozen, c, &c->freeze);
        if (r < 0) {
                Refusal *refusal = NULL;
                log_warning_errno(r, "Container %.*s cannot be watched, or noted as frozen: %m", CONTAINER_SHORT, c->container);
                r = note_refuse(c->base.agent->frozen_dir, c->container, "is not frozen", r, &refusal);
                capture_fail(c, r, refusal);
                return;
        }
        /* Last: whoever is told may cancel. */
        capture_progress(c, "freezing", 0, -1);
}

/* ---- the beginning */

static int begin_exited(AgentCapture *c) {
        usec_t since = agent_now(CLOCK_REALTIME);
        int r;

        c->witness = c->facts.finished_at ? witness_exited(c->facts.id, c->facts.started_at, c->facts.finished_at, since) : NULL;
        r = c->witness ? capture_watch(c, since) : -ENOMEM;
        return r < 0 ? r : capture_spawn(c);
}

static void on_inspected(const EngineAnswer *answer, void *userdata);

static void on_thawed_before(void *userdata, int r, const Refusal *refusal) {
        AgentCapture *c = userdata;

        c->thaw = NULL;
        if (r >= 0)
                r = capture_inspect(c, on_inspected);
        if (r < 0)
                capture_fail(c, r, refusal_copy(refusal));
}

/* Frozen already: by an attempt of ours that is over (then it is thawed and begun anew), or by somebody else. */
static int begin_paused(AgentCapture *c, Refusal **reterr_refusal) {
        if (!note_exists(c->base.agent->frozen_dir, c->facts.id))
                return refuse(reterr_refusal, REFUSAL_BUSY, "The container of session %s is paused by somebody else. Unpause it first: "
                              "docker unpause %.*s", c->asked.session, CONTAINER_SHORT, c->container);
        return agent_thaw_begin(c->base.agent, c->container, on_thawed_before, c, &c->thaw);
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        AgentCapture *c = userdata;
        Refusal *refusal = NULL;
        int r;

        c->request = NULL;
        container_facts_done(&c->facts);
        r = agent_read_facts(c->base.agent, c->container, answer, &c->facts, &refusal);
        if (r >= 0)
                r = agent_upper_find(c->base.agent, &c->facts);
        if (r >= 0)
                r = container_check_saveable(&c->facts, c->asked.session, c->asked.mode, &refusal);
        if (r < 0) {
                capture_fail(c, r, refusal);
                return;
        }
        if (c->asked.mode == CAPTURE_EXITED)
                r = begin_exited(c);
        else if (c->facts.paused)
                r = begin_paused(c, &refusal);
        else
                r = capture_spawn(c);
        if (r < 0)
                capture_fail(c, r, refusal);
}

static void on_deadline(void *userdata) {
        AgentCapture *c = userdata;
        Refusal *refusal = NULL;
        int r;

        r = refuse(&refusal, REFUSAL_PROVIDER_FAILED, "Session %s was not saved within %u minutes, so it was given up. Try again.",
                   c->asked.session, (unsigned) (CAPTURE_TIMEOUT_USEC / USEC_PER_SEC / 60));
        capture_fail(c, r, refusal);
}

/* The first of those that wait, as long as there is room. Each begins in a turn of its own. */
static void captures_next(Agent *a) {
        AgentCapture *c;

        DL_FOREACH(a->captures, c) {
                if (a->n_captures_running >= CAPTURES_MAX)
                        return;
                if (c->running || c->busy)
                        continue;
                c->running = true;
                a->n_captures_running++;
                (void) timer_arm(c->turn, 0);
        }
}

bool agent_is_captured(const Agent *a, const char *container) {
        const AgentCapture *c;

        DL_FOREACH(a->captures, c)
                if (streq(c->container, container))
                        return true;
        return false;
}

static void on_turn(void *userdata) {
        AgentCapture *c = userdata;
        Refusal *refusal = NULL;
        int r;

        if (c->busy) {
                r = refuse(&refusal, REFUSAL_BUSY, "Session %s cannot be saved now: it is being saved already. Try again later.", c->asked.session);
                capture_fail(c, r, refusal);
                return;
        }
        if (!c->running) {
                capture_progress(c, "waiting", 0, -1);
                return;
        }
        /* What is left of the one before would thaw what this one freezes, or take its note away. */
        if (agent_freeze_is_unsettled(c->base.agent, c->container) && timer_arm(c->turn, SETTLE_USEC) >= 0)
                return;
        r = capture_inspect(c, on_inspected);
        if (r < 0)
                capture_fail(c, r, NULL);
        else
                capture_progress(c, "preparing", 0, -1);
}

int agent_capture(Agent *a, const char *container, const ProviderCapture *capture,
                  provider_capture_progress_cb progress, provider_capture_cb cb, void *userdata, ProviderCall **ret) {
        AgentCapture *c;
        int r;

        if (!container_id_is_valid(container))
                return -EINVAL;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        /* Told from the loop, so that nothing is called back from within the call. */
        *c = (AgentCapture) { .busy = agent_is_captured(a, container), .on_progress = progress, .cb = cb, .userdata = userdata };
        agent_call_init(&c->base, a, capture_free);
        DL_APPEND(a->captures, c);
        r = free_and_strdup(&c->container, container);
        if (r >= 0)
                r = provider_capture_copy(capture, &c->asked);
        if (r >= 0)
                r = timer_new(a->event, on_turn, c, &c->turn);
        if (r >= 0)
                r = timer_new(a->event, on_deadline, c, &c->deadline);
        if (r >= 0)
                r = timer_arm(c->deadline, CAPTURE_TIMEOUT_USEC);
        if (r >= 0)
                r = timer_arm(c->turn, 0);
        if (r < 0) {
                capture_free(&c->base);
                return r;
        }
        captures_next(a);
        if (ret)
                *ret = &c->base.call;
        return 0;
}
