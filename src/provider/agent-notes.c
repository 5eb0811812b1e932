/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "provider/agent-internal.h"

#define NOTE_MAX (64 * KIB)

static int note_write(const char *dir, const char *container, json_t *json) {
        _cleanup_json_ json_t *owned = json;
        _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        return text ? write_file_atomic(dir, container, text) : -ENOMEM;
}

int note_write_frozen(const char *dir, const char *container) {
        return note_write(dir, container, json_pack("{s:s, s:I}", "state", "frozen", "since_usec", (json_int_t) agent_now(CLOCK_REALTIME)));
}

int note_write_killed(const char *dir, const char *container, const char *witness, const char *started_at) {
        return note_write(dir, container, json_pack("{s:s, s:s, s:s}", "state", "killed", "witness", witness, "started_at", started_at));
}

void note_done(Note *n) {
        free(n->witness);
        free(n->started_at);
        *n = (Note) {};
}

int note_read(const char *dir, const char *container, Note *ret) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container), *text = NULL;
        _cleanup_json_ json_t *json = NULL;
        Note n = {};
        int r;

        if (!path)
                return -ENOMEM;
        r = read_file(path, NOTE_MAX, &text);
        if (r < 0)
                return r;
        /* That it is there says that it was us; what cannot be read in it is taken for frozen. */
        json = json_loads(text, 0, NULL);
        if (streq_ptr(json_string_at(json, "state"), "killed")) {
                r = free_and_strdup(&n.witness, json_string_at(json, "witness"));
                if (r >= 0)
                        r = free_and_strdup(&n.started_at, json_string_at(json, "started_at"));
                if (r < 0) {
                        note_done(&n);
                        return r;
                }
        }
        *ret = n;
        return 0;
}

bool note_exists(const char *dir, const char *container) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container);

        return path && access(path, F_OK) >= 0;
}

bool note_says_frozen(const char *dir, const char *container) {
        Note note = {};
        bool frozen;

        if (note_read(dir, container, &note) < 0)
                return false;
        frozen = !note.witness;
        note_done(&note);
        return frozen;
}

int note_remove(const char *dir, const char *container) {
        _cleanup_free_ char *path = strformat("%s/%s", dir, container);

        if (!path)
                return -ENOMEM;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int note_refuse(const char *dir, const char *container, const char *what, int error, Refusal **reterr_refusal) {
        if (error != -ENOSPC && error != -EDQUOT && error != -EROFS)
                return error;
        return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED, "Container %.*s %s, because that cannot be noted in %s: %s. Make room there, then try again.",
                      CONTAINER_SHORT, container, what, dir, strerror(-error));
}
