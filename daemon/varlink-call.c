/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls and their answers. A final answer frees the call; what the connection does next is left to the event
 * loop, so that no handler runs from inside an answer. */

#include "varlink-internal.h"

int varlink_message_new(json_object **ret, const char *error, json_object *parameters)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    int r;

    if (!o)
        return -ENOMEM;
    if ((r = json_add_string(o, "error", error)) < 0)
        return r;
    r = json_add(o, "parameters", parameters ? json_object_get(parameters) : json_object_new_object());
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int varlink_failure_message_new(VarlinkServer *s, json_object **ret, const Failure *f,
                                json_object *parameters)
{
    const FailureClass class = f ? failure_name_class(f->name) : FAILURE_CLASS_INTERNAL;
    _cleanup_json_ json_object *p = json_object_new_object();
    _cleanup_free_ char *error = NULL;
    json_object *failure;
    int r;

    if (!p || asprintf(&error, "%s.%s", s->domain, failure_class_to_string(class)) < 0)
        return -ENOMEM;
    /* No memory for the failure itself: the class alone is better than silence. */
    if (f) {
        if ((r = failure_to_json(f, &failure)) < 0 || (r = json_add(p, "failure", failure)) < 0)
            return r;
    }
    if (parameters) {
        json_object_object_foreach(parameters, key, value)
        {
            /* json_add() takes no NULL, and a null says the same as nothing. */
            if (value && (r = json_add(p, key, json_object_get(value))) < 0)
                return r;
        }
    }
    return varlink_message_new(ret, error, p);
}

void varlink_call_free(VarlinkCall *c)
{
    varlink_fds_close(&c->fds);
    varlink_call_set_data(c, NULL, NULL);
    free(c);
}

/* Ends the call in every case: message is sent if somebody waits for it, r says whether there is one. */
static int call_finish(VarlinkCall *c, int r, json_object *message)
{
    VarlinkConnection *connection = c->connection;

    if (c->over)
        return -ENOTCONN;
    if (r >= 0 && !c->oneway)
        r = varlink_connection_send(connection, message);
    if (r < 0 && !c->oneway)
        connection->broken = true; /* better no connection than a caller who waits for ever */
    connection->call = NULL;
    varlink_call_free(c);
    if (connection->denied)
        connection->closing = true;
    varlink_connection_update(connection);
    return r;
}

int varlink_call_reply(VarlinkCall *c, json_object *parameters)
{
    return varlink_call_error(c, NULL, parameters);
}

int varlink_call_error(VarlinkCall *c, const char *error, json_object *parameters)
{
    _cleanup_json_ json_object *message = NULL;
    int r = varlink_message_new(&message, error, parameters);

    return call_finish(c, r, message);
}

int varlink_call_fail(VarlinkCall *c, const Failure *f, json_object *parameters)
{
    _cleanup_json_ json_object *message = NULL;
    int r;

    if (c->over)
        return -ENOTCONN; /* there may be no server any more */
    r = varlink_failure_message_new(c->connection->server, &message, f, parameters);
    return call_finish(c, r, message);
}

int varlink_call_error_string(VarlinkCall *c, const char *error, const char *key, const char *value)
{
    _cleanup_json_ json_object *parameters = json_object_new_object();

    if (parameters && json_add_string(parameters, key, value) < 0) {
        json_object_put(parameters);
        parameters = NULL;
    }
    return varlink_call_error(c, error, parameters);
}

int varlink_call_invalid_parameter(VarlinkCall *c, const char *parameter)
{
    return varlink_call_error_string(c, "org.varlink.service.InvalidParameter", "parameter", parameter);
}

int varlink_call_get_text(VarlinkCall *c, json_object *parameters, const char *key, size_t max,
                          const char **ret)
{
    const char *s = NULL;
    int r = json_get_string(parameters, key, &s);

    if (r > 0 && strlen(s) > max) {
        _cleanup_failure_ Failure *f = failure_new(
            FAILURE_INVALID_REQUEST, "%s has %zu bytes: expected at most %zu", key, strlen(s), max);

        (void)varlink_call_fail(c, f, NULL);
        return -EINVAL;
    }
    if (r < 0)
        (void)varlink_call_invalid_parameter(c, key);
    else if (r > 0)
        *ret = s;
    return r;
}

int varlink_call_notify(VarlinkCall *c, json_object *parameters)
{
    _cleanup_json_ json_object *message = NULL;
    int r;

    if (!c->more)
        return 0;
    if (c->over)
        return -ENOTCONN;
    r = varlink_message_new(&message, NULL, parameters);
    if (r >= 0)
        r = json_add_bool(message, "continues", true);
    if (r >= 0)
        r = varlink_connection_send(c->connection, message);
    varlink_connection_update(c->connection);
    return r;
}

bool varlink_call_wants_more(const VarlinkCall *c)
{
    return c->more;
}

uid_t varlink_call_uid(const VarlinkCall *c)
{
    return c->connection->peer.uid;
}

pid_t varlink_call_pid(const VarlinkCall *c)
{
    return c->connection->peer.pid;
}

void varlink_call_set_gone(VarlinkCall *c, VarlinkGone gone, void *userdata)
{
    c->gone = gone;
    c->gone_userdata = userdata;
}

size_t varlink_call_n_fds(const VarlinkCall *c)
{
    return c->fds.n;
}

int varlink_call_take_fd(VarlinkCall *c, size_t number)
{
    return number < c->fds.n ? TAKE_FD(c->fds.fds[number]) : -EBADF;
}

void varlink_call_set_data(VarlinkCall *c, void *data, void (*free_data)(void *data))
{
    if (c->data && c->free_data)
        c->free_data(c->data);
    c->data = data;
    c->free_data = free_data;
}

void *varlink_call_data(const VarlinkCall *c)
{
    return c->data;
}
