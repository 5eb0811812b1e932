/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <uthash.h>

#include "basic/log.h"
#include "basic/string-util.h"
#include "bus/bus-caller.h"
#include "bus/bus-error.h"
#include "bus/bus-polkit.h"
#include "event/event-util.h"

/* org.freedesktop.PolicyKit1.Authority, from polkit's own D-Bus documentation. */
#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_USER_INTERACTION 1u

typedef enum Verdict {
        VERDICT_PENDING,
        VERDICT_ALLOWED,
        VERDICT_DENIED,
        VERDICT_CHALLENGE,
        VERDICT_NO_AGENT,                       /* a challenge, and nobody there to put it to */
        VERDICT_TIMEOUT,
        VERDICT_UNAVAILABLE,
} Verdict;

typedef struct Query {
        BusPolkit *polkit;
        sd_bus_message *message;
        uid_t uid;
        bool interactive, repeated;
        usec_t deadline_usec;                   /* CLOCK_MONOTONIC */
        char *action;
        Strv details;
        char *cancellation_id;
        sd_bus_slot *slot;
        Verdict verdict;
        char *error;                            /* polkit's own words, VERDICT_UNAVAILABLE */
        UT_hash_handle hh;                      /* by message */
} Query;

struct BusPolkit {
        sd_bus *bus;
        BusPolkitConfig config;
        Query *queries;
        unsigned n_pending;
        uint64_t last_id;
        Deferred *sweep;
};

static Query *query_free(Query *q) {
        if (!q)
                return NULL;
        if (q->polkit) {
                HASH_DEL(q->polkit->queries, q);
                if (q->verdict == VERDICT_PENDING)
                        q->polkit->n_pending--;
        }
        sd_bus_slot_unref(q->slot);
        sd_bus_message_unref(q->message);
        strv_free(q->details);
        free(q->cancellation_id);
        free(q->action);
        free(q->error);
        free(q);
        return NULL;
}
DEFINE_CLEANUP(Query *, query_free)

/* Closes the dialogue of a check that took too long. */
static void query_cancel(Query *q) {
        int r;

        r = sd_bus_call_method_async(q->polkit->bus, NULL, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CancelCheckAuthorization",
                                     NULL, NULL, "s", q->cancellation_id);
        if (r < 0)
                log_debug_errno(r, "Cannot withdraw a question to polkit: %m");
}

/* A verdict that no handler has picked up by now belongs to a request that was refused before its check. */
static void on_sweep(void *userdata) {
        BusPolkit *p = userdata;
        Query *q, *next;

        HASH_ITER(hh, p->queries, q, next)
                if (q->verdict != VERDICT_PENDING)
                        query_free(q);
}

static Verdict verdict_of_reply(sd_bus_message *reply, bool interactive) {
        int authorized, challenge;

        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 || sd_bus_message_read(reply, "bb", &authorized, &challenge) < 0)
                return VERDICT_UNAVAILABLE;
        return authorized ? VERDICT_ALLOWED : !challenge ? VERDICT_DENIED : interactive ? VERDICT_NO_AGENT : VERDICT_CHALLENGE;
}

static usec_t monotonic_now(const BusPolkit *p) {
        uint64_t now = 0;

        (void) sd_event_now(sd_bus_get_event(p->bus), CLOCK_MONOTONIC, &now);
        return now;
}

static Verdict verdict_of_error(const Query *q, const sd_bus_error *e) {
        bool late = monotonic_now(q->polkit) >= q->deadline_usec;

        return late && sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT) ? VERDICT_TIMEOUT : VERDICT_UNAVAILABLE;
}

static int query_send(Query *q);

/* polkitd ended with the question in hand: its connection has gone, which the bus tells in the words in which the library tells of
 * the end of the time. The one that is started in its place has not heard of the question. */
