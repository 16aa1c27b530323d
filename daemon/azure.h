/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The conversation with Azure, as a session needs it: provision a recovery point up to the script in hand,
 * revoke it, see whether its portal can be reached. Tokens, polling, retries and both ways of script delivery
 * stay in here. It knows no session: it tells through the callbacks that it was given, and keeps nothing on
 * disk.
 *
 * Every function that starts something returns at once. done is called exactly once, last, and never from
 * inside the function that started the work. Freeing the AzureOperation cancels at once: no callback comes
 * after. It belongs to the caller and may be freed inside its own done. Freeing Azure needs all operations to
 * be freed before. */

#include "azure-find.h"
#include "azure-resource.h"
#include "azure-script.h"
#include "config.h"
#include "secret.h"
#include <systemd/sd-event.h>

/* Azure takes the right to connect away this long after the provision. */
#define AZURE_LIFETIME_USEC (12 * USEC_PER_HOUR)

/* Instead of a caller's uid: the host itself asks. */
#define AZURE_UID_HOST ((uid_t)-1)

typedef struct Azure Azure;                   /* one per daemon: connections, token */
typedef struct AzureOperation AzureOperation; /* one running conversation */

/* config is borrowed and must outlive it. Returns 0; a negative errno, with *ret_failure if it is known what
 * to tell. An incomplete [Azure] section is no error here: the first conversation fails with NotConfigured.
 */
int azure_new(Azure **ret, sd_event *event, const Config *config, Failure **ret_failure);
Azure *azure_free(Azure *a);
DEFINE_CLEANUP(Azure *, azure_free)

/* The people who have signed in; borrowed, see azure-login.h. */
struct AzureLogins *azure_logins(Azure *a);

AzureOperation *azure_operation_free(AzureOperation *o);
DEFINE_CLEANUP(AzureOperation *, azure_operation_free)

/* What a finished provision gives. */
typedef struct AzureProvision {
    char *operation_id;         /* of the provision: needed to fetch the script again */
    Secret *script;             /* the text as it came, decoded; NULL of a file share, which has none */
    ScriptInfo *info;           /* the same */
    char *vm_name;              /* for people */
    char *virtual_machine_id;   /* as given or as the protected item says; NULL of a file share */
    bool renewed;               /* the point had a registration already, which Azure was asked to renew */
    uint64_t started_usec;      /* by Azure's clock, when the POST went out */
    uint64_t expires_usec;      /* 12 h later */
    uint64_t expires_boot_usec; /* the same moment on CLOCK_BOOTTIME */
} AzureProvision;
AzureProvision *azure_provision_free(AzureProvision *p);
DEFINE_CLEANUP(AzureProvision *, azure_provision_free)

typedef struct AzureProvisionCallbacks {
    /* What is being waited for, one line for people. May be NULL. */
    void (*progress)(const char *detail, void *userdata);
    /* Right before the POST: from now on Azure may have done it, and a revoke is owed unless done says that
     * nothing was sent. A negative errno (it cannot be written down) ends the conversation instead. May come
     * from inside azure_provision(). May be NULL. */
    int (*sending)(void *userdata);
    /* Once, when Azure accepted; save the id. May be NULL. */
    void (*posted)(const char *operation_id, void *userdata);
    /* Exactly one of the two is given, and belongs to the callee. failure may be NULL besides a NULL
     * provision: out of memory. nothing_sent: the failure came before the POST could have reached Azure,
     * there is nothing to revoke. */
    void (*done)(AzureProvision *provision, Failure *failure, bool nothing_sent, void *userdata);
} AzureProvisionCallbacks;

typedef struct AzureProvisionOptions {
    uid_t uid;           /* for whom: with this caller's own sign-in, if there is one; or AZURE_UID_HOST */
    const char *session; /* for the journal's field, or NULL */
    bool file_share;     /* p is of a file share and not of a VM */
    const char *initiator_name;    /* of a VM, sent along; NULL: left out */
    const AzureResource *resource; /* eTag, location and tags; NULL: none */
} AzureProvisionOptions;

/* Provisions p (copied, like the strings of options). Before, the recovery point is read unless p says that
 * it was just now: what is of no use is refused (PointUnusable) with nothing sent, and a registration that it
 * has already is renewed. Returns 0 or -ENOMEM. */
int azure_provision(Azure *a, const AzurePoint *p, const AzureProvisionOptions *options,
                    const AzureProvisionCallbacks *callbacks, void *userdata, AzureOperation **ret);

typedef struct AzureRevokeCallbacks {
    void (*progress)(const char *detail, void *userdata); /* may be NULL */
    void (*done)(bool ok, Failure *failure,
                 void *userdata); /* failure belongs to the callee; may be NULL on !ok too */
} AzureRevokeCallbacks;

/* Takes the right to connect back, polled to the end, for uid and session as in AzureProvisionOptions. A
 * point that is gone, or that says it has no session, counts as success. Returns 0 or -ENOMEM. */
int azure_revoke(Azure *a, const AzurePoint *p, uid_t uid, const char *session,
                 const AzureRevokeCallbacks *callbacks, void *userdata, AzureOperation **ret);

/* Is TCP host:port open? On success addresses is what the name resolves to, the one that answered first;
 * borrowed. Otherwise failure (PortalUnreachable), which belongs to the callee. Returns 0 or -ENOMEM. */
int azure_probe_portal(Azure *a, const char *host, uint16_t port,
                       void (*done)(char *const *addresses, Failure *failure, void *userdata), void *userdata,
                       AzureOperation **ret);
