/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into a child under test: while the file that SWARM_CLOCK_AHEAD names exists, the clock is an hour ahead. */

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *ts) {
        const char *ahead = getenv("SWARM_CLOCK_AHEAD");
        int r = (int) syscall(SYS_clock_gettime, clock, ts);

        if (r >= 0 && clock == CLOCK_REALTIME && ahead && access(ahead, F_OK) >= 0)
                ts->tv_sec += 3600;
        return r;
}
