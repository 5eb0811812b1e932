/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent against an Engine that answers from a model of one container, and a shell script in swarm-layer's place.
 * The container's process is a child in a control group of its own, so that its cpu time is a real one. */

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "provider/agent-internal.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BASE "registry.test/base@sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define SAVED "registry.test/sessions/default@sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define STARTED "2026-01-02T03:04:05.123456789Z"
#define FINISHED "2026-01-02T03:05:00.5Z"

typedef struct Model {
        bool exists, running, paused;
        int exit_code;
        const char *mounts;             /* JSON */
        const char *driver;             /* JSON of GraphDriver */
        int fail_pause;                 /* status of the next answers, 0 = as the model says */
        int fail_unpause, n_fail_unpause;
        int drop_pause;                 /* carries it out, does not answer */
        unsigned pause_delay_ms;
        unsigned n_inspect, n_pause, n_unpause, n_kill, n_stop;
        bool slow_kill;                 /* no answer to a kill, and it is said to run on */
        int kill_fd;                    /* on which that answer is waited for */
        bool foreign_stop, foreign_unpause, crash; /* what comes before the kill: somebody else, or the end of the Engine */
        char events[512];               /* since the last pause */
        char last[128];
} Model;

typedef struct Fixture {
        char dir[64], socket[96], script[96];
        pid_t child;
        char cgroup[160];
        int listen_fd;
        pthread_t server;
        pthread_mutex_t lock;
        Model model;

        sd_event *event;
        Http *http;
        Agent *a;

        unsigned n_done, n_progress, n_waiting;
        int r;
        RefusalCode code;
        char message[512], image[256], witness[512];
        usec_t frozen_usec;
        bool unchanged;
        void (*on_stage)(struct Fixture *f, const char *stage);
        unsigned n_volumes;
} Fixture;

/* ---- the Engine */

static void answer(int fd, int status, const char *body) {
        char head[256];

        snprintf(head, sizeof(head), "HTTP/1.1 %i X\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", status,
                 status == 204 ? 0 : strlen(body));
        (void) !write(fd, head, strlen(head));
        if (status != 204)
                (void) !write(fd, body, strlen(body));
}

static void answer_inspect(Fixture *f, int fd) {
        char body[4096];
        Model *m = &f->model;

        m->n_inspect++;
        snprintf(body, sizeof(body),
                 "{\"Id\":\"" ID "\",\"State\":{\"Running\":%s,\"Paused\":%s,\"Pid\":%i,\"ExitCode\":%i,\"StartedAt\":\"" STARTED "\","
                 "\"FinishedAt\":\"%s\"},\"Config\":{\"Image\":\"" BASE "\",\"Volumes\":{\"/declared\":{}}},\"HostConfig\":{},"
                 "\"GraphDriver\":%s,\"Mounts\":%s}",
                 m->running ? "true" : "false", m->paused ? "true" : "false", m->running ? f->child : 0, m->exit_code,
                 m->running ? "0001-01-01T00:00:00Z" : FINISHED, m->driver, m->mounts);
        answer(fd, 200, body);
}

/* The cpu time of the child's control group; cgroup v1 has a file of its own for it, v2 a line. */
static uint64_t child_cpu(Fixture *f) {
        static const char *const files[] = { "cpuacct.usage", "cpu.stat" };
        uint64_t cpu = 0;

        for (size_t i = 0; i < ELEMENTSOF(files) && cpu == 0; i++) {
                _cleanup_free_ char *path = strformat("%s/%s", f->cgroup, files[i]);
                FILE *file = fopen(path, "re");
                if (!file)
                        continue;
                if (fscanf(file, i == 0 ? "%" SCNu64 : "usage_usec %" SCNu64, &cpu) != 1)
                        cpu = 0;
                (void) fclose(file);
        }
        return cpu;
}

static void nap(void) {
        struct timespec ts = { .tv_nsec = 5 * 1000 * 1000 };
        (void) nanosleep(&ts, NULL);
}

static char child_state(Fixture *f) {
        _cleanup_free_ char *path = strformat("/proc/%i/stat", f->child);
        FILE *file = fopen(path, "re");
        char state = 0;

        if (file) {
                if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
                        state = 0;
                (void) fclose(file);
        }
        return state;
}

