/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <langinfo.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <fcntl.h>

#include "output.h"

#define PAGER_WORDS_MAX 16

static pid_t pager_pid;
static int pager_stdout = -EBADF;       /* what stdout was before */

static const char *pager_program(void) {
        static const char *const variables[] = { "SYSTEMD_PAGER", "PAGER" };

        for (size_t i = 0; i < ELEMENTSOF(variables); i++) {
                const char *s = getenv(variables[i]);
                if (s)
                        return s;
        }
        return "less";
}

/* A program with arguments, as in PAGER="less -R". Returns only if it cannot be run. */
static void exec_words(const char *line) {
        _cleanup_free_ char *copy = strdup(line);
        char *words[PAGER_WORDS_MAX + 1] = {}, *rest = copy;

        for (size_t n = 0; rest && n < PAGER_WORDS_MAX;) {
                char *word = strsep(&rest, " \t");
                if (*word)
                        words[n++] = word;
        }
        if (words[0])
                (void) execvp(words[0], words);
}

static _noreturn_ void pager_run(const char *program, int input, pid_t parent) {
        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(EXIT_SUCCESS);
        (void) dup2(input, STDIN_FILENO);
        /* As systemd's tools: quit at the end of one page, keep colours, leave the screen as it is. Secure mode, since
         * what is shown comes from others. */
        (void) setenv("LESS", getenv("SYSTEMD_LESS") ?: "FRSXMK", true);
        const char *charset = getenv("SYSTEMD_LESSCHARSET") ?: streq(nl_langinfo(CODESET), "UTF-8") ? "utf-8" : NULL;
        if (charset)
                (void) setenv("LESSCHARSET", charset, true);
        (void) setenv("LESSSECURE", "1", true);
        exec_words(program);
        /* No such program: the text as it is. */
        (void) execlp("cat", "cat", (char *) NULL);
        _exit(EXIT_FAILURE);
}

void pager_open(const Arguments *a) {
        const char *program = pager_program(), *term = getenv("TERM");
        int p[2];

        if (pager_pid > 0 || !a->pager || !isatty(STDOUT_FILENO) || STR_IN_SET(program, "", "cat") || streq(strempty(term), "dumb"))
                return;
        if (pipe2(p, O_CLOEXEC) < 0)
                return;
        (void) output_flush();
        pid_t self = getpid();
        pager_pid = fork();
        if (pager_pid == 0)
                pager_run(program, p[0], self);
        if (pager_pid > 0) {
                pager_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
                (void) dup2(p[1], STDOUT_FILENO);
        }
        (void) close(p[0]);
        (void) close(p[1]);
}

void pager_close(void) {
        if (pager_pid <= 0)
                return;
        (void) output_flush();
        (void) dup2(pager_stdout, STDOUT_FILENO);
        (void) close(pager_stdout);
        (void) waitpid(pager_pid, NULL, 0);
        pager_pid = 0;
}
