/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "simconfig.h"
#include "files.h"
#include "timeutil.h"
#include "validate.h"
#include <fcntl.h>
#include <strings.h>

#define CONFIG_MAX (16 * MIB)
#define SECONDS_MAX 86400.0

/* Only the program links every backend; the tests of the configuration do without a target. */
static const BackendOps *const backends[] = {
    &backend_none,
    &backend_tgt,
};

static bool decimal(const char *s)
{
    return *s && strlen(s) <= 20 && s[strspn(s, "0123456789")] == '\0';
}

/* A text that becomes part of a path: no separator of paths or names in it. */
static char *name_text(Document *d, json_object *o, const char *path, const char *key)
{
    char *s = document_text(d, o, path, key, true);

    if (s && (strpbrk(s, "/;?%#\r\n\"") || strlen(s) > 90))
        document_refuse(d, path, key,
                        "is \"%.100s\", a name of at most 90 bytes without /;?%%#\" is expected", s);
    return s;
}

static char *lower(const char *s)
{
    char *copy = strdup(s);

    /* Only ASCII: what the service does to other letters is not known. */
    for (char *p = copy; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p += 'a' - 'A';
    return copy;
}

static void point_parse(Document *d, SimConfig *c, json_object *o, const char *path, Point *p)
{
    static const char *const known[] = {"id",          "time",       "type",     "encrypted",
                                        "tiers",       "timeDigits", "archived", "disks",
                                        "multiTarget", "scenario",   NULL};
    const char *time;
    json_object *scenario;

    if (!document_check(d, o, path, known))
        return;
    p->id = document_text(d, o, path, "id", true);
    if (p->id && !decimal(p->id))
        document_refuse(d, path, "id", "is \"%.80s\", decimal digits are expected", p->id);
    else if (p->id && sim_config_point(c, p->id) != p)
        document_refuse(d, path, "id", "\"%s\" is there twice", p->id);
    time = document_string(d, o, path, "time", true);
    if (time && timestamp_parse(time, &p->time_usec) < 0)
        document_refuse(d, path, "time", "is \"%.80s\", a time like 2026-11-21T22:00:00Z is expected", time);
    p->type = document_text(d, o, path, "type", false);
    if (!p->type && !(p->type = strdup("AppConsistent")))
        document_refuse(d, path, "type", "out of memory");
    p->encrypted = document_bool(d, o, path, "encrypted", false);
    p->archived = document_bool(d, o, path, "archived", false);
    p->tiers = document_array(d, o, path, "tiers");
    p->time_digits = (unsigned)document_number(d, o, path, "timeDigits", 7, 0, 7);
    p->multi_target = document_bool(d, o, path, "multiTarget", false);
    p->disks = document_strv(d, o, path, "disks");
    for (size_t i = 0; p->disks && p->disks[i]; i++)
        if (p->disks[i][0] != '/')
            document_refuse(d, path, "disks", "[%zu] is \"%.200s\", an absolute path is expected", i,
                            p->disks[i]);
    scenario = document_object(d, o, path, "scenario");
    if (scenario && !d->error) {
        char where[DOCUMENT_PATH_MAX + 16];

        snprintf(where, sizeof(where), "%s.scenario", path);
        if (sim_config_scenario(c, scenario, where, &p->scenario, &d->error) < 0 && !d->error)
            document_refuse(d, path, "scenario", "out of memory");
    }
}

static void item_parse(Document *d, SimConfig *c, json_object *o, const char *path, Item *i)
{
    static const char *const known[] = {"vm",     "fileShare", "storageAccount", "resourceGroup",
                                        "osType", "classic",   "withoutFabric",  "points",
                                        NULL};
    _cleanup_free_ char *group = NULL, *vm = NULL, *account = NULL;
    json_object *points;

    if (!document_check(d, o, path, known))
        return;
    i->file_share = json_object_object_get_ex(o, "fileShare", NULL);
    i->vm = name_text(d, o, path, i->file_share ? "fileShare" : "vm");
    if (i->file_share)
        account = name_text(d, o, path, "storageAccount");
    i->resource_group = name_text(d, o, path, "resourceGroup");
    i->os_type = document_text(d, o, path, "osType", false);
    if (!i->os_type)
        i->os_type = strdup("Linux");
    i->classic = document_bool(d, o, path, "classic", false);
    i->without_fabric = document_bool(d, o, path, "withoutFabric", false);
    points = document_array(d, o, path, "points");
    if (d->error)
        return;
    group = lower(i->resource_group);
    vm = lower(i->vm);
    if (!group || !vm || !i->os_type ||
        asprintf(&i->vm_id, "/subscriptions/%s/resourceGroups/%s/providers/Microsoft.%s/%s", c->subscription,
                 i->resource_group,
                 i->file_share ? "Storage/storageAccounts"
                 : i->classic  ? "ClassicCompute/virtualMachines"
                               : "Compute/virtualMachines",
                 i->file_share ? account : i->vm) < 0 ||
        (i->file_share ? asprintf(&i->container, "StorageContainer;Storage;%s;%s", group, account)
                       : asprintf(&i->container, "IaasVMContainer;iaasvmcontainer%s;%s;%s",
                                  i->classic ? "" : "v2", group, vm)) < 0 ||
        (i->file_share
             ? asprintf(&i->name, "AzureFileShare;%s", vm)
             : asprintf(&i->name, "VM;iaasvmcontainer%s;%s;%s", i->classic ? "" : "v2", group, vm)) < 0 ||
        asprintf(&i->id, "%s/backupFabrics/Azure/protectionContainers/%s/protectedItems/%s", i->vault->id,
                 i->container, i->name) < 0) {
        document_refuse(d, path, NULL, "out of memory");
        return;
    }
    for (Item *other = i->vault->items; other < i; other++)
        if (strcasecmp(other->name, i->name) == 0)
            document_refuse(d, path, "vm", "is \"%s\", which this vault has already from this group", i->vm);
    i->points = calloc(points ? json_object_array_length(points) + 1 : 1, sizeof(*i->points));
    if (!i->points) {
        document_refuse(d, path, "points", "out of memory");
        return;
    }
    for (size_t n = 0; points && n < json_object_array_length(points) && !d->error; n++) {
        char where[DOCUMENT_PATH_MAX];

        i->points[n].item = i;
        i->point_count = n + 1;
        point_parse(d, c, json_object_array_get_idx(points, n), document_path(where, path, "points", n),
                    &i->points[n]);
    }
}

static void vault_parse(Document *d, SimConfig *c, json_object *o, const char *path, Vault *v)
{
    static const char *const known[] = {"resourceGroup", "name", "location", "items", NULL};
    json_object *items;

    if (!document_check(d, o, path, known))
        return;
    v->resource_group = name_text(d, o, path, "resourceGroup");
    v->name = name_text(d, o, path, "name");
    v->location = document_text(d, o, path, "location", false);
    items = document_array(d, o, path, "items");
    if (d->error)
        return;
    if ((!v->location && !(v->location = strdup("southeastasia"))) ||
        asprintf(&v->id, "/subscriptions/%s/resourceGroups/%s/providers/Microsoft.RecoveryServices/vaults/%s",
                 c->subscription, v->resource_group, v->name) < 0 ||
        !(v->items = calloc(items ? json_object_array_length(items) + 1 : 1, sizeof(*v->items)))) {
        document_refuse(d, path, NULL, "out of memory");
        return;
    }
    for (size_t n = 0; items && n < json_object_array_length(items) && !d->error; n++) {
        char where[DOCUMENT_PATH_MAX];

        v->items[n].vault = v;
        v->item_count = n + 1;
        item_parse(d, c, json_object_array_get_idx(items, n), document_path(where, path, "items", n),
                   &v->items[n]);
    }
}

static void backend_parse(Document *d, SimConfig *c)
{
    static const char *const portal_known[] = {"listen", "host", "port", "certificate", "key", NULL};
    static const char *const tgt_known[] = {"controlPort", "portal", "start", NULL};
    const char *name = document_string(d, c->root, "", "backend", false), *colon;
    json_object *portal = document_object(d, c->root, "", "portal"),
                *tgt = document_object(d, c->root, "", "tgt");
    BackendConfig *b = &c->backend_config;
    double listening = 3260;

    for (size_t i = 0; i < ELEMENTSOF(backends); i++)
        if (streq(backends[i]->name, name ? name : "none"))
            c->backend = backends[i];
    if (!c->backend)
        document_refuse(d, "", "backend", "is \"%.80s\", \"none\" or \"tgt\" is expected", name);

    b->portal_listen = "127.0.0.1:3260";
    b->portal_host = "localhost";
    b->portal_port = 3260;
    b->portal_certificate = c->certificate;
    b->portal_key = c->key;
    if (portal && document_check(d, portal, "portal", portal_known)) {
        const char *s = document_string(d, portal, "portal", "listen", false);

        if (s) {
            b->portal_listen = s;
            colon = strrchr(s, ':');
            listening = colon ? strtod(colon + 1, NULL) : 0;
            if (!colon || !decimal(colon + 1) || listening < 1 || listening > 65535)
                document_refuse(d, "portal", "listen", "is \"%.80s\", ADDRESS:PORT is expected", s);
        }
        if ((s = document_string(d, portal, "portal", "host", false))) {
            b->portal_host = s;
            if (!host_name_valid(s) && !address_valid(s))
                document_refuse(d, "portal", "host", "is \"%.80s\", a host name is expected", s);
        }
        b->portal_port = (uint16_t)document_number(d, portal, "portal", "port", listening, 1, 65535);
        if ((s = document_string(d, portal, "portal", "certificate", false)))
            b->portal_certificate = s;
        if ((s = document_string(d, portal, "portal", "key", false)))
            b->portal_key = s;
    }
    b->tgt_portal = "127.0.0.1:3261";
    b->tgt_start = true;
    if (tgt && document_check(d, tgt, "tgt", tgt_known)) {
        const char *s = document_string(d, tgt, "tgt", "portal", false);

        if (s)
            b->tgt_portal = s;
        b->tgt_control_port = (uint16_t)document_number(d, tgt, "tgt", "controlPort", 0, 0, 32767);
        b->tgt_start = document_bool(d, tgt, "tgt", "start", true);
    }
    b->script_template = document_string(d, c->root, "", "scriptTemplate", false);
}

static void listen_check(Document *d, SimConfig *c)
{
    if (!c->listen)
        document_refuse(d, "", "listen", "missing, an array of at least one \"ADDRESS:PORT\" is expected");
    for (size_t i = 0; c->listen && c->listen[i]; i++)
        if (!listen_text_valid(c->listen[i]))
            document_refuse(d, "", "listen", "[%zu] is \"%.80s\", ADDRESS:PORT is expected", i, c->listen[i]);
}

static void root_parse(Document *d, SimConfig *c)
{
    static const char *const known[] = {"listen",
                                        "control",
                                        "certificate",
                                        "key",
                                        "publicUrl",
                                        "tenant",
                                        "clientId",
                                        "clientSecret",
                                        "expiredSecrets",
                                        "clientCertificates",
                                        "federatedTokens",
                                        "publicClientId",
                                        "deviceCodeSeconds",
                                        "deviceIntervalSeconds",
                                        "imds",
                                        "arc",
                                        "subscription",
                                        "scopes",
                                        "tokenSeconds",
                                        "apiVersionMax",
                                        "provisionSeconds",
                                        "revokeSeconds",
                                        "retryAfterSeconds",
                                        "validSeconds",
                                        "pageSize",
                                        "nextLink",
                                        "scenario",
                                        "stateFile",
                                        "backend",
                                        "scriptTemplate",
                                        "portal",
                                        "tgt",
                                        "vaults",
                                        NULL};
    json_object *vaults, *scenario;

    if (!document_check(d, c->root, "", known))
        return;
    c->listen = document_strv(d, c->root, "", "listen");
    listen_check(d, c);
    c->control = document_text(d, c->root, "", "control", false);
    if (c->control && c->control[0] != '/' && !startswith(c->control, "127.0.0.1:"))
        document_refuse(d, "", "control", "is \"%.80s\", an absolute path or 127.0.0.1:PORT is expected",
                        c->control);
    c->certificate = document_text(d, c->root, "", "certificate", true);
    c->key = document_text(d, c->root, "", "key", true);
    c->public_url = document_text(d, c->root, "", "publicUrl", false);
    if (c->public_url && (!startswith(c->public_url, "https://") || endswith(c->public_url, "/")))
        document_refuse(d, "", "publicUrl", "is \"%.80s\", https:// and no slash at the end are expected",
                        c->public_url);
    c->tenant = name_text(d, c->root, "", "tenant");
    c->client_id = document_text(d, c->root, "", "clientId", true);
    c->client_secret = document_text(d, c->root, "", "clientSecret", true);
    c->subscription = name_text(d, c->root, "", "subscription");
    c->scopes = document_strv(d, c->root, "", "scopes");
    login_config_parse(d, c->root, &c->login);
    c->token_seconds = document_number(d, c->root, "", "tokenSeconds", 3599, 0, SECONDS_MAX);
    c->api_version_max = document_text(d, c->root, "", "apiVersionMax", false);
    c->provision_seconds = document_number(d, c->root, "", "provisionSeconds", 0.3, 0, SECONDS_MAX);
    c->revoke_seconds = document_number(d, c->root, "", "revokeSeconds", 0.1, 0, SECONDS_MAX);
    c->retry_after_seconds = document_number(d, c->root, "", "retryAfterSeconds", 60, 0, SECONDS_MAX);
    c->valid_seconds = document_number(d, c->root, "", "validSeconds", 12 * 3600, 1, SECONDS_MAX);
    c->page_size = (size_t)document_number(d, c->root, "", "pageSize", 200, 1, 10000);
    c->next_link = document_text(d, c->root, "", "nextLink", false);
    if (c->next_link && !streq(c->next_link, "absent") && !streq(c->next_link, "null") &&
        !streq(c->next_link, "empty") && !streq(c->next_link, "loop"))
        document_refuse(d, "", "nextLink", "is \"%.80s\", absent, null, empty or loop is expected",
                        c->next_link);
    c->state_file = document_text(d, c->root, "", "stateFile", false);
    if (c->state_file && c->state_file[0] != '/')
        document_refuse(d, "", "stateFile", "is \"%.80s\", an absolute path is expected", c->state_file);
    backend_parse(d, c);
    scenario = document_object(d, c->root, "", "scenario");
    if (scenario && !d->error)
        (void)sim_config_scenario(c, scenario, "scenario", &c->scenario, &d->error);
    vaults = document_array(d, c->root, "", "vaults");
    if (d->error)
        return;
    c->vaults = calloc(vaults ? json_object_array_length(vaults) + 1 : 1, sizeof(*c->vaults));
    if (!c->vaults) {
        document_refuse(d, "", "vaults", "out of memory");
        return;
    }
    for (size_t n = 0; vaults && n < json_object_array_length(vaults) && !d->error; n++) {
        char where[DOCUMENT_PATH_MAX];

        c->vault_count = n + 1;
        vault_parse(d, c, json_object_array_get_idx(vaults, n), document_path(where, "", "vaults", n),
                    &c->vaults[n]);
    }
}

int sim_config_scenario(const SimConfig *c, json_object *o, const char *path, Scenario **ret,
                        char **ret_error)
{
    _cleanup_scenario_ Scenario *s = NULL;
    _cleanup_free_ char *error = NULL;
    int r;

    r = scenario_parse(o, path, &s, ret_error);
    if (r < 0)
        return r;
    r = c->backend->check(s->script, s->portal, &error);
    if (r < 0) {
        if (asprintf(ret_error, "%s%s%s", path, *path ? "." : "", error ? error : "not understood") < 0)
            *ret_error = NULL;
        return r;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

int sim_config_parse(json_object *root, SimConfig **ret, char **ret_error)
{
    _cleanup_sim_config_ SimConfig *c = calloc(1, sizeof(*c));
    Document d = {};

    if (!c)
        return -ENOMEM;
    c->root = json_object_get(root);
    root_parse(&d, c);
    if (d.error) {
        *ret_error = d.error;
        return -EINVAL;
    }
    *ret = TAKE_PTR(c);
    return 0;
}

int sim_config_load(const char *path, SimConfig **ret, char **ret_error)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *root = NULL;
    size_t size;
    int r;

    r = file_read(AT_FDCWD, path, CONFIG_MAX, &text, &size);
    if (r >= 0)
        r = json_parse(text, size, &root);
    if (r < 0) {
        if (asprintf(ret_error, "%s", r == -EBADMSG || r == -E2BIG ? "not a JSON document" : strerror(-r)) <
            0)
            *ret_error = NULL;
        return r;
    }
    return sim_config_parse(root, ret, ret_error);
}

static void item_done(Item *i)
{
    for (size_t n = 0; n < i->point_count; n++) {
        Point *p = &i->points[n];

        free(p->id);
        free(p->type);
        strv_free(p->disks);
        scenario_free(p->scenario);
    }
    free(i->points);
    free(i->vm);
    free(i->resource_group);
    free(i->os_type);
    free(i->vm_id);
    free(i->container);
    free(i->name);
    free(i->id);
}

SimConfig *sim_config_free(SimConfig *c)
{
    if (!c)
        return NULL;
    for (size_t n = 0; n < c->vault_count; n++) {
        Vault *v = &c->vaults[n];

        for (size_t i = 0; i < v->item_count; i++)
            item_done(&v->items[i]);
        free(v->items);
        free(v->resource_group);
        free(v->name);
        free(v->location);
        free(v->id);
    }
    free(c->vaults);
    strv_free(c->listen);
    strv_free(c->scopes);
    login_config_done(&c->login);
    free(c->control);
    free(c->certificate);
    free(c->key);
    free(c->public_url);
    free(c->tenant);
    free(c->client_id);
    free(c->client_secret);
    free(c->subscription);
    free(c->api_version_max);
    free(c->state_file);
    free(c->next_link);
    scenario_free(c->scenario);
    json_object_put(c->root);
    free(c);
    return NULL;
}

Vault *sim_config_vault(SimConfig *c, const char *subscription, const char *group, const char *name)
{
    if (strcasecmp(c->subscription, subscription) != 0)
        return NULL;
    for (size_t n = 0; n < c->vault_count; n++)
        if (strcasecmp(c->vaults[n].resource_group, group) == 0 && strcasecmp(c->vaults[n].name, name) == 0)
            return &c->vaults[n];
    return NULL;
}

Item *vault_item(Vault *v, const char *container, const char *item)
{
    for (size_t n = 0; n < v->item_count; n++)
        if (strcasecmp(v->items[n].container, container) == 0 && strcasecmp(v->items[n].name, item) == 0)
            return &v->items[n];
    return NULL;
}

Point *item_point(Item *i, const char *id)
{
    for (size_t n = 0; n < i->point_count; n++)
        if (streq_ptr(i->points[n].id, id))
            return &i->points[n];
    return NULL;
}

Point *sim_config_point(SimConfig *c, const char *id)
{
    Point *p;

    for (size_t v = 0; v < c->vault_count; v++)
        for (size_t i = 0; i < c->vaults[v].item_count; i++)
            if ((p = item_point(&c->vaults[v].items[i], id)))
                return p;
    return NULL;
}
