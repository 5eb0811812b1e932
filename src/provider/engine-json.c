/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <time.h>

#include "provider/engine-json.h"

json_t *json_at_keys(const json_t *o, const char *const *keys) {
        for (; *keys && o; keys++)
                o = json_object_get(o, *keys);
        return (json_t *) o;
}

uint64_t json_u64(const json_t *o) {
        json_int_t v = json_integer_value(o);
        return v > 0 ? (uint64_t) v : 0;
}

int json_take(json_t *o, const char *key, json_t *value) {
        /* Also fails, and drops the value, when it is NULL. */
        return json_object_set_new(o, key, value) < 0 ? -ENOMEM : 0;
}

int json_take_string(json_t *o, const char *key, const char *value) {
        return value ? json_take(o, key, json_string(value)) : 0;
}

int json_take_u64(json_t *o, const char *key, uint64_t value) {
        return json_take(o, key, json_integer((json_int_t) MIN(value, (uint64_t) INT64_MAX)));
}

int json_object_ensure(json_t *o, const char *key, json_t **ret) {
        json_t *v = json_object_get(o, key);

        if (!json_is_object(v)) {
                v = json_object();
                if (json_object_set_new(o, key, v) < 0)
                        return -ENOMEM;
        }
        *ret = v;
        return 0;
}

json_t *json_strv(char *const *v) {
        _cleanup_json_ json_t *a = json_array();

        STRV_FOREACH(s, v)
                if (!a || json_array_append_new(a, json_string(*s)) < 0)
                        return NULL;
        return TAKE_PTR(a);
}

/* The digits behind a decimal point as microseconds; moves *s behind them. */
static usec_t parse_fraction(const char **s) {
        usec_t v = 0, unit = USEC_PER_SEC / 10;

        if (**s != '.')
                return 0;
        for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
                v += (usec_t) (**s - '0') * unit;
        return v;
}

usec_t json_timestamp(const json_t *o) {
        const char *s = json_string_value(o);
        struct tm tm = {};
        int hours, minutes;
        char sign;
        time_t t;

        s = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
        if (!s)
                return 0;
        usec_t fraction = parse_fraction(&s);
        t = timegm(&tm);
        if (sscanf(s, "%c%2d:%2d", &sign, &hours, &minutes) == 3)
                t -= (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
        if (t <= 0 || t > INT64_C(1) << 40)
                return 0;
        return (usec_t) t * USEC_PER_SEC + fraction;
}

static int stream_append(JsonStream *s, const char *data, size_t size) {
        size_t need = s->size + size, n = MAX(s->allocated, (size_t) 1024);
        char *p;

        if (need > JSON_STREAM_OBJECT_MAX)
                return -E2BIG;
        if (need > s->allocated) {
                while (n < need)
                        n *= 2;
                p = realloc(s->buffer, n);
                if (!p)
                        return -ENOMEM;
                s->buffer = p;
                s->allocated = n;
        }
        memcpy(s->buffer + s->size, data, size);
        s->size += size;
        return 0;
}

/* Follows one byte. 1: it ends an object, 0: goes on, -EBADMSG: cannot be where it is. */
static int stream_step(JsonStream *s, char c) {
        if (s->in_string) {
                if (s->escaped)
                        s->escaped = false;
                else if (c == '\\')
                        s->escaped = true;
                else if (c == '"')
                        s->in_string = false;
                return 0;
        }
        if (c == '{') {
                s->depth++;
                return 0;
        }
        if (s->depth == 0)
                return strchr(" \t\r\n\x1e", c) && c ? 0 : -EBADMSG;
        if (c == '"')
                s->in_string = true;
        else if (c == '}' && --s->depth == 0)
                return 1;
        return 0;
}

static int stream_emit(JsonStream *s, json_stream_cb cb, void *userdata) {
        _cleanup_json_ json_t *o = json_loadb(s->buffer, s->size, JSON_ALLOW_NUL, NULL);

        s->size = 0;
        return o ? cb(o, userdata) : -EBADMSG;
}

int json_stream_feed(JsonStream *s, const char *data, size_t size, json_stream_cb cb, void *userdata) {
        size_t begin = 0;
        int r;

        for (size_t i = 0; i < size; i++) {
                bool outside = s->depth == 0;
                r = stream_step(s, data[i]);
                if (r < 0)
                        return r;
                if (outside)
                        begin = s->depth == 0 ? i + 1 : i;
                if (r == 0)
                        continue;
                r = stream_append(s, data + begin, i + 1 - begin);
                if (r < 0)
                        return r;
                begin = i + 1;
                r = stream_emit(s, cb, userdata);
                if (r < 0)
                        return r;
        }
        return s->depth > 0 ? stream_append(s, data + begin, size - begin) : 0;
}

void json_stream_done(JsonStream *s) {
        free(s->buffer);
        *s = (JsonStream) {};
}
