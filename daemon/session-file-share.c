/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-file-share.h"

void *session_file_share_data(AzurePoint *point, AzureResource *resource)
{
    SessionProvision *p = calloc(1, sizeof(*p));

    if (p)
        session_provision_init(p, point, resource, true);
    return p;
}

void session_file_share_data_free(void *data)
{
    if (!data)
        return;
    session_provision_done(data);
    free(data);
}

static void share_free(Session *s)
{
    session_file_share_data_free(s->data);
}

static int share_ready(Session *s)
{
    return 0;
}

static const SessionStep steps[] = {
    {SESSION_PROVISIONING, SESSION_REVOKING, session_provision_acquire, session_provision_release},
};

static int share_describe(Session *s, json_object *o)
{
    int r;

    if ((r = session_provision_describe(s, o)) < 0 ||
        (r = json_add(o, "disks", json_object_new_array())) < 0 ||
        (r = json_add(o, "volumes", json_object_new_array())) < 0 ||
        (r = json_add(o, "roots", json_object_new_array())) < 0)
        return r;
    return 0;
}

const SessionKind session_kind_file_share = {
    .name = "file-share",
    .steps = steps,
    .n_steps = ELEMENTSOF(steps),
    .cancel = session_provision_cancel,
    .ready = share_ready,
    .free = share_free,
    .save = session_provision_save,
    .load = session_provision_load,
    .describe = share_describe,
    .subject = session_provision_subject,
    .names = session_provision_names,
};
