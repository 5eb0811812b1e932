/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>

#include "core/config-table.h"
#include "core/identifier.h"
#include "core/rules.h"

#define LOWER_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define PREFIX_MAX 128
#define NETWORK_NAME_MAX 63

static bool is_provider(const char *s) {
        return STR_IN_SET(s, "swarm", "fly", "fake");
}

static bool is_absolute_path(const char *s) {
        return *s == '/' && strlen(s) < 4096 && !strstr(s, "/../") && !endswith(s, "/..");
}

/* sun_path holds 108 bytes with the NUL. */
static bool is_socket_path(const char *s) {
        return is_absolute_path(s) && strlen(s) < 108;
}

static bool is_address(const char *s) {
        uint8_t buf[sizeof(struct in6_addr)];
        return inet_pton(AF_INET, s, buf) == 1 || inet_pton(AF_INET6, s, buf) == 1;
}

static bool is_subnet(const char *s) {
        const char *slash = strchr(s, '/');
        struct in_addr a;
        char host[INET_ADDRSTRLEN];
        uint64_t bits;

        if (!slash || (size_t) (slash - s) >= sizeof(host) || parse_u64(slash + 1, &bits) < 0 || bits < 8 || bits > 28)
                return false;
        memcpy(host, s, (size_t) (slash - s));
        host[slash - s] = 0;
        return inet_pton(AF_INET, host, &a) == 1 && (ntohl(a.s_addr) & (UINT32_MAX >> bits)) == 0;
}

/* What the Engine takes for the name of a network. */
static bool is_network_name(const char *s) {
        size_t n = strlen(s);
        return n > 0 && n <= NETWORK_NAME_MAX && !strchr("_.-", s[0]) && strspn(s, LOWER_DIGITS UPPER "_.-") == n;
}

static bool is_log_driver(const char *s) {
        return STR_IN_SET(s, "auto", "journald", "local", "json-file", "none");
}

/* http://host, https://host:port; no path, no user: credentials come from files of their own. */
static bool is_registry_url(const char *s) {
        const char *host = startswith(s, "https://");
        if (!host)
                host = startswith(s, "http://");
        if (!host)
                return false;

        size_t n;
        if (*host == '[') {
                n = strcspn(host, "]");
                char address[INET6_ADDRSTRLEN];
                struct in6_addr a;
                if (host[n] != ']' || n - 1 >= sizeof(address))
                        return false;
                memcpy(address, host + 1, n - 1);
                address[n - 1] = 0;
                if (inet_pton(AF_INET6, address, &a) != 1)
                        return false;
                n++;
        } else {
                n = strspn(host, LOWER_DIGITS UPPER ".-");
                if (n == 0 || n > 253 || strchr(".-", *host))
                        return false;
        }
        host += n;
        if (!*host)
                return true;
        uint64_t port;
        return *host == ':' && parse_u64(host + 1, &port) >= 0 && port > 0 && port <= UINT16_MAX;
}

/* Path components of the distribution specification's repository names. */
static bool is_repository(const char *s) {
        if (strlen(s) > PREFIX_MAX)
                return false;
        for (;;) {
                size_t n = strspn(s, LOWER_DIGITS "._-");
                if (n == 0 || strchr("._-", s[0]) || strchr("._-", s[n - 1]))
                        return false;
                for (size_t i = 0; i + 1 < n; i++)
                        if ((s[i] == '.' && strchr("._-", s[i + 1])) || (s[i] == '_' && strchr(".-", s[i + 1])) ||
                            (s[i] == '-' && strchr("._", s[i + 1])))
                                return false;
                s += n;
                if (!*s)
                        return true;
                if (*s++ != '/')
                        return false;
        }
}

#define FIELD(f) offsetof(Config, f)

