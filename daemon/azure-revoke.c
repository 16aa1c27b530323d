/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* azure_revoke(). What is refused is held against the recovery point: without a recovery on it there is
 * nothing owed. */

#include "azure-internal.h"

#include "log.h"

static void revoke_finish(AzureOperation *o, bool ok, Failure *failure)
{
    o->revoke_callbacks.done(ok, failure, o->userdata);
}

/* Is there still anything to revoke? After a failed revoke only a clear no counts; after one that was
 * answered without an operation, only a clear yes. */
static void on_point(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    json_object *active =
        json_get_nocase(json_get_nocase(a->json, "properties"), "isInstantIlrSessionActive");
    bool known = a->ok && json_object_is_type(active, json_type_boolean), gone;

    gone = known    ? !json_object_get_boolean(active)
           : !a->ok ? a->http && a->http->status == 404
                    : o->answered;
    failure_free(failure);
    if (gone && !o->answered)
        log_full(LOG_INFO, o->session, "Azure: could not %s, but the point has no active recovery any more",
                 o->what);
    revoke_finish(o, gone, gone ? NULL : TAKE_PTR(o->kept));
}

static void look_at_point(AzureOperation *o)
{
    _cleanup_free_ char *path = azure_point_path(o->point, false);

    if (azure_read(o, "GET", path, "", o->azure->client.config->api_version, NULL,
                   "look at the recovery point", POINT_ACTION "read", on_point) < 0)
        revoke_finish(o, false, TAKE_PTR(o->kept));
}

/* Something else is being done with the item, its own provision perhaps, which would be active only
 * afterwards: what the point says now is not the answer. */
static bool item_busy(const AzureLongResult *result, const Failure *f)
{
    return result->post_status == 409 ||
           (f->code && (strcasestr(f->code, "ObjectLocked") || strcasestr(f->code, "InProgress")));
}

static void on_revoked(const AzureLongResult *result, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;

    if (result->ok && (result->operation_id || result->post_status == 204)) {
        revoke_finish(o, true, NULL);
        return;
    }
    if (result->ok) {
        /* Not what is documented, and anything on the way can say "200". */
        o->answered = true;
        o->kept = failure_new(FAILURE_AZURE_ANSWER_INVALID,
                              "Could not %s: Azure answered with status %d and no operation, and the point "
                              "still has an active recovery",
                              o->what, result->post_status);
        look_at_point(o);
        return;
    }
    if (!failure ||
        (failure->name != FAILURE_OPERATION_FAILED && failure->name != FAILURE_AZURE_REFUSED &&
         failure->name != FAILURE_POINT_NOT_FOUND) ||
        item_busy(result, failure)) {
        revoke_finish(o, false, failure);
        return;
    }
    o->kept = failure;
    look_at_point(o);
}

int azure_revoke(Azure *a, const AzurePoint *p, uid_t uid, const char *session,
                 const AzureRevokeCallbacks *callbacks, void *userdata, AzureOperation **ret)
{
    _cleanup_(azure_operation_freep) AzureOperation *o = NULL;
    int r;

    r = azure_operation_new(a, OPERATION_REVOKE, userdata, &o);
    if (r < 0)
        return r;
    o->revoke_callbacks = *callbacks;
    o->uid = uid;
    o->point = azure_point_copy(p);
    if (!o->point || str_copy(session, &o->session) < 0 ||
        asprintf(&o->what, "revoke recovery point %s of %s", p->recovery_point, p->vm_name) < 0)
        return -ENOMEM;
    /* To be revoked twice does no harm. */
    r = azure_start_long(o, "revokeInstantItemRecovery", NULL,
                         POINT_ACTION "revokeInstantItemRecovery/action", false, NULL, on_revoked);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}
