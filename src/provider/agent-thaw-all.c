/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Thawing without a loop: for ExecStopPost=, in a process of its own, and for what an agent leaves that goes away. */

#include <dirent.h>

#include "basic/log.h"
#include "provider/agent-internal.h"
#include "provider/engine-json.h"

#define ANSWER_MAX (4 * MIB)

/* The HTTP status, or negative. Without a version in the path the Engine takes its own newest. */
static long engine_ask(const char *engine_socket, const char *method, const char *container, const char *verb, char **ret_body) {
        _cleanup_free_ char *path = strformat("/containers/%s/%s", container, verb);
        long status;

        if (!path)
                return -ENOMEM;
        int r = http_request_and_wait(&(HttpEndpoint) { .base_url = "http://localhost", .unix_socket = engine_socket },
                                      &(HttpSpec) {
                                              .method = method,
                                              .path = path,
                                              .timeout_usec = THAW_ALL_TIMEOUT_SEC * USEC_PER_SEC,
                                              .response_max = ANSWER_MAX,
                                      }, &status, ret_body);
        return r < 0 ? r : status;
}

/* 1: it is or will be frozen, and cannot be thawed here, or the Engine has frozen it meanwhile. Negative: nobody says. */
static int is_to_freeze(const char *engine_socket, const char *container) {
        _cleanup_free_ char *answer = NULL;
        long status = engine_ask(engine_socket, "GET", container, "json", &answer);
        _cleanup_json_ json_t *json = status == 200 && answer ? json_loads(answer, 0, NULL) : NULL;
        const json_t *state = json_at(json, "State");
        pid_t pid = (pid_t) json_integer_at(state, "Pid");

        if (status < 0 || status == 404)
                return status < 0 ? (int) status : 0;
        if (!state)
                return -EBADMSG;
        return json_true_at(state, "Paused") || (cgroup_is_to_freeze(pid) && agent_let_run(pid) < 0);
}

/* Only what the Engine has frozen is thawed by it (agent-thaw.c), so it freezes what it does not know to be. A request that was on
 * its way as the service ended may have come to pass only now: 409. */
static long unpause(const char *engine_socket, const char *container, char **ret_answer) {
        _cleanup_free_ char *answer = NULL, *frozen = NULL;
        long status = engine_ask(engine_socket, "POST", container, "unpause", &answer);
        int r = answer && strstr(answer, "is not paused") ? is_to_freeze(engine_socket, container) : 0;

        if (r < 0)
                return r;
        if (r == 0) {
                *ret_answer = TAKE_PTR(answer);
                return status;
        }
        status = engine_ask(engine_socket, "POST", container, "pause", &frozen);
        if (status == 204 || status == 409)
                return engine_ask(engine_socket, "POST", container, "unpause", ret_answer);
        *ret_answer = TAKE_PTR(frozen);
        return status;
}

static long unpause_again(const char *engine_socket, const char *container, char **ret_answer) {
        free(TAKE_PTR(*ret_answer));
        return unpause(engine_socket, container, ret_answer);
}

static bool is_thawed(long status, const char *answer) {
        return status == 204 || status == 404 || (answer && (strstr(answer, "is not paused") || strstr(answer, "is not running")));
}

/* As in agent-thaw.c: what begins in a container just as that is frozen holds up its Engine, until the kernel lets it run. The Engine
 * then goes on to take the container for frozen, and its runtime thaws only one that is. */
static long unpause_by_all_means(const char *engine_socket, const char *container, char **ret_answer) {
        long status = unpause(engine_socket, container, ret_answer);

        if (status == -ETIMEDOUT && agent_set_frozen(container, false) >= 0) {
                log_info("Container %.*s was thawed without the Docker Engine at %s, which does not answer.", CONTAINER_SHORT, container,
                         engine_socket);
                status = unpause_again(engine_socket, container, ret_answer);
        }
        if (!*ret_answer || !strstr(*ret_answer, "container not paused") || agent_set_frozen(container, true) < 0)
                return status;
        status = unpause_again(engine_socket, container, ret_answer);
        if (!is_thawed(status, *ret_answer))
                (void) agent_set_frozen(container, false);
        return status;
}

int engine_unpause_sync(const char *engine_socket, const char *container, const char *frozen_dir) {
        _cleanup_free_ char *answer = NULL;
        long status = unpause_by_all_means(engine_socket, container, &answer);

        if (is_thawed(status, answer)) {
                log_info("Container %.*s was thawed.", CONTAINER_SHORT, container);
                return note_remove(frozen_dir, container);
        }
        log_warning("Container %.*s cannot be thawed by the Docker Engine at %s (%s). Unpause it: docker unpause %.*s",
                    CONTAINER_SHORT, container, engine_socket, status < 0 ? strerror((int) -status) : strna(answer),
                    CONTAINER_SHORT, container);
        return status < 0 ? (int) status : -EIO;
}

/* A killed one that is still there keeps its note: by it the kill is known to be ours. */
static int forget_killed(const char *engine_socket, const char *container, const char *frozen_dir) {
        _cleanup_free_ char *answer = NULL;
        long status = engine_ask(engine_socket, "GET", container, "json", &answer);

        if (status == 404)
                return note_remove(frozen_dir, container);
        return status < 0 ? (int) status : 0;
}

static int free_note(const char *engine_socket, const char *container, const char *frozen_dir) {
        Note note = {};
        int r;

        r = note_read(frozen_dir, container, &note);
        if (r < 0)
                return r;
        if (note.witness)
                r = forget_killed(engine_socket, container, frozen_dir);
        else
                r = engine_unpause_sync(engine_socket, container, frozen_dir);
        note_done(&note);
        return r;
}

int agent_thaw_all(const char *engine_socket, const char *runtime_dir) {
        _cleanup_free_ char *dir = strformat("%s/frozen", runtime_dir);
        struct dirent *entry;
        int result = 0;
        DIR *d;

        if (!dir)
                return -ENOMEM;
        d = opendir(dir);
        if (!d)
                return errno == ENOENT ? 0 : -errno;
        while ((entry = readdir(d))) {
                if (!container_id_is_valid(entry->d_name))
                        continue;
                int r = free_note(engine_socket, entry->d_name, dir);
                if (r < 0 && r != -ENOENT && result >= 0)
                        result = r;
        }
        closedir(d);
        return result;
}
