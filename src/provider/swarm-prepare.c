/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <utlist.h>

#include "basic/log.h"
#include "provider/swarm-internal.h"
#include "provider/swarm-network.h"

#define NETWORK_LABEL_ORGANIZATION "swarm.organization"
#define SWARM_PORT 2377
#define PREPARE_TIMEOUT_USEC (45 * USEC_PER_SEC)
/* How many ranges above Subnet= are tried for a further organization's network. */
#define SUBNETS_MAX 64

/* One at a time for each organization, however many creates wait for it. */
struct Preparation {
        Preparation *prev, *next;
        Swarm *swarm;
        char *organization, *network, *id;
        EngineCall *engine;
        unsigned tries;
};

static void preparation_free(Preparation *p) {
        engine_call_cancel(p->engine);
        free(p->organization);
        free(p->network);
        free(p->id);
        free(p);
}

static void network_free(Swarm *s, SwarmNetwork *n) {
        HASH_DEL(s->networks, n);
        free(n->organization);
        free(n->id);
        free(n);
}

void swarm_prepare_clear(Swarm *s) {
        SwarmNetwork *n, *ntmp;
        Preparation *p, *tmp;

        DL_FOREACH_SAFE(s->preparations, p, tmp) {
                DL_DELETE(s->preparations, p);
                preparation_free(p);
        }
        HASH_ITER(hh, s->networks, n, ntmp)
                network_free(s, n);
}

static SwarmNetwork *network_find(Swarm *s, const char *organization) {
        SwarmNetwork *n;

        HASH_FIND_STR(s->networks, organization, n);
        return n;
}

void swarm_forget_network(Swarm *s, const char *organization) {
        SwarmNetwork *n = network_find(s, organization);
        if (n)
                network_free(s, n);
}

static int network_remember(Swarm *s, const char *organization, const char *id) {
        SwarmNetwork *n;

        swarm_forget_network(s, organization);
        n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->organization = strdup(organization);
        n->id = strdup(id);
        if (!n->organization || !n->id) {
                free(n->organization);
                free(n->id);
                free(n);
                return -ENOMEM;
        }
        HASH_ADD_KEYPTR(hh, s->networks, n->organization, strlen(n->organization), n);
        return 0;
}

/* ---- the end: all that waited go on, each from its own timer ---- */

static void step_prepared(SwarmCall *c) {
        if (c->result < 0)
                swarm_call_finish(c, c->result, TAKE_PTR(c->refusal));
        else
                c->next_step(c);
}

static void prepare_end(Preparation *p, int r, const Refusal *refusal) {
        Swarm *s = p->swarm;
        SwarmCall *c;

        DL_FOREACH(s->calls, c) {
                if (c->preparation != p)
                        continue;
                c->preparation = NULL;
                c->result = r < 0 ? r : free_and_strdup(&c->network, p->id);
                if (refusal)
                        c->refusal = refusal_copy(refusal);
                c->on_timer = step_prepared;
                (void) timer_arm(c->timer, 0);
        }
        DL_DELETE(s->preparations, p);
        preparation_free(p);
}

static void prepare_fail(Preparation *p, int r, Refusal *refusal) {
        prepare_end(p, r, refusal);
        refusal_free(refusal);
}

static void prepare_error(Preparation *p, const EngineAnswer *a, const char *what) {
        Refusal *refusal = NULL;
        int r = swarm_error_refusal(p->swarm, a, what, &refusal);

        prepare_fail(p, r, refusal);
}

static int prepare_engine(Preparation *p, EngineRequest request, engine_cb cb) {
        int r;

        request.on_done = cb;
        request.userdata = p;
        request.timeout_usec = PREPARE_TIMEOUT_USEC;
        r = engine_call(p->swarm->engine, &request, &p->engine);
        if (r < 0)
                prepare_end(p, r, NULL);
        return r;
}

/* ---- network ---- */

static void find_network(Preparation *p);

static void prepare_done(Preparation *p, const char *id) {
        int r = free_and_strdup(&p->id, id);

        if (r >= 0)
                r = network_remember(p->swarm, p->organization, id);
        prepare_end(p, r, NULL);
}

