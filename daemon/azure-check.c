/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-check.h"

#include "azure-geo.h"
#include "azure-internal.h"
#include "timeutil.h"

#include <inttypes.h>
#include <stdarg.h>

#define REQUEST_DEADLINE_USEC (30 * USEC_PER_SEC)
#define PROBE_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define PORTAL_PORT 3260
#define BODY_MAX (64 * KIB)
#define LIST_MAX (8 * MIB)
/* Beyond it tokens are refused: Entra's clocks and ours may differ by 5 minutes. */
#define SKEW_MAX_USEC (5 * USEC_PER_MINUTE)
/* Of the vault itself, which is another resource type with versions of its own; any will do for its location.
 */
#define VAULT_API_VERSION "2016-06-01"
#define PORTALS_MAX 16
#define ITEMS_QUERY "$filter=backupManagementType%20eq%20'AzureIaasVM'%20and%20itemType%20eq%20'VM'"

typedef enum Step {
    STEP_MANAGEMENT, /* DNS, TLS, clock */
    STEP_LOGIN,      /* DNS, TLS */
    STEP_TOKEN,
    STEP_VAULTS, /* two requests each */
    STEP_PORTAL,
    STEP_MAX,
} Step;

struct AzureCheck {
    Azure *azure;
    uid_t uid;
    char *portal;
    AzureCheckCallbacks callbacks;
    void *userdata;
    Step step;
    size_t vault;              /* STEP_VAULTS: index */
    char **portals, **regions; /* to try; without a known portal */
    size_t tried;              /* STEP_PORTAL: index */
    bool has_token;
    sd_event_source *next;  /* goes on from the event loop */
    sd_event_source *timer; /* deadline of the token */
    HttpRequest *http;
    AzureTokenWaiter *waiter;
    AzureRequest *request;
};

static const char *const result_names[] = {
    [CHECK_OK] = "ok",
    [CHECK_FAILED] = "failed",
    [CHECK_SKIPPED] = "skipped",
};

const char *check_result_to_string(CheckResult r)
{
    return r >= 0 && r < CHECK_RESULT_MAX ? result_names[r] : NULL;
}

static void report(AzureCheck *c, const char *name, CheckResult result, const char *hint, const char *format,
                   ...) _printf_(5, 6);

static void report(AzureCheck *c, const char *name, CheckResult result, const char *hint, const char *format,
                   ...)
{
    _cleanup_free_ char *message = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    c->callbacks.checked(name, result, message ? message : "out of memory", hint, c->userdata);
}

static void go_on(AzureCheck *c)
{
    c->step++;
    (void)sd_event_source_set_enabled(c->next, SD_EVENT_ONESHOT);
}

/* ---- DNS, TLS, clock ---- */

static void report_clock(AzureCheck *c, const HttpAnswer *a)
{
    const char *date = http_answer_header(a, "Date");
    uint64_t theirs, ours = now_usec(CLOCK_REALTIME), skew;
    char buf[64];

    if (!date || http_date_parse(date, &theirs) < 0) {
        report(c, "clock", CHECK_SKIPPED, NULL, "Azure's answer has no usable date");
        return;
    }
    skew = ours > theirs ? ours - theirs : theirs - ours;
    timespan_format(skew, buf, sizeof(buf));
    if (skew > SKEW_MAX_USEC)
        report(c, "clock", CHECK_FAILED, "set the clock, best by a time service: timedatectl set-ntp true",
               "this host's clock is %s %s Azure's, tokens would be refused", buf,
               ours > theirs ? "ahead of" : "behind");
    else
        report(c, "clock", CHECK_OK, NULL, "within %s of Azure's",
               timespan_format(MAX(skew, USEC_PER_SEC), buf, sizeof(buf)));
}

/* What became of a request tells how far it got. */
static bool report_host(AzureCheck *c, const HttpAnswer *a, const char *host)
{
    _cleanup_free_ char *dns = NULL, *tls = NULL;
    bool resolved = a->outcome != HTTP_UNREACHABLE || a->address[0] || !strcasestr(a->detail, "resolve");

    if (asprintf(&dns, "DNS of %s", host) < 0)
        dns = NULL;
    if (asprintf(&tls, "TLS to %s", host) < 0)
        tls = NULL;
    if (!dns || !tls)
        return false;
    if (!resolved) {
        report(c, dns, CHECK_FAILED, "see resolvectl status and /etc/resolv.conf", "%s", a->detail);
        report(c, tls, CHECK_SKIPPED, NULL, "its address is not known");
        return false;
    }
    if (c->azure->client.config->proxy)
        report(c, dns, CHECK_SKIPPED, NULL, "left to the proxy");
    else
        report(c, dns, CHECK_OK, NULL, "%s", a->address[0] ? a->address : "it has an address");
    if (a->outcome == HTTP_ANSWERED || a->outcome == HTTP_TOO_BIG) {
        report(c, tls, CHECK_OK, NULL, "answered after %" PRIu64 " ms", a->duration_usec / USEC_PER_MSEC);
        return true;
    }
    if (a->outcome == HTTP_UNTRUSTED)
        report(c, tls, CHECK_FAILED,
               "install ca-certificates; behind a firewall that opens TLS name its certificate by CAFile=",
               "%s", a->detail);
    else
        report(c, tls, CHECK_FAILED,
               c->azure->client.config->proxy ? "see Proxy= in ilrd.conf, and let the proxy reach it"
                                              : "let this host reach it at its port, 443 as a rule",
               "%s", a->detail[0] ? a->detail : "no connection");
    return false;
}

