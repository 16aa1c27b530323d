/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unlock, and the keys of a Provision. A key comes as a descriptor, never in JSON: that is copied about, and
 * logged by whoever looks into a connection. Only what memfd_create(2) makes is taken: reading anything else
 * may wait for its owner. */
#include "service-internal.h"

static int take_key(VarlinkCall *call, size_t number, Secret **ret, Failure **ret_failure)
{
    int fd = varlink_call_take_fd(call, number), r;
    char buf[128];

    r = fd < 0 ? -EBADF : secret_read_memfd(fd, SESSION_KEY_SIZE_MAX, ret);
    (void)varlink_fd_close(fd);
    if (r == -EINVAL)
        *ret_failure =
            failure_new(FAILURE_INVALID_REQUEST,
                        "key %zu: expected a descriptor of memfd_create(2) with the key", number + 1);
    else if (r == -EFBIG || r == -ENODATA)
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST, "key %zu: expected 1 to %llu bytes", number + 1,
                                   (unsigned long long)SESSION_KEY_SIZE_MAX);
    else if (r < 0 && r != -ENOMEM)
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST, "key %zu cannot be read: %s", number + 1,
                                   strerror_r(-r, buf, sizeof(buf)));
    return r;
}

static int wrong_count(size_t wanted, size_t n, Failure **ret_failure)
{
    *ret_failure =
        failure_new(FAILURE_INVALID_REQUEST, "keys: expected %zu descriptor%s with the message, there %s %zu",
                    wanted, wanted == 1 ? "" : "s", n == 1 ? "is" : "are", n);
    return -EINVAL;
}

int service_take_keys(VarlinkCall *call, json_object *parameters, const char *kind, Failure **ret_failure)
{
    SessionKeys *keys;
    json_object *array = NULL;
    size_t i, n;
    int r;

    if (json_get_array(parameters, "keys", &array) < 0) {
        (void)varlink_call_invalid_parameter(call, "keys");
        return 1;
    }
    n = array ? json_object_array_length(array) : 0;
    if (n != varlink_call_n_fds(call))
        return wrong_count(n, varlink_call_n_fds(call), ret_failure);
    if (n == 0)
        return 0;
    if (kind && !streq(kind, "vm")) {
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST, "keys are not for kind \"%s\"", kind);
        return -EINVAL;
    }
    keys = calloc(1, sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    varlink_call_set_data(call, keys, session_keys_free);
    for (i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(array, i);
        _cleanup_secret_ Secret *secret = NULL;
        const char *volume = NULL;

        if (!json_object_is_type(o, json_type_object) || json_get_string(o, "volume", &volume) < 0 ||
            json_unknown_key(o, (const char *const[]){"volume", NULL}) ||
            (volume && (!*volume || strlen(volume) > SESSION_VOLUME_NAME_MAX))) {
            (void)varlink_call_invalid_parameter(call, "keys");
            return 1;
        }
        r = take_key(call, i, &secret, ret_failure);
        if (r >= 0)
            r = session_keys_add(keys, volume, secret);
        if (r < 0)
            return r;
    }
    return 0;
}

static void on_unlocked(Session *session, const Failure *failure, void *userdata)
{
    Waiter *w = userdata;
    VarlinkCall *call = w->call;

    service_waiter_free(w);
    if (failure)
        (void)service_fail(call, failure, session);
    else
        (void)service_reply_session(call, session);
}

/* A failure, or NULL: it may be unlocked. */
static Failure *refusal(const Session *session)
{
    if (session->adopting)
        return failure_advise(
            failure_new(FAILURE_BUSY, "It is not known yet whether session %s still stands", session->id),
            "try again in a moment");
    if (session_state(session) == SESSION_READY && session->kind->unlock)
        return NULL;
    return failure_new(FAILURE_INVALID_REQUEST, "Session %s is %s: volumes are unlocked when it is ready",
                       session->id, session_state_to_string(session_state(session)));
}

int service_unlock(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_secret_ Secret *key = NULL;
    _cleanup_failure_ Failure *f = NULL;
    const char *volume = NULL;
    Service *s = userdata;
    Session *session;
    Waiter *w;
    int r;

    if (service_get_session(s, call, parameters, &session) < 0)
        return 0;
    r = varlink_call_get_text(call, parameters, "volume", SESSION_VOLUME_NAME_MAX, &volume);
    if (r == 0)
        return varlink_call_invalid_parameter(call, "volume");
    if (r < 0)
        return 0;
    r = varlink_call_n_fds(call) == 1 ? take_key(call, 0, &key, &f)
                                      : wrong_count(1, varlink_call_n_fds(call), &f);
    if (r < 0)
        return f ? varlink_call_fail(call, f, NULL) : r;
    f = refusal(session);
    if (f)
        return service_fail(call, f, session);
    w = service_wait(s, call, WAIT_UNLOCK, session->id);
    if (!w)
        return -ENOMEM;
    log_full(LOG_INFO, session->id, "Unlock of volume %s asked for by uid %u", volume,
             (unsigned)varlink_call_uid(call));
    r = session->kind->unlock(session, volume, key, on_unlocked, w, &f);
    if (r >= 0)
        return 0;
    varlink_call_set_gone(call, NULL, NULL);
    service_waiter_free(w);
    return f ? service_fail(call, f, session) : r;
}

void service_unlock_forget(Waiter *w)
{
    Session *session = manager_find(w->service->manager, w->session);

    if (session && session->kind->unlock_forget)
        session->kind->unlock_forget(session, w);
}
