/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "finder.h"

#include "list.h"
#include "log.h"

#include <malloc.h>

#define SEARCHES_MAX 64
#define WITHOUT_MORE_MAX 2000 /* entries in one reply */
#define VM_MAX AZURE_RESOURCE_ID_MAX
#define GROUP_MAX 512

typedef struct Search {
    Finder *finder;
    VarlinkCall *call;
    AzureFind *find;
    const char *entries;     /* "items", "points"; NULL: one point is looked for */
    json_object *kept;       /* without more: all that was found */
    bool too_many;           /* for that */
    bool item_told;          /* the caller knows whose points they are */
    json_object *parameters; /* of one point */
    int (*found)(VarlinkCall *call, json_object *parameters, AzurePoint *point, void *userdata);
    void *userdata;
    LIST_FIELDS(struct Search);
} Search;

struct Finder {
    Azure *azure;
    Search *searches;
    size_t n_searches;
};

static void search_free(Search *s)
{
    if (s->call)
        varlink_call_set_gone(s->call, NULL, NULL);
    LIST_REMOVE(s->finder->searches, s);
    s->finder->n_searches--;
    azure_find_free(s->find);
    json_object_put(s->kept);
    json_object_put(s->parameters);
    free(s);
}

int finder_new(Finder **ret, Azure *azure)
{
    Finder *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->azure = azure;
    *ret = f;
    return 0;
}

Finder *finder_free(Finder *f)
{
    if (!f)
        return NULL;
    while (f->searches)
        search_free(f->searches);
    free(f);
    return NULL;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    Search *s = userdata;

    s->call = NULL;
    search_free(s);
}

/* ---- what the service finds, on its way to the caller ---- */

/* {"items":[...]} or {"points":[...],"item":...}; entries is taken. */
static int make_reply(Search *s, json_object *entries, bool with_item, const char *detail, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *list = entries;
    json_object *item = NULL;
    int r;

    if (!o || !list)
        return -ENOMEM;
    if (s->entries && (r = json_add(o, s->entries, TAKE_PTR(list))) < 0)
        return r;
    if (with_item && azure_find_item(s->find)->vault) {
        r = azure_item_to_json(azure_find_item(s->find), &item);
        if (r < 0 || (r = json_add(o, "item", item)) < 0)
            return r;
    }
    r = json_add_string(o, "detail", detail);
    if (r >= 0)
        *ret = TAKE_PTR(o);
    return r;
}

static void on_progress(const char *detail, void *userdata)
{
    _cleanup_json_ json_object *o = NULL;
    Search *s = userdata;

    if (s->call && make_reply(s, json_object_new_array(), false, detail, &o) >= 0)
        (void)varlink_call_notify(s->call, o);
}

static void on_page(json_object *entries, const AzureItem *item, void *userdata)
{
    _cleanup_json_ json_object *o = NULL;
    Search *s = userdata;
    size_t i;

    if (varlink_call_wants_more(s->call)) {
        if (make_reply(s, json_object_get(entries), item && !s->item_told, NULL, &o) >= 0)
            (void)varlink_call_notify(s->call, o);
        s->item_told = true;
        return;
    }
    if (s->too_many ||
        json_object_array_length(s->kept) + json_object_array_length(entries) > WITHOUT_MORE_MAX) {
        s->too_many = true;
        return;
    }
    for (i = 0; i < json_object_array_length(entries); i++)
        if (json_append(s->kept, json_object_get(json_object_array_get_idx(entries, i))) < 0)
            s->too_many = true;
}

/* The call's end here; the caller of this answers it or has it answered. */
static VarlinkCall *take_call(Search *s)
{
    VarlinkCall *call = s->call;

    varlink_call_set_gone(call, NULL, NULL);
    s->call = NULL;
    return call;
}

static void answer(VarlinkCall *call, const Failure *failure, json_object *parameters)
{
    int r = parameters ? varlink_call_reply(call, parameters) : varlink_call_fail(call, failure, NULL);

    if (r < 0)
        log_debug("The answer to a search could not be sent: %s", strerror(-r));
}

