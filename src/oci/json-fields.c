/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/string-util.h"
#include "oci/json-fields.h"

#define VECTOR_STRING_MAX (16 * KIB)

static const void *member(const JsonField *f, const void *from) {
        return (const char *) from + f->offset;
}

static json_t *pack_strv(char *const *v) {
        json_t *array = json_array();

        STRV_FOREACH(s, v)
                if (json_array_append_new(array, json_string(*s)) < 0) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

/* 1 and *ret, 0 when the member is unset and stays out, or -EINVAL. */
static int pack_field(const JsonField *f, const void *from, json_t **ret) {
        const void *p = member(f, from);
        const char *s;
        char *const *v;
        uint64_t u;

        switch (f->type) {
        case JSON_FIELD_STRING:
                s = *(char *const *) p;
                if (!s)
                        return 0;
                *ret = json_string(s);
                break;
        case JSON_FIELD_U64:
                u = *(const uint64_t *) p;
                if (u == 0)
                        return 0;
                if (u > INT64_MAX)
                        return -EINVAL;
                *ret = json_integer((json_int_t) u);
                break;
        case JSON_FIELD_I64:
                *ret = json_integer(*(const int64_t *) p);
                break;
        case JSON_FIELD_UNSIGNED:
                if (*(const unsigned *) p == 0)
                        return 0;
                *ret = json_integer(*(const unsigned *) p);
                break;
        case JSON_FIELD_BOOL:
                if (!*(const bool *) p)
                        return 0;
                *ret = json_true();
                break;
        case JSON_FIELD_STRV:
                v = *(const Strv *) p;
                if (strv_length(v) == 0)
                        return 0;
                *ret = pack_strv(v);
                break;
        }
        return *ret ? 1 : -EINVAL;
}

json_t *json_fields_pack(const JsonField *fields, const void *from) {
        _cleanup_json_ json_t *object = json_object();

        for (const JsonField *f = fields; f->name; f++) {
                json_t *value = NULL;
                int r = pack_field(f, from, &value);
                if (r < 0 || (r > 0 && json_object_set_new(object, f->name, value) < 0))
                        return NULL;
        }
        return TAKE_PTR(object);
}

static int unpack_string(const json_t *j, size_t max, char **to) {
        const char *s = json_string_value(j);

        if (!s || strlen(s) > max || strlen(s) != json_string_length(j))
                return -EINVAL;
        return free_and_strdup(to, s);
}

static int unpack_strv(const json_t *j, size_t max, Strv *to) {
        size_t n = json_array_size(j);

        if (!json_is_array(j) || n > max)
                return -EINVAL;
        Strv v = calloc(n + 1, sizeof(char *));
        if (!v)
                return -ENOMEM;
        strv_free(*to);
        *to = v;
        for (size_t i = 0; i < n; i++) {
                int r = unpack_string(json_array_get(j, i), VECTOR_STRING_MAX, v + i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int unpack_integer(const json_t *j, json_int_t min, json_int_t max, json_int_t *ret) {
        *ret = json_integer_value(j);
        return json_is_integer(j) && *ret >= min && *ret <= max ? 0 : -EINVAL;
}

static int unpack_field(const JsonField *f, const json_t *j, void *to) {
        void *p = (char *) to + f->offset;
        json_int_t i;
        int r;

        switch (f->type) {
        case JSON_FIELD_STRING:
                return unpack_string(j, f->max, p);
        case JSON_FIELD_STRV:
                return unpack_strv(j, f->max, p);
        case JSON_FIELD_U64:
                r = unpack_integer(j, 0, INT64_MAX, &i);
                if (r >= 0)
                        *(uint64_t *) p = (uint64_t) i;
                return r;
        case JSON_FIELD_I64:
                r = unpack_integer(j, INT64_MIN, INT64_MAX, &i);
                if (r >= 0)
                        *(int64_t *) p = i;
                return r;
        case JSON_FIELD_UNSIGNED:
                r = unpack_integer(j, 0, UINT32_MAX, &i);
                if (r >= 0)
                        *(unsigned *) p = (unsigned) i;
                return r;
        case JSON_FIELD_BOOL:
                *(bool *) p = json_is_true(j);
                return json_is_boolean(j) ? 0 : -EINVAL;
        }
        return -EINVAL;
}

static const JsonField *find_field(const JsonField *fields, const char *name) {
        for (const JsonField *f = fields; f->name; f++)
                if (streq(f->name, name))
                        return f;
        return NULL;
}

int json_fields_unpack(json_t *object, const JsonField *fields, const char *const *also, void *to, const char **ret_bad) {
        const char *key;
        json_t *value;

        if (!json_is_object(object))
                return -EINVAL;
        json_object_foreach(object, key, value) {
                const JsonField *f = find_field(fields, key);
                int r = f ? unpack_field(f, value, to) : also && str_in_set(key, also) ? 0 : -EINVAL;
                if (r < 0) {
                        if (ret_bad)
                                *ret_bad = key;
                        return r;
                }
        }
        return 0;
}

void json_fields_free(const JsonField *fields, void *from) {
        for (const JsonField *f = fields; f->name; f++) {
                void *p = (char *) from + f->offset;
                if (f->type == JSON_FIELD_STRING) {
                        free(*(char **) p);
                        *(char **) p = NULL;
                } else if (f->type == JSON_FIELD_STRV)
                        *(Strv *) p = strv_free(*(Strv *) p);
        }
}

/* Jansson takes some 250 bytes for what is three in the text ("{},"): 8 MiB of that would fill 600 MiB, and their copy as much. */
static bool has_too_many_values(const char *data, size_t size) {
        bool in_string = false;
        size_t n = 0;

        for (size_t i = 0; i < size && n < JSON_VALUES_MAX; i++)
                if (data[i] == '"')
                        in_string = !in_string;
                else if (in_string)
                        i += data[i] == '\\';
                else
                        n += data[i] == ',' || data[i] == '{' || data[i] == '[';
        return n >= JSON_VALUES_MAX;
}

json_t *json_object_from_string(const char *data, size_t size) {
        json_t *j = has_too_many_values(data, size) ? NULL : json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);

        if (!json_is_object(j)) {
                json_decref(j);
                return NULL;
        }
        return j;
}

int json_to_string(const json_t *object, bool newline, char **ret) {
        _cleanup_free_ char *s = json_dumps(object, JSON_COMPACT);

        if (!s)
                return -ENOMEM;
        if (!newline) {
                *ret = TAKE_PTR(s);
                return 0;
        }
        char *line = strformat("%s\n", s);
        explicit_bzero(s, strlen(s));
        if (!line)
                return -ENOMEM;
        *ret = line;
        return 0;
}
