/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs that go inside a session. The service hands out descriptors, or is given some; what is done here is to carry bytes
 * between those and the terminal, and to wait for the job. */

#include <fcntl.h>
#include <signal.h>

#include "follow.h"
#include "forward.h"
#include "outlet.h"
#include "output.h"
#include "pump.h"

#define FIELD(f) offsetof(Arguments, f)

#define TERM_LENGTH_MAX 64

static const WireOption shell_options[] = {
        { "command", "as", FIELD(command) },
        { "env", "as", FIELD(env) },
        { "user", "s", FIELD(user) },
        { "working_directory", "s", FIELD(working_directory) },
};

static const WireOption exec_options[] = {
        { "env", "as", FIELD(env) },
        { "user", "s", FIELD(user) },
        { "working_directory", "s", FIELD(working_directory) },
};

static const WireOption logs_options[] = {
        { "follow", "b", FIELD(follow) },
        { "timestamps", "b", FIELD(timestamps) },
        { "since_usec", "t", FIELD(since_usec) },
        { "until_usec", "t", FIELD(until_usec) },
};

/* What comes out of a session is nobody's to format, and a descriptor goes to no other machine. */
static int check_place(const Context *c, const char *verb, char *const *words) {
        const Arguments *a = c->args;

        if (a->json != JSON_OFF)
                return report(EXIT_USAGE, "The option '--json' means nothing to '%s': what the session writes is passed on as it is.", verb);
        if (a->host)
                return report(EXIT_USAGE, "'%s' does not work through --host, which carries calls only. 'ssh%s %s swarmctl %s %s%s' does the same.",
                              verb, streq(verb, "shell") ? " -t" : "", a->host, verb, words[0], a->command ? " ..." : "");
        return 0;
}

/* The numbers below are the command's. Negative ones are not said yet. */
static int no_command(int r) {
        return r < 0 ? report(EXIT_NO_COMMAND, "swarmctl: %s.", strerror(-r)) : EXIT_NO_COMMAND;
}

/* A closed one would be the number of the next file that is opened here. */
static int open_missing(void) {
        int fd;

        do {
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                if (fd < 0)
                        return -errno;
        } while (fd <= STDERR_FILENO);
        (void) close(fd);
        return 0;
}

static int append_end(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n) {
        int r = append_options(m, a, options, n);
        return r < 0 ? r : sd_bus_message_append(m, "t", UINT64_C(0));
}

/* The environment may hold secrets. */
static int new_call(Context *c, const char *member, sd_bus_message **ret) {
        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, member, ret);
        return r != 0 ? r : sd_bus_message_sensitive(*ret);
}

/* The message's own is closed with it. */
static int take_fd(int fd, int *ret) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        *ret = copy;
        return 0;
}

/* Follows the job to its end: the command's exit status. */
static int wait_for_command(Context *c, const char *job, const char *session) {
        _cleanup_(follow_freep) Follow *follow = NULL;

        context_disconnect(c);          /* nobody has listened to it meanwhile */
        int r = follow_new(c, "done", &follow);
        if (r != 0)
                return no_command(r);
        (void) follow_attend(follow);
        r = follow_add(follow, job, session);
        if (r == 0)
                r = follow_run(follow);
        return r < 0 ? no_command(r) : r;
}

