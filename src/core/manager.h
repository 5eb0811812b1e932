/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All sessions, jobs, nodes and providers; the queue of what is to be saved; the front's and the providers' one
 * counterpart. */

#include <systemd/sd-event.h>

#include "core/config.h"
#include "core/job.h"
#include "core/session.h"
#include "core/template.h"
#include "event/event-util.h"
#include "store/store.h"

typedef enum ObjectKind {
        OBJECT_MANAGER,
        OBJECT_SESSION,         /* Session */
        OBJECT_JOB,             /* Job */
        OBJECT_NODE,            /* Node */
        OBJECT_PROVIDER,        /* ProviderEntry */
} ObjectKind;

/* What changed on an object: the front turns bits into property names. */
typedef enum ChangeMask {
        CHANGE_ADDED = 1 << 0,
        CHANGE_REMOVED = 1 << 1,        /* last call with this pointer; the object still holds its data */
        CHANGE_STATE = 1 << 2,          /* session: State StateDetail StopReason timestamps; job: State error; node: State */
        CHANGE_GENERATION = 1 << 3,     /* Generation, Snapshot */
        CHANGE_PLACE = 1 << 4,          /* Node */
        CHANGE_HEALTH = 1 << 5,         /* Health */
        CHANGE_JOB = 1 << 6,            /* CurrentJob */
        CHANGE_PROGRESS = 1 << 7,       /* Stage Progress BytesDone BytesTotal FrozenUSec */
        CHANGE_ALL = 1 << 8,            /* anything */
} ChangeMask;

typedef void (*manager_changed_cb)(void *userdata, ObjectKind kind, void *object, uint64_t mask);

typedef struct Node {
        char *id, *name, *provider, *state, *availability, *role, *address, *engine_version;
        uint64_t nano_cpus, memory_bytes;
        bool agent;
        usec_t back_usec;       /* when it was ready again after it had not been (core_uptime()); 0 = never */
        UT_hash_handle hh;
} Node;

typedef struct ProviderEntry {
        char *name;
        Manager *manager;
        Provider *provider;
        ProviderHealth health;
        char *detail;           /* why it is not healthy; NULL */
        bool listed;            /* a full list has come since it was connected last */
        bool left_alone;        /* it has a session that was not taken up, since another one has its name */
        unsigned list_serial;
        usec_t lost_usec;       /* when it became unavailable last (core_uptime()); 0 = never */
        uint64_t reserved_memory_bytes;         /* by its active sessions */
        UT_hash_handle hh;
} ProviderEntry;

/* Since the start: what it sees, or why it cannot. */
static inline bool provider_entry_has_reported(const ProviderEntry *e) {
        return e->health != PROVIDER_UNAVAILABLE || !isempty(e->detail);
}

/* Somebody who has sessions, jobs or streams that have not ended. */
typedef struct User {
        uid_t uid;
        unsigned sessions, jobs, streams;
        UT_hash_handle hh;
} User;

typedef struct CommitWait CommitWait;
typedef struct DirtyList DirtyList;

struct Manager {
        sd_event *event;
        Config *config;
        TemplateTable *templates;
        Store *store;
        Session *sessions_by_id, *sessions_by_name;
        Job *jobs;
        Node *nodes;
        ProviderEntry *providers;
        User *users;
        unsigned jobs_running;  /* and queued; without shells and commands */
        unsigned jobs_ended;    /* since it was looked last which are to be forgotten */
        unsigned streams;
        uint64_t last_job_id;
        bool store_healthy, stopping;

        manager_changed_cb on_changed;
        void *on_changed_userdata;

        /* The end of the turn: what is dirty is saved in one transaction, then those who waited for it go on. */
        Deferred *commit;
        Timer *commit_timer, *prune, *calm;     /* calm: nothing is under way for a while */
        CommitWait *commit_waits;
        DirtyList *dirty;
        Backoff commit_backoff;

        event_cb stop_done;
        void *stop_userdata;
        Timer *stop_timer;
        usec_t stop_deadline_usec;      /* core_uptime() */
};

/* `now` is never read by the core itself but through these, so that tests set it. */
extern usec_t (*core_now)(void);        /* CLOCK_REALTIME: what is told and kept */
extern usec_t (*core_uptime)(void);     /* CLOCK_BOOTTIME, which nobody sets: how long ago something was */

/* Takes config, templates and store. Loads what the store holds; nothing outside happens before manager_start(). */
int manager_new(sd_event *event, Config *config, TemplateTable *templates, Store *store, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free)
int manager_add_provider(Manager *m, Provider *p);      /* takes p on success */
void manager_set_observer(Manager *m, manager_changed_cb cb, void *userdata);
int manager_start(Manager *m);                          /* providers connect; their first list reconciles */
/* Stops taking work, undoes captures in flight (thaws), calls back when all is quiet or the time is over. */
void manager_stop(Manager *m, usec_t timeout_usec, event_cb done, void *userdata);
/* New configuration and templates; takes both. Running sessions keep what they were made with. */
void manager_reload(Manager *m, Config *config, TemplateTable *templates);

/* After the next commit: r = 0 saved, negative not saved (the cause). Returns a handle to cancel with. */
typedef void (*commit_cb)(void *userdata, int r);
int manager_on_commit(Manager *m, commit_cb cb, void *userdata, CommitWait **ret);
void commit_wait_cancel(CommitWait *w);                 /* NULL is fine */

Session *manager_find_session(Manager *m, const char *id_or_name);     /* living ones */
int manager_get_session(Manager *m, const char *id_or_name, Session **ret, Refusal **reterr_refusal);
int manager_get_job(Manager *m, uint64_t id, Job **ret, Refusal **reterr_refusal);
int manager_get_node(Manager *m, const char *id_or_name, Node **ret, Refusal **reterr_refusal);
ProviderEntry *manager_find_provider(Manager *m, const char *name);

/* What CreateSession asks for. Strings are borrowed. Zero, NULL or NaN mean "not said". */
typedef struct SessionParameters {
        const char *name;               /* empty = generated */
        const char *template_name, *image, *provider, *node, *organization;
        char *const *command, *const *env, *const *labels;
        double cpus;                    /* 0 = not said */
        uint64_t memory_bytes, memory_reservation_bytes;
        usec_t idle_timeout_usec;
        uid_t owner;                    /* UID_UNSET = the caller */
        const char *from;               /* "session" or "session:generation" */
} SessionParameters;

/* Validates everything, checks quotas, saves the intent (see manager_on_commit()) and starts the job. */
int manager_create_session(Manager *m, const SessionParameters *p, uid_t actor, Session **ret, Job **ret_job, Refusal **reterr_refusal);

typedef struct ManagerTotals {
        unsigned by_state[_SESSION_STATE_MAX];
        unsigned sessions, jobs_running;
        double cpus_used, cpus_total;           /* limits of what runs; of ready nodes */
        uint64_t memory_used_bytes, memory_total_bytes, storage_used_bytes;
} ManagerTotals;
void manager_totals(const Manager *m, ManagerTotals *ret);
