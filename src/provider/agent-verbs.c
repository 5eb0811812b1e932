/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the agent does to one container but for saving it. A verb is a row of functions: how it begins, what follows an
 * inspection. The short ones are here: thaw, terminate, signal, remove. */

#include <signal.h>

#include "provider/agent-internal.h"

#define GRACE_MAX_USEC (3600 * USEC_PER_SEC)

static void verb_free(AgentCall *call) {
        VerbCall *c = CONTAINER_OF(call, VerbCall, base);

        agent_call_unlink(call);
        engine_call_cancel(c->request);
        agent_thaw_forget(c->thaw);
        timer_free(c->timer);
        if (c->verb->done)
                c->verb->done(c);
        free(c->container);
        free(c->witness);
        free(c);
}

void verb_finish(VerbCall *c, int r, const Refusal *refusal) {
        provider_done_cb cb = c->cb;
        void *userdata = c->userdata;

        verb_free(&c->base);
        if (cb)
                cb(userdata, r, refusal);
}

int verb_request(VerbCall *c, const char *method, const char *verb, usec_t timeout_usec, bool once, engine_cb on_done) {
        return agent_request(c->base.agent, &(const AgentRequest) {
                .method = method,
                .container = c->container,
                .verb = verb,
                .timeout_usec = timeout_usec,
                .once = once,
                .on_done = on_done,
                .userdata = c,
        }, &c->request);
}

static void on_inspected(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        ContainerFacts facts = {};
        int r;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status == 404 && c->verb->absent_is_done)
                r = c->verb->absent ? c->verb->absent(c, &refusal) : 0;
        else {
                r = agent_read_facts(c->base.agent, c->container, answer, &facts, &refusal);
                if (r >= 0)
                        r = c->verb->inspected(c, &facts, &refusal);
                container_facts_done(&facts);
        }
        if (r <= 0)
                verb_finish(c, r, refusal);
}

int verb_inspect(VerbCall *c) {
        return verb_request(c, "GET", "json", INSPECT_TIMEOUT_USEC, false, on_inspected);
}

/* ---- observe */

static int inspected_for_note(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        agent_upper_note(c->base.agent, facts);
        return 0;
}

/* ---- thaw */

static void on_thawed(void *userdata, int r, const Refusal *refusal) {
        VerbCall *c = userdata;

        c->thaw = NULL;
        verb_finish(c, r, refusal);
}

static int begin_thaw(VerbCall *c) {
        if (!note_says_frozen(c->base.agent->frozen_dir, c->container))
                return 1;
        return agent_thaw_begin(c->base.agent, c->container, on_thawed, c, &c->thaw);
}

/* ---- terminate */

