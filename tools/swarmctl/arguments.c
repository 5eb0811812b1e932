/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <math.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>

#include "arguments.h"
#include "format.h"
#include "timestamp.h"

#define ENV_FILE_MAX (1 * MIB)

typedef struct Option Option;
/* `value` is NULL for an option without one. 0, -ENOMEM, or -EINVAL; *ret_error may then say more than the default. */
typedef int (*option_cb)(Arguments *a, void *field, const char *value, char **ret_error);

struct Option {
        const char *name;
        char letter;                    /* 0 = none */
        const char *metavar;            /* NULL: takes no value; "[…]": may take one */
        uint32_t groups;
        option_cb parse;
        size_t offset;
        const char *help;
        bool takes_path;                /* the value goes to no bus, and may be no UTF-8 */
};

static int fail(char **ret_error, const char *format, ...) _printf_(2, 3);

static int fail(char **ret_error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        free(*ret_error);
        if (vasprintf(ret_error, format, ap) < 0)
                *ret_error = NULL;
        va_end(ap);
        return *ret_error ? -EINVAL : -ENOMEM;
}

static int parse_owner(const char *s, uid_t *ret) {
        uint64_t uid;

        if (parse_u64(s, &uid) >= 0) {
                if (uid >= UINT32_MAX)
                        return -ERANGE;
                *ret = (uid_t) uid;
                return 0;
        }
        const struct passwd *pw = getpwnam(s);
        if (!pw)
                return -EINVAL;
        *ret = pw->pw_uid;
        return 0;
}

/* As kill(1) and docker take names: in small letters too. */
static const char *skip_word(const char *s, const char *word) {
        size_t n = strlen(word);
        return strncasecmp(s, word, n) == 0 ? s + n : NULL;
}

/* "RTMIN", "RTMIN+3", "RTMAX-1", as kill(1) lists them. */
static int parse_realtime_signal(const char *s, int *ret) {
        const char *above = skip_word(s, "RTMIN"), *rest = above ? above : skip_word(s, "RTMAX");
        uint64_t n = 0;

        if (!rest || (*rest && (*rest != (above ? '+' : '-') || parse_u64(rest + 1, &n) < 0)))
                return -EINVAL;
        if (n > (uint64_t) (SIGRTMAX - SIGRTMIN))
                return -ERANGE;
        *ret = above ? SIGRTMIN + (int) n : SIGRTMAX - (int) n;
        return 0;
}

int parse_signal(const char *s, int *ret) {
        uint64_t number;

        if (parse_u64(s, &number) >= 0) {
                if (number < 1 || number >= NSIG)
                        return -ERANGE;
                *ret = (int) number;
                return 0;
        }
        const char *name = skip_word(s, "SIG");
        for (int i = 1; i < NSIG; i++)
                if (sigabbrev_np(i) && strcasecmp(sigabbrev_np(i), name ? name : s) == 0) {
                        *ret = i;
                        return 0;
                }
        return parse_realtime_signal(name ? name : s, ret);
}

int parse_cpus(const char *s, double *ret) {
        char *end;

        if (isempty(s) || strspn(s, "0123456789.") != strlen(s))
                return -EINVAL;
        double v = strtod(s, &end);
        if (*end || !isfinite(v) || v <= 0)
                return -EINVAL;
        *ret = v;
        return 0;
}

static int option_yes(Arguments *a, void *field, const char *value, char **ret_error) {
        *(bool *) field = true;
        return 0;
}

static int option_no(Arguments *a, void *field, const char *value, char **ret_error) {
        *(bool *) field = false;
        return 0;
}

static int option_string(Arguments *a, void *field, const char *value, char **ret_error) {
        return *value ? free_and_strdup(field, value) : -EINVAL;
}

/* "a,b,c", and again for more. */
static int option_list(Arguments *a, void *field, const char *value, char **ret_error) {
        while (*value) {
                size_t n = strcspn(value, ",");
                char *word = n > 0 ? strndup(value, n) : NULL;
                if (n > 0 && !word)
                        return -ENOMEM;
                int r = n > 0 ? strv_consume(field, word) : -EINVAL;
                if (r < 0)
                        return r;
                value += n + (value[n] == ',');
        }
        return *(Strv *) field ? 0 : -EINVAL;
}

