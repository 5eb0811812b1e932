/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of a session. Each is the handler of the session's own interface and of the manager's, which names the
 * session in its first argument: one implementation and one authorization for both. */

#include <jansson.h>
#include <signal.h>

#include "front/front-internal.h"

typedef struct Verb {
        const char *member;             /* on the session; the manager's has "Session" behind it */
        const char *name;               /* in polkit's details */
        JobType type;
        const BusOption *options;
        size_t n_options;
} Verb;

static const BusOption save_options[] = {
        BUS_OPTION("lossy", "b", JobOptions, lossy),
        BUS_OPTION("discard", "b", JobOptions, discard),
};
static const BusOption lossy_options[] = {
        BUS_OPTION("lossy", "b", JobOptions, lossy),
};
static const BusOption restore_options[] = {
        BUS_OPTION("generation", "t", JobOptions, generation),
};
static const BusOption destroy_options[] = {
        BUS_OPTION("discard", "b", JobOptions, discard),
        BUS_OPTION("keep_snapshots", "b", JobOptions, keep_snapshots),
};

static const Verb verbs[] = {
        { "Start", "start", JOB_START, NULL, 0 },
        { "Stop", "stop", JOB_STOP, save_options, ELEMENTSOF(save_options) },
        { "Restart", "restart", JOB_RESTART, save_options, ELEMENTSOF(save_options) },
        { "Hibernate", "hibernate", JOB_HIBERNATE, lossy_options, ELEMENTSOF(lossy_options) },
        { "Restore", "restore", JOB_RESTORE, restore_options, ELEMENTSOF(restore_options) },
        { "Snapshot", "snapshot", JOB_SNAPSHOT, lossy_options, ELEMENTSOF(lossy_options) },
        { "Destroy", "destroy", JOB_DESTROY, destroy_options, ELEMENTSOF(destroy_options) },
};

static const Verb *verb_of_member(const char *member) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                const char *rest = startswith(member, verbs[i].member);

                if (rest && STR_IN_SET(rest, "", "Session"))
                        return &verbs[i];
        }
        return NULL;
}

/* Asks the core for a job and answers with it. */
static int request_job(Front *f, sd_bus_message *m, uid_t uid, Session *s, const char *verb, JobType type,
                       const JobOptions *options, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL;
        Subject subject = subject_of(s);
        Job *j;
        int r;

        r = front_admit(f, m, uid, front_action(uid, s, SWARM_ACTION_MANAGE_OWN, SWARM_ACTION_MANAGE), verb, &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        r = session_request(s, type, options, uid, &j, &refusal);
        if (r < 0)
                return front_refused(uid, verb, &subject, r, &refusal, reterr);
        path = job_path(j->id);
        if (!path)
                return -ENOMEM;
        r = bus_reply_new(m, &reply, "o", path);
        if (r < 0)
                return r;
        return front_reply_saved(f, m, reply, uid, verb, &subject, j->id);
}

int method_session_verb(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        const char *member = sd_bus_message_get_member(m);
        const Verb *verb = verb_of_member(member);
        JobOptions options = {};
        Front *f = front_of(m);
        uint64_t given = 0;
        Session *s;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_read_session(f, m, &s, &refusal);
        if (r >= 0)
                r = bus_options_read(m, member, verb->options, verb->n_options, &options, &given, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, member, SWARM_FLAGS_NONE, NULL, &refusal);
        /* To the core it is the newest, which is not what was asked for. */
        if (r >= 0 && verb->options == restore_options && given && options.generation == 0)
                r = refuse(&refusal, REFUSAL_INVALID_ARGUMENT,
                           "Generation 0 is the base image, which cannot be restored; generations begin with 1. Leave the option out for the newest.");
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        return request_job(f, m, uid, s, verb->name, verb->type, &options, reterr);
}

int method_session_delete_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        JobOptions options = {};
        Front *f = front_of(m);
        Session *s;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_read_session(f, m, &s, &refusal);
        if (r >= 0)
                r = sd_bus_message_read_basic(m, 't', &options.generation);
        if (r >= 0)
                r = bus_no_options_read(m, "DeleteSnapshot", &refusal);
        if (r >= 0 && options.generation == 0)
                r = refuse(&refusal, REFUSAL_INVALID_ARGUMENT, "Generation 0 is the base image, which cannot be deleted; generations begin with 1.");
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        return request_job(f, m, uid, s, "delete-snapshot", JOB_DELETE_SNAPSHOT, &options, reterr);
}

