/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <utlist.h>

#include "basic/log.h"
#include "core/identifier.h"
#include "core/operation.h"
#include "core/session-object.h"
#include "core/session-record.h"
#include "oci/reference.h"

int session_new(Manager *m, const char *id, Session **ret) {
        Session *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        *s = (Session) { .manager = m, .id = strdup(id), .state = SESSION_NEW, .next_generation = 1, .ended_by_uid = UID_UNSET };
        if (!s->id) {
                free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

static void snapshot_free(Snapshot *s) {
        snapshot_record_done(&s->record);
        free(s);
}

Session *session_free(Session *s) {
        _cleanup_refusal_ Refusal *gone = NULL;
        Snapshot *snapshot, *tmp;
        Job *j, *next;

        if (!s)
                return NULL;
        if (s->streams)
                (void) refuse(&gone, REFUSAL_INTERRUPTED, "The orchestrator has stopped.");
        session_end_streams(s, JOB_INTERRUPTED, gone);
        operation_free(s->operation);
        DL_FOREACH_SAFE(s->jobs, j, next) {
                DL_DELETE(s->jobs, j);
                j->session = NULL;
        }
        HASH_ITER(hh, s->snapshots, snapshot, tmp) {
                HASH_DEL(s->snapshots, snapshot);
                snapshot_free(snapshot);
        }
        if (s->hh_id.tbl) {
                usage_remove_session(s);
                HASH_DELETE(hh_id, s->manager->sessions_by_id, s);
        }
        if (s->hh_name.tbl)
                HASH_DELETE(hh_name, s->manager->sessions_by_name, s);
        provider_call_cancel(s->call);
        timer_free(s->retry);
        timer_free(s->garbage_retry);
        commit_wait_cancel(s->garbage_wait);
        commit_wait_cancel(s->destroy_wait);
        manager_forget_session(s->manager, s);
        session_spec_done(&s->spec);
        free(s->id);
        free(s->name);
        free(s->state_detail);
        free(s->organization);
        free(s->provider_name);
        free(s->template_name);
        free(s->node);
        free(s->image);
        free(s->base_image);
        free(s->from_session);
        free(s->end_reason);
        free(s->health);
        free(s->container);
        free(s->task_error);
        free(s->observed_image);
        free(s);
        return NULL;
}

int session_link(Session *s) {
        Manager *m = s->manager;
        Session *other;

        HASH_FIND(hh_id, m->sessions_by_id, s->id, strlen(s->id), other);
        if (other)
                return -EEXIST;
        HASH_FIND(hh_name, m->sessions_by_name, s->name, strlen(s->name), other);
        if (other)
                return -EEXIST;
        int r = usage_add_session(s);
        if (r < 0)
                return r;
        HASH_ADD_KEYPTR(hh_id, m->sessions_by_id, s->id, strlen(s->id), s);
        HASH_ADD_KEYPTR(hh_name, m->sessions_by_name, s->name, strlen(s->name), s);
        ProviderEntry *e = manager_find_provider(m, s->provider_name);
        s->provider = e ? e->provider : NULL;
        return 0;
}

void session_changed(Session *s, uint64_t mask) {
        manager_changed(s->manager, OBJECT_SESSION, s, mask);
}

Job *session_current_job(const Session *s) {
        return s->jobs && s->jobs->state == JOB_RUNNING ? s->jobs : NULL;
}

Snapshot *session_find_any_snapshot(const Session *s, uint64_t generation) {
        Snapshot *snapshot;
        HASH_FIND(hh, s->snapshots, &generation, sizeof(generation), snapshot);
        return snapshot;
}

Snapshot *session_find_snapshot(const Session *s, uint64_t generation) {
        Snapshot *snapshot = session_find_any_snapshot(s, generation);
        return snapshot && snapshot->record.phase == SNAPSHOT_KEPT ? snapshot : NULL;
}

int session_add_snapshot(Session *s, const SnapshotRecord *r) {
        Snapshot *snapshot = calloc(1, sizeof(*snapshot));
        if (!snapshot)
                return -ENOMEM;
        if (snapshot_record_copy(r, &snapshot->record) < 0) {
                free(snapshot);
                return -ENOMEM;
        }
        HASH_ADD(hh, s->snapshots, record.generation, sizeof(snapshot->record.generation), snapshot);
        return 0;
}

int session_add_snapshot_of_label(Session *s, uint64_t generation, const char *image) {
        _cleanup_image_reference_ ImageReference reference = {};

        if (image_reference_parse(image, &reference, NULL) < 0 || !reference.digest)
                return -EBADMSG;
        return session_add_snapshot(s, &(SnapshotRecord) {
                .session = s->id,
                .generation = generation,
                .phase = SNAPSHOT_KEPT,
                .kind = (char *) "rebuilt",
                .image = (char *) image,
                .repository = reference.repository,
                .tag = (char *) "",     /* the label does not say it, and who has the digest needs none */
        });
}

void session_expect_task(Session *s, bool wanted) {
        /* A task that the provider has named since the request was accepted says more. */
        if (wanted && s->exists && s->task_wanted && (s->task == TASK_RUNNING || s->task == TASK_STARTING))
                return;
        s->exists = true;
        s->task_wanted = wanted;
        s->task = wanted ? TASK_PENDING : TASK_NONE;
        s->frozen = false;
        if (!wanted)
                (void) free_and_strdup(&s->container, NULL);
}

/* A store that was lost, or put back from a backup, may give the same number to the same job once more. Nobody else's push has this
 * tag all the same: it takes no tag away from what was saved then, and deleting what it left deletes nothing of that. */
static char *new_tag(const Session *s, uint64_t generation) {
        char random[SESSION_ID_LENGTH + 1];

        session_id_generate(random);
        return strformat("%s-g%" PRIu64 "-%s", s->id, generation, random);
}

int session_burn_generation(Session *s, Job *job, Snapshot **ret) {
        const Config *c = s->manager->config;
        uint64_t generation = s->next_generation;
        _cleanup_free_ char *repository = strformat("%s/%s", c->registry_prefix, s->organization);
        _cleanup_free_ char *tag = new_tag(s, generation);

        if (!repository || !tag)
                return -ENOMEM;
        int r = session_add_snapshot(s, &(SnapshotRecord) {
                .session = s->id,
                .generation = generation,
                .phase = SNAPSHOT_INTENT,
                .kind = (char *) job_type_to_string(job->type),
                .job = job->id,
                .repository = repository,
                .tag = tag,
                .created_usec = core_now(),
        });
        if (r < 0)
                return r;
        s->next_generation++;
        *ret = session_find_any_snapshot(s, generation);
        session_mark_dirty(s);
        snapshot_mark_dirty(s, *ret);
        return 0;
}

bool session_allows(const Session *s, JobType verb) {
        return session_state_allows(s->state, verb) || (verb == JOB_STOP && session_state_is_rest(s->state) && s->wanted);
}

static const char *state_remark(const Session *s) {
        return isempty(s->state_detail) ? "" : ": ";
}

void session_set_state(Session *s, SessionState state, const char *detail) {
        SessionState old = s->state;

        if (old == state && streq_ptr(s->state_detail, detail))
                return;
        if (old != state && !session_state_may_follow(old, state)) {
                log_error("Session %s: change from %s to %s is not in the table, ignoring.", s->name,
                          session_state_to_string(old), session_state_to_string(state));
                return;
        }
        s->state = state;
        (void) free_and_strdup(&s->state_detail, detail);
        if (old != state && state == SESSION_RUNNING && s->started_usec == 0)
                s->started_usec = core_now();
        session_mark_dirty(s);
        if (old != state) {
                usage_update_session(s);
                _cleanup_free_ char *new_field = strformat("SWARM_STATE=%s", session_state_to_string(state));
                _cleanup_free_ char *old_field = strformat("SWARM_OLD_STATE=%s", session_state_to_string(old));
                Job *j = session_current_job(s);
                log_event(LOG_INFO, MESSAGE_SESSION_STATE,
                          LOG_FIELDS(.session = s->id, .session_name = s->name, .owner_uid = s->owner_uid,
                                     .actor_uid = j ? j->actor_uid : UID_UNSET, .job = j ? j->id : 0,
                                     .provider = s->provider_name, .node = s->node,
                                     .extra = (const char *const[]) { new_field, old_field, NULL }),
                          "Session %s: %s, was %s%s%s", s->name, session_state_to_string(state),
                          session_state_to_string(old), state_remark(s), strempty(s->state_detail));
        }
        session_changed(s, CHANGE_STATE);
}

const Node *session_find_node(const Session *s) {
        const Node *n = NULL;

        if (s->node)
                HASH_FIND_STR(s->manager->nodes, s->node, n);
        return n;
}

const char *session_node_name(const Session *s) {
        const Node *n = session_find_node(s);

        return n && !isempty(n->name) ? n->name : s->node;
}

/* Before it has said anything, a job may wait for it: the service may have been started by this very request. */
int provider_entry_check(const ProviderEntry *e, Refusal **reterr) {
        if (e->health != PROVIDER_UNAVAILABLE || !provider_entry_has_reported(e))
                return 0;
        return refuse(reterr, REFUSAL_PROVIDER_UNAVAILABLE, "Provider \"%s\" cannot be reached now: %s Try again when 'swarmctl providers' (ListProviders) shows it as healthy.",
                      e->name, e->detail);
}

int session_check_provider(Session *s, Refusal **reterr) {
        ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);

        if (!e)
                return refuse(reterr, REFUSAL_NO_SUCH_PROVIDER,
                              "Session \"%s\" lives at provider \"%s\", which is not configured. Add it to Providers= and restart the service.",
                              s->name, s->provider_name);
        return provider_entry_check(e, reterr);
}

static int check_queue(Session *s, JobType verb, uid_t actor, Refusal **reterr) {
        Manager *m = s->manager;
        unsigned queued = 0;
        Job *j;
        int r;

        DL_COUNT(s->jobs, j, queued);
        if (queued > m->config->queued_operations_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED,
                              "Session \"%s\" has %u operations waiting already (QueuedOperationsMax=). Wait for them or cancel some.", s->name, queued - 1);
        r = usage_check_jobs(m, actor, reterr);
        if (r < 0)
                return r;
        if (s->jobs || session_allows(s, verb))
                return 0;
        return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is %s, so %s is not possible now. %s", s->name, session_state_to_string(s->state),
                      job_type_to_string(verb), session_state_remedy(s->state, verb));
}

