/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilr-sim: a stand-in for the part of Azure that ilrd talks to, for rehearsals and for the tests. Runs in the
 * foreground until SIGTERM or SIGINT, then removes everything that it created. */

#include "log.h"
#include "server.h"
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <systemd/sd-daemon.h>

static int usage(FILE *f)
{
    fputs("Usage: ilr-sim [--check-config] --config FILE\n"
          "A stand-in for Azure Backup's item level recovery. See ilr-sim(1).\n"
          "\n"
          "  -c, --config FILE   what to serve\n"
          "      --check-config  judge the file and exit\n"
          "  -h, --help          this text\n"
          "      --version       version of the program\n",
          f);
    return f == stdout ? 0 : 2;
}

static int run(SimConfig *config)
{
    _cleanup_free_ State *state = calloc(1, sizeof(*state));
    _cleanup_free_ char *error = NULL;
    Server *server = NULL;
    sigset_t set;
    int r, signal_number;

    if (!state)
        return log_oom();
    /* Before the first thread, so that all of them inherit it. */
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    r = state_init(state, config, &error);
    if (r < 0)
        log_error("The backend \"%s\" did not start: %s", config->backend->name,
                  error ? error : strerror(-r));
    else {
        r = server_start(state, &server, &error);
        if (r < 0)
            log_error("Cannot serve: %s", error ? error : strerror(-r));
    }
    if (r >= 0) {
        for (char **s = state->listening; s && *s; s++)
            log_info("Listening on %s", *s);
        sd_notify(0, "READY=1");
        sigwait(&set, &signal_number);
        sd_notify(0, "STOPPING=1");
    }
    state_interrupt(state);
    server_stop(server);
    state_done(state);
    return r;
}

int main(int argc, char **argv)
{
    enum {
        OPTION_CHECK = 256,
        OPTION_VERSION
    };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, OPTION_CHECK},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPTION_VERSION},
        {},
    };
    _cleanup_sim_config_ SimConfig *config = NULL;
    _cleanup_free_ char *error = NULL;
    const char *path = NULL;
    bool check = false;
    int c, r;

    log_open("ilr-sim", LOG_INFO);
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) >= 0)
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case OPTION_CHECK:
            check = true;
            break;
        case 'h':
            return usage(stdout);
        case OPTION_VERSION:
            puts("ilr-sim " PACKAGE_VERSION);
            return 0;
        default:
            return usage(stderr);
        }
    if (!path || optind < argc)
        return usage(stderr);
    r = sim_config_load(path, &config, &error);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", path, error ? error : strerror(-r));
        return 1;
    }
    if (check)
        return 0;
    return run(config) < 0 ? 1 : 0;
}