int method_session_touch(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        typedef struct Options {
                uint64_t extend_usec;
        } Options;
        static const BusOption table[] = { BUS_OPTION("extend_usec", "t", Options, extend_usec) };
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Options options = {};
        Front *f = front_of(m);
        Subject subject;
        Session *s;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_read_session(f, m, &s, &refusal);
        if (r >= 0)
                r = bus_options_read(m, "Touch", table, ELEMENTSOF(table), &options, NULL, &refusal);
        if (r >= 0)
                r = bus_flags_read(m, "Touch", SWARM_FLAGS_NONE, NULL, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        subject = subject_of(s);
        r = front_admit(f, m, uid, front_action(uid, s, SWARM_ACTION_MANAGE_OWN, SWARM_ACTION_MANAGE), "touch", &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        r = session_touch(s, core_now(), options.extend_usec, &refusal);
        if (r < 0)
                return front_refused(uid, "touch", &subject, r, &refusal, reterr);
        r = bus_reply_new(m, &reply, "");
        if (r < 0)
                return r;
        return front_reply_done(f, m, reply, uid, "touch", &subject, 0);
}

static int read_kill(sd_bus_message *m, int *ret_signal, Refusal **refusal) {
        const char *who;
        int r;

        r = sd_bus_message_read(m, "si", &who, ret_signal);
        if (r >= 0)
                r = bus_no_options_read(m, "Kill", refusal);
        if (r < 0)
                return r;
        if (!streq(who, "main"))
                return refuse(refusal, REFUSAL_INVALID_ARGUMENT, "\"%.64s\" cannot be signalled; only \"main\", the main process, can.", who);
        if (*ret_signal < 1 || *ret_signal > SIGRTMAX)
                return refuse(refusal, REFUSAL_INVALID_ARGUMENT, "%d is not a signal; signals are 1 to %d.", *ret_signal, SIGRTMAX);
        return 0;
}

int method_session_kill(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Front *f = front_of(m);
        Pending *pending;
        Subject subject;
        Session *s;
        uid_t uid;
        int r, signo;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_read_session(f, m, &s, &refusal);
        if (r >= 0)
                r = read_kill(m, &signo, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        subject = subject_of(s);
        r = front_admit(f, m, uid, front_action(uid, s, SWARM_ACTION_MANAGE_OWN, SWARM_ACTION_MANAGE), "kill", &subject, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_pending_new(f, m, uid, "kill", &subject, &pending);
        if (r < 0)
                return r;
        r = session_kill(s, signo, front_call_done, pending, front_pending_call(pending), &refusal);
        if (r < 0) {
                front_pending_free(pending);
                return front_refused(uid, "kill", &subject, r, &refusal, reterr);
        }
        return 1;
}

/* 1 when the answer may be given. */
static int authorize_reading(Front *f, sd_bus_message *m, const char *member, const char *verb, uid_t *ret_uid, Session **ret,
                             sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Subject subject;
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return r;
        r = front_read_session(f, m, ret, &refusal);
        if (r >= 0)
                r = bus_no_options_read(m, member, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        subject = subject_of(*ret);
        *ret_uid = uid;
        return front_authorize(f, m, uid, front_action(uid, *ret, SWARM_ACTION_VIEW, SWARM_ACTION_MANAGE), verb, &subject, reterr);
}

/* What Describe and ListSnapshots have in common. `append` writes the answer's body, and returns about how long that is; negative:
 * it failed. */
static int answer_reading(sd_bus_message *m, const char *member, const char *verb, int (*append)(sd_bus_message *reply, const Session *s), sd_bus_error *reterr) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        _cleanup_refusal_ Refusal *refusal = NULL;
        Front *f = front_of(m);
        Session *s;
        uid_t uid = UID_UNSET;
        int r;

        r = authorize_reading(f, m, member, verb, &uid, &s, reterr);
        if (r <= 0)
                return front_parked(r);
        r = front_check_answers(f, uid, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        r = bus_reply_new(m, &reply, "");
        if (r >= 0)
                r = append(reply, s);
        size_t bytes = (size_t) MAX(r, 0);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        if (r >= 0)
                front_note_answer(f, uid, reply, bytes);
        return r;
}

static int append_description(sd_bus_message *reply, const Session *s) {
        return bus_fields_append(reply, session_fields, FIELD_DESCRIBE, s);
}

int method_session_describe(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return answer_reading(m, "Describe", "describe", append_description, reterr);
}

/* The record holds them as a JSON array of strings, written by the core. */
static int append_dropped(sd_bus_message *m, const void *object) {
        const SnapshotRecord *record = object;
        json_t *names = record->dropped ? json_loads(record->dropped, 0, NULL) : NULL, *name;
        size_t i;
        int r;

        r = sd_bus_message_open_container(m, 'a', "s");
        json_array_foreach(names, i, name)
                if (r >= 0 && json_is_string(name))
                        r = sd_bus_message_append_basic(m, 's', json_string_value(name));
        json_decref(names);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

#define RECORD(name, signature, member) BUS_FIELD(name, signature, SnapshotRecord, member)
static const BusField snapshot_fields[] = {
        RECORD("Generation", "t", generation),
        RECORD("Kind", "s", kind),
        RECORD("CreatedUSec", "t", created_usec),
        RECORD("Bytes", "t", bytes),
        RECORD("UncompressedBytes", "t", uncompressed_bytes),
        RECORD("Entries", "t", entries),
        RECORD("Layers", "u", session_layers),
        RECORD("FrozenUSec", "t", frozen_usec),
        RECORD("Image", "s", image),
        RECORD("Tag", "s", tag),
        RECORD("Job", "t", job),
        BUS_FIELD_FUNCTION("Dropped", "as", append_dropped),
        {},
};

/* Names of files are their owner's choice, and many generations with long ones would pass the bus's limit of a message, at which
 * the bus cuts off who sends it. */
#define DROPPED_BYTES_MAX (8 * MIB)

static int newest_first(const void *a, const void *b) {
        uint64_t x = (*(const Snapshot *const *) a)->record.generation, y = (*(const Snapshot *const *) b)->record.generation;

        return x < y ? 1 : x > y ? -1 : 0;
}

static int append_snapshots(sd_bus_message *reply, const Session *s) {
        _cleanup_free_ const Snapshot **list = NULL;
        size_t n = 0, dropped = 0, bytes = 0;
        int r;

        list = calloc(HASH_COUNT(s->snapshots) + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (const Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_PROVEN || i->record.phase == SNAPSHOT_KEPT)
                        list[n++] = i;
        qsort(list, n, sizeof(*list), newest_first);

        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                SnapshotRecord record = list[i]->record;

                dropped += strlen(strempty(record.dropped));
                if (dropped > DROPPED_BYTES_MAX)
                        record.dropped = NULL;
                bytes += strlen(strempty(record.dropped));
                r = bus_fields_append(reply, snapshot_fields, 0, &record);
                bytes += (size_t) MAX(r, 0);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : (int) bytes;
}

int method_session_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return answer_reading(m, "ListSnapshots", "list-snapshots", append_snapshots, reterr);
}
