/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "provider/agent-internal.h"

static int request(Agent *a, const char *of, const AgentRequest *r, EngineCall **ret) {
        _cleanup_free_ char *path = strformat("/%s/%s%s%s", of, r->container, *r->verb == '?' ? "" : "/", r->verb);
        int k;

        if (!path)
                return -ENOMEM;
        k = engine_call(a->engine, &(const EngineRequest) {
                .method = r->method,
                .path = path,
                .body = r->body,
                .timeout_usec = r->timeout_usec,
                .once = r->once,
                .on_done = r->on_done,
                .userdata = r->userdata,
        }, ret);
        return MIN(k, 0);
}

int agent_request(Agent *a, const AgentRequest *r, EngineCall **ret) {
        return request(a, "containers", r, ret);
}

int agent_request_exec(Agent *a, const AgentRequest *r, EngineCall **ret) {
        return request(a, "exec", r, ret);
}

int agent_request_events(Agent *a, const AgentEventsRequest *r, EngineCall **ret) {
        _cleanup_free_ char *filters = NULL, *until = NULL, *path = NULL;
        int k;

        filters = r->event ? engine_filters("type", "container", "container", r->container, "event", r->event, NULL)
                           : engine_filters("type", "container", "container", r->container, "event", "start", "event", "pause", "event", "unpause",
                                            "event", "kill", "event", "die", "event", "extract-to-dir", "event", "destroy", NULL);
        until = r->until_usec == 0 ? strdup("") : strformat("&until=%" PRIu64 ".%06" PRIu64, r->until_usec / USEC_PER_SEC, r->until_usec % USEC_PER_SEC);
        path = filters && until ? strformat("/events?since=%" PRIu64 ".%06" PRIu64 "%s&filters=%s",
                                            r->since_usec / USEC_PER_SEC, r->since_usec % USEC_PER_SEC, until, filters) : NULL;
        if (!path)
                return -ENOMEM;
        k = engine_call(a->engine, &(const EngineRequest) {
                .method = "GET",
                .path = path,
                .timeout_usec = r->timeout_usec,
                .on_object = r->on_object,
                .on_done = r->on_done,
                .userdata = r->userdata,
        }, ret);
        return MIN(k, 0);
}

int agent_refuse_answer(Agent *a, const char *container, const char *doing, const EngineAnswer *answer, Refusal **reterr_refusal) {
        switch (answer->outcome) {
        case ENGINE_OK:
                return -EPROTO;
        case ENGINE_RETRYABLE:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "Container %.*s cannot be reached (%s): the Docker Engine at %s does not answer (%s). "
                              "Start it, then try again.", CONTAINER_SHORT, container, doing, engine_socket(a->engine), answer->message);
        case ENGINE_UNKNOWN:
                return refuse(reterr_refusal, REFUSAL_PROVIDER_UNAVAILABLE,
                              "The Docker Engine at %s did not say in time whether it did it (%s, container %.*s): %s. Try again.",
                              engine_socket(a->engine), doing, CONTAINER_SHORT, container, answer->message);
        default:
                if (answer->status == 404)
                        return refuse(reterr_refusal, REFUSAL_FILES_CHANGED,
                                      "Container %.*s is not there any more: somebody removed it, with the files that were not saved.",
                                      CONTAINER_SHORT, container);
                return refuse(reterr_refusal, REFUSAL_PROVIDER_FAILED, "The Docker Engine at %s did not do it (%s, container %.*s): %s.",
                              engine_socket(a->engine), doing, CONTAINER_SHORT, container, answer->message);
        }
}

bool agent_answer_has(const EngineAnswer *answer, const char *words) {
        return answer->message && strstr(answer->message, words);
}
