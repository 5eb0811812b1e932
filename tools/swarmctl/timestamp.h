/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Points in time as journalctl(1) and systemd.time(7) have them. */

#include "basic/macro.h"

/* "2026-11-23 10:00:05.5" with less of it as it likes, "T" for the blank, UTC or an offset behind it; "10:00"; now, today, yesterday,
 * tomorrow; "-1h", "+30s", "1h ago"; "@SECONDS". What says no zone is of this machine's. 0, -EINVAL, -ERANGE. */
int parse_timestamp(const char *s, usec_t now, usec_t *ret);
