/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilr-connect: runs the connection script of one session until it is told to stop. See connection.h. */

#include "connection.h"

#include "log.h"
#include "validate.h"

#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>

static void usage(FILE *f)
{
    fputs("ilr-connect [OPTION...] SESSION\n\n"
          "Runs the connection script of a session. Started by ilr-connection@.service.\n\n"
          "  --runtime-directory=DIR  where SESSION/script is (/run/ilr-connect)\n"
          "  --helper-socket=PATH     ilr-helper's socket (/run/ilrd/helper)\n"
          "  --stand-ins=DIR          iscsiadm, lshw and setfacl for the script (" LIBEXECDIR "/stand-in)\n"
          "  --help\n"
          "  --version\n",
          f);
}

/* 1: go on; 0: done, -EINVAL: bad. */
static int parse_arguments(int argc, char *argv[], ConnectionOptions *o)
{
    static const struct option options[] = {
        {"runtime-directory", required_argument, NULL, 'r'},
        {"helper-socket", required_argument, NULL, 's'},
        {"stand-ins", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
        switch (c) {
        case 'r':
            o->runtime_dir = optarg;
            break;
        case 's':
            o->helper_socket = optarg;
            break;
        case 'i':
            o->stand_in_dir = optarg;
            break;
        case 'h':
            usage(stdout);
            return 0;
        case 'V':
            puts("ilr-connect " PACKAGE_VERSION);
            return 0;
        default:
            return -EINVAL;
        }
    if (argc - optind != 1 || !session_id_valid(argv[optind])) {
        fprintf(stderr, "ilr-connect: expected one session id of %d letters a-z and digits\n",
                SESSION_ID_LENGTH);
        return -EINVAL;
    }
    o->session = argv[optind];
    return 1;
}

static int setup_event(sd_event **ret)
{
    sigset_t blocked;
    int r;

    if (sigemptyset(&blocked) < 0 || sigaddset(&blocked, SIGTERM) < 0 || sigaddset(&blocked, SIGINT) < 0 ||
        sigaddset(&blocked, SIGCHLD) < 0 || sigprocmask(SIG_BLOCK, &blocked, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    r = sd_event_default(ret);
    if (r < 0)
        return r;
    /* Without a handler they end the loop with 0, and the script ends with it. */
    r = sd_event_add_signal(*ret, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_signal(*ret, NULL, SIGINT, NULL, NULL);
    if (r >= 0)
        r = sd_event_set_watchdog(*ret, true);
    return r < 0 ? r : 0;
}

int main(int argc, char *argv[])
{
    ConnectionOptions options = {
        .runtime_dir = "/run/ilr-connect",
        .helper_socket = "/run/ilrd/helper",
        .stand_in_dir = LIBEXECDIR "/stand-in",
    };
    _cleanup_(config_freep) Config *config = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    sd_event *event = NULL;
    Connection c;
    int r;

    log_open("ilr-connect", LOG_INFO);
    r = parse_arguments(argc, argv, &options);
    if (r <= 0)
        return r < 0 ? 2 : 0;
    /* The script runs as the same user; in its own pid namespace it does not see us, and this is the second
     * wall. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return log_error_errno(-errno, "prctl") < 0;
    r = config_load(NULL, &config, &failure);
    if (r < 0) {
        log_error("%s", failure ? failure->message : "The configuration cannot be read");
        return 1;
    }
    r = setup_event(&event);
    if (r < 0) {
        log_error_errno(r, "Cannot set up the event loop");
        return 1;
    }
    r = connection_start(&c, &options, config, event);
    if (r < 0)
        log_error_errno(r, "Cannot start");
    else
        r = sd_event_loop(event);
    (void)sd_notify(0, "STOPPING=1");
    connection_done(&c);
    sd_event_unref(event);
    return r != 0;
}
