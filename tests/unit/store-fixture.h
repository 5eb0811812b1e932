/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of the store share: a folder with a store, and the least that a record needs. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "store/store.h"

typedef struct Fixture {
        char dir[64], path[96];         /* the folder, and the store's file in it, which is not there yet */
} Fixture;

int setup(void **state);
int teardown(void **state);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

Store *open_ok(const char *path);

/* Their texts are not owned. */
SessionRecord session(const char *id);
SnapshotRecord snapshot(const char *id, uint64_t generation);
JobRecord job(uint64_t id);

/* A callback that counts into the int at `userdata`. */
int count_session(const SessionRecord *r, void *userdata);
int n_sessions(Store *s);
int n_ended(Store *s, usec_t before, unsigned limit);
int n_snapshots(Store *s);
int n_jobs(Store *s);
