/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "basic/log.h"
#include "basic/nearest.h"
#include "core/identifier.h"
#include "core/rules.h"
#include "core/template-parser.h"
#include "core/yaml-node.h"

#define IMAGE_MAX 512
#define DESCRIPTION_MAX 256
#define ARGUMENT_MAX (32 * KIB)

#define CPUS_MIN 0.1
#define CPUS_MAX 16.0
#define MEMORY_MIN (64 * MIB)
#define MEMORY_MAX (32 * GIB)

typedef struct Parser {
        TemplateTable *table;
        const char *path;
        Strv *errors;
        const char *name;               /* of the template, NULL outside of one */
        const char *key;                /* of the field */
} Parser;

int template_report(Strv *errors, const char *path, unsigned line, const char *text) {
        _cleanup_free_ char *place = line > 0 ? strformat("%s:%u", path, line) : strdup(path);
        _cleanup_free_ char *file = strformat("CONFIG_FILE=%s", path), *number = strformat("CONFIG_LINE=%u", line);
        if (!place || !file || !number)
                return -ENOMEM;

        const char *extra[] = { file, number, NULL };
        log_event(LOG_WARNING, MESSAGE_CONFIG_INVALID, LOG_FIELDS(.extra = extra), "%s: %s", place, text);
        return strv_consume(errors, strformat("%s: %s", place, text));
}

/* Reports a mistake; the template is not loaded. -EBADMSG. */
static int fail(Parser *p, const YamlNode *n, const char *format, ...) _printf_(3, 4);
static int fail(Parser *p, const YamlNode *n, const char *format, ...) {
        _cleanup_free_ char *what = NULL, *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&what, format, ap) < 0)
                what = NULL;
        va_end(ap);
        if (!what)
                return -ENOMEM;
        text = p->name ? strformat("Template \"%.60s\" is not loaded: %s", p->name, what) : strdup(what);
        if (!text)
                return -ENOMEM;
        int r = template_report(p->errors, p->path, n->line, text);
        return r < 0 ? r : -EBADMSG;
}

/* A refusal of the rules that requests share. */
static int fail_refused(Parser *p, const YamlNode *n, int r, Refusal *refusal) {
        if (r == -EBADRQC)
                r = fail(p, n, "%s: %s", p->key, refusal->message);
        refusal_free(refusal);
        return r;
}

static int want_string(Parser *p, const YamlNode *n, size_t max, const char **ret) {
        *ret = "";
        if (n->type != YAML_STRING)
                return fail(p, n, "\"%s\" takes a single value, not a list or map.", p->key);
        if (yaml_node_is_null(n) || !*n->value)
                return fail(p, n, "\"%s\" has no value; give one or remove the line.", p->key);
        if (strlen(n->value) > max)
                return fail(p, n, "\"%s\" has %zu bytes; at most %zu are allowed.", p->key, strlen(n->value), max);
        *ret = n->value;
        return 0;
}

static int want_range(Parser *p, const YamlNode *n, bool good, const char *form) {
        return good ? 0 : fail(p, n, "\"%s\" must be %s, \"%.40s\" is not.", p->key, form, n->value);
}

static bool is_printable(const char *s) {
        for (; *s; s++)
                if ((unsigned char) *s < ' ' || *s == 0x7f)
                        return false;
        return true;
}

static int parse_image(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        int r = want_string(p, n, IMAGE_MAX, &s);
        if (r >= 0)
                r = want_range(p, n, is_printable(s) && !strchr(s, ' ') && !strstr(s, "://") && *s != '-',
                               "an image reference such as registry.example.com/team/image:tag");
        return r < 0 ? r : free_and_strdup(field, s);
}

static int parse_size_name(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        double cpus;
        int r = want_string(p, n, 64, &s);
        if (r >= 0)
                r = want_range(p, n, size_to_cpus(s, &cpus) >= 0, "a size such as shared-cpu-1x, shared-cpu-2x or performance-4x");
        return r < 0 ? r : free_and_strdup(field, s);
}

static int parse_cpus_field(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        double v;
        int r = want_string(p, n, 32, &s);
        if (r >= 0)
                r = want_range(p, n, parse_cpus(s, &v) >= 0 && v >= CPUS_MIN && v <= CPUS_MAX, "a number of cpus from 0.1 to 16");
        if (r >= 0)
                *(double *) field = v;
        return r;
}

