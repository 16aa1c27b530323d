/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dm-cookie.h"

#include "files.h"
#include "log.h"
#include "paths.h"
#include "validate.h"

#include <fcntl.h>
#include <sys/sem.h>

#define FILE_NAME "cookies"
#define FILE_MAX (64 * KIB)

/* Without the note the semaphore is a leftover for doctor, if it comes to that: no reason to fail. */
void dm_cookie_note(const char *device, uint32_t cookie)
{
    const char *name = startswith(device, "ilr_");
    _cleanup_close_ int fd = -EBADF;
    _cleanup_free_ char *path = NULL;
    char id[SESSION_ID_LENGTH + 1] = "";
    int sem;

    if (!name || cookie == 0)
        return;
    (void)strncat(id, name, SESSION_ID_LENGTH);
    path = private_path(id, FILE_NAME);
    sem = semget((key_t)cookie, 0, 0);
    if (!path || sem < 0)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        (void)dprintf(fd, "%d %u\n", sem, cookie);
}

/* The number has a count of its uses in it, so it is hardly ever somebody else's; the key makes sure. */
static void drop(const char *id, int sem, uint32_t cookie)
{
    struct semid_ds d;

    if (semctl(sem, 0, IPC_STAT, &d) < 0 || (uint32_t)d.sem_perm.__key != cookie)
        return;
    if (semctl(sem, 0, IPC_RMID) < 0)
        log_errno_full(LOG_WARNING, id, -errno, "Cannot remove semaphore %d of device-mapper", sem);
    else
        log_full(LOG_INFO, id,
                 "Removed semaphore %d of device-mapper, which a helper that was ended has left", sem);
}

void dm_cookies_drop(const char *id)
{
    _cleanup_free_ char *path = private_path(id, FILE_NAME), *text = NULL;
    const char *line;
    uint32_t cookie;
    int sem;

    if (!path || file_read(AT_FDCWD, path, FILE_MAX, &text, NULL) < 0)
        return;
    for (line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (sscanf(line, "%d %u", &sem, &cookie) == 2)
            drop(id, sem, cookie);
}
