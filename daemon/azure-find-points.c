/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The second half of a search: the item is known, its points are listed, or one of them is chosen. */

#include "azure-find-internal.h"

#include "log.h"
#include "timeutil.h"

#define READ_POINTS_ACTION POINT_ACTION "read"
/* Both bounds are always sent, as clients do: the service has its own idea of one that is left out. */
#define FIRST_DAY_USEC (UINT64_C(1262304000) * USEC_PER_SEC) /* 2010-01-01, before there was a backup */

/* ---- points ---- */

static void finish_points(AzureFind *f)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL;
    Failure *failure = NULL;
    int r;

    if (f->no_memory) {
        azure_find_fail(f, NULL);
        return;
    }
    if (f->kind == FIND_POINTS) {
        f->callbacks.done(true, NULL, NULL, f->userdata);
        return;
    }
    r = azure_choice_finish(&f->choice, f->item.vm_name, &failure);
    if (r >= 0)
        r = azure_point_make(f->item.vault, f->item.container, f->item.item, f->choice.best.id, &p, &failure);
    if (r >= 0 && f->item.virtual_machine_id)
        r = azure_point_set_virtual_machine(p, f->item.virtual_machine_id, &failure);
    if (r < 0) {
        azure_find_fail(f, failure);
        return;
    }
    p->judged = true;
    p->session_active = f->choice.best.session_active;
    log_info("Azure: %s means recovery point %s", f->vm ? f->vm : f->item.item, p->recovery_point);
    f->callbacks.done(true, TAKE_PTR(p), NULL, f->userdata);
}

static void on_points(json_object *value, void *userdata)
{
    _cleanup_json_ json_object *page = json_object_new_array();
    AzureFind *f = userdata;
    size_t i;

    f->filtered = false; /* the span was taken, if there was one */
    for (i = 0; page && i < json_object_array_length(value); i++) {
        _cleanup_azure_point_info_ AzurePointInfo info = {};
        json_object *entry = NULL;
        const char *problem = NULL;
        int r;

        r = azure_point_read_properties(json_object_array_get_idx(value, i), &info, &problem);
        if (r == -EBADMSG) {
            log_info("Azure: one recovery point of %s left out: %s", f->item.item, problem);
            continue;
        }
        if (r < 0) {
            f->no_memory = true;
            return;
        }
        if (f->kind == FIND_POINT)
            r = azure_choice_add(&f->choice, &info);
        else if ((f->since_usec && info.time_usec < f->since_usec) ||
                 (f->until_usec && info.time_usec > f->until_usec))
            continue;
        else if ((r = azure_point_info_to_json(&info, &entry)) >= 0)
            azure_find_page_add(f, page, entry);
        if (r < 0)
            f->no_memory = true;
    }
    if (!page)
        f->no_memory = true;
    else if (f->kind == FIND_POINTS && json_object_array_length(page) > 0)
        f->callbacks.page(page, &f->item, f->userdata);
}

static int list_points(AzureFind *f, bool filtered);

static void on_points_done(bool ok, int status, Failure *failure, void *userdata)
{
    AzureFind *f = userdata;
    int r;

    if (ok) {
        finish_points(f);
        return;
    }
    if (status == 400 && f->filtered) {
        /* It may not like the span; what is outside is left out here then. */
        log_info("Azure: %s; asking without the span",
                 failure && failure->message ? failure->message : "400");
        failure_free(failure);
        r = list_points(f, false);
        if (r < 0)
            azure_find_fail_errno(f, r);
        return;
    }
    azure_find_fail(f, failure);
}

/* "2022-02-24 09:30:01 PM", UTC, escaped for a query. */
static void filter_time(uint64_t usec, char *buf, size_t size)
{
    time_t t = (time_t)(usec / USEC_PER_SEC);
    struct tm tm;

    if (!gmtime_r(&t, &tm))
        tm = (struct tm){.tm_year = 70, .tm_mday = 1};
    /* Not %p: the locale must not matter. */
    snprintf(buf, size, "%04d-%02d-%02d%%20%02d:%02d:%02d%%20%s", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour % 12 ? tm.tm_hour % 12 : 12, tm.tm_min, tm.tm_sec,
             tm.tm_hour < 12 ? "AM" : "PM");
}