static void on_network_created(const EngineAnswer *a, void *userdata) {
        Preparation *p = userdata;
        const char *id = json_string_at(a->json, "Id");

        p->engine = NULL;
        if (a->outcome == ENGINE_OK && id) {
                log_info("Made network %s of the Swarm.", p->network);
                prepare_done(p, id);
                return;
        }
        /* Somebody else was faster, or the answer was lost: it is looked for again. */
        if ((a->status == 409 || a->outcome == ENGINE_UNKNOWN) && ++p->tries < 3)
                find_network(p);
        else
                prepare_error(p, a, "make the network of the sessions");
}

static bool is_default(const Preparation *p) {
        return streq(p->organization, p->swarm->default_organization);
}

/* Subnet= for the default organization; for others the first free range of its size above it. */
static int choose_subnet(Preparation *p, const json_t *networks, Prefix *ret, Refusal **reterr_refusal) {
        _cleanup_free_ char *routes = NULL;
        Prefix prefix;
        int r;

        r = prefix_parse(p->swarm->subnet, &prefix);
        if (r < 0)
                return r;
        r = read_routes(&routes);
        if (r < 0)
                return r;
        if (is_default(p)) {
                *ret = prefix;
                return prefix_check(&prefix, routes, networks, reterr_refusal);
        }
        for (unsigned i = 0; i < SUBNETS_MAX; i++) {
                r = prefix_next(&prefix, &prefix);
                if (r < 0)
                        break;
                r = prefix_check(&prefix, routes, networks, reterr_refusal);
                if (r != -EBADRQC) {
                        *ret = prefix;
                        return r;
                }
        }
        return refuse(reterr_refusal, REFUSAL_NETWORK_CONFLICT,
                      "There is no free address range above %s for the network of organization %s. "
                      "Set Subnet= in orchestrator.conf to a smaller range.", p->swarm->subnet, p->organization);
}

static void create_network(Preparation *p, const json_t *networks) {
        _cleanup_json_ json_t *body = NULL;
        char subnet[PREFIX_STRING_MAX];
        Refusal *refusal = NULL;
        Prefix prefix;
        int r;

        r = choose_subnet(p, networks, &prefix, &refusal);
        if (r < 0) {
                prepare_fail(p, r, refusal);
                return;
        }
        body = json_pack("{s:s,s:s,s:s,s:b,s:b,s:{s:s,s:[{s:s}]},s:{s:s}}",
                         "Name", p->network, "Driver", "overlay", "Scope", "swarm", "Attachable", 0, "CheckDuplicate", 1,
                         "IPAM", "Driver", "default", "Config", "Subnet", prefix_format(&prefix, subnet),
                         "Labels", NETWORK_LABEL_ORGANIZATION, p->organization);
        /* Organizations do not trust each other's nodes' neighbours: all but the default one's traffic is encrypted. */
        if (!body || (!is_default(p) && json_take(body, "Options", json_pack("{s:s}", "encrypted", "")) < 0)) {
                prepare_end(p, -ENOMEM, NULL);
                return;
        }
        (void) prepare_engine(p, (EngineRequest) { .method = "POST", .path = "/networks/create", .body = body }, on_network_created);
}

static void on_networks(const EngineAnswer *a, void *userdata) {
        Preparation *p = userdata;
        Refusal *refusal = NULL;
        const json_t *o;
        size_t i;

        p->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                prepare_error(p, a, "list its networks");
                return;
        }
        json_array_foreach(a->json, i, o) {
                if (!streq_ptr(json_string_at(o, "Name"), p->network) || !json_string_at(o, "Id"))
                        continue;
                if (streq_ptr(json_string_at(o, "Driver"), "overlay") && streq_ptr(json_string_at(o, "Scope"), "swarm")) {
                        prepare_done(p, json_string_at(o, "Id"));
                        return;
                }
                int r = refuse(&refusal, REFUSAL_NETWORK_CONFLICT,
                               "The Docker network %s is not an overlay network of the Swarm, so sessions cannot use it. "
                               "Remove it, or set Network= in orchestrator.conf to another name.", p->network);
                prepare_fail(p, r, refusal);
                return;
        }
        create_network(p, a->json);
}

