/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sweep.h"

#include "helper-call.h"
#include "validate.h"

#define LIST_TIMEOUT_USEC (2 * USEC_PER_MINUTE)
/* Stopping the units, taking apart and logging out, each with its own deadlines below this. */
#define TASK_TIMEOUT_USEC (10 * USEC_PER_MINUTE)
#define TASKS_MAX 4 /* at a time: one that hangs does not hold up the others */
#define ITEMS_MAX 8192

typedef struct Task {
    Sweep *sweep;
    HelperCall *call;
    char session[SESSION_ID_LENGTH + 1]; /* "": what is of none */
} Task;

struct Sweep {
    sd_event *event;
    SweepOptions options;
    SweepItem *items;
    size_t n_items;
    HelperCall *list;
    bool again;      /* the list is the second one */
    bool cut;        /* the latest list is not all there is */
    char **sessions; /* still to be taken down */
    bool rest;       /* and then what is of none */
    Task tasks[TASKS_MAX];
};

static void item_done(SweepItem *i)
{
    free(i->kind);
    free(i->name);
    free(i->detail);
    free(i->session);
    free(i->reason);
    *i = (SweepItem){};
}

static void items_free(SweepItem *items, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        item_done(&items[i]);
    free(items);
}

Sweep *sweep_free(Sweep *s)
{
    size_t i;

    if (!s)
        return NULL;
    helper_call_free(s->list);
    for (i = 0; i < TASKS_MAX; i++)
        helper_call_free(s->tasks[i].call);
    items_free(s->items, s->n_items);
    strv_free(s->sessions);
    free(s);
    return NULL;
}

const SweepItem *sweep_items(const Sweep *s, size_t *ret_n)
{
    *ret_n = s->n_items;
    return s->items;
}

bool sweep_cut(const Sweep *s)
{
    return s->cut;
}

static void finish(Sweep *s, const Failure *failure)
{
    s->options.done(s, failure, s->options.userdata);
}

static void finish_errno(Sweep *s, int r)
{
    char buf[128];
    _cleanup_failure_ Failure *f = failure_new(FAILURE_INTERNAL, "Looking for what is left failed: %s",
                                               strerror_r(-r, buf, sizeof(buf)));

    finish(s, f);
}

/* ---- the lists ---- */

static int item_parse(json_object *o, SweepItem *ret)
{
    const char *kind = NULL, *name = NULL, *detail = "", *session = NULL;
    bool ours = false;

    if (json_get_string(o, "kind", &kind) <= 0 || json_get_string(o, "name", &name) <= 0 ||
        json_get_string(o, "detail", &detail) < 0 || json_get_string(o, "session", &session) < 0 ||
        json_get_bool(o, "ours", &ours) <= 0 || (session && !session_id_valid(session)))
        return -EBADMSG;
    *ret = (SweepItem){.kind = strdup(kind),
                       .name = strdup(name),
                       .detail = strdup(detail),
                       .session = session ? strdup(session) : NULL,
                       .ours = ours};
    if (ret->kind && ret->name && ret->detail && (!session || ret->session))
        return 0;
    item_done(ret);
    return -ENOMEM;
}

/* The items of an answer that are of no session that is known by now. */
static int items_read(Sweep *s, json_object *answer, SweepItem **ret, size_t *ret_n)
{
    _cleanup_strv_free_ char **known = NULL;
    json_object *array = NULL;
    SweepItem *items;
    size_t i, n = 0, total;
    int r;

    s->cut = false;
    if (json_get_array(answer, "leftovers", &array) <= 0 || json_object_array_length(array) > ITEMS_MAX ||
        json_get_bool(answer, "cut", &s->cut) < 0)
        return -EBADMSG;
    r = s->options.known(&known, s->options.known_userdata);
    if (r < 0)
        return r;
    total = json_object_array_length(array);
    items = calloc(total + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (i = 0; i < total; i++) {
        r = item_parse(json_object_array_get_idx(array, i), &items[n]);
        if (r < 0) {
            items_free(items, n);
            return r;
        }
        if (items[n].session && strv_contains(known, items[n].session))
            item_done(&items[n]);
        else
            n++;
    }
    *ret = items;
    *ret_n = n;
    return 0;
}

static SweepItem *find(SweepItem *items, size_t n, const char *kind, const char *name)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (streq(items[i].kind, kind) && streq(items[i].name, name))
            return &items[i];
    return NULL;
}

