/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "agent-model.h"

/* ---- the Engine */

void answer(int fd, int status, const char *body) {
        char head[256];

        snprintf(head, sizeof(head), "HTTP/1.1 %i X\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", status,
                 status == 204 ? 0 : strlen(body));
        (void) !write(fd, head, strlen(head));
        if (status != 204)
                (void) !write(fd, body, strlen(body));
}

static void close_streams(Model *m) {
        while (m->n_streams > 0)
                (void) close(m->streams[--m->n_streams]);
}

static void remember(Model *m, const char *event) {
        strcat(m->events, event);
        for (unsigned i = 0; i < m->n_streams; i++)
                (void) !write(m->streams[i], event, strlen(event));
}

/* Without an end it goes on. What went before the container was saved is told to those alone who ask for the time of its end. */
static void answer_events(Fixture *f, int fd, const char *path) {
        static const char head[] = "HTTP/1.1 200 X\r\nApi-Version: 1.41\r\nConnection: close\r\n\r\n";
        const char *since = strstr(path, "since=");
        Model *m = &f->model;

        (void) !write(fd, head, strlen(head));
        if (strstr(path, "oom") && !strstr(m->events, "oom"))
                return;
        if (since && strtoul(since + strlen("since="), NULL, 10) < 1767323101)
                (void) !write(fd, m->older, strlen(m->older));
        (void) !write(fd, m->events, strlen(m->events));
        if (!strstr(path, "until=") && m->n_streams < ELEMENTSOF(m->streams))
                m->streams[m->n_streams++] = dup(fd);
}

void happens(Fixture *f, const char *event) {
        pthread_mutex_lock(&f->lock);
        remember(&f->model, event);
        pthread_mutex_unlock(&f->lock);
}

void forgets(Fixture *f) {
        pthread_mutex_lock(&f->lock);
        f->model.events[0] = f->model.older[0] = 0;
        pthread_mutex_unlock(&f->lock);
}

void cut_streams(Fixture *f) {
        pthread_mutex_lock(&f->lock);
        close_streams(&f->model);
        pthread_mutex_unlock(&f->lock);
}

