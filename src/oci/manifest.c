/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/utsname.h>
#include <time.h>

#include "oci/digest.h"
#include "oci/json-fields.h"
#include "oci/manifest.h"

#define MEDIA_TYPE_LENGTH_MAX 255
#define INDEX_ENTRIES_MAX 1000U
#define BLOB_SIZE_MAX (UINT64_C(1) << 40)
#define VOLUMES_BYTES_MAX (64 * KIB)    /* they are told in one line, in which JSON may need six bytes for one */

void descriptor_done(Descriptor *d) {
        free(d->media_type);
        free(d->digest);
        *d = (Descriptor) {};
}

void manifest_done(Manifest *m) {
        descriptor_done(&m->config);
        for (size_t i = 0; i < m->n_layers; i++)
                descriptor_done(m->layers + i);
        free(m->layers);
        free(m->session);
        *m = (Manifest) {};
}

void image_config_done(ImageConfig *c) {
        json_decref(c->json);
        free(c->user);
        free(c->working_dir);
        strv_free(c->volumes);
        *c = (ImageConfig) {};
}

static const char *get_string(const json_t *object, const char *key) {
        return json_string_value(json_object_get(object, key));
}

static int refuse_document(Refusal **reterr_refusal, const char *what, const char *problem) {
        return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED, "The image %s cannot be used: %s. Push it again, or use another image.", what, problem);
}

static bool media_type_is_valid(const char *s) {
        return s && strlen(s) <= MEDIA_TYPE_LENGTH_MAX &&
               strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/.+-_") == strlen(s);
}

static int parse_descriptor(const json_t *j, Descriptor *ret) {
        const char *type = get_string(j, "mediaType"), *digest = get_string(j, "digest");
        const json_t *size = json_object_get(j, "size");
        Descriptor d = {};

        if (!media_type_is_valid(type) || !digest_is_valid(digest) || !json_is_integer(size) ||
            json_integer_value(size) < 0 || (uint64_t) json_integer_value(size) > BLOB_SIZE_MAX)
                return -EBADMSG;
        d.size = (uint64_t) json_integer_value(size);
        if (!(d.media_type = strdup(type)) || !(d.digest = strdup(digest))) {
                descriptor_done(&d);
                return -ENOMEM;
        }
        *ret = d;
        return 0;
}

static bool is_index_type(const char *t) {
        return STR_IN_SET(t, MEDIA_TYPE_OCI_INDEX, MEDIA_TYPE_DOCKER_INDEX);
}

static bool is_manifest_type(const char *t) {
        return STR_IN_SET(t, MEDIA_TYPE_OCI_MANIFEST, MEDIA_TYPE_DOCKER_MANIFEST);
}

/* "type/subtype; charset=…" → whether its type is one that says so, and which. */
static int kind_of_content_type(const char *content_type) {
        char type[MEDIA_TYPE_LENGTH_MAX + 1];
        size_t n = strcspn(content_type, "; \t");

        if (n > MEDIA_TYPE_LENGTH_MAX)
                return -1;
        memcpy(type, content_type, n);
        type[n] = 0;
        return is_index_type(type) ? 1 : is_manifest_type(type) ? 0 : -1;
}

int manifest_is_index(const char *data, size_t size, const char *content_type, const char *what, Refusal **reterr_refusal) {
        _cleanup_json_ json_t *j = size <= MANIFEST_SIZE_MAX ? json_object_from_string(data, size) : NULL;
        const char *type = get_string(j, "mediaType");
        int kind, said = content_type ? kind_of_content_type(content_type) : -1;

        if (!j)
                return refuse_document(reterr_refusal, what, "its manifest is not a JSON object of at most 4 MiB and 100000 values");
        if (json_integer_value(json_object_get(j, "schemaVersion")) != 2)
                return refuse_document(reterr_refusal, what, "its manifest is not of schema version 2");
        if (type)
                kind = is_index_type(type) ? 1 : is_manifest_type(type) ? 0 : -1;
        else    /* OCI made mediaType optional; then exactly one of the two members tells */
                kind = json_object_get(j, "manifests") ? 1 : json_object_get(j, "layers") ? 0 : -1;
        if (kind < 0)
                return refuse_document(reterr_refusal, what, "its manifest is of a type that is not known");
        /* A document that is both would be read differently by different programs. */
        if ((said >= 0 && said != kind) || json_object_get(j, kind ? "layers" : "manifests"))
                return refuse_document(reterr_refusal, what, "its manifest contradicts its own media type");
        return kind;
}