/* As terminfo's names are made; the session may know it or not. */
static bool term_is_sane(const char *term) {
        size_t n = term ? strspn(term, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-._") : 0;
        return n > 0 && n <= TERM_LENGTH_MAX && term[n] == 0;
}

/* The terminal's name first, so that --env= has the last word. */
static int shell_environment(const Arguments *a, Strv *ret) {
        _cleanup_strv_ Strv env = NULL;
        const char *term = getenv("TERM");

        if (term_is_sane(term) && (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))) {
                char *entry = strformat("TERM=%s", term);
                int r = entry ? strv_consume(&env, entry) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        STRV_FOREACH(e, a->env)
                if (strv_extend(&env, *e) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(env);
        return 0;
}

static int open_shell(Context *c, const char *session, int *ret_pty, char **ret_job) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_strv_ Strv env = NULL;
        Arguments a = *c->args;                 /* borrows its strings */
        const char *job;
        int pty;

        int r = shell_environment(&a, &env);
        if (r < 0)
                return r;
        a.env = env;
        r = new_call(c, "OpenSessionShell", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", session);
        if (r >= 0)
                r = append_end(m, &a, shell_options, ELEMENTSOF(shell_options));
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "ho", &pty, &job);
        if (r >= 0)
                r = free_and_strdup(ret_job, job);
        return r < 0 ? r : take_fd(pty, ret_pty);
}

/* Remarks are for who sits there. */
static bool is_attended(const Context *c) {
        return !c->args->quiet && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int end_shell(Context *c, int how, int signo, const char *session, const char *job) {
        if (how < 0)
                return report(EXIT_NO_COMMAND, "The output cannot be written: %s.", strerror(-how));
        if (how == FORWARD_INTERRUPTED)
                return EXIT_SIGNAL + signo;
        if (how == FORWARD_UNREAD)
                return EXIT_SIGNAL + SIGPIPE;
        if (how == FORWARD_ESCAPED && is_attended(c))
                (void) fputc('\n', stderr);     /* what is left stands where it stood */
        if (is_attended(c))
                (void) report(0, "The connection to session %s is closed.", session);
        return how == FORWARD_ESCAPED ? 0 : wait_for_command(c, job, session);
}

int verb_shell(Context *c, char *const *words) {
        _cleanup_free_ char *job = NULL;
        int pty = -1, signo = 0;

        int r = check_place(c, "shell", words);
        if (r != 0)
                return r;
        r = open_missing();
        if (r < 0)
                return no_command(r);
        polkit_agent_open(c);
        r = open_shell(c, words[0], &pty, &job);
        polkit_agent_close(c);                  /* the terminal is the session's from now on */
        if (r != 0)
                return no_command(r);
        if (is_attended(c))
                (void) report(0, "Connected to session %s. Press ^] three times within a second to leave it.", words[0]);
        r = forward_pty(pty, &signo);
        (void) close(pty);                      /* hangs up, if it is not over */
        return end_shell(c, r, signo, words[0], job);
}

static int start_command(Context *c, const char *session, const int fds[static 3], char **ret_job) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *job;

        int r = new_call(c, "ExecuteInSession", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", session);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, c->args->command);
        if (r >= 0)
                r = sd_bus_message_append(m, "hhh", fds[0], fds[1], fds[2]);
        if (r >= 0)
                r = append_end(m, c->args, exec_options, ELEMENTSOF(exec_options));
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &job);
        return r < 0 ? r : free_and_strdup(ret_job, job);
}

/* Its ends of the descriptors are closed when this returns. */
static int begin_command(Context *c, const char *session, Follow *follow, Pump **ret_pump, Outlet *ret_outlets[static 2]) {
        _cleanup_close_ int input = -1, output = -1, errors = -1;
        sd_event *event = follow_attend(follow);
        _cleanup_free_ char *job = NULL;

        int r = pump_new(event, STDIN_FILENO, ret_pump, &input);
        if (r >= 0)
                r = outlet_new(event, STDOUT_FILENO, &ret_outlets[0], &output);
        if (r >= 0)
                r = outlet_new(event, STDERR_FILENO, &ret_outlets[1], &errors);
        if (r >= 0)
                r = start_command(c, session, (const int[]) { input, output, errors }, &job);
        return r != 0 ? r : follow_add(follow, job, session);
}

static int run_command(Context *c, const char *session, Follow *follow) {
        _cleanup_(pump_freep) Pump *pump = NULL;
        Outlet *outlets[2] = {};

        int r = begin_command(c, session, follow, &pump, outlets);
        if (r == 0)
                r = follow_run(follow);
        else
                r = no_command(r);
        for (size_t i = 0; i < ELEMENTSOF(outlets); i++) {
                outlet_finish(outlets[i]);
                outlet_free(outlets[i]);
        }
        return r < 0 ? no_command(r) : r;
}

int verb_exec(Context *c, char *const *words) {
        _cleanup_(follow_freep) Follow *follow = NULL;

        if (!c->args->command)
                return report(EXIT_USAGE, "'exec' needs a command: write 'swarmctl exec %s COMMAND...', or 'swarmctl shell %s' for a shell.", words[0], words[0]);
        int r = check_place(c, "exec", words);
        if (r != 0)
                return r;
        r = open_missing();
        if (r < 0)
                return no_command(r);
        polkit_agent_open(c);
        r = follow_new(c, "done", &follow);
        return r != 0 ? no_command(r) : run_command(c, words[0], follow);
}

static int append_logs_options(sd_bus_message *m, const Arguments *a) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_members(m, a, logs_options, ELEMENTSOF(logs_options));
        if (r >= 0 && a->lines != UINT64_MAX)
                r = sd_bus_message_append(m, "{sv}", "lines", "t", a->lines);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_append(m, "t", UINT64_C(0));
}

static int open_logs(Context *c, const char *session, int *ret_output) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int fd;

        int r = new_call(c, "OpenSessionLogs", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", session);
        if (r >= 0)
                r = append_logs_options(m, c->args);
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "h", &fd);
        return r < 0 ? r : take_fd(fd, ret_output);
}

int verb_logs(Context *c, char *const *words) {
        _cleanup_close_ int output = -1;
        int signo = 0;

        int r = check_place(c, "logs", words);
        if (r == 0)
                r = open_missing();
        if (r != 0)
                return r;
        polkit_agent_open(c);
        r = open_logs(c, words[0], &output);
        polkit_agent_close(c);
        if (r != 0)
                return r;
        r = forward_output(output, &signo);
        if (r < 0)
                return report(EXIT_FAILURE, "The output cannot be written: %s.", strerror(-r));
        /* Ctrl-C is how one ends what has no end. */
        return r != FORWARD_INTERRUPTED || (signo == SIGINT && c->args->follow) ? 0 : EXIT_SIGNAL + signo;
}
