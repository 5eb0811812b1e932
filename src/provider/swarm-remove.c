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

static void remove_when_late(SwarmCall *c, const char *id) {
        if (c->containers_usec + LEFT_BEHIND_USEC < swarm_now())
                remove_left_behind(c, id);
        else
                removal_goes_on(c, step_await_containers);
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

/* ---- a container that Swarm does not find, since somebody renamed it, or that is none of the session's ---- */

static void leave_alone(SwarmCall *c) {
        if (strv_extend(&c->strangers, c->container) < 0)
                swarm_call_finish(c, -ENOMEM, NULL);
        else
                step_await_containers(c);
}

static void on_image(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        bool known = a->outcome == ENGINE_OK;

        c->engine = NULL;
        if (!known && a->status != 404) {
                swarm_call_fail(c, a, "tell the labels of an image");
                return;
        }
        if (known && !streq_ptr(json_string_at(a->json, "Config", "Labels", SWARM_LABEL_TASK), c->task)) {
                remove_left_behind(c, c->container);
                return;
        }
        if (!known)
                log_warning("Container %.12s has the labels of session %s. Whether it is the session's own cannot be told, for its image is gone, so "
                            "it is left alone. Look at it, and remove it: docker rm %.12s", c->container, swarm_call_subject(c), c->container);
        leave_alone(c);
}

/* Who runs an image that was committed from a session has a container with all the labels of that session's, but there they are those
 * of the image. */
static void ask_image(SwarmCall *c, const SwarmContainer *container) {
        _cleanup_free_ char *image = engine_escape(container->image), *path = image ? strformat("/images/%s/json", image) : NULL;

        if (free_and_strdup(&c->container, container->id) < 0 || free_and_strdup(&c->task, container->task) < 0)
                swarm_call_finish(c, -ENOMEM, NULL);
        else
                swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_image);
}

static void on_service(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        if (a->outcome == ENGINE_OK) {
                log_warning("Container %.12s of another service has the labels of session %s; it is left alone.", c->container, swarm_call_subject(c));
                leave_alone(c);
        } else if (a->status == 404)
                remove_when_late(c, c->container);
        else
                swarm_call_fail(c, a, "tell whose a container is");
}

/* Labels are copied with a service, down to those of its containers. */
static void ask_service(SwarmCall *c, const SwarmContainer *container) {
        _cleanup_free_ char *service = engine_escape(container->service), *path = service ? strformat("/services/%s", service) : NULL;

        if (free_and_strdup(&c->container, container->id) < 0)
                swarm_call_finish(c, -ENOMEM, NULL);
        else
                swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_service);
}

/* ---- */

/* A task may go before its container, and Swarm tries once only to remove that; what is still there after a while is
 * removed here. Other nodes' containers are not seen. */
static void on_removal_containers(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmContainer container, doubtful = {};
        const char *left = NULL;
        const json_t *o;
        size_t i;

        c->engine = NULL;
        json_array_foreach(a->json, i, o) {
                if (swarm_container_parse(o, &container) < 0 || strv_contains(c->strangers, container.id))
                        continue;
                if (container.of_task && (!container.service || streq_ptr(container.service, c->service)))
                        left = container.id;
                else if (container.of_task || (container.task && container.image))
                        doubtful = container;
        }
        if (c->containers_usec == 0)
                c->containers_usec = swarm_now();
        if (a->outcome != ENGINE_OK)
                swarm_call_fail(c, a, "list the containers of the session");
        else if (doubtful.of_task)
                ask_service(c, &doubtful);
        else if (doubtful.id)
                ask_image(c, &doubtful);
        else if (!left)
                forget_session(c);
        else
                remove_when_late(c, left);
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

static void remove_service(SwarmCall *c) {
        _cleanup_free_ char *path = strformat("/services/%s", c->service);

        swarm_call_engine(c, (EngineRequest) { .method = "DELETE", .path = path }, on_removed);
}

/* The session's own may have lost the label by which it is found, and is known by that of its container. */
static void on_all_services(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmService service;
        const json_t *o;
        size_t i;
        int r = 0;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "look for the service of the session");
                return;
        }
        json_array_foreach(a->json, i, o) {
                if (swarm_service_parse(o, &service) < 0 || !streq_ptr(service.session, c->session) || !service.named || service.labeled)
                        continue;
                r = free_and_strdup(&c->service, service.id);
                if (r >= 0)
                        r = free_and_strdup(&c->name, service.name);
                break;
        }
        if (r < 0)
                swarm_call_finish(c, r, NULL);
        else if (c->service)
                remove_service(c);
        else
                step_await_containers(c);
}

static void step_remove(SwarmCall *c) {
        _cleanup_free_ char *filters = NULL, *path = NULL;

        if (c->service) {
                remove_service(c);
                return;
        }
        filters = engine_filters("label", PROVIDER_LABEL_RECORD, NULL);
        path = filters ? strformat("/services?filters=%s", filters) : NULL;
        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_all_services);
}

int swarm_remove(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        SwarmCall *c;

        return swarm_call_begin(p, session, REMOVE_TIMEOUT_USEC, step_remove, cb, userdata, &c, ret);
}
