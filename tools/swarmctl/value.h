/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus values as JSON: what every verb reads a reply into, prints a table from, and hands out for --json. */

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define _cleanup_json_ _cleanup_(json_decrefp)

/* Reads the next complete value. Dictionaries become objects, arrays and structs arrays, variants what they hold.
 * Null is what stands for no number: UINT64_MAX ("infinity"), the uid UINT32_MAX ("nobody"), what is below zero where
 * numbers may have a sign ("unknown"), and numbers that JSON does not have. -EBADMSG, -ENOMEM. */
int value_read(sd_bus_message *m, json_t **ret);

/* Members of an object; NULL or the default where the member is absent or of another type. */
const char *value_string(const json_t *object, const char *key);
uint64_t value_u64(const json_t *object, const char *key);
