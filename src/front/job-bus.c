/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.swarm.Orchestrator.Job, and the manager's methods about jobs. */

#include "core/identifier.h"
#include "front/front-internal.h"

char *job_path(uint64_t id) {
        char decimal[sizeof("18446744073709551615")];

        (void) snprintf(decimal, sizeof(decimal), "%" PRIu64, id);
        return bus_path_encode(SWARM_PATH_JOB, decimal);
}

static int append_path(sd_bus_message *m, const void *object) {
        _cleanup_free_ char *path = job_path(((const Job *) object)->id);

        return path ? sd_bus_message_append_basic(m, 'o', path) : -ENOMEM;
}

static int append_type(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', job_type_to_string(((const Job *) object)->type));
}

static int append_object(sd_bus_message *m, const void *object) {
        _cleanup_free_ char *path = bus_path_encode(SWARM_PATH_SESSION, ((const Job *) object)->session_id);

        return path ? sd_bus_message_append_basic(m, 'o', path) : -ENOMEM;
}

static int append_session_name(sd_bus_message *m, const void *object) {
        const Job *j = object;
        const Session *s = j->session ?: manager_find_session(j->manager, j->session_id);

        return sd_bus_message_append_basic(m, 's', s ? s->name : "");
}

static int append_state(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 's', job_state_to_string(((const Job *) object)->state));
}

static int append_progress(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 'd', &(double) { job_progress(object) });
}

static int append_error_name(sd_bus_message *m, const void *object) {
        const Job *j = object;

        return sd_bus_message_append_basic(m, 's', j->error ? bus_error_name(j->error->code) : "");
}

static int append_error_message(sd_bus_message *m, const void *object) {
        const Job *j = object;
        const char *message = j->error ? j->error->message : "";
        int r = sd_bus_message_append_basic(m, 's', message);

        return r < 0 ? r : (int) strlen(message);
}

static int append_cancelable(sd_bus_message *m, const void *object) {
        return sd_bus_message_append_basic(m, 'b', &(int) { job_is_cancelable(object) });
}

#define FIELD(name, signature, member) BUS_FIELD(name, signature, Job, member)

static const BusField job_fields[] = {
        FIELD("Id", "t", id),
        BUS_FIELD_FUNCTION("Type", "s", append_type),
        BUS_FIELD_FUNCTION("Object", "o", append_object),
        FIELD("Session", "s", session_id),
        BUS_FIELD_FUNCTION("SessionName", "s", append_session_name),
        FIELD("OwnerUID", "u", actor_uid),
        BUS_FIELD_FUNCTION("State", "s", append_state),
        FIELD("Stage", "s", stage),
        BUS_FIELD_FUNCTION("Progress", "d", append_progress),
        FIELD("BytesDone", "t", bytes_done),
        FIELD("BytesTotal", "x", bytes_total),
        FIELD("FrozenUSec", "t", frozen_usec),
        FIELD("ExitCode", "i", exit_code),
        BUS_FIELD_FUNCTION("ErrorName", "s", append_error_name),
        BUS_FIELD_FUNCTION("ErrorMessage", "s", append_error_message),
        FIELD("CreatedUSec", "t", created_usec),
        FIELD("StartedUSec", "t", started_usec),
        FIELD("EndedUSec", "t", ended_usec),
        BUS_FIELD_FUNCTION("Cancelable", "b", append_cancelable),
        BUS_FIELD_FUNCTION("Path", "o", append_path),
        {},
};

static int find_job(Front *f, const char *path, Job **ret) {
        _cleanup_free_ char *decimal = NULL;
        uint64_t id;
        int r;

        r = bus_path_decode(path, SWARM_PATH_JOB, &decimal);
        if (r <= 0)
                return r;
        if (parse_u64(decimal, &id) < 0)
                return 0;
        return manager_get_job(f->manager, id, ret, NULL) >= 0;
}

int job_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret, sd_bus_error *reterr) {
        Job *j = NULL;
        int r = find_job(userdata, path, &j);

        if (r > 0)
                *ret = j;
        return r;
}

int job_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *reterr) {
        Front *f = userdata;
        _cleanup_strv_ Strv paths = calloc(HASH_COUNT(f->manager->jobs) + 1, sizeof(char *));
        size_t n = 0;

        if (!paths)
                return -ENOMEM;
        for (Job *j = f->manager->jobs; j; j = j->hh.next)
                if (!(paths[n++] = job_path(j->id)))
                        return -ENOMEM;
        *ret = TAKE_PTR(paths);
        return 0;
}

static int property_get(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                        void *userdata, sd_bus_error *reterr) {
        return bus_field_append_value(reply, bus_field_find(job_fields, property), userdata);
}

