/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is a foreign string what it claims to be? One place, so that every program has the same answer. */

#include "util.h"

#define SESSION_ID_LENGTH 8
/* The prefix of every recovery target's name. */
#define TARGET_PREFIX "iqn.2016-01.microsoft.azure.backup:"
#define TARGET_VENDOR "MABILR I"
#define ISCSI_NAME_MAX 223 /* bytes, RFC 7143 section 4.2.7.1 */

/* [a-z0-9]{8}: goes into unit names, paths and device-mapper UUIDs. */
bool session_id_valid(const char *s);
/* Fills buf with a random id. */
void session_id_make(char buf[static SESSION_ID_LENGTH + 1]);

/* An iSCSI name (RFC 7143 section 4.2.7, the characters of the stringprep profile restricted to ASCII): iqn.,
 * eui. or naa., at most ISCSI_NAME_MAX bytes of [a-z0-9.:-]. Upper case is refused, as the RFC wants it
 * folded. */
bool iscsi_name_valid(const char *s);
/* A target name that carries the vendor's prefix. Upper case letters are allowed here: the service may use
 * them. */
bool target_name_valid(const char *s);

/* "127.0.0.1:PORT" with PORT in 1024..65535 or 3260; the port, or -EINVAL. */
int portal_parse_local(const char *s);

/* A DNS name (RFC 1123) of at most 253 bytes, no address. */
bool host_name_valid(const char *s);
/* One IPv4 or IPv6 address, no unspecified, multicast or broadcast one. */
bool address_valid(const char *s);

/* Of a link, where clouds have their metadata services, or that of Azure's own host agent: who reaches these
 * may be this machine to Azure. (An IPv4 address in the form of IPv6 counts as one.) */
bool address_of_platform(const char *s);
