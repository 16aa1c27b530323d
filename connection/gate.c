/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gate.h"

#include "iscsi-words.h"
#include "list.h"
#include "validate.h"

/* iscsiadm's own patience with a portal that does not answer is about two minutes. */
#define HELPER_TIMEOUT_USEC (180 * USEC_PER_SEC)
#define CHAP_MAX 255

/* A request on its way through the helper. */
typedef struct GateCall {
    LIST_FIELDS(struct GateCall);
    Gate *gate;
    ControlClient *client;
    IscsiForm form;
    char *portal, *target;
    HelperCall *call;
} GateCall;

static GateCall *gate_call_free(GateCall *c)
{
    if (!c)
        return NULL;
    helper_call_free(c->call);
    free(c->portal);
    free(c->target);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(GateCall *, gate_call_free)

static void target_done(GateTarget *t)
{
    free(t->name);
    free(t->portal);
    *t = (GateTarget){.sid = -1};
}

static void targets_clear(GateTarget *targets, size_t *n)
{
    while (*n > 0)
        target_done(targets + --*n);
}

void gate_done(Gate *g)
{
    while (g->calls) {
        GateCall *c = g->calls;

        LIST_REMOVE(g->calls, c);
        gate_call_free(c);
    }
    targets_clear(g->targets, &g->n_targets);
    free(g->portal);
    failure_free(g->failure);
    *g = (Gate){};
}

bool gate_connected(const Gate *g)
{
    size_t i, n = 0;

    for (i = 0; i < g->n_targets; i++) {
        if (!g->targets[i].usable)
            continue;
        if (g->targets[i].sid < 0)
            return false;
        n++;
    }
    return n > 0;
}

static GateTarget *target_find(Gate *g, const char *name)
{
    size_t i;

    for (i = 0; i < g->n_targets; i++)
        if (streq(g->targets[i].name, name))
            return g->targets + i;
    return NULL;
}

/* ---- answers ---- */

static void reply_error(ControlClient *client, int code, const char *message)
{
    _cleanup_json_ json_object *o = json_object_new_object();

    if (o && (json_add_int64(o, "error", code) < 0 || json_add_string(o, "message", message) < 0)) {
        json_object_put(o);
        o = NULL;
    }
    control_reply(client, o);
}

/* iscsiadm's exit code for what went wrong: its own, if the failure carries it. */
static int failure_exit_code(const Failure *f)
{
    const char *digits = f->code ? startswith(f->code, "iscsiadm ") : NULL;
    char *end;
    long n;

    if (digits && *digits) {
        n = strtol(digits, &end, 10);
        if (!*end && n >= 1 && n <= 255)
            return (int)n;
    }
    if (f->name == FAILURE_LOGIN_REJECTED)
        return ISCSIADM_AUTHORIZATION;
    if (f->name == FAILURE_LOGIN_FAILED)
        return ISCSIADM_LOGIN;
    if (failure_name_class(f->name) == FAILURE_CLASS_CONNECTION)
        return ISCSIADM_CONNECT;
    return failure_name_class(f->name) == FAILURE_CLASS_INTERNAL ? ISCSIADM_DAEMON : ISCSIADM_ERROR;
}

static json_object *target_json(const GateTarget *t, bool session)
{
    _cleanup_json_ json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "name", t->name) < 0 || json_add_string(o, "portal", t->portal) < 0 ||
        (session ? json_add_int64(o, "iscsiSession", t->sid) : json_add_int64(o, "tpgt", t->tpgt)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

/* The table as "targets" or as "sessions", the latter only those that have one. */
static void reply_table(Gate *g, ControlClient *client, bool sessions)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    json_object *list = json_object_new_array();
    size_t i;
    int r = o && list ? 0 : -ENOMEM;

    for (i = 0; i < g->n_targets && r >= 0; i++) {
        if (sessions && g->targets[i].sid < 0)
            continue;
        r = json_append(list, target_json(g->targets + i, sessions));
    }
    if (r >= 0)
        r = json_add(o, sessions ? "sessions" : "targets", list);
    else
        json_object_put(list);
    control_reply(client, r >= 0 ? o : NULL);
}

/* ---- what the helper said ---- */

/* Azure says "not yet" and "not from here" in the names of targets. */
static bool name_says(const char *name, const char *word)
{
    return strcasestr(name, word) != NULL;
}

/* A message in a name goes to the script as it is, if it can be printed on one line without harm. */
static bool message_name_valid(const char *name)
{
    return strlen(name) <= ISCSI_NAME_MAX && *name &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_")] == '\0';
}

static int target_read(json_object *o, const char *portal, GateTarget *ret)
{
    GateTarget t = {.sid = -1, .tpgt = -1};
    const char *name, *s = portal;
    bool message;

    if (json_get_string(o, "name", &name) <= 0 || json_get_string(o, "portal", &s) < 0 ||
        json_get_int64(o, "tpgt", &t.tpgt) < 0)
        return -EBADMSG;
    message = name_says(name, "notready") || name_says(name, "blocked");
    t.usable = !message && target_name_valid(name);
    /* The address behind the tunnel is none of the script's business, and none that iscsid may be sent to. */
    if ((!t.usable && !(message && message_name_valid(name))) || portal_parse_local(s) < 0)
        return -EBADMSG;
    t.name = strdup(name);
    t.portal = strdup(s);
    if (!t.name || !t.portal) {
        target_done(&t);
        return -ENOMEM;
    }
    *ret = t;
    return 0;
}

static int take_targets(Gate *g, GateCall *c, json_object *answer)
{
    GateTarget targets[GATE_TARGETS_MAX], *old;
    json_object *list = NULL;
    char *portal;
    int64_t pid = 0;
    size_t n = 0, i;
    int r = 0;

    if (json_get_array(answer, "targets", &list) <= 0 || json_object_array_length(list) > GATE_TARGETS_MAX ||
        json_get_int64(answer, "tunnelPid", &pid) < 0 || pid < 0 || pid > INT32_MAX)
        return -EBADMSG;
    for (i = 0; i < json_object_array_length(list) && r >= 0; i++) {
        r = target_read(json_object_array_get_idx(list, i), c->portal, targets + n);
        if (r >= 0)
            n++;
    }
    portal = r >= 0 ? strdup(c->portal) : NULL;
    if (!portal) {
        targets_clear(targets, &n);
        return r < 0 ? r : -ENOMEM;
    }
    for (i = 0; i < n; i++) {
        old = target_find(g, targets[i].name);
        if (old)
            targets[i].sid = old->sid;
    }
    targets_clear(g->targets, &g->n_targets);
    memcpy(g->targets, targets, n * sizeof(*targets));
    g->n_targets = n;
    g->blocked = g->not_ready = false;
    for (i = 0; i < n; i++) {
        g->blocked = g->blocked || (!targets[i].usable && name_says(targets[i].name, "blocked"));
        g->not_ready = g->not_ready || (!targets[i].usable && name_says(targets[i].name, "notready"));
    }
    free_and_replace(&g->portal, portal);
    g->tunnel_pid = (pid_t)pid;
    return 0;
}

static void answer_login(Gate *g, GateCall *c, json_object *answer)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    GateTarget *t = target_find(g, c->target);
    int64_t sid = -1;

    if (json_get_int64(answer, "iscsiSession", &sid) <= 0 || sid < 0 || sid > INT32_MAX || !t) {
        g->failure = failure_new(FAILURE_HELPER_FAILED, "ilr-helper's answer to a login names no session");
        reply_error(c->client, ISCSIADM_ERROR, "the helper's answer is not understood");
        return;
    }
    t->sid = sid;
    if (o && json_add_int64(o, "iscsiSession", sid) < 0) {
        json_object_put(o);
        o = NULL;
    }
    control_reply(c->client, o);
}

