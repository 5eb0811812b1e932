/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The provider in memory: its calls, which do their steps (fake-steps.c) by and by, and what it is made of. */

#include "basic/names.h"
#include "provider/fake-internal.h"

#define CAPTURE_BYTES (10 * MIB)

static const char *const fake_op_names[_FAKE_OP_MAX] = {
#define X(id, name) [FAKE_##id] = name,
        FAKE_OP_TABLE(X)
#undef X
};

FakeOp fake_op_from_string(const char *s) {
        return name_find(fake_op_names, ELEMENTSOF(fake_op_names), s);
}

/* ---- calls */

static void call_free(FakeCall *c) {
        DL_DELETE(c->fake->calls, c);
        fake_delay_stop(&c->delay);
        fake_stream_free(c->stream);
        free(c->session);
        free(c->image);
        free(c->record);
        free(c->witness);
        free(c->repository);
        free(c->tag);
        free(c->node);
        free(c);
}

static void call_cancel(ProviderCall *call) {
        FakeCall *c = CONTAINER_OF(call, FakeCall, call);

        fake_call_thaw(c, fake_find(c->fake, strempty(c->session)));
        call_free(c);
}

static void capture_report(FakeCall *c) {
        ProviderCaptureProgress progress = {
                .stage = c->step <= 1 ? "freezing" : c->step + 1 < FAKE_CAPTURE_STEPS ? "copying" : "proving",
                .bytes_done = CAPTURE_BYTES * c->step / FAKE_CAPTURE_STEPS,
                .bytes_total = (int64_t) CAPTURE_BYTES,
        };

        if (c->on_progress)
                c->on_progress(c->userdata, &progress);
}

static void call_report(FakeCall *c, int r, const Refusal *refusal) {
        if (c->on_image) {
                char *volumes[] = { (char *) "/data", NULL };
                ProviderImage image = {
                        .image = c->image,
                        .bytes = 2 * MIB,
                        .volumes = r >= 0 && fake_image_is(c->image, "volumes") ? volumes : volumes + 1,
                };
                c->on_image(c->userdata, r, refusal, r >= 0 ? &image : NULL);
        } else if (c->on_capture) {
                const FakeSession *s = fake_find(c->fake, c->session);
                char *dropped[] = { NULL };
                ProviderCaptureResult result = {
                        .image = c->image,
                        .witness = c->witness,
                        .bytes = CAPTURE_BYTES,
                        .uncompressed_bytes = 3 * CAPTURE_BYTES,
                        .entries = 100,
                        .session_layers = 1,
                        .dropped = dropped,
                        .frozen_usec = c->frozen_usec,
                        .out_of_memory = s && s->out_of_memory,
                };
                c->on_capture(c->userdata, r, refusal, r >= 0 ? &result : NULL);
        } else if (c->on_command)
                c->on_command(c->userdata, r, refusal, r < 0 ? -1 : c->exit_code);
        else if (c->on_done)
                c->on_done(c->userdata, r, refusal);
}

void fake_call_finish(FakeCall *c, int r, const Refusal *refusal) {
        if (r < 0)
                fake_call_thaw(c, fake_find(c->fake, strempty(c->session)));
        /* What happened is told and saved before the caller hears that it is done. */
        fake_flush(c->fake);
        call_report(c, r, refusal);
        call_free(c);
}

static int call_schedule(FakeCall *c);

static void on_step(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        FakeCall *c = userdata;
        int r = 0;

        if (c->fake->health == PROVIDER_UNAVAILABLE)
                r = refuse(&refusal, REFUSAL_PROVIDER_UNAVAILABLE, "The provider cannot be reached now. Try again later.");
        else if (c->step == 0 && c->op != FAKE_CAPTURE)
                r = fake_consume_failure(c->fake, c->op, &refusal);
        if (r >= 0)
                r = fake_operations[c->op].step(c, &refusal);
        if (r >= 0 && c->stream) {
                r = fake_stream_begin(c);
                if (r < 0)
                        fake_call_finish(c, r, NULL);
                return;
        }
        if (r < 0 || c->step + 1 >= fake_operations[c->op].steps) {
                fake_call_finish(c, r, refusal);
                return;
        }
        fake_flush(c->fake);
        c->step++;
        r = call_schedule(c);
        if (r < 0)
                fake_call_finish(c, r, NULL);
        else if (c->op == FAKE_CAPTURE)
                capture_report(c);
}

