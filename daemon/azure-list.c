/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-list.h"

#define ATTEMPTS_MAX 5
#define PAGE_BYTES_MAX (8 * MIB)
#define LINK_MAX (16 * KIB)
#define PAGES_MAX 1000
#define PAGE_ENTRIES_MAX 10000
#define ENTRIES_MAX 200000
#define BYTES_MAX (256 * MIB)

struct AzureList {
    AzureClient *client;
    AzureListOptions options; /* subject's strings are what and action, url is unused */
    AzureListCallbacks callbacks;
    void *userdata;
    char *what, *action, *url;
    uint64_t seen[PAGES_MAX]; /* hashes of the addresses read */
    size_t n_pages, n_entries, n_bytes;
    AzureRequest *request;
};

/* FNV-1a: no protection against who looks for collisions, who would only end his own list early. */
static uint64_t hash(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h;
}

static int ask(AzureList *l);

static void finish(AzureList *l, bool ok, int status, Failure *failure)
{
    l->callbacks.done(ok, status, failure, l->userdata);
}

static void refuse(AzureList *l, const AzureAnswer *a, const char *problem)
{
    _cleanup_free_ char *host = http_url_host(l->url);

    finish(l, false, a->http->status,
           azure_failure_invalid(&l->options.subject, host ? host : "Azure", a->http, problem));
}

/* The address of the next page as it can be sent: services leave spaces and the like in it. -EINVAL: no
 * address. */
static int escape_link(const char *link, char **ret)
{
    char *out, *o;

    if (strlen(link) > LINK_MAX)
        return -EINVAL;
    o = out = malloc(3 * strlen(link) + 1);
    if (!out)
        return -ENOMEM;
    for (; *link; link++) {
        unsigned char c = (unsigned char)*link;

        if (c < 0x20 || c == 0x7f) {
            free(out);
            return -EINVAL;
        }
        if (c == ' ' || c > 0x7f || strchr("\"<>\\^`{|}", c))
            o += sprintf(o, "%%%02X", c);
        else
            *o++ = (char)c;
    }
    *o = '\0';
    *ret = out;
    return 0;
}

/* 1: there is another page, it is asked for; 0: that was the last; negative: *ret_problem, or no memory. */
static int next_page(AzureList *l, json_object *link, const char **ret_problem)
{
    _cleanup_free_ char *url = NULL;
    uint64_t h;
    size_t i;
    int r;

    if (!link)
        return 0;
    if (!json_object_is_type(link, json_type_string)) {
        *ret_problem = "has a nextLink that is no text";
        return -EBADMSG;
    }
    if (!*json_object_get_string(link))
        return 0;
    r = escape_link(json_object_get_string(link), &url);
    if (r == -EINVAL)
        *ret_problem = "has a nextLink that is no address";
    if (r < 0)
        return r;
    h = hash(url);
    for (i = 0; i < l->n_pages; i++)
        if (l->seen[i] == h) {
            *ret_problem = "has a nextLink to a page that was read already";
            return -ELOOP;
        }
    if (l->n_pages == PAGES_MAX || l->n_entries > ENTRIES_MAX || l->n_bytes > BYTES_MAX) {
        *ret_problem = "goes on after 1000 pages, 200000 entries or 256 MiB";
        return -E2BIG;
    }
    free_and_replace(&l->url, TAKE_PTR(url));
    r = ask(l);
    return r < 0 ? r : 1;
}

static void on_page(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureList *l = userdata;
    const char *problem = NULL;
    json_object *value;
    char buf[128];
    int r, status = a->http ? a->http->status : 0;

    if (!a->ok) {
        finish(l, false, status, failure);
        return;
    }
    value = json_get_nocase(a->json, "value");
    if (status != 200 || (value && !json_object_is_type(value, json_type_array))) {
        refuse(l, a, "is no list");
        return;
    }
    if (!value && json_object_object_length(a->json) > 0 && !json_get_nocase(a->json, "nextLink")) {
        refuse(l, a, "has no \"value\"");
        return;
    }
    l->n_bytes += a->http->body_size;
    if (value) {
        size_t n = json_object_array_length(value);

        if (n > PAGE_ENTRIES_MAX) {
            refuse(l, a, "has more than 10000 entries in one page");
            return;
        }
        l->n_entries += n;
        l->callbacks.page(value, l->userdata);
    }
    r = next_page(l, json_get_nocase(a->json, "nextLink"), &problem);
    if (r > 0)
        return;
    if (r == 0)
        finish(l, true, status, NULL);
    else if (problem)
        refuse(l, a, problem);
    else
        finish(l, false, status,
               r == -ENOMEM ? NULL
                            : failure_new(FAILURE_INTERNAL, "Could not %s: %s", l->what,
                                          strerror_r(-r, buf, sizeof(buf))));
}

static void on_waiting(const char *detail, void *userdata)
{
    AzureList *l = userdata;

    if (l->options.waiting)
        l->options.waiting(detail, l->userdata);
}

static int ask(AzureList *l)
{
    AzureRequest *request;
    int r;

    r = azure_request_start(l->client,
                            &(AzureRequestOptions){
                                .method = "GET",
                                .url = l->url,
                                .uid = l->options.uid,
                                .subject = l->options.subject,
                                .body_max = PAGE_BYTES_MAX,
                                .want_json = true,
                                .attempts_max = ATTEMPTS_MAX,
                                .deadline_usec = l->options.deadline_usec,
                                .waiting = on_waiting,
                            },
                            on_page, l, &request);
    if (r < 0)
        return r;
    azure_request_free(l->request); /* with its page */
    l->request = request;
    l->seen[l->n_pages++] = hash(l->url);
    return 0;
}

int azure_list_start(AzureClient *c, const AzureListOptions *options, const AzureListCallbacks *callbacks,
                     void *userdata, AzureList **ret)
{
    _cleanup_(azure_list_freep) AzureList *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->client = c;
    l->options = *options;
    l->callbacks = *callbacks;
    l->userdata = userdata;
    l->url = strdup(options->url);
    l->what = strdup(options->subject.what);
    if (!l->url || !l->what || str_copy(options->subject.action, &l->action) < 0)
        return -ENOMEM;
    l->options.url = NULL;
    l->options.subject.what = l->what;
    l->options.subject.action = l->action;
    r = ask(l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

AzureList *azure_list_free(AzureList *l)
{
    if (!l)
        return NULL;
    azure_request_free(l->request);
    free(l->url);
    free(l->what);
    free(l->action);
    free(l);
    return NULL;
}
