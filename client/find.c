/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What there is to be brought up: protected machines, their recovery points, and the words that mean one. */

#include "client.h"
#include "progress.h"
#include "show.h"
#include "text.h"
#include "timeutil.h"
#include "timeword.h"

static int tell_time(const Client *c, const char *option, const char *value)
{
    return tell_failure(c, EXIT_USAGE, "Usage", "times are understood as " TIMEWORD_UNDERSTOOD,
                        "%s=%s is not a time", option, value);
}

/* The words of the command line. 0, or the exit code when it is told what is wrong. */
static int add_time(const Client *c, json_object *parameters, const char *key, const char *option,
                    const char *value, TimewordEdge edge)
{
    uint64_t usec;

    if (!value)
        return 0;
    if (timeword_parse(value, time(NULL), edge, &usec) < 0)
        return tell_time(c, option, value);
    if (json_add_int64(parameters, key, (int64_t)usec) < 0)
        out_of_memory();
    return 0;
}

int add_choice(const Client *c, json_object *parameters)
{
    int code;

    if (json_add_string(parameters, "recoveryPoint", c->point) < 0 ||
        (c->latest && json_add_bool(parameters, "latest", true) < 0))
        out_of_memory();
    code = add_time(c, parameters, "atUsec", "--at", c->at, TIMEWORD_END);
    return code ? code : add_time(c, parameters, "beforeUsec", "--before", c->before, TIMEWORD_START);
}

bool has_choice(const Client *c)
{
    return c->point || c->latest || c->at || c->before;
}

/* ---- a stream of pages ---- */

/* Collects the entries of all pages in *all, or prints them. 0, or the exit code when it is told.
 */
static int collect(const Client *c, bool print, const char *method, json_object *parameters, const char *key,
                   json_object **ret_all, json_object **ret_item)
{
    _cleanup_json_ json_object *all = json_object_new_array();
    bool over = false;
    Progress p;
    Link link;
    size_t i;
    int r, code;

    if (!all)
        out_of_memory();
    code = begin_call(c, &link, method, parameters, true);
    if (code != 0)
        return code;
    progress_init(&p, c->json);
    while (!over && code == 0) {
        const char *detail = NULL;
        json_object *entries = NULL, *item;
        Reply reply;

        r = next_answer(c, &link, &p, &reply);
        if (r < 0) {
            progress_end(&p);
            code = tell_link(c, r, NULL);
            break;
        }
        over = !reply.continues;
        if (reply.error) {
            progress_end(&p);
            code = tell_error(c, &reply);
        } else if (json_get_array(reply.parameters, key, &entries) <= 0) {
            progress_end(&p);
            code = tell_link(c, -EBADMSG, NULL);
        }
        for (i = 0; entries && i < json_object_array_length(entries); i++) {
            json_object *e = json_object_array_get_idx(entries, i);

            if (print)
                print_json(e);
            else if (json_append(all, json_object_get(e)) < 0)
                out_of_memory();
        }
        if (code == 0 && !*ret_item && json_get_object(reply.parameters, "item", &item) > 0)
            *ret_item = json_object_get(item);
        if (code == 0 && json_get_string(reply.parameters, "detail", &detail) > 0)
            progress_note(&p, detail);
        reply_done(&reply);
    }
    progress_done(&p);
    link_close(&link);
    *ret_all = TAKE_PTR(all);
    return code;
}

static int by_name(const void *a, const void *b)
{
    json_object *const *x = a, *const *y = b;
    int r = strcmp(session_text(*x, "vm"), session_text(*y, "vm"));

    return r ? r : strcmp(session_text(*x, "vault"), session_text(*y, "vault"));
}

static void show_items(json_object *items)
{
    static const char *const titles[] = {"VM", "RESOURCE GROUP", "VAULT", "STATE", "LAST RECOVERY POINT"};
    size_t i;
    Table t;

    json_object_array_sort(items, by_name);
    table_init(&t, titles, ELEMENTSOF(titles), NULL);
    for (i = 0; i < json_object_array_length(items); i++) {
        json_object *o = json_object_array_get_idx(items, i);
        const char *vault = session_text(o, "vault"), *slash = strrchr(vault, '/');
        char buf[TIMESTAMP_MAX];

        table_add(&t, session_text(o, "vm"));
        table_add(&t, session_text(o, "resourceGroup"));
        table_add(&t, slash ? slash + 1 : vault);
        table_add(&t, session_text(o, "state"));
        table_add(&t, session_time(o, "lastRecoveryPointUsec", buf));
    }
    table_print(&t, "", stdout);
    table_done(&t);
}

