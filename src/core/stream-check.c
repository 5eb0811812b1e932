/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which commands can be run in a session, and which output can be read, before a provider is asked. */

#include "core/rules.h"
#include "core/session-object.h"

#define COMMAND_USER_MAX 64
#define COMMAND_DIRECTORY_MAX 4096

#define USER_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

static bool user_is_valid(const char *user) {
        size_t n = strspn(user, USER_CHARACTERS);

        if (n == 0 || n > COMMAND_USER_MAX)
                return false;
        if (user[n] == 0)
                return true;
        const char *group = user + n + 1;
        size_t m = strspn(group, USER_CHARACTERS);
        return user[n] == ':' && m > 0 && m <= COMMAND_USER_MAX && group[m] == 0;
}

static int check_user(const char *user, Refusal **reterr) {
        if (!user || user_is_valid(user))
                return 0;
        return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                      "The user of the command is none. Write it as NAME, UID, or either with :GROUP behind it; each has 1 to %d letters, digits, \"_\", \".\" or \"-\".",
                      COMMAND_USER_MAX);
}

static int check_directory(const char *directory, Refusal **reterr) {
        if (!directory || (*directory == '/' && strlen(directory) < COMMAND_DIRECTORY_MAX && utf8_is_valid(directory)))
                return 0;
        return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                      "The working directory of the command is not one in the container. Give an absolute path of fewer than %d bytes, in UTF-8.", COMMAND_DIRECTORY_MAX);
}

static int check_arguments(const ProviderCommand *c, Refusal **reterr) {
        if (strv_length(c->argv) == 0 && c->terminal)
                return 0;
        if (strv_length(c->argv) == 0 || isempty(c->argv[0]))
                return refuse(reterr, REFUSAL_INVALID_ARGUMENT, "The command has no program to run. Give its name or its path in the container as the first word.");
        return words_check("command", c->argv, reterr);
}

static int check_env(char *const *env, Refusal **reterr) {
        int r = words_check("env", env, reterr);

        STRV_FOREACH(e, env)
                if (r >= 0)
                        r = env_entry_check(*e, reterr);
        return r;
}

int stream_check_command(const ProviderCommand *c, Refusal **reterr) {
        int r = check_arguments(c, reterr);

        if (r >= 0)
                r = check_env(c->env, reterr);
        if (r >= 0)
                r = check_user(c->user, reterr);
        if (r >= 0)
                r = check_directory(c->directory, reterr);
        return r;
}

int stream_check_logs(const ProviderLogs *l, Refusal **reterr) {
        if (l->since_usec == 0 || l->until_usec == 0 || l->since_usec <= l->until_usec)
                return 0;
        return refuse(reterr, REFUSAL_INVALID_ARGUMENT,
                      "--since= (option `since_usec`) is later than --until= (option `until_usec`), so there is no output between them. Exchange them.");
}

static int check_capable(Session *s, ProviderCapability capability, const char *what, Refusal **reterr) {
        int r = session_check_provider(s, reterr);

        if (r < 0)
                return r;
        if (s->manager->stopping)
                return refuse(reterr, REFUSAL_PROVIDER_UNAVAILABLE, "The orchestrator is stopping. Try again when it is back.");
        if (s->provider->vtable->capabilities & (uint32_t) capability)
                return 0;
        return refuse(reterr, REFUSAL_PROVIDER_FAILED,
                      "Session \"%s\" lives at provider \"%s\", which cannot %s. 'swarmctl providers' (ListProviders) shows what each can do.",
                      s->name, s->provider_name, what);
}

int session_check_command(Session *s, JobType type, Refusal **reterr) {
        int r = check_capable(s, PROVIDER_CAN_EXECUTE, "run commands in a session", reterr);

        if (r < 0 || session_allows(s, type))
                return r;
        return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is %s, so nothing can be run in it. %s", s->name, session_state_to_string(s->state),
                      session_state_remedy(s->state, type));
}

int session_check_logs(Session *s, Refusal **reterr) {
        int r = check_capable(s, PROVIDER_CAN_READ_LOGS, "read the output of a session", reterr);

        /* As long as there is a container, whatever becomes of it. */
        if (r < 0 || s->container)
                return r;
        if (session_state_is_rest(s->state))
                return refuse(reterr, REFUSAL_WRONG_STATE,
                              "Session \"%s\" is %s: its container is gone, and with it the output that its node kept. Start or restore it for new output. "
                              "With LogDriver=journald the journal of its node has the old: journalctl SWARM_SESSION=%s.",
                              s->name, session_state_to_string(s->state), s->id);
        return refuse(reterr, REFUSAL_WRONG_STATE, "Session \"%s\" is %s and has no container, so it has no output. %s", s->name,
                      session_state_to_string(s->state), session_state_remedy(s->state, JOB_EXECUTE));
}
