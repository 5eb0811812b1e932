/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#include "core/identifier.h"
#include "core/rules.h"
#include "core/template-parser.h"
#include "core/yaml-node.h"

static TemplateTable *parse(const char *text, Strv *errors) {
        TemplateTable *t = template_table_new();
        *errors = calloc(1, sizeof(char *));
        assert_int_equal(template_parse_buffer(t, "f.yaml", text, strlen(text), errors), 0);
        return t;
}

/* The text gives exactly one error, and nothing is loaded. */
static void expect_error(const char *text, const char *error) {
        _cleanup_strv_ Strv errors = NULL;
        _cleanup_(template_table_freep) TemplateTable *t = parse(text, &errors);
        if (strv_length(errors) != 1)
                fail_msg("%zu errors for: %s", strv_length(errors), text);
        assert_string_equal(errors[0], error);
        assert_int_equal(template_table_size(t), 0);
}

/* A field of a template that is otherwise right. */
static void expect_field_error(const char *field, unsigned line, const char *error) {
        _cleanup_free_ char *text = strformat("templates:\n  a:\n    image: debian:12\n%s", field);
        _cleanup_free_ char *full = strformat("f.yaml:%u: Template \"a\" is not loaded: %s", line, error);
        expect_error(text, full);
}

static void assert_strv(char *const *v, const char *const *expected) {
        assert_int_equal(strv_length(v), strv_length((char *const *) expected));
        for (size_t i = 0; expected[i]; i++)
                assert_string_equal(v[i], expected[i]);
}
#define STRS(...) ((const char *const[]) { __VA_ARGS__, NULL })

static void test_everything(void **state) {
        _cleanup_strv_ Strv errors = NULL;
        _cleanup_(template_table_freep) TemplateTable *t = parse(
                "templates:\n"
                "  development: {image: r.example.com/a:b, size: shared-cpu-4x, memory: 512, env: [SECURITY_PRESET=development, A=],\n"
                "                features: [mcp, claude-code], routes: {code: 8080, vnc: 6080, web: 3000}, idle_timeout: 2h,\n"
                "                healthcheck: curl localhost}\n"
                "  other:\n"
                "    image: debian@sha256:00\n"
                "    size: performance-2x\n"
                "    cpus: 0.125\n"
                "    memory: 1.5G\n"
                "    cpu_reservation_percent: 0\n"
                "    memory_reservation_percent: 100\n"
                "    command: [sh, -c, 'a \"b\"', \"\"]\n"
                "    env:\n"
                "      A: 'b=c'\n"
                "      B: \"\"\n"
                "      C: |\n"
                "        two\n"
                "        lines\n"
                "    labels: {example.com/team: x, b: \"y z\"}\n"
                "    idle_timeout: never\n"
                "    stop_grace: 1min 30s\n"
                "    healthcheck: {test: [CMD, a, b], interval: 5s, retries: 1}\n"
                "    volumes: ephemeral\n"
                "    provider: fly\n"
                "    description: \"Grüße, Welt\"\n", &errors);
        for (size_t i = 0; errors[i]; i++)
                fail_msg("%s", errors[i]);
        assert_int_equal(template_table_size(t), 2);
        assert_null(template_table_find(t, "nothing"));
        assert_ptr_equal(template_table_nth(t, 1), template_table_find(t, "other"));
        assert_null(template_table_nth(t, 2));

        const Template *d = template_table_find(t, "development");
        assert_string_equal(d->name, "development");
        assert_string_equal(d->image, "r.example.com/a:b");
        assert_string_equal(d->size, "shared-cpu-4x");
        assert_string_equal(d->path, "f.yaml");
        assert_float_equal(d->cpus, 4, 0);
        assert_int_equal(d->memory_bytes, 512 * MIB);
        assert_int_equal(d->cpu_reservation_percent, -1);
        assert_int_equal(d->memory_reservation_percent, -1);
        assert_null(d->command);
        assert_null(d->labels);
        assert_strv(d->env, STRS("SECURITY_PRESET=development", "A="));
        assert_strv(d->features, STRS("mcp", "claude-code"));
        assert_strv(d->routes, STRS("code=8080", "vnc=6080", "web=3000"));
        assert_int_equal(d->idle_timeout_usec, 7200 * USEC_PER_SEC);
        assert_int_equal(d->stop_grace_usec, 0);
        assert_strv(d->healthcheck, STRS("CMD-SHELL", "curl localhost"));
        assert_int_equal(d->healthcheck_interval_usec, 30 * USEC_PER_SEC);
        assert_int_equal(d->healthcheck_retries, 3);
        assert_false(d->volumes_ephemeral);
        assert_null(d->provider);
        assert_null(d->description);

        const Template *o = template_table_find(t, "other");
        assert_string_equal(o->size, "performance-2x");
        assert_float_equal(o->cpus, 0.125, 1e-12);
        assert_int_equal(o->memory_bytes, 3 * GIB / 2);
        assert_int_equal(o->cpu_reservation_percent, 0);
        assert_int_equal(o->memory_reservation_percent, 100);
        assert_strv(o->command, STRS("sh", "-c", "a \"b\"", ""));
        assert_strv(o->env, STRS("A=b=c", "B=", "C=two\nlines\n"));
        assert_strv(o->labels, STRS("example.com/team=x", "b=y z"));
        assert_true(o->idle_timeout_usec == USEC_INFINITY);
        assert_int_equal(o->stop_grace_usec, 90 * USEC_PER_SEC);
        assert_strv(o->healthcheck, STRS("CMD", "a", "b"));
        assert_int_equal(o->healthcheck_interval_usec, 5 * USEC_PER_SEC);
        assert_int_equal(o->healthcheck_retries, 1);
        assert_true(o->volumes_ephemeral);
        assert_string_equal(o->provider, "fly");
        assert_string_equal(o->description, "Grüße, Welt");
}