/* Until the child sleeps and its cpu time has come to rest: what a freeze would find. */
static void wait_quiet(Fixture *f) {
        uint64_t before;

        do {
                before = child_cpu(f);
                nap();
        } while (f->cgroup[0] && (child_state(f) != 'S' || child_cpu(f) != before));
}

/* Whatever thaws lets it run: the child burns some cpu, however busy the machine is. */
static void let_run(Fixture *f) {
        uint64_t before = child_cpu(f);

        (void) kill(f->child, SIGUSR1);
        while (f->cgroup[0] && child_state(f) != 'Z' && child_cpu(f) == before)
                nap();
        wait_quiet(f);
}

static void answer_pause(Fixture *f, int fd) {
        Model *m = &f->model;

        m->n_pause++;
        if (m->pause_delay_ms > 0) {
                struct timespec ts = { .tv_nsec = m->pause_delay_ms * 1000000L };
                (void) nanosleep(&ts, NULL);
        }
        if (m->fail_pause)
                answer(fd, m->fail_pause, "{\"message\":\"the test says no\"}");
        else if (m->paused)
                answer(fd, 409, "{\"message\":\"Container is already paused\"}");
        else if (!m->running)
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
        else {
                m->paused = true;
                m->events[0] = 0;
                if (!m->drop_pause)
                        answer(fd, 204, "");
        }
}

static void answer_unpause(Fixture *f, int fd) {
        Model *m = &f->model;

        m->n_unpause++;
        if (m->n_fail_unpause > 0) {
                m->n_fail_unpause--;
                answer(fd, m->fail_unpause, "{\"message\":\"the test says no\"}");
        } else if (!m->running)
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
        else if (!m->paused)
                answer(fd, 500, "{\"message\":\"Container is not paused\"}");
        else {
                m->paused = false;
                let_run(f);
                answer(fd, 204, "");
        }
}

static void answer_kill(Fixture *f, int fd, const char *query) {
        Model *m = &f->model;

        m->n_kill++;
        if (m->crash) {
                /* Another Engine comes up and stops it. */
                (void) kill(f->child, SIGKILL);
                m->running = m->paused = false;
                return;
        }
        if (m->foreign_unpause)
                strcat(m->events, "{\"Action\":\"unpause\"}\n");
        if (m->foreign_stop) {
                (void) kill(f->child, SIGKILL);
                m->running = m->paused = false;
                strcat(m->events, "{\"Action\":\"kill\",\"Actor\":{\"Attributes\":{\"signal\":\"15\"}}}\n{\"Action\":\"die\"}\n");
        }
        if (!m->running) {
                answer(fd, 409, "{\"message\":\"Container is not running\"}");
                return;
        }
        if (startswith(query, "signal=KILL")) {
                strcat(m->events, "{\"Action\":\"kill\",\"Actor\":{\"Attributes\":{\"signal\":\"9\"}}}\n");
                (void) kill(f->child, SIGKILL);
                if (m->slow_kill) {
                        m->kill_fd = dup(fd);
                        return;
                }
                m->running = m->paused = false;
                m->exit_code = 137;
        }
        answer(fd, 204, "");
}

