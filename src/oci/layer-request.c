/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
#include "basic/string-util.h"
#include "oci/digest.h"
#include "oci/json-fields.h"
#include "oci/layer-request.h"
#include "oci/reference.h"

#define LINE_MAX_BYTES (1 * MIB)
#define PATH_LENGTH_MAX 4095
#define SECRET_LENGTH_MAX (64 * KIB)            /* registry tokens used as passwords are long */

static const char *const verb_names[_LAYER_VERB_MAX] = {
        [LAYER_RESOLVE] = "resolve",
        [LAYER_PUSH] = "push",
        [LAYER_DELETE] = "delete",
        [LAYER_VERIFY] = "verify",
};

static const char *const line_type_names[_LAYER_LINE_MAX] = {
        [LAYER_LINE_PROGRESS] = "progress",
        [LAYER_LINE_FREEZE] = "freeze",
        [LAYER_LINE_READ_DONE] = "read-done",
        [LAYER_LINE_RESULT] = "result",
        [LAYER_LINE_ERROR] = "error",
};

#define REGISTRY(member, name, type, max) { name, JSON_FIELD_##type, offsetof(LayerRegistry, member), max }
static const JsonField registry_fields[] = {
        REGISTRY(url, "url", STRING, 300),
        REGISTRY(ca_file, "ca_file", STRING, PATH_LENGTH_MAX),
        REGISTRY(username, "username", STRING, 1024),
        REGISTRY(password, "password", STRING, SECRET_LENGTH_MAX),
        REGISTRY(timeout_usec, "timeout_usec", U64, 0),
        {}
};

#define REQUEST(member, type, max) { #member, JSON_FIELD_##type, offsetof(LayerRequest, member), max }
static const JsonField request_fields[] = {
        REQUEST(image, STRING, REFERENCE_LENGTH_MAX),
        REQUEST(repository, STRING, REPOSITORY_LENGTH_MAX),
        REQUEST(tag, STRING, 128),
        REQUEST(session, STRING, 128),
        REQUEST(generation, U64, 0),
        REQUEST(job, U64, 0),
        REQUEST(upperdir, STRING, PATH_LENGTH_MAX),
        REQUEST(fallback_image, STRING, REFERENCE_LENGTH_MAX),
        REQUEST(index, STRING, PATH_LENGTH_MAX),
        REQUEST(new_index, STRING, PATH_LENGTH_MAX),
        REQUEST(frozen_realtime_usec, U64, 0),
        REQUEST(freeze, BOOL, 0),
        REQUEST(precopy, BOOL, 0),
        REQUEST(lossy, BOOL, 0),
        REQUEST(layers_max, UNSIGNED, 0),
        {}
};

#define RESULT(member, type, max) { #member, JSON_FIELD_##type, offsetof(LayerResult, member), max }
static const JsonField result_fields[] = {
        RESULT(image, STRING, REFERENCE_LENGTH_MAX),
        RESULT(manifest_digest, STRING, DIGEST_LENGTH),
        RESULT(bytes, U64, 0),
        RESULT(uncompressed_bytes, U64, 0),
        RESULT(entries, U64, 0),
        RESULT(session_layers, UNSIGNED, 0),
        RESULT(unchanged, BOOL, 0),
        RESULT(dropped, STRV, 100),
        RESULT(volumes, STRV, 1000),
        RESULT(user, STRING, 1024),
        RESULT(working_dir, STRING, PATH_LENGTH_MAX),
        RESULT(read_usec, U64, 0),
        RESULT(upload_usec, U64, 0),
        RESULT(proof_usec, U64, 0),
        {}
};

#define LINE(member, type, max) { #member, JSON_FIELD_##type, offsetof(LayerLine, member), max }
static const JsonField progress_fields[] = {
        LINE(stage, STRING, 64),
        LINE(bytes_done, U64, 0),
        LINE(bytes_total, I64, 0),
        {}
};

void layer_request_done(LayerRequest *r) {
        if (r->registry.password)
                explicit_bzero(r->registry.password, strlen(r->registry.password));
        json_fields_free(registry_fields, &r->registry);
        json_fields_free(request_fields, r);
        *r = (LayerRequest) { .verb = _LAYER_VERB_INVALID };
}

void layer_result_done(LayerResult *r) {
        json_fields_free(result_fields, r);
        *r = (LayerResult) {};
}