static int option_number(Arguments *a, void *field, const char *value, char **ret_error) {
        uint64_t v;
        int r = parse_u64(value, &v);
        if (r < 0 || v == 0)
                return fail(ret_error, "'%s' is not a number: write a whole number from 1 on.", value);
        *(uint64_t *) field = v;
        return 0;
}

static int option_size(Arguments *a, void *field, const char *value, char **ret_error) {
        uint64_t v;
        int r = parse_size(value, &v);
        if (r < 0 || v == 0)
                return fail(ret_error, "'%s' is not a size: write bytes, or a number with K, M or G, as in 512M.", value);
        *(uint64_t *) field = v;
        return 0;
}

static int option_time(Arguments *a, void *field, const char *value, char **ret_error) {
        usec_t v;
        int r = parse_usec(value, &v);
        if (r < 0 || v == 0)
                return fail(ret_error, "'%s' is not a time span: write seconds, or as in 30s, 90min, 2h or infinity.", value);
        *(usec_t *) field = v;
        return 0;
}

static int option_timestamp(Arguments *a, void *field, const char *value, char **ret_error) {
        usec_t v;
        int r = parse_timestamp(value, format_now(), &v);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return fail(ret_error, "'%s' is not a time: write as in '2026-11-23 10:00', 10:00, yesterday, -1h, '1h ago' or @SECONDS.", value);
        *(usec_t *) field = MAX(v, (usec_t) 1);         /* 0 is none */
        return 0;
}

static int option_lines(Arguments *a, void *field, const char *value, char **ret_error) {
        uint64_t v = UINT64_MAX;
        if (!streq(value, "all") && parse_u64(value, &v) < 0)
                return fail(ret_error, "'%s' is not a number of lines: write a whole number, or all.", value);
        *(uint64_t *) field = v;
        return 0;
}

static int option_cpus(Arguments *a, void *field, const char *value, char **ret_error) {
        if (parse_cpus(value, field) < 0)
                return fail(ret_error, "'%s' is not a number of cpus: write as in 2 or 0.5.", value);
        return 0;
}

static int option_owner(Arguments *a, void *field, const char *value, char **ret_error) {
        if (parse_owner(value, field) < 0)
                return fail(ret_error, "There is no user '%s' on this machine; a number works for users of another one.", value);
        return 0;
}

static int option_signal(Arguments *a, void *field, const char *value, char **ret_error) {
        if (parse_signal(value, field) < 0)
                return fail(ret_error, "'%s' is not a signal: write a name as in SIGTERM or TERM, or a number.", value);
        return 0;
}

static int option_json(Arguments *a, void *field, const char *value, char **ret_error) {
        JsonMode *mode = field;

        if (!value)
                *mode = isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT;
        else if (streq(value, "pretty"))
                *mode = JSON_PRETTY;
        else if (streq(value, "short"))
                *mode = JSON_SHORT;
        else if (streq(value, "off"))
                *mode = JSON_OFF;
        else
                return fail(ret_error, "--json= takes pretty, short or off, not '%s'.", value);
        return 0;
}

/* The shell's habit: a name alone takes over the value of the caller's own environment. */
static int option_env(Arguments *a, void *field, const char *value, char **ret_error) {
        const char *own;

        if (isempty(value) || *value == '=')
                return fail(ret_error, "'%s' has no name of a variable: write NAME=VALUE or NAME.", value);
        if (strchr(value, '='))
                return strv_extend(field, value);
        own = getenv(value);
        if (!own)
                return fail(ret_error, "'%s' is not set here; write %s=VALUE to give it one.", value, value);
        if (!utf8_is_valid(own))
                return fail(ret_error, "'%s' is set here to what is not valid UTF-8; encode it, for example in base64.", value);
        char *s = strformat("%s=%s", value, own);
        return s ? strv_consume(field, s) : -ENOMEM;
}

static int option_label(Arguments *a, void *field, const char *value, char **ret_error) {
        if (isempty(value) || *value == '=')
                return fail(ret_error, "'%s' is not a label: write NAME or NAME=VALUE.", value);
        return strv_extend(field, value);
}