static void test_field_errors(void **state) {
        static const struct {
                const char *field;
                unsigned line;
                const char *error;
        } table[] = {
                { "    memroy: 512", 4, "Unknown key \"memroy\", did you mean \"memory\"?" },
                { "    colour: red", 4, "Unknown key \"colour\"." },
                { "    size: huge", 4, "\"size\" must be a size such as shared-cpu-1x, shared-cpu-2x or performance-4x, \"huge\" is not." },
                { "    size: shared-cpu-3x", 4, "\"size\" must be a size such as shared-cpu-1x, shared-cpu-2x or performance-4x, \"shared-cpu-3x\" is not." },
                { "    cpus: 0.05", 4, "\"cpus\" must be a number of cpus from 0.1 to 16, \"0.05\" is not." },
                { "    cpus: 17", 4, "\"cpus\" must be a number of cpus from 0.1 to 16, \"17\" is not." },
                { "    cpus: nan", 4, "\"cpus\" must be a number of cpus from 0.1 to 16, \"nan\" is not." },
                { "    memory: 63", 4, "\"memory\" must be a number of MiB (or a size such as 2G) from 64 to 32768, \"63\" is not." },
                { "    memory: 18446744073709551615", 4, "\"memory\" must be a number of MiB (or a size such as 2G) from 64 to 32768, \"18446744073709551615\" is not." },
                { "    memory: 33G", 4, "\"memory\" must be a number of MiB (or a size such as 2G) from 64 to 32768, \"33G\" is not." },
                { "    memory: []", 4, "\"memory\" takes a single value, not a list or map." },
                { "    memory:", 4, "\"memory\" has no value; give one or remove the line." },
                { "    memory: ~", 4, "\"memory\" has no value; give one or remove the line." },
                { "    cpu_reservation_percent: 101", 4, "\"cpu_reservation_percent\" must be a whole number from 0 to 100, \"101\" is not." },
                { "    memory_reservation_percent: -1", 4, "\"memory_reservation_percent\" must be a whole number from 0 to 100, \"-1\" is not." },
                { "    command: sleep infinity", 4, "\"command\" must be a list of arguments, such as [sleep, infinity]; for a line of shell write [sh, -c, \"…\"]." },
                { "    command: []", 4, "\"command\" is empty; fill or remove it." },
                { "    command:\n    - sleep\n    - [a]", 6, "Each entry of \"command\" must be a string; put quotes around what YAML takes for something else." },
                { "    command:\n    - null", 5, "Each entry of \"command\" must be a string; put quotes around what YAML takes for something else." },
                { "    env: A=b", 4, "\"env\" must be a list [NAME=value, …] or a map {NAME: value, …}." },
                { "    env: {}", 4, "\"env\" is empty; fill or remove it." },
                { "    env:\n      - A=b\n      - secret", 6, "Each entry of \"env\" must be of the form NAME=value." },
                { "    env:\n      - {A: b}", 5, "Each entry of \"env\" must be of the form NAME=value." },
                { "    env: [A=b, A=c]", 4, "env: A is here for the second time; remove one." },
                { "    env:\n      A:", 5, "env: A has no single value; put quotes around it (\"\" for an empty one)." },
                { "    env:\n      A: [b]", 5, "env: A has no single value; put quotes around it (\"\" for an empty one)." },
                { "    env: [1A=b]", 4, "env: An environment variable has a bad name, \"1A\"; names hold letters, digits and \"_\" and do not begin with a digit." },
                { "    env: ['A={{.Node.ID}}']", 4, "env: The value of the environment variable A holds \"{{\", which Swarm would expand; encode it, for example in base64." },
                { "    env: [\"A=\\x01\"]", 4, "env: The value of the environment variable A holds a control character; remove or encode it." },
                { "    labels: {com.docker.x: y}", 4, "labels: The label com.docker.x begins with \"com.docker.\", which is reserved; choose another prefix." },
                { "    labels: {org.swarm.x: y}", 4, "labels: The label org.swarm.x begins with \"org.swarm.\", which is reserved; choose another prefix." },
                { "    labels: {swarm.x: y}", 4, "labels: The label swarm.x begins with \"swarm.\", which is reserved; choose another prefix." },
                { "    labels: {'a b': y}", 4, "labels: A label's key has 1 to 128 letters, digits, \".\", \"_\", \"-\" or \"/\" and begins and ends with a letter or digit; \"a b\" does not follow that." },
                { "    labels: {a: \"\\x01\"}", 4, "labels: The value of the label a is not valid UTF-8 or holds a control character; remove or encode it." },
                { "    features: mcp", 4, "\"features\" must be a list of words, such as [mcp, claude-code]." },
                { "    features: [\"a,b\"]", 4, "The feature \"a,b\" is not a word of at most 40 lower case letters, digits and \"-\"." },
                { "    features: [a, a]", 4, "The feature \"a\" is here for the second time; remove one." },
                { "    routes: [8080]", 4, "\"routes\" must be a map of names and ports, such as {web: 3000}." },
                { "    routes: {}", 4, "\"routes\" is empty; fill or remove it." },
                { "    routes: {Web: 80}", 4, "The route \"Web\" is not a word of at most 40 lower case letters, digits and \"-\"." },
                { "    routes: {web: 65536}", 4, "The route \"web\" must be a port from 1 to 65535." },
                { "    routes: {web: 0}", 4, "The route \"web\" must be a port from 1 to 65535." },
                { "    routes:\n      web:\n        - 80", 6, "The route \"web\" must be a port from 1 to 65535." },
                { "    idle_timeout: 0", 4, "\"idle_timeout\" must be a time span from 1min on, such as 45min or 2h, or \"never\", \"0\" is not." },
                { "    idle_timeout: soon", 4, "\"idle_timeout\" must be a time span from 1min on, such as 45min or 2h, or \"never\", \"soon\" is not." },
                { "    stop_grace: never", 4, "\"stop_grace\" must be a time span from 1s to 10min, \"never\" is not." },
                { "    healthcheck: [curl, localhost]", 4, "\"healthcheck\" must be a line of shell, or a list [CMD, program, argument, …], [CMD-SHELL, line] or [NONE]." },
                { "    healthcheck: [CMD]", 4, "\"healthcheck\" must be a line of shell, or a list [CMD, program, argument, …], [CMD-SHELL, line] or [NONE]." },
                { "    healthcheck: {interval: 5s}", 4, "\"healthcheck\" has no \"test\"; add the line of shell that is to be run." },
                { "    healthcheck: {test: {a: b}}", 4, "\"test\" must be a line of shell, or a list [CMD, program, argument, …], [CMD-SHELL, line] or [NONE]." },
                { "    healthcheck: {test: a, intervall: 5s}", 4, "Unknown key \"intervall\" of \"healthcheck\", did you mean \"interval\"?" },
                { "    healthcheck: {test: a, interval: 2h}", 4, "\"interval\" must be a time span from 1s to 1h, \"2h\" is not." },
                { "    healthcheck: {test: a, retries: 0}", 4, "\"retries\" must be a whole number from 1 to 100, \"0\" is not." },
                { "    volumes: keep", 4, "\"volumes\" can only be \"ephemeral\", which says that what the image's VOLUMEs hold may be lost." },
                { "    provider: docker", 4, "\"provider\" must be \"swarm\", \"fly\" or \"fake\", \"docker\" is not." },
                { "    description: \"a\\nb\"", 4, "\"description\" must be one line without control characters." },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                expect_field_error(table[i].field, table[i].line, table[i].error);
}

static void test_template_errors(void **state) {
        expect_error("templates:\n  a: {}\n", "f.yaml:2: Template \"a\" is not loaded: It has no \"image\"; add one.");
        expect_error("templates:\n  a:\n", "f.yaml:2: Template \"a\" is not loaded: It must be a map of keys and values, such as {image: debian:12}.");
        expect_error("templates:\n  A: {image: x}\n", "f.yaml:2: Template \"A\" is not loaded: A name has at most 40 lower case letters, digits and \"-\", begins with a letter and does not end in \"-\".");
        expect_error("templates:\n  a: {image: 'x y'}\n", "f.yaml:2: Template \"a\" is not loaded: \"image\" must be an image reference such as registry.example.com/team/image:tag, \"x y\" is not.");
        expect_error("templates:\n  a: {image: https://x}\n", "f.yaml:2: Template \"a\" is not loaded: \"image\" must be an image reference such as registry.example.com/team/image:tag, \"https://x\" is not.");
        expect_error("template:\n  a: {image: x}\n", "f.yaml:1: Unknown key \"template\", only \"templates\" is known here; nothing of the file is loaded.");
        expect_error("templates: {}\nversion: 3\n", "f.yaml:2: Unknown key \"version\", only \"templates\" is known here; nothing of the file is loaded.");
        expect_error("templates: [a]\n", "f.yaml:1: \"templates\" must be a map of names and templates; nothing of the file is loaded.");
        expect_error("- a\n", "f.yaml:1: The file must hold one key, \"templates\"; nothing of it is loaded.");
        expect_error("{}\n", "f.yaml:1: The file must hold one key, \"templates\"; nothing of it is loaded.");

        _cleanup_free_ char *big = calloc(1, 20000);
        strcpy(big, "templates:\n  a:\n    image: x\n    command:\n");
        for (unsigned i = 0; i <= TEMPLATE_ENTRIES_MAX; i++)
                strcat(big, "    - x\n");
        expect_error(big, "f.yaml:5: Template \"a\" is not loaded: \"command\" has 257 entries; at most 256 are allowed.");

        _cleanup_free_ char *image = calloc(1, 600);
        memset(image, 'x', 513);
        _cleanup_free_ char *text = strformat("templates:\n  a:\n    image: %s\n", image);
        expect_error(text, "f.yaml:3: Template \"a\" is not loaded: \"image\" has 513 bytes; at most 512 are allowed.");
}

static void test_yaml_errors(void **state) {
        expect_error("templates:\n  a: {image: x\n", "f.yaml:3: This is not valid YAML: did not find expected ',' or '}'. Nothing of the file is loaded.");
        expect_error("templates:\n\ta: 1\n", "f.yaml:2: This is not valid YAML: found character that cannot start any token. Nothing of the file is loaded.");
        expect_error("templates: &a\n  b: {image: x}\n", "f.yaml:1: Anchors (&name) are not allowed here; write the value out. Nothing of the file is loaded.");
        expect_error("templates:\n  b: *a\n", "f.yaml:2: Aliases (*name) are not allowed here; write the value out. Nothing of the file is loaded.");
        expect_error("templates:\n  b: {image: !!str x}\n", "f.yaml:2: Tags (!name) are not allowed here; remove it. Nothing of the file is loaded.");
        expect_error("templates:\n  b: !x {image: x}\n", "f.yaml:2: Tags (!name) are not allowed here; remove it. Nothing of the file is loaded.");
        expect_error("templates:\n  b: {image: x}\n---\ntemplates: {}\n", "f.yaml:3: A second document begins here; use one file for each. Nothing of the file is loaded.");
        expect_error("templates:\n  b:\n    image: x\n    env: [A=1]\n    image: y\n", "f.yaml:5: The key \"image\" is here for the second time, first in line 3; remove one. Nothing of the file is loaded.");
        expect_error("templates:\n  b: {image: x}\n  b: {image: x}\n", "f.yaml:3: The key \"b\" is here for the second time, first in line 2; remove one. Nothing of the file is loaded.");
        expect_error("templates:\n  ? [a]\n  : b\n", "f.yaml:2: A key is missing or is not a string. Nothing of the file is loaded.");
        expect_error("templates:\n  {~: b}\n", "f.yaml:2: A key is missing or is not a string. Nothing of the file is loaded.");
        expect_error("templates:\n  b: {image: x,\n      description: \xef\xb7\x90}\n", "f.yaml:3: This string holds what is no character of Unicode; remove it. Nothing of the file is loaded.");
        expect_error("templates: [[[[[[[a]]]]]]]\n", "f.yaml:1: This is nested more than 6 deep. Nothing of the file is loaded.");
        expect_error("templates:\n  a: {image: \"x\\0y\"}\n", "f.yaml:2: This string holds a NUL character; remove it. Nothing of the file is loaded.");
        expect_error("templates:\n  a: \xff\xfe\n", "f.yaml:2: This is not valid YAML: invalid leading UTF-8 octet. Nothing of the file is loaded.");

        size_t n = YAML_SIZE_MAX + 1;
        _cleanup_free_ char *big = malloc(n + 1);
        memset(big, '#', n);
        big[n] = 0;
        expect_error(big, "f.yaml: The file is larger than 1 MiB. Nothing of the file is loaded.");

        /* One too many entries in a list, then values in all, in a file of lists. */
        char *p = stpcpy(big, "a:");
        for (unsigned i = 0; i <= YAML_ENTRIES_MAX; i++)
                p = stpcpy(p, "\n- x");
        expect_error(big, "f.yaml:1002: This list or map has more than 1000 entries. Nothing of the file is loaded.");
        p = big;
        for (unsigned i = 0; i < 50; i++) {
                p += sprintf(p, "k%u: [", i);
                for (unsigned j = 0; j < 999; j++)
                        p = stpcpy(p, "x,");
                p = stpcpy(p, "x]\n");
        }
        expect_error(big, "f.yaml:20: The file has more than 20000 values. Nothing of the file is loaded.");
}

/* What hostile files cost: each of these is near the limit of its kind. */
static void test_cost(void **state) {
        _cleanup_free_ char *big = malloc(YAML_SIZE_MAX + 1);
        static const char *const pieces[] = { "[", "{", "- ", "? ", "a: ", "\"", "&a ", "x,", "a\n", "!!a ", "'", "{a: [", ": " };
        struct timespec a, b;

        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                _cleanup_strv_ Strv errors = NULL;
                size_t n = strlen(pieces[i]);
                char *p = big;
                while (p + n <= big + YAML_SIZE_MAX)
                        p = mempcpy(p, pieces[i], n);
                *p = 0;
                clock_gettime(CLOCK_MONOTONIC, &a);
                template_table_free(parse(big, &errors));
                clock_gettime(CLOCK_MONOTONIC, &b);
                assert_int_equal(strv_length(errors), 1);
                double seconds = (double) (b.tv_sec - a.tv_sec) + (double) (b.tv_nsec - a.tv_nsec) / 1e9;
                if (seconds > 5)
                        fail_msg("%s takes %.1f s", pieces[i], seconds);
        }
}

