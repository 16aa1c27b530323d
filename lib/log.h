/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines of the programs. To the journal as structured entries when standard error is the journal
 * (JOURNAL_STREAM), otherwise to standard error as plain lines. Code in lib/ never calls this.
 *
 * What the levels mean: error: an admin must act. warning: something is odd and was dealt with. notice: a
 * session became ready or closed. info: a step. debug: everything else. */

#include "util.h"
#include <syslog.h>

/* Sets the name put before plain lines (default: the program's short name) and the highest level that is
 * printed (default LOG_INFO, or LOG_DEBUG if the environment has ILR_DEBUG=1). */
void log_open(const char *program, int max_level);

/* session: the session's id for the field ILR_SESSION=, or NULL. Never hand a secret to this. Keeps errno. */
void log_full(int level, const char *session, const char *format, ...) _printf_(3, 4);

/* The same with further fields for the journal, "NAME=value" each. */
void log_fields(int level, const char *session, char *const *fields, const char *format, ...) _printf_(4, 5);

/* Logs "<message>: <text of the errno>". r is a negative errno; returned unchanged. */
int log_errno_full(int level, const char *session, int r, const char *format, ...) _printf_(4, 5);

#define log_debug(...) log_full(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, NULL, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, NULL, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, NULL, __VA_ARGS__)
#define log_error_errno(r, ...) log_errno_full(LOG_ERR, NULL, r, __VA_ARGS__)
#define log_warning_errno(r, ...) log_errno_full(LOG_WARNING, NULL, r, __VA_ARGS__)
#define log_oom() log_errno_full(LOG_ERR, NULL, -ENOMEM, "Out of memory")
