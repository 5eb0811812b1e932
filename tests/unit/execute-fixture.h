/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Commands in the container of the model. */

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include "agent-model.h"

#define HELD "{\"end\":\"engine\"}"
#define GIVEN_UP "{\"end\":\"caller\"}"

/* A command with nothing to read, whose output nobody wants. */
static inline int execute(Fixture *f, ProviderCall **ret) {
        static char *const argv[] = { (char *) "make", (char *) "all", NULL };
        _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int fds[] = { null, null, null };

        f->n_done = f->n_begun = 0;
        return agent_execute(f->a, ID, &(const ProviderCommand) { .argv = (char *const *) argv, .fds = fds, .n_fds = 3 },
                             on_begun, on_command_done, f, ret);
}

static inline int run(Fixture *f) {
        assert_int_equal(execute(f, NULL), 0);
        run_until(f, 1);
        return f->r;
}

static inline bool command_noted(Fixture *f) {
        return note_exists(f->a->commands_dir, EXEC);
}

/* Its process is there, and it waits to be told how it ends. */
static inline void begin(Fixture *f, bool ignores_hangup, ProviderCall **ret) {
        unsigned n = MODEL(f, m->n_look);

        command_start(f, ignores_hangup);
        stream_modes(f, "wait");
        assert_int_equal(execute(f, ret), 0);
        UNTIL(f, f->n_begun == 1);
        /* Its process is found by two looks. */
        UNTIL(f, MODEL(f, m->n_look) >= n + 2);
        assert_int_equal(f->n_done, 0);
        /* Answers come in order: this one behind that of the second look. */
        assert_int_equal(CALL(f, agent_remove(f->a, ID, on_done, f, NULL)), 0);
        f->n_done = 0;
        assert_true(command_noted(f));
}

static inline bool command_lives(Fixture *f) {
        return waitpid(MODEL(f, m->command), NULL, WNOHANG) == 0;
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
