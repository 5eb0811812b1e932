/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the providers see, and what follows from it. */

#include "basic/log.h"
#include "core/operation.h"
#include "core/reconcile.h"
#include "core/session-object.h"

/* A main process that ends just before its Engine is gone was ended by it: Docker stops its containers first. */
#define ENGINE_STOP_USEC (20 * USEC_PER_SEC)
/* A save of what has exited and a start of its own are tried again after min, 2 min, 4 min … max. */
#define RETRY_MIN_USEC (10 * USEC_PER_SEC)
#define RETRY_MAX_USEC (600 * USEC_PER_SEC)
#define THAW_RETRY_USEC (2 * USEC_PER_SEC)

static void start_job(Session *s, JobType type) {
        Job *j;

        if (s->jobs || s->operation)
                return;
        int r = job_new(s->manager, s, type, &(JobOptions) { .automatic = true }, 0, &j);
        if (r < 0)
                log_error_errno(r, "Session %s: %s could not be begun: %m", s->name, job_type_to_string(type));
        else
                session_start_next_job(s);
}

static Snapshot *find_proven(Session *s) {
        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_PROVEN)
                        return i;
        return NULL;
}

static JobType finish_type(const Snapshot *snapshot) {
        JobType t = job_type_from_string(strempty(snapshot->record.kind));
        return t == JOB_HIBERNATE ? JOB_HIBERNATE : JOB_STOP;
}

static void recover(Session *s, JobType type, const operation_step *steps, Snapshot *snapshot) {
        int r = operation_recover(s, type, NULL, steps, snapshot);
        if (r < 0)
                log_error_errno(r, "Session %s: what a crash left could not be taken up: %m", s->name);
}

/* A generation that was proven, but whose container ran on, is what a snapshot is: not the last files, but all there is if
 * the container goes. */
static void keep_proven(Session *s) {
        Snapshot *proven = find_proven(s);

        if (proven)
                session_keep_snapshot(s, proven);
}

/* What the service names is what its container was made from, whatever number stands beside it. */
static uint64_t observed_begin(const Session *s) {
        for (const Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_KEPT && streq_ptr(i->record.image, s->observed_image))
                        return i->record.generation;
        return 0;
}

/* A start that a crash cut off: which files it began from stands at the provider. Of the number somebody may have removed the label. */
static void adopt_start(Session *s) {
        uint64_t from = s->observed_generation > 0 ? s->observed_generation : observed_begin(s);

        if (s->state != SESSION_RESUMING)
                return;
        s->wanted = true;
        if (from == 0 || session_find_snapshot(s, from))
                session_set_generation(s, from);
}

/* With the generation that was asked for then, as far as the provider has heard of it. */
static void resume(Session *s) {
        const JobOptions options = {
                .generation = s->exists && s->task_wanted && session_find_snapshot(s, s->observed_generation) ? s->observed_generation : 0,
                .automatic = s->wanted,         /* by now the orchestrator's own: the job that it was begun with has ended, as interrupted */
        };
        int r = operation_recover(s, JOB_START, &options, operation_steps_up, NULL);
        if (r < 0)
                log_error_errno(r, "Session %s: the start that was cut off could not be taken up: %m", s->name);
}

static bool takes_sessions(const Node *n) {
        return n->agent && streq_ptr(n->availability, "active");
}

bool session_has_place(const Session *s) {
        bool agents = false;

        for (const Node *n = s->manager->nodes; n; n = n->hh.next) {
                if (!n->agent || !streq(n->provider, s->provider_name))
                        continue;
                if (takes_sessions(n))
                        return true;
                agents = true;
        }
        return !agents;
}

static void on_retry(void *userdata) {
        Session *s = userdata;

        if (s->state == SESSION_EXITED)
                start_job(s, JOB_SAVE_EXITED);
        else if (session_state_is_rest(s->state) && s->wanted && session_has_place(s))
                start_job(s, JOB_START);
        else
                session_reconcile(s);
}

static void retry_later(Session *s, usec_t delay_usec) {
        if (!s->retry && timer_new(s->manager->event, on_retry, s, &s->retry) < 0) {
                log_oom();
                return;
        }
        (void) timer_arm(s->retry, delay_usec);
}

