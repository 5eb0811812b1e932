/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The client's pure parts: command line, values, formats, progress line, exit statuses. */

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "format.h"
#include "layout.h"
#include "left-out.h"
#include "progress.h"
#include "swarmctl.h"

static uint32_t groups_of_test(const char *verb) {
        return streq(verb, "logs") ? OPTIONS_LOGS : streq(verb, "exec") ? OPTIONS_EXECUTE : streq(verb, "watch") ? OPTIONS_WATCH : 0;
}

static int parse(Arguments *a, char **ret_error, const char *line, ...) {
        char *argv[32] = { (char *) "swarmctl" };
        int argc = 1;
        va_list ap;

        *a = (Arguments) ARGUMENTS_INIT;
        *ret_error = NULL;
        va_start(ap, line);
        for (const char *s = line; s; s = va_arg(ap, const char *))
                argv[argc++] = (char *) s;
        va_end(ap);
        return arguments_parse(a, groups_of_test, argc, argv, ret_error);
}
#define PARSE(...) parse(&a, &error, __VA_ARGS__, NULL)

static void test_words_and_command(void **state) {
        Arguments a;
        char *error;

        assert_int_equal(PARSE("create", "--cpus", "0.5", "dev", "--memory=1.5G", "--", "sh", "-c", "--template=x"), 0);
        assert_int_equal(strv_length(a.words), 2);
        assert_string_equal(a.words[0], "create");
        assert_string_equal(a.words[1], "dev");
        assert_int_equal(strv_length(a.command), 3);
        assert_string_equal(a.command[2], "--template=x");
        assert_null(a.template_name);
        assert_true(fabs(a.cpus - 0.5) < 1e-9);
        assert_int_equal(a.memory_bytes, 3 * GIB / 2);
        arguments_done(&a);

        /* options before and after the verb, and between its words */
        assert_int_equal(PARSE("-q", "stop", "one", "--no-block", "two", "--yes", "-H", "u@h"), 0);
        assert_int_equal(strv_length(a.words), 3);
        assert_true(a.quiet && !a.block && a.yes);
        assert_string_equal(a.host, "u@h");
        arguments_done(&a);

        assert_int_equal(PARSE("list"), 0);
        assert_true(a.pager && a.legend && a.ask_password && a.block && !a.quiet && !a.full);
        assert_null(a.command);
        assert_int_equal(a.json, JSON_OFF);
        assert_int_equal(a.owner, (uid_t) -1);
        arguments_done(&a);
}

static void test_values(void **state) {
        Arguments a;
        char *error;

        assert_int_equal(setenv("SWARMCTL_TEST", "from here", true), 0);
        assert_int_equal(PARSE("create", "-e", "A=1", "-e", "B=", "--env=SWARMCTL_TEST", "--label", "a=b=c", "--owner", "root",
                               "--idle-timeout", "90min", "--from=x:3", "--json=short"), 0);
        assert_int_equal(strv_length(a.env), 3);
        assert_string_equal(a.env[1], "B=");
        assert_string_equal(a.env[2], "SWARMCTL_TEST=from here");
        assert_string_equal(a.labels[0], "a=b=c");
        assert_int_equal(a.owner, 0);
        assert_int_equal(a.idle_timeout_usec, 90 * 60 * USEC_PER_SEC);
        assert_string_equal(a.from, "x:3");
        assert_int_equal(a.json, JSON_SHORT);
        arguments_done(&a);

        assert_int_equal(PARSE("list", "--fields=Name,State", "--fields", "Id", "--json", "--limit=5"), 0);
        assert_int_equal(strv_length(a.fields), 3);
        assert_string_equal(a.fields[2], "Id");
        assert_int_not_equal(a.json, JSON_OFF);
        assert_int_equal(a.limit, 5);
        arguments_done(&a);

        assert_int_equal(PARSE("watch", "--timeout=infinity", "--json=pretty", "--json=off"), 0);
        assert_int_equal(a.timeout_usec, USEC_INFINITY);
        assert_int_equal(a.json, JSON_OFF);
        arguments_done(&a);
}

