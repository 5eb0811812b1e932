/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A command in a container that runs:
 *   POST /containers/ID/exec → its id → note → swarm-stream, which begins it (POST /exec/ID/start) and carries the bytes
 *   → begun; its process is found (agent-process.c), new sizes go to its terminal → the end of the stream → GET /exec/ID/json
 *   → its exit code.
 * A container that is frozen takes no command, and is waited for; a command that runs in one stands still with the rest of it. The
 * Engine knows of no command whose container it has forgotten, and says of one that was killed that it ended with 137: the
 * container tells which of both it was. */

#include <signal.h>

#include "basic/log.h"
#include "provider/agent-internal.h"

/* What the Engine looks for in what is typed, and then lets go of a terminal: by default ^P^Q, and a shell would not see a ^P until the
 * next key. Nobody types this one, and hardly ever its first. Source: moby/term, proxy.go. */
#define DETACH_KEYS "ctrl-@,ctrl-^,ctrl-@,ctrl-_,ctrl-@,ctrl-^,ctrl-@,ctrl-]"

#define KILLED_CODE (128 + SIGKILL)

typedef struct Execute {
        AgentCall base;
        char *container, *exec;
        ProviderCommand command;        /* its descriptors: until it has begun */
        EngineCall *request;
        AgentStream *stream;
        AgentProcess *process;
        Timer *timer;
        event_cb next;                  /* when that has run out */
        Backoff backoff;
        usec_t deadline_usec;           /* CLOCK_BOOTTIME */

        bool resizable;                 /* there is a size that the Engine has not taken */
        unsigned rows, columns;
        usec_t size_usec;               /* CLOCK_BOOTTIME: when it was said */
        EngineCall *resize;
        Timer *resize_timer;
        Backoff resize_backoff;

        StreamEnd end;                  /* of the stream */
        char *end_message;
        usec_t ended_usec;              /* CLOCK_BOOTTIME */
        bool left;                      /* its container has ended, whatever the Engine says */
        bool known, running;            /* the command, then, by what the Engine says */
        bool unread;                    /* it says no more than that nobody takes its output */
        int exit_code;                  /* -1: it does not say */

        provider_begun_cb begun;
        provider_command_cb done;
        void *userdata;
} Execute;

/* ---- the call */

/* What may be running is ended, and nobody waits for that. */
static void execute_free(AgentCall *call) {
        Execute *e = CONTAINER_OF(call, Execute, base);

        agent_call_unlink(call);
        engine_call_cancel(e->request);
        engine_call_cancel(e->resize);
        agent_stream_free(e->stream);
        if (e->process)
                agent_process_end(e->process, NULL, NULL);
        timer_free(e->timer);
        timer_free(e->resize_timer);
        provider_command_done(&e->command);
        free(e->container);
        free(e->exec);
        free(e->end_message);
        free(e);
}

static void finish(Execute *e, int r, const Refusal *refusal, int exit_code) {
        provider_command_cb done = e->done;
        void *userdata = e->userdata;

        execute_free(&e->base);
        done(userdata, r, refusal, exit_code);
}

static void finish_ended(Execute *e, int exit_code) {
        e->process = agent_process_over(e->process);
        finish(e, 0, NULL, exit_code);
}

static void finish_refused(Execute *e, RefusalCode code, const char *format, ...) _printf_(3, 4);

static void finish_refused(Execute *e, RefusalCode code, const char *format, ...) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                text = NULL;
        r = text ? refuse(&refusal, code, "%s", text) : -ENOMEM;
        finish(e, r, refusal, -1);
}

static void on_timer(void *userdata) {
        Execute *e = userdata;

        e->next(e);
}

static void later(Execute *e, usec_t after_usec, event_cb next) {
        int r;

        e->next = next;
        r = timer_arm(e->timer, after_usec);
        if (r < 0)
                finish(e, r, NULL, -1);
}

static int request(Execute *e, const char *method, const char *verb, json_t *body, engine_cb on_done) {
        return agent_request(e->base.agent, &(const AgentRequest) {
                .method = method,
                .container = e->container,
                .verb = verb,
                .body = body,
                .timeout_usec = COMMAND_TIMEOUT_USEC,
                .on_done = on_done,
                .userdata = e,
        }, &e->request);
}

