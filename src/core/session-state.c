/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/names.h"
#include "core/session-state.h"

static const char *const session_state_names[_SESSION_STATE_MAX] = {
        [SESSION_NEW] = "new",
        [SESSION_PLACING] = "placing",
        [SESSION_STARTING] = "starting",
        [SESSION_RUNNING] = "running",
        [SESSION_STOPPING] = "stopping",
        [SESSION_STOPPED] = "stopped",
        [SESSION_HIBERNATING] = "hibernating",
        [SESSION_HIBERNATED] = "hibernated",
        [SESSION_RESUMING] = "resuming",
        [SESSION_EXITED] = "exited",
        [SESSION_FAILED] = "failed",
        [SESSION_LOST] = "lost",
        [SESSION_DESTROYING] = "destroying",
        [SESSION_GONE] = "gone",
};
DEFINE_NAMES(session_state, SessionState)

static const char *const job_type_names[_JOB_TYPE_MAX] = {
        [JOB_CREATE] = "create",
        [JOB_START] = "start",
        [JOB_STOP] = "stop",
        [JOB_RESTART] = "restart",
        [JOB_HIBERNATE] = "hibernate",
        [JOB_RESTORE] = "restore",
        [JOB_SNAPSHOT] = "snapshot",
        [JOB_DESTROY] = "destroy",
        [JOB_SAVE_EXITED] = "save-exited",
        [JOB_DELETE_SNAPSHOT] = "delete-snapshot",
        [JOB_SHELL] = "shell",
        [JOB_EXECUTE] = "execute",
};
DEFINE_NAMES(job_type, JobType)

static const char *const stop_reason_names[_STOP_REASON_MAX] = {
        [STOP_REASON_NONE] = "",
        [STOP_REASON_INACTIVITY] = "inactivity",
        [STOP_REASON_MANUAL] = "manual",
        [STOP_REASON_ERROR] = "error",
        [STOP_REASON_RESOURCE_LIMIT] = "resource-limit",
        [STOP_REASON_BUDGET] = "budget",
        [STOP_REASON_NODE_LOST] = "node-lost",
        [STOP_REASON_EXITED] = "exited",
};
DEFINE_NAMES(stop_reason, StopReason)

#define B(state) (UINT32_C(1) << SESSION_##state)

/* To which states a state may change. Besides, every state but gone may change to destroying. */
static const uint32_t followers[_SESSION_STATE_MAX] = {
        [SESSION_NEW] = B(PLACING) | B(FAILED) | B(RESUMING) | B(STOPPED),
        [SESSION_PLACING] = B(STARTING) | B(RUNNING) | B(EXITED) | B(FAILED) | B(LOST) | B(RESUMING) | B(STOPPED),
        [SESSION_STARTING] = B(RUNNING) | B(EXITED) | B(FAILED) | B(LOST) | B(RESUMING) | B(STOPPED),
        [SESSION_RUNNING] = B(STOPPING) | B(HIBERNATING) | B(EXITED) | B(FAILED) | B(LOST) | B(STOPPED),
        [SESSION_STOPPING] = B(STOPPED) | B(RUNNING) | B(EXITED) | B(FAILED) | B(LOST) | B(RESUMING),
        [SESSION_STOPPED] = B(RESUMING) | B(RUNNING) | B(EXITED),
        [SESSION_HIBERNATING] = B(HIBERNATED) | B(RUNNING) | B(EXITED) | B(FAILED) | B(LOST) | B(STOPPED),
        [SESSION_HIBERNATED] = B(RESUMING) | B(RUNNING) | B(EXITED),
        [SESSION_RESUMING] = B(RUNNING) | B(HIBERNATED) | B(STOPPED) | B(EXITED) | B(FAILED) | B(LOST),
        [SESSION_EXITED] = B(STOPPING) | B(HIBERNATING) | B(RUNNING) | B(FAILED) | B(LOST) | B(STOPPED),
        [SESSION_FAILED] = B(PLACING) | B(RESUMING) | B(RUNNING) | B(EXITED) | B(LOST),
        [SESSION_LOST] = B(RUNNING) | B(EXITED) | B(RESUMING) | B(FAILED) | B(STOPPED) | B(STARTING),
        [SESSION_DESTROYING] = B(GONE),
};