static int parse_memory(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        uint64_t v = 0;
        int r = want_string(p, n, 32, &s);
        if (r < 0)
                return r;
        /* A bare number is MiB, as on Fly; one with a unit says itself what it is. */
        bool bare = strspn(s, "0123456789") == strlen(s);
        bool good = parse_size(s, &v) >= 0 && (!bare || !__builtin_mul_overflow(v, MIB, &v)) && v >= MEMORY_MIN && v <= MEMORY_MAX;
        r = want_range(p, n, good, "a number of MiB (or a size such as 2G) from 64 to 32768");
        if (r >= 0)
                *(uint64_t *) field = v;
        return r;
}

static int parse_percent(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        uint64_t v = 0;
        int r = want_string(p, n, 8, &s);
        if (r >= 0)
                r = want_range(p, n, parse_u64(s, &v) >= 0 && v <= 100, "a whole number from 0 to 100");
        if (r >= 0)
                *(int *) field = (int) v;
        return r;
}

static int parse_span(Parser *p, const YamlNode *n, usec_t min, usec_t max, const char *form, usec_t *ret) {
        const char *s;
        usec_t v = 0;
        int r = want_string(p, n, 64, &s);
        if (r < 0)
                return r;
        bool infinite = STR_IN_SET(s, "never", "infinity");
        if (infinite)
                v = USEC_INFINITY;
        r = want_range(p, n, (infinite || parse_usec(s, &v) >= 0) && v >= min && v <= max, form);
        if (r >= 0)
                *ret = v;
        return r;
}

static int parse_idle_timeout(Parser *p, const YamlNode *n, void *field) {
        return parse_span(p, n, 60 * USEC_PER_SEC, USEC_INFINITY, "a time span from 1min on, such as 45min or 2h, or \"never\"", field);
}

static int parse_stop_grace(Parser *p, const YamlNode *n, void *field) {
        return parse_span(p, n, USEC_PER_SEC, 600 * USEC_PER_SEC, "a time span from 1s to 10min", field);
}

static int parse_interval(Parser *p, const YamlNode *n, void *field) {
        return parse_span(p, n, USEC_PER_SEC, 3600 * USEC_PER_SEC, "a time span from 1s to 1h", field);
}

static int parse_retries(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        uint64_t v = 0;
        int r = want_string(p, n, 8, &s);
        if (r >= 0)
                r = want_range(p, n, parse_u64(s, &v) >= 0 && v >= 1 && v <= 100, "a whole number from 1 to 100");
        if (r >= 0)
                *(unsigned *) field = (unsigned) v;
        return r;
}

static int check_entries(Parser *p, const YamlNode *n, size_t entries) {
        if (entries == 0)
                return fail(p, n, "\"%s\" is empty; fill or remove it.", p->key);
        if (entries > TEMPLATE_ENTRIES_MAX)
                return fail(p, n, "\"%s\" has %zu entries; at most %i are allowed.", p->key, entries, TEMPLATE_ENTRIES_MAX);
        return 0;
}

/* Strings of a list as they are; an empty one must be quoted to be meant. */
static int parse_list(Parser *p, const YamlNode *n, Strv *ret) {
        _cleanup_strv_ Strv v = NULL;
        int r = check_entries(p, n, n->n_items);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n->n_items; i++) {
                const YamlNode *item = n->items[i];
                if (item->type != YAML_STRING || yaml_node_is_null(item))
                        return fail(p, item, "Each entry of \"%s\" must be a string; put quotes around what YAML takes for something else.", p->key);
                if (strlen(item->value) > ARGUMENT_MAX)
                        return fail(p, item, "An entry of \"%s\" has %zu bytes; at most 32768 are allowed.", p->key, strlen(item->value));
                r = strv_extend(&v, item->value);
                if (r < 0)
                        return r;
        }
        strv_free(*ret);
        *ret = TAKE_PTR(v);
        return 0;
}

static int parse_command(Parser *p, const YamlNode *n, void *field) {
        if (n->type != YAML_LIST)
                return fail(p, n, "\"command\" must be a list of arguments, such as [sleep, infinity]; for a line of shell write [sh, -c, \"…\"].");
        return parse_list(p, n, field);
}

static int env_check(const char *key, const char *value, Refusal **reterr_refusal) {
        _cleanup_free_ char *s = strformat("%s=%s", key, value);
        return s ? env_assignment_check(s, reterr_refusal) : -ENOMEM;
}

