/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl: asks ilrd for recovery points and shows what it says. Knows nothing that ilrd does not tell. */

#include "client.h"
#include "text.h"

#include <getopt.h>

#define MANY 64
#define COMMAND_MAX 65536

static void print_help(void)
{
    puts(
        "ilrctl [OPTION...] VERB\n"
        "\n"
        "Files from the backup of an Azure VM.\n"
        "\n"
        "  items [VM]                the virtual machines that the vaults protect\n"
        "  points VM                 the recovery points of one; --since=TIME, --until=TIME\n"
        "  provision VM HOW          bring a recovery point up; HOW is one of\n"
        "                              --latest         the newest\n"
        "                              --at=TIME        the newest at or before TIME\n"
        "                              --before=TIME    the newest before TIME\n"
        "                              --point=ID       this one\n"
        "                            VM is a name or a resource id; with these three verbs\n"
        "                              --vault=VAULT    name or resource id (default: all of Vault= in "
        "ilrd.conf)\n"
        "                              --resource-group=NAME  of the VM\n"
        "                            TIME is like \"yesterday 22:00\", 2026-11-20, -2h, \"3 days ago\"\n"
        "  provision POINT           the same; POINT is the point's resource id, or its id with --vault and\n"
        "                              --container=NAME protection container\n"
        "                              --item=NAME      protected item\n"
        "                            --vm=ID            resource id of the VM (default: asked of Azure)\n"
        "                            --reason=TEXT      why, for the journal\n"
        "                            --idle=SPAN        give it back when it is not used for so long; 0: "
        "never\n"
        "                            --replay=overlay|none  of journals that were not closed (default: "
        "Replay= in ilrd.conf)\n"
        "                            --key-file=[VOLUME=]FILE  key of encrypted volumes, may be repeated\n"
        "                            --tag=NAME=VALUE   tag of the request, may be repeated\n"
        "  list                      the sessions\n"
        "  status ID                 all about one session\n"
        "  monitor [ID]              changes as they happen\n"
        "  browse ID [VOLUME] [/PATH]  print where the machine's files are, or a volume's, or what a path of "
        "theirs\n"
        "                            is here; on a terminal open it in mc or a file manager\n"
        "                              --open           or fail\n"
        "                              --volumes        the directory of the volumes\n"
        "  unlock ID VOLUME          open an encrypted volume; the passphrase is asked for, or\n"
        "                              --key-file=FILE  the key is the whole FILE; - is standard input\n"
        "                              --key-fd=N       the passphrase is what descriptor N has\n"
        "  release ID...             give sessions back\n"
        "                              --all            also if others hold them; without an ID: all "
        "sessions\n"
        "                              --force          do not wait for those who use the files: they get "
        "errors\n"
        "  inhibit ID -- COMMAND...  keep a session from being given back as unused while a command runs;\n"
        "                            --why=TEXT: for the journal and for status\n"
        "  login, logout             sign in to Azure, so that its activity log names you and not the host\n"
        "  doctor                    is all there that a recovery needs? --portal=HOST: try this one\n"
        "                            instead of those known\n"
        "  doctor --leftovers        what is left of recoveries and belongs to no session\n"
        "                              --sweep          take it down\n"
        "                              --foreign        with --sweep: also what ilrd did not make (root)\n"
        "                              --vm=VM          look at this machine's points at Azure, too\n"
        "  metrics                   ilrd's counts as OpenMetrics text; --output=FILE: into a file\n"
        "  version, help\n"
        "\n"
        "An ID may be shortened as long as it is clear which session is meant.\n"
        "\n"
        "  --json                    one JSON object a line\n"
        "  --socket=PATH             ilrd's socket (default: " SOCKET_PATH ")\n"
        "  --timeout=SECONDS         how long ilrd may say nothing (default: 90)\n"
        "  --version, --help");
}

#define TIMEOUT_MSEC 90000

/* Milliseconds, or -1. */
static int parse_timeout(const char *s)
{
    size_t n = strspn(s, "0123456789");
    long seconds = n > 0 && n <= 5 && s[n] == '\0' ? strtol(s, NULL, 10) : 0;

    return seconds >= 1 && seconds <= 86400 ? (int)seconds * 1000 : -1;
}