static void answer_logout(Gate *g, GateCall *c)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    GateTarget *t = target_find(g, c->target);

    if (o && t &&
        (json_add_int64(o, "iscsiSession", t->sid) < 0 || json_add_string(o, "portal", t->portal) < 0)) {
        json_object_put(o);
        o = NULL;
    }
    if (t)
        t->sid = -1;
    control_reply(c->client, o);
}

static void on_helper(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    GateCall *c = userdata;
    Gate *g = c->gate;

    LIST_REMOVE(g->calls, c);
    g->failure = failure_free(g->failure);
    if (failure) {
        g->failure = failure_copy(failure);
        reply_error(c->client, failure_exit_code(failure), failure->message);
    } else
        switch (c->form) {
        case ISCSI_DISCOVER:
            if (take_targets(g, c, answer) < 0) {
                g->failure =
                    failure_new(FAILURE_DISCOVERY_FAILED,
                                "Discovery at %s returned what is no list of recovery targets", c->portal);
                reply_error(c->client, ISCSIADM_ERROR, "the helper's answer is not understood");
            } else
                reply_table(g, c->client, false);
            break;
        case ISCSI_LOGIN:
            answer_login(g, c, answer);
            break;
        case ISCSI_LOGOUT:
            answer_logout(g, c);
            break;
        case ISCSI_SESSION:
        case ISCSI_FORM_MAX:
        case ISCSI_FORM_INVALID:
            reply_error(c->client, ISCSIADM_INVALID, NULL);
            break;
        }
    gate_call_free(c);
    g->on_changed(g->userdata);
}

/* ---- what the script asks ---- */

static bool chap_text_valid(const char *s)
{
    size_t n = 0;

    for (; s[n]; n++)
        if ((unsigned char)s[n] < ' ' || s[n] == 0x7f || n >= CHAP_MAX)
            return false;
    return n > 0;
}

