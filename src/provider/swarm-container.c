/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is done beside the container: the task is found, then the agent of its node does it. */

#include "provider/swarm-internal.h"
#include "provider/swarm-spec.h"

#define QUICK_TIMEOUT_USEC (60 * USEC_PER_SEC)
/* Stopping has the grace on top, a capture has no deadline here: the agent watches its child. */
#define CAPTURE_TIMEOUT_USEC (24 * 3600 * USEC_PER_SEC)
#define LATE_TAG_USEC (2 * USEC_PER_SEC)        /* what a registry takes at most for a manifest whose sender is gone */

/* ---- finding the container ---- */

/* An Engine that is about to stop lists no tasks for a moment. What is known to have a container has it until the Engine is asked
 * for that one: were it taken for gone, a rest would let go of what it wrote since it was frozen. */
static const SwarmSession *find_last_seen(const SwarmCall *c) {
        const SwarmSession *ss = swarm_session_find(c->swarm, c->session);

        return ss && ss->container && streq(ss->service, c->service) ? ss : NULL;
}

static void on_task_found(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        const SwarmSession *seen, *ss = swarm_session_find(c->swarm, c->session);
        SwarmTask best, t;
        bool found = false;
        const json_t *o;
        size_t i;
        int r = 0;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "list the tasks of the session");
                return;
        }
        json_array_foreach(a->json, i, o)
                if (swarm_task_parse(o, &t) >= 0 && streq(t.service, c->service) && t.container &&
                    swarm_session_task_is_better(ss, &t, found ? &best : NULL)) {
                        best = t;
                        found = true;
                }
        seen = found ? NULL : find_last_seen(c);
        if (found || seen) {
                r = free_and_strdup(&c->container, found ? best.container : seen->container);
                if (r >= 0)
                        r = free_and_strdup(&c->node, found ? best.node : seen->node);
        }
        if (r < 0)
                swarm_call_finish(c, r, NULL);
        else
                c->container_step(c);
}

static void find_task(SwarmCall *c) {
        _cleanup_free_ char *path = NULL;

        if (!c->service) {
                c->container_step(c);
                return;
        }
        path = swarm_tasks_path((const char *const[]) { c->name }, 1);
        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_task_found);
}

int swarm_container_call(Provider *p, const char *session, usec_t timeout, swarm_step step, provider_done_cb cb, void *userdata,
                         SwarmCall **ret_call, ProviderCall **ret) {
        int r = swarm_call_begin(p, session, timeout, find_task, cb, userdata, ret_call, ret);

        if (r >= 0)
                (*ret_call)->container_step = step;
        return r;
}

/* ---- the agent ---- */

void swarm_container_runs(Swarm *s, const char *container) {
        if (s->layers_hidden && s->agent)
                agent_observe(s->agent, container);
}

Agent *swarm_call_agent(SwarmCall *c) {
        if (!c->container) {
                swarm_call_refuse(c, REFUSAL_WRONG_STATE, "Session %s has no container in the Swarm.", swarm_call_subject(c));
                return NULL;
        }
        if (c->node && swarm_node_is_down(c->swarm, c->node)) {
                swarm_call_refuse(c, REFUSAL_PROVIDER_UNAVAILABLE,
                                  "The container of session %s is on node %s, which is down. Bring the node back, "
                                  "or restore the session from its last generation.", swarm_call_subject(c), swarm_node_name(c->swarm, c->node));
                return NULL;
        }
        if (!c->node || !swarm_node_has_agent(c->swarm, c->node)) {
                swarm_call_refuse(c, REFUSAL_PROVIDER_UNAVAILABLE,
                                  "The container of session %s is on node %s, where no agent of the orchestrator can be reached. "
                                  "Run swarm-orchestratord there.", swarm_call_subject(c), strna(swarm_node_name(c->swarm, c->node)));
                return NULL;
        }
        return c->swarm->agent;
}

