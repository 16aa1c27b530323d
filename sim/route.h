/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which request is it? The one table of what the simulator serves, by method and path. Fixed parts of a path
 * are compared without case, as ARM does; the variable parts are kept as they came. */

#include "util.h"

typedef enum RequestKind {
    REQUEST_OPENID,
    REQUEST_TOKEN,
    REQUEST_INSTANCE,
    REQUEST_DEVICE_CODE,
    REQUEST_IMDS,
    REQUEST_ARC, /* the same path, on another listener */
    REQUEST_SUBSCRIPTIONS,
    REQUEST_BACKUP_STATUS,
    REQUEST_VAULT,
    REQUEST_ITEMS,
    REQUEST_CONTAINERS,
    REQUEST_ITEM,
    REQUEST_POINTS,
    REQUEST_POINT,
    REQUEST_PROVISION,
    REQUEST_REVOKE,
    REQUEST_LIST_SCRIPTS,
    REQUEST_STATUS,
    REQUEST_RESULT,
    /* on the control listener */
    REQUEST_SIM_STATE,
    REQUEST_SIM_LOG,
    REQUEST_SIM_TOKENS,
    REQUEST_SIM_DEVICE,
    REQUEST_SIM_SCENARIO,
    REQUEST_SIM_POINT_SCENARIO,
    REQUEST_KIND_MAX,
    REQUEST_KIND_INVALID = -EINVAL,
} RequestKind;

#define REQUEST_KIND_FIRST_SIM REQUEST_SIM_STATE

const char *request_kind_to_string(RequestKind kind);
RequestKind request_kind_from_string(const char *s);

typedef enum RouteField {
    FIELD_TENANT,
    FIELD_SUBSCRIPTION,
    FIELD_GROUP,
    FIELD_VAULT,
    FIELD_LOCATION,
    FIELD_CONTAINER,
    FIELD_ITEM,
    FIELD_POINT,
    FIELD_OPERATION,
    FIELD_PRINCIPAL,
    FIELD_CODE,
    ROUTE_FIELD_MAX,
    ROUTE_FIELD_INVALID = -EINVAL,
} RouteField;

#define ROUTE_SEGMENT_MAX 260 /* bytes of one variable part, an ARM limit; longer ones match nothing */

typedef struct Route {
    RequestKind kind;
    char field[ROUTE_FIELD_MAX][ROUTE_SEGMENT_MAX + 1]; /* "" where the path has none */
} Route;

/* path begins with "/", percent-decoded, without its query.
 * 0; -ENOENT: nothing is served there; -EOPNOTSUPP: not with this method. ret->kind is set for the latter
 * too. */
int route_parse(const char *method, const char *path, Route *ret);
