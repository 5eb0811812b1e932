/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs that change something. Each is one call of the manager for each session named. */

#include "follow.h"
#include "output.h"

#define FIELD(f) offsetof(Arguments, f)

static const WireOption create_options[] = {
        { "template", "s", FIELD(template_name) },
        { "image", "s", FIELD(image) },
        { "command", "as", FIELD(command) },
        { "env", "as", FIELD(env) },
        { "labels", "a{ss}", FIELD(labels) },
        { "cpus", "d", FIELD(cpus) },
        { "memory_bytes", "t", FIELD(memory_bytes) },
        { "memory_reservation_bytes", "t", FIELD(memory_reservation_bytes) },
        { "provider", "s", FIELD(provider) },
        { "node", "s", FIELD(node) },
        { "organization", "s", FIELD(organization) },
        { "owner", "u", FIELD(owner) },
        { "from", "s", FIELD(from) },
        { "idle_timeout_usec", "t", FIELD(idle_timeout_usec) },
};

/* The same for every verb: main() has refused the options that are none of its own. */
static const WireOption verb_options[] = {
        { "lossy", "b", FIELD(lossy) },
        { "discard", "b", FIELD(discard) },
        { "keep_snapshots", "b", FIELD(keep_snapshots) },
        { "generation", "t", FIELD(generation) },
};

static const WireOption touch_options[] = {
        { "extend_usec", "t", FIELD(extend_usec) },
};

static int append_call_end(sd_bus_message *m, const Arguments *a, const WireOption *options, size_t n) {
        int r = append_options(m, a, options, n);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", UINT64_C(0));
        return MIN(r, 0);
}

/* What is lost, of one session and of several. */
typedef struct Loss {
        const char *one, *several;
} Loss;

/* "a", "a and b", "a, b and c". New string. */
static char *join_names(char *const *names) {
        _cleanup_free_ char *all = NULL;
        size_t n = strv_length(names);

        for (size_t i = 0; i < n; i++) {
                char *longer = strformat("%s%s%s", strempty(all), i == 0 ? "" : i + 1 < n ? ", " : " and ", names[i]);

                if (!longer)
                        return NULL;
                free(all);
                all = longer;
        }
        return TAKE_PTR(all);
}

/* Nothing is lost without a yes: one for all that are named. 0 = go on. */
static int confirm(Context *c, const char *what, char *const *sessions, Loss loss) {
        const char *lost = sessions[1] ? loss.several : loss.one;
        _cleanup_free_ char *names = NULL;

        if (c->args->yes)
                return 0;
        names = join_names(sessions);
        if (!names)
                return -ENOMEM;
        int r = output_ask("About to %s %s: %s Go on?", what, names, lost);
        if (r == -ENOTTY)
                return report(EXIT_USAGE, "Nobody can be asked whether to %s %s: %s Give --yes to do it.", what, names, lost);
        if (r == 0)
                return report(EXIT_FAILURE, "Nothing was done.");
        return MIN(r, 0);
}

/* Nobody is asked about what there is not. */
static int confirm_existing(Context *c, const char *what, char *const *sessions, Loss loss) {
        int r = 0;

        STRV_FOREACH(s, sessions) {
                _cleanup_free_ char *path = NULL;

                c->subject = sessions[1] ? *s : NULL;
                if (r == 0 && !c->args->yes)
                        r = context_get_session(c, *s, &path);
        }
        c->subject = NULL;
        return r != 0 ? r : confirm(c, what, sessions, loss);
}