bool session_state_may_follow(SessionState from, SessionState to) {
        if (from < 0 || from >= _SESSION_STATE_MAX || to < 0 || to >= _SESSION_STATE_MAX)
                return false;
        if (to == SESSION_DESTROYING)
                return from != SESSION_GONE && from != SESSION_DESTROYING;
        return followers[from] & UINT32_C(1) << to;
}

static bool in_set(SessionState s, uint32_t set) {
        return s >= 0 && s < _SESSION_STATE_MAX && (set & UINT32_C(1) << s);
}

bool session_state_is_transient(SessionState s) {
        return in_set(s, B(NEW) | B(PLACING) | B(STARTING) | B(STOPPING) | B(HIBERNATING) | B(RESUMING) | B(DESTROYING));
}

bool session_state_is_rest(SessionState s) {
        return in_set(s, B(STOPPED) | B(HIBERNATED));
}

bool session_state_is_active(SessionState s) {
        return in_set(s, B(NEW) | B(PLACING) | B(STARTING) | B(RUNNING) | B(STOPPING) | B(HIBERNATING) | B(RESUMING) | B(EXITED));
}

/* In which states a verb may begin. */
static const uint32_t verb_states[_JOB_TYPE_MAX] = {
        [JOB_CREATE] = B(NEW) | B(PLACING) | B(STARTING),
        [JOB_START] = B(STOPPED) | B(HIBERNATED) | B(FAILED) | B(EXITED),
        [JOB_STOP] = B(RUNNING) | B(EXITED),
        [JOB_RESTART] = B(RUNNING) | B(EXITED),
        [JOB_HIBERNATE] = B(RUNNING) | B(EXITED),
        [JOB_RESTORE] = B(STOPPED) | B(HIBERNATED) | B(FAILED) | B(LOST),
        [JOB_SNAPSHOT] = B(RUNNING),
        [JOB_DESTROY] = ~B(GONE),
        [JOB_SAVE_EXITED] = B(EXITED),
        [JOB_DELETE_SNAPSHOT] = B(RUNNING) | B(STOPPED) | B(HIBERNATED) | B(FAILED) | B(EXITED) | B(LOST),
        [JOB_SHELL] = B(RUNNING),
        [JOB_EXECUTE] = B(RUNNING),
};

bool session_state_allows(SessionState s, JobType verb) {
        return verb >= 0 && verb < _JOB_TYPE_MAX && in_set(s, verb_states[verb]);
}

const char *session_state_remedy(SessionState s, JobType verb) {
        /* Who wants to get in wants it to run. */
        bool enters = verb == JOB_SHELL || verb == JOB_EXECUTE;

        /* Who is told to undo first what he wants would do just that. */
        if (session_state_is_rest(s) && (verb == JOB_STOP || verb == JOB_HIBERNATE))
                return "There is nothing to do: its files are saved, and nothing of it runs.";
        if (s == SESSION_RUNNING && verb == JOB_START)
                return "There is nothing to do; restart it to have its processes begin anew.";
        if (session_state_is_rest(s))
                return "Start or restore it first.";
        if (s == SESSION_RUNNING)
                return "Hibernate or stop it first.";
        if (s == SESSION_FAILED)
                return "Start it again, or destroy it.";
        if (s == SESSION_LOST)
                return "Wait for its node, restore it from its newest generation if it has one, or destroy it.";
        if (s == SESSION_EXITED && enters)
                return "Start it again; its files are saved first.";
        if (s == SESSION_EXITED)
                return "Its files are being saved; wait until it is stopped.";
        if (s == SESSION_DESTROYING || s == SESSION_GONE)
                return "Create a new session instead.";
        if (enters && s != SESSION_STOPPING && s != SESSION_HIBERNATING)
                return "Wait until it runs.";
        return "Wait until what is under way has ended, or cancel its job.";
}
