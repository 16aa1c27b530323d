/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-find-internal.h"

#include "log.h"
#include "timeutil.h"

#include <stdarg.h>

#define FIND_ATTEMPTS_MAX 3
#define LIST_ITEMS_ACTION "Microsoft.RecoveryServices/Vaults/backupProtectedItems/read"
#define STATUS_ACTION "Microsoft.RecoveryServices/locations/backupStatus/action"

const AzureItem *azure_find_item(const AzureFind *f)
{
    return &f->item;
}

void azure_find_fail(AzureFind *f, Failure *failure)
{
    f->callbacks.done(false, NULL, failure, f->userdata);
}

void azure_find_fail_errno(AzureFind *f, int r)
{
    char buf[128];

    azure_find_fail(f, r == -ENOMEM
                           ? NULL
                           : failure_new(FAILURE_INTERNAL, "Could not %s: %s", f->what ? f->what : "look",
                                         strerror_r(-r, buf, sizeof(buf))));
}

void azure_find_tell(const char *detail, void *userdata)
{
    AzureFind *f = userdata;

    if (f->callbacks.progress)
        f->callbacks.progress(detail, f->userdata);
}

int azure_find_set_what(AzureFind *f, const char *format, ...)
{
    va_list ap;
    int r;

    free_and_replace(&f->what, NULL);
    va_start(ap, format);
    r = vasprintf(&f->what, format, ap);
    va_end(ap);
    if (r >= 0)
        return 0;
    f->what = NULL;
    return -ENOMEM;
}

int azure_find_list(AzureFind *f, AzureListOptions o, const AzureListCallbacks *callbacks)
{
    AzureList *list;
    int r;

    o.uid = f->uid;
    o.subject.what = f->what;
    o.deadline_usec = f->deadline_usec;
    o.waiting = azure_find_tell;
    r = azure_list_start(&f->azure->client, &o, callbacks, f, &list);
    if (r < 0)
        return r;
    azure_list_free(f->list);
    f->list = list;
    return 0;
}

int azure_find_ask(AzureFind *f, AzureRequestOptions o, AzureRequestDone done)
{
    o.uid = f->uid;
    o.subject.what = f->what;
    o.want_json = true;
    o.attempts_max = FIND_ATTEMPTS_MAX;
    o.deadline_usec = f->deadline_usec;
    o.waiting = azure_find_tell;
    f->request = azure_request_free(f->request);
    return azure_request_start(&f->azure->client, &o, done, f, &f->request);
}

static const char *last_piece(const char *id)
{
    const char *p = strrchr(id, '/');

    return p ? p + 1 : id;
}

/* ---- a page for the caller ---- */

void azure_find_page_add(AzureFind *f, json_object *page, json_object *entry)
{
    if (json_append(page, entry) < 0)
        f->no_memory = true;
}

/* ---- items ---- */

static void on_items(json_object *value, void *userdata)
{
    _cleanup_json_ json_object *page = json_object_new_array();
    AzureFind *f = userdata;
    size_t i;

    for (i = 0; page && i < json_object_array_length(value); i++) {
        _cleanup_azure_item_ AzureItem item = {};
        _cleanup_free_ char *problem = NULL;
        json_object *entry = NULL;
        int r;

        r = azure_item_read(json_object_array_get_idx(value, i), f->vaults[f->vault], &item, &problem);
        if (r == -EBADMSG) {
            log_info("Azure: one protected item of %s left out: %s", last_piece(f->vaults[f->vault]),
                     problem ? problem : "not understood");
            continue;
        }
        if (r >= 0 && f->kind != FIND_ITEMS)
            r = azure_matches_add(&f->matches, &item, f->vm, f->resource_group);
        else if (r >= 0 && azure_item_matches(&item, f->vm, f->resource_group) &&
                 (r = azure_item_to_json(&item, &entry)) >= 0)
            azure_find_page_add(f, page, entry);
        if (r < 0)
            f->no_memory = true;
    }
    if (!page)
        f->no_memory = true;
    else if (f->kind == FIND_ITEMS && json_object_array_length(page) > 0)
        f->callbacks.page(page, NULL, f->userdata);
}

