/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The id that goes with a request, and the line of the journal that has it: what Azure's support asks for. */

#include "http.h"

#define AZURE_GUID_LENGTH 36

/* RFC 4122, version 4. */
void azure_guid_make(char buf[static AZURE_GUID_LENGTH + 1]);

/* session: for the journal's field, or NULL. quiet: a success is told to who debugs only. */
void azure_log_answer(const char *session, bool quiet, const char *method, const char *url, const char *id,
                      const HttpAnswer *a);
