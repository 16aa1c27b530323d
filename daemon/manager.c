/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include "helper-call.h"
#include "log.h"
#include "orphans.h"
#include "session-file-share.h"
#include "session-status.h"
#include "session-vm.h"
#include "unit-watch.h"

#define STATUS_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define STATUS_RETRY_USEC (5 * USEC_PER_SEC)
#define STATUS_TRIES_MAX 3 /* then whoever waits is told; it is asked on */
#define ORPHAN_RETRY_USEC USEC_PER_MINUTE

struct Manager {
    SessionContext context;
    VmServices services;
    char *helper_socket, *connect_dir, *state_dir, *block_dir;
    Store *store;
    Metrics *metrics;
    Hooks *hooks;
    Session *sessions;
    bool adopted;       /* every record has been held against reality */
    HelperCall *status; /* the question about it */
    unsigned status_tries;
    Orphans *orphans;
    sd_event_source *retry, *reap;
    ManagerChanged changed;
    void *userdata;
};

Manager *manager_free(Manager *m)
{
    Session *s, *next;

    if (!m)
        return NULL;
    LIST_FOREACH_SAFE (s, next, m->sessions)
        session_free(s);
    helper_call_free(m->status);
    orphans_free(m->orphans);
    sd_event_source_disable_unref(m->retry);
    sd_event_source_disable_unref(m->reap);
    azure_free(m->services.azure);
    places_free(m->services.connections);
    unit_bus_free(m->services.bus);
    store_free(m->store);
    metrics_free(m->metrics);
    hooks_free(m->hooks);
    free(m->helper_socket);
    free(m->connect_dir);
    free(m->state_dir);
    free(m->block_dir);
    free(m->services.portal);
    free(m);
    return NULL;
}

static int on_reap(sd_event_source *source, void *userdata)
{
    Manager *m = userdata;
    Session *s, *next;

    LIST_FOREACH_SAFE (s, next, m->sessions) {
        if (!s->closed)
            continue;
        LIST_REMOVE(m->sessions, s);
        session_free(s);
    }
    return 0;
}

static void on_session_changed(Session *s, void *userdata)
{
    Manager *m = userdata;

    if (m->changed)
        m->changed(s, m->userdata);
    /* One that ended as it should not may have left something. */
    if (s->closed && (s->failure || s->forced) && m->adopted)
        orphans_look_later(m->orphans);
    if (s->closed)
        (void)sd_event_source_set_enabled(m->reap, SD_EVENT_ONESHOT);
}

static int make_orphans(Manager *m, sd_event *event, const Config *config)
{
    const OrphansOptions options = {
        .helper_socket = m->helper_socket,
        /* 60 s, unless retries are set to be quick. */
        .retry_usec = MIN(ORPHAN_RETRY_USEC, 6 * config->busy_retry_usec),
        .known = manager_known,
        .userdata = m,
    };

    return orphans_new(&m->orphans, event, &options);
}

