/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-items.h"

#include "timeutil.h"
#include "utf8.h"

#define TEXT_MAX 512 /* bytes */

static const char *text(json_object *properties, const char *key)
{
    json_object *o = json_get_nocase(properties, key);
    const char *s = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : NULL;

    return isempty(s) || strlen(s) > TEXT_MAX ? NULL : s;
}

/* The piece behind the n-th semicolon from the end; NULL: there are not so many. */
static char *piece_from_end(const char *name, int n)
{
    const char *end = name + strlen(name), *p = end;

    while (p > name)
        if (*--p == ';') {
            if (n-- == 0)
                return strndup(p + 1, (size_t)(end - p - 1));
            end = p;
        }
    return n == 0 ? strndup(name, (size_t)(end - name)) : NULL;
}

/* The names that are not said otherwise: "VM;iaasvmcontainerv2;GROUP;NAME", of a classic machine
 * "VM;iaasvmcontainer;SERVICE;NAME". */
static int fill_names(AzureItem *i, const char *friendly, const char *container)
{
    if (str_copy(friendly, &i->vm_name) < 0)
        return -ENOMEM;
    if (!i->vm_name)
        i->vm_name = piece_from_end(i->item, 0);
    i->other_name = piece_from_end(container ? container : i->container, 0);
    if (!i->resource_group)
        i->resource_group = piece_from_end(i->container, 1);
    return i->vm_name && i->other_name ? 0 : -ENOMEM;
}

int azure_item_read(json_object *resource, const char *vault, AzureItem *ret, char **ret_problem)
{
    _cleanup_(azure_vm_id_done) AzureVmId vm = {};
    _cleanup_azure_item_ AzureItem i = {};
    _cleanup_failure_ Failure *f = NULL;
    json_object *properties, *o;
    const char *s;
    int r;

    o = json_get_nocase(resource, "id");
    properties = json_get_nocase(resource, "properties");
    s = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
    r = azure_item_id_cut(s, &i.vault, &i.container, &i.item, &f);
    if (r >= 0 && !utf8_equal_nocase(i.vault, vault)) {
        f = failure_new(FAILURE_AZURE_ANSWER_INVALID, "the item's id is of another vault");
        r = -EINVAL;
    }
    if (r == -EINVAL) {
        if (ret_problem)
            *ret_problem = f ? TAKE_PTR(f->message) : NULL;
        return -EBADMSG;
    }
    if (r < 0)
        return r;
    s = text(properties, "virtualMachineId");
    if (!s)
        s = text(properties, "sourceResourceId");
    if (s && azure_vm_id_parse(s, &vm, NULL) >= 0) {
        i.virtual_machine_id = TAKE_PTR(vm.id);
        i.resource_group = TAKE_PTR(vm.resource_group);
    }
    s = text(properties, "protectedItemType");
    i.classic = (s && strcasestr(s, "ClassicCompute")) ||
                (i.virtual_machine_id && strcasestr(i.virtual_machine_id, "/Microsoft.ClassicCompute/"));
    s = text(properties, "lastRecoveryPoint");
    if (!s || timestamp_parse(s, &i.last_point_usec) < 0)
        i.last_point_usec = 0;
    if (str_copy(text(properties, "protectionState"), &i.state) < 0 ||
        str_copy(text(properties, "lastBackupStatus"), &i.last_backup_status) < 0 ||
        fill_names(&i, text(properties, "friendlyName"), text(properties, "containerName")) < 0)
        return -ENOMEM;
    *ret = i;
    i = (AzureItem){};
    return 0;
}

int azure_item_make(const char *vault, const char *container, const char *item, const AzureVmId *vm,
                    AzureItem *ret, Failure **ret_failure)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL;
    _cleanup_azure_item_ AzureItem i = {};
    int r;

    /* It judges the names; the point itself is of no matter. */
    r = azure_point_make(vault, container, item, "0", &p, ret_failure);
    if (r < 0)
        return r;
    i.vault = TAKE_PTR(p->vault);
    i.container = TAKE_PTR(p->container);
    i.item = TAKE_PTR(p->item);
    if (vm &&
        (str_copy(vm->id, &i.virtual_machine_id) < 0 || str_copy(vm->resource_group, &i.resource_group) < 0))
        return -ENOMEM;
    i.classic = i.virtual_machine_id && strcasestr(i.virtual_machine_id, "/Microsoft.ClassicCompute/");
    if (fill_names(&i, vm ? vm->name : NULL, NULL) < 0)
        return -ENOMEM;
    *ret = i;
    i = (AzureItem){};
    return 0;
}

void azure_item_done(AzureItem *i)
{
    free(i->vault);
    free(i->container);
    free(i->item);
    free(i->vm_name);
    free(i->other_name);
    free(i->resource_group);
    free(i->virtual_machine_id);
    free(i->state);
    free(i->last_backup_status);
    *i = (AzureItem){};
}

bool azure_item_matches(const AzureItem *i, const char *vm, const char *resource_group)
{
    if (resource_group && (!i->resource_group || !utf8_equal_nocase(i->resource_group, resource_group)))
        return false;
    if (!vm)
        return true;
    if (*vm == '/')
        return i->virtual_machine_id && utf8_equal_nocase(i->virtual_machine_id, vm);
    return utf8_equal_nocase(i->vm_name, vm) || utf8_equal_nocase(i->other_name, vm);
}

char *azure_item_describe(const AzureItem *i)
{
    const char *vault = strrchr(i->vault, '/');
    char *s;

    if (asprintf(&s, "%s%s%s%s in vault %s%s", i->vm_name, i->resource_group ? " (resource group " : "",
                 i->resource_group ? i->resource_group : "", i->resource_group ? ")" : "",
                 vault ? vault + 1 : i->vault, i->classic ? ", classic" : "") < 0)
        return NULL;
    return s;
}

int azure_item_to_json(const AzureItem *i, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    int r;

    if (!o)
        return -ENOMEM;
    if ((r = json_add_string(o, "vault", i->vault)) < 0 ||
        (r = json_add_string(o, "container", i->container)) < 0 ||
        (r = json_add_string(o, "item", i->item)) < 0 || (r = json_add_string(o, "vm", i->vm_name)) < 0 ||
        (r = json_add_string(o, "resourceGroup", i->resource_group)) < 0 ||
        (r = json_add_string(o, "virtualMachineId", i->virtual_machine_id)) < 0 ||
        (r = json_add_bool(o, "classic", i->classic)) < 0 ||
        (r = json_add_string(o, "state", i->state)) < 0 ||
        (r = json_add_string(o, "lastBackupStatus", i->last_backup_status)) < 0 ||
        (i->last_point_usec &&
         (r = json_add_int64(o, "lastRecoveryPointUsec", (int64_t)i->last_point_usec)) < 0))
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}
