/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A person's way into a session that runs: a shell, a command, the output of its main process. Each method is the session's own and
 * the manager's, as in session-verbs.c. The answer waits until bytes flow; from then on they go between the caller and what the
 * provider has started for him, and pass neither this process nor the bus. */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "front/front-internal.h"

/* What every one of them begins with. */
typedef struct Call {
        Front *front;
        sd_bus_message *message;
        const char *member;             /* for sentences */
        const char *verb;               /* in polkit's details */
        uid_t uid;
        Session *session;
        Subject subject;
} Call;

/* Parks. */
static int call_begin(sd_bus_message *m, const char *verb, Call *ret, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Call c = { .front = front_of(m), .message = m, .member = sd_bus_message_get_member(m), .verb = verb };
        int r;

        r = front_caller(c.front, m, &c.uid, reterr);
        if (r <= 0)
                return r;
        r = front_read_session(c.front, m, &c.session, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        c.subject = subject_of(c.session);
        *ret = c;
        return 1;
}

/* Parks. */
static int call_admit(const Call *c, sd_bus_error *reterr) {
        return front_admit(c->front, c->message, c->uid, front_action(c->uid, c->session, SWARM_ACTION_SHELL_OWN, SWARM_ACTION_SHELL),
                           c->verb, &c->subject, reterr);
}

static int call_refused(const Call *c, int r, Refusal **refusal, sd_bus_error *reterr) {
        return front_refused(c->uid, c->verb, &c->subject, r, refusal, reterr);
}

typedef struct CommandOptions {
        Strv command, env;
        const char *user, *directory;
} CommandOptions;

static const BusOption execute_options[] = {
        BUS_OPTION("env", "as", CommandOptions, env),
        BUS_OPTION("user", "s", CommandOptions, user),
        BUS_OPTION("working_directory", "s", CommandOptions, directory),
};
static const BusOption shell_options[] = {
        BUS_OPTION("command", "as", CommandOptions, command),
        BUS_OPTION("env", "as", CommandOptions, env),
        BUS_OPTION("user", "s", CommandOptions, user),
        BUS_OPTION("working_directory", "s", CommandOptions, directory),
};

static void command_options_done(CommandOptions *o) {
        strv_free(o->command);
        strv_free(o->env);
}

/* Answers with the job when the command has begun, and with `pty` before it unless that is negative. */
static int execute(const Call *c, const ProviderCommand *command, int pty, sd_bus_error *reterr) {
        _cleanup_(front_pending_freep) Pending *p = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_free_ char *path = NULL;
        Job *j;
        int r;

        r = front_pending_new(c->front, c->message, c->uid, c->verb, &c->subject, &p);
        if (r < 0)
                return r;
        r = session_execute(c->session, command, c->uid, front_call_done, p, front_pending_stream(p), &j, &refusal);
        if (r < 0)
                return call_refused(c, r, &refusal, reterr);
        path = job_path(j->id);
        if (!path)
                return -ENOMEM;
        r = pty >= 0 ? bus_reply_new(c->message, &reply, "ho", pty, path) : bus_reply_new(c->message, &reply, "o", path);
        if (r < 0)
                return r;
        front_pending_set_reply(p, reply, j->id);
        TAKE_PTR(p);
        return 1;
}

/* The kernel gives the slave by its master, so that no path decides which it is. */
static int pty_new(int *ret_master, int *ret_slave) {
        _cleanup_close_ int master = -1;
        int slave, unlocked = 0;

        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
                return -errno;
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return -errno;
        *ret_master = TAKE_FD(master);
        *ret_slave = slave;
        return 0;
}

static int refuse_pty(const Session *s, int error, Refusal **reterr_refusal) {
        if (error == -ENOSPC)
                return refuse(reterr_refusal, REFUSAL_LIMIT_EXCEEDED,
                              "There is no terminal for session %s: all that the kernel allows are in use. End shells that nobody needs, or raise the sysctl kernel.pty.max.",
                              s->name);
        return refuse(reterr_refusal, REFUSAL_INTERNAL, "No terminal could be made for session %s: %s. The machine's administrator can say more.", s->name,
                      strerror(-error));
}

static int open_shell(const Call *c, const CommandOptions *o, sd_bus_error *reterr) {
        _cleanup_close_ int master = -1, slave = -1;
        _cleanup_refusal_ Refusal *refusal = NULL;
        ProviderCommand command = {
                .argv = o->command,
                .env = o->env,
                .user = o->user,
                .directory = o->directory,
                .terminal = true,
                .fds = &slave,
                .n_fds = 1,
        };
        int r;

        r = pty_new(&master, &slave);
        if (r < 0) {
                r = refuse_pty(c->session, r, &refusal);
                return call_refused(c, r, &refusal, reterr);
        }
        return execute(c, &command, master, reterr);
}

int method_session_open_shell(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(command_options_done) CommandOptions o = {};
        _cleanup_refusal_ Refusal *refusal = NULL;
        Call c;
        int r;

        r = call_begin(m, "open-shell", &c, reterr);
        if (r <= 0)
                return front_parked(r);
        r = bus_options_read(m, c.member, shell_options, ELEMENTSOF(shell_options), &o, NULL, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, c.member, SWARM_FLAGS_NONE, NULL, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = call_admit(&c, reterr);
        if (r <= 0)
                return front_parked(r);
        return open_shell(&c, &o, reterr);
}

/* The kernel tells who listens at a local socket by whom each message was written, and that is swarm-stream: journald would note what a
 * command writes as the service's own words. What is connected stays so, but for datagrams. */
static bool is_foreign_socket(int fd, uid_t uid) {
        struct ucred peer = { .uid = UID_UNSET };
        int domain, type = SOCK_DGRAM;
        socklen_t n = sizeof(domain);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 || domain != AF_UNIX)
                return false;
        n = sizeof(type);
        (void) getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n);
        n = sizeof(peer);
        (void) getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
        return type == SOCK_DGRAM || peer.uid != uid;
}

