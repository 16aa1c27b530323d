/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May a second caller have the session that is there for his recovery point? What he asks for and it cannot
 * give is refused by name: whoever says nothing takes it as it is. */
#include "session-provision.h"

#include <strings.h>

static int refuse(const Session *s, const char *field, const char *value, const char *has,
                  Failure **ret_failure)
{
    *ret_failure = failure_new(
        FAILURE_INVALID_REQUEST,
        "%s is \"%.128s\", but session %s of the same recovery point is there already, "
        "with %s%s%.128s%s",
        field, value, s->id, has ? field : "no ", has ? " \"" : field, has ? has : "", has ? "\"" : "");
    failure_advise(*ret_failure, "leave it out to hold that session, too, or wait until it is released");
    return -EINVAL;
}

/* NULL: not asked for. */
static bool differs(const char *wanted, const char *has, int (*compare)(const char *, const char *))
{
    return wanted && (!has || compare(wanted, has) != 0);
}

static int check_resource(const Session *s, const AzureResource *wanted, const AzureResource *has,
                          Failure **ret_failure)
{
    static const AzureResource nothing;

    if (!has)
        has = &nothing;
    if (differs(wanted->etag, has->etag, strcmp))
        return refuse(s, "eTag", wanted->etag, has->etag, ret_failure);
    if (differs(wanted->location, has->location, strcasecmp))
        return refuse(s, "location", wanted->location, has->location, ret_failure);
    if (wanted->tags && !(has->tags && json_object_equal(wanted->tags, has->tags)))
        return refuse(s, "tags", json_text(wanted->tags), has->tags ? json_text(has->tags) : NULL,
                      ret_failure);
    return 0;
}

int session_join_check(const Session *s, const char *kind, const AzurePoint *point,
                       const AzureResource *resource, const char *replay, Failure **ret_failure)
{
    const SessionProvision *p = s->data;

    if (!streq(kind, s->kind->name))
        return refuse(s, "kind", kind, s->kind->name, ret_failure);
    /* One that Azure did not tell yet is compared with nothing. */
    if (p->point->virtual_machine_id &&
        differs(point->virtual_machine_id, p->point->virtual_machine_id, strcasecmp))
        return refuse(s, "virtualMachineId", point->virtual_machine_id, p->point->virtual_machine_id,
                      ret_failure);
    if (p->point->storage_account_id &&
        differs(point->storage_account_id, p->point->storage_account_id, strcasecmp))
        return refuse(s, "sourceResourceId", point->storage_account_id, p->point->storage_account_id,
                      ret_failure);
    if (differs(replay, p->replay, strcmp))
        return refuse(s, "replay", replay, p->replay, ret_failure);
    return resource ? check_resource(s, resource, p->resource, ret_failure) : 0;
}