/* At once the first time, then with pauses that grow. */
static void start_job_by_failures(Session *s, JobType type) {
        usec_t delay = RETRY_MIN_USEC;

        if (s->failures == 0 && !s->jobs) {
                timer_disarm(s->retry);
                start_job(s, type);
                return;
        }
        /* What waits may turn out to be impossible by now, and would leave nobody to try again. */
        if (s->retry && timer_is_armed(s->retry))
                return;
        for (unsigned i = 1; i < s->failures && delay < RETRY_MAX_USEC; i++)
                delay *= 2;
        retry_later(s, MIN(delay, RETRY_MAX_USEC));
}

static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        Session *s = userdata;

        s->call = NULL;
        if (r < 0) {
                log_warning("Session %s is frozen and could not be thawed, trying again: %s", s->name, refusal ? refusal->message : strerror(-r));
                retry_later(s, THAW_RETRY_USEC);
                return;
        }
        /* What is still frozen was frozen by somebody else; the next observation says so. */
        s->frozen = false;
        session_reconcile(s);
}

static void thaw(Session *s) {
        /* What is deleted can wait. */
        if (s->garbage) {
                s->call = provider_call_cancel(s->call);
                s->garbage = NULL;
        }
        if (!s->call && s->provider->vtable->thaw(s->provider, s->id, on_thawed, s, &s->call) < 0)
                log_oom();
}

/* Swarm gives up what runs on a node that it has missed for some seconds, and ends it when the node is back. */
static bool was_ended_by_return(const Session *s) {
        const Node *n = session_find_node(s);

        return n && (!streq_ptr(n->state, "ready") ||
                     (n->back_usec > 0 && n->back_usec + ENGINE_STOP_USEC + s->spec.stop_grace_usec > s->exit_seen_usec));
}

bool session_was_ended_by_engine(const Session *s) {
        const ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);

        return s->exited_while_away || (e && e->lost_usec > 0 && e->lost_usec + ENGINE_STOP_USEC > s->exit_seen_usec) || was_ended_by_return(s);
}

static bool is_drained(const Node *n) {
        return n && streq_ptr(n->availability, "drain");
}

/* What a drain ends takes its time to do so, and is seen to have done it some seconds later still. */
static bool was_ended_by_past_drain(const Session *s) {
        return s->undrained_usec > 0 && s->undrained_usec + ENGINE_STOP_USEC + s->spec.stop_grace_usec > s->exit_seen_usec;
}

static void note_end_of_drain(Manager *m, const Node *n) {
        for (Session *s = m->sessions_by_id; s; s = s->hh_id.next)
                if (session_find_node(s) == n && s->task == TASK_RUNNING)
                        s->undrained_usec = core_uptime();
}

const char *session_exit_remark(const Session *s) {
        if (s->stop_reason == STOP_REASON_RESOURCE_LIMIT)
                return ", killed by the kernel when the session had used up its memory. A clone with more --memory= goes on from its files";
        if (s->wanted && is_drained(session_find_node(s)))
                return ", for its node is drained. It is started again when a node takes sessions";
        return s->exited_unhealthy ? " after its health check had failed, for which its provider ends it" : "";
}

/* Somebody else had it run, and had changed its service before, as a rollback does: no other files take the place of the newest in
 * silence. */
static char *notice_other_begin(Session *s) {
        uint64_t from = observed_begin(s), rested = s->generation;

        if (!session_state_is_rest(s->state) || from == rested)
                return NULL;
        char *detail = strformat("It was started from outside, with the files of generation %" PRIu64 " and not with those of %" PRIu64
                                 ", which is kept. To go on from that: swarmctl stop %s --discard, then swarmctl restore %s --generation=%" PRIu64 ".",
                                 from, rested, s->name, s->name, rested);
        session_set_generation(s, from);
        log_event(LOG_ERR, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)), "Session %s: %s", s->name, strempty(detail));
        return detail;
}

static void set_exited(Session *s) {
        _cleanup_free_ char *other = notice_other_begin(s);

        /* The remark is about this end, not about the one before. */
        s->stop_reason = STOP_REASON_EXITED;
        _cleanup_free_ char *detail = strformat("The main process ended with exit code %i%s; its files are being saved.", s->exit_code, session_exit_remark(s));

        adopt_start(s);
        keep_proven(s);
        s->exited_while_away = s->exited_while_away || s->state == SESSION_LOST;
        s->failures = 0;
        log_event(LOG_NOTICE, MESSAGE_SESSION_EXITED, SESSION_FIELDS(s, session_current_job(s)), "Session %s: %s", s->name, strempty(detail));
        session_set_state(s, SESSION_EXITED, other ?: detail);
}

