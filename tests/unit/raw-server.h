/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A server on 127.0.0.1 that says what a test tells it to, byte for byte: one connection after the other,
 * each handed to serve() after its first request's head was read. */

#include "util.h"

typedef struct RawServer RawServer;
/* number: of this connection, from 0. head: what was read so far, up to the empty line at least. The
 * descriptor is closed afterwards. */
typedef void (*RawServe)(int fd, unsigned number, const char *head, void *userdata);

RawServer *raw_server_start(RawServe serve, void *userdata);
/* Waits for the connection that is being served. */
RawServer *raw_server_stop(RawServer *s);
uint16_t raw_server_port(const RawServer *s);
/* Connections that were served to the end. */
unsigned raw_server_served(RawServer *s);

/* Sends text. */
void raw_send(int fd, const char *text);
/* Waits until the other side has closed. */
void raw_wait_closed(int fd);
/* Passes bytes between both until one of them is closed. */
void raw_pump(int a, int b);
