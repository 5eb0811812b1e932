/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a loop turn: what changed is saved in one transaction, then those who waited for it go on. When the store
 * cannot take it, they are told, what is dirty stays dirty, and it is tried again. */

#include <utlist.h>

#include "basic/log.h"
#include "core/session-object.h"
#include "core/session-record.h"

/* A busy loop must not put a commit off for longer than this; an idle one commits at once. */
#define COMMIT_DELAY_MAX_USEC (20 * USEC_PER_MSEC)
#define COMMIT_PRIORITY 10

typedef struct PointerList {
        void **items;
        size_t n, allocated;
} PointerList;

typedef struct DeletedSnapshot {
        char *session;
        uint64_t generation;
} DeletedSnapshot;

struct DirtyList {
        PointerList sessions, jobs;
        PointerList snapshots;          /* pairs: Session, Snapshot */
        PointerList deleted;            /* DeletedSnapshot */
        PointerList deleted_jobs;       /* uint64_t */
};

struct CommitWait {
        Manager *manager;
        commit_cb cb;
        void *userdata;
        bool due;                       /* it is this commit that it waits for */
        CommitWait *prev, *next;
};

static int list_add(PointerList *l, void *p) {
        if (l->n == l->allocated) {
                size_t want = MAX((size_t) 16, l->allocated * 2);
                void **items = reallocarray(l->items, want, sizeof(void *));
                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->allocated = want;
        }
        l->items[l->n++] = p;
        return 0;
}

static void list_forget(PointerList *l, const void *p, size_t step) {
        for (size_t i = 0; i < l->n; i += step)
                for (size_t k = 0; k < step; k++)
                        if (l->items[i + k] == p) {
                                memset(l->items + i, 0, step * sizeof(void *));
                                break;
                        }
}

static void arm(Manager *m) {
        deferred_arm(m->commit);
        if (!timer_is_armed(m->commit_timer))
                (void) timer_arm(m->commit_timer, COMMIT_DELAY_MAX_USEC);
}

/* Out of memory here would lose a change: the process ends and resolves what is open when it is back. */
static void add_or_abort(PointerList *l, void *p) {
        if (list_add(l, p) < 0) {
                log_oom();
                abort();
        }
}

void manager_mark_session(Manager *m, Session *s) {
        add_or_abort(&m->dirty->sessions, s);
        arm(m);
}

void manager_mark_job(Manager *m, Job *j) {
        add_or_abort(&m->dirty->jobs, j);
        arm(m);
}

void manager_mark_snapshot(Manager *m, Session *s, Snapshot *snapshot) {
        add_or_abort(&m->dirty->snapshots, s);
        add_or_abort(&m->dirty->snapshots, snapshot);
        arm(m);
}

void manager_forget_session(Manager *m, Session *s) {
        if (!m->dirty)
                return;
        list_forget(&m->dirty->sessions, s, 1);
        list_forget(&m->dirty->snapshots, s, 2);
}

void manager_forget_job(Manager *m, Job *j) {
        if (!m->dirty)
                return;
        list_forget(&m->dirty->jobs, j, 1);
        if (!job_state_is_ended(j->state))
                return;
        uint64_t *id = malloc(sizeof(*id));
        if (id) {
                *id = j->id;
                add_or_abort(&m->dirty->deleted_jobs, id);
                arm(m);
        }
}

void manager_forget_snapshot(Manager *m, const char *session, Snapshot *snapshot) {
        DeletedSnapshot *d = calloc(1, sizeof(*d));

        list_forget(&m->dirty->snapshots, snapshot, 2);
        if (!d || !(d->session = strdup(session))) {
                log_oom();
                abort();
        }
        d->generation = snapshot->record.generation;
        add_or_abort(&m->dirty->deleted, d);
        arm(m);
}

static int put_session(Manager *m, const Session *s) {
        SessionRecord rec;
        int r = session_to_record(s, &rec);
        if (r < 0)
                return r;
        r = store_put_session(m->store, &rec);
        explicit_bzero(rec.spec, strlen(rec.spec));
        free(rec.spec);
        return r;
}

static int put_job(Manager *m, const Job *j) {
        return store_put_job(m->store, &(JobRecord) {
                .id = j->id,
                .type = (char *) job_type_to_string(j->type),
                .session = j->session_id,
                .owner_uid = j->actor_uid,
                .state = (char *) job_state_to_string(j->state),
                .stage = j->stage,
                .error_name = j->error ? (char *) refusal_code_to_string(j->error->code) : NULL,
                .error_message = j->error ? j->error->message : NULL,
                .bytes_done = j->bytes_done,
                .bytes_total = j->bytes_total < 0 ? UINT64_MAX : (uint64_t) j->bytes_total,
                .created_usec = j->created_usec,
                .started_usec = j->started_usec,
                .ended_usec = j->ended_usec,
                .frozen_usec = j->frozen_usec,
                .exit_code = j->exit_code,
        });
}

/* Deletions go first: a number may not be in both lists, but a burned one is never used again. */
static int put_all(Manager *m) {
        DirtyList *d = m->dirty;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < d->sessions.n; i++)
                if (d->sessions.items[i])
                        r = put_session(m, d->sessions.items[i]);
        for (size_t i = 0; r >= 0 && i < d->deleted.n; i++) {
                const DeletedSnapshot *x = d->deleted.items[i];
                r = store_delete_snapshot(m->store, x->session, x->generation);
        }
        for (size_t i = 0; r >= 0 && i < d->snapshots.n; i += 2)
                if (d->snapshots.items[i])
                        r = store_put_snapshot(m->store, &((Snapshot *) d->snapshots.items[i + 1])->record);
        for (size_t i = 0; r >= 0 && i < d->jobs.n; i++)
                if (d->jobs.items[i])
                        r = put_job(m, d->jobs.items[i]);
        for (size_t i = 0; r >= 0 && i < d->deleted_jobs.n; i++)
                r = store_delete_job(m->store, *(uint64_t *) d->deleted_jobs.items[i]);
        return r;
}