static void serve(Fixture *f, int fd) {
        char request[4096] = "", method[16] = "", path[512] = "";
        size_t n = 0;

        while (n < sizeof(request) - 1 && !strstr(request, "\r\n\r\n")) {
                ssize_t k = read(fd, request + n, sizeof(request) - 1 - n);
                if (k <= 0)
                        return;
                n += (size_t) k;
                request[n] = 0;
        }
        if (sscanf(request, "%15s %511s", method, path) != 2)
                return;
        pthread_mutex_lock(&f->lock);
        const char *verb = strstr(path, "/containers/" ID "/");
        if (verb)
                snprintf(f->model.last, sizeof(f->model.last), "%s", verb += strlen("/containers/" ID "/"));
        if (endswith(path, "/_ping"))
                answer(fd, 200, "OK");
        else if (strstr(path, "/events?"))
                answer(fd, 200, f->model.events);
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

#define MODEL(f, statement) ({ pthread_mutex_lock(&(f)->lock); Model *m = &(f)->model; typeof(statement) _x = (statement); pthread_mutex_unlock(&(f)->lock); _x; })

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
        "*missing*) echo '{\"type\":\"error\",\"code\":\"NoSuchImage\",\"message\":\"No such image.\"}'; exit 1 ;;\n"
        "esac\n"
        "result\n";

static void write_script(Fixture *f) {
        FILE *file = fopen(f->script, "we");

        assert_non_null(file);
        for (const char *p = script; *p; p++)
                if (startswith(p, "DIR/")) {
                        fputs(f->dir, file);
                        p += 2;
                } else
                        fputc(*p, file);
        assert_int_equal(fchmod(fileno(file), 0755), 0);
        assert_int_equal(fclose(file), 0);
}

static unsigned count_requests(Fixture *f, const char *needle) {
        _cleanup_free_ char *path = strformat("%s/requests", f->dir), *text = NULL;
        unsigned n = 0;

        if (read_file(path, MIB, &text) < 0)
                return 0;
        for (const char *p = text; (p = strstr(p, needle)); p++)
                n++;
        return n;
}

/* ---- the container's process */

static void on_usr1(int signo) {
        for (volatile unsigned i = 0; i < 5 * 1000 * 1000; i++)
                ;
}

static bool child_enter_cgroup(Fixture *f) {
        static const char *const roots[] = { "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup" };
        char path[200];

        for (size_t i = 0; i < ELEMENTSOF(roots); i++) {
                snprintf(f->cgroup, sizeof(f->cgroup), "%s/swarm-test-agent-%i", roots[i], getpid());
                if (mkdir(f->cgroup, 0755) < 0)
                        continue;
                snprintf(path, sizeof(path), "%s/cgroup.procs", f->cgroup);
                FILE *file = fopen(path, "we");
                if (file && fprintf(file, "%i\n", f->child) > 0 && fclose(file) == 0)
                        return true;
                (void) rmdir(f->cgroup);
        }
        f->cgroup[0] = 0;
        return false;
}

static void start_child(Fixture *f) {
        f->child = fork();
        assert_true(f->child >= 0);
        if (f->child == 0) {
                sigset_t none;
                sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL);
                (void) signal(SIGUSR1, on_usr1);
                for (;;)
                        pause();
        }
}

/* ---- fixture */

static void make_agent(Fixture *f) {
        LayerRegistry registry = { .url = (char *) "http://registry.test:5000", .username = (char *) "push", .password = (char *) "secret" };

        assert_int_equal(agent_new(f->event, f->http, &(const AgentConfig) {
                .engine_socket = f->socket, .layer_path = f->script, .state_dir = f->dir, .runtime_dir = f->dir, .registry = &registry,
        }, &f->a), 0);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-agent-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->socket, sizeof(f->socket), "%s/engine.sock", f->dir);
        snprintf(f->script, sizeof(f->script), "%s/swarm-layer", f->dir);
        write_script(f);
        f->model = (Model) { .exists = true, .running = true, .mounts = "[]",
                             .driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/var/lib/docker/overlay2/x/diff\"}}" };
        start_child(f);
        if (!child_enter_cgroup(f))
                print_message("no control group can be made here: witnesses are not tried\n");
        wait_quiet(f);
        strcpy(address.sun_path, f->socket);
        f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->listen_fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(f->listen_fd, 64), 0);
        pthread_mutex_init(&f->lock, NULL);
        assert_int_equal(pthread_create(&f->server, NULL, server, f), 0);
        assert_int_equal(sd_event_new(&f->event), 0);
        assert_int_equal(http_new(f->event, &f->http), 0);
        make_agent(f);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *command = strformat("rm -rf %s", f->dir);

        agent_free(f->a);
        http_free(f->http);
        sd_event_unref(f->event);
        (void) shutdown(f->listen_fd, SHUT_RDWR);
        pthread_join(f->server, NULL);
        close(f->listen_fd);
        (void) kill(f->child, SIGKILL);
        (void) waitpid(f->child, NULL, 0);
        if (f->cgroup[0])
                (void) rmdir(f->cgroup);
        assert_int_equal(system(command), 0);
        free(f);
        return 0;
}

#define NEED_CGROUP(f) if (!(f)->cgroup[0]) skip()

/* ---- callbacks */

static void on_done(void *userdata, int r, const Refusal *refusal) {
        Fixture *f = userdata;

        assert_true((r == -EBADRQC) == (refusal != NULL));
        f->n_done++;
        f->r = r;
        f->code = refusal ? refusal->code : _REFUSAL_INVALID;
        snprintf(f->message, sizeof(f->message), "%s", refusal ? refusal->message : "");
}

static void on_image(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
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
}

