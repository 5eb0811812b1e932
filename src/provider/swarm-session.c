/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/log.h"
#include "provider/swarm-internal.h"

/* A task that Swarm cannot find addresses for stays "new" without a word of why (moby#43052); one without a node says so
 * at once, but says it also while a node is just joining. */
#define NEW_MAX_USEC (10 * USEC_PER_SEC)
#define UNPLACED_MAX_USEC (3 * USEC_PER_SEC)
#define ABSENT_MAX_USEC (10 * USEC_PER_SEC)
/* An Engine that is about to stop lists no tasks for a moment, and what is called gone is laid to rest, files and all. */
#define GONE_MIN_USEC (3 * USEC_PER_SEC)
#define GONE_GAP_USEC (2 * USEC_PER_SEC)
#define TRANSITION_HOT_USEC (20 * USEC_PER_SEC)

SwarmSession *swarm_session_find(Swarm *s, const char *session) {
        SwarmSession *ss;

        HASH_FIND_STR(s->sessions, session, ss);
        return ss;
}

SwarmSession *swarm_session_find_service(Swarm *s, const char *service) {
        SwarmSession *ss;

        HASH_FIND(hh_service, s->sessions_by_service, service, strlen(service), ss);
        return ss;
}

static void session_free(SwarmSession *ss) {
        free(ss->session);
        free(ss->service);
        free(ss->name);
        free(ss->image);
        free(ss->record);
        free(ss->task_id);
        free(ss->node);
        free(ss->container);
        free(ss->error);
        free(ss->health);
        free(ss);
}

static void session_drop(SwarmSession *ss) {
        HASH_DEL(ss->swarm->sessions, ss);
        HASH_DELETE(hh_service, ss->swarm->sessions_by_service, ss);
        session_free(ss);
}

void swarm_sessions_clear(Swarm *s) {
        SwarmSession *ss, *tmp;

        HASH_ITER(hh, s->sessions, ss, tmp)
                session_drop(ss);
}

/* ---- changes ---- */

static void set_string(SwarmSession *ss, char **field, const char *value) {
        if (streq_ptr(*field, value))
                return;
        if (free_and_strdup(field, value) >= 0)
                ss->changed = true;
}

#define SET(ss, field, value)                                   \
        do {                                                    \
                typeof((ss)->field) _v = (value);               \
                if ((ss)->field != _v) {                        \
                        (ss)->field = _v;                       \
                        (ss)->changed = true;                   \
                }                                               \
        } while (0)

void swarm_session_heat(SwarmSession *ss, usec_t usec) {
        ss->hot_until_usec = MAX(ss->hot_until_usec, swarm_now() + usec);
        swarm_poll_soon(ss->swarm);
}

static void clear_task(SwarmSession *ss) {
        free(TAKE_PTR(ss->task_id));
        set_string(ss, &ss->node, NULL);
        set_string(ss, &ss->container, NULL);
        set_string(ss, &ss->error, NULL);
        set_string(ss, &ss->health, NULL);
        SET(ss, frozen, false);
        SET(ss, started_usec, 0);
        SET(ss, exit_code, 0);
        ss->container_gone = ss->container_ended = false;
}

static int session_new(Swarm *s, const SwarmService *service, SwarmSession **ret) {
        SwarmSession *ss = calloc(1, sizeof(*ss));

        if (!ss)
                return -ENOMEM;
        ss->swarm = s;
        ss->session = strdup(service->session);
        ss->service = strdup(service->id);
        if (!ss->session || !ss->service) {
                session_free(ss);
                return -ENOMEM;
        }
        HASH_ADD_KEYPTR(hh, s->sessions, ss->session, strlen(ss->session), ss);
        HASH_ADD_KEYPTR(hh_service, s->sessions_by_service, ss->service, strlen(ss->service), ss);
        ss->task = TASK_NONE;
        ss->changed = true;
        *ret = ss;
        return 0;
}

/* The record was made anew under another service id. */
static int session_rekey(SwarmSession *ss, const char *service) {
        char *copy = strdup(service);

        if (!copy)
                return -ENOMEM;
        HASH_DELETE(hh_service, ss->swarm->sessions_by_service, ss);
        free(ss->service);
        ss->service = copy;
        ss->version = 0;
        HASH_ADD_KEYPTR(hh_service, ss->swarm->sessions_by_service, ss->service, strlen(ss->service), ss);
        clear_task(ss);
        return 0;
}

