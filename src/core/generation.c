/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The generations of a session that can be restored: which of them is current, which must stay, which may go. */

#include "basic/log.h"
#include "core/session-object.h"

const char *session_current_image(const Session *s) {
        Snapshot *snapshot = s->generation > 0 ? session_find_snapshot(s, s->generation) : NULL;
        return snapshot ? snapshot->record.image : s->base_image;
}

void session_set_generation(Session *s, uint64_t generation) {
        if (s->generation == generation)
                return;
        s->generation = generation;
        session_mark_dirty(s);
        session_changed(s, CHANGE_GENERATION);
}

uint64_t session_newest_generation(const Session *s) {
        uint64_t newest = 0;

        for (const Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_KEPT)
                        newest = MAX(newest, i->record.generation);
        return newest;
}

void session_keep_snapshot(Session *s, Snapshot *snapshot) {
        snapshot->record.phase = SNAPSHOT_KEPT;
        snapshot_mark_dirty(s, snapshot);
        session_set_generation(s, snapshot->record.generation);
        session_changed(s, CHANGE_GENERATION);
}

char *snapshot_reference(const Session *s, const Snapshot *snapshot) {
        const SnapshotRecord *r = &snapshot->record;
        const char *host = strstr(strempty(s->manager->config->registry_url), "://");

        if (r->image)
                return strdup(r->image);
        if (!host || !r->repository || !r->tag)
                return NULL;
        host += strlen("://");
        return strformat("%.*s/%s:%s", (int) strcspn(host, "/"), host, r->repository, r->tag);
}

/* A living session that runs from this image, or keeps it as a generation it can be restored from; NULL: none. One that is destroyed,
 * but not archived yet, takes no care of it any more. */
static const Session *find_user(Manager *m, const char *image, const Session *except) {
        for (Session *s = m->sessions_by_id; s; s = s->hh_id.next) {
                if (s == except || s->ended_usec > 0)
                        continue;
                if (streq_ptr(s->base_image, image))
                        return s;
                for (Snapshot *snapshot = s->snapshots; snapshot; snapshot = snapshot->hh.next)
                        if (streq_ptr(snapshot->record.image, image))
                                return s;
        }
        return NULL;
}

static Session *find_clone(Manager *m, const char *image, const Session *except) {
        for (Session *s = m->sessions_by_id; s; s = s->hh_id.next)
                if (s != except && s->ended_usec == 0 && streq_ptr(s->base_image, image))
                        return s;
        return NULL;
}

int session_bequeath_snapshot(Session *s, Snapshot *snapshot) {
        SnapshotRecord inherited = snapshot->record;
        Session *clone;

        if (!inherited.image || !find_user(s->manager, inherited.image, s))
                return 0;
        clone = find_clone(s->manager, inherited.image, s);
        if (clone && !session_find_any_snapshot(clone, 0)) {
                inherited.session = clone->id;
                inherited.generation = 0;
                inherited.phase = SNAPSHOT_INHERITED;
                int r = session_add_snapshot(clone, &inherited);
                if (r < 0)
                        return r;
                snapshot_mark_dirty(clone, session_find_any_snapshot(clone, 0));
        }
        session_drop_snapshot(s, snapshot);
        return 1;
}

static bool is_to_be_restored(const Session *s, uint64_t generation) {
        for (const Job *j = s->jobs; j; j = j->next)
                if (j->type == JOB_RESTORE && j->options.generation == generation)
                        return true;
        return false;
}

/* Why it must stay, as the end of a sentence about it; NULL: the session itself does not need it. */
static const char *need_of(Session *s, const Snapshot *x) {
        uint64_t generation = x->record.generation;

        if (generation == s->generation)
                return "holds the files that the session runs from or will be restored from. Take a newer one first, or destroy the session.";
        /* Whoever saves that container without an index builds upon it. */
        if (generation == s->observed_generation || streq_ptr(x->record.image, s->observed_image))
                return "is what the session's container was made from, and the next save may build upon it. Hibernate or stop the session first.";
        if (is_to_be_restored(s, generation))
                return "is to be restored by a job that waits. Cancel that job first.";
        return NULL;
}

