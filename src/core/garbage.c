/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Generations that are to go: those whose push was undone, and those beyond GenerationsMax=. A row in the intent phase that no
 * operation works on is garbage; it goes when the registry has confirmed the deletion. The registry is asked only when that
 * phase is on the disk: after a crash nothing may be listed that has lost its files.
 *
 * An intent of an earlier process is looked at first. A crash cut its push off, or the store is from a backup and somebody was told
 * that the generation is safe: what is whole in the registry is kept. */

#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"

static void on_retry(void *userdata) {
        session_collect_garbage(userdata);
}

static void retry_later(Session *s, const Snapshot *garbage, int r, const Refusal *refusal) {
        log_debug("Session %s: what is left of generation %" PRIu64 " could not be looked at or deleted now: %s", s->name, garbage->record.generation,
                  refusal ? refusal->message : strerror(-r));
        if (!s->garbage_retry && timer_new(s->manager->event, on_retry, s, &s->garbage_retry) < 0)
                return;
        s->garbage_backoff.min_usec = 5 * USEC_PER_SEC;
        s->garbage_backoff.max_usec = 600 * USEC_PER_SEC;
        (void) timer_arm(s->garbage_retry, backoff_next(&s->garbage_backoff));
}

static void on_deleted(void *userdata, int r, const Refusal *refusal) {
        Session *s = userdata;
        Snapshot *garbage = TAKE_PTR(s->garbage);

        s->call = NULL;
        if (r < 0) {
                retry_later(s, garbage, r, refusal);
                return;
        }
        backoff_reset(&s->garbage_backoff);
        session_drop_snapshot(s, garbage);
        session_collect_garbage(s);
}

static void keep_whole(Session *s, Snapshot *found) {
        found->record.phase = SNAPSHOT_KEPT;
        snapshot_mark_dirty(s, found);
        session_changed(s, CHANGE_GENERATION);
        /* What runs began from what it began from; what is at rest goes on from the newest. */
        if (session_state_is_rest(s->state) || s->state == SESSION_FAILED)
                session_set_generation(s, session_newest_generation(s));
        log_event(LOG_NOTICE, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)),
                  "Session %s: generation %" PRIu64 ", of which it was not known how its saving ended, is whole in the registry and is kept.", s->name,
                  found->record.generation);
}

static void on_verified(void *userdata, int r, const Refusal *refusal, const ProviderImage *image) {
        Session *s = userdata;
        Snapshot *found = TAKE_PTR(s->garbage);

        s->call = NULL;
        if (r >= 0)
                r = free_and_strdup(&found->record.image, image->image);
        if (r >= 0)
                keep_whole(s, found);
        else if (r == -EBADRQC && refusal->code == REFUSAL_NO_SUCH_IMAGE)
                session_drop_snapshot(s, found);
        else {
                retry_later(s, found, r, refusal);
                return;
        }
        backoff_reset(&s->garbage_backoff);
        session_collect_garbage(s);
}

static void on_saved(void *userdata, int r) {
        Session *s = userdata;

        s->garbage_wait = NULL;
        session_collect_garbage(s);
}

static void look_at(Session *s, Snapshot *garbage) {
        _cleanup_free_ char *reference = snapshot_reference(s, garbage);

        s->garbage = garbage;
        int r = !reference ? -ENOMEM :
                garbage->doubtful && !garbage->record.image ? s->provider->vtable->verify_image(s->provider, reference, on_verified, s, &s->call) :
                s->provider->vtable->delete_image(s->provider, reference, on_deleted, s, &s->call);
        if (r >= 0)
                return;
        s->garbage = NULL;
        retry_later(s, garbage, r, NULL);
}

void session_collect_garbage(Session *s) {
        if (s->operation || s->call || !s->provider || s->manager->stopping || (s->garbage_retry && timer_is_armed(s->garbage_retry)))
                return;
        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_INTENT) {
                        if (!i->dirty)
                                look_at(s, i);
                        else if (!s->garbage_wait && manager_on_commit(s->manager, on_saved, s, &s->garbage_wait) < 0)
                                log_oom();
                        return;
                }
}