/* Before anything is stopped that could not be saved then. */
static int check_registry(const Session *s, JobType verb, const JobOptions *options, Refusal **reterr) {
        const ProviderEntry *e = manager_find_provider(s->manager, s->provider_name);

        if (!job_is_to_save(verb, options) || !e || !(e->provider->vtable->capabilities & PROVIDER_NEEDS_REGISTRY) || !isempty(s->manager->config->registry_url))
                return 0;
        return refuse(reterr, REFUSAL_REGISTRY_FAILED,
                      "Session \"%s\" cannot be saved: no registry is configured. Set URL= in the section [Registry] of orchestrator.conf and reload.", s->name);
}

/* Nothing that was asked before matters to a session that is to go. But a request that could not be saved is refused, and
 * then what it would have replaced goes on. */
static void on_destroy_saved(void *userdata, int r) {
        Session *s = userdata;
        Job *j, *destroy = NULL;

        s->destroy_wait = NULL;
        DL_FOREACH(s->jobs, j)
                if (j->type == JOB_DESTROY)
                        destroy = j;
        if (r < 0 || !destroy)
                return;
        /* What is taken out of the queue by that keeps its pointer to the next. */
        for (j = s->jobs; j && j != destroy; j = j->next)
                if (job_is_cancelable(j))
                        (void) job_cancel(j, destroy->actor_uid, NULL);
        if (s->operation)
                operation_give_way(s->operation);
}

