/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(X509 *, X509_free)

static int context_new(SSL_CTX **ret)
{
    _cleanup_(SSL_CTX_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (!ctx)
        return -ENOMEM;
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION) != 1)
        return -EINVAL;
    /* A session is not resumed: each connection shows the certificate that is meant for it. */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    *ret = TAKE_PTR(ctx);
    return 0;
}

static int file_error(const char *file, char **ret_error)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    if (asprintf(ret_error, "portal: %s: %s", file, reason ? reason : "cannot be used") < 0)
        *ret_error = NULL;
    ERR_clear_error();
    return -EINVAL;
}

int tls_server_context(const char *certificate, const char *key, SSL_CTX **ret, char **ret_error)
{
    _cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
    int r = context_new(&ctx);

    if (r < 0)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return file_error(certificate, ret_error);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return file_error(key, ret_error);
    *ret = TAKE_PTR(ctx);
    return 0;
}

int tls_wrong_context(SSL_CTX **ret)
{
    _cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
    _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_RSA_gen(2048);
    _cleanup_(X509_freep) X509 *x = X509_new();
    int r = context_new(&ctx);

    if (r < 0)
        return r;
    if (!key || !x || !X509_set_version(x, X509_VERSION_3) ||
        !ASN1_INTEGER_set(X509_get_serialNumber(x), 1) || !X509_gmtime_adj(X509_getm_notBefore(x), -3600) ||
        !X509_gmtime_adj(X509_getm_notAfter(x), 30 * 86400) ||
        !X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                    (const unsigned char *)"wrong-name.invalid", -1, -1, 0) ||
        !X509_set_issuer_name(x, X509_get_subject_name(x)) || !X509_set_pubkey(x, key) ||
        !X509_sign(x, key, EVP_sha256()) || SSL_CTX_use_certificate(ctx, x) != 1 ||
        SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return -ENOMEM;
    *ret = TAKE_PTR(ctx);
    return 0;
}
