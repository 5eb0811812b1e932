/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the agent share, each with its part. */

#include <jansson.h>
#include <sys/capability.h>
#include <utlist.h>

#include "basic/io-util.h"
#include "event/event-util.h"
#include "event/worker.h"
#include "provider/agent.h"
#include "provider/engine-json.h"
#include "provider/engine.h"
#include "stream/stream-request.h"

/* How long a thing may take before it is given up. */
#define INSPECT_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define FREEZE_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define THAW_TIMEOUT_USEC (60 * USEC_PER_SEC)           /* with all retries; the note stays for the next attempt */
#define FREEZE_PATIENCE_USEC USEC_PER_SEC                /* with the Engine, the first time; twice as long with each freeze after it */
#define FREEZES_MAX 4                                   /* for one save */
#define THAW_SILENCE_USEC USEC_PER_SEC                  /* until what the Engine does not thaw is thawed without it */
#define SETTLE_USEC (50 * USEC_PER_MSEC)                /* until it is looked again whether a thaw is over */
#define KILL_TIMEOUT_USEC (30 * USEC_PER_SEC)           /* from SIGKILL until it is seen to have exited */
#define REMOVE_TIMEOUT_USEC (120 * USEC_PER_SEC)        /* of a container with all its files */
#define SIGNAL_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define TERMINATE_SLACK_USEC (30 * USEC_PER_SEC)        /* beyond the grace */
#define LAYER_SILENCE_USEC (120 * USEC_PER_SEC)         /* no line from a push */
#define LAYER_SMALL_USEC (60 * USEC_PER_SEC)            /* no line from a resolve, verify or delete */
#define CAPTURE_TIMEOUT_USEC (2 * 3600 * USEC_PER_SEC)  /* whole, with waiting */
#define COMMAND_TIMEOUT_USEC (30 * USEC_PER_SEC)        /* one request about a command */
#define COMMAND_FROZEN_USEC (10 * USEC_PER_SEC)         /* until none is begun any more in a container that stays frozen */
#define COMMAND_BEGIN_USEC (30 * USEC_PER_SEC)          /* from its begin until its process is there */
#define COMMAND_HANGUP_USEC (5 * USEC_PER_SEC)          /* from SIGHUP to SIGKILL */
#define COMMAND_SETTLE_USEC USEC_PER_SEC                /* from its death by SIGKILL until its container counts as one that runs on */
#define COMMAND_UNREAD_USEC USEC_PER_SEC                /* from the end of a container until what is left of a command's output is dropped */
/* What an Engine says of a command, whether or not that runs on, when it cannot hand out its output. Source: moby daemon/exec.go. */
#define COMMAND_UNREAD_CODE 126
#define TERMINAL_LOST_USEC (10 * USEC_PER_SEC)          /* from the end of a terminal's stream until its command is hung up */
#define RESIZE_TIMEOUT_USEC (10 * USEC_PER_SEC)         /* until a new size that the Engine refuses is let be */

/* How many at a time. */
#define CAPTURES_MAX 2                  /* any number waits, one for each container: who stops Docker saves all there are */
#define LAYER_JOBS_MAX 4
#define LAYER_JOBS_QUEUED_MAX 256U
#define CHILDREN_KEPT_MAX 512U          /* with so many, no further one is begun for a caller's descriptors */
#define IMAGES_KEPT_MAX 256
#define IMAGES_KEEP_USEC (10 * USEC_PER_SEC)

#define CONTAINER_LENGTH_MAX 128
#define CONTAINER_SHORT 12              /* as docker ps shows it */

typedef struct AgentCall AgentCall;
typedef struct AgentFreeze AgentFreeze;
typedef struct AgentThaw AgentThaw;
typedef struct AgentThawWait AgentThawWait;
typedef struct AgentCapture AgentCapture;
typedef struct LayerJob LayerJob;
typedef struct ImageEntry ImageEntry;
typedef struct AgentSweep AgentSweep;
typedef struct AgentReap AgentReap;
typedef struct AgentWatch AgentWatch;
typedef struct AgentStream AgentStream;
typedef struct AgentProcess AgentProcess;

