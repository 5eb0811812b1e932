/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "basic/conf-parser.h"
#include "basic/nearest.h"
#include "core/config-table.h"

typedef struct Fixture {
        char dir[64];
        char *dirs[4];                  /* usr, run, etc */
        char *credentials;
} Fixture;

static void write_file(const char *dir, const char *name, const char *text) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, name);
        for (char *p = path + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(path, 0755);
                *p = '/';
        }
        _cleanup_fclose_ FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));
        strcpy(f->dir, "/tmp/test-config-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->dirs[0] = strformat("%s/usr", f->dir);
        f->dirs[1] = strformat("%s/run", f->dir);
        f->dirs[2] = strformat("%s/etc", f->dir);
        f->credentials = strformat("%s/credentials", f->dir);
        *state = f;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int teardown(void **state) {
        Fixture *f = *state;
        assert_int_equal(nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
        for (size_t i = 0; i < 3; i++)
                free(f->dirs[i]);
        free(f->credentials);
        free(f);
        return 0;
}

static Config *load(Fixture *f, Strv *ret_warnings) {
        Config *c = NULL;
        assert_int_equal(config_load((const char *const *) f->dirs, f->credentials, &c, ret_warnings), 0);
        return c;
}

/* Loads <text> as the one file and compares the warnings, each without its file name. */
static Config *load_text(Fixture *f, const char *text, const char *const *expected) {
        _cleanup_strv_ Strv warnings = NULL;
        write_file(f->dirs[2], "orchestrator.conf", text);
        Config *c = load(f, &warnings);
        _cleanup_free_ char *prefix = strformat("%s/orchestrator.conf:", f->dirs[2]);
        for (size_t i = 0; i < MAX(strv_length(warnings), strv_length((char *const *) expected)); i++) {
                if (i >= strv_length((char *const *) expected))
                        fail_msg("unexpected: %s", warnings[i]);
                assert_true(i < strv_length(warnings));
                const char *rest = startswith(warnings[i], prefix);
                assert_non_null(rest);
                assert_string_equal(rest, expected[i]);
        }
        return c;
}
#define EXPECT(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define NOTHING ((const char *const[]) { NULL })

static void test_defaults(void **state) {
        _cleanup_strv_ Strv warnings = NULL;
        _cleanup_(config_freep) Config *c = load(*state, &warnings);
        Fixture *f = *state;

        assert_int_equal(strv_length(warnings), 0);
        assert_int_equal(strv_length(c->providers), 1);
        assert_string_equal(c->providers[0], "swarm");
        assert_string_equal(c->default_organization, "default");
        assert_int_equal(c->sessions_max, 2000);
        assert_int_equal(c->sessions_per_user_max, 3);
        assert_int_equal(c->ended_sessions_max, 1000);
        assert_int_equal(c->ended_sessions_keep_usec, 30 * 86400 * USEC_PER_SEC);
        assert_int_equal(c->jobs_max, 1000);
        assert_int_equal(c->jobs_keep_usec, 86400 * USEC_PER_SEC);
        assert_int_equal(c->running_jobs_max, 1000);
        assert_int_equal(c->running_jobs_per_user_max, 50);
        assert_int_equal(c->queued_operations_max, 8);
        assert_int_equal(c->changes_per_minute, 100);
        assert_int_equal(c->generations_max, 20);
        assert_int_equal(c->session_layers_max, 100);
        assert_int_equal(c->polkit_queries_max, 100);
        assert_int_equal(c->polkit_queries_per_user_max, 16);
        assert_int_equal(c->polkit_timeout_usec, 30 * USEC_PER_SEC);
        assert_float_equal(c->cpus, 2, 0);
        assert_int_equal(c->memory_bytes, 4 * GIB);
        assert_int_equal(c->cpu_reservation_percent, 0);
        assert_int_equal(c->memory_reservation_percent, 12);
        assert_int_equal(c->stop_grace_usec, 10 * USEC_PER_SEC);
        assert_int_equal(c->start_timeout_usec, 300 * USEC_PER_SEC);
        assert_int_equal(c->idle_timeout_usec, 7200 * USEC_PER_SEC);
        assert_string_equal(c->engine_socket, "/run/docker.sock");
        assert_false(c->initialize_swarm);
        assert_null(c->advertise_address);
        assert_string_equal(c->subnet, "10.128.0.0/16");
        assert_string_equal(c->network, "swarm-sessions");
        assert_string_equal(c->log_driver, "auto");
        assert_null(c->registry_url);
        assert_null(c->registry_ca_file);
        assert_string_equal(c->registry_prefix, "sessions");
        assert_false(c->always_ask_polkit);
        assert_null(c->push_credential);
        assert_null(c->pull_credential);
        assert_string_equal(c->config_dir, f->dirs[2]);
}

/* For each key a value that is not the default; what it has to become is in the comparison below. */
static void test_every_key(void **state) {
        _cleanup_(config_freep) Config *c = load_text(*state,
                "[Manager]\nProviders=fake  swarm\nDefaultOrganization=acme\n"
                "[Limits]\nSessionsMax=1\nSessionsPerUserMax=2\nEndedSessionsMax=0\nEndedSessionsKeepSec=infinity\n"
                "JobsMax=5\nJobsKeepSec=6h\nRunningJobsMax=7\nRunningJobsPerUserMax=8\nQueuedOperationsMax=9\n"
                "ChangesPerMinute=10\nGenerationsMax=11\nSessionLayersMax=12\nPolkitQueriesMax=13\n"
                "PolkitQueriesPerUserMax=14\nPolkitTimeoutSec=15\n"
                "[Session]\nCpus=0.1\nMemory=1.5G\nCpuReservationPercent=16%\nMemoryReservationPercent=17\nStopGraceSec=18s\n"
                "StartTimeoutSec=19s\nIdleTimeoutSec=1h 30min\n"
                "[Swarm]\nEngine=/run/other.sock\nInitializeSwarm=yes\nAdvertiseAddress=fd00::1\nSubnet=10.0.0.0/8\n"
                "Network=My_net.1\nLogDriver=journald\n"
                "[Registry]\nURL=http://[fd00::2]:5000\nCAFile=/etc/ca.pem\nPrefix=a/b-c\n"
                "[Bus]\nAlwaysAskPolkit=on\n", NOTHING);

        assert_int_equal(strv_length(c->providers), 2);
        assert_string_equal(c->providers[0], "fake");
        assert_string_equal(c->default_organization, "acme");
        assert_int_equal(c->sessions_max, 1);
        assert_int_equal(c->sessions_per_user_max, 2);
        assert_int_equal(c->ended_sessions_max, 0);
        assert_true(c->ended_sessions_keep_usec == USEC_INFINITY);
        assert_int_equal(c->jobs_max, 5);
        assert_int_equal(c->jobs_keep_usec, 6 * 3600 * USEC_PER_SEC);
        assert_int_equal(c->running_jobs_max, 7);
        assert_int_equal(c->running_jobs_per_user_max, 8);
        assert_int_equal(c->queued_operations_max, 9);
        assert_int_equal(c->changes_per_minute, 10);
        assert_int_equal(c->generations_max, 11);
        assert_int_equal(c->session_layers_max, 12);
        assert_int_equal(c->polkit_queries_max, 13);
        assert_int_equal(c->polkit_queries_per_user_max, 14);
        assert_int_equal(c->polkit_timeout_usec, 15 * USEC_PER_SEC);
        assert_float_equal(c->cpus, 0.1, 1e-12);
        assert_int_equal(c->memory_bytes, 3 * GIB / 2);
        assert_int_equal(c->cpu_reservation_percent, 16);
        assert_int_equal(c->memory_reservation_percent, 17);
        assert_int_equal(c->stop_grace_usec, 18 * USEC_PER_SEC);
        assert_int_equal(c->start_timeout_usec, 19 * USEC_PER_SEC);
        assert_int_equal(c->idle_timeout_usec, 5400 * USEC_PER_SEC);
        assert_string_equal(c->engine_socket, "/run/other.sock");
        assert_true(c->initialize_swarm);
        assert_string_equal(c->advertise_address, "fd00::1");
        assert_string_equal(c->subnet, "10.0.0.0/8");
        assert_string_equal(c->network, "My_net.1");
        assert_string_equal(c->log_driver, "journald");
        assert_string_equal(c->registry_url, "http://[fd00::2]:5000");
        assert_string_equal(c->registry_ca_file, "/etc/ca.pem");
        assert_string_equal(c->registry_prefix, "a/b-c");
        assert_true(c->always_ask_polkit);
}

static void test_fixed_keys(void **state) {
        _cleanup_(config_freep) Config *old = load_text(*state, "[Manager]\nProviders=swarm fake\n[Limits]\nSessionsMax=1\n", NOTHING);
        _cleanup_(config_freep) Config *c = load_text(*state, "[Manager]\nProviders=swarm\n[Limits]\nSessionsMax=2\n"
                                                              "[Swarm]\nAdvertiseAddress=10.0.0.1\nInitializeSwarm=yes\n", NOTHING);
        _cleanup_strv_ Strv warnings = calloc(1, sizeof(char *));

        assert_int_equal(config_keep_fixed(c, old, &warnings), 0);
        assert_int_equal(strv_length(warnings), 2);
        assert_string_equal(warnings[0], "orchestrator.conf: Providers= has changed, which takes effect when the service is restarted.");
        assert_string_equal(warnings[1], "orchestrator.conf: AdvertiseAddress= has changed, which takes effect when the service is restarted.");
        assert_int_equal(strv_length(c->providers), 2);
        assert_null(c->advertise_address);
        assert_true(c->initialize_swarm);
        assert_int_equal(c->sessions_max, 2);
        assert_int_equal(config_keep_fixed(c, c, &warnings), 0);
        assert_int_equal(strv_length(warnings), 2);
}

/* Range and form of every key: its own minimum and maximum pass, a step beyond does not. */
static void test_ranges(void **state) {
        for (size_t i = 0; i < config_n_keys; i++) {
                const ConfigKey *k = &config_keys[i];
                Config c = {};
                void *field = (char *) &c + k->offset;

                if (k->type == CONFIG_STRING || k->type == CONFIG_WORDS) {
                        assert_int_equal(config_key_set(k, &c, ""), 0);
                        if (k->check)
                                assert_int_equal(config_key_set(k, &c, "\x01!"), -EINVAL);
                        if (k->type == CONFIG_STRING)
                                free(*(char **) field);
                        else
                                strv_free(*(Strv *) field);
                        continue;
                }
                assert_int_equal(config_key_set(k, &c, ""), 0);
                Config saved = c;
                assert_int_equal(config_key_set(k, &c, "nonsense"), -EINVAL);
                assert_memory_equal(&saved, &c, sizeof(c));
                if (!k->min)
                        continue;
                assert_int_equal(config_key_set(k, &c, k->min), 0);
                assert_int_equal(config_key_set(k, &c, k->max), 0);
                assert_int_equal(config_key_set(k, &c, k->value), 0);
                assert_int_equal(config_key_set(k, &c, "-1"), -EINVAL);
                if (!streq(k->max, "infinity")) {
                        assert_int_equal(config_key_set(k, &c, k->type == CONFIG_CPUS ? "999" : "99999999999999"), -ERANGE);
                        if (k->type == CONFIG_SPAN)
                                assert_int_equal(config_key_set(k, &c, "infinity"), -ERANGE);
                }
                if (!streq(k->min, "0"))
                        assert_int_equal(config_key_set(k, &c, "0"), -ERANGE);
                assert_memory_equal(&saved, &c, sizeof(c));
        }
}

static const ConfigKey *find_key(const char *name) {
        for (size_t i = 0; i < config_n_keys; i++)
                if (streq(config_keys[i].name, name))
                        return &config_keys[i];
        fail_msg("There is no key %s", name);
        return NULL;
}

static void test_strings(void **state) {
        static const struct {
                const char *name, *good[6], *bad[14];
        } table[] = {
                { "Providers", { "swarm", "fly fake" }, { "docker", "swarm swarm", "swarm,fly" } },
                { "DefaultOrganization", { "a", "acme-1" }, { "Acme", "-a", "a-", "a.b", "ünï" } },
                { "Engine", { "/run/docker.sock" }, { "docker.sock", "tcp://1.2.3.4", "/a/../b",
                  "/ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss1" } },
                { "AdvertiseAddress", { "10.0.0.1", "::1" }, { "eth0", "10.0.0", "10.0.0.1:2377" } },
                { "Subnet", { "10.128.0.0/16", "172.16.0.0/12" },
                  { "10.128.0.1/16", "10.128.0.0", "10.0.0.0/7", "10.0.0.0/29", "::/16", "10.128.0.0/x", "111.111.111.1111/16" } },
                { "Network", { "a", "A.b-c_d" }, { "-a", "a b", "a/b" } },
                { "LogDriver", { "auto", "local", "none" }, { "syslog", "AUTO" } },
                { "URL", { "https://registry.example.com", "http://10.99.0.1:5000", "https://[::1]:443" },
                  { "registry.example.com", "ftp://a", "https://", "https://a/", "https://a/v2", "https://u:p@a", "https://a:0",
                    "https://a:65536", "https://a:", "https://[zz]", "https://[::1", "https://-a" } },
                { "CAFile", { "/etc/ca.pem" }, { "ca.pem" } },
                { "Prefix", { "a", "a/b", "a-b_c.d", "a__b", "a--b" }, { "/a", "a/", "A", "a//b", "-a", "a_", "a..b", "a-_b" } },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const ConfigKey *k = find_key(table[i].name);
                _cleanup_(config_freep) Config *c = calloc(1, sizeof(*c));
                for (const char *const *v = table[i].good; *v; v++)
                        if (config_key_set(k, c, *v) != 0)
                                fail_msg("%s=%s is refused", k->name, *v);
                for (const char *const *v = table[i].bad; *v; v++)
                        if (config_key_set(k, c, *v) != -EINVAL)
                                fail_msg("%s=%s is taken", k->name, *v);
        }
}

static void test_warnings(void **state) {
        _cleanup_(config_freep) Config *c = load_text(*state,
                "SessionsMax=5\n"
                "[Limits]\n"
                "SesionsMax=5\n"
                "SessionsMax=0\n"
                "SessionsMax=10001\n"
                "SessionsMax=many\n"
                "Memory=1G\n"
                "Whatever=1\n"
                "# comment\n ; another\n\n"
                "no assignment\n"
                "=x\n"
                "[Sesion]\n"
                "Memory=1G\n"
                "[Sess]ion]\n"
                "Memory=1G\n"
                "[Session]\n"
                "Memory=\n"
                "Memory=63M\n"
                "IdleTimeoutSec=never\n"
                "[Registry]\n"
                "URL=https://user:secret@host\n"
                "[Bus]\n"
                "AlwaysAskPolkit=maybe\n"
                "[Manager]\n"
                "DefaultOrganization=No\n",
                EXPECT("1: This assignment stands before the first [Section]; it is ignored.",
                       "3: Unknown key SesionsMax= in section [Limits], did you mean SessionsMax=?; it is ignored.",
                       "4: SessionsMax= must be a whole number from 1 to 10000, \"0\" is not; it is ignored.",
                       "5: SessionsMax= must be a whole number from 1 to 10000, \"10001\" is not; it is ignored.",
                       "6: SessionsMax= must be a whole number from 1 to 10000, \"many\" is not; it is ignored.",
                       "7: Memory= belongs in section [Session], not in [Limits]; it is ignored.",
                       "8: Unknown key Whatever= in section [Limits]; it is ignored.",
                       "12: This line is neither a comment, a [Section] nor Key=value; it is ignored.",
                       "13: This line is neither a comment, a [Section] nor Key=value; it is ignored.",
                       "15: Memory= belongs in section [Session], not in [Sesion]; it is ignored.",
                       "16: This is no section header of the form [Name]; what follows it is ignored up to the next one.",
                       "20: Memory= must be a size such as 512M or 4G from 64M to 32G, \"63M\" is not; it is ignored.",
                       "21: IdleTimeoutSec= must be a time span such as 90s, 5min or 2h from 1min to infinity, \"never\" is not; it is ignored.",
                       "23: URL= must be https://host, https://host:port or the same with http://, without a path or user, what is written is not; it is ignored.",
                       "25: AlwaysAskPolkit= must be \"yes\" or \"no\", \"maybe\" is not; it is ignored.",
                       "27: DefaultOrganization= must be a name of lower case letters, digits and \"-\", \"No\" is not; it is ignored."));
        assert_int_equal(c->sessions_max, 2000);
        assert_int_equal(c->memory_bytes, 4 * GIB);

        _cleanup_(config_freep) Config *d = load_text(*state, "[Limit]\nSessionMax=3\n",
                EXPECT("2: Unknown section [Limit], did you mean [Limits]?; SessionMax= is ignored."));
}

static void test_lines(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *text = calloc(1, 3 * CONF_LINE_MAX), *path = strformat("%s/orchestrator.conf", f->dirs[2]);
        char *p = text;

        /* A line of exactly the limit counts, one byte more does not, and the count of lines goes on. */
        p = stpcpy(p, "\xef\xbb\xbf[Limits]\r\nSessionsMax=7");
        memset(p, ' ', CONF_LINE_MAX - strlen("SessionsMax=7"));
        p = stpcpy(text + strlen(text), "\n#");
        memset(p, 'x', CONF_LINE_MAX);
        p = stpcpy(text + strlen(text), "\nSessionsMax=x\n\xff\xfe=1\n\tJobsMax \t=\t 5 \t\r\nGenerationsMax=6");
        _cleanup_(config_freep) Config *c = load_text(f, text,
                EXPECT("3: This line is longer than 4096 bytes; it is ignored.",
                       "4: SessionsMax= must be a whole number from 1 to 10000, \"x\" is not; it is ignored.",
                       "5: This line is not valid UTF-8; it is ignored."));
        assert_int_equal(c->sessions_max, 7);
        assert_int_equal(c->jobs_max, 5);
        assert_int_equal(c->generations_max, 6);

        _cleanup_strv_ Strv warnings = NULL;
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        fwrite("[Limits]\nJobs\0Max=5\nJobsMax=4\n", 1, 30, file);
        fclose(file);
        _cleanup_(config_freep) Config *d = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 1);
        assert_non_null(endswith(warnings[0], ":2: This line holds a NUL byte; it is ignored."));
        assert_int_equal(d->jobs_max, 4);

        strv_free(TAKE_PTR(warnings));
        assert_int_equal(truncate(path, (off_t) CONF_FILE_MAX + 1), 0);
        _cleanup_(config_freep) Config *e = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 1);
        assert_non_null(endswith(warnings[0], "/orchestrator.conf: The file is larger than 1 MiB; it is ignored."));

        strv_free(TAKE_PTR(warnings));
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0755), 0);
        _cleanup_(config_freep) Config *g = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 1);
        assert_non_null(endswith(warnings[0], "/orchestrator.conf: The file cannot be read (Is a directory); it is ignored."));
}