static void on_host(const HttpAnswer *a, void *userdata)
{
    AzureCheck *c = userdata;
    const Config *config = c->azure->client.config;
    bool management = c->step == STEP_MANAGEMENT;
    _cleanup_free_ char *host = http_url_host(management ? config->management_url : config->login_url);
    bool good = report_host(c, a, host ? host : "Azure");

    if (management) {
        if (good)
            report_clock(c, a);
        else
            report(c, "clock", CHECK_SKIPPED, NULL, "Azure does not answer");
    }
    c->http = http_request_free(c->http);
    go_on(c);
}

static int ask_host(AzureCheck *c, const char *url)
{
    return http_start(c->azure->client.http,
                      &(HttpOptions){.method = "GET",
                                     .url = url,
                                     .body_max = BODY_MAX,
                                     .timeout_usec = MIN(c->azure->client.config->request_timeout_usec,
                                                         REQUEST_DEADLINE_USEC),
                                     .once = true},
                      on_host, c, &c->http);
}

/* ---- token ---- */

static void report_token(AzureCheck *c, const Failure *failure)
{
    c->has_token = !failure;
    if (failure)
        report(c, "access token", CHECK_FAILED, failure_hint(failure), "%s",
               failure->message ? failure->message : "no token");
    else {
        _cleanup_free_ char *how = azure_token_describe(azure_client_token(&c->azure->client, c->uid));

        report(c, "access token", CHECK_OK, NULL, "%s", how ? how : "there is one");
    }
    c->timer = sd_event_source_disable_unref(c->timer);
    go_on(c);
}

static void on_token(Secret *token, Failure *failure, bool transient, uint64_t retry_after_usec,
                     void *userdata)
{
    _cleanup_failure_ Failure *f = failure ? failure
                                   : token ? NULL
                                           : failure_new(FAILURE_INTERNAL, "no memory");
    AzureCheck *c = userdata;

    c->waiter = azure_token_waiter_free(c->waiter);
    report_token(c, f);
}

static int on_token_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    AzureCheck *c = userdata;
    _cleanup_failure_ Failure *f =
        failure_new(FAILURE_AZURE_UNREACHABLE, "no answer within %llu s from %s",
                    (unsigned long long)(REQUEST_DEADLINE_USEC / USEC_PER_SEC),
                    azure_token_host(azure_client_token(&c->azure->client, c->uid)));

    c->waiter = azure_token_waiter_free(c->waiter);
    if (f)
        report_token(c, f);
    return 0;
}

static int ask_token(AzureCheck *c)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_secret_ Secret *token = NULL;
    int r;

    r = azure_token_get(azure_client_token(&c->azure->client, c->uid), on_token, c, &token, &c->waiter,
                        &failure);
    if (r < 0 && !failure)
        return r;
    if (r != 0) {
        report_token(c, failure);
        return 0;
    }
    return sd_event_add_time_relative(c->azure->client.event, &c->timer, CLOCK_BOOTTIME,
                                      REQUEST_DEADLINE_USEC, 0, on_token_late, c);
}

/* ---- vaults ---- */

static bool has_vault(const Config *config, size_t i)
{
    return i < strv_length(config->vaults);
}

/* Its portal, as far as it is known. */
static void note_region(AzureCheck *c, const char *region)
{
    const Config *config = c->azure->client.config;
    _cleanup_free_ char *portal = config->own_cloud ? NULL : azure_geo_portal(region, config->cloud);

    if (portal && !strv_contains(c->portals, portal) && strv_length(c->portals) < PORTALS_MAX)
        (void)strv_extend(&c->portals, portal);
    else if (!portal && !strv_contains(c->regions, region) && strv_length(c->regions) < PORTALS_MAX)
        (void)strv_extend(&c->regions, region);
}

