/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `a{sv} options` and `t flags` by a table. Unknown keys and bits, wrong types, keys given twice and values over their
 * size are refused by name (-EBADRQC, INVALID_ARGUMENT). */

#include <systemd/sd-bus.h>

#include "basic/refusal.h"
#include "basic/string-util.h"

/* Only against waste: what the values mean is bounded more narrowly by the core. */
#define BUS_OPTION_STRING_MAX (64 * KIB)        /* bytes of one string; also of each key and element of an array */
#define BUS_OPTION_ENTRIES_MAX 4096             /* elements of one array */
#define BUS_OPTIONS_BYTES_MAX (512 * KIB)       /* all strings of one a{sv} */

/* The member at `offset` is filled by signature:
 *   s       const char *, borrowed: valid as long as the message      u  uint32_t
 *   as      Strv, owned                                               t  uint64_t
 *   a{ss}   Strv of "K=V", owned; a key may hold no "="               d  double (finite)
 *   b       bool */
typedef struct BusOption {
        const char *key;
        const char *signature;
        size_t offset;
} BusOption;

#define BUS_OPTION(key_, signature_, type, member) { .key = (key_), .signature = (signature_), .offset = offsetof(type, member) }

/* Reads one a{sv}. `what` names it in refusals ("CreateSession"). `target` may be NULL when n is 0. *ret_seen (may be
 * NULL) gets bit i for table[i]. On failure the owned members that were filled are the caller's to free, as always. */
int bus_options_read(sd_bus_message *m, const char *what, const BusOption *table, size_t n, void *target,
                     uint64_t *ret_seen, Refusal **reterr_refusal);

/* Reads one `t`; refuses bits outside of `known`. ret may be NULL. */
int bus_flags_read(sd_bus_message *m, const char *what, uint64_t known, uint64_t *ret, Refusal **reterr_refusal);

/* Reads one `as` that is an argument of its own, within the same bounds. *ret is owned by the caller. */
int bus_strv_read(sd_bus_message *m, const char *what, const char *name, Strv *ret, Refusal **reterr_refusal);

/* Both at once for a member without any option or flag. */
int bus_no_options_read(sd_bus_message *m, const char *what, Refusal **reterr_refusal);
