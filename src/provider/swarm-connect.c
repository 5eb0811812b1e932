/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "provider/swarm-internal.h"

#define WAIT_USEC (5 * USEC_PER_SEC)
#define CHECK_USEC (30 * USEC_PER_SEC)

/* ---- health ---- */

static void set_health(Swarm *s, ProviderHealth health, const char *detail) {
        if (s->health == health && streq_ptr(s->health_detail, detail))
                return;
        s->health = health;
        (void) free_and_strdup(&s->health_detail, detail);
        if (s->observer.on_health)
                s->observer.on_health(&s->provider, health, detail, s->observer.userdata);
}

int swarm_check_info(Swarm *s, const SwarmInfo *info, Refusal **reterr_refusal) {
        const char *socket = engine_socket(s->engine);

        if (info->live_restore)
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s runs with live-restore, which Swarm services do not work with. "
                              "Remove \"live-restore\" from /etc/docker/daemon.json and restart docker.service.", socket);
        if (info->storage_driver && !STR_IN_SET(info->storage_driver, "overlay2", "overlayfs"))
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s keeps containers with the storage driver %s, where the files of a session cannot be saved. "
                              "Set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json and restart docker.service.",
                              socket, info->storage_driver);
        /* Files in the writable layer belong to the host's users: saved so, no Engine could unpack them again. */
        if (info->mapped_users)
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s maps the users of containers to others of the host, so the files of a session cannot be saved with "
                              "their owners. Remove \"userns-remap\" from /etc/docker/daemon.json, run Docker as root and restart docker.service.", socket);
        switch (info->state) {
        case SWARM_INACTIVE:
                if (s->initialize)
                        return 0;
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s is not part of a Swarm. Run \"docker swarm init\" or \"docker swarm join\" on this host, "
                              "or set InitializeSwarm=yes in orchestrator.conf.", socket);
        case SWARM_LOCKED:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "The Swarm of Docker at %s is locked. Run \"docker swarm unlock\" on this host.", socket);
        case SWARM_PENDING:
        case SWARM_ERROR:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s cannot take part in its Swarm now: %s. Look at the journal of docker.service.", socket,
                              info->error ?: "it is still connecting");
        default:
                if (info->manager)
                        return 0;
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s is a worker of its Swarm, and only a manager can run sessions. "
                              "Run the manager role on a Swarm manager, or promote this node with \"docker node promote\".", socket);
        }
}

void swarm_take_info(Swarm *s, const SwarmInfo *info) {
        s->info = *info;
        (void) free_and_strdup(&s->local_node, info->node);
        (void) free_and_strdup(&s->engine_version, info->version);
        s->layers_hidden = !streq_ptr(info->storage_driver, "overlay2");
        s->info.node = s->info.error = s->info.version = s->info.system_time = s->info.storage_driver = NULL;
}

/* ---- connection ---- */

void swarm_disconnect(Swarm *s) {
        s->asking = engine_call_cancel(s->asking);
        s->listing = engine_call_cancel(s->listing);
        s->events = engine_call_cancel(s->events);
        s->node_listing = engine_call_cancel(s->node_listing);
        swarm_poll_stop(s);
        if (s->again)
                timer_disarm(s->again);
        s->phase = SWARM_OFF;
}

void swarm_connect_later(Swarm *s, usec_t after_usec) {
        swarm_disconnect(s);
        s->phase = SWARM_WAITING;
        (void) timer_arm(s->again, after_usec);
}

int swarm_check_answer(Swarm *s, const EngineAnswer *a) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        bool listing = s->phase == SWARM_LISTING;

        if (a->outcome == ENGINE_OK)
                return 0;
        log_debug("Docker at %s: %s", engine_socket(s->engine), a->message);
        swarm_connect_later(s, backoff_next(&s->backoff));
        /* An Engine whose Swarm has no leader says of itself that all is well. */
        if (listing) {
                (void) swarm_error_refusal(s, a, "list what runs in its Swarm", &refusal);
                set_health(s, PROVIDER_UNAVAILABLE, refusal ? refusal->message : a->message);
        }
        return -EIO;
}

static void on_info(const EngineAnswer *a, void *userdata);

void swarm_connect(Swarm *s) {
        int r;

        /* A watch that works goes on while its Engine is asked how it is. */
        if (s->phase != SWARM_WATCHING) {
                swarm_disconnect(s);
                s->phase = SWARM_ASKING;
        }
        s->asking = engine_call_cancel(s->asking);
        /* An Engine that stops leaves its Swarm before its containers have ended, and says until then that it is in none. */
        r = engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = "/info",
                .timeout_usec = 10 * USEC_PER_SEC,
                .fresh = true,
                .once = true,
                .on_done = on_info,
                .userdata = s,
        }, &s->asking);
        if (r < 0)
                swarm_connect_later(s, backoff_next(&s->backoff));
}

/* No Swarm yet, but one will be made with the first session: that there are none is known. */
static void wait_for_first_session(Swarm *s) {
        swarm_connect_later(s, WAIT_USEC);
        if (!s->listed || s->sessions) {
                swarm_sessions_clear(s);
                if (!swarm_sessions_report(s))
                        return;
        }
        set_health(s, PROVIDER_HEALTHY, NULL);
}