/* For as long as it takes. */
static void save_exited(Session *s) {
        if (s->wanted && !session_was_ended_by_engine(s)) {
                s->wanted = false;
                session_mark_dirty(s);
        }
        start_job_by_failures(s, JOB_SAVE_EXITED);
}

static void set_removed(Session *s) {
        keep_proven(s);
        /* That of a discard, too, which a crash cut off after it was done. */
        session_set_generation(s, session_newest_generation(s));
        bool has_files = s->generation > 0;
        _cleanup_free_ char *detail = has_files ?
                strformat("Its container was removed from outside; generation %" PRIu64 " is the newest that was saved. Start it to go on from there.", s->generation) :
                strdup("Its container was removed from outside, and no generation of its files was saved. Start it to begin anew from its image.");

        log_event(LOG_ERR, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)), "Session %s: %s", s->name, strempty(detail));
        s->wanted = false;
        s->stop_reason = STOP_REASON_ERROR;
        session_set_state(s, has_files && session_state_may_follow(s->state, SESSION_STOPPED) ? SESSION_STOPPED : SESSION_FAILED, detail);
}

static void set_lost(Session *s) {
        _cleanup_free_ char *detail = strformat("Node %s does not answer. The session goes on when the node is back, or can be restored from its newest generation.",
                                                strna(session_node_name(s)));
        adopt_start(s);
        keep_proven(s);
        s->stop_reason = STOP_REASON_NODE_LOST;
        log_event(LOG_WARNING, MESSAGE_SESSION_LOST, SESSION_FIELDS(s, session_current_job(s)), "Session %s: %s", s->name, strempty(detail));
        session_set_state(s, SESSION_LOST, detail);
}

static void set_running(Session *s) {
        _cleanup_free_ char *detail = notice_other_begin(s);

        adopt_start(s);
        keep_proven(s);
        s->wanted = true;
        s->stop_reason = STOP_REASON_NONE;
        session_set_state(s, SESSION_RUNNING, detail);
        if (s->frozen)
                thaw(s);
}

static void abort_resume(Session *s) {
        Snapshot *newest = session_find_snapshot(s, s->generation);

        /* What the orchestrator had begun by itself goes on. */
        session_set_state(s, newest && streq_ptr(newest->record.kind, "hibernate") ? SESSION_HIBERNATED : SESSION_STOPPED, NULL);
}

static void act(Session *s, ReconcileAction action) {
        switch (action) {
        case RECONCILE_NONE:
                break;
        case RECONCILE_CREATE:
                start_job(s, JOB_CREATE);
                break;
        case RECONCILE_SET_RUNNING:
                set_running(s);
                break;
        case RECONCILE_SET_EXITED:
                set_exited(s);
                save_exited(s);
                break;
        case RECONCILE_SET_LOST:
                set_lost(s);
                break;
        case RECONCILE_SET_REMOVED:
                set_removed(s);
                session_reconcile(s);
                break;
        case RECONCILE_SAVE_EXITED:
                save_exited(s);
                break;
        case RECONCILE_THAW:
                thaw(s);
                break;
        case RECONCILE_ABORT_SAVE:
                set_running(s);
                break;
        case RECONCILE_FINISH_REST:
                recover(s, finish_type(find_proven(s)), operation_steps_finish_rest, find_proven(s));
                break;
        case RECONCILE_FINISH_RECORD:
                recover(s, finish_type(find_proven(s)), operation_steps_finish_record, find_proven(s));
                break;
        case RECONCILE_ABORT_RESUME:
                abort_resume(s);
                session_reconcile(s);
                break;
        case RECONCILE_RESUME:
                if (session_state_is_rest(s->state) && session_has_place(s))
                        start_job_by_failures(s, JOB_START);
                else if (!session_state_is_rest(s->state))
                        resume(s);
                break;
        case RECONCILE_LAY_DOWN:
                recover(s, JOB_STOP, operation_steps_lay_down, NULL);
                break;
        case RECONCILE_DESTROY:
                recover(s, JOB_DESTROY, operation_steps_destroy, NULL);
                break;
        default:
                break;
        }
}

/* A generation of it was saved since, as the cluster tells a store that is from a backup: its creation is over, and from its image nothing
 * begins any more. */