static void test_dropins(void **state) {
        Fixture *f = *state;
        _cleanup_strv_ Strv warnings = NULL, files = NULL;

        write_file(f->dirs[0], "orchestrator.conf", "[Limits]\nSessionsMax=1\nJobsMax=1\n");
        write_file(f->dirs[1], "orchestrator.conf", "[Limits]\nSessionsMax=2\n");
        write_file(f->dirs[0], "orchestrator.conf.d/10-a.conf", "[Limits]\nSessionsMax=10\nGenerationsMax=10\n");
        write_file(f->dirs[1], "orchestrator.conf.d/10-a.conf", "[Limits]\nSessionsMax=11\n");
        write_file(f->dirs[2], "orchestrator.conf.d/05-b.conf", "[Limits]\nSessionsMax=12\nQueuedOperationsMax=12\n");
        write_file(f->dirs[0], "orchestrator.conf.d/20-c.conf", "[Limits]\nRunningJobsMax=13\n");
        write_file(f->dirs[2], "orchestrator.conf.d/20-c.conf", "");
        write_file(f->dirs[2], "orchestrator.conf.d/30-d.conf~", "[Limits]\nSessionsMax=99\n");
        write_file(f->dirs[2], "orchestrator.conf.d/.31.conf", "[Limits]\nSessionsMax=99\n");

        _cleanup_(config_freep) Config *c = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 0);
        assert_int_equal(c->sessions_max, 11);          /* 10-a of /run after 05-b of /etc */
        assert_int_equal(c->jobs_max, 1000);            /* the main file of /usr does not count beside that of /run */
        assert_int_equal(c->generations_max, 20);       /* 10-a of /usr is replaced */
        assert_int_equal(c->queued_operations_max, 12);
        assert_int_equal(c->running_jobs_max, 1000);    /* masked */

        assert_int_equal(conf_files((const char *const *) f->dirs, "orchestrator", &files), 0);
        assert_int_equal(strv_length(files), 4);
        assert_non_null(endswith(files[0], "/run/orchestrator.conf"));
        assert_non_null(endswith(files[1], "/etc/orchestrator.conf.d/05-b.conf"));
        assert_non_null(endswith(files[2], "/run/orchestrator.conf.d/10-a.conf"));
        assert_non_null(endswith(files[3], "/etc/orchestrator.conf.d/20-c.conf"));
}

