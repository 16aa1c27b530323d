/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-resource.h"

#include "utf8.h"

static int refuse(Failure **ret_failure, const char *what, const char *value, const char *expected)
{
    if (ret_failure)
        *ret_failure =
            failure_new(FAILURE_INVALID_REQUEST, "%s is \"%.64s\": expected %s", what, value, expected);
    return -EINVAL;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

static int check_tags(json_object *tags, Failure **ret_failure)
{
    if (!json_object_is_type(tags, json_type_object) || json_object_object_length(tags) > AZURE_TAGS_MAX)
        return refuse(ret_failure, "tags",
                      json_object_is_type(tags, json_type_object) ? "{...}" : "no object",
                      "an object of at most 50 names and values");
    json_object_object_foreach(tags, name, value)
    {
        if (!*name || strlen(name) > AZURE_TAG_NAME_MAX || strpbrk(name, "<>%&\\?/") || has_control(name) ||
            !utf8_valid(name))
            return refuse(ret_failure, "The name of a tag", name,
                          "at most 512 bytes of text without <>%&\\?/ and control characters");
        if (!json_object_is_type(value, json_type_string) ||
            json_object_get_string_len(value) > AZURE_TAG_VALUE_MAX ||
            strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value) ||
            has_control(json_object_get_string(value)) || !utf8_valid(json_object_get_string(value)))
            return refuse(ret_failure, "The value of a tag", json_text(value),
                          "at most 256 bytes of text without control characters");
    }
    return 0;
}

int azure_resource_new(const char *etag, const char *location, json_object *tags, AzureResource **ret,
                       Failure **ret_failure)
{
    _cleanup_(azure_resource_freep) AzureResource *r = calloc(1, sizeof(*r));
    const char *p;
    int k;

    if (!r)
        return -ENOMEM;
    for (p = etag; p && *p; p++)
        if (*p < ' ' || *p > '~')
            break;
    if (etag && (!*etag || *p || strlen(etag) > AZURE_ETAG_MAX))
        return refuse(ret_failure, "eTag", etag, "at most 256 printable ASCII characters");
    if (location &&
        (!*location || strlen(location) > AZURE_LOCATION_MAX ||
         location[strspn(location, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ")]))
        return refuse(ret_failure, "location", location, "the name of a region, like westeurope");
    if (tags && (k = check_tags(tags, ret_failure)) < 0)
        return k;
    r->tags = json_object_get(tags);
    if (str_copy(etag, &r->etag) < 0 || str_copy(location, &r->location) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(r);
    return 0;
}

AzureResource *azure_resource_copy(const AzureResource *r)
{
    AzureResource *copy = NULL;

    return azure_resource_new(r->etag, r->location, r->tags, &copy, NULL) < 0 ? NULL : copy;
}

AzureResource *azure_resource_free(AzureResource *r)
{
    if (!r)
        return NULL;
    free(r->etag);
    free(r->location);
    json_object_put(r->tags);
    free(r);
    return NULL;
}

int azure_resource_body(const AzureResource *r, json_object *properties, json_object **ret)
{
    _cleanup_json_ json_object *p = properties, *body = json_object_new_object();

    if (!body || !p)
        return -ENOMEM;
    if (r &&
        (json_add_string(body, "eTag", r->etag) < 0 || json_add_string(body, "location", r->location) < 0 ||
         (r->tags && json_add(body, "tags", json_object_get(r->tags)) < 0)))
        return -ENOMEM;
    if (json_add(body, "properties", TAKE_PTR(p)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(body);
    return 0;
}
