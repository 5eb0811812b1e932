/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "provider/swarm-internal.h"

/* A full list comes in pages by the first character of the service id (36 of them), so that neither side holds all specs
 * at once. */
static const char id_characters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
#define PAGE_SESSIONS 50U

/* ---- nodes ---- */

static void node_free(SwarmNode *n) {
        free(n->id);
        free(n->name);
        free(n->state);
        free(n->availability);
        free(n->role);
        free(n->address);
        free(n->engine_version);
        free(n);
}

void swarm_nodes_clear(Swarm *s) {
        SwarmNode *n, *tmp;

        HASH_ITER(hh, s->nodes, n, tmp) {
                HASH_DEL(s->nodes, n);
                node_free(n);
        }
}

static SwarmNode *node_find(Swarm *s, const char *id) {
        SwarmNode *n;

        HASH_FIND_STR(s->nodes, id, n);
        return n;
}

bool swarm_node_is_down(Swarm *s, const char *id) {
        SwarmNode *n = node_find(s, id);

        /* "unknown" is what all are for a moment after a change of the leader; agents that answer late are not dead. */
        return n && STR_IN_SET(n->state, "down", "disconnected");
}

const char *swarm_node_name(Swarm *s, const char *id) {
        SwarmNode *n = id ? node_find(s, id) : NULL;

        return n && !isempty(n->name) ? n->name : id;
}

bool swarm_node_has_agent(Swarm *s, const char *id) {
        return s->agent && streq_ptr(id, s->local_node);
}

static int node_new(Swarm *s, const char *id, SwarmNode **ret) {
        SwarmNode *n = calloc(1, sizeof(*n));

        if (!n || !(n->id = strdup(id))) {
                free(n);
                return -ENOMEM;
        }
        HASH_ADD_KEYPTR(hh, s->nodes, n->id, strlen(n->id), n);
        *ret = n;
        return 0;
}

/* 1 if something is new, 0 if not. */
static int node_update(SwarmNode *n, const ProviderNode *p) {
        char **fields[] = { &n->name, &n->state, &n->availability, &n->role, &n->address, &n->engine_version };
        const char *values[] = { p->name, p->state, p->availability, p->role, p->address, p->engine_version };
        bool changed = n->nano_cpus != p->nano_cpus || n->memory_bytes != p->memory_bytes;

        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                if (streq_ptr(*fields[i], values[i]))
                        continue;
                if (free_and_strdup(fields[i], values[i]) < 0)
                        return -ENOMEM;
                changed = true;
        }
        n->nano_cpus = p->nano_cpus;
        n->memory_bytes = p->memory_bytes;
        return changed;
}

/* False: the provider is gone. */
static bool sessions_of_node_changed(Swarm *s, const char *id) {
        SwarmSession *ss, *tmp;

        HASH_ITER(hh, s->sessions, ss, tmp)
                if (streq_ptr(ss->node, id)) {
                        swarm_session_node_changed(ss);
                        if (!swarm_session_report(ss))
                                return false;
                }
        return true;
}

static bool take_node(Swarm *s, const json_t *o) {
        ProviderNode p;
        SwarmNode *n;
        bool gone = false;

        if (swarm_node_parse(o, &p) < 0)
                return true;
        n = node_find(s, p.id);
        if (!n && node_new(s, p.id, &n) < 0)
                return true;
        n->list_serial = s->list_serial;
        if (node_update(n, &p) <= 0)
                return true;
        p.agent = swarm_node_has_agent(s, p.id);
        s->gone = &gone;
        s->observer.on_node(&s->provider, &p, s->observer.userdata);
        if (gone)
                return false;
        s->gone = NULL;
        return sessions_of_node_changed(s, p.id);
}

static bool drop_absent_nodes(Swarm *s) {
        SwarmNode *n, *tmp;

        HASH_ITER(hh, s->nodes, n, tmp) {
                bool gone = false;

                if (n->list_serial == s->list_serial)
                        continue;
                HASH_DEL(s->nodes, n);
                s->gone = &gone;
                s->observer.on_node_removed(&s->provider, n->id, s->observer.userdata);
                node_free(n);
                if (gone)
                        return false;
                s->gone = NULL;
        }
        return true;
}