struct Agent {
        sd_event *event;
        Http *http;
        Engine *engine;
        char *layer_path, *stream_path, *index_dir, *frozen_dir, *commands_dir;
        LayerRegistry registry;
        usec_t thaw_timeout_usec;       /* with all retries */
        AgentSweep *sweep;
        AgentReap *reaps;               /* dead containers whose files are proven */
        unsigned n_reaps;

        AgentCall *calls;               /* every public call */
        AgentFreeze *freezes;           /* pause requests in flight */
        AgentThaw *thaws;               /* by container */
        AgentCapture *captures;         /* running ones, then those that wait */
        unsigned n_captures_running;
        AgentWatch *watches;            /* of containers whose files are being read, or were and are to be killed for it */

        AgentStream *streams;           /* children that carry bytes to containers and back */
        AgentProcess *processes;        /* of commands in containers */
        bool told_powerless;            /* that it may not signal those */

        LayerJob *jobs;                 /* resolve, verify and delete: running ones, then those that wait */
        unsigned n_jobs, n_jobs_running;
        ImageEntry *images;             /* by reference: being resolved, or resolved lately */
};

/* The head of every public call; `free` undoes what is in flight and frees all of it. */
struct AgentCall {
        ProviderCall call;
        Agent *agent;
        void (*free)(AgentCall *call);
        AgentCall *prev, *next;
};

/* Puts the call among the agent's, which frees what is left of them at its own end; to be unlinked by `free_func`. */
void agent_call_init(AgentCall *c, Agent *a, void (*free_func)(AgentCall *call));
void agent_call_unlink(AgentCall *c);

usec_t agent_now(clockid_t clock);
/* Ids go into paths and URLs: letters, digits, "-_." and no dot first. */
bool container_id_is_valid(const char *s);

/* ---- agent-engine.c: requests about one container, and what an answer means to a person */

typedef struct AgentRequest {
        const char *method, *container, *verb;  /* verb: "json", "pause", "kill?signal=KILL", "?v=1" … */
        json_t *body;                           /* borrowed; NULL: none */
        usec_t timeout_usec;
        bool once;
        engine_cb on_done;
        void *userdata;
} AgentRequest;
int agent_request(Agent *a, const AgentRequest *r, EngineCall **ret);
/* Likewise about a command: `container` is the Engine's id of that. */
int agent_request_exec(Agent *a, const AgentRequest *r, EngineCall **ret);

typedef struct AgentEventsRequest {
        const char *container, *event;  /* event: these alone; NULL: those of agent-watch.c */
        usec_t since_usec;              /* CLOCK_REALTIME; the Engine remembers its last 256, of all containers */
        usec_t until_usec;              /* likewise; 0: goes on, in order */
        usec_t timeout_usec;
        engine_object_cb on_object;
        engine_cb on_done;
        void *userdata;
} AgentEventsRequest;
/* What happened to the container: GET /events. */
int agent_request_events(Agent *a, const AgentEventsRequest *r, EngineCall **ret);

bool agent_answer_has(const EngineAnswer *answer, const char *words);
/* Always negative. `doing`: "inspect", "freeze" … */
int agent_refuse_answer(Agent *a, const char *container, const char *doing, const EngineAnswer *answer, Refusal **reterr_refusal);

/* ---- agent-inspect.c */

typedef struct ContainerFacts {
        char *id;                       /* full */
        bool running, paused;
        bool dead;                      /* its files are being removed, or some of them were */
        pid_t pid;                      /* 0 when it does not run */
        int exit_code;
        bool out_of_memory;
        char *started_at, *finished_at; /* as the Engine writes them; never compared but for equality */
        usec_t finished_usec;           /* 0 = never */
        char *image;                    /* what it was made from as host/repo@sha256:…; NULL if that is not pinned */
        char *upperdir;                 /* absolute; NULL: neither the Engine nor the kernel tells now */
        bool upperdir_told;             /* by the Engine, which goes on to tell when it has ended */
        char *driver;                   /* storage driver, for messages */
        Strv mounts;                    /* what is not in the writable layer and not declared by the image */
} ContainerFacts;

