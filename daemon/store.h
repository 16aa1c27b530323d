/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The records of the sessions on disk: one JSON file each, replaced atomically, fsynced. Knows files, not
 * sessions. */

#include "json.h"

typedef struct Store Store;

/* dir: an existing directory of ours (StateDirectory=). */
int store_new(Store **ret, const char *dir);
Store *store_free(Store *s);
DEFINE_CLEANUP(Store *, store_free)

/* Saves the record of session id; adds its version. On return 0 it is on the disk. */
int store_save(Store *s, const char *id, json_object *record);
/* Forgets it. Absent: 0. */
int store_remove(Store *s, const char *id);

/* Calls found() for each record that this version may use (record-version.h), and removes files of saves that
 * were broken off. What cannot be understood (a later version, damage) is kept where it is and told to kept()
 * with the reason. Returns 0 or the errno of reading the directory. */
int store_load(Store *s, void (*found)(const char *id, json_object *record, void *userdata),
               void (*kept)(const char *file, const char *why, void *userdata), void *userdata);
