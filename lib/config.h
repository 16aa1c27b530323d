/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* /etc/ilrd/ilrd.conf and /etc/ilrd/ilrd.conf.d/ *.conf (in order of their names, a later assignment wins).
 * The same files are read by ilrd, ilr-helper and ilr-connect. Strict: an unknown section or key, a bad
 * value, a line without
 * "=" or an unreadable file is refused with file and line. It holds no secret. */

#include "failure.h"

typedef enum InitiatorMode {
    INITIATOR_HOST, /* send and present what /etc/iscsi/initiatorname.iscsi says */
    INITIATOR_NONE, /* send none; present the host's */
    INITIATOR_NAME, /* send and present initiator_name */
    INITIATOR_MODE_MAX,
    INITIATOR_MODE_INVALID = -EINVAL,
} InitiatorMode;

typedef enum CloudName {
    CLOUD_PUBLIC,
    CLOUD_CHINA,
    CLOUD_USGOVERNMENT,
    CLOUD_MAX,
    CLOUD_INVALID = -EINVAL,
} CloudName;

/* How this host gets an access token. */
typedef enum CredentialKind {
    CREDENTIAL_AUTO, /* the first of the following that there is, in this order */
    CREDENTIAL_CLIENT_SECRET,
    CREDENTIAL_CLIENT_CERTIFICATE,
    CREDENTIAL_WORKLOAD_IDENTITY,
    CREDENTIAL_ARC,
    CREDENTIAL_MANAGED_IDENTITY, /* of an Azure VM */
    CREDENTIAL_KIND_MAX,
    CREDENTIAL_KIND_INVALID = -EINVAL,
} CredentialKind;

/* "managed-identity", as in Credential=. */
const char *credential_kind_to_string(CredentialKind kind);

typedef struct Config {
    /* [Azure] */
    char *management_url;        /* ManagementUrl=, https, no trailing slash */
    char *login_url;             /* LoginUrl=, the same */
    bool login_url_default;      /* nobody said LoginUrl=: it is the cloud's */
    char *ca_file;               /* CAFile=, absolute, or NULL: the system's */
    char *api_version;           /* ApiVersion=, YYYY-MM-DD or YYYY-MM-DD-preview */
    char *fallback_api_version;  /* FallbackApiVersion=, for the script in the status */
    char *tenant_id, *client_id; /* TenantId=, ClientId= */
    char *login_client_id;     /* LoginClientId=, application that people sign in with, or NULL: client_id */
    bool own_cloud;            /* ManagementUrl= without Cloud=: nobody knows which one it is */
    bool cloud_given;          /* there is a Cloud= */
    CloudName cloud;           /* Cloud=, whose addresses management_url and login_url are by default */
    CredentialKind credential; /* Credential= */
    char *client_certificate_file, *client_key_file,
        *client_key_passphrase_file; /* absolute, or NULL; systemd credentials go first */
    bool send_certificate_chain;     /* SendCertificateChain=, x5c */
    char *federated_token_file;      /* FederatedTokenFile=, absolute, or NULL */
    char *imds_url;                  /* ImdsUrl=, http, of this machine or its link */
    char *managed_client_id, *managed_object_id,
        *managed_resource_id; /* ManagedIdentity...=, at most one, or NULL: the system-assigned one */
    char *proxy;              /* Proxy=, http://HOST:PORT, for Azure only, or NULL */
    char *client_secret_file; /* ClientSecretFile=, absolute; the credential azure-client-secret goes first */
    char **vaults;            /* Vault=, resource ids, each once: where VMs are looked for; may be NULL */
    char **locations;         /* Location=, regions of VMs that are given by their resource id; may be NULL */
    uint64_t poll_interval_usec;     /* PollIntervalSec=, 100ms..24h */
    uint64_t operation_timeout_usec; /* OperationTimeoutSec=, from the POST to the operation's end */
    uint64_t request_timeout_usec;   /* RequestTimeoutSec=, one HTTP request */
    /* [Connection] */
    InitiatorMode initiator_mode; /* Initiator=host, none, or a name */
    char *initiator_name;
    uint64_t connect_timeout_usec; /* ConnectTimeoutSec=, from the start of the script to connected */
    uint64_t silence_timeout_usec; /* SilenceTimeoutSec=, no output */
    uint64_t prompt_timeout_usec;  /* PromptTimeoutSec=, an unfinished line that is no known question */
    uint64_t work_size_bytes;      /* WorkSizeBytes=, the script's tmpfs */
    /* [Storage] */
    uint64_t disk_timeout_usec;   /* DiskTimeoutSec=, all disks there and seen by udev */
    uint64_t mount_timeout_usec;  /* MountTimeoutSec=, probing and mounting one volume */
    uint64_t overlay_size_bytes;  /* OverlaySizeBytes=, per disk */
    uint64_t overlay_total_bytes; /* OverlayTotalBytes=, per session */
    bool replay;                  /* Replay=overlay (true) or none */
    bool follow_symlinks;         /* FollowSymlinks=; no: nosymfollow */
    /* [Session] */
    uint64_t sessions_max;            /* SessionsMax=, 1..256 */
    uint64_t sessions_per_caller_max; /* SessionsPerCallerMax=, 1..256; 0: no limit of its own */
    uint64_t busy_retry_usec;         /* BusyRetrySec= */
    uint64_t idle_usec;               /* IdleSec=, 1 s to 24 h; 0: never */
    /* Before Azure's end, each at most 12 h; 0: none of the first two */
    uint64_t expiry_notice_usec, expiry_warning_usec; /* ExpiryNoticeSec=, ExpiryWarningSec= */
    uint64_t expiry_release_usec, expiry_force_usec;  /* ExpiryReleaseSec= > ExpiryForceSec= >= 1 s */
} Config;

/* The files' defaults are in ilrd.conf(5). path NULL: CONFIG_FILE and CONFIG_DIR of the build, or what the
 * environment variable ILRD_CONFIG names (a file; its drop-ins are in the directory of the same name with
 * ".d" behind it). A missing main file is an empty one. Returns 0, or a negative errno with *ret_failure set
 * if it is known what to tell (-EINVAL, -EBADMSG, -EACCES). Owner of both: the caller. */
int config_load(const char *path, Config **ret, Failure **ret_failure);
/* The defaults. */
Config *config_new(void);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config *, config_free)