/* Copies chap of the request into that of the helper's; 0, or -EINVAL. */
static int chap_pass(Gate *g, json_object *request, json_object *out)
{
    static const char *const known[] = {"username", "password", NULL};
    const char *username, *password;
    json_object *chap = NULL, *copy;
    int r;

    r = json_get_object(request, "chap", &chap);
    if (r <= 0)
        return r;
    if (json_unknown_key(chap, known) || json_get_string(chap, "username", &username) <= 0 ||
        json_get_string(chap, "password", &password) <= 0 || !chap_text_valid(username) ||
        !chap_text_valid(password))
        return -EINVAL;
    g->on_secret(g->userdata, password);
    g->on_secret(g->userdata, username);
    copy = json_object_new_object();
    if (!copy || json_add_string(copy, "username", username) < 0 ||
        json_add_string(copy, "password", password) < 0) {
        json_object_put(copy);
        return -ENOMEM;
    }
    return json_add(out, "chap", copy);
}

/* Takes client over in every case. */
static void pass_on(Gate *g, ControlClient *client, IscsiForm form, const char *verb, json_object *request,
                    const char *portal, const char *target)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_(gate_call_freep) GateCall *c = calloc(1, sizeof(*c));
    int r;

    if (!o || !c) {
        reply_error(client, ISCSIADM_ERROR, "out of memory");
        return;
    }
    *c = (GateCall){.gate = g, .client = client, .form = form};
    if (str_copy(portal, &c->portal) < 0 || str_copy(target, &c->target) < 0 ||
        json_add_string(o, "verb", verb) < 0 || json_add_string(o, "session", g->session) < 0 ||
        json_add_string(o, "portal", portal) < 0 || json_add_string(o, "target", target) < 0) {
        reply_error(client, ISCSIADM_ERROR, "out of memory");
        return;
    }
    r = chap_pass(g, request, o);
    if (r < 0) {
        reply_error(client, r == -ENOMEM ? ISCSIADM_ERROR : ISCSIADM_INVALID, "bad CHAP name or secret");
        return;
    }
    r = helper_call_new(&c->call, g->event, g->helper_socket, o, NULL, NULL, HELPER_TIMEOUT_USEC, on_helper,
                        c);
    if (r < 0) {
        reply_error(client, ISCSIADM_ERROR, "out of memory");
        return;
    }
    LIST_PREPEND(g->calls, c);
    TAKE_PTR(c);
}

static void request_discover(Gate *g, ControlClient *client, json_object *request)
{
    const char *portal;

    if (json_get_string(request, "portal", &portal) <= 0 || portal_parse_local(portal) < 0)
        reply_error(client, ISCSIADM_INVALID, "a portal is 127.0.0.1:PORT");
    else if (g->closed)
        reply_table(g, client, false);
    else
        pass_on(g, client, ISCSI_DISCOVER, "discover", request, portal, NULL);
}

static void request_login(Gate *g, ControlClient *client, json_object *request)
{
    const char *portal, *name;
    GateTarget *t;

    if (json_get_string(request, "portal", &portal) <= 0 || portal_parse_local(portal) < 0 ||
        json_get_string(request, "target", &name) <= 0 || !target_name_valid(name)) {
        reply_error(client, ISCSIADM_INVALID, "a recovery target and 127.0.0.1:PORT");
        return;
    }
    t = target_find(g, name);
    if (!t || !t->usable || !streq(t->portal, portal))
        reply_error(client, ISCSIADM_NO_OBJECTS, "not among what discovery returned");
    else if (t->sid >= 0)
        reply_error(client, ISCSIADM_EXISTS, "session exists");
    else
        pass_on(g, client, ISCSI_LOGIN, "login", request, portal, name);
}

static void request_logout(Gate *g, ControlClient *client, json_object *request)
{
    const char *name;
    GateTarget *t;

    if (json_get_string(request, "target", &name) <= 0 || !target_name_valid(name)) {
        reply_error(client, ISCSIADM_INVALID, "a recovery target");
        return;
    }
    t = target_find(g, name);
    if (!t || t->sid < 0)
        reply_error(client, ISCSIADM_NO_OBJECTS, "no session");
    else if (g->closed)
        /* There may be mounts above it: releasing in order is systemd's and the helper's. */
        reply_error(client, ISCSIADM_LOGOUT, "in use");
    else
        pass_on(g, client, ISCSI_LOGOUT, "logout", request, NULL, name);
}

void gate_request(void *gate, ControlClient *client, json_object *request)
{
    static const char *const known[] = {"verb", "portal", "target", "chap", NULL};
    const char *verb = "";
    Gate *g = gate;

    g->on_asked(g->userdata);
    if (json_unknown_key(request, known) || json_get_string(request, "verb", &verb) <= 0)
        reply_error(client, ISCSIADM_INVALID, "unknown request");
    else if (streq(verb, "session"))
        reply_table(g, client, true);
    else if (streq(verb, "discover"))
        request_discover(g, client, request);
    else if (streq(verb, "login"))
        request_login(g, client, request);
    else if (streq(verb, "logout"))
        request_logout(g, client, request);
    else
        reply_error(client, ISCSIADM_INVALID, "unknown request");
}
