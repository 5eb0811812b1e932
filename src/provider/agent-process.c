/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The process of a command in a container: where it is, and its end. An Engine can begin a command and tell of it, not signal it;
 * and what it began outlives the connection. So its process is signalled by us, as the end of a terminal would, then for good.
 *
 * It is held by a descriptor, which the Engine must confirm: what it names before and after that was opened is the same process. The
 * number may be another's by then all the same where the Engine counts in other ones than we, so its control group must be the
 * container's, too.
 *
 * A note in <runtime>/commands/<id> says that it is there: so what a dead service leaves is ended by the next one. */

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

#define NOTE_MAX (4 * KIB)
#define NOTED_MAX 10000U

struct AgentProcess {
        Agent *agent;
        char *container, *exec;
        int fd;                         /* -EBADF: not found yet */
        pid_t pid;                      /* which it is of; 0: none yet */
        bool begun;                     /* the Engine has named it */
        bool confirmed;                 /* that it is of this process */
        bool gone;                      /* there is none, or none that is ours to signal */
        usec_t deadline_usec;           /* CLOCK_BOOTTIME: until it is there */
        EngineCall *request;
        Timer *timer;
        Backoff backoff;

        sd_event_source *exit;
        bool dead;
        char *members;                  /* what tells whether its container has ended; NULL: not found yet */
        usec_t left_usec;               /* CLOCK_BOOTTIME: when that was seen; 0: not yet */
        event_cb on_left;               /* NULL: nobody waits for it any more */
        void *left_userdata;

        bool ending, hung_up;
        event_cb cb;
        void *userdata;
        AgentProcess *prev, *next;      /* on agent->processes */
};

static void process_free(AgentProcess *p) {
        DL_DELETE(p->agent->processes, p);
        engine_call_cancel(p->request);
        timer_free(p->timer);
        sd_event_source_disable_unref(p->exit);
        if (p->fd >= 0)
                (void) close(p->fd);
        free(p->container);
        free(p->exec);
        free(p->members);
        free(p);
}

AgentProcess *agent_process_over(AgentProcess *p) {
        if (p) {
                (void) note_remove(p->agent->commands_dir, p->exec);
                process_free(p);
        }
        return NULL;
}

static void finish(AgentProcess *p) {
        event_cb cb = p->cb;
        void *userdata = p->userdata;

        agent_process_over(p);
        if (cb)
                cb(userdata);
}

static void later(AgentProcess *p, usec_t after_usec) {
        int r = timer_arm(p->timer, after_usec);

        /* A loop that has ended has no later; agent_processes_free() follows. */
        if (r < 0 && r != -ESTALE)
                log_warning_errno(r, "A command in container %.*s is let be: %m", CONTAINER_SHORT, p->container);
}

static void again(AgentProcess *p) {
        later(p, backoff_next(&p->backoff));
}

/* ---- finding it */

/* Of all that a command may be in, its container's alone bears that id. */
static bool is_of_container(const AgentProcess *p, pid_t pid) {
        _cleanup_free_ char *cgroups = NULL;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%i/cgroup", pid);
        return read_file(path, PROC_FILE_MAX, &cgroups) >= 0 && strstr(cgroups, p->container);
}

static void step(AgentProcess *p);

/* There is no process, or it is out of reach. */
static void give_up(AgentProcess *p) {
        p->gone = true;
        if (p->ending)
                step(p);
        else
                later(p, COMMAND_UNREAD_USEC);
}

static void open_process(AgentProcess *p, pid_t pid) {
        if (p->fd >= 0)
                (void) close(p->fd);
        p->fd = pidfd_open(pid, 0);
        p->pid = p->fd >= 0 ? pid : 0;
        if (p->pid == 0)
                log_debug_errno(errno, "Process %i of container %.*s cannot be opened: %m", pid, CONTAINER_SHORT, p->container);
}

static void watch(AgentProcess *p);

