/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an Engine says, as plain structs. All strings are borrowed from the JSON; what is missing is NULL, 0 or the
 * enum's first value. Parsers fail (-EBADMSG) only where the object is useless without the member. */

#include "core/provider.h"
#include "provider/engine-json.h"

typedef enum SwarmState {
        SWARM_INACTIVE,         /* the node is in no Swarm */
        SWARM_PENDING,
        SWARM_ACTIVE,
        SWARM_ERROR,
        SWARM_LOCKED,
        _SWARM_STATE_MAX,
        _SWARM_STATE_INVALID = -EINVAL,
} SwarmState;

const char *swarm_state_to_string(SwarmState s);

/* GET /info */
typedef struct SwarmInfo {
        SwarmState state;
        bool manager;                   /* ControlAvailable */
        bool live_restore;
        bool mapped_users;              /* those of containers are others on the host */
        bool journald;                  /* the log driver is there */
        bool history_off;               /* TaskHistoryRetentionLimit 0: exited containers are removed at once */
        const char *node, *error, *version, *system_time, *storage_driver;
} SwarmInfo;
int swarm_info_parse(const json_t *o, SwarmInfo *ret);

/* Task states in the order of a task's life (swarmkit api/types.proto). */
typedef enum SwarmTaskState {
        SWARM_TASK_NEW, SWARM_TASK_ALLOCATED, SWARM_TASK_PENDING, SWARM_TASK_ASSIGNED, SWARM_TASK_ACCEPTED,
        SWARM_TASK_PREPARING, SWARM_TASK_READY, SWARM_TASK_STARTING, SWARM_TASK_RUNNING,
        SWARM_TASK_COMPLETE, SWARM_TASK_SHUTDOWN, SWARM_TASK_FAILED, SWARM_TASK_REJECTED, SWARM_TASK_REMOVE,
        SWARM_TASK_ORPHANED,
        _SWARM_TASK_MAX,
        _SWARM_TASK_INVALID = -EINVAL,
} SwarmTaskState;

const char *swarm_task_state_to_string(SwarmTaskState s);
SwarmTaskState swarm_task_state_from_string(const char *s);

/* A member of GET /tasks */
typedef struct SwarmTask {
        const char *id, *service, *node, *container, *error, *image;
        SwarmTaskState state, desired;
        int exit_code;
        uint64_t force_update;                  /* ForceUpdate of the service when it was made: each start counts it on */
        usec_t created_usec, since_usec;        /* the Engine's clock */
} SwarmTask;
int swarm_task_parse(const json_t *o, SwarmTask *ret);
/* Whether `a` says more about its service than `b` (NULL: yes): what shall run before what shall not, then the younger. */
bool swarm_task_is_better(const SwarmTask *a, const SwarmTask *b);
/* Whether its slot is not yet empty, that of a service with 0 replicas whose last run has that `force_update`: a task of that run goes even
 * before Swarm says so. One of an earlier run which Swarm does not remove is the history of somebody else's update. */
bool swarm_task_keeps_slot(const SwarmTask *t, uint64_t force_update);
/* What it means to the core, apart from what only time tells. `node_down`: its node does not answer. */
TaskState swarm_task_meaning(const SwarmTask *t, bool node_down);

/* A member of GET /services */
typedef struct SwarmService {
        const char *id, *name, *session, *image, *record;
        uint64_t version, generation, replicas;
        uint64_t force_update;          /* of its last run */
        bool named;                     /* as its record says: of several with the labels of one session only one can be */
        bool copied;                    /* the record is that of a service of another name */
        bool labeled;                   /* its label names that session: else somebody has changed or removed it */
        json_t *spec;
} SwarmService;
int swarm_service_parse(const json_t *o, SwarmService *ret);

/* A member of GET /nodes */
int swarm_node_parse(const json_t *o, ProviderNode *ret);

#define SWARM_LABEL_TASK "com.docker.swarm.task.id"     /* of each container that Swarm makes */

/* A member of GET /containers/json */
typedef struct SwarmContainer {
        const char *id, *session, *health;      /* health as in ProviderObservation */
        bool frozen, ended;
        int exit_code;                          /* ended */
        bool of_task;                           /* made by Swarm, which has named it */
        const char *task, *image;               /* task: of its labels, which are also those of an image that was committed from it */
        const char *service;                    /* likewise: the id of the service that Swarm made it for */
} SwarmContainer;
int swarm_container_parse(const json_t *o, SwarmContainer *ret);

typedef enum SwarmEventType {
        SWARM_EVENT_SERVICE, SWARM_EVENT_NODE, SWARM_EVENT_CONTAINER,
        _SWARM_EVENT_MAX,
        _SWARM_EVENT_INVALID = -EINVAL,
} SwarmEventType;

/* A message of GET /events */
typedef struct SwarmEvent {
        SwarmEventType type;
        const char *action, *id;
        const char *service, *session;  /* of a container: its service's id and our label */
} SwarmEvent;
int swarm_event_parse(const json_t *o, SwarmEvent *ret);
