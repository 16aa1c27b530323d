/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "luks.h"

#include "overlay.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A key derivation made slow on purpose, on a slow machine. */
#define OPEN_TIMEOUT_USEC (5 * USEC_PER_MINUTE)
#define STATUS_NO_KEY 2
#define STATUS_NO_MEMORY 3

int luks_assemble(Assembly *a, bool last)
{
    _cleanup_free_ size_t *members = NULL;
    size_t i, n;
    int r;

    members = assembly_members(a, "crypto_LUKS", &n);
    if (!members)
        return -ENOMEM;
    r = assembly_map_members(a, members, &n);
    for (i = 0; r >= 0 && i < n; i++)
        if (!a->volumes[members[i]].locked) {
            r = assembly_settle(a, &members[i], 1, true, "locked: encrypted with LUKS");
            a->volumes[members[i]].locked = true;
        }
    return r;
}

/* What stands in /dev under this number is nobody's to find: the host's LVM would look into it. */
static void hide_nodes(const char *name, dev_t device)
{
    char path[64 + DM_NAME_SIZE];
    struct stat st;

    snprintf(path, sizeof(path), "/dev/mapper/%s", name);
    (void)unlink(path);
    snprintf(path, sizeof(path), "/dev/dm-%u", minor(device));
    if (lstat(path, &st) >= 0 && S_ISBLK(st.st_mode) && st.st_rdev == device)
        (void)unlink(path);
}

static int failed(Failure **ret_failure, int r, const Volume *v, const char *why)
{
    *ret_failure = failure_new(FAILURE_UNLOCK_FAILED, "volume %s could not be opened: %s", v->name, why);
    return r;
}

static int add_opened(Assembly *a, size_t volume, const char *suffix, const DmDevice *opened,
                      Failure **ret_failure)
{
    _cleanup_free_ char *message = NULL, *node = NULL, *base = NULL;
    char map[40], params[DM_PARAMS_SIZE];
    DmTarget target = {.type = "linear", .params = params};
    Volume *v = &a->volumes[volume], *in;
    uint64_t sectors;
    dev_t device;
    int r;

    r = device_sectors(opened->device, &sectors);
    if (r < 0)
        return failed(ret_failure, r, v, strerror(-r));
    target.sectors = sectors;
    snprintf(map, sizeof(map), "%sm", suffix);
    dm_params_linear(opened->device, 0, params);
    r = assembly_make(a, map, &target, 1, &device, &node, &message);
    if (r < 0)
        return failed(ret_failure, r, v, message ? message : strerror(-r));
    if (asprintf(&base, "%s-open", v->name) < 0)
        return (base = NULL), -ENOMEM;
    in = assembly_add(a, v->disk, 0, sectors * 512);
    if (!in)
        return -ENOMEM;
    v = &a->volumes[volume];
    in->node = TAKE_PTR(node);
    in->device = device;
    in->base = TAKE_PTR(base);
    in->degraded = v->degraded;
    in->opened_from = volume + 1;
    in->layers = assembly_layers(a, &volume, 1, "LUKS");
    v->locked = false;
    return in->layers ? assembly_settle(a, &volume, 1, true, "encrypted with LUKS, unlocked") : -ENOMEM;
}

int luks_open(Assembly *a, size_t volume, const Secret *key, Failure **ret_failure)
{
    char suffix[32], size[32], name[DM_NAME_SIZE], uuid[DM_NAME_SIZE];
    _cleanup_free_ char *path = NULL, *words = NULL;
    _cleanup_free_ DmDevice *devices = NULL;
    _cleanup_child_ ChildResult result = {};
    Volume *v = &a->volumes[volume];
    size_t i, n = 0;
    ToolNode node;
    int r;

    if (!v->node || asprintf(&path, "/dev/mapper/%s", v->node) < 0)
        return (path = NULL), failed(ret_failure, -ENODEV, v, "it has no device");
    if (assembly_full(a)) /* a record of more would not be read again */
        return failed(ret_failure, -E2BIG, v, "there are too many volumes already");
    node = (ToolNode){.name = v->node, .device = v->device};
    snprintf(suffix, sizeof(suffix), "c%u", ++a->n_made);
    dm_own(a->id, suffix, name, uuid);
    snprintf(size, sizeof(size), "%zu", secret_size(key));
    {
        char *const argv[] = {(char *)"cryptsetup",
                              (char *)"open",
                              (char *)"--batch-mode",
                              (char *)"--type",
                              (char *)"luks",
                              (char *)"--key-file",
                              (char *)"-",
                              (char *)"--keyfile-size",
                              size,
                              path,
                              name,
                              NULL};

        r = tool_run(&node, 1, argv, NULL, secret_text(key), secret_size(key), OPEN_TIMEOUT_USEC, &result);
    }
    if (r == -ENOENT)
        return failed(ret_failure, r, v,
                      "the program cryptsetup is not installed (package cryptsetup-bin or cryptsetup)");
    if (r < 0)
        return r;
    if (result.status == STATUS_NO_KEY) {
        *ret_failure =
            failure_new(FAILURE_WRONG_KEY, "no key slot of volume %s opens with this key", v->name);
        return -EKEYREJECTED;
    }
    if (result.status == STATUS_NO_MEMORY)
        return failed(
            ret_failure, -EIO, v,
            "its keys are derived in more memory than this host can spare (three quarters of what is "
            "available); end sessions, or use a host with more");
    words = tool_last_words(&result);
    if (result.status != 0)
        return failed(ret_failure, -EIO, v, words ? words : "?");
    r = dm_list(name, DEVICE_TIMEOUT_USEC, &devices, &n);
    if (r < 0)
        return failed(ret_failure, r, v, strerror(-r));
    for (i = 0; i < n && !streq(devices[i].name, name); i++)
        ;
    if (i == n)
        return failed(ret_failure, -ENXIO, v, "cryptsetup made no device");
    hide_nodes(name, devices[i].device);
    return add_opened(a, volume, suffix, &devices[i], ret_failure);
}