int manager_new(Manager **ret, sd_event *event, const Config *config, const ManagerOptions *options,
                Failure **ret_failure)
{
    _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return -ENOMEM;
    m->helper_socket = strdup(options->helper_socket);
    m->connect_dir = strdup(options->connect_dir);
    m->state_dir = strdup(options->state_dir);
    m->block_dir = strdup(options->block_dir);
    if (!m->helper_socket || !m->connect_dir || !m->state_dir || !m->block_dir)
        return -ENOMEM;
    r = store_new(&m->store, options->state_dir);
    if (r < 0) {
        char buf[128];

        *ret_failure = failure_new(FAILURE_INTERNAL, "The state directory %s cannot be used: %s",
                                   options->state_dir, strerror_r(-r, buf, sizeof(buf)));
        return r;
    }
    r = metrics_new(&m->metrics);
    if (r >= 0)
        r = hooks_new(&m->hooks, event, options->helper_socket, options->hooks_path);
    if (r >= 0)
        r = make_orphans(m, event, config);
    if (r < 0)
        return r;
    r = azure_new(&m->services.azure, event, config, ret_failure);
    if (r < 0)
        return r;
    r = unit_bus_new(&m->services.bus, event);
    if (r >= 0)
        r = places_new(&m->services.connections, event, CONNECTIONS_MAX);
    if (r < 0)
        return r;
    m->services.helper_socket = m->helper_socket;
    m->services.connect_dir = m->connect_dir;
    m->services.block_dir = m->block_dir;
    m->context = (SessionContext){
        .event = event,
        .config = config,
        .store = m->store,
        .changed = on_session_changed,
        .userdata = m,
        .services = &m->services,
        .metrics = m->metrics,
        .hooks = m->hooks,
    };
    r = sd_event_add_defer(event, &m->reap, on_reap, m);
    if (r >= 0)
        r = sd_event_source_set_enabled(m->reap, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(m);
    return 0;
}

void manager_set_changed(Manager *m, ManagerChanged changed, void *userdata)
{
    m->changed = changed;
    m->userdata = userdata;
}

Session *manager_sessions(Manager *m)
{
    return m->sessions;
}

const char *manager_helper_socket(const Manager *m)
{
    return m->helper_socket;
}

const char *manager_state_dir(const Manager *m)
{
    return m->state_dir;
}

const Metrics *manager_metrics(const Manager *m)
{
    return m->metrics;
}

const char *manager_portal(const Manager *m)
{
    return m->services.portal;
}

Azure *manager_azure(Manager *m)
{
    return m->services.azure;
}

Session *manager_find(Manager *m, const char *id)
{
    Session *s;

    LIST_FOREACH (s, m->sessions)
        if (!s->closed && streq(s->id, id))
            return s;
    return NULL;
}

/* ---- what stood before this start ---- */

static const struct {
    const SessionKind *kind;
    void *(*data)(AzurePoint *point, AzureResource *resource);
    void (*data_free)(void *data); /* only if no session owns it */
} kinds[] = {
    {&session_kind_vm, session_vm_data, session_vm_data_free},
    {&session_kind_file_share, session_file_share_data, session_file_share_data_free},
};

static size_t find_kind(const char *name)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(kinds); i++)
        if (streq_ptr(name, kinds[i].kind->name))
            break;
    return i;
}

static void on_record(const char *id, json_object *record, void *userdata)
{
    const char *kind = NULL;
    Manager *m = userdata;
    Session *s;
    void *data;
    size_t i;
    int r;

    (void)json_get_string(record, "kind", &kind);
    i = find_kind(kind);
    if (i == ELEMENTSOF(kinds)) {
        log_error("The record of session %s is of a kind that this program does not know, it is kept", id);
        return;
    }
    data = kinds[i].data(NULL, NULL);
    r = data ? session_load(&s, &m->context, kinds[i].kind, data, id, record) : -ENOMEM;
    if (r < 0) {
        kinds[i].data_free(data);
        log_error_errno(r, "The record of session %s cannot be used, it is kept", id);
        return;
    }
    LIST_PREPEND(m->sessions, s);
}

static void on_kept(const char *file, const char *why, void *userdata)
{
    log_error("The record %s %s, it is kept", file, why);
}

typedef struct KeptSearch {
    Manager *manager;
    void (*kept)(const char *file, const char *why, void *userdata);
    void *userdata;
} KeptSearch;

static void on_record_again(const char *id, json_object *record, void *userdata)
{
    char file[SESSION_ID_LENGTH + sizeof(".json")];
    const KeptSearch *k = userdata;

    snprintf(file, sizeof(file), "%s.json", id);
    if (!manager_find(k->manager, id))
        k->kept(file, "is of a kind that this program does not know, or damaged", k->userdata);
}

static void on_kept_again(const char *file, const char *why, void *userdata)
{
    const KeptSearch *k = userdata;

    k->kept(file, why, k->userdata);
}

int manager_kept_records(Manager *m, void (*kept)(const char *file, const char *why, void *userdata),
                         void *userdata)
{
    KeptSearch k = {.manager = m, .kept = kept, .userdata = userdata};

    return store_load(m->store, on_record_again, on_kept_again, &k);
}

static void on_kept_known(const char *file, const char *why, void *userdata)
{
    char id[SESSION_ID_LENGTH + 1] = "";
    char ***ids = userdata;

    (void)strncat(id, file, SESSION_ID_LENGTH);
    if (session_id_valid(id)) /* the helper refuses a list with anything else */
        (void)strv_extend(ids, id);
}

