/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "front/front-internal.h"

/* Somebody types a password: longer than polkit's own dialogue lasts. */
#define INTERACTIVE_TIMEOUT_USEC (5 * 60 * USEC_PER_SEC)

/* So long, and so many at a time, wait for the first report of all providers. An Engine that is there reports within a second. */
#define EARLY_USEC (5 * USEC_PER_SEC)
#define EARLY_MAX 128

/* An answer beyond 32 MiB makes the bus cut off who sends it. What an object takes in GetManagedObjects beside its long
 * strings was measured as 900 bytes of either kind. */
#define MANAGED_BYTES_MAX (28 * MIB)
#define SESSION_BYTES 1400
#define JOB_BYTES 1000

static const BusObject objects[] = {
        { SWARM_PATH, SWARM_INTERFACE_MANAGER, manager_vtable },
        { SWARM_PATH_SESSION, SWARM_INTERFACE_SESSION, session_vtable, session_find, session_enumerate },
        { SWARM_PATH_JOB, SWARM_INTERFACE_JOB, job_vtable, job_find, job_enumerate },
        { SWARM_PATH_NODE, SWARM_INTERFACE_NODE, node_vtable, node_find, node_enumerate },
        { SWARM_PATH_PROVIDER, SWARM_INTERFACE_PROVIDER, provider_vtable, provider_find, provider_enumerate },
};

/* What the core tells and what the bus is told are the same bits. */
static_assert((uint64_t) CHANGE_ADDED == BUS_CHANGED_ADDED, "masks differ");
static_assert((uint64_t) CHANGE_REMOVED == BUS_CHANGED_REMOVED, "masks differ");

static void note(Front *f, const BusChangeClass *class, char *path, uint64_t mask) {
        if (!path) {
                log_oom();
                return;
        }
        if (mask & CHANGE_ALL)
                mask |= ~(uint64_t) (CHANGE_ADDED | CHANGE_REMOVED) & ~FRONT_CHANGE_JOB_ENDED;
        bus_changes_note(f->changes, class, path, mask);
        free(path);
}

static bool have_reported(const Manager *m);
static void release_early(Front *f);

static void on_changed(void *userdata, ObjectKind kind, void *object, uint64_t mask) {
        Front *f = userdata;

        switch (kind) {
        case OBJECT_SESSION:
                note(f, &session_changes, session_path(object), mask);
                break;
        case OBJECT_JOB: {
                const Job *j = object;

                if ((mask & CHANGE_STATE) && job_state_is_ended(j->state))
                        mask |= FRONT_CHANGE_JOB_ENDED;
                note(f, &job_changes, job_path(j->id), mask);
                break;
        }
        case OBJECT_NODE:
                note(f, &node_changes, bus_path_encode(SWARM_PATH_NODE, ((const Node *) object)->id), mask);
                break;
        case OBJECT_PROVIDER:
                note(f, &provider_changes, bus_path_encode(SWARM_PATH_PROVIDER, ((const ProviderEntry *) object)->name), mask);
                if (!f->reported && have_reported(f->manager))
                        release_early(f);
                break;
        default:
                break;
        }
}

static bool have_reported(const Manager *m) {
        for (const ProviderEntry *e = m->providers; e; e = e->hh.next)
                if (!provider_entry_has_reported(e))
                        return false;
        return true;
}

static void release_early(Front *f) {
        f->reported = true;
        timer_disarm(f->early_end);
        for (size_t i = 0; i < f->n_early; i++) {
                bus_message_reenter(f->early[i]);
                sd_bus_message_unref(f->early[i]);
        }
        f->n_early = 0;
}

static void on_early_end(void *userdata) {
        release_early(userdata);
}

int front_await_providers(Front *f, sd_bus_message *m) {
        sd_bus_message **early;

        if (!f->reported && have_reported(f->manager))
                release_early(f);
        if (f->reported || f->n_early >= EARLY_MAX)
                return 1;
        early = reallocarray(f->early, f->n_early + 1, sizeof(*early));
        if (!early)
                return -ENOMEM;
        f->early = early;
        if (!timer_is_armed(f->early_end)) {
                int r = timer_arm(f->early_end, EARLY_USEC);
                if (r < 0)
                        return r;
        }
        f->early[f->n_early++] = sd_bus_message_ref(m);
        return 0;
}

static BusPolkitConfig polkit_config(const Config *c) {
        return (BusPolkitConfig) {
                .queries_max = c->polkit_queries_max,
                .queries_per_user_max = c->polkit_queries_per_user_max,
                .timeout_usec = c->polkit_timeout_usec,
                .interactive_timeout_usec = MAX(INTERACTIVE_TIMEOUT_USEC, c->polkit_timeout_usec),
                .always_ask = c->always_ask_polkit,
        };
}

