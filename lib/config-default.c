/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What holds where the configuration says nothing. */

#include "config.h"

Config *config_new(void)
{
    Config *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    *c = (Config){
        .imds_url = strdup("http://169.254.169.254"),
        .api_version = strdup("2026-08-01"),
        .fallback_api_version = strdup("2025-08-01"),
        .poll_interval_usec = 7 * USEC_PER_SEC,
        .operation_timeout_usec = 30 * USEC_PER_MINUTE,
        .request_timeout_usec = 60 * USEC_PER_SEC,
        .initiator_mode = INITIATOR_HOST,
        .connect_timeout_usec = 30 * USEC_PER_MINUTE,
        .silence_timeout_usec =
            6 * USEC_PER_MINUTE, /* the script itself is silent for 300 s on large disks */
        .prompt_timeout_usec = 10 * USEC_PER_SEC,
        .work_size_bytes = 16 * MIB,
        .disk_timeout_usec = 2 * USEC_PER_MINUTE,
        .mount_timeout_usec = 5 * USEC_PER_MINUTE,
        .overlay_size_bytes = 2560 * MIB, /* the largest log of an XFS, and some more */
        .overlay_total_bytes = 4 * GIB,
        .replay = true,
        .follow_symlinks = true,
        .sessions_max = 32,
        .busy_retry_usec = 10 * USEC_PER_SEC,
        .expiry_notice_usec = 60 * USEC_PER_MINUTE,
        .expiry_warning_usec = 10 * USEC_PER_MINUTE,
        .expiry_release_usec = 5 * USEC_PER_MINUTE,
        .expiry_force_usec = USEC_PER_MINUTE,
    };
    if (!c->imds_url || !c->api_version || !c->fallback_api_version)
        return config_free(c);
    return c;
}

Config *config_free(Config *c)
{
    if (!c)
        return NULL;
    free(c->management_url);
    free(c->login_url);
    free(c->ca_file);
    free(c->api_version);
    free(c->fallback_api_version);
    free(c->tenant_id);
    free(c->client_id);
    free(c->client_secret_file);
    free(c->login_client_id);
    free(c->client_certificate_file);
    free(c->client_key_file);
    free(c->client_key_passphrase_file);
    free(c->federated_token_file);
    free(c->imds_url);
    free(c->managed_client_id);
    free(c->managed_object_id);
    free(c->managed_resource_id);
    free(c->proxy);
    strv_free(c->vaults);
    strv_free(c->locations);
    free(c->initiator_name);
    free(c);
    return NULL;
}
