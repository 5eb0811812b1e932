/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Thawing what is left: for ExecStopPost=, in a process of its own, and for an agent that goes away. In a loop of its own, so that
 * nothing else of the process runs meanwhile, and by an agent that has nothing but its hands on the Engine. */

#include <dirent.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

typedef struct ThawAll {
        Agent *agent;
        unsigned n_left;                /* containers */
        int r;                          /* of the first that failed */
} ThawAll;

typedef struct Left {
        ThawAll *all;
        const char *container;
        EngineCall *request;
} Left;

static void bare_agent_free(Agent *a) {
        if (!a)
                return;
        agent_thaws_free(a, NULL);
        engine_free(a->engine);
        http_free(a->http);
        free(a->frozen_dir);
        sd_event_unref(a->event);
        free(a);
}

static int bare_agent_new(const char *engine_socket, const char *frozen_dir, usec_t timeout_usec, Agent **ret) {
        Agent *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        a->thaw_timeout_usec = timeout_usec;
        r = sd_event_new(&a->event);
        if (r >= 0)
                r = http_new(a->event, &a->http);
        if (r >= 0)
                r = engine_new(a->event, a->http, engine_socket, &a->engine);
        if (r >= 0)
                r = free_and_strdup(&a->frozen_dir, frozen_dir);
        if (r < 0) {
                bare_agent_free(a);
                return r;
        }
        *ret = a;
        return 0;
}

static void over(ThawAll *all, int r) {
        all->n_left--;
        if (r < 0 && all->r >= 0)
                all->r = r == -EBADRQC ? -EIO : r;
}

static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        Left *left = userdata;

        if (r >= 0)
                log_info("Container %.*s was thawed.", CONTAINER_SHORT, left->container);
        over(left->all, r);
}

/* A killed one that is still there keeps its note: by it the kill is known to be ours. */
static void on_killed_seen(const EngineAnswer *answer, void *userdata) {
        Left *left = userdata;
        int r = answer->outcome == ENGINE_OK ? 0 : -EIO;

        left->request = NULL;
        if (answer->status == 404)
                r = note_remove(left->all->agent->frozen_dir, left->container);
        over(left->all, r);
}

static int look_at_killed(Left *left) {
        return agent_request(left->all->agent, &(const AgentRequest) {
                .method = "GET",
                .container = left->container,
                .verb = "json",
                .timeout_usec = left->all->agent->thaw_timeout_usec,
                .once = true,
                .on_done = on_killed_seen,
                .userdata = left,
        }, &left->request);
}

static int begin(Left *left) {
        Agent *a = left->all->agent;
        Note note = {};
        bool killed;
        int r;

        r = note_read(a->frozen_dir, left->container, &note);
        if (r < 0)
                return r;
        killed = note.witness;
        note_done(&note);
        return killed ? look_at_killed(left) : agent_thaw_begin(a, left->container, on_thawed, left, NULL);
}

static int thaw_and_wait(ThawAll *all, Strv containers) {
        _cleanup_free_ Left *left = calloc(strv_length(containers) + 1, sizeof(*left));
        int r = 0;

        if (!left)
                return -ENOMEM;
        for (size_t i = 0; i < strv_length(containers); i++) {
                left[i] = (Left) { .all = all, .container = containers[i] };
                all->n_left++;
                r = begin(left + i);
                if (r < 0)
                        over(all, r == -ENOENT ? 0 : r);
        }
        r = 0;
        while (all->n_left > 0 && r >= 0)
                r = sd_event_run(all->agent->event, UINT64_MAX);
        for (size_t i = 0; i < strv_length(containers); i++)
                engine_call_cancel(left[i].request);
        return r < 0 ? r : all->r;
}

static int thaw_containers(const char *engine_socket, const char *frozen_dir, Strv containers, usec_t timeout_usec) {
        ThawAll all = {};
        int r;

        if (strv_length(containers) == 0)
                return 0;
        r = bare_agent_new(engine_socket, frozen_dir, timeout_usec, &all.agent);
        if (r >= 0)
                r = thaw_and_wait(&all, containers);
        bare_agent_free(all.agent);
        return r;
}

void agent_leave_nothing_frozen(Agent *a) {
        _cleanup_strv_ Strv containers = NULL;

        agent_freezes_free(a, &containers);
        agent_thaws_free(a, &containers);
        (void) thaw_containers(engine_socket(a->engine), a->frozen_dir, containers, AGENT_THAW_ALL_USEC);
}

static int list_noted(const char *dir, Strv *ret) {
        struct dirent *entry;
        DIR *d = opendir(dir);
        int r = 0;

        if (!d)
                return errno == ENOENT ? 0 : -errno;
        while (r >= 0 && (entry = readdir(d)))
                if (container_id_is_valid(entry->d_name))
                        r = strv_extend(ret, entry->d_name);
        closedir(d);
        return r;
}

int agent_thaw_all(const char *engine_socket, const char *runtime_dir, usec_t timeout_usec) {
        _cleanup_free_ char *dir = strformat("%s/frozen", runtime_dir);
        _cleanup_strv_ Strv containers = NULL;
        int r = dir ? list_noted(dir, &containers) : -ENOMEM;

        return r < 0 ? r : thaw_containers(engine_socket, dir, containers, timeout_usec);
}