static bool query_repeat(Query *q, const sd_bus_error *e) {
        if (q->repeated || !e || !sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) || monotonic_now(q->polkit) >= q->deadline_usec)
                return false;
        log_debug("polkit left the bus before it had decided about %s; it is asked again.", q->action);
        q->repeated = true;
        q->slot = sd_bus_slot_unref(q->slot);
        return query_send(q) >= 0;
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Query *q = userdata;
        BusPolkit *p = q->polkit;
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        if (query_repeat(q, e))
                return 1;
        q->verdict = e ? verdict_of_error(q, e) : verdict_of_reply(reply, q->interactive);
        p->n_pending--;
        if (e) {
                q->error = strdup(e->message ?: e->name);
                log_debug("polkit did not decide about %s: %s", q->action, strempty(q->error));
        }
        if (q->verdict == VERDICT_TIMEOUT)
                query_cancel(q);
        q->slot = sd_bus_slot_unref(q->slot);

        bus_message_reenter(q->message);
        /* Idle priority: only after everything that is queued on the bus, this message too, was dispatched. */
        deferred_arm(p->sweep);
        return 1;
}

static int verdict_apply(Verdict verdict, const BusPolkitRequest *request, const char *error, sd_bus_error *reterr) {
        switch (verdict) {
        case VERDICT_ALLOWED:
                return 1;
        case VERDICT_CHALLENGE:
                return sd_bus_error_setf(reterr, BUS_ERROR_INTERACTIVE,
                                         "You have to authenticate to %s (polkit action %s). Ask again with interactive authorization allowed.",
                                         request->what, request->action);
        case VERDICT_NO_AGENT:
                return sd_bus_error_setf(reterr, BUS_ERROR_INTERACTIVE,
                                         "You have to authenticate to %s (polkit action %s), and no authentication agent of yours answered. On a terminal, pkttyagent is one.",
                                         request->what, request->action);
        case VERDICT_TIMEOUT:
                return bus_error_setf(reterr, REFUSAL_ACCESS_DENIED,
                                      "polkit did not decide in time whether you may %s. Ask again; if that goes on, an administrator should look at polkit.service.",
                                      request->what);
        case VERDICT_UNAVAILABLE:
                return bus_error_setf(reterr, REFUSAL_ACCESS_DENIED,
                                      "polkit could not be asked whether you may %s, so it is denied to all but uid 0 (%s).", request->what,
                                      strempty(error));
        default:
                return bus_error_setf(reterr, REFUSAL_ACCESS_DENIED,
                                      "You may not %s: the polkit action %s denies it. An administrator can grant it with a polkit rule.",
                                      request->what, request->action);
        }
}

static bool details_equal(char *const *a, const char *const *b) {
        for (; *a && b && *b; a++, b++)
                if (!streq(*a, *b))
                        return false;
        return !*a && (!b || !*b);
}

static int append_details(sd_bus_message *call, char *const *details) {
        int r;

        r = sd_bus_message_open_container(call, 'a', "{ss}");
        for (; r >= 0 && details[0]; details += 2)
                r = sd_bus_message_append(call, "{ss}", details[0], details[1]);
        return r < 0 ? r : sd_bus_message_close_container(call);
}

static int query_send(Query *q) {
        BusPolkit *p = q->polkit;
        usec_t timeout = q->interactive ? p->config.interactive_timeout_usec : p->config.timeout_usec;
        sd_bus_message *call = NULL;
        int r;

        r = sd_bus_message_new_method_call(p->bus, &call, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s", sd_bus_message_get_sender(q->message),
                                  q->action);
        if (r >= 0)
                r = append_details(call, q->details);
        if (r >= 0)
                r = sd_bus_message_append(call, "us", q->interactive ? POLKIT_ALLOW_USER_INTERACTION : 0, q->cancellation_id);
        if (r >= 0)
                r = sd_bus_call_async(p->bus, &q->slot, call, on_answer, q, timeout);
        q->deadline_usec = monotonic_now(p) + timeout;
        sd_bus_message_unref(call);
        return r;
}

