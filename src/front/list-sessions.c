/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Manager.ListSessions: filters, columns, pages. The living are in the order of their names, and `next` is the last
 * name of the page; the ended, from the store, newest first, and `next` is the time of the last one. */

#include "front/front-internal.h"

typedef struct Filter {
        const char *state, *organization, *node, *provider, *template_name, *label, *after;
        Strv fields;
        uint32_t owner, limit;
        bool ended;
} Filter;

enum { GIVEN_OWNER, GIVEN_LIMIT };
static const BusOption filter_options[] = {
        [GIVEN_OWNER] = BUS_OPTION("owner", "u", Filter, owner),
        [GIVEN_LIMIT] = BUS_OPTION("limit", "u", Filter, limit),
        BUS_OPTION("state", "s", Filter, state),
        BUS_OPTION("organization", "s", Filter, organization),
        BUS_OPTION("node", "s", Filter, node),
        BUS_OPTION("provider", "s", Filter, provider),
        BUS_OPTION("template", "s", Filter, template_name),
        BUS_OPTION("label", "s", Filter, label),
        BUS_OPTION("ended", "b", Filter, ended),
        BUS_OPTION("fields", "as", Filter, fields),
        BUS_OPTION("after", "s", Filter, after),
};

typedef struct Columns {
        const BusField *v[64];
        size_t n;
        bool private;           /* some are, or the filter looks at labels */
        bool spec;              /* some come from Session.spec, or the filter does */
} Columns;

typedef struct Query {
        Filter filter;
        uint64_t given;
        SessionState state;
        Columns columns;
        Page page;
        usec_t last_ended_usec;
        bool more;
} Query;

static void query_done(Query *q) {
        strv_free(q->filter.fields);
        page_done(&q->page);
}

static bool given(const Query *q, unsigned option) {
        return (q->given >> option) & 1;
}

static void columns_add(Columns *c, const BusField *f) {
        if (c->n < ELEMENTSOF(c->v))
                c->v[c->n++] = f;
        c->private |= !!(f->flags & FIELD_PRIVATE);
        c->spec |= !!(f->flags & FIELD_SPEC);
}

static int columns_read(Columns *c, const Filter *filter, Refusal **reterr_refusal) {
        c->private = c->spec = !!filter->label;
        for (const BusField *f = session_fields; !filter->fields && f->name; f++)
                if (f->flags & FIELD_DEFAULT)
                        columns_add(c, f);
        STRV_FOREACH(name, filter->fields) {
                const BusField *f = bus_field_find(session_fields, *name);

                if (!f || !(f->flags & (FIELD_PUBLIC | FIELD_PRIVATE)))
                        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                                      "Sessions have no field \"%.64s\". Fields are the properties that 'swarmctl show' (GetAll) prints, Path, Labels, Command, Environment, Routes, BaseImage, and for ended ones EndedUSec, EndReason, EndedBy.",
                                      *name);
                if ((f->flags & FIELD_ENDED) && !filter->ended)
                        return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                                      "Only ended sessions have the field \"%s\"; ask for those, with --ended (option `ended`).", *name);
                for (size_t i = 0; i < c->n; i++)
                        if (c->v[i] == f)
                                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "The field \"%s\" is given twice; leave one out.", *name);
                columns_add(c, f);
        }
        return 0;
}

static bool label_matches(char *const *labels, const char *wanted) {
        size_t n = strlen(wanted);

        for (; labels && *labels; labels++)
                if (streq(*labels, wanted) || (!strchr(wanted, '=') && startswith(*labels, wanted) && (*labels)[n] == '='))
                        return true;
        return false;
}

static bool matches(const Query *q, const Session *s) {
        const Filter *f = &q->filter;

        return (!f->state || s->state == q->state) &&
               (!given(q, GIVEN_OWNER) || s->owner_uid == f->owner) &&
               (!f->organization || streq_ptr(s->organization, f->organization)) &&
               (!f->node || streq_ptr(s->node, f->node)) &&
               (!f->provider || streq_ptr(s->provider_name, f->provider)) &&
               (!f->template_name || streq_ptr(s->template_name, f->template_name)) &&
               (!f->label || label_matches(s->spec.labels, f->label));
}

static int append_row(Query *q, const Session *s) {
        int r;

        r = sd_bus_message_open_container(q->page.reply, 'a', "{sv}");
        if (r < 0)
                return r;
        for (size_t i = 0; i < q->columns.n; i++) {
                r = bus_field_append_entry(q->page.reply, q->columns.v[i], s);
                if (r < 0)
                        return r;
                q->page.bytes += (size_t) r;
        }
        q->page.rows++;
        return sd_bus_message_close_container(q->page.reply);
}

static int by_name(const void *a, const void *b) {
        return strcmp((*(const Session *const *) a)->name, (*(const Session *const *) b)->name);
}

static int send_living(Query *q, Manager *m) {
        _cleanup_free_ Session **list = calloc(HASH_CNT(hh_id, m->sessions_by_id) + 1, sizeof(*list));
        size_t n = 0, i;
        Session *s, *next;
        int r;

        if (!list)
                return -ENOMEM;
        HASH_ITER(hh_id, m->sessions_by_id, s, next)
                if (s->ended_usec == 0 && (isempty(q->filter.after) || strcmp(s->name, q->filter.after) > 0) && matches(q, s))
                        list[n++] = s;
        qsort(list, n, sizeof(*list), by_name);
        for (i = 0; i < n && !page_is_full(&q->page); i++) {
                r = append_row(q, list[i]);
                if (r < 0)
                        return r;
        }
        return page_send(&q->page, i < n ? list[i - 1]->name : NULL);
}