static void test_credentials(void **state) {
        Fixture *f = *state;
        _cleanup_strv_ Strv warnings = NULL;
        LayerRegistry r = {};

        write_file(f->dirs[2], "orchestrator.conf", "[Registry]\nURL=https://r.example.com\nCAFile=/ca.pem\n");
        write_file(f->credentials, "swarm-registry-push", "pusher:pa:ss\n");
        write_file(f->credentials, "swarm-registry-pull", "puller:x");
        Config *c = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 0);
        assert_string_equal(c->push_credential, "pusher:pa:ss");
        assert_string_equal(c->pull_credential, "puller:x");
        assert_int_equal(config_registry(c, &r), 0);
        assert_string_equal(r.url, "https://r.example.com");
        assert_string_equal(r.ca_file, "/ca.pem");
        assert_string_equal(r.username, "pusher");
        assert_string_equal(r.password, "pa:ss");
        free(r.url);
        free(r.ca_file);
        free(r.username);
        free(r.password);
        config_free(c);

        static const char *const bad[] = { "no colon", ":empty user", "a:b\nc:d\n", "a:b\x01", "", "\n", "a:\xff" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                write_file(f->credentials, "swarm-registry-push", bad[i]);
                strv_free(TAKE_PTR(warnings));
                c = load(f, &warnings);
                assert_int_equal(strv_length(warnings), 1);
                assert_non_null(endswith(warnings[0], "/swarm-registry-push: The credential must be one line of the form "
                                                      "user:password, at most 4096 bytes; it is ignored."));
                assert_null(c->push_credential);
                assert_int_equal(config_registry(c, &r), 0);
                assert_null(r.username);
                free(r.url);
                free(r.ca_file);
                config_free(c);
        }
        char big[4200];
        memset(big, 'x', sizeof(big));
        big[3] = ':';
        big[sizeof(big) - 1] = 0;
        write_file(f->credentials, "swarm-registry-push", big);
        strv_free(TAKE_PTR(warnings));
        c = load(f, &warnings);
        assert_int_equal(strv_length(warnings), 1);
        assert_null(strstr(warnings[0], "xxx"));
        config_free(c);

        write_file(f->dirs[2], "orchestrator.conf", "");
        c = load(f, NULL);
        assert_int_equal(config_registry(c, &r), -ENODATA);
        config_free(c);
}

