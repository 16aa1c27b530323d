/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "helper-host.h"

#include "paths.h"

static char private_dir[64], connect_dir[64], mounts_dir[64], unit_dir[64], sysfs[64], dev[64], etc[64];

int host_make(void **state)
{
    const struct {
        const char **path;
        const char *name;
        char *buf;
    } places[] = {
        {&paths.private_dir, "private", private_dir},
        {&paths.connect_dir, "connect", connect_dir},
        {&paths.mounts_dir, "mounts", mounts_dir},
        {&paths.unit_dir, "unit", unit_dir},
        {&paths.sysfs, "sys", sysfs},
        {&paths.dev, "dev", dev},
        {&paths.etc, "etc", etc},
    };
    size_t i;

    if (scratch_make(state) < 0)
        return -1;
    for (i = 0; i < ELEMENTSOF(places); i++) {
        snprintf(places[i].buf, sizeof(sysfs), "%s/%s", scratch, places[i].name);
        *places[i].path = places[i].buf;
    }
    scratch_dir("private/" ID);
    return 0;
}

int host_make_with_proc(void **state)
{
    static char proc[64];

    if (host_make(state) < 0)
        return -1;
    snprintf(proc, sizeof(proc), "%s/proc", scratch);
    paths.proc = proc;
    scratch_dir("proc");
    return 0;
}
