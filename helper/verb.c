/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verb.h"

#include <stdarg.h>

static void fail(Failure **ret_failure, FailureName name, const char *hint, const char *format, va_list ap)
    _printf_(4, 0);

static void fail(Failure **ret_failure, FailureName name, const char *hint, const char *format, va_list ap)
{
    _cleanup_free_ char *message = NULL;

    if (!ret_failure || *ret_failure)
        return;
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    *ret_failure = failure_new(name, "%s", message ? message : "out of memory");
    if (hint)
        failure_advise(*ret_failure, hint);
}

int verb_fail(Failure **ret_failure, int r, FailureName name, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fail(ret_failure, name, NULL, format, ap);
    va_end(ap);
    return r;
}

int verb_fail_hint(Failure **ret_failure, int r, FailureName name, const char *hint, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fail(ret_failure, name, hint, format, ap);
    va_end(ap);
    return r;
}