/* Of files the kernel is asked for the mode alone: anything more may ask the file system that the file is of, which may be the caller's own
 * and need not answer. */
static int check_descriptor(const Call *c, const char *name, int fd, bool write, Refusal **reterr_refusal) {
        int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE;

        if (flags < 0)
                return -errno;
        if (write && is_foreign_socket(fd, c->uid))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "%s: `%s` is a socket whose other end is not yours, or may become somebody else's, who would take this service for the sender. Pass a pipe.",
                              c->member, name);
        if (!(flags & O_PATH) && (mode == O_RDWR || mode == (write ? O_WRONLY : O_RDONLY)))
                return 0;
        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "%s: `%s` is a descriptor that cannot be %s. Open it for that.", c->member, name,
                      write ? "written to" : "read from");
}

static int read_descriptors(const Call *c, int fds[static 3], Refusal **reterr_refusal) {
        static const char *const names[] = { "stdin", "stdout", "stderr" };
        int r;

        r = sd_bus_message_read(c->message, "hhh", &fds[0], &fds[1], &fds[2]);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(names); i++)
                r = check_descriptor(c, names[i], fds[i], i > 0, reterr_refusal);
        return r;
}

/* The descriptors are borrowed from the message. */
static int read_execute(const Call *c, CommandOptions *o, int fds[static 3], Refusal **reterr_refusal) {
        int r;

        r = bus_strv_read(c->message, c->member, "command", &o->command, reterr_refusal);
        if (r >= 0)
                r = read_descriptors(c, fds, reterr_refusal);
        if (r >= 0)
                r = bus_options_read(c->message, c->member, execute_options, ELEMENTSOF(execute_options), o, NULL, reterr_refusal);
        if (r >= 0)
                r = bus_flags_read(c->message, c->member, SWARM_FLAGS_NONE, NULL, reterr_refusal);
        if (r < 0)
                return r;
        if (strv_length(o->command) == 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "%s: `command` is empty. Say which program to run, or open a shell.", c->member);
        return 0;
}

int method_session_execute(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(command_options_done) CommandOptions o = {};
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r, fds[3];
        Call c;

        r = call_begin(m, "execute", &c, reterr);
        if (r <= 0)
                return front_parked(r);
        r = read_execute(&c, &o, fds, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = call_admit(&c, reterr);
        if (r <= 0)
                return front_parked(r);
        ProviderCommand command = {
                .argv = o.command,
                .env = o.env,
                .user = o.user,
                .directory = o.directory,
                .fds = fds,
                .n_fds = ELEMENTSOF(fds),
        };
        return execute(&c, &command, -1, reterr);
}

static const BusOption logs_options[] = {
        BUS_OPTION("follow", "b", ProviderLogs, follow),
        BUS_OPTION("timestamps", "b", ProviderLogs, timestamps),
        BUS_OPTION("lines", "t", ProviderLogs, lines),
        BUS_OPTION("since_usec", "t", ProviderLogs, since_usec),
        BUS_OPTION("until_usec", "t", ProviderLogs, until_usec),
};

static int open_logs(const Call *c, ProviderLogs *logs, sd_bus_error *reterr) {
        _cleanup_(front_pending_freep) Pending *p = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_close_ int output = -1, input = -1;
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r, fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return call_refused(c, -errno, NULL, reterr);
        output = fds[0];
        logs->fd = input = fds[1];
        r = front_pending_new(c->front, c->message, c->uid, c->verb, &c->subject, &p);
        if (r < 0)
                return r;
        r = bus_reply_new(c->message, &reply, "h", output);
        if (r < 0)
                return r;
        front_pending_set_reply(p, reply, 0);
        r = session_read_logs(c->session, logs, c->uid, front_call_done, p, front_pending_stream(p), &refusal);
        if (r < 0)
                return call_refused(c, r, &refusal, reterr);
        TAKE_PTR(p);
        return 1;
}

int method_session_open_logs(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        ProviderLogs logs = { .lines = UINT64_MAX, .fd = -1 };
        Call c;
        int r;

        r = call_begin(m, "open-logs", &c, reterr);
        if (r <= 0)
                return front_parked(r);
        r = bus_options_read(m, c.member, logs_options, ELEMENTSOF(logs_options), &logs, NULL, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, c.member, SWARM_FLAGS_NONE, NULL, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = call_admit(&c, reterr);
        if (r <= 0)
                return front_parked(r);
        return open_logs(&c, &logs, reterr);
}
