/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-server.h"

#include <microhttpd.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#define HUGE_BYTES (500 * UINT64_C(1000000))

struct Server {
    struct MHD_Daemon *daemon;
    const Exchange *exchanges;
    char url[64];
    uint16_t port;
    pthread_mutex_t lock;
    pthread_cond_t stopping;
    bool stop;
    unsigned played, tokens;
    int token_status;
    const char *token_body;
    char complaint[512];
    char headers[8192];
};

typedef struct Upload {
    char data[16384];
    size_t size;
} Upload;

static char key_pem[4096], certificate_pem[4096], ca_file[64];

static void pem_copy(BIO *b, char *ret, size_t size)
{
    int n = BIO_read(b, ret, (int)size - 1);

    if (n < 0)
        abort();
    ret[n] = '\0';
    BIO_free(b);
}

static void remove_ca_file(void)
{
    unlink(ca_file);
}

/* A certificate of its own authority for the name localhost. */
static void make_certificate(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    X509 *c = X509_new();
    X509_NAME *name = X509_get_subject_name(c);
    X509_EXTENSION *e;
    BIO *b;
    int fd;

    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_set_version(c, 2);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 3600);
    X509_set_pubkey(c, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(c, name);
    e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    X509_add_ext(c, e, -1);
    X509_EXTENSION_free(e);
    e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(c, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(c, key, EVP_sha256());
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
    pem_copy(b, key_pem, sizeof(key_pem));
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, c);
    pem_copy(b, certificate_pem, sizeof(certificate_pem));
    X509_free(c);
    EVP_PKEY_free(key);
    strcpy(ca_file, "/tmp/ilr-test-ca-XXXXXX");
    fd = mkstemp(ca_file);
    if (fd < 0 || write(fd, certificate_pem, strlen(certificate_pem)) < 0)
        abort();
    close(fd);
    atexit(remove_ca_file);
}

const char *server_ca_file(void)
{
    if (!ca_file[0])
        make_certificate();
    return ca_file;
}

static enum MHD_Result collect_header(void *userdata, enum MHD_ValueKind kind, const char *key,
                                      const char *value)
{
    Server *s = userdata;
    size_t n = strlen(s->headers);

    snprintf(s->headers + n, sizeof(s->headers) - n, "%s: %s\n", key, value ? value : "");
    return MHD_YES;
}

static enum MHD_Result collect_argument(void *userdata, enum MHD_ValueKind kind, const char *key,
                                        const char *value)
{
    char *url = userdata;
    size_t n = strlen(url);

    snprintf(url + n, 4096 - n, "%c%s=%s", strchr(url, '?') ? '&' : '?', key, value ? value : "");
    return MHD_YES;
}

static void add_headers(Server *s, struct MHD_Response *r, const char *headers)
{
    while (headers && *headers) {
        size_t n = strcspn(headers, "\n");
        char line[2048], value[2048] = "", *p, *v;

        snprintf(line, sizeof(line), "%.*s", (int)n, headers);
        headers += n + (headers[n] == '\n');
        v = strstr(line, ": ");
        if (!v)
            continue;
        *v = '\0';
        v += 2;
        p = strchr(v, '@');
        if (p)
            snprintf(value, sizeof(value), "%.*s%s%s", (int)(p - v), v, s->url, p + 1);
        else
            snprintf(value, sizeof(value), "%s", v);
        MHD_add_response_header(r, line, value);
    }
}

static ssize_t read_half(void *userdata, uint64_t pos, char *buf, size_t max)
{
    const char *body = userdata;
    size_t half = strlen(body) / 2;

    if (pos >= half)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    memcpy(buf, body + pos, MIN(max, half - pos));
    return (ssize_t)MIN(max, half - pos);
}

static ssize_t read_huge(void *userdata, uint64_t pos, char *buf, size_t max)
{
    if (pos >= HUGE_BYTES)
        return MHD_CONTENT_READER_END_OF_STREAM;
    memset(buf, ' ', max);
    return (ssize_t)max;
}

static enum MHD_Result answer(Server *s, struct MHD_Connection *c, int status, const char *headers,
                              const char *body, ServerTrick trick)
{
    struct MHD_Response *r;
    enum MHD_Result q;

    if (trick == TRICK_RESET)
        return MHD_NO;
    if (trick == TRICK_STALL) {
        pthread_mutex_lock(&s->lock);
        while (!s->stop)
            pthread_cond_wait(&s->stopping, &s->lock);
        pthread_mutex_unlock(&s->lock);
        return MHD_NO;
    }
    if (trick == TRICK_TRUNCATE)
        r = MHD_create_response_from_callback(strlen(body), 1024, read_half, (void *)body, NULL);
    else if (trick == TRICK_HUGE)
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 65536, read_huge, NULL, NULL);
    else
        r = MHD_create_response_from_buffer(body ? strlen(body) : 0, (void *)(body ? body : ""),
                                            MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_add_response_header(r, "x-ms-request-id", "req-1");
    MHD_add_response_header(r, "x-ms-correlation-request-id", "corr-1");
    add_headers(s, r, headers);
    q = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return q;
}

