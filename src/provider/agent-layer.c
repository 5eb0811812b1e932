/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swarm-layer, the child that alone speaks with registries: how it is started, and its jobs beside saving (resolve, verify, delete).
 * The same reference asked for by many is resolved once. */

#include <linux/capability.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

/* One caller that waits for a job. */
typedef struct LayerCall {
        AgentCall base;
        LayerJob *job;                  /* NULL: the answer is known already */
        Deferred *answer;
        LayerResult known;
        provider_image_cb on_image;
        provider_done_cb on_done;
        void *userdata;
        struct LayerCall *prev, *next;  /* on job->calls */
} LayerCall;

struct LayerJob {
        Agent *agent;                   /* NULL: over, its callers are just being told */
        LayerVerb verb;
        char *image;
        Worker *worker;                 /* NULL: waits for its turn */
        LayerResult result;
        bool have_result;
        Refusal *refusal;
        LayerCall *calls;
        LayerJob *prev, *next;
};

struct ImageEntry {
        char *reference;
        LayerResult result;
        usec_t until_usec;              /* CLOCK_BOOTTIME */
        ImageEntry *prev, *next;
};

/* ---- the child */

int layer_registry_copy(const LayerRegistry *from, LayerRegistry *ret) {
        LayerRegistry r = *from;

        r.url = r.ca_file = r.username = r.password = NULL;
        if (free_and_strdup(&r.url, from->url) < 0 || free_and_strdup(&r.ca_file, from->ca_file) < 0 ||
            free_and_strdup(&r.username, from->username) < 0 || free_and_strdup(&r.password, from->password) < 0) {
                layer_registry_erase(&r);
                return -ENOMEM;
        }
        *ret = r;
        return 0;
}

void layer_registry_erase(LayerRegistry *r) {
        if (r->password)
                explicit_bzero(r->password, strlen(r->password));
        free(r->url);
        free(r->ca_file);
        free(r->username);
        free(r->password);
        *r = (LayerRegistry) {};
}

/* Without the first two it cannot see the overlay's own attributes, or files of other users; it checks that itself. Without the
 * third it takes files that were just written for ones that still are. */
static const int layer_caps[] = { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_LEASE, -1 };
static const int no_caps[] = { -1 };

int agent_spawn_layer(Agent *a, const LayerRequest *request, usec_t silence_usec, bool privileged,
                      worker_line_cb on_line, worker_exit_cb on_exit, void *userdata, Worker **ret) {
        _cleanup_(worker_freep) Worker *w = NULL;
        LayerRequest q = *request;
        char *line = NULL;
        int r;

        r = worker_spawn(a->event, &(const WorkerSpec) {
                .argv = (const char *const[]) { a->layer_path, NULL },
                .log_prefix = "swarm-layer",
                .ambient_caps = privileged ? layer_caps : no_caps,
                .timeout_usec = silence_usec,
                .on_line = on_line,
                .on_exit = on_exit,
                .userdata = userdata,
        }, &w);
        if (r < 0)
                return r;
        q.registry = a->registry;
        r = layer_request_to_json(&q, &line);
        if (r < 0)
                return r;
        r = worker_send(w, line, strlen(line));
        explicit_bzero(line, strlen(line));
        free(line);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

int layer_refuse_exit(int code, int status, const char *doing, Refusal **reterr_refusal) {
        if (code == CLD_EXITED)
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                              "swarm-layer ended with status %i before it was done (%s). Its reason is in the journal.", status, doing);
        return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED,
                      "swarm-layer was killed by signal %i (%s) before it was done (%s). The journal may say why; try again.",
                      status, strsignal(status), doing);
}

/* ---- what was resolved lately */

static void entry_free(Agent *a, ImageEntry *e) {
        DL_DELETE(a->images, e);
        layer_result_done(&e->result);
        free(e->reference);
        free(e);
}

static int result_copy(const LayerResult *from, LayerResult *ret) {
        LayerResult r = { .bytes = from->bytes };

        r.volumes = strv_copy(from->volumes);
        if (!r.volumes || free_and_strdup(&r.image, from->image) < 0) {
                layer_result_done(&r);
                return -ENOMEM;
        }
        *ret = r;
        return 0;
}

static ImageEntry *find_entry(Agent *a, const char *reference) {
        usec_t now = agent_now(CLOCK_BOOTTIME);
        ImageEntry *e, *tmp, *found = NULL;

        DL_FOREACH_SAFE(a->images, e, tmp) {
                if (e->until_usec <= now)
                        entry_free(a, e);
                else if (streq(e->reference, reference))
                        found = e;
        }
        return found;
}