/* Each names the culprit and what to write instead. */
static void test_complaints(void **state) {
        static const struct {
                const char *word, *value, *named;
        } cases[] = {
                { "--frobnicate", NULL, "--frobnicate" },
                { "-Z", NULL, "-Z" },
                { "--host", NULL, "--host" },           /* needs a value */
                { "--yes=1", NULL, "--yes" },           /* takes none */
                { "--json=xml", NULL, "xml" },
                { "--cpus", "many", "many" },
                { "--cpus", "-1", "-1" },
                { "--cpus", "nan", "nan" },
                { "--memory", "4X", "4X" },
                { "--memory", "0", "0" },
                { "--idle-timeout", "soon", "soon" },
                { "--generation", "0", "0" },
                { "--generation", "-3", "-3" },
                { "--limit", "1e3", "1e3" },
                { "--owner", "no-such-user-here", "no-such-user-here" },
                { "--env", "SWARMCTL_NOT_SET", "SWARMCTL_NOT_SET" },
                { "--env", "=x", "name" },
                { "--label", "", "label" },
                { "--label", "=x", "=x" },
                { "--signal", "SIGNOPE", "SIGNOPE" },
                { "--signal", "99", "99" },
                { "--env-file", "/nonexistent/file", "/nonexistent/file" },
                { "--fields", "", "--fields" },
                { "--fields", "a,,b", "a,,b" },
                { "--template", "", "--template" },
                { "--s", NULL, "--s" },                 /* short for --state, --session, --signal */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Arguments a;
                _cleanup_free_ char *error = NULL;

                assert_int_equal(PARSE(cases[i].word, cases[i].value), -EINVAL);
                assert_non_null(error);
                if (!strstr(error, cases[i].named))
                        fail_msg("'%s' is not in: %s", cases[i].named, error);
                assert_int_equal(error[strlen(error) - 1], '.');
                /* Of what the number is. */
                if (STR_IN_SET(cases[i].word, "--cpus", "--memory", "--idle-timeout", "--generation", "--limit", "--signal"))
                        assert_int_equal(strncmp(error, cases[i].word, strlen(cases[i].word)), 0);
                arguments_done(&a);
        }
}

static void test_groups(void **state) {
        _cleanup_free_ char *complaint = NULL;
        Arguments a;
        char *error;

        assert_int_equal(PARSE("list", "--discard", "--json=off"), 0);
        assert_int_equal(arguments_check(&a, "stop", OPTIONS_DISCARD, &complaint), 0);
        assert_int_equal(arguments_check(&a, "list", OPTIONS_LIST, &complaint), -EINVAL);
        assert_non_null(strstr(complaint, "--discard"));
        assert_non_null(strstr(complaint, "'list'"));
        arguments_done(&a);

        /* an option of two groups belongs to both verbs */
        assert_int_equal(PARSE("--template=x"), 0);
        assert_int_equal(arguments_check(&a, "create", OPTIONS_CREATE, &complaint), 0);
        assert_int_equal(arguments_check(&a, "list", OPTIONS_LIST, &complaint), 0);
        assert_int_equal(arguments_check(&a, "nodes", OPTIONS_NODES, &complaint), -EINVAL);
        arguments_done(&a);

        assert_int_equal(PARSE("stop", "a", "--", "sh"), 0);
        assert_int_equal(arguments_check(&a, "stop", OPTIONS_JOB, &complaint), -EINVAL);
        arguments_done(&a);
}

static void test_signals(void **state) {
        int signo;

        assert_int_equal(parse_signal("SIGKILL", &signo), 0);
        assert_int_equal(signo, 9);
        assert_int_equal(parse_signal("HUP", &signo), 0);
        assert_int_equal(signo, 1);
        assert_int_equal(parse_signal("term", &signo), 0);
        assert_int_equal(signo, SIGTERM);
        assert_int_equal(parse_signal("sigUsr1", &signo), 0);
        assert_int_equal(signo, SIGUSR1);
        assert_int_equal(parse_signal("rtmin+3", &signo), 0);
        assert_int_equal(signo, SIGRTMIN + 3);
        assert_int_equal(parse_signal("15", &signo), 0);
        assert_int_equal(signo, 15);
        assert_int_equal(parse_signal("0", &signo), -ERANGE);
        assert_int_equal(parse_signal("", &signo), -EINVAL);
        assert_int_equal(parse_signal("SIG", &signo), -EINVAL);
        /* The names that a shell completes. */
        assert_int_equal(parse_signal("SIGRTMIN", &signo), 0);
        assert_int_equal(signo, 34);
        assert_int_equal(parse_signal("RTMIN+3", &signo), 0);
        assert_int_equal(signo, 37);
        assert_int_equal(parse_signal("SIGRTMAX-14", &signo), 0);
        assert_int_equal(signo, 50);
        assert_int_equal(parse_signal("SIGRTMIN+31", &signo), -ERANGE);
        assert_int_equal(parse_signal("SIGRTMIN-1", &signo), -EINVAL);
        assert_int_equal(parse_signal("SIGRTMAX+", &signo), -EINVAL);
}

