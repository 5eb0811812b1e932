/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A container that is frozen and thawed past the Engine. */

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent-model.h"

#define OTHER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

typedef struct Kind {
        int (*enter)(Fixture *f);
        bool (*leave)(Fixture *f);
        const char *file, *freeze, *thaw;       /* by which the kernel is told */
        const char *state, *frozen;             /* what it says, and where, when nothing runs any more */
} Kind;

static bool leave_unified(Fixture *f) {
        child_leave_unified(f);
        return true;
}

static const Kind freezer = {
        child_enter_freezer, child_leave_freezer, "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN",
};
static const Kind unified = {
        child_enter_unified, leave_unified, "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1",
};

static void tell(int group, const char *file, const char *value) {
        int fd = openat(group, file, O_WRONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, value, strlen(value)), (ssize_t) strlen(value));
        (void) close(fd);
}

static bool is_frozen(int group, const Kind *k) {
        int fd = openat(group, k->state, O_RDONLY | O_CLOEXEC);
        char text[256] = "";

        assert_true(fd >= 0);
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        (void) close(fd);
        return strstr(text, k->frozen);
}

static int group_new(int above, const char *name) {
        int fd;

        assert_int_equal(mkdirat(above, name, 0755), 0);
        fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void freeze_and_thaw(Fixture *f, int group, const Kind *k) {
        tell(group, k->file, k->freeze);
        UNTIL(f, is_frozen(group, k));
        assert_int_equal(agent_set_frozen(ID, false), 0);
        UNTIL(f, !is_frozen(group, k));
        assert_int_equal(agent_set_frozen(ID, true), 0);
        UNTIL(f, is_frozen(group, k));
        assert_int_equal(agent_set_frozen(ID, false), 0);
        UNTIL(f, !is_frozen(group, k));
}

/* Wherever in its groups its process is: it is the container's that is frozen. */
static void in_a_group_below(Fixture *f, int group, const Kind *k) {
        int below = group_new(group, "below");

        assert_true(write_procs(below, f->child));
        freeze_and_thaw(f, group, k);
        /* One that has frozen itself is nobody else's affair. */
        tell(below, k->file, k->freeze);
        UNTIL(f, is_frozen(below, k));
        assert_int_equal(agent_set_frozen(ID, false), 0);
        assert_true(is_frozen(below, k));
        tell(below, k->file, k->thaw);
        assert_true(write_procs(group, f->child));
        (void) close(below);
        assert_int_equal(unlinkat(group, "below", AT_REMOVEDIR), 0);
}

/* Another container beside it, and what is in neither. */
static void with_another(Fixture *f, int group, const Kind *k) {
        _cleanup_free_ char *name = strformat("../swarm-test-agent-%i-" OTHER, getpid());
        int other, root = openat(group, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        pid_t pid;

        assert_int_equal(agent_set_frozen(OTHER, false), -ESRCH);
        other = group_new(group, name);
        assert_int_equal(agent_set_frozen(OTHER, true), -ESRCH);
        pid = fork();
        if (pid == 0)
                for (;;)
                        pause();
        assert_true(pid > 0);
        assert_true(write_procs(other, pid));
        tell(other, k->file, k->freeze);
        UNTIL(f, is_frozen(other, k));
        freeze_and_thaw(f, group, k);
        assert_true(is_frozen(other, k));
        assert_int_equal(agent_set_frozen(OTHER, false), 0);
        UNTIL(f, !is_frozen(other, k));
        assert_int_equal(agent_set_frozen(ID, true), 0);
        UNTIL(f, is_frozen(group, k));
        assert_false(is_frozen(other, k));

        (void) kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void) close(other);
        assert_int_equal(unlinkat(group, name, AT_REMOVEDIR), 0);
        /* It has a group of its own with another controller alone. */
        assert_true(write_procs(root, f->child));
        (void) close(root);
        assert_int_equal(agent_set_frozen(ID, false), -ENOENT);
        assert_true(write_procs(group, f->child));
}

static void try(Fixture *f, const Kind *k, void (*what)(Fixture *f, int group, const Kind *k)) {
        int group = k->enter(f);

        if (group < 0)
                skip();
        what(f, group, k);
        assert_true(k->leave(f));
}

static void test_freezer(void **state) {
        try(*state, &freezer, freeze_and_thaw);
}

static void test_freezer_below(void **state) {
        try(*state, &freezer, in_a_group_below);
}

static void test_freezer_of_another(void **state) {
        try(*state, &freezer, with_another);
}

static void test_unified(void **state) {
        try(*state, &unified, freeze_and_thaw);
}

static void test_unified_below(void **state) {
        try(*state, &unified, in_a_group_below);
}

static void test_unified_of_another(void **state) {
        try(*state, &unified, with_another);
}

/* What a freeze has left half done, with version 2; that of version 1 undoes it itself. */
static void let_run_again(Fixture *f, int group, const Kind *k) {
        tell(group, k->file, k->freeze);
        UNTIL(f, is_frozen(group, k));
        (void) agent_let_run(f->child);
        if (k == &unified)
                UNTIL(f, !is_frozen(group, k));
        else
                assert_true(is_frozen(group, k));
        tell(group, k->file, k->thaw);
}

static void test_let_run(void **state) {
        try(*state, &unified, let_run_again);
}

static void test_let_run_freezer(void **state) {
        try(*state, &freezer, let_run_again);
}

/* An Engine that does not answer is helped by the kernel; what it then takes for frozen is frozen again, for it to thaw. */
static void thaw_past_the_engine(Fixture *f, int group, const Kind *k) {
        assert_int_equal(note_write_frozen(f->a->frozen_dir, ID), 0);
        MODEL(f, m->paused = m->stuck = true);
        tell(group, k->file, k->freeze);
        UNTIL(f, is_frozen(group, k));
        f->n_done = 0;
        assert_int_equal(agent_thaw(f->a, ID, on_done, f, NULL), 0);
        UNTIL(f, !is_frozen(group, k));
        UNTIL(f, MODEL(f, m->stuck_fd) > 0);
        assert_int_equal(f->n_done, 0);
        comes_round(f);
        run_until(f, 1);
        assert_int_equal(f->r, 0);
        assert_int_equal(MODEL(f, m->n_unpause), 2);
        assert_false(MODEL(f, m->paused));
        assert_false(noted(f));
        assert_false(is_frozen(group, k));
}

static void test_thaw(void **state) {
        try(*state, &unified, thaw_past_the_engine);
}

static void test_thaw_freezer(void **state) {
        try(*state, &freezer, thaw_past_the_engine);
}

/* Where a test has failed: what is frozen by version 1 does not even die. */
static int thaw_and_teardown(void **state) {
        Fixture *f = *state;

        if (f->freezer_fd > 0)
                (void) child_leave_freezer(f);
        return teardown(state);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, thaw_and_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_freezer), T(test_freezer_below), T(test_freezer_of_another),
                T(test_unified), T(test_unified_below), T(test_unified_of_another),
                T(test_let_run), T(test_let_run_freezer), T(test_thaw), T(test_thaw_freezer),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
