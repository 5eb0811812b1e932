/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an Engine says of the one command in the container, and a script in swarm-stream's place. */

#include "agent-model.h"

static void answer_create(Fixture *f, int fd, const char *body) {
        Model *m = &f->model;

        m->n_create++;
        snprintf(m->created, sizeof(m->created), "%s", body);
        if (m->n_fail_create > 0) {
                m->n_fail_create--;
                answer(fd, m->fail_create, m->create_message);
        } else if (!m->exists)
                answer(fd, 404, "{\"message\":\"No such container\"}");
        else if (!m->running)
                answer(fd, 409, "{\"message\":\"Container " ID " is not running\"}");
        else if (m->paused)
                answer(fd, 409, "{\"message\":\"Container " ID " is paused, unpause the container before exec\"}");
        else
                answer(fd, 201, "{\"Id\":\"" EXEC "\"}");
}

static void answer_look(Fixture *f, int fd) {
        char code[16] = "null", body[256];
        Model *m = &f->model;

        m->n_look++;
        if (m->fail_look) {
                answer(fd, m->fail_look, "{\"message\":\"the test says no\"}");
                return;
        }
        if (m->no_command || !m->exists) {
                answer(fd, 404, "{\"message\":\"No such exec instance\"}");
                return;
        }
        if (m->command_code >= 0)
                snprintf(code, sizeof(code), "%i", m->command_code);
        snprintf(body, sizeof(body), "{\"ID\":\"" EXEC "\",\"Running\":%s,\"ExitCode\":%s,\"Pid\":%i}",
                 m->command > 0 && m->command_code < 0 ? "true" : "false", code, m->command_told ?: m->command);
        answer(fd, 200, body);
}

static void answer_resize(Fixture *f, int fd, const char *query) {
        Model *m = &f->model;

        m->n_resize++;
        if (m->n_fail_resize > 0) {
                m->n_fail_resize--;
                answer(fd, 500, "{\"message\":\"cannot resize a stopped container\"}");
                return;
        }
        snprintf(m->size, sizeof(m->size), "%s", query);
        answer(fd, 200, "");
}

bool answer_command(Fixture *f, int fd, const char *method, const char *path, const char *body) {
        const char *verb = strstr(path, "/exec/" EXEC "/");

        if (streq(method, "POST") && endswith(path, "/containers/" ID "/exec"))
                answer_create(f, fd, body);
        else if (verb && endswith(verb, "/json"))
                answer_look(f, fd);
        else if (verb && startswith(verb, "/exec/" EXEC "/resize?"))
                answer_resize(f, fd, verb + strlen("/exec/" EXEC "/resize?"));
        else
                return false;
        return true;
}

/* ---- swarm-stream. What it does is asked for by a file. */

static const char script[] =
        "#!/bin/sh\n"
        "read -r request\n"
        "mode=$(head -n 1 DIR/modes)\n"
        "[ $(wc -l <DIR/modes) -le 1 ] || sed -i 1d DIR/modes\n"
        "echo $$ >DIR/stream-pid\n"
        "echo \"$request\" >>DIR/stream-requests\n"
        "begun() { echo '{\"status\":101}'; }\n"
        "end() { echo '{\"end\":\"'$1'\"}'; exit 0; }\n"
        "until_told() { while [ ! -e DIR/end ]; do sleep 0.01; done; cat DIR/end; exit 0; }\n"
        "case $mode in\n"
        "end) begun; end engine ;;\n"
        "wait) begun; until_told ;;\n"
        "echo) begun; cat <&3 >&4; echo errors >&5; end engine ;;\n"
        "terminal) begun; echo typed >&3; end engine ;;\n"
        "size) begun; echo '{\"rows\":24,\"columns\":80}'; echo '{\"rows\":25,\"columns\":81}'; until_told ;;\n"
        "refuse) echo '{\"status\":500,\"message\":\"no room\"}' ;;\n"
        "absent) echo '{\"status\":404,\"message\":\"No such exec instance\"}' ;;\n"
        "stopped) echo '{\"status\":409,\"message\":\"Container x is not running\"}' ;;\n"
        "paused) echo '{\"status\":409,\"message\":\"Container x is paused, unpause the container before exec\"}' ;;\n"
        "unreachable) echo '{\"status\":0,\"message\":\"connection refused\"}' ;;\n"
        "die) begun; kill -9 $$ ;;\n"
        "exit) exit 3 ;;\n"
        "nonsense) echo nonsense ;;\n"
        "early) echo '{\"end\":\"engine\"}' ;;\n"
        "broken) begun; echo '{\"end\":\"error\",\"message\":\"connection reset\"}' ;;\n"
        "output) echo '{\"status\":200}'; echo output >&3; end engine ;;\n"
        "unread) echo '{\"status\":200}'; end caller ;;\n"
        "cut) echo '{\"status\":200}'; echo '{\"end\":\"error\",\"message\":\"connection reset\"}' ;;\n"
        "unsupported) echo '{\"status\":501,\"message\":\"configured logging driver does not support reading\"}' ;;\n"
        "esac\n";

void write_stream_script(Fixture *f) {
        snprintf(f->stream, sizeof(f->stream), "%s/swarm-stream", f->dir);
        write_script(f, f->stream, script);
        stream_modes(f, "end");
}

static void write_text(Fixture *f, const char *name, const char *text) {
        _cleanup_free_ char *line = strformat("%s\n", text);

        assert_int_equal(write_file_atomic(f->dir, name, line), 0);
}

void stream_modes(Fixture *f, const char *modes) {
        write_text(f, "modes", modes);
}

void stream_ends(Fixture *f, const char *how) {
        write_text(f, "end", how);
}

char stream_state(Fixture *f) {
        _cleanup_free_ char *path = strformat("%s/stream-pid", f->dir), *pid = NULL, *stat = NULL, *text = NULL;
        const char *p;

        if (read_file(path, KIB, &pid) < 0)
                return 0;
        stat = strformat("/proc/%lu/stat", strtoul(pid, NULL, 10));
        if (read_file(stat, 4 * KIB, &text) < 0)
                return 0;
        p = strrchr(text, ')');
        return p ? p[2] : 0;
}

unsigned count_streams_with(Fixture *f, const char *needle) {
        _cleanup_free_ char *path = strformat("%s/stream-requests", f->dir), *text = NULL;
        unsigned n = 0;

        if (read_file(path, MIB, &text) < 0)
                return 0;
        for (const char *p = text; (p = strstr(p, needle)); p++)
                n++;
        return n;
}

void on_begun(void *userdata) {
        Fixture *f = userdata;

        f->n_begun++;
        assert_int_equal(f->n_done, 0);
}

void on_command_done(void *userdata, int r, const Refusal *refusal, int exit_code) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        assert_true(r >= 0 || exit_code == -1);
        f->exit_code = exit_code;
}
