/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the observer of the provider in memory hears, and the file that lets its cluster outlive a daemon. */

#include "basic/log.h"
#include "provider/fake-internal.h"

#define NODE_NANO_CPUS (UINT64_C(64) * 1000 * 1000 * 1000)
#define NODE_MEMORY_BYTES (UINT64_C(1024) * GIB)
#define STATE_FILE_VERSION 1

static void report_session(FakeSession *s) {
        Fake *f = s->fake;
        ProviderObservation o = {
                .session = s->id,
                .exists = !s->removed,
                .wanted = s->wanted,
                .image = s->image,
                .generation = s->generation,
                .record = s->record,
                .task = fake_session_is_lost(s) ? TASK_LOST : s->task,
                .node = s->node,
                .container = s->container,
                .started_usec = s->started_usec,
                .exit_code = s->exit_code,
                .frozen = s->frozen,
                .health = s->task == TASK_RUNNING ? s->health : NULL,
                .error = s->error,
        };

        f->observer.on_session(&f->provider, &o, f->observer.userdata);
}

static void report_nodes(Fake *f) {
        f->nodes_dirty = false;
        for (unsigned i = 0; i < f->n_nodes; i++) {
                const FakeNode *n = f->nodes + i;
                ProviderNode node = {
                        .id = n->id,
                        .name = n->id,
                        .state = n->down ? "down" : "ready",
                        .availability = n->drained ? "drain" : "active",
                        .role = i == 0 ? "manager" : "worker",
                        .address = "192.0.2.1",
                        .engine_version = "fake",
                        .nano_cpus = NODE_NANO_CPUS,
                        .memory_bytes = NODE_MEMORY_BYTES,
                        .agent = !n->down,
                };
                f->observer.on_node(&f->provider, &node, f->observer.userdata);
        }
}

/* The observer may change sessions by its own calls, but those take effect from the loop only: the table is stable. */
static void report_list(Fake *f) {
        FakeSession *s, *tmp;

        report_nodes(f);
        f->observer.on_list_begin(&f->provider, f->observer.userdata);
        HASH_ITER(hh, f->sessions, s, tmp)
                if (!s->removed)
                        report_session(s);
        f->observer.on_list_end(&f->provider, f->observer.userdata);
}

void fake_flush(Fake *f) {
        FakeSession *s;

        if (f->changed && fake_save(f) < 0)
                log_warning("The state of the provider in memory could not be saved to %s.", f->state_path);
        if (f->started && f->health_dirty) {
                f->health_dirty = false;
                f->observer.on_health(&f->provider, f->health, f->health_detail, f->observer.userdata);
        }
        if (f->started && f->list_wanted && f->health != PROVIDER_UNAVAILABLE) {
                f->list_wanted = false;
                report_list(f);
        }
        if (f->started && f->nodes_dirty)
                report_nodes(f);
        while ((s = f->dirty)) {
                DL_DELETE(f->dirty, s);
                s->dirty = false;
                /* A backend that cannot be reached tells nothing; the list tells it when it is back. */
                if (f->started && f->health != PROVIDER_UNAVAILABLE)
                        report_session(s);
                if (s->removed)
                        fake_session_free(s);
        }
}

static int on_flush(sd_event_source *source, void *userdata) {
        fake_flush(userdata);
        return 0;
}

void fake_flush_later(Fake *f) {
        int r;

        if (f->flush)
                r = sd_event_source_set_enabled(f->flush, SD_EVENT_ONESHOT);
        else
                r = sd_event_add_defer(f->event, &f->flush, on_flush, f);
        if (r < 0)
                log_warning_errno(r, "The provider in memory cannot report from the loop: %m");
}

/* ---- state file */

static json_t *session_to_json(const FakeSession *s) {
        return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:I, s:b, s:b, s:b, s:s, s:i, s:I, s:I, s:I}",
                         "id", s->id, "image", s->image, "record", s->record, "node", s->node, "wanted_node", s->wanted_node,
                         "container", s->container, "health", s->health, "error", s->error,
                         "generation", (json_int_t) s->generation, "wanted", s->wanted, "frozen", s->frozen, "saved", s->saved,
                         "task", task_state_to_string(s->task), "exit_code", s->exit_code,
                         "started_usec", (json_int_t) s->started_usec, "content", (json_int_t) s->content, "ran", (json_int_t) s->ran);
}