void container_facts_done(ContainerFacts *f);
/* -EBADMSG: not an answer to inspect. */
int container_facts_parse(const json_t *json, ContainerFacts *ret);
/* The same of an answer that may be none. Refuses then. */
int agent_read_facts(Agent *a, const char *container, const EngineAnswer *answer, ContainerFacts *ret, Refusal **reterr_refusal);
/* Its files are whole, as far as the Engine knows. */
int container_check_whole(const ContainerFacts *f, const char *session, Refusal **reterr_refusal);
/* Refuses what cannot be saved in that way, or not at all. */
int container_check_saveable(const ContainerFacts *f, const char *session, CaptureMode mode, Refusal **reterr_refusal);
/* The upper directory of the overlay that is mounted on / there. -ENOENT: none. */
int upperdir_from_mountinfo(const char *mountinfo, char **ret);

/* ---- agent-others.c */

/* Ends all processes of the frozen container but `first`, which is its main one: none of them runs again. -EBUSY: it is not
 * frozen; -EPERM: without CAP_KILL; what can be ended has been, whatever is returned. */
int agent_end_others(pid_t first);
/* Ends that one too, likewise, where the Engine does not: it has no others any more. It is dead when it is thawed, at the latest. */
int agent_end_main(pid_t first);
/* Into force for a moment, and what was before. */
cap_t agent_use_capability(cap_value_t needed);
void agent_lay_down(cap_t before);
/* One process, whoever's it is. -EPERM: without CAP_KILL; -ESRCH: it has ended. */
int agent_signal_process(int pidfd, int signo);

/* ---- agent-freezer.c */

/* Thaws what is frozen, or is to be, without the Engine, with version 2 of control groups. -EACCES, -EROFS: the service may not. */
int agent_let_run(pid_t first);
/* Freezes or thaws what the Engine knows to be frozen, behind its back, whichever version of control groups it is in. Found by the
 * container's id, for an Engine that is stuck tells no process of it. -ESRCH: no process is in it. */
int agent_set_frozen(const char *container, bool frozen);
/* The file that tells whether anything is left in the container, which that process is of. Not found: as it was. */
void agent_members_of(pid_t pid, const char *container, char **file);
/* Asks it; where there is none yet (NULL), it is found by what is left. */
bool agent_has_ended(const char *container, char **file);

/* ---- agent-witness.c */

/* Our own list of mounts has those of all containers, with some 60 bytes for each of up to 125 layers, and the kernel allows
 * 100000 mounts. What is not filled takes no memory. */
#define PROC_FILE_MAX (64 * MIB)

/* That file of that controller's cgroup of the process, and its content; `controller` as below. -ENOENT: none. */
int cgroup_file(pid_t pid, const char *controller, const char *name, char **ret);
int cgroup_read(pid_t pid, const char *controller, const char *name, char **ret);
/* Its cgroup is frozen, or will be as soon as what its processes do in the kernel allows: cgroup.freeze of cgroup v2. Version 1 is
 * not asked, where a freeze that fails is undone. */
bool cgroup_is_to_freeze(pid_t pid);
/* The cpu time that the container's cgroup has used. */
int cgroup_cpu_nsec(pid_t pid, uint64_t *ret);
/* The path below the controller's mount point, from /proc/PID/cgroup, and where that controller is mounted, from
 * /proc/self/mountinfo. `controller` is "cpuacct", or "" for the unified hierarchy. -ENOENT. */
int cgroup_path_parse(const char *cgroup, const char *controller, char **ret);
int cgroup_mount_parse(const char *mountinfo, const char *controller, char **ret_mount, char **ret_root);

/* `since_usec`: just before the freeze, or before the first byte of one that has ended is read; CLOCK_REALTIME.
 * Of a container that is frozen now; `ret_cpu_nsec`: what its cgroup has used. Refuses where that cannot be read. */
int witness_take_frozen(const ContainerFacts *facts, const char *session, usec_t since_usec, uint64_t *ret_cpu_nsec, char **ret,
                        Refusal **reterr_refusal);