static int start_job(Context *c, const char *member, const char *session, uint64_t generation, char **ret_path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *path;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, member, &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", session);
        if (r >= 0 && generation > 0)
                r = sd_bus_message_append(m, "t", generation);
        if (r >= 0)
                r = append_call_end(m, c->args, verb_options, ELEMENTSOF(verb_options));
        if (r >= 0)
                r = context_call(c, m, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        return r < 0 ? r : free_and_strdup(ret_path, path);
}

/* Starts all, then waits for all. */
static int run_jobs(Context *c, char *const *sessions, const char *member, uint64_t generation) {
        _cleanup_(follow_freep) Follow *follow = NULL;

        polkit_agent_open(c);
        int r = follow_new(c, "done", &follow);
        if (r != 0)
                return r;
        STRV_FOREACH(s, sessions) {
                _cleanup_free_ char *path = NULL;

                c->subject = sessions[1] ? *s : NULL;
                r = start_job(c, member, *s, generation, &path);
                if (r < 0)
                        return r;
                if (r > 0)
                        follow_add_failure(follow, r);
                else
                        r = follow_add(follow, path, *s);
                if (path && r != 0)
                        return r;
                if (r == EXIT_UNAVAILABLE)      /* the others would not get further */
                        break;
        }
        c->subject = NULL;
        return follow_run(follow);
}

int verb_start(Context *c, char *const *words) {
        return run_jobs(c, words, "StartSession", 0);
}

static int confirm_discard(Context *c, char *const *words, const char *what) {
        static const Loss loss = {
                "what was changed since its last generation will be lost.",
                "what was changed since their last generations will be lost.",
        };

        return c->args->discard ? confirm_existing(c, what, words, loss) : 0;
}

int verb_stop(Context *c, char *const *words) {
        int r = confirm_discard(c, words, "stop");
        return r != 0 ? r : run_jobs(c, words, "StopSession", 0);
}

int verb_restart(Context *c, char *const *words) {
        int r = confirm_discard(c, words, "restart");
        return r != 0 ? r : run_jobs(c, words, "RestartSession", 0);
}

int verb_hibernate(Context *c, char *const *words) {
        return run_jobs(c, words, "HibernateSession", 0);
}

int verb_snapshot(Context *c, char *const *words) {
        return run_jobs(c, words, "SnapshotSession", 0);
}

static int find_generation(Context *c, const char *session, uint64_t generation, bool *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_t *rows = NULL;
        json_t *row;
        size_t i;

        int r = context_call_manager(c, "ListSnapshots", &reply, "sa{sv}t", session, 0, UINT64_C(0));
        if (r == 0)
                r = context_read(reply, &rows);
        *ret = false;
        json_array_foreach(rows, i, row)
                *ret = *ret || value_u64(row, "Generation") == generation;
        return r;
}

/* The session's newest generation, if the one that is asked for is older; else 0. Nobody is asked about what the service will refuse:
 * to restore a session that runs, and will go on to run. */
static int find_newer(Context *c, const char *session, uint64_t *ret) {
        _cleanup_free_ char *path = NULL;
        _cleanup_json_ json_t *properties = NULL;

        int r = context_get_session(c, session, &path);
        if (r == 0)
                r = context_get_all(c, path, SWARM_INTERFACE_SESSION, &properties);
        if (r != 0)
                return r;
        uint64_t newest = value_u64(properties, "Generation");
        bool runs_on = streq_ptr(value_string(properties, "State"), "running") && streq_ptr(value_string(properties, "CurrentJob"), "/");
        *ret = c->args->generation >= newest || runs_on ? 0 : newest;
        return 0;
}

/* An older generation is nothing to slip into: what was saved after it does not run any more. */
static int confirm_older(Context *c, char *const *sessions) {
        _cleanup_strv_ Strv older = NULL;
        uint64_t newest = 0, wanted = c->args->generation;
        char one[160], several[160];

        STRV_FOREACH(s, sessions) {
                uint64_t newer = 0;

                c->subject = sessions[1] ? *s : NULL;
                int r = find_newer(c, *s, &newer);
                if (r == 0 && newer > 0)
                        r = strv_extend(&older, *s);
                if (r != 0)
                        return r;
                newest = MAX(newest, newer);
        }
        c->subject = NULL;
        (void) snprintf(one, sizeof(one), "generation %" PRIu64 " is older than its newest, %" PRIu64 ", which will not be what runs.", wanted, newest);
        (void) snprintf(several, sizeof(several), "generation %" PRIu64 " is older than the newest of each, which will not be what runs.", wanted);
        return older ? confirm(c, "restore", older, (Loss) { one, several }) : 0;
}

int verb_restore(Context *c, char *const *words) {
        int r = c->args->generation > 0 && !c->args->yes ? confirm_older(c, words) : 0;
        return r != 0 ? r : run_jobs(c, words, "RestoreSession", 0);
}

int verb_destroy(Context *c, char *const *words) {
        static const Loss all = {
                "its container, its files and all its generations will be gone for good.",
                "their containers, their files and all their generations will be gone for good.",
        }, container = {
                "its container and what was not saved will be gone for good.",
                "their containers and what was not saved will be gone for good.",
        };

        int r = confirm_existing(c, "destroy", words, c->args->keep_snapshots ? container : all);
        return r != 0 ? r : run_jobs(c, words, "DestroySession", 0);
}

int verb_delete_snapshot(Context *c, char *const *words) {
        char *const session[] = { words[0], NULL };
        uint64_t generation;
        bool there = false;
        char what[80];
        int r = 0;

        if (parse_u64(words[1], &generation) < 0 || generation == 0)
                return report(EXIT_USAGE, "'%s' is not a generation; 'swarmctl snapshots %s' lists them.", words[1], words[0]);
        (void) snprintf(what, sizeof(what), "delete generation %" PRIu64 " of", generation);
        polkit_agent_open(c);
        if (!c->args->yes)
                r = find_generation(c, words[0], generation, &there);
        if (r == 0 && there)            /* else the service says which there are */
                r = confirm(c, what, session, (Loss) { .one = "it will be gone for good." });
        return r != 0 ? r : run_jobs(c, session, "DeleteSnapshot", generation);
}

/* The name that the service has made up, if none was given; the id if it cannot be read any more. New string. */
static int name_of_created(Context *c, const char *given, const char *path, char **ret) {
        _cleanup_json_ json_t *properties = NULL;

        if (given)
                return free_and_strdup(ret, given);
        if (context_get_all(c, path, SWARM_INTERFACE_SESSION, &properties) == 0 && value_string(properties, "Name"))
                return free_and_strdup(ret, value_string(properties, "Name"));
        int r = sd_bus_path_decode(path, SWARM_PATH_SESSION, ret);
        return r == 0 ? -EBADMSG : MIN(r, 0);
}

static int call_create(Context *c, const char *name, sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, "CreateSession", &m);
        if (r != 0)
                return r;
        (void) sd_bus_message_sensitive(m);     /* the environment may hold secrets */
        r = sd_bus_message_append(m, "s", strempty(name));
        if (r >= 0)
                r = append_call_end(m, c->args, create_options, ELEMENTSOF(create_options));
        return r < 0 ? r : context_call(c, m, ret_reply);
}

