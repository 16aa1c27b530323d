/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes the connection script of a registration out of the template (connection-script.py.in), and judges the
 * part of a scenario that is about it. */

#include "backend.h"

/* -EINVAL with *ret_error for a key that is not known or has the wrong type or range. faults may be NULL. */
int script_check(json_object *faults, char **ret_error);
/* The whole text. -EINVAL with *ret_error: a value of the registration that cannot stand in a script. */
int script_make(const Registration *r, Secret **ret, char **ret_error);

/* What stands in the place of the parameter called so in the script of r: 1, *ret is the caller's, or NULL if
 * r has none. 0: there is no such parameter. */
int script_parameter(const Registration *r, const char *name, size_t size, char **ret);

/* A checked wish, whatever number type it came as. */
typedef enum WishType {
    WISH_BOOL,
    WISH_NUMBER, /* not negative, at most max */
    WISH_STRING, /* at most max bytes */
    WISH_ARRAY,  /* of numbers, at most max elements */
} WishType;

typedef struct WishKey {
    const char *name;
    WishType type;
    double max;
} WishKey;

/* Holds an object against a table that ends with a NULL name. */
int wishes_check(const char *where, json_object *faults, const WishKey *keys, char **ret_error);
