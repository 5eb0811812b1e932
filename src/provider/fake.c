/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The provider in memory: its calls. Each is a row of `operations`: how many steps it has and what a step does. */

#include <time.h>

#include "basic/crash-points.h"
#include "provider/fake-internal.h"

#define CAPTURE_STEPS 10
#define CAPTURE_STEP_FAIL 5     /* frozen, half of it sent */
#define CAPTURE_STEP_FREEZE 7   /* of a snapshot */
#define CAPTURE_STEP_THAW 8
#define CAPTURE_BYTES (10 * MIB)

struct FakeCall {
        ProviderCall call;
        Fake *fake;
        FakeOp op;
        unsigned step;
        char *session, *image, *record, *witness, *repository, *tag, *node;
        uint64_t generation;
        bool check;             /* with a health check */
        int signo;
        CaptureMode mode;
        bool froze;             /* by this call, not thawed yet */
        usec_t frozen_at_usec, frozen_usec;
        uint64_t content;       /* of the container when it was frozen */
        provider_done_cb on_done;
        provider_image_cb on_image;
        provider_capture_cb on_capture;
        provider_capture_progress_cb on_progress;
        void *userdata;
        FakeDelay delay;
        FakeCall *prev, *next;
};

typedef struct FakeOperation {
        unsigned steps;
        int (*step)(FakeCall *c, Refusal **reterr_refusal);     /* one step; negative ends the call */
} FakeOperation;

static const char *const op_names[_FAKE_OP_MAX] = {
#define X(id, name) [FAKE_##id] = name,
        FAKE_OP_TABLE(X)
#undef X
};

const char *fake_op_to_string(FakeOp op) {
        return op >= 0 && op < _FAKE_OP_MAX ? op_names[op] : NULL;
}

FakeOp fake_op_from_string(const char *s) {
        for (int i = 0; s && i < _FAKE_OP_MAX; i++)
                if (streq(op_names[i], s))
                        return i;
        return _FAKE_OP_INVALID;
}