static int look_at(Execute *e, bool command, engine_cb on_done) {
        const AgentRequest r = {
                .method = "GET",
                .container = command ? e->exec : e->container,
                .verb = "json",
                .timeout_usec = INSPECT_TIMEOUT_USEC,
                .on_done = on_done,
                .userdata = e,
        };

        return command ? agent_request_exec(e->base.agent, &r, &e->request) : agent_request(e->base.agent, &r, &e->request);
}

/* ---- a container that is frozen */

static bool is_frozen(const Execute *e) {
        return note_says_frozen(e->base.agent->frozen_dir, e->container);
}

static void wait_for_thaw(Execute *e, event_cb next) {
        usec_t wait = backoff_next(&e->backoff);

        if (agent_now(CLOCK_BOOTTIME) + wait < e->deadline_usec)
                later(e, wait, next);
        else if (is_frozen(e))
                finish_refused(e, REFUSAL_BUSY, "Container %.*s stands still because its files are being saved. Try again when that is over.",
                               CONTAINER_SHORT, e->container);
        else
                finish_refused(e, REFUSAL_WRONG_STATE, "Container %.*s is paused by somebody else, so no command can begin in it. Unpause it first.",
                               CONTAINER_SHORT, e->container);
}

/* moby daemon/exec.go answers 409 to both. */
static bool says_paused(long status, const char *message) {
        return status == 409 && message && strstr(message, "is paused");
}

static void finish_not_running(Execute *e) {
        finish_refused(e, REFUSAL_WRONG_STATE, "Container %.*s does not run, so no command can begin in it. Start the session first.",
                       CONTAINER_SHORT, e->container);
}

/* ---- the size of its terminal: the newest counts, and one is on its way at a time */

static void send_size(Execute *e);

static void resize_again(Execute *e) {
        if (timer_arm(e->resize_timer, backoff_next(&e->resize_backoff)) < 0)
                log_oom();
}

static void on_resized(const EngineAnswer *answer, void *userdata) {
        Execute *e = userdata;

        e->resize = NULL;
        if (answer->outcome == ENGINE_OK) {
                if (e->resizable)
                        send_size(e);
                return;
        }
        /* It may be just beginning. */
        if (!e->resizable && agent_now(CLOCK_BOOTTIME) >= e->size_usec + RESIZE_TIMEOUT_USEC)
                return;
        e->resizable = true;
        resize_again(e);
}

static void send_size(Execute *e) {
        char verb[64];

        if (e->resize || !e->resizable)
                return;
        /* It would be signalled of it. */
        if (is_frozen(e)) {
                resize_again(e);
                return;
        }
        e->resizable = false;
        (void) snprintf(verb, sizeof(verb), "resize?h=%u&w=%u", e->rows, e->columns);
        if (agent_request_exec(e->base.agent, &(const AgentRequest) {
                .method = "POST",
                .container = e->exec,
                .verb = verb,
                .timeout_usec = COMMAND_TIMEOUT_USEC,
                .once = true,
                .on_done = on_resized,
                .userdata = e,
        }, &e->resize) < 0)
                log_oom();
}

static void on_resize_timer(void *userdata) {
        send_size(userdata);
}

static void take_size(Execute *e, const StreamMessage *m) {
        if (m->rows == 0 || m->columns == 0)
                return;
        e->rows = m->rows;
        e->columns = m->columns;
        e->size_usec = agent_now(CLOCK_BOOTTIME);
        e->resizable = true;
        backoff_reset(&e->resize_backoff);
        send_size(e);
}

/* ---- its end */

static void step_look(void *userdata);

static void look_later(Execute *e) {
        later(e, backoff_next(&e->backoff), step_look);
}

static void finish_with_container(Execute *e) {
        e->process = agent_process_over(e->process);
        finish_refused(e, REFUSAL_WRONG_STATE, "The session's container %.*s ended with the command still running.", CONTAINER_SHORT, e->container);
}

