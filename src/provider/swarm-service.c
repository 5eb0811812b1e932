/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "provider/swarm-internal.h"
#include "provider/swarm-spec.h"

#define CREATE_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define TRIES_MAX 20

/* journald where it works: the driver is built into every Engine, but only starts where journald listens. */
static const char *log_driver(const Swarm *s) {
        if (!streq(s->log_driver, "auto"))
                return s->log_driver;
        return s->info.journald && access("/run/systemd/journal/socket", F_OK) >= 0 ? "journald" : "local";
}

/* ---- placing ---- */

/* A node without an agent can run a session, but nobody there could save it. */
static int nodes_to_avoid(Swarm *s, Strv *ret) {
        SwarmNode *n, *tmp;

        HASH_ITER(hh, s->nodes, n, tmp)
                if (s->agent && !swarm_node_has_agent(s, n->id)) {
                        int r = strv_extend(ret, n->id);
                        if (r < 0)
                                return r;
                }
        return 0;
}

static int place(SwarmCall *c, json_t *body) {
        _cleanup_strv_ Strv avoid = NULL;
        int r;

        r = nodes_to_avoid(c->swarm, &avoid);
        if (r < 0)
                return r;
        return swarm_spec_place(body, c->network, c->node, avoid);
}

/* The network of the sessions was removed since it was found. */
static bool network_is_gone(const EngineAnswer *a) {
        return a->outcome == ENGINE_REFUSED && a->message && strstr(a->message, "network") && strstr(a->message, "not found");
}

static void prepare_again(SwarmCall *c, swarm_step next) {
        c->place_again = true;
        swarm_forget_network(c->swarm, c->organization);
        c->next_step = next;
        swarm_prepare(c);
}

/* ---- create ---- */

static void step_create(SwarmCall *c);
static void step_read(SwarmCall *c);

static void refuse_name(SwarmCall *c, const SwarmService *service) {
        /* What its container has written, nobody has saved. */
        if (service->session)
                swarm_call_refuse(c, REFUSAL_SESSION_EXISTS,
                                  "The Swarm has a service named %s that is another session's, %s, as after the store was put back from a backup. Leave that service "
                                  "alone, or its files are lost. Use another name, such as that of a clone with the files of this session; when this session is "
                                  "destroyed, the other one is taken up. One that the journal says to be destroyed, or that cannot be taken up, is nobody's any more: "
                                  "docker service rm %s", c->name, service->session, c->name);
        else
                swarm_call_refuse(c, REFUSAL_SESSION_EXISTS,
                                  "The Swarm has a service named %s that is not this session's. Use another name, or remove that service "
                                  "with \"docker service rm %s\".", c->name, c->name);
}

static void refuse_label(SwarmCall *c) {
        swarm_call_refuse(c, REFUSAL_WRONG_STATE,
                          "Service %s of the Swarm is the session's and may run, but somebody has changed its label " PROVIDER_LABEL_SESSION " or removed it. "
                          "Put it back, and the session goes on: docker service update --label-add " PROVIDER_LABEL_SESSION "=%s %s", c->name, c->session, c->name);
}

static void on_created(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        if (a->outcome == ENGINE_OK) {
                swarm_inspect(c->swarm, json_string_at(a->json, "ID"));
                swarm_call_finish(c, 0, NULL);
                return;
        }
        if (network_is_gone(a) && !c->place_again) {
                prepare_again(c, step_create);
                return;
        }
        c->in_doubt = c->in_doubt || a->outcome == ENGINE_UNKNOWN;
        /* It is there already, or may be: whose it is shows when it is read. */
        if ((a->status == 409 || a->outcome == ENGINE_UNKNOWN) && ++c->tries < TRIES_MAX && !swarm_call_expired(c))
                swarm_call_later(c, c->tries > 1 ? SWARM_AGAIN_USEC : 0, step_read);
        else
                swarm_call_fail(c, a, "create the service of the session");
}

static void step_create(SwarmCall *c) {
        int r = place(c, c->body);

        if (r < 0) {
                swarm_call_finish(c, r, NULL);
                return;
        }
        swarm_call_engine(c, (EngineRequest) {
                .method = "POST",
                .path = "/services/create",
                .body = c->body,
                .registry_auth = c->swarm->registry_auth,
        }, on_created);
}

