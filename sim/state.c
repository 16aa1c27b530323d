/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "state.h"
#include "log.h"
#include "timeutil.h"
#include <strings.h>

static const char *const operation_statuses[OPERATION_STATUS_MAX] = {
    [OPERATION_IN_PROGRESS] = "InProgress",
    [OPERATION_SUCCEEDED] = "Succeeded",
    [OPERATION_FAILED] = "Failed",
    [OPERATION_CANCELED] = "Canceled",
};

const char *operation_status_to_string(OperationStatus status)
{
    return status >= 0 && status < OPERATION_STATUS_MAX ? operation_statuses[status] : NULL;
}

static Session *session_unref(Session *s)
{
    Registration *r;

    if (!s || --s->refs > 0)
        return NULL;
    r = &s->registration;
    free(r->recovery_point);
    free(r->vm_name);
    free(r->resource_group);
    free(r->initiator_name);
    strv_free(r->disks);
    free(r->target_name);
    free(r->user_name);
    erase_and_freep(&r->password);
    erase_and_freep(&r->initiator_password);
    free(r->script_id);
    free(r->portal_host);
    json_object_put(r->script_faults);
    json_object_put(r->portal_faults);
    secret_unref(r->script);
    free(s->error);
    free(s);
    return NULL;
}

static Session *session_ref(Session *s)
{
    s->refs++;
    return s;
}

static void operation_free(State *s, Operation *o)
{
    LIST_REMOVE(s->operations, o);
    s->operation_count--;
    session_unref(o->session);
    fault_unref(o->fault);
    fault_unref(o->script_fault);
    free(o);
}

/* ---- the worker ---- */

/* With the lock held: what the backend is to do badly, from the scenarios as they are now. */
static void registration_faults(const SimConfig *c, const Point *p, Registration *r)
{
    const Scenario *own = p->scenario, *all = c->scenario;

    json_object_put(r->script_faults);
    json_object_put(r->portal_faults);
    r->script_faults = json_object_get(own && own->script ? own->script : all ? all->script : NULL);
    r->portal_faults = json_object_get(own && own->portal ? own->portal : all ? all->portal : NULL);
}

static int job_add(State *s, Session *session, bool remove, bool update)
{
    Job *job = calloc(1, sizeof(*job)), *last;

    if (!job)
        return -ENOMEM;
    job->session = session_ref(session);
    job->remove = remove;
    job->update = update;
    for (last = s->jobs; last && last->list.next; last = last->list.next)
        ;
    if (last) {
        last->list.next = job;
        job->list.prev = last;
    } else
        s->jobs = job;
    pthread_cond_broadcast(&s->changed);
    return 0;
}

static void session_unlist(State *s, Session *session)
{
    if (!session->listed)
        return;
    session->listed = false;
    LIST_REMOVE(s->sessions, session);
    session_unref(session);
}

/* Takes the recovery from its point at once and has the target removed by the worker. */
static int session_end(State *s, Point *p)
{
    Session *session = p->session;
    int r;

    if (!session)
        return 0;
    r = job_add(s, session, true, false);
    if (r < 0)
        return r;
    p->session = NULL;
    session_unref(session);
    state_file_save(s);
    return 0;
}

/* Called with the lock, which is given back while the backend works. */
static void job_run(State *s, Job *job)
{
    const BackendOps *ops = s->config->backend;
    Session *session = job->session;
    Registration *r = &session->registration;
    _cleanup_free_ char *error = NULL;
    int k = 0;

    if (job->remove) {
        if (session->state != SESSION_ACTIVE) {
            session_unlist(s, session);
            return;
        }
        session->state = SESSION_REMOVING;
    } else if (job->update) {
        if (session->state != SESSION_ACTIVE)
            return;
        registration_faults(s->config, session->point, r);
    } else if (s->stopping) {
        session->state = SESSION_FAILED;
        session_unlist(s, session);
        return;
    }
    state_unlock(s);
    if (job->remove)
        k = ops->remove(s->backend, r, &error);
    else if (job->update)
        k = ops->update(s->backend, r, &error);
    else
        k = ops->create(s->backend, r, &error);
    if (k < 0)
        log_error("%s of the target for recovery point %s failed: %s",
                  job->remove   ? "Removal"
                  : job->update ? "Change"
                                : "Creation",
                  r->recovery_point, error ? error : strerror(-k));
    state_lock(s);
    if (job->remove) {
        session->state = SESSION_REMOVED;
        session_unlist(s, session);
    } else if (!job->update) {
        session->state = k < 0 ? SESSION_FAILED : SESSION_ACTIVE;
        session->error = TAKE_PTR(error);
        if (k < 0) {
            session_unlist(s, session);
            state_file_save(s);
        }
    }
}

