/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>

#include "basic/crash-points.h"
#include "basic/string-util.h"

#if HAVE_CRASH_POINTS
static const char *const crash_point_names[_CRASH_POINT_MAX] = {
#define X(id, name) [CRASH_##id] = name,
        CRASH_POINT_TABLE(X)
#undef X
};

void crash_point(CrashPoint p) {
        const char *name = crash_point_names[p], *wanted = getenv("SWARM_CRASH_POINT"), *log = getenv("SWARM_CRASH_LOG");

        if (log) {
                _cleanup_close_ int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
                if (fd >= 0)
                        dprintf(fd, "%s\n", name);
        }
        if (wanted && streq(wanted, name))
                (void) kill(getpid(), SIGKILL);
}
#endif