static void test_mixed(void **state) {
        _cleanup_strv_ Strv errors = NULL;
        _cleanup_(template_table_freep) TemplateTable *t = parse(
                "templates:\n  good: {image: a}\n  bad: {imag: b}\n  worse: {image: c, cpus: x}\n  fine: {image: d}\n", &errors);
        assert_int_equal(template_table_size(t), 2);
        assert_int_equal(strv_length(errors), 2);
        assert_string_equal(template_table_nth(t, 0)->name, "fine");
        assert_string_equal(template_table_nth(t, 1)->name, "good");

        static const char *const empty[] = { "", "# only a comment\n", "---\n...\n" };
        for (size_t i = 0; i < 2; i++) {
                strv_free(TAKE_PTR(errors));
                template_table_free(parse(empty[i], &errors));
                assert_int_equal(strv_length(errors), 0);
        }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void write_file(const char *dir, const char *name, const char *text) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, name);
        _cleanup_fclose_ FILE *f = fopen(path, "we");
        assert_non_null(f);
        fputs(text, f);
}

static void test_directory(void **state) {
        char dir[] = "/tmp/test-template-XXXXXX";
        _cleanup_strv_ Strv errors = NULL;
        TemplateTable *t = NULL;

        assert_non_null(mkdtemp(dir));
        write_file(dir, "20.yaml", "templates: {a: {image: second}, b: {image: b}}\n");
        write_file(dir, "10.yaml", "templates: {a: {image: first}, c: {image: c}}\n");
        write_file(dir, "15.yaml", "templates: {d: {image: [x]}}\n");
        write_file(dir, "30.yml", "templates: {e: {image: e}}\n");
        write_file(dir, ".40.yaml", "templates: {f: {image: f}}\n");
        write_file(dir, "README", "not a template\n");
        _cleanup_free_ char *null = strformat("%s/50.yaml", dir), *sub = strformat("%s/60.yaml", dir);
        assert_int_equal(symlink("/dev/null", null), 0);
        assert_int_equal(mkdir(sub, 0755), 0);

        assert_int_equal(template_table_load(dir, &t, &errors), 0);
        assert_int_equal(template_table_size(t), 3);
        assert_string_equal(template_table_find(t, "a")->image, "second");
        assert_non_null(endswith(template_table_find(t, "a")->path, "/20.yaml"));
        assert_string_equal(template_table_nth(t, 1)->name, "b");
        assert_int_equal(strv_length(errors), 3);
        assert_non_null(endswith(errors[0], "/15.yaml:1: Template \"d\" is not loaded: \"image\" takes a single value, not a list or map."));
        assert_non_null(endswith(errors[1], "/30.yml: Only files that end in .yaml are read; rename it."));
        assert_non_null(endswith(errors[2], "/60.yaml: The file cannot be read (it is no regular file); nothing of it is loaded."));
        template_table_free(t);
        assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);

        strv_free(TAKE_PTR(errors));
        assert_int_equal(template_table_load(dir, &t, &errors), 0);
        assert_int_equal(template_table_size(t), 0);
        assert_int_equal(strv_length(errors), 0);
        template_table_free(t);
}

