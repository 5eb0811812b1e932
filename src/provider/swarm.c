/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <time.h>
#include <utlist.h>

#include "basic/log.h"
#include "provider/swarm-internal.h"
#include "provider/swarm-network.h"

usec_t swarm_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / NSEC_PER_USEC;
}

/* ---- calls ---- */

static void call_cancel(ProviderCall *base) {
        SwarmCall *c = CONTAINER_OF(base, SwarmCall, base);

        if (!c->in_done)
                swarm_call_free(c);
}

static void on_call_timer(void *userdata) {
        SwarmCall *c = userdata;
        c->on_timer(c);
}

int swarm_call_new(Swarm *s, const char *session, usec_t timeout_usec, SwarmCall **ret) {
        _cleanup_(swarm_call_freep) SwarmCall *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->base.cancel = call_cancel;
        c->swarm = s;
        c->logs.fd = -EBADF;
        DL_APPEND(s->calls, c);
        c->deadline_usec = swarm_now() + timeout_usec;
        r = timer_new(s->event, on_call_timer, c, &c->timer);
        if (r < 0)
                return r;
        r = free_and_strdup(&c->session, session);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

static void erase_and_free(char *s) {
        if (s)
                explicit_bzero(s, strlen(s));
        free(s);
}

SwarmCall *swarm_call_free(SwarmCall *c) {
        if (!c)
                return NULL;
        if (!c->in_done)
                DL_DELETE(c->swarm->calls, c);
        engine_call_cancel(c->engine);
        provider_call_cancel(c->agent);
        timer_free(c->timer);
        refusal_free(c->refusal);
        json_decref(c->body);
        json_decref(c->sent);
        free(c->session);
        free(c->name);
        free(c->organization);
        free(c->node);
        free(c->container);
        free(c->service);
        free(c->image);
        free(c->record);
        free(c->witness);
        provider_capture_done(&c->capture);
        provider_command_done(&c->command);
        if (c->logs.fd >= 0)
                (void) close(c->logs.fd);
        free(c->network);
        free(c->task);
        strv_free(c->strangers);
        free(c);
        return NULL;
}

int swarm_call_start(SwarmCall *c, swarm_step first, ProviderCall **ret) {
        int r;

        c->on_timer = first;
        /* Never from within the caller's call. */
        r = timer_arm(c->timer, 0);
        if (r >= 0 && ret)
                *ret = &c->base;
        return r;
}

int swarm_call_undo(SwarmCall *c, int r, ProviderCall **ret) {
        swarm_call_free(c);
        if (ret)
                *ret = NULL;
        return r;
}

void swarm_call_detach(SwarmCall *c) {
        DL_DELETE(c->swarm->calls, c);
        c->in_done = true;
        c->engine = engine_call_cancel(c->engine);
        timer_disarm(c->timer);
}

void swarm_call_finish(SwarmCall *c, int r, Refusal *refusal) {
        c->refusal = refusal_free(c->refusal);
        c->refusal = refusal;
        if (r == -EBADRQC && !refusal)
                r = -ENOMEM;
        /* From here on it belongs to this frame; the provider may be freed by the callback. */
        swarm_call_detach(c);
        if (c->done)
                c->done(c->userdata, r, c->refusal);
        else if (c->capture_done)
                c->capture_done(c->userdata, r, c->refusal, NULL);
        else if (c->image_done)
                c->image_done(c->userdata, r, c->refusal, NULL);
        else if (c->command_done)
                c->command_done(c->userdata, r, c->refusal, -1);
        swarm_call_free(c);
}

void swarm_call_refuse(SwarmCall *c, RefusalCode code, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        Refusal *refusal = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        r = message ? refuse(&refusal, code, "%s", message) : -ENOMEM;
        swarm_call_finish(c, r, refusal);
}

const char *swarm_call_subject(const SwarmCall *c) {
        return c->name ?: c->session;
}

int swarm_error_refusal(Swarm *s, const EngineAnswer *a, const char *what, Refusal **reterr_refusal) {
        switch (a->outcome) {
        case ENGINE_REFUSED:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED, "Docker refused to %s: %s.", what, a->message);
        case ENGINE_CONFLICT:
                return refuse(reterr_refusal, REFUSAL_BUSY, "Docker could not %s, because something else keeps changing it. Try again.", what);
        case ENGINE_RETRYABLE:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s could not %s: %s. Check that docker.service runs, that the user of this service may use its "
                              "socket (group docker), and that its Swarm has a leader, then try again.",
                              engine_socket(s->engine), what, a->message);
        case ENGINE_UNKNOWN:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Docker at %s did not say whether it could %s: %s.", engine_socket(s->engine), what, a->message);
        default:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                              "Docker at %s was asked to %s, and its answer makes no sense: %s.", engine_socket(s->engine), what, a->message);
        }
}

void swarm_call_fail(SwarmCall *c, const EngineAnswer *a, const char *what) {
        Refusal *refusal = NULL;
        int r = swarm_error_refusal(c->swarm, a, what, &refusal);

        swarm_call_finish(c, r, refusal);
}

void swarm_call_later(SwarmCall *c, usec_t after_usec, swarm_step step) {
        int r;

        c->on_timer = step;
        r = timer_arm(c->timer, after_usec);
        if (r < 0)
                swarm_call_finish(c, r, NULL);
}

bool swarm_call_expired(const SwarmCall *c) {
        return swarm_now() >= c->deadline_usec;
}

static void step_report(SwarmCall *c) {
        swarm_call_finish(c, c->result, TAKE_PTR(c->refusal));
}