typedef int (*pair_check)(const char *key, const char *value, Refusal **reterr_refusal);

/* One KEY=value; a key may be there once. */
static int add_pair(Parser *p, const YamlNode *n, const char *key, const char *value, pair_check check, Strv *pairs) {
        _cleanup_free_ char *pair = strformat("%s=%s", key, value);
        Refusal *refusal = NULL;
        int r;

        if (!pair)
                return -ENOMEM;
        r = check(key, value, &refusal);
        if (r < 0)
                return fail_refused(p, n, r, refusal);
        STRV_FOREACH(i, *pairs)
                if (strncmp(*i, pair, strlen(key) + 1) == 0)
                        return fail(p, n, "%s: %s is here for the second time; remove one.", p->key, key);
        return strv_consume(pairs, TAKE_PTR(pair));
}

/* {K: v, …} */
static int parse_pair_map(Parser *p, const YamlNode *n, pair_check check, Strv *ret) {
        for (size_t i = 0; i < n->n_items; i += 2) {
                const YamlNode *key = n->items[i], *value = n->items[i + 1];
                if (value->type != YAML_STRING || yaml_node_is_null(value))
                        return fail(p, value, "%s: %.60s has no single value; put quotes around it (\"\" for an empty one).", p->key, key->value);
                int r = add_pair(p, value, key->value, value->value, check, ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* [K=v, …] */
static int parse_pair_list(Parser *p, const YamlNode *n, pair_check check, Strv *ret) {
        for (size_t i = 0; i < n->n_items; i++) {
                const YamlNode *item = n->items[i];
                const char *equals = item->type == YAML_STRING ? strchr(item->value, '=') : NULL;
                if (!equals)
                        return fail(p, item, "Each entry of \"%s\" must be of the form NAME=value.", p->key);
                _cleanup_free_ char *key = strndup(item->value, (size_t) (equals - item->value));
                int r = key ? add_pair(p, item, key, equals + 1, check, ret) : -ENOMEM;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_pairs(Parser *p, const YamlNode *n, pair_check check, Strv *ret) {
        int r;

        if (n->type == YAML_STRING)
                return fail(p, n, "\"%s\" must be a list [NAME=value, …] or a map {NAME: value, …}.", p->key);
        r = check_entries(p, n, n->type == YAML_MAP ? n->n_items / 2 : n->n_items);
        if (r < 0)
                return r;
        return n->type == YAML_MAP ? parse_pair_map(p, n, check, ret) : parse_pair_list(p, n, check, ret);
}

static int parse_env(Parser *p, const YamlNode *n, void *field) {
        return parse_pairs(p, n, env_check, field);
}

static int parse_labels(Parser *p, const YamlNode *n, void *field) {
        return parse_pairs(p, n, label_check, field);
}

static int parse_features(Parser *p, const YamlNode *n, void *field) {
        Strv *features = field;

        if (n->type != YAML_LIST)
                return fail(p, n, "\"features\" must be a list of words, such as [mcp, claude-code].");
        int r = parse_list(p, n, features);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n->n_items; i++) {
                /* They become one environment variable with commas between them. */
                if (!session_name_is_valid(n->items[i]->value))
                        return fail(p, n->items[i], "The feature \"%.60s\" is not a word of at most 40 lower case letters, digits and \"-\".",
                                    n->items[i]->value);
                for (size_t j = 0; j < i; j++)
                        if (streq(n->items[i]->value, n->items[j]->value))
                                return fail(p, n->items[i], "The feature \"%s\" is here for the second time; remove one.", n->items[i]->value);
        }
        return 0;
}

static int parse_routes(Parser *p, const YamlNode *n, void *field) {
        int r;

        if (n->type != YAML_MAP)
                return fail(p, n, "\"routes\" must be a map of names and ports, such as {web: 3000}.");
        r = check_entries(p, n, n->n_items / 2);
        for (size_t i = 0; r >= 0 && i < n->n_items; i += 2) {
                const char *name = n->items[i]->value;
                const YamlNode *port = n->items[i + 1];
                uint64_t v;
                if (!session_name_is_valid(name))
                        return fail(p, n->items[i], "The route \"%.60s\" is not a word of at most 40 lower case letters, digits and \"-\".", name);
                if (port->type != YAML_STRING || parse_u64(port->value, &v) < 0 || v < 1 || v > UINT16_MAX)
                        return fail(p, port, "The route \"%s\" must be a port from 1 to 65535.", name);
                r = strv_consume(field, strformat("%s=%" PRIu64, name, v));
        }
        return r;
}

/* A line of shell, or an argument vector in the Engine's form. */
static int parse_health_test(Parser *p, const YamlNode *n, void *field) {
        Strv *ret = field;
        const char *s;
        int r;

        if (n->type == YAML_STRING) {
                r = want_string(p, n, ARGUMENT_MAX, &s);
                if (r >= 0)
                        r = strv_extend(ret, "CMD-SHELL");
                return r < 0 ? r : strv_extend(ret, s);
        }
        r = n->type == YAML_LIST ? parse_list(p, n, ret) : -EINVAL;
        if (r < 0 && r != -EINVAL)
                return r;
        size_t k = strv_length(*ret);
        if (r >= 0 && ((streq((*ret)[0], "NONE") && k == 1) || (streq((*ret)[0], "CMD-SHELL") && k == 2) ||
                       (streq((*ret)[0], "CMD") && k >= 2)))
                return 0;
        return fail(p, n, "\"%s\" must be a line of shell, or a list [CMD, program, argument, …], [CMD-SHELL, line] or [NONE].", p->key);
}

typedef struct Field {
        const char *key;
        int (*parse)(Parser *p, const YamlNode *n, void *field);
        size_t offset;
} Field;

static int parse_fields(Parser *p, const YamlNode *map, const Field *fields, size_t n_fields, const char *of, Template *t);

static int parse_healthcheck(Parser *p, const YamlNode *n, void *field) {
        static const Field fields[] = {
                { "test", parse_health_test, offsetof(Template, healthcheck) },
                { "interval", parse_interval, offsetof(Template, healthcheck_interval_usec) },
                { "retries", parse_retries, offsetof(Template, healthcheck_retries) },
        };
        Template *t = CONTAINER_OF(field, Template, healthcheck);
        int r;

        if (n->type != YAML_MAP)
                return parse_health_test(p, n, field);
        r = parse_fields(p, n, fields, ELEMENTSOF(fields), " of \"healthcheck\"", t);
        if (r >= 0 && !t->healthcheck)
                return fail(p, n, "\"healthcheck\" has no \"test\"; add the line of shell that is to be run.");
        return r;
}

static int parse_volumes(Parser *p, const YamlNode *n, void *field) {
        if (n->type != YAML_STRING || !streq(n->value, "ephemeral"))
                return fail(p, n, "\"volumes\" can only be \"ephemeral\", which says that what the image's VOLUMEs hold may be lost.");
        *(bool *) field = true;
        return 0;
}

static int parse_provider(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        int r = want_string(p, n, 32, &s);
        if (r >= 0)
                r = want_range(p, n, STR_IN_SET(s, "swarm", "fly", "fake"), "\"swarm\", \"fly\" or \"fake\"");
        return r < 0 ? r : free_and_strdup(field, s);
}

static int parse_description(Parser *p, const YamlNode *n, void *field) {
        const char *s;
        int r = want_string(p, n, DESCRIPTION_MAX, &s);
        if (r >= 0 && !is_printable(s))
                r = fail(p, n, "\"description\" must be one line without control characters.");
        return r < 0 ? r : free_and_strdup(field, s);
}

static const Field template_fields[] = {
        { "image", parse_image, offsetof(Template, image) },
        { "size", parse_size_name, offsetof(Template, size) },
        { "cpus", parse_cpus_field, offsetof(Template, cpus) },
        { "memory", parse_memory, offsetof(Template, memory_bytes) },
        { "cpu_reservation_percent", parse_percent, offsetof(Template, cpu_reservation_percent) },
        { "memory_reservation_percent", parse_percent, offsetof(Template, memory_reservation_percent) },
        { "command", parse_command, offsetof(Template, command) },
        { "env", parse_env, offsetof(Template, env) },
        { "labels", parse_labels, offsetof(Template, labels) },
        { "features", parse_features, offsetof(Template, features) },
        { "routes", parse_routes, offsetof(Template, routes) },
        { "idle_timeout", parse_idle_timeout, offsetof(Template, idle_timeout_usec) },
        { "stop_grace", parse_stop_grace, offsetof(Template, stop_grace_usec) },
        { "healthcheck", parse_healthcheck, offsetof(Template, healthcheck) },
        { "volumes", parse_volumes, offsetof(Template, volumes_ephemeral) },
        { "provider", parse_provider, offsetof(Template, provider) },
        { "description", parse_description, offsetof(Template, description) },
};

/* `of` says in messages what the keys belong to. */
static int parse_fields(Parser *p, const YamlNode *map, const Field *fields, size_t n_fields, const char *of, Template *t) {
        const char *names[ELEMENTSOF(template_fields) + 1] = {};

        for (size_t i = 0; i < n_fields; i++)
                names[i] = fields[i].key;
        for (size_t i = 0; i < map->n_items; i += 2) {
                const char *key = map->items[i]->value;
                size_t j = 0;
                while (j < n_fields && !streq(fields[j].key, key))
                        j++;
                if (j == n_fields) {
                        const char *near = nearest_word(key, names);
                        return fail(p, map->items[i], "Unknown key \"%.60s\"%s%s%s%s", key, of, near ? ", did you mean \"" : ".",
                                    strempty(near), near ? "\"?" : "");
                }
                p->key = fields[j].key;
                int r = fields[j].parse(p, map->items[i + 1], (char *) t + fields[j].offset);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_template(Parser *p, const YamlNode *key, const YamlNode *map, Template *t) {
        int r;

        p->name = key->value;
        if (!session_name_is_valid(key->value))
                return fail(p, key, "A name has at most 40 lower case letters, digits and \"-\", begins with a letter and does not end in \"-\".");
        if (map->type != YAML_MAP)
                return fail(p, map, "It must be a map of keys and values, such as {image: debian:12}.");
        *t = (Template) {
                .cpu_reservation_percent = -1,
                .memory_reservation_percent = -1,
                .healthcheck_interval_usec = 30 * USEC_PER_SEC,
                .healthcheck_retries = 3,
        };
        r = parse_fields(p, map, template_fields, ELEMENTSOF(template_fields), "", t);
        if (r < 0)
                return r;
        if (!t->image)
                return fail(p, key, "It has no \"image\"; add one.");
        /* An explicit figure wins over what the size stands for. */
        if (t->size && t->cpus == 0)
                (void) size_to_cpus(t->size, &t->cpus);
        r = free_and_strdup(&t->name, key->value);
        return r < 0 ? r : free_and_strdup(&t->path, p->path);
}

static int parse_templates(Parser *p, const YamlNode *map) {
        for (size_t i = 0; i < map->n_items; i += 2) {
                Template t = {};
                int r = parse_template(p, map->items[i], map->items[i + 1], &t);
                if (r >= 0)
                        r = template_table_add(p->table, &t);
                if (r == -E2BIG)
                        r = fail(p, map->items[i], "There are already %i templates; remove some.", TEMPLATES_MAX);
                template_done(&t);
                if (r < 0 && r != -EBADMSG)
                        return r;
        }
        return 0;
}

static int parse_root(Parser *p, const YamlNode *root) {
        if (root->type != YAML_MAP || root->n_items == 0)
                return fail(p, root, "The file must hold one key, \"templates\"; nothing of it is loaded.");
        for (size_t i = 0; i < root->n_items; i += 2)
                if (!streq(root->items[i]->value, "templates"))
                        return fail(p, root->items[i], "Unknown key \"%.60s\", only \"templates\" is known here; nothing of the file is loaded.",
                                    root->items[i]->value);
        if (root->items[1]->type != YAML_MAP)
                return fail(p, root->items[1], "\"templates\" must be a map of names and templates; nothing of the file is loaded.");
        return parse_templates(p, root->items[1]);
}

int template_parse_buffer(TemplateTable *table, const char *path, const char *data, size_t size, Strv *errors) {
        _cleanup_(yaml_node_freep) YamlNode *root = NULL;
        _cleanup_free_ char *error = NULL, *text = NULL;
        Parser p = { .table = table, .path = path, .errors = errors };
        unsigned line;
        int r;

        r = yaml_load(data, size, &root, &line, &error);
        if (r == -EBADMSG) {
                text = strformat("%s Nothing of the file is loaded.", error);
                return text ? template_report(errors, path, line, text) : -ENOMEM;
        }
        if (r < 0 || !root)
                return r;
        r = parse_root(&p, root);
        return r == -EBADMSG ? 0 : r;
}