static void test_too_many(void **state) {
        _cleanup_(template_table_freep) TemplateTable *t = template_table_new();
        _cleanup_strv_ Strv errors = calloc(1, sizeof(char *));
        for (unsigned i = 0; i <= TEMPLATES_MAX; i++) {
                _cleanup_free_ char *text = strformat("templates: {t%u: {image: x}}", i);
                assert_int_equal(template_parse_buffer(t, "f.yaml", text, strlen(text), &errors), 0);
        }
        assert_int_equal(template_table_size(t), TEMPLATES_MAX);
        assert_int_equal(strv_length(errors), 1);
        assert_string_equal(errors[0], "f.yaml:1: Template \"t1000\" is not loaded: There are already 1000 templates; remove some.");
}

static void test_examples(void **state) {
        _cleanup_free_ char *dir = strformat("%s/docs/examples/templates.d", getenv("SOURCE_ROOT") ? getenv("SOURCE_ROOT") : ".");
        _cleanup_(template_table_freep) TemplateTable *t = NULL;
        _cleanup_strv_ Strv errors = NULL;
        assert_int_equal(template_table_load(dir, &t, &errors), 0);
        for (size_t i = 0; errors[i]; i++)
                fail_msg("%s", errors[i]);
        assert_int_equal(template_table_size(t), 4);
}

