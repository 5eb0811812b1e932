/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The service's configuration: orchestrator.conf and orchestrator.conf.d/ drop-ins below /usr/lib, /run and /etc
 * swarm-orchestrator/ (or below the directories given), INI. An unknown key is a warning with file and line; a bad
 * value is a warning, and the default stays. One table maps section and key to a field, a parser, a default and a
 * range; docs/ and the tests are checked against it. */

#include "basic/macro.h"
#include "basic/string-util.h"
#include "oci/layer-request.h"

typedef struct Config {
        /* [Manager] */
        Strv providers;                         /* Providers=swarm (space separated: swarm, fly, fake) */
        char *default_organization;             /* DefaultOrganization=default */
        /* [Limits] all of docs/limits.md */
        unsigned sessions_max;                  /* SessionsMax=2000, 1 … 10000 */
        unsigned sessions_per_user_max;         /* SessionsPerUserMax=3; uid 0 exempt */
        unsigned ended_sessions_max;            /* EndedSessionsMax=1000 */
        usec_t ended_sessions_keep_usec;        /* EndedSessionsKeepSec=30d */
        unsigned jobs_max;                      /* JobsMax=1000: ended ones that stay readable */
        usec_t jobs_keep_usec;                  /* JobsKeepSec=24h */
        unsigned running_jobs_max;              /* RunningJobsMax=1000 in all */
        unsigned running_jobs_per_user_max;     /* RunningJobsPerUserMax=50 */
        unsigned streams_per_user_max;          /* StreamsPerUserMax=20: shells, commands, readers of output; uid 0 exempt */
        unsigned queued_operations_max;         /* QueuedOperationsMax=8 per session */
        unsigned changes_per_minute;            /* ChangesPerMinute=100 per uid; uid 0 exempt */
        unsigned generations_max;               /* GenerationsMax=20 kept per session; the oldest goes */
        unsigned session_layers_max;            /* SessionLayersMax=100 */
        unsigned polkit_queries_max;            /* PolkitQueriesMax=100 in flight */
        unsigned polkit_queries_per_user_max;   /* PolkitQueriesPerUserMax=16 */
        usec_t polkit_timeout_usec;             /* PolkitTimeoutSec=30s without interaction; interactive 5min */
        /* [Session] defaults of what a template leaves out */
        double cpus;                            /* Cpus=2, 0.1 … 16 */
        uint64_t memory_bytes;                  /* Memory=4G, 64M … 32G */
        unsigned cpu_reservation_percent;       /* CpuReservationPercent=0 */
        unsigned memory_reservation_percent;    /* MemoryReservationPercent=12 */
        usec_t stop_grace_usec;                 /* StopGraceSec=10s */
        usec_t start_timeout_usec;              /* StartTimeoutSec=5min */
        usec_t idle_timeout_usec;               /* IdleTimeoutSec=2h */
        /* [Swarm] */
        char *engine_socket;                    /* Engine=/run/docker.sock */
        bool initialize_swarm;                  /* InitializeSwarm=no */
        char *advertise_address;                /* AdvertiseAddress=, empty = detected */
        char *subnet;                           /* Subnet=10.128.0.0/16 */
        char *network;                          /* Network=swarm-sessions */
        char *log_driver;                       /* LogDriver=auto */
        /* [Registry] */
        char *registry_url;                     /* URL=, required for hibernation: http://host:port or https://… */
        char *registry_ca_file;                 /* CAFile= */
        char *registry_prefix;                  /* Prefix=sessions; repository = <prefix>/<organization> */
        /* [Bus] */
        bool always_ask_polkit;                 /* AlwaysAskPolkit=no; may only make more questions, never fewer */

        /* From $CREDENTIALS_DIRECTORY, one line "user:password" each; erased when freed. */
        char *push_credential;                  /* swarm-registry-push */
        char *pull_credential;                  /* swarm-registry-pull; default: none */

        char *config_dir;                       /* where templates.d/ is */
} Config;

/* `dirs`: from weakest to strongest, e.g. /usr/lib/swarm-orchestrator, /run/…, /etc/…. A missing file is fine. Warnings
 * go to the log and, one string each ("file:line: …"), to *ret_warnings if it is not NULL. -ENOMEM or 0. */
int config_load(const char *const *dirs, const char *credentials_dir, Config **ret, Strv *ret_warnings);
/* A reload does not change what is read only once: takes that out of `old`, which is to be freed, and warns of each key that
 * differs. On failure nothing is changed. warnings may be NULL. */
int config_keep_fixed(Config *c, Config *old, Strv *warnings);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config *, config_free)

/* The registry as the child wants it, with the push credential. The strings are copies; layer_request.h frees.
 * -ENODATA: no URL= is set. */
int config_registry(const Config *c, LayerRegistry *ret);
