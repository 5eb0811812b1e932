/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stands between an agent and its Engine, on the loop of the test, and holds back a request until it is let go. So what
 * the test does meanwhile comes for certain after all that the agent asked before, and before that request. */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct EngineGate EngineGate;

/* Listens at `path` for who wants to speak to the Engine at `engine`. */
int engine_gate_new(sd_event *event, const char *path, const char *engine, EngineGate **ret);
EngineGate *engine_gate_free(EngineGate *g);

/* Requests with that in their head are held back from now on. */
void engine_gate_hold(EngineGate *g, const char *request);
/* How many are. One whose sender has hung up is not, and never reaches the Engine. */
unsigned engine_gate_held(const EngineGate *g);
/* All are answered with 500 instead, and none is held back any more. */
void engine_gate_refuse(EngineGate *g);
/* All go on to the Engine, and none is held back any more. */
void engine_gate_let_go(EngineGate *g);
