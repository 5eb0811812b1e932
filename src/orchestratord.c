/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swarm-orchestratord: wires everything together and runs the loop. */

#include <getopt.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "backends.h"
#include "basic/log.h"
#include "front/front.h"
#include "provider/agent.h"
#include "swarm-orchestrator.h"

#define IDENTIFIER "swarm-orchestratord"
#define STOP_TIMEOUT_USEC (25 * USEC_PER_SEC)

typedef struct Service {
        const char *config_dirs[4];             /* from weakest to strongest, NULL-terminated */
        const char *credentials_dir;
        BackendsOptions backends_options;       /* with the directories */
        sd_event *event;
        Backends *backends;
        sd_bus *bus;
        Manager *manager;
        Front *front;
        size_t n_mistakes;                      /* in the configuration and the templates that are in force */
        bool stopping;
} Service;

static void service_done(Service *s) {
        front_free(s->front);
        manager_free(s->manager);
        backends_free(s->backends);
        sd_bus_flush_close_unref(s->bus);
        sd_event_unref(s->event);
}

static const char *from_env(const char *variable, const char *fallback) {
        const char *e = getenv(variable);

        return isempty(e) ? fallback : e;
}

static void service_init(Service *s, const char *config_dir) {
        const char *only = config_dir ?: getenv("SWARM_CONFIG_DIR");

        *s = (Service) {
                .config_dirs = { "/usr/lib/swarm-orchestrator", "/run/swarm-orchestrator", SWARM_CONFIG_DIR },
                .credentials_dir = getenv("CREDENTIALS_DIRECTORY"),
                .backends_options = {
                        .state_dir = from_env("STATE_DIRECTORY", SWARM_STATE_DIR),
                        .runtime_dir = from_env("RUNTIME_DIRECTORY", SWARM_RUNTIME_DIR),
                        .layer_path = from_env("SWARM_LAYER_PATH", SWARM_LIBEXEC_DIR "/swarm-layer"),
                        .stream_path = from_env("SWARM_STREAM_PATH", SWARM_LIBEXEC_DIR "/swarm-stream"),
                },
        };
        if (!isempty(only)) {
                s->config_dirs[0] = only;
                s->config_dirs[1] = NULL;
        }
}

/* Everything is given up but what `swarm-layer` needs, signals to containers' processes and the thaw that the Engine cannot do, and that is
 * held without being in force: the worker raises it between fork and exec, agent-others.c for the moment of a signal or a thaw. */
static int drop_privileges(void) {
        static const cap_value_t kept[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_LEASE, CAP_KILL, CAP_DAC_OVERRIDE };
        cap_t now = cap_get_proc(), then = cap_init();
        int r = 0;

        if (!now || !then)
                r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(kept); i++) {
                cap_flag_value_t has = CAP_CLEAR;

                (void) cap_get_flag(now, kept[i], CAP_PERMITTED, &has);
                if (has == CAP_SET && cap_set_flag(then, CAP_PERMITTED, 1, &kept[i], CAP_SET) < 0)
                        r = -errno;
        }
        if (r >= 0 && (cap_reset_ambient() < 0 || cap_set_proc(then) < 0))
                r = -errno;
        if (r >= 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = -errno;
        (void) cap_free(now);
        (void) cap_free(then);
        return r;
}

static int make_directory(const char *path) {
        return mkdir(path, 0750) < 0 && errno != EEXIST ? log_error_errno(errno, "Cannot create %s: %m", path) : 0;
}

static int load_templates(const Config *c, TemplateTable **ret, Strv *ret_warnings) {
        _cleanup_strv_ Strv errors = NULL;
        _cleanup_free_ char *dir = strformat("%s/templates.d", c->config_dir);
        int r;

        if (!dir)
                return -ENOMEM;
        r = template_table_load(dir, ret, &errors);
        STRV_FOREACH(e, errors)
                if (r >= 0 && ret_warnings)
                        r = strv_extend(ret_warnings, *e);
        return r;
}

/* `systemctl reload` has no answer; `systemctl status` shows this. */
static void notify_ready(const Service *s) {
        if (s->n_mistakes == 0)
                (void) sd_notify(false, "READY=1\nSTATUS=Ready.");
        else
                (void) sd_notifyf(false, "READY=1\nSTATUS=Ready. Mistakes in the configuration and the templates: %zu; the journal has them.", s->n_mistakes);
}