static void next_vault(AzureCheck *c)
{
    c->request = azure_request_free(c->request);
    c->vault++;
    if (has_vault(c->azure->client.config, c->vault))
        (void)sd_event_source_set_enabled(c->next, SD_EVENT_ONESHOT);
    else
        go_on(c);
}

/* Where it is only matters for the portal: not to be allowed to know is no failure. */
static void on_location(const AzureAnswer *answer, Failure *failure, void *userdata)
{
    json_object *location = json_get_nocase(answer->json, "location");
    AzureCheck *c = userdata;

    failure_free(failure);
    if (answer->ok && json_object_is_type(location, json_type_string)) {
        const char *s = json_object_get_string(location);
        _cleanup_free_ char *region = azure_excerpt(s, strlen(s));

        if (region)
            note_region(c, region);
    }
    next_vault(c);
}

static int ask_location(AzureCheck *c)
{
    const Config *config = c->azure->client.config;
    _cleanup_free_ char *path = azure_path_escape(config->vaults[c->vault]), *url = NULL;

    if (!path || asprintf(&url, "%s%s?api-version=" VAULT_API_VERSION, config->management_url, path) < 0)
        return -ENOMEM;
    return azure_request_start(&c->azure->client,
                               &(AzureRequestOptions){
                                   .method = "GET",
                                   .url = url,
                                   .uid = c->uid,
                                   .subject = {.what = "look where the vault is",
                                               .action = "Microsoft.RecoveryServices/Vaults/read",
                                               .not_found = FAILURE_NOT_CONFIGURED},
                                   .body_max = BODY_MAX,
                                   .want_json = true,
                                   .attempts_max = 1,
                                   .deadline_usec = now_usec(CLOCK_BOOTTIME) + REQUEST_DEADLINE_USEC,
                               },
                               on_location, c, &c->request);
}

static void on_vault(const AzureAnswer *answer, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure;
    AzureCheck *c = userdata;
    const char *vault = c->azure->client.config->vaults[c->vault], *slash = strrchr(vault, '/');
    bool ok = answer->ok;
    json_object *items = json_get_nocase(answer->json, "value");
    _cleanup_free_ char *name = NULL;

    if (asprintf(&name, "vault %s", slash ? slash + 1 : vault) < 0)
        name = NULL;
    if (!answer->ok)
        report(c, name ? name : "vault", CHECK_FAILED, f ? failure_hint(f) : NULL, "%s",
               f && f->message ? f->message : "it cannot be read");
    else
        report(c, name ? name : "vault", CHECK_OK, NULL, "may be read, %s%zu protected VMs on the first page",
               json_object_is_type(json_get_nocase(answer->json, "nextLink"), json_type_string) ? "at least "
                                                                                                : "",
               json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0);
    c->request = azure_request_free(c->request);
    if (!ok || c->portal || ask_location(c) < 0)
        next_vault(c);
}

static int ask_vault(AzureCheck *c)
{
    const Config *config = c->azure->client.config;
    _cleanup_free_ char *id = NULL, *path = NULL, *url = NULL;
    _cleanup_failure_ Failure *f = NULL;
    const char *name;
    int r;

    if (!has_vault(config, c->vault)) {
        report(c, "vault", CHECK_SKIPPED,
               "name the vaults by Vault= in ilrd.conf, then VMs are found by name", "none is configured");
        go_on(c);
        return 0;
    }
    if (!c->has_token) {
        report(c, "vault", CHECK_SKIPPED, NULL, "there is no token");
        go_on(c);
        return 0;
    }
    r = azure_vault_id_parse(config->vaults[c->vault], &id, &name, &f);
    if (r == -EINVAL) {
        report(c, "vault", CHECK_FAILED, "see Vault= in ilrd.conf", "%s",
               f && f->message ? f->message : "no resource id of a vault");
        next_vault(c);
        return 0;
    }
    if (r < 0)
        return r;
    path = azure_path_escape(id);
    if (!path || asprintf(&url, "%s%s/backupProtectedItems?api-version=%s&%s", config->management_url, path,
                          config->api_version, ITEMS_QUERY) < 0)
        return -ENOMEM;
    return azure_request_start(
        &c->azure->client,
        &(AzureRequestOptions){
            .method = "GET",
            .url = url,
            .uid = c->uid,
            .subject = {.what = "list the protected items of the vault",
                        .action = "Microsoft.RecoveryServices/Vaults/backupProtectedItems/read",
                        .not_found = FAILURE_NOT_CONFIGURED},
            .body_max = LIST_MAX,
            .want_json = true,
            .attempts_max = 2,
            .deadline_usec = now_usec(CLOCK_BOOTTIME) + REQUEST_DEADLINE_USEC,
        },
        on_vault, c, &c->request);
}

/* ---- the recovery target ---- */

