/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One entry of a list, read as a protected item and as a recovery point: what is accepted makes a path that
 * nothing can leave, and a choice that says why. */

#include "azure-choice.h"
#include "azure-items.h"

#define VAULT "/subscriptions/1/resourceGroups/r/providers/Microsoft.RecoveryServices/vaults/v"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_item(json_object *o)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL;
    _cleanup_free_ char *problem = NULL, *path = NULL, *text = NULL;
    _cleanup_azure_item_ AzureItem i = {};
    _cleanup_json_ json_object *json = NULL;

    if (azure_item_read(o, VAULT, &i, &problem) < 0)
        return;
    if (azure_point_make(i.vault, i.container, i.item, "1", &p, NULL) < 0 ||
        !azure_item_matches(&i, i.vm_name, i.resource_group) || azure_item_to_json(&i, &json) < 0)
        abort();
    text = azure_item_describe(&i);
    path = azure_point_path(p, false);
    if (!text || !path || strpbrk(path, "?#;\\ \r\n") || strstr(path, "/../") || strstr(path, "//"))
        abort();
}

static void look_at_point(json_object *o)
{
    _cleanup_azure_point_info_ AzurePointInfo i = {};
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_json_ json_object *json = NULL;
    AzureChoice c = {.rule = AZURE_RULE_LATEST};
    int r;

    if (azure_point_read_properties(o, &i, NULL) < 0)
        return;
    if (azure_choice_add(&c, &i) < 0 || azure_point_info_to_json(&i, &json) < 0)
        abort();
    r = azure_choice_finish(&c, "vm", &failure);
    if ((r < 0) != !!failure || (r < 0) != !!azure_point_unusable(&i))
        abort();
    azure_choice_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_object *o = NULL;

    if (json_parse((const char *)data, size, &o) < 0)
        return 0;
    look_at_item(o);
    look_at_point(o);
    return 0;
}
