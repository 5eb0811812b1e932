/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A session as the store's record, and as the JSON label from which the store can be rebuilt. */

#include "core/session.h"

/* Members borrow the session's strings, except `spec`, which the caller frees. */
int session_to_record(const Session *s, SessionRecord *ret);
/* Makes a session that is in no table yet. -EBADMSG for what does not parse. */
int session_from_record(Manager *m, const SessionRecord *r, Session **ret);

/* The label's text; `generation` and `image` describe the newest generation. */
int session_to_label(const Session *s, char **ret);
/* -EBADMSG for anything that is not a label of ours. The session comes without its snapshots but with the generation
 * that `image` and `generation` name. */
int session_from_label(Manager *m, const char *id, const char *label, const char *image, uint64_t generation, Session **ret);

/* Strings and all; snapshot_record_done() frees it. 0 or -ENOMEM. */
int snapshot_record_copy(const SnapshotRecord *from, SnapshotRecord *ret);