static int list_items(AzureFind *f);

static void finish_items(AzureFind *f)
{
    Failure *failure = NULL;
    int r;

    if (f->kind == FIND_ITEMS) {
        f->callbacks.done(true, NULL, NULL, f->userdata);
        return;
    }
    r = azure_matches_take(&f->matches, f->vm, f->resource_group, f->vaults, &f->item, &failure);
    if (r >= 0)
        r = azure_find_begin_points(f);
    else {
        azure_find_fail(f, failure);
        return;
    }
    if (r < 0)
        azure_find_fail_errno(f, r);
}

static void on_items_done(bool ok, int status, Failure *failure, void *userdata)
{
    AzureFind *f = userdata;
    int r;

    if (!ok || f->no_memory) {
        /* One vault that cannot be read may hold another machine of the name: not skipped. */
        if (failure && !failure->hint && strv_length(f->vaults) > 1 &&
            asprintf(&failure->hint, "%s; --vault= looks in another one only", failure_hint(failure)) < 0)
            failure->hint = NULL;
        azure_find_fail(f, failure);
        return;
    }
    if (f->vaults[++f->vault]) {
        r = list_items(f);
        if (r < 0)
            azure_find_fail_errno(f, r);
        return;
    }
    finish_items(f);
}

static int list_items(AzureFind *f)
{
    static const AzureListCallbacks callbacks = {.page = on_items, .done = on_items_done};
    const char *vault = f->vaults[f->vault];
    _cleanup_free_ char *path = azure_path_escape(vault), *url = NULL, *detail = NULL;
    size_t n = strv_length(f->vaults);

    if (!path ||
        asprintf(
            &url,
            "%s%s/"
            "backupProtectedItems?api-version=%s&$filter=backupManagementType%%20eq%%20%%27AzureIaasVM%%27"
            "%%20and%%20itemType%%20eq%%20%%27VM%%27",
            config(f)->management_url, path, config(f)->api_version) < 0)
        return -ENOMEM;
    if (azure_find_set_what(f, "list the protected virtual machines of vault %s", last_piece(vault)) < 0)
        return -ENOMEM;
    if ((n == 1 ? asprintf(&detail, "Looking for %s in vault %s", f->vm ? f->vm : "virtual machines",
                           last_piece(vault))
                : asprintf(&detail, "Looking for %s in %zu vaults: %s", f->vm ? f->vm : "virtual machines", n,
                           last_piece(vault))) < 0)
        return -ENOMEM;
    azure_find_tell(detail, f);
    return azure_find_list(
        f,
        (AzureListOptions){.url = url,
                           .subject = {.action = LIST_ITEMS_ACTION, .not_found = FAILURE_ITEM_NOT_FOUND}},
        &callbacks);
}

/* ---- a VM's resource id: asked of its region, which knows the vault ---- */

static int ask_region(AzureFind *f);

/* No region knows it: the vaults may. */
static int after_regions(AzureFind *f, Failure *failure)
{
    if (!f->vaults) {
        azure_find_fail(
            f, failure ? failure
                       : failure_new(FAILURE_ITEM_NOT_FOUND,
                                     "No region of Location= knows that %s is protected, and Vault= names no "
                                     "vault to look in",
                                     f->vm));
        return 0;
    }
    failure_free(failure);
    return list_items(f);
}

