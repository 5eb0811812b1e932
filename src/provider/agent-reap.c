/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Containers that are dead and whose files are proven. They are removed when their service has come to rest, by Swarm or by
 * us, but both try once only, and what is in the way then, such as a restart of the Engine, would leave them until the
 * sweep. What is still there after a while is removed here. */

#include <dirent.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

#define REAP_DELAY_USEC (10 * USEC_PER_SEC)
#define REAP_DELAY_MAX_USEC (300 * USEC_PER_SEC)
#define REAP_TRIES_MAX 20U
#define REAPS_MAX 10000U

struct AgentReap {
        Agent *agent;
        char *container, *started_at;
        Timer *timer;
        EngineCall *request;
        Backoff backoff;
        unsigned tries;
        AgentReap *prev, *next;
};

static void reap_free(AgentReap *r) {
        DL_DELETE(r->agent->reaps, r);
        r->agent->n_reaps--;
        engine_call_cancel(r->request);
        timer_free(r->timer);
        free(r->container);
        free(r->started_at);
        free(r);
}

/* The hourly sweep forgets what is left over. */
static void again(AgentReap *r) {
        if (++r->tries >= REAP_TRIES_MAX || timer_arm(r->timer, backoff_next(&r->backoff)) < 0)
                reap_free(r);
}

static bool is_gone(const EngineAnswer *answer) {
        return answer->outcome == ENGINE_OK || (answer->outcome == ENGINE_REFUSED && answer->status == 404);
}

static void on_removed(const EngineAnswer *answer, void *userdata) {
        AgentReap *r = userdata;

        r->request = NULL;
        if (!is_gone(answer)) {
                again(r);
                return;
        }
        log_info("Container %.*s was left behind; it was removed, its files are saved.", CONTAINER_SHORT, r->container);
        agent_forget(r->agent, r->container);
        reap_free(r);
}

static int request(AgentReap *r, const char *method, const char *verb, usec_t timeout_usec, engine_cb on_done) {
        return agent_request(r->agent, &(const AgentRequest) {
                .method = method,
                .container = r->container,
                .verb = verb,
                .timeout_usec = timeout_usec,
                .once = true,
                .on_done = on_done,
                .userdata = r,
        }, &r->request);
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        AgentReap *r = userdata;
        ContainerFacts facts = {};

        r->request = NULL;
        if (answer->outcome == ENGINE_REFUSED && answer->status == 404) {
                agent_forget(r->agent, r->container);
                reap_free(r);
                return;
        }
        if (answer->outcome != ENGINE_OK) {
                again(r);
                return;
        }
        /* One that somebody started again has files that are not saved. */
        bool dead = container_facts_parse(answer->json, &facts) >= 0 && !facts.running && streq_ptr(facts.started_at, r->started_at);
        container_facts_done(&facts);
        if (!dead)
                reap_free(r);
        else if (request(r, "DELETE", "?v=1", REMOVE_TIMEOUT_USEC, on_removed) < 0)
                again(r);
}

static void on_timer(void *userdata) {
        AgentReap *r = userdata;

        if (request(r, "GET", "json", INSPECT_TIMEOUT_USEC, on_inspected) < 0)
                again(r);
}

int agent_reap_later(Agent *a, const char *container, const char *started_at) {
        AgentReap *r;

        DL_FOREACH(a->reaps, r)
                if (streq(r->container, container)) {
                        reap_free(r);
                        break;
                }
        if (a->n_reaps >= REAPS_MAX)
                return 0;
        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        *r = (AgentReap) { .agent = a, .backoff = { .min_usec = REAP_DELAY_USEC, .max_usec = REAP_DELAY_MAX_USEC } };
        DL_APPEND(a->reaps, r);
        a->n_reaps++;
        r->container = strdup(container);
        r->started_at = strdup(started_at);
        if (!r->container || !r->started_at || timer_new(a->event, on_timer, r, &r->timer) < 0 || timer_arm(r->timer, REAP_DELAY_USEC) < 0) {
                reap_free(r);
                return -ENOMEM;
        }
        return 0;
}

/* What a service that ended had still to do. */
int agent_reap_noted(Agent *a) {
        struct dirent *entry;
        DIR *d = opendir(a->frozen_dir);
        int r = 0;

        if (!d)
                return -errno;
        while (r >= 0 && (entry = readdir(d))) {
                Note note = {};

                if (!container_id_is_valid(entry->d_name) || note_read(a->frozen_dir, entry->d_name, &note) < 0)
                        continue;
                if (note.witness && note.started_at)
                        r = agent_reap_later(a, entry->d_name, note.started_at);
                note_done(&note);
        }
        closedir(d);
        return r;
}

void agent_reaps_free(Agent *a) {
        while (a->reaps)
                reap_free(a->reaps);
}
