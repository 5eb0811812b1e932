/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent against an Engine that answers from a model of one container, and a shell script in swarm-layer's place.
 * The container's process is a child in a control group of its own, so that its cpu time is a real one. */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/types.h>
#include <cmocka.h>

#include "../check-witness.h"
#include "provider/agent-internal.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BASE "registry.test/base@sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define SAVED "registry.test/sessions/default@sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define STARTED "2026-01-02T03:04:05.123456789Z"
#define FINISHED "2026-01-02T03:05:00.5Z"

typedef struct Model {
        bool exists, running, paused;
        int exit_code;
        bool dead;                      /* its removal has begun */
        bool out_of_memory;             /* inspecting shows it */
        const char *mounts;             /* JSON */
        const char *driver;             /* JSON of GraphDriver */
        int fail_pause;                 /* status of the next answers, 0 = as the model says */
        unsigned n_busy_pause;          /* so many of the next ones find a process that cannot be frozen now */
        int unified_fd;                 /* the child's cgroup of version 2, which they leave as one that is to be frozen; 0: none */
        int fail_unpause, n_fail_unpause;
        int fail_inspect;
        unsigned n_drop_inspect;        /* so many questions about the frozen one are not answered */
        int drop_pause;                 /* carries it out, does not answer */
        int n_drop_unpause;             /* the same of so many of the next ones */
        bool stuck;                     /* no answer to an unpause before its processes run */
        int stuck_fd;                   /* on which that is waited for */
        bool late_pause;                /* one that nobody waits for any more comes to pass behind the next unpause */
        unsigned pause_delay_ms;
        unsigned n_inspect, n_pause, n_unpause, n_kill, n_stop;
        bool refuse_kill;               /* as one that AppArmor keeps from it */
        bool slow_kill;                 /* no answer to a kill, and it is said to run on */
        bool removed_by_kill;           /* Swarm waits for its end, and removes it then */
        int kill_fd;                    /* on which that answer is waited for */
        bool foreign_stop, foreign_removal, foreign_unpause, foreign_copy, crash; /* what comes before the kill: somebody else, or the end of the Engine */
        char events[1024];              /* what it remembers since the last pause, or since the container's end */
        char older[256];                /* and of its end */
        int streams[8];                 /* of those who go on listening */
        unsigned n_streams;
        char last[128];

        /* the one command */
        unsigned n_create, n_look, n_resize;
        char created[2048];             /* what the last create asked for */
        char size[64];                  /* of the last resize that was taken */
        int fail_create, fail_look, n_fail_resize, n_fail_create;
        const char *create_message;
        bool no_command;                /* it knows of none */
        pid_t command;                  /* its process; 0: it has not begun */
        int command_code;               /* -1: it has not ended */
        pid_t command_told;             /* another one, by mistake; 0: none */
        const char *tty;                /* of the container: "true" */
} Model;

typedef struct Fixture {
        char dir[64], socket[96], script[96], stream[96];
        pid_t child;
        char cgroup[160];
        int freezer_fd;                 /* the child's group of version 1's freezer; 0: none */
        int listen_fd;
        pthread_t server;
        pthread_mutex_t lock;
        Model model;

        sd_event *event;
        Http *http;
        Agent *a;

        unsigned n_done, n_progress, n_waiting, n_begun;
        int r, exit_code;
        RefusalCode code;
        char message[512], image[256], witness[512];
        usec_t frozen_usec;
        bool unchanged, out_of_memory;
        void (*on_stage)(struct Fixture *f, const char *stage);
        unsigned n_volumes;
} Fixture;

int setup(void **state);
int teardown(void **state);
/* Without a control group of the test's own there is no witness. */
#define NEED_CGROUP(f) if (!(f)->cgroup[0]) skip()

/* ---- agent-child.c */

