/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <stdarg.h>
#include <sys/stat.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

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

static void log_line(int level, const char *session, const char *line)
{
    if (log_max_level < 0)
        log_open(program_invocation_short_name, LOG_INFO);
    if (level > log_max_level)
        return;
    if (log_to_journal) {
        if (session)
            (void)sd_journal_send("PRIORITY=%i", level, "MESSAGE=%s: %s", session, line, "ILR_SESSION=%s",
                                  session, NULL);
        else
            (void)sd_journal_send("PRIORITY=%i", level, "MESSAGE=%s", line, NULL);
        return;
    }
    if (session)
        fprintf(stderr, "%s: %s: %s\n", log_program, session, line);
    else
        fprintf(stderr, "%s: %s\n", log_program, line);
}

void log_full(int level, const char *session, const char *format, ...)
{
    char line[2048];
    int saved = errno;
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    log_line(level, session, line);
    errno = saved;
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
    log_line(level, session, line);
    errno = saved;
    return r;
}
