/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CreateSession: what was asked, the template and the defaults become one spec; everything is checked before anything
 * is changed. */

#include <math.h>

#include "basic/log.h"
#include "core/identifier.h"
#include "core/rules.h"
#include "core/session-object.h"
#include "oci/reference.h"

#define CPUS_MIN 0.1
#define CPUS_MAX 16.0
#define MEMORY_MIN (64 * MIB)
#define MEMORY_MAX (32 * GIB)
#define IDLE_TIMEOUT_MIN (60 * USEC_PER_SEC)    /* as in templates and orchestrator.conf */
#define IMAGE_LENGTH_MAX 512
#define GENERATE_TRIES 16

static int check_label(const char *label, Refusal **reterr) {
        const char *equals = strchr(label, '=');
        if (!equals)
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "A label has no \"=\". Labels are written KEY=VALUE.");
        _cleanup_free_ char *key = strndup(label, (size_t) (equals - label));
        return key ? label_check(key, equals + 1, reterr) : -ENOMEM;
}

/* Whether a registry has it is seen by the job. */
static int check_image(const char *image, Refusal **reterr) {
        _cleanup_image_reference_ ImageReference reference = {};

        return image_reference_parse(image, &reference, reterr);
}

static int check_parameters(const SessionParameters *p, Refusal **reterr) {
        char least[32], most[32];
        int r = 0;

        if (!isempty(p->name) && !session_name_is_valid(p->name))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                              "The name of the session is not valid. A name has 1 to 40 of the characters a-z, 0-9 and \"-\", begins with a letter and does not "
                              "end with \"-\". Leave it empty to have one made.");
        if (p->image && (isempty(p->image) || strlen(p->image) > IMAGE_LENGTH_MAX || !utf8_is_valid(p->image)))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "The image reference is empty, longer than %d bytes or not valid UTF-8.", IMAGE_LENGTH_MAX);
        if (p->image) {
                r = check_image(p->image, reterr);
                if (r < 0)
                        return r;
        }
        if (!p->image && !p->template_name && !p->from)
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "Neither a template nor an image is given. Add --template= (option `template`; 'swarmctl templates', ListTemplates, lists them) or --image= (option `image`).");
        if (p->from && p->image)
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "Both --from= (option `from`) and --image= (option `image`) are given. A clone begins with the files of its source; leave one of them out.");
        if (!isnan(p->cpus) && p->cpus != 0 && !(p->cpus >= CPUS_MIN && p->cpus <= CPUS_MAX))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "--cpus= (option `cpus`) is %g; a session has %g to %g.", p->cpus, CPUS_MIN, CPUS_MAX);
        if (p->memory_bytes != 0 && (p->memory_bytes < MEMORY_MIN || p->memory_bytes > MEMORY_MAX))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "--memory= (option `memory_bytes`) is %" PRIu64 " bytes; a session has %s to %s.", p->memory_bytes,
                              format_bytes(least, sizeof(least), MEMORY_MIN), format_bytes(most, sizeof(most), MEMORY_MAX));
        if (p->idle_timeout_usec != 0 && p->idle_timeout_usec < IDLE_TIMEOUT_MIN)
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "--idle-timeout= (option `idle_timeout_usec`) is %" PRIu64 " microseconds (%s); it must be 1min or more.",
                              p->idle_timeout_usec, format_timespan(least, sizeof(least), p->idle_timeout_usec));
        STRV_FOREACH(e, p->env) {
                r = env_assignment_check(*e, reterr);
                if (r < 0)
                        return r;
        }
        STRV_FOREACH(l, p->labels) {
                r = check_label(*l, reterr);
                if (r < 0)
                        return r;
        }
        r = words_check("command", p->command, reterr);
        if (r >= 0)
                r = words_check("env", p->env, reterr);
        return r < 0 ? r : words_check("labels", p->labels, reterr);
}

static bool is_assigned(char *const *assignments, const char *assignment) {
        size_t key = strcspn(assignment, "=");

        STRV_FOREACH(a, assignments)
                if (strncmp(*a, assignment, key) == 0 && (*a)[key] == '=')
                        return true;
        return false;
}