void swarm_agent_done(void *userdata, int r, const Refusal *refusal) {
        SwarmCall *c = userdata;

        c->agent = NULL;
        swarm_call_finish(c, r, refusal_copy(refusal));
}

void swarm_agent_begun(SwarmCall *c, int r) {
        if (r >= 0)
                return;
        c->agent = NULL;
        swarm_call_finish(c, r, NULL);
}

/* ---- what became of the container: its task says it only a moment later, and callers decide upon it ---- */

static void step_done(SwarmCall *c) {
        swarm_call_finish(c, 0, NULL);
}

static void on_looked(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmSession *ss = swarm_session_find(c->swarm, c->session);

        c->engine = NULL;
        if (ss && a->outcome == ENGINE_OK && STR_IN_SET(json_string_at(a->json, "State", "Status"), "exited", "dead"))
                swarm_session_set_ended(ss, c->container, (int) json_integer_at(a->json, "State", "ExitCode"));
        /* Removed while nobody watched: the list that would have shown it came before its task ended. */
        else if (ss && a->outcome == ENGINE_REFUSED && a->status == 404 && streq_ptr(ss->container, c->container))
                swarm_session_set_container(ss, false, NULL, true);
        /* Who hears of it may cancel this call. */
        swarm_call_later(c, 0, step_done);
        if (ss)
                (void) swarm_session_report(ss);
}

static void on_agent_done_look(void *userdata, int r, const Refusal *refusal) {
        SwarmCall *c = userdata;
        _cleanup_free_ char *path = r >= 0 ? strformat("/containers/%s/json", c->container) : NULL;

        c->agent = NULL;
        if (path)
                swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .once = true }, on_looked);
        else
                swarm_call_finish(c, r, refusal_copy(refusal));
}

static void step_terminate(SwarmCall *c) {
        Agent *agent;

        if (!c->container) {
                swarm_call_finish(c, 0, NULL);
                return;
        }
        agent = swarm_call_agent(c);
        if (agent)
                swarm_agent_begun(c, agent_terminate(agent, c->container, c->grace_usec, on_agent_done_look, c, &c->agent));
}

int swarm_terminate(Provider *p, const char *session, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        usec_t timeout = QUICK_TIMEOUT_USEC + MIN(grace_usec, CAPTURE_TIMEOUT_USEC);
        SwarmCall *c;
        int r = swarm_container_call(p, session, timeout, step_terminate, cb, userdata, &c, ret);

        if (r >= 0)
                c->grace_usec = grace_usec;
        return r;
}

static void step_signal(SwarmCall *c) {
        Agent *agent = swarm_call_agent(c);

        if (agent)
                swarm_agent_begun(c, agent_signal(agent, c->container, c->signo, swarm_agent_done, c, &c->agent));
}

int swarm_signal(Provider *p, const char *session, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_container_call(p, session, QUICK_TIMEOUT_USEC, step_signal, cb, userdata, &c, ret);

        if (r >= 0)
                c->signo = signo;
        return r;
}

static void step_thaw(SwarmCall *c) {
        Agent *agent;

        /* What is not there is not frozen. */
        if (!c->container) {
                swarm_call_finish(c, 0, NULL);
                return;
        }
        agent = swarm_call_agent(c);
        if (agent)
                swarm_agent_begun(c, agent_thaw(agent, c->container, on_agent_done_look, c, &c->agent));
}

int swarm_thaw(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;

        return swarm_container_call(p, session, QUICK_TIMEOUT_USEC, step_thaw, cb, userdata, &c, ret);
}

/* ---- capture ---- */

static void on_capture_progress(void *userdata, const ProviderCaptureProgress *progress) {
        SwarmCall *c = userdata;

        if (c->progress)
                c->progress(c->userdata, progress);
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        SwarmCall *c = userdata;

        c->agent = NULL;
        swarm_call_detach(c);
        c->capture_done(c->userdata, r, refusal, result);
        swarm_call_free(c);
}