int session_request(Session *s, JobType verb, const JobOptions *options, uid_t actor, Job **ret, Refusal **reterr) {
        static const JobOptions none = {};
        Job *j;
        int r;

        if (!options)
                options = &none;
        if (s->state == SESSION_DESTROYING && verb == JOB_DESTROY && options->keep_snapshots && s->operation) {
                operation_keep_generations(s->operation);
                *ret = s->operation->job;
                return 0;
        }
        if (s->state == SESSION_DESTROYING || s->ended_usec > 0)
                return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is being destroyed.", s->name);
        if (s->manager->stopping)
                return refuse(reterr, REFUSAL_PROVIDER_UNAVAILABLE, "The orchestrator is stopping. Try again when it is back.");
        r = check_queue(s, verb, actor, reterr);
        if (r >= 0)
                r = session_check_generation(s, verb, options, reterr);
        /* What waits before it may change what it runs from. */
        if (r >= 0 && !s->jobs)
                r = session_check_layers(s, verb, options, reterr);
        if (r >= 0)
                r = check_registry(s, verb, options, reterr);
        if (r >= 0)
                r = session_check_provider(s, reterr);
        if (r >= 0 && verb == JOB_DESTROY && s->jobs && !s->destroy_wait)
                r = manager_on_commit(s->manager, on_destroy_saved, s, &s->destroy_wait);
        if (r >= 0)
                r = job_new(s->manager, s, verb, options, actor, &j);
        if (r < 0)
                return r;
        session_start_next_job(s);
        *ret = j;
        return 0;
}

int session_touch(Session *s, usec_t now, usec_t extend_usec, Refusal **reterr) {
        if (s->state != SESSION_RUNNING)
                return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is %s; only a running session can be touched. Start or restore it first.",
                              s->name, session_state_to_string(s->state));
        if (extend_usec > 365 * 86400 * USEC_PER_SEC)
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "--extend= (option `extend_usec`) is more than a year. Give the session a longer idle timeout when it is created instead.");
        /* The deadline is last activity plus timeout, so an extension is activity in the future. */
        usec_t ahead = extend_usec > s->spec.idle_timeout_usec ? extend_usec - s->spec.idle_timeout_usec : 0;
        s->last_activity_usec = MAX(s->last_activity_usec, now + ahead);
        session_mark_dirty(s);
        return 0;
}

int session_kill(Session *s, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret, Refusal **reterr) {
        int r = session_check_provider(s, reterr);
        if (r < 0)
                return r;
        if (s->state != SESSION_RUNNING)
                return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is %s; only a running session has processes to signal.", s->name,
                              session_state_to_string(s->state));
        return s->provider->vtable->signal(s->provider, s->id, signo, cb, userdata, ret);
}

void session_drop_snapshot(Session *s, Snapshot *snapshot) {
        HASH_DEL(s->snapshots, snapshot);
        manager_forget_snapshot(s->manager, s->id, snapshot);
        snapshot_free(snapshot);
        session_changed(s, CHANGE_GENERATION);
}

void session_mark_dirty(Session *s) {
        if (s->dirty)
                return;
        s->dirty = true;
        manager_mark_session(s->manager, s);
}

void snapshot_mark_dirty(Session *s, Snapshot *snapshot) {
        if (snapshot->dirty)
                return;
        snapshot->dirty = true;
        manager_mark_snapshot(s->manager, s, snapshot);
}
