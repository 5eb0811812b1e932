/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <jansson.h>

#include "basic/log.h"
#include "core/identifier.h"
#include "core/manager.h"
#include "core/rules.h"
#include "core/session-object.h"
#include "core/session-record.h"
#include "oci/reference.h"

/* Far beyond what any version allows, and no sum of them overflows. */
#define LABEL_CPUS_MAX 1e6
#define LABEL_MEMORY_MAX (1024 * 1024 * GIB)

int session_to_record(const Session *s, SessionRecord *ret) {
        char *spec;
        int r = session_spec_to_json(&s->spec, &spec);
        if (r < 0)
                return r;

        *ret = (SessionRecord) {
                .id = s->id,
                .name = s->name,
                .state = (char *) session_state_to_string(s->state),
                .state_detail = s->state_detail,
                .stop_reason = (char *) stop_reason_to_string(s->stop_reason),
                .wanted = s->wanted,
                .owner_uid = s->owner_uid,
                .organization = s->organization,
                .provider = s->provider_name,
                .template_name = s->template_name,
                .node = s->node,
                .image = s->image,
                .base_image = s->base_image,
                .spec = spec,
                .generation = s->generation,
                .next_generation = s->next_generation,
                .failures = s->failures,
                .created_usec = s->created_usec,
                .started_usec = s->started_usec,
                .stopped_usec = s->stopped_usec,
                .last_activity_usec = s->last_activity_usec,
                .ended_usec = s->ended_usec,
                .end_reason = s->end_reason,
                .ended_by_uid = s->ended_by_uid,
                .from_session = s->from_session,
                .from_generation = s->from_generation,
        };
        return 0;
}

static int copy_strings(Session *s, const SessionRecord *r) {
        const struct {
                char **to;
                const char *from;
        } strings[] = {
                { &s->name, r->name },
                { &s->state_detail, r->state_detail },
                { &s->organization, r->organization },
                { &s->provider_name, r->provider },
                { &s->template_name, r->template_name },
                { &s->node, r->node },
                { &s->image, r->image },
                { &s->base_image, r->base_image },
                { &s->from_session, r->from_session },
                { &s->end_reason, r->end_reason },
        };
        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (free_and_strdup(strings[i].to, strings[i].from) < 0)
                        return -ENOMEM;
        return 0;
}

int session_from_record(Manager *m, const SessionRecord *rec, Session **ret) {
        _cleanup_(session_freep) Session *s = NULL;
        int r;

        if (!rec->name || !rec->provider || !rec->organization || !rec->state)
                return -EBADMSG;
        SessionState state = session_state_from_string(rec->state);
        StopReason reason = rec->stop_reason ? stop_reason_from_string(rec->stop_reason) : STOP_REASON_NONE;
        if ((int) state < 0 || (int) reason < 0)
                return -EBADMSG;

        r = session_new(m, rec->id, &s);
        if (r < 0)
                return r;
        r = copy_strings(s, rec);
        if (r < 0)
                return r;
        r = rec->spec ? session_spec_from_json(rec->spec, &s->spec) : 0;
        if (r < 0)
                return r;

        s->state = state;
        s->stop_reason = reason;
        s->wanted = rec->wanted;
        s->owner_uid = rec->owner_uid;
        s->generation = rec->generation;
        s->next_generation = MAX(rec->next_generation, rec->generation + 1);
        s->failures = rec->failures;
        s->created_usec = rec->created_usec;
        s->started_usec = rec->started_usec;
        s->stopped_usec = rec->stopped_usec;
        s->last_activity_usec = rec->last_activity_usec;
        s->from_generation = rec->from_generation;
        s->ended_by_uid = state == SESSION_DESTROYING ? rec->ended_by_uid : UID_UNSET;
        *ret = TAKE_PTR(s);
        return 0;
}