void layer_line_done(LayerLine *l) {
        json_fields_free(progress_fields, l);
        layer_result_done(&l->result);
        refusal_free(l->refusal);
        *l = (LayerLine) { .type = _LAYER_LINE_INVALID };
}

int layer_request_to_json(const LayerRequest *r, char **ret) {
        _cleanup_json_ json_t *object = NULL;
        json_t *registry;

        if (r->verb < 0 || r->verb >= _LAYER_VERB_MAX)
                return -EINVAL;
        object = json_fields_pack(request_fields, r);
        if (!object || json_object_set_new(object, "verb", json_string(verb_names[r->verb])) < 0)
                return -EINVAL;
        registry = json_fields_pack(registry_fields, &r->registry);
        if (!registry || json_object_set_new(object, "registry", registry) < 0)
                return -EINVAL;
        return json_to_string(object, true, ret);
}

static bool path_is_absolute(const char *s) {
        return s && *s == '/';
}

static bool is_pinned(const char *image) {
        _cleanup_image_reference_ ImageReference ref = {};
        return image && image_reference_parse(image, &ref, NULL) >= 0 && ref.digest;
}

typedef bool (*check_fn)(const LayerRequest *r);
static bool has_image(const LayerRequest *r) { return !isempty(r->image); }
static bool has_pinned_image(const LayerRequest *r) { return is_pinned(r->image); }
static bool has_good_fallback(const LayerRequest *r) { return !r->fallback_image || is_pinned(r->fallback_image); }
static bool has_registry(const LayerRequest *r) { return r->registry.url != NULL; }
static bool has_good_url(const LayerRequest *r) { return !r->registry.url || registry_url_is_valid(r->registry.url, NULL, NULL); }
static bool has_good_ca(const LayerRequest *r) { return !r->registry.ca_file || path_is_absolute(r->registry.ca_file); }
static bool has_both_credentials(const LayerRequest *r) { return !r->registry.username == !r->registry.password; }
static bool has_repository(const LayerRequest *r) { return r->repository && repository_is_valid(r->repository); }
static bool has_tag(const LayerRequest *r) { return r->tag && tag_is_valid(r->tag); }
static bool has_session(const LayerRequest *r) { return !isempty(r->session); }
static bool has_upperdir(const LayerRequest *r) { return path_is_absolute(r->upperdir); }
static bool has_good_index(const LayerRequest *r) {
        return (!r->index || path_is_absolute(r->index)) && (!r->new_index || path_is_absolute(r->new_index));
}

#define ON(verb) (1U << LAYER_##verb)
static const struct {
        unsigned verbs;
        check_fn check;
        const char *problem;
} request_checks[] = {
        { ~0U, has_good_url, "`registry.url` must be http://host[:port] or https://host[:port]" },
        { ~0U, has_good_ca, "`registry.ca_file` must be an absolute path" },
        { ~0U, has_both_credentials, "`registry.username` and `registry.password` belong together" },
        { ON(RESOLVE) | ON(DELETE) | ON(VERIFY), has_image, "`image` is missing" },
        { ON(PUSH), has_pinned_image, "`image` must be host/repository@sha256:…" },
        { ON(PUSH), has_registry, "`registry.url` is missing" },
        { ON(PUSH), has_good_fallback, "`fallback_image` must be host/repository@sha256:…" },
        { ON(PUSH), has_repository, "`repository` is missing or not a repository name" },
        { ON(PUSH), has_tag, "`tag` is missing or not a tag" },
        { ON(PUSH), has_session, "`session` is missing" },
        { ON(PUSH), has_upperdir, "`upperdir` must be an absolute path" },
        { ON(PUSH), has_good_index, "`index` and `new_index` must be absolute paths" },
};

static int check_request(const LayerRequest *r, Refusal **reterr_refusal) {
        for (size_t i = 0; i < ELEMENTSOF(request_checks); i++)
                if ((request_checks[i].verbs & (1U << r->verb)) && !request_checks[i].check(r))
                        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "The request \"%s\" to swarm-layer is not valid: %s.",
                                      verb_names[r->verb], request_checks[i].problem);
        return 0;
}

static int unpack_request(json_t *object, LayerRequest *to, const char **ret_bad) {
        static const char *const nested[] = { "verb", "registry", NULL };
        json_t *registry = json_object_get(object, "registry");
        int r;

        to->verb = name_find(verb_names, ELEMENTSOF(verb_names), json_string_value(json_object_get(object, "verb")));
        if (to->verb < 0) {
                *ret_bad = "verb";
                return -EINVAL;
        }
        r = json_fields_unpack(object, request_fields, nested, to, ret_bad);
        if (r < 0 || !registry)
                return r;
        *ret_bad = "registry";
        return json_fields_unpack(registry, registry_fields, NULL, &to->registry, ret_bad);
}

