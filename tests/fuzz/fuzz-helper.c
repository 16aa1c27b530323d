/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What others hand the helper: requests (first byte 0, 1: as the daemon, as a connection), connection.json
 * (2), iscsiadm's discovery (3), initiatorname.iscsi (4), /proc/net/tcp (5), base64 (6), a login to the
 * stand-in for a target (7). */

#include "base64.h"
#include "connection-file.h"
#include "discover.h"
#include "initiator-name.h"
#include "iscsid-conf.h"
#include "listener.h"
#include "request.h"
#include "session-dirs.h"
#include "stand-in-target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request(const char *text, size_t size, const Caller *caller)
{
    _cleanup_failure_ Failure *failure = NULL, *more = NULL;
    _cleanup_json_ json_object *object = NULL;
    SessionPortal portal;
    VerbFunction function;
    Request r;
    Chap chap;

    if (request_parse(text, size, caller, &r, &function, &object, &failure) < 0)
        return;
    if (session_portal_from_json(object, &portal, &more) >= 0) {
        _cleanup_free_ char *drop_in = session_drop_in(&portal, text);

        if (!drop_in || strstr(drop_in, "Exec"))
            abort();
    }
    more = failure_free(more);
    if (chap_from_json(object, &chap, &more) > 0) {
        _cleanup_secret_ Secret *conf = iscsid_conf_text(&chap);
        const char *p = conf ? strstr(secret_text(conf), "node.session.auth.username") : NULL;
        int lines = 0;

        for (; p && (p = strchr(p, '\n')); p++)
            lines++;
        if (lines != 5) /* username, password, and three of discovery: nobody brought a line of his own */
            abort();
    }
}

/* One request behind the other, as they come from the connection. */
static void login(const uint8_t *p, size_t size)
{
    StandInLogin l = {.prefix = "iqn.2016-01.example:"};
    uint8_t answer[STAND_IN_ANSWER_MAX];

    while (size >= 48 && !l.done) {
        int rest = stand_in_target_rest(p), n;
        size_t whole = 48 + (size_t)MAX(rest, 0);

        if (rest < 0 || whole > size)
            return;
        n = stand_in_target_answer(&l, p, whole, answer);
        if (n < 0)
            return;
        if (!*l.name || n % 4 || n > STAND_IN_ANSWER_MAX || answer[0] != 0x23)
            abort();
        p += whole;
        size -= whole;
    }
}

static void other(char which, const char *text, size_t size)
{
    static const Caller callers[] = {
        {901, "ilrd.service", 901, 902},
        {902, "ilr-connection@abcd1234.service", 901, 902},
    };
    _cleanup_failure_ Failure *failure = NULL;
    uint64_t inodes[LISTENERS_MAX];
    ConnectionFile connection;
    json_object *array;
    Secret *secret;
    char *name;

    switch (which) {
    case 0:
    case 1:
        request(text, size, &callers[(int)which]);
        break;
    case 2:
        if (connection_file_parse(text, size, "abcd1234", &connection) >= 0)
            connection_file_done(&connection);
        break;
    case 3:
        if (discovery_parse(text, &array) >= 0)
            json_object_put(array);
        break;
    case 4:
        if (initiator_name_parse(text, &name, &failure) >= 0)
            free(name);
        break;
    case 5:
        (void)listener_inodes(text, 5365, inodes);
        break;
    case 7:
        login((const uint8_t *)text, size);
        break;
    default:
        if (base64_decode(text, 4096, &secret) >= 0)
            secret_unref(secret);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size < 1)
        return 0;
    text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    other((char)(data[0] % 8), text, size - 1);
    free(text);
    return 0;
}