const ConfigKey config_keys[] = {
        { "Manager", "Providers", CONFIG_WORDS, FIELD(providers), "swarm", .check = is_provider,
          .form = "a list of \"swarm\", \"fly\" and \"fake\", separated by spaces", .fixed = true },
        { "Manager", "DefaultOrganization", CONFIG_STRING, FIELD(default_organization), "default", .check = session_name_is_valid,
          .form = "a name of lower case letters, digits and \"-\"", .fixed = true },

        { "Limits", "SessionsMax", CONFIG_NUMBER, FIELD(sessions_max), "2000", "1", "10000" },
        { "Limits", "SessionsPerUserMax", CONFIG_NUMBER, FIELD(sessions_per_user_max), "3", "1", "10000" },
        { "Limits", "EndedSessionsMax", CONFIG_NUMBER, FIELD(ended_sessions_max), "1000", "0", "100000" },
        { "Limits", "EndedSessionsKeepSec", CONFIG_SPAN, FIELD(ended_sessions_keep_usec), "30d", "0", "infinity" },
        { "Limits", "JobsMax", CONFIG_NUMBER, FIELD(jobs_max), "1000", "1", "100000" },
        { "Limits", "JobsKeepSec", CONFIG_SPAN, FIELD(jobs_keep_usec), "24h", "1min", "infinity" },
        { "Limits", "RunningJobsMax", CONFIG_NUMBER, FIELD(running_jobs_max), "1000", "1", "10000" },
        { "Limits", "RunningJobsPerUserMax", CONFIG_NUMBER, FIELD(running_jobs_per_user_max), "50", "1", "10000" },
        { "Limits", "StreamsPerUserMax", CONFIG_NUMBER, FIELD(streams_per_user_max), "20", "1", "1000" },
        { "Limits", "QueuedOperationsMax", CONFIG_NUMBER, FIELD(queued_operations_max), "8", "1", "100" },
        { "Limits", "ChangesPerMinute", CONFIG_NUMBER, FIELD(changes_per_minute), "100", "1", "100000" },
        { "Limits", "GenerationsMax", CONFIG_NUMBER, FIELD(generations_max), "20", "1", "1000" },
        { "Limits", "SessionLayersMax", CONFIG_NUMBER, FIELD(session_layers_max), "100", "1", "120" },
        { "Limits", "PolkitQueriesMax", CONFIG_NUMBER, FIELD(polkit_queries_max), "100", "1", "4096" },
        { "Limits", "PolkitQueriesPerUserMax", CONFIG_NUMBER, FIELD(polkit_queries_per_user_max), "16", "1", "256" },
        { "Limits", "PolkitTimeoutSec", CONFIG_SPAN, FIELD(polkit_timeout_usec), "30s", "1s", "5min" },

        { "Session", "Cpus", CONFIG_CPUS, FIELD(cpus), "2", "0.1", "16" },
        { "Session", "Memory", CONFIG_SIZE, FIELD(memory_bytes), "4G", "64M", "32G" },
        { "Session", "CpuReservationPercent", CONFIG_PERCENT, FIELD(cpu_reservation_percent), "0", "0", "100" },
        { "Session", "MemoryReservationPercent", CONFIG_PERCENT, FIELD(memory_reservation_percent), "12", "0", "100" },
        { "Session", "StopGraceSec", CONFIG_SPAN, FIELD(stop_grace_usec), "10s", "1s", "10min" },
        { "Session", "StartTimeoutSec", CONFIG_SPAN, FIELD(start_timeout_usec), "5min", "10s", "1h" },
        { "Session", "IdleTimeoutSec", CONFIG_SPAN, FIELD(idle_timeout_usec), "2h", "1min", "infinity" },

        { "Swarm", "Engine", CONFIG_STRING, FIELD(engine_socket), "/run/docker.sock", .check = is_socket_path,
          .form = "the absolute path of a socket, at most 107 bytes", .fixed = true },
        { "Swarm", "InitializeSwarm", CONFIG_BOOLEAN, FIELD(initialize_swarm), "no" },
        { "Swarm", "AdvertiseAddress", CONFIG_STRING, FIELD(advertise_address), "", .check = is_address,
          .form = "an IPv4 or IPv6 address", .fixed = true },
        { "Swarm", "Subnet", CONFIG_STRING, FIELD(subnet), "10.128.0.0/16", .check = is_subnet,
          .form = "an IPv4 network such as 10.128.0.0/16, with a prefix from 8 to 28 and no host bits", .fixed = true },
        { "Swarm", "Network", CONFIG_STRING, FIELD(network), "swarm-sessions", .check = is_network_name,
          .form = "at most 63 letters, digits, \"_\", \".\" and \"-\", the first a letter or digit", .fixed = true },
        { "Swarm", "LogDriver", CONFIG_STRING, FIELD(log_driver), "auto", .check = is_log_driver,
          .form = "\"auto\", \"journald\", \"local\", \"json-file\" or \"none\"", .fixed = true },

        { "Registry", "URL", CONFIG_STRING, FIELD(registry_url), "", .check = is_registry_url, .hidden = true,
          .form = "https://host, https://host:port or the same with http://, without a path or user" },
        { "Registry", "CAFile", CONFIG_STRING, FIELD(registry_ca_file), "", .check = is_absolute_path,
          .form = "an absolute path" },
        { "Registry", "Prefix", CONFIG_STRING, FIELD(registry_prefix), "sessions", .check = is_repository,
          .form = "a repository path of at most 128 bytes: lower case letters and digits, \".\", \"_\", \"-\" between them, \"/\"" },

        { "Bus", "AlwaysAskPolkit", CONFIG_BOOLEAN, FIELD(always_ask_polkit), "no" },
};
const size_t config_n_keys = ELEMENTSOF(config_keys);