static void on_stopped(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status != 404)
                r = agent_refuse_answer(c->base.agent, c->container, "stop", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int send_stop(VerbCall *c) {
        usec_t grace = MIN(c->grace_usec, GRACE_MAX_USEC);
        char verb[64];

        (void) snprintf(verb, sizeof(verb), "stop?t=%" PRIu64, (grace + USEC_PER_SEC - 1) / USEC_PER_SEC);
        return verb_request(c, "POST", verb, grace + TERMINATE_SLACK_USEC, false, on_stopped);
}

static void on_thawed_for_stop(void *userdata, int r, const Refusal *refusal) {
        VerbCall *c = userdata;

        c->thaw = NULL;
        if (r >= 0)
                r = send_stop(c);
        if (r < 0)
                verb_finish(c, r, refusal);
}

/* The last sight of it alive. */
static int inspected_for_stop(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        agent_upper_note(c->base.agent, facts);
        /* The Engine would thaw it itself, but only behind the signal, and the note would stay. */
        int r = note_says_frozen(c->base.agent->frozen_dir, c->container)
                        ? agent_thaw_begin(c->base.agent, c->container, on_thawed_for_stop, c, &c->thaw) : send_stop(c);
        return r < 0 ? r : 1;
}

/* ---- signal */

static void on_signalled(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status == 409)
                r = refuse(&refusal, REFUSAL_WRONG_STATE, "Container %.*s does not run, so no signal reaches it. Start the session first.",
                           CONTAINER_SHORT, c->container);
        else if (answer->outcome != ENGINE_OK)
                r = agent_refuse_answer(c->base.agent, c->container, "signal", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int begin_signal(VerbCall *c) {
        char verb[64];

        (void) snprintf(verb, sizeof(verb), "kill?signal=%i", c->signo);
        return verb_request(c, "POST", verb, SIGNAL_TIMEOUT_USEC, true, on_signalled);
}

/* ---- remove */

static void on_removed(const EngineAnswer *answer, void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        VerbCall *c = userdata;
        int r = 0;

        c->request = NULL;
        /* 409: it runs, or its removal is under way. */
        if (answer->outcome != ENGINE_OK && answer->status != 404 && answer->status != 409)
                r = agent_refuse_answer(c->base.agent, c->container, "remove", answer, &refusal);
        verb_finish(c, r, refusal);
}

static int begin_remove(VerbCall *c) {
        return verb_request(c, "DELETE", "?v=1", REMOVE_TIMEOUT_USEC, false, on_removed);
}

/* ---- all of them */

static const Verb verb_observe = { sizeof(VerbCall), verb_inspect, inspected_for_note, .absent_is_done = true };
static const Verb verb_thaw = { sizeof(VerbCall), begin_thaw };
static const Verb verb_terminate = { sizeof(VerbCall), verb_inspect, inspected_for_stop, .absent_is_done = true };
static const Verb verb_remove = { sizeof(VerbCall), begin_remove };
static const Verb verb_signal = { sizeof(VerbCall), begin_signal };

static void on_timer(void *userdata) {
        VerbCall *c = userdata;
        int r = c->verb->begin(c);

        if (r != 0)
                verb_finish(c, MIN(r, 0), NULL);
}

int verb_start(Agent *a, const Verb *verb, const char *container, const VerbCall *with, ProviderCall **ret) {
        VerbCall *c;
        int r;

        if (!container_id_is_valid(container))
                return -EINVAL;
        c = calloc(1, verb->size);
        if (!c)
                return -ENOMEM;
        *c = *with;
        c->witness = NULL;
        c->verb = verb;
        agent_call_init(&c->base, a, verb_free);
        r = free_and_strdup(&c->container, container);
        if (r >= 0)
                r = free_and_strdup(&c->witness, with->witness);
        if (r >= 0)
                r = timer_new(a->event, on_timer, c, &c->timer);
        if (r >= 0)
                r = timer_arm(c->timer, 0);
        if (r < 0) {
                verb_free(&c->base);
                return r;
        }
        if (ret)
                *ret = &c->base.call;
        return 0;
}

void agent_observe(Agent *a, const char *container) {
        if (container_id_is_valid(container) && !agent_upper_is_noted(a, container))
                (void) verb_start(a, &verb_observe, container, &(const VerbCall) {}, NULL);
}

int agent_thaw(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_thaw, container, &(const VerbCall) { .cb = cb, .userdata = userdata }, ret);
}

int agent_terminate(Agent *a, const char *container, usec_t grace_usec, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_terminate, container, &(const VerbCall) { .grace_usec = grace_usec, .cb = cb, .userdata = userdata }, ret);
}

int agent_remove(Agent *a, const char *container, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        return verb_start(a, &verb_remove, container, &(const VerbCall) { .cb = cb, .userdata = userdata }, ret);
}

int agent_signal(Agent *a, const char *container, int signo, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        if (signo <= 0 || signo >= NSIG)
                return -EINVAL;
        return verb_start(a, &verb_signal, container, &(const VerbCall) { .signo = signo, .cb = cb, .userdata = userdata }, ret);
}