static int usage(const Client *c, const char *text, const char *what)
{
    if (c->json)
        return tell_failure(c, EXIT_USAGE, "Usage", "see ilrctl --help", "%s%s", text, what);
    fprintf(stderr, "ilrctl: %s%s\nTry: ilrctl --help\n", text, what);
    return EXIT_USAGE;
}

static int print_version(const Client *c)
{
    if (c->json)
        puts("{\"version\":\"" PACKAGE_VERSION "\"}");
    else
        puts("ilrctl " PACKAGE_VERSION);
    return 0;
}

static int run_verb(const Client *c, int argc, char **argv)
{
    static const struct {
        const char *name;
        int min, max; /* arguments */
        int (*run)(const Client *c, int argc, char **argv);
    } verbs[] = {
        {"items", 0, 1, verb_items},         {"points", 1, 1, verb_points},
        {"provision", 1, 1, verb_provision}, {"list", 0, 0, verb_list},
        {"status", 1, 1, verb_status},       {"monitor", 0, 1, verb_monitor},
        {"browse", 1, 3, verb_browse},       {"unlock", 2, 2, verb_unlock},
        {"release", 0, MANY, verb_release},  {"doctor", 0, 0, verb_doctor},
        {"login", 0, 0, verb_login},         {"logout", 0, 0, verb_logout},
        {"metrics", 0, 0, verb_metrics},     {"inhibit", 2, COMMAND_MAX, verb_inhibit},
    };
    size_t i;

    if (argc == 0)
        return usage(c, "a verb is missing", "");
    if (streq(argv[0], "help")) {
        print_help();
        return 0;
    }
    if (streq(argv[0], "version"))
        return print_version(c);
    for (i = 0; i < ELEMENTSOF(verbs); i++) {
        const bool provision = verbs[i].run == verb_provision, release = verbs[i].run == verb_release,
                   points = verbs[i].run == verb_points, find = points || verbs[i].run == verb_items;

        if (!streq(verbs[i].name, argv[0]))
            continue;
        if (argc - 1 < verbs[i].min)
            return usage(c, "an argument is missing for ", argv[0]);
        if (argc - 1 > verbs[i].max)
            return usage(c, "there are too many arguments for ", argv[0]);
        if (!provision && !find && !(c->leftovers && c->vm) && (c->vault || c->resource_group))
            return usage(c, "--vault and --resource-group are not for ", argv[0]);
        if (!provision && (c->container || c->item || (c->vm && !c->leftovers) || c->reason || c->tags))
            return usage(c, "--container, --item, --vm, --reason and --tag are not for ", argv[0]);
        if (!provision && has_choice(c))
            return usage(c, "--latest, --at, --before and --point are not for ", argv[0]);
        if (!points && (c->since || c->until))
            return usage(c, "--since and --until are not for ", argv[0]);
        if (provision && c->latest + !!c->at + !!c->before + !!c->point > 1)
            return usage(c, "only one of --latest, --at, --before and --point can be meant", "");
        if (provision && !has_choice(c) && !c->container && !c->item && argv[1][0] != '/' &&
            argv[1][strspn(argv[1], "0123456789")])
            return usage(c, "say which recovery point with --latest, --at, --before or --point of ", argv[1]);
        if (provision && c->vm && has_choice(c))
            return usage(c, "--vm does not go together with a VM and words for its point: it is ", argv[1]);
        if (provision && c->resource_group && !has_choice(c))
            return usage(c, "--resource-group goes with one of --latest, --at, --before and --point of ",
                         argv[1]);
        if ((c->open || c->volumes) && verbs[i].run != verb_browse)
            return usage(c, "--open and --volumes are not for ", argv[0]);
        if (c->open && c->json)
            return usage(c, "--open and --json cannot have the same standard output", "");
        if ((c->leftovers || c->sweep || c->foreign) && verbs[i].run != verb_doctor)
            return usage(c, "--leftovers, --sweep and --foreign are not for ", argv[0]);
        if ((c->sweep && !c->leftovers) || (c->foreign && !c->sweep))
            return usage(c, "--foreign belongs to --sweep, and --sweep to --leftovers", "");
        if (c->leftovers && c->portal)
            return usage(c, "--portal does not go together with --leftovers", "");
        if (c->idle && !provision)
            return usage(c, "--idle is not for ", argv[0]);
        if (c->key_files && !provision && verbs[i].run != verb_unlock)
            return usage(c, "--key-file is not for ", argv[0]);
        if (c->key_fd && verbs[i].run != verb_unlock)
            return usage(c, "--key-fd is not for ", argv[0]);
        if (verbs[i].run == verb_unlock && strv_length(c->key_files) + !!c->key_fd > 1)
            return usage(c, "only one key can be meant by ", argv[0]);
        if (c->replay && !provision)
            return usage(c, "--replay is not for ", argv[0]);
        if (c->replay && !streq(c->replay, "overlay") && !streq(c->replay, "none"))
            return usage(c, "--replay wants overlay or none, not ", c->replay);
        if (c->output && verbs[i].run != verb_metrics)
            return usage(c, "--output is not for ", argv[0]);
        if (c->why && verbs[i].run != verb_inhibit)
            return usage(c, "--why is not for ", argv[0]);
        if (c->portal && verbs[i].run != verb_doctor)
            return usage(c, "--portal is not for ", argv[0]);
        if ((c->all || c->force) && !release)
            return usage(c, "--all and --force are not for ", argv[0]);
        if (release && !c->all && argc == 1)
            return usage(c, "release wants ids, or --all", "");
        link_block_interrupt();
        return verbs[i].run(c, argc - 1, argv + 1);
    }
    return usage(c, "unknown verb: ", argv[0]);
}

