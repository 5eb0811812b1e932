/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What tests do to the provider in memory from outside of its calls. */

#include "provider/fake-internal.h"

void fake_set_latency(Provider *p, FakeOp op, usec_t latency_usec) {
        FAKE(p)->latency_usec[op] = latency_usec;
}

int fake_fail_next(Provider *p, FakeOp op, unsigned times, RefusalCode code, const char *message) {
        FakeFailure *failure = FAKE(p)->failures + op;

        if (free_and_strdup(&failure->message, message) < 0)
                return -ENOMEM;
        failure->times = times;
        failure->code = code;
        failure->error = 0;
        return 0;
}

int fake_break_next(Provider *p, FakeOp op, unsigned times, int error) {
        FAKE(p)->failures[op].times = times;
        FAKE(p)->failures[op].error = abs(error);
        return 0;
}

int fake_exit_session(Provider *p, const char *session, int code) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        if (s->task != TASK_RUNNING)
                return -EAGAIN;
        fake_session_exit(s, code, true);
        return 0;
}

int fake_exhaust_memory(Provider *p, const char *session) {
        int r = fake_exit_session(p, session, 128 + SIGKILL);

        if (r >= 0)
                fake_find(FAKE(p), session)->out_of_memory = true;
        return r;
}

int fake_write(Provider *p, const char *session, uint64_t value) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        if (s->task != TASK_RUNNING || s->frozen || fake_session_is_lost(s))
                return -EAGAIN;
        if (s->content != value)
                s->saved = false;
        s->content = value;
        s->ran++;
        s->fake->changed = true;
        fake_streams_wrote(s, value);
        fake_flush_later(s->fake);
        return 0;
}

int fake_read(Provider *p, const char *session, uint64_t *ret) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        if (!s->container)
                return -ENODATA;
        *ret = s->content;
        return 0;
}

int fake_set_frozen(Provider *p, const char *session, bool frozen) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        if (s->task != TASK_RUNNING)
                return -EAGAIN;
        fake_session_freeze(s, frozen);
        return 0;
}

int fake_vanish(Provider *p, const char *session) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        fake_session_remove(s);
        return 0;
}

int fake_kill_container(Provider *p, const char *session) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        fake_session_drop_container(s, true);
        s->task = s->wanted ? TASK_GONE : TASK_NONE;
        return 0;
}

int fake_set_session_health(Provider *p, const char *session, const char *health) {
        FakeSession *s = fake_find(FAKE(p), session);

        if (!s)
                return -ENOENT;
        if (free_and_strdup(&s->health, health) < 0)
                return -ENOMEM;
        fake_session_changed(s);
        return 0;
}

static void node_changed(Fake *f, FakeNode *node, bool rebooted) {
        FakeSession *s, *tmp;

        HASH_ITER(hh, f->sessions, s, tmp) {
                if (s->task == TASK_PENDING)
                        (void) fake_session_schedule(s);
                if (!streq_ptr(s->node, node->id))
                        continue;
                if (rebooted && (s->task == TASK_RUNNING || s->task == TASK_STARTING))
                        fake_session_exit(s, 137, true);
                else if (s->task == TASK_STARTING)
                        (void) fake_session_schedule(s);
                fake_session_changed(s);
        }
        f->changed = f->nodes_dirty = true;
        fake_flush_later(f);
}

int fake_lose_node(Provider *p, const char *node) {
        FakeNode *n = fake_find_node(FAKE(p), node);

        if (!n)
                return -ENOENT;
        n->down = true;
        node_changed(FAKE(p), n, false);
        return 0;
}

int fake_return_node(Provider *p, const char *node, bool rebooted) {
        FakeNode *n = fake_find_node(FAKE(p), node);

        if (!n)
                return -ENOENT;
        n->down = false;
        node_changed(FAKE(p), n, rebooted);
        return 0;
}

int fake_set_drained(Provider *p, const char *node, bool drained) {
        FakeNode *n = fake_find_node(FAKE(p), node);

        if (!n)
                return -ENOENT;
        n->drained = drained;
        node_changed(FAKE(p), n, false);
        return 0;
}

void fake_set_health(Provider *p, ProviderHealth health, const char *detail) {
        Fake *f = FAKE(p);

        /* A backend that was away is listed again when it is back: changes may have been missed. */
        if (f->health == PROVIDER_UNAVAILABLE && health != PROVIDER_UNAVAILABLE)
                f->list_wanted = true;
        f->health = health;
        f->health_dirty = true;
        (void) free_and_strdup(&f->health_detail, detail);
        fake_flush_later(f);
}

void fake_list(Provider *p) {
        FAKE(p)->list_wanted = true;
        fake_flush_later(FAKE(p));
}

unsigned fake_losses(Provider *p) {
        return FAKE(p)->losses;
}

uint64_t fake_calls(Provider *p, FakeOp op) {
        return FAKE(p)->n_calls[op];
}

bool fake_has_image(Provider *p, const char *image) {
        return fake_find_image(FAKE(p), image);
}

int fake_forget_image(Provider *p, const char *image) {
        /* By digest or by tag, as in a registry. */
        _cleanup_free_ char *resolved = fake_resolve(image);

        if (!resolved)
                return -ENOMEM;
        FakeImage *i = fake_find_image(FAKE(p), resolved);
        if (!i)
                return -ENOENT;
        HASH_DEL(FAKE(p)->images, i);
        free(i->image);
        free(i);
        FAKE(p)->changed = true;
        fake_flush_later(FAKE(p));
        return 0;
}
