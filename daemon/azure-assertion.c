/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The assertion by which an application proves to have the key of its certificate: a JSON web token (RFC
 * 7519, 7523) with PS256 (RFC 7518, 3.5) and x5t#S256 (RFC 7515, 4.1.8). */

#include "azure-credential.h"

#include "azure-ids.h"
#include "timeutil.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define PEM_MAX (256 * KIB)
#define PASSPHRASE_MAX (4 * KIB)
#define LIFETIME_SEC 600
#define CHAIN_MAX 8

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

typedef struct Identity {
    X509 *chain[CHAIN_MAX]; /* the application's first */
    size_t n_chain;
    EVP_PKEY *key;
} Identity;

static void identity_done(Identity *i)
{
    while (i->n_chain > 0)
        X509_free(i->chain[--i->n_chain]);
    EVP_PKEY_free(i->key);
}

/* Without padding (RFC 7515, 2). The caller's. */
static char *base64url(const void *data, size_t size)
{
    char *s = malloc(4 * ((size + 2) / 3) + 1);
    size_t n, i;

    if (!s)
        return NULL;
    n = (size_t)EVP_EncodeBlock((unsigned char *)s, data, (int)size);
    while (n > 0 && s[n - 1] == '=')
        n--;
    s[n] = '\0';
    for (i = 0; i < n; i++)
        s[i] = s[i] == '+' ? '-' : s[i] == '/' ? '_' : s[i];
    return s;
}

static int fail(Failure **ret_failure, const char *what)
{
    ERR_clear_error();
    *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The client certificate cannot be used: %s", what);
    return -EBADMSG;
}

/* Never asks a terminal. */
static int on_passphrase(char *buf, int size, int writing, void *userdata)
{
    const Secret *passphrase = userdata;

    if (!passphrase || secret_size(passphrase) > (size_t)size)
        return 0;
    memcpy(buf, secret_text(passphrase), secret_size(passphrase));
    return (int)secret_size(passphrase);
}

static int read_key(const Config *c, const Secret *pem, Identity *id, Failure **ret_failure)
{
    _cleanup_secret_ Secret *separate = NULL, *passphrase = NULL;
    _cleanup_(BIO_freep) BIO *bio = NULL;
    int r;

    r = azure_secret_read("azure-client-key", c->client_key_file, "client key", PEM_MAX, &separate,
                          ret_failure);
    if (r < 0 && r != -ENOENT)
        return r;
    r = azure_secret_read("azure-client-key-passphrase", c->client_key_passphrase_file,
                          "passphrase of the client key", PASSPHRASE_MAX, &passphrase, ret_failure);
    if (r < 0 && r != -ENOENT)
        return r;
    if (separate)
        pem = separate;
    bio = BIO_new_mem_buf(secret_text(pem), (int)secret_size(pem));
    if (!bio)
        return -ENOMEM;
    id->key = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, passphrase);
    if (!id->key)
        return fail(ret_failure,
                    strstr(secret_text(pem), "ENCRYPTED")
                        ? passphrase ? "the passphrase does not open its key"
                                     : "its key is encrypted and there is no passphrase: expected the "
                                       "credential azure-client-key-passphrase or "
                                       "ClientKeyPassphraseFile="
                        : "there is no private key in PEM form, in its file or by ClientKeyFile=");
    if (!EVP_PKEY_is_a(id->key, "RSA"))
        return fail(ret_failure, "its key is not RSA, which is what Entra ID takes");
    return 0;
}

static int read_identity(const Config *c, Identity *id, Failure **ret_failure)
{
    _cleanup_secret_ Secret *pem = NULL;
    _cleanup_(BIO_freep) BIO *bio = NULL;
    X509 *x;
    int r;

    r = azure_secret_read("azure-client-certificate", c->client_certificate_file, "client certificate",
                          PEM_MAX, &pem, ret_failure);
    if (r == -ENOENT)
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED,
                                   "There is no client certificate: neither the credential "
                                   "azure-client-certificate nor ClientCertificateFile= in [Azure]");
    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(secret_text(pem), (int)secret_size(pem));
    if (!bio)
        return -ENOMEM;
    while (id->n_chain < CHAIN_MAX && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        id->chain[id->n_chain++] = x;
    ERR_clear_error();
    if (id->n_chain == 0)
        return fail(ret_failure, "there is no certificate in PEM form in it");
    r = read_key(c, pem, id, ret_failure);
    if (r < 0)
        return r;
    if (X509_check_private_key(id->chain[0], id->key) != 1)
        return fail(ret_failure, "its key is that of another certificate");
    if (X509_cmp_current_time(X509_get0_notAfter(id->chain[0])) < 0)
        return fail(ret_failure, "it has expired; register a new one with the application and put it here");
    if (X509_cmp_current_time(X509_get0_notBefore(id->chain[0])) > 0)
        return fail(ret_failure, "it is not valid yet, see the clock");
    return 0;
}

