/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "stream/stream-terminal.h"

/* The caller may give the terminal other modes, by which typing makes signals, or close it. */
static void ignore_signals(void) {
        static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU };
        struct sigaction ignore = { .sa_handler = SIG_IGN };

        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaction(signals[i], &ignore, NULL);
}

static int make_raw(int fd) {
        struct termios t;

        if (tcgetattr(fd, &t) < 0)
                return -errno;
        cfmakeraw(&t);
        return tcsetattr(fd, TCSANOW, &t) < 0 ? -errno : 0;
}

/* The kernel tells of a new size only the processes of the session whose terminal it is. */
static int make_controlling(int fd) {
        if (setsid() < 0 && getsid(0) != getpid())
                return -errno;
        return ioctl(fd, TIOCSCTTY, 0) < 0 ? -errno : 0;
}

int stream_terminal_open(int fd, int *ret_signals) {
        int flags, r = make_raw(fd);
        sigset_t mask;

        if (r < 0)
                return r;
        ignore_signals();
        sigemptyset(&mask);
        sigaddset(&mask, SIGWINCH);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = make_controlling(fd);
        if (r < 0)
                return r;
        /* The caller has the other end; nobody else has this one. */
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        *ret_signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return *ret_signals < 0 ? -errno : 0;
}

bool stream_terminal_resized(int fd, int signals, unsigned *rows, unsigned *columns) {
        struct signalfd_siginfo si;
        struct winsize size;

        /* Before the look at the size, so that a later one makes itself known again. */
        while (read(signals, &si, sizeof(si)) > 0)
                ;
        if (ioctl(fd, TIOCGWINSZ, &size) < 0 || (size.ws_row == *rows && size.ws_col == *columns))
                return false;
        *rows = size.ws_row;
        *columns = size.ws_col;
        return true;
}
