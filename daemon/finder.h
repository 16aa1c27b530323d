/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The calls that look for something in Azure: Items, Points, and the words of a Provision. Each search
 * belongs to its call and ends with it. Knows no session: a point that was found is handed to whoever asked
 * for it. */

#include "azure.h"
#include "varlink.h"

typedef struct Finder Finder;

/* azure is borrowed. */
int finder_new(Finder **ret, Azure *azure);
/* Cancels all searches; their calls are forgotten, not answered. */
Finder *finder_free(Finder *f);
DEFINE_CLEANUP(Finder *, finder_free)

/* Handlers, see VarlinkMethod. */
int finder_items(Finder *f, VarlinkCall *call, json_object *parameters);
int finder_points(Finder *f, VarlinkCall *call, json_object *parameters);

/* Do the parameters of a Provision say a point by words? */
bool finder_wants(json_object *parameters);
/* Looks for it. found gets the call, which it must answer or park, its parameters (borrowed) and the point
 * (taken); a negative return means that the call is not answered. If nothing is found the call is answered
 * here. */
int finder_point(Finder *f, VarlinkCall *call, json_object *parameters,
                 int (*found)(VarlinkCall *call, json_object *parameters, AzurePoint *point, void *userdata),
                 void *userdata);
