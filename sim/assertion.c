/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "assertion.h"
#include "files.h"
#include "strv.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <strings.h>

#define CERTIFICATE_MAX (64 * KIB)
#define USED_MAX 1024
#define JTI_SIZE 65
#define CLOCK_SKEW 60.0 /* seconds, for nbf */

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(BIO *, BIO_free)

typedef struct Certificate {
    X509 *x509;
    char sha1[64], sha256[64]; /* base64url */
} Certificate;

struct Assertions {
    Certificate *certificates;
    size_t count;
    char used[USED_MAX][JTI_SIZE]; /* a ring */
    size_t used_next;
};

size_t base64url_encode(const void *bytes, size_t size, char *out)
{
    int n = EVP_EncodeBlock((unsigned char *)out, bytes, (int)size);

    while (n > 0 && out[n - 1] == '=')
        n--;
    out[n] = '\0';
    for (char *p = out; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return (size_t)n;
}

/* NULL: not base64url, or out of memory. A NUL is put behind it. */
static char *unbase64url(const char *text, size_t size, size_t *ret_size)
{
    size_t padded = (size + 3) / 4 * 4;
    _cleanup_free_ char *in = malloc(padded + 1);
    char *out = malloc(padded + 1);
    int n = -1;

    if (in && out && size > 0) {
        for (size_t i = 0; i < padded; i++) {
            char c = i < size ? text[i] : '=';

            in[i] = c == '-' ? '+' : c == '_' ? '/' : i < size && strchr("+/=", c) ? '!' : c;
        }
        n = EVP_DecodeBlock((unsigned char *)out, (unsigned char *)in, (int)padded);
    }
    if (n < 0 || (size_t)n < padded - size) {
        free(out);
        return NULL;
    }
    *ret_size = (size_t)n - (padded - size);
    out[*ret_size] = '\0';
    return out;
}

static int certificate_load(Certificate *c, const char *path)
{
    _cleanup_free_ char *pem = NULL;
    _cleanup_(BIO_freep) BIO *bio = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;
    size_t size;
    int r = file_read(AT_FDCWD, path, CERTIFICATE_MAX, &pem, &size);

    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(pem, (int)size);
    c->x509 = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (!c->x509 || !X509_get0_pubkey(c->x509))
        return -EINVAL;
    if (!X509_digest(c->x509, EVP_sha1(), digest, &n))
        return -ENOMEM;
    (void)base64url_encode(digest, n, c->sha1);
    if (!X509_digest(c->x509, EVP_sha256(), digest, &n))
        return -ENOMEM;
    (void)base64url_encode(digest, n, c->sha256);
    return 0;
}

int assertions_new(char *const *certificates, Assertions **ret, char **ret_error)
{
    _cleanup_(assertions_freep) Assertions *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->certificates = calloc(strv_length((char **)certificates) + 1, sizeof(*a->certificates));
    if (!a->certificates)
        return -ENOMEM;
    for (size_t i = 0; certificates && certificates[i]; i++) {
        r = certificate_load(&a->certificates[a->count++], certificates[i]);
        if (r < 0) {
            if (asprintf(ret_error, "clientCertificates %s: %s", certificates[i],
                         r == -EINVAL ? "no certificate in PEM form" : strerror(-r)) < 0)
                *ret_error = NULL;
            return r;
        }
    }
    *ret = TAKE_PTR(a);
    return 0;
}

Assertions *assertions_free(Assertions *a)
{
    if (!a)
        return NULL;
    for (size_t i = 0; i < a->count; i++)
        X509_free(a->certificates[i].x509);
    free(a->certificates);
    free(a);
    return NULL;
}

static int refuse(AssertionFailure *f, unsigned aadsts, const char *format, ...) _printf_(3, 4);
static int refuse(AssertionFailure *f, unsigned aadsts, const char *format, ...)
{
    va_list ap;

    f->aadsts = aadsts;
    va_start(ap, format);
    vsnprintf(f->message, sizeof(f->message), format, ap);
    va_end(ap);
    return -EACCES;
}

static json_object *part_json(const char *text, size_t size)
{
    json_object *o = NULL;
    size_t n;
    _cleanup_free_ char *bytes = unbase64url(text, size, &n);

    if (!bytes || json_parse(bytes, n, &o) < 0)
        return NULL;
    if (!json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        return NULL;
    }
    return o;
}

json_object *assertion_claims(const char *jwt)
{
    size_t header = strcspn(jwt, ".");
    const char *payload = jwt + header + 1;

    return jwt[header] && strlen(jwt) <= ASSERTION_MAX ? part_json(payload, strcspn(payload, ".")) : NULL;
}

/* With the certificate that the header names. */
/* Some clients pad it, which RFC 7515 does not. */
static bool thumbprint_is(const char *got, const char *expected)
{
    size_t n = strlen(expected);

    return strncmp(got, expected, n) == 0 && got[n + strspn(got + n, "=")] == '\0';
}

static int check_signature(Assertions *a, json_object *header, const char *jwt, const char *dot,
                           AssertionFailure *f)
{
    const char *alg = NULL, *thumbprint = NULL, *name;
    const Certificate *c = NULL;
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    _cleanup_free_ char *signature = NULL;
    EVP_PKEY_CTX *key;
    size_t size;
    bool pss;

    (void)json_get_string(header, "alg", &alg);
    pss = alg && streq(alg, "PS256");
    if (!pss && !(alg && streq(alg, "RS256")))
        return refuse(f, 700027, "Client assertion has the algorithm '%.40s', PS256 or RS256 is expected.",
                      alg ? alg : "");
    name = pss ? "x5t#S256" : "x5t";
    if (json_get_string(header, name, &thumbprint) <= 0)
        return refuse(f, 700027, "Client assertion has no '%s' in its header.", name);
    for (size_t i = 0; i < a->count && !c; i++)
        if (thumbprint_is(thumbprint, pss ? a->certificates[i].sha256 : a->certificates[i].sha1))
            c = &a->certificates[i];
    if (!c)
        return refuse(f, 700027,
                      "The certificate with identifier used to sign the client assertion is not registered "
                      "on application. [Reason - The key was not found., Thumbprint of key used by client: "
                      "'%.80s']",
                      thumbprint);
    signature = unbase64url(dot + 1, strlen(dot + 1), &size);
    if (!ctx || EVP_DigestVerifyInit(ctx, &key, EVP_sha256(), NULL, X509_get0_pubkey(c->x509)) != 1)
        return -ENOMEM;
    if (pss && (EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) != 1 ||
                EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) != 1))
        return refuse(f, 700027, "The certificate's key is not one for %s.", alg);
    if (!signature || EVP_DigestVerify(ctx, (unsigned char *)signature, size, (const unsigned char *)jwt,
                                       (size_t)(dot - jwt)) != 1)
        return refuse(f, 700027,
                      "Client assertion contains an invalid signature. [Reason - The key used is wrong.]");
    return 0;
}