static void remember_image(Agent *a, const char *reference, const LayerResult *result) {
        ImageEntry *e = find_entry(a, reference);
        unsigned n;

        if (e)
                entry_free(a, e);
        DL_COUNT(a->images, e, n);
        if (n >= IMAGES_KEPT_MAX)
                entry_free(a, a->images);
        e = calloc(1, sizeof(*e));
        if (!e)
                return;
        DL_APPEND(a->images, e);
        e->until_usec = agent_now(CLOCK_BOOTTIME) + IMAGES_KEEP_USEC;
        e->reference = strdup(reference);
        if (!e->reference || result_copy(result, &e->result) < 0)
                entry_free(a, e);
}

/* ---- jobs */

static void job_free(LayerJob *j) {
        if (j->worker)
                j->agent->n_jobs_running--;
        j->agent->n_jobs--;
        DL_DELETE(j->agent->jobs, j);
        worker_free(j->worker);
        layer_result_done(&j->result);
        refusal_free(j->refusal);
        free(j->image);
        free(j);
}

static void call_tell(LayerCall *c, int r, const Refusal *refusal, const LayerResult *result) {
        provider_image_cb on_image = c->on_image;
        provider_done_cb on_done = c->on_done;
        void *userdata = c->userdata;

        c->base.free(&c->base);
        if (on_image) {
                char *none[] = { NULL };
                ProviderImage image = {};
                if (r >= 0)
                        image = (ProviderImage) { .image = result->image, .bytes = result->bytes, .volumes = result->volumes ?: none };
                on_image(userdata, r, refusal, r >= 0 ? &image : NULL);
        } else if (on_done)
                on_done(userdata, r >= 0 && result->unchanged ? 1 : r, refusal);
}

static void jobs_next(Agent *a);

/* A callback may free the agent: what is still needed is moved out of it first. */
static void job_finish(LayerJob *j, int r) {
        LayerJob over = { .calls = TAKE_PTR(j->calls), .refusal = TAKE_PTR(j->refusal), .result = j->result };
        Agent *a = j->agent;
        LayerCall *c;

        j->result = (LayerResult) {};
        DL_FOREACH(over.calls, c)
                c->job = &over;
        if (r >= 0 && j->verb == LAYER_RESOLVE)
                remember_image(a, j->image, &over.result);
        job_free(j);
        jobs_next(a);
        while (over.calls)
                call_tell(over.calls, r, over.refusal, &over.result);
        refusal_free(over.refusal);
        layer_result_done(&over.result);
}

static void on_job_line(Worker *w, const char *text, size_t length, void *userdata) {
        LayerJob *j = userdata;
        LayerLine line = {};

        if (layer_line_from_json(text, &line) < 0) {
                log_debug("swarm-layer wrote a line that is not understood, which is ignored.");
                return;
        }
        if (line.type == LAYER_LINE_RESULT) {
                layer_result_done(&j->result);
                j->result = line.result;
                line.result = (LayerResult) {};
                j->have_result = true;
        } else if (line.type == LAYER_LINE_ERROR) {
                refusal_free(j->refusal);
                j->refusal = TAKE_PTR(line.refusal);
        }
        layer_line_done(&line);
}

static void on_job_exit(Worker *w, int code, int status, void *userdata) {
        LayerJob *j = userdata;
        int r = 0;

        if (j->refusal)
                r = -EBADRQC;
        else if (!j->have_result || code != CLD_EXITED || status != 0 || (j->verb != LAYER_DELETE && !j->result.image))
                r = layer_refuse_exit(code, status, j->verb == LAYER_RESOLVE ? "resolving an image" :
                                      j->verb == LAYER_VERIFY ? "reading an image back" : "deleting an image", &j->refusal);
        job_finish(j, r);
}

static int job_run(LayerJob *j) {
        LayerRequest request = { .verb = j->verb, .image = j->image };
        int r;

        r = agent_spawn_layer(j->agent, &request, LAYER_SMALL_USEC, false, on_job_line, on_job_exit, j, &j->worker);
        if (r < 0)
                return r;
        j->agent->n_jobs_running++;
        return 0;
}

/* Started from the loop only, and those that cannot be started fail one by one, in later turns. */
static void jobs_next(Agent *a) {
        LayerJob *j;

        DL_FOREACH(a->jobs, j) {
                if (a->n_jobs_running >= LAYER_JOBS_MAX)
                        return;
                if (j->worker)
                        continue;
                int r = job_run(j);
                if (r < 0) {
                        log_warning_errno(r, "%s cannot be started: %m", a->layer_path);
                        job_finish(j, r);
                        return;
                }
        }
}

