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

int local_socket_connect(const char *path, int flags)
{
    _cleanup_close_ int fd = -EBADF;
    struct sockaddr_un sa;
    int r = local_socket_address(path, &sa);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int local_socket_bind(const char *path, int flags)
{
    _cleanup_close_ int fd = -EBADF;
    struct sockaddr_un sa;
    int r = local_socket_address(path, &sa);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || (unlink(path) < 0 && errno != ENOENT) || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -errno;
    return TAKE_FD(fd);
}