/* K=V lists: what is asked for replaces what the template has under the same K. Of several with one K the last counts, as
 * docker has it: given both, libc would see the first and a shell the last. */
static int merge_assignments(char *const *base, char *const *over, Strv *ret) {
        _cleanup_strv_ Strv merged = strv_copy(NULL);

        if (!merged)
                return -ENOMEM;
        STRV_FOREACH(o, over)
                if (!is_assigned(o + 1, *o) && strv_extend(&merged, *o) < 0)
                        return -ENOMEM;
        STRV_FOREACH(b, base)
                if (!is_assigned(b + 1, *b) && !is_assigned(over, *b) && strv_extend(&merged, *b) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(merged);
        return 0;
}

typedef struct Source {
        const Template *template;
        Session *from;
        uint64_t generation;
} Source;

static int find_from(Manager *m, const char *from, Source *ret, Refusal **reterr) {
        const char *colon = strchr(from, ':');
        _cleanup_free_ char *name = strndup(from, colon ? (size_t) (colon - from) : strlen(from));
        int r;

        if (!name)
                return -ENOMEM;
        r = manager_get_session(m, name, &ret->from, reterr);
        if (r < 0)
                return r;
        if (ret->from->state == SESSION_DESTROYING)
                return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is being destroyed, and its generations with it. Clone another session.", ret->from->name);
        ret->generation = session_newest_generation(ret->from);
        if (colon && (parse_u64(colon + 1, &ret->generation) < 0 || ret->generation == 0))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                              "from=\"%.128s\" is not understood. Write SESSION or SESSION:GENERATION, with a generation from 1 on.", from);
        if (!session_find_snapshot(ret->from, ret->generation))
                return ret->generation == 0 ?
                        refuse(reterr, REFUSAL_NO_SUCH_GENERATION, "Session \"%s\" has no saved generation to clone. Take one with 'swarmctl snapshot %s' (Snapshot) first.",
                               ret->from->name, ret->from->name) :
                        refuse(reterr, REFUSAL_NO_SUCH_GENERATION, "Session \"%s\" has no generation %" PRIu64 ". 'swarmctl snapshots %s' (ListSnapshots) lists those that it has.",
                               ret->from->name, ret->generation, ret->from->name);
        return 0;
}

static int find_source(Manager *m, const SessionParameters *p, Source *ret, Refusal **reterr) {
        *ret = (Source) {};
        if (p->template_name) {
                ret->template = template_table_find(m->templates, p->template_name);
                if (!ret->template)
                        return refuse(reterr, REFUSAL_NO_SUCH_TEMPLATE, "There is no template \"%s\". 'swarmctl templates' (ListTemplates) lists those that there are.",
                                      utf8_is_valid(p->template_name) ? p->template_name : "?");
        }
        return p->from ? find_from(m, p->from, ret, reterr) : 0;
}

/* A clone keeps the share that its source reserves, also of another limit than the source's. */
static double share(double part, double whole, int of_template, unsigned of_config) {
        return whole > 0 ? part / whole : (of_template >= 0 ? (unsigned) of_template : of_config) / 100.0;
}