static void on_progress(void *userdata, const ProviderCaptureProgress *progress) {
        Fixture *f = userdata;

        f->n_progress++;
        f->n_waiting += streq(progress->stage, "waiting");
        if (f->on_stage)
                f->on_stage(f, progress->stage);
}

static void run_until(Fixture *f, unsigned n) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

        while (f->n_done < n) {
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
                assert_true(agent_now(CLOCK_MONOTONIC) < end);
        }
}

static void run_for(Fixture *f, usec_t usec) {
        usec_t end = agent_now(CLOCK_MONOTONIC) + usec;

        while (agent_now(CLOCK_MONOTONIC) < end)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
}

/* Turns the loop until that is so; the deadline only bounds a failure. */
#define UNTIL(f, condition)                                                             \
        do {                                                                            \
                usec_t _end = agent_now(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;           \
                while (!(condition)) {                                                  \
                        assert_true(sd_event_run((f)->event, 10 * USEC_PER_MSEC) >= 0); \
                        assert_true(agent_now(CLOCK_MONOTONIC) < _end);                 \
                }                                                                       \
        } while (0)

#define CALL(f, what) ({ (f)->n_done = 0; assert_int_equal(what, 0); assert_int_equal((f)->n_done, 0); run_until((f), 1); (f)->r; })

static int begin_capture(Fixture *f, const char *container, CaptureMode mode, const char *tag, ProviderCall **ret) {
        return agent_capture(f->a, container, &(const ProviderCapture) {
                .session = "1session", .mode = mode, .generation = 1, .job = 2, .image = BASE,
                .repository = "sessions/default", .tag = tag, .layers_max = 100,
        }, on_progress, on_captured, f, ret);
}

static int capture(Fixture *f, CaptureMode mode, const char *tag) {
        return CALL(f, begin_capture(f, ID, mode, tag, NULL));
}

static bool noted(Fixture *f) {
        return note_exists(f->a->frozen_dir, ID);
}

/* ---- what is parsed */

static void test_parse_mounts(void **state) {
        static const char good[] =
                "22 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n"
                "398 137 0:55 / / rw,relatime master:32 shared:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/a\\040b\\054c/diff,workdir=/w\n"
                "399 398 0:58 / /proc rw - proc proc rw\n";
        _cleanup_free_ char *upper = NULL, *mount = NULL, *root = NULL, *path = NULL;

        assert_int_equal(upperdir_from_mountinfo(good, &upper), 0);
        assert_string_equal(upper, "/var/lib/a b,c/diff");
        assert_int_equal(upperdir_from_mountinfo("", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - overlay", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - ext4 /dev/x rw,upperdir=/no\n", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("1 2 3 / / rw - overlay o rw,lowerdir=/x\n", &upper), -ENOENT);
        assert_int_equal(upperdir_from_mountinfo("\n\n1\n - \n", &upper), -ENOENT);

        static const char mounts[] =
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                "41 31 0:38 /machine /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_int_equal(cgroup_mount_parse(mounts, "cpuacct", &mount, &root), 0);
        assert_string_equal(mount, "/sys/fs/cgroup/cpu,cpuacct");
        assert_string_equal(root, "/");
        assert_int_equal(cgroup_mount_parse(mounts, "acct", &mount, &root), -ENOENT);
        assert_int_equal(cgroup_mount_parse(mounts, "", &mount, &root), 0);
        assert_string_equal(root, "/machine");

        static const char groups[] = "12:cpu,cpuacct:/docker/x\n2:memory:/m\n0::/unified/x\n";
        assert_int_equal(cgroup_path_parse(groups, "cpuacct", &path), 0);
        assert_string_equal(path, "/docker/x");
        assert_int_equal(cgroup_path_parse(groups, "", &path), 0);
        assert_string_equal(path, "/unified/x");
        assert_int_equal(cgroup_path_parse(groups, "cpua", &path), -ENOENT);
        assert_int_equal(cgroup_path_parse("::\n:\n\n", "cpuacct", &path), -ENOENT);
}

static void test_parse_facts(void **state) {
        static const char text[] =
                "{\"Id\":\"abc\",\"State\":{\"Running\":true,\"Paused\":true,\"Pid\":1,\"StartedAt\":\"" STARTED "\",\"FinishedAt\":\"" FINISHED "\"},"
                "\"Config\":{\"Image\":\"base:latest\",\"Volumes\":{\"/data\":{}}},\"HostConfig\":{\"Tmpfs\":{\"/scratch\":\"\"}},"
                "\"GraphDriver\":{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/u\"}},\"Mounts\":["
                "{\"Type\":\"volume\",\"Name\":\"" ID "\",\"Destination\":\"/data\"},"
                "{\"Type\":\"volume\",\"Name\":\"named\",\"Destination\":\"/data\"},"
                "{\"Type\":\"bind\",\"Source\":\"/x\",\"Destination\":\"/host\"},{}]}";
        _cleanup_json_ json_t *json = json_loads(text, 0, NULL);
        ContainerFacts facts = {};

        assert_int_equal(container_facts_parse(json, &facts), 0);
        assert_true(facts.running && facts.paused);
        assert_int_equal(facts.finished_usec, UINT64_C(1767323100500000));
        assert_null(facts.image);
        assert_string_equal(facts.upperdir, "/u");
        assert_int_equal(strv_length(facts.mounts), 4);
        assert_string_equal(facts.mounts[0], "/data (volume)");
        assert_string_equal(facts.mounts[1], "/host (bind)");
        assert_string_equal(facts.mounts[3], "/scratch (tmpfs)");
        container_facts_done(&facts);
        static const char *const images[][2] = {
                { "host:5000/a/b:tag@sha256:00", "host:5000/a/b@sha256:00" },
                { "host.test/b@sha256:00", "host.test/b@sha256:00" },
                { "host.test/b:1", NULL },
                { "library/b@sha256:00", NULL },
                { "b@sha256:00", NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(images); i++) {
                assert_int_equal(json_object_set_new(json_at(json, "Config"), "Image", json_string(images[i][0])), 0);
                assert_int_equal(container_facts_parse(json, &facts), 0);
                assert_true(streq_ptr(facts.image, images[i][1]));
                container_facts_done(&facts);
        }
        json_t *empty = json_object();
        assert_int_equal(container_facts_parse(empty, &facts), -EBADMSG);
        json_decref(empty);
        assert_int_equal(container_facts_parse(NULL, &facts), -EBADMSG);

        assert_true(container_id_is_valid(ID));
        assert_false(container_id_is_valid("../etc"));
        assert_false(container_id_is_valid(".hidden"));
        assert_false(container_id_is_valid("a/b"));
        assert_false(container_id_is_valid("a?b"));
        assert_false(container_id_is_valid(""));
        assert_false(container_id_is_valid(NULL));
}

/* ---- verbs */

static void test_hold_and_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_string_equal(f->image, SAVED);
        assert_true(f->frozen_usec > 0);
        assert_true(MODEL(f, m->paused));
        assert_true(noted(f));
        assert_int_equal(count_requests(f, "\"password\":\"secret\""), 1);
        assert_int_equal(count_requests(f, "\"image\":\"" BASE "\""), 1);
        assert_int_equal(count_requests(f, "\"upperdir\":\"/var/lib/docker/overlay2/x/diff\""), 1);
        char witness[512];
        strcpy(witness, f->witness);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(MODEL(f, m->n_unpause), 0);
        /* The kill is known to be ours, to a later agent too; done twice it does nothing. */
        agent_free(f->a);
        make_agent(f);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_true(noted(f));
        MODEL(f, m->exists = false);
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_false(noted(f));
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

/* Done when the processes are dead, whatever the Engine is still busy with, as Docker is for long; a later agent knows it
 * as well. */
static void test_kill_is_seen_early(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->slow_kill = true);
        char witness[512];
        strcpy(witness, f->witness);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_true(MODEL(f, m->running));
        agent_free(f->a);
        make_agent(f);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), 0);
        f->n_done = 0;
        assert_int_equal(agent_kill(f->a, ID, witness, on_done, f, NULL), 0);
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->n_done, 0);
        MODEL(f, m->running = m->paused = false);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        /* Not for another run of it. */
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, witness, "another run"), 0);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, witness, on_done, f, NULL)), -EBADRQC);
        (void) close(MODEL(f, m->kill_fd));
}

