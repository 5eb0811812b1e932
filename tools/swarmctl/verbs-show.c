/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs that look at sessions, their generations and their jobs. */

#include "look.h"
#include "output.h"
#include "swarmctl.h"

#define FIELD(f) offsetof(Arguments, f)

static const Column session_columns[] = {
        { "Name", "NAME" },
        { "Id", "ID" },
        { "State", "STATE", FORMAT_STATE },
        { "Owner", "OWNER", FORMAT_USER },
        { "Template", "TEMPLATE", .may_shorten = true },
        { "Provider", "PROVIDER" },
        { "Node", "NODE", .may_shorten = true },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        {},
};

static const Column ended_columns[] = {
        { "Name", "NAME" },
        { "Id", "ID" },
        { "Owner", "OWNER", FORMAT_USER },
        { "Template", "TEMPLATE", .may_shorten = true },
        { "Provider", "PROVIDER" },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        { "EndedUSec", "ENDED", FORMAT_AGO },
        { "EndReason", "REASON", .may_shorten = true },
        {},
};

static const Column all_columns[] = {
        { "Name", "NAME" },
        { "Id", "ID" },
        { "State", "STATE", FORMAT_STATE },
        { "Owner", "OWNER", FORMAT_USER },
        { "Template", "TEMPLATE", .may_shorten = true },
        { "Provider", "PROVIDER" },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        { "EndedUSec", "ENDED", FORMAT_AGO },
        {},
};

static const Column job_columns[] = {
        { "Id", "JOB", .right = true },
        { "Type", "TYPE" },
        { "SessionName", "SESSION", .otherwise = "Session" },
        { "State", "STATE", FORMAT_STATE },
        { "Stage", "STAGE", .may_shorten = true },
        { "Progress", "PROGRESS", FORMAT_FRACTION, .right = true },
        { "OwnerUID", "OWNER", FORMAT_USER },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        {},
};

/* How far one came that has ended is in its error. */
static const Column ended_job_columns[] = {
        { "Id", "JOB", .right = true },
        { "Type", "TYPE" },
        { "SessionName", "SESSION", .otherwise = "Session" },
        { "State", "STATE", FORMAT_STATE },
        { "Stage", "STAGE", .only_full = true },
        { "Progress", "PROGRESS", FORMAT_FRACTION, .right = true, .only_full = true },
        { "OwnerUID", "OWNER", FORMAT_USER },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        { "ErrorMessage", "ERROR", .may_shorten = true },
        {},
};

static const Column snapshot_columns[] = {
        { "Generation", "GENERATION", .right = true },
        { "Kind", "KIND" },
        { "CreatedUSec", "CREATED", FORMAT_AGO },
        { "Bytes", "SIZE", FORMAT_BYTES, .right = true },
        { "UncompressedBytes", "UNCOMPRESSED", FORMAT_BYTES, .right = true },
        { "Entries", "ENTRIES", .right = true },
        { "Layers", "LAYERS", .right = true },
        { "FrozenUSec", "FROZEN", FORMAT_TIMESPAN, .right = true },
        { "Dropped", "LEFT OUT", FORMAT_COUNT, .right = true },
        { "Tag", "TAG", .only_full = true },
        {},
};

static const Column session_lines[] = {
        { "Id", "Id" },
        { "State", "State", FORMAT_STATE },
        { "StateDetail", "Detail" },
        { "StopReason", "Stopped for" },
        { "Health", "Health", FORMAT_STATE },
        { "Owner", "Owner", FORMAT_USER },
        { "Organization", "Organization" },
        { "Template", "Template" },
        { "Image", "Image" },
        { "Provider", "Provider" },
        { "Node", "Node" },
        { "Limits", "Limits" },
        { "CreatedUSec", "Created", FORMAT_TIMESTAMP },
        { "StartedUSec", "Started", FORMAT_TIMESTAMP },
        { "StoppedUSec", "Stopped", FORMAT_TIMESTAMP },
        { "LastActivityUSec", "Last activity", FORMAT_TIMESTAMP },
        { "Generation", "Generation" },
        { "Snapshot", "Saved as" },
        { "CurrentJob", "Job", FORMAT_JOB },
        {},
};

/* The two lists that come in pages. Each option is one that both tables of filters know under its own name. */
typedef struct PagedList {
        const char *member;
        const WireOption *filters;
        size_t n_filters;
} PagedList;

static const WireOption session_filters[] = {
        { "state", "s", FIELD(state) },
        { "owner", "u", FIELD(owner) },
        { "organization", "s", FIELD(organization) },
        { "node", "s", FIELD(node) },
        { "provider", "s", FIELD(provider) },
        { "template", "s", FIELD(template_name) },
        { "fields", "as", FIELD(fields) },
};

static const WireOption job_filters[] = {
        { "state", "s", FIELD(state) },
        { "type", "s", FIELD(type) },
        { "session", "s", FIELD(session) },
        { "owner", "u", FIELD(owner) },
};

static const PagedList session_list = { "ListSessions", session_filters, ELEMENTSOF(session_filters) };
static const PagedList job_list = { "ListJobs", job_filters, ELEMENTSOF(job_filters) };