int manager_known(char ***ret, void *userdata)
{
    _cleanup_strv_free_ char **ids = NULL;
    Manager *m = userdata;
    Session *s;
    int r;

    LIST_FOREACH (s, m->sessions)
        if (!s->closed && strv_extend(&ids, s->id) < 0)
            return -ENOMEM;
    r = manager_kept_records(m, on_kept_known, &ids);
    if (r >= 0)
        *ret = TAKE_PTR(ids);
    return r;
}

static int ask_status(Manager *m);

static void ask_later(Manager *m);

static int on_status_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    if (ask_status(userdata) < 0)
        ask_later(userdata);
    return 0;
}

static void ask_later(Manager *m)
{
    m->retry = sd_event_source_disable_unref(m->retry);
    if (sd_event_add_time_relative(m->context.event, &m->retry, CLOCK_MONOTONIC, STATUS_RETRY_USEC, 0,
                                   on_status_retry, m) < 0)
        log_oom();
}

/* Whoever waits for one of these cannot be told anything better. It is asked on. */
static void tell_unknown(Manager *m, const Failure *failure)
{
    _cleanup_failure_ Failure *f =
        failure_new(FAILURE_HELPER_FAILED, "The helper does not tell whether the session still stands: %s",
                    failure && failure->message ? failure->message : "no list in its answer");
    Session *s;

    LIST_FOREACH (s, m->sessions)
        if (f && s->adopting)
            session_adopt_later(s, f);
}

static void on_status(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Manager *m = userdata;
    json_object *entries = NULL;
    Session *s;

    if (answer && json_get_array(answer, "sessions", &entries) <= 0)
        answer = NULL;
    if (!answer) {
        log_error("The helper does not tell what stands, asking again: %s",
                  failure && failure->message ? failure->message : "no list in its answer");
        if (++m->status_tries >= STATUS_TRIES_MAX)
            tell_unknown(m, failure);
        m->status = helper_call_free(m->status);
        ask_later(m);
        return;
    }
    m->adopted = true;
    LIST_FOREACH (s, m->sessions)
        if (s->adopting)
            session_adopt(s, session_stands(s, entries));
    m->status = helper_call_free(m->status);
    orphans_look(m->orphans);
}

static int ask_status(Manager *m)
{
    _cleanup_json_ json_object *request = json_object_new_object();
    int r;

    if (!request)
        return -ENOMEM;
    r = json_add_string(request, "verb", "status");
    if (r >= 0) /* of all sessions at once: what is on their disks may be much, and is known */
        r = json_add_bool(request, "brief", true);
    if (r < 0)
        return r;
    return helper_call_new(&m->status, m->context.event, m->helper_socket, request, NULL, NULL,
                           STATUS_TIMEOUT_USEC, on_status, m);
}

int manager_start(Manager *m)
{
    int r;

    r = store_load(m->store, on_record, on_kept, m);
    if (r < 0)
        return r;
    return ask_status(m);
}

void manager_stop(Manager *m)
{
    Session *s;

    LIST_FOREACH (s, m->sessions)
        if (!s->closed)
            session_keep_bytes_read(s, true);
}

/* ---- new sessions ---- */

int manager_check_kind(const char *kind, Failure **ret_failure)
{
    if (!kind || find_kind(kind) < ELEMENTSOF(kinds))
        return 0;
    *ret_failure =
        failure_new(FAILURE_INVALID_REQUEST, "kind is \"%.64s\": expected \"vm\" or \"file-share\"", kind);
    return -EINVAL;
}

Session *manager_find_point(Manager *m, const AzurePoint *point)
{
    Session *s;

    LIST_FOREACH (s, m->sessions)
        if (!s->closed && !s->closing && azure_point_same(session_point(s), point))
            return s;
    return NULL;
}