/* "InstantRP HardenedRP", "ArchivedRP", with the state where it is another than Valid. The caller's. */
static char *tiers_text(json_object *point)
{
    _cleanup_strv_free_ char **words = NULL;
    json_object *tiers;
    size_t i;

    if (json_get_array(point, "tiers", &tiers) > 0)
        for (i = 0; i < json_object_array_length(tiers); i++) {
            json_object *t = json_object_array_get_idx(tiers, i);
            const char *status = session_text(t, "status");

            if ((streq(status, "Valid")
                     ? strv_extend(&words, session_text(t, "tier"))
                     : strv_extendf(&words, "%s(%s)", session_text(t, "tier"), status)) < 0)
                out_of_memory();
        }
    return text_join(words, " ", "-");
}

static int by_time(const void *a, const void *b)
{
    json_object *const *x = a, *const *y = b;
    int64_t s = 0, t = 0;

    (void)json_get_int64(*x, "timeUsec", &s);
    (void)json_get_int64(*y, "timeUsec", &t);
    return (s < t) - (s > t); /* the newest first */
}

static void show_points(json_object *points)
{
    static const char *const titles[] = {"TIME", "POINT", "TYPE", "TIERS", "RECOVERY", "NOTE"};
    size_t i;
    Table t;

    json_object_array_sort(points, by_time);
    table_init(&t, titles, ELEMENTSOF(titles), NULL);
    for (i = 0; i < json_object_array_length(points); i++) {
        json_object *o = json_object_array_get_idx(points, i);
        _cleanup_free_ char *tiers = tiers_text(o), *note = NULL;
        const char *reason = NULL;
        bool active = false;
        char buf[TIMESTAMP_MAX];

        (void)json_get_bool(o, "activeSession", &active);
        (void)json_get_string(o, "reason", &reason);
        if (reason && asprintf(&note, "not usable: %s", reason) < 0)
            out_of_memory();
        table_add(&t, session_time(o, "timeUsec", buf));
        table_add(&t, session_text(o, "id"));
        table_add(&t, session_text(o, "type"));
        table_add(&t, tiers);
        table_add(&t, active ? "active" : "-");
        table_add(&t, note ? note : "");
    }
    table_print(&t, "", stdout);
    table_done(&t);
}

static json_object *selector_new(const Client *c, const char *vm)
{
    json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "vault", c->vault) < 0 ||
        json_add_string(o, "resourceGroup", c->resource_group) < 0 || json_add_string(o, "vm", vm) < 0)
        out_of_memory();
    return o;
}

int verb_items(const Client *c, int argc, char **argv)
{
    _cleanup_json_ json_object *all = NULL, *item = NULL;
    int code = collect(c, c->json, "Items", selector_new(c, argc > 0 ? argv[0] : NULL), "items", &all, &item);

    if (code != 0 || c->json)
        return code;
    if (json_object_array_length(all) == 0)
        puts("No protected virtual machines.");
    else
        show_items(all);
    return 0;
}

int verb_points(const Client *c, int argc, char **argv)
{
    _cleanup_json_ json_object *all = NULL, *item = NULL, *parameters = selector_new(c, argv[0]);
    int code;

    code = add_time(c, parameters, "sinceUsec", "--since", c->since, TIMEWORD_START);
    if (code == 0)
        code = add_time(c, parameters, "untilUsec", "--until", c->until, TIMEWORD_END);
    if (code == 0)
        code = collect(c, c->json, "Points", TAKE_PTR(parameters), "points", &all, &item);
    if (code != 0 || c->json)
        return code;
    if (item) {
        _cleanup_free_ char *vm = text_escape(session_text(item, "vm"));
        _cleanup_free_ char *group = text_escape(session_text(item, "resourceGroup"));
        _cleanup_free_ char *vault = text_escape(session_text(item, "vault"));

        fprintf(stderr, "VM %s, resource group %s, vault %s\n", vm, group, vault);
    }
    if (json_object_array_length(all) == 0)
        puts("No recovery points.");
    else
        show_points(all);
    return 0;
}

int points_of(const Client *c, const char *vm, json_object **ret)
{
    _cleanup_json_ json_object *item = NULL;

    return collect(c, false, "Points", selector_new(c, vm), "points", ret, &item);
}