static void step_capture(SwarmCall *c) {
        Agent *agent = swarm_call_agent(c);

        if (agent)
                swarm_agent_begun(c, agent_capture(agent, c->container, &c->capture, on_capture_progress, on_captured, c, &c->agent));
}

int swarm_capture(Provider *p, const ProviderCapture *capture, provider_capture_progress_cb progress,
                  provider_capture_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_container_call(p, capture->session, CAPTURE_TIMEOUT_USEC, step_capture, NULL, userdata, &c, ret);

        if (r < 0)
                return r;
        c->capture_done = cb;
        c->progress = progress;
        r = provider_capture_copy(capture, &c->capture);
        return r < 0 ? swarm_call_undo(c, r, ret) : 0;
}

/* ---- rest, after the files are saved or without ---- */

/* Already so is told by the generation: a crash between the update and the caller's record leads here again. */
static int change_to_rest(SwarmCall *c, json_t *spec) {
        const char *image = json_string_at(spec, "TaskTemplate", "ContainerSpec", "Image"),
                   *generation = json_string_at(spec, "Labels", PROVIDER_LABEL_GENERATION),
                   *record = json_string_at(spec, "Labels", PROVIDER_LABEL_RECORD);
        char wanted[32];
        int r;

        (void) snprintf(wanted, sizeof(wanted), "%" PRIu64, c->generation);
        if (json_u64(json_at(spec, "Mode", "Replicated", "Replicas")) == 0 && streq_ptr(image, c->image) &&
            streq_ptr(generation, wanted) && streq_ptr(record, c->record))
                return 0;
        r = swarm_spec_rest(spec, c->image, c->generation, c->record);
        return r < 0 ? r : 1;
}

static int call_rest(SwarmCall *c, const ProviderRest *rest) {
        int r;

        c->change = change_to_rest;
        c->generation = rest->generation;
        r = free_and_strdup(&c->image, rest->image);
        if (r >= 0)
                r = free_and_strdup(&c->record, rest->record);
        return r < 0 ? r : free_and_strdup(&c->witness, rest->witness);
}

static void on_killed(void *userdata, int r, const Refusal *refusal) {
        SwarmCall *c = userdata;

        c->agent = NULL;
        if (r < 0)
                swarm_call_finish(c, r, refusal_copy(refusal));
        else
                swarm_change_service(c);
}

static void step_rest(SwarmCall *c) {
        Agent *agent;

        /* No container: it is killed and removed already, and the proven generation is all there is. */
        if (!c->container) {
                swarm_change_service(c);
                return;
        }
        agent = swarm_call_agent(c);
        if (agent)
                swarm_agent_begun(c, agent_kill(agent, c->container, c->witness, on_killed, c, &c->agent));
}

static void on_rest_read(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmService service;
        SwarmSession *ss;
        int r;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "read the service of the session");
                return;
        }
        r = swarm_service_parse(a->json, &service);
        if (r >= 0)
                r = change_to_rest(c, service.spec);
        if (r > 0) {
                find_task(c);
                return;
        }
        if (r == 0)
                r = swarm_session_update(c->swarm, &service, &ss);
        swarm_call_finish(c, r, NULL);
}

/* First whether it is done already: then there is no container any more that could be a witness. */
static void step_read_rest(SwarmCall *c) {
        _cleanup_free_ char *path = NULL;

        if (!c->service) {
                swarm_change_service(c);
                return;
        }
        path = strformat("/services/%s", c->service);
        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_rest_read);
}

int swarm_rest(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_call_begin(p, rest->session, QUICK_TIMEOUT_USEC, step_read_rest, cb, userdata, &c, ret);

        if (r < 0)
                return r;
        c->container_step = step_rest;
        r = call_rest(c, rest);
        return r < 0 ? swarm_call_undo(c, r, ret) : 0;
}

static void step_discard(SwarmCall *c) {
        /* Absent is as good as empty. */
        if (!c->service)
                swarm_call_finish(c, 0, NULL);
        else
                swarm_change_service(c);
}

