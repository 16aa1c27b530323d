/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The backend with everything: targets in tgtd (target.h), the TLS end point in front of them (portal.h), the
 * connection script that leads there (script.h). */

#include "backend.h"
#include "portal.h"
#include "script.h"
#include "target.h"

#include <inttypes.h>
#include <sys/random.h>

/* Who looks for targets reaches tgtd as this one. */
#define DISCOVERY_USER "ilr-sim-discovery"

struct Backend {
    Targets *targets;
    Portal *portal;
};

static const WishKey portal_keys[] = {
    /* faults of the TLS end point; before the login they hit everybody */
    {"refuse", WISH_BOOL},
    {"wrongCertificate", WISH_BOOL},
    {"hangHandshake", WISH_BOOL},
    {"handshakeDelaySec", WISH_NUMBER, 3600},
    {"delaySec", WISH_NUMBER, 3600},
    {"closeAfterBytes", WISH_NUMBER, 1e15},
    {"stallAfterBytes", WISH_NUMBER, 1e15},
    /* what discovery answers */
    {"blocked", WISH_BOOL},
    {"notReadyTimes", WISH_NUMBER, 1000},
    /* the target; a change of these counts from the next provision on */
    {"writable", WISH_BOOL},
    {"noLuns", WISH_BOOL},
    {"offlineLuns", WISH_ARRAY, TARGET_DISKS_MAX},
    {"blockBytes", WISH_NUMBER, 4096},
    {},
};

static bool wish_bool(json_object *o, const char *key)
{
    bool b = false;

    return o && json_get_bool(o, key, &b) > 0 && b;
}

/* Whole or fractional. */
static double wish_number(json_object *o, const char *key)
{
    json_object *v = NULL;

    return o && json_object_object_get_ex(o, key, &v) && v ? json_object_get_double(v) : 0;
}

static int tgt_check(json_object *script_faults, json_object *portal_faults, char **ret_error)
{
    double block;
    int r = script_check(script_faults, ret_error);

    if (r >= 0)
        r = wishes_check("portal", portal_faults, portal_keys, ret_error);
    if (r < 0)
        return r;
    block = wish_number(portal_faults, "blockBytes");
    if (block != 0 && block != 512 && block != 4096) {
        if (asprintf(ret_error, "portal.blockBytes: %.0f: expected 512 or 4096", block) < 0)
            *ret_error = NULL;
        return -EINVAL;
    }
    return 0;
}

static void tgt_stop(Backend *b)
{
    portal_stop(b->portal);
    targets_stop(b->targets);
    free(b);
}

static int tgt_start(const BackendConfig *config, Backend **ret, char **ret_error)
{
    char password[17];
    const PortalOptions options = {
        .listen = config->portal_listen,
        .certificate = config->portal_certificate,
        .key = config->portal_key,
        .target = config->tgt_portal,
        .discovery_user = DISCOVERY_USER,
        .discovery_password = password,
    };
    Backend *b = calloc(1, sizeof(*b));
    uint64_t random;
    int r;

    *ret_error = NULL;
    if (!b)
        return -ENOMEM;
    while (getrandom(&random, sizeof(random), 0) < 0)
        ;
    snprintf(password, sizeof(password), "%016" PRIx64, random);
    r = targets_start(config, DISCOVERY_USER, password, &b->targets, ret_error);
    if (r >= 0)
        r = portal_start(&options, &b->portal, ret_error);
    if (r < 0) {
        tgt_stop(b);
        return r;
    }
    *ret = b;
    return 0;
}

static int set_user(Backend *b, const Registration *r)
{
    json_object *f = r->portal_faults;
    _cleanup_strv_free_ char **names = NULL;
    int q;

    for (size_t i = 0; i < target_count(r); i++) {
        _cleanup_free_ char *name = NULL;

        q = target_name_make(r, i, &name);
        if (q >= 0)
            q = strv_extend(&names, name);
        if (q < 0)
            return q;
    }
    const PortalUser user = {
        .name = r->user_name,
        .password = r->password,
        .initiator = r->initiator_name,
        .targets = names,
        .faults =
            {
                .refuse = wish_bool(f, "refuse"),
                .wrong_certificate = wish_bool(f, "wrongCertificate"),
                .hang_handshake = wish_bool(f, "hangHandshake"),
                .handshake_delay_usec = wish_number(f, "handshakeDelaySec") * USEC_PER_SEC,
                .delay_usec = wish_number(f, "delaySec") * USEC_PER_SEC,
                .close_after_bytes = wish_number(f, "closeAfterBytes"),
                .stall_after_bytes = wish_number(f, "stallAfterBytes"),
                .blocked = wish_bool(f, "blocked"),
                .not_ready_times = wish_number(f, "notReadyTimes"),
            },
    };
    return portal_set_user(b->portal, &user);
}

static int tgt_remove(Backend *b, Registration *r, char **ret_error)
{
    portal_remove_user(b->portal, r->user_name);
    return targets_remove(b->targets, r, ret_error);
}

static int tgt_create(Backend *b, Registration *r, char **ret_error)
{
    json_object *offline = NULL, *f = r->portal_faults;
    int q;

    *ret_error = NULL;
    if (f)
        (void)json_get_array(f, "offlineLuns", &offline);
    const TargetOptions options = {
        .writable = wish_bool(f, "writable"),
        .no_luns = wish_bool(f, "noLuns"),
        .block_bytes = wish_number(f, "blockBytes"),
        .offline = offline,
    };
    _cleanup_secret_ Secret *script = NULL;

    q = script_make(r, &script, ret_error);
    if (q >= 0)
        q = targets_create(b->targets, r, &options, ret_error);
    if (q < 0)
        return q;
    q = set_user(b, r);
    if (q < 0) {
        _cleanup_free_ char *error = NULL;

        (void)tgt_remove(b, r, &error);
        return q;
    }
    r->script = TAKE_PTR(script);
    return 0;
}

static int tgt_update(Backend *b, Registration *r, char **ret_error)
{
    *ret_error = NULL;
    return set_user(b, r);
}

static json_object *tgt_describe(Backend *b)
{
    return portal_describe(b->portal);
}

const BackendOps backend_tgt = {
    .name = "tgt",
    .check = tgt_check,
    .start = tgt_start,
    .create = tgt_create,
    .update = tgt_update,
    .remove = tgt_remove,
    .describe = tgt_describe,
    .stop = tgt_stop,
};
