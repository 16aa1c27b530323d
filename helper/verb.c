/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verb.h"

#include <stdarg.h>

int verb_fail(Failure **ret_failure, int r, FailureName name, const char *format, ...)
{
    _cleanup_free_ char *message = NULL;
    va_list ap;

    if (!ret_failure || *ret_failure)
        return r;
    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    *ret_failure = failure_new(name, "%s", message ? message : "out of memory");
    return r;
}
