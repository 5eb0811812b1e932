/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the calls of the provider in memory do to its cluster, step by step. */

#include <time.h>

#include "basic/crash-points.h"
#include "provider/fake-internal.h"

#define CAPTURE_STEP_FAIL 5     /* frozen, half of it sent */
#define CAPTURE_STEP_FREEZE 7   /* of a snapshot */
#define CAPTURE_STEP_THAW 8

static usec_t now_boottime(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

int fake_consume_failure(Fake *f, FakeOp op, Refusal **reterr_refusal) {
        FakeFailure *failure = f->failures + op;

        if (failure->times == 0)
                return 0;
        failure->times--;
        if (failure->error > 0)
                return -failure->error;
        return refuse(reterr_refusal, failure->code, "%s", failure->message);
}

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
        r = fake_find_image(c->fake, image) ? 0 :
            streq(image, c->image) ? refuse(reterr_refusal, REFUSAL_NO_SUCH_IMAGE, "The registry has no image %s.", image) :
            fake_add_image(c->fake, image, 0);
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

static int step_execute(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;
        int r = find_container(c, &s, reterr_refusal);

        if (r < 0)
                return r;
        if (s->task != TASK_RUNNING)
                return refuse(reterr_refusal, REFUSAL_WRONG_STATE, "Session %s does not run. Start it first.", s->id);
        if (s->frozen)
                return refuse(reterr_refusal, REFUSAL_BUSY, "Session %s is paused, so nothing can be begun in it. Try again in a moment.", s->id);
        if (fake_stream_runs(c, "missing"))
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED, "Session %s has no program \"missing\". Give one that is in its image.", s->id);
        return 0;
}

static int step_read_logs(FakeCall *c, Refusal **reterr_refusal) {
        FakeSession *s = NULL;

        return find_container(c, &s, reterr_refusal);
}

static void capture_freeze(FakeCall *c, FakeSession *s) {
        fake_session_freeze(s, true);
        c->froze = true;
        c->frozen_at_usec = now_boottime();
        c->content = s->content;
        fake_flush(c->fake);
        crash_point(CRASH_CAPTURE_FROZEN);
}

void fake_call_thaw(FakeCall *c, FakeSession *s) {
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
                fake_call_thaw(c, s);
        if (c->step == CAPTURE_STEP_FAIL) {
                r = fake_consume_failure(c->fake, FAKE_CAPTURE, reterr_refusal);
                if (r < 0)
                        return r;
        }
        return c->step + 1 < FAKE_CAPTURE_STEPS ? 0 : capture_end(c, s);
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

static int step_verify_image(FakeCall *c, Refusal **reterr_refusal) {
        char *image = fake_resolve(c->image);

        if (!image)
                return -ENOMEM;
        free(c->image);
        c->image = image;
        return fake_find_image(c->fake, image) ? 0 : refuse(reterr_refusal, REFUSAL_NO_SUCH_IMAGE, "The registry has no image %s.", image);
}

static int step_delete_image(FakeCall *c, Refusal **reterr_refusal) {
        (void) fake_forget_image(&c->fake->provider, c->image);
        return 0;
}

const FakeOperation fake_operations[_FAKE_OP_MAX] = {
        [FAKE_RESOLVE] = { 1, step_resolve },
        [FAKE_CREATE] = { 1, step_run },
        [FAKE_RUN] = { 1, step_run },
        [FAKE_TERMINATE] = { 1, step_terminate },
        [FAKE_SIGNAL] = { 1, step_signal },
        [FAKE_EXECUTE] = { 1, step_execute },
        [FAKE_READ_LOGS] = { 1, step_read_logs },
        [FAKE_CAPTURE] = { FAKE_CAPTURE_STEPS, step_capture },
        [FAKE_THAW] = { 1, step_thaw },
        [FAKE_REST] = { 2, step_rest },
        [FAKE_DISCARD] = { 1, step_discard },
        [FAKE_REMOVE] = { 1, step_remove },
        [FAKE_VERIFY_IMAGE] = { 1, step_verify_image },
        [FAKE_DELETE_IMAGE] = { 1, step_delete_image },
};