static void on_done(bool ok, AzurePoint *point, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure;
    _cleanup_json_ json_object *o = NULL, *parameters = NULL;
    Search *s = userdata;
    VarlinkCall *call = take_call(s);
    int r;

    if (ok && s->found) {
        int (*found)(VarlinkCall *, json_object *, AzurePoint *, void *) = s->found;
        void *data = s->userdata;

        parameters = TAKE_PTR(s->parameters);
        search_free(s);
        malloc_trim(0);
        r = found(call, parameters, point, data);
        if (r < 0)
            answer(call, NULL, NULL);
        return;
    }
    if (ok && s->too_many) {
        ok = false;
        f = failure_new(FAILURE_LIMIT_REACHED, "There are more than %d of them", WITHOUT_MORE_MAX);
        failure_advise(f, "ask with \"more\", or for a shorter span or one resource group");
    }
    if (ok && make_reply(s, s->kept ? TAKE_PTR(s->kept) : json_object_new_array(), true, NULL, &o) < 0)
        o = NULL;
    search_free(s);
    answer(call, f, o);
    /* What the lists took is not needed again soon. */
    malloc_trim(0);
}

static const AzureFindCallbacks callbacks = {.progress = on_progress, .page = on_page, .done = on_done};

/* ---- calls ---- */

