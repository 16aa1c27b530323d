/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-world.h"

void world_azure(World *w)
{
    Failure *f = NULL;

    assert_int_equal(azure_new(&w->azure, w->event, &w->config, &f), 0);
}

void world_init(World *w, const Exchange *exchanges)
{
    Failure *f = NULL;
    int fd;

    *w = (World){};
    assert_true(sd_event_new(&w->event) >= 0);
    w->server = server_start(exchanges);
    strcpy(w->secret_file, "/tmp/ilr-test-secret-XXXXXX");
    fd = mkstemp(w->secret_file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "s3cret&=\n", 9), 9);
    close(fd);
    w->config = (Config){
        .credential = CREDENTIAL_CLIENT_SECRET,
        .management_url = (char *)server_url(w->server),
        .login_url = (char *)server_url(w->server),
        .ca_file = (char *)server_ca_file(),
        .api_version = (char *)"2026-08-01",
        .fallback_api_version = (char *)"2025-08-01",
        .tenant_id = (char *)"tenant-1",
        .client_id = (char *)"client-1",
        .client_secret_file = w->secret_file,
        .poll_interval_usec = 5 * USEC_PER_MSEC,
        .operation_timeout_usec = 20 * USEC_PER_SEC,
        .request_timeout_usec = 10 * USEC_PER_SEC,
    };
    world_azure(w);
    assert_int_equal(azure_point_parse(POINT, &w->point, &f), 0);
    w->point->judged = true;
}

void world_done(World *w)
{
    azure_operation_free(w->operation);
    azure_free(w->azure);
    azure_provision_free(w->provision);
    failure_free(w->failure);
    azure_point_free(w->point);
    sd_event_unref(w->event);
    server_stop(w->server);
    unlink(w->secret_file);
}

static void on_progress(const char *detail, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done, 0);
    assert_non_null(detail);
    w->progress++;
}

static void on_posted(const char *operation_id, void *userdata)
{
    World *w = userdata;

    assert_string_equal(operation_id, OP);
    w->posted++;
}

static void on_provisioned(AzureProvision *provision, Failure *failure, bool nothing_sent, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done++, 0);
    assert_true(!provision != !failure);
    w->provision = provision;
    w->failure = failure;
    w->nothing_sent = nothing_sent;
    w->operation = azure_operation_free(w->operation); /* as the session does */
}

static void on_revoked(bool ok, Failure *failure, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done++, 0);
    assert_true(ok == !failure);
    w->ok = ok;
    w->failure = failure;
    w->operation = azure_operation_free(w->operation);
}

const AzureProvisionCallbacks provision_callbacks = {
    .progress = on_progress, .posted = on_posted, .done = on_provisioned};
const AzureRevokeCallbacks revoke_callbacks = {on_progress, on_revoked};

void run(World *w)
{
    uint64_t end = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;

    assert_int_equal(w->done, 0);
    while (!w->done) {
        assert_true(now_usec(CLOCK_MONOTONIC) < end);
        assert_true(sd_event_run(w->event, 5 * USEC_PER_SEC) >= 0);
    }
}

void provision(World *w)
{
    assert_int_equal(
        azure_provision(
            w->azure, w->point,
            &(AzureProvisionOptions){.uid = AZURE_UID_HOST, .initiator_name = "iqn.2026-01.com.example:host"},
            &provision_callbacks, w, &w->operation),
        0);
    run(w);
}

void assert_played(World *w, unsigned n)
{
    if (server_complaint(w->server))
        fail_msg("%s", server_complaint(w->server));
    assert_int_equal(server_played(w->server), n);
}

void assert_script(World *w)
{
    if (w->failure)
        fail_msg("%s: %s", failure_name_to_string(w->failure->name), w->failure->message);
    assert_non_null(w->provision);
    assert_non_null(strstr(secret_text(w->provision->script), "TargetPassword=\"ab12cd34ef56ab7\""));
    assert_string_equal(w->provision->info->portal_host, "pod01-rec2.wus2.backup.windowsazure.com");
    assert_int_equal(w->provision->info->portal_port, 3260);
    assert_string_equal(w->provision->info->target,
                        "iqn.2016-01.microsoft.azure.backup:8187-1-2-182457315790203.637813387693329644");
    assert_true(w->provision->info->multi_target);
    assert_string_equal(w->provision->info->vm, "my-vm");
    assert_string_equal(w->provision->info->machine_name, "my-vm");
    assert_string_equal(w->provision->vm_name, "my-vm");
    assert_string_equal(w->provision->operation_id, OP);
    assert_string_equal(w->provision->virtual_machine_id, VM_ID);
    assert_true(w->provision->expires_usec - w->provision->started_usec == 12 * USEC_PER_HOUR);
    assert_in_range(now_usec(CLOCK_REALTIME) - w->provision->started_usec, 0, 60 * USEC_PER_SEC);
    assert_int_equal(w->posted, 1);
}

/* The end of a provision that must fail. */
void assert_failure_at(World *w, FailureName name, const char *text, const char *file, int line)
{
    if (!w->failure || w->failure->name != name || (text && !strstr(w->failure->message, text)))
        fail_msg("%s:%d: %s: %s, expected %s with \"%s\"; server: %s", file, line,
                 w->failure ? failure_name_to_string(w->failure->name) : "success",
                 w->failure ? w->failure->message : "", failure_name_to_string(name), text ? text : "",
                 server_complaint(w->server) ? server_complaint(w->server) : "content");
    /* Nothing secret in any message. */
    assert_null(strstr(w->failure->message, "tok-en"));
    assert_null(strstr(w->failure->message, "s3cret"));
}

void do_revoke(World *w)
{
    assert_int_equal(
        azure_revoke(w->azure, w->point, AZURE_UID_HOST, NULL, &revoke_callbacks, w, &w->operation), 0);
    run(w);
}
