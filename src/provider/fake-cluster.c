/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The model behind the provider in memory: sessions, their containers, nodes, images. */

#include <time.h>

#include "basic/log.h"
#include "provider/fake-internal.h"

static usec_t now_realtime(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

/* 64 hex digits that depend on the text alone: four rounds of FNV-1a, each with another start. Not a hash to trust. */
static char *digest_of(const char *text) {
        uint8_t digest[32];

        for (size_t i = 0; i < 4; i++) {
                uint64_t h = UINT64_C(14695981039346656037) + i * UINT64_C(0x9e3779b97f4a7c15);
                for (const char *c = text; *c; c++)
                        h = (h ^ (uint8_t) *c) * UINT64_C(1099511628211);
                memcpy(digest + i * 8, &h, 8);
        }
        return hexdigest(digest, sizeof(digest));
}

char *fake_resolve(const char *reference) {
        const char *slash = strchr(reference, '/');
        size_t first = slash ? (size_t) (slash - reference) : 0;
        bool host = slash && (memchr(reference, '.', first) || memchr(reference, ':', first) || startswith(reference, "localhost/"));
        _cleanup_free_ char *name = strformat("%s%s", host ? "" : "registry.fake/", reference), *digest = NULL;

        if (!name)
                return NULL;
        if (strstr(name, "@sha256:"))
                return TAKE_PTR(name);
        digest = digest_of(name);
        if (!digest)
                return NULL;
        char *last = strrchr(name, '/'), *colon = strchr(last, ':');
        if (colon)
                *colon = 0;
        return strformat("%s@sha256:%s", name, digest);
}

bool fake_image_is(const char *image, const char *behaviour) {
        const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image;
        size_t n = strcspn(name, "@:");

        return n == strlen(behaviour) && strncmp(name, behaviour, n) == 0;
}

FakeSession *fake_find(Fake *f, const char *session) {
        FakeSession *s;

        HASH_FIND_STR(f->sessions, session, s);
        return s && !s->removed ? s : NULL;
}

FakeNode *fake_find_node(Fake *f, const char *node) {
        for (unsigned i = 0; node && i < f->n_nodes; i++)
                if (streq(f->nodes[i].id, node))
                        return f->nodes + i;
        return NULL;
}

FakeImage *fake_find_image(Fake *f, const char *image) {
        FakeImage *i;

        HASH_FIND_STR(f->images, image, i);
        return i;
}

int fake_add_image(Fake *f, const char *image, uint64_t content) {
        FakeImage *i = fake_find_image(f, image);

        if (i) {
                i->content = content;
                return 0;
        }
        i = calloc(1, sizeof(*i));
        if (!i || !(i->image = strdup(image))) {
                free(i);
                return -ENOMEM;
        }
        i->content = content;
        HASH_ADD_KEYPTR(hh, f->images, i->image, strlen(i->image), i);
        f->changed = true;
        return 0;
}

/* A session of that id that was removed and not yet reported comes to life again. */
FakeSession *fake_session_new(Fake *f, const char *id) {
        FakeSession *s;

        HASH_FIND_STR(f->sessions, id, s);
        if (s) {
                s->removed = false;
                return s;
        }
        s = calloc(1, sizeof(*s));
        if (!s || !(s->id = strdup(id))) {
                free(s);
                return NULL;
        }
        s->fake = f;
        s->saved = true;
        HASH_ADD_KEYPTR(hh, f->sessions, s->id, strlen(s->id), s);
        return s;
}

FakeSession *fake_session_free(FakeSession *s) {
        if (!s)
                return NULL;
        HASH_DEL(s->fake->sessions, s);
        if (s->dirty)
                DL_DELETE(s->fake->dirty, s);
        fake_delay_stop(&s->start);
        free(s->id);
        free(s->image);
        free(s->record);
        free(s->node);
        free(s->wanted_node);
        free(s->container);
        free(s->health);
        free(s->error);
        free(s);
        return NULL;
}

void fake_session_changed(FakeSession *s) {
        if (!s->dirty)
                DL_APPEND(s->fake->dirty, s);
        s->dirty = true;
        s->fake->changed = true;
        fake_streams_changed(s);
        fake_flush_later(s->fake);
}

bool fake_session_is_lost(const FakeSession *s) {
        const FakeNode *n = fake_find_node(s->fake, s->node);

        return s->container && n && n->down;
}

static void session_set_node(FakeSession *s, FakeNode *node) {
        FakeNode *old = fake_find_node(s->fake, s->node);

        if (old)
                old->sessions--;
        if (free_and_strdup(&s->node, node ? node->id : NULL) >= 0 && node)
                node->sessions++;
}

/* The node that was asked for, else the one with the fewest sessions; NULL if none takes any. */
static FakeNode *pick_node(Fake *f, const char *wanted) {
        FakeNode *best = NULL;

        for (unsigned i = 0; i < f->n_nodes; i++) {
                FakeNode *n = f->nodes + i;
                if (n->down || n->drained || (wanted && !streq(n->id, wanted)))
                        continue;
                if (!best || n->sessions < best->sessions)
                        best = n;
        }
        return best;
}

void fake_session_drop_container(FakeSession *s, bool expected) {
        if (s->container && !s->saved && !expected) {
                s->fake->losses++;
                log_warning("The files of session %s were lost: its container went with content %" PRIu64 ", which no image has.",
                            s->id, s->content);
        }
        fake_delay_stop(&s->start);
        session_set_node(s, NULL);
        (void) free_and_strdup(&s->container, NULL);
        s->frozen = false;
        s->saved = true;
        s->started_usec = 0;
        fake_session_changed(s);
}

void fake_session_remove(FakeSession *s) {
        fake_session_drop_container(s, true);
        s->removed = true;
        s->wanted = false;
        s->task = TASK_NONE;
}

void fake_session_exit(FakeSession *s, int code, bool ran) {
        fake_delay_stop(&s->start);
        s->task = TASK_EXITED;
        s->exit_code = code;
        s->frozen = false;
        if (ran)
                s->ran++;
        fake_session_changed(s);
}

void fake_session_freeze(FakeSession *s, bool frozen) {
        if (s->frozen == frozen)
                return;
        s->frozen = frozen;
        if (!frozen)
                s->ran++;
        fake_session_changed(s);
}

char *fake_session_witness(const FakeSession *s) {
        return strformat("{\"container\":\"%s\",\"started_at\":%" PRIu64 ",\"ran\":%" PRIu64 "}", strempty(s->container),
                         s->started_usec, s->ran);
}

bool fake_witness_holds(const FakeSession *s, const char *witness) {
        _cleanup_free_ char *now = fake_session_witness(s);

        return now && s->container && (s->frozen || s->task == TASK_EXITED) && streq(now, witness);
}

static void session_begin_to_run(FakeSession *s) {
        const char *image = s->image;

        s->task = TASK_RUNNING;
        s->started_usec = now_realtime();
        s->ran++;
        if (s->health)
                (void) free_and_strdup(&s->health, fake_image_is(image, "unhealthy") ? "unhealthy" : "healthy");
        if (fake_image_is(image, "exits"))
                fake_session_exit(s, 1, true);
}

static void session_place(FakeSession *s) {
        Fake *f = s->fake;
        FakeNode *node = pick_node(f, s->wanted_node);
        FakeImage *image = fake_find_image(f, s->image);
        _cleanup_free_ char *seed = NULL;

        if (!node) {
                (void) free_and_strdup(&s->error, "no suitable node");
                return;
        }
        (void) free_and_strdup(&s->error, NULL);
        session_set_node(s, node);
        if (fake_image_is(s->image, "unpullable") || (s->generation > 0 && !image)) {
                s->task = TASK_FAILED;
                (void) free_and_strdup(&s->error, "No such image");
                return;
        }
        seed = strformat("%s/%" PRIu64, s->id, ++f->serial);
        s->container = seed ? digest_of(seed) : NULL;
        s->task = TASK_STARTING;
        s->content = image ? image->content : 0;
        s->saved = true;
}

static void on_start(void *userdata) {
        FakeSession *s = userdata;
        Fake *f = s->fake;

        if (s->task == TASK_PENDING)
                session_place(s);
        else if (s->task == TASK_STARTING && !fake_session_is_lost(s))
                session_begin_to_run(s);
        fake_session_changed(s);
        if (s->task == TASK_STARTING)
                (void) fake_session_schedule(s);
        fake_flush(f);
}

int fake_session_schedule(FakeSession *s) {
        fake_delay_stop(&s->start);
        if (s->task != TASK_PENDING && s->task != TASK_STARTING)
                return 0;
        return fake_delay_start(s->fake, &s->start, s->fake->latency_usec[FAKE_START] / 2, on_start, s);
}

int fake_session_launch(FakeSession *s, const ProviderSpec *spec) {
        fake_session_drop_container(s, false);
        s->wanted = true;
        s->generation = spec->generation;
        s->task = TASK_PENDING;
        s->exit_code = 0;
        s->out_of_memory = false;
        if (free_and_strdup(&s->image, spec->image) < 0 || free_and_strdup(&s->record, spec->record) < 0 ||
            free_and_strdup(&s->error, NULL) < 0 || free_and_strdup(&s->wanted_node, spec->node) < 0 ||
            free_and_strdup(&s->health, strv_length(spec->healthcheck) > 0 ? "starting" : NULL) < 0)
                return -ENOMEM;
        return fake_session_schedule(s);
}