static void test_env_file(void **state) {
        char path[] = "/tmp/swarmctl-test-XXXXXX";
        _cleanup_close_ int fd = mkstemp(path);
        static const char good[] = "# secrets\n\nA=1\r\nB=x y=z\nC=", bad[] = "A=1\nTOKENsecret\n";
        _cleanup_strv_ Strv env = NULL;
        _cleanup_free_ char *error = NULL;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, good, strlen(good)), strlen(good));
        assert_int_equal(read_env_file(path, &env, &error), 0);
        assert_int_equal(strv_length(env), 3);
        assert_string_equal(env[0], "A=1");
        assert_string_equal(env[1], "B=x y=z");
        assert_string_equal(env[2], "C=");

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bad, strlen(bad), 0), strlen(bad));
        assert_int_equal(read_env_file(path, &env, &error), -EINVAL);
        assert_non_null(strstr(error, ":2:"));
        assert_null(strstr(error, "secret"));
        assert_int_equal(pwrite(fd, "A=1\0B=2\n", 8, 0), 8);
        assert_int_equal(read_env_file(path, &env, &error), -EINVAL);
        assert_non_null(strstr(error, "zero bytes"));
        assert_int_equal(read_env_file("/dev/zero", &env, &error), -EINVAL);
        assert_non_null(strstr(error, "1 MiB"));
        assert_int_equal(unlink(path), 0);
}

static void check_format(Format format, json_t *value, const char *expected) {
        _cleanup_free_ char *s = format_value(format, value, 10 * 86400 * USEC_PER_SEC);
        assert_string_equal(s, expected);
        json_decref(value);
}

static void test_formats(void **state) {
        usec_t now = 10 * 86400 * USEC_PER_SEC;
#define AT(t) json_integer((json_int_t) (t))

        check_format(FORMAT_PLAIN, NULL, "-");
        check_format(FORMAT_PLAIN, json_string(""), "-");
        check_format(FORMAT_PLAIN, json_string("a\033[31mb\n\xc2\x9b"), "a?[31mb ??");
        check_format(FORMAT_PLAIN, json_string("größe"), "größe");
        check_format(FORMAT_PLAIN, json_true(), "yes");
        check_format(FORMAT_PLAIN, json_real(0.5), "0.5");
        check_format(FORMAT_AGO, AT(0), "-");
        check_format(FORMAT_AGO, AT(now - 500), "now");
        check_format(FORMAT_AGO, AT(now - 61 * USEC_PER_SEC), "1min ago");
        check_format(FORMAT_AGO, AT(now - 5400 * USEC_PER_SEC), "1h 30min ago");
        check_format(FORMAT_AGO, AT(now - (86400 + 3 * 3600 + 59) * USEC_PER_SEC), "1d 3h ago");
        check_format(FORMAT_AGO, AT(now + 120 * USEC_PER_SEC), "in 2min");
        check_format(FORMAT_BYTES, AT(1536), "1.5K");
        check_format(FORMAT_BYTES, AT(-1), "-");
        check_format(FORMAT_TIMESPAN, AT(300 * USEC_PER_MSEC), "300ms");
        check_format(FORMAT_TIMESPAN, json_null(), "infinity");
        check_format(FORMAT_TIMESPAN, NULL, "-");
        check_format(FORMAT_USER, AT(0), "root");
        check_format(FORMAT_USER, AT(3999999999), "3999999999");
        check_format(FORMAT_FRACTION, json_real(0.456), "46%");
        check_format(FORMAT_FRACTION, json_real(-1), "-");
        check_format(FORMAT_JOB, json_string("/org/swarm/Orchestrator/job/12"), "12");
        check_format(FORMAT_JOB, json_string("/"), "-");
        check_format(FORMAT_PLAIN, json_pack("[s, s]", "a", "b"), "a, b");
        check_format(FORMAT_PLAIN, json_pack("[]"), "-");
        check_format(FORMAT_COUNT, json_pack("[s, s]", "a", "b"), "2");
        check_format(FORMAT_COUNT, json_pack("[]"), "0");
        check_format(FORMAT_LIMITS, json_pack("{s:f, s:I, s:f, s:I}", "CPUs", 0.5, "MemoryBytes", (json_int_t) GIB, "CPUsReserved", 0.0,
                                              "MemoryReservedBytes", (json_int_t) (128 * MIB)), "0.5 CPUs (0 reserved), 1.0G of memory (128M reserved)");
        check_format(FORMAT_PLAIN, json_pack("{s:i, s:f}", "MemoryBytes", 1024, "CPUs", 2.0), "MemoryBytes=1.0K, CPUs=2");
}

