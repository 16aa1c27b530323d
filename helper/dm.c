/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dm.h"

#include "child.h"
#include "dm-cookie.h"

#include <libdevmapper.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

/* What is ours is nobody's to look into: the flags travel with the event, so they hold even without our
 * rules. */
#define UDEV_FLAGS                                                                                           \
    (DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG |                                \
     DM_UDEV_DISABLE_OTHER_RULES_FLAG)
#define SNAPSHOT_CHUNK_SECTORS 16

static void suffix_format(unsigned disk, int part, char buf[static 32])
{
    if (part > 0)
        snprintf(buf, 32, "d%up%d", disk, part);
    else
        snprintf(buf, 32, "d%u%s", disk, part < 0 ? "cow" : "");
}

void dm_own(const char *id, const char *suffix, char name[static DM_NAME_SIZE],
            char uuid[static DM_NAME_SIZE])
{
    snprintf(name, DM_NAME_SIZE, "ilr_%s_%s", id, suffix);
    snprintf(uuid, DM_NAME_SIZE, "LVM-ILR%s%s", id, suffix);
}

void dm_name(const char *id, unsigned disk, int part, char buf[static DM_NAME_SIZE])
{
    char suffix[32], other[DM_NAME_SIZE];

    suffix_format(disk, part, suffix);
    dm_own(id, suffix, buf, other);
}

void dm_uuid(const char *id, unsigned disk, int part, char buf[static DM_NAME_SIZE])
{
    char suffix[32], other[DM_NAME_SIZE];

    suffix_format(disk, part, suffix);
    dm_own(id, suffix, other, buf);
}

void dm_prefix(const char *id, char buf[static DM_NAME_SIZE])
{
    snprintf(buf, DM_NAME_SIZE, "ilr_%s_", id);
}

void dm_params_linear(dev_t device, uint64_t start_sectors, char buf[static DM_PARAMS_SIZE])
{
    snprintf(buf, DM_PARAMS_SIZE, "%u:%u %llu", major(device), minor(device),
             (unsigned long long)start_sectors);
}

void dm_params_snapshot(dev_t origin, dev_t store, char buf[static DM_PARAMS_SIZE])
{
    snprintf(buf, DM_PARAMS_SIZE, "%u:%u %u:%u P %d", major(origin), minor(origin), major(store),
             minor(store), SNAPSHOT_CHUNK_SECTORS);
}

/* In the children only: the last thing that libdevmapper complained about. */
static char last_message[512];