static bool take_nodes(Swarm *s, const json_t *list) {
        const json_t *o;
        size_t i;

        s->list_serial++;
        json_array_foreach(list, i, o)
                if (!take_node(s, o))
                        return false;
        return drop_absent_nodes(s);
}

static void on_nodes(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;

        s->node_listing = NULL;
        if (swarm_check_answer(s, a) < 0 || !take_nodes(s, a->json))
                return;
        if (s->nodes_stale)
                swarm_list_nodes(s);
}

void swarm_list_nodes(Swarm *s) {
        int r;

        /* What is on its way may be older than the event that this is for. */
        s->nodes_stale = s->node_listing;
        if (s->node_listing || s->phase != SWARM_WATCHING)
                return;
        r = engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = "/nodes",
                .list = true,
                .on_done = on_nodes,
                .userdata = s,
        }, &s->node_listing);
        if (r < 0)
                log_debug_errno(r, "Cannot ask for the nodes: %m");
}

/* ---- the full list: nodes, services in pages, tasks, this node's containers (in this order: a container that a task names
 * and that is not in the later list is gone) ---- */

static int list_request(Swarm *s, const char *path, engine_cb cb) {
        int r = engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .response_max = SWARM_TASKS_SIZE_MAX,
                .list = true,
                .on_done = cb,
                .userdata = s,
        }, &s->listing);

        if (r < 0)
                swarm_connect_later(s, backoff_next(&s->backoff));
        return r;
}

static void list_page(Swarm *s);

static void drop_absent_sessions(Swarm *s) {
        SwarmSession *ss, *tmp;
        bool listed = s->listed;

        /* The list itself says that they are gone. */
        s->listed = false;
        HASH_ITER(hh, s->sessions, ss, tmp)
                if (ss->list_serial != s->list_serial)
                        (void) swarm_session_remove(ss);
        s->listed = listed;
}

/* What this node's containers say of themselves. Containers of other nodes' tasks are not in the list. */
static void apply_containers(Swarm *s, const json_t *containers) {
        SwarmSession *ss, *tmp;
        const json_t *o;
        size_t i;

        HASH_ITER(hh, s->sessions, ss, tmp)
                ss->container_listed = false;
        json_array_foreach(containers, i, o) {
                SwarmContainer c;

                if (swarm_container_parse(o, &c) < 0 || !c.session)
                        continue;
                ss = swarm_session_find(s, c.session);
                if (!ss || !streq_ptr(c.id, ss->container))
                        continue;
                ss->container_listed = true;
                swarm_session_set_container(ss, c.frozen, c.health, false);
                if (c.ended)
                        swarm_session_set_ended(ss, c.id, c.exit_code);
        }
        HASH_ITER(hh, s->sessions, ss, tmp)
                if (ss->task == TASK_EXITED && !ss->container_listed && streq_ptr(ss->node, s->local_node))
                        swarm_session_set_container(ss, false, NULL, true);
}

static void end_list(Swarm *s) {
        int r;

        r = swarm_watch(s);
        if (r < 0)
                swarm_connect_later(s, backoff_next(&s->backoff));
        else
                swarm_connected(s);
}

static void on_listed_containers(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;

        s->listing = NULL;
        if (swarm_check_answer(s, a) < 0)
                return;
        apply_containers(s, a->json);
        end_list(s);
}

static void list_containers(Swarm *s) {
        _cleanup_free_ char *filters = engine_filters("label", PROVIDER_LABEL_SESSION, NULL),
                            *path = filters ? strformat("/containers/json?all=1&filters=%s", filters) : NULL;

        if (!path)
                swarm_connect_later(s, backoff_next(&s->backoff));
        else
                (void) list_request(s, path, on_listed_containers);
}

static void list_tasks(Swarm *s);