/* `running`: so the Engine says; else it may have ended, and that is its number no more. */
static void on_told(AgentProcess *p, pid_t pid, bool running) {
        bool same = p->fd >= 0 && p->pid == pid;

        p->begun = true;
        if (same && is_of_container(p, pid)) {
                p->confirmed = true;
                watch(p);
                step(p);
                return;
        }
        if (!same)
                open_process(p, pid);
        if (!running && (same || p->fd < 0)) {
                give_up(p);
                return;
        }
        if (agent_now(CLOCK_BOOTTIME) >= p->deadline_usec) {
                log_warning("Process %i, which the Docker Engine names for a command in container %.*s, is not in the control group of that: "
                            "it cannot be ended from outside.", pid, CONTAINER_SHORT, p->container);
                give_up(p);
                return;
        }
        if (!same && p->fd >= 0)
                later(p, 0);
        else
                again(p);
}

static void on_looked(const EngineAnswer *answer, void *userdata) {
        const json_t *code = json_at(answer->json, "ExitCode");
        pid_t pid = (pid_t) json_integer_at(answer->json, "Pid");
        bool running = json_true_at(answer->json, "Running");
        AgentProcess *p = userdata;

        p->request = NULL;
        if (answer->status == 404)
                give_up(p);
        else if (answer->outcome != ENGINE_OK)
                again(p);
        else if (pid > 0 && (running || (json_is_integer(code) && json_integer_value(code) == COMMAND_UNREAD_CODE)))
                on_told(p, pid, running);
        else if (json_is_integer(code) || agent_now(CLOCK_BOOTTIME) >= p->deadline_usec)
                give_up(p);
        else {
                /* Canceled before the Engine was asked to begin it: it would have by now. */
                if (p->ending && agent_now(CLOCK_BOOTTIME) + COMMAND_BEGIN_USEC >= p->deadline_usec + USEC_PER_SEC)
                        p->begun = true;
                again(p);
        }
}

static void look(AgentProcess *p) {
        int r;

        if (p->request)
                return;
        r = agent_request_exec(p->agent, &(const AgentRequest) {
                .method = "GET",
                .container = p->exec,
                .verb = "json",
                .timeout_usec = INSPECT_TIMEOUT_USEC,
                .on_done = on_looked,
                .userdata = p,
        }, &p->request);
        if (r < 0)
                again(p);
}

/* ---- its end */

static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        AgentProcess *p = userdata;

        p->exit = sd_event_source_disable_unref(p->exit);
        p->dead = true;
        backoff_reset(&p->backoff);
        step(p);
        return 0;
}

static void watch(AgentProcess *p) {
        int r = sd_event_add_io(p->agent->event, &p->exit, p->fd, EPOLLIN, on_process_exit, p);

        if (r < 0)
                log_debug("The end of a command cannot be watched: %s", strerror(-r));
        agent_members_of(p->pid, p->container, &p->members);
}

/* A command whose output nobody takes keeps the Engine from seeing that the container has ended: it first wants to hand out all of that,
 * while who stops, restores or destroys the session waits. So that is told apart here, by the kernel. What ends by itself in a container that runs
 * on may be read as slowly as its reader likes. */
static void look_whether_left(AgentProcess *p) {
        event_cb cb = p->on_left;

        if (!agent_has_ended(p->container, &p->members)) {
                again(p);
                return;
        }
        if (p->left_usec == 0)
                p->left_usec = agent_now(CLOCK_BOOTTIME);
        if (agent_now(CLOCK_BOOTTIME) < p->left_usec + COMMAND_UNREAD_USEC) {
                again(p);
                return;
        }
        p->on_left = NULL;
        cb(p->left_userdata);
}

static int send_signal(AgentProcess *p, int signo) {
        int r = agent_signal_process(p->fd, signo);

        if (r == -EPERM && !p->agent->told_powerless) {
                p->agent->told_powerless = true;
                log_warning("Commands in containers go on when nobody can reach them any more, for this service lacks CAP_KILL and may not end them. "
                            "See AmbientCapabilities= of its unit.");
        }
        return r;
}

/* One that stands still gets to know of it. */
static int hang_up(AgentProcess *p) {
        int r = send_signal(p, SIGHUP);

        return r < 0 ? r : send_signal(p, SIGCONT);
}

static void end_process(AgentProcess *p) {
        int r;

        /* A signal makes a frozen process run for a moment, or ends it, and its container would count as one that ran. */
        if (note_says_frozen(p->agent->frozen_dir, p->container)) {
                again(p);
                return;
        }
        r = p->hung_up ? send_signal(p, SIGKILL) : hang_up(p);
        if (r < 0 || !p->exit) {
                finish(p);
                return;
        }
        if (!p->hung_up)
                later(p, COMMAND_HANGUP_USEC);
        p->hung_up = true;
}

