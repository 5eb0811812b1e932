/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share. Handlers are entered again from the top while they wait for the caller's uid or
 * for polkit: helpers that may park return 1 "go on", 0 "parked" or negative with the error set, and a handler says
 *         if (r <= 0)
 *                 return front_parked(r);
 * since 0 from a handler would mean "no such method". */

#include "basic/log.h"
#include "bus/bus-answers.h"
#include "bus/bus-caller.h"
#include "bus/bus-changes.h"
#include "bus/bus-error.h"
#include "bus/bus-log-control.h"
#include "bus/bus-options.h"
#include "bus/bus-polkit.h"
#include "bus/bus-rate.h"
#include "bus/bus-util.h"
#include "core/stream.h"
#include "event/event-util.h"
#include "front/front.h"
#include "swarm-orchestrator.h"

#define ANSWERS_BYTES_MAX (32 * MIB)    /* long ones, that the bus has not taken yet */

typedef struct Pending Pending;

struct Front {
        sd_bus *bus;
        Manager *manager;
        FrontHooks hooks;
        BusCallers *callers;
        BusPolkit *polkit;
        BusRate *rate;
        BusChanges *changes;
        BusLogControl log_control;
        Pending *pending;
        BusAnswers *answers;
        Timer *early_end;
        sd_bus_message **early;         /* questions that came before all providers had reported for the first time */
        size_t n_early;
        bool reported;                  /* all have, or it took too long */
};

static inline int front_parked(int r) {
        return r < 0 ? r : 1;
}

static inline Front *front_of(sd_bus_message *m) {
        return bus_registered_userdata(sd_bus_message_get_bus(m));
}

/* front-request.c. What a request is about, for polkit's details, for sentences and for the journal; borrowed. NULL and
 * UID_UNSET where it does not apply. */
typedef struct Subject {
        const char *id, *name, *organization, *template_name, *provider;
        uid_t owner;
} Subject;
#define NO_SUBJECT ((const Subject) { .owner = UID_UNSET })
Subject subject_of(const Session *s);

/* Parks, see above. */
int front_caller(Front *f, sd_bus_message *m, uid_t *ret, sd_bus_error *reterr);
int front_authorize(Front *f, sd_bus_message *m, uid_t uid, const char *action, const char *verb, const Subject *subject,
                    sd_bus_error *reterr);
/* Authorizes, then counts the change against the caller's limit. */
int front_admit(Front *f, sd_bus_message *m, uid_t uid, const char *action, const char *verb, const Subject *subject,
                sd_bus_error *reterr);
/* `own` for the session's owner, `other` for everybody else. */
const char *front_action(uid_t uid, const Session *s, const char *own, const char *other);

/* What the core did not do: logs it, sets the error. Takes *refusal. */
int front_refused(uid_t uid, const char *verb, const Subject *subject, int r, Refusal **refusal, sd_bus_error *reterr);
/* Sends `reply` when the intent is on disk, or StoreFailed; then `job` is not carried out. Returns what the handler returns. */
int front_reply_saved(Front *f, sd_bus_message *m, sd_bus_message *reply, uid_t uid, const char *verb, const Subject *subject,
                      uint64_t job);
/* The same for what has taken effect already. */
int front_reply_done(Front *f, sd_bus_message *m, sd_bus_message *reply, uid_t uid, const char *verb, const Subject *subject,
                     uint64_t job);
/* For a call to a provider, and for a stream: the pending answer is `userdata`, front_call_done() the callback. It answers with the reply
 * that was set, or with an empty one. */
int front_pending_new(Front *f, sd_bus_message *m, uid_t uid, const char *verb, const Subject *subject, Pending **ret);
Pending *front_pending_free(Pending *p);
DEFINE_CLEANUP(Pending *, front_pending_free)
ProviderCall **front_pending_call(Pending *p);
Stream **front_pending_stream(Pending *p);
void front_pending_set_reply(Pending *p, sd_bus_message *reply, uint64_t job);
void front_call_done(void *userdata, int r, const Refusal *refusal);
/* Streams that have not begun are for nobody else. */
void front_pending_caller_gone(Front *f, const char *sender);

