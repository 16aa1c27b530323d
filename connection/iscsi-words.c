/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iscsi-words.h"

#include "secret.h"

#include <ctype.h>

/* ---- command line ---- */

/* "-p X", "-pX", "--portal X", "--portal=X": the value, and how many words it took; NULL: it is not this
 * option. */
static const char *option_value(int argc, char *const *argv, int i, char letter, const char *word,
                                int *ret_used)
{
    const char *a = argv[i], *rest;

    *ret_used = 1;
    if (a[0] != '-')
        return NULL;
    if (a[1] == letter && a[2])
        return a + 2;
    if (startswith(a, "--")) {
        rest = startswith(a + 2, word);
        if (rest && *rest == '=')
            return rest + 1;
    }
    if ((a[1] == letter && !a[2]) || (startswith(a, "--") && streq(a + 2, word))) {
        *ret_used = 2;
        return i + 1 < argc ? argv[i + 1] : "";
    }
    return NULL;
}

typedef struct Words {
    const char *mode, *type, *portal, *target, *op;
    bool login, logout, discover;
} Words;

static int words_read(int argc, char *const *argv, Words *w)
{
    static const struct {
        char letter;
        const char *word;
        size_t offset;
    } options[] = {
        {'m', "mode", offsetof(Words, mode)},     {'t', "type", offsetof(Words, type)},
        {'p', "portal", offsetof(Words, portal)}, {'T', "targetname", offsetof(Words, target)},
        {'o', "op", offsetof(Words, op)},
    };
    int i = 1, used;
    size_t o;

    while (i < argc) {
        const char *value = NULL, *a = argv[i];

        for (o = 0; o < ELEMENTSOF(options) && !value; o++) {
            value = option_value(argc, argv, i, options[o].letter, options[o].word, &used);
            if (value) {
                const char **field = (const char **)((char *)w + options[o].offset);

                if (!*value || *field)
                    return -EINVAL; /* nothing, or twice */
                *field = value;
            }
        }
        if (value)
            i += used;
        else {
            if (streq(a, "-l") || streq(a, "--login"))
                w->login = true;
            else if (streq(a, "-u") || streq(a, "--logout"))
                w->logout = true;
            else if (streq(a, "-D") || streq(a, "--discover"))
                w->discover = true;
            else
                return -EINVAL;
            i++;
        }
    }
    return 0;
}

int iscsi_command_parse(int argc, char *const *argv, IscsiCommand *ret)
{
    Words w = {};

    *ret = (IscsiCommand){.form = ISCSI_FORM_INVALID};
    if (words_read(argc, argv, &w) < 0 || !w.mode)
        return -EINVAL;
    if (w.op) {
        if (streq(w.op, "login"))
            w.login = true;
        else if (streq(w.op, "logout"))
            w.logout = true;
        else if (!streq(w.op, "show") || !streq(w.mode, "session"))
            return -EINVAL;
    }
    if (streq(w.mode, "session")) {
        if (w.type || w.portal || w.target || w.login || w.logout || w.discover)
            return -EINVAL;
        ret->form = ISCSI_SESSION;
    } else if (streq(w.mode, "discovery") || streq(w.mode, "discoverydb")) {
        if (!w.type || !w.portal || w.target || w.login || w.logout ||
            (!streq(w.type, "sendtargets") && !streq(w.type, "st")))
            return -EINVAL;
        ret->form = ISCSI_DISCOVER;
    } else if (streq(w.mode, "node")) {
        if (w.type || !w.target || w.discover || w.login == w.logout || (w.login && !w.portal))
            return -EINVAL;
        ret->form = w.login ? ISCSI_LOGIN : ISCSI_LOGOUT;
    } else
        return -EINVAL;
    ret->portal = w.portal;
    ret->target = w.target;
    return 0;
}

/* ---- iscsid.conf ---- */

void iscsi_chap_done(IscsiChap *c)
{
    erase_and_freep(&c->username);
    erase_and_freep(&c->password);
    *c = (IscsiChap){};
}

/* If the line assigns prefix.name, puts a copy of the value into *field. */
static int chap_field(const char *line, size_t size, const char *prefix, const char *name, char **field)
{
    const char *end = line + size, *p = line;
    size_t n = strlen(prefix), m = strlen(name);
    char *value;

    while (p < end && isspace((unsigned char)*p))
        p++;
    if ((size_t)(end - p) <= n + m || memcmp(p, prefix, n) != 0 || memcmp(p + n, name, m) != 0)
        return 0;
    p += n + m;
    while (p < end && isspace((unsigned char)*p))
        p++;
    if (p == end || *p++ != '=')
        return 0;
    while (p < end && isspace((unsigned char)*p))
        p++;
    while (end > p && isspace((unsigned char)end[-1]))
        end--;
    value = strndup(p, end - p);
    if (!value)
        return -ENOMEM;
    erase_and_freep(field);
    *field = value;
    return 0;
}