static json_t *cluster_to_json(Fake *f) {
        json_t *sessions = json_array(), *images = json_array(), *nodes = json_array();
        FakeSession *s, *stmp;
        FakeImage *i, *itmp;

        HASH_ITER(hh, f->sessions, s, stmp)
                if (!s->removed)
                        (void) json_array_append_new(sessions, session_to_json(s));
        HASH_ITER(hh, f->images, i, itmp)
                (void) json_array_append_new(images, json_pack("{s:s, s:I}", "image", i->image, "content", (json_int_t) i->content));
        for (unsigned n = 0; n < f->n_nodes; n++)
                (void) json_array_append_new(nodes, json_pack("{s:s, s:b, s:b}", "id", f->nodes[n].id, "down", f->nodes[n].down,
                                                              "drained", f->nodes[n].drained));
        return json_pack("{s:i, s:I, s:i, s:o, s:o, s:o}", "version", STATE_FILE_VERSION, "serial", (json_int_t) f->serial,
                         "losses", (int) f->losses, "sessions", sessions, "images", images, "nodes", nodes);
}

int fake_save(Fake *f) {
        _cleanup_free_ char *tmp = NULL;

        f->changed = false;
        if (!f->state_path)
                return 0;
        json_t *root = cluster_to_json(f);
        tmp = strformat("%s.tmp", f->state_path);
        int r = root && tmp ? json_dump_file(root, tmp, JSON_COMPACT) : -1;
        json_decref(root);
        if (r < 0)
                return -EIO;
        return rename(tmp, f->state_path) < 0 ? -errno : 0;
}

static int session_from_json(Fake *f, json_t *json) {
        const char *id, *image = NULL, *record = NULL, *node = NULL, *wanted_node = NULL, *container = NULL, *health = NULL,
                   *error = NULL, *task;
        json_int_t generation, started, content, ran;
        int wanted, frozen, saved, exit_code;
        FakeSession *s;
        FakeNode *n;

        if (json_unpack(json, "{s:s, s?:s, s?:s, s?:s, s?:s, s?:s, s?:s, s?:s, s:I, s:b, s:b, s:b, s:s, s:i, s:I, s:I, s:I}",
                        "id", &id, "image", &image, "record", &record, "node", &node, "wanted_node", &wanted_node,
                        "container", &container, "health", &health, "error", &error, "generation", &generation,
                        "wanted", &wanted, "frozen", &frozen, "saved", &saved, "task", &task, "exit_code", &exit_code,
                        "started_usec", &started, "content", &content, "ran", &ran) < 0 || task_state_from_string(task) < 0)
                return -EBADMSG;
        s = fake_session_new(f, id);
        if (!s || free_and_strdup(&s->image, image) < 0 || free_and_strdup(&s->record, record) < 0 ||
            free_and_strdup(&s->node, node) < 0 || free_and_strdup(&s->wanted_node, wanted_node) < 0 ||
            free_and_strdup(&s->container, container) < 0 || free_and_strdup(&s->health, health) < 0 ||
            free_and_strdup(&s->error, error) < 0)
                return -ENOMEM;
        n = fake_find_node(f, node);
        if (n)
                n->sessions++;
        s->generation = (uint64_t) generation;
        s->wanted = wanted;
        s->frozen = frozen;
        s->saved = saved;
        s->task = task_state_from_string(task);
        s->exit_code = exit_code;
        s->started_usec = (usec_t) started;
        s->content = (uint64_t) content;
        s->ran = (uint64_t) ran;
        return fake_session_schedule(s);
}

static int image_from_json(Fake *f, json_t *json) {
        json_int_t content;
        const char *image;

        if (json_unpack(json, "{s:s, s:I}", "image", &image, "content", &content) < 0)
                return -EBADMSG;
        return fake_add_image(f, image, (uint64_t) content);
}

static int node_from_json(Fake *f, json_t *json) {
        FakeNode *node;
        const char *id;
        int down, drained = 0;

        if (json_unpack(json, "{s:s, s:b, s?b}", "id", &id, "down", &down, "drained", &drained) < 0)
                return -EBADMSG;
        node = fake_find_node(f, id);
        if (node) {
                node->down = down;
                node->drained = drained;
        }
        return 0;
}

static int each_from_json(Fake *f, json_t *root, const char *key, int (*parse)(Fake *f, json_t *json)) {
        json_t *item;
        size_t i;

        json_array_foreach(json_object_get(root, key), i, item) {
                int r = parse(f, item);
                if (r < 0)
                        return r;
        }
        return 0;
}

int fake_load(Fake *f) {
        json_int_t serial;
        int version, losses, r;

        if (!f->state_path || access(f->state_path, F_OK) < 0)
                return 0;
        json_t *root = json_load_file(f->state_path, 0, NULL);
        if (!root)
                return -EBADMSG;
        r = json_unpack(root, "{s:i, s:I, s:i}", "version", &version, "serial", &serial, "losses", &losses) < 0 ||
            version != STATE_FILE_VERSION ? -EBADMSG : 0;
        if (r >= 0) {
                f->serial = (uint64_t) serial;
                f->losses = (unsigned) losses;
                r = each_from_json(f, root, "nodes", node_from_json);
        }
        if (r >= 0)
                r = each_from_json(f, root, "images", image_from_json);
        if (r >= 0)
                r = each_from_json(f, root, "sessions", session_from_json);
        json_decref(root);
        return r;
}
