/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-token.h"

#include "list.h"
#include "log.h"
#include "strv.h"
#include "timeutil.h"

#define EARLY_USEC (5 * USEC_PER_MINUTE)
#define UNUSED_USEC (24 * USEC_PER_HOUR)
/* So long the metadata service may be updated, as its manual says: "at least 70 s". */
#define UPDATE_USEC (75 * USEC_PER_SEC)

struct AzureTokenWaiter {
    LIST_FIELDS(AzureTokenWaiter);
    AzureToken *token;
    AzureTokenDone done;
    void *userdata;
    bool notify; /* it waited for the answer that is being told */
};

struct AzureToken {
    AzureFetchContext context;
    Secret *current;       /* or NULL */
    uint64_t expires_usec; /* CLOCK_BOOTTIME, 5 minutes early */
    AzureFetch *fetch;     /* the one under way, or NULL */
    CredentialKind trying; /* what it tries */
    CredentialKind taken;  /* what "auto" has found; CREDENTIAL_AUTO: nothing yet */
    char **reasons;        /* why not those before it */
    bool person;           /* by refresh_token, none of these ways */
    Secret *refresh_token; /* or NULL */
    bool refused;          /* a person's, who must sign in again */
    /* CLOCK_BOOTTIME: the service wants no question before, because of this; and until when its being updated
     * is no reason to give up, 0: it is not updated. */
    uint64_t held_usec, patient_usec;
    Failure *held;
    AzureTokenWaiter *waiters;
};

int azure_token_new(AzureToken **ret, Http *http, const Config *config)
{
    AzureToken *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->context = (AzureFetchContext){.http = http, .config = config};
    t->trying = CREDENTIAL_AUTO;
    t->taken = CREDENTIAL_AUTO;
    *ret = t;
    return 0;
}

AzureToken *azure_token_free(AzureToken *t)
{
    if (!t)
        return NULL;
    while (t->waiters) {
        t->waiters->token = NULL;
        LIST_REMOVE(t->waiters, t->waiters);
    }
    azure_fetch_free(t->fetch);
    secret_unref(t->current);
    secret_unref(t->refresh_token);
    failure_free(t->held);
    strv_free(t->reasons);
    free(t);
    return NULL;
}

AzureTokenWaiter *azure_token_waiter_free(AzureTokenWaiter *w)
{
    AzureToken *t;

    if (!w)
        return NULL;
    t = w->token;
    if (t) {
        LIST_REMOVE(t->waiters, w);
        if (!t->waiters)
            t->fetch = azure_fetch_free(t->fetch);
    }
    free(w);
    return NULL;
}

void azure_token_drop(AzureToken *t, const Secret *token)
{
    if (t->current == token)
        t->current = secret_unref(t->current);
}

const char *azure_token_host(const AzureToken *t)
{
    return t->fetch ? azure_fetch_host(t->fetch) : "the token service";
}

uint64_t azure_token_held_usec(const AzureToken *t)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);

    return t->held_usec > now ? t->held_usec - now : 0;
}

bool azure_token_patient(const AzureToken *t)
{
    return now_usec(CLOCK_BOOTTIME) < t->patient_usec;
}

bool azure_token_refused(const AzureToken *t)
{
    return t->refused;
}

bool azure_token_unused(const AzureToken *t)
{
    return !t->waiters && now_usec(CLOCK_BOOTTIME) > t->expires_usec + UNUSED_USEC;
}

char *azure_token_describe(const AzureToken *t)
{
    _cleanup_free_ char *others = strv_join(t->reasons, "; ");
    CredentialKind kind = t->context.config->credential ? t->context.config->credential : t->taken;
    char *s;

    if (t->person)
        return t->current ? strdup("by your own sign-in") : NULL;
    if (kind == CREDENTIAL_AUTO || !t->current)
        return NULL;
    if (asprintf(&s, "by %s%s%s%s", credential_kind_to_string(kind), others && *others ? " (not by " : "",
                 others && *others ? others : "", others && *others ? ")" : "") < 0)
        return NULL;
    return s;
}

/* ---- which way ---- */

static void on_fetched(AzureFetched *fetched, void *userdata);

static int start(AzureToken *t, CredentialKind kind, bool probe, Failure **ret_failure)
{
    t->trying = kind;
    return azure_fetch_start(&t->context, kind, probe, on_fetched, t, &t->fetch, ret_failure);
}

static int note(AzureToken *t, CredentialKind kind, const Failure *why)
{
    return strv_extendf(&t->reasons, "%s: %s", credential_kind_to_string(kind),
                        why && why->message ? why->message : "no reason is known");
}

/* The first way from this one on that there is. -ENOENT with a failure: there is none. */
static int start_auto(AzureToken *t, CredentialKind kind, Failure **ret_failure)
{
    _cleanup_free_ char *reasons = NULL;

    for (; kind < CREDENTIAL_KIND_MAX; kind++) {
        _cleanup_failure_ Failure *f = NULL;
        int r = start(t, kind, true, &f);

        if (r >= 0)
            return 0;
        if (r != -ENOENT) {
            *ret_failure = TAKE_PTR(f);
            return r;
        }
        r = note(t, kind, f);
        if (r < 0)
            return r;
    }
    reasons = strv_join(t->reasons, "; ");
    *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "This host has no credential for Azure. %s",
                               reasons ? reasons : "");
    return -ENOENT;
}

