/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "backends.h"
#include "basic/log.h"
#include "event/http.h"
#include "provider/agent.h"
#include "provider/fake.h"
#include "provider/swarm.h"

struct Backends {
        sd_event *event;
        BackendsOptions options;
        Http *http;
        Agent *agent;                   /* made with the first provider that needs it */
        Provider *swarm;                /* the manager's; NULL if it is not configured */
};

static void registry_done(LayerRegistry *r) {
        free(r->url);
        free(r->ca_file);
        free(r->username);
        if (r->password)
                explicit_bzero(r->password, strlen(r->password));
        free(r->password);
}

/* No registry is fine: sessions run, and what needs one is refused with the remedy. */
static int read_registry(const Config *c, LayerRegistry *ret) {
        int r = config_registry(c, ret);

        if (r == -ENODATA) {
                *ret = (LayerRegistry) {};
                return 0;
        }
        return r;
}

/* The form in which the Engine names a registry: without scheme and path. */
static char *registry_host(const Config *c) {
        const char *host = strstr(strempty(c->registry_url), "://");

        host = host ? host + 3 : strempty(c->registry_url);
        return strndup(host, strcspn(host, "/"));
}

typedef struct PullCredential {
        char *registry, *username, *password;
} PullCredential;

static void pull_credential_done(PullCredential *p) {
        free(p->registry);
        free(p->username);
        if (p->password)
                explicit_bzero(p->password, strlen(p->password));
        free(p->password);
}

static int read_pull_credential(const Config *c, PullCredential *ret) {
        const char *colon = c->pull_credential ? strchr(c->pull_credential, ':') : NULL;

        ret->registry = registry_host(c);
        if (!ret->registry)
                return -ENOMEM;
        if (!colon)
                return 0;
        ret->username = strndup(c->pull_credential, (size_t) (colon - c->pull_credential));
        ret->password = strdup(colon + 1);
        return ret->username && ret->password ? 0 : -ENOMEM;
}

static int ensure_agent(Backends *b, const Config *c) {
        _cleanup_(registry_done) LayerRegistry registry = {};
        int r;

        if (b->agent)
                return 0;
        r = read_registry(c, &registry);
        if (r < 0)
                return r;
        return agent_new(b->event, b->http,
                         &(AgentConfig) {
                                 .engine_socket = c->engine_socket,
                                 .layer_path = b->options.layer_path,
                                 .stream_path = b->options.stream_path,
                                 .state_dir = b->options.state_dir,
                                 .runtime_dir = b->options.runtime_dir,
                                 .registry = &registry,
                         }, &b->agent);
}

static int make_swarm(Backends *b, const Config *c, Provider **ret) {
        _cleanup_(pull_credential_done) PullCredential pull = {};
        int r;

        r = ensure_agent(b, c);
        if (r >= 0)
                r = read_pull_credential(c, &pull);
        if (r >= 0)
                r = swarm_provider_new(b->event, b->http,
                                       &(SwarmConfig) {
                                               .engine_socket = c->engine_socket,
                                               .initialize = c->initialize_swarm,
                                               .advertise_address = c->advertise_address,
                                               .network = c->network,
                                               .default_organization = c->default_organization,
                                               .subnet = c->subnet,
                                               .log_driver = c->log_driver,
                                               .registry = pull.registry,
                                               .pull_username = pull.username,
                                               .pull_password = pull.password,
                                               .agent = b->agent,
                                       }, &b->swarm);
        if (r >= 0)
                *ret = b->swarm;
        return r;
}

static int make_fake(Backends *b, const Config *c, Provider **ret) {
        return fake_new(b->event, NULL, ret);
}

/* The providers that exist, by their name in Providers=. */
static const struct {
        const char *name;
        int (*make)(Backends *b, const Config *c, Provider **ret);
} makers[] = {
        { "swarm", make_swarm },
        { "fake", make_fake },
};

static int add_provider(Backends *b, Manager *m, const char *name) {
        _cleanup_(provider_freep) Provider *p = NULL;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(makers); i++) {
                if (!streq(makers[i].name, name))
                        continue;
                r = makers[i].make(b, m->config, &p);
                if (r >= 0)
                        r = manager_add_provider(m, p);
                if (r < 0)
                        return log_error_errno(r, "Cannot set up the provider \"%s\": %m", name);
                TAKE_PTR(p);
                return 0;
        }
        log_event(LOG_ERR, MESSAGE_CONFIG_INVALID, NULL, "Providers= names \"%s\", which this version does not have. It is left out.", name);
        return 0;
}

int backends_add_providers(Backends *b, Manager *m) {
        int r;

        STRV_FOREACH(name, m->config->providers) {
                r = add_provider(b, m, *name);
                if (r < 0)
                        return r;
        }
        return 0;
}

int backends_reload(Backends *b, const Config *c) {
        _cleanup_(registry_done) LayerRegistry registry = {};
        _cleanup_(pull_credential_done) PullCredential pull = {};
        int r = 0;

        if (b->agent) {
                r = read_registry(c, &registry);
                if (r >= 0)
                        r = agent_set_registry(b->agent, &registry);
        }
        if (r >= 0 && b->swarm) {
                swarm_provider_set_initialize(b->swarm, c->initialize_swarm);
                r = read_pull_credential(c, &pull);
                if (r >= 0)
                        r = swarm_provider_set_pull_credential(b->swarm, pull.registry, pull.username, pull.password);
        }
        return r;
}

int backends_new(sd_event *event, const BackendsOptions *options, Backends **ret) {
        _cleanup_(backends_freep) Backends *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->options = *options;
        r = http_new(event, &b->http);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

Backends *backends_free(Backends *b) {
        if (!b)
                return NULL;
        agent_free(b->agent);
        http_free(b->http);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}
