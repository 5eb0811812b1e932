/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#include "basic/log.h"
#include "basic/names.h"
#include "basic/string-util.h"

static int max_level = LOG_INFO;
static bool to_journal = false;
static const char *identifier_name = "swarm-orchestrator";

static const char *const log_level_names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };
DEFINE_NAMES(log_level, int)

/* systemd sets JOURNAL_STREAM to device:inode of the socket it connected stderr to. */
static bool stderr_is_journal(void) {
        const char *e = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        return e && sscanf(e, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *identifier) {
        int level = log_level_from_string(getenv("SWARM_LOG_LEVEL"));

        identifier_name = identifier;
        if (level >= 0)
                max_level = level;
        (void) log_set_target("auto");
}

int log_set_max_level(int level) {
        if (!log_level_to_string(level))
                return -EINVAL;
        max_level = level;
        return 0;
}

int log_get_max_level(void) {
        return max_level;
}

const char *log_target_to_string(void) {
        return to_journal ? "journal" : "console";
}

int log_set_target(const char *target) {
        if (streq(target, "journal"))
                to_journal = true;
        else if (streq(target, "console"))
                to_journal = false;
        else if (streq(target, "auto"))
                to_journal = stderr_is_journal();
        else
                return -EINVAL;
        return 0;
}

typedef struct Record {
        struct iovec iov[40];
        int n;
} Record;

static void record_add(Record *r, char *field) {
        if (field && r->n < (int) ELEMENTSOF(r->iov))
                r->iov[r->n++] = (struct iovec) { .iov_base = field, .iov_len = strlen(field) };
        else
                free(field);
}

static void record_add_string(Record *r, const char *key, const char *value) {
        if (value)
                record_add(r, strformat("%s=%s", key, value));
}

static void record_add_fields(Record *r, const LogFields *f) {
        record_add_string(r, "SWARM_SESSION", f->session);
        record_add_string(r, "SWARM_SESSION_NAME", f->session_name);
        record_add_string(r, "SWARM_PROVIDER", f->provider);
        record_add_string(r, "SWARM_NODE", f->node);
        if (f->owner_uid != UID_UNSET)
                record_add(r, strformat("SWARM_OWNER_UID=" "%u", f->owner_uid));
        if (f->actor_uid != UID_UNSET)
                record_add(r, strformat("SWARM_ACTOR_UID=" "%u", f->actor_uid));
        if (f->job > 0)
                record_add(r, strformat("SWARM_JOB=%" PRIu64, f->job));
        for (const char *const *e = f->extra; e && *e; e++)
                record_add(r, strdup(*e));
}

static void write_journal(int level, int error, const char *file, int line, const char *func, const char *message_id,
                          const LogFields *fields, const char *message) {
        Record r = {};

        record_add_string(&r, "MESSAGE", message);
        record_add(&r, strformat("PRIORITY=%i", level));
        record_add_string(&r, "SYSLOG_IDENTIFIER", identifier_name);
        record_add_string(&r, "CODE_FILE", file);
        record_add(&r, strformat("CODE_LINE=%i", line));
        record_add_string(&r, "CODE_FUNC", func);
        record_add_string(&r, "MESSAGE_ID", message_id);
        if (error)
                record_add(&r, strformat("ERRNO=%i", error));
        if (fields)
                record_add_fields(&r, fields);
        (void) sd_journal_sendv(r.iov, r.n);
        for (int i = 0; i < r.n; i++)
                free(r.iov[i].iov_base);
}

int log_internal(int level, int error, const char *file, int line, const char *func, const char *message_id,
                 const LogFields *fields, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;

        error = abs(error);
        if (level > max_level)
                return -error;

        va_start(ap, format);
        errno = error;
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        if (!message)
                return -error;

        if (to_journal)
                write_journal(level, error, file, line, func, message_id, fields, message);
        else
                /* One write, so that lines of parent and child do not mix; syslog prefix so that a supervisor knows the level. */
                dprintf(STDERR_FILENO, "<%i>%s%s%s%s\n", level, message, fields && fields->session ? " [" : "",
                        fields && fields->session ? fields->session : "", fields && fields->session ? "]" : "");
        return -error;
}
