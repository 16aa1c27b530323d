/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* inhibit: runs a command while a session is kept from being released as unused. The command counts, not
 * ilrd: when that is restarted the request is made again, and when the session goes down it is told and no
 * more. */

#include "client.h"
#include "text.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define AGAIN_MSEC 1000
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_THERE 127
#define EXIT_SIGNAL 128

static json_object *parameters(const Client *c, const char *id, const char *command)
{
    json_object *o = id_parameters(id);
    const char *base = strrchr(command, '/');

    /* Not the whole command line: who knows what is in it, and this goes into the journal. */
    if (json_add_string(o, "why", c->why ? c->why : base && base[1] ? base + 1 : command) < 0)
        out_of_memory();
    return o;
}

/* 0: it is in force. */
static int begin(const Client *c, const char *id, const char *command, Link *ret)
{
    Reply reply;
    int r, code = begin_call(c, ret, "Inhibit", parameters(c, id, command), true);

    if (code != 0)
        return code;
    r = next_answer(c, ret, NULL, &reply);
    if (r < 0)
        code = tell_link(c, r, NULL);
    else {
        if (reply.error)
            code = tell_error(c, &reply);
        else if (!reply.continues)
            code = tell_failure(c, failure_class_exit_code(FAILURE_CLASS_BUSY), "Busy",
                                "it is on its way down: provision the point anew",
                                "Session %s is being released", id);
        reply_done(&reply);
    }
    if (code != 0)
        link_close(ret);
    return code;
}

/* The same after ilrd was away. True: in force again. */
static bool begin_again(const Client *c, const char *id, const char *command, Link *ret)
{
    Reply reply;
    bool good = false;

    if (link_open(ret, c->socket) < 0)
        return false;
    if (link_call(ret, "Inhibit", parameters(c, id, command), true) >= 0 &&
        link_next(ret, AGAIN_MSEC, &reply) > 0) {
        good = !reply.error && reply.continues;
        reply_done(&reply);
    }
    if (!good)
        link_close(ret);
    return good;
}

static int run(const Client *c, char **argv, pid_t *ret)
{
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        int code;

        link_unblock_interrupt();
        execvp(argv[0], argv);
        code = errno == ENOENT ? EXIT_NOT_THERE : EXIT_NOT_EXECUTABLE;
        (void)tell_failure(c, code, "CommandFailed", NULL, "Could not run %s: %s", argv[0], strerror(errno));
        _exit(code);
    }
    /* On a terminal the command gets it, and its end is ours. Blocked, one would wait and end what is asked
     * of ilrd later. */
    signal(SIGINT, SIG_IGN);
    *ret = pid;
    return 0;
}

/* ilrd has something to say, or is gone. True: the link is closed now, *again: and shall be opened anew. */
static bool hear(const Client *c, Link *l, const char *id, bool *again)
{
    Reply reply;
    int r = link_next(l, 0, &reply);

    *again = false;
    if (r == 0)
        return false;
    if (r > 0) {
        bool over = reply.error || !reply.continues;

        if (!over) {
            reply_done(&reply);
            return false;
        }
        /* Standard output is the command's. */
        if (c->json)
            fprintf(stderr, "%s\n", json_text(reply.message));
        else
            fprintf(stderr, "ilrctl: session %s goes down, see: ilrctl status %s\n", id, id);
        reply_done(&reply);
    } else
        *again = true;
    link_close(l);
    return true;
}

int verb_inhibit(const Client *c, int argc, char **argv)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_close_ int fd = -EBADF;
    bool open = true, again = false;
    int code, r, status;
    pid_t pid = -1;
    Link link;

    code = resolve_id(c, argv[0], &id);
    if (code == 0)
        code = begin(c, id, argv[1], &link);
    if (code != 0)
        return code;
    r = run(c, argv + 1, &pid);
    if (r >= 0) {
        fd = pidfd_open(pid, 0);
        if (fd < 0)
            r = -errno;
    }
    if (r < 0) {
        link_close(&link);
        return tell_failure(c, 1, "Internal", NULL, "Could not run %s: %s", argv[1], strerror(-r));
    }
    for (;;) {
        /* First what may have come together with the answer before. */
        if (open)
            open = !hear(c, &link, id, &again);
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = open ? link.fd : -1, .events = POLLIN}};

        if (poll(p, ELEMENTSOF(p), again ? AGAIN_MSEC : -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            break;
        if (again && begin_again(c, id, argv[1], &link)) {
            open = true;
            again = false;
        }
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (open)
        link_close(&link);
    return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}