static int call_schedule(FakeCall *c) {
        FakeOp op = c->op == FAKE_REST && c->step > 0 ? FAKE_REST_UPDATE : c->op;
        usec_t latency = c->fake->latency_usec[op] / (op == FAKE_CAPTURE ? FAKE_CAPTURE_STEPS : 1);

        return fake_delay_start(c->fake, &c->delay, latency, on_step, c);
}

int fake_call_new(Provider *p, FakeOp op, const char *session, void *userdata, FakeCall **ret) {
        Fake *f = FAKE(p);
        FakeCall *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        *c = (FakeCall) { .call.cancel = call_cancel, .fake = f, .op = op, .userdata = userdata };
        DL_APPEND(f->calls, c);
        if (session && !(c->session = strdup(session))) {
                call_free(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

int fake_call_start(FakeCall *c, int r, ProviderCall **ret) {
        if (r >= 0)
                r = call_schedule(c);
        if (r < 0) {
                call_free(c);
                return r;
        }
        c->fake->n_calls[c->op]++;
        if (ret)
                *ret = &c->call;
        return 0;
}

/* A call that knows nothing but its session and one more string. */
static int call_simple(Provider *p, FakeOp op, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, op, session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        return fake_call_start(c, 0, ret);
}

/* ---- the vtable */

static int call_image(Provider *p, FakeOp op, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, op, NULL, userdata, &c);

        if (r < 0)
                return r;
        c->on_image = cb;
        return fake_call_start(c, free_and_strdup(&c->image, reference), ret);
}

static int fake_resolve_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return call_image(p, FAKE_RESOLVE, reference, cb, userdata, ret);
}

static int fake_verify_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return call_image(p, FAKE_VERIFY_IMAGE, reference, cb, userdata, ret);
}

static int call_run(Provider *p, FakeOp op, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, op, spec->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->generation = spec->generation;
        c->check = strv_length(spec->healthcheck) > 0;
        r = free_and_strdup(&c->image, spec->image);
        if (r >= 0)
                r = free_and_strdup(&c->record, spec->record);
        if (r >= 0)
                r = free_and_strdup(&c->node, spec->node);
        return fake_call_start(c, r, ret);
}

static int fake_create(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_run(p, FAKE_CREATE, spec, cb, userdata, ret);
}

static int fake_run(Provider *p, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_run(p, FAKE_RUN, spec, cb, userdata, ret);
}

static int fake_terminate(Provider *p, const char *session, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_simple(p, FAKE_TERMINATE, session, cb, userdata, ret);
}

static int fake_signal(Provider *p, const char *session, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, FAKE_SIGNAL, session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->signo = signo;
        return fake_call_start(c, 0, ret);
}

static int fake_capture(Provider *p, const ProviderCapture *capture, provider_capture_progress_cb progress,
                        provider_capture_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, FAKE_CAPTURE, capture->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_capture = cb;
        c->on_progress = progress;
        c->mode = capture->mode;
        c->generation = capture->generation;
        r = free_and_strdup(&c->repository, capture->repository);
        if (r >= 0)
                r = free_and_strdup(&c->tag, capture->tag);
        return fake_call_start(c, r, ret);
}

static int fake_thaw(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_simple(p, FAKE_THAW, session, cb, userdata, ret);
}

static int call_rest(Provider *p, FakeOp op, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, op, rest->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->generation = rest->generation;
        r = free_and_strdup(&c->witness, rest->witness);
        if (r >= 0)
                r = free_and_strdup(&c->image, rest->image);
        if (r >= 0)
                r = free_and_strdup(&c->record, rest->record);
        return fake_call_start(c, r, ret);
}

