/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-search.h"

#include "azure-find.h"
#include "utf8.h"

int azure_matches_add(AzureMatches *m, AzureItem *item, const char *vm, const char *resource_group)
{
    const unsigned most = 3;
    size_t length = strlen(vm);
    char *s;

    m->n_seen++;
    if (azure_item_matches(item, vm, resource_group)) {
        if (m->n_found < AZURE_MATCHES_MAX) {
            s = azure_item_describe(item);
            if (!s || strv_extend(&m->found, s) < 0) {
                free(s);
                return -ENOMEM;
            }
            free(s);
        }
        if (m->n_found++ == 0) {
            m->item = *item;
            *item = (AzureItem){};
        }
        return 0;
    }
    if (*vm == '/' || m->n_found || strv_length(m->near) == AZURE_NEAR_MAX ||
        strv_contains(m->near, item->vm_name))
        return 0;
    /* Of short names nearly all are alike. */
    if ((length >= 3 && strcasestr(item->vm_name, vm)) || utf8_equal_nocase(item->vm_name, vm) ||
        utf8_distance(item->vm_name, vm, most) <= MIN(most - 1, length / 2))
        return strv_extend(&m->near, item->vm_name);
    return 0;
}

/* "vault1, vault2 and 3 more" */
static char *vault_names(char *const *vaults)
{
    _cleanup_strv_free_ char **names = NULL;
    char *const *v;
    size_t n = 0;

    STRV_FOREACH (v, vaults) {
        const char *slash = strrchr(*v, '/');

        if (n++ < 10 && strv_extend(&names, slash ? slash + 1 : *v) < 0)
            return NULL;
    }
    if (n > 10 && strv_extendf(&names, "and %zu more", n - 10) < 0)
        return NULL;
    return strv_join(names, ", ");
}

static Failure *not_found(const AzureMatches *m, const char *vm, const char *resource_group,
                          char *const *vaults)
{
    _cleanup_free_ char *names = vault_names(vaults), *near = NULL;
    Failure *f;

    f = failure_new(FAILURE_ITEM_NOT_FOUND,
                    "No protected virtual machine is called %s%s%s in %s (%zu machines looked at)", vm,
                    resource_group ? " in resource group " : "", resource_group ? resource_group : "",
                    names ? names : "the vaults", m->n_seen);
    if (!f || !m->near)
        return f;
    near = strv_join(m->near, ", ");
    if (!near || asprintf(&f->hint, "there is: %s; ilrctl items shows all", near) < 0)
        f->hint = NULL;
    return f;
}

int azure_matches_take(AzureMatches *m, const char *vm, const char *resource_group, char *const *vaults,
                       AzureItem *ret, Failure **ret_failure)
{
    _cleanup_free_ char *all = NULL;

    if (m->n_found == 0) {
        *ret_failure = not_found(m, vm, resource_group, vaults);
        return -ENOENT;
    }
    if (m->n_found > 1) {
        all = strv_join(m->found, "; ");
        *ret_failure =
            all ? failure_new(FAILURE_AMBIGUOUS, "%zu protected virtual machines are called %s: %s%s",
                              m->n_found, vm, all, m->n_found > AZURE_MATCHES_MAX ? "; ..." : "")
                : NULL;
        return -EINVAL;
    }
    *ret = m->item;
    m->item = (AzureItem){};
    return 0;
}

void azure_matches_done(AzureMatches *m)
{
    azure_item_done(&m->item);
    m->found = strv_free(m->found);
    m->near = strv_free(m->near);
}

int azure_vaults_choose(char *const *configured, const char *wanted, char ***ret, Failure **ret_failure)
{
    _cleanup_strv_free_ char **chosen = NULL;
    _cleanup_free_ char *names = NULL;
    char *const *v;
    int r;

    if (wanted && *wanted == '/') {
        _cleanup_free_ char *id = NULL;
        const char *name;

        r = azure_vault_id_parse(wanted, &id, &name, ret_failure);
        if (r < 0)
            return r;
        if (strv_extend(&chosen, id) < 0)
            return -ENOMEM;
        *ret = TAKE_PTR(chosen);
        return 0;
    }
    STRV_FOREACH (v, configured) {
        _cleanup_free_ char *id = NULL;
        _cleanup_failure_ Failure *problem = NULL;
        const char *name;

        r = azure_vault_id_parse(*v, &id, &name, &problem);
        if (r == -EINVAL) {
            *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "Vault=%s: %s", *v,
                                       problem && problem->message ? problem->message : "no vault");
            return r;
        }
        if (r < 0)
            return r;
        if ((!wanted || utf8_equal_nocase(name, wanted)) && strv_extend(&chosen, id) < 0)
            return -ENOMEM;
    }
    if (wanted && !chosen) {
        names = vault_names(configured);
        *ret_failure =
            failure_new(FAILURE_INVALID_REQUEST,
                        "vault is \"%.128s\": expected a resource id, or the name of one of Vault= in "
                        "ilrd.conf (%s)",
                        wanted, isempty(names) ? "none" : names);
        return -EINVAL;
    }
    *ret = TAKE_PTR(chosen);
    return 0;
}