/* ended: 1, 0, or -1 to leave the service's default. */
static int append_filter(sd_bus_message *m, const Arguments *a, const PagedList *list, int ended, uint32_t limit, const char *after) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_members(m, a, list->filters, list->n_filters);
        if (r >= 0 && a->labels)
                r = sd_bus_message_append(m, "{sv}", "label", "s", a->labels[0]);
        if (r >= 0 && ended >= 0)
                r = sd_bus_message_append(m, "{sv}", "ended", "b", ended);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}", "limit", "u", limit);
        if (r >= 0 && *after)
                r = sd_bus_message_append(m, "{sv}", "after", "s", after);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_append(m, "t", UINT64_C(0));
}

static int list_page(Context *c, const Arguments *a, const PagedList *list, int ended, uint32_t limit, const char *after,
                     sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        int r = context_new_call(c, SWARM_PATH, SWARM_INTERFACE_MANAGER, list->member, &m);
        if (r != 0)
                return r;
        r = append_filter(m, a, list, ended, limit, after);
        return r < 0 ? r : context_call(c, m, ret_reply);
}

/* All pages, appended to rows. */
static int list_all(Context *c, const Arguments *a, const PagedList *list, int ended, json_t *rows) {
        size_t most = a->limit > 0 ? a->limit : SIZE_MAX;
        _cleanup_free_ char *after = strdup("");

        while (after && json_array_size(rows) < most) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                _cleanup_json_ json_t *page = NULL;
                const char *next;

                uint32_t limit = (uint32_t) MIN(most - json_array_size(rows), (size_t) SWARM_PAGE_MAX);
                int r = list_page(c, a, list, ended, limit, after, &reply);
                if (r == 0)
                        r = context_read(reply, &page);
                if (r != 0)
                        return r;
                r = sd_bus_message_read(reply, "s", &next);
                if (r >= 0 && json_array_extend(rows, page) < 0)
                        r = -ENOMEM;
                if (r >= 0)
                        r = free_and_strdup(&after, next);
                if (r < 0)
                        return r;
                if (!*after)
                        return 0;
        }
        return after ? 0 : -ENOMEM;
}

