/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-point.h"

#include "utf8.h"

#include <ctype.h>
#include <strings.h>

#define NAME_MAX_BYTES 512 /* longest single piece; Azure's own names end at 260 */

static int refuse(Failure **ret_failure, const char *what, const char *problem)
{
    if (ret_failure)
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST, "%s: %s", what, problem);
    return -EINVAL;
}

/* Undoes %XX once. What comes out is judged afterwards, so that an escaped slash is no way around it. */
static int unescape(const char *what, const char *s, char **ret, Failure **ret_failure)
{
    _cleanup_free_ char *out = NULL;
    char *o;

    if (isempty(s))
        return refuse(ret_failure, what, "is empty");
    if (strlen(s) > AZURE_RESOURCE_ID_MAX)
        return refuse(ret_failure, what, "is longer than 2048 bytes");
    out = malloc(strlen(s) + 1);
    if (!out)
        return -ENOMEM;
    for (o = out; *s; s++) {
        if (*s == '%') {
            char hex[3] = {s[1], s[1] ? s[2] : '\0', '\0'};

            if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
                return refuse(ret_failure, what, "'%' must be followed by two hexadecimal digits");
            *o = (char)strtoul(hex, NULL, 16);
            if (*o == '/' || *o == '\0')
                return refuse(ret_failure, what, "contains an escaped slash or NUL");
            o++;
            s += 2;
        } else
            *o++ = *s;
    }
    *o = '\0';
    if (!utf8_valid(out))
        return refuse(ret_failure, what, "is no UTF-8");
    *ret = TAKE_PTR(out);
    return 0;
}

static int check_name(const char *what, const char *s, size_t size, Failure **ret_failure)
{
    size_t i;

    if (size == 0)
        return refuse(ret_failure, what, "has an empty piece");
    if (size > NAME_MAX_BYTES)
        return refuse(ret_failure, what, "has a piece longer than 512 bytes");
    if ((size == 1 && s[0] == '.') || (size == 2 && s[0] == '.' && s[1] == '.'))
        return refuse(ret_failure, what, "has a piece \".\" or \"..\"");
    for (i = 0; i < size; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return refuse(ret_failure, what, "contains a control character");
        if (strchr("?#/\\%<>\"", s[i]))
            return refuse(ret_failure, what, "contains one of ? # / \\ % < > \"");
    }
    return 0;
}

/* The pieces of a resource id, pointing into it. */
typedef struct Pieces {
    const char *at[24];
    size_t size[24];
    size_t n;
} Pieces;

static int cut(const char *what, const char *id, Pieces *ret, Failure **ret_failure)
{
    Pieces p = {};
    int r;

    if (*id != '/')
        return refuse(ret_failure, what, "is no resource id: it must begin with /subscriptions/");
    while (*id == '/') {
        id++;
        if (p.n == ELEMENTSOF(p.at))
            return refuse(ret_failure, what, "has too many pieces");
        p.at[p.n] = id;
        p.size[p.n] = strcspn(id, "/");
        r = check_name(what, id, p.size[p.n], ret_failure);
        if (r < 0)
            return r;
        id += p.size[p.n++];
    }
    *ret = p;
    return 0;
}

static bool piece_is(const Pieces *p, size_t i, const char *s)
{
    return i < p->n && p->size[i] == strlen(s) && strncasecmp(p->at[i], s, p->size[i]) == 0;
}

static int pieces_check_vault(const char *what, const Pieces *p, Failure **ret_failure)
{
    if (p->n < 8 || !piece_is(p, 0, "subscriptions") || !piece_is(p, 2, "resourceGroups") ||
        !piece_is(p, 4, "providers") || !piece_is(p, 5, "Microsoft.RecoveryServices") ||
        !piece_is(p, 6, "vaults"))
        return refuse(
            ret_failure, what,
            "expected /subscriptions/SUB/resourceGroups/RG/providers/Microsoft.RecoveryServices/vaults/"
            "VAULT...");
    return 0;
}

