/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-points.h"

#include "timeutil.h"

#include <strings.h>

#define ID_MAX 128
#define TEXT_MAX 128

static const char *const tier_table[AZURE_TIER_MAX] = {
    [AZURE_TIER_INSTANT] = "InstantRP",
    [AZURE_TIER_HARDENED] = "HardenedRP",
    [AZURE_TIER_ARCHIVED] = "ArchivedRP",
};

static const char *const status_table[AZURE_TIER_STATUS_MAX] = {
    [AZURE_TIER_STATUS_NONE] = "None",
    [AZURE_TIER_STATUS_VALID] = "Valid",
    [AZURE_TIER_STATUS_DISABLED] = "Disabled",
    [AZURE_TIER_STATUS_DELETED] = "Deleted",
    [AZURE_TIER_STATUS_REHYDRATED] = "Rehydrated",
};

const char *azure_tier_to_string(AzureTier t)
{
    return t >= 0 && t < AZURE_TIER_MAX ? tier_table[t] : NULL;
}

const char *azure_tier_status_to_string(AzureTierStatus s)
{
    return s >= 0 && s < AZURE_TIER_STATUS_MAX ? status_table[s] : NULL;
}

/* A member of an enumeration: its word in any case, its number, or its number as a word. first is the number
 * of table[0]. -EINVAL: none of them. */
static int read_enum(json_object *o, const char *const *table, int n, int first)
{
    int64_t number;
    int i;

    if (json_object_is_type(o, json_type_int))
        number = json_object_get_int64(o);
    else if (json_object_is_type(o, json_type_string)) {
        const char *s = json_object_get_string(o);

        for (i = 0; i < n; i++)
            if (strcasecmp(s, table[i]) == 0)
                return i;
        if (strlen(s) != 1 || *s < '0' || *s > '9')
            return -EINVAL;
        number = *s - '0';
    } else
        return -EINVAL;
    return number < first || number >= first + n ? -EINVAL : (int)number - first;
}

/* On the wire they are numbers in the order of the enumerations (Invalid, InstantRP, HardenedRP, ArchivedRP;
 * Invalid, Valid, Disabled, Deleted, Rehydrated), in the documentation words. */
static void read_tiers(json_object *details, AzurePointInfo *i)
{
    size_t n;

    if (!json_object_is_type(details, json_type_array) || json_object_array_length(details) == 0)
        return;
    i->tiers_known = true;
    for (n = 0; n < json_object_array_length(details); n++) {
        json_object *o = json_object_array_get_idx(details, n);
        int tier = read_enum(json_get_nocase(o, "type"), tier_table, AZURE_TIER_MAX, 1);
        int status = read_enum(json_get_nocase(o, "status"), status_table, AZURE_TIER_STATUS_MAX, 0);

        if (tier < 0 || status < 0)
            i->tiers_known = false; /* something new: not for this program to refuse it */
        else if (i->tiers[tier] == AZURE_TIER_STATUS_NONE || status == AZURE_TIER_STATUS_VALID)
            i->tiers[tier] = status;
    }
}

static int read_text(json_object *properties, const char *key, char **ret)
{
    json_object *o = json_get_nocase(properties, key);
    const char *s;

    if (!json_object_is_type(o, json_type_string))
        return 0;
    s = json_object_get_string(o);
    if (!*s)
        return 0;
    *ret = strndup(s, TEXT_MAX);
    return *ret ? 0 : -ENOMEM;
}

/* A boolean, also as the word that some clients of the service write. */
static bool read_flag(json_object *properties, const char *key)
{
    json_object *o = json_get_nocase(properties, key);

    return json_object_is_type(o, json_type_string) ? strcasecmp(json_object_get_string(o), "true") == 0
                                                    : json_object_get_boolean(o);
}

/* The last piece of the resource's id, for an answer without a name. */
static const char *id_of(json_object *resource)
{
    json_object *name = json_get_nocase(resource, "name"), *id = json_get_nocase(resource, "id");
    const char *s, *slash;

    if (json_object_is_type(name, json_type_string) && *json_object_get_string(name))
        return json_object_get_string(name);
    if (!json_object_is_type(id, json_type_string))
        return "";
    s = json_object_get_string(id);
    slash = strrchr(s, '/');
    return slash ? slash + 1 : s;
}