static void clear_dirty(Manager *m) {
        DirtyList *d = m->dirty;

        for (size_t i = 0; i < d->sessions.n; i++)
                if (d->sessions.items[i])
                        ((Session *) d->sessions.items[i])->dirty = false;
        for (size_t i = 0; i < d->jobs.n; i++)
                if (d->jobs.items[i])
                        ((Job *) d->jobs.items[i])->dirty = false;
        for (size_t i = 0; i < d->snapshots.n; i += 2)
                if (d->snapshots.items[i])
                        ((Snapshot *) d->snapshots.items[i + 1])->dirty = false;
        for (size_t i = 0; i < d->deleted.n; i++) {
                free(((DeletedSnapshot *) d->deleted.items[i])->session);
                free(d->deleted.items[i]);
        }
        for (size_t i = 0; i < d->deleted_jobs.n; i++)
                free(d->deleted_jobs.items[i]);
        d->sessions.n = d->jobs.n = d->snapshots.n = d->deleted.n = d->deleted_jobs.n = 0;
}

static bool is_clean(const Manager *m) {
        const DirtyList *d = m->dirty;
        return d->sessions.n + d->jobs.n + d->snapshots.n + d->deleted.n + d->deleted_jobs.n == 0;
}

/* Whoever asked would be told that nothing was done, and a crash before the next commit could put it in force. What the
 * next process finds in the file is what counts. */
static _noreturn_ void end_in_doubt(void) {
        log_event(LOG_CRIT, MESSAGE_STORE_FAILED, NULL,
                  "The disk did not confirm a change of the state, so it is not known whether it is in force. The service ends, and reads "
                  "the state again when it is started. Check the disk of the state directory.");
        _exit(EXIT_FAILURE);
}

int manager_commit_now(Manager *m) {
        int r;

        if (is_clean(m))
                return 0;
        r = store_begin(m->store);
        if (r >= 0) {
                r = put_all(m);
                if (r < 0)
                        store_rollback(m->store);
                else
                        r = store_commit(m->store);
        }
        if (r == -ENOTRECOVERABLE)
                end_in_doubt();
        if (r >= 0)
                clear_dirty(m);
        return r;
}

static void set_store_health(Manager *m, int r) {
        if (r >= 0 && !m->store_healthy)
                log_event(LOG_NOTICE, MESSAGE_STORE_FAILED, NULL, "The state can be saved again.");
        if (r < 0 && m->store_healthy)
                log_event_errno(LOG_ERR, r, MESSAGE_STORE_FAILED, NULL,
                                "The state could not be saved: %m. Nothing new is begun until it can be. Make room in the state directory.");
        m->store_healthy = r >= 0;
}

/* Those who are told may wait again, for the next commit, and may have others of them wait no more. */
static void on_commit(void *userdata) {
        Manager *m = userdata;
        int r = manager_commit_now(m);

        timer_disarm(m->commit_timer);
        set_store_health(m, r);
        if (r < 0)
                (void) timer_arm(m->commit_timer, backoff_next(&m->commit_backoff));
        else
                backoff_reset(&m->commit_backoff);

        CommitWait *w;
        DL_FOREACH(m->commit_waits, w)
                w->due = true;
        while ((w = m->commit_waits) && w->due) {
                commit_cb cb = w->cb;
                void *data = w->userdata;
                DL_DELETE(m->commit_waits, w);
                free(w);
                cb(data, r);
        }
        if (r >= 0 && (m->commit_waits || !is_clean(m)))
                arm(m);
}

int manager_on_commit(Manager *m, commit_cb cb, void *userdata, CommitWait **ret) {
        CommitWait *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (CommitWait) { .manager = m, .cb = cb, .userdata = userdata };
        DL_APPEND(m->commit_waits, w);
        /* After a failure the timer decides when to try again, or a full disk would make a busy loop. */
        if (m->store_healthy)
                arm(m);
        else if (!timer_is_armed(m->commit_timer))
                (void) timer_arm(m->commit_timer, backoff_next(&m->commit_backoff));
        if (ret)
                *ret = w;
        return 0;
}

void commit_wait_cancel(CommitWait *w) {
        if (!w)
                return;
        DL_DELETE(w->manager->commit_waits, w);
        free(w);
}

int manager_commit_init(Manager *m) {
        m->store_healthy = true;
        m->commit_backoff = (Backoff) { .min_usec = 100 * USEC_PER_MSEC, .max_usec = 5 * USEC_PER_SEC };
        m->dirty = calloc(1, sizeof(*m->dirty));
        if (!m->dirty)
                return -ENOMEM;
        int r = deferred_new(m->event, COMMIT_PRIORITY, on_commit, m, &m->commit);
        if (r < 0)
                return r;
        return timer_new(m->event, on_commit, m, &m->commit_timer);
}

void manager_commit_done(Manager *m) {
        CommitWait *w, *next;

        DL_FOREACH_SAFE(m->commit_waits, w, next)
                commit_wait_cancel(w);
        deferred_free(m->commit);
        timer_free(m->commit_timer);
        if (!m->dirty)
                return;
        clear_dirty(m);
        free(m->dirty->sessions.items);
        free(m->dirty->jobs.items);
        free(m->dirty->snapshots.items);
        free(m->dirty->deleted.items);
        free(m->dirty->deleted_jobs.items);
        free(m->dirty);
        m->dirty = NULL;
}
