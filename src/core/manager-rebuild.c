/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the cluster knows and the store does not: the store was lost, or put back from a backup. */

#include "basic/log.h"
#include "core/session-object.h"
#include "core/session-record.h"

/* The session's row was deleted, for it could not be used, and those of its generations were not: they are known again, and their
 * numbers are not given out once more. What was proven is kept: nobody knows any more what was to follow. */
static int take_orphan(const SnapshotRecord *r, void *userdata) {
        Session *s = userdata;
        SnapshotRecord taken = *r;

        if (!streq(r->session, s->id) || session_find_any_snapshot(s, r->generation))
                return 0;
        if (taken.phase == SNAPSHOT_PROVEN)
                taken.phase = SNAPSHOT_KEPT;
        s->next_generation = MAX(s->next_generation, r->generation + 1);
        return session_load_snapshot(s, &taken);
}

/* It was destroyed, and that is final: what is told of it was asked for before, or its service came back with a Swarm from a backup. */
static bool has_ended(const ProviderEntry *e, const char *id) {
        int r = store_has_ended_session(e->manager->store, id);

        if (r < 0)
                log_warning_errno(r, "It cannot be read whether session %s was destroyed, leaving it alone: %m", id);
        if (r > 0)
                log_info("Provider %s tells of session %s, which was destroyed, leaving it alone.", e->name, id);
        return r != 0;
}

static Snapshot *find_image(const Session *s, const char *image) {
        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (streq_ptr(i->record.image, image))
                        return i;
        return NULL;
}

/* Where somebody has removed the label with the number, what the service names is a generation all the same, if it is not what the
 * session was made from at first: else it would begin anew from that. */
static int take_unnumbered(Session *s, const char *image) {
        Snapshot *known = find_image(s, image);
        uint64_t last = s->next_generation - 1;

        if (s->generation > 0 || !s->base_image || streq(s->base_image, image))
                return 0;
        if (!known && (last == 0 || session_find_any_snapshot(s, last)))
                return -EBADMSG;
        s->generation = known ? known->record.generation : last;
        return known ? 0 : session_add_snapshot_of_label(s, last, image);
}

static void tell_unusable(ProviderEntry *e, const ProviderObservation *o, int r) {
        if (r == -EEXIST) {
                e->left_alone = true;
                log_event(LOG_ERR, MESSAGE_RECONCILE_REPAIR, LOG_FIELDS(.session = o->session, .provider = e->name),
                          "Provider %s has a session %s that is not in the store, and another session has its name: the store may be older than the cluster. "
                          "It is left alone as it is, and taken up when the other one is destroyed. What the other one has saved goes on in a clone.",
                          e->name, o->session);
        } else
                log_warning_errno(r, "Provider %s has a record of an unknown session %s that cannot be taken up, leaving it alone: %m", e->name, o->session);
}

/* A record of ours that the store does not know: the store was lost or replaced. What the label says is taken up; it
 * never replaces what the store says. */
Session *session_rebuild(ProviderEntry *e, const ProviderObservation *o) {
        Manager *m = e->manager;
        Session *s;

        if (has_ended(e, o->session))
                return NULL;
        if (!o->record || !o->image) {
                log_warning("Provider %s has a session %s that is not in the store, without the record from which it could be taken up (label "
                            PROVIDER_LABEL_RECORD "), leaving it alone as it is. Save what is in its container before it is removed.", e->name, o->session);
                return NULL;
        }
        int r = session_from_label(m, o->session, o->record, o->image, o->generation, &s);
        if (r >= 0) {
                r = free_and_strdup(&s->provider_name, e->name);
                if (r >= 0)
                        r = session_link(s);
                if (r >= 0)
                        r = store_each_orphan(m->store, take_orphan, s);
                if (r >= 0)
                        r = take_unnumbered(s, o->image);
                if (r < 0)
                        session_free(s);
        }
        if (r < 0) {
                tell_unusable(e, o, r);
                return NULL;
        }
        s->state = o->wanted ? SESSION_RESUMING : s->generation > 0 ? SESSION_STOPPED : SESSION_FAILED;
        usage_update_session(s);
        s->wanted = o->wanted;
        session_mark_dirty(s);
        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                snapshot_mark_dirty(s, i);
        log_event(LOG_WARNING, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)),
                  "Session %s was not in the store; it was rebuilt from its record at provider %s.", s->name, e->name);
        session_changed(s, CHANGE_ADDED);
        return s;
}

static bool has_image(const Session *s, const char *image) {
        return find_image(s, image) || streq_ptr(s->base_image, image);
}

/* The push of a row that is an intent came to its end after a backup, or the cluster would not name what it made: only what is
 * proven is laid to rest. */
static Snapshot *find_unfinished(const Session *s, const ProviderObservation *o) {
        Snapshot *snapshot = session_find_any_snapshot(s, o->generation);

        return snapshot && snapshot->record.phase == SNAPSHOT_INTENT && !snapshot->record.image ? snapshot : NULL;
}

/* The session goes on from it, so it was neither deleted nor has it gone by a limit: its row was lost, as one that could not be used and
 * was deleted for that. */
static bool lacks_row(const Session *s, const ProviderObservation *o) {
        return o->generation > 0 && o->generation == s->generation && !session_find_any_snapshot(s, o->generation);
}

static int finish(Session *s, Snapshot *snapshot, const ProviderObservation *o) {
        /* What it was for goes on from there, unless that is over as well. */
        bool rests = (s->state == SESSION_HIBERNATING || s->state == SESSION_STOPPING) && !o->wanted;
        int r = free_and_strdup(&snapshot->record.image, o->image);

        if (r >= 0)
                snapshot->record.phase = rests ? SNAPSHOT_PROVEN : SNAPSHOT_KEPT;
        return r;
}

/* The store is older than the cluster, as one from a backup is: it has not burned the number yet, or knows of no more than that; or it
 * lacks a row. What was saved since is taken up, so that no older generation takes its place and no number is used twice. */
void session_take_newer(Session *s, const ProviderObservation *o) {
        _cleanup_(session_freep) Session *newer = NULL;
        Snapshot *snapshot = find_unfinished(s, o);
        int r;

        if (!o->exists || !o->record || !o->image || (o->generation < s->next_generation && !snapshot && !lacks_row(s, o)))
                return;
        r = session_from_label(s->manager, s->id, o->record, o->image, 0, &newer);
        /* A label that somebody has changed: the record burned no such number, or the image is no generation of its own. */
        if (r >= 0 && (o->generation >= newer->next_generation || has_image(s, o->image)))
                r = -EBADMSG;
        if (r >= 0)
                r = snapshot ? finish(s, snapshot, o) : session_add_snapshot_of_label(s, o->generation, o->image);
        if (r < 0) {
                log_warning_errno(r, "Session %s: its record in the cluster is newer than the store, but cannot be taken up: %m", s->name);
                return;
        }
        snapshot = session_find_any_snapshot(s, o->generation);
        snapshot_mark_dirty(s, snapshot);
        s->next_generation = MAX(s->next_generation, newer->next_generation);
        if (snapshot->record.phase == SNAPSHOT_KEPT)
                session_set_generation(s, o->generation);
        session_mark_dirty(s);
        log_event(LOG_WARNING, MESSAGE_RECONCILE_REPAIR, SESSION_FIELDS(s, session_current_job(s)),
                  "Session %s: the store is older than its record in the cluster, or lacks a row; generation %" PRIu64 " was taken up from there.", s->name, o->generation);
}
