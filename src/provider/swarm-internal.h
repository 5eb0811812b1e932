/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of the Swarm provider:
 *   swarm.c           the provider and its calls: begin, wait, finish, cancel
 *   swarm-connect.c   the connection: is there a Swarm that we may manage, events, health
 *   swarm-list.c      nodes, and the full list after each connection
 *   swarm-session.c   the table of sessions as they were last seen, and its reports
 *   swarm-poll.c      tasks
 *   swarm-prepare.c   what a create needs first: the Swarm and the organization's network
 *   swarm-service.c   create, run
 *   swarm-remove.c    remove
 *   swarm-slot.c      the wait for the end of the last run before the next
 *   swarm-container.c what the agent of a node does; rest, discard
 *   swarm-command.c   commands in a container, and its output */

#include <uthash.h>

#include "event/event-util.h"
#include "provider/agent.h"
#include "provider/engine-json.h"
#include "provider/engine.h"
#include "provider/swarm-parse.h"
#include "provider/swarm.h"

typedef struct Swarm Swarm;
typedef struct SwarmCall SwarmCall;
typedef struct Preparation Preparation;

/* One session as it was last seen. */
typedef struct SwarmSession {
        Swarm *swarm;
        char *session;                  /* key */
        char *service, *name;           /* service id (key, too) and name */
        bool named;                     /* its record names it */
        bool mislabeled;                /* somebody has changed its label with the session, or removed it */
        char *image, *record;
        uint64_t generation;
        uint64_t version;               /* of the service: what is older says nothing any more */
        uint64_t replicas;
        bool wanted;

        char *task_id, *node, *container, *error;
        TaskState task;
        SwarmTaskState task_state;      /* Swarm's own word for it */
        bool task_seen;
        usec_t task_created_usec;       /* Swarm's clock, as history_usec: tasks of then and before are over */
        usec_t history_usec;
        uint64_t task_force_update, history_force_update;       /* that clock may be set back; this only counts on */
        usec_t started_usec;
        int exit_code;
        bool frozen, container_gone, container_listed;  /* known of this node's containers only */
        bool container_ended;           /* seen, though its task may not say so yet */
        int container_exit_code;
        char *health;

        usec_t absent_since_usec, absent_seen_usec;     /* of answers without its task */
        usec_t waiting_since_usec;      /* CLOCK_BOOTTIME: in its present task state; 0 = at rest or running */
        usec_t hot_until_usec;          /* CLOCK_BOOTTIME: polled fast until then */
        bool polled;                    /* in the round that is on */
        bool changed;                   /* since it was reported last */
        unsigned list_serial;           /* of the list that named it last */
        unsigned page;                  /* of the list of tasks */
        UT_hash_handle hh, hh_service;
} SwarmSession;

typedef struct SwarmNode {
        char *id, *name, *state, *availability, *role, *address, *engine_version;
        uint64_t nano_cpus, memory_bytes;
        unsigned list_serial;
        UT_hash_handle hh;
} SwarmNode;

typedef enum SwarmPhase {
        SWARM_OFF,                      /* not started */
        SWARM_ASKING,                   /* GET /info */
        SWARM_WAITING,                  /* something is in the way; asks again by and by */
        SWARM_LISTING,                  /* nodes, services, tasks, containers */
        SWARM_WATCHING,                 /* lists are complete, events flow */
} SwarmPhase;

typedef struct SwarmNetwork {
        char *organization, *id;
        UT_hash_handle hh;
} SwarmNetwork;

struct Swarm {
        Provider provider;
        sd_event *event;
        Http *http;
        Engine *engine;
        Agent *agent;
        bool *gone;                     /* set by free under a report */

        bool initialize;
        char *advertise_address, *network, *default_organization, *log_driver;
        char subnet[20];
        char *registry_auth;            /* secret */

        ProviderObserver observer;
        ProviderHealth health;
        char *health_detail;