/* Keys come from outside; only the tame ones are repeated in a sentence. */
static const char *tame_key(const char *key) {
        return key && strlen(key) <= 32 && strspn(key, "abcdefghijklmnopqrstuvwxyz_") == strlen(key) ? key : "one of its members";
}

static void layer_request_donep(LayerRequest *r) {
        layer_request_done(r);
}

int layer_request_from_json(const char *line, LayerRequest *ret, Refusal **reterr_refusal) {
        _cleanup_(layer_request_donep) LayerRequest request = { .verb = _LAYER_VERB_INVALID };
        _cleanup_json_ json_t *object = NULL;
        const char *bad = NULL;
        int r;

        *ret = (LayerRequest) { .verb = _LAYER_VERB_INVALID };
        if (strlen(line) <= LINE_MAX_BYTES)
                object = json_object_from_string(line, strlen(line));
        if (!object)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "The request to swarm-layer is not one JSON object of at most 1 MiB.");
        r = unpack_request(object, &request, &bad);
        if (r == -EINVAL)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "The request to swarm-layer is not valid: %s is unknown, has the wrong type or is too long.", tame_key(bad));
        if (r < 0)
                return r;
        r = check_request(&request, reterr_refusal);
        if (r < 0)
                return r;
        *ret = request;
        request = (LayerRequest) { .verb = _LAYER_VERB_INVALID };
        return 0;
}

static json_t *pack_error(const Refusal *refusal) {
        return refusal ? json_pack("{ss ss}", "code", refusal_code_to_string(refusal->code), "message", refusal->message) : NULL;
}

int layer_line_to_json(const LayerLine *l, char **ret) {
        _cleanup_json_ json_t *object = NULL;

        switch (l->type) {
        case LAYER_LINE_PROGRESS:
                object = json_fields_pack(progress_fields, l);
                break;
        case LAYER_LINE_RESULT:
                object = json_fields_pack(result_fields, &l->result);
                break;
        case LAYER_LINE_ERROR:
                object = pack_error(l->refusal);
                break;
        case LAYER_LINE_FREEZE:
        case LAYER_LINE_READ_DONE:
                object = json_object();
                break;
        default:
                break;
        }
        if (!object || json_object_set_new(object, "type", json_string(line_type_names[l->type])) < 0)
                return -EINVAL;
        return json_to_string(object, true, ret);
}

static int unpack_error(json_t *object, Refusal **ret) {
        const char *message = json_string_value(json_object_get(object, "message"));
        RefusalCode code = refusal_code_from_string(json_string_value(json_object_get(object, "code")));

        if (code < 0 || isempty(message))
                return -EBADMSG;
        int r = refuse(ret, code, "%.4096s", message);
        return r == -EBADRQC ? 0 : r;
}

static int unpack_line(json_t *object, LayerLine *line) {
        static const char *const type_only[] = { "type", NULL };
        static const JsonField none[] = { {} };

        switch (line->type) {
        case LAYER_LINE_PROGRESS:
                return json_fields_unpack(object, progress_fields, type_only, line, NULL);
        case LAYER_LINE_RESULT:
                return json_fields_unpack(object, result_fields, type_only, &line->result, NULL);
        case LAYER_LINE_ERROR:
                return unpack_error(object, &line->refusal);
        default:
                return json_fields_unpack(object, none, type_only, line, NULL);
        }
}

int layer_line_from_json(const char *text, LayerLine *ret) {
        _cleanup_json_ json_t *object = NULL;
        LayerLine line = { .bytes_total = -1 };
        int r;

        *ret = (LayerLine) { .type = _LAYER_LINE_INVALID };
        if (strlen(text) > LINE_MAX_BYTES)
                return -EINVAL;
        object = json_object_from_string(text, strlen(text));
        if (!object)
                return -EBADMSG;
        line.type = name_find(line_type_names, ELEMENTSOF(line_type_names), json_string_value(json_object_get(object, "type")));
        if (line.type < 0)
                return -EBADMSG;
        r = unpack_line(object, &line);
        if (r < 0) {
                layer_line_done(&line);
                return r;
        }
        *ret = line;
        return 0;
}
