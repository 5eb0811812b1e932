/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a session: its service, its tasks and its container go, in this order, and its place in the table last. */

#include "basic/log.h"
#include "provider/swarm-internal.h"

#define REMOVE_TIMEOUT_USEC (120 * USEC_PER_SEC)
/* From when its tasks are gone: that long Docker may take for the container. */
#define LEFT_BEHIND_USEC (5 * USEC_PER_SEC)

static void step_await_removal(SwarmCall *c);
static void step_await_containers(SwarmCall *c);

static void removal_goes_on(SwarmCall *c, swarm_step step) {
        if (swarm_call_expired(c))
                swarm_call_refuse(c, REFUSAL_TIMED_OUT,
                                  "The service of session %s is removed, but its container is still there. Docker goes on removing it; "
                                  "look at the journal of docker.service on its node.", swarm_call_subject(c));
        else
                swarm_call_later(c, SWARM_AGAIN_USEC, step);
}

static void on_container_removed(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        removal_goes_on(c, step_await_containers);
}

static void remove_left_behind(SwarmCall *c, const char *id) {
        _cleanup_free_ char *path = strformat("/containers/%s?force=1&v=1", id);

        if (!path) {
                swarm_call_finish(c, -ENOMEM, NULL);
                return;
        }
        log_info("Container %.12s of session %s was left behind; it is removed.", id, swarm_call_subject(c));
        c->containers_usec = swarm_now();
        swarm_call_engine(c, (EngineRequest) { .method = "DELETE", .path = path }, on_container_removed);
}

static void step_gone(SwarmCall *c) {
        swarm_call_finish(c, 0, NULL);
}

/* Known no more from now on: to who has it removed, a list that was begun before would tell of a session that is new. */
static void forget_session(SwarmCall *c) {
        SwarmSession *ss = swarm_session_find(c->swarm, c->session);

        /* Who hears of it may cancel this call. */
        swarm_call_later(c, 0, step_gone);
        if (ss)
                (void) swarm_session_remove(ss);
}

/* A task may go before its container, and Swarm tries once only to remove that; what is still there after a while is
 * removed here. Other nodes' containers are not seen. */
static void on_removal_containers(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmContainer container;
        const char *left = NULL;
        const json_t *o;
        size_t i;

        c->engine = NULL;
        json_array_foreach(a->json, i, o)
                if (swarm_container_parse(o, &container) >= 0 && container.of_task)
                        left = container.id;
        if (c->containers_usec == 0)
                c->containers_usec = swarm_now();
        if (a->outcome != ENGINE_OK)
                swarm_call_fail(c, a, "list the containers of the session");
        else if (!left)
                forget_session(c);
        else if (c->containers_usec + LEFT_BEHIND_USEC < swarm_now())
                remove_left_behind(c, left);
        else
                removal_goes_on(c, step_await_containers);
}

static void step_await_containers(SwarmCall *c) {
        _cleanup_free_ char *label = strformat("%s=%s", PROVIDER_LABEL_SESSION, c->session),
                            *filters = label ? engine_filters("label", label, NULL) : NULL,
                            *path = filters ? strformat("/containers/json?all=1&filters=%s", filters) : NULL;

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_removal_containers);
}

static void on_removal_tasks(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        unsigned left = 0;
        const json_t *o;
        size_t i;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "list the tasks of the session");
                return;
        }
        json_array_foreach(a->json, i, o) {
                SwarmTask t;
                if (swarm_task_parse(o, &t) < 0 || !streq(t.service, c->service))
                        continue;
                /* A node that is down removes its container when it comes back. */
                if (!t.node || !swarm_node_is_down(c->swarm, t.node))
                        left++;
        }
        if (left == 0)
                step_await_containers(c);
        else
                removal_goes_on(c, step_await_removal);
}

static void step_await_removal(SwarmCall *c) {
        _cleanup_free_ char *path = swarm_tasks_path((const char *const[]) { c->name }, 1);

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_removal_tasks);
}

static void on_removed(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK && a->status != 404) {
                swarm_call_fail(c, a, "remove the service of the session");
                return;
        }
        swarm_inspect(c->swarm, c->service);
        step_await_removal(c);
}

static void step_remove(SwarmCall *c) {
        _cleanup_free_ char *path = NULL;

        if (!c->service) {
                step_await_containers(c);
                return;
        }
        path = strformat("/services/%s", c->service);
        swarm_call_engine(c, (EngineRequest) { .method = "DELETE", .path = path }, on_removed);
}

int swarm_remove(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;

        return swarm_call_begin(p, session, REMOVE_TIMEOUT_USEC, step_remove, cb, userdata, &c, ret);
}
