/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <yaml.h>

#include "basic/string-util.h"
#include "core/yaml-node.h"

typedef struct Loader {
        yaml_parser_t parser;
        const char *data;
        size_t size;
        size_t n_nodes;
        unsigned error_line;
        char *error;
} Loader;

YamlNode *yaml_node_free(YamlNode *n) {
        if (!n)
                return NULL;
        for (size_t i = 0; i < n->n_items; i++)
                yaml_node_free(n->items[i]);
        free(n->items);
        free(n->value);
        free(n);
        return NULL;
}

bool yaml_node_is_null(const YamlNode *n) {
        return n->type == YAML_STRING && !n->quoted && STR_IN_SET(n->value, "", "~", "null", "Null", "NULL");
}

static int fail(Loader *l, unsigned line, const char *format, ...) _printf_(3, 4);
static int fail(Loader *l, unsigned line, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&l->error, format, ap) < 0)
                l->error = NULL;
        va_end(ap);
        l->error_line = line;
        return l->error ? -EBADMSG : -ENOMEM;
}

static unsigned line_of(const yaml_mark_t *mark) {
        return (unsigned) mark->line + 1;
}

/* The reader runs ahead of the scanner, and has no mark of its own, only an offset. */
static unsigned line_of_reader(const Loader *l) {
        unsigned line = 1;

        for (size_t i = 0; i < MIN(l->parser.problem_offset, l->size); i++)
                line += l->data[i] == '\n';
        return line;
}

static int next_event(Loader *l, yaml_event_t *ret) {
        if (yaml_parser_parse(&l->parser, ret))
                return 0;
        if (l->parser.error == YAML_MEMORY_ERROR)
                return -ENOMEM;
        return fail(l, l->parser.error == YAML_READER_ERROR ? line_of_reader(l) : line_of(&l->parser.problem_mark), "This is not valid YAML: %s.",
                    l->parser.problem ? l->parser.problem : "unknown error");
}

static YamlNode *node_new(Loader *l, YamlType type, const yaml_event_t *e) {
        YamlNode *n = calloc(1, sizeof(*n));
        if (n) {
                n->type = type;
                n->line = line_of(&e->start_mark);
        }
        return n;
}

/* Takes item, also on failure. */
static int node_add(YamlNode *n, YamlNode *item) {
        /* Doubles at each power of two. */
        if ((n->n_items & (n->n_items - 1)) == 0) {
                YamlNode **more = reallocarray(n->items, n->n_items ? n->n_items * 2 : 1, sizeof(*more));
                if (!more) {
                        yaml_node_free(item);
                        return -ENOMEM;
                }
                n->items = more;
        }
        n->items[n->n_items++] = item;
        return 0;
}

static int check_key(Loader *l, const YamlNode *map, const YamlNode *key) {
        if (key->type != YAML_STRING || yaml_node_is_null(key))
                return fail(l, key->line, "A key is missing or is not a string.");
        for (size_t i = 0; i + 1 < map->n_items; i += 2)
                if (streq(map->items[i]->value, key->value))
                        return fail(l, key->line, "The key \"%.40s\" is here for the second time, first in line %u; remove one.",
                                    key->value, map->items[i]->line);
        return 0;
}

static int load_node(Loader *l, const yaml_event_t *e, unsigned depth, YamlNode **ret);

static int load_items(Loader *l, YamlNode *n, yaml_event_type_t end, unsigned depth) {
        int r = 0;

        for (;;) {
                YamlNode *item = NULL;
                yaml_event_t e;

                r = next_event(l, &e);
                if (r < 0)
                        return r;
                if (e.type == end) {
                        yaml_event_delete(&e);
                        return 0;
                }
                size_t entries = n->type == YAML_MAP ? n->n_items / 2 : n->n_items;
                if (entries >= YAML_ENTRIES_MAX)
                        r = fail(l, line_of(&e.start_mark), "This list or map has more than %i entries.", YAML_ENTRIES_MAX);
                else
                        r = load_node(l, &e, depth, &item);
                yaml_event_delete(&e);
                if (r < 0)
                        return r;
                if (n->type == YAML_MAP && n->n_items % 2 == 0) {
                        r = check_key(l, n, item);
                        if (r < 0) {
                                yaml_node_free(item);
                                return r;
                        }
                }
                r = node_add(n, item);
                if (r < 0)
                        return r;
        }
}