/* It has not run since. -EBADRQC with FILES_CHANGED. */
int witness_check_cpu(const ContainerFacts *facts, const char *session, uint64_t cpu_nsec, Refusal **reterr_refusal);
usec_t witness_since(const char *witness);      /* 0: not known */
/* It is of a container that had ended, then (CLOCK_REALTIME; 0: not known). */
bool witness_ended(const char *witness, usec_t *ret_usec);
char *witness_exited(const char *container, const char *started_at, const char *finished_at, usec_t since_usec);
/* A note says that this run of it was killed by us while it was frozen: no code of it ran between the freeze and its end.
 * The Engine may take a moment longer to see that it does not run any more. */
bool witness_was_killed(Agent *a, const char *witness, const ContainerFacts *facts);
/* -EBADRQC with FILES_CHANGED. `how` completes "Container … after its files were saved". */
int witness_refuse_changed(const char *container, const char *how, Refusal **reterr_refusal);
/* 0, -EBADRQC with FILES_CHANGED, or that the witness is no witness (INVALID_ARGUMENT). */
int witness_check(Agent *a, const char *witness, const ContainerFacts *facts, Refusal **reterr_refusal);

/* ---- agent-watch.c: what happens to a container from the first byte that is read of its files until it is killed */

typedef enum AgentEvidence {
        EVIDENCE_NONE,
        EVIDENCE_KILLED,                /* a SIGKILL first, which no code of it outlives */
        EVIDENCE_BROKEN,                /* it ran, or ended in another way, or files were copied into it, or may have been */
} AgentEvidence;

/* There is evidence; `past`: or a question is answered, and how. The watch, and the agent, may be freed from it. */
typedef void (*agent_watch_cb)(void *userdata, const EngineAnswer *past);

/* Listens from now on, to what happened since `since_usec`, which is the witness's; to be called before the freeze, or before the
 * first byte of a container that has ended is read. It belongs to the agent: until it is taken or forgotten, as by a thaw of ours, or the
 * container is removed, or the Engine ends the stream. */
int agent_watch_begin(Agent *a, const char *container, bool exited, usec_t since_usec);
void agent_watch_forget(Agent *a, const char *container);

/* For who kills: the one of that witness; if there is none a new one, which has heard nothing. To be freed or left. */
int agent_watch_take(Agent *a, const char *container, const char *witness, agent_watch_cb cb, void *userdata, AgentWatch **ret);
AgentWatch *agent_watch_leave(AgentWatch *w);           /* somebody else may take it */
AgentWatch *agent_watch_free(AgentWatch *w);
/* Nothing is asked if it listens already. */
int agent_watch_listen(AgentWatch *w);
bool agent_watch_is_listening(const AgentWatch *w);
/* The last that was told of it is a thaw. */
bool agent_watch_is_unpaused(const AgentWatch *w);
/* Asks what happened until now. */
int agent_watch_ask(AgentWatch *w);
bool agent_watch_is_asking(const AgentWatch *w);
AgentEvidence agent_watch_evidence(const AgentWatch *w);
/* Nothing was missed. What is killed needs no asking: without that the kill counts as BROKEN. */
bool agent_watch_is_whole(const AgentWatch *w);

/* ---- agent-notes.c: what we froze, one file a container */

typedef struct Note {
        char *witness;                  /* killed: the one that held when it was killed */
        char *started_at;               /* killed: of the run that ended so */
} Note;
void note_done(Note *n);
/* Before the freeze. Synced. */
int note_write_frozen(const char *dir, const char *container);
/* Its processes were seen dead: the witness goes on to hold, until the container is started anew. */
int note_write_killed(const char *dir, const char *container, const char *witness, const char *started_at);
/* -ENOENT: no note. A frozen one has no witness. */
int note_read(const char *dir, const char *container, Note *ret);
bool note_exists(const char *dir, const char *container);
/* Frozen by us, or about to be, and not killed since. */
bool note_says_frozen(const char *dir, const char *container);
/* One that could not be written. Other errors stay what they are. `what`: "is not frozen" … */
int note_refuse(const char *dir, const char *container, const char *what, int error, Refusal **reterr_refusal);
int note_remove(const char *dir, const char *container);

