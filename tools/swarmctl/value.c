/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "value.h"

static int read_basic(sd_bus_message *m, char type, json_t **ret) {
        union {
                uint8_t u8;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
                int fd;
        } v = {};

        int r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        switch (type) {
        case SD_BUS_TYPE_BYTE:
                *ret = json_integer(v.u8);
                break;
        case SD_BUS_TYPE_BOOLEAN:
                *ret = json_boolean(v.b);
                break;
        case SD_BUS_TYPE_INT16:
                *ret = json_integer(v.n);
                break;
        case SD_BUS_TYPE_UINT16:
                *ret = json_integer(v.q);
                break;
        case SD_BUS_TYPE_INT32:
                *ret = v.i >= 0 ? json_integer(v.i) : json_null();
                break;
        case SD_BUS_TYPE_UINT32:
                *ret = v.u != UINT32_MAX ? json_integer(v.u) : json_null();
                break;
        case SD_BUS_TYPE_INT64:
                *ret = v.x >= 0 ? json_integer(v.x) : json_null();
                break;
        case SD_BUS_TYPE_UINT64:
                *ret = v.t <= INT64_MAX ? json_integer((json_int_t) v.t) : json_null();
                break;
        case SD_BUS_TYPE_DOUBLE:
                *ret = v.d >= 0 ? json_real(v.d) : NULL;        /* no JSON for what is not finite either */
                if (!*ret)
                        *ret = json_null();
                break;
        case SD_BUS_TYPE_UNIX_FD:
                *ret = json_integer(v.fd);
                break;
        default:
                *ret = json_string(v.s);
        }
        return *ret ? 0 : -ENOMEM;
}

static int read_variant(sd_bus_message *m, const char *contents, json_t **ret) {
        _cleanup_json_ json_t *value = NULL;

        int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, contents);
        if (r >= 0)
                r = value_read(m, &value);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(value);
        return 0;
}

static int read_dict(sd_bus_message *m, const char *contents, json_t **ret) {
        _cleanup_json_ json_t *object = json_object();
        int r;

        if (!object)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, contents);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                _cleanup_json_ json_t *key = NULL, *value = NULL;
                _cleanup_free_ char *dumped = NULL;

                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, NULL);
                if (r >= 0)
                        r = value_read(m, &key);
                if (r >= 0)
                        r = value_read(m, &value);
                if (r < 0)
                        return r;
                if (!json_is_string(key) && !(dumped = json_dumps(key, JSON_ENCODE_ANY)))
                        return -ENOMEM;
                if (json_object_set(object, dumped ? dumped : json_string_value(key), value) < 0)
                        return -ENOMEM;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(object);
        return 0;
}

static int read_sequence(sd_bus_message *m, char type, const char *contents, json_t **ret) {
        _cleanup_json_ json_t *array = json_array();
        int r;

        if (!array)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                json_t *value = NULL;

                r = value_read(m, &value);
                if (r < 0)
                        return r;
                if (json_array_append_new(array, value) < 0)
                        return -ENOMEM;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(array);
        return 0;
}

int value_read(sd_bus_message *m, json_t **ret) {
        const char *contents;
        char type;

        int r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;
        if (type == SD_BUS_TYPE_VARIANT)
                return read_variant(m, contents, ret);
        if (type == SD_BUS_TYPE_ARRAY && *contents == SD_BUS_TYPE_DICT_ENTRY_BEGIN)
                return read_dict(m, contents, ret);
        if (type == SD_BUS_TYPE_ARRAY || type == SD_BUS_TYPE_STRUCT)
                return read_sequence(m, type, contents, ret);
        return read_basic(m, type, ret);
}

const char *value_string(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

uint64_t value_u64(const json_t *object, const char *key) {
        const json_t *v = json_object_get(object, key);
        return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t) json_integer_value(v) : 0;
}
