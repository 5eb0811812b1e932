/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A start while the last task is being removed makes two: Swarm's updater replaces the one that is over, and when that goes in
 * just this moment, its orchestrator fills the empty slot as well. Both run for seconds before one of them is stopped. So
 * a start waits until the slot is empty. */

#include "provider/swarm-internal.h"

#define SLOT_POLL_USEC (50 * USEC_PER_MSEC)
#define SLOT_HISTORY_USEC (2 * USEC_PER_SEC)
#define SLOT_REMOVE_USEC (10 * USEC_PER_SEC)
#define SLOT_GAP_USEC USEC_PER_SEC

static void ask(SwarmCall *c);

/* A task that is over keeps its slot until Swarm has removed it. What Swarm does not mean to remove, which it says a moment
 * after the service went to 0, is history of somebody else's update and stays, as does what is on a node that is down. */
static bool is_taken(const SwarmCall *c, const json_t *tasks) {
        usec_t now = swarm_now();
        const json_t *o;
        SwarmTask t;
        size_t i;

        json_array_foreach(tasks, i, o)
                if (swarm_task_parse(o, &t) >= 0 && streq(t.service, c->service) && !(t.node && swarm_node_is_down(c->swarm, t.node)) &&
                    now < c->slot_since_usec + (t.desired == SWARM_TASK_REMOVE ? SLOT_REMOVE_USEC : SLOT_HISTORY_USEC))
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
        if (a->outcome != ENGINE_OK)
                swarm_call_fail(c, a, "list the tasks of the session");
        else if (is_taken(c, a->json))
                swarm_call_later(c, SLOT_POLL_USEC, ask);
        else {
                c->slot_known = true;
                c->slot_next(c);
        }
}

static void ask(SwarmCall *c) {
        _cleanup_free_ char *path = swarm_tasks_path((const char *const[]) { c->name }, 1);

        if (!path)
                swarm_call_finish(c, -ENOMEM, NULL);
        else
                swarm_call_engine(c, (EngineRequest) { .method = "GET", .path = path }, on_tasks);
}

void swarm_wait_for_slot(SwarmCall *c, swarm_step next) {
        c->slot_next = next;
        ask(c);
}
