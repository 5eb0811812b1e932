/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names on the bus: all that a client compiles against. What the members mean stands in dbus/ (one XML a file for
 * each interface), and in org.swarm.Orchestrator(5).
 *
 * Ids and names become object paths by sd_bus_path_encode(SWARM_PATH_…, id): a session id begins with a digit, which
 * is encoded as "_3x". Jobs are encoded from their decimal number. */

#define SWARM_BUS_NAME                  "org.swarm.Orchestrator"

#define SWARM_PATH                      "/org/swarm/Orchestrator"
#define SWARM_PATH_SESSION              SWARM_PATH "/session"
#define SWARM_PATH_JOB                  SWARM_PATH "/job"
#define SWARM_PATH_NODE                 SWARM_PATH "/node"
#define SWARM_PATH_PROVIDER             SWARM_PATH "/provider"

#define SWARM_INTERFACE_MANAGER         SWARM_BUS_NAME ".Manager"
#define SWARM_INTERFACE_SESSION         SWARM_BUS_NAME ".Session"
#define SWARM_INTERFACE_JOB             SWARM_BUS_NAME ".Job"
#define SWARM_INTERFACE_NODE            SWARM_BUS_NAME ".Node"
#define SWARM_INTERFACE_PROVIDER        SWARM_BUS_NAME ".Provider"

/* polkit actions; docs/authorization.md says which member asks for which. */
#define SWARM_ACTION_VIEW               SWARM_BUS_NAME ".view"
#define SWARM_ACTION_CREATE             SWARM_BUS_NAME ".create"
#define SWARM_ACTION_MANAGE_OWN         SWARM_BUS_NAME ".manage-own"
#define SWARM_ACTION_MANAGE             SWARM_BUS_NAME ".manage"
#define SWARM_ACTION_SHELL              SWARM_BUS_NAME ".shell"
#define SWARM_ACTION_SHELL_OWN          SWARM_BUS_NAME ".shell-own"
#define SWARM_ACTION_ADMIN_NODES        SWARM_BUS_NAME ".admin-nodes"
#define SWARM_ACTION_ADMIN_ORGANIZATIONS SWARM_BUS_NAME ".admin-organizations"
#define SWARM_ACTION_AGENT              SWARM_BUS_NAME ".agent"

/* Errors. A malformed or unknown argument is org.freedesktop.DBus.Error.InvalidArgs, a denial is
 * org.freedesktop.DBus.Error.AccessDenied, a denial that a password would lift, asked without
 * ALLOW_INTERACTIVE_AUTHORIZATION, is org.freedesktop.DBus.Error.InteractiveAuthorizationRequired. The message is
 * always a full sentence that stands alone. */
#define SWARM_ERROR_PREFIX              SWARM_BUS_NAME ".Error."
#define SWARM_ERROR_NO_SUCH_SESSION     SWARM_ERROR_PREFIX "NoSuchSession"
#define SWARM_ERROR_NO_SUCH_TEMPLATE    SWARM_ERROR_PREFIX "NoSuchTemplate"
#define SWARM_ERROR_NO_SUCH_NODE        SWARM_ERROR_PREFIX "NoSuchNode"
#define SWARM_ERROR_NO_SUCH_PROVIDER    SWARM_ERROR_PREFIX "NoSuchProvider"
#define SWARM_ERROR_NO_SUCH_JOB         SWARM_ERROR_PREFIX "NoSuchJob"
#define SWARM_ERROR_NO_SUCH_GENERATION  SWARM_ERROR_PREFIX "NoSuchGeneration"
#define SWARM_ERROR_NO_SUCH_IMAGE       SWARM_ERROR_PREFIX "NoSuchImage"
#define SWARM_ERROR_SESSION_EXISTS      SWARM_ERROR_PREFIX "SessionExists"
#define SWARM_ERROR_WRONG_STATE         SWARM_ERROR_PREFIX "WrongState"
#define SWARM_ERROR_BUSY                SWARM_ERROR_PREFIX "Busy"
#define SWARM_ERROR_LIMIT_EXCEEDED      SWARM_ERROR_PREFIX "LimitExceeded"
#define SWARM_ERROR_RATE_LIMITED        SWARM_ERROR_PREFIX "RateLimited"
#define SWARM_ERROR_NO_CAPACITY         SWARM_ERROR_PREFIX "NoCapacity"
#define SWARM_ERROR_IMAGE_REFUSED       SWARM_ERROR_PREFIX "ImageRefused"
#define SWARM_ERROR_FILES_REFUSED       SWARM_ERROR_PREFIX "FilesRefused"
#define SWARM_ERROR_FILES_CHANGED       SWARM_ERROR_PREFIX "FilesChanged"
#define SWARM_ERROR_NETWORK_CONFLICT    SWARM_ERROR_PREFIX "NetworkConflict"
#define SWARM_ERROR_PROVIDER_FAILED     SWARM_ERROR_PREFIX "ProviderFailed"
#define SWARM_ERROR_PROVIDER_UNAVAILABLE SWARM_ERROR_PREFIX "ProviderUnavailable"
#define SWARM_ERROR_REGISTRY_FAILED     SWARM_ERROR_PREFIX "RegistryFailed"
#define SWARM_ERROR_STORE_FAILED        SWARM_ERROR_PREFIX "StoreFailed"
#define SWARM_ERROR_NOT_CANCELABLE      SWARM_ERROR_PREFIX "NotCancelable"
#define SWARM_ERROR_CANCELED            SWARM_ERROR_PREFIX "Canceled"
#define SWARM_ERROR_INTERRUPTED         SWARM_ERROR_PREFIX "Interrupted"
#define SWARM_ERROR_TIMED_OUT           SWARM_ERROR_PREFIX "TimedOut"
#define SWARM_ERROR_INTERNAL            SWARM_ERROR_PREFIX "Internal"

/* `t flags` of every method: no bit is defined yet, and unknown bits are refused. */
#define SWARM_FLAGS_NONE                0

/* Most rows of one page of ListSessions and ListJobs. */
#define SWARM_PAGE_MAX                  1000