/* Root is exempt from the limit per caller: whoever is root could change it. */
static int check_limits(Manager *m, const ManagerRequest *request, bool new, Failure **ret_failure)
{
    uint64_t max = m->context.config->sessions_per_caller_max;
    size_t all = 0, his = 0;
    Session *s;

    LIST_FOREACH (s, m->sessions) {
        if (s->closed)
            continue;
        all++;
        if (!s->closing && session_holders_find(&s->holders, request->uid))
            his++;
    }
    if (new &&all >= m->context.config->sessions_max) {
        *ret_failure =
            failure_new(FAILURE_LIMIT_REACHED, "%zu sessions are there, SessionsMax= allows no more", all);
        return -EBUSY;
    }
    if (max > 0 && request->uid != 0 && his >= max) {
        *ret_failure =
            failure_new(FAILURE_LIMIT_REACHED, "%s holds %zu sessions, SessionsPerCallerMax= allows no more",
                        request->caller, his);
        return -EBUSY;
    }
    return 0;
}

static int join(Manager *m, Session *s, const ManagerRequest *request, Failure **ret_failure)
{
    const SessionHolder *holder = session_holders_find(&s->holders, request->uid);
    uint64_t idle = request->idle_given ? request->idle_usec
                    : holder            ? holder->idle_usec /* he keeps what he said */
                                        : m->context.config->idle_usec;
    int r, k;

    if (s->down) { /* its revoke is for the point, and would take the new session's targets away */
        *ret_failure = failure_advise(
            failure_new(FAILURE_BUSY, "Session %s of the same recovery point is being released", s->id),
            "try again in a moment");
        return -EBUSY;
    }
    r = session_join_check(s, request->kind ? request->kind : "vm", request->point, request->resource,
                           request->replay, ret_failure);
    if (r >= 0 && !holder)
        r = check_limits(m, request, false, ret_failure);
    if (r >= 0)
        r = session_hold(s, request->uid, request->caller, request->reason, idle);
    if (r == -E2BIG)
        *ret_failure = failure_advise(failure_new(FAILURE_LIMIT_REACHED,
                                                  "Session %s has %d holders already, no more can be", s->id,
                                                  SESSION_HOLDERS_MAX),
                                      "ilrctl status shows them: one has to release it first");
    if (r < 0 || !request->keys)
        return r;
    k = s->kind->add_keys ? s->kind->add_keys(s, request->keys) : -EINVAL;
    if (k == -E2BIG)
        *ret_failure = failure_advise(failure_new(FAILURE_LIMIT_REACHED,
                                                  "Session %s has %d keys to try already, no more can be",
                                                  s->id, SESSION_KEYS_MAX),
                                      "unlock the other volumes when it is ready: ilrctl unlock");
    if (k < 0 && r > 0)
        session_let_go(s, request->uid);
    return k < 0 ? k : 0;
}

int manager_provision(Manager *m, const ManagerRequest *request, Session **ret, Failure **ret_failure)
{
    _cleanup_(azure_point_freep) AzurePoint *p = request->point;
    _cleanup_(azure_resource_freep) AzureResource *resource = request->resource;
    size_t kind = request->kind ? find_kind(request->kind) : 0;
    Session *s;
    void *data;
    int r;

    r = manager_check_kind(request->kind, ret_failure);
    if (r < 0)
        return r;
    s = manager_find_point(m, p);
    if (s) {
        r = join(m, s, request, ret_failure);
        if (r < 0)
            return r;
        *ret = s;
        return 0;
    }
    r = check_limits(m, request, true, ret_failure);
    if (r < 0)
        return r;
    data = kinds[kind].data(p, resource);
    if (!data)
        return -ENOMEM;
    TAKE_PTR(p);
    TAKE_PTR(resource);
    r = session_new(&s, &m->context, kinds[kind].kind, data, request->uid, request->caller, request->reason);
    if (r < 0) {
        kinds[kind].data_free(data);
        return r;
    }
    r = request->keys && s->kind->add_keys ? s->kind->add_keys(s, request->keys) : 0;
    if (r < 0) {
        session_free(s);
        return r;
    }
    if (kinds[kind].kind == &session_kind_vm)
        (void)session_provision_set_replay(s, request->replay); /* a word that was looked at */
    session_set_idle(s, request->idle_given ? request->idle_usec : m->context.config->idle_usec);
    LIST_PREPEND(m->sessions, s);
    *ret = s;
    return 0;
}
