/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <malloc.h>
#include <time.h>

#include "basic/log.h"
#include "core/identifier.h"
#include "core/operation.h"
#include "core/session-object.h"
#include "core/session-record.h"

#define PRUNE_INTERVAL_USEC (600 * USEC_PER_SEC)
#define CALM_USEC (5 * USEC_PER_SEC)

static usec_t clock_now(clockid_t clock) {
        struct timespec ts;
        (void) clock_gettime(clock, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static usec_t realtime_now(void) {
        return clock_now(CLOCK_REALTIME);
}
usec_t (*core_now)(void) = realtime_now;

static usec_t boottime_now(void) {
        return clock_now(CLOCK_BOOTTIME);
}
usec_t (*core_uptime)(void) = boottime_now;

void manager_changed(Manager *m, ObjectKind kind, void *object, uint64_t mask) {
        if (m->on_changed)
                m->on_changed(m->on_changed_userdata, kind, object, mask);
}

void manager_set_observer(Manager *m, manager_changed_cb cb, void *userdata) {
        m->on_changed = cb;
        m->on_changed_userdata = userdata;
}

/* What is wrong with one that session_from_record() or session_link() refuses. */
static const char *unusable_part(const SessionRecord *r) {
        if (!r->state || session_state_from_string(r->state) < 0)
                return "its state is none that this version knows";
        if (r->stop_reason && stop_reason_from_string(r->stop_reason) < 0)
                return "its stop_reason is none that this version knows";
        return "its spec is not what this version writes, or its name belongs to another session";
}

/* All or nothing: who cannot be read may be what the files of another one build upon, which must not go then. */
static int load_session(const SessionRecord *r, void *userdata) {
        Manager *m = userdata;
        Session *s;
        int k = session_from_record(m, r, &s);
        if (k >= 0) {
                k = session_link(s);
                if (k < 0)
                        session_free(s);
        }
        if (k != -EBADMSG && k != -EEXIST)
                return k;
        return log_error_errno(EUCLEAN, "The record of session %s cannot be used: %s. It is the row of the table \"sessions\" with the id '%s'.",
                               strna(r->name), unusable_part(r), strna(r->id));
}

/* A snapshot leaves the session as it is, so one that is proven lacks nothing but this. */
static void keep_proven_snapshot(Session *s, uint64_t generation) {
        Snapshot *snapshot;

        HASH_FIND(hh, s->snapshots, &generation, sizeof(generation), snapshot);
        if (snapshot->record.phase != SNAPSHOT_PROVEN || !streq_ptr(snapshot->record.kind, job_type_to_string(JOB_SNAPSHOT)))
                return;
        snapshot->record.phase = SNAPSHOT_KEPT;
        snapshot_mark_dirty(s, snapshot);
        s->generation = MAX(s->generation, generation);
        session_mark_dirty(s);
}

int session_load_snapshot(Session *s, const SnapshotRecord *r) {
        int k = session_add_snapshot(s, r);

        if (k < 0)
                return k;
        session_find_any_snapshot(s, r->generation)->doubtful = r->phase == SNAPSHOT_INTENT && !r->image;
        keep_proven_snapshot(s, r->generation);
        return 0;
}

static int load_snapshot(const SnapshotRecord *r, void *userdata) {
        Session *s = manager_find_session(userdata, r->session);

        return s ? session_load_snapshot(s, r) : 0;
}

/* Nothing is resumed from memory: what was under way when the service died ended there. */
static int load_job(const JobRecord *r, void *userdata) {
        Manager *m = userdata;
        JobState state = job_state_from_string(r->state);
        JobType type = job_type_from_string(r->type);
        if ((int) state < 0 || (int) type < 0) {
                /* What it did is in the session's state; its number is not used again. */
                log_warning("The record of job %" PRIu64 " cannot be used: its type or its state is none that this version knows. It stays as it is and is not listed.",
                            r->id);
                return 0;
        }
        Job *j = calloc(1, sizeof(*j));
        if (!j)
                return -ENOMEM;
        *j = (Job) {
                .manager = m,
                .id = r->id,
                .type = type,
                .state = state,
                .session_id = strdup(strempty(r->session)),
                .actor_uid = r->owner_uid,
                .stage = r->stage ? strdup(r->stage) : NULL,
                .bytes_done = r->bytes_done,
                .bytes_total = r->bytes_total == UINT64_MAX ? -1 : (int64_t) r->bytes_total,
                .created_usec = r->created_usec,
                .started_usec = r->started_usec,
                .ended_usec = r->ended_usec,
                .frozen_usec = r->frozen_usec,
                .exit_code = r->exit_code,
        };
        if (!j->session_id) {
                free(j->stage);
                free(j);
                return -ENOMEM;
        }
        if (r->error_message)
                (void) refuse(&j->error, MAX(refusal_code_from_string(r->error_name), 0), "%s", r->error_message);
        if (!job_state_is_ended(state)) {
                j->state = JOB_INTERRUPTED;
                j->ended_usec = core_now();
                (void) refuse(&j->error, REFUSAL_INTERRUPTED, "%s", job_is_stream(j) ?
                              "The orchestrator stopped while the command ran, which ended it." :
                              "The orchestrator stopped while the job ran; the session's state says what became of it.");
                job_mark_dirty(j);
        }
        return job_link(m, j);
}

static void on_prune(void *userdata);
static void on_calm(void *userdata);

int manager_new(sd_event *event, Config *config, TemplateTable *templates, Store *store, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->event = sd_event_ref(event);
        r = manager_commit_init(m);
        if (r < 0)
                return r;
        r = timer_new(event, on_prune, m, &m->prune);
        if (r >= 0)
                r = timer_new(event, on_calm, m, &m->calm);
        if (r < 0)
                return r;
        m->store = store;
        r = store_each_session(store, load_session, m);
        if (r >= 0)
                r = store_each_snapshot(store, load_snapshot, m);
        if (r >= 0)
                r = store_each_job(store, load_job, m);
        uint64_t last = 0;
        if (r >= 0)
                r = store_last_job_id(store, &last);
        if (r < 0) {
                m->store = NULL;        /* only a success takes it */
                return r;
        }
        m->last_job_id = MAX(m->last_job_id, last);
        m->config = config;
        m->templates = templates;
        *ret = TAKE_PTR(m);
        return 0;
}

void node_free(Node *n) {
        free(n->id);
        free(n->name);
        free(n->provider);
        free(n->state);
        free(n->availability);
        free(n->role);
        free(n->address);
        free(n->engine_version);
        free(n);
}

Manager *manager_free(Manager *m) {
        Session *s, *s_next;
        Job *j, *j_next;
        Node *n, *n_next;
        ProviderEntry *e, *e_next;

        if (!m)
                return NULL;
        m->on_changed = NULL;
        HASH_ITER(hh_id, m->sessions_by_id, s, s_next)
                session_free(s);
        HASH_ITER(hh, m->providers, e, e_next) {
                HASH_DEL(m->providers, e);
                provider_free(e->provider);
                free(e->name);
                free(e->detail);
                free(e);
        }
        manager_commit_done(m);
        HASH_ITER(hh, m->jobs, j, j_next) {
                HASH_DEL(m->jobs, j);
                refusal_free(j->error);
                free(j->session_id);
                free(j->stage);
                free(j);
        }
        HASH_ITER(hh, m->nodes, n, n_next) {
                HASH_DEL(m->nodes, n);
                node_free(n);
        }
        usage_done(m);
        timer_free(m->prune);
        timer_free(m->calm);
        timer_free(m->stop_timer);
        store_close(m->store);
        template_table_free(m->templates);
        config_free(m->config);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

int manager_add_provider(Manager *m, Provider *p) {
        ProviderEntry *e = calloc(1, sizeof(*e));
        if (!e || !(e->name = strdup(p->vtable->name))) {
                free(e);
                return -ENOMEM;
        }
        e->manager = m;
        e->health = PROVIDER_UNAVAILABLE;
        e->provider = p;
        HASH_ADD_KEYPTR(hh, m->providers, e->name, strlen(e->name), e);
        for (Session *s = m->sessions_by_id; s; s = s->hh_id.next)
                if (streq(s->provider_name, e->name)) {
                        s->provider = p;
                        usage_update_session(s);
                }
        return 0;
}

int manager_start(Manager *m) {
        on_prune(m);
        for (ProviderEntry *e = m->providers; e; e = e->hh.next) {
                ProviderObserver observer;
                int r = e->provider->vtable->start(e->provider, manager_observer(e, &observer));
                if (r < 0)
                        return log_error_errno(r, "Provider %s cannot be started: %m", e->name);
        }
        return 0;
}

ProviderEntry *manager_find_provider(Manager *m, const char *name) {
        ProviderEntry *e;
        HASH_FIND_STR(m->providers, name, e);
        return e;
}

Session *manager_find_session(Manager *m, const char *id_or_name) {
        Session *s;

        HASH_FIND(hh_id, m->sessions_by_id, id_or_name, strlen(id_or_name), s);
        if (!s)
                HASH_FIND(hh_name, m->sessions_by_name, id_or_name, strlen(id_or_name), s);
        return s;
}

int manager_get_session(Manager *m, const char *id_or_name, Session **ret, Refusal **reterr) {
        if (!session_name_is_valid(id_or_name) && !session_id_is_valid(id_or_name))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                              "\"%.64s\" is neither the name nor the id of a session. A name has 1 to 40 of the characters a-z, 0-9 and \"-\", begins with a letter "
                              "and does not end with \"-\".", id_or_name);
        *ret = manager_find_session(m, id_or_name);
        if (!*ret)
                return refuse(reterr, REFUSAL_NO_SUCH_SESSION, "There is no session \"%s\". 'swarmctl list' (ListSessions) lists those that there are.", id_or_name);
        return 0;
}

int manager_get_job(Manager *m, uint64_t id, Job **ret, Refusal **reterr) {
        HASH_FIND(hh, m->jobs, &id, sizeof(id), *ret);
        if (!*ret)
                return refuse(reterr, REFUSAL_NO_SUCH_JOB,
                              "There is no job %" PRIu64 ", or it ended so long ago that it was forgotten. 'swarmctl jobs --all' (ListJobs) lists those that are known.", id);
        return 0;
}

int manager_get_node(Manager *m, const char *id_or_name, Node **ret, Refusal **reterr) {
        Node *found = NULL;

        for (Node *n = m->nodes; n; n = n->hh.next) {
                if (streq(n->id, id_or_name)) {
                        *ret = n;
                        return 0;
                }
                if (streq_ptr(n->name, id_or_name)) {
                        if (found)
                                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "Several nodes are named \"%s\". Give the id of one of them.", n->name);
                        found = n;
                }
        }
        if (!found)
                return refuse(reterr, REFUSAL_NO_SUCH_NODE, "There is no node \"%.64s\". 'swarmctl nodes' (ListNodes) lists those that there are.",
                              utf8_is_valid(id_or_name) ? id_or_name : "?");
        *ret = found;
        return 0;
}

/* What was left alone may be taken up now. */
static void list_again(Manager *m) {
        for (ProviderEntry *e = m->providers; e; e = e->hh.next)
                if (e->left_alone) {
                        e->left_alone = false;
                        e->provider->vtable->list(e->provider);
                }
}

void manager_end_session(Session *s) {
        _cleanup_refusal_ Refusal *destroyed = NULL;
        Manager *m = s->manager;
        Job *j;

        (void) refuse(&destroyed, REFUSAL_NO_SUCH_SESSION, "Session \"%s\" was destroyed.", s->name);
        session_end_streams(s, JOB_FAILED, destroyed);
        while ((j = s->jobs)) {
                if (j->type == JOB_DESTROY) {
                        job_end(j, JOB_DONE, NULL);
                        continue;
                }
                job_end(j, JOB_FAILED, refusal_copy(destroyed));
        }
        session_changed(s, CHANGE_REMOVED);
        session_free(s);
        list_again(m);
}

void manager_reload(Manager *m, Config *config, TemplateTable *templates) {
        config_free(m->config);
        m->config = config;
        template_table_free(m->templates);
        m->templates = templates;
        manager_changed(m, OBJECT_MANAGER, m, CHANGE_ALL);
}

void manager_totals(const Manager *m, ManagerTotals *ret) {
        *ret = (ManagerTotals) {};
        for (const Session *s = m->sessions_by_id; s; s = s->hh_id.next) {
                ret->sessions++;
                ret->by_state[s->state]++;
                if (session_state_is_active(s->state)) {
                        ret->cpus_used += s->spec.cpus;
                        ret->memory_used_bytes += s->spec.memory_bytes;
                }
                for (const Snapshot *i = s->snapshots; i; i = i->hh.next)
                        if (i->record.phase == SNAPSHOT_KEPT)
                                ret->storage_used_bytes += i->record.bytes;
        }
        ret->jobs_running = m->jobs_running;
        for (const Node *n = m->nodes; n; n = n->hh.next)
                if (streq_ptr(n->state, "ready")) {
                        ret->cpus_total += (double) n->nano_cpus / 1e9;
                        ret->memory_total_bytes += n->memory_bytes;
                }
}

/* For ever, where that is how long things are kept, and on a machine whose clock begins anew. */
static usec_t ended_before(usec_t keep_usec) {
        usec_t now = core_now();

        return keep_usec < now ? now - keep_usec : 0;
}

/* Ended jobs and archived sessions stay readable for a while, and only so many of them. Shells and commands are counted by
 * themselves: who runs many of these must not make others lose sight of how their sessions were saved. */
static void prune_jobs(Manager *m) {
        usec_t before = ended_before(m->config->jobs_keep_usec);
        unsigned ended[2] = {};
        Job *j, *next;

        for (j = m->jobs; j; j = j->hh.next)
                ended[job_is_stream(j)] += job_state_is_ended(j->state);
        /* The table keeps the order of insertion, so the oldest come first. */
        HASH_ITER(hh, m->jobs, j, next)
                if (job_state_is_ended(j->state) && (ended[job_is_stream(j)] > m->config->jobs_max || j->ended_usec < before)) {
                        ended[job_is_stream(j)]--;
                        job_changed(j, CHANGE_REMOVED);
                        job_free(j);
                }
        m->jobs_ended = 0;
}

void manager_job_ended(Manager *m) {
        if (++m->jobs_ended >= m->config->jobs_max)
                (void) timer_arm(m->prune, 0);
}

/* Hundreds of jobs at a time need memory that the heap would keep for ever. */
static void on_calm(void *userdata) {
        if (((Manager *) userdata)->jobs_running == 0)
                (void) malloc_trim(0);
}

void manager_calm_down(Manager *m) {
        if (m->jobs_running == 0)
                (void) timer_arm(m->calm, CALM_USEC);
}

static void on_prune(void *userdata) {
        Manager *m = userdata;

        prune_jobs(m);
        int r = store_prune_sessions(m->store, ended_before(m->config->ended_sessions_keep_usec), m->config->ended_sessions_max);
        if (r < 0)
                log_warning_errno(r, "Old archived sessions could not be dropped, ignoring: %m");
        (void) timer_arm(m->prune, PRUNE_INTERVAL_USEC);
}

static bool is_quiet(const Manager *m) {
        for (const Session *s = m->sessions_by_id; s; s = s->hh_id.next)
                if (s->operation && s->operation->undo && s->operation->error)
                        return false;
        return true;
}

static void check_quiet(void *userdata);

static void stop_now(Manager *m) {
        event_cb done = m->stop_done;

        m->stop_done = NULL;
        int r = manager_commit_now(m);
        if (r < 0)
                log_error_errno(r, "The last state could not be saved, it will be found again by looking at the cluster: %m");
        if (done)
                done(m->stop_userdata);
}

static void check_quiet(void *userdata) {
        Manager *m = userdata;

        if (is_quiet(m) || m->stop_deadline_usec < core_uptime())
                stop_now(m);
        else
                (void) timer_arm(m->stop_timer, 50 * USEC_PER_MSEC);
}

/* What is being saved is undone, so that nobody stays frozen, and shells and commands end. The rest is resolved when the service is back: a start goes on. */
void manager_stop(Manager *m, usec_t timeout_usec, event_cb done, void *userdata) {
        m->stopping = true;
        m->stop_done = done;
        m->stop_userdata = userdata;
        m->stop_deadline_usec = core_uptime() + timeout_usec;
        for (Session *s = m->sessions_by_id, *next; s; s = next) {
                _cleanup_refusal_ Refusal *error = NULL;
                next = s->hh_id.next;
                (void) refuse(&error, REFUSAL_INTERRUPTED, "The orchestrator was stopped while the job ran.");
                session_end_streams(s, JOB_INTERRUPTED, error);
                if (s->operation && operation_is_cancelable_save(s->operation))
                        operation_cancel(s->operation, 0, TAKE_PTR(error));
        }
        if (timer_new(m->event, check_quiet, m, &m->stop_timer) < 0)
                stop_now(m);
        else
                check_quiet(m);
}