        /* connection */
        SwarmPhase phase;
        EngineCall *asking, *listing, *events;
        Timer *again;
        Backoff backoff, watch_backoff;
        usec_t watched_usec;            /* CLOCK_BOOTTIME: when the present stream of events was asked for */
        SwarmInfo info;                 /* strings are not kept, apart from the next three */
        bool layers_hidden;             /* this node's Engine does not tell where a container's files are (containerd image store) */
        char *local_node, *system_time, *engine_version;
        unsigned list_serial, page;
        bool listed;                    /* a list was reported since the connection came up */

        /* tasks */
        EngineCall *polling;
        struct Batch *batch;            /* what is being polled */
        Timer *poll, *sweep;
        bool sweeping, polling_warm;
        usec_t swept_usec, warmed_usec; /* CLOCK_BOOTTIME: end of the last such round */
        usec_t allocated_usec;          /* CLOCK_BOOTTIME: when the last task was seen to have its addresses */
        EngineCall *ending;
        EngineCall *inspecting;
        Strv inspect;                   /* ids of services to look at */

        SwarmSession *sessions, *sessions_by_service;
        SwarmNode *nodes;
        EngineCall *node_listing;
        bool nodes_stale;

        SwarmNetwork *networks;
        Preparation *preparations;
        SwarmCall *calls;
};

/* ---- swarm.c: calls ---- */

typedef void (*swarm_step)(SwarmCall *c);

struct SwarmCall {
        ProviderCall base;
        Swarm *swarm;
        SwarmCall *prev, *next;
        bool in_done;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */
        Timer *timer;
        swarm_step on_timer;
        EngineCall *engine;
        ProviderCall *agent;

        /* One of them is set. */
        provider_done_cb done;
        provider_capture_cb capture_done;
        provider_image_cb image_done;
        provider_command_cb command_done;
        provider_capture_progress_cb progress;
        provider_begun_cb begun;
        void *userdata;

        /* The outcome, when it is reported from the timer. */
        int result;
        Refusal *refusal;

        /* what the operation needs */
        char *session, *name, *organization, *node, *container, *service, *image, *record, *witness;
        uint64_t generation;
        usec_t grace_usec;
        int signo;
        json_t *body;                   /* a service to be made; may hold secrets */
        json_t *sent;                   /* the last update */
        uint64_t sent_version;          /* of the service that it changes */
        unsigned tries;
        usec_t containers_usec;         /* remove: when the tasks were gone, or a container was removed */
        char *task;                     /* remove: of the labels of `container` */
        Strv strangers;                 /* remove: containers that have the session's label, and are not its own */
        bool place_again, tasks_known;
        bool in_doubt;                  /* the answer to a create or an update that starts it was lost */
        bool in_force;                  /* and yet the service is as that has asked for */
        bool slot_known;                /* no task is left of the last run, or it is not worth waiting for */
        uint64_t force_update;          /* of the last run */
        usec_t slot_since_usec, slot_seen_usec; /* CLOCK_BOOTTIME: the first and the last answer without a gap between them */
        swarm_step slot_next;           /* when it is empty */
        swarm_step next_step;           /* after the service or the preparation is there */
        swarm_step container_step;      /* after the container is found, if there is one */
        ProviderCapture capture;
        ProviderCommand command;
        ProviderLogs logs;              /* its descriptor is the call's own; none: -EBADF */
        int (*change)(SwarmCall *c, json_t *spec);      /* 1 changed, 0 already so */
        Preparation *preparation;
        char *network;                  /* id */
};

