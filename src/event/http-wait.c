/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "event/event-util.h"
#include "event/http.h"

typedef struct Outcome {
        bool done;
        int r;
        long status;
        char *body;
} Outcome;

static void on_done(HttpRequest *req, const HttpResponse *response, void *userdata) {
        Outcome *o = userdata;

        o->done = true;
        o->r = response->failure == HTTP_OK ? 0 : response->failure == HTTP_TIMEOUT ? -ETIMEDOUT : -EHOSTDOWN;
        o->status = response->status;
        o->body = response->body ? strdup(response->body) : NULL;
}

int http_request_and_wait(const HttpEndpoint *endpoint, const HttpSpec *spec, long *ret_status, char **ret_body) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(http_freep) Http *http = NULL;
        HttpSpec own = *spec;
        Outcome o = {};
        int r;

        /* A loop of its own, so that nothing else of the process runs meanwhile. */
        r = sd_event_new(&event);
        if (r < 0)
                return r;
        r = http_new(event, &http);
        if (r < 0)
                return r;
        own.on_data = NULL;
        own.on_done = on_done;
        own.userdata = &o;
        r = http_request(http, endpoint, &own, &(HttpRequest *) { NULL });
        while (r >= 0 && !o.done)
                r = sd_event_run(event, UINT64_MAX);
        if (r >= 0)
                r = o.r;
        if (r < 0) {
                free(o.body);
                return r;
        }
        *ret_status = o.status;
        *ret_body = o.body;
        return 0;
}