/* The line itself stays out of the message: it may be a secret. */
static int take_env_lines(const char *path, char *text, Strv *env, char **ret_error) {
        char *line;

        for (size_t number = 1; (line = strsep(&text, "\n")); number++) {
                line[strcspn(line, "\r")] = 0;
                if (!*line || *line == '#')
                        continue;
                if (*line == '=' || !strchr(line, '='))
                        return fail(ret_error, "%s:%zu: write NAME=VALUE.", path, number);
                if (!utf8_is_valid(line))
                        return fail(ret_error, "%s:%zu: this is not valid UTF-8; encode the value, for example in base64.", path, number);
                int r = strv_extend(env, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

int read_env_file(const char *path, Strv *env, char **ret_error) {
        _cleanup_fclose_ FILE *opened = NULL;
        _cleanup_free_ char *text = malloc(ENV_FILE_MAX + 1);

        FILE *f = streq(path, "-") ? stdin : (opened = fopen(path, "re"));
        if (!f)
                return fail(ret_error, "The file '%s' cannot be read: %s.", path, strerror(errno));
        if (!text)
                return -ENOMEM;
        /* Not line by line: one that has no end would never be known to be too long. */
        size_t n = fread(text, 1, ENV_FILE_MAX + 1, f);
        if (ferror(f))
                return fail(ret_error, "The file '%s' cannot be read: %s.", path, strerror(errno));
        if (n > ENV_FILE_MAX)
                return fail(ret_error, "The file '%s' is larger than 1 MiB.", path);
        if (memchr(text, 0, n))
                return fail(ret_error, "The file '%s' is no text: it has zero bytes.", path);
        text[n] = 0;
        return take_env_lines(path, text, env, ret_error);
}

static int option_env_file(Arguments *a, void *field, const char *value, char **ret_error) {
        return read_env_file(value, field, ret_error);
}

#define FIELD(f) offsetof(Arguments, f)

static const Option options[] = {
        { "help", 'h', NULL, OPTIONS_COMMON, option_yes, FIELD(help), "Show this help, or that of a verb" },
        { "version", 0, NULL, OPTIONS_COMMON, option_yes, FIELD(version), "Show the version" },
        { "host", 'H', "[USER@]HOST", OPTIONS_COMMON, option_string, FIELD(host), "Work on another machine, over ssh" },
        { "no-pager", 0, NULL, OPTIONS_COMMON, option_no, FIELD(pager), "Do not pipe long output into a pager" },
        { "no-legend", 0, NULL, OPTIONS_COMMON, option_no, FIELD(legend), "Leave out headings and the count below" },
        { "no-ask-password", 0, NULL, OPTIONS_COMMON, option_no, FIELD(ask_password), "Do not ask for a password" },
        { "json", 0, "[MODE]", OPTIONS_COMMON, option_json, FIELD(json), "Print JSON: pretty, short or off" },
        { NULL, 'j', NULL, OPTIONS_COMMON, option_json, FIELD(json), "Same as --json" },
        { "quiet", 'q', NULL, OPTIONS_COMMON, option_yes, FIELD(quiet), "Print no progress and no remarks" },
        { "yes", 'y', NULL, OPTIONS_COMMON, option_yes, FIELD(yes), "Do not ask before something is lost" },
        { "full", 'l', NULL, OPTIONS_COMMON, option_yes, FIELD(full), "Show all columns, and none shortened" },
        { "no-block", 0, NULL, OPTIONS_JOB, option_no, FIELD(block), "Do not wait until the work is done" },
        { "all", 'a', NULL, OPTIONS_LIST | OPTIONS_JOBS, option_yes, FIELD(all), "Those that have ended, too" },
        { "ended", 0, NULL, OPTIONS_LIST | OPTIONS_JOBS, option_yes, FIELD(ended), "Only those that have ended, newest first" },
        { "state", 0, "STATE", OPTIONS_LIST | OPTIONS_JOBS | OPTIONS_NODES, option_string, FIELD(state), "Only those in this state" },
        { "type", 0, "TYPE", OPTIONS_JOBS, option_string, FIELD(type), "Only jobs of this verb" },
        { "session", 0, "SESSION", OPTIONS_JOBS, option_string, FIELD(session), "Only jobs of this session" },
        { "fields", 0, "FIELD,...", OPTIONS_LIST | OPTIONS_SHOW, option_list, FIELD(fields), "These properties, in this order" },
        { "limit", 0, "N", OPTIONS_LIST | OPTIONS_JOBS, option_number, FIELD(limit), "At most so many" },
        { "template", 't', "NAME", OPTIONS_CREATE | OPTIONS_LIST, option_string, FIELD(template_name), "Made from this template" },
        { "image", 0, "REFERENCE", OPTIONS_CREATE, option_string, FIELD(image), "Container image, instead of a template's" },
        { "env", 'e', "NAME[=VALUE]", OPTIONS_CREATE | OPTIONS_EXECUTE, option_env, FIELD(env), "Environment variable, or this shell's own" },
        { "env-file", 0, "FILE", OPTIONS_CREATE, option_env_file, FIELD(env), "Environment from a file, - for stdin", .takes_path = true },
        { "label", 0, "NAME[=VALUE]", OPTIONS_CREATE | OPTIONS_LIST, option_label, FIELD(labels), "With this label" },
        { "cpus", 0, "N", OPTIONS_CREATE, option_cpus, FIELD(cpus), "Limit of cpus, as in 2 or 0.5" },
        { "memory", 0, "SIZE", OPTIONS_CREATE, option_size, FIELD(memory_bytes), "Limit of memory, as in 512M" },
        { "memory-reservation", 0, "SIZE", OPTIONS_CREATE, option_size, FIELD(memory_reservation_bytes), "Memory that the node keeps free for it" },
        { "provider", 0, "NAME", OPTIONS_CREATE | OPTIONS_LIST | OPTIONS_NODES, option_string, FIELD(provider), "On this provider" },
        { "node", 0, "NODE", OPTIONS_CREATE | OPTIONS_LIST, option_string, FIELD(node), "On this node" },
        { "organization", 0, "NAME", OPTIONS_CREATE | OPTIONS_LIST, option_string, FIELD(organization), "Of this organization" },
        { "owner", 0, "USER", OPTIONS_CREATE | OPTIONS_LIST | OPTIONS_JOBS, option_owner, FIELD(owner), "Owned by this user" },
        { "from", 0, "SESSION[:N]", OPTIONS_CREATE, option_string, FIELD(from), "With another session's saved files" },
        { "idle-timeout", 0, "TIME", OPTIONS_CREATE, option_time, FIELD(idle_timeout_usec), "Idle timeout to keep with the session" },
        { "lossy", 0, NULL, OPTIONS_SAVE, option_yes, FIELD(lossy), "Leave out file names that a layer cannot hold" },
        { "discard", 0, NULL, OPTIONS_DISCARD, option_yes, FIELD(discard), "Do not save the files: they are lost" },
        { "generation", 0, "N", OPTIONS_RESTORE, option_number, FIELD(generation), "Restore this generation, not the newest" },
        { "keep-snapshots", 0, NULL, OPTIONS_DESTROY, option_yes, FIELD(keep_snapshots), "Leave the saved generations in the registry" },
        { "extend", 0, "TIME", OPTIONS_TOUCH, option_time, FIELD(extend_usec), "Do not hibernate within this time" },
        { "signal", 's', "SIGNAL", OPTIONS_KILL, option_signal, FIELD(signal), "Signal to send (default: SIGTERM)" },
        { "user", 'u', "USER[:GROUP]", OPTIONS_EXECUTE, option_string, FIELD(user), "As this user of the container" },
        { "working-directory", 'w', "DIR", OPTIONS_EXECUTE, option_string, FIELD(working_directory), "In this directory of the container" },
        { "follow", 'f', NULL, OPTIONS_LOGS, option_yes, FIELD(follow), "Go on with what comes, until Ctrl-C" },
        { "lines", 'n', "N", OPTIONS_LOGS, option_lines, FIELD(lines), "The newest so many lines" },
        { "since", 0, "TIME", OPTIONS_LOGS, option_timestamp, FIELD(since_usec), "What is not older than this" },
        { "until", 0, "TIME", OPTIONS_LOGS, option_timestamp, FIELD(until_usec), "What is not newer than this" },
        { "timestamps", 't', NULL, OPTIONS_LOGS, option_yes, FIELD(timestamps), "Begin each line with its time" },
        { "until", 0, "STATE", OPTIONS_WATCH, option_string, FIELD(until), "End when all are in this state" },
        { "timeout", 0, "TIME", OPTIONS_WATCH | OPTIONS_WAIT, option_time, FIELD(timeout_usec), "Wait no longer than this" },
};

static_assert(ELEMENTSOF(options) <= 64, "Arguments.given has a bit for each option");

/* getopt_long() returns these for entries of the table; above every letter. */
#define OPTION_BASE 0x100

static bool option_takes_optional(const Option *o) {
        return o->metavar && *o->metavar == '[' && endswith(o->metavar, "]");
}

static bool has_name(const Option *o, const char *name, char letter) {
        return name ? o->name && streq(o->name, name) : letter != 0 && o->letter == letter;
}

/* A name, or else a letter, may mean one thing to some verbs and another one to others: `groups` are those of the verb. */
static const Option *find_option(const char *name, char letter, uint32_t groups) {
        const Option *found = NULL;

        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *o = options + i;

                if (has_name(o, name, letter) && (!found || (o->groups & groups)))
                        found = o;
        }
        return found;
}

static void build_tables(uint32_t groups, struct option *longs, char *shorts) {
        /* "-": words in the order they come, so that what stands behind "--" can be told apart. ":": own messages. */
        *shorts++ = '-';
        *shorts++ = ':';
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *o = options + i;

                if (o->name && find_option(o->name, 0, groups) == o)
                        *longs++ = (struct option) {
                                .name = o->name,
                                .has_arg = !o->metavar ? no_argument : option_takes_optional(o) ? optional_argument : required_argument,
                                .val = OPTION_BASE + (int) i,
                        };
                if (o->letter && find_option(NULL, o->letter, groups) == o) {
                        *shorts++ = o->letter;
                        if (o->metavar)
                                *shorts++ = ':';
                }
        }
        *longs = (struct option) {};
        *shorts = 0;
}

static const Option *option_of(int c, uint32_t groups) {
        if (c >= OPTION_BASE && c < OPTION_BASE + (int) ELEMENTSOF(options))
                return options + (c - OPTION_BASE);
        return find_option(NULL, (char) c, groups);
}

/* A parser's sentence that begins with the value does not say what that was given for. */
static int name_option(const Option *o, const char *value, char **ret_error) {
        _cleanup_free_ char *sentence = TAKE_PTR(*ret_error);

        if (!sentence)
                return fail(ret_error, "'%s' is not a value for --%s.", strempty(value), strempty(o->name));
        bool names_it = *sentence != '\'';
        return fail(ret_error, "%s%s%s%s", names_it ? "" : "--", names_it ? "" : o->name, names_it ? "" : ": ", sentence);
}

/* The bus carries no other text. The names of files are nothing to it. */
static int check_text(const char *s, char **ret_error) {
        return utf8_is_valid(s) ? 0 : fail(ret_error, "'%s' is not valid UTF-8.", s);
}

static int take_word(Strv *words, const char *word, char **ret_error) {
        int r = check_text(word, ret_error);
        return r < 0 ? r : strv_extend(words, word);
}

static int take_option(Arguments *a, const Option *o, const char *value, char **ret_error) {
        int r = value && !o->takes_path ? check_text(value, ret_error) : 0;
        if (r >= 0)
                r = o->parse(a, (char *) a + o->offset, value, ret_error);
        if (r == -EINVAL)
                r = name_option(o, value, ret_error);
        if (r < 0)
                return r;
        a->given |= UINT64_C(1) << (o - options);
        return 0;
}

/* The help without a verb has only the options of every verb. */
static int no_such_option(const Arguments *a, const char *what, char **ret_error) {
        if (a->words)
                return fail(ret_error, "There is no option %s. 'swarmctl %s --help' lists all.", what, a->words[0]);
        return fail(ret_error, "There is no option %s. 'swarmctl VERB --help' lists those of a verb.", what);
}

static int complain(const Arguments *a, int c, char *const argv[], char **ret_error) {
        const char *word = argv[optind - 1];
        _cleanup_free_ char *what = NULL;

        if (c == ':')
                return fail(ret_error, "The option '%s' needs a value.", word);
        if (optopt >= OPTION_BASE)
                return fail(ret_error, "The option '--%s' takes no value.", strempty(options[optopt - OPTION_BASE].name));
        what = optopt != 0 ? strformat("'-%c'", optopt) : strformat("'%s', or it is short for several", word);
        return what ? no_such_option(a, what, ret_error) : -ENOMEM;
}

/* The first word that is neither an option nor the value of one says what the others mean, also those before it. */
static const char *find_verb_word(int argc, char *argv[]) {
        struct option longs[ELEMENTSOF(options) + 1];
        char shorts[ELEMENTSOF(options) * 2 + 3];
        int c;

        build_tables(0, longs, shorts);
        optind = 0;             /* starts glibc's parser anew */
        opterr = 0;
        while ((c = getopt_long(argc, argv, shorts, longs, NULL)) >= 0)
                if (c == 1)
                        return optarg;
        return optind < argc ? argv[optind] : NULL;
}

/* Behind "--"; of a verb that runs a command that is what stands behind the session, whatever it begins with. */
static int take_rest(Arguments *a, uint32_t groups, int argc, char *argv[], char **ret_error) {
        for (; optind < argc; optind++) {
                bool is_word = (groups & OPTIONS_EXECUTE) && strv_length(a->words) < 2;
                int r = take_word(is_word ? &a->words : &a->command, argv[optind], ret_error);
                if (r < 0)
                        return r;
        }
        return 0;
}

int arguments_parse(Arguments *a, groups_cb groups_of, int argc, char *argv[], char **ret_error) {
        struct option longs[ELEMENTSOF(options) + 1];
        char shorts[ELEMENTSOF(options) * 2 + 3];
        const char *verb = find_verb_word(argc, argv);
        uint32_t groups = verb ? groups_of(verb) : 0;
        int c, r;

        build_tables(groups, longs, shorts);
        optind = 0;
        while ((c = getopt_long(argc, argv, shorts, longs, NULL)) >= 0) {
                const Option *o = option_of(c, groups);

                if (c == 1)
                        r = take_word(&a->words, optarg, ret_error);
                else if (o)
                        r = take_option(a, o, optarg, ret_error);
                else
                        r = complain(a, c, argv, ret_error);
                if (r < 0)
                        return r;
                if (c == 1 && (groups & OPTIONS_EXECUTE) && strv_length(a->words) == 2) {
                        optind += optind < argc && streq(argv[optind], "--");
                        break;
                }
        }
        return take_rest(a, groups, argc, argv, ret_error);
}

int arguments_check(const Arguments *a, const char *verb, uint32_t groups, char **ret_error) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if ((a->given & (UINT64_C(1) << i)) && !(options[i].groups & (groups | OPTIONS_COMMON)))
                        return fail(ret_error, "The option '--%s' means nothing to '%s'. 'swarmctl %.*s --help' lists what it takes.",
                                    strempty(options[i].name), verb, (int) strcspn(verb, " "), verb);
        if (a->command && !(groups & (OPTIONS_COMMAND | OPTIONS_EXECUTE)))
                return fail(ret_error, "'%s' takes no command behind '--'.", verb);
        return 0;
}

void arguments_print_help(FILE *f, uint32_t groups) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *o = options + i;
                char left[64];

                if (!(o->groups & groups))
                        continue;
                bool optional = option_takes_optional(o);
                (void) snprintf(left, sizeof(left), "%c%c%s%s%s%s",
                                o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->name ? " --" : "", strempty(o->name),
                                optional ? "[=" : o->metavar ? "=" : "",
                                o->metavar ? o->metavar + optional : "");
                fprintf(f, "  %-32s %s\n", left, o->help);
        }
}

void arguments_done(Arguments *a) {
        free(a->host);
        strv_free(a->words);
        strv_free(a->command);
        free(a->state);
        free(a->type);
        free(a->session);
        strv_free(a->fields);
        free(a->template_name);
        free(a->image);
        free(a->provider);
        free(a->node);
        free(a->organization);
        free(a->from);
        strv_free(a->env);
        strv_free(a->labels);
        free(a->until);
        free(a->user);
        free(a->working_directory);
        *a = (Arguments) ARGUMENTS_INIT;
}
