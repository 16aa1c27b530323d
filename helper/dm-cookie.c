/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dm-cookie.h"

#include "files.h"
#include "log.h"
#include "paths.h"

#include <fcntl.h>
#include <sys/sem.h>

#define FILE_NAME "cookies"
#define FILE_MAX (64 * KIB)

/* Without the note the semaphore may stay, which does no harm: no reason to fail. */
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
static bool drop(const char *id, int sem, uint32_t cookie, const void *userdata)
{
    struct semid_ds d;

    if (semctl(sem, 0, IPC_STAT, &d) < 0 || (uint32_t)d.sem_perm.__key != cookie)
        return false;
    if (semctl(sem, 0, IPC_RMID) < 0)
        log_errno_full(LOG_WARNING, id, -errno, "Cannot remove semaphore %d of device-mapper", sem);
    else
        log_full(LOG_INFO, id,
                 "Removed semaphore %d of device-mapper, which a helper that was ended has left", sem);
    return false;
}

/* Until found returns true: then so does this. */
static bool each_note(const char *id,
                      bool (*found)(const char *id, int sem, uint32_t cookie, const void *userdata),
                      const void *userdata)
{
    _cleanup_free_ char *path = private_path(id, FILE_NAME), *text = NULL;
    const char *line;
    uint32_t cookie;
    int sem;

    if (!path || file_read(AT_FDCWD, path, FILE_MAX, &text, NULL) < 0)
        return false;
    for (line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (sscanf(line, "%d %u", &sem, &cookie) == 2 && found(id, sem, cookie, userdata))
            return true;
    return false;
}

void dm_cookies_drop(const char *id)
{
    (void)each_note(id, drop, NULL);
}

typedef struct Note {
    int sem;
    uint32_t cookie;
} Note;

static bool is_it(const char *id, int sem, uint32_t cookie, const void *userdata)
{
    const Note *n = userdata;

    return n->sem == sem && n->cookie == cookie;
}

bool dm_cookie_session(int sem, uint32_t cookie, char buf[static SESSION_ID_LENGTH + 1])
{
    _cleanup_(closedirp) DIR *dir = opendir(paths.private_dir);
    const Note n = {.sem = sem, .cookie = cookie};
    struct dirent *e;

    *buf = '\0';
    while (!*buf && dir && (e = readdir(dir)))
        if (session_id_valid(e->d_name) && each_note(e->d_name, is_it, &n))
            strcpy(buf, e->d_name);
    return *buf;
}