static int on_reload(void *userdata, Strv *ret_warnings) {
        _cleanup_strv_ Strv own = NULL;
        Strv *warnings = ret_warnings ?: &own;
        Service *s = userdata;
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_(template_table_freep) TemplateTable *t = NULL;
        struct timespec now;
        int r;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        (void) sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                          (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / NSEC_PER_USEC);
        r = config_load(s->config_dirs, s->credentials_dir, &c, warnings);
        if (r >= 0)
                r = load_templates(c, &t, warnings);
        if (r >= 0)
                r = backends_reload(s->backends, c);
        if (r >= 0)
                r = config_keep_fixed(c, s->manager->config, warnings);
        if (r >= 0) {
                manager_reload(s->manager, TAKE_PTR(c), TAKE_PTR(t));
                front_reload_config(s->front);
                log_event(LOG_NOTICE, MESSAGE_CONFIG_RELOADED, NULL, "The configuration was read again.");
        } else
                log_error_errno(r, "Cannot read the configuration again, the old one stays: %m");
        s->n_mistakes = strv_length(*warnings);
        notify_ready(s);
        return r;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        (void) on_reload(userdata, NULL);
        return 0;
}

static void on_quiet(void *userdata) {
        Service *s = userdata;

        (void) sd_event_exit(s->event, EXIT_SUCCESS);
}

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Service *s = userdata;

        if (s->stopping)
                return sd_event_exit(s->event, EXIT_SUCCESS);
        s->stopping = true;
        (void) sd_notify(false, "STOPPING=1\nSTATUS=Undoing what is under way.");
        manager_stop(s->manager, STOP_TIMEOUT_USEC, on_quiet, s);
        return 0;
}

/* A reply to RequestName, as of the D-Bus specification: 1 is "primary owner", 3 "exists". */
static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Service *s = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        uint32_t answer = 0;

        if (e || sd_bus_message_read_basic(m, 'u', &answer) < 0 || answer != 1) {
                if (answer == 3)
                        log_error("Another process owns the bus name " SWARM_BUS_NAME " already.");
                else
                        log_error("Cannot own the bus name " SWARM_BUS_NAME ": %s", e ? e->message : "the answer of the bus is not understood");
                return sd_event_exit(s->event, EXIT_FAILURE);
        }
        log_event(LOG_NOTICE, MESSAGE_SERVICE_STARTED, NULL, "The orchestrator " PROJECT_VERSION " is ready.");
        notify_ready(s);
        return 1;
}

/* Restart= brings the service back with the bus. */
static int on_bus_lost(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Service *s = userdata;

        log_error("The connection to the bus is lost.");
        return sd_event_exit(s->event, EXIT_FAILURE);
}

static int connect_bus(Service *s) {
        int r;

        r = sd_bus_open_system_with_description(&s->bus, IDENTIFIER);
        if (r < 0)
                return log_error_errno(r, "Cannot connect to the system bus: %m");
        r = sd_bus_match_signal_async(s->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                      "org.freedesktop.DBus.Local", "Disconnected", on_bus_lost, NULL, s);
        if (r >= 0)
                r = sd_bus_attach_event(s->bus, s->event, SD_EVENT_PRIORITY_NORMAL);
        return r < 0 ? log_error_errno(r, "Cannot use the system bus: %m") : 0;
}

/* What to do about a state file that cannot be used. It is never touched by itself. */
static const char *state_remedy(int r) {
        switch (r) {
        case -EBADMSG:
                return "It is damaged. Move it and the -wal file beside it away and start again: what the Swarm knows of the sessions is read from there";
        case -EUCLEAN:
                return "Nothing was changed. Start the version that has written this row, or put back a copy of the file from before. If there is neither, "
                       "stop the service, keep a copy of the file, and delete that row alone, with sqlite3: what the Swarm knows of a session is then read from there";
        case -EPROTO:
                return "A newer version has written it. Install that one, or go back to a copy from before";
        case -EBUSY:
                return "Another process has it open: only one orchestrator can use it";
        case -ENOSPC:
                return "Make room on that disk";
        default:
                return "Check that directory and its disk";
        }
}

static int create_manager(Service *s) {
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_(template_table_freep) TemplateTable *t = NULL;
        _cleanup_(store_closep) Store *store = NULL;
        _cleanup_strv_ Strv warnings = NULL;
        _cleanup_free_ char *path = strformat("%s/orchestrator.sqlite", s->backends_options.state_dir);
        int r;

        if (!path)
                return log_oom();
        r = config_load(s->config_dirs, s->credentials_dir, &c, &warnings);
        if (r >= 0)
                r = load_templates(c, &t, &warnings);
        if (r < 0)
                return log_error_errno(r, "Cannot read the configuration: %m");
        s->n_mistakes = strv_length(warnings);
        r = store_open(path, &store);
        if (r < 0)
                return log_error_errno(r, "Cannot open the state in %s: %m. %s.", path, state_remedy(r));
        r = manager_new(s->event, c, t, store, &s->manager);
        if (r < 0)
                return log_error_errno(r, "Cannot load the state of %s: %s. %s.", path,
                                       r == -EUCLEAN ? "the row named above cannot be used" : strerror(-r), state_remedy(r));
        TAKE_PTR(c);
        TAKE_PTR(t);
        TAKE_PTR(store);
        return backends_add_providers(s->backends, s->manager);
}

