/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Generations that are to go: those whose push was cut off or undone, and those beyond GenerationsMax=. A row
 * in the intent phase that no operation works on is garbage; it goes when the registry has confirmed the deletion. The
 * registry is asked only when that phase is on the disk: after a crash nothing may be listed that has lost its files. */

#include "basic/log.h"
#include "core/operation.h"
#include "core/session-object.h"

char *registry_reference(const Config *c, const char *repository, const char *tag) {
        const char *host = strstr(strempty(c->registry_url), "://");

        if (!host || !repository || !tag)
                return NULL;
        host += strlen("://");
        return strformat("%.*s/%s:%s", (int) strcspn(host, "/"), host, repository, tag);
}

static void on_retry(void *userdata) {
        session_collect_garbage(userdata);
}

static void on_deleted(void *userdata, int r, const Refusal *refusal) {
        Session *s = userdata;
        Snapshot *garbage = TAKE_PTR(s->garbage);

        s->call = NULL;
        if (r >= 0) {
                backoff_reset(&s->garbage_backoff);
                session_drop_snapshot(s, garbage);
                session_collect_garbage(s);
                return;
        }
        log_debug("Session %s: what is left of generation %" PRIu64 " could not be deleted now: %s", s->name, garbage->record.generation,
                  refusal ? refusal->message : strerror(-r));
        if (!s->garbage_retry && timer_new(s->manager->event, on_retry, s, &s->garbage_retry) < 0)
                return;
        s->garbage_backoff.min_usec = 5 * USEC_PER_SEC;
        s->garbage_backoff.max_usec = 600 * USEC_PER_SEC;
        (void) timer_arm(s->garbage_retry, backoff_next(&s->garbage_backoff));
}

static void on_saved(void *userdata, int r) {
        Session *s = userdata;

        s->garbage_wait = NULL;
        session_collect_garbage(s);
}

static void delete_garbage(Session *s, Snapshot *garbage) {
        const SnapshotRecord *rec = &garbage->record;
        _cleanup_free_ char *reference = rec->image ? strdup(rec->image) : registry_reference(s->manager->config, rec->repository, rec->tag);

        s->garbage = garbage;
        int r = reference ? s->provider->vtable->delete_image(s->provider, reference, on_deleted, s, &s->call) : -ENOMEM;
        if (r < 0)
                on_deleted(s, r, NULL);
}

void session_collect_garbage(Session *s) {
        if (s->operation || s->call || !s->provider || s->manager->stopping || (s->garbage_retry && timer_is_armed(s->garbage_retry)))
                return;
        for (Snapshot *i = s->snapshots; i; i = i->hh.next)
                if (i->record.phase == SNAPSHOT_INTENT) {
                        if (!i->dirty)
                                delete_garbage(s, i);
                        else if (!s->garbage_wait && manager_on_commit(s->manager, on_saved, s, &s->garbage_wait) < 0)
                                log_oom();
                        return;
                }
}