int swarm_discard(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = swarm_container_call(p, rest->session, QUICK_TIMEOUT_USEC, step_discard, cb, userdata, &c, ret);

        if (r < 0)
                return r;
        r = call_rest(c, rest);
        return r < 0 ? swarm_call_undo(c, r, ret) : 0;
}

/* ---- images: any agent would do, this node's is the nearest ---- */

static void refuse_without_agent(SwarmCall *c) {
        swarm_call_refuse(c, REFUSAL_PROVIDER_UNAVAILABLE,
                          "No agent of the orchestrator runs on this node, so registries cannot be asked. Restart swarm-orchestratord and look at its journal.");
}

static void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        SwarmCall *c = userdata;

        c->agent = NULL;
        swarm_call_detach(c);
        c->image_done(c->userdata, r, refusal, image);
        swarm_call_free(c);
}

static void step_resolve(SwarmCall *c) {
        if (!c->swarm->agent)
                refuse_without_agent(c);
        else
                swarm_agent_begun(c, agent_resolve_image(c->swarm->agent, c->image, on_image, c, &c->agent));
}

/* A push that was cut off may have sent its manifest: the registry goes on with what it has of it, and makes the tag after it was
 * said that there is none. 1: looked at once more, a while later. */
static int look_again(SwarmCall *c, swarm_step step) {
        c->agent = NULL;
        if (c->tries++ > 0)
                return 0;
        swarm_call_later(c, LATE_TAG_USEC, step);
        return 1;
}

static void step_verify_image(SwarmCall *c);

static void on_image_verified(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        if (r != -EBADRQC || refusal->code != REFUSAL_NO_SUCH_IMAGE || !look_again(userdata, step_verify_image))
                on_image(userdata, r, refusal, image);
}

static void step_verify_image(SwarmCall *c) {
        if (!c->swarm->agent)
                refuse_without_agent(c);
        else
                swarm_agent_begun(c, agent_verify_image(c->swarm->agent, c->image, on_image_verified, c, &c->agent));
}

static void step_delete_image(SwarmCall *c);

static void on_image_deleted(void *userdata, int r, const Refusal *refusal) {
        if (r <= 0 || !look_again(userdata, step_delete_image))
                swarm_agent_done(userdata, MIN(r, 0), refusal);
}

static void step_delete_image(SwarmCall *c) {
        if (!c->swarm->agent)
                refuse_without_agent(c);
        else
                swarm_agent_begun(c, agent_delete_image(c->swarm->agent, c->image, on_image_deleted, c, &c->agent));
}

static int image_call(Provider *p, const char *image, usec_t timeout_usec, swarm_step step, SwarmCall **ret_call, ProviderCall **ret) {
        _cleanup_(swarm_call_freep) SwarmCall *c = NULL;
        int r;

        if ((r = swarm_call_new(swarm_of(p), NULL, timeout_usec, &c)) < 0 ||
            (r = free_and_strdup(&c->image, image)) < 0 ||
            (r = swarm_call_start(c, step, ret)) < 0)
                return r;
        *ret_call = TAKE_PTR(c);
        return 0;
}

static int read_image(Provider *p, const char *reference, usec_t timeout_usec, swarm_step step, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = image_call(p, reference, timeout_usec, step, &c, ret);

        if (r >= 0) {
                c->image_done = cb;
                c->userdata = userdata;
        }
        return r;
}

int swarm_resolve_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return read_image(p, reference, QUICK_TIMEOUT_USEC, step_resolve, cb, userdata, ret);
}

int swarm_verify_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return read_image(p, reference, CAPTURE_TIMEOUT_USEC, step_verify_image, cb, userdata, ret);
}

int swarm_delete_image(Provider *p, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;
        int r = image_call(p, image, QUICK_TIMEOUT_USEC, step_delete_image, &c, ret);

        if (r >= 0) {
                c->done = cb;
                c->userdata = userdata;
        }
        return r;
}
