/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small YAML document as a tree with line numbers. Of YAML 1.1 as libyaml reads it, only what a configuration needs:
 * no anchors and aliases (a few bytes of them stand for gigabytes), no tags, no second document, no key that is not a
 * plain string, no key twice. */

#include "basic/macro.h"

#define YAML_SIZE_MAX (1 * MIB)
#define YAML_DEPTH_MAX 6
#define YAML_NODES_MAX 20000
#define YAML_ENTRIES_MAX 1000                   /* of one list or map */

typedef enum YamlType {
        YAML_STRING,
        YAML_LIST,
        YAML_MAP,
} YamlType;

typedef struct YamlNode YamlNode;
struct YamlNode {
        YamlType type;
        unsigned line;                          /* from 1 */
        char *value;                            /* string: UTF-8 */
        bool quoted;                            /* string: 'x', "x", | or > */
        YamlNode **items;                       /* list: items; map: key, value, key, value … */
        size_t n_items;                         /* of a map: twice its entries */
};

YamlNode *yaml_node_free(YamlNode *n);
DEFINE_CLEANUP(YamlNode *, yaml_node_free)

/* An empty document gives NULL. -EBADMSG: refused; *reterr_line and *reterr_text (a full sentence) say why. -ENOMEM. */
int yaml_load(const char *data, size_t size, YamlNode **ret, unsigned *reterr_line, char **reterr_text);

/* Nothing, ~ or null. */
bool yaml_node_is_null(const YamlNode *n);
