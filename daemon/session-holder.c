/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-holder.h"

#include "strv.h"

static void holder_done(SessionHolder *h)
{
    free(h->caller);
    free(h->reason);
}

void session_holders_done(SessionHolders *h)
{
    size_t i;

    for (i = 0; i < h->n; i++)
        holder_done(&h->items[i]);
    free(h->items);
    *h = (SessionHolders){};
}

SessionHolder *session_holders_find(const SessionHolders *h, uid_t uid)
{
    size_t i;

    for (i = 0; i < h->n; i++)
        if (h->items[i].uid == uid)
            return &h->items[i];
    return NULL;
}

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 ? 0 : MAX(a, b);
}

uint64_t session_holders_idle(const SessionHolders *h)
{
    uint64_t longest = h->n > 0 ? h->items[0].idle_usec : 0;
    size_t i;

    for (i = 1; i < h->n; i++)
        longest = longer(longest, h->items[i].idle_usec);
    return longest;
}

int session_holders_add(SessionHolders *h, uid_t uid, const char *caller, const char *reason,
                        uint64_t since_usec, uint64_t idle_usec)
{
    SessionHolder *holder = session_holders_find(h, uid), *more;
    SessionHolder new = {.uid = uid, .since_usec = since_usec, .idle_usec = idle_usec};

    if (holder) {
        if (reason && !holder->reason && !(holder->reason = strdup(reason)))
            return -ENOMEM;
        holder->idle_usec = longer(holder->idle_usec, idle_usec);
        return 0;
    }
    if (h->n >= SESSION_HOLDERS_MAX)
        return -E2BIG;
    new.caller = strdup(caller ? caller : "");
    new.reason = reason ? strdup(reason) : NULL;
    more = realloc(h->items, (h->n + 1) * sizeof(*more));
    if (more)
        h->items = more;
    if (!more || !new.caller || (reason && !new.reason)) {
        holder_done(&new);
        return -ENOMEM;
    }
    h->items[h->n++] = new;
    return 1;
}

bool session_holders_remove(SessionHolders *h, uid_t uid)
{
    SessionHolder *holder = session_holders_find(h, uid);
    size_t i;

    if (!holder)
        return false;
    i = (size_t)(holder - h->items);
    holder_done(holder);
    memmove(holder, holder + 1, (h->n - i - 1) * sizeof(*holder));
    h->n--;
    return true;
}

char *session_holders_text(const SessionHolders *h)
{
    _cleanup_strv_free_ char **names = NULL;
    size_t i;

    for (i = 0; i < h->n; i++)
        if (strv_extend(&names, h->items[i].caller) < 0)
            return NULL;
    return names ? strv_join(names, ", ") : strdup("nobody");
}

char *session_holders_short_text(const SessionHolders *h, size_t max)
{
    static const char more[] = ", ...";
    char *text = h->n > 0 ? session_holders_text(h) : strdup(""), *end;

    if (!text || strlen(text) <= max)
        return text;
    text[max - strlen(more) + 1] = '\0';
    end = strrchr(text, ',');
    strcpy(end ? end : text, end ? more : "...");
    return text;
}

int session_holders_to_json(const SessionHolders *h, json_object **ret)
{
    _cleanup_json_ json_object *array = json_object_new_array();
    size_t i;

    if (!array)
        return -ENOMEM;
    for (i = 0; i < h->n; i++) {
        _cleanup_json_ json_object *o = json_object_new_object();
        const SessionHolder *holder = &h->items[i];

        if (!o || json_add_int64(o, "uid", holder->uid) < 0 ||
            json_add_string(o, "caller", holder->caller) < 0 ||
            json_add_string(o, "reason", holder->reason) < 0 ||
            json_add_int64(o, "sinceUsec", (int64_t)holder->since_usec) < 0 ||
            json_add_int64(o, "idleUsec", (int64_t)holder->idle_usec) < 0 ||
            json_append(array, TAKE_PTR(o)) < 0)
            return -ENOMEM;
    }
    *ret = TAKE_PTR(array);
    return 0;
}

int session_holders_from_json(SessionHolders *h, json_object *array, uint64_t idle_usec)
{
    size_t i;

    for (i = 0; i < json_object_array_length(array); i++) {
        json_object *o = json_object_array_get_idx(array, i);
        const char *caller = NULL, *reason = NULL;
        int64_t uid = -1, since = 0, idle = (int64_t)idle_usec;
        int r;

        if (!json_object_is_type(o, json_type_object) || json_get_int64(o, "uid", &uid) <= 0 || uid < 0 ||
            uid > UINT32_MAX || json_get_string(o, "caller", &caller) < 0 ||
            json_get_string(o, "reason", &reason) < 0 || json_get_int64(o, "sinceUsec", &since) < 0 ||
            json_get_int64(o, "idleUsec", &idle) < 0 || since < 0 || idle < 0)
            return -EINVAL;
        r = session_holders_add(h, (uid_t)uid, caller, reason, (uint64_t)since, (uint64_t)idle);
        if (r < 0)
            return r;
    }
    return 0;
}