/* Every ordered type as a number: µs, bytes, thousandths of a cpu. */
static int parse_number(ConfigType type, const char *s, uint64_t *ret) {
        _cleanup_free_ char *percent = NULL;
        double cpus;
        int r;

        switch (type) {
        case CONFIG_PERCENT:
                if (endswith(s, "%")) {
                        percent = strndup(s, strlen(s) - 1);
                        if (!percent)
                                return -ENOMEM;
                        s = percent;
                }
                return parse_u64(s, ret);
        case CONFIG_NUMBER:
                return parse_u64(s, ret);
        case CONFIG_SPAN:
                return parse_usec(s, ret);
        case CONFIG_SIZE:
                return parse_size(s, ret);
        case CONFIG_CPUS:
                r = parse_cpus(s, &cpus);
                if (r >= 0)
                        *ret = (uint64_t) (cpus * 1000 + 0.5);
                return r;
        default:
                return -EINVAL;
        }
}

static int set_number(const ConfigKey *k, void *field, const char *value) {
        uint64_t v, min, max;
        int r = parse_number(k->type, value, &v);
        if (r < 0)
                return r;
        if (parse_number(k->type, k->min, &min) < 0 || parse_number(k->type, k->max, &max) < 0)
                return -EINVAL;
        if (v < min || v > max)
                return -ERANGE;

        if (k->type == CONFIG_CPUS)
                *(double *) field = (double) v / 1000;
        else if (k->type == CONFIG_NUMBER || k->type == CONFIG_PERCENT)
                *(unsigned *) field = (unsigned) v;
        else
                *(uint64_t *) field = v;
        return 0;
}

static int set_words(const ConfigKey *k, Strv *field, const char *value) {
        _cleanup_strv_ Strv words = NULL;

        while (*(value += strspn(value, " \t"))) {
                size_t n = strcspn(value, " \t");
                char *word = strndup(value, n);
                if (!word)
                        return -ENOMEM;
                if ((k->check && !k->check(word)) || strv_contains(words, word)) {
                        free(word);
                        return -EINVAL;
                }
                int r = strv_consume(&words, word);
                if (r < 0)
                        return r;
                value += n;
        }
        if (!words)
                return -EINVAL;
        strv_free(*field);
        *field = TAKE_PTR(words);
        return 0;
}

static int set_string(const ConfigKey *k, char **field, const char *value) {
        if (!*value && !*k->value)
                return free_and_strdup(field, NULL);
        if (k->check && !k->check(value))
                return -EINVAL;
        return free_and_strdup(field, value);
}

int config_key_set(const ConfigKey *k, Config *c, const char *value) {
        void *field = (char *) c + k->offset;
        int b;

        /* Key= without a value takes back what weaker files said. */
        if (!*value)
                value = k->value;
        switch (k->type) {
        case CONFIG_BOOLEAN:
                b = parse_boolean(value);
                if (b >= 0)
                        *(bool *) field = b;
                return b < 0 ? b : 0;
        case CONFIG_STRING:
                return set_string(k, field, value);
        case CONFIG_WORDS:
                return set_words(k, field, value);
        default:
                return set_number(k, field, value);
        }
}
