/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a witness holds now, as a call of its own. The agent asks that only within a capture and before a kill. */

#include "provider/agent-internal.h"

static inline int inspected_for_witness(VerbCall *c, const ContainerFacts *facts, Refusal **reterr_refusal) {
        return witness_check(c->base.agent, c->witness, facts, reterr_refusal);
}

/* 0: it holds. REFUSAL_FILES_CHANGED: it does not. */
static inline int agent_check_witness(Agent *a, const char *container, const char *witness, provider_done_cb cb, void *userdata, ProviderCall **ret) {
        static const Verb verb = { sizeof(VerbCall), verb_inspect, inspected_for_witness };

        return verb_start(a, &verb, container, &(const VerbCall) { .witness = (char *) witness, .cb = cb, .userdata = userdata }, ret);
}
