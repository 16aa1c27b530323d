/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The portal's TLS contexts: TLS 1.2 only, as the recovery service speaks it. */

#include "util.h"
#include <openssl/ssl.h>

/* With the certificate chain and key of two PEM files. On failure *ret_error names the file. */
int tls_server_context(const char *certificate, const char *key, SSL_CTX **ret, char **ret_error);
/* With a certificate made on the spot, for a name that nobody has and signed by nobody. */
int tls_wrong_context(SSL_CTX **ret);