static void set_replicas(SwarmSession *ss, uint64_t replicas) {
        if (replicas > 1 && replicas != ss->replicas)
                log_warning("Service %s was scaled to %" PRIu64 " tasks from outside, and a session is one: what another of its containers writes "
                            "is not saved. Hibernate or stop the session: that saves its own container and ends the others. Do not scale it back, for Swarm may "
                            "remove its own then.", strna(ss->name), replicas);
        ss->replicas = replicas;
        SET(ss, wanted, replicas > 0);
}

/* Labels are copied with a service, and what another one holds are not the session's files. */
static void warn_of_another(const char *session, const char *service) {
        log_warning("Service %s of the Swarm says that it is session %s, which another one is; it is left alone. "
                    "Remove its label: docker service update --label-rm " PROVIDER_LABEL_SESSION " %s", service, session, service);
}

/* It is known by its container until the next full list, which asks for the label. */
static void set_labeled(SwarmSession *ss, bool labeled) {
        if (!labeled && !ss->mislabeled)
                log_warning("Somebody has changed the label " PROVIDER_LABEL_SESSION " of service %s, or removed it, and by that its session is found. Put it back: "
                            "docker service update --label-add " PROVIDER_LABEL_SESSION "=%s %s", ss->name, ss->session, ss->name);
        ss->mislabeled = !labeled;
}

static void await_task(SwarmSession *ss) {
        SET(ss, task, TASK_PENDING);
        ss->waiting_since_usec = swarm_now();
        ss->task_seen = false;
        swarm_session_heat(ss, TRANSITION_HOT_USEC);
}

static void end_history(SwarmSession *ss) {
        ss->history_usec = ss->task_created_usec;
        ss->history_force_update = ss->task_force_update;
        clear_task(ss);
}

int swarm_session_update(Swarm *s, const SwarmService *service, SwarmSession **ret) {
        SwarmSession *ss = service->session ? swarm_session_find(s, service->session) : NULL;
        bool was_wanted = ss && ss->wanted;
        int r;

        *ret = NULL;
        if (!service->session)
                return 0;
        if (ss ? !streq(ss->service, service->id) && !service->named : service->copied) {
                warn_of_another(service->session, service->id);
                return 0;
        }
        if (!ss)
                r = session_new(s, service, &ss);
        else if (streq(ss->service, service->id))
                r = 0;
        else {
                if (!ss->named)
                        warn_of_another(ss->session, ss->service);
                r = session_rekey(ss, service->id);
        }
        if (r < 0)
                return r;
        *ret = ss;
        if (service->version < ss->version)
                return 0;
        ss->version = service->version;
        ss->named = service->named;
        set_string(ss, &ss->name, service->name);
        set_string(ss, &ss->image, service->image);
        set_string(ss, &ss->record, service->record);
        SET(ss, generation, service->generation);
        set_labeled(ss, service->labeled);
        set_replicas(ss, service->replicas);
        if (!ss->wanted) {
                /* What is still there is being removed by Swarm and is nobody's concern any more. */
                end_history(ss);
                SET(ss, task, TASK_NONE);
                ss->waiting_since_usec = 0;
                ss->hot_until_usec = 0;
        } else if (!was_wanted)
                await_task(ss);
        else if (ss->task == TASK_FAILED && service->force_update > ss->task_force_update) {
                /* The next one may fail in the same words, and that is to be told as well. */
                end_history(ss);
                await_task(ss);
        }
        return 0;
}

/* ---- tasks ---- */

static usec_t waited(const SwarmSession *ss) {
        return ss->waiting_since_usec > 0 ? swarm_now() - ss->waiting_since_usec : 0;
}

/* Its task was there, and one answer after the other says that it is not any more. */
static bool is_surely_absent(SwarmSession *ss) {
        usec_t now = swarm_now();

        if (now - ss->absent_seen_usec > GONE_GAP_USEC)
                ss->absent_since_usec = now;
        ss->absent_seen_usec = now;
        return now - ss->absent_since_usec >= GONE_MIN_USEC;
}

