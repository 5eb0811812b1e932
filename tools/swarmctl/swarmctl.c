/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The orchestrator's client: one table of verbs, each a call, or a few, that busctl can do as well (docs/busctl.md). */

#include <locale.h>

#include "output.h"
#include "swarmctl.h"

#define WORDS_ANY SIZE_MAX

typedef struct Verb {
        const char *section;            /* heading of the help, where a new one begins */
        const char *name, *metavars;
        size_t words_min, words_max;
        uint32_t groups;
        verb_cb run;
        const char *help;
} Verb;

static const Verb verbs[] = {
        { "Sessions", "list", "", 0, 0, OPTIONS_LIST, verb_list, "List sessions (the default)" },
        { NULL, "status", "[SESSION...]", 0, WORDS_ANY, 0, verb_status, "Show sessions, or all at a glance" },
        { NULL, "show", "SESSION...", 1, WORDS_ANY, OPTIONS_SHOW, verb_show, "Print properties for programs" },
        { NULL, "describe", "SESSION...", 1, WORDS_ANY, 0, verb_describe, "Show everything, also private" },
        { NULL, "watch", "[SESSION...]", 0, WORDS_ANY, OPTIONS_WATCH, verb_watch, "Print changes of state as they come" },
        { NULL, "create", "[NAME] [-- COMMAND...]", 0, 1, OPTIONS_CREATE | OPTIONS_JOB | OPTIONS_COMMAND, verb_create,
          "Create and start a session" },
        { NULL, "start", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB, verb_start, "Run sessions that are at rest" },
        { NULL, "stop", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_SAVE | OPTIONS_DISCARD, verb_stop,
          "End the process, save the files" },
        { NULL, "restart", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_SAVE | OPTIONS_DISCARD, verb_restart, "Stop, then start" },
        { NULL, "hibernate", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_SAVE, verb_hibernate, "Save the files, free the node" },
        { NULL, "restore", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_RESTORE, verb_restore, "Run again, from a generation" },
        { NULL, "destroy", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_DESTROY, verb_destroy, "End sessions for good" },
        { NULL, "touch", "SESSION...", 1, WORDS_ANY, OPTIONS_TOUCH, verb_touch, "Count as used now" },
        { NULL, "kill", "SESSION...", 1, WORDS_ANY, OPTIONS_KILL, verb_kill, "Send a signal to the main process" },
        { "Inside", "shell", "SESSION [COMMAND...]", 1, 1, OPTIONS_EXECUTE, verb_shell, "Open a shell, with a terminal" },
        { NULL, "exec", "SESSION COMMAND...", 1, 1, OPTIONS_EXECUTE, verb_exec, "Run a command, as it is" },
        { NULL, "logs", "SESSION", 1, 1, OPTIONS_LOGS, verb_logs, "Print what the main process wrote" },
        { "Generations", "snapshot", "SESSION...", 1, WORDS_ANY, OPTIONS_JOB | OPTIONS_SAVE, verb_snapshot, "Save the files while it runs on" },
        { NULL, "snapshots", "SESSION...", 1, WORDS_ANY, 0, verb_snapshots, "List saved generations" },
        { NULL, "delete-snapshot", "SESSION GENERATION", 2, 2, OPTIONS_JOB, verb_delete_snapshot, "Delete one generation" },
        { "Jobs", "jobs", "[JOB...]", 0, WORDS_ANY, OPTIONS_JOBS, verb_jobs, "List jobs under way, or show some" },
        { NULL, "wait", "JOB...", 1, WORDS_ANY, OPTIONS_WAIT, verb_wait, "Follow jobs to their end" },
        { NULL, "cancel", "JOB...", 1, WORDS_ANY, OPTIONS_JOB, verb_cancel, "Cancel jobs, undo what they did" },
        { "Service", "templates", "[TEMPLATE...]", 0, WORDS_ANY, 0, verb_templates, "List templates, or show some" },
        { NULL, "nodes", "", 0, 0, OPTIONS_NODES, verb_nodes, "List nodes" },
        { NULL, "providers", "", 0, 0, 0, verb_providers, "List providers and how they are" },
        { NULL, "reload", "", 0, 0, 0, verb_reload, "Read configuration and templates again" },
        { NULL, "log-level", "[LEVEL]", 0, 1, 0, verb_log_level, "Show or set how much the service logs" },
};

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return verbs + i;
        return NULL;
}

