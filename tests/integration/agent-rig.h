/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the agent's tests on a real Engine, registry and swarm-layer share. They run in a rig, by agent-live.sh. */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../check-witness.h"
#include "provider/agent-internal.h"

typedef struct Fixture {
        sd_event *event;
        Http *http;
        Agent *a;
        char dir[64], socket[PATH_MAX];
        char base[256];
        char container[65];
        unsigned generation;

        unsigned n_done;
        char stage[32];
        int r;
        RefusalCode code;
        char message[1024], image[256], witness[512];
        uint64_t bytes;
        bool unchanged;
        usec_t frozen_usec, begun_usec, took_usec;
        void (*on_stage)(struct Fixture *f);
} Fixture;

/* 77, to be returned: this does not run in a rig. */
int need_rig(void);
int setup(void **state);
int teardown(void **state);
/* Another agent, in the place of one that was freed, which speaks to the Engine at f->socket. */
int make_agent(Fixture *f, const char *layer);

/* A shell's exit status; -1: a signal. */
int run(char *output, size_t size, const char *format, ...) _printf_(3, 4);
#define RUN(...) assert_int_equal(run(NULL, 0, __VA_ARGS__), 0)

/* It writes, and would leave a mark if a signal reached its handler. */
#define WRITER "trap 'echo trapped >/trapped; exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i >/counter; [ $((i%50)) = 0 ] && sleep 0.01; done"
#define IDLER "trap 'echo saved >/trapped; exit 0' TERM; while :; do sleep 0.1; done"

void start_container(Fixture *f, const char *image, const char *program);
/* `what` as in docker inspect -f. */
void inspect(Fixture *f, const char *what, char *ret, size_t size);
void assert_inspect(Fixture *f, const char *what, const char *expected);
void upperdir(Fixture *f, char *ret, size_t size);

void on_done(void *userdata, int r, const Refusal *refusal);
/* Turns the loop until the call is done. */
int settle(Fixture *f);
void run_for(Fixture *f, usec_t usec);
/* Turns the loop until that is so; the deadline only bounds a failure. */
#define UNTIL(f, condition)                                                             \
        do {                                                                            \
                usec_t _end = agent_now(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;           \
                while (!(condition)) {                                                  \
                        assert_true(sd_event_run((f)->event, 10 * USEC_PER_MSEC) >= 0); \
                        assert_true(agent_now(CLOCK_MONOTONIC) < _end);                 \
                }                                                                       \
        } while (0)
#define CALL(f, what) ({ (f)->n_done = 0; assert_int_equal(what, 0); settle(f); })

int begin_capture(Fixture *f, CaptureMode mode, ProviderCall **ret);
int capture(Fixture *f, CaptureMode mode);