static void finish_given_up(Execute *e) {
        e->process = agent_process_over(e->process);
        if (e->end == STREAM_END_CALLER)
                finish_refused(e, REFUSAL_CANCELED, "%s, so the command in container %.*s was ended.",
                               e->command.terminal ? "The other end of its terminal was closed" : "Nobody reads its output any more",
                               CONTAINER_SHORT, e->container);
        else
                finish_refused(e, REFUSAL_PROVIDER_FAILED,
                               "What the command in container %.*s reads and writes cannot be carried on, so it was ended: %s.",
                               CONTAINER_SHORT, e->container, e->end_message ?: "the Docker Engine has closed the connection");
}

/* Its process has ended, or cannot be. */
static void on_process_ended(void *userdata) {
        Execute *e = userdata;

        e->process = NULL;
        finish_given_up(e);
}

static void end_command(Execute *e) {
        agent_process_end(e->process, on_process_ended, e);
}

static bool has_passed(const Execute *e, usec_t after_usec) {
        return agent_now(CLOCK_BOOTTIME) >= e->ended_usec + after_usec;
}

/* The container runs. A command without a terminal may have closed its own output, and is waited for. */
static void decide(Execute *e) {
        if (!e->known)
                finish_refused(e, REFUSAL_PROVIDER_UNAVAILABLE,
                               "The Docker Engine at %s does not know the command in container %.*s any more, as after a restart. What became of it is not known.",
                               engine_socket(e->base.agent->engine), CONTAINER_SHORT, e->container);
        else if (e->running && (e->end != STREAM_END_ENGINE || (e->command.terminal && has_passed(e, TERMINAL_LOST_USEC))))
                end_command(e);
        else if (!has_passed(e, COMMAND_SETTLE_USEC) || (e->running && !e->left))
                look_later(e);
        else if (e->left)
                finish_with_container(e);
        else if (e->unread)
                finish_given_up(e);
        else
                finish_ended(e, e->exit_code);
}

static void refuse_away(Execute *e, const EngineAnswer *answer) {
        finish_refused(e, REFUSAL_PROVIDER_UNAVAILABLE,
                       "The Docker Engine at %s went away with the command in container %.*s still running: %s. Start it, then look after the session.",
                       engine_socket(e->base.agent->engine), CONTAINER_SHORT, e->container, answer->message);
}

static void on_container_seen(const EngineAnswer *answer, void *userdata) {
        const json_t *state = json_at(answer->json, "State");
        Execute *e = userdata;

        e->request = NULL;
        if (answer->status == 404 || (answer->outcome == ENGINE_OK && !json_true_at(state, "Running")))
                finish_with_container(e);
        else if (answer->outcome != ENGINE_OK)
                refuse_away(e, answer);
        /* Its processes are killed while it is frozen (agent-others.c). */
        else if (json_true_at(state, "Paused") && !e->running)
                finish_with_container(e);
        else
                decide(e);
}

/* The connection was closed on our side, where the Engine had more for it. */
static bool is_unread(const Execute *e) {
        return e->known && !e->running && e->exit_code == COMMAND_UNREAD_CODE && (e->left || e->end != STREAM_END_ENGINE);
}

static void on_command_seen(const EngineAnswer *answer, void *userdata) {
        const json_t *code = json_at(answer->json, "ExitCode");
        Execute *e = userdata;
        int r;

        e->request = NULL;
        if (answer->outcome != ENGINE_OK && answer->status != 404) {
                refuse_away(e, answer);
                return;
        }
        e->known = answer->outcome == ENGINE_OK;
        e->running = e->known && json_true_at(answer->json, "Running");
        e->exit_code = json_is_integer(code) ? (int) json_integer_value(code) : -1;
        e->unread = is_unread(e);
        if (e->unread) {
                e->running = agent_process_lives(e->process);
                e->exit_code = -1;
        }
        if (e->known && !e->running && e->exit_code >= 0 && e->exit_code != KILLED_CODE) {
                finish_ended(e, e->exit_code);
                return;
        }
        r = look_at(e, false, on_container_seen);
        if (r < 0)
                finish(e, r, NULL, -1);
}