/* A session as it was, as far as the record says. All strings stay the record's. */
static Session session_of_record(const SessionRecord *r) {
        return (Session) {
                .id = r->id,
                .name = r->name,
                .state = session_state_from_string(strempty(r->state)),
                .state_detail = r->end_reason,
                .stop_reason = stop_reason_from_string(strempty(r->stop_reason)),
                .owner_uid = r->owner_uid,
                .organization = r->organization,
                .provider_name = r->provider,
                .template_name = r->template_name,
                .node = r->node,
                .image = r->image,
                .base_image = r->base_image,
                .created_usec = r->created_usec,
                .started_usec = r->started_usec,
                .stopped_usec = r->stopped_usec,
                .last_activity_usec = r->last_activity_usec,
                .ended_usec = r->ended_usec,
                .ended_by_uid = r->ended_by_uid,
        };
}

static int on_ended(const SessionRecord *record, void *userdata) {
        Query *q = userdata;
        Session s = session_of_record(record);
        int r = 0;

        /* Several that ended within one microsecond stay on one page: the next begins before that time. */
        if (page_is_full(&q->page) && record->ended_usec != q->last_ended_usec) {
                q->more = true;
                return -ECANCELED;
        }
        if (s.state < 0)
                s.state = SESSION_GONE;
        if (q->columns.spec && record->spec) {
                r = session_spec_from_json(record->spec, &s.spec);
                if (r == -EBADMSG)
                        r = 0;
        }
        if (r >= 0 && matches(q, &s)) {
                r = append_row(q, &s);
                q->last_ended_usec = record->ended_usec;
        }
        session_spec_done(&s.spec);
        return r < 0 ? r : 0;
}

static int send_ended(Query *q, Manager *m, Refusal **reterr_refusal) {
        char next[sizeof("18446744073709551615")] = "";
        uint64_t before = 0;
        int r;

        if (!isempty(q->filter.after) && parse_u64(q->filter.after, &before) < 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT, "ListSessions: \"%.64s\" is not the `next` of an earlier page.",
                              q->filter.after);
        r = store_each_ended_session(m->store, before, UINT32_MAX, on_ended, q);
        if (r < 0 && !(r == -ECANCELED && q->more))
                return r;
        if (q->more)
                (void) snprintf(next, sizeof(next), "%" PRIu64, q->last_ended_usec);
        return page_send(&q->page, next);
}

static int check_names(Front *f, Filter *filter, Refusal **reterr_refusal) {
        FilterNames names = { .template_name = filter->template_name, .provider = filter->provider, .node = filter->node };
        int r;

        r = front_check_names(f, &names, reterr_refusal);
        filter->node = names.node;
        return r;
}

static int query_read(sd_bus_message *m, uid_t uid, Query *q, Refusal **reterr_refusal) {
        int r;

        r = bus_options_read(m, "ListSessions", filter_options, ELEMENTSOF(filter_options), &q->filter, &q->given, reterr_refusal);
        if (r < 0)
                return r;
        r = bus_flags_read(m, "ListSessions", SWARM_FLAGS_NONE, NULL, reterr_refusal);
        if (r < 0)
                return r;
        if (q->filter.state && (q->state = session_state_from_string(q->filter.state)) < 0)
                return refuse(reterr_refusal, REFUSAL_INVALID_ARGUMENT,
                              "\"%.64s\" is not a state of a session. Known are: new, placing, starting, running, stopping, stopped, hibernating, hibernated, resuming, exited, failed, lost, destroying, gone.",
                              q->filter.state);
        r = columns_read(&q->columns, &q->filter, reterr_refusal);
        if (r < 0)
                return r;
        return page_open(m, uid, q->filter.limit, given(q, GIVEN_LIMIT), &q->page, reterr_refusal);
}

/* Who sees the labels of others' sessions could also manage them. */
static int authorize_private(Front *f, sd_bus_message *m, uid_t uid, const Query *q, sd_bus_error *reterr) {
        bool own = given(q, GIVEN_OWNER) && q->filter.owner == uid;
        Subject subject = NO_SUBJECT;

        if (own)
                subject.owner = uid;
        return front_authorize(f, m, uid, own ? SWARM_ACTION_VIEW : SWARM_ACTION_MANAGE, "list", &subject, reterr);
}

int method_list_sessions(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_refusal_ Refusal *refusal = NULL;
        _cleanup_(query_done) Query q = {};
        Front *f = front_of(m);
        uid_t uid;
        int r;

        r = front_caller(f, m, &uid, reterr);
        if (r <= 0)
                return front_parked(r);
        r = query_read(m, uid, &q, &refusal);
        if (r >= 0)
                r = check_names(f, &q.filter, &refusal);
        if (r < 0)
                return bus_error_set(reterr, r, &refusal);
        if (q.columns.private) {
                r = authorize_private(f, m, uid, &q, reterr);
                if (r <= 0)
                        return front_parked(r);
        }
        r = q.filter.ended ? send_ended(&q, f->manager, &refusal) : send_living(&q, f->manager);
        return r < 0 ? bus_error_set(reterr, r, &refusal) : 1;
}