unsigned count_streams(Fixture *f) {
        unsigned n = 0;
        char c;

        pthread_mutex_lock(&f->lock);
        for (unsigned i = 0; i < f->model.n_streams; i++)
                n += recv(f->model.streams[i], &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
        pthread_mutex_unlock(&f->lock);
        return n;
}

static void answer_inspect(Fixture *f, int fd) {
        char body[4096];
        Model *m = &f->model;

        m->n_inspect++;
        if (m->paused && m->n_drop_inspect > 0) {
                m->n_drop_inspect--;
                return;
        }
        if (m->fail_inspect) {
                answer(fd, m->fail_inspect, "{\"message\":\"the test says no\"}");
                return;
        }
        snprintf(body, sizeof(body),
                 "{\"Id\":\"" ID "\",\"State\":{\"Running\":%s,\"Paused\":%s,\"Pid\":%i,\"ExitCode\":%i,\"OOMKilled\":%s,\"Dead\":%s,\"StartedAt\":\"" STARTED "\","
                 "\"FinishedAt\":\"%s\"},\"Config\":{\"Tty\":%s,\"Image\":\"" BASE "\",\"Volumes\":{\"/declared\":{}}},"
                 "\"HostConfig\":{\"LogConfig\":{\"Type\":\"none\"}},"
                 "\"GraphDriver\":%s,\"Mounts\":%s}",
                 m->running ? "true" : "false", m->paused ? "true" : "false", m->running ? f->child : 0, m->exit_code,
                 m->out_of_memory ? "true" : "false", m->dead ? "true" : "false",
                 m->running ? "0001-01-01T00:00:00Z" : FINISHED, m->tty ?: "false", m->driver, m->mounts);
        answer(fd, 200, body);
}

static void answer_pause(Fixture *f, int fd) {
        Model *m = &f->model;

        m->n_pause++;
        if (m->pause_delay_ms > 0) {
                struct timespec ts = { .tv_nsec = m->pause_delay_ms * 1000000L };
                (void) nanosleep(&ts, NULL);
        }
        if (m->n_busy_pause > 0) {
                child_write_freeze(m, "1");
                /* What runc says with either version of control groups. */
                answer(fd, 500, m->n_busy_pause-- % 2 == 0 ?
                       "{\"message\":\"Cannot pause container: OCI runtime pause failed: unable to freeze: unknown\"}" :
                       "{\"message\":\"Cannot pause container: OCI runtime pause failed: timeout of 10s reached waiting for the cgroup to freeze: unknown\"}");
        } else if (m->fail_pause)
                answer(fd, m->fail_pause, "{\"message\":\"the test says no\"}");
        else if (m->paused)
                answer(fd, 409, "{\"message\":\"Container is already paused\"}");
        else if (!m->running)
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
        else if (child_read_freeze(m) == '1')
                /* runc 1.1.5, of what the kernel has frozen by now */
                answer(fd, 500, "{\"message\":\"Cannot pause container: OCI runtime pause failed: container not running: unknown\"}");
        else {
                m->paused = true;
                child_write_freeze(m, "1");
                child_await_frozen(f);
                m->events[0] = 0;
                remember(m, PAUSED);
                if (!m->drop_pause)
                        answer(fd, 204, "");
        }
}

#define NOT_PAUSED "{\"message\":\"Cannot unpause container: OCI runtime resume failed: container not paused: unknown\"}"

static void answer_unpause(Fixture *f, int fd) {
        Model *m = &f->model;

        m->n_unpause++;
        if (m->stuck)
                m->stuck_fd = dup(fd);
        else if (m->n_fail_unpause > 0) {
                m->n_fail_unpause--;
                answer(fd, m->fail_unpause, "{\"message\":\"the test says no\"}");
        } else if (!m->running)
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
        else if (!m->paused) {
                answer(fd, 500, "{\"message\":\"Container is not paused\"}");
                if (m->late_pause) {
                        m->late_pause = false;
                        m->paused = true;
                        child_write_freeze(m, "1");
                }
        } else if (f->freezer_fd > 0 && !child_thaw_freezer(f))
                answer(fd, 500, NOT_PAUSED);
        else {
                m->paused = false;
                child_write_freeze(m, "0");
                remember(m, UNPAUSED);
                /* Who asks since the next pause is not told of it. */
                m->events[0] = 0;
                let_run(f);
                if (m->n_drop_unpause > 0)
                        m->n_drop_unpause--;
                else
                        answer(fd, 204, "");
        }
}

void comes_round(Fixture *f) {
        pthread_mutex_lock(&f->lock);
        f->model.stuck = false;
        answer(f->model.stuck_fd, 500, NOT_PAUSED);
        (void) close(f->model.stuck_fd);
        f->model.stuck_fd = 0;
        pthread_mutex_unlock(&f->lock);
}

static void answer_kill(Fixture *f, int fd, const char *query) {
        Model *m = &f->model;

        m->n_kill++;
        if (m->crash) {
                /* Another Engine comes up and stops it. */
                (void) kill(f->child, SIGKILL);
                m->running = m->paused = false;
                m->events[0] = 0;
                close_streams(m);
                return;
        }
        if (m->foreign_unpause)
                remember(m, UNPAUSED);
        if (m->foreign_copy)
                remember(m, COPIED);
        if (m->foreign_stop) {
                (void) kill(f->child, SIGKILL);
                m->running = m->paused = false;
                remember(m, "{\"Action\":\"kill\",\"Actor\":{\"Attributes\":{\"signal\":\"15\"}}}\n" DIED);
        }
        if (m->foreign_removal) {
                (void) kill(f->child, SIGKILL);
                m->exists = m->running = m->paused = false;
                remember(m, "{\"Action\":\"destroy\"}\n");
                answer(fd, 404, "{\"message\":\"No such container\"}");
                return;
        }
        if (!m->running) {
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
                return;
        }
        if (m->refuse_kill) {
                answer(fd, 500, "{\"message\":\"Cannot kill container: permission denied\"}");
                return;
        }
        if (startswith(query, "signal=KILL")) {
                remember(m, "{\"Action\":\"kill\",\"Actor\":{\"Attributes\":{\"signal\":\"9\"}}}\n");
                (void) kill(f->child, SIGKILL);
                if (m->slow_kill) {
                        m->kill_fd = dup(fd);
                        return;
                }
                m->running = m->paused = false;
                m->exit_code = 137;
                m->exists = !m->removed_by_kill;
        }
        answer(fd, 204, "");
}

/* With its body, where it says that it has one. */
static const char *read_request(int fd, char *request, size_t size) {
        const char *length, *body;
        size_t n = 0;

        for (;;) {
                body = strstr(request, "\r\n\r\n");
                length = strstr(request, "Content-Length: ");
                if (body && n >= (size_t) (body + 4 - request) + (length ? strtoul(length + strlen("Content-Length: "), NULL, 10) : 0))
                        return body + 4;
                ssize_t k = n < size - 1 ? read(fd, request + n, size - 1 - n) : 0;
                if (k <= 0)
                        return NULL;
                n += (size_t) k;
                request[n] = 0;
        }
}

static void serve(Fixture *f, int fd) {
        char request[8192] = "", method[16] = "", path[512] = "";
        const char *body = read_request(fd, request, sizeof(request));

        if (!body || sscanf(request, "%15s %511s", method, path) != 2)
                return;
        pthread_mutex_lock(&f->lock);
        const char *verb = strstr(path, "/containers/" ID "/");
        if (verb)
                snprintf(f->model.last, sizeof(f->model.last), "%s", verb += strlen("/containers/" ID "/"));
        if (endswith(path, "/_ping"))
                answer(fd, 200, "OK");
        else if (strstr(path, "/events?"))
                answer_events(f, fd, path);
        else if (answer_command(f, fd, method, path, body))
                ;
        else if (streq(method, "DELETE") && endswith(path, "/containers/" ID "?v=1") && f->model.exists) {
                answer(fd, f->model.running ? 409 : 204, "{\"message\":\"You cannot remove a running container\"}");
                f->model.exists = f->model.running;
        } else if (!verb || !f->model.exists)
                answer(fd, 404, "{\"message\":\"No such container\"}");
        else if (streq(verb, "json"))
                answer_inspect(f, fd);
        else if (streq(verb, "pause"))
                answer_pause(f, fd);
        else if (streq(verb, "unpause"))
                answer_unpause(f, fd);
        else if (startswith(verb, "kill?"))
                answer_kill(f, fd, verb + strlen("kill?"));
        else if (startswith(verb, "stop?")) {
                f->model.n_stop++;
                answer(fd, f->model.running ? 204 : 304, "");
                f->model.running = f->model.paused = false;
                f->model.exit_code = 143;
        } else
                answer(fd, 500, "{\"message\":\"unexpected\"}");
        pthread_mutex_unlock(&f->lock);
}

static void *server(void *userdata) {
        Fixture *f = userdata;

        for (;;) {
                int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        return NULL;
                serve(f, fd);
                close(fd);
        }
}

/* ---- swarm-layer. What it does is asked for by the tag. */

static const char script[] =
        "#!/bin/sh\n"
        "read -r request\n"
        "echo \"$request\" >>DIR/requests\n"
        "field() { printf '%s' \"$request\" | sed -n 's/.*\"'$1'\":\"\\([^\"]*\\)\".*/\\1/p'; }\n"
        "result() { i=$(field new_index); [ -z \"$i\" ] || echo index >\"$i\"\n"
        "  echo '{\"type\":\"result\",\"image\":\"" SAVED "\",\"bytes\":5,\"entries\":2,\"session_layers\":1,\"unchanged\":false,\"volumes\":[\"/data\"]}'; exit 0; }\n"
        "progress() { echo '{\"type\":\"progress\",\"stage\":\"'$1'\",\"bytes_done\":1,\"bytes_total\":-1}'; }\n"
        "case $request in *'\"precopy\":true'*) ;;\n"
        "  *'\"freeze\":true'*) echo '{\"type\":\"freeze\"}'; read -r l; echo \"$l\" >>DIR/requests ;;\n"
        "esac\n"
        "case $(field tag) in\n"
        "hold) progress copying; result ;;\n"
        "no-room) request=; result ;;\n"
        "slow) progress copying; sleep 0.3; result ;;\n"
        "error) echo '{\"type\":\"error\",\"code\":\"RegistryFailed\",\"message\":\"The registry is full.\"}'; exit 1 ;;\n"
        "die) kill -9 $$ ;;\n"
        "silent-end) exit 3 ;;\n"
        "hang) progress copying; exec sleep 60 ;;\n"
        "precopy) progress copying; echo '{\"type\":\"freeze\"}'; read -r l; echo \"$l\" >>DIR/requests; sleep 0.05\n"
        "  progress reading; echo '{\"type\":\"read-done\"}'; progress pushing; result ;;\n"
        "freeze-and-die) echo '{\"type\":\"freeze\"}'; read -r l; kill -9 $$ ;;\n"
        "freeze-and-exit) echo '{\"type\":\"freeze\"}'; exit 1 ;;\n"
        "never-frozen) result ;;\n"
        "nonsense) echo nonsense; echo '{\"type\":\"odd\"}'; result ;;\n"
        "esac\n"
        "case $(field image) in\n"
        "*hang*) exec sleep 60 ;;\n"
        "*missing*) echo '{\"type\":\"error\",\"code\":\"NoSuchImage\",\"message\":\"No such image.\"}'; exit 1 ;;\n"
        "esac\n"
        "result\n";

void write_script(Fixture *f, const char *path, const char *text) {
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        for (const char *p = text; *p; p++)
                if (startswith(p, "DIR/")) {
                        fputs(f->dir, file);
                        p += 2;
                } else
                        fputc(*p, file);
        assert_int_equal(fchmod(fileno(file), 0755), 0);
        assert_int_equal(fclose(file), 0);
}

unsigned count_requests(Fixture *f, const char *needle) {
        _cleanup_free_ char *path = strformat("%s/requests", f->dir), *text = NULL;
        unsigned n = 0;

        if (read_file(path, MIB, &text) < 0)
                return 0;
        for (const char *p = text; (p = strstr(p, needle)); p++)
                n++;
        return n;
}

/* ---- fixture */

void make_agent(Fixture *f) {
        LayerRegistry registry = { .url = (char *) "http://registry.test:5000", .username = (char *) "push", .password = (char *) "secret" };

        assert_int_equal(agent_new(f->event, f->http, &(const AgentConfig) {
                .engine_socket = f->socket, .layer_path = f->script, .stream_path = f->stream, .state_dir = f->dir, .runtime_dir = f->dir, .registry = &registry,
        }, &f->a), 0);
}

int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-agent-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->socket, sizeof(f->socket), "%s/engine.sock", f->dir);
        snprintf(f->script, sizeof(f->script), "%s/swarm-layer", f->dir);
        write_script(f, f->script, script);
        write_stream_script(f);
        f->model = (Model) { .exists = true, .running = true, .mounts = "[]", .command_code = -1,
                             .driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/var/lib/docker/overlay2/x/diff\"}}" };
        child_start(f);
        if (!child_enter_cgroup(f))
                print_message("no control group can be made here: witnesses are not tried\n");
        child_wait_quiet(f);
        strcpy(address.sun_path, f->socket);
        f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->listen_fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(f->listen_fd, 64), 0);
        pthread_mutex_init(&f->lock, NULL);
        assert_int_equal(pthread_create(&f->server, NULL, server, f), 0);
        assert_int_equal(sd_event_new(&f->event), 0);
        assert_int_equal(http_new(f->event, &f->http), 0);
        make_agent(f);
        /* The Engine here answers also those who have hung up. */
        (void) signal(SIGPIPE, SIG_IGN);
        *state = f;
        return 0;
}