/* The settings of a clone's source, or a template's, or none, under what is asked for. */
static int fill_spec(const Config *c, const Source *source, const SessionParameters *p, SessionSpec *spec) {
        static const Template empty = { .cpu_reservation_percent = -1, .memory_reservation_percent = -1 };
        const Template *t = source->template ? source->template : &empty;
        const SessionSpec *from = source->from && !source->template ? &source->from->spec : NULL;
        double cpu_share = share(from ? from->reserved_cpus : 0, from ? from->cpus : 0, t->cpu_reservation_percent, c->cpu_reservation_percent);
        double memory_share = share(from ? (double) from->reserved_memory_bytes : 0, from ? (double) from->memory_bytes : 0,
                                    t->memory_reservation_percent, c->memory_reservation_percent);
        int r;

        spec->cpus = p->cpus > 0 ? p->cpus : from ? from->cpus : t->cpus > 0 ? t->cpus : c->cpus;
        spec->memory_bytes = p->memory_bytes ? p->memory_bytes : from ? from->memory_bytes : t->memory_bytes ? t->memory_bytes : c->memory_bytes;
        spec->reserved_cpus = spec->cpus * cpu_share;
        spec->reserved_memory_bytes = p->memory_reservation_bytes ? p->memory_reservation_bytes : (uint64_t) ((double) spec->memory_bytes * memory_share + 0.5);
        spec->idle_timeout_usec = p->idle_timeout_usec ? p->idle_timeout_usec : from ? from->idle_timeout_usec :
                                  t->idle_timeout_usec ? t->idle_timeout_usec : c->idle_timeout_usec;
        spec->stop_grace_usec = from ? from->stop_grace_usec : t->stop_grace_usec ? t->stop_grace_usec : c->stop_grace_usec;
        spec->healthcheck_interval_usec = from ? from->healthcheck_interval_usec : t->healthcheck_interval_usec;
        spec->healthcheck_retries = from ? from->healthcheck_retries : t->healthcheck_retries;
        spec->volumes_ephemeral = from ? from->volumes_ephemeral : t->volumes_ephemeral;
        r = merge_assignments(from ? from->env : t->env, p->env, &spec->env);
        if (r >= 0)
                r = merge_assignments(from ? from->labels : t->labels, p->labels, &spec->labels);
        if (r < 0)
                return r;
        spec->command = strv_copy(p->command && p->command[0] ? p->command : from ? from->command : t->command);
        spec->healthcheck = strv_copy(from ? from->healthcheck : t->healthcheck);
        spec->features = strv_copy(from ? from->features : t->features);
        spec->routes = strv_copy(from ? from->routes : t->routes);
        return spec->command && spec->healthcheck && spec->features && spec->routes ? 0 : -ENOMEM;
}

/* What was asked for and what the template or the source of a clone has, together. */
static int check_spec_words(const SessionSpec *spec, Refusal **reterr) {
        int r = words_check("env, with that of the template or source,", spec->env, reterr);

        return r < 0 ? r : words_check("labels, with those of the template or source,", spec->labels, reterr);
}

static int check_quotas(Manager *m, uid_t owner, uid_t actor, Refusal **reterr) {
        unsigned all = HASH_CNT(hh_id, m->sessions_by_id), mine = usage_sessions_of(m, owner);

        if (m->stopping)
                return refuse(reterr, REFUSAL_PROVIDER_UNAVAILABLE, "The orchestrator is stopping. Try again when it is back.");
        if (!m->store_healthy)
                return refuse(reterr, REFUSAL_STORE_FAILED, "The state cannot be saved now, so no session can be created. Make room in the state directory.");
        if (all >= m->config->sessions_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED, "There are %u sessions already (SessionsMax=). Destroy some that are not needed.", all);
        if (owner != 0 && mine >= m->config->sessions_per_user_max)
                return refuse(reterr, REFUSAL_LIMIT_EXCEEDED,
                              "Uid %u has %u sessions already (SessionsPerUserMax=). Destroy one that is not needed, or ask an administrator for more.", owner, mine);
        return usage_check_jobs(m, actor, reterr);
}

static int choose_provider(Manager *m, const char *wanted, ProviderEntry **ret, Refusal **reterr) {
        ProviderEntry *e = NULL;

        if (wanted) {
                e = manager_find_provider(m, wanted);
                if (!e)
                        return refuse(reterr, REFUSAL_NO_SUCH_PROVIDER, "There is no provider \"%s\". 'swarmctl providers' (ListProviders) lists those that there are.",
                                      utf8_is_valid(wanted) ? wanted : "?");
        } else
                STRV_FOREACH(name, m->config->providers)
                        if (!e)
                                e = manager_find_provider(m, *name);
        if (!e)
                return refuse(reterr, REFUSAL_NO_SUCH_PROVIDER, "No provider is configured. Set Providers= in the [Manager] section.");
        int r = provider_entry_check(e, reterr);
        if (r < 0)
                return r;
        *ret = e;
        return 0;
}