static bool layer_type_is_usable(const char *t) {
        return startswith(t, "application/vnd.oci.image.layer.v1.") || startswith(t, "application/vnd.docker.image.rootfs.diff.");
}

static int parse_layers(const json_t *j, const char *what, Manifest *m, Refusal **reterr_refusal) {
        const json_t *layers = json_object_get(j, "layers");
        size_t n = json_array_size(layers);

        if (!json_is_array(layers) || n > MANIFEST_LAYERS_MAX)
                return refuse_document(reterr_refusal, what, "its manifest has no list of at most 125 layers");
        m->layers = calloc(n + 1, sizeof(Descriptor));
        if (!m->layers)
                return -ENOMEM;
        for (; m->n_layers < n; m->n_layers++) {
                const json_t *l = json_array_get(layers, m->n_layers);
                int r = parse_descriptor(l, m->layers + m->n_layers);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        return refuse_document(reterr_refusal, what, "one of its layers has no valid descriptor");
                if (!layer_type_is_usable(m->layers[m->n_layers].media_type) || json_array_size(json_object_get(l, "urls")) > 0) {
                        m->n_layers++;
                        return refuse_document(reterr_refusal, what, "one of its layers is of a type that cannot be kept in a registry");
                }
        }
        return 0;
}

static int parse_annotations(const json_t *j, const char *what, Manifest *m, Refusal **reterr_refusal) {
        const json_t *annotations = json_object_get(j, "annotations");
        const char *base = get_string(annotations, ANNOTATION_BASE_LAYERS), *session = get_string(annotations, ANNOTATION_SESSION);
        uint64_t n;

        m->n_base_layers = m->n_layers;
        if (base) {
                if (parse_u64(base, &n) < 0 || n > m->n_layers)
                        return refuse_document(reterr_refusal, what, "its annotation " ANNOTATION_BASE_LAYERS " does not fit its layers");
                m->n_base_layers = n;
        }
        if (session && strlen(session) <= 128 && !(m->session = strdup(session)))
                return -ENOMEM;
        return 0;
}

int manifest_parse(const char *data, size_t size, const char *what, Manifest *ret, Refusal **reterr_refusal) {
        _cleanup_manifest_ Manifest m = {};
        _cleanup_json_ json_t *j = NULL;
        int r;

        *ret = (Manifest) {};
        r = manifest_is_index(data, size, NULL, what, reterr_refusal);
        if (r < 0)
                return r;
        if (r > 0)
                return refuse_document(reterr_refusal, what, "it is an index where a manifest was expected");
        j = json_object_from_string(data, size);
        if (!j)
                return -ENOMEM;
        r = parse_descriptor(json_object_get(j, "config"), &m.config);
        if (r == -EBADMSG || (r >= 0 && m.config.size > CONFIG_SIZE_MAX))
                return refuse_document(reterr_refusal, what, "it has no config of at most 8 MiB");
        if (r < 0)
                return r;
        r = parse_layers(j, what, &m, reterr_refusal);
        if (r < 0)
                return r;
        r = parse_annotations(j, what, &m, reterr_refusal);
        if (r < 0)
                return r;
        *ret = m;
        m = (Manifest) {};
        return 0;
}

static const struct {
        const char *machine;            /* uname */
        const char *architecture;       /* Go's GOARCH, as OCI has it */
        const char *variant;            /* the one that runs here, or NULL */
} architectures[] = {
        { "x86_64", "amd64", NULL },
        { "aarch64", "arm64", "v8" },
        { "armv7l", "arm", "v7" },
        { "armv6l", "arm", "v6" },
        { "i686", "386", NULL },
        { "ppc64le", "ppc64le", NULL },
        { "riscv64", "riscv64", NULL },
        { "s390x", "s390x", NULL },
        { "loongarch64", "loong64", NULL },
};

static size_t find_machine(void) {
        struct utsname u;

        if (uname(&u) < 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(architectures); i++)
                if (streq(architectures[i].machine, u.machine))
                        return i;
        return 0;
}

static size_t this_machine(void) {
        static size_t found = SIZE_MAX;

        if (found == SIZE_MAX)
                found = find_machine();
        return found;
}

