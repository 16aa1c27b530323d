/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrd: builds the root objects, says that it is ready, loops. Directories and sockets come as options so
 * that the daemon can be tried without systemd; systemd's own ways (socket activation, $STATE_DIRECTORY) go
 * first. */

#include "block-stat.h"
#include "local-socket.h"
#include "log.h"
#include "service.h"

#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>

#define CONNECT_DIR "/run/ilr-connect"
#define HELPER_SOCKET "/run/ilrd/helper"

typedef struct Options {
    const char *config, *listen, *helper, *state_dir, *connect_dir, *block_dir, *hooks_path;
    bool check_config;
} Options;

static void print_help(void)
{
    printf("ilrd [OPTION...]\n\n"
           "Brings recovery points of Azure VM backups up read-only on this host. Started by systemd, see "
           "ilrd(8).\n\n"
           "  --check-config      read the configuration, tell what is wrong with it, exit\n"
           "  --config=FILE       instead of " CONFIG_FILE " (and FILE.d/*.conf)\n"
           "  --listen=PATH       listen here, if systemd passes no socket\n"
           "  --helper=PATH       the helper's socket, default " HELPER_SOCKET "\n"
           "  --state-dir=DIR     for the records, default $STATE_DIRECTORY or " STATE_DIR "\n"
           "  --connect-dir=DIR   where ilr-connect keeps its state, default " CONNECT_DIR "\n"
           "  --block-dir=DIR     where the kernel counts what is read, default " BLOCK_DIR "\n"
           "  --hooks=DIR[:DIR]   where there may be hooks, default " HOOKS_PATH "\n"
           "  --version, --help\n");
}

/* 1: go on, 0: done, negative: usage. */
static int parse_options(int argc, char **argv, Options *o)
{
    enum {
        OPT_CHECK = 256,
        OPT_CONFIG,
        OPT_LISTEN,
        OPT_HELPER,
        OPT_STATE,
        OPT_CONNECT,
        OPT_BLOCK,
        OPT_HOOKS,
        OPT_VERSION,
        OPT_HELP
    };
    static const struct option options[] = {
        {"check-config", no_argument, NULL, OPT_CHECK},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"listen", required_argument, NULL, OPT_LISTEN},
        {"helper", required_argument, NULL, OPT_HELPER},
        {"state-dir", required_argument, NULL, OPT_STATE},
        {"connect-dir", required_argument, NULL, OPT_CONNECT},
        {"block-dir", required_argument, NULL, OPT_BLOCK},
        {"hooks", required_argument, NULL, OPT_HOOKS},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        switch (c) {
        case OPT_CHECK:
            o->check_config = true;
            break;
        case OPT_CONFIG:
            o->config = optarg;
            break;
        case OPT_LISTEN:
            o->listen = optarg;
            break;
        case OPT_HELPER:
            o->helper = optarg;
            break;
        case OPT_STATE:
            o->state_dir = optarg;
            break;
        case OPT_CONNECT:
            o->connect_dir = optarg;
            break;
        case OPT_HOOKS:
            o->hooks_path = optarg;
            break;
        case OPT_BLOCK:
            o->block_dir = optarg;
            break;
        case OPT_VERSION:
            printf("ilrd %s\n", PACKAGE_VERSION);
            return 0;
        case OPT_HELP:
            print_help();
            return 0;
        default:
            return -EINVAL;
        }
    if (optind < argc) {
        fprintf(stderr, "ilrd: unexpected argument \"%s\"\n", argv[optind]);
        return -EINVAL;
    }
    return 1;
}

static int listen_at(const char *path)
{
    _cleanup_close_ int fd = local_socket_bind(path, SOCK_NONBLOCK);

    if (fd < 0)
        return fd;
    return listen(fd, SOMAXCONN) < 0 ? -errno : TAKE_FD(fd);
}

static int get_socket(const Options *o)
{
    int n = sd_listen_fds(1);

    if (n < 0)
        return log_error_errno(n, "Failed to take systemd's sockets");
    if (n > 1) {
        log_error("Expected one socket, systemd passed %d", n);
        return -EINVAL;
    }
    if (n == 1)
        return SD_LISTEN_FDS_START;
    if (!o->listen) {
        log_error("No socket: start ilrd through ilrd.socket, or give --listen=");
        return -EINVAL;
    }
    n = listen_at(o->listen);
    return n < 0 ? log_error_errno(n, "Failed to listen at %s", o->listen) : n;
}

static int run(const Options *o, const Config *config)
{
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_(manager_freep) Manager *manager = NULL;
    _cleanup_(service_freep) Service *service = NULL;
    _cleanup_failure_ Failure *f = NULL;
    ManagerOptions options = {o->state_dir, o->helper, o->connect_dir, o->block_dir, o->hooks_path};
    sigset_t mask;
    int r, fd;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
        return log_error_errno(-errno, "Failed to block signals");
    (void)signal(SIGPIPE, SIG_IGN); /* TLS writes without MSG_NOSIGNAL */
    r = sd_event_default(&event);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL); /* NULL: ends the loop */
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
    if (r >= 0)
        r = sd_event_set_watchdog(event, true);
    if (r < 0)
        return log_error_errno(r, "Failed to set up the event loop");
    r = manager_new(&manager, event, config, &options, &f);
    if (r < 0) {
        if (f)
            log_error("%s", f->message);
        return f ? r : log_error_errno(r, "Failed to start");
    }
    r = service_new(&service, event, manager, config);
    if (r < 0)
        return log_error_errno(r, "Failed to set up the service");
    r = manager_start(manager);
    if (r < 0)
        return log_error_errno(r, "Failed to load the sessions' records");
    fd = get_socket(o);
    if (fd < 0)
        return fd;
    r = service_listen_fd(service, fd);
    if (r < 0)
        return log_error_errno(r, "Failed to listen");
    (void)sd_notify(false, "READY=1");
    r = sd_event_loop(event);
    (void)sd_notify(false, "STOPPING=1");
    manager_stop(manager);
    return r < 0 ? log_error_errno(r, "The event loop failed") : 0;
}

int main(int argc, char **argv)
{
    Options o = {.helper = HELPER_SOCKET,
                 .state_dir = getenv("STATE_DIRECTORY"),
                 .connect_dir = CONNECT_DIR,
                 .block_dir = BLOCK_DIR,
                 .hooks_path = HOOKS_PATH};
    _cleanup_(config_freep) Config *config = NULL;
    _cleanup_failure_ Failure *f = NULL;
    int r;

    log_open("ilrd", LOG_INFO);
    (void)prctl(PR_SET_DUMPABLE, 0); /* tokens and scripts pass through here */
    r = parse_options(argc, argv, &o);
    if (r <= 0)
        return r < 0 ? 2 : 0;
    if (!o.state_dir)
        o.state_dir = STATE_DIR;
    /* Without a file all is as by default; one that was asked for is meant. */
    if (o.config && access(o.config, F_OK) < 0) {
        log_error_errno(-errno, "%s", o.config);
        return 1;
    }
    r = config_load(o.config, &config, &f);
    if (r < 0) {
        if (f)
            log_error("%s", f->message);
        else
            log_error_errno(r, "Failed to read the configuration");
        return 1;
    }
    if (o.check_config) {
        printf("The configuration is fine.\n");
        return 0;
    }
    return run(&o, config) < 0 ? 1 : 0;
}