int teardown(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *command = strformat("rm -rf --one-file-system %s", f->dir);

        agent_free(f->a);
        http_free(f->http);
        sd_event_unref(f->event);
        (void) shutdown(f->listen_fd, SHUT_RDWR);
        pthread_join(f->server, NULL);
        close(f->listen_fd);
        close_streams(&f->model);
        (void) kill(f->child, SIGKILL);
        (void) waitpid(f->child, NULL, 0);
        if (f->model.command > 0 && f->model.command_code < 0) {
                (void) kill(f->model.command, SIGKILL);
                (void) waitpid(f->model.command, NULL, 0);
        }
        if (f->cgroup[0])
                (void) rmdir(f->cgroup);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

/* ---- callbacks */

void on_done(void *userdata, int r, const Refusal *refusal) {
        Fixture *f = userdata;

        assert_true((r == -EBADRQC) == (refusal != NULL));
        f->n_done++;
        f->r = r;
        f->code = refusal ? refusal->code : _REFUSAL_INVALID;
        snprintf(f->message, sizeof(f->message), "%s", refusal ? refusal->message : "");
}

void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        snprintf(f->image, sizeof(f->image), "%s", image ? image->image : "");
        f->n_volumes = image ? (unsigned) strv_length(image->volumes) : 0;
}