/* ---- agent-verbs.c: what is done to one container in one call */

typedef struct VerbCall VerbCall;

typedef struct Verb {
        size_t size;                    /* of its calls, which begin with a VerbCall */
        int (*begin)(VerbCall *c);      /* whenever the timer has run out; 1: done at once */
        int (*inspected)(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal);   /* 1: not done yet */
        void (*done)(VerbCall *c);      /* undoes and frees what stands behind the VerbCall */
        bool absent_is_done;            /* no container: success */
        int (*absent)(VerbCall *c, Refusal **reterr_refusal);   /* then, where that says so too */
} Verb;

struct VerbCall {
        AgentCall base;
        const Verb *verb;
        char *container, *witness;
        int signo;
        usec_t grace_usec;
        EngineCall *request;
        AgentThawWait *thaw;
        Timer *timer;                   /* the beginning; the verb may arm it again */
        provider_done_cb cb;
        void *userdata;
};

/* Takes from `with` what the caller said. -EINVAL: that is no container. */
int verb_start(Agent *a, const Verb *verb, const char *container, const VerbCall *with, ProviderCall **ret);
/* Calls back and frees the call. */
void verb_finish(VerbCall *c, int r, const Refusal *refusal);
int verb_request(VerbCall *c, const char *method, const char *verb, usec_t timeout_usec, bool once, engine_cb on_done);
/* Goes on in the verb's inspected(). */
int verb_inspect(VerbCall *c);

/* ---- agent-capture.c */

/* It is being saved, or waits for that. */
bool agent_is_captured(const Agent *a, const char *container);

/* ---- agent-freeze.c */

typedef void (*agent_freeze_cb)(void *userdata, int r, const Refusal *refusal);

/* Writes the note and pauses. Calls back once, from the loop. An abandoned freeze is thawed as soon as the Engine has
 * answered; so is one that may or may not have been carried out. `patience_usec`: the frozen container is asked about, and the Engine
 * answers within that; else it is thawed again, and -EAGAIN. 0: nobody asks about it while it stands still. */
int agent_freeze(Agent *a, const char *container, usec_t patience_usec, agent_freeze_cb cb, void *userdata, AgentFreeze **ret);
AgentFreeze *agent_freeze_abandon(AgentFreeze *f);
/* A request to freeze it is under way, which is not being undone yet. */
bool agent_is_freezing(const Agent *a, const char *container);
/* A freeze or a thaw of it is under way, whoever began it and has given it up since. */
bool agent_freeze_is_unsettled(const Agent *a, const char *container);
/* Appends those containers that are frozen, or may be, and that nobody would thaw when the agent goes. */
void agent_freezes_free(Agent *a, Strv *containers);

/* ---- agent-thaw.c */

/* Unpauses what carries a note of ours and removes the note, with retries; joins a thaw that is under way already.
 * `cb` may be NULL. */
int agent_thaw_begin(Agent *a, const char *container, agent_freeze_cb cb, void *userdata, AgentThawWait **ret);
AgentThawWait *agent_thaw_forget(AgentThawWait *w);     /* the thaw itself goes on */
/* The Engine does not answer: lets its processes run, and the Engine comes round. */
void agent_thaw_without_engine(AgentThawWait *w);
bool agent_is_thawing(const Agent *a, const char *container);
/* As agent_freezes_free(); NULL: they are let be. */
void agent_thaws_free(Agent *a, Strv *containers);

/* ---- agent-thaw-all.c */

/* Gives up what is under way, and thaws its containers, synchronously. */
void agent_leave_nothing_frozen(Agent *a);

/* ---- agent-layer.c: swarm-layer for what is short, and how its end is told */

/* Starts it, with the registry's credential in its request. It is ended when no line came for `silence_usec`; `privileged`: with
 * the capabilities to read any file. */
int agent_spawn_layer(Agent *a, const LayerRequest *request, usec_t silence_usec, bool privileged,
                      worker_line_cb on_line, worker_exit_cb on_exit, void *userdata, Worker **ret);