/* What an accepted update says is known from then on: an observation that is older, such as that of the container's
 * death, must not be told as if the session were still to run. */
static void settle(SwarmCall *c) {
        _cleanup_json_ json_t *o = json_pack("{s:s, s:{s:I}, s:O}", "ID", c->service, "Version", "Index",
                                             (json_int_t) c->sent_version + 1, "Spec", c->sent);
        SwarmService service;
        SwarmSession *ss;

        if (!o || swarm_service_parse(o, &service) < 0 || swarm_session_update(c->swarm, &service, &ss) < 0)
                log_oom();
        swarm_inspect(c->swarm, c->service);
}

/* ---- run: the service is there, and gets a task again ---- */

static void on_run(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        /* An update that was sent twice, since nobody knew of the first, is out of sequence. */
        c->in_doubt = c->in_doubt || a->outcome == ENGINE_UNKNOWN || a->outcome == ENGINE_CONFLICT;
        if (a->outcome == ENGINE_OK) {
                settle(c);
                swarm_call_finish(c, 0, NULL);
        } else if (network_is_gone(a) && !c->place_again)
                prepare_again(c, step_read);
        else if ((a->outcome == ENGINE_CONFLICT || a->outcome == ENGINE_UNKNOWN) && ++c->tries < TRIES_MAX && !swarm_call_expired(c))
                swarm_call_later(c, SWARM_AGAIN_USEC, step_read);
        else
                swarm_call_fail(c, a, "start the service of the session");
}

static int post_update(SwarmCall *c, uint64_t version, json_t *spec, engine_cb cb) {
        _cleanup_free_ char *path = strformat("/services/%s/update?version=%" PRIu64, c->service, version);

        if (!path)
                return -ENOMEM;
        json_decref(c->sent);
        c->sent = json_incref(spec);
        c->sent_version = version;
        swarm_call_engine(c, (EngineRequest) {
                .method = "POST",
                .path = path,
                .body = spec,
                .registry_auth = c->swarm->registry_auth,
        }, cb);
        return 0;
}

static void run_service(SwarmCall *c, const SwarmService *service) {
        _cleanup_json_ json_t *body = json_deep_copy(c->body);
        int r = body ? place(c, body) : -ENOMEM;

        if (r >= 0)
                r = swarm_spec_update(body, service->spec);
        if (r >= 0)
                r = post_update(c, service->version, body, on_run);
        if (r < 0)
                swarm_call_finish(c, r, NULL);
}

/* One that Swarm would go on trying to place for ever. */
static bool has_failed(const SwarmSession *ss) {
        return ss && ss->task == TASK_FAILED;
}

static uint64_t sent_force_update(const SwarmCall *c) {
        return json_u64(json_at(c->sent ?: c->body, "TaskTemplate", "ForceUpdate"));
}

/* Only the answer was lost: the service is what this call has asked for. */
static bool is_in_force(const SwarmCall *c, const SwarmService *service) {
        return c->in_doubt && service->replicas > 0 && service->force_update == sent_force_update(c) && streq_ptr(service->image, c->image);
}

/* The Engine has said so; its task says it a moment later. */
static bool has_ended(const SwarmSession *ss, const SwarmTask *t) {
        return ss && ss->container_ended && streq_ptr(ss->container, t->container);
}

