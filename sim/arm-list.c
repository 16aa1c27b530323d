/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finding things: vaults, items, recovery points, and the lists of them. */

#include "arm.h"
#include "timeutil.h"
#include <strings.h>

/* ---- where ---- */

Vault *arm_find_vault(Request *q)
{
    SimConfig *c = q->state->config;
    const char *group = q->route.field[FIELD_GROUP];
    Vault *v = sim_config_vault(c, q->route.field[FIELD_SUBSCRIPTION], group, q->route.field[FIELD_VAULT]);

    if (v)
        return v;
    reply_header(q, "x-ms-failure-cause", "gateway");
    if (strcasecmp(c->subscription, q->route.field[FIELD_SUBSCRIPTION]) != 0) {
        reply_error(q, 404, "SubscriptionNotFound", "The subscription '%s' could not be found.",
                    q->route.field[FIELD_SUBSCRIPTION]);
        return NULL;
    }
    for (size_t n = 0; n < c->vault_count; n++)
        if (strcasecmp(c->vaults[n].resource_group, group) == 0) {
            reply_error(q, 404, "ResourceNotFound",
                        "The Resource 'Microsoft.RecoveryServices/vaults/%s' under resource group '%s' was "
                        "not found.",
                        q->route.field[FIELD_VAULT], group);
            return NULL;
        }
    reply_error(q, 404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group);
    return NULL;
}

Item *arm_find_item(Request *q)
{
    Vault *v = arm_find_vault(q);
    Item *i = v ? vault_item(v, q->route.field[FIELD_CONTAINER], q->route.field[FIELD_ITEM]) : NULL;

    if (v && !i)
        reply_error(q, 404, "ResourceNotFound",
                    "The protected item '%s' in the container '%s' was not found.",
                    q->route.field[FIELD_ITEM], q->route.field[FIELD_CONTAINER]);
    return i;
}

Point *arm_find_point(Request *q)
{
    Item *i = arm_find_item(q);
    Point *p = i ? item_point(i, q->route.field[FIELD_POINT]) : NULL;

    if (i && !p)
        reply_error(q, 404, "ResourceNotFound", "The recovery point '%s' was not found.",
                    q->route.field[FIELD_POINT]);
    return p;
}

/* ---- lists ---- */

/* The value of "key eq 'value'" in the filter, or NULL. The caller frees. */
static char *filter_get(Request *q, const char *key)
{
    const char *filter = request_query(q, "$filter");

    for (const char *p = filter; p && *p;) {
        size_t n;

        while (*p == ' ')
            p++;
        n = strcspn(p, " ");
        if (n == strlen(key) && strncasecmp(p, key, n) == 0) {
            const char *value = startswith(p + n, " eq '");

            return value ? strndup(value, strcspn(value, "'")) : NULL;
        }
        /* To the next term. */
        p = strstr(p, " and ");
        p = p ? p + strlen(" and ") : NULL;
    }
    return NULL;
}

/* Refuses: false. Absent: true. */
static bool filter_is(Request *q, const char *key, const char *value)
{
    _cleanup_free_ char *got = filter_get(q, key);

    return !got || strcasecmp(got, value) == 0;
}

/* "2022-02-24 09:30:01 PM", UTC. 0: not there or not understood. */
static uint64_t filter_time(Request *q, const char *key)
{
    _cleanup_free_ char *got = filter_get(q, key);
    char half;
    struct tm tm = {};
    time_t t;

    if (!got || sscanf(got, "%4d-%2d-%2d %2d:%2d:%2d %c", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
                       &tm.tm_min, &tm.tm_sec, &half) != 7)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    tm.tm_hour = tm.tm_hour % 12 + (half == 'P' || half == 'p' ? 12 : 0);
    t = timegm(&tm);
    return t > 0 ? (uint64_t)t * USEC_PER_SEC : 0;
}

/* Adds to one page of a list; position counts everything that passed the filter. */
typedef struct Page {
    json_object *value;
    size_t skip, size, position;
    bool more;
} Page;

static void page_init(Request *q, Page *page)
{
    const char *token = request_query(q, "$skipToken");

    *page = (Page){.value = json_object_new_array(), .size = q->state->config->page_size};
    if (token)
        page->skip = strtoul(token, NULL, 10);
}

static bool page_takes(Page *page)
{
    size_t at = page->position++;

    if (at >= page->skip + page->size)
        page->more = true;
    return at >= page->skip && !page->more;
}

static void page_reply(Request *q, Page *page)
{
    json_object *o = json_object_new_object();
    const char *filter = request_query(q, "$filter");
    char base[300];

    json_add(o, "value", page->value);
    const char *last = q->state->config->next_link;
    const bool loop = last && streq(last, "loop");

    if (!page->more && last && streq(last, "null"))
        json_object_object_add(o, "nextLink", NULL);
    if (!page->more && last && streq(last, "empty"))
        json_add_string(o, "nextLink", "");
    if (page->more || loop) {
        _cleanup_free_ char *link = NULL;
        FILE *f;
        size_t size;

        f = open_memstream(&link, &size);
        if (f) {
            fprintf(f, "%s%s?api-version=%s&$skipToken=%zu", request_base(q, base, sizeof(base)), q->path,
                    q->api_version, page->more ? page->skip + page->size : 0);
            if (filter)
                fputs("&$filter=", f);
            for (const char *p = filter; p && *p; p++)
                fprintf(f, strchr(" %&+#\"'", *p) || (unsigned char)*p > 126 ? "%%%02X" : "%c",
                        (unsigned char)*p);
            fclose(f);
            json_add_string(o, "nextLink", link);
        }
    }
    reply_json(q, 200, o);
}