int verb_create(Context *c, char *const *words) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(follow_freep) Follow *follow = NULL;
        const char *session, *job, *given = words && *words[0] ? words[0] : NULL;
        _cleanup_free_ char *name = NULL;

        polkit_agent_open(c);
        int r = follow_new(c, "done", &follow);
        if (r == 0)
                r = call_create(c, given, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "oo", &session, &job);
        if (r < 0)
                return r;
        r = name_of_created(c, given, session, &name);
        if (r < 0)
                return r;
        if (c->args->json == JSON_OFF) {
                printf("%s\n", name);
                (void) output_flush();  /* who reads it need not wait for the work */
        }
        r = follow_add(follow, job, name);
        return r != 0 ? r : follow_run(follow);
}

/* Calls without a job: all are tried, the first failure counts. */
static int touch_one(Context *c, const char *session) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, "TouchSession", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", session);
        if (r >= 0)
                r = append_call_end(m, c->args, touch_options, ELEMENTSOF(touch_options));
        return r < 0 ? r : context_call(c, m, NULL);
}

static int kill_one(Context *c, const char *session) {
        return context_call_manager(c, "KillSession", NULL, "ssia{sv}t", session, "main", (int32_t) c->args->signal, 0, UINT64_C(0));
}

static int for_each(Context *c, char *const *sessions, int (*one)(Context *c, const char *session)) {
        int first = 0;

        polkit_agent_open(c);
        STRV_FOREACH(s, sessions) {
                c->subject = sessions[1] ? *s : NULL;
                int r = one(c, *s);
                if (r < 0)
                        return r;
                if (first == 0)
                        first = r;
                if (r == EXIT_UNAVAILABLE)
                        break;
        }
        return first;
}

int verb_touch(Context *c, char *const *words) {
        return for_each(c, words, touch_one);
}

int verb_kill(Context *c, char *const *words) {
        return for_each(c, words, kill_one);
}

static int parse_job(const char *word, uint64_t *ret) {
        if (parse_u64(word, ret) < 0 || *ret == 0)
                return report(EXIT_USAGE, "'%s' is not the number of a job; 'swarmctl jobs' lists them.", word);
        return 0;
}

static int add_job(Context *c, Follow *f, uint64_t id) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_t *properties = NULL;
        const char *path;

        int r = context_call_manager(c, "GetJob", &reply, "t", id);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        r = context_get_all(c, path, SWARM_INTERFACE_JOB, &properties);
        if (r != 0)
                return r;
        /* The name goes with the session. */
        const char *name = value_string(properties, "SessionName");
        return follow_add(f, path, isempty(name) ? strempty(value_string(properties, "Session")) : name);
}

static int follow_jobs(Context *c, char *const *words, const char *wanted, bool cancel) {
        _cleanup_(follow_freep) Follow *follow = NULL;

        int r = follow_new(c, wanted, &follow);
        if (r != 0)
                return r;
        STRV_FOREACH(s, words) {
                uint64_t id;

                r = parse_job(*s, &id);
                if (r == 0 && cancel)
                        r = context_call_manager(c, "CancelJob", NULL, "tt", id, UINT64_C(0));
                if (r == 0)
                        r = add_job(c, follow, id);
                if (r < 0)
                        return r;
                if (r > 0)
                        follow_add_failure(follow, r);
        }
        return follow_run(follow);
}

int verb_wait(Context *c, char *const *words) {
        return follow_jobs(c, words, "done", false);
}

/* Canceled when the work is undone, not when that has been asked for. */
int verb_cancel(Context *c, char *const *words) {
        polkit_agent_open(c);
        return follow_jobs(c, words, "canceled", true);
}