/* The keys of the columns, for a list that would not send all of them by itself. */
static int fields_of(const Column *columns, Strv *ret) {
        _cleanup_strv_ Strv fields = NULL;

        for (; columns->key; columns++) {
                int r = strv_extend(&fields, columns->key);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(fields);
        return 0;
}

/* For people: nodes by their names where the provider's ids are random. Ids stay for a node that is gone, and in JSON. */
static int name_nodes(Context *c, json_t *sessions) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ json_t *nodes = NULL, *names = json_object();
        json_t *node, *session;
        size_t i;

        if (c->args->json != JSON_OFF)
                return 0;
        int r = context_call_manager(c, "ListNodes", &reply, "a{sv}t", 0, UINT64_C(0));
        if (r == 0)
                r = context_read(reply, &nodes);
        if (r != 0)
                return r;
        json_array_foreach(nodes, i, node) {
                const char *id = value_string(node, "Id"), *name = value_string(node, "Name");
                if (id && !isempty(name) && json_object_set_new(names, id, json_string(name)) < 0)
                        return -ENOMEM;
        }
        json_array_foreach(sessions, i, session) {
                const char *id = value_string(session, "Node");
                json_t *name = id ? json_object_get(names, id) : NULL;
                if (name && json_object_set(session, "Node", name) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Those that the living have, too: the service refuses the others for them. */
static int fields_of_living(char *const *fields, Strv *ret) {
        _cleanup_strv_ Strv living = strv_copy(NULL);

        if (!living)
                return -ENOMEM;
        STRV_FOREACH(f, fields)
                if (!STR_IN_SET(*f, "EndedUSec", "EndReason", "EndedBy") && strv_extend(&living, *f) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(living);
        return 0;
}

/* "gone" is the state of all that have ended, and of no other. */
static bool wants_ended(const Arguments *a) {
        return a->ended || streq_ptr(a->state, "gone");
}

/* Living ones, ended ones, or both, one list after the other. */
static int list_sessions(Context *c, const Column *columns, json_t *rows) {
        _cleanup_strv_ Strv fields = NULL, living = NULL;
        Arguments a = *c->args;                 /* borrows its strings */
        int r = 0;

        if (a.all && a.fields) {
                r = fields_of_living(a.fields, &living);
                a.fields = living;
        }
        if (r == 0 && (!wants_ended(&a) || a.all))
                r = list_all(c, &a, &session_list, 0, rows);
        a.fields = c->args->fields;
        if (r != 0 || !(wants_ended(&a) || a.all))
                return r;
        if (!a.fields) {
                r = fields_of(columns, &fields);
                a.fields = fields;
        }
        return r != 0 ? r : list_all(c, &a, &session_list, 1, rows);
}

int verb_list(Context *c, char *const *words) {
        const Arguments *a = c->args;
        const Column *columns = a->all ? all_columns : wants_ended(a) ? ended_columns : session_columns;
        _cleanup_json_ json_t *rows = json_array();
        _cleanup_free_ Column *chosen = a->fields ? output_columns_of(a->fields) : NULL;

        if (!rows || (a->fields && !chosen))
                return -ENOMEM;
        if (strv_length(a->labels) > 1)
                return report(EXIT_USAGE, "A list is filtered by one --label; leave out the others.");
        polkit_agent_open(c);
        int r = list_sessions(c, chosen ? chosen : columns, rows);
        if (r == 0)
                r = name_nodes(c, rows);
        return r != 0 ? r : output_table(a, rows, chosen ? chosen : columns, "sessions");
}

static int get_session_properties(Context *c, const char *session, json_t **ret) {
        _cleanup_free_ char *path = NULL;

        int r = context_get_session(c, session, &path);
        return r != 0 ? r : context_get_all(c, path, SWARM_INTERFACE_SESSION, ret);
}

int look_at_each(Context *c, char *const *words, look_cb look, print_cb print) {
        int first = 0;

        polkit_agent_open(c);
        STRV_FOREACH(s, words) {
                _cleanup_json_ json_t *object = NULL;

                c->subject = words[1] ? *s : NULL;
                int r = look(c, *s, &object);
                if (r == 0) {
                        if (s != words && c->args->json == JSON_OFF)
                                (void) putchar('\n');
                        r = print(c, *s, object);
                }
                if (r < 0)
                        return r;
                if (first == 0)
                        first = r;
        }
        return first;
}

static int print_session(Context *c, const char *word, const json_t *session) {
        _cleanup_json_ json_t *one = json_pack("[O]", session);

        int r = one ? name_nodes(c, one) : -ENOMEM;
        if (r != 0)
                return r;
        if (c->args->json == JSON_OFF)
                output_line("Session", strna(value_string(session, "Name")), NULL);
        return output_block(c->args, session, session_lines);
}

/* Sessions and jobs, the former with their nodes. */
static int print_all(Context *c, const char *word, const json_t *object) {
        _cleanup_json_ json_t *one = json_pack("[O]", object);

        int r = !one ? -ENOMEM : value_string(object, "Node") ? name_nodes(c, one) : 0;
        return r != 0 ? r : output_block(c->args, object, NULL);
}

static int print_properties(Context *c, const char *word, const json_t *object) {
        _cleanup_json_ json_t *chosen = json_object();

        if (!c->args->fields)
                return output_properties(c->args, object);
        STRV_FOREACH(f, c->args->fields) {
                json_t *value = json_object_get(object, *f);

                if (!value)
                        return report(EXIT_USAGE, "Session \"%s\" has no property '%s' that 'show' knows; 'swarmctl show %s' prints all, "
                                      "'swarmctl describe' the private ones too.", word, *f, word);
                if (json_object_set(chosen, *f, value) < 0)
                        return -ENOMEM;
        }
        return output_properties(c->args, chosen);
}

int verb_status(Context *c, char *const *words) {
        return words ? look_at_each(c, words, get_session_properties, print_session) : look_at_all(c);
}

int verb_show(Context *c, char *const *words) {
        return look_at_each(c, words, get_session_properties, print_properties);
}

static int describe(Context *c, const char *session, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = context_call_manager(c, "DescribeSession", &reply, "sa{sv}t", session, 0, UINT64_C(0));
        return r != 0 ? r : context_read(reply, ret);
}

int verb_describe(Context *c, char *const *words) {
        return look_at_each(c, words, describe, print_all);
}

static int get_snapshots(Context *c, const char *session, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = context_call_manager(c, "ListSnapshots", &reply, "sa{sv}t", session, 0, UINT64_C(0));
        return r != 0 ? r : context_read(reply, ret);
}

static int print_snapshots(Context *c, const char *word, const json_t *rows) {
        if (c->subject && c->args->json == JSON_OFF && c->args->legend)
                printf("%s:\n", word);
        return output_table(c->args, rows, snapshot_columns, "generations");
}

int verb_snapshots(Context *c, char *const *words) {
        return look_at_each(c, words, get_snapshots, print_snapshots);
}

static int get_job(Context *c, const char *word, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        uint64_t id;

        if (parse_u64(word, &id) < 0)
                return report(EXIT_USAGE, "'%s' is not the number of a job; 'swarmctl jobs' lists them.", word);
        int r = context_call_manager(c, "GetJob", &reply, "t", id);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        return r < 0 ? r : context_get_all(c, path, SWARM_INTERFACE_JOB, ret);
}

int verb_jobs(Context *c, char *const *words) {
        const Arguments *a = c->args;
        _cleanup_json_ json_t *rows = json_array();
        int r;

        if (words) {
                _cleanup_free_ char *complaint = NULL;

                r = arguments_check(a, "jobs JOB", 0, &complaint);
                return r == -EINVAL ? report(EXIT_USAGE, "%s", complaint) : r < 0 ? r : look_at_each(c, words, get_job, print_all);
        }
        if (!rows)
                return -ENOMEM;
        r = list_all(c, a, &job_list, a->all || a->state ? -1 : a->ended, rows);
        return r != 0 ? r : output_table(a, rows, a->all || a->ended || a->state ? ended_job_columns : job_columns, "jobs");
}
