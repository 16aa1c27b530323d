/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-dirs.h"

#include "dm-cookie.h"
#include "files.h"
#include "iscsiadm.h"
#include "mount.h"
#include "paths.h"
#include "record.h"
#include "validate.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define DROP_IN "50-addresses.conf"
#define RESOLV_CONF_MAX (64 * KIB)
#define RESOLVERS_MAX 8
#define LOCK_TRIES 10
/* Files of the script's tmpfs: it makes a dozen. */
#define WORK_INODES 4096

int session_portal_from_json(json_object *parameters, SessionPortal *ret, Failure **ret_failure)
{
    static const char *const known[] = {"host", "port", "addresses", NULL};
    json_object *o, *addresses;
    const char *unknown;
    int64_t port;
    size_t i, n;

    *ret = (SessionPortal){};
    if (json_get_object(parameters, "portal", &o) <= 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "portal: an object is expected");
    unknown = json_unknown_key(o, known);
    if (unknown)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "portal: %.40s is not known",
                         unknown);
    if (json_get_string(o, "host", &ret->host) <= 0 ||
        (!host_name_valid(ret->host) && !address_valid(ret->host)))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "portal.host: a host name or an address is expected");
    if (json_get_int64(o, "port", &port) <= 0 || port < 1 || port > UINT16_MAX)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "portal.port: 1..65535 is expected");
    ret->port = (int)port;
    n = json_get_array(o, "addresses", &addresses) > 0 ? json_object_array_length(addresses) : 0;
    if (n == 0 || n > PORTAL_ADDRESSES_MAX)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "portal.addresses: an array of 1 to %d addresses is expected", PORTAL_ADDRESSES_MAX);
    for (i = 0; i < n; i++) {
        json_object *a = json_object_array_get_idx(addresses, i);
        const char *s = json_object_is_type(a, json_type_string) ? json_object_get_string(a) : NULL;

        if (!address_valid(s))
            return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                             "portal.addresses: number %zu is no IPv4 or IPv6 address", i + 1);
        /* The script says where its portal is, and is let there: not to this machine's identity at Azure. */
        if (address_of_platform(s))
            return verb_fail(ret_failure, -EINVAL, FAILURE_SCRIPT_INVALID,
                             "the script's portal %s is %s, where no recovery target is", ret->host, s);
        ret->addresses[i] = s;
    }
    ret->n_addresses = n;
    return 0;
}

static void write_resolvers(FILE *f, const char *resolv_conf)
{
    _cleanup_strv_free_ char **lines = NULL;
    size_t n = 0;
    char **line;

    if (strv_split(resolv_conf, "\n", &lines) < 0)
        return;
    STRV_FOREACH (line, lines) {
        const char *p = startswith(*line, "nameserver");
        char address[64];
        size_t size;

        if (!p || (*p != ' ' && *p != '\t'))
            continue;
        p += strspn(p, " \t");
        size = strcspn(p, " \t\r%"); /* %: the zone of a link-local address */
        if (size >= sizeof(address))
            continue;
        memcpy(address, p, size);
        address[size] = '\0';
        /* Azure's resolver is the host agent, too, which no script has to talk to: its portal is resolved
         * already. */
        if (address_valid(address) && !address_of_platform(address) && n++ < RESOLVERS_MAX)
            fprintf(f, "IPAddressAllow=%s\n", address);
    }
}

char *session_drop_in(const SessionPortal *portal, const char *resolv_conf)
{
    char *text = NULL;
    size_t size, i;
    FILE *f = open_memstream(&text, &size);
    bool failed;

    if (!f)
        return NULL;
    fputs("[Service]\nIPAddressAllow=localhost\n", f);
    for (i = 0; i < portal->n_addresses; i++)
        fprintf(f, "IPAddressAllow=%s\n", portal->addresses[i]);
    write_resolvers(f, resolv_conf);
    failed = ferror(f);
    if (fclose(f) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

int session_owner_get(SessionOwner *ret)
{
    const struct passwd *pw = getpwnam("ilr-connect");
    const struct group *gr;

    if (!pw)
        return -ESRCH;
    *ret = (SessionOwner){.uid = pw->pw_uid, .gid = pw->pw_gid};
    gr = getgrnam("ilrd");
    if (!gr)
        return -ESRCH;
    ret->daemon = gr->gr_gid;
    return 0;
}

static char *drop_in_directory(const char *id)
{
    char *s;

    return session_id_valid(id) && asprintf(&s, "%s/ilr-connection@%s.service.d", paths.unit_dir, id) >= 0
               ? s
               : NULL;
}

static int drop_in_make(const char *id, const SessionPortal *portal)
{
    _cleanup_free_ char *directory = drop_in_directory(id), *path = NULL, *resolv = NULL, *resolv_path = NULL,
                        *text = NULL;
    int r;

    if (!directory || asprintf(&path, "%s/" DROP_IN, directory) < 0 ||
        asprintf(&resolv_path, "%s/resolv.conf", paths.etc) < 0)
        return -ENOMEM;
    r = file_read(AT_FDCWD, resolv_path, RESOLV_CONF_MAX, &resolv, NULL);
    if (r < 0 && r != -ENOENT)
        return r;
    text = session_drop_in(portal, resolv ? resolv : "");
    if (!text)
        return -ENOMEM;
    if (mkdir(paths.unit_dir, 0755) < 0 && errno != EEXIST)
        return -errno;
    r = dir_make(directory, 0755, 0, 0);
    return r < 0 ? r : file_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, (uid_t)-1, (gid_t)-1);
}

static int request_file_make(const char *directory, const SessionOwner *owner, const SessionPortal *portal)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_json_ json_object *p = json_object_new_object(), *addresses = json_object_new_array();
    _cleanup_free_ char *path = NULL;
    const char *text;
    size_t i;
    int r;

    if (!o || !p || !addresses || asprintf(&path, "%s/request.json", directory) < 0)
        return -ENOMEM;
    for (i = 0; i < portal->n_addresses; i++)
        if (json_append(addresses, json_object_new_string(portal->addresses[i])) < 0)
            return -ENOMEM;
    if ((r = json_add(p, "addresses", TAKE_PTR(addresses))) < 0 ||
        (r = json_add_string(p, "host", portal->host)) < 0 ||
        (r = json_add_int64(p, "port", portal->port)) < 0 || (r = json_add(o, "portal", TAKE_PTR(p))) < 0)
        return r;
    text = json_text(o);
    return file_write_atomic(AT_FDCWD, path, text, strlen(text), 0640, owner->uid, owner->daemon);
}