/* The last of the names that stand between semicolons. */
static char *short_name(const char *item)
{
    const char *p = strrchr(item, ';');

    return strdup(p && p[1] ? p + 1 : item);
}

static int check_id(const char *what, char *s, Pieces *ret, Failure **ret_failure)
{
    size_t n = strlen(s);

    if (n > 1 && s[n - 1] == '/')
        s[n - 1] = '\0';
    return cut(what, s, ret, ret_failure);
}

int azure_point_id_check(const char *s, Failure **ret_failure)
{
    if (!*s || strlen(s) > 128 ||
        s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")])
        return refuse(ret_failure, "recovery point", "expected its number, like 182457315790203");
    return 0;
}

static int point_finish(AzurePoint *p)
{
    p->vm_name = short_name(p->item);
    if (!p->resource_id && asprintf(&p->resource_id,
                                    "%s/backupFabrics/Azure/protectionContainers/%s/protectedItems/%s/"
                                    "recoveryPoints/%s",
                                    p->vault, p->container, p->item, p->recovery_point) < 0)
        p->resource_id = NULL;
    return p->vm_name && p->resource_id ? 0 : -ENOMEM;
}

#define EXPECTED_ITEM "expected VAULT/backupFabrics/Azure/protectionContainers/CONTAINER/protectedItems/ITEM"

/* Container and item behind the vault; ret_next is the piece behind them. */
static int cut_item(const char *what, const Pieces *pieces, size_t *ret_next, char **ret_container,
                    char **ret_item, Failure **ret_failure)
{
    size_t i = 8;

    if (piece_is(pieces, i, "backupFabrics")) {
        if (!piece_is(pieces, i + 1, "Azure"))
            return refuse(ret_failure, what, "expected backupFabrics/Azure, the only fabric of Azure VMs");
        i += 2;
    }
    if (pieces->n < i + 4 || !piece_is(pieces, i, "protectionContainers") ||
        !piece_is(pieces, i + 2, "protectedItems"))
        return refuse(ret_failure, what, EXPECTED_ITEM);
    *ret_container = strndup(pieces->at[i + 1], pieces->size[i + 1]);
    *ret_item = strndup(pieces->at[i + 3], pieces->size[i + 3]);
    *ret_next = i + 4;
    return *ret_container && *ret_item ? 0 : -ENOMEM;
}

int azure_item_id_cut(const char *resource_id, char **ret_vault, char **ret_container, char **ret_item,
                      Failure **ret_failure)
{
    static const char what[] = "protected item's resource id";
    _cleanup_free_ char *id = NULL, *vault = NULL, *container = NULL, *item = NULL;
    Pieces pieces;
    size_t next;
    int r;

    if ((r = unescape(what, resource_id, &id, ret_failure)) < 0 ||
        (r = check_id(what, id, &pieces, ret_failure)) < 0 ||
        (r = pieces_check_vault(what, &pieces, ret_failure)) < 0 ||
        (r = cut_item(what, &pieces, &next, &container, &item, ret_failure)) < 0)
        return r;
    if (pieces.n != next)
        return refuse(ret_failure, what, "goes on behind the item's name");
    vault = strndup(id, (size_t)(pieces.at[7] + pieces.size[7] - id));
    if (!vault)
        return -ENOMEM;
    *ret_vault = TAKE_PTR(vault);
    *ret_container = TAKE_PTR(container);
    *ret_item = TAKE_PTR(item);
    return 0;
}

int azure_vault_id_parse(const char *resource_id, char **ret_id, const char **ret_name, Failure **ret_failure)
{
    _cleanup_free_ char *id = NULL;
    Pieces pieces;
    int r;

    if ((r = unescape("vault", resource_id, &id, ret_failure)) < 0 ||
        (r = check_id("vault", id, &pieces, ret_failure)) < 0 ||
        (r = pieces_check_vault("vault", &pieces, ret_failure)) < 0)
        return r;
    if (pieces.n != 8)
        return refuse(ret_failure, "vault", "the resource id must end with the vault's name");
    *ret_name = pieces.at[7];
    *ret_id = TAKE_PTR(id);
    return 0;
}

int azure_point_parse(const char *resource_id, AzurePoint **ret, Failure **ret_failure)
{
    static const char what[] = "recovery point's resource id";
    _cleanup_(azure_point_freep) AzurePoint *p = calloc(1, sizeof(*p));
    Pieces pieces;
    size_t i;
    int r;

    if (!p)
        return -ENOMEM;
    r = unescape(what, resource_id, &p->resource_id, ret_failure);
    if (r < 0)
        return r;
    r = check_id(what, p->resource_id, &pieces, ret_failure);
    if (r < 0)
        return r;
    r = pieces_check_vault(what, &pieces, ret_failure);
    if (r < 0)
        return r;
    p->vault = strndup(p->resource_id, (size_t)(pieces.at[7] + pieces.size[7] - p->resource_id));
    if (!p->vault)
        return -ENOMEM;
    r = cut_item(what, &pieces, &i, &p->container, &p->item, ret_failure);
    if (r < 0)
        return r;
    if (pieces.n != i + 2 || !piece_is(&pieces, i, "recoveryPoints"))
        return refuse(ret_failure, what, EXPECTED_ITEM "/recoveryPoints/POINT");
    p->recovery_point = strndup(pieces.at[i + 1], pieces.size[i + 1]);
    if (!p->recovery_point)
        return -ENOMEM;
    r = azure_point_id_check(p->recovery_point, ret_failure);
    if (r < 0)
        return r;
    r = point_finish(p);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

static int take_name(const char *what, const char *s, char **ret, Failure **ret_failure)
{
    int r = unescape(what, s, ret, ret_failure);

    return r < 0 ? r : check_name(what, *ret, strlen(*ret), ret_failure);
}

int azure_point_make(const char *vault, const char *container, const char *item, const char *recovery_point,
                     AzurePoint **ret, Failure **ret_failure)
{
    _cleanup_(azure_point_freep) AzurePoint *p = calloc(1, sizeof(*p));
    const char *name;
    int r;

    if (!p)
        return -ENOMEM;
    r = azure_vault_id_parse(vault, &p->vault, &name, ret_failure);
    if (r < 0)
        return r;
    if ((r = take_name("container", container, &p->container, ret_failure)) < 0 ||
        (r = take_name("item", item, &p->item, ret_failure)) < 0 ||
        (r = take_name("recovery point", recovery_point, &p->recovery_point, ret_failure)) < 0 ||
        (r = azure_point_id_check(p->recovery_point, ret_failure)) < 0)
        return r;
    r = point_finish(p);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

int azure_vm_id_parse(const char *resource_id, AzureVmId *ret, Failure **ret_failure)
{
    static const char what[] = "virtual machine's resource id";
    _cleanup_(azure_vm_id_done) AzureVmId v = {};
    Pieces pieces;
    int r;

    r = unescape(what, resource_id, &v.id, ret_failure);
    if (r < 0)
        return r;
    r = check_id(what, v.id, &pieces, ret_failure);
    if (r < 0)
        return r;
    /* Microsoft.Compute or Microsoft.ClassicCompute */
    if (pieces.n != 8 || !piece_is(&pieces, 0, "subscriptions") || !piece_is(&pieces, 2, "resourceGroups") ||
        !piece_is(&pieces, 4, "providers") || !piece_is(&pieces, 6, "virtualMachines"))
        return refuse(
            ret_failure, what,
            "expected /subscriptions/SUB/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/"
            "NAME");
    v.subscription = strndup(pieces.at[1], pieces.size[1]);
    v.resource_group = strndup(pieces.at[3], pieces.size[3]);
    v.name = strndup(pieces.at[7], pieces.size[7]);
    if (!v.subscription || !v.resource_group || !v.name)
        return -ENOMEM;
    *ret = v;
    v = (AzureVmId){};
    return 0;
}

void azure_vm_id_done(AzureVmId *v)
{
    free(v->id);
    free(v->subscription);
    free(v->resource_group);
    free(v->name);
    *v = (AzureVmId){};
}

int azure_point_set_virtual_machine(AzurePoint *p, const char *resource_id, Failure **ret_failure)
{
    _cleanup_(azure_vm_id_done) AzureVmId v = {};
    int r;

    r = azure_vm_id_parse(resource_id, &v, ret_failure);
    if (r < 0)
        return r;
    free_and_replace(&p->virtual_machine_id, TAKE_PTR(v.id));
    free_and_replace(&p->vm_name, TAKE_PTR(v.name));
    return 0;
}

int azure_point_set_storage_account(AzurePoint *p, const char *resource_id, Failure **ret_failure)
{
    static const char what[] = "storage account's resource id";
    _cleanup_free_ char *id = NULL;
    Pieces pieces;
    int r;

    if ((r = unescape(what, resource_id, &id, ret_failure)) < 0 ||
        (r = check_id(what, id, &pieces, ret_failure)) < 0)
        return r;
    /* Microsoft.Storage or Microsoft.ClassicStorage */
    if (pieces.n != 8 || !piece_is(&pieces, 0, "subscriptions") || !piece_is(&pieces, 2, "resourceGroups") ||
        !piece_is(&pieces, 4, "providers") || !piece_is(&pieces, 6, "storageAccounts"))
        return refuse(
            ret_failure, what,
            "expected /subscriptions/SUB/resourceGroups/RG/providers/Microsoft.Storage/storageAccounts/NAME");
    free_and_replace(&p->storage_account_id, TAKE_PTR(id));
    return 0;
}

bool azure_point_same(const AzurePoint *a, const AzurePoint *b)
{
    return utf8_equal_nocase(a->vault, b->vault) && utf8_equal_nocase(a->container, b->container) &&
           utf8_equal_nocase(a->item, b->item) && strcasecmp(a->recovery_point, b->recovery_point) == 0;
}

AzurePoint *azure_point_copy(const AzurePoint *p)
{
    _cleanup_(azure_point_freep) AzurePoint *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->judged = p->judged;
    c->session_active = p->session_active;
    c->resource_id = strdup(p->resource_id);
    c->vault = strdup(p->vault);
    c->container = strdup(p->container);
    c->item = strdup(p->item);
    c->recovery_point = strdup(p->recovery_point);
    c->vm_name = strdup(p->vm_name);
    if (!c->resource_id || !c->vault || !c->container || !c->item || !c->recovery_point || !c->vm_name ||
        str_copy(p->virtual_machine_id, &c->virtual_machine_id) < 0 ||
        str_copy(p->storage_account_id, &c->storage_account_id) < 0)
        return NULL;
    return TAKE_PTR(c);
}

AzurePoint *azure_point_free(AzurePoint *p)
{
    if (!p)
        return NULL;
    free(p->resource_id);
    free(p->vault);
    free(p->container);
    free(p->item);
    free(p->recovery_point);
    free(p->vm_name);
    free(p->virtual_machine_id);
    free(p->storage_account_id);
    free(p);
    return NULL;
}

/* Escapes all that a path must not contain as it is; the slashes stay. */
char *azure_path_escape(const char *s)
{
    char *out = malloc(3 * strlen(s) + 1), *o = out;

    if (!out)
        return NULL;
    for (; *s; s++)
        if (isalnum((unsigned char)*s) || strchr("/-._~", *s))
            *o++ = *s;
        else
            o += sprintf(o, "%%%02X", (unsigned char)*s);
    *o = '\0';
    return out;
}

char *azure_point_path(const AzurePoint *p, bool item_only)
{
    _cleanup_free_ char *path = NULL;

    /* Always with the fabric: some ids are shown without it, requests need it. */
    if (asprintf(&path, "%s/backupFabrics/Azure/protectionContainers/%s/protectedItems/%s%s%s", p->vault,
                 p->container, p->item, item_only ? "" : "/recoveryPoints/",
                 item_only ? "" : p->recovery_point) < 0) {
        path = NULL;
        return NULL;
    }
    return azure_path_escape(path);
}

char *azure_point_vault_path(const AzurePoint *p)
{
    return azure_path_escape(p->vault);
}