static bool wanted(const Sweep *s, const SweepItem *i)
{
    switch (s->options.what) {
    case SWEEP_LOOK:
        return false;
    case SWEEP_SESSIONS:
        return i->session;
    case SWEEP_OURS:
        return i->session || i->ours;
    case SWEEP_ALL:
        return true;
    }
    return false;
}

static void set_reason(SweepItem *i, const char *reason)
{
    if (!i->reason) /* the first one is the cause */
        i->reason = strdup(reason);
}

static void item_keep(SweepItem *i)
{
    i->result = SWEEP_RESULT_KEPT;
    set_reason(i, "not made by ilrd: foreign was not asked for");
}

/* What became of each, by the list after. What has come instead is told, too. */
static int items_judge(Sweep *s, SweepItem *after, size_t n_after)
{
    SweepItem *more;
    size_t i;

    for (i = 0; i < s->n_items; i++) {
        SweepItem *item = &s->items[i], *still = find(after, n_after, item->kind, item->name);

        if (!still && s->cut) {
            item->result = SWEEP_RESULT_FAILED;
            set_reason(item, "there is too much to see whether it is gone: sweep again");
        } else if (!still)
            item->result = SWEEP_RESULT_REMOVED;
        else if (!wanted(s, item))
            item_keep(item);
        else {
            item->result = SWEEP_RESULT_FAILED;
            set_reason(item, "it is still there");
        }
        if (item->result == SWEEP_RESULT_REMOVED)
            item->reason = (free(item->reason), NULL);
    }
    for (i = 0; i < n_after; i++) {
        if (find(s->items, s->n_items, after[i].kind, after[i].name))
            continue;
        more = realloc(s->items, (s->n_items + 1) * sizeof(*more));
        if (!more)
            return -ENOMEM;
        s->items = more;
        more[s->n_items] = after[i];
        after[i] = (SweepItem){};
        more[s->n_items].result = SWEEP_RESULT_FAILED;
        set_reason(&more[s->n_items++], "it was not seen before: sweep again");
    }
    return 0;
}

static void go_on(Sweep *s);
static int ask_list(Sweep *s);

/* The sessions that nobody knows, each once, and whether there is anything else to do. */
static int plan(Sweep *s)
{
    size_t i;

    for (i = 0; i < s->n_items && s->options.what != SWEEP_LOOK; i++) {
        SweepItem *item = &s->items[i];

        if (!wanted(s, item))
            item_keep(item);
        else if (!item->session)
            s->rest = true;
        else if (!strv_contains(s->sessions, item->session) && strv_extend(&s->sessions, item->session) < 0)
            return -ENOMEM;
    }
    return 0;
}

static void on_list(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Sweep *s = userdata;
    SweepItem *items = NULL;
    size_t n = 0;
    int r = 0;

    if (answer)
        r = items_read(s, answer, &items, &n);
    if (!answer || r < 0) {
        _cleanup_failure_ Failure *f = failure ? failure_copy(failure) : NULL;

        s->list = helper_call_free(s->list);
        if (f)
            finish(s, f);
        else
            finish_errno(s, r < 0 ? r : -EBADMSG);
        return;
    }
    s->list = helper_call_free(s->list);
    if (s->again) {
        r = items_judge(s, items, n);
        items_free(items, n);
    } else {
        s->items = items;
        s->n_items = n;
        r = plan(s);
    }
    if (r < 0)
        finish_errno(s, r);
    else if (s->again || (!s->sessions && !s->rest))
        finish(s, NULL);
    else
        go_on(s);
}