static void test_headings(void **state) {
        static const char *const cases[][2] = {
                { "Name", "NAME" }, { "MemoryBytes", "MEMORY" }, { "LastActivityUSec", "LAST ACTIVITY" },
                { "OwnerUID", "OWNER" }, { "CPUs", "CPUS" }, { "Bytes", "BYTES" }, { "StateDetail", "STATE DETAIL" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *s = format_heading(cases[i][0]);
                assert_string_equal(s, cases[i][1]);
        }
        static const char *const labels[][2] = {
                { "Name", "Name" }, { "MemoryBytes", "Memory" }, { "LastActivityUSec", "Last activity" }, { "OwnerUID", "Owner" },
                { "CPUs", "CPUs" }, { "CPUsReserved", "CPUs reserved" }, { "UsableCPUs", "Usable CPUs" }, { "Id", "Id" },
        };

        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                _cleanup_free_ char *s = format_label(labels[i][0]);
                assert_string_equal(s, labels[i][1]);
        }
        assert_int_equal(format_of_property("IdleTimeoutUSec"), FORMAT_TIMESPAN);
        assert_int_equal(format_of_property("CreatedUSec"), FORMAT_AGO);
        assert_int_equal(format_of_property("UncompressedBytes"), FORMAT_BYTES);
        assert_int_equal(format_of_property("EndedBy"), FORMAT_USER);
        assert_int_equal(format_of_property("Name"), FORMAT_PLAIN);
}

static void check_progress(json_t *job, size_t ended, size_t total, size_t width, const char *expected) {
        _cleanup_free_ char *s = progress_format("dev", job, ended, total, width);
        assert_string_equal(s, expected);
        json_decref(job);
}

static void assert_shortened(const char *s, size_t width, const char *expected) {
        char *short_one = layout_shorten(s, width);

        assert_string_equal(short_one, expected);
        free(short_one);
}

static void test_layout(void **state) {
        size_t widths[] = { 10, 30, 20 }, minimum[] = { 0, 4, 8 };

        layout_fit(widths, minimum, 3, 62);             /* 60 and two blanks */
        assert_int_equal(widths[1], 30);
        layout_fit(widths, minimum, 3, 50);
        assert_int_equal(widths[0], 10);
        assert_int_equal(widths[1] + widths[2], 38);
        assert_true(widths[1] >= 18 && widths[2] >= 18);        /* the widest first */
        layout_fit(widths, minimum, 3, 1);
        assert_int_equal(widths[0], 10);
        assert_int_equal(widths[1], 4);
        assert_int_equal(widths[2], 8);

        assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
        assert_int_equal(layout_width("größer"), 6);
        assert_int_equal(layout_width("日本"), 4);
        assert_int_equal(layout_width("\xff"), 4);       /* libsmartcols escapes it */
        assert_shortened("größer", 6, "größer");
        assert_shortened("größer", 4, "grö…");
        assert_shortened("日本語", 4, "日…");           /* two columns each: there is no half one */
        assert_shortened("abc", 1, "…");
        assert_non_null(setlocale(LC_CTYPE, "C"));
        assert_shortened("abcdef", 5, "ab...");
        assert_shortened("abcdef", 6, "abcdef");
}