static usec_t now_boottime(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

static int fake_consume_failure(Fake *f, FakeOp op, Refusal **reterr_refusal) {
        FakeFailure *failure = f->failures + op;

        if (failure->times == 0)
                return 0;
        failure->times--;
        if (failure->error > 0)
                return -failure->error;
        return refuse(reterr_refusal, failure->code, "%s", failure->message);
}

/* ---- the steps */

static int find_session(FakeCall *c, FakeSession **ret, Refusal **reterr_refusal) {
        FakeSession *s = fake_find(c->fake, c->session);

        if (!s)
                return refuse(reterr_refusal, REFUSAL_NO_SUCH_SESSION,
                              "The provider has no session %s. It was removed behind the orchestrator's back or never made.", c->session);
        *ret = s;
        return 0;
}

static int find_container(FakeCall *c, FakeSession **ret, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_session(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (fake_session_is_lost(s))
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Node %s of session %s is down. Wait until it is back.", s->node, s->id);
        if (!s->container)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "Session %s has no container (task %s). Start it first.",
                              s->id, task_state_to_string(s->task));
        *ret = s;
        return 0;
}

static int step_resolve(FakeCall *c, Refusal **reterr_refusal) {
        char *image;
        int r;

        if (fake_image_is(c->image, "missing"))
                return refuse(reterr_refusal, REFUSAL_NO_SUCH_IMAGE, "No registry has an image %s. Check its name.", c->image);
        image = fake_resolve(c->image);
        if (!image)
                return -ENOMEM;
        r = fake_find_image(c->fake, image) ? 0 : fake_add_image(c->fake, image, 0);
        free(c->image);
        c->image = image;
        return r;
}

/* Both create and run: a record with one task of this image. Asked twice, the second changes nothing. */
static int step_run(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = fake_find(c->fake, c->session);
        ProviderSpec spec = {
                .session = c->session,
                .image = c->image,
                .generation = c->generation,
                .record = c->record,
                .node = c->node,
                .healthcheck = c->check ? (char *[]) { (char *) "CMD", NULL } : NULL,
        };

        if (s && s->wanted && streq_ptr(s->image, c->image) && s->generation == c->generation &&
            (s->task == TASK_PENDING || s->task == TASK_STARTING || s->task == TASK_RUNNING))
                return 0;
        s = fake_session_new(c->fake, c->session);
        return s ? fake_session_launch(s, &spec) : -ENOMEM;
}

static int step_terminate(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_container(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (s->task == TASK_STARTING || s->task == TASK_RUNNING)
                fake_session_exit(s, 143, true);
        return 0;
}

static int step_signal(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_container(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (s->task != TASK_RUNNING)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "Session %s does not run. Start it first.", s->id);
        if (c->signo == 9 || c->signo == 15)
                fake_session_exit(s, 128 + c->signo, true);
        return 0;
}

static void capture_freeze(FakeCall *c, FakeSession *s) {
        fake_session_freeze(s, true);
        c->froze = true;
        c->frozen_at_usec = now_boottime();
        c->content = s->content;
        fake_flush(c->fake);
        crash_point(CRASH_CAPTURE_FROZEN);
}

static void capture_thaw(FakeCall *c, FakeSession *s) {
        if (!c->froze)
                return;
        c->froze = false;
        c->frozen_usec = now_boottime() - c->frozen_at_usec;
        if (s)
                fake_session_freeze(s, false);
}

static int capture_begin(FakeCall *c, FakeSession *s, Refusal **reterr_refusal) {
        if (c->mode == CAPTURE_EXITED) {
                if (s->task != TASK_EXITED)
                        return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "The main process of session %s has not ended.", s->id);
                c->content = s->content;
                return 0;
        }
        if (s->task != TASK_RUNNING)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "Session %s does not run (task %s). Start it first.", s->id,
                              task_state_to_string(s->task));
        if (s->frozen)
                return refuse(reterr_refusal, REFUSAL_BUSY, "Session %s is paused by somebody else. Unpause it first.", s->id);
        if (c->mode == CAPTURE_HOLD)
                capture_freeze(c, s);
        return 0;
}

static void capture_report(FakeCall *c) {
        ProviderCaptureProgress progress = {
                .stage = c->step <= 1 ? "freezing" : c->step + 1 < CAPTURE_STEPS ? "copying" : "proving",
                .bytes_done = CAPTURE_BYTES * c->step / CAPTURE_STEPS,
                .bytes_total = (int64_t) CAPTURE_BYTES,
        };

        if (c->on_progress)
                c->on_progress(c->userdata, &progress);
}

static int capture_end(FakeCall *c, FakeSession *s) {
        _cleanup_free_ char *name = strformat("%s:%s", c->repository, c->tag), *image = NULL;

        image = name ? fake_resolve(name) : NULL;
        c->witness = fake_session_witness(s);
        if (!image || !c->witness)
                return -ENOMEM;
        free(c->image);
        c->image = TAKE_PTR(image);
        if (s->content == c->content)
                s->saved = true;
        s->fake->changed = true;
        if (c->froze)
                c->frozen_usec = now_boottime() - c->frozen_at_usec;
        return fake_add_image(c->fake, c->image, c->content);
}

static int step_capture(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_container(c, &s, reterr_refusal);

        if (r >= 0 && c->step == 0)
                r = capture_begin(c, s, reterr_refusal);
        else if (r >= 0 && (c->froze && !s->frozen))
                r = refuse(reterr_refusal, REFUSAL_FILES_CHANGED, "Session %s ran while it was saved. Try again.", s->id);
        if (r < 0)
                return r;
        if (c->mode == CAPTURE_THAW && c->step == CAPTURE_STEP_FREEZE)
                capture_freeze(c, s);
        if (c->mode == CAPTURE_THAW && c->step == CAPTURE_STEP_THAW)
                capture_thaw(c, s);
        if (c->step == CAPTURE_STEP_FAIL) {
                r = fake_consume_failure(c->fake, FAKE_CAPTURE, reterr_refusal);
                if (r < 0)
                        return r;
        }
        return c->step + 1 < CAPTURE_STEPS ? 0 : capture_end(c, s);
}

