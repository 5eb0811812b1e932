/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Names in the filters of lists: one that means nothing is refused, for an empty list would look like an answer. A name
 * means something while it is configured, and while a session has it, be it one that has ended. */

#include "front/front-internal.h"

#define SHOWN_MAX 10

/* Those that were found are NULL. */
static void found(FilterNames *n, const char *template_name, const char *provider, const char *node) {
        if (n->template_name && streq_ptr(n->template_name, template_name))
                n->template_name = NULL;
        if (n->provider && streq_ptr(n->provider, provider))
                n->provider = NULL;
        if (n->node && streq_ptr(n->node, node))
                n->node = NULL;
}

static bool all_found(const FilterNames *n) {
        return !n->template_name && !n->provider && !n->node;
}

static int on_ended(const SessionRecord *r, void *userdata) {
        found(userdata, r->template_name, r->provider, r->node);
        return all_found(userdata) ? -ECANCELED : 0;
}

static int join(char **s, size_t n, const char *name) {
        if (n > SHOWN_MAX)
                return 0;
        char *longer = strformat("%s%s%s", strempty(*s), n > 0 ? ", " : "", n < SHOWN_MAX ? name : "…");
        free(*s);
        *s = longer;
        return longer ? 0 : -ENOMEM;
}

static int refuse_template(Front *f, const char *name, Refusal **reterr_refusal) {
        _cleanup_free_ char *all = NULL;
        const Template *t;

        for (size_t i = 0; (t = template_table_nth(f->manager->templates, i)); i++)
                if (join(&all, i, t->name) < 0)
                        return -ENOMEM;
        return refuse(reterr_refusal, REFUSAL_NO_SUCH_TEMPLATE,
                      "There is no template \"%.64s\", and no session was made from one of that name. %s%s.", name,
                      all ? "Known are: " : "No template is configured yet", strempty(all));
}

int front_refuse_provider(Front *f, const char *name, Refusal **reterr_refusal) {
        _cleanup_free_ char *all = NULL;
        size_t i = 0;

        for (const ProviderEntry *e = f->manager->providers; e; e = e->hh.next)
                if (join(&all, i++, e->name) < 0)
                        return -ENOMEM;
        return refuse(reterr_refusal, REFUSAL_NO_SUCH_PROVIDER, "There is no provider \"%.64s\". %s%s.", name,
                      all ? "Known are: " : "None is configured", strempty(all));
}

static int refuse_node(Front *f, const char *name, Refusal **reterr_refusal) {
        _cleanup_free_ char *all = NULL;
        size_t i = 0;

        /* Nobody knows its nodes before it has told. */
        for (const ProviderEntry *e = f->manager->providers; e; e = e->hh.next)
                if (!e->listed)
                        return 0;
        for (const Node *n = f->manager->nodes; n; n = n->hh.next)
                if (join(&all, i++, isempty(n->name) ? n->id : n->name) < 0)
                        return -ENOMEM;
        return refuse(reterr_refusal, REFUSAL_NO_SUCH_NODE, "There is no node \"%.64s\", and no session ran on one of that id. %s%s.", name,
                      all ? "Known are: " : "No node is known now", strempty(all));
}

/* By id or by name. */
static int find_node(Front *f, FilterNames *names, FilterNames *missing, Refusal **reterr_refusal) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        Node *n;

        int r = manager_get_node(f->manager, names->node, &n, &refusal);
        if (r >= 0) {
                names->node = n->id;
                missing->node = NULL;
                return 0;
        }
        if (r != -EBADRQC || refusal->code == REFUSAL_NO_SUCH_NODE)
                return r == -EBADRQC ? 0 : r;
        if (reterr_refusal)
                *reterr_refusal = TAKE_PTR(refusal);
        return r;       /* several have that name */
}

int front_check_names(Front *f, FilterNames *names, Refusal **reterr_refusal) {
        FilterNames missing = *names;
        Session *s, *next;
        int r = 0;

        if (missing.node)
                r = find_node(f, names, &missing, reterr_refusal);
        if (r < 0)
                return r;
        if (missing.template_name && template_table_find(f->manager->templates, missing.template_name))
                missing.template_name = NULL;
        if (missing.provider && manager_find_provider(f->manager, missing.provider))
                missing.provider = NULL;
        if (all_found(&missing))
                return 0;
        HASH_ITER(hh_id, f->manager->sessions_by_id, s, next)
                found(&missing, s->template_name, s->provider_name, s->node);
        if (!all_found(&missing))
                r = store_each_ended_session(f->manager->store, 0, UINT32_MAX, on_ended, &missing);
        if (all_found(&missing))
                return 0;
        if (r < 0)
                return r;
        if (missing.template_name)
                return refuse_template(f, missing.template_name, reterr_refusal);
        if (missing.provider)
                return front_refuse_provider(f, missing.provider, reterr_refusal);
        return refuse_node(f, missing.node, reterr_refusal);
}