int swarm_call_new(Swarm *s, const char *session, usec_t timeout_usec, SwarmCall **ret);
/* Hands the call to the caller: from here on it ends with a callback or a cancel. */
int swarm_call_start(SwarmCall *c, swarm_step first, ProviderCall **ret);
SwarmCall *swarm_call_free(SwarmCall *c);
DEFINE_CLEANUP(SwarmCall *, swarm_call_free)
/* Of one that was begun, before the caller hears of it: frees it and returns `r`. */
int swarm_call_undo(SwarmCall *c, int r, ProviderCall **ret);
/* Takes the call out of the provider's hands, for its last callback: then swarm_call_free(). */
void swarm_call_detach(SwarmCall *c);
/* Takes `refusal`. The provider may be gone afterwards. */
void swarm_call_finish(SwarmCall *c, int r, Refusal *refusal);
void swarm_call_refuse(SwarmCall *c, RefusalCode code, const char *format, ...) _printf_(3, 4);
/* What to call its session in a sentence: the name, or the id where no service has said it. */
const char *swarm_call_subject(const SwarmCall *c);
/* What an Engine's answer that is not ENGINE_OK means for "Docker cannot <what>". */
void swarm_call_fail(SwarmCall *c, const EngineAnswer *a, const char *what);
/* Goes on from the loop, later. */
void swarm_call_later(SwarmCall *c, usec_t after_usec, swarm_step step);
/* Sends; a request that cannot be sent finishes the call, later, as does a path that could not be made (NULL). The remaining time
 * of the call is the deadline. */
void swarm_call_engine(SwarmCall *c, EngineRequest request, engine_cb cb);
bool swarm_call_expired(const SwarmCall *c);

Swarm *swarm_of(Provider *p);
usec_t swarm_now(void);                 /* CLOCK_BOOTTIME */
int swarm_error_refusal(Swarm *s, const EngineAnswer *a, const char *what, Refusal **reterr_refusal);

/* ---- swarm-connect.c ---- */

void swarm_connect(Swarm *s);           /* begins, or begins anew */
void swarm_disconnect(Swarm *s);
void swarm_connect_later(Swarm *s, usec_t after_usec);
int swarm_watch(Swarm *s);              /* begins the event stream */
void swarm_connected(Swarm *s);         /* the full list is there */
void swarm_take_info(Swarm *s, const SwarmInfo *info);
/* Refuses with the remedy when sessions cannot be made on that Engine. An inactive Swarm that may be initialised is fine. */
int swarm_check_info(Swarm *s, const SwarmInfo *info, Refusal **reterr_refusal);
/* An answer of a background request: 0 it is fine, negative: it is not, and the connection is made anew if that is due. */
int swarm_check_answer(Swarm *s, const EngineAnswer *a);

/* ---- swarm-list.c ---- */

void swarm_list(Swarm *s);              /* the full list; ends with swarm_connected() */
void swarm_list_nodes(Swarm *s);
bool swarm_node_is_down(Swarm *s, const char *id);
const char *swarm_node_name(Swarm *s, const char *id);  /* its id, as long as it has not said a name; NULL for NULL */
bool swarm_node_has_agent(Swarm *s, const char *id);
void swarm_nodes_clear(Swarm *s);

/* ---- swarm-session.c ---- */

SwarmSession *swarm_session_find(Swarm *s, const char *session);
SwarmSession *swarm_session_find_service(Swarm *s, const char *service);
/* Takes over what a service says; makes the session when it is new. *ret may be NULL for one that is not ours. */
int swarm_session_update(Swarm *s, const SwarmService *service, SwarmSession **ret);
void swarm_session_set_task(SwarmSession *ss, const SwarmTask *t);      /* NULL: it has none */
/* swarm_task_is_better(); but where somebody has scaled its service, what was the session's task goes on to be it, else the oldest. */
bool swarm_session_task_is_better(const SwarmSession *ss, const SwarmTask *a, const SwarmTask *b);
void swarm_session_set_container(SwarmSession *ss, bool frozen, const char *health, bool gone);
/* The Engine says that this container has ended. Its task says so a moment later, and until then something else. */
void swarm_session_set_ended(SwarmSession *ss, const char *container, int exit_code);
/* The node of its task went down or came back. */
void swarm_session_node_changed(SwarmSession *ss);
/* Tells the observer if something changed and a list has been reported. False: the provider is gone. */
bool swarm_session_report(SwarmSession *ss);
/* Reports that it does not exist any more, and frees it. False: the provider is gone. */
bool swarm_session_remove(SwarmSession *ss);
/* The whole table as a list. False: the provider is gone. */
bool swarm_sessions_report(Swarm *s);
void swarm_sessions_clear(Swarm *s);
void swarm_session_heat(SwarmSession *ss, usec_t usec);