static int fake_rest(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_rest(p, FAKE_REST, rest, cb, userdata, ret);
}

static int fake_discard(Provider *p, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_rest(p, FAKE_DISCARD, rest, cb, userdata, ret);
}

static int fake_remove(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_simple(p, FAKE_REMOVE, session, cb, userdata, ret);
}

static int fake_delete_image(Provider *p, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = fake_call_new(p, FAKE_DELETE_IMAGE, NULL, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        return fake_call_start(c, free_and_strdup(&c->image, image), ret);
}

static int fake_start(Provider *p, const ProviderObserver *observer) {
        Fake *f = FAKE(p);

        f->observer = *observer;
        f->started = true;
        f->health_dirty = f->list_wanted = true;
        fake_flush_later(f);
        return 0;
}

static Provider *fake_free(Provider *p) {
        Fake *f = FAKE(p);
        FakeSession *s, *stmp;
        FakeImage *i, *itmp;

        f->started = false;
        while (f->calls)
                provider_call_cancel(&f->calls->call);
        if (f->changed)
                (void) fake_save(f);
        fake_control_close(f);
        HASH_ITER(hh, f->sessions, s, stmp)
                fake_session_free(s);
        HASH_ITER(hh, f->images, i, itmp) {
                HASH_DEL(f->images, i);
                free(i->image);
                free(i);
        }
        for (unsigned n = 0; n < f->n_nodes; n++)
                free(f->nodes[n].id);
        free(f->nodes);
        for (int op = 0; op < _FAKE_OP_MAX; op++)
                free(f->failures[op].message);
        sd_event_source_disable_unref(f->flush);
        sd_event_source_disable_unref(f->turn);
        free(f->health_detail);
        free(f->state_path);
        free(f->control_path);
        sd_event_unref(f->event);
        free(f);
        return NULL;
}

static const ProviderVTable fake_vtable = {
        .name = "fake",
        .capabilities = PROVIDER_CAN_CAPTURE | PROVIDER_CAN_CLONE | PROVIDER_CAN_SIGNAL | PROVIDER_CAN_EXECUTE | PROVIDER_CAN_READ_LOGS,
        .free = fake_free,
        .start = fake_start,
        .resolve_image = fake_resolve_image,
        .create = fake_create,
        .run = fake_run,
        .terminate = fake_terminate,
        .signal = fake_signal,
        .execute = fake_execute,
        .read_logs = fake_read_logs,
        .capture = fake_capture,
        .thaw = fake_thaw,
        .rest = fake_rest,
        .discard = fake_discard,
        .remove = fake_remove,
        .verify_image = fake_verify_image,
        .delete_image = fake_delete_image,
        .list = fake_list,
};

static int set_path(char **path, const char *option, const char *variable) {
        const char *value = option ? option : getenv(variable);

        return free_and_strdup(path, isempty(value) ? NULL : value);
}

int fake_new(sd_event *event, const FakeOptions *options, Provider **ret) {
        static const FakeOptions none = {};
        _cleanup_(provider_freep) Provider *p = NULL;
        Fake *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        options = options ? options : &none;
        f->provider.vtable = &fake_vtable;
        f->event = sd_event_ref(event);
        f->control_fd = -EBADF;
        p = &f->provider;
        f->nodes = calloc(options->nodes > 0 ? options->nodes : 2, sizeof(FakeNode));
        if (!f->nodes)
                return -ENOMEM;
        for (; f->n_nodes < (options->nodes > 0 ? options->nodes : 2); f->n_nodes++)
                if (!(f->nodes[f->n_nodes].id = strformat("fake-%u", f->n_nodes + 1)))
                        return -ENOMEM;
        r = set_path(&f->state_path, options->state, "SWARM_FAKE_STATE");
        if (r >= 0)
                r = set_path(&f->control_path, options->control, "SWARM_FAKE_CONTROL");
        if (r >= 0)
                r = fake_load(f);
        if (r >= 0)
                r = fake_control_open(f);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}