/* Cancel on the job, CancelJob on the manager. */
static int read_job(Front *f, sd_bus_message *m, Job **ret, Refusal **reterr_refusal) {
        uint64_t id;
        int r;

        if (!streq(sd_bus_message_get_path(m), SWARM_PATH)) {
                r = find_job(f, sd_bus_message_get_path(m), ret);
                return r < 0 ? r : r == 0 ? refuse(reterr_refusal, REFUSAL_NO_SUCH_JOB, "This job ended so long ago that it was forgotten. The jobs are listed by 'swarmctl jobs --all' (ListJobs).") : 0;
        }
        r = sd_bus_message_read_basic(m, 't', &id);
        return r < 0 ? r : manager_get_job(f->manager, id, ret, reterr_refusal);
}

int method_cancel_job(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *session_id = NULL, *session_name = NULL, *provider = NULL;
        Front *f = front_of(m);
        Subject subject;
        uint64_t id;
        bool own;
        uid_t uid;
        Job *j;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = read_job(f, m, &j, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, "Cancel", SWARM_FLAGS_NONE, NULL, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        id = j->id;
        subject = j->session ? subject_of(j->session) : (Subject) { .id = j->session_id, .owner = UID_UNSET };
        own = j->actor_uid == uid || subject.owner == uid;
        r = front_admit(f, m, uid, own ? SWARM_ACTION_MANAGE_OWN : SWARM_ACTION_MANAGE, "cancel", &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        /* The job, and with it its session's strings, may be gone afterwards. */
        if (free_and_strdup(&session_id, subject.id) < 0 || free_and_strdup(&session_name, subject.name) < 0 ||
            free_and_strdup(&provider, subject.provider) < 0)
                return -ENOMEM;
        subject = (Subject) { .id = session_id, .name = session_name, .provider = provider, .owner = subject.owner };
        r = job_cancel(j, uid, &refusal);
        if (r < 0)
                return front_refused(uid, "cancel", &subject, r, &refusal, reterr);
        r = bus_reply_new(m, &reply, "");
        if (r < 0)
                return r;
        return front_reply_done(f, m, reply, uid, "cancel", &subject, id);
}

typedef struct JobFilter {
        const char *state, *type, *session, *after;
        uint32_t owner, limit;
        bool ended;
} JobFilter;

enum { FILTER_STATE, FILTER_TYPE, FILTER_SESSION, FILTER_OWNER, FILTER_ENDED, FILTER_LIMIT, FILTER_AFTER };
static const BusOption filter_options[] = {
        [FILTER_STATE] = BUS_OPTION("state", "s", JobFilter, state),
        [FILTER_TYPE] = BUS_OPTION("type", "s", JobFilter, type),
        [FILTER_SESSION] = BUS_OPTION("session", "s", JobFilter, session),
        [FILTER_OWNER] = BUS_OPTION("owner", "u", JobFilter, owner),
        [FILTER_ENDED] = BUS_OPTION("ended", "b", JobFilter, ended),
        [FILTER_LIMIT] = BUS_OPTION("limit", "u", JobFilter, limit),
        [FILTER_AFTER] = BUS_OPTION("after", "s", JobFilter, after),
};
#define GIVEN(seen, i) (((seen) >> (i)) & 1)

/* What the filter says, ready to compare. */
typedef struct JobMatch {
        const JobFilter *filter;
        uint64_t seen;
        JobState state;
        JobType type;
        const char *session_id;
        uint64_t before;
} JobMatch;

static int refuse_type(const char *type, Refusal **reterr_refusal) {
        _cleanup_free_ char *all = NULL;

        for (JobType t = 0; t < _JOB_TYPE_MAX; t++) {
                char *longer = strformat("%s%s%s", strempty(all), t > 0 ? ", " : "", job_type_to_string(t));
                free(all);
                all = longer;
                if (!all)
                        return -ENOMEM;
        }
        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "\"%.64s\" is not a type of a job. Known are: %s.", type, all);
}

static int job_match_prepare(Front *f, const JobFilter *filter, uint64_t seen, JobMatch *ret, Refusal **reterr_refusal) {
        const Session *s = filter->session ? manager_find_session(f->manager, filter->session) : NULL;

        /* Jobs outlive their session, whose name may be another's by then: they are found by its id. */
        if (filter->session && !s && !session_id_is_valid(filter->session))
                return refuse(reterr_refusal, REFUSAL_NO_SUCH_SESSION,
                              "There is no session \"%.64s\". The jobs of one that has ended are found by its id, which 'swarmctl list --ended' (ListSessions) shows.",
                              filter->session);
        *ret = (JobMatch) { .filter = filter, .seen = seen, .session_id = s ? s->id : filter->session, .before = UINT64_MAX };
        if (filter->state && (ret->state = job_state_from_string(filter->state)) < 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "\"%.64s\" is not a state of a job. Known are: queued, running, done, failed, canceled, interrupted.",
                              filter->state);
        if (filter->type && (ret->type = job_type_from_string(filter->type)) < 0)
                return refuse_type(filter->type, reterr_refusal);
        if (!isempty(filter->after) && parse_u64(filter->after, &ret->before) < 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "ListJobs: \"%.64s\" is not the `next` of an earlier page.", filter->after);
        return 0;
}

static bool job_matches(const JobMatch *w, const Job *j) {
        const JobFilter *f = w->filter;

        return j->id < w->before &&
               (!f->state || j->state == w->state) &&
               (!f->type || j->type == w->type) &&
               (!w->session_id || streq_ptr(j->session_id, w->session_id)) &&
               (!GIVEN(w->seen, FILTER_OWNER) || j->actor_uid == f->owner) &&
               (!GIVEN(w->seen, FILTER_ENDED) || job_state_is_ended(j->state) == f->ended);
}

static int newest_first(const void *a, const void *b) {
        uint64_t x = (*(const Job *const *) a)->id, y = (*(const Job *const *) b)->id;

        return x < y ? 1 : x > y ? -1 : 0;
}

static int send_jobs(Front *f, Page *page, const JobMatch *match) {
        _cleanup_free_ const Job **list = calloc(HASH_COUNT(f->manager->jobs) + 1, sizeof(*list));
        char next[sizeof("18446744073709551615")] = "";
        size_t n = 0, i;
        int r;

        if (!list)
                return -ENOMEM;
        for (const Job *j = f->manager->jobs; j; j = j->hh.next)
                if (job_matches(match, j))
                        list[n++] = j;
        qsort(list, n, sizeof(*list), newest_first);
        for (i = 0; i < n && !page_is_full(page); i++) {
                r = bus_fields_append(page->reply, job_fields, 0, list[i]);
                if (r < 0)
                        return r;
                page->bytes += (size_t) r;
                page->rows++;
        }
        if (i < n)
                (void) snprintf(next, sizeof(next), "%" PRIu64, list[i - 1]->id);
        return page_send(page, next);
}

int method_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_page_ Page page = {};
        Front *f = front_of(m);
        JobFilter filter = {};
        JobMatch match;
        uint64_t seen;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = bus_options_read(m, "ListJobs", filter_options, ELEMENTSOF(filter_options), &filter, &seen, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, "ListJobs", SWARM_FLAGS_NONE, NULL, &refusal);
        if (r >= 0)
                r = job_match_prepare(f, &filter, seen, &match, &refusal);
        if (r >= 0)
                r = page_open(m, uid, filter.limit, GIVEN(seen, FILTER_LIMIT), &page, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        return send_jobs(f, &page, &match);
}

const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_ARGS("t", flags), SD_BUS_NO_RESULT, method_cancel_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Type", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Object", "o", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Session", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("SessionName", "s", property_get, 0, 0),
        SD_BUS_PROPERTY("OwnerUID", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Stage", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "d", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("BytesDone", "t", property_get, 0, 0),
        SD_BUS_PROPERTY("BytesTotal", "x", property_get, 0, 0),
        SD_BUS_PROPERTY("FrozenUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ExitCode", "i", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ErrorName", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ErrorMessage", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("CreatedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("StartedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("EndedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Cancelable", "b", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static const BusChangedProperty changed_properties[] = {
        { "State", CHANGE_STATE },
        { "ExitCode", CHANGE_STATE },
        { "ErrorName", CHANGE_STATE },
        { "ErrorMessage", CHANGE_STATE },
        { "StartedUSec", CHANGE_STATE },
        { "EndedUSec", CHANGE_STATE },
        { "Cancelable", CHANGE_STATE | CHANGE_PROGRESS },
        { "Stage", CHANGE_PROGRESS },
        { "Progress", CHANGE_PROGRESS },
        { "FrozenUSec", CHANGE_STATE | CHANGE_PROGRESS },
        {},
};

static void announce(void *userdata, const char *path, uint64_t mask) {
        Front *f = userdata;
        Job *j;

        if ((mask & CHANGE_ADDED) && !(mask & CHANGE_REMOVED))
                (void) sd_bus_emit_signal(f->bus, SWARM_PATH, SWARM_INTERFACE_MANAGER, "JobNew", "o", path);
        if ((mask & FRONT_CHANGE_JOB_ENDED) && find_job(f, path, &j) > 0)
                (void) sd_bus_emit_signal(f->bus, SWARM_PATH, SWARM_INTERFACE_MANAGER, "JobRemoved", "os", path,
                                          job_state_to_string(j->state));
}

const BusChangeClass job_changes = {
        .interface = SWARM_INTERFACE_JOB,
        .properties = changed_properties,
        .announce = announce,
};