static int choose_node(Manager *m, const char *wanted, const ProviderEntry *e, Node **ret, Refusal **reterr) {
        *ret = NULL;
        if (!wanted)
                return 0;
        int r = manager_get_node(m, wanted, ret, reterr);
        if (r < 0)
                return r;
        if (!streq((*ret)->provider, e->name))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "Node \"%s\" belongs to provider \"%s\", not to \"%s\".", (*ret)->name, (*ret)->provider, e->name);
        if (!streq_ptr((*ret)->state, "ready") || !streq_ptr((*ret)->availability, "active"))
                return refuse(reterr, REFUSAL_NO_CAPACITY, "Node \"%s\" takes no sessions now: it is %s, %s.", (*ret)->name, strna((*ret)->state),
                              strna((*ret)->availability));
        if (!(*ret)->agent)
                return refuse(reterr, REFUSAL_NO_CAPACITY, "Node \"%s\" has no agent of the orchestrator, so a session there could not be saved. Install it there first.",
                              (*ret)->name);
        return 0;
}

/* Nobody reserves what he may not use: others could not be placed any more. */
static int check_reservation(const SessionSpec *spec, Refusal **reterr) {
        char asked[32], most[32];

        if (spec->reserved_memory_bytes <= spec->memory_bytes)
                return 0;
        return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                      "--memory-reservation= (option `memory_reservation_bytes`) is %s, more than the %s that the session may use. "
                      "Ask for less, or raise --memory= (option `memory_bytes`).",
                      format_bytes(asked, sizeof(asked), spec->reserved_memory_bytes), format_bytes(most, sizeof(most), spec->memory_bytes));
}

/* An Engine takes no container that may use more processors than it has. */
static int check_cpus(const SessionSpec *spec, uint64_t most, Refusal **reterr) {
        double cpus = (double) most / 1e9;

        if (most == 0 || spec->cpus <= cpus)
                return 0;
        return refuse(reterr, REFUSAL_NO_CAPACITY,
                      "The session is to have %g CPUs, and %g are the most that a node has which it could run on now. Ask for fewer with --cpus= (option `cpus`), or add a node.",
                      spec->cpus, cpus);
}

/* Reservations are what Swarm places by; a session that could never be placed is refused with the figures. */
static int check_capacity(Manager *m, const ProviderEntry *e, const Node *node, const SessionSpec *spec, Refusal **reterr) {
        uint64_t total = 0, reserved = e->reserved_memory_bytes, most_cpus = 0;

        for (Node *n = m->nodes; n; n = n->hh.next)
                if (streq(n->provider, e->name) && streq_ptr(n->state, "ready") && streq_ptr(n->availability, "active") && n->agent) {
                        total += n->memory_bytes;
                        most_cpus = MAX(most_cpus, n->nano_cpus);
                }
        int r = check_cpus(spec, node ? node->nano_cpus : most_cpus, reterr);
        if (r < 0)
                return r;
        if (total == 0 || reserved + spec->reserved_memory_bytes <= total / 10 * 9)
                return 0;

        char want[32], used[32], all[32];
        return refuse(reterr, REFUSAL_NO_CAPACITY,
                      "The session reserves %s of memory; of the %s of the nodes that are ready %s are reserved already, and 90 %% is the limit. "
                      "Hibernate sessions, ask for less memory, or add a node.",
                      format_bytes(want, sizeof(want), spec->reserved_memory_bytes), format_bytes(all, sizeof(all), total),
                      format_bytes(used, sizeof(used), reserved));
}

static int choose_name(Manager *m, const char *wanted, char **ret, Refusal **reterr) {
        if (!isempty(wanted)) {
                Session *other = manager_find_session(m, wanted);
                if (other)
                        return refuse(reterr, REFUSAL_SESSION_EXISTS, "There is a session \"%s\" already; it is %s. Choose another name, or leave it empty to have one made.",
                                      wanted, session_state_to_string(other->state));
                return free_and_strdup(ret, wanted);
        }
        for (int i = 0; i < GENERATE_TRIES; i++) {
                _cleanup_free_ char *name = session_name_generate();
                if (!name)
                        return -ENOMEM;
                if (!manager_find_session(m, name)) {
                        *ret = TAKE_PTR(name);
                        return 0;
                }
        }
        return refuse(reterr, REFUSAL_INTERNAL, "No free name could be made. Give the session a name.");
}