static enum MHD_Result on_token_request(Server *s, struct MHD_Connection *c, const Upload *u)
{
    int status;
    const char *body;

    pthread_mutex_lock(&s->lock);
    s->tokens++;
    if (!strstr(u->data, "grant_type=client_credentials") || !strstr(u->data, "client_secret=s3cret%26%3D") ||
        !strstr(u->data, "client_id=client-1") || !strstr(u->data, "%2F.default"))
        snprintf(s->complaint, sizeof(s->complaint), "token request: %.200s", u->data);
    status = s->token_status;
    body = s->token_body;
    pthread_mutex_unlock(&s->lock);
    if (status)
        return answer(s, c, status, NULL, body, TRICK_NONE);
    return answer(s, c, 200, NULL,
                  "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"tok-en.1\"}",
                  TRICK_NONE);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **context)
{
    Server *s = userdata;
    Upload *u = *context;
    const Exchange *e;
    char url[4096];

    if (!u) {
        *context = calloc(1, sizeof(Upload));
        return *context ? MHD_YES : MHD_NO;
    }
    if (*size > 0) {
        size_t n = MIN(*size, sizeof(u->data) - 1 - u->size);

        memcpy(u->data + u->size, data, n);
        u->size += n;
        *size = 0;
        return MHD_YES;
    }
    if (strstr(path, "/oauth2/v2.0/token"))
        return on_token_request(s, c, u);
    snprintf(url, sizeof(url), "%s", path);
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, collect_argument, url);

    pthread_mutex_lock(&s->lock);
    s->headers[0] = '\0';
    MHD_get_connection_values(c, MHD_HEADER_KIND, collect_header, s);
    e = s->exchanges;
    if (!e->method || !streq(e->method, method) || !strstr(url, e->url) ||
        (e->contains && !strstr(u->data, e->contains)) ||
        !strstr(s->headers, "Authorization: Bearer tok-en.1")) {
        if (!s->complaint[0])
            snprintf(s->complaint, sizeof(s->complaint), "%s %.200s %.200s, expected %s %s %s", method, url,
                     u->data, e->method ? e->method : "nothing", e->url ? e->url : "",
                     e->contains ? e->contains : "");
        pthread_mutex_unlock(&s->lock);
        return answer(s, c, 418, NULL, "{\"code\":\"Unexpected\",\"message\":\"not in the script\"}",
                      TRICK_NONE);
    }
    if (!e->repeat)
        s->exchanges++;
    s->played++;
    pthread_mutex_unlock(&s->lock);
    return answer(s, c, e->status, e->headers, e->body, e->trick);
}

static void on_completed(void *userdata, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode code)
{
    free(*context);
    *context = NULL;
}

/* The path is compared as it was sent. */
static size_t no_unescape(void *userdata, struct MHD_Connection *c, char *s)
{
    return strlen(s);
}

Server *server_start(const Exchange *exchanges)
{
    Server *s = calloc(1, sizeof(*s));
    const union MHD_DaemonInfo *info;

    (void)server_ca_file();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->stopping, NULL);
    s->exchanges = exchanges;
    s->daemon =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS, 0,
                         NULL, NULL, on_request, s, MHD_OPTION_HTTPS_MEM_KEY, key_pem,
                         MHD_OPTION_HTTPS_MEM_CERT, certificate_pem, MHD_OPTION_NOTIFY_COMPLETED,
                         on_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_END);
    if (!s->daemon)
        abort();
    info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    s->port = info->port;
    snprintf(s->url, sizeof(s->url), "https://localhost:%u", s->port);
    return s;
}

Server *server_stop(Server *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->stopping);
    pthread_mutex_unlock(&s->lock);
    MHD_stop_daemon(s->daemon);
    pthread_cond_destroy(&s->stopping);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

uint16_t server_port(const Server *s)
{
    return s->port;
}

const char *server_url(const Server *s)
{
    return s->url;
}

const char *server_complaint(Server *s)
{
    const char *p;

    pthread_mutex_lock(&s->lock);
    p = s->complaint[0] ? s->complaint : NULL;
    pthread_mutex_unlock(&s->lock);
    return p;
}

unsigned server_played(Server *s)
{
    unsigned n;

    pthread_mutex_lock(&s->lock);
    n = s->played;
    pthread_mutex_unlock(&s->lock);
    return n;
}

unsigned server_tokens(Server *s)
{
    unsigned n;

    pthread_mutex_lock(&s->lock);
    n = s->tokens;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void server_set_token_answer(Server *s, int status, const char *body)
{
    pthread_mutex_lock(&s->lock);
    s->token_status = status;
    s->token_body = body;
    pthread_mutex_unlock(&s->lock);
}

const char *server_last_headers(Server *s)
{
    return s->headers;
}