int azure_point_read_properties(json_object *resource, AzurePointInfo *ret, const char **ret_problem)
{
    _cleanup_azure_point_info_ AzurePointInfo i = {};
    const char *id, *time, *problem = NULL;
    json_object *properties, *o;

    properties = json_get_nocase(resource, "properties");
    id = id_of(resource);
    if (!json_object_is_type(properties, json_type_object))
        problem = "a recovery point has no properties";
    else if (!*id || strlen(id) > ID_MAX ||
             id[strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")])
        problem = "a recovery point has no name that can be asked for";
    if (problem) {
        if (ret_problem)
            *ret_problem = problem;
        return -EBADMSG;
    }
    o = json_get_nocase(properties, "recoveryPointTime");
    time = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
    if (timestamp_parse(time, &i.time_usec) < 0)
        i.time_usec = 0;
    i.encrypted = read_flag(properties, "isSourceVMEncrypted");
    i.session_active = read_flag(properties, "isInstantIlrSessionActive");
    read_tiers(json_get_nocase(properties, "recoveryPointTierDetails"), &i);
    i.id = strdup(id);
    if (!i.id || read_text(properties, "objectType", &i.object_type) < 0 ||
        read_text(properties, "recoveryPointType", &i.type) < 0 ||
        read_text(properties, "osType", &i.os_type) < 0)
        return -ENOMEM;
    *ret = i;
    i = (AzurePointInfo){};
    return 0;
}

void azure_point_info_done(AzurePointInfo *i)
{
    free(i->id);
    free(i->object_type);
    free(i->type);
    free(i->os_type);
    *i = (AzurePointInfo){};
}

int azure_point_info_copy(const AzurePointInfo *i, AzurePointInfo *ret)
{
    AzurePointInfo c = *i;

    c.id = c.object_type = c.type = c.os_type = NULL; /* not the other's */
    if (str_copy(i->id, &c.id) < 0 || str_copy(i->object_type, &c.object_type) < 0 ||
        str_copy(i->type, &c.type) < 0 || str_copy(i->os_type, &c.os_type) < 0) {
        azure_point_info_done(&c);
        return -ENOMEM;
    }
    azure_point_info_done(ret);
    *ret = c;
    return 0;
}

const char *azure_point_unusable(const AzurePointInfo *i)
{
    const AzureTierStatus *t = i->tiers;

    if (i->encrypted)
        return "is of an encrypted virtual machine (Azure Disk Encryption), for which Azure offers no "
               "recovery "
               "of files";
    if (!i->tiers_known || t[AZURE_TIER_INSTANT] == AZURE_TIER_STATUS_VALID ||
        t[AZURE_TIER_HARDENED] == AZURE_TIER_STATUS_VALID)
        return NULL;
    for (int n = 0; n < AZURE_TIER_MAX; n++)
        if (t[n] == AZURE_TIER_STATUS_REHYDRATED)
            return NULL;
    if (t[AZURE_TIER_ARCHIVED] == AZURE_TIER_STATUS_VALID)
        return "is in the archive tier only, it must be rehydrated first";
    return "is kept in no tier any more from which it could be read";
}

int azure_point_info_to_json(const AzurePointInfo *i, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *tiers = json_object_new_array();
    const char *reason = azure_point_unusable(i);
    int r, n;

    if (!o || !tiers)
        return -ENOMEM;
    for (n = 0; n < AZURE_TIER_MAX; n++) {
        json_object *t;

        if (i->tiers[n] == AZURE_TIER_STATUS_NONE)
            continue;
        t = json_object_new_object();
        if ((r = json_append(tiers, t)) < 0 ||
            (r = json_add_string(t, "tier", azure_tier_to_string(n))) < 0 ||
            (r = json_add_string(t, "status", azure_tier_status_to_string(i->tiers[n]))) < 0)
            return r;
    }
    if ((r = json_add_string(o, "id", i->id)) < 0 ||
        (i->time_usec && (r = json_add_int64(o, "timeUsec", (int64_t)i->time_usec)) < 0) ||
        (r = json_add_string(o, "type", i->type)) < 0 || (r = json_add(o, "tiers", TAKE_PTR(tiers))) < 0 ||
        (r = json_add_bool(o, "activeSession", i->session_active)) < 0 ||
        (r = json_add_bool(o, "encrypted", i->encrypted)) < 0 ||
        (r = json_add_string(o, "osType", i->os_type)) < 0 || (r = json_add_bool(o, "usable", !reason)) < 0 ||
        (r = json_add_string(o, "reason", reason)) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}