static int load_string(Loader *l, const yaml_event_t *e, YamlNode *n) {
        const char *value = (const char *) e->data.scalar.value;

        if (strlen(value) != e->data.scalar.length)
                return fail(l, n->line, "This string holds a NUL character; remove it.");
        if (!utf8_is_valid(value))      /* libyaml takes what the bus does not */
                return fail(l, n->line, "This string holds what is no character of Unicode; remove it.");
        n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        n->value = strdup(value);
        return n->value ? 0 : -ENOMEM;
}

static int load_node(Loader *l, const yaml_event_t *e, unsigned depth, YamlNode **ret) {
        static const struct {
                yaml_event_type_t begin, end;
                YamlType type;
        } types[] = {
                { YAML_SCALAR_EVENT, YAML_NO_EVENT, YAML_STRING },
                { YAML_SEQUENCE_START_EVENT, YAML_SEQUENCE_END_EVENT, YAML_LIST },
                { YAML_MAPPING_START_EVENT, YAML_MAPPING_END_EVENT, YAML_MAP },
        };
        _cleanup_(yaml_node_freep) YamlNode *n = NULL;
        unsigned line = line_of(&e->start_mark);
        size_t i = 0;
        int r;

        if (e->type == YAML_ALIAS_EVENT)
                return fail(l, line, "Aliases (*name) are not allowed here; write the value out.");
        while (i < ELEMENTSOF(types) && types[i].begin != e->type)
                i++;
        if (i == ELEMENTSOF(types))
                return fail(l, line, "This is not valid YAML: a value is missing.");
        /* anchor and tag stand at the same places in the three event structs, but libyaml does not promise it. */
        if (e->type == YAML_SCALAR_EVENT ? !!e->data.scalar.anchor :
            e->type == YAML_SEQUENCE_START_EVENT ? !!e->data.sequence_start.anchor : !!e->data.mapping_start.anchor)
                return fail(l, line, "Anchors (&name) are not allowed here; write the value out.");
        if (e->type == YAML_SCALAR_EVENT ? !!e->data.scalar.tag :
            e->type == YAML_SEQUENCE_START_EVENT ? !!e->data.sequence_start.tag : !!e->data.mapping_start.tag)
                return fail(l, line, "Tags (!name) are not allowed here; remove it.");
        if (++l->n_nodes > YAML_NODES_MAX)
                return fail(l, line, "The file has more than %i values.", YAML_NODES_MAX);
        if (depth >= YAML_DEPTH_MAX)
                return fail(l, line, "This is nested more than %i deep.", YAML_DEPTH_MAX);

        n = node_new(l, types[i].type, e);
        if (!n)
                return -ENOMEM;
        r = n->type == YAML_STRING ? load_string(l, e, n) : load_items(l, n, types[i].end, depth + 1);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(n);
        return 0;
}

static int load_stream(Loader *l, YamlNode **ret) {
        _cleanup_(yaml_node_freep) YamlNode *root = NULL;
        unsigned documents = 0;

        for (bool done = false; !done;) {
                yaml_event_t e;
                int r = next_event(l, &e);
                if (r < 0)
                        return r;
                if (e.type == YAML_STREAM_END_EVENT)
                        done = true;
                else if (e.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
                        r = fail(l, line_of(&e.start_mark), "A second document begins here; use one file for each.");
                else if (!root && e.type != YAML_STREAM_START_EVENT &&
                         e.type != YAML_DOCUMENT_START_EVENT && e.type != YAML_DOCUMENT_END_EVENT)
                        r = load_node(l, &e, 0, &root);
                yaml_event_delete(&e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(root);
        return 0;
}

int yaml_load(const char *data, size_t size, YamlNode **ret, unsigned *reterr_line, char **reterr_text) {
        Loader l = { .data = data, .size = size };
        int r;

        if (size > YAML_SIZE_MAX) {
                *reterr_line = 0;
                *reterr_text = strdup("The file is larger than 1 MiB.");
                return *reterr_text ? -EBADMSG : -ENOMEM;
        }
        if (!yaml_parser_initialize(&l.parser))
                return -ENOMEM;
        /* Not what a byte order mark says: UTF-16 would pass by every check of bytes. */
        yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&l.parser, (const unsigned char *) data, size);
        r = load_stream(&l, ret);
        yaml_parser_delete(&l.parser);
        if (r == -EBADMSG) {
                *reterr_line = l.error_line;
                *reterr_text = l.error;
        } else
                free(l.error);
        return r;
}