static int step_check_witness(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_container(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (!fake_witness_holds(s, c->witness))
                return refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                              "Session %s ran again after its files were saved, so they may have changed.", s->id);
        return 0;
}

static int step_thaw(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_session(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (fake_session_is_lost(s))
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE, "Node %s of session %s is down. Wait until it is back.",
                              s->node, s->id);
        fake_session_freeze(s, false);
        return 0;
}

static int lay_to_rest(FakeCall *c, FakeSession *s) {
        s->wanted = false;
        s->task = TASK_NONE;
        s->generation = c->generation;
        if (free_and_strdup(&s->image, c->image) < 0 || free_and_strdup(&s->record, c->record) < 0)
                return -ENOMEM;
        return 0;
}

static int step_rest(FakeCall *c, Refusal **reterr_refusal) {
        FakeImage *image = fake_find_image(c->fake, c->image);
        FakeSession *s = NULL;
        int r;

        if (c->step == 0) {
                s = fake_find(c->fake, c->session);
                /* Killed and removed already: the proven generation is all there is. */
                if (s && !s->container)
                        return 0;
                r = find_container(c, &s, reterr_refusal);
                if (r >= 0 && !fake_witness_holds(s, c->witness))
                        r = refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                                   "Session %s ran again after its files were saved, so they may have changed.", s->id);
                if (r >= 0 && s->task != TASK_EXITED)
                        fake_session_exit(s, 137, false);
                if (r >= 0) {
                        fake_flush(c->fake);
                        crash_point(CRASH_CAPTURE_KILLED);
                }
                return r;
        }
        r = find_session(c, &s, reterr_refusal);
        if (r >= 0)
                r = fake_consume_failure(c->fake, FAKE_REST_UPDATE, reterr_refusal);
        if (r < 0)
                return r;
        fake_session_drop_container(s, image && image->content == s->content);
        return lay_to_rest(c, s);
}

static int step_discard(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = fake_find(c->fake, c->session);

        if (!s)
                return 0;
        fake_session_drop_container(s, true);
        return lay_to_rest(c, s);
}

static int step_remove(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = fake_find(c->fake, c->session);

        if (s)
                fake_session_remove(s);
        return 0;
}

static int step_delete_image(FakeCall *c, Refusal **reterr_refusal) {
        (void) fake_forget_image(&c->fake->provider, c->image);
        return 0;
}

static const FakeOperation operations[_FAKE_OP_MAX] = {
        [FAKE_RESOLVE] = { 1, step_resolve },
        [FAKE_CREATE] = { 1, step_run },
        [FAKE_RUN] = { 1, step_run },
        [FAKE_TERMINATE] = { 1, step_terminate },
        [FAKE_SIGNAL] = { 1, step_signal },
        [FAKE_CAPTURE] = { CAPTURE_STEPS, step_capture },
        [FAKE_CHECK_WITNESS] = { 1, step_check_witness },
        [FAKE_THAW] = { 1, step_thaw },
        [FAKE_REST] = { 2, step_rest },
        [FAKE_DISCARD] = { 1, step_discard },
        [FAKE_REMOVE] = { 1, step_remove },
        [FAKE_DELETE_IMAGE] = { 1, step_delete_image },
};

/* ---- calls */

static void call_free(FakeCall *c) {
        DL_DELETE(c->fake->calls, c);
        fake_delay_stop(&c->delay);
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

        capture_thaw(c, fake_find(c->fake, strempty(c->session)));
        call_free(c);
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
                };
                c->on_capture(c->userdata, r, refusal, r >= 0 ? &result : NULL);
        } else if (c->on_done)
                c->on_done(c->userdata, r, refusal);
}