/* From the newest. A container that was lost may come back with its node, so that nothing is begun beside it. */
static int check_newest(Session *s, Refusal **reterr) {
        if (s->state == SESSION_LOST && session_newest_generation(s) == 0)
                return refuse(reterr, REFUSAL_NO_SUCH_GENERATION,
                              "Session \"%s\" was lost with its node, and no generation of its files was saved that it could be restored from. "
                              "Wait for its node, or destroy it.", s->name);
        return 0;
}

static int check_unneeded(Session *s, const Snapshot *x, Refusal **reterr) {
        const char *need = need_of(s, x);
        const Session *clone = need ? NULL : find_user(s->manager, x->record.image, s);

        if (need)
                return refuse(reterr, REFUSAL_BUSY, "Generation %" PRIu64 " of session \"%s\" %s", x->record.generation, s->name, need);
        if (clone)
                return refuse(reterr, REFUSAL_BUSY,
                              "Generation %" PRIu64 " of session \"%s\" is what session \"%s\" was cloned from. Destroy that session first.",
                              x->record.generation, s->name, clone->name);
        return 0;
}

int session_check_generation(Session *s, JobType verb, const JobOptions *options, Refusal **reterr) {
        uint64_t generation = options->generation;
        const Snapshot *snapshot = session_find_snapshot(s, generation);

        if (verb != JOB_RESTORE && verb != JOB_DELETE_SNAPSHOT)
                return 0;
        if (verb == JOB_RESTORE && generation == 0)
                return check_newest(s, reterr);
        if (!snapshot)
                return refuse(reterr, REFUSAL_NO_SUCH_GENERATION,
                              "Session \"%s\" has no generation %" PRIu64 ". 'swarmctl snapshots %s' (ListSnapshots) lists those that it has.",
                              s->name, generation, s->name);
        return verb == JOB_DELETE_SNAPSHOT ? check_unneeded(s, snapshot, reterr) : 0;
}

/* Without this a stop would first end what then cannot be saved. Where nobody has counted them, swarm-layer does. */
int session_check_layers(const Session *s, JobType verb, const JobOptions *options, Refusal **reterr) {
        const Snapshot *from = session_find_snapshot(s, s->observed_generation);
        unsigned more = verb == JOB_SNAPSHOT ? 2 : 1, max = s->manager->config->session_layers_max;

        if (!job_is_to_save(verb, options) || !from || from->record.session_layers + more <= max)
                return 0;
        return refuse(reterr, REFUSAL_IMAGE_REFUSED,
                      "Session \"%s\" cannot be saved: it has %u layers above its base image, and %s adds %s, where %u are allowed (SessionLayersMax=). "
                      "Have an administrator raise that, to 120 at most, or copy its files into a new session; a clone would have the same layers.",
                      s->name, from->record.session_layers, job_type_to_string(verb), more > 1 ? "two" : "one", max);
}

static Snapshot *oldest_unneeded(Session *s) {
        Snapshot *oldest = NULL;

        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_KEPT && (!oldest || i->record.generation < oldest->record.generation) &&
                    !need_of(s, i) && !find_user(s->manager, i->record.image, s))
                        oldest = i;
        return oldest;
}

void session_limit_generations(Session *s) {
        unsigned kept = 0, max = s->manager->config->generations_max;
        Snapshot *oldest;

        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                kept += i->record.phase == SNAPSHOT_KEPT;
        for (; kept > max && (oldest = oldest_unneeded(s)); kept--) {
                log_event(LOG_INFO, MESSAGE_SNAPSHOT_DELETED, SESSION_FIELDS(s, session_current_job(s)),
                          "Session %s: more than %u generations are kept (GenerationsMax=), generation %" PRIu64 " goes.", s->name, max,
                          oldest->record.generation);
                oldest->record.phase = SNAPSHOT_INTENT;
                snapshot_mark_dirty(s, oldest);
                session_changed(s, CHANGE_GENERATION);
        }
}
