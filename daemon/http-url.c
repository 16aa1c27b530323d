/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a URL names, as the library that asks it sees it. */
#include "http.h"

#include <curl/curl.h>
#include <strings.h>

DEFINE_CLEANUP(CURLU *, curl_url_cleanup)

static int url_parts(const char *url, char **ret_scheme, char **ret_host, char **ret_port, bool *ret_user)
{
    _cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
    _cleanup_free_ char *scheme = NULL, *host = NULL, *port = NULL;
    char *s = NULL;

    if (!u || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return -EINVAL;
    *ret_user = curl_url_get(u, CURLUPART_USER, &s, 0) == CURLUE_OK;
    curl_free(s);
    s = NULL;
    if (curl_url_get(u, CURLUPART_SCHEME, &s, 0) == CURLUE_OK)
        scheme = strdup(s);
    curl_free(s);
    s = NULL;
    if (curl_url_get(u, CURLUPART_HOST, &s, 0) == CURLUE_OK)
        host = strdup(s);
    curl_free(s);
    s = NULL;
    if (curl_url_get(u, CURLUPART_PORT, &s, CURLU_DEFAULT_PORT) == CURLUE_OK)
        port = strdup(s);
    curl_free(s);
    if (!scheme || !host || !port)
        return -EINVAL;
    *ret_scheme = TAKE_PTR(scheme);
    *ret_host = TAKE_PTR(host);
    *ret_port = TAKE_PTR(port);
    return 0;
}

bool http_url_same_origin(const char *a, const char *b)
{
    _cleanup_free_ char *scheme_a = NULL, *scheme_b = NULL, *host_a = NULL, *host_b = NULL, *port_a = NULL,
                        *port_b = NULL;
    bool user_a, user_b;

    if (url_parts(a, &scheme_a, &host_a, &port_a, &user_a) < 0 ||
        url_parts(b, &scheme_b, &host_b, &port_b, &user_b) < 0)
        return false;
    return !user_a && !user_b && strcasecmp(scheme_a, "https") == 0 && strcasecmp(scheme_b, "https") == 0 &&
           strcasecmp(host_a, host_b) == 0 && streq(port_a, port_b);
}

char *http_url_host(const char *url)
{
    _cleanup_free_ char *scheme = NULL, *port = NULL;
    char *host = NULL;
    bool user;

    return url_parts(url, &scheme, &host, &port, &user) < 0 ? NULL : host;
}

char *http_escape(const char *s)
{
    char *e = curl_easy_escape(NULL, s, 0), *copy = e ? strdup(e) : NULL;

    if (e) {
        explicit_bzero(e, strlen(e));
        curl_free(e);
    }
    return copy;
}
