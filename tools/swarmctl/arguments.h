/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line of swarmctl: one table of options, each with the verbs it belongs to, a parser and a field. */

#include "basic/macro.h"
#include "basic/string-util.h"

typedef enum JsonMode {
        JSON_OFF,
        JSON_SHORT,             /* one line */
        JSON_PRETTY,
} JsonMode;

/* Which options a verb takes; an option that belongs to none of a verb's groups is refused rather than ignored. */
typedef enum OptionGroup {
        OPTIONS_COMMON = 1 << 0,
        OPTIONS_JOB = 1 << 1,           /* the verb starts a job */
        OPTIONS_LIST = 1 << 2,
        OPTIONS_CREATE = 1 << 3,
        OPTIONS_SAVE = 1 << 4,          /* the verb saves files */
        OPTIONS_DISCARD = 1 << 5,
        OPTIONS_RESTORE = 1 << 6,
        OPTIONS_DESTROY = 1 << 7,
        OPTIONS_TOUCH = 1 << 8,
        OPTIONS_KILL = 1 << 9,
        OPTIONS_WATCH = 1 << 10,
        OPTIONS_SHOW = 1 << 11,
        OPTIONS_JOBS = 1 << 12,
        OPTIONS_NODES = 1 << 13,
        OPTIONS_WAIT = 1 << 14,
        OPTIONS_COMMAND = 1 << 15,      /* no option: takes a command behind "--" */
        OPTIONS_EXECUTE = 1 << 16,      /* takes a session and a command, before which its options end */
        OPTIONS_LOGS = 1 << 17,
} OptionGroup;

typedef struct Arguments {
        Strv words;                     /* what is no option: the verb, then its arguments */
        Strv command;                   /* what stands behind "--"; NULL if nothing does */

        char *host;
        bool help, version;
        bool pager, legend, ask_password, block, quiet, yes, full;
        JsonMode json;

        bool all, ended;
        char *state, *type, *session;
        Strv fields;
        uint64_t limit;                 /* 0 = not said */

        char *template_name, *image, *provider, *node, *organization, *from;
        Strv env, labels;
        double cpus;                    /* 0 = not said */
        uint64_t memory_bytes, memory_reservation_bytes;
        usec_t idle_timeout_usec, extend_usec, timeout_usec;    /* 0 = not said */
        uid_t owner;                    /* UID_UNSET = not said */
        uint64_t generation;
        bool lossy, discard, keep_snapshots;
        int signal;
        char *until;

        char *user, *working_directory;
        bool follow, timestamps;
        uint64_t lines;                 /* UINT64_MAX = all */
        usec_t since_usec, until_usec;  /* 0 = not said */

        uint64_t given;                 /* bit i: entry i of the table of options was used */
} Arguments;

#define ARGUMENTS_INIT { .pager = true, .legend = true, .ask_password = true, .block = true, \
                         .owner = (uid_t) -1, .signal = 15, .lines = UINT64_MAX }

void arguments_done(Arguments *a);

/* The groups of a verb; 0 if there is none of that name. */
typedef uint32_t (*groups_cb)(const char *verb);
/* 0, -ENOMEM, or -EINVAL with a sentence in *ret_error. */
int arguments_parse(Arguments *a, groups_cb groups_of, int argc, char *argv[], char **ret_error);
/* Were only options of these groups used? 0 or -EINVAL with a sentence. */
int arguments_check(const Arguments *a, const char *verb, uint32_t groups, char **ret_error);
/* The options of these groups, one per line. */
void arguments_print_help(FILE *f, uint32_t groups);

/* Exposed for the tests. */
int parse_signal(const char *s, int *ret);
int parse_cpus(const char *s, double *ret);
/* Lines "K=V"; empty lines and those that begin with # are skipped. */
int read_env_file(const char *path, Strv *env, char **ret_error);