static json_object *item_json(const Item *i)
{
    json_object *o = json_object_new_object(), *p = json_object_new_object();
    uint64_t last = 0;
    char time[TIMESTAMP_MAX];

    for (size_t n = 0; n < i->point_count; n++)
        last = MAX(last, i->points[n].time_usec);
    if (i->without_fabric) {
        _cleanup_free_ char *id = NULL;

        if (asprintf(&id, "%s/protectionContainers/%s/protectedItems/%s", i->vault->id, i->container,
                     i->name) < 0)
            id = NULL;
        json_add_string(o, "id", id);
    } else
        json_add_string(o, "id", i->id);
    json_add_string(o, "name", i->name);
    json_add_string(o, "type",
                    "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems");
    json_add_string(p, "friendlyName", i->vm);
    if (!i->file_share)
        json_add_string(p, "virtualMachineId", i->vm_id);
    json_add_string(p, "protectionStatus", "Healthy");
    json_add_string(p, "protectionState", "Protected");
    json_add_string(p, "healthStatus", "Passed");
    json_add_string(p, "lastBackupStatus", "Completed");
    if (last)
        json_add_string(p, "lastBackupTime", timestamp_format(last, time));
    json_add_string(p, "protectedItemDataId", i->points && i->point_count ? i->points[0].id : "0");
    json_add_string(p, "protectedItemType",
                    i->file_share ? "AzureFileShareProtectedItem"
                    : i->classic  ? "Microsoft.ClassicCompute/virtualMachines"
                                  : "Microsoft.Compute/virtualMachines");
    json_add_string(p, "backupManagementType", i->file_share ? "AzureStorage" : "AzureIaasVM");
    json_add_string(p, "workloadType", i->file_share ? "AzureFileShare" : "VM");
    json_add_string(p, "containerName", strchr(i->container, ';') + 1);
    json_add_string(p, "sourceResourceId", i->vm_id);
    if (last)
        json_add_string(p, "lastRecoveryPoint", timestamp_format(last, time));
    json_add(o, "properties", p);
    return o;
}

static bool filter_passes(Request *q, const Item *i)
{
    return filter_is(q, "backupManagementType", i->file_share ? "AzureStorage" : "AzureIaasVM") &&
           filter_is(q, "itemType", i->file_share ? "AzureFileShare" : "VM") &&
           filter_is(q, "friendlyName", i->vm) && filter_is(q, "status", "Registered");
}

void arm_vault(Request *q)
{
    const Vault *v = arm_find_vault(q);
    json_object *o, *properties, *sku;

    if (!v)
        return;
    o = json_object_new_object();
    properties = json_object_new_object();
    sku = json_object_new_object();
    json_add_string(o, "id", v->id);
    json_add_string(o, "name", v->name);
    json_add_string(o, "type", "Microsoft.RecoveryServices/vaults");
    json_add_string(o, "location", v->location);
    json_add_string(properties, "provisioningState", "Succeeded");
    json_add(o, "properties", properties);
    json_add_string(sku, "name", "Standard");
    json_add(o, "sku", sku);
    reply_json(q, 200, o);
}

void arm_items(Request *q)
{
    Vault *v = arm_find_vault(q);
    Page page;

    if (!v)
        return;
    page_init(q, &page);
    for (size_t n = 0; n < v->item_count; n++)
        if (filter_passes(q, &v->items[n]) && page_takes(&page))
            json_object_array_add(page.value, item_json(&v->items[n]));
    page_reply(q, &page);
}

void arm_containers(Request *q)
{
    Vault *v = arm_find_vault(q);
    Page page;

    if (!v)
        return;
    page_init(q, &page);
    for (size_t n = 0; n < v->item_count; n++) {
        const Item *i = &v->items[n];
        json_object *o, *p;
        char id[1200];

        if (!filter_passes(q, i) || !page_takes(&page))
            continue;
        o = json_object_new_object();
        p = json_object_new_object();
        snprintf(id, sizeof(id), "%s/backupFabrics/Azure/protectionContainers/%s", v->id, i->container);
        json_add_string(o, "id", id);
        json_add_string(o, "name", i->container);
        json_add_string(o, "type", "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers");
        json_add_string(p, "friendlyName", i->vm);
        json_add_string(p, "backupManagementType", "AzureIaasVM");
        json_add_string(p, "registrationStatus", "Registered");
        json_add_string(p, "healthStatus", "Healthy");
        json_add_string(p, "containerType", "Microsoft.Compute/virtualMachines");
        json_add_string(p, "virtualMachineId", i->vm_id);
        json_add_string(p, "virtualMachineVersion", "Compute");
        json_add_string(p, "resourceGroup", i->resource_group);
        json_add(o, "properties", p);
        json_object_array_add(page.value, o);
    }
    page_reply(q, &page);
}