static void kill_is_refused(Fixture *f) {
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
}

/* Dead, but not of our kill: what it wrote before its end is not in the copy. */
static void test_other_deaths(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_stop = true);
        kill_is_refused(f);
}

static void test_unpaused_before_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->foreign_unpause = true);
        kill_is_refused(f);
}

static void test_engine_crash_at_kill(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        MODEL(f, m->crash = true);
        kill_is_refused(f);
}

/* A note that cannot be written: the Engine's word is waited for, and the kill is done all the same. */
static void test_kill_without_note(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        _cleanup_free_ char *dir = f->a->frozen_dir;
        f->a->frozen_dir = strdup("/nowhere/frozen");
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 1);
        assert_false(MODEL(f, m->running));
        free(f->a->frozen_dir);
        f->a->frozen_dir = TAKE_PTR(dir);
}

static void test_witness_breaks(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        /* Somebody unpauses it and pauses it again: only the cpu time tells. */
        MODEL(f, m->paused = false);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        let_run(f);
        MODEL(f, m->paused = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        /* It ended by itself, with the code of a kill: not ours. */
        MODEL(f, m->running = m->paused = false);
        MODEL(f, m->exit_code = 137);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, "{}", on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_INVALID_ARGUMENT);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, "{\"container\":\"x\",\"started_at\":\"\",\"cpu_nsec\":0}", on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

static void unpause_by_somebody(Fixture *f, const char *stage) {
        if (streq(stage, "copying") && MODEL(f, m->paused)) {
                MODEL(f, m->paused = false);
                let_run(f);
                MODEL(f, m->paused = true);
        }
}

static void test_runs_during_capture(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->on_stage = unpause_by_somebody;
        assert_int_equal(capture(f, CAPTURE_HOLD, "slow"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

static void test_failures_thaw(void **state) {
        static const struct {
                const char *tag;
                CaptureMode mode;
                RefusalCode code;
        } cases[] = {
                { "error", CAPTURE_HOLD, REFUSAL_REGISTRY_FAILED },
                { "die", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "silent-end", CAPTURE_HOLD, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-die", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "freeze-and-exit", CAPTURE_THAW, REFUSAL_PROVIDER_FAILED },
                { "never-frozen", CAPTURE_THAW, REFUSAL_INTERNAL },
        };
        Fixture *f = *state;
        NEED_CGROUP(f);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                MODEL(f, m->n_fail_unpause = 2);
                MODEL(f, m->fail_unpause = 500);
                assert_int_equal(capture(f, cases[i].mode, cases[i].tag), -EBADRQC);
                assert_int_equal(f->code, cases[i].code);
                assert_false(MODEL(f, m->paused));
                assert_false(noted(f));
        }
        assert_int_equal(capture(f, CAPTURE_HOLD, "nonsense"), 0);
}

static void test_snapshot(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_true(f->frozen_usec >= 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_int_equal(MODEL(f, m->n_unpause), 1);
        assert_int_equal(count_requests(f, "{\"type\":\"frozen\"}"), 1);
        assert_int_equal(count_requests(f, "\"precopy\":true"), 1);
        /* The second one goes by the index of the first, above its image. */
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(count_requests(f, "\"fallback_image\":\"" BASE "\""), 1);
        assert_int_equal(count_requests(f, "/index/" ID ".index\""), 1);
        agent_forget(f->a, ID);
        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(count_requests(f, "\"image\":\"" SAVED "\""), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
}

static void test_exited(void **state) {
        Fixture *f = *state;

        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 1500 * USEC_PER_MSEC, on_done, f, NULL)), 0);
        assert_string_equal(MODEL(f, (const char *) m->last), "stop?t=2");
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), 0);
        assert_int_equal(f->frozen_usec, 0);
        assert_int_equal(count_requests(f, "\"frozen_realtime_usec\":1767323100500000"), 1);
        assert_int_equal(CALL(f, agent_check_witness(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), 0);
        assert_int_equal(MODEL(f, m->n_kill), 0);
        MODEL(f, m->running = true);
        assert_int_equal(CALL(f, agent_kill(f->a, ID, f->witness, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
}

static void test_refusals(void **state) {
        Fixture *f = *state;

        MODEL(f, m->mounts = "[{\"Type\":\"bind\",\"Destination\":\"/host\"}]");
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "/host (bind)"));
        MODEL(f, m->mounts = "[{\"Type\":\"volume\",\"Name\":\"" ID "\",\"Destination\":\"/declared\"}]");
        MODEL(f, m->driver = "{\"Name\":\"btrfs\",\"Data\":null}");
        MODEL(f, m->running = false);
        assert_int_equal(capture(f, CAPTURE_EXITED, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_REFUSED);
        assert_non_null(strstr(f->message, "btrfs"));
        MODEL(f, m->driver = "{\"Name\":\"overlay2\",\"Data\":{\"UpperDir\":\"/u\"}}");
        MODEL(f, m->running = true);
        MODEL(f, m->paused = true);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_BUSY);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_true(MODEL(f, m->paused));
        MODEL(f, m->paused = false);
        MODEL(f, m->fail_pause = 500);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_FAILED);
        assert_false(noted(f));
        MODEL(f, m->exists = false);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_FILES_CHANGED);
        assert_int_equal(begin_capture(f, "../x", CAPTURE_HOLD, "hold", NULL), -EINVAL);
}

static void test_signals(void **state) {
        Fixture *f = *state;

        assert_int_equal(CALL(f, agent_signal(f->a, ID, SIGHUP, on_done, f, NULL)), 0);
        assert_string_equal(MODEL(f, (const char *) m->last), "kill?signal=1");
        assert_int_equal(agent_signal(f->a, ID, 0, on_done, f, NULL), -EINVAL);
        assert_int_equal(agent_signal(f->a, ID, 100, on_done, f, NULL), -EINVAL);
        MODEL(f, m->running = false);
        assert_int_equal(CALL(f, agent_signal(f->a, ID, SIGHUP, on_done, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_WRONG_STATE);
}

static bool kept(Fixture *f, const char *name) {
        char path[256];

        snprintf(path, sizeof(path), "%s/index/%s", f->dir, name);
        return access(path, F_OK) >= 0;
}

/* What is kept of a container goes when that is gone, and not before. */
static void test_sweep(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_THAW, "precopy"), 0);
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, "w", "another run"), 0);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, "gone"), 0);
        assert_int_equal(write_file_atomic(f->a->index_dir, "gone.index", "x"), 0);
        assert_int_equal(write_file_atomic(f->a->index_dir, "gone.image", "x"), 0);
        unsigned seen = MODEL(f, m->n_inspect);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, MODEL(f, m->n_inspect) > seen && !kept(f, "gone.index") && !kept(f, "gone.image") && !note_exists(f->a->frozen_dir, "gone"));
        run_for(f, 20 * USEC_PER_MSEC);
        assert_true(kept(f, ID ".index") && kept(f, ID ".image") && noted(f));
        /* Killed, as the note says: it is of no use any more. */
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        assert_true(MODEL(f, m->exists));
        MODEL(f, m->running = false);
        seen = MODEL(f, m->n_inspect);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, MODEL(f, m->n_inspect) > seen);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_true(MODEL(f, m->exists));
        assert_int_equal(note_write_killed(f->a->frozen_dir, ID, "w", STARTED), 0);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, !MODEL(f, m->exists));
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        agent_sweep_now(f->a->sweep);
        agent_sweep_now(f->a->sweep);
        UNTIL(f, !kept(f, ID ".index") && !kept(f, ID ".image") && !noted(f));
}

