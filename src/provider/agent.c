/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>
#include <time.h>

#include "provider/agent-internal.h"

usec_t agent_now(clockid_t clock) {
        struct timespec ts;

        (void) clock_gettime(clock, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

bool container_id_is_valid(const char *s) {
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
        size_t n = s ? strlen(s) : 0;

        return n > 0 && n <= CONTAINER_LENGTH_MAX && s[0] != '.' && s[0] != '-' && strspn(s, allowed) == n;
}

static void on_cancel(ProviderCall *call) {
        AgentCall *c = CONTAINER_OF(call, AgentCall, call);

        c->free(c);
}

void agent_call_init(AgentCall *c, Agent *a, void (*free_func)(AgentCall *call)) {
        c->call.cancel = on_cancel;
        c->agent = a;
        c->free = free_func;
        DL_APPEND(a->calls, c);
}

void agent_call_unlink(AgentCall *c) {
        DL_DELETE(c->agent->calls, c);
}

int agent_set_registry(Agent *a, const LayerRegistry *registry) {
        LayerRegistry copy;
        int r;

        r = layer_registry_copy(registry, &copy);
        if (r < 0)
                return r;
        layer_registry_erase(&a->registry);
        a->registry = copy;
        return 0;
}

static int make_dir(const char *parent, const char *name, char **ret) {
        char *path = strformat("%s/%s", parent, name);

        if (!path)
                return -ENOMEM;
        *ret = path;
        if (mkdir(parent, 0755) < 0 && errno != EEXIST)
                return -errno;
        return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int agent_new(sd_event *event, Http *http, const AgentConfig *config, Agent **ret) {
        static const LayerRegistry none = {};
        _cleanup_(agent_freep) Agent *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->http = http;
        a->thaw_timeout_usec = THAW_TIMEOUT_USEC;
        r = engine_new(event, http, config->engine_socket, &a->engine);
        if (r >= 0)
                r = free_and_strdup(&a->layer_path, config->layer_path);
        if (r >= 0)
                r = free_and_strdup(&a->stream_path, config->stream_path);
        if (r >= 0)
                r = make_dir(config->state_dir, "index", &a->index_dir);
        if (r >= 0)
                r = make_dir(config->runtime_dir, "frozen", &a->frozen_dir);
        if (r >= 0)
                r = make_dir(config->runtime_dir, "commands", &a->commands_dir);
        if (r >= 0)
                r = agent_set_registry(a, config->registry ?: &none);
        if (r >= 0)
                r = agent_sweep_new(a, &a->sweep);
        if (r >= 0)
                r = agent_reap_noted(a);
        if (r >= 0)
                r = agent_processes_noted(a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Agent *agent_free(Agent *a) {
        if (!a)
                return NULL;
        while (a->calls)
                a->calls->free(a->calls);
        if (a->engine)
                agent_leave_nothing_frozen(a);
        /* What was frozen is thawed by now. */
        agent_processes_free(a);
        agent_layer_free(a);
        while (a->watches)
                agent_watch_free(a->watches);
        agent_sweep_free(a->sweep);
        agent_reaps_free(a);
        engine_free(a->engine);
        layer_registry_erase(&a->registry);
        free(a->layer_path);
        free(a->stream_path);
        free(a->index_dir);
        free(a->frozen_dir);
        free(a->commands_dir);
        sd_event_unref(a->event);
        free(a);
        return NULL;
}

void agent_forget(Agent *a, const char *container) {
        Note note = {};

        if (!container_id_is_valid(container))
                return;
        agent_index_forget(a, container);
        /* One that is frozen is not gone, whatever the caller believes. */
        if (note_read(a->frozen_dir, container, &note) >= 0 && note.witness)
                (void) note_remove(a->frozen_dir, container);
        note_done(&note);
}
