/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "doctor.h"

#include "azure-check.h"
#include "helper-call.h"
#include "list.h"
#include "log.h"
#include "validate.h"

#include <sys/statvfs.h>

#define EXAMINATIONS_MAX 8
#define HELPER_TIMEOUT_USEC (90 * USEC_PER_SEC) /* it starts a few programs */
#define STATE_NEEDED_BYTES (1 * MIB)            /* records of sessions */
#define HELPER_CHECKS_MAX 64

typedef struct Examination {
    Doctor *doctor;
    VarlinkCall *call;
    char *portal; /* or NULL */
    HelperCall *helper;
    AzureCheck *azure;
    LIST_FIELDS(struct Examination);
} Examination;

struct Doctor {
    sd_event *event;
    Manager *manager;
    const Config *config;
    Examination *examinations;
    size_t n_examinations;
};

static void examination_free(Examination *e)
{
    if (e->call)
        varlink_call_set_gone(e->call, NULL, NULL);
    LIST_REMOVE(e->doctor->examinations, e);
    e->doctor->n_examinations--;
    helper_call_free(e->helper);
    azure_check_free(e->azure);
    free(e->portal);
    free(e);
}

int doctor_new(Doctor **ret, sd_event *event, Manager *manager, const Config *config)
{
    Doctor *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    *d = (Doctor){.event = event, .manager = manager, .config = config};
    *ret = d;
    return 0;
}

Doctor *doctor_free(Doctor *d)
{
    if (!d)
        return NULL;
    while (d->examinations)
        examination_free(d->examinations);
    free(d);
    return NULL;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    Examination *e = userdata;

    e->call = NULL;
    examination_free(e);
}

static void tell(Examination *e, const char *name, const char *result, const char *message, const char *hint)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *check = json_object_new_object();

    if (!o || !check || json_add_string(check, "name", name) < 0 ||
        json_add_string(check, "result", result) < 0 || json_add_string(check, "message", message) < 0 ||
        json_add_string(check, "hint", hint) < 0 || json_add(o, "check", TAKE_PTR(check)) < 0)
        log_oom(); /* the caller misses a line; ilrctl sees no end without the last one */
    else
        (void)varlink_call_notify(e->call, o);
}

static void tell_result(Examination *e, const char *name, CheckResult result, const char *message,
                        const char *hint)
{
    tell(e, name, check_result_to_string(result), message, hint);
}

/* ---- Azure ---- */

static void on_azure_checked(const char *name, CheckResult result, const char *message, const char *hint,
                             void *userdata)
{
    tell_result(userdata, name, result, message, hint);
}

static void on_azure_done(void *userdata)
{
    Examination *e = userdata;
    VarlinkCall *call = TAKE_PTR(e->call);

    varlink_call_set_gone(call, NULL, NULL);
    examination_free(e);
    (void)varlink_call_reply(call, NULL);
}

static int check_azure(Examination *e)
{
    static const AzureCheckCallbacks callbacks = {.checked = on_azure_checked, .done = on_azure_done};
    Manager *m = e->doctor->manager;

    return azure_check(manager_azure(m), varlink_call_uid(e->call), e->portal ? e->portal : manager_portal(m),
                       &callbacks, e, &e->azure);
}

/* ---- this host ---- */

static void check_state(Examination *e)
{
    const char *directory = manager_state_dir(e->doctor->manager);
    _cleanup_free_ char *message = NULL;
    struct statvfs v;
    uint64_t available;

    if (statvfs(directory, &v) < 0) {
        tell_result(e, "state directory", CHECK_FAILED, strerror(errno),
                    "see StateDirectory= of ilrd.service");
        return;
    }
    available = (uint64_t)v.f_bavail * v.f_frsize;
    if (asprintf(&message, "%s has %llu MiB free", directory, (unsigned long long)(available / MIB)) < 0)
        message = NULL;
    if (available < STATE_NEEDED_BYTES)
        tell_result(e, "state directory", CHECK_FAILED, message, "free some space there");
    else
        tell_result(e, "state directory", CHECK_OK, message, NULL);
}

static void tell_helper_checks(Examination *e, json_object *checks)
{
    size_t i;

    for (i = 0; i < json_object_array_length(checks) && i < HELPER_CHECKS_MAX; i++) {
        json_object *o = json_object_array_get_idx(checks, i);
        const char *name = NULL, *result = NULL, *message = NULL, *hint = NULL;

        (void)json_get_string(o, "name", &name);
        (void)json_get_string(o, "result", &result);
        (void)json_get_string(o, "message", &message);
        (void)json_get_string(o, "hint", &hint);
        if (name && result && message)
            tell(e, name, result, message, hint);
    }
}

static void on_helper(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Examination *e = userdata;
    json_object *checks = NULL;

    if (answer && json_get_array(answer, "checks", &checks) > 0)
        tell_helper_checks(e, checks);
    else
        tell_result(e, "helper", CHECK_FAILED,
                    failure && failure->message ? failure->message : "its answer is not understood",
                    "systemctl enable --now ilr-helper.socket; then see journalctl -u 'ilr-helper@*'");
    e->helper = helper_call_free(e->helper);
    check_state(e);
    if (check_azure(e) < 0) {
        VarlinkCall *parked = TAKE_PTR(e->call);
        _cleanup_failure_ Failure *f = failure_new(FAILURE_INTERNAL, "Out of memory");

        varlink_call_set_gone(parked, NULL, NULL);
        examination_free(e);
        (void)varlink_call_fail(parked, f, NULL);
    }
}

static int check_host(Examination *e)
{
    _cleanup_json_ json_object *request = json_object_new_object();
    int r = request ? json_add_string(request, "verb", "check") : -ENOMEM;

    if (r < 0)
        return r;
    return helper_call_new(&e->helper, e->doctor->event, manager_helper_socket(e->doctor->manager), request,
                           NULL, NULL, HELPER_TIMEOUT_USEC, on_helper, e);
}

int doctor_examine(Doctor *d, VarlinkCall *call, json_object *parameters)
{
    _cleanup_failure_ Failure *f = NULL;
    const char *portal = NULL;
    Examination *e;
    int r;

    r = json_get_string(parameters, "portal", &portal);
    if (r < 0)
        return varlink_call_invalid_parameter(call, "portal");
    if (r > 0 && !host_name_valid(portal) && !address_valid(portal)) {
        f = failure_new(FAILURE_INVALID_REQUEST, "portal is \"%.64s\": expected a host name or an address",
                        portal);
        return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
    }
    if (d->n_examinations >= EXAMINATIONS_MAX) {
        f = failure_new(FAILURE_LIMIT_REACHED, "%d examinations are under way, wait for one of them",
                        EXAMINATIONS_MAX);
        failure_advise(f, "try again in a moment");
        return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
    }
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->doctor = d;
    LIST_PREPEND(d->examinations, e);
    d->n_examinations++;
    r = str_copy(portal, &e->portal);
    if (r >= 0)
        r = check_host(e);
    if (r < 0) {
        examination_free(e);
        return r;
    }
    e->call = call;
    varlink_call_set_gone(call, on_gone, e);
    return 0;
}