static void step(AgentProcess *p) {
        if (!p->gone && !p->confirmed)
                look(p);
        else if (p->ending && (p->gone || p->dead))
                finish(p);
        else if (p->ending)
                end_process(p);
        else if ((p->gone || p->dead) && p->on_left)
                look_whether_left(p);
}

static void on_timer(void *userdata) {
        step(userdata);
}

void agent_process_end(AgentProcess *p, event_cb cb, void *userdata) {
        p->cb = cb;
        p->userdata = userdata;
        p->ending = true;
        p->on_left = NULL;
        backoff_reset(&p->backoff);
        /* It may have been asked to begin just now. */
        p->deadline_usec = MAX(p->deadline_usec, agent_now(CLOCK_BOOTTIME) + COMMAND_BEGIN_USEC);
        later(p, 0);
}

/* ---- all of them */

bool agent_processes_begin(const Agent *a, const char *container) {
        const AgentProcess *p;

        DL_FOREACH(a->processes, p)
                if (!p->begun && !p->gone && agent_now(CLOCK_BOOTTIME) < p->deadline_usec && streq(p->container, container))
                        return true;
        return false;
}

bool agent_process_lives(const AgentProcess *p) {
        struct pollfd fd = { .fd = p ? p->fd : -EBADF, .events = POLLIN };

        return p && p->confirmed && poll(&fd, 1, 0) == 0;
}

static int process_add(Agent *a, const char *container, const char *exec, AgentProcess **ret) {
        AgentProcess *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (AgentProcess) {
                .agent = a,
                .fd = -EBADF,
                .backoff = { .min_usec = 20 * USEC_PER_MSEC, .max_usec = USEC_PER_SEC },
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + COMMAND_BEGIN_USEC,
        };
        DL_APPEND(a->processes, p);
        r = free_and_strdup(&p->container, container);
        if (r >= 0)
                r = free_and_strdup(&p->exec, exec);
        if (r >= 0)
                r = timer_new(a->event, on_timer, p, &p->timer);
        if (r >= 0)
                r = timer_arm(p->timer, backoff_next(&p->backoff));
        if (r < 0) {
                process_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

static int write_note(Agent *a, const char *container, const char *exec) {
        _cleanup_json_ json_t *json = json_pack("{s:s}", "container", container);
        _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        return text ? write_file_atomic(a->commands_dir, exec, text) : -ENOMEM;
}

int agent_process_new(Agent *a, const char *container, const char *exec, event_cb on_left, void *userdata, AgentProcess **ret) {
        int r = write_note(a, container, exec);

        if (r >= 0)
                r = process_add(a, container, exec, ret);
        if (r < 0)
                return r;
        (*ret)->on_left = on_left;
        (*ret)->left_userdata = userdata;
        return 0;
}

static int end_noted(Agent *a, const char *exec) {
        _cleanup_free_ char *path = strformat("%s/%s", a->commands_dir, exec), *text = NULL;
        _cleanup_json_ json_t *json = NULL;
        const char *container;
        AgentProcess *p;
        int r;

        r = path ? read_file(path, NOTE_MAX, &text) : -ENOMEM;
        if (r < 0)
                return r;
        json = json_loads(text, 0, NULL);
        container = json_string_at(json, "container");
        if (!container_id_is_valid(container))
                return note_remove(a->commands_dir, exec);
        r = process_add(a, container, exec, &p);
        if (r >= 0)
                agent_process_end(p, NULL, NULL);
        return r;
}

int agent_processes_noted(Agent *a) {
        DIR *d = opendir(a->commands_dir);
        struct dirent *entry;
        unsigned n = 0;
        int r = 0;

        if (!d)
                return -errno;
        while (r != -ENOMEM && n < NOTED_MAX && (entry = readdir(d))) {
                if (!container_id_is_valid(entry->d_name))
                        continue;
                r = end_noted(a, entry->d_name);
                n++;
        }
        closedir(d);
        return r == -ENOMEM ? r : 0;
}

void agent_processes_free(Agent *a) {
        while (a->processes) {
                AgentProcess *p = a->processes;
                if (p->confirmed && !p->hung_up && !note_says_frozen(a->frozen_dir, p->container))
                        (void) hang_up(p);
                process_free(p);
        }
}
