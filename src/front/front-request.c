/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From the caller's uid to the answer: what every handler needs. */

#include <utlist.h>

#include "front/front-internal.h"

/* A request whose answer waits for the disk, for a provider, or for a stream to begin. */
struct Pending {
        Front *front;
        CommitWait *wait;
        ProviderCall *call;
        Stream *stream;                 /* that has not begun */
        sd_bus_message *message, *reply;
        uid_t uid;
        uint64_t job;
        bool carried_out;               /* already, whether or not that can be saved */
        char *what, *session_id, *session_name, *provider;
        uid_t owner;
        Pending *next, *prev;
};
/* The fields of a journal record about a request. */
#define REQUEST_FIELDS(subject, uid, j)                                                                           \
        LOG_FIELDS(.session = (subject)->id, .session_name = (subject)->name, .owner_uid = (subject)->owner,      \
                   .actor_uid = (uid), .job = (j), .provider = (subject)->provider)

Subject subject_of(const Session *s) {
        return (Subject) {
                .id = s->id,
                .name = s->name,
                .organization = s->organization,
                .template_name = s->template_name,
                .provider = s->provider_name,
                .owner = s->owner_uid,
        };
}

/* Verbs of polkit's details whose sentence needs more words. */
static const struct {
        const char *verb, *phrase;
} phrases[] = {
        { "cancel", "cancel a job of" },
        { "delete-snapshot", "delete a generation of" },
        { "execute", "run a command in" },
        { "get-template", "see a template" },
        { "kill", "send a signal to" },
        { "list", "list the private details of sessions" },
        { "list-snapshots", "list the generations of" },
        { "log-control", "change the log settings" },
        { "open-logs", "read the output of" },
        { "open-shell", "open a shell in" },
        { "reload", "reload the configuration" },
};

/* "hibernate session dev", "reload the configuration". */
static char *describe_request(const char *verb, const Subject *subject) {
        const char *phrase = verb;

        for (size_t i = 0; i < ELEMENTSOF(phrases); i++)
                if (streq(phrases[i].verb, verb))
                        phrase = phrases[i].phrase;
        if (!isempty(subject->name))
                return strformat("%s session %s", phrase, subject->name);
        /* "cancel a job of": the session is gone */
        return strndup(phrase, strlen(phrase) - (endswith(phrase, " of") ? strlen(" of") : 0));
}

int front_caller(Front *f, sd_bus_message *m, uid_t *ret, sd_bus_error *reterr) {
        int r = bus_callers_get_uid(f->callers, m, ret);

        if (r == -EBUSY)
                return bus_error_setf(reterr, REFUSAL_LIMIT_EXCEEDED,
                                      "%d requests of this connection wait to be looked at, which is the limit. Wait for their answers first.",
                                      BUS_CALLER_PARKED_MAX);
        return r < 0 ? bus_error_set(reterr, r, NULL) : r;
}

typedef struct Details {
        const char *v[2 * 6 + 1];
        size_t n;
        char owner[sizeof("4294967295")];
} Details;

static void details_add(Details *d, const char *key, const char *value) {
        if (isempty(value))
                return;
        d->v[d->n++] = key;
        d->v[d->n++] = value;
}

static void details_fill(Details *d, const char *verb, const Subject *subject) {
        details_add(d, "session", subject->name);
        details_add(d, "organization", subject->organization);
        details_add(d, "template", subject->template_name);
        details_add(d, "provider", subject->provider);
        if (subject->owner != UID_UNSET) {
                (void) snprintf(d->owner, sizeof(d->owner), "%u", subject->owner);
                details_add(d, "owner", d->owner);
        }
        details_add(d, "verb", verb);
}

int front_authorize(Front *f, sd_bus_message *m, uid_t uid, const char *action, const char *verb, const Subject *subject,
                    sd_bus_error *reterr) {
        _cleanup_free_ char *what = describe_request(verb, subject);
        Details details = {};
        int r;

        if (!what)
                return -ENOMEM;
        details_fill(&details, verb, subject);
        r = bus_polkit_check(f->polkit, m, uid, &(BusPolkitRequest) { .action = action, .details = details.v, .what = what }, reterr);
        if (r < 0)
                log_event(LOG_NOTICE, MESSAGE_ACCESS_DENIED, REQUEST_FIELDS(subject, uid, 0), "Denied uid %u to %s: %s", uid, what,
                          strempty(reterr->message));
        return r;
}

/* Another caller's limit is his own: nobody can use up what belongs to others. */
static int front_charge(Front *f, uid_t uid, sd_bus_error *reterr) {
        unsigned per_minute = f->manager->config->changes_per_minute;
        usec_t wait, now;

        if (uid == 0 || sd_event_now(f->manager->event, CLOCK_MONOTONIC, &now) < 0)
                return 1;
        wait = bus_rate_take(f->rate, uid, now, per_minute);
        if (wait == 0)
                return 1;
        return bus_error_setf(reterr, REFUSAL_RATE_LIMITED,
                              "uid %u has made more than %u changes within a minute. The next one is possible in %" PRIu64 " seconds.", uid,
                              per_minute, wait == USEC_INFINITY ? 60 : (wait + USEC_PER_SEC - 1) / USEC_PER_SEC);
}

