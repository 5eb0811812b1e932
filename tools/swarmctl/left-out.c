/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "left-out.h"

/* So many are shown, and so many the service keeps. */
#define SHOWN_MAX 10
#define KEPT_MAX 100
/* Only a remark depends on it. */
#define CALL_TIMEOUT_USEC (10 * USEC_PER_SEC)

static bool is_socket(const json_t *entry) {
        const char *s = json_string_value(entry);
        return s && endswith(s, " (socket)");
}

static size_t count(const json_t *entries, bool sockets) {
        size_t n = 0;

        for (size_t i = 0; i < json_array_size(entries); i++)
                n += is_socket(json_array_get(entries, i)) == sockets;
        return n;
}

static void show(const json_t *entries, bool sockets, size_t *left) {
        for (size_t i = 0; i < json_array_size(entries) && *left > 0; i++) {
                const json_t *entry = json_array_get(entries, i);

                if (is_socket(entry) != sockets)
                        continue;
                (void) report(0, "  %s", strempty(json_string_value(entry)));
                (*left)--;
        }
}

int left_out_print(const json_t *snapshot, const char *label, bool sockets) {
        const json_t *entries = json_object_get(snapshot, "Dropped");
        uint64_t generation = value_u64(snapshot, "Generation");
        size_t names = count(entries, false), n = names + (sockets ? count(entries, true) : 0), left = SHOWN_MAX;

        if (n == 0)
                return 0;
        (void) report(0, "Left out of generation %" PRIu64 " of %s, as no layer can hold it (%s%zu):", generation, label,
                      json_array_size(entries) >= KEPT_MAX ? "at least " : "", n);
        show(entries, false, &left);
        if (sockets)
                show(entries, true, &left);
        if (n > SHOWN_MAX)
                (void) report(0, "  … and %zu more: 'swarmctl snapshots %s --json' has them under Dropped.", n - SHOWN_MAX, label);
        return 0;
}

static int list_snapshots(Context *c, const char *session, json_t **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;

        int r = sd_bus_message_new_method_call(c->bus, &m, SWARM_BUS_NAME, SWARM_PATH, SWARM_INTERFACE_MANAGER, "ListSnapshots");
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}t", session, 0, UINT64_C(0));
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(m, false);
        if (r >= 0)
                r = sd_bus_call(c->bus, m, CALL_TIMEOUT_USEC, NULL, &reply);
        return r < 0 ? r : value_read(reply, ret);
}

int left_out_report(Context *c, const json_t *job, const char *label) {
        const char *type = value_string(job, "Type"), *session = value_string(job, "Session");
        _cleanup_json_ json_t *snapshots = NULL;
        json_t *snapshot;
        size_t i;

        if (!streq_ptr(value_string(job, "State"), "done") || !type || !session || !STR_IN_SET(type, "stop", "restart", "hibernate", "snapshot"))
                return 0;
        int r = list_snapshots(c, session, &snapshots);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {            /* gone since, or another's */
                if (c->args->lossy)
                        (void) report(0, "What was left out, if anything, could not be read: 'swarmctl snapshots %s --json' has it under Dropped.", label);
                return 0;
        }
        json_array_foreach(snapshots, i, snapshot)
                if (value_u64(snapshot, "Job") == value_u64(job, "Id"))
                        return left_out_print(snapshot, label, c->args->lossy);
        return 0;
}