/* What there is of it decides whether it is started, runs already, or holds files that nobody has saved. */
static void on_run_tasks(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        const SwarmSession *ss = swarm_session_find(c->swarm, c->session);
        SwarmTask best, t;
        bool found = false;
        TaskState meaning;
        const json_t *o;
        size_t i;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "list the tasks of the session");
                return;
        }
        json_array_foreach(a->json, i, o)
                if (swarm_task_parse(o, &t) >= 0 && streq(t.service, c->service) && !(c->in_force && t.force_update < sent_force_update(c)) &&
                    swarm_session_task_is_better(ss, &t, found ? &best : NULL)) {
                        best = t;
                        found = true;
                }
        /* Swarm is about to make its task. One more update, and it would end that for another, with what was written by then. */
        if (c->in_force && !found) {
                swarm_inspect(c->swarm, c->service);
                swarm_call_finish(c, 0, NULL);
                return;
        }
        meaning = !found ? TASK_NONE : has_ended(ss, &best) ? TASK_EXITED :
                  swarm_task_meaning(&best, best.node && swarm_node_is_down(c->swarm, best.node));
        if (found && best.desired <= SWARM_TASK_RUNNING && streq_ptr(best.image, c->image) && !has_failed(ss) &&
            (meaning == TASK_PENDING || meaning == TASK_STARTING || meaning == TASK_RUNNING)) {
                swarm_call_finish(c, 0, NULL);
                return;
        }
        if (meaning == TASK_RUNNING || meaning == TASK_EXITED) {
                swarm_call_refuse(c, REFUSAL_WRONG_STATE,
                                  "Session %s cannot be started, because its last container (%.12s) still holds files that are not saved. "
                                  "Stop or hibernate it first, or discard its files with 'swarmctl stop --discard' (option `discard`).", swarm_call_subject(c), strna(best.container));
                return;
        }
        swarm_call_later(c, 0, step_read);
}

static void ask_run_tasks(SwarmCall *c) {
        _cleanup_free_ char *path = swarm_tasks_path((const char *const[]) { c->name }, 1);

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_run_tasks);
}

/* A name that no service has is taken for the beginning of an id: of one service, which is told of, or of several, which is
 * refused. Source: moby daemon/cluster/helpers.go. */
static bool is_absent(const SwarmCall *c, const EngineAnswer *a) {
        const char *name = json_string_at(a->json, "Spec", "Name");

        if (a->outcome == ENGINE_OK)
                return name && !streq(name, c->name);
        return a->outcome == ENGINE_REFUSED && (a->status == 404 || (a->status == 400 && strstr(a->message, "is ambiguous")));
}

static void on_read(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmService service;
        int r;

        c->engine = NULL;
        if (is_absent(c, a)) {
                swarm_call_later(c, 0, step_create);
                return;
        }
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "read the service of the session");
                return;
        }
        r = swarm_service_parse(a->json, &service);
        if (r >= 0)
                r = free_and_strdup(&c->service, service.id);
        if (r < 0)
                swarm_call_finish(c, r, NULL);
        else if (!streq_ptr(service.session, c->session))
                refuse_name(c, &service);
        else if (service.replicas > 0 && !service.labeled && !swarm_session_find(c->swarm, c->session))
                refuse_label(c);
        else if (service.replicas == 0 && !c->slot_known)
                swarm_wait_for_slot(c, service.force_update, step_read);
        else if (service.replicas == 0 || (c->tasks_known && !is_in_force(c, &service)))
                run_service(c, &service);
        else {
                c->tasks_known = true;
                c->in_force = is_in_force(c, &service);
                c->in_doubt = false;
                ask_run_tasks(c);
        }
}

static void step_read(SwarmCall *c) {
        _cleanup_free_ char *path = strformat("/services/%s", c->name);

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_read);
}

static int make(Provider *p, const ProviderSpec *spec, swarm_step next, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        _cleanup_(swarm_call_freep) SwarmCall *c = NULL;
        Swarm *s = swarm_of(p);
        int r;

        r = swarm_call_new(s, spec->session, CREATE_TIMEOUT_USEC, &c);
        if (r < 0)
                return r;
        c->done = cb;
        c->userdata = userdata;
        c->next_step = next;
        if ((r = free_and_strdup(&c->name, spec->name)) < 0 ||
            (r = free_and_strdup(&c->organization, isempty(spec->organization) ? s->default_organization : spec->organization)) < 0 ||
            (r = free_and_strdup(&c->node, isempty(spec->node) ? NULL : spec->node)) < 0 ||
            (r = free_and_strdup(&c->image, spec->image)) < 0 ||
            (r = swarm_spec_build(spec, log_driver(s), &c->body)) < 0 ||
            (r = swarm_call_start(c, swarm_prepare, ret)) < 0)
                return r;
        TAKE_PTR(c);
        return 0;
}

