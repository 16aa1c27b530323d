/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The body of an answer of Azure: status, error in every shape, clientScripts and the script in them. */

#include "azure-error.h"
#include "azure-operation.h"
#include "azure-script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void choose(json_object *scripts)
{
    _cleanup_secret_ Secret *script = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_(script_info_freep) ScriptInfo *info = NULL;
    int r;

    r = script_choose(scripts, &script, &failure);
    if ((r < 0) != !script || (r < 0) != !!failure)
        abort();
    if (r >= 0 && script_info_parse(secret_text(script), secret_size(script), &info, &failure) < 0 &&
        !failure)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const AzureSubject subject = {
        .what = "do it", .action = "a/action", .not_found = FAILURE_POINT_NOT_FOUND};
    _cleanup_free_ char *excerpt = NULL, *copy = NULL;
    _cleanup_json_erase_ json_object *o = NULL;
    _cleanup_failure_ Failure *failure = NULL, *invalid = NULL;
    HttpAnswer answer = {.status = 409};
    const char *text = NULL;
    AzureError e;

    copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    excerpt = azure_excerpt(copy, size);
    if (excerpt && strlen(excerpt) > 120)
        abort();
    answer.body = copy;
    answer.body_size = size;
    (void)json_parse(copy, size, &o);
    failure = azure_failure(&subject, "host", &answer, o);
    invalid = azure_failure_invalid(&subject, "host", &answer, "is odd");
    if (!failure || !invalid || strpbrk(failure->message, "\r\n"))
        abort();
    if (azure_error_read(o, &e) >= 0)
        azure_error_done(&e);
    if (azure_status_read(o, &text) != AZURE_STATUS_UNKNOWN && !text)
        abort();
    choose(json_get_nocase(o, "clientScripts"));
    choose(json_get_nocase(json_get_nocase(json_get_nocase(o, "properties"), "recoveryTarget"),
                           "clientScripts"));
    return 0;
}
