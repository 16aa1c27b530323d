/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "paths.h"

#include "validate.h"

Paths paths = {
    .private_dir = "/run/ilr-private",
    .connect_dir = "/run/ilr-connect",
    .mounts_dir = "/run/ilr",
    .unit_dir = "/run/systemd/system",
    .sysfs = "/sys",
    .proc = "/proc",
    .dev = "/dev",
    .etc = "/etc",
    .var_iscsi = "/var/lib/iscsi",
};

static char *path_below(const char *root, const char *id, const char *rest)
{
    char *s;

    if (!session_id_valid(id))
        return NULL;
    return asprintf(&s, "%s/%s%s%s", root, id, rest ? "/" : "", rest ? rest : "") < 0 ? NULL : s;
}

char *private_path(const char *id, const char *rest)
{
    return path_below(paths.private_dir, id, rest);
}

char *connect_path(const char *id, const char *rest)
{
    return path_below(paths.connect_dir, id, rest);
}

char *mounts_path(const char *id, const char *rest)
{
    return path_below(paths.mounts_dir, id, rest);
}