/* Success is only what could be written, now or before. */
static int ended(int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        fprintf(stderr, "ilrctl: standard output cannot be written\n");
        code = 1;
    }
    return code;
}

int main(int argc, char **argv)
{
    enum {
        OPT_JSON = 256,
        OPT_SOCKET,
        OPT_TIMEOUT,
        OPT_VAULT,
        OPT_GROUP,
        OPT_AT,
        OPT_BEFORE,
        OPT_LATEST,
        OPT_POINT,
        OPT_SINCE,
        OPT_UNTIL,
        OPT_CONTAINER,
        OPT_ITEM,
        OPT_VM,
        OPT_REASON,
        OPT_IDLE,
        OPT_REPLAY,
        OPT_KEY_FILE,
        OPT_KEY_FD,
        OPT_WHY,
        OPT_OUTPUT,
        OPT_TAG,
        OPT_PORTAL,
        OPT_ALL,
        OPT_FORCE,
        OPT_OPEN,
        OPT_VOLUMES,
        OPT_LEFTOVERS,
        OPT_SWEEP,
        OPT_FOREIGN
    };
    static const struct option options[] = {
        {"json", no_argument, NULL, OPT_JSON},
        {"socket", required_argument, NULL, OPT_SOCKET},
        {"timeout", required_argument, NULL, OPT_TIMEOUT},
        {"vault", required_argument, NULL, OPT_VAULT},
        {"resource-group", required_argument, NULL, OPT_GROUP},
        {"at", required_argument, NULL, OPT_AT},
        {"before", required_argument, NULL, OPT_BEFORE},
        {"latest", no_argument, NULL, OPT_LATEST},
        {"point", required_argument, NULL, OPT_POINT},
        {"since", required_argument, NULL, OPT_SINCE},
        {"until", required_argument, NULL, OPT_UNTIL},
        {"container", required_argument, NULL, OPT_CONTAINER},
        {"item", required_argument, NULL, OPT_ITEM},
        {"vm", required_argument, NULL, OPT_VM},
        {"reason", required_argument, NULL, OPT_REASON},
        {"idle", required_argument, NULL, OPT_IDLE},
        {"replay", required_argument, NULL, OPT_REPLAY},
        {"key-file", required_argument, NULL, OPT_KEY_FILE},
        {"key-fd", required_argument, NULL, OPT_KEY_FD},
        {"output", required_argument, NULL, OPT_OUTPUT},
        {"why", required_argument, NULL, OPT_WHY},
        {"tag", required_argument, NULL, OPT_TAG},
        {"portal", required_argument, NULL, OPT_PORTAL},
        {"all", no_argument, NULL, OPT_ALL},
        {"force", no_argument, NULL, OPT_FORCE},
        {"open", no_argument, NULL, OPT_OPEN},
        {"volumes", no_argument, NULL, OPT_VOLUMES},
        {"leftovers", no_argument, NULL, OPT_LEFTOVERS},
        {"sweep", no_argument, NULL, OPT_SWEEP},
        {"foreign", no_argument, NULL, OPT_FOREIGN},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    Client c = {.socket = SOCKET_PATH, .timeout_msec = TIMEOUT_MSEC};
    int o, code;

    /* How a wrong option is told depends on it, wherever it stands. */
    for (o = 1; o < argc && !streq(argv[o], "--"); o++)
        c.json |= streq(argv[o], "--json");
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":h", options, NULL)) >= 0)
        switch (o) {
        case OPT_JSON:
            c.json = true;
            break;
        case OPT_SOCKET:
            c.socket = optarg;
            break;
        case OPT_TIMEOUT:
            c.timeout_msec = parse_timeout(optarg);
            if (c.timeout_msec < 0)
                return usage(&c, "--timeout wants a number of seconds from 1 to 86400, not ", optarg);
            break;
        case OPT_VAULT:
            c.vault = optarg;
            break;
        case OPT_GROUP:
            c.resource_group = optarg;
            break;
        case OPT_AT:
            c.at = optarg;
            break;
        case OPT_BEFORE:
            c.before = optarg;
            break;
        case OPT_LATEST:
            c.latest = true;
            break;
        case OPT_POINT:
            c.point = optarg;
            break;
        case OPT_SINCE:
            c.since = optarg;
            break;
        case OPT_UNTIL:
            c.until = optarg;
            break;
        case OPT_CONTAINER:
            c.container = optarg;
            break;
        case OPT_ITEM:
            c.item = optarg;
            break;
        case OPT_VM:
            c.vm = optarg;
            break;
        case OPT_REASON:
            c.reason = optarg;
            break;
        case OPT_IDLE:
            c.idle = optarg;
            break;
        case OPT_KEY_FILE:
            if (strv_extend(&c.key_files, optarg) < 0)
                out_of_memory();
            break;
        case OPT_KEY_FD:
            c.key_fd = optarg;
            break;
        case OPT_REPLAY:
            c.replay = optarg;
            break;
        case OPT_OUTPUT:
            c.output = optarg;
            break;
        case OPT_WHY:
            c.why = optarg;
            break;
        case OPT_TAG:
            if (!strchr(optarg, '=') || *optarg == '=')
                return usage(&c, "--tag wants NAME=VALUE, not ", optarg);
            if (strv_extend(&c.tags, optarg) < 0)
                out_of_memory();
            break;
        case OPT_PORTAL:
            c.portal = optarg;
            break;
        case OPT_ALL:
            c.all = true;
            break;
        case OPT_FORCE:
            c.force = true;
            break;
        case OPT_VOLUMES:
            c.volumes = true;
            break;
        case OPT_OPEN:
            c.open = true;
            break;
        case OPT_LEFTOVERS:
            c.leftovers = true;
            break;
        case OPT_SWEEP:
            c.sweep = true;
            break;
        case OPT_FOREIGN:
            c.foreign = true;
            break;
        case 'V':
            return ended(print_version(&c));
        case 'h':
            print_help();
            return ended(0);
        case ':':
            return usage(&c, "a value is missing for ", argv[optind - 1]);
        default:
            if (optopt > 0 && optopt < OPT_JSON)
                return usage(&c, "unknown option: -", (const char[]){(char)optopt, '\0'});
            return usage(&c,
                         optopt ? "no value belongs to " : "unknown or ambiguous option: ", argv[optind - 1]);
        }
    code = run_verb(&c, argc - optind, argv + optind);
    strv_free(c.tags);
    strv_free(c.key_files);
    return ended(code);
}
