/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the core needs from any backend (Docker Swarm, Fly.io Machines, memory). The core decides; a provider carries
 * out, reports what it sees as plain structs, and knows neither store nor quota nor D-Bus.
 *
 * Asynchronous operations: each takes a completion callback that is called exactly once, from the loop, never from
 * within the call itself, unless the call is cancelled first. A call that returns negative never calls back.
 * r = 0 done; -EBADRQC refused, with `refusal` (borrowed); other negative = broke. Every operation is idempotent
 * under its session id, has a deadline of its own, retries what is safe to retry within it, and never more. */

#include "basic/macro.h"
#include "basic/refusal.h"
#include "basic/string-util.h"
#include <sys/types.h>

typedef struct Provider Provider;
typedef struct ProviderCall ProviderCall;

/* Labels of a service and of its container: all that is needed to rebuild the store from the cluster. Values are
 * UTF-8; the container carries only PROVIDER_LABEL_SESSION (and the user's own labels). */
#define PROVIDER_LABEL_SESSION "swarm.session"          /* session id */
#define PROVIDER_LABEL_RECORD "swarm.record"            /* session record as JSON, written and read by the core */
#define PROVIDER_LABEL_GENERATION "swarm.generation"    /* generation of the image at rest; "0" = base image */

/* What runs, as the core asks for it. Borrowed during the call; providers copy what they keep. */
typedef struct ProviderSpec {
        const char *session;            /* id */
        const char *name;               /* session name, host name of the container */
        const char *image;              /* host/repo@sha256:…: the base image, or a generation */
        uint64_t generation;            /* of `image`; 0 = base */
        char *const *command;           /* NULL or empty = the image's */
        char *const *env;               /* "K=V"; braces are already checked by the core */
        char *const *labels;            /* the user's container labels as "K=V" */
        const char *record;             /* value of PROVIDER_LABEL_RECORD */
        const char *organization;       /* whose network */
        const char *node;               /* provider's node id to place on, or NULL */
        uint64_t nano_cpus;             /* limit, 1e9 = one cpu */
        uint64_t memory_bytes;          /* limit */
        uint64_t reserved_nano_cpus, reserved_memory_bytes;
        usec_t stop_grace_usec;
        /* Health check as in a Docker image: argv ["CMD-SHELL", "…"], or NULL */
        char *const *healthcheck;
        usec_t healthcheck_interval_usec;
        unsigned healthcheck_retries;
} ProviderSpec;

typedef enum TaskState {
        TASK_NONE,              /* at rest: no task is wanted and none is there */
        TASK_PENDING,           /* accepted, not placed yet */
        TASK_STARTING,          /* placed: pulling, preparing */
        TASK_RUNNING,
        TASK_EXITED,            /* main process gone; the container with its files is still on its node */
        TASK_FAILED,            /* never ran: rejected, no such image, cannot be placed or allocated */
        TASK_LOST,              /* its node is down */
        TASK_GONE,              /* wanted, but neither task nor container is there: somebody removed it */
        _TASK_STATE_MAX,
        _TASK_STATE_INVALID = -EINVAL,
} TaskState;

const char *task_state_to_string(TaskState s);
TaskState task_state_from_string(const char *s);

/* One session as the provider sees it. Strings are borrowed during the callback. */
typedef struct ProviderObservation {
        const char *session;            /* id */
        bool exists;                    /* false: the provider has no record of it (any more) */
        bool wanted;                    /* a task is asked for (replicas 1) */
        const char *image;              /* of the record's spec */
        uint64_t generation;            /* label */
        const char *record;             /* label, for a rebuild; may be NULL */
        TaskState task;
        const char *node;               /* provider's node id, NULL when not placed */
        const char *container;          /* container id, NULL when there is none */
        usec_t started_usec;            /* 0 unknown */
        int exit_code;                  /* with TASK_EXITED */
        bool frozen;                    /* the container is paused */
        const char *health;             /* "healthy", "unhealthy", "starting", or NULL without a check */
        const char *error;              /* backend's own words on TASK_FAILED, TASK_PENDING */
} ProviderObservation;

typedef struct ProviderNode {
        const char *id, *name;
        const char *state;              /* "ready", "down", "unknown", "disconnected" */
        const char *availability;       /* "active", "pause", "drain" */
        const char *role;               /* "manager", "worker" */
        const char *address, *engine_version;
        uint64_t nano_cpus, memory_bytes;
        bool agent;                     /* an agent of the orchestrator can be reached there: sessions may be placed */
} ProviderNode;

