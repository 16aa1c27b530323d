/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilr-helper: everything of ilrd that needs root. Started by systemd, once per request on its socket (serve)
 * or as what ilr-session@ID.service runs (up, down). Does one thing and exits; speaks to no network itself.
 */

#include "config.h"
#include "log.h"
#include "record.h"
#include "serve.h"
#include "storage.h"
#include "validate.h"
#include "verb.h"

#include <sys/prctl.h>
#include <sys/stat.h>

static int usage(void)
{
    fprintf(stderr, "Usage: ilr-helper serve | up SESSION | unlock SESSION | down SESSION [--forced]\n"
                    "Started by systemd, see ilrd(8).\n");
    return 2;
}

/* Whoever started the unit reads the record to learn why it failed. failure NULL: nothing failed. */
static void failure_keep(const char *id, Failure *failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    int r;

    if (failure)
        log_full(LOG_ERR, id, "%s: %s", failure_name_to_string(failure->name), failure->message);
    if (record_load(id, &record) < 0 || (!failure && !record->failure)) {
        failure_free(failure);
        return;
    }
    failure_free(record->failure);
    record->failure = failure;
    r = record_save(record);
    if (r < 0)
        log_errno_full(LOG_ERR, id, r, "Cannot save the record");
}

static int up(const char *id, const Config *config)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_lock_ int lock = -EBADF;
    int r = session_lock(id, LOCK_TIMEOUT_USEC, &lock);

    if (r < 0)
        return log_errno_full(LOG_ERR, id, r, "Cannot lock the session");
    failure_keep(id, NULL);
    r = storage_up(id, config, &failure);
    if (r >= 0)
        return 0;
    (void)verb_fail(&failure, r, FAILURE_HELPER_FAILED, "bringing up the disks of session %s failed: %s", id,
                    strerror(-r));
    failure_keep(id, TAKE_PTR(failure));
    return r;
}

static int unlock(const char *id, const Config *config)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_lock_ int lock = -EBADF;
    int r = session_lock(id, LOCK_TIMEOUT_USEC, &lock), k;

    if (r < 0)
        return log_errno_full(LOG_ERR, id, r, "Cannot lock the session");
    r = storage_unlock(id, config, &failure);
    if (r < 0)
        (void)verb_fail(&failure, r, FAILURE_HELPER_FAILED, "unlocking a volume of session %s failed: %s", id,
                        strerror(-r));
    if (failure)
        log_full(LOG_WARNING, id, "%s: %s", failure_name_to_string(failure->name), failure->message);
    k = unlock_answer_put(id, failure);
    return r < 0 ? r : k;
}

static int down(const char *id, bool forced)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_lock_ int lock = -EBADF;
    int r = session_lock(id, forced ? LOCK_TIMEOUT_FORCED_USEC : LOCK_TIMEOUT_USEC, &lock);

    if (r == -ETIMEDOUT && forced)
        log_full(LOG_WARNING, id, "Somebody keeps the session's lock, going down without it");
    else if (r < 0 && r != -ENOENT)
        return log_errno_full(LOG_ERR, id, r, "Cannot lock the session");
    r = storage_down(id, forced, NULL, &failure);
    if (r < 0)
        log_errno_full(LOG_ERR, id, r, "Cannot take down the session: %s",
                       failure ? failure->message : "see above");
    return r;
}

int main(int argc, char *argv[])
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_(config_freep) Config *config = NULL;
    const char *id = argc > 2 ? argv[2] : NULL;
    int r;

    umask(0077);
    (void)prctl(PR_SET_DUMPABLE, 0); /* requests carry secrets */
    log_open("ilr-helper", LOG_INFO);
    if (argc == 2 && streq(argv[1], "serve"))
        return serve(STDIN_FILENO) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (!id || !session_id_valid(id))
        return usage();
    if (argc == 3 && streq(argv[1], "up")) {
        r = config_load(NULL, &config, &failure);
        if (r < 0) {
            failure_keep(id, TAKE_PTR(failure));
            return EXIT_FAILURE;
        }
        return up(id, config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (argc == 3 && streq(argv[1], "unlock")) {
        r = config_load(NULL, &config, &failure);
        return r < 0 || unlock(id, config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    /* Going down needs no configuration: it must work when that is broken. */
    if (streq(argv[1], "down") && (argc == 3 || (argc == 4 && streq(argv[3], "--forced"))))
        return down(id, argc == 4) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    return usage();
}