static void find_network(Preparation *p) {
        (void) prepare_engine(p, (EngineRequest) { .method = "GET", .path = "/networks", .list = true }, on_networks);
}

/* ---- Swarm ---- */

static void ask_info(Preparation *p);

static void on_initialized(const EngineAnswer *a, void *userdata) {
        Preparation *p = userdata;

        p->engine = NULL;
        if (a->outcome == ENGINE_OK) {
                log_notice("Initialised a Swarm with this node as its manager.");
                swarm_connect(p->swarm);
        } else if (a->outcome != ENGINE_UNKNOWN && !strstr(a->message, "already part of a swarm")) {
                prepare_error(p, a, "initialise a Swarm");
                return;
        }
        ask_info(p);
}

static void initialize(Preparation *p) {
        _cleanup_free_ char *routes = NULL, *address = NULL, *listen = NULL;
        _cleanup_json_ json_t *body = NULL;
        Refusal *refusal = NULL;
        int r;

        if (++p->tries > 3)
                r = refuse(&refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                           "Docker at %s does not become part of a Swarm. Look at the journal of docker.service.", engine_socket(p->swarm->engine));
        else if (p->swarm->advertise_address)
                r = free_and_strdup(&address, p->swarm->advertise_address);
        else {
                r = read_routes(&routes);
                if (r >= 0)
                        r = detect_address(routes, &address, &refusal);
        }
        if (r < 0) {
                prepare_fail(p, r, refusal);
                return;
        }
        listen = strformat("%s:%d", address, SWARM_PORT);
        /* Not 0.0.0.0: nobody said that other networks of this host may reach it. */
        body = listen ? json_pack("{s:s,s:s,s:s}", "ListenAddr", listen, "AdvertiseAddr", address, "DataPathAddr", address) : NULL;
        if (!body) {
                prepare_end(p, -ENOMEM, NULL);
                return;
        }
        (void) prepare_engine(p, (EngineRequest) { .method = "POST", .path = "/swarm/init", .body = body }, on_initialized);
}

static void on_info(const EngineAnswer *a, void *userdata) {
        Preparation *p = userdata;
        Refusal *refusal = NULL;
        SwarmInfo info;
        int r;

        p->engine = NULL;
        if (a->outcome != ENGINE_OK) {
                prepare_error(p, a, "say whether it is part of a Swarm");
                return;
        }
        r = swarm_info_parse(a->json, &info);
        if (r >= 0)
                r = swarm_check_info(p->swarm, &info, &refusal);
        if (r < 0) {
                prepare_fail(p, r, refusal);
                return;
        }
        swarm_take_info(p->swarm, &info);
        if (info.state == SWARM_INACTIVE)
                initialize(p);
        else
                find_network(p);
}

static void ask_info(Preparation *p) {
        (void) prepare_engine(p, (EngineRequest) { .method = "GET", .path = "/info", .fresh = true }, on_info);
}

/* ---- begin ---- */

static int preparation_new(Swarm *s, const char *organization, Preparation **ret) {
        Preparation *p = calloc(1, sizeof(*p));
        bool is_default_organization = streq(organization, s->default_organization);

        if (!p)
                return -ENOMEM;
        p->swarm = s;
        p->organization = strdup(organization);
        p->network = is_default_organization ? strdup(s->network) : strformat("%s-%s", s->network, organization);
        if (!p->organization || !p->network) {
                preparation_free(p);
                return -ENOMEM;
        }
        DL_APPEND(s->preparations, p);
        *ret = p;
        return 0;
}

void swarm_prepare(SwarmCall *c) {
        Swarm *s = c->swarm;
        SwarmNetwork *n = network_find(s, c->organization);
        Preparation *p;
        int r;

        if (n && s->phase == SWARM_WATCHING) {
                r = free_and_strdup(&c->network, n->id);
                if (r < 0)
                        swarm_call_finish(c, r, NULL);
                else
                        c->next_step(c);
                return;
        }
        DL_FOREACH(s->preparations, p)
                if (streq(p->organization, c->organization)) {
                        c->preparation = p;
                        return;
                }
        r = preparation_new(s, c->organization, &p);
        if (r < 0) {
                swarm_call_finish(c, r, NULL);
                return;
        }
        c->preparation = p;
        ask_info(p);
}