typedef enum ProviderHealth {
        PROVIDER_HEALTHY,
        PROVIDER_DEGRADED,              /* answers, but something is wrong; see detail */
        PROVIDER_UNAVAILABLE,
        _PROVIDER_HEALTH_MAX,
        _PROVIDER_HEALTH_INVALID = -EINVAL,
} ProviderHealth;

const char *provider_health_to_string(ProviderHealth h);
ProviderHealth provider_health_from_string(const char *s);

/* How a provider reports. A full list is announced by on_list_begin, has one on_session for each session that exists,
 * and ends with on_list_end: what was not named does not exist. Single changes come at any time in between. */
typedef struct ProviderObserver {
        void (*on_list_begin)(Provider *p, void *userdata);
        void (*on_session)(Provider *p, const ProviderObservation *o, void *userdata);
        void (*on_list_end)(Provider *p, void *userdata);
        void (*on_node)(Provider *p, const ProviderNode *n, void *userdata);
        void (*on_node_removed)(Provider *p, const char *id, void *userdata);
        void (*on_health)(Provider *p, ProviderHealth health, const char *detail, void *userdata);
        void *userdata;
} ProviderObserver;

typedef void (*provider_done_cb)(void *userdata, int r, const Refusal *refusal);

/* What an image reference means now. Strings are borrowed during the callback. */
typedef struct ProviderImage {
        const char *image;              /* host/repo@sha256:… */
        uint64_t bytes;                 /* compressed, all layers */
        char *const *volumes;           /* VOLUME paths */
} ProviderImage;
typedef void (*provider_image_cb)(void *userdata, int r, const Refusal *refusal, const ProviderImage *image);

typedef enum CaptureMode {
        CAPTURE_HOLD,           /* freeze, save, stay frozen: a hibernation, which ends with rest() or thaw() */
        CAPTURE_THAW,           /* copy, freeze for what changed meanwhile, thaw: a snapshot */
        CAPTURE_EXITED,         /* the main process is gone, nothing to freeze: a stop */
} CaptureMode;

typedef struct ProviderCapture {
        const char *session;
        CaptureMode mode;
        uint64_t generation, job;
        const char *image;              /* newest proven generation of this session, or the base image: what the
                                         * container was made from unless a later generation was taken from it */
        const char *repository, *tag;   /* where the generation goes */
        bool lossy;
        unsigned layers_max;
} ProviderCapture;

/* With strings of its own, to be freed by provider_capture_done(); also after -ENOMEM. */
int provider_capture_copy(const ProviderCapture *from, ProviderCapture *ret);
void provider_capture_done(ProviderCapture *c);

typedef struct ProviderCaptureProgress {
        const char *stage;              /* "preparing", "freezing", "saving", "proving" … */
        uint64_t bytes_done;
        int64_t bytes_total;            /* -1 unknown */
} ProviderCaptureProgress;

typedef struct ProviderCaptureResult {
        const char *image;              /* host/repo@sha256:… of the proven generation */
        const char *witness;            /* opaque; shows later whether the container ran again since the freeze */
        uint64_t bytes, uncompressed_bytes, entries;
        unsigned session_layers;
        bool unchanged;
        char *const *dropped;           /* sockets, and, with lossy, whatever else was left out */
        usec_t frozen_usec;             /* how long it was frozen; CAPTURE_HOLD: until this callback */
        bool out_of_memory;             /* CAPTURE_EXITED: the kernel killed in it for the memory limit */
} ProviderCaptureResult;

/* On any failure or cancel the provider thaws what it froze before it calls back. */
typedef void (*provider_capture_progress_cb)(void *userdata, const ProviderCaptureProgress *progress);
typedef void (*provider_capture_cb)(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result);

/* The end of a hibernation or stop: proof is done and saved. */
typedef struct ProviderRest {
        const char *session;
        const char *witness;            /* must still hold, else REFUSAL_FILES_CHANGED and nothing is done */
        const char *image;              /* the proven generation */
        uint64_t generation;
        const char *record;             /* new PROVIDER_LABEL_RECORD */
} ProviderRest;

/* A command in the container of a running session, and where its bytes come from and go to. Borrowed during the call. */
typedef struct ProviderCommand {
        const char *session;
        char *const *argv;              /* NULL or empty: the container's shell */
        char *const *env;               /* "K=V", beside the container's own */
        const char *user;               /* "name", "uid", either with ":group"; NULL = the container's */
        const char *directory;          /* absolute; NULL = the container's */
        bool terminal;                  /* it gets a terminal, whose size is that of `fds[0]` at any time */
        /* With a terminal: the slave end of a pty, of which the caller has the other. Else its stdin, stdout and stderr. They
         * are duplicated by a call that returns 0. A terminal whose other end is closed, or a stdout without a reader, ends
         * the command (SIGHUP, then SIGKILL). */
        const int *fds;
        size_t n_fds;
} ProviderCommand;