/* The path of the item, or of one point. NULL: out of memory. */
static char *item_url(AzureFind *f, const char *rest)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL;
    _cleanup_free_ char *path = NULL;
    char *url;

    if (azure_point_make(f->item.vault, f->item.container, f->item.item, "0", &p, NULL) < 0)
        return NULL;
    path = azure_point_path(p, true);
    if (!path || asprintf(&url, "%s%s/recoveryPoints%s%s?api-version=%s", config(f)->management_url, path,
                          rest ? "/" : "", rest ? rest : "", config(f)->api_version) < 0)
        return NULL;
    return url;
}

static int list_points(AzureFind *f, bool filtered)
{
    static const AzureListCallbacks callbacks = {.page = on_points, .done = on_points_done};
    const uint64_t day = 24 * USEC_PER_HOUR;
    _cleanup_free_ char *url = item_url(f, NULL), *with_filter = NULL, *detail = NULL;

    f->filtered = filtered && (f->since_usec || f->until_usec);
    if (!url || asprintf(&detail, "Looking through the recovery points of %s", f->item.vm_name) < 0)
        return -ENOMEM;
    if (f->filtered) {
        char start[48], end[48];
        uint64_t until = f->until_usec ? f->until_usec : now_usec(CLOCK_REALTIME) + day;

        filter_time(f->since_usec ? f->since_usec : FIRST_DAY_USEC, start, sizeof(start));
        /* Its points have fractions of a second. */
        filter_time(until + USEC_PER_SEC, end, sizeof(end));
        if (asprintf(&with_filter,
                     "%s&$filter=startDate%%20eq%%20%%27%s%%27%%20and%%20endDate%%20eq%%20%%27%s%%27", url,
                     start, end) < 0)
            return -ENOMEM;
    }
    if (azure_find_set_what(f, "list the recovery points of %s", f->item.vm_name) < 0)
        return -ENOMEM;
    azure_find_tell(detail, f);
    return azure_find_list(
        f,
        (AzureListOptions){.url = with_filter ? with_filter : url,
                           .subject = {.action = READ_POINTS_ACTION, .not_found = FAILURE_POINT_NOT_FOUND}},
        &callbacks);
}

/* The point that was named by its id. */
static void on_point(const AzureAnswer *a, Failure *failure, void *userdata)
{
    _cleanup_azure_point_info_ AzurePointInfo info = {};
    const char *problem = NULL;
    AzureFind *f = userdata;
    int r;

    if (!a->ok) {
        azure_find_fail(f, failure);
        return;
    }
    r = azure_point_read_properties(a->json, &info, &problem);
    if (r == -EBADMSG || (r >= 0 && !streq(info.id, f->id))) {
        azure_find_fail(f, failure_new(FAILURE_AZURE_ANSWER_INVALID,
                                       "Azure does not tell about recovery point %s of %s: %s", f->id,
                                       f->item.vm_name, problem ? problem : "it answers with another one"));
        return;
    }
    if (r >= 0)
        r = azure_choice_add(&f->choice, &info);
    if (r >= 0 && azure_point_unusable(&info))
        r = list_points(f, false); /* for one that can be named instead */
    else if (r >= 0) {
        finish_points(f);
        return;
    }
    if (r < 0)
        azure_find_fail_errno(f, r);
}

/* The item is known: what is wanted of it? */
int azure_find_begin_points(AzureFind *f)
{
    _cleanup_free_ char *url = NULL;

    if (f->kind == FIND_POINTS || f->choice.rule != AZURE_RULE_ID)
        return list_points(f, true);
    url = item_url(f, f->id);
    if (!url || azure_find_set_what(f, "read recovery point %s of %s", f->id, f->item.vm_name) < 0)
        return -ENOMEM;
    azure_find_tell("Reading the recovery point", f);
    return azure_find_ask(f,
                          (AzureRequestOptions){.method = "GET",
                                                .url = url,
                                                .subject = {.action = READ_POINTS_ACTION,
                                                            .not_found = FAILURE_POINT_NOT_FOUND}},
                          on_point);
}