/* For a child that ended without a result. Always negative. */
int layer_refuse_exit(int code, int status, const char *doing, Refusal **reterr_refusal);
void agent_layer_free(Agent *a);
int layer_registry_copy(const LayerRegistry *from, LayerRegistry *ret);
void layer_registry_erase(LayerRegistry *r);

/* ---- agent-stream.c: swarm-stream, the child that carries bytes */

/* The last one is an end, or a status that says no. The stream, and the agent, may be freed from it. */
typedef void (*agent_stream_cb)(const StreamMessage *m, void *userdata);

typedef struct AgentStreamSpec {
        const char *container;
        const char *method, *path, *body;       /* path: without the version, which has been agreed on by now */
        StreamKind kind;
        bool framed;
        const int *fds;                         /* borrowed */
        size_t n_fds;
        agent_stream_cb on_message;
        void *userdata;
} AgentStreamSpec;

/* A caller whose file system does not answer keeps a child for good, whatever becomes of its call. `kept`: workers_kept(). */
int agent_streams_check(unsigned kept, Refusal **reterr_refusal);
int agent_stream_new(Agent *a, const AgentStreamSpec *spec, AgentStream **ret);
AgentStream *agent_stream_free(AgentStream *s);         /* ends the child */
/* Before a freeze: nothing goes to the container's commands until it is thawed. */
void agent_streams_hold(Agent *a, const char *container);

/* ---- agent-process.c: the process of a command */

/* Finds it when it has begun. A note says that it is there, until it has ended. `on_left`: it has ended with its container, a while ago;
 * the process may be freed from it. */
int agent_process_new(Agent *a, const char *container, const char *exec, event_cb on_left, void *userdata, AgentProcess **ret);
/* It was found, and the kernel has it still. NULL is fine. */
bool agent_process_lives(const AgentProcess *p);
/* It has ended by itself, or was not begun. NULL is fine. */
AgentProcess *agent_process_over(AgentProcess *p);
/* Ends it: SIGHUP, then SIGKILL, and neither while the container is frozen. It belongs to the agent from here on; `cb` is called
 * once, from the loop, when it has ended or cannot be ended; NULL: nobody waits for that. */
void agent_process_end(AgentProcess *p, event_cb cb, void *userdata);
/* One was asked for not long ago, and the Engine has not said yet that it is there. */
bool agent_processes_begin(const Agent *a, const char *container);
/* Ends those of which a note says that an agent before this one has left them. */
int agent_processes_noted(Agent *a);
/* Hangs them up; the next agent does the rest. */
void agent_processes_free(Agent *a);

/* ---- agent-index.c */

typedef struct AgentIndex {
        char *path, *new_path;          /* path: NULL without one */
        char *image;                    /* the generation that it describes */
} AgentIndex;
void agent_index_done(AgentIndex *i);
/* 0, whether or not there is one that can be used; -ENOMEM. */
int agent_index_find(Agent *a, const char *container, AgentIndex *ret);
/* The new one takes the place of the old one. -ENOENT: there is none, and the old one stays. */
int agent_index_commit(Agent *a, const char *container, const char *image);
void agent_index_forget(Agent *a, const char *container);

/* ---- agent-upper.c */

bool agent_upper_is_noted(Agent *a, const char *container);
/* Notes it where nobody would tell later. */
void agent_upper_note(Agent *a, const ContainerFacts *f);
/* Fills in what was noted, if nothing else was found. 0 whether or not there was something; -ENOMEM. */
int agent_upper_find(Agent *a, ContainerFacts *f);

/* ---- agent-sweep.c */
int agent_sweep_new(Agent *a, AgentSweep **ret);
void agent_sweep_now(AgentSweep *s);
AgentSweep *agent_sweep_free(AgentSweep *s);

/* ---- agent-reap.c */
/* Of a container of which that run has ended, and its files are proven. */
int agent_reap_later(Agent *a, const char *container, const char *started_at);
/* Those of which a note says so. */
int agent_reap_noted(Agent *a);
void agent_reaps_free(Agent *a);