/* Ends what has expired; returns when the next one will, CLOCK_BOOTTIME. */
static uint64_t sessions_expire(State *s)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME), next = USEC_INFINITY;

    for (size_t v = 0; v < s->config->vault_count; v++)
        for (size_t i = 0; i < s->config->vaults[v].item_count; i++) {
            Item *item = &s->config->vaults[v].items[i];

            for (size_t n = 0; n < item->point_count; n++) {
                Point *p = &item->points[n];

                if (!p->session)
                    continue;
                if (p->session->registration.expires_boot_usec <= now)
                    (void)session_end(s, p);
                else
                    next = MIN(next, p->session->registration.expires_boot_usec);
            }
        }
    return next;
}

static void wait_usec(State *s, uint64_t usec)
{
    struct timespec t;
    uint64_t until = now_usec(CLOCK_MONOTONIC) + usec;

    t.tv_sec = (time_t)(until / USEC_PER_SEC);
    t.tv_nsec = (long)(until % USEC_PER_SEC * 1000);
    pthread_cond_timedwait(&s->changed, &s->lock, &t);
}

static void *worker_main(void *userdata)
{
    State *s = userdata;

    state_lock(s);
    for (;;) {
        Job *job = s->jobs;
        uint64_t next;

        if (job) {
            LIST_REMOVE(s->jobs, job);
            job_run(s, job);
            session_unref(job->session);
            free(job);
            pthread_cond_broadcast(&s->changed);
            continue;
        }
        if (s->drain)
            break;
        next = sessions_expire(s);
        if (s->jobs)
            continue;
        if (next == USEC_INFINITY)
            pthread_cond_wait(&s->changed, &s->lock);
        else
            wait_usec(s, next - MIN(next, now_usec(CLOCK_BOOTTIME)));
    }
    state_unlock(s);
    return NULL;
}

int state_init(State *s, SimConfig *config, char **ret_error)
{
    pthread_condattr_t attributes;
    int r;

    memset(s, 0, sizeof(*s));
    s->config = config;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    r = config->backend->start(&config->backend_config, &s->backend, ret_error);
    if (r < 0)
        return r;
    r = state_file_load(s, ret_error);
    if (r < 0)
        return r;
    r = -pthread_create(&s->worker, NULL, worker_main, s);
    s->worker_started = r == 0;
    return r;
}

void state_interrupt(State *s)
{
    state_lock(s);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    state_unlock(s);
}