int iscsi_chap_parse(const char *text, const char *prefix, IscsiChap *ret)
{
    _cleanup_(iscsi_chap_done) IscsiChap c = {};
    _cleanup_free_ char *method = NULL;
    bool chap;

    while (*text) {
        size_t n = strcspn(text, "\n");

        if (chap_field(text, n, prefix, ".auth.authmethod", &method) < 0 ||
            chap_field(text, n, prefix, ".auth.username", &c.username) < 0 ||
            chap_field(text, n, prefix, ".auth.password", &c.password) < 0)
            return -ENOMEM;
        text += n + (text[n] == '\n');
    }
    chap = method && startswith(method, "CHAP") && !isempty(c.username) && !isempty(c.password);
    if (!chap)
        return 0;
    *ret = c;
    c = (IscsiChap){};
    return 1;
}

/* ---- to and from ilr-connect ---- */

json_object *iscsi_request_make(const IscsiCommand *c, const IscsiChap *chap)
{
    static const char *const verbs[ISCSI_FORM_MAX] = {
        [ISCSI_SESSION] = "session",
        [ISCSI_DISCOVER] = "discover",
        [ISCSI_LOGIN] = "login",
        [ISCSI_LOGOUT] = "logout",
    };
    _cleanup_json_ json_object *o = json_object_new_object();
    json_object *auth;

    if (!o || json_add_string(o, "verb", verbs[c->form]) < 0 ||
        (c->form != ISCSI_LOGOUT && json_add_string(o, "portal", c->portal) < 0) ||
        json_add_string(o, "target", c->target) < 0)
        return NULL;
    if (chap) {
        auth = json_object_new_object();
        if (!auth || json_add_string(auth, "username", chap->username) < 0 ||
            json_add_string(auth, "password", chap->password) < 0) {
            json_object_put(auth);
            return NULL;
        }
        if (json_add(o, "chap", auth) < 0)
            return NULL;
    }
    return TAKE_PTR(o);
}

/* "127.0.0.1:5365" as open-iscsi prints it inside brackets: "127.0.0.1,5365". */
static void portal_words(const char *portal, char buf[static 64])
{
    char *colon;

    snprintf(buf, 64, "%s", portal ? portal : "");
    colon = strrchr(buf, ':');
    if (colon)
        *colon = ',';
}

static const char *code_text(int code)
{
    switch (code) {
    case ISCSIADM_CONNECT:
        return "encountered connection failure";
    case ISCSIADM_LOGIN:
        return "encountered iSCSI login failure";
    case ISCSIADM_INVALID:
        return "invalid parameter";
    case ISCSIADM_TIMEOUT:
        return "connection timed out";
    case ISCSIADM_LOGOUT:
        return "iSCSI logout failed";
    case ISCSIADM_EXISTS:
        return "session exists";
    case ISCSIADM_DAEMON:
        return "could not connect to iscsid";
    case ISCSIADM_NO_OBJECTS:
        return "no records found";
    case ISCSIADM_AUTHORIZATION:
        return "iSCSI login failed due to authorization failure";
    default:
        return "unknown error";
    }
}

static int discover_error(int code, FILE *err)
{
    if (code == ISCSIADM_AUTHORIZATION)
        fputs("iscsiadm: Login failed to authenticate with target 127.0.0.1\n"
              "iscsiadm: discovery login to 127.0.0.1 rejected: initiator failed authorization\n",
              err);
    else if (code == ISCSIADM_DAEMON)
        fputs("iscsiadm: can not connect to iSCSI daemon (111)!\niscsiadm: iscsid is not running.\n", err);
    else if (code == ISCSIADM_NO_OBJECTS)
        fputs("iscsiadm: No portals found\n", err);
    fprintf(err, "iscsiadm: Could not perform SendTargets discovery: %s\n", code_text(code));
    return code;
}