static void end_creation(Session *s) {
        if (s->state != SESSION_NEW && s->state != SESSION_PLACING && s->state != SESSION_STARTING)
                return;
        if (s->generation == 0 && session_newest_generation(s) == 0)
                return;
        s->wanted = s->exists && s->task_wanted;
        session_set_state(s, s->wanted ? SESSION_RESUMING : SESSION_STOPPED, NULL);
}

void session_reconcile(Session *s) {
        ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);
        bool queued = s->jobs;

        if (s->operation || s->manager->stopping || !e || !e->listed)
                return;
        end_creation(s);
        /* What is there may not be what a job that waits was asked for; but to one that destroys it that is all the same. */
        if (!s->jobs || s->jobs->type != JOB_DESTROY) {
                ReconcileAction a = reconcile(&(ReconcileInput) {
                        .state = s->state,
                        .wanted = s->wanted,
                        .exists = s->exists,
                        .task_wanted = s->task_wanted,
                        .task = s->task,
                        .frozen = s->frozen,
                        .proven = find_proven(s) != NULL,
                });
                if (a != RECONCILE_NONE)
                        log_debug("Session %s: %s, task %s: %s.", s->name, session_state_to_string(s->state), task_state_to_string(s->task),
                                  reconcile_action_to_string(a));
                act(s, a);
        }
        session_start_next_job(s);
        /* All that waited was refused, and has kept the orchestrator from what it does by itself. */
        if (queued && !s->jobs)
                session_reconcile(s);
        else
                session_collect_garbage(s);
}

static bool update_string(char **p, const char *s) {
        if (streq_ptr(*p, s))
                return false;
        (void) free_and_strdup(p, s);
        return true;
}

/* An update of the service by somebody else: Swarm ends the one container and makes another from the image. */
static void notice_replacement(const Session *s, const ProviderObservation *o) {
        if (s->state == SESSION_RUNNING && !s->operation && s->container && o->container && !streq(s->container, o->container))
                log_event(LOG_ERR, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)),
                          "Session %s: its container %.12s was replaced from outside by %.12s, which began from generation %" PRIu64 ". What was written "
                          "since then is in the old one for as long as Docker keeps it (docker cp gets it out).",
                          s->name, s->container, o->container, o->generation);
}

static void take_observation(Session *s, const ProviderObservation *o, const ProviderEntry *e) {
        if (o->task == TASK_EXITED && s->task != TASK_EXITED) {
                s->exit_seen_usec = core_uptime();
                s->exited_unhealthy = streq_ptr(s->health, "unhealthy");
                s->exited_while_away = !e->listed || is_drained(session_find_node(s)) || was_ended_by_past_drain(s);
                s->undrained_usec = 0;
        }
        notice_replacement(s, o);
        s->exists = o->exists;
        s->task_wanted = o->wanted;
        s->frozen = o->frozen;
        s->task = o->task;
        if (o->task == TASK_EXITED)
                s->exit_code = o->exit_code;
        s->observed_generation = o->generation;
        (void) update_string(&s->observed_image, o->image);
        /* While another takes its place there is none for a moment. */
        if (o->container || s->state != SESSION_RUNNING)
                (void) update_string(&s->container, o->container);
        (void) update_string(&s->task_error, o->error);
        if (update_string(&s->health, o->health))
                session_changed(s, CHANGE_HEALTH);
        if (o->node && update_string(&s->node, o->node)) {
                session_mark_dirty(s);
                session_changed(s, CHANGE_PLACE);
        }
        s->list_serial = e->list_serial;
}

/* Not by its name, which anybody may write into the label of a service of his own. */
static Session *find_by_id(Manager *m, const char *id) {
        Session *s = manager_find_session(m, id);

        return s && streq(s->id, id) ? s : NULL;
}

static void on_session(Provider *p, const ProviderObservation *o, void *userdata) {
        ProviderEntry *e = userdata;
        Session *s = find_by_id(e->manager, o->session);

        if (!s && o->exists && !e->manager->stopping)
                s = session_rebuild(e, o);
        if (!s || s->provider != p)
                return;
        take_observation(s, o, e);
        if (!s->operation)
                session_take_newer(s, o);
        if (s->operation)
                operation_observed(s->operation);
        else
                session_reconcile(s);
}

static void on_list_begin(Provider *p, void *userdata) {
        ProviderEntry *e = userdata;
        e->list_serial++;
}

