/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-ids.h"

#include "log.h"

#include <inttypes.h>
#include <sys/random.h>

void azure_guid_make(char buf[static AZURE_GUID_LENGTH + 1])
{
    uint8_t b[16] = {};

    (void)!getrandom(b, sizeof(b), 0);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(buf, AZURE_GUID_LENGTH + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

void azure_log_answer(const char *session, bool quiet, const char *method, const char *url, const char *id,
                      const HttpAnswer *a)
{
    const char *request_id = http_answer_header(a, "x-ms-request-id");
    bool whole = a->outcome == HTTP_ANSWERED;

    /* Without its query: status addresses have signatures there, longer than a line of the journal. */
    log_full(quiet && whole && a->status < 300 ? LOG_DEBUG : LOG_INFO, session,
             "Azure: %s %.*s: %d %s(%" PRIu64 " ms, client request id %s, request id %s)", method,
             (int)MIN(strcspn(url, "?"), (size_t)512), url, a->status, whole ? "" : "no whole answer ",
             a->duration_usec / USEC_PER_MSEC, id, request_id ? request_id : "none");
}