static const char *portal_at(const AzureCheck *c, size_t i)
{
    if (c->portal)
        return i == 0 ? c->portal : NULL;
    return i < strv_length(c->portals) ? c->portals[i] : NULL;
}

static void on_portal(const HttpAnswer *a, void *userdata)
{
    AzureCheck *c = userdata;
    const char *portal = portal_at(c, c->tried);
    _cleanup_free_ char *name = NULL;

    if (!portal_at(c, 1) || asprintf(&name, "recovery portal %s", portal) < 0)
        name = NULL;
    if (a->outcome == HTTP_ANSWERED)
        report(c, name ? name : "recovery portal", CHECK_OK, NULL, "%s answers at TCP %d", portal,
               PORTAL_PORT);
    else
        report(
            c, name ? name : "recovery portal", CHECK_FAILED,
            "let this host reach it at TCP 3260 directly (service tag AzureBackup), proxies do not pass it",
            "%s: %s", portal, a->detail[0] ? a->detail : "no connection");
    c->http = http_request_free(c->http);
    c->tried++;
    if (portal_at(c, c->tried))
        (void)sd_event_source_set_enabled(c->next, SD_EVENT_ONESHOT);
    else
        go_on(c);
}

static void skip_portal(AzureCheck *c)
{
    static const char hint[] =
        "ask with --portal=pod01-rec2.CODE.backup.windowsazure.com, CODE being that of the "
        "vault's region";
    _cleanup_free_ char *regions = strv_join(c->regions, ", ");

    if (c->azure->client.config->own_cloud)
        report(c, "recovery portal", CHECK_SKIPPED, hint,
               "ManagementUrl= is a cloud of your own, whose portals are not known (Cloud= says which one it "
               "is like)");
    else if (regions && *regions)
        report(c, "recovery portal", CHECK_SKIPPED, hint, "the code of %s in its name is not known", regions);
    else
        report(c, "recovery portal", CHECK_SKIPPED, hint,
               "its name has a code for the region, and no vault was read that has one");
}

static int ask_portal(AzureCheck *c)
{
    const Config *config = c->azure->client.config;
    char **region;

    /* A vault is where its VMs are. */
    if (!c->portal && !c->portals && !c->regions)
        STRV_FOREACH (region, config->locations)
            note_region(c, *region);
    if (portal_at(c, c->tried))
        return http_probe(c->azure->client.http, portal_at(c, c->tried), PORTAL_PORT, PROBE_TIMEOUT_USEC,
                          on_portal, c, &c->http);
    skip_portal(c);
    go_on(c);
    return 0;
}

/* ---- one after the other ---- */

static int run_step(AzureCheck *c)
{
    const Config *config = c->azure->client.config;

    switch (c->step) {
    case STEP_MANAGEMENT:
        return ask_host(c, config->management_url);
    case STEP_LOGIN:
        if (http_url_same_origin(config->management_url, config->login_url)) {
            go_on(c);
            return 0;
        }
        return ask_host(c, config->login_url);
    case STEP_TOKEN:
        return ask_token(c);
    case STEP_VAULTS:
        return ask_vault(c);
    case STEP_PORTAL:
        return ask_portal(c);
    case STEP_MAX:
        break;
    }
    c->callbacks.done(c->userdata);
    return 0;
}

static int on_next(sd_event_source *source, void *userdata)
{
    static const char *const names[STEP_MAX] = {"management host", "login host", "access token", "vault",
                                                "recovery portal"};
    AzureCheck *c = userdata;
    Step step = c->step;
    char buf[128];
    int r = run_step(c);

    if (r < 0) {
        report(c, names[step], CHECK_FAILED, "see journalctl -u ilrd", "%s",
               strerror_r(-r, buf, sizeof(buf)));
        go_on(c);
    }
    return 0;
}

int azure_check(Azure *a, uid_t uid, const char *portal, const AzureCheckCallbacks *callbacks, void *userdata,
                AzureCheck **ret)
{
    _cleanup_(azure_check_freep) AzureCheck *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    *c = (AzureCheck){.azure = a, .uid = uid, .callbacks = *callbacks, .userdata = userdata};
    if (portal && !(c->portal = strdup(portal)))
        return -ENOMEM;
    r = sd_event_add_defer(a->client.event, &c->next, on_next, c);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

AzureCheck *azure_check_free(AzureCheck *c)
{
    if (!c)
        return NULL;
    sd_event_source_disable_unref(c->next);
    sd_event_source_disable_unref(c->timer);
    azure_token_waiter_free(c->waiter);
    http_request_free(c->http);
    azure_request_free(c->request);
    strv_free(c->portals);
    strv_free(c->regions);
    free(c->portal);
    free(c);
    return NULL;
}
