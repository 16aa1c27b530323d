/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The calls of Login and Logout: each caller for himself. A sign-in belongs to its call and ends with it. */

#include "azure.h"
#include "varlink.h"

typedef struct SignIns SignIns;

/* azure is borrowed. */
int sign_ins_new(SignIns **ret, Azure *azure);
/* Ends those under way; their calls are forgotten, not answered. */
SignIns *sign_ins_free(SignIns *s);
DEFINE_CLEANUP(SignIns *, sign_ins_free)

/* Handlers, see VarlinkMethod. */
int sign_in_login(SignIns *s, VarlinkCall *call, json_object *parameters);
int sign_in_logout(SignIns *s, VarlinkCall *call, json_object *parameters);
