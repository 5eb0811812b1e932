/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>

#include "basic/io-util.h"
#include "basic/string-util.h"
#include "provider/engine-json.h"
#include "provider/swarm-network.h"

#define ROUTES_MAX (1 * MIB)

static uint32_t prefix_mask(unsigned bits) {
        return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

int prefix_parse(const char *s, Prefix *ret) {
        char address[INET_ADDRSTRLEN];
        const char *slash = s ? strchr(s, '/') : NULL;
        struct in_addr in;
        uint64_t bits;

        if (!slash || (size_t) (slash - s) >= sizeof(address))
                return -EINVAL;
        memcpy(address, s, (size_t) (slash - s));
        address[slash - s] = 0;
        if (inet_pton(AF_INET, address, &in) != 1 || parse_u64(slash + 1, &bits) < 0 || bits < 1 || bits > 32)
                return -EINVAL;
        *ret = (Prefix) { .address = ntohl(in.s_addr) & prefix_mask((unsigned) bits), .bits = (unsigned) bits };
        return 0;
}

char *prefix_format(const Prefix *p, char buf[static PREFIX_STRING_MAX]) {
        (void) snprintf(buf, PREFIX_STRING_MAX, "%u.%u.%u.%u/%u", p->address >> 24, p->address >> 16 & 255, p->address >> 8 & 255,
                        p->address & 255, MIN(p->bits, 32U));
        return buf;
}

bool prefix_overlaps(const Prefix *a, const Prefix *b) {
        uint32_t mask = prefix_mask(MIN(a->bits, b->bits));
        return (a->address & mask) == (b->address & mask);
}

int prefix_next(const Prefix *p, Prefix *ret) {
        uint32_t next;

        if (__builtin_add_overflow(p->address, UINT32_C(1) << (32 - p->bits), &next))
                return -ERANGE;
        *ret = (Prefix) { .address = next, .bits = p->bits };
        return 0;
}

/* ---- routes: "Iface Destination Gateway Flags RefCnt Use Metric Mask …", numbers in hexadecimal, network order in host
 * words (proc(5)) ---- */

typedef struct Route {
        char interface[IF_NAMESIZE];
        Prefix prefix;          /* bits 0: default route */
} Route;

static int route_parse(const char *line, Route *ret) {
        unsigned destination, mask, flags;

        if (sscanf(line, "%15s %8X %*8X %4X %*s %*s %*s %8X", ret->interface, &destination, &flags, &mask) != 4)
                return -EBADMSG;
        ret->prefix.address = ntohl(destination);
        ret->prefix.bits = (unsigned) __builtin_popcount(mask);
        return 0;
}

#define FOREACH_LINE(l, text) for (const char *l = (text); l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL)

static int check_routes(const Prefix *p, const char *routes, Refusal **reterr_refusal) {
        char a[PREFIX_STRING_MAX], b[PREFIX_STRING_MAX];

        FOREACH_LINE(l, routes) {
                Route route;
                if (route_parse(l, &route) < 0 || route.prefix.bits == 0 || !prefix_overlaps(p, &route.prefix))
                        continue;
                return refuse(reterr_refusal, REFUSAL_NETWORK_CONFLICT,
                              "The address range %s for the sessions overlaps with the route to %s by interface %s of this host. "
                              "Set Subnet= in orchestrator.conf to a range that is free.",
                              prefix_format(p, a), prefix_format(&route.prefix, b), route.interface);
        }
        return 0;
}

int prefix_check(const Prefix *p, const char *routes, const json_t *networks, Refusal **reterr_refusal) {
        char a[PREFIX_STRING_MAX], b[PREFIX_STRING_MAX];
        const json_t *network, *config;
        size_t i, j;

        json_array_foreach(networks, i, network)
                json_array_foreach(json_at(network, "IPAM", "Config"), j, config) {
                        Prefix other;
                        if (prefix_parse(json_string_at(config, "Subnet"), &other) < 0 || !prefix_overlaps(p, &other))
                                continue;
                        return refuse(reterr_refusal, REFUSAL_NETWORK_CONFLICT,
                                      "The address range %s for the sessions overlaps with %s of the Docker network %s. "
                                      "Set Subnet= in orchestrator.conf to a range that is free, or remove that network.",
                                      prefix_format(p, a), prefix_format(&other, b), strna(json_string_at(network, "Name")));
                }
        return check_routes(p, routes, reterr_refusal);
}

int read_routes(char **ret) {
        _cleanup_close_ int fd = open("/proc/net/route", O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *text = malloc(ROUTES_MAX + 1);
        ssize_t n;

        if (fd < 0)
                return -errno;
        if (!text)
                return -ENOMEM;
        n = read_full(fd, text, ROUTES_MAX);
        if (n < 0)
                return (int) n;
        text[n] = 0;
        *ret = realloc(text, (size_t) n + 1) ?: text;
        TAKE_PTR(text);
        return 0;
}

/* ---- the address to advertise ---- */

static const char *default_interface(const char *routes, Route *buf) {
        FOREACH_LINE(l, routes)
                if (route_parse(l, buf) >= 0 && buf->prefix.bits == 0)
                        return buf->interface;
        return NULL;
}

static bool interface_is_ours(const char *name) {
        return STR_IN_SET(name, "lo", "docker0", "docker_gwbridge") || startswith(name, "br-") || startswith(name, "veth");
}

int detect_address(const char *routes, char **ret, Refusal **reterr_refusal) {
        char found[INET_ADDRSTRLEN] = "", text[INET_ADDRSTRLEN];
        struct ifaddrs *all;
        unsigned n = 0;
        Route buf;
        const char *wanted = default_interface(routes, &buf);

        if (getifaddrs(&all) < 0)
                return -errno;
        for (struct ifaddrs *i = all; i; i = i->ifa_next) {
                if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP))
                        continue;
                if (wanted ? !streq(i->ifa_name, wanted) : interface_is_ours(i->ifa_name))
                        continue;
                if (!inet_ntop(AF_INET, &((struct sockaddr_in *) i->ifa_addr)->sin_addr, text, sizeof(text)))
                        continue;
                if (n++ == 0)
                        memcpy(found, text, sizeof(found));
        }
        freeifaddrs(all);
        /* A default route's interface may have further addresses; its first is its primary. */
        if (n == 0 || (n > 1 && !wanted))
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "The Swarm cannot be initialised, because this host has %s that others could reach it by. "
                              "Set AdvertiseAddress= in orchestrator.conf.", n == 0 ? "no address" : "several addresses");
        *ret = strdup(found);
        return *ret ? 0 : -ENOMEM;
}