static void step_look(void *userdata) {
        Execute *e = userdata;
        int r = look_at(e, true, on_command_seen);

        if (r < 0)
                finish(e, r, NULL, -1);
}

static void on_over(Execute *e, StreamEnd how, const char *message) {
        int r;

        e->end = how;
        r = free_and_strdup(&e->end_message, message);
        e->stream = agent_stream_free(e->stream);
        e->resize = engine_call_cancel(e->resize);
        timer_disarm(e->resize_timer);
        e->ended_usec = agent_now(CLOCK_BOOTTIME);
        e->backoff = (Backoff) { .min_usec = 20 * USEC_PER_MSEC, .max_usec = USEC_PER_SEC };
        if (r < 0)
                finish(e, r, NULL, -1);
        else
                step_look(e);
}

/* With its container. Nobody takes what is left of its output, or slowly. */
static void on_left(void *userdata) {
        Execute *e = userdata;

        e->left = true;
        if (e->stream)
                on_over(e, STREAM_END_ENGINE, NULL);
}

/* ---- its begin */

static void step_start(void *userdata);

static void on_begun(Execute *e) {
        provider_command_close(&e->command);
        e->begun(e->userdata);
}

static void on_not_started(Execute *e, long status, const char *message) {
        e->stream = agent_stream_free(e->stream);
        e->process = agent_process_over(e->process);
        if (says_paused(status, message))
                wait_for_thaw(e, step_start);
        else if (status == 409)
                finish_not_running(e);
        else if (status == 404)
                finish_refused(e, REFUSAL_WRONG_STATE, "Container %.*s ended before the command could begin. Start the session first.",
                               CONTAINER_SHORT, e->container);
        else
                finish_refused(e, status == 0 ? REFUSAL_PROVIDER_UNAVAILABLE : REFUSAL_PROVIDER_FAILED,
                               "The Docker Engine at %s did not begin the command in container %.*s: %s.", engine_socket(e->base.agent->engine),
                               CONTAINER_SHORT, e->container, message ?: "it gave no reason");
}

static void on_message(const StreamMessage *m, void *userdata) {
        Execute *e = userdata;

        if (m->type == STREAM_SAYS_SIZE)
                take_size(e, m);
        else if (m->type == STREAM_SAYS_END)
                on_over(e, m->end, m->message);
        else if (m->status == 101 || m->status == 200)
                on_begun(e);
        else {
                _cleanup_free_ char *message = m->message ? strdup(m->message) : NULL;
                on_not_started(e, m->status, message);
        }
}

static int start(Execute *e) {
        Agent *a = e->base.agent;
        _cleanup_free_ char *path = strformat("/exec/%s/start", e->exec);
        int r;

        if (!path)
                return -ENOMEM;
        r = agent_process_new(a, e->container, e->exec, on_left, e, &e->process);
        if (r < 0)
                return r;
        return agent_stream_new(a, &(const AgentStreamSpec) {
                .container = e->container,
                .method = "POST",
                .path = path,
                .body = e->command.terminal ? "{\"Detach\":false,\"Tty\":true}" : "{\"Detach\":false,\"Tty\":false}",
                .kind = e->command.terminal ? STREAM_TERMINAL : STREAM_COMMAND,
                .framed = !e->command.terminal,
                .fds = e->command.fds,
                .n_fds = e->command.n_fds,
                .on_message = on_message,
                .userdata = e,
        }, &e->stream);
}

static void step_start(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Execute *e = userdata;
        int r;

        if (is_frozen(e)) {
                wait_for_thaw(e, step_start);
                return;
        }
        r = start(e);
        if (r >= 0)
                return;
        e->process = agent_process_over(e->process);
        r = note_refuse(e->base.agent->commands_dir, e->container, "gets no new command", r, &refusal);
        finish(e, r, refusal, -1);
}

static void step_create(void *userdata);