static void on_captured(void *userdata, int r, const Refusal *refusal, const ProviderCaptureResult *result) {
        Fixture *f = userdata;

        on_done(userdata, r, refusal);
        snprintf(f->image, sizeof(f->image), "%s", result ? result->image : "");
        snprintf(f->witness, sizeof(f->witness), "%s", result ? strempty(result->witness) : "");
        f->frozen_usec = result ? result->frozen_usec : 0;
        f->out_of_memory = result && result->out_of_memory;
}

static void on_progress(void *userdata, const ProviderCaptureProgress *progress) {
        Fixture *f = userdata;

        f->n_progress++;
        f->n_waiting += streq(progress->stage, "waiting");
        if (f->on_stage)
                f->on_stage(f, progress->stage);
}

void run_until(Fixture *f, unsigned n) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

        while (f->n_done < n) {
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                assert_true(agent_now(CLOCK_MONOTONIC) < end);
        }
}

void run_for(Fixture *f, usec_t usec) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + usec;

        while (agent_now(CLOCK_MONOTONIC) < end)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
}

int begin_capture(Fixture *f, const char *container, CaptureMode mode, const char *tag, ProviderCall **ret) {
        return agent_capture(f->a, container, &(const ProviderCapture) {
                .session = "1session", .mode = mode, .generation = 1, .job = 2, .image = BASE,
                .repository = "sessions/default", .tag = tag, .lossy = true, .layers_max = 7,
        }, on_progress, on_captured, f, ret);
}

int capture(Fixture *f, CaptureMode mode, const char *tag) {
        return CALL(f, begin_capture(f, ID, mode, tag, NULL));
}

bool noted(Fixture *f) {
        return note_exists(f->a->frozen_dir, ID);
}
