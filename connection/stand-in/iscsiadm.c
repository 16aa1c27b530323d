/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a connection script finds as iscsiadm: understands the four forms that scripts use, asks ilr-connect,
 * answers in iscsiadm's words. It has no privilege and decides nothing; CHAP name and secret are what the
 * script has written into the iscsid.conf of its sandbox. */

#include "files.h"
#include "framing.h"
#include "iscsi-words.h"
#include "local-socket.h"
#include "sandbox.h"
#include "secret.h"

#include <fcntl.h>

#define ANSWER_MAX (256 * KIB)
#define CONF_MAX (1 * MIB)

static int ask(json_object *request, json_object **ret)
{
    _cleanup_close_ int fd = local_socket_connect(SANDBOX_SOCKET, 0);
    Framing f;
    const char *text;
    size_t size;
    ssize_t n;
    int r;

    if (fd < 0)
        return fd;
    r = framing_write(fd, json_text(request));
    if (r < 0)
        return r;
    framing_init(&f, ANSWER_MAX);
    while ((r = framing_next(&f, &text, &size)) == 0) {
        n = framing_read(&f, fd);
        if (n <= 0) {
            r = n < 0 ? (int)n : -ECONNRESET;
            break;
        }
    }
    if (r > 0)
        r = json_parse(text, size, ret);
    framing_done(&f);
    return r;
}

static int chap_read(const IscsiCommand *c, IscsiChap *ret)
{
    _cleanup_erase_ char *text = NULL;
    size_t size;

    if (c->form != ISCSI_DISCOVER && c->form != ISCSI_LOGIN)
        return 0;
    if (file_read(AT_FDCWD, SANDBOX_ISCSID_CONF, CONF_MAX, &text, &size) < 0)
        return 0;
    return iscsi_chap_parse(text, c->form == ISCSI_DISCOVER ? "discovery.sendtargets" : "node.session", ret);
}

int main(int argc, char *argv[])
{
    _cleanup_(iscsi_chap_done) IscsiChap chap = {};
    _cleanup_json_ json_object *request = NULL, *answer = NULL;
    IscsiCommand c;
    int has_chap;

    if (argc == 2 && (streq(argv[1], "-V") || streq(argv[1], "--version"))) {
        puts("iscsiadm version 2.1.8");
        return 0;
    }
    if (iscsi_command_parse(argc, argv, &c) < 0) {
        fputs("iscsiadm: only -m session, -m discovery -t sendtargets -p PORTAL, -m node -T NAME -p PORTAL "
              "--login and\n"
              "iscsiadm: -m node -T NAME --logout are known here. Try `iscsiadm --help' for more "
              "information.\n",
              stderr);
        return ISCSIADM_INVALID;
    }
    has_chap = chap_read(&c, &chap);
    request = has_chap >= 0 ? iscsi_request_make(&c, has_chap > 0 ? &chap : NULL) : NULL;
    if (!request)
        return 3; /* ISCSI_ERR_NOMEM */
    if (ask(request, &answer) < 0)
        answer = NULL;
    return iscsi_answer_print(&c, answer, stdout, stderr);
}