static const char *answer_text(json_object *o, const char *key)
{
    json_object *v = json_get_nocase(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

/* This one does not know it, or failed. */
static void next_region(AzureFind *f, Failure *failure)
{
    int r;

    if (config(f)->locations[++f->location]) {
        failure_free(failure);
        r = ask_region(f);
    } else
        r = after_regions(f, failure);
    if (r < 0)
        azure_find_fail_errno(f, r);
}

static void on_region(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureFind *f = userdata;
    Failure *problem = NULL;
    const char *vault;
    int r;

    vault = a->ok ? answer_text(a->json, "vaultId") : "";
    if (!*vault) {
        if (!a->ok)
            log_info("Azure: %s", failure && failure->message ? failure->message : "no memory");
        next_region(f, failure);
        return;
    }
    r = azure_item_make(vault, answer_text(a->json, "containerName"),
                        answer_text(a->json, "protectedItemName"), &f->vm_id, &f->item, &problem);
    if (r == -EINVAL) {
        log_info("Azure: what region %s says about %s is not understood: %s",
                 config(f)->locations[f->location], f->vm, problem ? problem->message : "");
        next_region(f, problem);
        return;
    }
    if (r >= 0 && f->resource_group && !azure_item_matches(&f->item, NULL, f->resource_group)) {
        azure_find_fail(f, failure_new(FAILURE_ITEM_NOT_FOUND, "%s is not in resource group %s", f->vm,
                                       f->resource_group));
        return;
    }
    if (r >= 0)
        r = azure_find_begin_points(f);
    if (r < 0)
        azure_find_fail_errno(f, r);
}

static int ask_region(AzureFind *f)
{
    const char *region = config(f)->locations[f->location];
    _cleanup_json_ json_object *body = json_object_new_object();
    _cleanup_free_ char *subscription = azure_path_escape(f->vm_id.subscription), *url = NULL, *detail = NULL;

    if (!body || !subscription || json_add_string(body, "resourceType", "VM") < 0 ||
        json_add_string(body, "resourceId", f->vm_id.id) < 0 ||
        asprintf(&url,
                 "%s/Subscriptions/%s/providers/Microsoft.RecoveryServices/locations/%s/backupStatus"
                 "?api-version=%s",
                 config(f)->management_url, subscription, region, config(f)->api_version) < 0 ||
        asprintf(&detail, "Asking region %s which vault protects %s", region, f->vm_id.name) < 0)
        return -ENOMEM;
    if (azure_find_set_what(f, "ask region %s which vault protects %s", region, f->vm_id.name) < 0)
        return -ENOMEM;
    azure_find_tell(detail, f);
    return azure_find_ask(
        f,
        (AzureRequestOptions){.method = "POST",
                              .url = url,
                              .body = body,
                              .subject = {.action = STATUS_ACTION, .not_found = FAILURE_ITEM_NOT_FOUND}},
        on_region);
}

/* ---- the beginning ---- */

static int find_new(Azure *a, FindKind kind, const AzureSelector *s, uid_t uid,
                    const AzureFindCallbacks *callbacks, void *userdata, AzureFind **ret,
                    Failure **ret_failure)
{
    _cleanup_(azure_find_freep) AzureFind *f = calloc(1, sizeof(*f));
    _cleanup_free_ char *vault = NULL, *container = NULL, *item = NULL;
    int r;

    if (!f)
        return -ENOMEM;
    f->azure = a;
    f->kind = kind;
    f->uid = uid;
    f->deadline_usec = now_usec(CLOCK_BOOTTIME) + config(f)->operation_timeout_usec;
    f->callbacks = *callbacks;
    f->userdata = userdata;
    if (str_copy(s->vm, &f->vm) < 0 || str_copy(s->resource_group, &f->resource_group) < 0)
        return -ENOMEM;
    r = azure_vaults_choose(config(f)->vaults, s->vault, &f->vaults, ret_failure);
    if (r < 0)
        return r;
    if (s->container || s->item) {
        if (!s->container || !s->item || s->vm || strv_length(f->vaults) != 1) {
            *ret_failure = failure_new(FAILURE_INVALID_REQUEST,
                                       "container and item belong together, with one vault and without vm");
            return -EINVAL;
        }
        r = azure_item_make(f->vaults[0], s->container, s->item, NULL, &f->item, ret_failure);
    } else if (f->vm && *f->vm == '/') {
        if (strcasestr(f->vm, "/protectedItems/")) {
            r = azure_item_id_cut(f->vm, &vault, &container, &item, ret_failure);
            if (r >= 0)
                r = azure_item_make(vault, container, item, NULL, &f->item, ret_failure);
        } else if ((r = azure_vm_id_parse(f->vm, &f->vm_id, ret_failure)) >= 0) {
            free_and_replace(&f->vm, strdup(f->vm_id.id)); /* as it is compared: without escapes */
            r = f->vm ? 0 : -ENOMEM;
        }
    } else if (kind != FIND_ITEMS && isempty(f->vm)) {
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST,
                                   "vm is missing: expected the name or resource id of a virtual machine");
        r = -EINVAL;
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(f);
    return 0;
}

static int begin(AzureFind *f, const AzureSelector *s, Failure **ret_failure)
{
    if (f->item.vault && f->kind != FIND_ITEMS)
        return azure_find_begin_points(f);
    if (f->vm_id.id && f->kind != FIND_ITEMS && !s->vault && config(f)->locations)
        return ask_region(f);
    if (!f->vaults) {
        *ret_failure =
            failure_new(FAILURE_NOT_CONFIGURED,
                        "There is no vault to look in: Vault= in ilrd.conf is not set, and no vault is "
                        "named by its resource id");
        return -EINVAL;
    }
    return list_items(f);
}

int azure_find_items(Azure *a, const AzureSelector *s, uid_t uid, const AzureFindCallbacks *callbacks,
                     void *userdata, AzureFind **ret, Failure **ret_failure)
{
    _cleanup_(azure_find_freep) AzureFind *f = NULL;
    int r;

    r = find_new(a, FIND_ITEMS, s, uid, callbacks, userdata, &f, ret_failure);
    if (r >= 0)
        r = begin(f, s, ret_failure);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(f);
    return 0;
}

int azure_find_points(Azure *a, const AzureSelector *s, uint64_t since_usec, uint64_t until_usec, uid_t uid,
                      const AzureFindCallbacks *callbacks, void *userdata, AzureFind **ret,
                      Failure **ret_failure)
{
    _cleanup_(azure_find_freep) AzureFind *f = NULL;
    int r;

    r = find_new(a, FIND_POINTS, s, uid, callbacks, userdata, &f, ret_failure);
    if (r < 0)
        return r;
    f->since_usec = since_usec;
    f->until_usec = until_usec;
    r = begin(f, s, ret_failure);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(f);
    return 0;
}

int azure_find_point(Azure *a, const AzureSelector *s, const AzureChoice *choice, uid_t uid,
                     const AzureFindCallbacks *callbacks, void *userdata, AzureFind **ret,
                     Failure **ret_failure)
{
    _cleanup_(azure_find_freep) AzureFind *f = NULL;
    int r;

    r = find_new(a, FIND_POINT, s, uid, callbacks, userdata, &f, ret_failure);
    if (r < 0)
        return r;
    if (choice->rule == AZURE_RULE_ID) {
        r = azure_point_id_check(choice->id, ret_failure);
        if (r < 0)
            return r;
        f->id = strdup(choice->id);
        if (!f->id)
            return -ENOMEM;
    }
    f->choice = (AzureChoice){.rule = choice->rule, .id = f->id, .usec = choice->usec};
    if (choice->rule == AZURE_RULE_AT || choice->rule == AZURE_RULE_BEFORE)
        f->until_usec = MAX(choice->usec, UINT64_C(1));
    r = begin(f, s, ret_failure);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(f);
    return 0;
}

AzureFind *azure_find_free(AzureFind *f)
{
    if (!f)
        return NULL;
    azure_request_free(f->request);
    azure_list_free(f->list);
    free(f->resource_group);
    free(f->vm);
    azure_vm_id_done(&f->vm_id);
    strv_free(f->vaults);
    azure_matches_done(&f->matches);
    azure_item_done(&f->item);
    free(f->id);
    azure_choice_done(&f->choice);
    free(f->what);
    free(f);
    return NULL;
}
