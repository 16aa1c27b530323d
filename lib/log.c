/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include "utf8.h"

#include <stdarg.h>
#include <sys/stat.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define LOG_FIELDS_MAX 16

static const char *log_program = NULL;
static int log_max_level = -1;
static bool log_to_journal = false;

/* systemd puts device and inode of the stream that it connected into JOURNAL_STREAM; only if that still is
 * our standard error do structured entries belong into the journal. */
static bool stderr_is_journal(void)
{
    const char *e = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    return e && sscanf(e, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *program, int max_level)
{
    log_program = program;
    log_max_level = max_level;
    if (streq_ptr(getenv("ILR_DEBUG"), "1"))
        log_max_level = LOG_DEBUG;
    log_to_journal = stderr_is_journal();
}

static void journal_send(int level, const char *session, char *const *fields, const char *line)
{
    _cleanup_free_ char *message = NULL, *id = NULL;
    struct iovec v[4 + LOG_FIELDS_MAX];
    char priority[32];
    size_t n = 0;

    snprintf(priority, sizeof(priority), "PRIORITY=%d", level);
    if (asprintf(&message, "MESSAGE=%s%s%s", session ? session : "", session ? ": " : "", line) < 0) {
        message = NULL;
        return;
    }
    if (session && asprintf(&id, "ILR_SESSION=%s", session) < 0) {
        id = NULL;
        return;
    }
    v[n++] = (struct iovec){priority, strlen(priority)};
    v[n++] = (struct iovec){message, strlen(message)};
    if (id)
        v[n++] = (struct iovec){id, strlen(id)};
    for (; fields && *fields && n < ELEMENTSOF(v); fields++)
        v[n++] = (struct iovec){*fields, strlen(*fields)};
    (void)sd_journal_sendv(v, (int)n);
}

static void log_line(int level, const char *session, char *const *fields, char *line)
{
    if (log_max_level < 0)
        log_open(program_invocation_short_name, LOG_INFO);
    if (level > log_max_level)
        return;
    utf8_disarm(line, '?'); /* one line stays one: much of it was written by others */
    if (log_to_journal) {
        journal_send(level, session, fields, line);
        return;
    }
    if (session)
        fprintf(stderr, "%s: %s: %s\n", log_program, session, line);
    else
        fprintf(stderr, "%s: %s\n", log_program, line);
}

static _printf_(4, 0) void log_va(int level, const char *session, char *const *fields, const char *format,
                                  va_list ap)
{
    char line[2048];
    int saved = errno;

    vsnprintf(line, sizeof(line), format, ap);
    log_line(level, session, fields, line);
    errno = saved;
}

void log_full(int level, const char *session, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_va(level, session, NULL, format, ap);
    va_end(ap);
}

void log_fields(int level, const char *session, char *const *fields, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_va(level, session, fields, format, ap);
    va_end(ap);
}

int log_errno_full(int level, const char *session, int r, const char *format, ...)
{
    char line[2048], buf[128];
    int saved = errno;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(line))
        snprintf(line + n, sizeof(line) - n, ": %s", strerror_r(-r, buf, sizeof(buf)));
    log_line(level, session, NULL, line);
    errno = saved;
    return r;
}