static void on_listed_tasks(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        SwarmSession *ss, *tmp;

        s->listing = NULL;
        if (swarm_check_answer(s, a) < 0)
                return;
        HASH_ITER(hh, s->sessions, ss, tmp) {
                SwarmTask best, t;
                bool found = false;
                const json_t *o;
                size_t i;

                if (ss->page != s->page)
                        continue;
                json_array_foreach(a->json, i, o)
                        if (swarm_task_parse(o, &t) >= 0 && streq(t.service, ss->service) &&
                            swarm_session_task_is_better(ss, &t, found ? &best : NULL)) {
                                best = t;
                                found = true;
                        }
                swarm_session_set_task(ss, found ? &best : NULL);
        }
        list_tasks(s);
}

static void list_tasks(Swarm *s) {
        const char *names[SWARM_POLL_BATCH];
        _cleanup_free_ char *path = NULL;
        SwarmSession *ss, *tmp;
        size_t n = 0;

        s->page++;
        HASH_ITER(hh, s->sessions, ss, tmp) {
                if (!ss->wanted || ss->page > 0)
                        continue;
                ss->page = s->page;
                names[n++] = ss->name;
                if (n == SWARM_POLL_BATCH)
                        break;
        }
        if (n == 0) {
                list_containers(s);
                return;
        }
        path = swarm_tasks_path(names, n);
        if (!path)
                swarm_connect_later(s, backoff_next(&s->backoff));
        else
                (void) list_request(s, path, on_listed_tasks);
}

static void begin_tasks(Swarm *s) {
        SwarmSession *ss, *tmp;

        drop_absent_sessions(s);
        HASH_ITER(hh, s->sessions, ss, tmp)
                ss->page = 0;
        s->page = 0;
        list_tasks(s);
}

static void on_listed_services(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        const json_t *o;
        size_t i;

        s->listing = NULL;
        if (swarm_check_answer(s, a) < 0)
                return;
        json_array_foreach(a->json, i, o) {
                SwarmService service;
                SwarmSession *ss;

                if (swarm_service_parse(o, &service) < 0 || !service.session)
                        continue;
                if (swarm_session_update(s, &service, &ss) >= 0 && ss)
                        ss->list_serial = s->list_serial;
        }
        list_page(s);
}

/* How many characters a page takes: one in a large cluster, all of them in a small one. */
static size_t page_width(const Swarm *s) {
        size_t pages = HASH_COUNT(s->sessions) / PAGE_SESSIONS + 1;
        /* Nothing is known before the first list. */
        if (!s->listed)
                pages = 12;
        return (strlen(id_characters) + pages - 1) / pages;
}

static void list_page(Swarm *s) {
        _cleanup_json_ json_t *filters = NULL;
        _cleanup_free_ char *text = NULL, *escaped = NULL, *path = NULL;
        json_t *ids = json_array();
        size_t end = MIN(s->page + page_width(s), strlen(id_characters));
        bool ok = true;

        if (s->page >= strlen(id_characters)) {
                json_decref(ids);
                begin_tasks(s);
                return;
        }
        for (; s->page < end; s->page++)
                ok = json_array_append_new(ids, json_stringn(id_characters + s->page, 1)) >= 0 && ok;
        filters = json_pack("{s:[s],s:o}", "label", PROVIDER_LABEL_SESSION, "id", ids);
        text = filters ? json_dumps(filters, JSON_COMPACT) : NULL;
        escaped = text ? engine_escape(text) : NULL;
        path = escaped && ok ? strformat("/services?filters=%s", escaped) : NULL;
        if (!path)
                swarm_connect_later(s, backoff_next(&s->backoff));
        else
                (void) list_request(s, path, on_listed_services);
}

static void on_listed_nodes(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;

        s->listing = NULL;
        if (swarm_check_answer(s, a) < 0 || !take_nodes(s, a->json))
                return;
        s->list_serial++;
        s->page = 0;
        list_page(s);
}

void swarm_list(Swarm *s) {
        SwarmSession *ss, *tmp;

        /* A Swarm that was put back from a backup counts on from where it was then. */
        HASH_ITER(hh, s->sessions, ss, tmp)
                ss->version = 0;
        s->phase = SWARM_LISTING;
        (void) list_request(s, "/nodes", on_listed_nodes);
}