static void test_progress(void **state) {
        check_progress(NULL, 0, 1, 80, "dev");
        check_progress(json_pack("{s:s, s:s, s:s, s:f}", "Type", "hibernate", "State", "running", "Stage", "copying", "Progress", 0.5), 0, 1, 80,
                       "hibernate dev: copying  [============>           ]  50%");
        check_progress(json_pack("{s:s, s:s, s:s, s:f, s:I, s:I}", "Type", "stop", "State", "running", "Stage", "", "Progress", -1.0,
                                 "BytesDone", (json_int_t) 2048, "BytesTotal", (json_int_t) -1), 1, 3, 80,
                       "1 of 3 done  stop dev: running  2.0K");
        check_progress(json_pack("{s:s, s:f}", "Stage", "a\033b", "Progress", 1.0), 0, 1, 80, "dev: a?b  [========================] 100%");
        check_progress(json_pack("{s:s}", "Stage", "äöüäöüäöü"), 0, 1, 8, "dev: äöü");
}

static void test_exit_statuses(void **state) {
        assert_int_equal(exit_status_of_error(SWARM_ERROR_NO_SUCH_SESSION), EXIT_NOT_FOUND);
        assert_int_equal(exit_status_of_error(SWARM_ERROR_WRONG_STATE), EXIT_WRONG_STATE);
        assert_int_equal(exit_status_of_error(SWARM_ERROR_NO_CAPACITY), EXIT_LIMIT);
        assert_int_equal(exit_status_of_error(SWARM_ERROR_REGISTRY_FAILED), EXIT_FAILURE);
        assert_int_equal(exit_status_of_error(SD_BUS_ERROR_ACCESS_DENIED), EXIT_DENIED);
        assert_int_equal(exit_status_of_error(SD_BUS_ERROR_INVALID_ARGS), EXIT_USAGE);
        assert_int_equal(exit_status_of_error("org.freedesktop.DBus.Error.Spawn.ChildExited"), EXIT_UNAVAILABLE);
        assert_int_equal(exit_status_of_error("org.freedesktop.DBus.Error.FileExists"), EXIT_UNAVAILABLE);     /* masked */
        assert_int_equal(exit_status_of_error("org.freedesktop.DBus.Error.TimedOut"), EXIT_UNAVAILABLE);       /* of an activation */
        assert_int_equal(exit_status_of_error("com.example.Odd"), EXIT_FAILURE);
        assert_int_equal(exit_status_of_error(NULL), EXIT_FAILURE);
}

/* A message needs a connection; one that leads nowhere will do. */
static void new_message(sd_bus **bus, sd_bus_message **m) {
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);   /* the other end stays open */
        assert_true(sd_bus_new(bus) >= 0);
        assert_true(sd_bus_set_fd(*bus, fds[0], fds[0]) >= 0);
        assert_true(sd_bus_start(*bus) >= 0);
        assert_true(sd_bus_message_new_method_call(*bus, m, "a.b", "/", "a.b", "C") >= 0);
}

static void test_read_values(void **state) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_json_ json_t *v = NULL;
        _cleanup_free_ char *text = NULL;

        new_message(&bus, &m);
        assert_true(sd_bus_message_append(m, "a{sv}", 12, "S", "s", "x", "T", "t", UINT64_MAX, "X", "x", INT64_C(-1), "B", "b", 1,
                                          "D", "d", 0.5, "As", "as", 2, "a", "b", "Map", "a{ss}", 1, "k", "v",
                                          "Rows", "aa{sv}", 2, 1, "N", "u", 7, 0, "P", "d", -1.0, "U", "u", UINT32_MAX,
                                          "Y", "x", INT64_C(1) << 40, "Z", "x", INT64_C(0)) >= 0);
        assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
        assert_true(sd_bus_message_rewind(m, true) >= 0);
        assert_int_equal(value_read(m, &v), 0);
        text = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, "{\"As\":[\"a\",\"b\"],\"B\":true,\"D\":0.5,\"Map\":{\"k\":\"v\"},\"P\":null,\"Rows\":[{\"N\":7},{}],"
                                  "\"S\":\"x\",\"T\":null,\"U\":null,\"X\":null,\"Y\":1099511627776,\"Z\":0}");
        json_t *none = NULL;
        assert_int_equal(value_read(m, &none), -EBADMSG);
        assert_null(none);
}