static void keep_message(int level, const char *file, int line, int dm_errno, const char *format, ...)
{
    va_list ap;

    if ((level & 7) > 4) /* _LOG_WARN */
        return;
    va_start(ap, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(last_message, sizeof(last_message), format, ap);
#pragma GCC diagnostic pop
    va_end(ap);
}

static void task_freep(struct dm_task **t)
{
    if (*t)
        dm_task_destroy(*t);
}

/* 0, or the negative errno of a task that failed. */
static int task_do(struct dm_task *t)
{
    if (dm_task_run(t))
        return 0;
    return dm_task_get_errno(t) > 0 ? -dm_task_get_errno(t) : -EIO;
}

/* Runs a task that makes udev events, which are counted under the cookie. */
static int run_with_cookie(struct dm_task *t, const char *name, uint32_t *cookie)
{
    if (*cookie == 0) {
        if (!dm_udev_create_cookie(cookie))
            return -EIO;
        dm_cookie_note(name, *cookie);
    }
    if (!dm_task_set_cookie(t, cookie, UDEV_FLAGS))
        return -EIO;
    return task_do(t);
}

static int settle_child(void *userdata, int fd)
{
    dm_log_with_errno_init(keep_message);
    return dm_udev_wait(*(uint32_t *)userdata) ? 0 : -EIO;
}

int dm_settle(uint32_t *cookie, uint64_t timeout_usec)
{
    int r = *cookie ? child_call(settle_child, cookie, timeout_usec, NULL) : 0;

    *cookie = 0;
    return r;
}

typedef struct TaskCall {
    int type;
    const char *name, *uuid;
    const DmTarget *targets;
    size_t n_targets;
    bool deferred;
    uint32_t cookie;
} TaskCall;

/* Answers "COOKIE MAJOR:MINOR", or "COOKIE MESSAGE" with an error. */
static int task_child(void *userdata, int fd)
{
    const TaskCall *c = userdata;
    _cleanup_(task_freep) struct dm_task *t = dm_task_create(c->type);
    uint32_t cookie = c->cookie;
    struct dm_info info = {};
    bool set = t && dm_task_set_name(t, c->name);
    size_t i;
    int r;

    dm_log_with_errno_init(keep_message);
    if (set && c->type == DM_DEVICE_CREATE) {
        set = dm_task_set_uuid(t, c->uuid) && dm_task_set_uid(t, 0) && dm_task_set_gid(t, 0) &&
              dm_task_set_mode(t, 0600);
        for (i = 0; set && i < c->n_targets; i++)
            set = dm_task_add_target(t, c->targets[i].start, c->targets[i].sectors, c->targets[i].type,
                                     c->targets[i].params);
    } else if (set)
        set = c->deferred ? dm_task_deferred_remove(t) : dm_task_retry_remove(t);
    r = set ? run_with_cookie(t, c->name, &cookie) : -ENOMEM;
    if (r >= 0 && c->type == DM_DEVICE_CREATE && (!dm_task_get_info(t, &info) || !info.exists))
        r = -EIO;
    if (r < 0)
        dprintf(fd, "%u %s", cookie, last_message);
    else
        dprintf(fd, "%u %u:%u", cookie, info.major, info.minor);
    return r;
}

/* Runs the call in a child; text is what it said behind the cookie, which goes on in *cookie. */
static int task_run(TaskCall *call, uint64_t timeout_usec, uint32_t *cookie, char **ret_text)
{
    _cleanup_free_ char *text = NULL;
    int at = 0, r;

    call->cookie = *cookie;
    r = child_call(task_child, call, timeout_usec, &text);
    if (!text || sscanf(text, "%u %n", cookie, &at) < 1)
        return r < 0 ? r : -EPROTO;
    *ret_text = strdup(text + at);
    return *ret_text || r < 0 ? r : -ENOMEM;
}

int dm_create_table(const char *name, const char *uuid, const DmTarget *targets, size_t n_targets,
                    uint64_t timeout_usec, uint32_t *cookie, dev_t *ret, char **ret_message)
{
    TaskCall call = {
        .type = DM_DEVICE_CREATE, .name = name, .uuid = uuid, .targets = targets, .n_targets = n_targets};
    _cleanup_free_ char *text = NULL;
    unsigned a, b;
    int r;

    *ret_message = NULL;
    r = task_run(&call, timeout_usec, cookie, &text);
    if (r >= 0 && sscanf(text, "%u:%u", &a, &b) != 2)
        r = -EPROTO;
    if (r < 0) {
        *ret_message = isempty(text) ? NULL : TAKE_PTR(text);
        return r;
    }
    *ret = makedev(a, b);
    return 0;
}

int dm_create(const char *name, const char *uuid, uint64_t sectors, const char *target, const char *params,
              uint64_t timeout_usec, uint32_t *cookie, dev_t *ret, char **ret_message)
{
    const DmTarget t = {.sectors = sectors, .type = target, .params = params};

    return dm_create_table(name, uuid, &t, 1, timeout_usec, cookie, ret, ret_message);
}

int dm_remove(const char *name, bool deferred, uint64_t timeout_usec, uint32_t *cookie)
{
    TaskCall call = {.type = DM_DEVICE_REMOVE, .name = name, .deferred = deferred};
    _cleanup_free_ char *text = NULL;
    int r = task_run(&call, timeout_usec, cookie, &text);

    return r == -ENXIO ? 0 : r;
}

/* Puts a table of errors in the place of whatever the device has. */
static int load_errors(const char *name, uint32_t *cookie)
{
    _cleanup_(task_freep) struct dm_task *table = dm_task_create(DM_DEVICE_TABLE),
                                         *load = dm_task_create(DM_DEVICE_RELOAD),
                                         *resume = dm_task_create(DM_DEVICE_RESUME);
    uint64_t start, length, sectors = 0;
    char *type, *params;
    bool already = true;
    void *next = NULL;
    int r;

    if (!table || !load || !resume || !dm_task_set_name(table, name) || !dm_task_no_flush(table) ||
        !dm_task_set_name(load, name) || !dm_task_set_name(resume, name))
        return -ENOMEM;
    r = task_do(table);
    if (r < 0)
        return r;
    do {
        type = params = NULL;
        start = length = 0;
        next = dm_get_next_target(table, next, &start, &length, &type, &params);
        sectors = MAX(sectors, start + length);
        already = already && (!type || streq(type, "error"));
    } while (next);
    if (already || sectors == 0)
        return 0;
    if (!dm_task_add_target(load, 0, sectors, "error", ""))
        return -ENOMEM;
    r = task_do(load);
    if (r < 0)
        return r;
    /* Neither freezing the file system nor writing out may come before it: they would wait for the disk. */
    if (!dm_task_no_flush(resume) || !dm_task_skip_lockfs(resume))
        return -ENOMEM;
    return run_with_cookie(resume, name, cookie);
}

static bool device_info(const char *name, struct dm_info *ret)
{
    _cleanup_(task_freep) struct dm_task *t = dm_task_create(DM_DEVICE_INFO);

    *ret = (struct dm_info){};
    return t && dm_task_set_name(t, name) && dm_task_run(t) && dm_task_get_info(t, ret) && ret->exists;
}

/* Answers "COOKIE LEFT", 0 or 1. */
static int give_up_child(void *userdata, int fd)
{
    const TaskCall *c = userdata;
    _cleanup_(task_freep) struct dm_task *t = dm_task_create(DM_DEVICE_REMOVE);
    uint32_t cookie = c->cookie;
    struct dm_info info;
    int r = 0, k = 0;

    dm_log_with_errno_init(keep_message);
    if (!t || !dm_task_set_name(t, c->name) || !dm_task_deferred_remove(t))
        return -ENOMEM;
    if (device_info(c->name, &info)) {
        /* Going without is better than staying. */
        k = info.open_count > 0 ? load_errors(c->name, &cookie) : 0;
        r = run_with_cookie(t, c->name, &cookie);
    }
    dprintf(fd, "%u %d", cookie, device_info(c->name, &info));
    return r == -ENXIO ? k : r < 0 ? r : k;
}

int dm_give_up(const char *name, uint64_t timeout_usec, uint32_t *cookie)
{
    TaskCall call = {.name = name, .cookie = *cookie};
    _cleanup_free_ char *text = NULL;
    int r = child_call(give_up_child, &call, timeout_usec, &text), left = 0;

    if (!text || sscanf(text, "%u %d", cookie, &left) != 2)
        return r < 0 ? r : -EPROTO;
    return r < 0 ? r : left;
}

typedef struct ListCall {
    const char *prefix;
    size_t skip; /* those that are known already */
} ListCall;

static int list_child(void *userdata, int fd)
{
    const ListCall *c = userdata;
    size_t n = 0;
    _cleanup_(task_freep) struct dm_task *t = NULL;
    struct dm_names *names;
    unsigned next = 0;
    int r;

    dm_log_with_errno_init(keep_message);
    if (access("/sys/class/misc/device-mapper", F_OK) < 0)
        return 0;
    t = dm_task_create(DM_DEVICE_LIST);
    if (!t)
        return -ENOMEM;
    r = task_do(t);
    if (r < 0)
        return r;
    names = dm_task_get_names(t);
    if (!names)
        return -EIO;
    if (!names->dev)
        return 0;
    do {
        names = (struct dm_names *)((char *)names + next);
        if (startswith(names->name, c->prefix)) {
            _cleanup_(task_freep) struct dm_task *i = dm_task_create(DM_DEVICE_INFO);
            struct dm_info info;

            if (!i || !dm_task_set_name(i, names->name))
                return -ENOMEM;
            if (dm_task_run(i) && dm_task_get_info(i, &info) && info.exists && n++ >= c->skip)
                dprintf(fd, "%s %u %u %d %d\n", names->name, info.major, info.minor, info.open_count,
                        info.deferred_remove);
        }
        next = names->next;
    } while (next);
    return 0;
}

/* Those that one child has told are added. Returns 1 if its answer was cut off. */
static int list_more(const ListCall *call, uint64_t timeout_usec, DmDevice **devices, size_t *n)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_strv_free_ char **lines = NULL;
    DmDevice *more;
    char **line;
    int r;

    r = child_call(list_child, (void *)call, timeout_usec, &text);
    if (r >= 0)
        r = strv_split(text, "\n", &lines);
    if (r < 0)
        return r;
    more = realloc(*devices, (*n + strv_length(lines) + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    *devices = more;
    STRV_FOREACH (line, lines) {
        unsigned a, b;
        DmDevice d = {};
        int deferred;

        if (sscanf(*line, "%127s %u %u %d %d", d.name, &a, &b, &d.open_count, &deferred) != 5)
            break;
        d.device = makedev(a, b);
        d.deferred = deferred != 0;
        more[(*n)++] = d;
    }
    return strlen(text) >= CHILD_OUTPUT_MAX;
}

int dm_list(const char *prefix, uint64_t timeout_usec, DmDevice **ret, size_t *ret_n)
{
    _cleanup_free_ DmDevice *devices = NULL;
    ListCall call = {.prefix = prefix};
    size_t n = 0;
    int r;

    do {
        call.skip = n;
        r = list_more(&call, timeout_usec, &devices, &n);
    } while (r > 0 && n > call.skip);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(devices);
    *ret_n = n;
    return 0;
}

static int status_child(void *userdata, int fd)
{
    _cleanup_(task_freep) struct dm_task *t = dm_task_create(DM_DEVICE_STATUS);
    struct dm_info info = {};
    uint64_t start, length;
    char *type = NULL, *params = NULL;
    int r;

    dm_log_with_errno_init(keep_message);
    /* Without noflush it would write out what the snapshot still has in memory, and wait for it. */
    if (!t || !dm_task_set_name(t, userdata) || !dm_task_no_flush(t))
        return -ENOMEM;
    r = task_do(t);
    if (r < 0)
        return r;
    if (!dm_task_get_info(t, &info) || !info.exists)
        return -ENXIO;
    (void)dm_get_next_target(t, NULL, &start, &length, &type, &params);
    return dprintf(fd, "%s", params ? params : "") < 0 ? -EIO : 0;
}

int dm_status(const char *name, uint64_t timeout_usec, char **ret)
{
    _cleanup_free_ char *text = NULL;
    int r = child_call(status_child, (void *)name, timeout_usec, &text);

    if (r >= 0)
        *ret = TAKE_PTR(text);
    return r;
}

typedef struct MessageCall {
    const char *name, *text;
} MessageCall;

static int message_child(void *userdata, int fd)
{
    const MessageCall *c = userdata;
    _cleanup_(task_freep) struct dm_task *t = dm_task_create(DM_DEVICE_TARGET_MSG);

    dm_log_with_errno_init(keep_message);
    if (!t || !dm_task_set_name(t, c->name) || !dm_task_set_sector(t, 0) || !dm_task_set_message(t, c->text))
        return -ENOMEM;
    return task_do(t);
}

int dm_message(const char *name, const char *text, uint64_t timeout_usec)
{
    MessageCall call = {.name = name, .text = text};

    return child_call(message_child, &call, timeout_usec, NULL);
}