/* ---- swarm-poll.c ---- */

int swarm_poll_setup(Swarm *s);
void swarm_poll_soon(Swarm *s);         /* somebody became hot */
void swarm_poll_stop(Swarm *s);
void swarm_inspect(Swarm *s, const char *service);      /* looks at that service, as long as there is a watch; NULL is none */
/* GET /tasks of these service names, at most SWARM_POLL_BATCH; a new string. */
#define SWARM_POLL_BATCH 40
/* Of what the Engine answers to that. Each task repeats its spec, and what a session may hold (WORDS_BYTES_MAX) takes six times
 * the room as JSON where it is control characters. */
#define SWARM_TASKS_SIZE_MAX (64 * MIB)
#define SWARM_ENDED_HOT_USEC (2 * USEC_PER_SEC)         /* what just ended is asked for often for so long */
char *swarm_tasks_path(const char *const *names, size_t n);

/* ---- swarm-prepare.c ---- */

/* Makes sure of Swarm and network, sets c->network, and goes on with c->next_step; else finishes the call. */
void swarm_prepare(SwarmCall *c);
void swarm_forget_network(Swarm *s, const char *organization);
void swarm_prepare_clear(Swarm *s);

/* ---- swarm-service.c ---- */

int swarm_create(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_run(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);
/* Between two questions whether something is over, or two tries. */
#define SWARM_AGAIN_USEC (200 * USEC_PER_MSEC)
/* A call that first sets c->service and c->name if the session has a service, and then does its `next`. */
int swarm_call_begin(Provider *p, const char *session, usec_t timeout_usec, swarm_step next, provider_done_cb cb, void *userdata,
                     SwarmCall **ret_call, ProviderCall **ret);
/* The service update at the end of a rest: c->change applied to c->service. */
void swarm_change_service(SwarmCall *c);

/* ---- swarm-remove.c ---- */

int swarm_remove(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret);

/* ---- swarm-slot.c ---- */

/* Until no task of the service's last run is left. */
void swarm_wait_for_slot(SwarmCall *c, uint64_t force_update, swarm_step next);

/* ---- swarm-container.c ---- */

/* One of this node is seen running. */
void swarm_container_runs(Swarm *s, const char *container);
/* A call that goes on with `step` when the session's container is found, or known to be none (c->container). */
int swarm_container_call(Provider *p, const char *session, usec_t timeout, swarm_step step, provider_done_cb cb, void *userdata,
                         SwarmCall **ret_call, ProviderCall **ret);
/* The agent of the container's node; without one the call is refused, and NULL is returned. */
Agent *swarm_call_agent(SwarmCall *c);
/* `r` of a call of the agent: one that did not begin never calls back. */
void swarm_agent_begun(SwarmCall *c, int r);
void swarm_agent_done(void *userdata, int r, const Refusal *refusal);   /* a provider_done_cb of a SwarmCall */

int swarm_resolve_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret);
int swarm_terminate(Provider *p, const char *session, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_signal(Provider *p, const char *session, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_capture(Provider *p, const ProviderCapture *capture, provider_capture_progress_cb progress,
                  provider_capture_cb cb, void *userdata, ProviderCall **ret);
int swarm_thaw(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_rest(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_discard(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret);
int swarm_verify_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret);
int swarm_delete_image(Provider *p, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret);

/* ---- swarm-command.c ---- */

int swarm_execute(Provider *p, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done, void *userdata, ProviderCall **ret);
int swarm_read_logs(Provider *p, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done, void *userdata, ProviderCall **ret);