static void test_unreadable_credential(void **state) {
        Fixture *f = *state;
        int status;

        write_file(f->credentials, "swarm-registry-push", "a:b\n");
        write_file(f->credentials, "swarm-registry-pull", "c:d\n");
        _cleanup_free_ char *path = strformat("%s/swarm-registry-push", f->credentials);
        assert_int_equal(chmod(path, 0), 0);
        assert_int_equal(chmod(f->dir, 0755), 0);
        if (fork() == 0) {
                _cleanup_strv_ Strv warnings = NULL;
                if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
                        _exit(2);
                _cleanup_(config_freep) Config *c = load(f, &warnings);
                _exit(strv_length(warnings) == 1 && !c->push_credential && streq(c->pull_credential, "c:d") &&
                      strstr(warnings[0], "/swarm-registry-push: The credential cannot be read (Permission denied); check "
                                          "LoadCredential= of the unit and the mode of the file.") ? 0 : 1);
        }
        wait(&status);
        assert_int_equal(status, 0);
}

static char *read_text(const char *path) {
        _cleanup_free_ char *full = strformat("%s/%s", getenv("SOURCE_ROOT") ? getenv("SOURCE_ROOT") : ".", path);
        _cleanup_fclose_ FILE *f = fopen(full, "re");
        char *text = NULL;
        size_t n = 0;
        if (!f)
                fail_msg("%s: %s", full, strerror(errno));
        assert_true(getdelim(&text, &n, 0, f) > 0);
        return text;
}