/* With strings and descriptors of its own, to be freed by provider_command_done(); also after a failure. */
int provider_command_copy(const ProviderCommand *from, ProviderCommand *ret);
void provider_command_done(ProviderCommand *c);
void provider_command_close(ProviderCommand *c);        /* its descriptors alone */

/* The output of a session's main process that its node has kept. */
typedef struct ProviderLogs {
        const char *session;
        bool follow;                    /* go on with what comes, until the main process ends or nobody reads any more */
        bool timestamps;                /* each line begins with its time (RFC 3339) */
        uint64_t lines;                 /* the newest so many; UINT64_MAX = all */
        usec_t since_usec, until_usec;  /* CLOCK_REALTIME; 0 = not said */
        int fd;                         /* where it goes, stdout and stderr as they came; duplicated by a call that returns 0 */
} ProviderLogs;

/* It has begun: bytes go to and fro. Called at most once, and before the end. */
typedef void (*provider_begun_cb)(void *userdata);
/* r = 0: the command has ended by itself; exit_code is -1 where it is not known. Else why it did not begin, or what ended it: Canceled
 * if nobody reads it or holds its terminal any more. */
typedef void (*provider_command_cb)(void *userdata, int r, const Refusal *refusal, int exit_code);

typedef enum ProviderCapability {
        PROVIDER_CAN_CAPTURE = 1 << 0,
        PROVIDER_CAN_CLONE = 1 << 1,    /* can start a session from another one's generation */
        PROVIDER_CAN_SIGNAL = 1 << 2,
        PROVIDER_NEEDS_REGISTRY = 1 << 3, /* without [Registry] URL= nothing can be saved */
        PROVIDER_CAN_EXECUTE = 1 << 4,  /* commands and shells */
        PROVIDER_CAN_READ_LOGS = 1 << 5,
} ProviderCapability;

typedef struct ProviderVTable {
        const char *name;               /* "swarm", "fly", "fake" */
        uint32_t capabilities;

        Provider *(*free)(Provider *p);         /* cancels every call without calling back */
        /* Begins to connect and observe; what goes wrong shows in on_health. The first full list tells the core that
         * it can reconcile. */
        int (*start)(Provider *p, const ProviderObserver *observer);
        /* Reports a full list once more, from the loop. */
        void (*list)(Provider *p);

        int (*resolve_image)(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret);
        /* Makes the record and one task; done when the backend has accepted it, not when it runs (observed). */
        int (*create)(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* From rest to a task of spec->image; makes the record anew if somebody removed it. */
        int (*run)(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* Stop signal, grace, SIGKILL; done when the main process is gone, and reported as that. The container keeps its files. */
        int (*terminate)(Provider *p, const char *session, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret);
        int (*signal)(Provider *p, const char *session, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* No deadline once it has begun. A cancel ends the command, as far as that can be done at once. */
        int (*execute)(Provider *p, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done, void *userdata,
                       ProviderCall **ret);
        int (*read_logs)(Provider *p, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done, void *userdata, ProviderCall **ret);
        int (*capture)(Provider *p, const ProviderCapture *capture, provider_capture_progress_cb progress,
                       provider_capture_cb cb, void *userdata, ProviderCall **ret);
        /* Done when nothing of ours is frozen any more; if the main process is gone, that has been reported. */
        int (*thaw)(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* Witness checked, SIGKILL, 0 replicas with the new image and labels, in this order. */
        int (*rest)(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* To rest without saving: discards the container's files, only where the caller has said so or there are none. The
         * witness is not looked at; absent is success. */
        int (*discard)(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* Record, task and container gone; absent is success. */
        int (*remove)(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret);
        /* Reads back all of a generation that the registry may hold, by its tag. NoSuchImage: it does not, and will not. */
        int (*verify_image)(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret);
        /* By digest, or by the tag of a push that was cut off: then nothing comes under that tag afterwards. Absent is success. */
        int (*delete_image)(Provider *p, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret);
} ProviderVTable;

/* Implementations embed these as their first member. */
struct Provider {
        const ProviderVTable *vtable;
};

struct ProviderCall {
        void (*cancel)(ProviderCall *call);     /* no callback any more; undoes what can be undone (thaws); frees */
};

static inline ProviderCall *provider_call_cancel(ProviderCall *c) {
        if (c)
                c->cancel(c);
        return NULL;
}

static inline Provider *provider_free(Provider *p) {
        return p ? p->vtable->free(p) : NULL;
}
DEFINE_CLEANUP(Provider *, provider_free)