static void test_append_options(void **state) {
        static const WireOption options[] = {
                { "image", "s", offsetof(Arguments, image) },
                { "env", "as", offsetof(Arguments, env) },
                { "labels", "a{ss}", offsetof(Arguments, labels) },
                { "cpus", "d", offsetof(Arguments, cpus) },
                { "memory_bytes", "t", offsetof(Arguments, memory_bytes) },
                { "owner", "u", offsetof(Arguments, owner) },
                { "lossy", "b", offsetof(Arguments, lossy) },
                { "discard", "b", offsetof(Arguments, discard) },
                { "node", "s", offsetof(Arguments, node) },
        };
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_json_ json_t *v = NULL;
        _cleanup_free_ char *text = NULL;
        Arguments a;
        char *error;

        assert_int_equal(PARSE("--image=i", "--env=A=1", "--label=k=v=w", "--label=bare", "--cpus=2", "--memory=1K", "--owner=0", "--lossy"), 0);
        new_message(&bus, &m);
        assert_int_equal(append_options(m, &a, options, ELEMENTSOF(options)), 0);
        assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
        assert_true(sd_bus_message_rewind(m, true) >= 0);
        assert_string_equal(sd_bus_message_get_signature(m, true), "a{sv}");
        assert_int_equal(value_read(m, &v), 0);
        text = json_dumps(v, JSON_COMPACT);
        assert_string_equal(text, "{\"image\":\"i\",\"env\":[\"A=1\"],\"labels\":{\"k\":\"v=w\",\"bare\":\"\"},\"cpus\":2.0,\"memory_bytes\":1024,"
                                  "\"owner\":0,\"lossy\":true}");
        arguments_done(&a);
}

/* What a function says on stderr. */
static char *said_of(json_t *snapshot, bool sockets) {
        char *text = calloc(1, 1 << 16);
        int saved = dup(STDERR_FILENO), fds[2];

        assert_int_equal(pipe(fds), 0);
        assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
        (void) close(fds[1]);
        assert_int_equal(left_out_print(snapshot, "dev", sockets), 0);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        (void) close(saved);
        assert_true(read(fds[0], text, (1 << 16) - 1) >= 0);
        (void) close(fds[0]);
        json_decref(snapshot);
        return text;
}

static void test_left_out(void **state) {
        const char *first = "Left out of generation 3 of dev, as no layer can hold it";
        json_t *many = json_array();
        _cleanup_free_ char *none = said_of(json_pack("{s:i, s:[]}", "Generation", 3, "Dropped"), true),
                *quiet = said_of(json_pack("{s:i, s:[s]}", "Generation", 3, "Dropped", "/s (socket)"), false),
                *names = said_of(json_pack("{s:i, s:[s,s]}", "Generation", 3, "Dropped", "/s (socket)", "/n (odd\033)"), false),
                *both = said_of(json_pack("{s:i, s:[s,s]}", "Generation", 3, "Dropped", "/s (socket)", "/n (odd)"), true),
                *expected = strformat("%s (2):\n  /n (odd)\n  /s (socket)\n", first);

        assert_string_equal(none, "");
        assert_string_equal(quiet, "");
        assert_string_equal(names, "Left out of generation 3 of dev, as no layer can hold it (1):\n  /n (odd?)\n");
        assert_string_equal(both, expected);
        for (int i = 0; i < 100; i++)
                assert_int_equal(json_array_append_new(many, json_string(i < 50 ? "/s (socket)" : "/n (odd)")), 0);
        _cleanup_free_ char *long_one = said_of(json_pack("{s:i, s:o}", "Generation", 3, "Dropped", many), true);
        assert_non_null(strstr(long_one, "(at least 100):\n  /n (odd)\n"));
        assert_null(strstr(long_one, "(socket)"));
        assert_non_null(strstr(long_one, "\n  … and 90 more: 'swarmctl snapshots dev --json' has them under Dropped.\n"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_words_and_command),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_complaints),
                cmocka_unit_test(test_groups),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_env_file),
                cmocka_unit_test(test_formats),
                cmocka_unit_test(test_headings),
                cmocka_unit_test(test_layout),
                cmocka_unit_test(test_progress),
                cmocka_unit_test(test_exit_statuses),
                cmocka_unit_test(test_read_values),
                cmocka_unit_test(test_append_options),
                cmocka_unit_test(test_left_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