/* For answers that may be long, before and after they are made. The bus takes many questions in the time in which it takes one
 * of those, and what it has not taken is in memory: LimitExceeded when that is too much. `answer` is one that was sent; NULL: the
 * library sends it next. */
int front_check_answers(Front *f, uid_t uid, Refusal **reterr_refusal);
void front_note_answer(Front *f, uid_t uid, sd_bus_message *answer, size_t bytes);

/* Parks, see above, until every provider has told what it sees or why it cannot, once after the start: what is asked before
 * would be answered as if there were no nodes. */
int front_await_providers(Front *f, sd_bus_message *m);

/* The session a message is about: named by its first argument on the manager, by the path otherwise. */
int front_read_session(Front *f, sd_bus_message *m, Session **ret, Refusal **reterr_refusal);

/* filter-names.c: names in the filter of a list; NULL where there is none. A node may be named by its name, and is named by
 * its id afterwards. NO_SUCH_… for one that is not known and that no session has, be it one that has ended. */
typedef struct FilterNames {
        const char *template_name, *provider, *node;
} FilterNames;
int front_check_names(Front *f, FilterNames *names, Refusal **reterr_refusal);
int front_refuse_provider(Front *f, const char *name, Refusal **reterr_refusal);

/* Pages of ListSessions and ListJobs. */
#define PAGE_BYTES_MAX (1 * MIB)
typedef struct Page {
        sd_bus_message *reply;          /* inside of the array */
        uid_t uid;                      /* whose question it answers */
        size_t bytes;
        unsigned rows, limit;
} Page;
int page_open(sd_bus_message *m, uid_t uid, uint64_t limit, bool limit_given, Page *ret, Refusal **reterr_refusal);
static inline bool page_is_full(const Page *p) {
        return p->rows >= p->limit || p->bytes >= PAGE_BYTES_MAX;
}
int page_send(Page *p, const char *next);
static inline void page_done(Page *p) {
        sd_bus_message_unref(p->reply);
}
#define _cleanup_page_ _cleanup_(page_done)

/* One file for each kind of object. */
extern const sd_bus_vtable manager_vtable[], session_vtable[], job_vtable[], node_vtable[], provider_vtable[];
extern const BusChangeClass session_changes, job_changes, node_changes, provider_changes;

/* Beside the masks of the core. */
#define FRONT_CHANGE_JOB_ENDED (UINT64_C(1) << 32)

int session_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr);
int session_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr);
int job_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr);
int job_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr);
int node_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr);
int node_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr);
int provider_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr);
int provider_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr);

const char *provider_detail(const ProviderEntry *e);     /* why it is not healthy, or "" */
char *session_path(const Session *s);
char *job_path(uint64_t id);

/* Fields of a session; flags. */
#define FIELD_PUBLIC (1u << 0)          /* any local user may read it: a property, and in Describe */
#define FIELD_DEFAULT (1u << 1)         /* column of ListSessions without `fields` */
#define FIELD_PRIVATE (1u << 2)         /* column for those who may describe; in Describe */
#define FIELD_DESCRIBE (1u << 3)        /* in Describe */
#define FIELD_ENDED (1u << 4)           /* of ended sessions only */
#define FIELD_SPEC (1u << 5)            /* comes from Session.spec */
extern const BusField session_fields[];

/* Methods that live in files of their own. */
int method_create_session(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_list_sessions(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_verb(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_describe(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_touch(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_kill(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_delete_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_open_shell(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_execute(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_session_open_logs(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_cancel_job(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_list_nodes(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_list_providers(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_list_templates(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
int method_get_template(sd_bus_message *m, void *userdata, sd_bus_error *reterr);