static void test_sizes(void **state) {
        double v;
        assert_int_equal(size_to_cpus("shared-cpu-1x", &v), 0);
        assert_float_equal(v, 1, 0);
        assert_int_equal(size_to_cpus("performance-16x", &v), 0);
        assert_float_equal(v, 16, 0);
        static const char *const bad[] = { "shared-cpu-16x", "performance-3x", "shared-cpu-", "", "shared-cpu-1", "shared-cpu-01x", "performance-1xx" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(size_to_cpus(bad[i], &v), -EINVAL);
}

static void test_names(void **state) {
        static const char *const good[] = { "a", "abc", "a-b", "a1", "abcdefghijabcdefghijabcdefghijabcdefghij" };
        static const char *const bad[] = { "", "1a", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "abcdefghijabcdefghijabcdefghijabcdefghijk" };
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_true(session_name_is_valid(good[i]));
                assert_false(session_id_is_valid(good[i]));
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(session_name_is_valid(bad[i]));
        assert_false(session_name_is_valid(NULL));
        assert_true(session_id_is_valid("0abcdefghjkm"));
        assert_false(session_name_is_valid("0abcdefghjkm"));
        static const char *const bad_ids[] = { "", "abcdefghjkmn", "0abcdefghjk", "0abcdefghjkmn", "0abcdefghijk", "0abcdefghjkL", "0abcdefghlmo" };
        for (size_t i = 0; i < ELEMENTSOF(bad_ids); i++)
                assert_false(session_id_is_valid(bad_ids[i]));
        assert_false(session_id_is_valid(NULL));
}

static void test_checks(void **state) {
        Refusal *refusal = NULL;
        _cleanup_free_ char *big = calloc(1, 40000);
        memset(big, 'x', 33000);
        big[1] = '=';

        assert_int_equal(env_assignment_check("A=b", NULL), 0);
        assert_int_equal(env_assignment_check("_a1=x=y\tz\n", NULL), 0);
        assert_int_equal(env_assignment_check("A=\xef\xbf\xbd\xef\xb7\x8f\xf0\x9f\xbf\xbd", NULL), 0);
        static const char *const bad[] = { "", "=", "=x", "A", "1=x", "A B=x", "A=\xff", "A=\x1b", "A={{x}}", "Ä=x",
                                            "A=\xef\xb7\x90", "A=\xef\xbf\xbe", "A=\xf0\x9f\xbf\xbf" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(env_assignment_check(bad[i], &refusal), -EBADRQC);
                assert_int_equal(refusal->code, REFUSAL_INVALID_ARGUMENT);
                assert_true(utf8_is_valid(refusal->message));
                refusal = refusal_free(refusal);
        }
        assert_int_equal(env_assignment_check(big, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
        assert_string_equal(refusal->message, "The environment variable x has a value of 32998 bytes; at most 32768 are allowed.");
        refusal = refusal_free(refusal);
        big[1] = 'x';
        big[300] = '=';
        assert_int_equal(env_assignment_check(big, &refusal), -EBADRQC);
        assert_string_equal(refusal->message, "The name of an environment variable has 300 bytes; at most 256 are allowed.");
        refusal = refusal_free(refusal);

        assert_int_equal(label_check("a.b/c-d_e", "value", NULL), 0);
        assert_int_equal(label_check("a", "", NULL), 0);
        assert_int_equal(label_check("swarmed", "", NULL), 0);
        static const char *const bad_keys[] = { "", ".a", "a.", "a b", "ä", "com.docker.a", "org.swarm.b", "swarm.session", "\xff" };
        for (size_t i = 0; i < ELEMENTSOF(bad_keys); i++) {
                assert_int_equal(label_check(bad_keys[i], "", &refusal), -EBADRQC);
                assert_true(utf8_is_valid(refusal->message));
                refusal = refusal_free(refusal);
        }
        big[300] = 'x';
        assert_int_equal(label_check(big, "", &refusal), -EBADRQC);
        refusal = refusal_free(refusal);
        assert_int_equal(label_check("a", big, &refusal), -EBADRQC);
        assert_int_equal(refusal->code, REFUSAL_LIMIT_EXCEEDED);
        refusal = refusal_free(refusal);

        double v;
        assert_int_equal(parse_cpus("2", &v), 0);
        assert_float_equal(v, 2, 0);
        assert_int_equal(parse_cpus("0.125", &v), 0);
        assert_float_equal(v, 0.125, 1e-12);
        static const char *const bad_cpus[] = { "", ".", "1.", ".5", "1e3", "0x1", "-1", "+1", "nan", "inf", "1.2345", "1 ", " 1", "12345678" };
        for (size_t i = 0; i < ELEMENTSOF(bad_cpus); i++)
                assert_int_equal(parse_cpus(bad_cpus[i], &v), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_everything), cmocka_unit_test(test_field_errors), cmocka_unit_test(test_template_errors),
                cmocka_unit_test(test_yaml_errors), cmocka_unit_test(test_cost), cmocka_unit_test(test_mixed),
                cmocka_unit_test(test_directory), cmocka_unit_test(test_too_many), cmocka_unit_test(test_examples),
                cmocka_unit_test(test_sizes), cmocka_unit_test(test_names), cmocka_unit_test(test_checks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
