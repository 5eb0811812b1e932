/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Indexes and notes of containers that are gone, whether or not anybody said so: every hour the Engine is asked about
 * each container that something is kept of, one at a time. One that we have killed, or saved after its end, and that is
 * still there is removed: a crash came before that. One that carries a note of a freeze, and that the Engine does not know to be
 * frozen, is thawed all the same: the kernel may freeze it yet (agent-freeze.c), and nobody else would see it. */

#include <dirent.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

#define SWEEP_FIRST_USEC (60 * USEC_PER_SEC)
#define SWEEP_EVERY_USEC (3600 * USEC_PER_SEC)
#define SWEEP_MAX 10000U

struct AgentSweep {
        Agent *agent;
        Timer *timer;
        Strv containers;                /* those that are still to be asked for */
        size_t n_containers;
        EngineCall *request;
};

static int add_names(const char *path, bool with_suffix, Strv *ret) {
        size_t n = strv_length(*ret);
        struct dirent *entry;
        DIR *d = opendir(path);
        int r = 0;

        if (!d)
                return -errno;
        while (r >= 0 && n < SWEEP_MAX && (entry = readdir(d))) {
                char *dot = with_suffix ? strrchr(entry->d_name, '.') : NULL;
                if (dot)
                        *dot = 0;
                if (!container_id_is_valid(entry->d_name) || strv_contains(*ret, entry->d_name))
                        continue;
                r = strv_extend(ret, entry->d_name);
                n++;
        }
        closedir(d);
        return r;
}

static void sweep_next(AgentSweep *s);

/* Its files are saved: only then is such a note written. */
static bool is_left_over(AgentSweep *s, const char *container, const json_t *json) {
        Note note = {};
        ContainerFacts facts = {};
        bool yes = false;

        if (note_read(s->agent->frozen_dir, container, &note) >= 0 && note.witness && container_facts_parse(json, &facts) >= 0)
                yes = !facts.running && streq_ptr(note.started_at, facts.started_at);
        container_facts_done(&facts);
        note_done(&note);
        return yes;
}

/* The kernel may still keep it: looked at again long before the next hour. */
static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        AgentSweep *s = userdata;

        if (r < 0)
                (void) timer_arm(s->timer, SWEEP_FIRST_USEC);
}

static bool is_half_frozen(AgentSweep *s, const char *container, const json_t *json) {
        const json_t *state = json_at(json, "State");
        Note note = {};
        bool yes;

        if (!json_true_at(state, "Running") || json_true_at(state, "Paused") || agent_freeze_is_unsettled(s->agent, container) ||
            agent_is_captured(s->agent, container) || note_read(s->agent->frozen_dir, container, &note) < 0)
                return false;
        yes = !note.witness;
        note_done(&note);
        return yes;
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        AgentSweep *s = userdata;
        const char *container = s->containers[s->n_containers - 1];

        s->request = NULL;
        if (answer->outcome == ENGINE_REFUSED && answer->status == 404) {
                log_debug("Container %.*s is gone: its index and note are removed.", CONTAINER_SHORT, container);
                agent_index_forget(s->agent, container);
                (void) note_remove(s->agent->frozen_dir, container);
        } else if (answer->outcome != ENGINE_OK) {
                /* No use to ask for the others. */
                s->containers = strv_free(s->containers);
                s->n_containers = 0;
                return;
        } else if (is_left_over(s, container, answer->json))
                (void) agent_remove(s->agent, container, NULL, NULL, NULL);
        else if (is_half_frozen(s, container, answer->json))
                (void) agent_thaw_begin(s->agent, container, on_thawed, s, NULL);
        free(s->containers[--s->n_containers]);
        s->containers[s->n_containers] = NULL;
        sweep_next(s);
}

static void sweep_next(AgentSweep *s) {
        if (s->n_containers == 0)
                return;
        (void) agent_request(s->agent, &(const AgentRequest) {
                .method = "GET",
                .container = s->containers[s->n_containers - 1],
                .verb = "json",
                .timeout_usec = INSPECT_TIMEOUT_USEC,
                .on_done = on_inspected,
                .userdata = s,
        }, &s->request);
}

void agent_sweep_now(AgentSweep *s) {
        s->request = engine_call_cancel(s->request);
        s->containers = strv_free(s->containers);
        (void) add_names(s->agent->index_dir, true, &s->containers);
        (void) add_names(s->agent->frozen_dir, false, &s->containers);
        s->n_containers = strv_length(s->containers);
        sweep_next(s);
}

static void on_timer(void *userdata) {
        AgentSweep *s = userdata;

        agent_sweep_now(s);
        (void) timer_arm(s->timer, SWEEP_EVERY_USEC);
}

int agent_sweep_new(Agent *a, AgentSweep **ret) {
        AgentSweep *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->agent = a;
        r = timer_new(a->event, on_timer, s, &s->timer);
        if (r >= 0)
                r = timer_arm(s->timer, SWEEP_FIRST_USEC);
        if (r < 0) {
                agent_sweep_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

AgentSweep *agent_sweep_free(AgentSweep *s) {
        if (!s)
                return NULL;
        engine_call_cancel(s->request);
        timer_free(s->timer);
        strv_free(s->containers);
        free(s);
        return NULL;
}
