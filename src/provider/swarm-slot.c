/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A start while the last task is being removed makes two: Swarm's updater replaces the one that is over, and when that goes in
 * just this moment, its orchestrator fills the empty slot as well. Both run for seconds before one of them is stopped. So
 * a start waits until the slot is empty. */

#include "basic/log.h"
#include "provider/swarm-internal.h"

#define SLOT_POLL_USEC (50 * USEC_PER_MSEC)
#define SLOT_WAIT_USEC (10 * USEC_PER_SEC)
#define SLOT_GAP_USEC USEC_PER_SEC

static void ask(SwarmCall *c);

/* A task that is over keeps its slot until Swarm has removed it. After a restart of the Engine it may take Swarm seconds to
 * begin with that. What is on a node that is down stays. */
static bool is_taken(const SwarmCall *c, const json_t *tasks) {
        const json_t *o;
        SwarmTask t;
        size_t i;

        json_array_foreach(tasks, i, o)
                if (swarm_task_parse(o, &t) >= 0 && streq(t.service, c->service) && !(t.node && swarm_node_is_down(c->swarm, t.node)) &&
                    swarm_task_keeps_slot(&t, c->force_update))
                        return true;
        return false;
}

/* What Swarm needs to remove a task is its own time: an Engine that was away begins anew. */
static void count_time(SwarmCall *c) {
        usec_t now = swarm_now();

        if (now > c->slot_seen_usec + SLOT_GAP_USEC)
                c->slot_since_usec = now;
        c->slot_seen_usec = now;
}

static void on_tasks(const EngineAnswer *a, void *userdata) {
        SwarmCall *c = userdata;

        c->engine = NULL;
        if (a->outcome == ENGINE_OK)
                count_time(c);
        if (a->outcome != ENGINE_OK) {
                swarm_call_fail(c, a, "list the tasks of the session");
                return;
        }
        if (is_taken(c, a->json)) {
                if (swarm_now() < c->slot_since_usec + SLOT_WAIT_USEC) {
                        swarm_call_later(c, SLOT_POLL_USEC, ask);
                        return;
                }
                log_debug("Session %s: Swarm still has a task of its last run; it is started beside that.", swarm_call_subject(c));
        }
        c->slot_known = true;
        c->slot_next(c);
}

static void ask(SwarmCall *c) {
        _cleanup_free_ char *path = swarm_tasks_path((const char *const[]) { c->name }, 1);

        swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path, .list = true }, on_tasks);
}

void swarm_wait_for_slot(SwarmCall *c, uint64_t force_update, swarm_step next) {
        c->force_update = force_update;
        c->slot_next = next;
        ask(c);
}
