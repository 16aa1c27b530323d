/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "route.h"
#include <strings.h>

#define VAULT_PATH                                                                                           \
    "subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.RecoveryServices/vaults/"       \
    "{vault}"
#define ITEM_PATH VAULT_PATH "/backupFabrics/Azure/protectionContainers/{container}/protectedItems/{item}"
#define POINT_PATH ITEM_PATH "/recoveryPoints/{point}"

static const struct {
    RequestKind kind;
    const char *method, *path;
} routes[] = {
    {REQUEST_OPENID, "GET", "{tenant}/v2.0/.well-known/openid-configuration"},
    {REQUEST_OPENID, "GET", "adfs/.well-known/openid-configuration"},
    {REQUEST_TOKEN, "POST", "{tenant}/oauth2/v2.0/token"},
    {REQUEST_INSTANCE, "GET", "common/discovery/instance"},
    {REQUEST_DEVICE_CODE, "POST", "{tenant}/oauth2/v2.0/devicecode"},
    {REQUEST_IMDS, "GET", "metadata/identity/oauth2/token"},
    {REQUEST_IMDS, "GET", "metadata/identity/oauth2/token/"},
    {REQUEST_SUBSCRIPTIONS, "GET", "subscriptions"},
    {REQUEST_BACKUP_STATUS, "POST",
     "subscriptions/{subscription}/providers/Microsoft.RecoveryServices/locations/{location}/backupStatus"},
    {REQUEST_VAULT, "GET", VAULT_PATH},
    {REQUEST_ITEMS, "GET", VAULT_PATH "/backupProtectedItems"},
    {REQUEST_CONTAINERS, "GET", VAULT_PATH "/backupProtectionContainers"},
    {REQUEST_STATUS, "GET", VAULT_PATH "/backupOperations/{operation}"},
    {REQUEST_RESULT, "GET", VAULT_PATH "/backupOperationResults/{operation}"},
    {REQUEST_ITEM, "GET", ITEM_PATH},
    {REQUEST_STATUS, "GET", ITEM_PATH "/operationsStatus/{operation}"},
    {REQUEST_RESULT, "GET", ITEM_PATH "/operationResults/{operation}"},
    {REQUEST_POINTS, "GET", ITEM_PATH "/recoveryPoints"},
    {REQUEST_POINT, "GET", POINT_PATH},
    {REQUEST_PROVISION, "POST", POINT_PATH "/provisionInstantItemRecovery"},
    {REQUEST_REVOKE, "POST", POINT_PATH "/revokeInstantItemRecovery"},
    {REQUEST_LIST_SCRIPTS, "POST", POINT_PATH "/listInstantItemRecoveryOperationResult"},
    {REQUEST_SIM_STATE, "GET", "sim/state"},
    {REQUEST_SIM_LOG, "DELETE", "sim/log"},
    {REQUEST_SIM_TOKENS, "DELETE", "sim/tokens"},
    {REQUEST_SIM_TOKENS, "DELETE", "sim/tokens/{principal}"},
    {REQUEST_SIM_DEVICE, "PUT", "sim/devices/{code}"},
    {REQUEST_SIM_SCENARIO, "PUT", "sim/scenario"},
    {REQUEST_SIM_SCENARIO, "DELETE", "sim/scenario"},
    {REQUEST_SIM_POINT_SCENARIO, "PUT", "sim/points/{point}/scenario"},
    {REQUEST_SIM_POINT_SCENARIO, "DELETE", "sim/points/{point}/scenario"},
};

static const char *const field_names[ROUTE_FIELD_MAX] = {
    [FIELD_TENANT] = "tenant",       [FIELD_SUBSCRIPTION] = "subscription",
    [FIELD_GROUP] = "group",         [FIELD_VAULT] = "vault",
    [FIELD_LOCATION] = "location",   [FIELD_CONTAINER] = "container",
    [FIELD_ITEM] = "item",           [FIELD_POINT] = "point",
    [FIELD_OPERATION] = "operation", [FIELD_PRINCIPAL] = "principal",
    [FIELD_CODE] = "code",
};

static const char *const kind_names[REQUEST_KIND_MAX] = {
    [REQUEST_OPENID] = "openid",
    [REQUEST_TOKEN] = "token",
    [REQUEST_INSTANCE] = "instance",
    [REQUEST_DEVICE_CODE] = "device-code",
    [REQUEST_IMDS] = "imds",
    [REQUEST_ARC] = "arc",
    [REQUEST_SUBSCRIPTIONS] = "subscriptions",
    [REQUEST_BACKUP_STATUS] = "backup-status",
    [REQUEST_VAULT] = "vault",
    [REQUEST_ITEMS] = "items",
    [REQUEST_CONTAINERS] = "containers",
    [REQUEST_ITEM] = "item",
    [REQUEST_POINTS] = "points",
    [REQUEST_POINT] = "point",
    [REQUEST_PROVISION] = "provision",
    [REQUEST_REVOKE] = "revoke",
    [REQUEST_LIST_SCRIPTS] = "list-scripts",
    [REQUEST_STATUS] = "status",
    [REQUEST_RESULT] = "result",
    [REQUEST_SIM_STATE] = "sim-state",
    [REQUEST_SIM_LOG] = "sim-log",
    [REQUEST_SIM_TOKENS] = "sim-tokens",
    [REQUEST_SIM_DEVICE] = "sim-device",
    [REQUEST_SIM_SCENARIO] = "sim-scenario",
    [REQUEST_SIM_POINT_SCENARIO] = "sim-point-scenario",
};

const char *request_kind_to_string(RequestKind kind)
{
    return kind >= 0 && kind < REQUEST_KIND_MAX ? kind_names[kind] : NULL;
}

RequestKind request_kind_from_string(const char *s)
{
    for (RequestKind k = 0; k < REQUEST_KIND_MAX; k++)
        if (streq(kind_names[k], s))
            return k;
    return REQUEST_KIND_INVALID;
}

static RouteField field_from_pattern(const char *pattern, size_t size)
{
    for (RouteField f = 0; f < ROUTE_FIELD_MAX; f++)
        if (strlen(field_names[f]) == size - 2 && strncmp(field_names[f], pattern + 1, size - 2) == 0)
            return f;
    return ROUTE_FIELD_INVALID;
}

static bool route_match(const char *pattern, const char *path, Route *r)
{
    memset(r->field, 0, sizeof(r->field));
    for (;;) {
        size_t a = strcspn(pattern, "/"), b = strcspn(path, "/");

        /* A slash at the end of the pattern is the path's, too. */
        if (b == 0)
            return a == 0 && !*pattern && !*path;
        if (pattern[0] == '{') {
            RouteField f = field_from_pattern(pattern, a);

            if (f < 0 || b > ROUTE_SEGMENT_MAX)
                return false;
            memcpy(r->field[f], path, b);
        } else if (a != b || strncasecmp(pattern, path, a) != 0)
            return false;
        if (!pattern[a] || !path[b])
            return pattern[a] == path[b];
        pattern += a + 1;
        path += b + 1;
    }
}

int route_parse(const char *method, const char *path, Route *ret)
{
    int r = -ENOENT;

    if (path[0] != '/')
        return -ENOENT;
    for (size_t i = 0; i < ELEMENTSOF(routes); i++) {
        if (!route_match(routes[i].path, path + 1, ret))
            continue;
        ret->kind = routes[i].kind;
        if (streq(routes[i].method, method))
            return 0;
        r = -EOPNOTSUPP;
    }
    return r;
}
