/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The long answers that the bus has not taken yet: how much, and whose. A connection sends in the order of its messages'
 * cookies, so what has left is known from the newest cookie and the number of messages that are left. Knows no bus. */

#include "basic/macro.h"

typedef struct BusAnswers BusAnswers;

int bus_answers_new(size_t bytes_max, BusAnswers **ret);
BusAnswers *bus_answers_free(BusAnswers *a);
DEFINE_CLEANUP(BusAnswers *, bus_answers_free)

/* So many messages of the connection are queued now. */
void bus_answers_update(BusAnswers *a, uint64_t queued);
/* Whether this user may have another one. Below bytes_max everybody may; beyond it who has less than an equal part, so that
 * nobody can use up what others need. */
bool bus_answers_may_have(const BusAnswers *a, uid_t uid);
/* One was queued; the cookie is 0 where it is not known. */
int bus_answers_add(BusAnswers *a, uid_t uid, uint64_t cookie, size_t bytes);
