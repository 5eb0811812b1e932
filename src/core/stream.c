/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shells, commands, and whoever reads a session's output: asked of the provider when their intent is saved, and known to their
 * session until they end. */

#include <utlist.h>

#include "basic/log.h"
#include "core/session-object.h"
#include "core/stream.h"

struct Stream {
        Session *session;
        Job *job;                       /* NULL: output is read */
        uid_t actor_uid;

        ProviderCommand command;        /* what the provider is to be asked for, until it is */
        CommitWait *wait;

        ProviderCall *call;
        bool has_begun;
        stream_begun_cb on_begun;       /* NULL: nobody waits for its begin any more */
        void *userdata;
        Stream *prev, *next;            /* on session->streams */
};

/* Takes it out of all that knows it, but its job. */
static void stream_free(Stream *t) {
        DL_DELETE(t->session->streams, t);
        usage_remove_stream(t->session->manager, t->actor_uid);
        commit_wait_cancel(t->wait);
        provider_call_cancel(t->call);
        provider_command_done(&t->command);
        free(t);
}

static int stream_new(Session *s, uid_t actor, stream_begun_cb cb, void *userdata, Stream **ret) {
        Stream *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        *t = (Stream) {
                .session = s,
                .actor_uid = actor,
                .on_begun = cb,
                .userdata = userdata,
        };
        int r = usage_add_stream(s->manager, actor);
        if (r < 0) {
                free(t);
                return r;
        }
        DL_APPEND(s->streams, t);
        *ret = t;
        return 0;
}

/* ---- its begin and its end */

/* Of a journal record about it: who, where, and nothing of the command line, which may hold secrets. */
static LogFields fields_of(const Stream *t, const char *const *extra) {
        const Session *s = t->session;

        return (LogFields) {
                .session = s->id,
                .session_name = s->name,
                .owner_uid = s->owner_uid,
                .actor_uid = t->actor_uid,
                .job = t->job ? t->job->id : 0,
                .provider = s->provider_name,
                .node = s->node,
                .extra = extra,
        };
}

static const char *what_of(const Stream *t) {
        return t->job->type == JOB_SHELL ? "shell" : "command";
}

static void log_begin(const Stream *t) {
        const LogFields fields = fields_of(t, NULL);
        const Session *s = t->session;

        if (!t->job)
                log_event(LOG_INFO, MESSAGE_OUTPUT_READ, &fields, "Session %s: uid %u reads its output.", s->name, t->actor_uid);
        else
                log_event(LOG_INFO, MESSAGE_COMMAND_BEGUN, &fields, "Session %s: uid %u has begun a %s (job %" PRIu64 ").", s->name,
                          t->actor_uid, what_of(t), t->job->id);
}

static void log_command_end(const Stream *t, int exit_code, const char *reason) {
        _cleanup_free_ char *field = strformat("SWARM_EXIT_CODE=%i", exit_code);
        const char *const extra[] = { exit_code >= 0 ? field : NULL, NULL };
        const LogFields fields = fields_of(t, extra);

        if (exit_code >= 0)
                log_event(LOG_INFO, MESSAGE_COMMAND_ENDED, &fields, "Session %s: the %s of job %" PRIu64 " has ended with exit code %i.",
                          t->session->name, what_of(t), t->job->id, exit_code);
        else
                log_event(LOG_INFO, MESSAGE_COMMAND_ENDED, &fields, "Session %s: the %s of job %" PRIu64 " was ended: %s", t->session->name,
                          what_of(t), t->job->id, reason);
}

static void log_end(const Stream *t, JobState state, int exit_code, const Refusal *error) {
        const char *reason = error ? error->message : state == JOB_DONE ? "its exit code is not known." : "no reason known.";
        const LogFields fields = fields_of(t, NULL);
        const char *name = t->session->name;

        if (!t->job)
                log_debug("Session %s: uid %u reads its output no more%s%s", name, t->actor_uid, error ? ": " : ".", error ? error->message : "");
        else if (t->has_begun)
                log_command_end(t, exit_code, reason);
        else if (state == JOB_FAILED)
                log_event(LOG_WARNING, MESSAGE_JOB_FAILED, &fields, "Session %s: the %s of job %" PRIu64 " could not be begun: %s", name, what_of(t),
                          t->job->id, reason);
        else
                log_debug("Session %s: the %s of job %" PRIu64 " had not begun when it was ended: %s", name, what_of(t), t->job->id, reason);
}

/* Whoever sits before it is there: that is activity, as a Touch is. */
static void note_activity(Session *s) {
        if (s->state == SESSION_RUNNING)
                (void) session_touch(s, core_now(), 0, NULL);
}

static void tell_begun(Stream *t, int r, const Refusal *refusal) {
        stream_begun_cb cb = t->on_begun;

        t->on_begun = NULL;
        if (cb)
                cb(t->userdata, r, refusal);
}

