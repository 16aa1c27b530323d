/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raw-server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

struct RawServer {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_uint served;
    RawServe serve;
    void *userdata;
};

static void serve_one(RawServer *s, int fd, unsigned number)
{
    char head[16384] = "";
    size_t size = 0;
    ssize_t n;

    while (size < sizeof(head) - 1 && !strstr(head, "\r\n\r\n")) {
        n = recv(fd, head + size, sizeof(head) - 1 - size, 0);
        if (n <= 0)
            return;
        size += (size_t)n;
        head[size] = '\0';
    }
    s->serve(fd, number, head, s->userdata);
}

static void *run(void *userdata)
{
    RawServer *s = userdata;
    unsigned number = 0;
    int fd;

    while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        serve_one(s, fd, number++);
        close(fd);
        atomic_fetch_add(&s->served, 1);
    }
    return NULL;
}

RawServer *raw_server_start(RawServe serve, void *userdata)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    RawServer *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->serve = serve;
    s->userdata = userdata;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&address, size) < 0 || listen(s->fd, 16) < 0 ||
        getsockname(s->fd, (struct sockaddr *)&address, &size) < 0)
        abort();
    s->port = ntohs(address.sin_port);
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        abort();
    return s;
}

RawServer *raw_server_stop(RawServer *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    free(s);
    return NULL;
}

uint16_t raw_server_port(const RawServer *s)
{
    return s->port;
}

unsigned raw_server_served(RawServer *s)
{
    return atomic_load(&s->served);
}

void raw_send(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

void raw_wait_closed(int fd)
{
    char buf[1024];

    while (recv(fd, buf, sizeof(buf), 0) > 0)
        ;
}

void raw_pump(int a, int b)
{
    struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char buf[16384];
    ssize_t n;
    int i;

    while (poll(fds, 2, -1) > 0)
        for (i = 0; i < 2; i++) {
            if (!fds[i].revents)
                continue;
            n = recv(fds[i].fd, buf, sizeof(buf), 0);
            if (n <= 0 || send(fds[1 - i].fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
                return;
        }
}
