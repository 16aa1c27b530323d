/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whom the portal knows, what they are shown, and what it says of them. */

#include "portal-internal.h"

#define USERS_MAX 1024

PortalKnown *portal_known_free(PortalKnown *u)
{
    free(u->name);
    free(u->password);
    free(u->initiator);
    strv_free(u->targets);
    free(u);
    return NULL;
}
DEFINE_CLEANUP(PortalKnown *, portal_known_free)

PortalKnown *portal_find_user(Portal *p, const char *name)
{
    PortalKnown *u;

    LIST_FOREACH (u, p->users)
        if (streq(u->name, name))
            return u;
    return NULL;
}

int portal_answer(char *const *targets, bool blocked, bool not_ready, char ***ret)
{
    const char *suffix = blocked ? "-blocked" : not_ready ? "-notready" : "";
    _cleanup_strv_free_ char **names = NULL;
    char *const *t;
    int r;

    STRV_FOREACH (t, targets) {
        r = strv_extendf(&names, "%s%s", *t, suffix);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(names);
    return 0;
}

PortalFaults portal_early_faults(Portal *p)
{
    PortalFaults f = {};
    PortalKnown *u;

    pthread_mutex_lock(&p->lock);
    LIST_FOREACH (u, p->users) {
        f.refuse |= u->faults.refuse;
        f.wrong_certificate |= u->faults.wrong_certificate;
        f.hang_handshake |= u->faults.hang_handshake;
        f.handshake_delay_usec = MAX(f.handshake_delay_usec, u->faults.handshake_delay_usec);
    }
    pthread_mutex_unlock(&p->lock);
    return f;
}

int portal_set_user(Portal *p, const PortalUser *user)
{
    _cleanup_(portal_known_freep) PortalKnown *u = calloc(1, sizeof(*u));
    PortalKnown *old;
    int r;

    if (!u)
        return -ENOMEM;
    u->faults = user->faults;
    u->name = strdup(user->name);
    u->password = strdup(user->password);
    if (!u->name || !u->password || str_copy(user->initiator, &u->initiator) < 0)
        return -ENOMEM;
    r = strv_copy(user->targets, &u->targets);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    old = portal_find_user(p, user->name);
    if (old) {
        /* A new wish for targets that are not ready counts from now on. */
        u->discoveries = old->faults.not_ready_times == u->faults.not_ready_times ? old->discoveries : 0;
        u->logins = old->logins;
        u->bytes_to_client = old->bytes_to_client;
        LIST_REMOVE(p->users, old);
        portal_known_free(old);
        p->users_n--;
    }
    if (p->users_n >= USERS_MAX)
        r = -EMFILE;
    else {
        PortalKnown *added = TAKE_PTR(u);

        LIST_PREPEND(p->users, added);
        p->users_n++;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

void portal_remove_user(Portal *p, const char *name)
{
    PortalConnection *c;
    PortalKnown *u;

    pthread_mutex_lock(&p->lock);
    u = portal_find_user(p, name);
    if (u) {
        LIST_REMOVE(p->users, u);
        portal_known_free(u);
        p->users_n--;
    }
    /* The thread wakes up from that and ends by itself; descriptors are closed only after it left the list.
     */
    LIST_FOREACH (c, p->connections)
        if (c->user && streq(c->user, name)) {
            (void)shutdown(c->client, SHUT_RDWR);
            if (c->target >= 0)
                (void)shutdown(c->target, SHUT_RDWR);
        }
    pthread_mutex_unlock(&p->lock);
}

json_object *portal_describe(Portal *p)
{
    json_object *o = json_object_new_object(), *users = json_object_new_array();
    PortalConnection *c;
    PortalKnown *u;

    if (!o || !users) {
        json_object_put(o);
        json_object_put(users);
        return NULL;
    }
    pthread_mutex_lock(&p->lock);
    (void)json_add_int64(o, "connections", p->connections_n);
    (void)json_add_int64(o, "accepted", p->accepted);
    (void)json_add_int64(o, "refused", p->refused);
    LIST_FOREACH (u, p->users) {
        json_object *v = json_object_new_object();
        int64_t connections = 0, bytes = u->bytes_to_client;

        LIST_FOREACH (c, p->connections)
            if (c->user && streq(c->user, u->name)) {
                connections++;
                bytes += c->bytes_to_client;
            }
        (void)json_add_string(v, "user", u->name);
        (void)json_add_int64(v, "connections", connections);
        (void)json_add_int64(v, "discoveries", u->discoveries);
        (void)json_add_int64(v, "logins", u->logins);
        (void)json_add_int64(v, "bytesToClient", bytes);
        json_object_array_add(users, v);
    }
    pthread_mutex_unlock(&p->lock);
    (void)json_add(o, "users", users);
    return o;
}
