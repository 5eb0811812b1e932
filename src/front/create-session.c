/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Manager.CreateSession. */

#include <limits.h>

#include "core/identifier.h"
#include "front/front-internal.h"

typedef struct Options {
        const char *template_name, *image, *provider, *node, *organization, *from;
        Strv command, env, labels;
        double cpus;
        uint64_t memory_bytes, memory_reservation_bytes, idle_timeout_usec;
        uint32_t owner;
} Options;

enum { GIVEN_OWNER, GIVEN_CPUS, GIVEN_MEMORY, GIVEN_RESERVATION, GIVEN_IDLE_TIMEOUT };
static const BusOption create_options[] = {
        [GIVEN_OWNER] = BUS_OPTION("owner", "u", Options, owner),
        [GIVEN_CPUS] = BUS_OPTION("cpus", "d", Options, cpus),
        [GIVEN_MEMORY] = BUS_OPTION("memory_bytes", "t", Options, memory_bytes),
        [GIVEN_RESERVATION] = BUS_OPTION("memory_reservation_bytes", "t", Options, memory_reservation_bytes),
        [GIVEN_IDLE_TIMEOUT] = BUS_OPTION("idle_timeout_usec", "t", Options, idle_timeout_usec),
        BUS_OPTION("template", "s", Options, template_name),
        BUS_OPTION("image", "s", Options, image),
        BUS_OPTION("command", "as", Options, command),
        BUS_OPTION("env", "as", Options, env),
        BUS_OPTION("labels", "a{ss}", Options, labels),
        BUS_OPTION("provider", "s", Options, provider),
        BUS_OPTION("node", "s", Options, node),
        BUS_OPTION("organization", "s", Options, organization),
        BUS_OPTION("from", "s", Options, from),
};

static void options_done(Options *o) {
        strv_free(o->command);
        strv_free(o->env);
        strv_free(o->labels);
}

/* Zero and UID_UNSET mean "not said" to the core, so they must not come from outside. */
static int options_check(const Options *o, uint64_t given, Refusal **reterr_refusal) {
        if ((given >> GIVEN_CPUS & 1) && !(o->cpus > 0))
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "--cpus= (option `cpus`) is %g; it must be 0.1 to 16.", o->cpus);
        if ((given >> GIVEN_MEMORY & 1) && o->memory_bytes == 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "--memory= (option `memory_bytes`) is 0; it must be 64 MiB to 32 GiB.");
        if ((given >> GIVEN_RESERVATION & 1) && o->memory_reservation_bytes == 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "--memory-reservation= (option `memory_reservation_bytes`) is 0. Leave it out for the default, or say `memory_reservation_percent: 0` in a template.");
        if ((given >> GIVEN_IDLE_TIMEOUT & 1) && o->idle_timeout_usec == 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "--idle-timeout= (option `idle_timeout_usec`) is 0; it must be 1min or more. \"infinity\" (%" PRIu64 ") is never.", UINT64_MAX);
        if ((given >> GIVEN_OWNER & 1) && o->owner == UID_UNSET)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "--owner= (option `owner`) is %u, which is nobody's uid.", o->owner);
        return 0;
}

/* A copy of somebody else's files is theirs to give. An unknown session is the core's to refuse. */
static bool copies_foreign(Front *f, const char *from, uid_t uid) {
        _cleanup_free_ char *name = NULL;
        const Session *s;

        if (isempty(from))
                return false;
        name = strndup(from, strcspn(from, ":"));
        s = name ? manager_find_session(f->manager, name) : NULL;
        return !name || (s && s->owner_uid != uid);
}

/* Whoever knows the reference of a saved generation (properties show it, the registry lists tags) would have its files without
 * asking for them with `from`. So an image below the sessions' prefix counts as somebody else's, on any host: the registry may
 * have further names. */
static bool is_generation(Front *f, const char *image) {
        _cleanup_free_ char *path = NULL, *prefix = NULL;

        if (isempty(image))
                return false;
        path = strformat("/%.*s", (int) MIN(strcspn(image, "@"), (size_t) INT_MAX), image);
        prefix = strformat("/%s/", f->manager->config->registry_prefix);
        return !path || !prefix || strstr(path, prefix);
}

/* Another organization means its network. */
static bool is_elsewhere(Front *f, const char *organization) {
        return organization && !streq(organization, f->manager->config->default_organization);
}

static int create(Front *f, sd_bus_message *m, const SessionParameters *p, uid_t uid, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *session = NULL, *job = NULL;
        Subject subject = {
                .name = p->name,
                .organization = p->organization ?: f->manager->config->default_organization,
                .template_name = p->template_name,
                .provider = p->provider,
                .owner = p->owner,
        };
        bool foreign = p->owner != uid || copies_foreign(f, p->from, uid) || is_generation(f, p->image) || is_elsewhere(f, p->organization);
        Session *s;
        Job *j;
        int r;

        r = front_admit(f, m, uid, foreign ? SWARM_ACTION_MANAGE : SWARM_ACTION_CREATE, "create", &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        r = manager_create_session(f->manager, p, uid, &s, &j, &refusal);
        if (r < 0)
                return front_refused(uid, "create", &subject, r, &refusal, reterr);
        session = session_path(s);
        job = job_path(j->id);
        if (!session || !job)
                return -ENOMEM;
        r = bus_reply_new(m, &reply, "oo", session, job);
        if (r < 0)
                return r;
        subject = subject_of(s);
        return front_reply_saved(f, m, reply, uid, "create", &subject, j->id);
}

int method_create_session(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_(options_done) Options o = {};
        SessionParameters p = {};
        Front *f = front_of(m);
        uint64_t given;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = sd_bus_message_read_basic(m, 's', &p.name);
        if (r >= 0)
                r = bus_options_read(m, "CreateSession", create_options, ELEMENTSOF(create_options), &o, &given, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, "CreateSession", SWARM_FLAGS_NONE, NULL, &refusal);
        if (r >= 0)
                r = options_check(&o, given, &refusal);
        if (r >= 0 && !isempty(p.name) && !session_name_is_valid(p.name))
                r = refuse(&refusal, REFUSAL_INVALID_ARGUMENT,
                           "\"%.64s\" cannot be the name of a session: a name is 1 to 40 of a-z, 0-9 and \"-\", begins with a letter and does not end with \"-\".",
                           p.name);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);

        p.template_name = o.template_name;
        p.image = o.image;
        p.provider = o.provider;
        p.node = o.node;
        p.organization = o.organization;
        p.command = o.command;
        p.env = o.env;
        p.labels = o.labels;
        p.cpus = o.cpus;
        p.memory_bytes = o.memory_bytes;
        p.memory_reservation_bytes = o.memory_reservation_bytes;
        p.idle_timeout_usec = o.idle_timeout_usec;
        p.owner = given >> GIVEN_OWNER & 1 ? o.owner : uid;
        p.from = o.from;
        return create(f, m, &p, uid, reterr);
}
