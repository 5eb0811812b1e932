/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Address ranges: which are taken, which are free, and which address of this host a Swarm may be advertised on. */

#include <jansson.h>

#include "basic/macro.h"
#include "basic/refusal.h"

typedef struct Prefix {
        uint32_t address;               /* IPv4, host byte order, host bits 0 */
        unsigned bits;                  /* 1 … 32 */
} Prefix;

#define PREFIX_STRING_MAX sizeof("255.255.255.255/32")

int prefix_parse(const char *s, Prefix *ret);                   /* "10.128.0.0/16"; -EINVAL */
char *prefix_format(const Prefix *p, char buf[static PREFIX_STRING_MAX]);
bool prefix_overlaps(const Prefix *a, const Prefix *b);
int prefix_next(const Prefix *p, Prefix *ret);                  /* the neighbour above; -ERANGE */

/* Refuses (NETWORK_CONFLICT) with the name of the route or network that `p` overlaps. `routes`: text of /proc/net/route;
 * default routes do not count. `networks`: answer of GET /networks. */
int prefix_check(const Prefix *p, const char *routes, const json_t *networks, Refusal **reterr_refusal);
/* The kernel's IPv4 routes of this network namespace, as text. */
int read_routes(char **ret);

/* The address other hosts would reach this one by: of the default route's interface, else the only one there is apart from
 * loopback and Docker's own. Refuses when that is not one address. */
int detect_address(const char *routes, char **ret, Refusal **reterr_refusal);