static void tier_add(json_object *tiers, int type)
{
    json_object *o = json_object_new_object();

    /* On the wire these are numbers, whatever the documentation says. */
    json_add_int64(o, "type", type);
    json_add_int64(o, "status", 1);
    json_object_array_add(tiers, o);
}

static json_object *point_json(State *s, const Point *point)
{
    json_object *o = json_object_new_object(), *p = json_object_new_object(),
                *tiers = json_object_new_array(), *readiness = json_object_new_object(),
                *archived = json_object_new_object();
    _cleanup_free_ char *id = NULL;
    char time[TIMESTAMP_MAX], fraction[TIMESTAMP_MAX + 16];
    bool active;

    state_lock(s);
    active = point_active(point);
    state_unlock(s);
    if (asprintf(&id, "%s/recoveryPoints/%s", point->item->id, point->id) < 0)
        id = NULL;
    timestamp_format(point->time_usec, time);
    snprintf(fraction, sizeof(fraction), "%.19s.%06u0", time, (unsigned)(point->time_usec % USEC_PER_SEC));
    snprintf(fraction + 19 + (point->time_digits ? point->time_digits + 1 : 0), 2, "Z");
    json_add_string(o, "id", id);
    json_add_string(o, "name", point->id);
    json_add_string(
        o, "type",
        "Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints");
    if (point->item->file_share) {
        json_add_string(p, "objectType", "AzureFileShareRecoveryPoint");
        json_add_string(p, "recoveryPointType", "FileSystemConsistent");
        json_add_string(p, "recoveryPointTime", fraction);
        json_add_string(p, "fileShareSnapshotUri",
                        "https://account.file.core.windows.net/share?sharesnapshot=1");
        json_add_int64(p, "recoveryPointSizeInGB", 1);
        json_object_put(tiers);
        json_object_put(readiness);
        json_object_put(archived);
        json_add(o, "properties", p);
        return o;
    }
    json_add_string(p, "objectType", "IaasVMRecoveryPoint");
    json_add_string(p, "recoveryPointType", point->type);
    json_add_string(p, "recoveryPointTime", fraction);
    json_add_string(p, "recoveryPointAdditionalInfo", "");
    json_add_string(p, "sourceVMStorageType", "NormalStorage");
    json_add_bool(p, "isSourceVMEncrypted", point->encrypted);
    json_add_bool(p, "isInstantIlrSessionActive", active);
    if (point->tiers) {
        json_object_put(tiers);
        tiers = NULL; /* a copy: counting references is not for several threads */
        (void)json_object_deep_copy(point->tiers, &tiers, NULL);
    } else if (point->archived)
        tier_add(tiers, 3);
    else {
        tier_add(tiers, 1);
        tier_add(tiers, 2);
    }
    json_add(p, "recoveryPointTierDetails", tiers);
    json_add_bool(p, "isManagedVirtualMachine", true);
    json_add_string(p, "virtualMachineSize", "Standard_D1_v2");
    json_add_bool(p, "originalStorageAccountOption", false);
    json_add_string(p, "osType", point->item->os_type);
    json_add_bool(archived, "isReadyForMove", false);
    json_add_string(archived, "additionalInfo", "");
    json_add(readiness, "ArchivedRP", archived);
    json_add(p, "recoveryPointMoveReadinessInfo", readiness);
    json_add(o, "properties", p);
    return o;
}

void arm_points(Request *q)
{
    Item *i = arm_find_item(q);
    uint64_t start = filter_time(q, "startDate"), end = filter_time(q, "endDate");
    Page page;

    if (!i)
        return;
    page_init(q, &page);
    for (size_t n = 0; n < i->point_count; n++) {
        const Point *p = &i->points[n];

        if (p->time_usec >= start && (!end || p->time_usec <= end) && page_takes(&page))
            json_object_array_add(page.value, point_json(q->state, p));
    }
    page_reply(q, &page);
}

void arm_subscriptions(Request *q)
{
    json_object *o = json_object_new_object(), *array = json_object_new_array(),
                *s = json_object_new_object();
    const SimConfig *c = q->state->config;
    char id[128];

    snprintf(id, sizeof(id), "/subscriptions/%s", c->subscription);
    json_add_string(s, "id", id);
    json_add_string(s, "subscriptionId", c->subscription);
    json_add_string(s, "tenantId", c->tenant);
    json_add_string(s, "displayName", "Rehearsal");
    json_add_string(s, "state", "Enabled");
    json_object_array_add(array, s);
    json_add(o, "value", array);
    reply_json(q, 200, o);
}

void arm_item(Request *q)
{
    const Item *i = arm_find_item(q);

    if (i)
        reply_json(q, 200, item_json(i));
}

void arm_point(Request *q)
{
    const Point *p = arm_find_point(q);

    if (p)
        reply_json(q, 200, point_json(q->state, p));
}
