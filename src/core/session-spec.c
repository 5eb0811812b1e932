/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The spec of a session as JSON, for the store and for the label from which the store can be rebuilt. One table of the
 * members serves writing, reading and freeing. */

#include <jansson.h>

#include "core/session.h"

typedef enum MemberType {
        MEMBER_STRV,
        MEMBER_DOUBLE,
        MEMBER_U64,
        MEMBER_UNSIGNED,
        MEMBER_BOOL,
} MemberType;

typedef struct Member {
        const char *key;
        MemberType type;
        size_t offset;
} Member;

#define M(name, t) { #name, MEMBER_##t, offsetof(SessionSpec, name) }
static const Member members[] = {
        M(command, STRV),
        M(env, STRV),
        M(labels, STRV),
        M(cpus, DOUBLE),
        M(memory_bytes, U64),
        M(reserved_cpus, DOUBLE),
        M(reserved_memory_bytes, U64),
        M(idle_timeout_usec, U64),
        M(stop_grace_usec, U64),
        M(healthcheck, STRV),
        M(healthcheck_interval_usec, U64),
        M(healthcheck_retries, UNSIGNED),
        M(features, STRV),
        M(routes, STRV),
        M(volumes_ephemeral, BOOL),
};
#undef M

static void *member_of(const SessionSpec *s, const Member *m) {
        return (char *) s + m->offset;
}

void session_spec_done(SessionSpec *s) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (members[i].type == MEMBER_STRV) {
                        Strv *v = member_of(s, &members[i]);
                        /* Environment values may be secrets. */
                        STRV_FOREACH(e, *v)
                                explicit_bzero(*e, strlen(*e));
                        strv_free(*v);
                }
        *s = (SessionSpec) {};
}

static json_t *strv_to_json(char *const *v) {
        json_t *a = json_array();
        STRV_FOREACH(s, v)
                if (!a || json_array_append_new(a, json_string(*s)) < 0) {
                        json_decref(a);
                        return NULL;
                }
        return a;
}

static json_t *member_to_json(const SessionSpec *s, const Member *m) {
        const void *p = member_of(s, m);

        switch (m->type) {
        case MEMBER_STRV:
                return strv_to_json(*(char *const *const *) p);
        case MEMBER_DOUBLE:
                return json_real(*(const double *) p);
        case MEMBER_U64:
                /* JSON integers here are signed; USEC_INFINITY travels as -1. */
                return json_integer((json_int_t) *(const uint64_t *) p);
        case MEMBER_UNSIGNED:
                return json_integer(*(const unsigned *) p);
        case MEMBER_BOOL:
                return json_boolean(*(const bool *) p);
        }
        return NULL;
}

int session_spec_to_json(const SessionSpec *s, char **ret) {
        json_t *o = json_object();
        int r = o ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(members); i++)
                if (json_object_set_new(o, members[i].key, member_to_json(s, &members[i])) < 0)
                        r = -ENOMEM;
        char *text = r < 0 ? NULL : json_dumps(o, JSON_COMPACT);
        json_decref(o);
        if (!text)
                return r < 0 ? r : -ENOMEM;
        *ret = text;
        return 0;
}

static int strv_from_json(json_t *a, Strv *ret) {
        _cleanup_strv_ Strv v = NULL;
        size_t i;
        json_t *e;

        if (!json_is_array(a))
                return -EBADMSG;
        json_array_foreach(a, i, e) {
                if (!json_is_string(e))
                        return -EBADMSG;
                if (strv_extend(&v, json_string_value(e)) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(v);
        return 0;
}

static int member_from_json(json_t *v, SessionSpec *s, const Member *m) {
        void *p = member_of(s, m);

        switch (m->type) {
        case MEMBER_STRV:
                return strv_from_json(v, p);
        case MEMBER_DOUBLE:
                if (!json_is_number(v))
                        return -EBADMSG;
                *(double *) p = json_number_value(v);
                return 0;
        case MEMBER_U64:
                if (!json_is_integer(v))
                        return -EBADMSG;
                *(uint64_t *) p = (uint64_t) json_integer_value(v);
                return 0;
        case MEMBER_UNSIGNED:
                if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
                        return -EBADMSG;
                *(unsigned *) p = (unsigned) json_integer_value(v);
                return 0;
        case MEMBER_BOOL:
                if (!json_is_boolean(v))
                        return -EBADMSG;
                *(bool *) p = json_is_true(v);
                return 0;
        }
        return -EBADMSG;
}

int session_spec_from_json(const char *json, SessionSpec *ret) {
        SessionSpec s = {};
        json_t *o = json_loads(json, 0, NULL);
        int r = json_is_object(o) ? 0 : -EBADMSG;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(members); i++) {
                json_t *v = json_object_get(o, members[i].key);
                if (v)
                        r = member_from_json(v, &s, &members[i]);
        }
        json_decref(o);
        if (r < 0) {
                session_spec_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
