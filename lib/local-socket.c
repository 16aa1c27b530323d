/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "local-socket.h"

int local_socket_address(const char *path, struct sockaddr_un *ret)
{
    if (strlen(path) >= sizeof(ret->sun_path))
        return -ENAMETOOLONG;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(ret->sun_path, path);
    return 0;
}

static int make(const char *path, int flags, struct sockaddr_un *ret_address)
{
    int fd, r = local_socket_address(path, ret_address);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    return fd < 0 ? -errno : fd;
}

int local_socket_connect(const char *path, int flags)
{
    struct sockaddr_un sa;
    _cleanup_close_ int fd = make(path, flags, &sa);

    if (fd < 0)
        return fd;
    return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : TAKE_FD(fd);
}

int local_socket_bind(const char *path, int flags)
{
    struct sockaddr_un sa;
    _cleanup_close_ int fd = make(path, flags, &sa);

    if (fd < 0)
        return fd;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : TAKE_FD(fd);
}