/* Frozen by an agent that is gone: thawed, by whoever finds the note. */
static void test_left_frozen(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        agent_free(f->a);
        make_agent(f);
        assert_true(MODEL(f, m->paused));
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(MODEL(f, m->n_unpause), 1);
        assert_int_equal(CALL(f, agent_thaw(f->a, ID, on_done, f, NULL)), 0);
        assert_false(MODEL(f, m->paused));
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), 0);
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        MODEL(f, m->paused = true);
        assert_int_equal(agent_thaw_all(f->socket, f->dir), 0);
        assert_true(MODEL(f, m->paused));
        assert_int_equal(agent_thaw_all("/nowhere/engine.sock", f->dir), 0);
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        assert_true(agent_thaw_all("/nowhere/engine.sock", f->dir) < 0);
        assert_true(noted(f));
        assert_int_equal(CALL(f, agent_terminate(f->a, ID, 0, on_done, f, NULL)), 0);
        assert_false(noted(f));
        assert_int_equal(agent_thaw_all(f->socket, "/nowhere"), 0);
}

static void cancel_here(Fixture *f, const char *stage) {
        f->n_done++;
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        ProviderCall *call = NULL;
        NEED_CGROUP(f);

        /* At every point: before its turn, while the Engine freezes, while the child works. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        provider_call_cancel(call);
        run_for(f, 50 * USEC_PER_MSEC);
        assert_int_equal(MODEL(f, m->n_pause), 0);

        MODEL(f, m->pause_delay_ms = 200);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->on_stage = cancel_here;
        f->n_done = 0;
        run_until(f, 1);
        UNTIL(f, noted(f));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_int_equal(MODEL(f, m->n_pause), 1);
        assert_false(MODEL(f, m->paused));

        MODEL(f, m->pause_delay_ms = 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        provider_call_cancel(call);
        UNTIL(f, !noted(f));
        assert_false(MODEL(f, m->paused));

        /* And the agent itself goes: thawed before it has gone. */
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "hang", &call), 0);
        f->n_done = 0;
        run_until(f, 3);        /* preparing, freezing, copying */
        assert_true(MODEL(f, m->paused));
        f->a = agent_free(f->a);
        assert_false(MODEL(f, m->paused));
        make_agent(f);
        assert_false(noted(f));
}