int front_admit(Front *f, sd_bus_message *m, uid_t uid, const char *action, const char *verb, const Subject *subject,
                sd_bus_error *reterr) {
        int r = front_authorize(f, m, uid, action, verb, subject, reterr);

        if (r <= 0)
                return r;
        r = front_charge(f, uid, reterr);
        if (r < 0)
                log_event(LOG_NOTICE, MESSAGE_REQUEST_REFUSED, REQUEST_FIELDS(subject, uid, 0), "%s", strempty(reterr->message));
        return r;
}

const char *front_action(uid_t uid, const Session *s, const char *own, const char *other) {
        return s->owner_uid == uid ? own : other;
}

int front_refused(uid_t uid, const char *verb, const Subject *subject, int r, Refusal **refusal, sd_bus_error *reterr) {
        _cleanup_free_ char *what = describe_request(verb, subject);

        r = bus_error_set(reterr, r, refusal);
        log_event(LOG_NOTICE, MESSAGE_REQUEST_REFUSED, REQUEST_FIELDS(subject, uid, 0), "Refused uid %u to %s: %s", uid, what ?: verb,
                  strempty(reterr->message));
        return r;
}

Pending *front_pending_free(Pending *p) {
        if (!p)
                return NULL;
        if (p->front)
                DL_DELETE(p->front->pending, p);
        commit_wait_cancel(p->wait);
        provider_call_cancel(p->call);
        stream_forget(p->stream);
        sd_bus_message_unref(p->message);
        sd_bus_message_unref(p->reply);
        free(p->what);
        free(p->session_id);
        free(p->session_name);
        free(p->provider);
        free(p);
        return NULL;
}

int front_pending_new(Front *f, sd_bus_message *m, uid_t uid, const char *verb, const Subject *subject, Pending **ret) {
        _cleanup_(front_pending_freep) Pending *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->message = sd_bus_message_ref(m);
        p->uid = uid;
        p->owner = subject->owner;
        p->what = describe_request(verb, subject);
        if (!p->what || free_and_strdup(&p->session_id, subject->id) < 0 || free_and_strdup(&p->session_name, subject->name) < 0 ||
            free_and_strdup(&p->provider, subject->provider) < 0)
                return -ENOMEM;
        p->front = f;
        DL_APPEND(f->pending, p);
        *ret = TAKE_PTR(p);
        return 0;
}

ProviderCall **front_pending_call(Pending *p) {
        return &p->call;
}

Stream **front_pending_stream(Pending *p) {
        return &p->stream;
}

void front_pending_set_reply(Pending *p, sd_bus_message *reply, uint64_t job) {
        p->reply = sd_bus_message_ref(reply);
        p->job = job;
}

void front_pending_caller_gone(Front *f, const char *sender) {
        Pending *p, *next;

        DL_FOREACH_SAFE(f->pending, p, next)
                if (p->stream && streq_ptr(sd_bus_message_get_sender(p->message), sender))
                        front_pending_free(p);
}

static Subject subject_of_pending(const Pending *p) {
        return (Subject) { .id = p->session_id, .name = p->session_name, .provider = p->provider, .owner = p->owner };
}

static void pending_answer(Pending *p) {
        Subject subject = subject_of_pending(p);
        int r;

        if (p->reply)
                r = sd_bus_send(p->front->bus, p->reply, NULL);
        else
                r = sd_bus_reply_method_return(p->message, NULL);
        if (r < 0)
                log_debug_errno(r, "Cannot answer uid %u, who asked to %s: %m", p->uid, p->what);
        log_event(LOG_INFO, MESSAGE_REQUEST_ACCEPTED, REQUEST_FIELDS(&subject, p->uid, p->job), "uid %u asked to %s.", p->uid, p->what);
}

static void pending_refuse(Pending *p, const Refusal *refusal) {
        Subject subject = subject_of_pending(p);

        log_event(LOG_NOTICE, MESSAGE_REQUEST_REFUSED, REQUEST_FIELDS(&subject, p->uid, p->job), "Refused uid %u to %s: %s", p->uid, p->what,
                  refusal->message);
        (void) sd_bus_reply_method_errorf(p->message, bus_error_name(refusal->code), "%s", refusal->message);
}

static void withdraw(Pending *p) {
        Job *j;

        if (p->job > 0 && !p->carried_out && manager_get_job(p->front->manager, p->job, &j, NULL) >= 0)
                job_withdraw(j);
}