const char *oci_architecture(void) {
        return architectures[this_machine()].architecture;
}

/* Whether an entry of an index runs here: 2 best, 1 if need be (another variant named), 0 no. */
static int platform_fits(const json_t *entry, const char *architecture) {
        const json_t *p = json_object_get(entry, "platform");
        const char *os = get_string(p, "os"), *arch = get_string(p, "architecture"), *variant = get_string(p, "variant");

        if (!os || !arch || !streq(os, "linux") || !streq(arch, architecture))
                return 0;
        return !variant || streq_ptr(variant, architectures[this_machine()].variant) ? 2 : 1;
}

int manifest_index_pick(const char *data, size_t size, const char *architecture, const char *what, Descriptor *ret, Refusal **reterr_refusal) {
        _cleanup_json_ json_t *j = size <= MANIFEST_SIZE_MAX ? json_object_from_string(data, size) : NULL;
        const json_t *list = json_object_get(j, "manifests"), *best = NULL, *entry;
        int fit = 0;
        size_t i;

        *ret = (Descriptor) {};
        if (!json_is_array(list) || json_array_size(list) > INDEX_ENTRIES_MAX)
                return refuse_document(reterr_refusal, what, "its index has no list of at most 1000 manifests");
        json_array_foreach(list, i, entry) {
                const char *type = get_string(entry, "mediaType");
                int f = type && is_manifest_type(type) ? platform_fits(entry, architecture) : 0;
                if (f > fit) {
                        fit = f;
                        best = entry;
                }
        }
        if (!best)
                return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED, "The image %s has no variant for linux/%s: use an image that is built for this machine.",
                              what, architecture);
        int r = parse_descriptor(best, ret);
        return r == -EBADMSG ? refuse_document(reterr_refusal, what, "its index has an entry without a valid descriptor") : r;
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int parse_volumes(const json_t *config, ImageConfig *c) {
        const char *path;
        size_t bytes = 0;
        json_t *value;

        json_object_foreach(json_object_get(config, "Volumes"), path, value) {
                bytes += strlen(path);
                if (strlen(path) > 4095 || bytes > VOLUMES_BYTES_MAX || strv_length(c->volumes) >= 1000)
                        return -EBADMSG;
                if (strv_extend(&c->volumes, path) < 0)
                        return -ENOMEM;
        }
        if (c->volumes)
                qsort(c->volumes, strv_length(c->volumes), sizeof(char *), compare_strings);
        return 0;
}

static int parse_diff_ids(const json_t *j, ImageConfig *c) {
        const json_t *ids = json_object_get(json_object_get(j, "rootfs"), "diff_ids"), *id;
        size_t i;

        if (!json_is_array(ids) || json_array_size(ids) > MANIFEST_LAYERS_MAX)
                return -EBADMSG;
        json_array_foreach(ids, i, id)
                if (!digest_is_valid(json_string_value(id)))
                        return -EBADMSG;
        c->n_diff_ids = json_array_size(ids);
        return 0;
}

static int copy_limited(const json_t *config, const char *key, size_t max, char **to) {
        const char *s = get_string(config, key);

        if (s && strlen(s) > max)
                return -EBADMSG;
        return free_and_strdup(to, s);
}

static int parse_config(ImageConfig *c) {
        const json_t *config = json_object_get(c->json, "config");
        int r;

        if ((r = parse_diff_ids(c->json, c)) < 0 || (r = parse_volumes(config, c)) < 0 ||
            (r = copy_limited(config, "User", 1024, &c->user)) < 0 ||
            (r = copy_limited(config, "WorkingDir", 4095, &c->working_dir)) < 0)
                return r;
        return 0;
}

int image_config_parse(const char *data, size_t size, const char *what, ImageConfig *ret, Refusal **reterr_refusal) {
        _cleanup_image_config_ ImageConfig c = {};
        const char *os, *architecture;
        int r;

        *ret = (ImageConfig) {};
        c.json = size <= CONFIG_SIZE_MAX ? json_object_from_string(data, size) : NULL;
        if (!c.json)
                return refuse_document(reterr_refusal, what, "its config is not a JSON object of at most 8 MiB and 100000 values");
        os = get_string(c.json, "os");
        architecture = get_string(c.json, "architecture");
        if ((os && !streq(os, "linux")) || (architecture && !streq(architecture, oci_architecture())))
                return refuse(reterr_refusal, REFUSAL_IMAGE_REFUSED, "The image %s is not built for linux/%s: use an image that is built for this machine.",
                              what, oci_architecture());
        r = parse_config(&c);
        if (r == -EBADMSG)
                return refuse_document(reterr_refusal, what, "its config has no valid list of layers, or its volumes, user or working directory are too long");
        if (r < 0)
                return r;
        *ret = c;
        c = (ImageConfig) {};
        return 0;
}