static int check_limits(BusPolkit *p, uid_t uid, sd_bus_error *reterr) {
        unsigned n = 0;

        if (p->n_pending >= p->config.queries_max)
                return bus_error_setf(reterr, REFUSAL_LIMIT_EXCEEDED,
                                      "%u requests wait for polkit already, which is the limit. Try again later.", p->n_pending);
        for (Query *q = p->queries; q; q = q->hh.next)
                n += q->uid == uid && q->verdict == VERDICT_PENDING;
        if (n >= p->config.queries_per_user_max)
                return bus_error_setf(reterr, REFUSAL_LIMIT_EXCEEDED,
                                      "%u requests of uid %u wait for polkit already, which is the limit. Try again later.", n, uid);
        return 0;
}

static int query_new(BusPolkit *p, sd_bus_message *m, uid_t uid, const BusPolkitRequest *request) {
        _cleanup_(query_freep) Query *q = calloc(1, sizeof(*q));
        int r;

        if (!q)
                return -ENOMEM;
        q->message = sd_bus_message_ref(m);
        q->uid = uid;
        q->interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;
        q->action = strdup(request->action);
        q->details = strv_copy((char *const *) request->details);
        q->cancellation_id = strformat("swarm-orchestrator-%" PRIu64, ++p->last_id);
        if (!q->action || !q->details || !q->cancellation_id)
                return -ENOMEM;
        q->polkit = p;
        HASH_ADD_PTR(p->queries, message, q);
        p->n_pending++;
        r = query_send(q);
        if (r < 0)
                return r;
        TAKE_PTR(q);
        return 0;
}

int bus_polkit_check(BusPolkit *p, sd_bus_message *m, uid_t uid, const BusPolkitRequest *request, sd_bus_error *reterr) {
        Query *q;
        int r;

        if (uid == 0 && !p->config.always_ask)
                return 1;

        HASH_FIND_PTR(p->queries, &m, q);
        if (q && q->verdict == VERDICT_PENDING)
                return 0;
        if (q) {
                _cleanup_(query_freep) Query *answered = q;

                if (streq(q->action, request->action) && details_equal(q->details, request->details))
                        return verdict_apply(q->verdict, request, q->error, reterr);
                /* The object has changed hands meanwhile: the verdict was about something else. */
        }

        r = check_limits(p, uid, reterr);
        if (r < 0)
                return r;
        r = query_new(p, m, uid, request);
        if (r < 0)
                return bus_error_setf(reterr, REFUSAL_ACCESS_DENIED, "polkit cannot be asked whether you may %s: %s.", request->what,
                                      strerror(-r));
        return 0;
}

void bus_polkit_caller_gone(BusPolkit *p, const char *sender) {
        Query *q, *next;

        /* No CancelCheckAuthorization: polkit sees for itself that its subject has left the bus, and a cancellation that meets the
         * end of the caller's agent, which tends to go in the same moment, can lock polkitd (122, GLib 2.74) up for everybody:
         * one thread waits for the connection's lock within g_cancellable_cancel(), the other for that to end, holding the lock. */
        HASH_ITER(hh, p->queries, q, next)
                if (streq_ptr(sd_bus_message_get_sender(q->message), sender))
                        query_free(q);
}

void bus_polkit_set_config(BusPolkit *p, const BusPolkitConfig *config) {
        p->config = *config;
}

int bus_polkit_new(sd_bus *bus, sd_event *event, const BusPolkitConfig *config, BusPolkit **ret) {
        _cleanup_(bus_polkit_freep) BusPolkit *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->bus = sd_bus_ref(bus);
        p->config = *config;
        r = deferred_new(event, SD_EVENT_PRIORITY_IDLE, on_sweep, p, &p->sweep);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

BusPolkit *bus_polkit_free(BusPolkit *p) {
        Query *q, *next;

        if (!p)
                return NULL;
        HASH_ITER(hh, p->queries, q, next)
                query_free(q);
        deferred_free(p->sweep);
        sd_bus_unref(p->bus);
        free(p);
        return NULL;
}