static uint32_t groups_of_verb(const char *name) {
        const Verb *verb = find_verb(name);
        return verb ? verb->groups : 0;
}

static int help(const Verb *verb) {
        if (verb) {
                printf("swarmctl %s [OPTIONS...]%s%s\n\n%s.\n", verb->name, *verb->metavars ? " " : "", verb->metavars, verb->help);
                if (verb->groups)
                        printf("\nOptions:\n");
                arguments_print_help(stdout, verb->groups);
        } else {
                printf("swarmctl [OPTIONS...] VERB ...\n\nCreate, hibernate, restore and look at the orchestrator's sessions.\n");
                for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                        if (verbs[i].section)
                                printf("\n%s:\n", verbs[i].section);
                        printf("  %-15s %-23s %s\n", verbs[i].name, verbs[i].metavars, verbs[i].help);
                }
        }
        printf("\nOptions of every verb:\n");
        arguments_print_help(stdout, OPTIONS_COMMON);
        printf(verb ? "\nSee swarmctl(1).\n" : "\n'swarmctl VERB --help' lists the options of a verb. See swarmctl(1).\n");
        return 0;
}

static int check_words(const Verb *verb, size_t n) {
        if (n < verb->words_min || n > verb->words_max)
                return report(EXIT_USAGE, "'%s' takes %s arguments. Usage: swarmctl %s [OPTIONS...]%s%s", verb->name,
                              n < verb->words_min ? "more" : "fewer", verb->name, *verb->metavars ? " " : "", verb->metavars);
        return 0;
}

static int run_verb(const Verb *verb, const Arguments *a, char *const *words) {
        _cleanup_free_ char *complaint = NULL;
        Context context = { .args = a };

        int r = check_words(verb, strv_length(words));
        if (r != 0)
                return r;
        r = arguments_check(a, verb->name, verb->groups, &complaint);
        if (r == -EINVAL)
                return report(EXIT_USAGE, "%s", complaint);
        if (r == 0)
                r = verb->run(&context, words && *words ? words : NULL);
        pager_close();
        context_done(&context);
        return r;
}

static int run(Arguments *a, int argc, char *argv[]) {
        _cleanup_free_ char *complaint = NULL;

        int r = arguments_parse(a, groups_of_verb, argc, argv, &complaint);
        if (r == -EINVAL)
                return report(EXIT_USAGE, "%s", strempty(complaint));
        if (r < 0)
                return r;
        if (a->version) {
                printf("swarmctl " PROJECT_VERSION "\n");
                return 0;
        }
        const char *name = a->words ? a->words[0] : a->help ? "help" : "list";
        bool wants_help = a->help || streq(name, "help");
        if (streq(name, "help"))
                name = a->words ? a->words[1] : NULL;
        if (!name)
                return help(NULL);
        const Verb *verb = find_verb(name);
        if (!verb)
                return report(EXIT_USAGE, "There is no verb '%s'. 'swarmctl --help' lists all.", name);
        return wants_help ? help(verb) : run_verb(verb, a, a->words ? a->words + 1 : NULL);
}

int main(int argc, char *argv[]) {
        Arguments a = ARGUMENTS_INIT;

        (void) setlocale(LC_ALL, "");
        /* A number has a point everywhere: it may go into a script. */
        (void) setlocale(LC_NUMERIC, "C");
        int r = run(&a, argc, argv);
        arguments_done(&a);
        if (r < 0)
                r = report(EXIT_FAILURE, "swarmctl: %s.", strerror(-r));
        int error = output_flush();
        if (error == 0 || error == EPIPE)
                return r;
        (void) report(0, "The output cannot be written: %s.", strerror(error));
        return r != 0 ? r : EXIT_FAILURE;
}