static void format_time(usec_t t, char buf[static 64]) {
        time_t s = (time_t) (t / USEC_PER_SEC);
        struct tm tm;
        size_t n = gmtime_r(&s, &tm) ? strftime(buf, 32, "%Y-%m-%dT%H:%M:%S", &tm) : 0;

        (void) snprintf(buf + n, 64 - n, ".%06" PRIu64 "Z", t % USEC_PER_SEC);
}

/* The number of history entries that are not empty_layer must equal the number of layers, so an image that has
 * none stays without. */
static int extend_history(json_t *config, size_t n, const char *created) {
        json_t *history = json_object_get(config, "history");

        for (size_t i = 0; json_array_size(history) > 0 && i < n; i++)
                if (json_array_append_new(history, json_pack("{ss ss}", "created", created, "created_by", "swarm-orchestrator")) < 0)
                        return -ENOMEM;
        return 0;
}

int image_config_extend(const ImageConfig *parent, const NewLayer *layers, size_t n_layers, usec_t created, char **ret) {
        _cleanup_json_ json_t *config = json_deep_copy(parent->json);
        json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
        char time[64];
        int r;

        for (size_t i = 0; i < n_layers; i++)
                if (json_array_append_new(ids, json_string(layers[i].diff_id)) < 0)
                        return -ENOMEM;
        format_time(created, time);
        r = config ? extend_history(config, n_layers, time) : -ENOMEM;
        return r < 0 ? r : json_to_string(config, false, ret);
}

static json_t *descriptor_to_json(const char *media_type, const char *digest, uint64_t size) {
        return json_pack("{ss ss sI}", "mediaType", media_type, "digest", digest, "size", (json_int_t) size);
}

static json_t *build_layers(const Manifest *parent, const NewLayer *layers, size_t n_layers) {
        _cleanup_json_ json_t *array = json_array();

        for (size_t i = 0; i < parent->n_layers; i++)
                if (json_array_append_new(array, descriptor_to_json(parent->layers[i].media_type, parent->layers[i].digest, parent->layers[i].size)) < 0)
                        return NULL;
        for (size_t i = 0; i < n_layers; i++)
                if (json_array_append_new(array, descriptor_to_json(MEDIA_TYPE_OCI_LAYER_GZIP, layers[i].digest, layers[i].size)) < 0)
                        return NULL;
        return TAKE_PTR(array);
}

static json_t *build_annotations(const ManifestFacts *f) {
        char generation[32], job[32], base[32], created[64];

        (void) snprintf(generation, sizeof(generation), "%" PRIu64, f->generation);
        (void) snprintf(job, sizeof(job), "%" PRIu64, f->job);
        (void) snprintf(base, sizeof(base), "%zu", f->n_base_layers);
        format_time(f->created, created);
        return json_pack("{ss ss ss ss ss ss}", ANNOTATION_CREATED, created, ANNOTATION_SESSION, f->session, ANNOTATION_GENERATION, generation,
                         ANNOTATION_JOB, job, ANNOTATION_TAG, f->tag, ANNOTATION_BASE_LAYERS, base);
}

int manifest_build(const Manifest *parent, const Descriptor *config, const NewLayer *layers, size_t n_layers,
                   const ManifestFacts *facts, char **ret) {
        /* `o` takes the references, also when it fails */
        _cleanup_json_ json_t *m = json_pack("{si ss so so so}", "schemaVersion", 2, "mediaType", MEDIA_TYPE_OCI_MANIFEST,
                                             "config", descriptor_to_json(config->media_type, config->digest, config->size),
                                             "layers", build_layers(parent, layers, n_layers),
                                             "annotations", build_annotations(facts));
        return m ? json_to_string(m, false, ret) : -ENOMEM;
}