static int login_error(const IscsiCommand *c, int code, FILE *err)
{
    char portal[64];

    portal_words(c->portal, portal);
    if (code == ISCSIADM_EXISTS) {
        fputs("iscsiadm: default: 1 session requested, but 1 already present.\n", err);
    } else if (code == ISCSIADM_NO_OBJECTS) {
        fputs("iscsiadm: No records found\n", err);
        return code;
    } else
        fprintf(err,
                "iscsiadm: Could not login to [iface: default, target: %s, portal: %s].\n"
                "iscsiadm: initiator reported error (%d - %s)\n",
                c->target, portal, code, code_text(code));
    fputs("iscsiadm: Could not log into all portals\n", err);
    return code;
}

static int logout_error(int code, FILE *err)
{
    if (code == ISCSIADM_NO_OBJECTS)
        fputs("iscsiadm: No matching sessions found\n", err);
    else
        fprintf(err,
                "iscsiadm: Could not logout of all requested sessions\niscsiadm: initiator reported error "
                "(%d - %s)\n",
                code, code_text(code));
    return code;
}

static int print_sessions(json_object *answer, FILE *out, FILE *err)
{
    json_object *list = NULL;
    size_t i, n = 0;

    if (json_get_array(answer, "sessions", &list) > 0)
        for (i = 0; i < json_object_array_length(list); i++) {
            json_object *s = json_object_array_get_idx(list, i);
            const char *name, *portal;
            int64_t sid;

            if (json_get_string(s, "name", &name) <= 0 || json_get_string(s, "portal", &portal) <= 0 ||
                json_get_int64(s, "iscsiSession", &sid) <= 0)
                continue;
            fprintf(out, "tcp: [%lld] %s,-1 %s (non-flash)\n", (long long)sid, portal, name);
            n++;
        }
    if (n > 0)
        return 0;
    fputs("iscsiadm: No active sessions.\n", err);
    return ISCSIADM_NO_OBJECTS;
}

static int print_targets(json_object *answer, FILE *out, FILE *err)
{
    json_object *list = NULL;
    size_t i, n = 0;

    if (json_get_array(answer, "targets", &list) > 0)
        for (i = 0; i < json_object_array_length(list); i++) {
            json_object *t = json_object_array_get_idx(list, i);
            const char *name, *portal;
            int64_t tpgt = -1;

            if (json_get_string(t, "name", &name) <= 0 || json_get_string(t, "portal", &portal) <= 0 ||
                json_get_int64(t, "tpgt", &tpgt) < 0)
                continue;
            fprintf(out, "%s,%lld %s\n", portal, (long long)tpgt, name);
            n++;
        }
    return n > 0 ? 0 : discover_error(ISCSIADM_NO_OBJECTS, err);
}

int iscsi_answer_print(const IscsiCommand *c, json_object *answer, FILE *out, FILE *err)
{
    int64_t code = 0, sid = 0;
    char portal[64];

    if (!answer)
        code = ISCSIADM_DAEMON;
    else if (json_get_int64(answer, "error", &code) != 0 && (code < 1 || code > 255))
        code = ISCSIADM_ERROR;
    portal_words(c->portal, portal);

    switch (c->form) {
    case ISCSI_SESSION:
        if (code) {
            fprintf(err, "iscsiadm: could not get list of sessions: %s\n", code_text(code));
            return code;
        }
        return print_sessions(answer, out, err);
    case ISCSI_DISCOVER:
        return code ? discover_error(code, err) : print_targets(answer, out, err);
    case ISCSI_LOGIN:
        if (code != ISCSIADM_EXISTS && code != ISCSIADM_NO_OBJECTS)
            fprintf(out, "Logging in to [iface: default, target: %s, portal: %s]\n", c->target, portal);
        if (code)
            return login_error(c, code, err);
        fprintf(out, "Login to [iface: default, target: %s, portal: %s] successful.\n", c->target, portal);
        return 0;
    case ISCSI_LOGOUT:
        if (code)
            return logout_error(code, err);
        (void)json_get_int64(answer, "iscsiSession", &sid);
        if (!c->portal) {
            const char *p;

            if (json_get_string(answer, "portal", &p) > 0)
                portal_words(p, portal);
        }
        fprintf(out, "Logging out of session [sid: %lld, target: %s, portal: %s]\n", (long long)sid,
                c->target, portal);
        fprintf(out, "Logout of [sid: %lld, target: %s, portal: %s] successful.\n", (long long)sid, c->target,
                portal);
        return 0;
    case ISCSI_FORM_MAX:
    case ISCSI_FORM_INVALID:
        break;
    }
    return ISCSIADM_INVALID;
}