static int ask_list(Sweep *s)
{
    _cleanup_json_ json_object *request = json_object_new_object();
    _cleanup_strv_free_ char **known = NULL;
    int r;

    r = request ? s->options.known(&known, s->options.known_userdata) : -ENOMEM;
    if (r >= 0)
        r = json_add_string(request, "verb", "leftovers");
    if (r >= 0)
        r = json_add_strv(request, "known", known);
    if (r < 0)
        return r;
    return helper_call_new(&s->list, s->event, s->options.helper_socket, request, NULL, NULL,
                           LIST_TIMEOUT_USEC, on_list, s);
}

/* ---- taking down ---- */

static void tell_failure(Sweep *s, const char *session, const char *message)
{
    size_t i;

    for (i = 0; i < s->n_items; i++)
        if (wanted(s, &s->items[i]) && streq(s->items[i].session ? s->items[i].session : "", session))
            set_reason(&s->items[i], message);
}

static void read_failures(Sweep *s, const char *session, json_object *failures)
{
    const char *general = NULL;
    size_t i;

    for (i = 0; i < json_object_array_length(failures); i++) {
        json_object *o = json_object_array_get_idx(failures, i);
        const char *kind = NULL, *name = NULL, *message = NULL;
        SweepItem *item;

        if (json_get_string(o, "kind", &kind) <= 0 || json_get_string(o, "name", &name) <= 0 ||
            json_get_string(o, "message", &message) <= 0)
            continue;
        item = find(s->items, s->n_items, kind, name);
        if (item)
            set_reason(item, message);
        else
            general = general ? general : message;
    }
    if (general)
        tell_failure(s, session, general);
}

static void on_task(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    json_object *failures = NULL;
    Task *t = userdata;
    Sweep *s = t->sweep;

    if (answer && json_get_array(answer, "failures", &failures) > 0)
        read_failures(s, t->session, failures);
    else
        tell_failure(s, t->session,
                     failure && failure->message ? failure->message
                                                 : "the helper's answer is not understood");
    t->call = helper_call_free(t->call);
    go_on(s);
}

static int task_start(Sweep *s, Task *t)
{
    _cleanup_json_ json_object *request = json_object_new_object();
    int r = request ? json_add_string(request, "verb", "sweep") : -ENOMEM;

    if (r >= 0 && *t->session)
        r = json_add_string(request, "session", t->session);
    else if (r >= 0)
        r = json_add_bool(request, "foreign", s->options.what == SWEEP_ALL);
    t->sweep = s;
    return r < 0 ? r
                 : helper_call_new(&t->call, s->event, s->options.helper_socket, request, NULL, NULL,
                                   TASK_TIMEOUT_USEC, on_task, t);
}

/* The next session into buf. Still nobody's? The list may be minutes old. */
static bool next_session(Sweep *s, char buf[static SESSION_ID_LENGTH + 1])
{
    while (s->sessions && s->sessions[0]) {
        _cleanup_strv_free_ char **known = NULL;
        _cleanup_free_ char *id = s->sessions[0];

        memmove(s->sessions, s->sessions + 1, strv_length(s->sessions) * sizeof(char *));
        if (s->options.known(&known, s->options.known_userdata) < 0 || strv_contains(known, id))
            continue;
        strcpy(buf, id);
        return true;
    }
    return false;
}

static void go_on(Sweep *s)
{
    bool busy = false;
    size_t i;
    int r = 0;

    for (i = 0; r >= 0 && i < TASKS_MAX; i++) {
        if (!s->tasks[i].call && next_session(s, s->tasks[i].session))
            r = task_start(s, &s->tasks[i]);
        busy = busy || s->tasks[i].call;
    }
    if (r >= 0 && !busy && s->rest) {
        s->rest = false;
        *s->tasks[0].session = '\0';
        r = task_start(s, &s->tasks[0]);
        busy = r >= 0;
    }
    if (r >= 0 && !busy) {
        s->again = true;
        r = ask_list(s);
    }
    if (r < 0)
        finish_errno(s, r);
}

int sweep_new(Sweep **ret, sd_event *event, const SweepOptions *options)
{
    Sweep *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->event = event;
    s->options = *options;
    r = ask_list(s);
    if (r < 0) {
        sweep_free(s);
        return r;
    }
    *ret = s;
    return 0;
}
