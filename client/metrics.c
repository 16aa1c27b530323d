/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* metrics: ilrd's counts as OpenMetrics text, printed or put into a file that somebody else reads. */

#include "client.h"
#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>

int verb_metrics(const Client *c, int argc, char **argv)
{
    const char *text = NULL;
    struct stat st;
    Reply reply;
    int code = ask(c, "Metrics", NULL, &reply), r;

    if (code != 0)
        return code;
    if (json_get_string(reply.parameters, "text", &text) <= 0)
        code = tell_link(c, -EBADMSG, NULL);
    else if (c->output) {
        /* A device would be replaced by the file. */
        r = stat(c->output, &st) >= 0 && !S_ISREG(st.st_mode)
                ? -EEXIST
                : file_write_atomic(AT_FDCWD, c->output, text, strlen(text), 0644, (uid_t)-1, (gid_t)-1);
        if (r < 0)
            code =
                tell_failure(c, 1, "Internal", "see the directory and its rights", "%s cannot be written: %s",
                             c->output, r == -EEXIST ? "it is there and no regular file" : strerror(-r));
    } else if (c->json)
        print_json(reply.parameters);
    else
        fputs(text, stdout);
    reply_done(&reply);
    return code;
}