static void finish(Stream *t, JobState state, Refusal *error, int exit_code) {
        stream_begun_cb cb = t->on_begun;
        void *userdata = t->userdata;
        Job *j = t->job;
        _cleanup_refusal_ Refusal *reason = refusal_copy(error);

        log_end(t, state, exit_code, error);
        note_activity(t->session);
        stream_free(t);
        if (j) {
                j->stream = NULL;
                j->exit_code = exit_code;
                job_end(j, state, error);
        } else
                refusal_free(error);
        if (cb)
                cb(userdata, reason ? -EBADRQC : -ENOMEM, reason);
}

void stream_end(Stream *t, JobState state, Refusal *error) {
        finish(t, state, error, -1);
}

void session_end_streams(Session *s, JobState state, const Refusal *error) {
        while (s->streams)
                stream_end(s->streams, state, refusal_copy(error));
}

void stream_forget(Stream *t) {
        Refusal *error = NULL;

        if (!t)
                return;
        t->on_begun = NULL;
        if (t->has_begun)
                return;
        (void) refuse(&error, REFUSAL_CANCELED, "Whoever asked for it went away before it had begun.");
        stream_end(t, JOB_CANCELED, error);
}

/* ---- the provider's answers */

static void on_begun(void *userdata) {
        Stream *t = userdata;

        t->has_begun = true;
        if (t->job)
                job_set_stage(t->job, NULL);
        log_begin(t);
        tell_begun(t, 0, NULL);
}

static void on_command_ended(void *userdata, int r, const Refusal *refusal, int exit_code) {
        _cleanup_refusal_ Refusal *copy = refusal_copy(refusal);
        Stream *t = userdata;

        t->call = NULL;
        if (r >= 0 && !t->has_begun)
                on_begun(t);
        if (r >= 0)
                finish(t, JOB_DONE, NULL, exit_code);
        else
                stream_end(t, refusal && refusal->code == REFUSAL_CANCELED ? JOB_CANCELED : JOB_FAILED, refusal_of(r, &copy));
}

static void on_logs_ended(void *userdata, int r, const Refusal *refusal) {
        on_command_ended(userdata, r, refusal, -1);
}

/* ---- asking it */

static int ask(Stream *t) {
        Session *s = t->session;
        int r = s->provider->vtable->execute(s->provider, &t->command, on_begun, on_command_ended, t, &t->call);

        provider_command_done(&t->command);
        return r;
}

static void on_saved(void *userdata, int r) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Stream *t = userdata;
        Session *s = t->session;

        t->wait = NULL;
        if (r < 0)
                r = refuse(&refusal, REFUSAL_STORE_FAILED,
                           "The request for a %s in session \"%s\" could not be saved: %s. Nothing was done. Make room in the state directory and try again.",
                           what_of(t), s->name, strerror(-r));
        else    /* by now */
                r = session_check_command(s, t->job->type, &refusal);
        if (r >= 0)
                r = ask(t);
        if (r < 0)
                stream_end(t, JOB_FAILED, refusal_of(r, &refusal));
}

/* The job of a stream runs from the first: it waits for nothing but its intent. */
static int begin_job(Stream *t) {
        Session *s = t->session;
        int r;

        r = manager_on_commit(s->manager, on_saved, t, &t->wait);
        if (r >= 0)
                r = job_new(s->manager, s, t->command.terminal ? JOB_SHELL : JOB_EXECUTE, NULL, t->actor_uid, &t->job);
        if (r < 0)
                return r;
        t->job->stream = t;
        t->job->state = JOB_RUNNING;
        t->job->started_usec = core_now();
        job_set_stage(t->job, "beginning");
        return 0;
}

int session_execute(Session *s, const ProviderCommand *command, uid_t actor, stream_begun_cb cb, void *userdata, Stream **ret, Job **ret_job,
                    Refusal **reterr) {
        ProviderCommand c = *command;
        Stream *t;
        int r;

        c.session = s->id;
        r = stream_check_command(command, reterr);
        if (r >= 0)
                r = session_check_command(s, command->terminal ? JOB_SHELL : JOB_EXECUTE, reterr);
        if (r >= 0)
                r = usage_check_streams(s->manager, actor, reterr);
        if (r >= 0)
                r = stream_new(s, actor, cb, userdata, &t);
        if (r < 0)
                return r;
        r = provider_command_copy(&c, &t->command);
        if (r >= 0)
                r = begin_job(t);
        if (r < 0) {
                stream_free(t);
                return r;
        }
        note_activity(s);
        *ret = t;
        *ret_job = t->job;
        return 0;
}

int session_read_logs(Session *s, const ProviderLogs *logs, uid_t actor, stream_begun_cb cb, void *userdata, Stream **ret, Refusal **reterr) {
        ProviderLogs l = *logs;
        Stream *t;
        int r;

        r = stream_check_logs(logs, reterr);
        if (r >= 0)
                r = session_check_logs(s, reterr);
        if (r >= 0)
                r = usage_check_streams(s->manager, actor, reterr);
        if (r >= 0)
                r = stream_new(s, actor, cb, userdata, &t);
        if (r < 0)
                return r;
        l.session = s->id;
        r = s->provider->vtable->read_logs(s->provider, &l, on_begun, on_logs_ended, t, &t->call);
        if (r < 0) {
                stream_free(t);
                return r;
        }
        note_activity(s);
        *ret = t;
        return 0;
}