int session_to_label(const Session *s, char **ret) {
        _cleanup_free_ char *spec = NULL;
        int r = session_spec_to_json(&s->spec, &spec);
        if (r < 0)
                return r;

        json_t *o = json_pack("{s:i, s:s, s:I, s:s, s:s*, s:s*, s:s*, s:s*, s:I, s:I, s:I, s:o}",
                              "version", 1,
                              "name", s->name,
                              "owner_uid", (json_int_t) s->owner_uid,
                              "organization", s->organization,
                              "template", s->template_name,
                              "image", s->image,
                              "base_image", s->base_image,
                              "from_session", s->from_session,
                              "from_generation", (json_int_t) s->from_generation,
                              "next_generation", (json_int_t) s->next_generation,
                              "created_usec", (json_int_t) s->created_usec,
                              "spec", json_loads(spec, 0, NULL));
        char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        json_decref(o);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

static bool amounts_are_sound(const SessionSpec *s) {
        return s->cpus >= 0 && s->cpus <= LABEL_CPUS_MAX && s->reserved_cpus >= 0 && s->reserved_cpus <= LABEL_CPUS_MAX &&
               s->memory_bytes <= LABEL_MEMORY_MAX && s->reserved_memory_bytes <= LABEL_MEMORY_MAX;
}

static bool words_are_sound(const SessionSpec *s) {
        STRV_FOREACH(e, s->env)
                if (env_assignment_check(*e, NULL) < 0)
                        return false;
        STRV_FOREACH(l, s->labels) {
                _cleanup_free_ char *key = strndup(*l, strcspn(*l, "="));
                const char *equals = strchr(*l, '=');

                if (!key || !equals || label_check(key, equals + 1, NULL) < 0)
                        return false;
        }
        return true;
}

static bool image_is_sound(const char *image) {
        _cleanup_image_reference_ ImageReference reference = {};

        return image_reference_parse(image, &reference, NULL) >= 0;
}

/* What a request could not have asked for was not written by the orchestrator: it would break sums, messages and the store. */
static int check_label_session(const Session *s, uint64_t generation) {
        return s->next_generation > generation && s->next_generation <= INT64_MAX &&
               session_name_is_valid(s->organization) && (!s->template_name || session_name_is_valid(s->template_name)) &&
               (!s->from_session || session_id_is_valid(s->from_session)) &&
               s->image && image_is_sound(s->image) && (!s->base_image || image_is_sound(s->base_image)) &&
               amounts_are_sound(&s->spec) && words_are_sound(&s->spec) ? 0 : -EBADMSG;
}

int session_from_label(Manager *m, const char *id, const char *label, const char *image, uint64_t generation, Session **ret) {
        json_int_t owner = -1, from_generation = 0, next = 0, created = 0;
        SessionRecord rec = { .id = (char *) id, .state = (char *) "new" };
        json_t *spec = NULL, *o = json_loads(label, 0, NULL);
        _cleanup_free_ char *text = NULL;
        int version = 0, r = -EBADMSG;

        if (json_unpack(o, "{s:i, s:s, s:I, s:s, s?s, s?s, s?s, s?s, s:I, s:I, s:I, s:o}",
                        "version", &version, "name", &rec.name, "owner_uid", &owner, "organization", &rec.organization,
                        "template", &rec.template_name, "image", &rec.image, "base_image", &rec.base_image,
                        "from_session", &rec.from_session, "from_generation", &from_generation,
                        "next_generation", &next, "created_usec", &created, "spec", &spec) < 0)
                goto finish;
        if (version != 1 || owner < 0 || owner >= UINT32_MAX || next < 0 || created < 0 || from_generation < 0 ||
            !session_id_is_valid(id) || !session_name_is_valid(rec.name))
                goto finish;
        text = json_dumps(spec, JSON_COMPACT);
        if (!text) {
                r = -ENOMEM;
                goto finish;
        }
        rec.provider = (char *) "";
        rec.spec = text;
        rec.owner_uid = (uid_t) owner;
        rec.from_generation = (uint64_t) from_generation;
        rec.next_generation = (uint64_t) next;
        rec.created_usec = (usec_t) created;
        r = session_from_record(m, &rec, ret);
        if (r < 0)
                goto finish;
        (*ret)->generation = generation;
        r = check_label_session(*ret, generation);
        if (r >= 0 && generation > 0)
                r = session_add_snapshot_of_label(*ret, generation, image);
        if (r < 0)
                *ret = session_free(*ret);
finish:
        json_decref(o);
        return r;
}

int snapshot_record_copy(const SnapshotRecord *from, SnapshotRecord *ret) {
        SnapshotRecord copy = *from;
        char **strings[] = { &copy.session, &copy.kind, &copy.image, &copy.repository, &copy.tag, &copy.witness, &copy.dropped };
        bool failed = false;

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (*strings[i] && !(*strings[i] = strdup(*strings[i])))
                        failed = true;
        if (failed) {
                snapshot_record_done(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}