static int new_session_with_id(Manager *m, Session **ret) {
        char id[SESSION_ID_LENGTH + 1];

        do
                session_id_generate(id);
        while (manager_find_session(m, id));
        return session_new(m, id, ret);
}

static int set_strings(Session *s, const Source *source, const SessionParameters *p, const ProviderEntry *e, const Node *n) {
        const Snapshot *snapshot = source->from ? session_find_snapshot(source->from, source->generation) : NULL;
        const char *image = p->image ? p->image : source->from ? source->from->image : source->template->image;
        const char *template_name = source->template ? source->template->name : source->from ? source->from->template_name : NULL;

        if (free_and_strdup(&s->image, image) < 0 ||
            free_and_strdup(&s->template_name, template_name) < 0 ||
            free_and_strdup(&s->organization, p->organization ? p->organization : s->manager->config->default_organization) < 0 ||
            free_and_strdup(&s->provider_name, e->name) < 0 ||
            free_and_strdup(&s->node, n ? n->id : NULL) < 0 ||
            (source->from && free_and_strdup(&s->from_session, source->from->id) < 0) ||
            (snapshot && free_and_strdup(&s->base_image, snapshot->record.image) < 0))
                return -ENOMEM;
        s->from_generation = source->generation;
        return 0;
}

int manager_create_session(Manager *m, const SessionParameters *p, uid_t actor, Session **ret, Job **ret_job, Refusal **reterr) {
        _cleanup_(session_freep) Session *s = NULL;
        uid_t owner = p->owner == UID_UNSET ? actor : p->owner;
        ProviderEntry *e = NULL;
        Source source;
        Node *n = NULL;
        int r;

        r = check_parameters(p, reterr);
        if (r >= 0)
                r = find_source(m, p, &source, reterr);
        if (r >= 0)
                r = check_quotas(m, owner, actor, reterr);
        if (r >= 0)
                r = choose_provider(m, p->provider ? p->provider : source.from ? source.from->provider_name : source.template ? source.template->provider : NULL,
                                    &e, reterr);
        if (r >= 0)
                r = choose_node(m, p->node, e, &n, reterr);
        if (r >= 0 && p->organization && !session_name_is_valid(p->organization))
                r = refuse(reterr, REFUSAL_INVALID_ARGUMENT, "The name of the organization is not valid. It follows the rule of session names.");
        if (r >= 0)
                r = new_session_with_id(m, &s);
        if (r >= 0)
                r = fill_spec(m->config, &source, p, &s->spec);
        if (r >= 0)
                r = check_spec_words(&s->spec, reterr);
        if (r >= 0)
                r = check_reservation(&s->spec, reterr);
        if (r >= 0)
                r = check_capacity(m, e, n, &s->spec, reterr);
        if (r >= 0)
                r = choose_name(m, p->name, &s->name, reterr);
        if (r >= 0)
                r = set_strings(s, &source, p, e, n);
        if (r < 0)
                return r;

        s->owner_uid = owner;
        s->created_usec = core_now();
        s->wanted = true;
        r = session_link(s);
        if (r < 0)
                return r;
        session_mark_dirty(s);
        session_changed(s, CHANGE_ADDED);
        r = job_new(m, s, JOB_CREATE, NULL, actor, ret_job);
        if (r < 0) {
                session_changed(s, CHANGE_REMOVED);
                return r;
        }
        log_event(LOG_INFO, MESSAGE_SESSION_PLACED, SESSION_FIELDS(s, *ret_job), "Session %s goes to provider %s%s%s.", s->name, e->name,
                  n ? ", node " : "", n ? n->name : "");
        *ret = TAKE_PTR(s);
        session_start_next_job(*ret);
        return 0;
}