static void on_list_end(Provider *p, void *userdata) {
        ProviderEntry *e = userdata;
        Session *s, *next;

        e->listed = true;
        HASH_ITER(hh_id, e->manager->sessions_by_id, s, next) {
                if (s->provider != p)
                        continue;
                if (s->list_serial != e->list_serial)
                        take_observation(s, &(ProviderObservation) { .session = s->id, .task = TASK_NONE }, e);
                if (s->operation)
                        operation_observed(s->operation);
                else
                        session_reconcile(s);
        }
}

static int node_update(Node *n, const ProviderNode *o) {
        const struct {
                char **to;
                const char *from;
        } strings[] = {
                { &n->name, o->name },
                { &n->state, o->state },
                { &n->availability, o->availability },
                { &n->role, o->role },
                { &n->address, o->address },
                { &n->engine_version, o->engine_version },
        };
        int changed = n->nano_cpus != o->nano_cpus || n->memory_bytes != o->memory_bytes || n->agent != o->agent;

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                changed |= update_string(strings[i].to, strings[i].from);
        n->nano_cpus = o->nano_cpus;
        n->memory_bytes = o->memory_bytes;
        n->agent = o->agent;
        return changed;
}

/* What a drain has ended, or could not be started for want of a node. */
static void start_what_waits(ProviderEntry *e) {
        Session *s, *next;

        HASH_ITER(hh_id, e->manager->sessions_by_id, s, next)
                if (s->provider == e->provider && s->wanted && session_state_is_rest(s->state))
                        session_reconcile(s);
}

static void on_node(Provider *p, const ProviderNode *o, void *userdata) {
        ProviderEntry *e = userdata;
        Manager *m = e->manager;
        uint64_t mask = CHANGE_STATE;
        Node *n;

        HASH_FIND_STR(m->nodes, o->id, n);
        if (!n) {
                n = calloc(1, sizeof(*n));
                if (!n || !(n->id = strdup(o->id)) || !(n->provider = strdup(e->name))) {
                        if (n)
                                node_free(n);
                        log_oom();
                        return;
                }
                HASH_ADD_KEYPTR(hh, m->nodes, n->id, strlen(n->id), n);
                mask = CHANGE_ADDED;
        }
        if (n->state && !streq(n->state, "ready") && streq_ptr(o->state, "ready"))
                n->back_usec = core_uptime();
        bool took = takes_sessions(n), was_drained = is_drained(n);
        if (node_update(n, o) || mask == CHANGE_ADDED)
                manager_changed(m, OBJECT_NODE, n, mask);
        if (was_drained && !is_drained(n))
                note_end_of_drain(m, n);
        if (takes_sessions(n) && !took)
                start_what_waits(e);
}

static void on_node_removed(Provider *p, const char *id, void *userdata) {
        ProviderEntry *e = userdata;
        Node *n;

        HASH_FIND_STR(e->manager->nodes, id, n);
        if (!n)
                return;
        HASH_DEL(e->manager->nodes, n);
        manager_changed(e->manager, OBJECT_NODE, n, CHANGE_REMOVED);
        node_free(n);
}

static void on_health(Provider *p, ProviderHealth health, const char *detail, void *userdata) {
        ProviderEntry *e = userdata;
        ProviderHealth old = e->health;

        if (!update_string(&e->detail, detail) && old == health)
                return;
        e->health = health;
        if (health == PROVIDER_UNAVAILABLE) {
                /* Until the next full list nothing is known for sure. */
                if (e->listed)
                        e->lost_usec = core_uptime();
                e->listed = false;
        }
        if (old != health)
                log_event(health == PROVIDER_HEALTHY ? LOG_NOTICE : LOG_WARNING,
                          health == PROVIDER_HEALTHY ? MESSAGE_PROVIDER_RECOVERED : MESSAGE_PROVIDER_UNAVAILABLE, LOG_FIELDS(.provider = e->name),
                          "Provider %s is %s%s%s", e->name, provider_health_to_string(health), isempty(detail) ? "." : ": ", strempty(detail));
        manager_changed(e->manager, OBJECT_PROVIDER, e, CHANGE_STATE);
}

const ProviderObserver *manager_observer(ProviderEntry *e, ProviderObserver *ret) {
        *ret = (ProviderObserver) {
                .on_list_begin = on_list_begin,
                .on_session = on_session,
                .on_list_end = on_list_end,
                .on_node = on_node,
                .on_node_removed = on_node_removed,
                .on_health = on_health,
                .userdata = e,
        };
        return ret;
}