void state_done(State *s)
{
    state_lock(s);
    s->stopping = true;
    for (size_t v = 0; v < s->config->vault_count; v++)
        for (size_t i = 0; i < s->config->vaults[v].item_count; i++)
            for (size_t n = 0; n < s->config->vaults[v].items[i].point_count; n++)
                (void)session_end(s, &s->config->vaults[v].items[i].points[n]);
    s->drain = true;
    pthread_cond_broadcast(&s->changed);
    state_unlock(s);
    if (s->worker_started)
        pthread_join(s->worker, NULL);
    while (s->operations)
        operation_free(s, s->operations);
    while (s->sessions)
        session_unlist(s, s->sessions);
    if (s->backend)
        s->config->backend->stop(s->backend);
    for (size_t i = 0; i < LOG_ENTRIES_MAX; i++)
        json_object_put(s->log[i]);
    s->listening = strv_free(s->listening);
    state_devices_done(s);
    s->assertions = assertions_free(s->assertions);
    free(s->imds_address);
    free(s->arc_address);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

bool state_wait(State *s, double seconds)
{
    uint64_t until = now_usec(CLOCK_MONOTONIC) + (uint64_t)(seconds * (double)USEC_PER_SEC), now;
    bool stopping;

    state_lock(s);
    while (!s->stopping && (now = now_usec(CLOCK_MONOTONIC)) < until)
        wait_usec(s, until - now);
    stopping = s->stopping;
    state_unlock(s);
    return !stopping;
}

/* ---- scenarios ---- */

Fault *state_fault(State *s, const Point *p, RequestKind kind, FaultClass c)
{
    Fault *f = NULL;

    state_lock(s);
    if (p)
        f = scenario_take(p->scenario, kind, c);
    if (!f)
        f = scenario_take(s->config->scenario, kind, c);
    state_unlock(s);
    return f;
}

void state_scenario(State *s, Point *p, Scenario *scenario)
{
    Scenario **slot = p ? &p->scenario : &s->config->scenario;

    state_lock(s);
    scenario_free(*slot);
    *slot = scenario;
    if (p && p->session && s->config->backend->update)
        (void)job_add(s, p->session, false, true);
    state_unlock(s);
}

typedef double (*Seconds)(const Scenario *s);

static double scenario_provision(const Scenario *s)
{
    return s->provision_seconds;
}

static double scenario_revoke(const Scenario *s)
{
    return s->revoke_seconds;
}

static double scenario_retry_after(const Scenario *s)
{
    return s->retry_after_seconds;
}

/* With the lock held. */
static double seconds_of(State *s, const Point *p, Seconds get, double fallback)
{
    if (p && p->scenario && get(p->scenario) >= 0)
        return get(p->scenario);
    if (s->config->scenario && get(s->config->scenario) >= 0)
        return get(s->config->scenario);
    return fallback;
}

double state_retry_after(State *s, const Point *p)
{
    double seconds;

    state_lock(s);
    seconds = seconds_of(s, p, scenario_retry_after, s->config->retry_after_seconds);
    state_unlock(s);
    return seconds;
}

/* ---- operations ---- */

Operation *state_operation(State *s, const char *id)
{
    Operation *o;

    LIST_FOREACH (o, s->operations)
        if (strcasecmp(o->id, id) == 0)
            return o;
    return NULL;
}

OperationStatus operation_status(const Operation *o)
{
    if (o->fault && o->fault->kind == FAULT_NEVER)
        return OPERATION_IN_PROGRESS;
    if (now_usec(CLOCK_BOOTTIME) < o->ready_usec)
        return OPERATION_IN_PROGRESS;
    if (o->fault && o->fault->kind == FAULT_FAILED)
        return OPERATION_FAILED;
    if (o->fault && o->fault->kind == FAULT_CANCELED)
        return OPERATION_CANCELED;
    if (!o->session)
        return OPERATION_SUCCEEDED;
    switch (o->session->state) {
    case SESSION_CREATING:
        return OPERATION_IN_PROGRESS;
    case SESSION_FAILED:
        return o->kind == REQUEST_REVOKE ? OPERATION_SUCCEEDED : OPERATION_FAILED;
    case SESSION_ACTIVE:
    case SESSION_REMOVING:
        return o->kind == REQUEST_REVOKE ? OPERATION_IN_PROGRESS : OPERATION_SUCCEEDED;
    case SESSION_REMOVED:
    case SESSION_STATE_MAX:
    case SESSION_STATE_INVALID:
        break;
    }
    return OPERATION_SUCCEEDED;
}

bool point_active(const Point *p)
{
    return p->session && p->session->state == SESSION_ACTIVE;
}

/* With the lock held. Makes room first: the oldest ended operations are forgotten. */
static int operation_new(State *s, Point *p, RequestKind kind, double seconds, Operation **ret)
{
    Operation *o, *last = NULL;

    if (s->stopping)
        return -ESHUTDOWN;
    if (s->operation_count >= OPERATIONS_MAX) {
        LIST_FOREACH (o, s->operations)
            if (operation_status(o) != OPERATION_IN_PROGRESS || (o->fault && o->fault->kind == FAULT_NEVER))
                last = o;
        if (!last)
            return -EBUSY;
        operation_free(s, last);
    }
    o = calloc(1, sizeof(*o));
    if (!o)
        return -ENOMEM;
    guid_make(o->id);
    o->kind = kind;
    o->point = p;
    o->started_usec = now_usec(CLOCK_REALTIME);
    o->ready_usec = now_usec(CLOCK_BOOTTIME) + (uint64_t)(seconds * (double)USEC_PER_SEC);
    LIST_PREPEND(s->operations, o);
    s->operation_count++;
    *ret = o;
    return 0;
}

static void expires_in(Registration *r, uint64_t usec)
{
    r->expires_usec = now_usec(CLOCK_REALTIME) + usec;
    r->expires_boot_usec = now_usec(CLOCK_BOOTTIME) + usec;
}

static int registration_fill(const SimConfig *c, Registration *r, const Point *p, const char *initiator)
{
    uint64_t now = now_usec(CLOCK_REALTIME);

    r->recovery_point = strdup(p->id);
    r->vm_name = strdup(p->item->vm);
    r->resource_group = strdup(p->item->resource_group);
    r->portal_host = strdup(c->backend_config.portal_host);
    if (!r->recovery_point || !r->vm_name || !r->resource_group ||
        str_copy(initiator, &r->initiator_name) < 0 || !r->portal_host)
        return -ENOMEM;
    r->portal_port = c->backend_config.portal_port;
    r->multi_target = p->multi_target;
    expires_in(r, (uint64_t)(c->valid_seconds * (double)USEC_PER_SEC));
    registration_faults(c, p, r);
    if (strv_copy(p->disks, &r->disks) < 0)
        return -ENOMEM;
    return identity_make(r, now);
}

/* With the lock held: a new session at the point, whose target the worker will create. */
static int session_start(State *s, Point *p, const char *initiator)
{
    Session *session = calloc(1, sizeof(*session));
    int r;

    if (!session)
        return -ENOMEM;
    session->refs = 1;
    session->point = p;
    r = registration_fill(s->config, &session->registration, p, initiator);
    if (r >= 0)
        r = job_add(s, session, false, false);
    if (r < 0) {
        session_unref(session);
        return r;
    }
    session->listed = true;
    LIST_PREPEND(s->sessions, session);
    p->session = session_ref(session);
    return 0;
}

int state_restore(State *s, Point *p, const char *initiator, uint64_t expires_usec)
{
    int r = session_start(s, p, initiator);

    if (r >= 0)
        expires_in(&p->session->registration, expires_usec - MIN(expires_usec, now_usec(CLOCK_REALTIME)));
    return r;
}

int state_provision(State *s, Point *p, const char *initiator, bool renew, char id[static GUID_SIZE])
{
    _cleanup_fault_ Fault *fault = state_fault(s, p, REQUEST_PROVISION, FAULT_CLASS_OPERATION);
    _cleanup_fault_ Fault *script_fault = state_fault(s, p, REQUEST_PROVISION, FAULT_CLASS_SCRIPT);
    Operation *o = NULL;
    int r;

    state_lock(s);
    r = operation_new(s, p, REQUEST_PROVISION,
                      seconds_of(s, p, scenario_provision, s->config->provision_seconds), &o);
    /* A file share has no target: the operation is all there is. */
    if (r >= 0 && !p->item->file_share &&
        !(fault && (fault->kind == FAULT_FAILED || fault->kind == FAULT_CANCELED))) {
        /* An active recovery is shared by whoever asks as the same initiator; another one replaces it. */
        if (p->session && (p->session->state == SESSION_FAILED ||
                           !streq_ptr(p->session->registration.initiator_name, initiator)))
            r = session_end(s, p);
        if (r >= 0 && p->session && renew)
            expires_in(&p->session->registration,
                       (uint64_t)(s->config->valid_seconds * (double)USEC_PER_SEC));
        if (r >= 0 && !p->session)
            r = session_start(s, p, initiator);
        if (r >= 0) {
            o->session = session_ref(p->session);
            state_file_save(s);
        }
    }
    if (r >= 0) {
        o->fault = TAKE_PTR(fault);
        o->script_fault = TAKE_PTR(script_fault);
        memcpy(id, o->id, GUID_SIZE);
    } else if (o)
        operation_free(s, o);
    state_unlock(s);
    return r;
}

int state_revoke(State *s, Point *p, char id[static GUID_SIZE])
{
    _cleanup_fault_ Fault *fault = state_fault(s, p, REQUEST_REVOKE, FAULT_CLASS_OPERATION);
    Operation *o = NULL;
    int r;

    state_lock(s);
    r = operation_new(s, p, REQUEST_REVOKE, seconds_of(s, p, scenario_revoke, s->config->revoke_seconds), &o);
    if (r >= 0 && p->session && !(fault && (fault->kind == FAULT_FAILED || fault->kind == FAULT_CANCELED))) {
        o->session = session_ref(p->session);
        r = session_end(s, p);
    }
    if (r >= 0) {
        o->fault = TAKE_PTR(fault);
        memcpy(id, o->id, GUID_SIZE);
    } else if (o)
        operation_free(s, o);
    state_unlock(s);
    return r;
}