/* *ret NULL: the call has been answered. */
static int search_new(Finder *f, VarlinkCall *call, const char *entries, Search **ret)
{
    _cleanup_failure_ Failure *failure = NULL;
    Search *s;

    *ret = NULL;
    if (f->n_searches == SEARCHES_MAX) {
        failure = failure_new(FAILURE_LIMIT_REACHED, "%d searches are under way", SEARCHES_MAX);
        failure_advise(failure, "try again in a moment");
        return varlink_call_fail(call, failure, NULL);
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->finder = f;
    s->entries = entries;
    s->call = call;
    varlink_call_set_gone(call, on_gone, s);
    LIST_PREPEND(f->searches, s);
    f->n_searches++;
    if (entries && !varlink_call_wants_more(call) && !(s->kept = json_object_new_array())) {
        search_free(s);
        return -ENOMEM;
    }
    *ret = s;
    return 0;
}

/* The call is parked already; or answers it with why the search could not begin. */
static int search_started(Search *s, int r, Failure *failure)
{
    _cleanup_failure_ Failure *f = failure;
    VarlinkCall *call = s->call;

    if (r >= 0)
        return 0;
    search_free(s);
    if (!f)
        return r;
    (void)varlink_call_fail(call, f, NULL);
    return 0;
}

static bool get_selector(VarlinkCall *call, json_object *parameters, AzureSelector *ret)
{
    return varlink_call_get_text(call, parameters, "vault", AZURE_RESOURCE_ID_MAX, &ret->vault) >= 0 &&
           varlink_call_get_text(call, parameters, "resourceGroup", GROUP_MAX, &ret->resource_group) >= 0 &&
           varlink_call_get_text(call, parameters, "vm", VM_MAX, &ret->vm) >= 0 &&
           varlink_call_get_text(call, parameters, "container", GROUP_MAX, &ret->container) >= 0 &&
           varlink_call_get_text(call, parameters, "item", GROUP_MAX, &ret->item) >= 0;
}

/* 1: there; 0: absent; negative: answered. */
static int get_time(VarlinkCall *call, json_object *parameters, const char *key, uint64_t *ret)
{
    int64_t usec;
    int r = json_get_int64(parameters, key, &usec);

    if (r > 0 && (usec < 0 || usec / (int64_t)USEC_PER_SEC > INT64_C(253402300799))) /* the year 9999 */
        r = -EINVAL;
    if (r < 0)
        (void)varlink_call_invalid_parameter(call, key);
    if (r > 0)
        *ret = (uint64_t)usec;
    return r;
}

int finder_items(Finder *f, VarlinkCall *call, json_object *parameters)
{
    AzureSelector selector = {};
    Failure *failure = NULL;
    Search *s;
    int r;

    if (!get_selector(call, parameters, &selector))
        return 0;
    r = search_new(f, call, "items", &s);
    if (!s)
        return r;
    r = azure_find_items(f->azure, &selector, varlink_call_uid(call), &callbacks, s, &s->find, &failure);
    return search_started(s, r, failure);
}

int finder_points(Finder *f, VarlinkCall *call, json_object *parameters)
{
    AzureSelector selector = {};
    uint64_t since = 0, until = 0;
    Failure *failure = NULL;
    Search *s;
    int r;

    if (!get_selector(call, parameters, &selector) || get_time(call, parameters, "sinceUsec", &since) < 0 ||
        get_time(call, parameters, "untilUsec", &until) < 0)
        return 0;
    r = search_new(f, call, "points", &s);
    if (!s)
        return r;
    r = azure_find_points(f->azure, &selector, since, until, varlink_call_uid(call), &callbacks, s, &s->find,
                          &failure);
    return search_started(s, r, failure);
}

bool finder_wants(json_object *parameters)
{
    static const char *const words[] = {"vm", "latest", "atUsec", "beforeUsec"};
    size_t i;

    for (i = 0; i < ELEMENTSOF(words); i++) {
        json_object *o;

        if (json_object_object_get_ex(parameters, words[i], &o) && o)
            return true;
    }
    return false;
}

/* Which of them; one rule, no more. false: answered. */
static bool get_choice(VarlinkCall *call, json_object *parameters, AzureChoice *ret)
{
    _cleanup_failure_ Failure *f = NULL;
    bool latest = false;
    int n = 0, r;

    r = varlink_call_get_text(call, parameters, "recoveryPoint", AZURE_RESOURCE_ID_MAX, &ret->id);
    if (r < 0)
        return false;
    if (r > 0) {
        ret->rule = AZURE_RULE_ID;
        n++;
    }
    if (json_get_bool(parameters, "latest", &latest) < 0) {
        (void)varlink_call_invalid_parameter(call, "latest");
        return false;
    }
    if (latest) {
        ret->rule = AZURE_RULE_LATEST;
        n++;
    }
    r = get_time(call, parameters, "atUsec", &ret->usec);
    if (r < 0)
        return false;
    if (r > 0) {
        ret->rule = AZURE_RULE_AT;
        n++;
    }
    r = get_time(call, parameters, "beforeUsec", &ret->usec);
    if (r < 0)
        return false;
    if (r > 0) {
        ret->rule = AZURE_RULE_BEFORE;
        n++;
    }
    if (n == 1)
        return true;
    f = failure_new(FAILURE_INVALID_REQUEST,
                    "%s: expected one of recoveryPoint, latest, atUsec and beforeUsec together with vm",
                    n ? "There are several ways to say which recovery point"
                      : "It is not said which recovery point");
    (void)varlink_call_fail(call, f, NULL);
    return false;
}

int finder_point(Finder *f, VarlinkCall *call, json_object *parameters,
                 int (*found)(VarlinkCall *call, json_object *parameters, AzurePoint *point, void *userdata),
                 void *userdata)
{
    AzureSelector selector = {};
    AzureChoice choice = {};
    Failure *failure = NULL;
    Search *s;
    int r;

    if (!get_selector(call, parameters, &selector) || !get_choice(call, parameters, &choice))
        return 0;
    r = search_new(f, call, NULL, &s);
    if (!s)
        return r;
    s->found = found;
    s->userdata = userdata;
    s->parameters = json_object_get(parameters);
    r = azure_find_point(f->azure, &selector, &choice, varlink_call_uid(call), &callbacks, s, &s->find,
                         &failure);
    return search_started(s, r, failure);
}
