/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "identity.h"
#include "validate.h"
#include <sys/random.h>
#include <time.h>

#define HEX "0123456789abcdef"
#define DIGITS "0123456789"

void random_text(char *buf, size_t n, const char *set)
{
    size_t size = strlen(set);

    for (size_t i = 0; i < n; i++) {
        unsigned char byte = 0;

        /* Cannot fail for a few bytes once the system is up; if it did, a weak name in a simulator does no
         * harm. */
        while (getrandom(&byte, 1, 0) < 0 && errno == EINTR)
            ;
        buf[i] = set[byte % size];
    }
    buf[n] = '\0';
}

void guid_make(char buf[static GUID_SIZE])
{
    random_text(buf, GUID_SIZE - 1, HEX);
    buf[8] = buf[13] = buf[18] = buf[23] = '-';
    buf[14] = '4';
    buf[19] = 'a';
}

uint64_t ticks_from_usec(uint64_t realtime_usec)
{
    return UINT64_C(621355968000000000) + realtime_usec * 10;
}

int identity_make(Registration *r, uint64_t now)
{
    char owner[20], guid[GUID_SIZE];

    session_id_make(r->id);
    random_text(owner, 19, DIGITS);
    if (owner[0] == '0')
        owner[0] = '8';
    guid_make(guid);
    r->password = malloc(16);
    r->initiator_password = malloc(15);
    r->script_id = malloc(GUID_SIZE);
    if (!r->password || !r->initiator_password || !r->script_id)
        return -ENOMEM;
    random_text(r->password, 15, HEX);
    random_text(r->initiator_password, 14, HEX);
    guid_make(r->script_id);
    if (asprintf(&r->user_name, "%s-%s", owner, guid) < 0) {
        r->user_name = NULL;
        return -ENOMEM;
    }
    if (asprintf(&r->target_name, TARGET_PREFIX "%s-625456-70369750168692-%s-0.%llu", owner,
                 r->recovery_point, (unsigned long long)ticks_from_usec(now)) < 0) {
        r->target_name = NULL;
        return -ENOMEM;
    }
    return 0;
}

char *identity_suffix(const Registration *r)
{
    const char *ticks = strrchr(r->target_name, '.') + 1, *dash = strchr(r->user_name, '-');
    char guid[33], *s;
    size_t n = 0;

    for (const char *p = dash + 1; *p && n < sizeof(guid) - 1; p++)
        if (*p != '-')
            guid[n++] = *p;
    guid[n] = '\0';
    if (asprintf(&s, "%s_1_sea_%.*s_%.12s_%s%s%s", r->vm_name, (int)(dash - r->user_name), r->user_name,
                 ticks + 3, guid, r->password, r->initiator_password) < 0)
        return NULL;
    return s;
}

char *identity_windows_text(const Registration *r)
{
    const char *name = r->target_name + strlen(TARGET_PREFIX), *ticks = strrchr(r->target_name, '.') + 1;
    time_t expires = (time_t)(r->expires_usec / USEC_PER_SEC);
    struct tm tm;
    char date[40] = "", *s;

    if (gmtime_r(&expires, &tm))
        snprintf(date, sizeof(date), "%d/%d/%d %d:%02d:%02d %s", tm.tm_mon + 1, tm.tm_mday, tm.tm_year + 1900,
                 tm.tm_hour % 12 ? tm.tm_hour % 12 : 12, tm.tm_min, tm.tm_sec, tm.tm_hour < 12 ? "AM" : "PM");
    if (asprintf(&s, "User - %s , Target - Owner=%.19s,Name=%.*s,Expiry=%s, Sequence = %s", r->user_name,
                 name, (int)(ticks - 1 - name), name, date, ticks) < 0)
        return NULL;
    return s;
}
