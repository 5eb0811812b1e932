/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the provider in memory share. */

#include <jansson.h>
#include <systemd/sd-event.h>
#include <uthash.h>
#include <utlist.h>

#include "provider/fake.h"

typedef struct Fake Fake;
typedef struct FakeCall FakeCall;
typedef struct FakeStream FakeStream;

/* Something that is done later, by the loop. Without a delay it waits in a queue for the next turn: tens of thousands
 * of them cost two system calls, not as many timers. */
typedef struct FakeDelay {
        Fake *fake;
        void (*cb)(void *userdata);
        void *userdata;
        bool queued;
        sd_event_source *timer;
        struct FakeDelay *prev, *next;
} FakeDelay;

typedef struct FakeSession {
        Fake *fake;
        char *id, *image, *record, *container, *health, *error;
        char *node;             /* where it is placed */
        char *wanted_node;      /* where it is to be placed, or NULL */
        uint64_t generation;
        bool wanted;
        bool frozen;
        bool saved;             /* `content` is what some image holds */
        bool removed;           /* only until the observer has heard of it */
        bool dirty;             /* on fake->dirty */
        TaskState task;         /* TASK_LOST is made up from the node when it is reported */
        int exit_code;
        bool out_of_memory;             /* for which it was ended */
        usec_t started_usec;
        uint64_t content;       /* its files */
        uint64_t ran;           /* goes up when it may have run */
        FakeDelay start;        /* the next step towards running */
        UT_hash_handle hh;
        struct FakeSession *prev, *next;        /* on fake->dirty */
} FakeSession;

typedef struct FakeImage {
        char *image;
        uint64_t content;
        UT_hash_handle hh;
} FakeImage;

typedef struct FakeNode {
        char *id;
        bool down;
        bool drained;           /* takes no sessions */
        unsigned sessions;
} FakeNode;

typedef struct FakeFailure {
        unsigned times;
        int error;              /* > 0: break with it, else refuse */
        RefusalCode code;
        char *message;
} FakeFailure;

struct Fake {
        Provider provider;
        sd_event *event;
        ProviderObserver observer;
        bool started;

        FakeSession *sessions;
        FakeSession *dirty;     /* to be reported */
        FakeImage *images;
        FakeNode *nodes;
        unsigned n_nodes;
        uint64_t serial;        /* of containers */
        unsigned losses;
        ProviderHealth health;
        char *health_detail;
        bool list_wanted, health_dirty, nodes_dirty;
        bool changed;           /* since the state file was written */
        sd_event_source *flush;
        FakeDelay *due;         /* without a delay */
        size_t n_due;
        sd_event_source *turn;

        FakeCall *calls;
        uint64_t n_calls[_FAKE_OP_MAX];
        usec_t latency_usec[_FAKE_OP_MAX];
        FakeFailure failures[_FAKE_OP_MAX];

        char *state_path, *control_path;
        int control_fd;
        sd_event_source *control;
};

struct FakeCall {
        ProviderCall call;
        Fake *fake;
        FakeOp op;
        unsigned step;
        char *session, *image, *record, *witness, *repository, *tag, *node;
        uint64_t generation;
        bool check;             /* with a health check */
        int signo;
        CaptureMode mode;
        bool froze;             /* by this call, not thawed yet */
        usec_t frozen_at_usec, frozen_usec;
        uint64_t content;       /* of the container when it was frozen */
        FakeStream *stream;     /* of a command, or of the output */
        int exit_code;
        provider_begun_cb on_begun;
        provider_command_cb on_command;
        provider_done_cb on_done;
        provider_image_cb on_image;
        provider_capture_cb on_capture;
        provider_capture_progress_cb on_progress;
        void *userdata;
        FakeDelay delay;
        FakeCall *prev, *next;
};

static inline Fake *FAKE(Provider *p) {
        return (Fake *) p;
}

/* fake.c. A call that is started owns itself; one that cannot be is freed. */
int fake_call_new(Provider *p, FakeOp op, const char *session, void *userdata, FakeCall **ret);
int fake_call_start(FakeCall *c, int r, ProviderCall **ret);    /* r < 0: it could not be made, returned */
void fake_call_finish(FakeCall *c, int r, const Refusal *refusal);

/* fake-stream.c */
int fake_execute(Provider *p, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done, void *userdata, ProviderCall **ret);
int fake_read_logs(Provider *p, const ProviderLogs *logs, provider_begun_cb begun, provider_done_cb done, void *userdata, ProviderCall **ret);
/* The container is there: bytes flow from now on, and the call ends by itself. */
int fake_stream_begin(FakeCall *c);
bool fake_stream_runs(const FakeCall *c, const char *program);
FakeStream *fake_stream_free(FakeStream *t);
/* Something of the session is not as it was; or its files, which its main process tells. */
void fake_streams_changed(const FakeSession *s);
void fake_streams_wrote(const FakeSession *s, uint64_t value);

/* fake-steps.c */
#define FAKE_CAPTURE_STEPS 10
typedef struct FakeOperation {
        unsigned steps;
        int (*step)(FakeCall *c, Refusal **reterr_refusal);     /* one step; negative ends the call */
} FakeOperation;
extern const FakeOperation fake_operations[_FAKE_OP_MAX];
/* What was asked for to fail: refuses, or breaks, as often as that was said; else 0. */
int fake_consume_failure(Fake *f, FakeOp op, Refusal **reterr_refusal);
/* Takes back the freeze of this call; the session may be gone. */
void fake_call_thaw(FakeCall *c, FakeSession *s);

/* fake-cluster.c: the model. None of these calls back; they mark what is to be reported. */
FakeSession *fake_find(Fake *f, const char *session);
FakeNode *fake_find_node(Fake *f, const char *node);
FakeImage *fake_find_image(Fake *f, const char *image);
int fake_add_image(Fake *f, const char *image, uint64_t content);
FakeSession *fake_session_new(Fake *f, const char *id);
FakeSession *fake_session_free(FakeSession *s);
void fake_session_changed(FakeSession *s);      /* to be reported and saved */
bool fake_session_is_lost(const FakeSession *s);
/* Sets what runs and begins to start it; what an older container held and no image has is a loss. */
int fake_session_launch(FakeSession *s, const ProviderSpec *spec);
int fake_session_schedule(FakeSession *s);
void fake_session_exit(FakeSession *s, int code, bool ran);
void fake_session_freeze(FakeSession *s, bool frozen);
/* The container goes. `expected`: the caller has said that its files may go. */
void fake_session_drop_container(FakeSession *s, bool expected);
void fake_session_remove(FakeSession *s);
char *fake_session_witness(const FakeSession *s);
bool fake_witness_holds(const FakeSession *s, const char *witness);
/* The part of the repository that asks for a behaviour. */
bool fake_image_is(const char *image, const char *behaviour);
char *fake_resolve(const char *reference);

/* fake-delay.c. Starting one that waits already begins anew; stopping one that does not wait is fine. */
int fake_delay_start(Fake *f, FakeDelay *d, usec_t usec, void (*cb)(void *userdata), void *userdata);
void fake_delay_stop(FakeDelay *d);

/* fake-report.c: what the observer hears, what the state file holds. */
void fake_flush(Fake *f);
void fake_flush_later(Fake *f);
int fake_save(Fake *f);
int fake_load(Fake *f);

/* fake-control.c */
int fake_control_open(Fake *f);
void fake_control_close(Fake *f);