static LayerJob *find_job(Agent *a, LayerVerb verb, const char *image) {
        LayerJob *j;

        DL_FOREACH(a->jobs, j)
                if (j->verb == verb && streq(j->image, image))
                        return j;
        return NULL;
}

static int job_new(Agent *a, LayerVerb verb, const char *image, LayerJob **ret) {
        LayerJob *j;

        if (a->n_jobs - a->n_jobs_running >= LAYER_JOBS_QUEUED_MAX)
                return -ENOBUFS;
        j = calloc(1, sizeof(*j));
        if (!j || !(j->image = strdup(image))) {
                free(j);
                return -ENOMEM;
        }
        j->agent = a;
        j->verb = verb;
        DL_APPEND(a->jobs, j);
        a->n_jobs++;
        *ret = j;
        return 0;
}

/* ---- calls */

/* A place is free, and nobody who runs will end in it: the first of those that wait looks, in a turn of its own. */
static void wake_next(Agent *a) {
        LayerJob *j;

        DL_FOREACH(a->jobs, j)
                if (!j->worker) {
                        deferred_arm(j->calls->answer);
                        return;
                }
}

static void layer_call_free(AgentCall *call) {
        LayerCall *c = CONTAINER_OF(call, LayerCall, base);
        LayerJob *j = c->job;

        agent_call_unlink(call);
        if (j) {
                DL_DELETE(j->calls, c);
                /* Nobody wants to know any more. */
                if (j->agent && !j->calls) {
                        job_free(j);
                        wake_next(call->agent);
                }
        }
        deferred_free(c->answer);
        layer_result_done(&c->known);
        free(c);
}

/* What is known already; else its turn to start a child. */
static void on_call_turn(void *userdata) {
        LayerCall *c = userdata;
        LayerResult known = c->known;

        if (c->job) {
                jobs_next(c->base.agent);
                return;
        }
        c->known = (LayerResult) {};
        call_tell(c, 0, NULL, &known);
        layer_result_done(&known);
}

static void on_queue_full(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        int r = refuse(&refusal, REFUSAL_BUSY, "Too many requests to the registry wait already (%u). Try again later.",
                       LAYER_JOBS_QUEUED_MAX);

        call_tell(userdata, r, refusal, NULL);
}

static int layer_call_new(Agent *a, LayerVerb verb, const char *image, LayerCall **ret) {
        ImageEntry *entry = verb == LAYER_RESOLVE ? find_entry(a, image) : NULL;
        LayerCall *c = calloc(1, sizeof(*c));
        LayerJob *j = NULL;
        bool full = false;
        int r = 0;

        if (!c)
                return -ENOMEM;
        agent_call_init(&c->base, a, layer_call_free);
        if (entry)
                r = result_copy(&entry->result, &c->known);
        else if (!(j = find_job(a, verb, image))) {
                r = job_new(a, verb, image, &j);
                full = r == -ENOBUFS;
                r = full ? 0 : r;
        }
        if (r >= 0)
                r = deferred_new(a->event, SD_EVENT_PRIORITY_NORMAL, full ? on_queue_full : on_call_turn, c, &c->answer);
        if (r >= 0)
                deferred_arm(c->answer);
        if (j) {
                DL_APPEND(j->calls, c);
                c->job = j;
        }
        if (r < 0) {
                layer_call_free(&c->base);
                return r;
        }
        *ret = c;
        return 0;
}

static int image_call(Agent *a, LayerVerb verb, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        LayerCall *c;
        int r = layer_call_new(a, verb, reference, &c);

        if (r < 0)
                return r;
        c->on_image = cb;
        c->userdata = userdata;
        if (ret)
                *ret = &c->base.call;
        return 0;
}

int agent_resolve_image(Agent *a, const char *reference, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return image_call(a, LAYER_RESOLVE, reference, cb, userdata, ret);
}

int agent_verify_image(Agent *a, const char *image, provider_image_cb cb, void *userdata, ProviderCall **ret) {
        return image_call(a, LAYER_VERIFY, image, cb, userdata, ret);
}

int agent_delete_image(Agent *a, const char *image, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        LayerCall *c;
        int r = layer_call_new(a, LAYER_DELETE, image, &c);

        if (r < 0)
                return r;
        c->on_done = cb;
        c->userdata = userdata;
        if (ret)
                *ret = &c->base.call;
        return 0;
}

void agent_layer_free(Agent *a) {
        while (a->jobs)
                job_free(a->jobs);
        while (a->images)
                entry_free(a, a->images);
}