/* A file system of its own, so that a script that fills it fills nothing else. No noexec: what runs there is
 * read by an interpreter, which noexec does not stop. */
static int work_mount(const char *directory, const SessionOwner *owner, const Config *config)
{
    _cleanup_free_ char *path = NULL, *options = NULL;
    int r;

    if (asprintf(&path, "%s/work", directory) < 0 ||
        asprintf(&options, "mode=0700,uid=%u,gid=%u,size=%llu,nr_inodes=%d", (unsigned)owner->uid,
                 (unsigned)owner->gid, (unsigned long long)config->work_size_bytes, WORK_INODES) < 0)
        return -ENOMEM;
    r = dir_make(path, 0700, 0, 0);
    if (r < 0)
        return r;
    return mount("ilr-work", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

static int connect_dir_make(const char *id, const SessionOwner *owner, const SessionPortal *portal,
                            Secret *script, const Config *config)
{
    _cleanup_free_ char *directory = connect_path(id, NULL), *path = NULL;
    int r;

    if (!directory || asprintf(&path, "%s/script", directory) < 0)
        return -ENOMEM;
    /* Root's until everything is in it: nobody can put a link in our way. */
    r = dir_make(directory, 0700, 0, 0);
    if (r >= 0)
        r = file_write_atomic(AT_FDCWD, path, secret_text(script), secret_size(script), 0600, owner->uid,
                              owner->gid);
    if (r >= 0)
        r = request_file_make(directory, owner, portal);
    if (r >= 0)
        r = work_mount(directory, owner, config);
    if (r >= 0)
        r = dir_make(directory, 02750, owner->uid, owner->daemon);
    return r;
}

int session_dirs_lock(const char *id, uint64_t timeout_usec, int *ret)
{
    _cleanup_free_ char *directory = private_path(id, NULL);
    int r = -ENOENT, tries;

    if (!directory)
        return -ENOMEM;
    /* It may be removed by a disconnect between the two. */
    for (tries = 0; tries < LOCK_TRIES && r == -ENOENT; tries++) {
        r = dir_make(directory, 0700, 0, 0);
        if (r >= 0)
            r = session_lock(id, timeout_usec, ret);
    }
    return r;
}

int session_dirs_make(const char *id, const SessionOwner *owner, const SessionPortal *portal, Secret *script,
                      const Config *config, const char *initiator_name)
{
    _cleanup_(record_freep) Record *record = NULL;
    int r;

    r = record_new(id, &record);
    if (r >= 0)
        r = record_save(record);
    if (r >= 0)
        r = iscsiadm_prepare(id, initiator_name);
    if (r >= 0)
        r = connect_dir_make(id, owner, portal, script, config);
    if (r >= 0)
        r = drop_in_make(id, portal);
    return r;
}

static int work_unmount(const char *id)
{
    _cleanup_free_ char *path = connect_path(id, "work");
    MountPoint *mounts = NULL;
    size_t n = 0, i;
    int r = path ? mounts_below(path, &mounts, &n) : -ENOMEM;

    /* Lazily: it is a tmpfs, nobody's data, and a process that was left behind must not keep it in the tree.
     */
    for (i = n; r >= 0 && i > 0; i--)
        if (umount2(mounts[i - 1].path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            r = -errno;
    mounts_free(mounts, n);
    return r;
}

static int remove_if(char *path, int r)
{
    int k = path ? file_remove_tree(AT_FDCWD, path) : -ENOMEM;

    return r < 0 ? r : k;
}

int session_dirs_clear(const char *id)
{
    _cleanup_free_ char *connect = connect_path(id, NULL), *mounts = mounts_path(id, NULL),
                        *private = private_path(id, NULL), *drop_in = drop_in_directory(id);
    int r = work_unmount(id);

    dm_cookies_drop(id);
    r = remove_if(connect, r);
    r = remove_if(drop_in, r);
    r = remove_if(mounts, r);
    if (r < 0)
        return r;
    return private ? file_empty_tree(AT_FDCWD, private) : -ENOMEM;
}

int session_dirs_remove(const char *id)
{
    _cleanup_free_ char *private = private_path(id, NULL);
    int r = session_dirs_clear(id);

    if (r < 0)
        return r;
    return private ? file_remove_tree(AT_FDCWD, private) : -ENOMEM;
}
