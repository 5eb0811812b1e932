/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "provider/swarm-internal.h"

/* With more of them on their way the Engine is busy starting them: asking more rarely leaves it more to do that with. */
static const struct {
        unsigned hot_max;
        usec_t interval_usec;
} poll_intervals[] = {
        { 4, 100 * USEC_PER_MSEC },
        { 20, 250 * USEC_PER_MSEC },
        { UINT32_MAX, 500 * USEC_PER_MSEC },
};

/* A task that has ended by itself, or whose node went down, is no longer desired to run: a short list, however many run. All
 * are looked at now and then, for what that does not show. */
#define ENDED_USEC (5 * USEC_PER_SEC)
#define SWEEP_USEC (30 * USEC_PER_SEC)
#define SWEEP_LARGE_USEC (60 * USEC_PER_SEC)
#define SWEEP_LARGE 200U
#define WARM_USEC (2 * USEC_PER_SEC)

static bool is_hot(const SwarmSession *ss, usec_t now) {
        return ss->wanted && now < ss->hot_until_usec;
}

/* On its way for long: a large image comes over a slow line, or there is no node for it yet. */
static bool is_warm(const SwarmSession *ss) {
        return ss->wanted && (ss->task == TASK_PENDING || ss->task == TASK_STARTING ||
                              (ss->task == TASK_FAILED && ss->task_state <= SWARM_TASK_PENDING));
}

static void arm_poll(Swarm *s) {
        usec_t now = swarm_now(), interval = poll_intervals[0].interval_usec;
        SwarmSession *ss, *tmp;
        unsigned hot = 0, warm = 0;

        HASH_ITER(hh, s->sessions, ss, tmp) {
                hot += is_hot(ss, now);
                warm += is_warm(ss);
        }
        if (hot == 0) {
                if (warm > 0)
                        (void) timer_arm(s->poll, WARM_USEC);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(poll_intervals); i++)
                if (hot <= poll_intervals[i].hot_max) {
                        interval = poll_intervals[i].interval_usec;
                        break;
                }
        (void) timer_arm(s->poll, interval);
}

void swarm_poll_soon(Swarm *s) {
        if (s->phase == SWARM_WATCHING && !s->polling && !timer_is_armed(s->poll))
                (void) timer_arm(s->poll, poll_intervals[0].interval_usec / 2);
}

static usec_t sweep_interval(const Swarm *s) {
        return HASH_COUNT(s->sessions) > SWEEP_LARGE ? SWEEP_LARGE_USEC : SWEEP_USEC;
}

char *swarm_tasks_path(const char *const *names, size_t n) {
        _cleanup_json_ json_t *filters = json_object();
        _cleanup_free_ char *text = NULL, *escaped = NULL;
        json_t *array = json_array();

        if (json_object_set_new(filters, "name", array) < 0)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                /* A prefix of the task names <service>.<slot>.<id>; names of sessions have no dots. */
                _cleanup_free_ char *prefix = strformat("%s.", names[i]);
                if (!prefix || json_array_append_new(array, json_string(prefix)) < 0)
                        return NULL;
        }
        text = json_dumps(filters, JSON_COMPACT);
        escaped = text ? engine_escape(text) : NULL;
        return escaped ? strformat("/tasks?filters=%s", escaped) : NULL;
}

/* ---- a round: all hot ones, the warm ones when it is time, in a sweep all that are wanted; in batches ---- */

typedef struct Found {
        SwarmSession *session;
        SwarmTask task;
        bool found;
} Found;

typedef struct Batch {
        char *services[SWARM_POLL_BATCH];
        size_t n;
} Batch;

static void poll_batch(Swarm *s);

static Batch *batch_free(Batch *b) {
        for (size_t i = 0; b && i < b->n; i++)
                free(b->services[i]);
        free(b);
        return NULL;
}
DEFINE_CLEANUP(Batch *, batch_free)