static int make_header(const Config *c, const Identity *id, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *chain = json_object_new_array();
    _cleanup_free_ char *thumbprint = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    size_t i;
    int r;

    if (!o || !chain || X509_digest(id->chain[0], EVP_sha256(), digest, &size) != 1 ||
        !(thumbprint = base64url(digest, size)))
        return -ENOMEM;
    if ((r = json_add_string(o, "alg", "PS256")) < 0 || (r = json_add_string(o, "typ", "JWT")) < 0 ||
        (r = json_add_string(o, "x5t#S256", thumbprint)) < 0)
        return r;
    for (i = 0; c->send_certificate_chain && i < id->n_chain; i++) {
        _cleanup_free_ char *text = NULL;
        unsigned char *der = NULL;
        int n = i2d_X509(id->chain[i], &der);

        /* Plain base64 with padding, other than all else (RFC 7515, 4.1.6). */
        if (n > 0 && (text = malloc(4 * ((size_t)n + 2) / 3 + 4)))
            EVP_EncodeBlock((unsigned char *)text, der, n);
        OPENSSL_free(der);
        if (!text || json_append(chain, json_object_new_string(text)) < 0)
            return -ENOMEM;
    }
    if (c->send_certificate_chain && (r = json_add(o, "x5c", TAKE_PTR(chain))) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

static int make_claims(const Config *c, const char *url, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    int64_t now = (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC);
    char id[AZURE_GUID_LENGTH + 1];
    int r;

    if (!o)
        return -ENOMEM;
    azure_guid_make(id);
    if ((r = json_add_string(o, "aud", url)) < 0 || (r = json_add_string(o, "iss", c->client_id)) < 0 ||
        (r = json_add_string(o, "sub", c->client_id)) < 0 || (r = json_add_string(o, "jti", id)) < 0 ||
        (r = json_add_int64(o, "nbf", now)) < 0 || (r = json_add_int64(o, "exp", now + LIFETIME_SEC)) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

/* The caller's, or NULL. */
static char *sign(EVP_PKEY *key, const char *text)
{
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
    _cleanup_free_ unsigned char *signature = NULL;
    EVP_PKEY_CTX *parameters;
    size_t size = 0;

    if (!context || EVP_DigestSignInit(context, &parameters, EVP_sha256(), NULL, key) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) != 1 ||
        EVP_DigestSign(context, NULL, &size, (const unsigned char *)text, strlen(text)) != 1 ||
        !(signature = malloc(size)) ||
        EVP_DigestSign(context, signature, &size, (const unsigned char *)text, strlen(text)) != 1) {
        ERR_clear_error();
        return NULL;
    }
    return base64url(signature, size);
}

int azure_assertion_make(const Config *c, const char *url, Secret **ret, Failure **ret_failure)
{
    _cleanup_json_ json_object *header = NULL, *claims = NULL;
    _cleanup_free_ char *h = NULL, *p = NULL, *text = NULL, *signature = NULL;
    _cleanup_(identity_done) Identity id = {};
    char *whole;
    int r;

    if ((r = read_identity(c, &id, ret_failure)) < 0 || (r = make_header(c, &id, &header)) < 0 ||
        (r = make_claims(c, url, &claims)) < 0)
        return r;
    h = base64url(json_text(header), strlen(json_text(header)));
    p = base64url(json_text(claims), strlen(json_text(claims)));
    if (!h || !p || asprintf(&text, "%s.%s", h, p) < 0)
        return -ENOMEM;
    signature = sign(id.key, text);
    if (!signature)
        return fail(ret_failure, "nothing can be signed with its key");
    if (asprintf(&whole, "%s.%s", text, signature) < 0)
        return -ENOMEM;
    *ret = secret_new_take(whole, strlen(whole));
    free(whole);
    return *ret ? 0 : -ENOMEM;
}
