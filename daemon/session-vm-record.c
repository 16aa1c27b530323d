/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What of a session of the kind "vm" is written down, for ilrd itself after a restart, and what is told to
 * people. */

#include "session-vm-internal.h"

static void replace_array(json_object **field, json_object *from, const char *key)
{
    json_object *a;

    if (json_get_array(from, key, &a) <= 0)
        return;
    json_object_put(*field);
    *field = json_object_get(a);
}

void session_vm_take(VmSession *v, json_object *from)
{
    replace_array(&v->disks, from, "disks");
    replace_array(&v->volumes, from, "volumes");
    replace_array(&v->roots, from, "roots");
}

/* What was asked for: in the record and told. */
static int add_choices(const VmSession *v, json_object *o)
{
    return json_add_string(o, "replay", v->provision.replay);
}

int session_vm_save(Session *s, json_object *o)
{
    _cleanup_json_ json_object *sids = json_object_new_array();
    VmSession *v = s->data;
    size_t i;
    int r;

    if (!sids)
        return -ENOMEM;
    for (i = 0; i < v->n_sids; i++)
        if (json_append(sids, json_object_new_int64(v->sids[i])) < 0)
            return -ENOMEM;
    if ((r = session_provision_save(s, o)) < 0 || (r = add_choices(v, o)) < 0 ||
        (r = json_add(o, "iscsiSessions", TAKE_PTR(sids))) < 0 || (r = session_vm_unlock_save(v, o)) < 0 ||
        (v->lingers && (r = json_add_bool(o, "lingers", true)) < 0) ||
        (r = json_add_string(o, "users", v->users)) < 0 ||
        (v->disks && (r = json_add(o, "disks", json_object_get(v->disks))) < 0) ||
        (v->volumes && (r = json_add(o, "volumes", json_object_get(v->volumes))) < 0) ||
        (v->roots && (r = json_add(o, "roots", json_object_get(v->roots))) < 0))
        return r;
    return 0;
}

int session_vm_load(Session *s, json_object *o)
{
    VmSession *v = s->data;
    const char *users = NULL, *replay = NULL;
    json_object *sids;
    size_t i, n;
    int r;

    r = session_provision_load(s, o);
    if (r >= 0 && (json_get_bool(o, "lingers", &v->lingers) < 0 || json_get_string(o, "users", &users) < 0 ||
                   json_get_string(o, "replay", &replay) < 0))
        r = -EINVAL;
    if (r >= 0)
        r = session_provision_set_replay(s, replay);
    if (r >= 0 && users && !(v->users = strdup(users)))
        r = -ENOMEM;
    if (r < 0)
        return r;
    if (s->step > 1) /* connect was started */
        places_adopt(services(s)->connections, &v->connection);
    if (json_get_array(o, "iscsiSessions", &sids) > 0 && (n = json_object_array_length(sids)) > 0 &&
        n <= TARGETS_MAX) {
        v->sids = calloc(n, sizeof(*v->sids));
        if (!v->sids)
            return -ENOMEM;
        for (i = 0; i < n; i++)
            v->sids[i] = json_object_get_int64(json_object_array_get_idx(sids, i));
        v->n_sids = n;
    }
    session_vm_take(v, o);
    return session_vm_unlock_load(v, o);
}

static int add_array(json_object *o, const char *key, json_object *array)
{
    return json_add(o, key, array ? json_object_get(array) : json_object_new_array());
}

int session_vm_describe(Session *s, json_object *o)
{
    VmSession *v = s->data;
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/run/ilr/%s/volumes", s->id);
    if ((r = session_provision_describe(s, o)) < 0 || (r = add_choices(v, o)) < 0 ||
        (v->queue_place && (r = json_add_int64(o, "queuePlace", v->queue_place)) < 0) ||
        (session_state(s) == SESSION_READY && (r = json_add_string(o, "path", path)) < 0) ||
        (r = add_array(o, "disks", v->disks)) < 0 || (r = add_array(o, "volumes", v->volumes)) < 0 ||
        (r = add_array(o, "roots", v->roots)) < 0 || (r = session_vm_unlock_describe(v, o)) < 0)
        return r;
    return 0;
}