static bool claim_number(json_object *claims, const char *key, double *ret)
{
    json_object *v;

    if (!json_object_object_get_ex(claims, key, &v) ||
        !(json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double)))
        return false;
    *ret = json_object_get_double(v);
    return true;
}

static bool claim_is(json_object *claims, const char *key, const char *value)
{
    const char *s = NULL;

    return json_get_string(claims, key, &s) > 0 && strcasecmp(s, value) == 0;
}

static int check_claims(Assertions *a, json_object *claims, const char *client_id,
                        const char *const *audiences, double now, AssertionFailure *f)
{
    const char *audience = NULL, *jti = NULL;
    double exp, nbf = 0;
    bool known = false;

    if (!claim_is(claims, "iss", client_id) || !claim_is(claims, "sub", client_id))
        return refuse(f, 700021,
                      "Client assertion application identifier doesn't match 'client_id' parameter: iss and "
                      "sub have to be '%.80s'.",
                      client_id);
    (void)json_get_string(claims, "aud", &audience);
    for (size_t i = 0; audience && audiences[i]; i++)
        known = known || strcasecmp(audiences[i], audience) == 0;
    if (!known)
        return refuse(
            f, 700023,
            "Client assertion audience claim does not match Realm issuer: '%.120s' is not '%.120s'.",
            audience ? audience : "", audiences[0]);
    if (!claim_number(claims, "exp", &exp))
        return refuse(f, 50013, "Client assertion has no number as 'exp'.");
    if (json_object_object_get_ex(claims, "nbf", NULL) && !claim_number(claims, "nbf", &nbf))
        return refuse(f, 50013, "Client assertion's 'nbf' is not a number.");
    if (exp <= now || nbf > now + CLOCK_SKEW)
        return refuse(f, 700024,
                      "Client assertion is not within its valid time range. Current time: %.0f, nbf: %.0f, "
                      "exp: %.0f.",
                      now, nbf, exp);
    if (json_get_string(claims, "jti", &jti) <= 0 || !*jti || strlen(jti) >= JTI_SIZE)
        return refuse(f, 50013, "Client assertion has no 'jti' of at most %d bytes.", JTI_SIZE - 1);
    for (size_t i = 0; i < USED_MAX; i++)
        if (streq(a->used[i], jti))
            return refuse(f, 50013, "Client assertion's 'jti' was used before.");
    strcpy(a->used[a->used_next++ % USED_MAX], jti);
    return 0;
}

int assertions_check(Assertions *a, const char *jwt, const char *client_id, const char *const *audiences,
                     uint64_t now, AssertionFailure *ret)
{
    const char *dot = strrchr(jwt, '.');
    _cleanup_json_ json_object *header = NULL, *claims = NULL;
    int r;

    if (strlen(jwt) <= ASSERTION_MAX && dot && strchr(jwt, '.') != dot) {
        header = part_json(jwt, strcspn(jwt, "."));
        claims = assertion_claims(jwt);
    }
    if (!header || !claims)
        return refuse(ret, 50027, "JWT token is invalid or malformed.");
    r = check_signature(a, header, jwt, dot, ret);
    if (r < 0)
        return r;
    return check_claims(a, claims, client_id, audiences, (double)now / (double)USEC_PER_SEC, ret);
}