static int begin(AzureToken *t, Failure **ret_failure)
{
    CredentialKind kind = t->context.config->credential;

    if (t->person)
        return start(t, CREDENTIAL_AUTO, false, ret_failure);
    if (kind == CREDENTIAL_AUTO)
        kind = t->taken;
    if (kind != CREDENTIAL_AUTO)
        return start(t, kind, false, ret_failure);
    t->reasons = strv_free(t->reasons);
    return start_auto(t, CREDENTIAL_AUTO + 1, ret_failure);
}

/* ---- the end of a fetch ---- */

static AzureTokenWaiter *waiter_next(AzureToken *t)
{
    AzureTokenWaiter *w;

    LIST_FOREACH (w, t->waiters)
        if (w->notify)
            return w;
    return NULL;
}

/* Whoever is told may free others that wait, or begin to wait anew: only those that waited for this answer
 * are told, and each is taken off the list before. */
static void tell(AzureToken *t, Secret *token, const Failure *failure, bool transient, uint64_t wait_usec)
{
    AzureTokenWaiter *w;

    LIST_FOREACH (w, t->waiters)
        w->notify = true;
    while ((w = waiter_next(t))) {
        LIST_REMOVE(t->waiters, w);
        w->token = NULL;
        w->done(token, token ? NULL : failure_copy(failure), transient, wait_usec, w->userdata);
    }
}

static void keep(AzureToken *t, Secret *token, uint64_t lifetime_usec)
{
    secret_unref(t->current);
    t->current = secret_ref(token);
    t->expires_usec = now_usec(CLOCK_BOOTTIME) + lifetime_usec;
    if (lifetime_usec > 2 * EARLY_USEC)
        t->expires_usec -= EARLY_USEC;
    if (!t->person && t->context.config->credential == CREDENTIAL_AUTO && t->taken != t->trying) {
        _cleanup_free_ char *how = NULL;

        t->taken = t->trying;
        how = azure_token_describe(t);
        log_info("Azure: the access token is got %s", how ? how : credential_kind_to_string(t->taken));
    }
}

int azure_token_new_person(AzureToken **ret, Http *http, const Config *config, Secret *token,
                           uint64_t lifetime_usec, Secret *refresh_token)
{
    AzureToken *t;
    int r = azure_token_new(&t, http, config);

    if (r < 0)
        return r;
    t->person = true;
    t->refresh_token = refresh_token ? secret_ref(refresh_token) : NULL;
    t->context.refresh_token = &t->refresh_token;
    keep(t, token, lifetime_usec);
    *ret = t;
    return 0;
}

AzureToken *azure_token_end(AzureToken *t)
{
    _cleanup_failure_ Failure *f = NULL;

    if (!t)
        return NULL;
    f = failure_advise(failure_new(FAILURE_CREDENTIAL_REJECTED, "The sign-in was ended"),
                       "sign in again: ilrctl login");
    t->fetch = azure_fetch_free(t->fetch);
    tell(t, NULL, f, false, 0);
    return azure_token_free(t);
}

static void on_fetched(AzureFetched *fetched, void *userdata)
{
    _cleanup_secret_ Secret *token = TAKE_PTR(fetched->token);
    _cleanup_failure_ Failure *failure = TAKE_PTR(fetched->failure);
    bool absent = fetched->absent, transient = fetched->transient;
    uint64_t wait_usec = fetched->retry_after_usec, lifetime_usec = fetched->lifetime_usec;
    AzureToken *t = userdata;
    int r;

    if (!fetched->updating)
        t->patient_usec = 0;
    else if (!t->patient_usec)
        t->patient_usec = now_usec(CLOCK_BOOTTIME) + UPDATE_USEC;
    t->fetch = azure_fetch_free(t->fetch); /* fetched is gone from here on */
    t->held = failure_free(t->held);
    t->held_usec = 0;
    if (transient && wait_usec > 0) {
        t->held_usec = now_usec(CLOCK_BOOTTIME) + wait_usec;
        t->held = failure_copy(failure);
    }
    if (token)
        keep(t, token, lifetime_usec);
    else if (t->person)
        t->refused = !transient && failure && failure->name == FAILURE_CREDENTIAL_REJECTED;
    else if (absent && t->context.config->credential == CREDENTIAL_AUTO) {
        Failure *next = NULL;

        r = note(t, t->trying, failure);
        if (r >= 0)
            r = start_auto(t, t->trying + 1, &next);
        if (r >= 0)
            return;
        failure_free(failure);
        failure = next;
    } else if (!transient)
        t->taken = CREDENTIAL_AUTO; /* look again next time */
    tell(t, token, failure, transient, wait_usec);
}

int azure_token_get(AzureToken *t, AzureTokenDone done, void *userdata, Secret **ret_token,
                    AzureTokenWaiter **ret_waiter, Failure **ret_failure)
{
    AzureTokenWaiter *w;
    int r;

    if (t->current && now_usec(CLOCK_BOOTTIME) < t->expires_usec) {
        *ret_token = secret_ref(t->current);
        return 1;
    }
    t->current = secret_unref(t->current);
    if (!t->fetch && azure_token_held_usec(t) > 0) {
        *ret_failure = failure_copy(t->held);
        return -EAGAIN;
    }
    if (!t->fetch) {
        r = begin(t, ret_failure);
        if (r < 0) {
            t->refused = t->person && r == -EKEYEXPIRED;
            return r;
        }
    }
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM; /* a request that was started for nobody fills the cache */
    w->token = t;
    w->done = done;
    w->userdata = userdata;
    LIST_PREPEND(t->waiters, w);
    *ret_waiter = w;
    return 0;
}