static void set_no_task(SwarmSession *ss) {
        bool absent;

        if (ss->task_seen && ss->task != TASK_GONE && !is_surely_absent(ss)) {
                swarm_session_heat(ss, GONE_MIN_USEC + USEC_PER_SEC);
                return;
        }
        /* Swarm takes a moment to make the first one. */
        if (ss->task_seen)
                absent = true;
        else
                absent = waited(ss) >= ABSENT_MAX_USEC;
        clear_task(ss);
        SET(ss, task, absent ? TASK_GONE : TASK_PENDING);
}

/* Swarm finds addresses for one after the other: of hundreds at a time the last ones wait, as long as others get theirs. */
static bool is_stuck_new(const SwarmSession *ss, const SwarmTask *t) {
        return t->state == SWARM_TASK_NEW && waited(ss) >= NEW_MAX_USEC && swarm_now() - ss->swarm->allocated_usec >= NEW_MAX_USEC;
}

static void set_pending_task(SwarmSession *ss, const SwarmTask *t) {
        if (is_stuck_new(ss, t)) {
                SET(ss, task, TASK_FAILED);
                set_string(ss, &ss->error, "Docker Swarm found no address for it within 10 s: the network's address range is used up, "
                           "or overlaps with another network or route of a manager");
                return;
        }
        if (t->error && waited(ss) >= UNPLACED_MAX_USEC)
                SET(ss, task, TASK_FAILED);
        else
                SET(ss, task, TASK_PENDING);
        set_string(ss, &ss->error, t->error);
}

/* One that is being removed while another is wanted says nothing about the other; nor does one that ended before, which Swarm
 * keeps for its history, and which is all that there is until the other is made. */
static bool is_history(const SwarmSession *ss, const SwarmTask *t) {
        if (t->desired == SWARM_TASK_REMOVE)
                return true;
        if (t->desired <= SWARM_TASK_RUNNING)
                return false;
        return (t->created_usec <= ss->history_usec && t->force_update <= ss->history_force_update) || (t->image && ss->image && !streq(t->image, ss->image));
}

bool swarm_session_task_is_better(const SwarmSession *ss, const SwarmTask *a, const SwarmTask *b) {
        if (!ss || ss->replicas <= 1 || !b)
                return swarm_task_is_better(a, b);
        if (ss->task_id && streq(a->id, ss->task_id) != streq(b->id, ss->task_id)) {
                const SwarmTask *known = streq(a->id, ss->task_id) ? a : b;

                if (known->desired != SWARM_TASK_REMOVE)
                        return known == a;
        }
        if (a->desired <= SWARM_TASK_RUNNING && b->desired <= SWARM_TASK_RUNNING)
                return a->created_usec < b->created_usec;
        return swarm_task_is_better(a, b);
}

void swarm_session_set_task(SwarmSession *ss, const SwarmTask *t) {
        TaskState meaning;
        bool moved;

        if (!ss->wanted)
                return;
        if (t && is_history(ss, t))
                t = NULL;
        if (!t) {
                set_no_task(ss);
                return;
        }
        moved = !streq_ptr(ss->task_id, t->id) || ss->task_state != t->state;
        if (t->state > SWARM_TASK_NEW && (!streq_ptr(ss->task_id, t->id) || ss->task_state == SWARM_TASK_NEW))
                ss->swarm->allocated_usec = swarm_now();
        if (!streq_ptr(ss->task_id, t->id) || !streq_ptr(ss->container, t->container)) {
                set_string(ss, &ss->health, NULL);
                SET(ss, frozen, false);
                ss->container_gone = ss->container_ended = false;
        }
        ss->task_seen = true;
        ss->absent_seen_usec = 0;
        ss->task_state = t->state;
        ss->task_created_usec = t->created_usec;
        ss->task_force_update = t->force_update;
        (void) free_and_strdup(&ss->task_id, t->id);
        set_string(ss, &ss->node, t->node);
        set_string(ss, &ss->container, t->container);
        if (moved && t->state == SWARM_TASK_RUNNING && ss->container && swarm_node_has_agent(ss->swarm, ss->node))
                swarm_container_runs(ss->swarm, ss->container);
        meaning = swarm_task_meaning(t, t->node && swarm_node_is_down(ss->swarm, t->node));
        if (moved)
                ss->waiting_since_usec = swarm_now();
        if (meaning == TASK_RUNNING && ss->container_ended) {
                meaning = TASK_EXITED;
                SET(ss, exit_code, ss->container_exit_code);
        } else
                SET(ss, exit_code, meaning == TASK_EXITED ? t->exit_code : 0);
        if (t->state == SWARM_TASK_RUNNING)
                SET(ss, started_usec, t->since_usec);
        if (meaning == TASK_PENDING)
                set_pending_task(ss, t);
        else {
                SET(ss, task, meaning == TASK_EXITED && ss->container_gone ? TASK_GONE : meaning);
                set_string(ss, &ss->error, t->error);
        }
        if (!STR_IN_SET(task_state_to_string(ss->task), "pending", "starting"))
                ss->hot_until_usec = MIN(ss->hot_until_usec, swarm_now() + USEC_PER_SEC);
        else if (moved)
                swarm_session_heat(ss, TRANSITION_HOT_USEC);
}