static int create_event(Service *s) {
        static const struct {
                int signo;
                sd_event_signal_handler_t handler;
        } signals[] = {
                { SIGTERM, on_terminate },
                { SIGINT, on_terminate },
                { SIGHUP, on_hangup },
        };
        sigset_t mask;
        int r;

        /* Both come as errors of the call instead. */
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN);
        (void) sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaddset(&mask, signals[i].signo);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = sd_event_default(&s->event);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(signals); i++)
                r = sd_event_add_signal(s->event, NULL, signals[i].signo, signals[i].handler, s);
        if (r >= 0)
                r = sd_event_set_watchdog(s->event, true);
        return r < 0 ? log_error_errno(r, "Cannot set up the event loop: %m") : 0;
}

static int run(Service *s) {
        FrontHooks hooks = { .reload = on_reload, .userdata = s };
        int r;

        (void) umask(0027);
        r = drop_privileges();
        if (r < 0)
                return log_error_errno(r, "Cannot give up privileges: %m");
        r = make_directory(s->backends_options.state_dir);
        if (r >= 0)
                r = make_directory(s->backends_options.runtime_dir);
        if (r >= 0)
                r = create_event(s);
        if (r < 0)
                return r;
        r = backends_new(s->event, &s->backends_options, &s->backends);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the HTTP client: %m");
        r = connect_bus(s);
        if (r >= 0)
                r = create_manager(s);
        if (r < 0)
                return r;
        r = front_new(s->bus, s->manager, &hooks, &s->front);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the bus objects: %m");
        r = manager_start(s->manager);
        if (r < 0)
                return log_error_errno(r, "Cannot start the providers: %m");
        r = sd_bus_request_name_async(s->bus, NULL, SWARM_BUS_NAME, 0, on_name, s);
        if (r < 0)
                return log_error_errno(r, "Cannot ask for the bus name: %m");
        r = sd_event_loop(s->event);
        log_event(LOG_NOTICE, MESSAGE_SERVICE_STOPPED, NULL, "The orchestrator has stopped.");
        return r;
}

/* After the service has ended, in whatever way: what it froze runs again. */
static int thaw(Service *s) {
        _cleanup_(config_freep) Config *c = NULL;
        int r;

        r = config_load(s->config_dirs, NULL, &c, NULL);
        if (r < 0)
                return log_error_errno(r, "Cannot read the configuration: %m");
        r = agent_thaw_all(c->engine_socket, s->backends_options.runtime_dir, AGENT_THAW_ALL_USEC);
        return r < 0 ? log_error_errno(r, "Not every container that was frozen could be thawed: %m") : 0;
}

static int help(void) {
        puts("swarm-orchestratord [OPTIONS…]\n\n"
             "Runs sessions on Docker Swarm for those who ask on the system bus.\n\n"
             "  -h --help             Show this help\n"
             "     --version          Show the version\n"
             "     --config-dir=DIR   Read configuration and templates from DIR alone\n"
             "     --thaw             Thaw what an earlier run has left frozen, and exit");
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_CONFIG_DIR, ARG_THAW };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "config-dir", required_argument, NULL, ARG_CONFIG_DIR },
                { "thaw", no_argument, NULL, ARG_THAW },
                {},
        };
        const char *config_dir = NULL;
        bool only_thaw = false;
        Service service;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts(IDENTIFIER " " PROJECT_VERSION);
                        return EXIT_SUCCESS;
                case ARG_CONFIG_DIR:
                        config_dir = optarg;
                        break;
                case ARG_THAW:
                        only_thaw = true;
                        break;
                default:
                        return EXIT_FAILURE;
                }
        if (optind < argc) {
                fprintf(stderr, IDENTIFIER ": \"%s\" is not understood; there are only options.\n", argv[optind]);
                return EXIT_FAILURE;
        }

        log_open(IDENTIFIER);
        service_init(&service, config_dir);
        r = only_thaw ? thaw(&service) : run(&service);
        service_done(&service);
        return r < 0 ? EXIT_FAILURE : r;
}