static void call_finish(FakeCall *c, int r, const Refusal *refusal) {
        if (r < 0)
                capture_thaw(c, fake_find(c->fake, strempty(c->session)));
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
                r = operations[c->op].step(c, &refusal);
        if (r < 0 || c->step + 1 >= operations[c->op].steps) {
                call_finish(c, r, refusal);
                return;
        }
        fake_flush(c->fake);
        c->step++;
        r = call_schedule(c);
        if (r < 0)
                call_finish(c, r, NULL);
        else if (c->op == FAKE_CAPTURE)
                capture_report(c);
}

static int call_schedule(FakeCall *c) {
        FakeOp op = c->op == FAKE_REST && c->step > 0 ? FAKE_REST_UPDATE : c->op;
        usec_t latency = c->fake->latency_usec[op] / (op == FAKE_CAPTURE ? CAPTURE_STEPS : 1);

        return fake_delay_start(c->fake, &c->delay, latency, on_step, c);
}

static int call_new(Provider *p, FakeOp op, const char *session, void *userdata, FakeCall **ret) {
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

static int call_start(FakeCall *c, int r, ProviderCall **ret) {
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
        int r = call_new(p, op, session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        return call_start(c, 0, ret);
}

/* ---- the vtable */

static int fake_resolve_image(Provider *p, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = call_new(p, FAKE_RESOLVE, NULL, userdata, &c);

        if (r < 0)
                return r;
        c->on_image = cb;
        return call_start(c, free_and_strdup(&c->image, reference), ret);
}

static int call_run(Provider *p, FakeOp op, const ProviderSpec *spec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = call_new(p, op, spec->session, userdata, &c);

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
        return call_start(c, r, ret);
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
        int r = call_new(p, FAKE_SIGNAL, session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->signo = signo;
        return call_start(c, 0, ret);
}

static int fake_capture(Provider *p, const ProviderCapture *capture, provider_capture_progress_cb progress,
                        provider_capture_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = call_new(p, FAKE_CAPTURE, capture->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_capture = cb;
        c->on_progress = progress;
        c->mode = capture->mode;
        c->generation = capture->generation;
        r = free_and_strdup(&c->repository, capture->repository);
        if (r >= 0)
                r = free_and_strdup(&c->tag, capture->tag);
        return call_start(c, r, ret);
}

static int fake_check_witness(Provider *p, const char *session, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = call_new(p, FAKE_CHECK_WITNESS, session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        return call_start(c, free_and_strdup(&c->witness, witness), ret);
}

static int fake_thaw(Provider *p, const char *session, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return call_simple(p, FAKE_THAW, session, cb, userdata, ret);
}

static int call_rest(Provider *p, FakeOp op, const ProviderRest *rest, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        FakeCall *c;
        int r = call_new(p, op, rest->session, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->generation = rest->generation;
        r = free_and_strdup(&c->witness, rest->witness);
        if (r >= 0)
                r = free_and_strdup(&c->image, rest->image);
        if (r >= 0)
                r = free_and_strdup(&c->record, rest->record);
        return call_start(c, r, ret);
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
        int r = call_new(p, FAKE_DELETE_IMAGE, NULL, userdata, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        return call_start(c, free_and_strdup(&c->image, image), ret);
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
        .capabilities = PROVIDER_CAN_CAPTURE | PROVIDER_CAN_CLONE | PROVIDER_CAN_SIGNAL,
        .free = fake_free,
        .start = fake_start,
        .resolve_image = fake_resolve_image,
        .create = fake_create,
        .run = fake_run,
        .terminate = fake_terminate,
        .signal = fake_signal,
        .capture = fake_capture,
        .check_witness = fake_check_witness,
        .thaw = fake_thaw,
        .rest = fake_rest,
        .discard = fake_discard,
        .remove = fake_remove,
        .delete_image = fake_delete_image,
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