void child_start(Fixture *f);
/* false: it has no control group of its own. */
bool child_enter_cgroup(Fixture *f);
/* Moves the child into a control group of version 2, as the container's, whose directory that is. -1: none can be made. */
int child_enter_unified(Fixture *f);
void child_leave_unified(Fixture *f);
/* The same with a group of version 1's freezer. */
int child_enter_freezer(Fixture *f);
bool child_leave_freezer(Fixture *f);
/* As runc does: only what is frozen. */
bool child_thaw_freezer(Fixture *f);
/* Moves a process into the group of which that is the directory. false: it is none. */
bool write_procs(int dir, pid_t pid);
/* What its cgroup.freeze says: '0' or '1'. */
char child_freeze(Fixture *f);
/* The same, with no control group of version 2: 0; and what runc does with it. */
char child_read_freeze(const Model *m);
void child_write_freeze(const Model *m, const char *value);
void child_await_frozen(Fixture *f);
/* Until it sleeps and its cpu time has come to rest: what a freeze would find. */
void child_wait_quiet(Fixture *f);
/* Whatever thaws lets it run: the child burns some cpu, however busy the machine is. */
void let_run(Fixture *f);

/* Begins the command's process, in the container's control group, where there is one. */
void command_start(Fixture *f, bool ignores_hangup);
/* It has ended by itself, and is reaped. */
void command_end(Fixture *f, int code);
/* What a signal of somebody's has made of it: the signal, once it has ended. */
int command_wait(Fixture *f);

/* ---- agent-command.c: what the Engine says of a command, and swarm-stream */

#define EXEC "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
bool answer_command(Fixture *f, int fd, const char *method, const char *path, const char *body);
/* How the next ones go about it, a line each; the last one holds for all that follow. The script has them all. */
void stream_modes(Fixture *f, const char *modes);
/* The last line of those that wait for it. */
void stream_ends(Fixture *f, const char *how);
/* State of the last one that was started, as in /proc/PID/stat; 0: there is none. */
char stream_state(Fixture *f);
/* How often one was asked for something with that in it. */
unsigned count_streams_with(Fixture *f, const char *needle);
void write_stream_script(Fixture *f);
void on_begun(void *userdata);
void on_command_done(void *userdata, int r, const Refusal *refusal, int exit_code);

/* ---- agent-model.c */

void answer(int fd, int status, const char *body);
/* The Engine comes round: its runtime thaws nothing that runs. */
void comes_round(Fixture *f);
/* A program of `text`, in which DIR/ stands for the test's folder. */
void write_script(Fixture *f, const char *path, const char *text);

/* Another agent, in the place of one that was freed. */
void make_agent(Fixture *f);
/* What is said of the container `m`, while the Engine does not look. */
#define MODEL(f, statement) ({ pthread_mutex_lock(&(f)->lock); Model *m = &(f)->model; typeof(statement) _x = (statement); pthread_mutex_unlock(&(f)->lock); _x; })
/* Events, which the Engine remembers and tells those who listen. */
#define COPIED "{\"Action\":\"extract-to-dir\"}\n"
#define PAUSED "{\"Action\":\"pause\"}\n"
#define UNPAUSED "{\"Action\":\"unpause\"}\n"
#define DIED "{\"Action\":\"die\"}\n"
void happens(Fixture *f, const char *event);
/* So much happens elsewhere that it remembers nothing of that container. */
void forgets(Fixture *f);
/* It ends what it tells. */
void cut_streams(Fixture *f);
/* How many listen. */
unsigned count_streams(Fixture *f);
/* How often swarm-layer was asked for something with that in it. */
unsigned count_requests(Fixture *f, const char *needle);
/* There is a note of the container. */
bool noted(Fixture *f);

void on_done(void *userdata, int r, const Refusal *refusal);
void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image);

/* Until so many calls are done. */
void run_until(Fixture *f, unsigned n);
void run_for(Fixture *f, usec_t usec);
/* Turns the loop until that is so; the deadline only bounds a failure. */
#define UNTIL(f, condition)                                                             \
        do {                                                                            \
                usec_t _end = agent_now(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;           \
                while (!(condition)) {                                                  \
                        assert_true(sd_event_run((f)->event, 10 * USEC_PER_MSEC) >= 0); \
                        assert_true(agent_now(CLOCK_MONOTONIC) < _end);                 \
                }                                                                       \
        } while (0)
/* Begins a call and says how it ended. */
#define CALL(f, what) ({ (f)->n_done = 0; assert_int_equal(what, 0); assert_int_equal((f)->n_done, 0); run_until((f), 1); (f)->r; })

/* The tag says how swarm-layer shall go about it; the script has them all. */
int begin_capture(Fixture *f, const char *container, CaptureMode mode, const char *tag, ProviderCall **ret);
int capture(Fixture *f, CaptureMode mode, const char *tag);