/* The configurable part of docs/limits.md and sections [Limits] and [Session] of the table: the same rows in the same order. */
static void test_limits_document(void **state) {
        _cleanup_free_ char *text = read_text("docs/limits.md");
        char *line = text, *end = strstr(text, "\n## Fixed");
        size_t i = 0;

        assert_non_null(end);
        *end = 0;
        for (char *next; line && *line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                char key[64], value[32], min[32], max[32], what[200], error[64];
                if (sscanf(line, "| %63[A-Za-z]= | %31[^|] | %31s … %31s | %199[^|] | %63[^|] |", key, value, min, max, what, error) != 6)
                        continue;
                while (i < config_n_keys && !STR_IN_SET(config_keys[i].section, "Limits", "Session"))
                        i++;
                assert_true(i < config_n_keys);
                assert_string_equal(key, config_keys[i].name);
                assert_string_equal(strtok(value, " "), config_keys[i].value);
                assert_string_equal(min, config_keys[i].min);
                assert_string_equal(max, config_keys[i].max);
                i++;
        }
        for (; i < config_n_keys; i++)
                assert_false(STR_IN_SET(config_keys[i].section, "Limits", "Session"));
}

/* Every key with its default and range in the manual page, and no other. */
static void test_manual_page(void **state) {
        _cleanup_free_ char *text = read_text("docs/man/orchestrator.conf.5.scd");
        size_t n = 0;

        for (const char *p = text; (p = strstr(p, "=*\n\t")); p++)
                n++;
        assert_int_equal(n, config_n_keys);
        for (size_t i = 0; i < config_n_keys; i++) {
                const ConfigKey *k = &config_keys[i];
                _cleanup_free_ char *head = strformat("*%s=*\n\t", k->name);
                _cleanup_free_ char *tail = *k->value ? strformat(" Default: *%s*.", k->value) : strdup(" Default: empty.");
                _cleanup_free_ char *range = k->min ? strformat(" Range: %s … %s.", k->min, k->max) : strdup("");
                const char *entry = strstr(text, head);
                if (!entry)
                        fail_msg("%s= is missing", k->name);
                _cleanup_free_ char *paragraph = strndup(entry, (size_t) (strstr(entry, "\n\n") - entry));
                _cleanup_free_ char *want = strformat("%s%s", tail, range);
                if (!endswith(paragraph, want))
                        fail_msg("%s= does not end in \"%s\"", k->name, want);
        }
}