static void on_saved(void *userdata, int r) {
        _cleanup_(front_pending_freep) Pending *p = userdata;
        _cleanup_refusal_ Refusal *refusal = NULL;

        p->wait = NULL;
        if (r >= 0) {
                pending_answer(p);
                return;
        }
        withdraw(p);
        (void) refuse(&refusal, REFUSAL_STORE_FAILED, "The request to %s %s: %s. Look at the disk of the state directory and try again.", p->what,
                      p->carried_out ? "was carried out, but could not be saved, and is forgotten if the service ends now" :
                      "could not be saved, so nothing was done", strerror(-r));
        if (refusal)
                pending_refuse(p, refusal);
}

static int reply_saved(Front *f, sd_bus_message *m, sd_bus_message *reply, uid_t uid, const char *verb, const Subject *subject,
                       uint64_t job, bool carried_out) {
        _cleanup_(front_pending_freep) Pending *p = NULL;
        int r;

        r = front_pending_new(f, m, uid, verb, subject, &p);
        if (r < 0)
                return r;
        front_pending_set_reply(p, reply, job);
        p->carried_out = carried_out;
        r = manager_on_commit(f->manager, on_saved, p, &p->wait);
        if (r < 0)
                return r;
        TAKE_PTR(p);
        return 1;
}

int front_reply_saved(Front *f, sd_bus_message *m, sd_bus_message *reply, uid_t uid, const char *verb, const Subject *subject,
                      uint64_t job) {
        return reply_saved(f, m, reply, uid, verb, subject, job, false);
}

int front_reply_done(Front *f, sd_bus_message *m, sd_bus_message *reply, uid_t uid, const char *verb, const Subject *subject,
                     uint64_t job) {
        return reply_saved(f, m, reply, uid, verb, subject, job, true);
}

void front_call_done(void *userdata, int r, const Refusal *refusal) {
        _cleanup_(front_pending_freep) Pending *p = userdata;
        _cleanup_refusal_ Refusal *copy = NULL;

        p->call = NULL;
        p->stream = NULL;
        if (r >= 0) {
                pending_answer(p);
                return;
        }
        copy = refusal_copy(refusal);
        if (!copy)
                copy = refusal_of(r, NULL);
        if (copy)
                pending_refuse(p, copy);
}

int front_check_answers(Front *f, uid_t uid, Refusal **reterr_refusal) {
        uint64_t queued = 0;

        if (sd_bus_get_n_queued_write(f->bus, &queued) >= 0)
                bus_answers_update(f->answers, queued);
        if (bus_answers_may_have(f->answers, uid))
                return 0;
        return refuse(reterr_refusal, REFUSAL_LIMIT_EXCEEDED,
                      "More than %llu MiB of answers, many of them for uid %u, wait until the bus takes them. Read those that you have asked for, and try again.",
                      (unsigned long long) (ANSWERS_BYTES_MAX / MIB), uid);
}

/* It is on its way: a failure here is no answer to the question any more. */
void front_note_answer(Front *f, uid_t uid, sd_bus_message *answer, size_t bytes) {
        uint64_t cookie = 0;

        int r = answer ? sd_bus_message_get_cookie(answer, &cookie) : 0;
        if (r >= 0)
                r = bus_answers_add(f->answers, uid, cookie, bytes);
        if (r < 0)
                log_warning_errno(r, "A long answer could not be counted, ignoring: %m");
}

int front_read_session(Front *f, sd_bus_message *m, Session **ret, Refusal **reterr_refusal) {
        _cleanup_free_ char *id = NULL;
        const char *name;
        int r;

        if (streq(sd_bus_message_get_path(m), SWARM_PATH)) {
                r = sd_bus_message_read_basic(m, 's', &name);
                if (r < 0)
                        return r;
        } else {
                r = bus_path_decode(sd_bus_message_get_path(m), SWARM_PATH_SESSION, &id);
                if (r < 0)
                        return r;
                name = strempty(id);
        }
        return manager_get_session(f->manager, name, ret, reterr_refusal);
}

int page_open(sd_bus_message *m, uid_t uid, uint64_t limit, bool limit_given, Page *ret, Refusal **reterr_refusal) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        int r;

        if (limit_given && (limit < 1 || limit > SWARM_PAGE_MAX))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "Option `limit` is %" PRIu64 "; it must be 1 to %d rows.", limit,
                              SWARM_PAGE_MAX);
        r = front_check_answers(front_of(m), uid, reterr_refusal);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        if (r < 0)
                return r;
        *ret = (Page) { .reply = TAKE_PTR(reply), .uid = uid, .limit = limit_given ? (unsigned) limit : SWARM_PAGE_MAX };
        return 0;
}

int page_send(Page *p, const char *next) {
        int r;

        r = sd_bus_message_close_container(p->reply);
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(p->reply, 's', strempty(next));
        if (r < 0)
                return r;
        r = sd_bus_send(sd_bus_message_get_bus(p->reply), p->reply, NULL);
        if (r >= 0)
                front_note_answer(front_of(p->reply), p->uid, p->reply, p->bytes);
        return r;
}