static void on_created(const EngineAnswer *answer, void *userdata) {
        Execute *e = userdata;
        const char *id = json_string_at(answer->json, "Id");

        e->request = NULL;
        if (answer->outcome != ENGINE_OK) {
                if (says_paused(answer->status, answer->message))
                        wait_for_thaw(e, step_create);
                else if (answer->status == 409 || answer->status == 404)
                        finish_not_running(e);
                else if (answer->status == 400)
                        /* A user that the container does not know, since Engine 28; before that it is a line of output, and 126. */
                        finish_refused(e, REFUSAL_INVALID_ARGUMENT, "The command cannot begin in container %.*s: %s. Correct it, then try again.",
                                       CONTAINER_SHORT, e->container, answer->message);
                else {
                        _cleanup_refusal_ Refusal *refusal = NULL;
                        int r = agent_refuse_answer(e->base.agent, e->container, "begin a command", answer, &refusal);
                        finish(e, r, refusal, -1);
                }
                return;
        }
        if (!container_id_is_valid(id) || free_and_strdup(&e->exec, id) < 0)
                finish(e, -EBADMSG, NULL, -1);
        else
                step_start(e);
}

/* The container's shell: bash where there is one, as a login shell. */
static json_t *command_line(const ProviderCommand *c) {
        static char *const shell[] = {
                (char *) "/bin/sh", (char *) "-c", (char *) "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l", NULL,
        };

        return json_strv(strv_length(c->argv) > 0 ? c->argv : shell);
}

static int describe(const ProviderCommand *c, json_t **ret) {
        _cleanup_json_ json_t *body = json_pack("{s:b, s:b, s:b, s:b}", "AttachStdin", 1, "AttachStdout", 1, "AttachStderr", 1, "Tty", (int) c->terminal);
        int r;

        if (!body)
                return -ENOMEM;
        r = json_take(body, "Cmd", command_line(c));
        if (r >= 0 && strv_length(c->env) > 0)
                r = json_take(body, "Env", json_strv(c->env));
        if (r >= 0 && c->user)
                r = json_take_string(body, "User", c->user);
        if (r >= 0 && c->directory)
                r = json_take_string(body, "WorkingDir", c->directory);
        if (r >= 0 && c->terminal)
                r = json_take_string(body, "DetachKeys", DETACH_KEYS);
        if (r >= 0)
                *ret = TAKE_PTR(body);
        return r;
}

static void step_create(void *userdata) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_json_ json_t *body = NULL;
        Execute *e = userdata;
        int r;

        if (is_frozen(e)) {
                wait_for_thaw(e, step_create);
                return;
        }
        r = agent_streams_check(workers_kept(), &refusal);
        if (r >= 0)
                r = describe(&e->command, &body);
        if (r >= 0)
                r = request(e, "POST", "exec", body, on_created);
        if (r < 0)
                finish(e, r, refusal, -1);
}

int agent_execute(Agent *a, const char *container, const ProviderCommand *command, provider_begun_cb begun, provider_command_cb done,
                  void *userdata, ProviderCall **ret) {
        Execute *e;
        int r;

        if (!container_id_is_valid(container))
                return -EINVAL;
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        *e = (Execute) {
                .exit_code = -1,
                .next = step_create,
                .deadline_usec = agent_now(CLOCK_BOOTTIME) + COMMAND_FROZEN_USEC,
                .backoff = { .min_usec = SETTLE_USEC, .max_usec = 10 * SETTLE_USEC },
                .resize_backoff = { .min_usec = SETTLE_USEC, .max_usec = 10 * SETTLE_USEC },
                .begun = begun,
                .done = done,
                .userdata = userdata,
        };
        agent_call_init(&e->base, a, execute_free);
        r = free_and_strdup(&e->container, container);
        if (r >= 0)
                r = provider_command_copy(command, &e->command);
        if (r >= 0)
                r = timer_new(a->event, on_resize_timer, e, &e->resize_timer);
        if (r >= 0)
                r = timer_new(a->event, on_timer, e, &e->timer);
        if (r >= 0)
                r = timer_arm(e->timer, 0);
        if (r < 0) {
                execute_free(&e->base);
                return r;
        }
        if (ret)
                *ret = &e->base.call;
        return 0;
}