void swarm_call_engine(SwarmCall *c, EngineRequest request, engine_cb cb) {
        usec_t now = swarm_now();
        int r;

        request.on_done = cb;
        request.userdata = c;
        request.timeout_usec = c->deadline_usec > now ? c->deadline_usec - now : 1;
        r = request.path ? engine_call(c->swarm->engine, &request, &c->engine) : -ENOMEM;
        if (r >= 0)
                return;
        /* Not at once: this may be the first step. */
        c->result = r;
        swarm_call_later(c, 0, step_report);
}

/* ---- provider ---- */

Swarm *swarm_of(Provider *p) {
        return CONTAINER_OF(p, Swarm, provider);
}

static Provider *swarm_free(Provider *p) {
        Swarm *s = swarm_of(p);
        SwarmCall *c, *tmp;

        if (s->gone)
                *s->gone = true;
        DL_FOREACH_SAFE(s->calls, c, tmp)
                swarm_call_free(c);
        swarm_disconnect(s);
        swarm_prepare_clear(s);
        swarm_sessions_clear(s);
        swarm_nodes_clear(s);
        engine_free(s->engine);
        timer_free(s->again);
        timer_free(s->poll);
        timer_free(s->sweep);
        sd_event_unref(s->event);
        erase_and_free(s->registry_auth);
        free(s->advertise_address);
        free(s->network);
        free(s->default_organization);
        free(s->log_driver);
        free(s->health_detail);
        free(s->local_node);
        free(s->system_time);
        free(s->engine_version);
        strv_free(s->inspect);
        free(s);
        return NULL;
}

static int swarm_start(Provider *p, const ProviderObserver *observer) {
        Swarm *s = swarm_of(p);

        s->observer = *observer;
        /* Its first report comes from the loop. */
        return timer_arm(s->again, 0);
}

/* One that is not connected lists everything anyway. */
static void swarm_list_again(Provider *p) {
        Swarm *s = swarm_of(p);

        if (s->phase == SWARM_WATCHING)
                swarm_connect_later(s, 0);
}

static const ProviderVTable swarm_vtable = {
        .name = "swarm",
        .capabilities = PROVIDER_CAN_CAPTURE | PROVIDER_CAN_CLONE | PROVIDER_CAN_SIGNAL | PROVIDER_NEEDS_REGISTRY | PROVIDER_CAN_EXECUTE |
                        PROVIDER_CAN_READ_LOGS,
        .free = swarm_free,
        .start = swarm_start,
        .list = swarm_list_again,
        .resolve_image = swarm_resolve_image,
        .create = swarm_create,
        .run = swarm_run,
        .terminate = swarm_terminate,
        .signal = swarm_signal,
        .execute = swarm_execute,
        .read_logs = swarm_read_logs,
        .capture = swarm_capture,
        .thaw = swarm_thaw,
        .rest = swarm_rest,
        .discard = swarm_discard,
        .remove = swarm_remove,
        .verify_image = swarm_verify_image,
        .delete_image = swarm_delete_image,
};

static void on_again(void *userdata) {
        swarm_connect(userdata);
}

static int swarm_configure(Swarm *s, const SwarmConfig *config) {
        Prefix subnet;
        int r;

        r = prefix_parse(config->subnet, &subnet);
        if (r < 0)
                return r;
        (void) prefix_format(&subnet, s->subnet);
        s->initialize = config->initialize;
        if ((!isempty(config->advertise_address) && (r = free_and_strdup(&s->advertise_address, config->advertise_address)) < 0) ||
            (r = free_and_strdup(&s->network, config->network)) < 0 ||
            (r = free_and_strdup(&s->default_organization, config->default_organization)) < 0 ||
            (r = free_and_strdup(&s->log_driver, config->log_driver)) < 0)
                return r;
        return swarm_provider_set_pull_credential(&s->provider, config->registry, config->pull_username, config->pull_password);
}

void swarm_provider_set_initialize(Provider *p, bool initialize) {
        Swarm *s = swarm_of(p);

        /* What it waits for may be this. */
        if (initialize && !s->initialize && s->phase == SWARM_WAITING)
                swarm_connect_later(s, 0);
        s->initialize = initialize;
}

int swarm_provider_set_pull_credential(Provider *p, const char *registry, const char *username, const char *password) {
        Swarm *s = swarm_of(p);
        char *auth = NULL;

        if (username && password) {
                auth = engine_registry_auth(username, password, strempty(registry));
                if (!auth)
                        return -ENOMEM;
        }
        erase_and_free(s->registry_auth);
        s->registry_auth = auth;
        return 0;
}

int swarm_provider_new(sd_event *event, Http *http, const SwarmConfig *config, Provider **ret) {
        _cleanup_(provider_freep) Provider *p = NULL;
        Swarm *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        p = &s->provider;
        p->vtable = &swarm_vtable;
        s->event = sd_event_ref(event);
        s->http = http;
        s->agent = config->agent;
        s->health = _PROVIDER_HEALTH_INVALID;
        s->backoff = (Backoff) { .min_usec = 500 * USEC_PER_MSEC, .max_usec = 10 * USEC_PER_SEC };
        s->watch_backoff = (Backoff) { .min_usec = 100 * USEC_PER_MSEC, .max_usec = 10 * USEC_PER_SEC };
        if ((r = swarm_configure(s, config)) < 0 ||
            (r = engine_new(event, http, config->engine_socket, &s->engine)) < 0 ||
            (r = timer_new(event, on_again, s, &s->again)) < 0 ||
            (r = swarm_poll_setup(s)) < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}