/* The best task of each service of the batch. */
static void find_tasks(const json_t *tasks, Found *found, size_t n) {
        const json_t *o;
        size_t i;

        json_array_foreach(tasks, i, o) {
                SwarmTask t;
                if (swarm_task_parse(o, &t) < 0)
                        continue;
                for (size_t j = 0; j < n; j++)
                        if (found[j].session && streq(found[j].session->service, t.service) &&
                            swarm_session_task_is_better(found[j].session, &t, found[j].found ? &found[j].task : NULL)) {
                                found[j].task = t;
                                found[j].found = true;
                        }
        }
}

static void on_batch(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        _cleanup_(batch_freep) Batch *b = TAKE_PTR(s->batch);
        Found found[SWARM_POLL_BATCH] = {};

        s->polling = NULL;
        if (swarm_check_answer(s, a) < 0)
                return;
        for (size_t i = 0; i < b->n; i++)
                found[i].session = swarm_session_find_service(s, b->services[i]);
        find_tasks(a->json, found, b->n);
        for (size_t i = 0; i < b->n; i++) {
                if (!found[i].session)
                        continue;
                swarm_session_set_task(found[i].session, found[i].found ? &found[i].task : NULL);
        }
        /* By name, since a report may lead to a removal. */
        for (size_t i = 0; i < b->n; i++) {
                SwarmSession *ss = swarm_session_find_service(s, b->services[i]);
                if (ss && !swarm_session_report(ss))
                        return;
        }
        poll_batch(s);
}

static void poll_done(Swarm *s) {
        SwarmSession *ss, *tmp;

        HASH_ITER(hh, s->sessions, ss, tmp)
                ss->polled = false;
        if (s->sweeping) {
                s->sweeping = false;
                s->swept_usec = swarm_now();
        }
        if (s->polling_warm) {
                s->polling_warm = false;
                s->warmed_usec = swarm_now();
        }
        arm_poll(s);
}

static int batch_new(Swarm *s, Batch **ret, char **ret_path) {
        const char *names[SWARM_POLL_BATCH];
        _cleanup_(batch_freep) Batch *b = calloc(1, sizeof(*b));
        usec_t now = swarm_now();
        SwarmSession *ss, *tmp;

        if (!b)
                return -ENOMEM;
        HASH_ITER(hh, s->sessions, ss, tmp) {
                if (ss->polled || !ss->wanted)
                        continue;
                if (!s->sweeping && !is_hot(ss, now) && !(s->polling_warm && is_warm(ss)))
                        continue;
                ss->polled = true;
                names[b->n] = ss->name;
                b->services[b->n] = strdup(ss->service);
                if (!b->services[b->n])
                        return -ENOMEM;
                if (++b->n == SWARM_POLL_BATCH)
                        break;
        }
        if (b->n > 0 && !(*ret_path = swarm_tasks_path(names, b->n)))
                return -ENOMEM;
        *ret = TAKE_PTR(b);
        return 0;
}

static void poll_batch(Swarm *s) {
        _cleanup_(batch_freep) Batch *b = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = batch_new(s, &b, &path);
        if (r < 0 || b->n == 0) {
                poll_done(s);
                return;
        }
        r = engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .response_max = SWARM_TASKS_SIZE_MAX,
                .list = true,
                .on_done = on_batch,
                .userdata = s,
        }, &s->polling);
        if (r < 0) {
                log_debug_errno(r, "Cannot ask for tasks: %m");
                poll_done(s);
                return;
        }
        s->batch = TAKE_PTR(b);
}

static void on_poll(void *userdata) {
        Swarm *s = userdata;

        if (s->phase != SWARM_WATCHING || s->polling)
                return;
        s->polling_warm = swarm_now() >= s->warmed_usec + WARM_USEC;
        poll_batch(s);
}

static void on_ended(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        const json_t *o;
        size_t i;

        s->ending = NULL;
        if (swarm_check_answer(s, a) < 0)
                return;
        json_array_foreach(a->json, i, o) {
                SwarmSession *ss;
                SwarmTask t;

                if (swarm_task_parse(o, &t) < 0)
                        continue;
                ss = swarm_session_find_service(s, t.service);
                if (ss && ss->wanted && streq_ptr(ss->task_id, t.id) && ss->task_state != t.state)
                        swarm_session_heat(ss, SWARM_ENDED_HOT_USEC);
        }
}

