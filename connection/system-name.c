/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "system-name.h"

#include "files.h"
#include "strv.h"

#include <fcntl.h>

#define OS_RELEASE_MAX (64 * KIB)

static const struct {
    const char *id, *name;
} families[] = {
    {"ubuntu", "Ubuntu"},
    {"debian", "Debian"},
    {"centos", "CentOS"},
    {"rhel", "RHEL"},
    {"rocky", "RHEL"},
    {"almalinux", "RHEL"},
    {"fedora", "RHEL"},
    {"ol", "Oracle"},
    {"sles", "SLES"},
    {"sled", "SLES"},
    {"sle_hpc", "SLES"},
    {"sles_sap", "SLES"},
    {"opensuse", "OpenSUSE"},
    {"opensuse-leap", "OpenSUSE"},
    {"opensuse-tumbleweed", "OpenSUSE"},
    {"suse", "SLES"},
};

static const char *family_find(const char *id)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(families); i++)
        if (streq(families[i].id, id))
            return families[i].name;
    return NULL;
}

/* KEY=value, quoted or not, without the shell's finer points: none of these keys needs them. */
static bool field_read(const char *text, const char *key, char *buf, size_t size)
{
    size_t n = strlen(key), length;

    for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL) {
        const char *value = text + n;

        if (strncmp(text, key, n) != 0 || *value != '=')
            continue;
        value++;
        if (*value == '"' || *value == '\'')
            value++;
        length = strcspn(value, "\"'\r\n");
        if (length == 0 || length >= size)
            return false;
        memcpy(buf, value, length);
        buf[length] = '\0';
        return true;
    }
    return false;
}

void system_name_parse(const char *text, SystemName *ret)
{
    _cleanup_strv_free_ char **like = NULL;
    const char *name = NULL;
    char buf[256], **s;
    size_t n;

    *ret = (SystemName){.name = "Debian", .version = "12"};
    if (field_read(text, "ID", buf, sizeof(buf)))
        name = family_find(buf);
    if (!name && field_read(text, "ID_LIKE", buf, sizeof(buf)) && strv_split(buf, " ", &like) >= 0)
        STRV_FOREACH (s, like)
            if (!name)
                name = family_find(*s);
    if (!name)
        return;
    snprintf(ret->name, sizeof(ret->name), "%s", name);
    if (!field_read(text, "VERSION_ID", buf, sizeof(buf)))
        return;
    n = strspn(buf, "0123456789");
    if (n > 0 && buf[n] == '.' && strspn(buf + n + 1, "0123456789") > 0)
        n += 1 + strspn(buf + n + 1, "0123456789");
    if (n > 0 && n < sizeof(ret->version)) {
        memcpy(ret->version, buf, n);
        ret->version[n] = '\0';
    }
}

void system_name_read(SystemName *ret)
{
    _cleanup_free_ char *text = NULL;
    size_t size;

    if (file_read(AT_FDCWD, "/etc/os-release", OS_RELEASE_MAX, &text, &size) < 0 &&
        file_read(AT_FDCWD, "/usr/lib/os-release", OS_RELEASE_MAX, &text, &size) < 0)
        text = NULL;
    system_name_parse(text ? text : "", ret);
}