static void on_info(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        _cleanup_refusal_ Refusal *refusal = NULL;
        SwarmInfo info;

        s->asking = NULL;
        if (a->outcome != ENGINE_OK) {
                (void) swarm_error_refusal(s, a, "answer", &refusal);
                swarm_connect_later(s, backoff_next(&s->backoff));
                set_health(s, PROVIDER_UNAVAILABLE, refusal ? refusal->message : a->message);
                return;
        }
        if (swarm_info_parse(a->json, &info) < 0) {
                swarm_connect_later(s, WAIT_USEC);
                set_health(s, PROVIDER_UNAVAILABLE, "What listens on the Engine's socket does not answer like Docker.");
                return;
        }
        swarm_take_info(s, &info);
        /* Nobody else's question makes that later: what happened in between would be neither in the list nor told. */
        if (s->phase == SWARM_ASKING)
                (void) free_and_strdup(&s->system_time, info.system_time);
        if (swarm_check_info(s, &info, &refusal) < 0) {
                swarm_connect_later(s, WAIT_USEC);
                set_health(s, PROVIDER_UNAVAILABLE, refusal ? refusal->message : NULL);
                return;
        }
        if (info.state == SWARM_INACTIVE) {
                wait_for_first_session(s);
                return;
        }
        if (s->phase == SWARM_WATCHING) {
                (void) timer_arm(s->again, CHECK_USEC);
                swarm_list_nodes(s);
                return;
        }
        swarm_list(s);
}

void swarm_connected(Swarm *s) {
        s->phase = SWARM_WATCHING;
        backoff_reset(&s->backoff);
        (void) timer_arm(s->again, CHECK_USEC);
        if (!swarm_sessions_report(s))
                return;
        swarm_poll_soon(s);
        /* The list was a sweep. */
        s->swept_usec = swarm_now();
        (void) timer_arm(s->sweep, USEC_PER_SEC);
        if (s->info.history_off)
                set_health(s, PROVIDER_DEGRADED,
                                 "The Swarm's task history limit is 0, so a container that ends by itself is removed with its files "
                                 "before they can be saved. Run \"docker swarm update --task-history-limit 1\".");
        else if (!s->agent)
                set_health(s, PROVIDER_DEGRADED, "There is no agent on this node, so its sessions cannot be saved.");
        else
                set_health(s, PROVIDER_HEALTHY, NULL);
}

/* ---- events ---- */

static void on_service_event(Swarm *s, const SwarmEvent *e) {
        swarm_inspect(s, e->id);
}

static void on_container_event(Swarm *s, const SwarmEvent *e) {
        static const char health_prefix[] = "health_status: ";
        SwarmSession *ss = e->session ? swarm_session_find(s, e->session) : NULL;

        if (!ss || !streq_ptr(e->service, ss->service))
                return;
        if (streq(e->action, "start")) {
                swarm_container_runs(s, e->id);
                if (streq_ptr(e->id, ss->container))
                        ss->container_ended = false;
        }
        if (STR_IN_SET(e->action, "start", "die", "oom")) {
                /* The task says so a moment later. */
                swarm_session_heat(ss, 2 * USEC_PER_SEC);
                return;
        }
        if (!streq_ptr(e->id, ss->container))
                return;
        if (STR_IN_SET(e->action, "pause", "unpause"))
                swarm_session_set_container(ss, streq(e->action, "pause"), ss->health, false);
        else if (startswith(e->action, health_prefix)) {
                _cleanup_free_ char *health = strdup(e->action + strlen(health_prefix));
                swarm_session_set_container(ss, ss->frozen, health, false);
        } else if (streq(e->action, "destroy"))
                swarm_session_set_container(ss, false, NULL, true);
        (void) swarm_session_report(ss);
}

static void on_event(json_t *o, void *userdata) {
        Swarm *s = userdata;
        SwarmEvent e;

        if (swarm_event_parse(o, &e) < 0)
                return;
        switch (e.type) {
        case SWARM_EVENT_SERVICE:
                on_service_event(s, &e);
                break;
        case SWARM_EVENT_NODE:
                swarm_list_nodes(s);
                break;
        default:
                on_container_event(s, &e);
        }
}

static void on_events_end(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;

        s->events = NULL;
        log_debug("The event stream of Docker at %s ended: %s", engine_socket(s->engine), a->message ?: "closed");
        /* Asked at once how it is: then it is known whether it went away or only closed the stream. Later and later if every
         * stream ends as it begins, as where a proxy lets no events through: each brings a list of everything. */
        if (swarm_now() - s->watched_usec >= WAIT_USEC)
                backoff_reset(&s->watch_backoff);
        swarm_connect_later(s, backoff_next(&s->watch_backoff));
}

/* Everything since its answer to /info, so that nothing falls between the list and the stream. */
int swarm_watch(Swarm *s) {
        static const char *const actions[] = {
                "create", "update", "remove", "start", "die", "destroy", "pause", "unpause", "health_status", "oom",
        };
        _cleanup_json_ json_t *filters = json_pack("{s:[s,s,s],s:[s,s],s:[]}", "type", "service", "node", "container",
                                                   "scope", "swarm", "local", "event"), *time = json_string(strempty(s->system_time));
        _cleanup_free_ char *text = NULL, *escaped = NULL, *path = NULL;
        usec_t since = json_timestamp(time);

        for (size_t i = 0; i < ELEMENTSOF(actions); i++)
                if (json_array_append_new(json_at(filters, "event"), json_string(actions[i])) < 0)
                        return -ENOMEM;
        text = json_dumps(filters, JSON_COMPACT);
        escaped = text ? engine_escape(text) : NULL;
        path = escaped ? strformat("/events?since=%" PRIu64 ".%06" PRIu64 "&filters=%s", since / USEC_PER_SEC, since % USEC_PER_SEC, escaped) : NULL;
        if (!path)
                return -ENOMEM;
        s->watched_usec = swarm_now();
        return engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .timeout_usec = USEC_INFINITY,
                .on_object = on_event,
                .on_done = on_events_end,
                .userdata = s,
        }, &s->events);
}