void swarm_session_node_changed(SwarmSession *ss) {
        if (!ss->wanted || !ss->node)
                return;
        if (swarm_node_is_down(ss->swarm, ss->node)) {
                if (STR_IN_SET(task_state_to_string(ss->task), "starting", "running", "exited"))
                        SET(ss, task, TASK_LOST);
        } else if (ss->task == TASK_LOST)
                /* Whether it survived is in its task. */
                swarm_session_heat(ss, 5 * USEC_PER_SEC);
}

void swarm_session_set_container(SwarmSession *ss, bool frozen, const char *health, bool gone) {
        SET(ss, frozen, frozen);
        set_string(ss, &ss->health, health);
        ss->container_gone = gone;
        if (gone && ss->task == TASK_EXITED)
                SET(ss, task, TASK_GONE);
}

void swarm_session_set_ended(SwarmSession *ss, const char *container, int exit_code) {
        if (!ss->wanted || !streq_ptr(ss->container, container))
                return;
        ss->container_ended = true;
        ss->container_exit_code = exit_code;
        SET(ss, frozen, false);
        if (ss->task != TASK_RUNNING)
                return;
        SET(ss, task, TASK_EXITED);
        SET(ss, exit_code, exit_code);
        swarm_session_heat(ss, SWARM_ENDED_HOT_USEC);
}

/* ---- reports ---- */

static ProviderObservation observation_of(const SwarmSession *ss) {
        return (ProviderObservation) {
                .session = ss->session,
                .exists = true,
                .wanted = ss->wanted,
                .image = ss->image,
                .generation = ss->generation,
                .record = ss->record,
                .task = ss->task,
                .node = ss->node,
                .container = ss->container,
                .started_usec = ss->started_usec,
                .exit_code = ss->exit_code,
                .frozen = ss->frozen,
                .health = ss->health,
                .error = ss->error,
        };
}

static void report_one(Swarm *s, const ProviderObservation *o) {
        s->observer.on_session(&s->provider, o, s->observer.userdata);
}

bool swarm_session_report(SwarmSession *ss) {
        Swarm *s = ss->swarm;
        ProviderObservation o;
        bool gone = false;

        if (!ss->changed || !s->listed)
                return true;
        ss->changed = false;
        o = observation_of(ss);
        s->gone = &gone;
        report_one(s, &o);
        if (gone)
                return false;
        s->gone = NULL;
        return true;
}

bool swarm_session_remove(SwarmSession *ss) {
        Swarm *s = ss->swarm;
        _cleanup_free_ char *session = TAKE_PTR(ss->session);
        bool gone = false;

        /* hh keeps a pointer to the key. */
        HASH_DEL(s->sessions, ss);
        HASH_DELETE(hh_service, s->sessions_by_service, ss);
        session_free(ss);
        if (!s->listed)
                return true;
        s->gone = &gone;
        report_one(s, &(const ProviderObservation) { .session = session, .exists = false });
        if (gone)
                return false;
        s->gone = NULL;
        return true;
}

bool swarm_sessions_report(Swarm *s) {
        SwarmSession *ss, *tmp;
        bool gone = false;

        s->gone = &gone;
        s->listed = true;
        s->observer.on_list_begin(&s->provider, s->observer.userdata);
        if (gone)
                return false;
        /* Nothing but a removal by the provider itself takes sessions out, and that does not run under a report. */
        HASH_ITER(hh, s->sessions, ss, tmp) {
                ProviderObservation o = observation_of(ss);
                ss->changed = false;
                report_one(s, &o);
                if (gone)
                        return false;
        }
        s->observer.on_list_end(&s->provider, s->observer.userdata);
        if (gone)
                return false;
        s->gone = NULL;
        return true;
}
