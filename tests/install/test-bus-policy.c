/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bus policy on a real dbus-daemon of its own: who may own the name, and who may call what. `nobody` stands for the
 * service's user, `daemon` for any other. */

#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <systemd/sd-bus.h>

#include "basic/string-util.h"

#define SERVICE_USER "nobody"
#define OTHER_USER "daemon"

static char directory[] = "/tmp/test-bus-policy-XXXXXX";
static char *address;
static pid_t daemon_pid, service_pid;

/* The policy of a system bus: nothing but replies and signals unless a rule says so. */
static const char bus_config[] =
        "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' "
        "'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n"
        "<busconfig><type>system</type><listen>%s</listen><auth>EXTERNAL</auth>\n"
        "<policy context='default'><allow user='*'/><deny own='*'/><deny send_type='method_call'/>\n"
        "<allow send_type='signal'/><allow send_requested_reply='true' send_type='method_return'/>\n"
        "<allow send_requested_reply='true' send_type='error'/><allow receive_type='method_call'/>\n"
        "<allow receive_type='method_return'/><allow receive_type='error'/><allow receive_type='signal'/>\n"
        "<allow send_destination='org.freedesktop.DBus'/></policy>\n"
        "<include>%s/policy.conf</include></busconfig>\n";

static char *path_of(const char *name) {
        return strformat("%s/%s", directory, name);
}

static void write_policy(void) {
        _cleanup_free_ char *source = strformat("%s/dbus/org.swarm.Orchestrator.conf", getenv("SOURCE_ROOT") ? getenv("SOURCE_ROOT") : ".");
        _cleanup_free_ char *policy = path_of("policy.conf"), *config = path_of("bus.conf"), *text = NULL;
        size_t n = 0;

        FILE *in = fopen(source, "re"), *out = fopen(policy, "we");
        assert_non_null(in);
        assert_non_null(out);
        assert_true(getdelim(&text, &n, 0, in) > 0);
        static const char user[] = "user=\"swarm-orchestrator\"";
        char *at = strstr(text, user);
        assert_non_null(at);
        fprintf(out, "%.*suser=\"" SERVICE_USER "\"%s", (int) (at - text), text, at + strlen(user));
        fclose(in);
        fclose(out);
        out = fopen(config, "we");
        assert_non_null(out);
        fprintf(out, bus_config, address, directory);
        fclose(out);
}

static void become(const char *user) {
        struct passwd *pw = getpwnam(user);
        if (!pw || setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
            setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
                _exit(100);
}

static sd_bus *connect_bus(void) {
        sd_bus *bus = NULL;
        if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, address) < 0 || sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0)
                return NULL;
        return bus;
}

static int answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_message_is_method_call(m, NULL, NULL) > 0 ? sd_bus_reply_method_return(m, NULL) : 0;
}

static _noreturn_ void serve(void) {
        become(SERVICE_USER);
        sd_bus *bus = connect_bus();
        if (!bus || sd_bus_add_filter(bus, NULL, answer, NULL) < 0 || sd_bus_request_name(bus, "org.swarm.Orchestrator", 0) < 0)
                _exit(1);
        for (;;)
                if (sd_bus_process(bus, NULL) == 0)
                        (void) sd_bus_wait(bus, UINT64_MAX);
}

/* 0: answered; 1: denied by the bus; 2: something else. */
static int call_as(const char *user, const char *interface) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                become(user);
                sd_bus *bus = connect_bus();
                sd_bus_error error = SD_BUS_ERROR_NULL;
                if (!bus)
                        _exit(2);
                int r = sd_bus_call_method(bus, "org.swarm.Orchestrator", "/", interface, "Anything", &error, NULL, NULL);
                _exit(r >= 0 ? 0 : sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED) ? 1 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int own_as(const char *user) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                become(user);
                sd_bus *bus = connect_bus();
                if (!bus)
                        _exit(2);
                int r = sd_bus_request_name(bus, "org.swarm.Orchestrator", SD_BUS_NAME_QUEUE);
                _exit(r >= 0 ? 0 : r == -EACCES || r == -EPERM ? 1 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WEXITSTATUS(status);
}

static int setup(void **state) {
        if (geteuid() != 0 || access("/usr/bin/dbus-daemon", X_OK) < 0)
                return 0;
        assert_non_null(mkdtemp(directory));
        assert_int_equal(chmod(directory, 0755), 0);
        address = strformat("unix:path=%s/bus.sock", directory);
        write_policy();

        int fds[2];
        char line[256];
        assert_int_equal(pipe(fds), 0);
        daemon_pid = fork();
        if (daemon_pid == 0) {
                _cleanup_free_ char *config = strformat("--config-file=%s/bus.conf", directory), *print = strformat("--print-address=%i", fds[1]);
                close(fds[0]);
                execl("/usr/bin/dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", config, print, NULL);
                _exit(127);
        }
        close(fds[1]);
        assert_true(read(fds[0], line, sizeof(line)) > 0);      /* it listens now */
        close(fds[0]);
        service_pid = fork();
        if (service_pid == 0)
                serve();
        for (unsigned i = 0; i < 100 && call_as("root", "org.swarm.Orchestrator.Manager") != 0; i++)
                usleep(20000);
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int teardown(void **state) {
        if (daemon_pid <= 0)
                return 0;
        kill(service_pid, SIGKILL);
        kill(daemon_pid, SIGTERM);
        (void) waitpid(service_pid, NULL, 0);
        (void) waitpid(daemon_pid, NULL, 0);
        free(address);
        return nftw(directory, remove_one, 4, FTW_DEPTH | FTW_PHYS);
}

static void test_callers(void **state) {
        static const char *const open_interfaces[] = {
                "org.swarm.Orchestrator.Manager", "org.swarm.Orchestrator.Session", "org.swarm.Orchestrator.Job",
                "org.swarm.Orchestrator.Node", "org.swarm.Orchestrator.Provider", "org.freedesktop.DBus.Properties",
                "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.ObjectManager", "org.freedesktop.LogControl1",
        };
        if (daemon_pid <= 0)
                skip();
        for (size_t i = 0; i < ELEMENTSOF(open_interfaces); i++)
                assert_int_equal(call_as(OTHER_USER, open_interfaces[i]), 0);
        assert_int_equal(call_as(OTHER_USER, "org.swarm.Orchestrator.Agent"), 1);
        assert_int_equal(call_as(OTHER_USER, "org.example.Other"), 1);
        /* Without an interface a call could be meant for any. */
        assert_int_equal(call_as(OTHER_USER, NULL), 1);
        assert_int_equal(call_as(SERVICE_USER, "org.swarm.Orchestrator.Agent"), 0);
        assert_int_equal(call_as(SERVICE_USER, "org.swarm.Orchestrator.Manager"), 0);
}

static void test_owners(void **state) {
        if (daemon_pid <= 0)
                skip();
        assert_int_equal(own_as(OTHER_USER), 1);
        assert_int_equal(own_as("root"), 0);
        assert_int_equal(own_as(SERVICE_USER), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_callers),
                cmocka_unit_test(test_owners),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