int swarm_create(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return make(p, spec, step_create, cb, userdata, ret);
}

int swarm_run(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return make(p, spec, step_read, cb, userdata, ret);
}

/* ---- a change of the service as it is: read, change, write ---- */

static void step_change(SwarmCall *c);

/* Of a task that had ended before the update came, Swarm keeps the container for its history. Nobody waits for this; what
 * fails is found by the agent's sweep. */
static void remove_container(SwarmCall *c) {
        if (c->container && c->node && swarm_node_has_agent(c->swarm, c->node))
                (void) agent_remove(c->swarm->agent, c->container, NULL, NULL, NULL);
}

static void on_changed(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        if (a->outcome == ENGINE_OK) {
                settle(c);
                remove_container(c);
                swarm_call_finish(c, 0, NULL);
        } else if ((a->outcome == ENGINE_CONFLICT || a->outcome == ENGINE_UNKNOWN) && ++c->tries < TRIES_MAX && !swarm_call_expired(c))
                swarm_call_later(c, SWARM_AGAIN_USEC, step_change);
        else
                swarm_call_fail(c, a, "update the service of the session");
}

static void on_change_read(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;
        SwarmService service;
        int r;

        c->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "read the service of the session");
                return;
        }
        r = swarm_service_parse(a->json, &service);
        if (r >= 0 && !streq_ptr(service.session, c->session))
                r = -EBADMSG;
        if (r >= 0)
                r = c->change(c, service.spec);
        if (r > 0)
                r = post_update(c, service.version, service.spec, on_changed);
        else {
                SwarmSession *ss;
                if (r == 0)
                        r = swarm_session_update(c->swarm, &service, &ss);
                swarm_call_finish(c, r, NULL);
                return;
        }
        if (r < 0)
                swarm_call_finish(c, r, NULL);
}

static void step_change(SwarmCall *c) {
        _cleanup_free_ char *path = strformat("/services/%s", c->service);

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_change_read);
}

void swarm_change_service(SwarmCall *c) {
        if (c->service)
                step_change(c);
        else
                swarm_call_refuse(c, REFUSAL_WRONG_STATE, "Session %s has no service in the Swarm.", swarm_call_subject(c));
}

/* ---- which service it is ---- */

static void on_located(const EngineAnswer *a, void *userdata) {
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
                if (swarm_service_parse(o, &service) < 0 || service.copied || (c->service && !service.named) || !streq_ptr(service.session, c->session))
                        continue;
                r = free_and_strdup(&c->service, service.id);
                if (r >= 0)
                        r = free_and_strdup(&c->name, service.name);
                if (r < 0)
                        break;
        }
        if (r < 0)
                swarm_call_finish(c, r, NULL);
        else
                c->next_step(c);
}

static void locate(SwarmCall *c) {
        SwarmSession *ss = swarm_session_find(c->swarm, c->session);
        _cleanup_free_ char *label = NULL, *filters = NULL, *path = NULL;

        if (ss) {
                if (free_and_strdup(&c->service, ss->service) < 0 || free_and_strdup(&c->name, ss->name) < 0)
                        swarm_call_finish(c, -ENOMEM, NULL);
                else
                        c->next_step(c);
                return;
        }
        /* The table may not have been filled yet. */
        label = strformat("%s=%s", PROVIDER_LABEL_SESSION, c->session);
        filters = label ? engine_filters("label", label, NULL) : NULL;
        path = filters ? strformat("/services?filters=%s", filters) : NULL;
        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_located);
}

int swarm_call_begin(Provider *p, const char *session, usec_t timeout_usec, swarm_step next, provider_done_cb cb, void *userdata,
                     SwarmCall **ret_call, ProviderCall **ret) {
        _cleanup_(swarm_call_freep) SwarmCall *c = NULL;
        int r;

        r = swarm_call_new(swarm_of(p), session, timeout_usec, &c);
        if (r < 0)
                return r;
        c->done = cb;
        c->userdata = userdata;
        c->next_step = next;
        r = swarm_call_start(c, locate, ret);
        if (r >= 0)
                *ret_call = TAKE_PTR(c);
        return r;
}