static void on_caller_gone(void *userdata, const char *sender) {
        Front *f = userdata;

        if (f->polkit)
                bus_polkit_caller_gone(f->polkit, sender);
        front_pending_caller_gone(f, sender);
}

static size_t bytes_of(const char *s) {
        return strlen(strempty(s));
}

static size_t managed_bytes(const Manager *m) {
        size_t n = 0;

        for (const Session *s = m->sessions_by_id; s; s = s->hh_id.next)
                n += SESSION_BYTES + bytes_of(s->state_detail) + bytes_of(s->image) + bytes_of(session_current_image(s));
        for (const Job *j = m->jobs; j; j = j->hh.next)
                n += JOB_BYTES + bytes_of(j->stage) + (j->error ? bytes_of(j->error->message) : 0);
        return n;
}

/* Before the library answers by itself; 0 lets it. */
static int on_root(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Front *f = userdata;
        const Manager *manager = f->manager;
        uid_t uid;

        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects") <= 0)
                return 0;
        int r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        size_t bytes = managed_bytes(manager);
        if (bytes <= MANAGED_BYTES_MAX) {
                r = front_check_answers(f, uid, &refusal);
                if (r < 0)
                        return bus_error_set(reterr, r, &refusal);
                front_note_answer(f, uid, NULL, bytes);
                return 0;
        }
        return bus_error_setf(reterr, REFUSAL_LIMIT_EXCEEDED,
                              "%u sessions and %u jobs are more than one message can hold. ListSessions and ListJobs list them in pages.",
                              HASH_CNT(hh_id, manager->sessions_by_id), HASH_COUNT(manager->jobs));
}

/* For LogControl1's properties. */
static int authorize_log_control(void *userdata, sd_bus_message *m, sd_bus_error *reterr) {
        Front *f = userdata;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return r;
        return front_admit(f, m, uid, SWARM_ACTION_ADMIN_NODES, "log-control", &NO_SUBJECT, reterr);
}

void front_reload_config(Front *f) {
        BusPolkitConfig config = polkit_config(f->manager->config);

        bus_polkit_set_config(f->polkit, &config);
}

static int front_register(Front *f) {
        int r;

        r = bus_register_objects(f->bus, objects, ELEMENTSOF(objects), f);
        if (r < 0)
                return r;
        r = sd_bus_add_object(f->bus, NULL, SWARM_PATH, on_root, f);
        if (r >= 0)
                r = sd_bus_add_object_manager(f->bus, NULL, SWARM_PATH);
        if (r < 0)
                return r;
        f->log_control = (BusLogControl) {
                .identifier = "swarm-orchestratord",
                .authorize = authorize_log_control,
                .userdata = f,
        };
        return bus_log_control_register(f->bus, &f->log_control);
}

int front_new(sd_bus *bus, Manager *m, const FrontHooks *hooks, Front **ret) {
        _cleanup_(front_freep) Front *f = calloc(1, sizeof(*f));
        BusPolkitConfig config = polkit_config(m->config);
        int r;

        if (!f)
                return -ENOMEM;
        f->bus = sd_bus_ref(bus);
        f->manager = m;
        f->hooks = *hooks;
        r = bus_callers_new(bus, on_caller_gone, f, &f->callers);
        if (r >= 0)
                r = bus_polkit_new(bus, m->event, &config, &f->polkit);
        if (r >= 0)
                r = bus_rate_new(&f->rate);
        if (r >= 0)
                r = bus_answers_new(ANSWERS_BYTES_MAX, &f->answers);
        if (r >= 0)
                r = timer_new(m->event, on_early_end, f, &f->early_end);
        if (r >= 0)
                r = bus_changes_new(bus, m->event, f, &f->changes);
        if (r >= 0)
                r = front_register(f);
        if (r < 0)
                return r;
        manager_set_observer(m, on_changed, f);
        *ret = TAKE_PTR(f);
        return 0;
}

Front *front_free(Front *f) {
        Pending *p;

        if (!f)
                return NULL;
        manager_set_observer(f->manager, NULL, NULL);
        while ((p = f->pending))
                front_pending_free(p);
        bus_changes_free(f->changes);
        bus_polkit_free(f->polkit);
        bus_callers_free(f->callers);
        bus_rate_free(f->rate);
        bus_answers_free(f->answers);
        timer_free(f->early_end);
        for (size_t i = 0; i < f->n_early; i++)
                sd_bus_message_unref(f->early[i]);
        free(f->early);
        sd_bus_unref(f->bus);
        free(f);
        return NULL;
}