static void ask_ended(Swarm *s) {
        _cleanup_free_ char *filters = engine_filters("desired-state", "shutdown", "label", PROVIDER_LABEL_SESSION, NULL),
                            *path = filters ? strformat("/tasks?filters=%s", filters) : NULL;
        int r;

        if (s->ending)
                return;
        r = path ? engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .response_max = SWARM_TASKS_SIZE_MAX,
                .list = true,
                .on_done = on_ended,
                .userdata = s,
        }, &s->ending) : -ENOMEM;
        if (r < 0)
                log_debug_errno(r, "Cannot ask for ended tasks: %m");
}

static void sweep(Swarm *s) {
        /* One that is on goes over to sweeping. */
        s->sweeping = true;
        if (!s->polling)
                poll_batch(s);
}

static void on_sweep(void *userdata) {
        Swarm *s = userdata;

        if (s->phase != SWARM_WATCHING)
                return;
        if (swarm_now() >= s->swept_usec + sweep_interval(s))
                sweep(s);
        else
                ask_ended(s);
        (void) timer_arm(s->sweep, ENDED_USEC);
}

int swarm_poll_setup(Swarm *s) {
        int r = timer_new(s->event, on_poll, s, &s->poll);
        return r < 0 ? r : timer_new(s->event, on_sweep, s, &s->sweep);
}

/* ---- single services, after events ---- */

static void inspect_next(Swarm *s);

static void on_inspected(const EngineAnswer *a, void *userdata) {
        Swarm *s = userdata;
        _cleanup_free_ char *id = s->inspect[0];
        SwarmService service;
        SwarmSession *ss;

        s->inspecting = NULL;
        memmove(s->inspect, s->inspect + 1, strv_length(s->inspect) * sizeof(char *));
        if (a->outcome == ENGINE_REFUSED && a->status == 404) {
                ss = swarm_session_find_service(s, id);
                if (ss && !swarm_session_remove(ss))
                        return;
        } else if (swarm_check_answer(s, a) < 0)
                return;
        else if (swarm_service_parse(a->json, &service) >= 0 && swarm_session_update(s, &service, &ss) >= 0 && ss &&
                 !swarm_session_report(ss))
                return;
        inspect_next(s);
}

static void inspect_next(Swarm *s) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (strv_length(s->inspect) == 0 || s->inspecting || s->phase != SWARM_WATCHING)
                return;
        path = strformat("/services/%s", s->inspect[0]);
        if (!path)
                return;
        r = engine_call(s->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .on_done = on_inspected,
                .userdata = s,
        }, &s->inspecting);
        if (r < 0)
                log_debug_errno(r, "Cannot ask for service %s: %m", s->inspect[0]);
}

/* Ids come from the Engine, but go into a path. */
static bool id_is_valid(const char *id) {
        size_t n = strlen(id);
        return n > 0 && n <= 64 && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") == n;
}

void swarm_inspect(Swarm *s, const char *service) {
        if (!service || s->phase != SWARM_WATCHING || !id_is_valid(service))
                return;
        /* The first is being looked at already: what it says may be older than this event. */
        if (strv_length(s->inspect) > 0 && strv_contains(s->inspect + 1, service))
                return;
        if (strv_extend(&s->inspect, service) >= 0)
                inspect_next(s);
}

void swarm_poll_stop(Swarm *s) {
        SwarmSession *ss, *tmp;

        s->polling = engine_call_cancel(s->polling);
        s->batch = batch_free(s->batch);
        s->ending = engine_call_cancel(s->ending);
        s->inspecting = engine_call_cancel(s->inspecting);
        strv_free(TAKE_PTR(s->inspect));
        s->sweeping = s->polling_warm = false;
        timer_disarm(s->poll);
        timer_disarm(s->sweep);
        HASH_ITER(hh, s->sessions, ss, tmp)
                ss->polled = false;
}