/* The Engine froze it and did not say so. */
static void test_lost_answer(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        MODEL(f, m->drop_pause = 1);
        assert_int_equal(capture(f, CAPTURE_HOLD, "hold"), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_PROVIDER_UNAVAILABLE);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
}

static void test_queue(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        f->n_done = 0;
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, ID, CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 1);
        assert_int_equal(f->code, REFUSAL_BUSY);
        run_until(f, 2);
        assert_int_equal(f->r, 0);

        /* Others: two at a time. They fail, as there is no such container, but in their turn. */
        f->n_done = f->n_waiting = 0;
        assert_int_equal(begin_capture(f, "other1", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other2", CAPTURE_HOLD, "slow", NULL), 0);
        assert_int_equal(begin_capture(f, "other3", CAPTURE_HOLD, "slow", NULL), 0);
        run_until(f, 3);
        assert_int_equal(f->n_waiting, 1);
}

static void test_resolve(void **state) {
        Fixture *f = *state;
        ProviderCall *calls[10];

        f->n_done = 0;
        for (size_t i = 0; i < ELEMENTSOF(calls); i++)
                assert_int_equal(agent_resolve_image(f->a, "debian:12", on_image, f, calls + i), 0);
        provider_call_cancel(calls[3]);
        run_until(f, 9);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->n_done, 9);
        assert_string_equal(f->image, SAVED);
        assert_int_equal(f->n_volumes, 1);
        assert_int_equal(count_requests(f, "debian:12"), 1);
        assert_int_equal(CALL(f, agent_resolve_image(f->a, "debian:12", on_image, f, NULL)), 0);
        assert_string_equal(f->image, SAVED);
        assert_int_equal(count_requests(f, "debian:12"), 1);
        assert_int_equal(CALL(f, agent_resolve_image(f->a, "missing:1", on_image, f, NULL)), -EBADRQC);
        assert_int_equal(f->code, REFUSAL_NO_SUCH_IMAGE);
        assert_int_equal(CALL(f, agent_delete_image(f->a, SAVED, on_done, f, NULL)), 0);
        assert_int_equal(count_requests(f, "\"verb\":\"delete\""), 1);

        /* More than may run: the rest waits; more than may wait: refused. */
        f->n_done = 0;
        for (unsigned i = 0; i < 12; i++) {
                char reference[32];
                snprintf(reference, sizeof(reference), "many:%u", i);
                assert_int_equal(agent_resolve_image(f->a, reference, on_image, f, NULL), 0);
        }
        assert_int_equal(f->a->n_jobs, 12);
        run_until(f, 1);
        assert_true(f->a->n_jobs_running <= LAYER_JOBS_MAX);
        run_until(f, 12);
        assert_int_equal(f->a->n_jobs, 0);
}

static void test_no_layer_program(void **state) {
        Fixture *f = *state;
        NEED_CGROUP(f);

        assert_int_equal(unlink(f->script), 0);
        assert_true(capture(f, CAPTURE_HOLD, "hold") < 0);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_true(CALL(f, agent_resolve_image(f->a, "x", on_image, f, NULL)) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_mounts),
                cmocka_unit_test(test_parse_facts),
                cmocka_unit_test_setup_teardown(test_hold_and_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill_is_seen_early, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_deaths, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unpaused_before_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_engine_crash_at_kill, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kill_without_note, setup, teardown),
                cmocka_unit_test_setup_teardown(test_witness_breaks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_runs_during_capture, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_thaw, setup, teardown),
                cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exited, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_frozen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
                cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_layer_program, setup, teardown),
        };
        /* The Engine of these tests answers also those who have hung up. */
        (void) signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