/* The example parses as it is and with every comment taken off, and then says the defaults. */
static void test_example(void **state) {
        Fixture *f = *state;
        _cleanup_free_ char *text = read_text("systemd/orchestrator.conf");
        size_t n = 0;

        _cleanup_(config_freep) Config *a = load_text(f, text, NOTHING);
        char *section = strstr(text, "\n[");
        assert_non_null(section);
        for (char *p = section; (p = strstr(p, "\n#")); p++, n++)
                memmove(p + 1, p + 2, strlen(p + 1));
        assert_int_equal(n, config_n_keys);
        for (size_t i = 0; i < config_n_keys; i++) {
                _cleanup_free_ char *line = strformat("\n%s=%s\n", config_keys[i].name, config_keys[i].value);
                if (!strstr(text, line))
                        fail_msg("%s= is missing or not at its default", config_keys[i].name);
        }
        _cleanup_(config_freep) Config *b = load_text(f, text, NOTHING);
        assert_int_equal(a->sessions_max, b->sessions_max);
}

static void test_nearest(void **state) {
        static const char *const words[] = { "image", "memory", "idle_timeout", "env", NULL };
        assert_string_equal(nearest_word("imgae", words), "image");
        assert_string_equal(nearest_word("Memory", words), "memory");
        assert_string_equal(nearest_word("idletimeout", words), "idle_timeout");
        assert_string_equal(nearest_word("en", words), "env");
        assert_null(nearest_word("x", words));
        assert_null(nearest_word("", words));
        assert_null(nearest_word("something-else", words));
        assert_null(nearest_word("image", NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_defaults), T(test_every_key), T(test_fixed_keys), cmocka_unit_test(test_ranges), cmocka_unit_test(test_strings),
                T(test_warnings), T(test_lines), T(test_dropins), T(test_credentials), T(test_unreadable_credential),
                cmocka_unit_test(test_limits_document), cmocka_unit_test(test_manual_page), T(test_example),
                cmocka_unit_test(test_nearest),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
