/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "prompts.h"

#include <ctype.h>

#define CONTEXT_MAX 4096 /* bytes of lower case text that are looked at */

typedef enum AnswerKind {
    SAY_NOTHING,
    SAY_YES,
    SAY_NO,
    SAY_OS_NAME,
    SAY_OS_VERSION,
} AnswerKind;

/* Each string is a list of alternatives separated by '|', in lower case; one of them must occur, and all of
 * the strings must be satisfied: line in the unfinished line itself, context in it or in what was printed
 * since the last question. The first entry that fits decides, so the special ones stand above the general
 * ones. */
typedef struct PromptEntry {
    const char *name;
    const char *line[3];
    const char *context[3];
    PromptKind kind;
    AnswerKind say;
    FailureName failure;
} PromptEntry;

#define YES_OR_NO "y/n|'y'|\"y\"|(y)|[y]|y or n|yes/no|yes or no"

static const PromptEntry table[] = {
    {.name = "end",
     .line = {"exit|quit", "q/q|'q'|\"q\"|(q)|[q]|press q|enter q|type q"},
     .kind = PROMPT_END},
    /* Only asked when the script came with a placeholder; the real one is never typed by this program. */
    {.name = "password", .line = {"password"}, .kind = PROMPT_FAIL, .failure = FAILURE_PASSWORD_WANTED},
    {.name = "operating system's version",
     .line = {"version", "enter|type|provide|specify", "os |os:|operating system"},
     .kind = PROMPT_ANSWER,
     .say = SAY_OS_VERSION},
    {.name = "operating system's name",
     .line = {"os name|osname|name of the os|operating system", "enter|type|provide|specify"},
     .kind = PROMPT_ANSWER,
     .say = SAY_OS_NAME},
    {.name = "module asyncore",
     .line = {YES_OR_NO},
     .context = {"asyncore"},
     .kind = PROMPT_FAIL,
     .say = SAY_NO,
     .failure = FAILURE_PYTHON_UNSUPPORTED},
    {.name = "installation of packages",
     .line = {YES_OR_NO},
     .context = {"install"},
     .kind = PROMPT_FAIL,
     .say = SAY_NO,
     .failure = FAILURE_PACKAGES_MISSING},
    {.name = "cipher missing",
     .line = {YES_OR_NO},
     .context = {"cipher", "not there|missing|not found|not available|not support|required|won't be able"},
     .kind = PROMPT_FAIL,
     .say = SAY_NO,
     .failure = FAILURE_CIPHER_MISSING},
    {.name = "portal not reachable",
     .line = {YES_OR_NO},
     .context = {"network|access to|outbound|connectivity|nsg|firewall|timed out|reach",
                 "timed out|doesn't have|does not have|not reach|unreach|cannot|can't|unable|outbound"},
     .kind = PROMPT_FAIL,
     .say = SAY_NO,
     .failure = FAILURE_PORTAL_UNREACHABLE},
    {.name = "older session",
     .line = {YES_OR_NO},
     .context = {"session", "already|unmount|older|previous|existing|disconnect"},
     .kind = PROMPT_ANSWER,
     .say = SAY_NO},
    {.name = "file system on the whole disk",
     .line = {YES_OR_NO},
     .context =
         {"without volume|without partition|not have volume|not have any volume|no volume|no partition",
          "disk"},
     .kind = PROMPT_ANSWER,
     .say = SAY_NO},
    {.name = "same host, large disks",
     .line = {YES_OR_NO},
     .context = {"large", "disk", "same|not recommended|backed"},
     .kind = PROMPT_ANSWER,
     .say = SAY_YES},
    {.name = "same host, logical volumes or RAID",
     .line = {YES_OR_NO, "this machine|this host|same machine|recovery point"},
     .context = {"mount|continue"},
     .kind = PROMPT_ANSWER,
     .say = SAY_YES},
    {.name = "same host, logical volumes or RAID",
     .line = {YES_OR_NO},
     .context = {"lvm|raid|logical volume", "corrupt|same machine|backed up"},
     .kind = PROMPT_ANSWER,
     .say = SAY_YES},
    {.name = "mount logical volumes",
     .line = {YES_OR_NO, "mount|activate", "lvm|logical volume|lvs"},
     .kind = PROMPT_ANSWER,
     .say = SAY_NO},
    {.name = "operating system not supported",
     .line = {YES_OR_NO, "continue|proceed|still want"},
     .context = {"support|os version|operating system|operation system|osname|os name"},
     .kind = PROMPT_ANSWER,
     .say = SAY_YES},
};

static const struct {
    const char *all[3];
    FailureName failure;
} endings[] = {
    {{"private endpoint|private link|outside the vnet"}, FAILURE_TARGET_BLOCKED},
    {{"not ready|notready"}, FAILURE_TARGET_NOT_READY},
    {{"asyncore"}, FAILURE_PYTHON_UNSUPPORTED},
    {{"password", "placeholder|complete|15 char"}, FAILURE_PASSWORD_WANTED},
    {{"password|authorization|authorisation|authenticat", "invalid|incorrect|wrong|reject|fail|correct"},
     FAILURE_LOGIN_REJECTED},
    {{"tls|cipher", "not support|missing|needs|not there|required"}, FAILURE_CIPHER_MISSING},
    {{"please install|failed to install|not installed|aborting installation"}, FAILURE_PACKAGES_MISSING},
    {{"iscsid", "not running|cannot connect|can not connect"}, FAILURE_DISCOVERY_FAILED},
    {{"unable to access|cannot access|can't access|timed out|could not connect|unreachable",
      "vault|portal|proxy|firewall|network|connect"},
     FAILURE_PORTAL_UNREACHABLE},
};

/* Does one of the alternatives occur in text? */
static bool any_of(const char *text, const char *alternatives)
{
    char word[64];

    while (*alternatives) {
        size_t n = strcspn(alternatives, "|");

        if (n > 0 && n < sizeof(word)) {
            memcpy(word, alternatives, n);
            word[n] = '\0';
            if (strstr(text, word))
                return true;
        }
        alternatives += n + (alternatives[n] == '|');
    }
    return false;
}

static bool all_of(const char *text, const char *const *conditions, size_t n)
{
    size_t i;

    for (i = 0; i < n && conditions[i]; i++)
        if (!any_of(text, conditions[i]))
            return false;
    return true;
}

/* Puts text behind what is in buf, in lower case, white space and control characters as one blank. */
static size_t append_lower(char *buf, size_t used, size_t size, const char *text)
{
    for (; *text && used + 1 < size; text++) {
        unsigned char c = *text;

        if (c <= ' ') {
            if (used > 0 && buf[used - 1] != ' ')
                buf[used++] = ' ';
        } else
            buf[used++] = c < 0x80 ? (char)tolower(c) : (char)c;
    }
    buf[used] = '\0';
    return used;
}

/* "Checking for ...: DONE" names what was in order and would only mislead. */
static bool line_is_report(const char *line)
{
    size_t n = strlen(line);

    while (n > 0 && (unsigned char)line[n - 1] <= ' ')
        n--;
    return n >= 4 && strncasecmp(line + n - 4, "done", 4) == 0;
}

/* The end of what was printed, so much of it as fits. */
static void context_make(char buf[static CONTEXT_MAX], char *const *lines, const char *unfinished)
{
    size_t n = strv_length(lines), first = n, total = unfinished ? strlen(unfinished) : 0, used = 0;

    while (first > 0 && total + strlen(lines[first - 1]) + 1 < CONTEXT_MAX) {
        first--;
        total += strlen(lines[first]) + 1;
    }
    buf[0] = '\0';
    for (; first < n; first++)
        if (!line_is_report(lines[first])) {
            used = append_lower(buf, used, CONTEXT_MAX, lines[first]);
            used = append_lower(buf, used, CONTEXT_MAX, " ");
        }
    if (unfinished)
        append_lower(buf, used, CONTEXT_MAX, unfinished);
}

static const char *answer_text(AnswerKind say, const PromptSystem *system)
{
    switch (say) {
    case SAY_YES:
        return "Y";
    case SAY_NO:
        return "N";
    case SAY_OS_NAME:
        return system->name;
    case SAY_OS_VERSION:
        return system->version;
    case SAY_NOTHING:
        break;
    }
    return NULL;
}

PromptDecision prompt_decide(char *const *lines, const char *unfinished, const PromptSystem *system)
{
    char line[CONTEXT_MAX], context[CONTEXT_MAX];
    size_t i;

    append_lower(line, 0, sizeof(line), unfinished);
    if (line[strspn(line, " ")] == '\0')
        return (PromptDecision){.kind = PROMPT_NONE, .failure = FAILURE_NAME_INVALID};
    context_make(context, lines, unfinished);

    for (i = 0; i < ELEMENTSOF(table); i++) {
        const PromptEntry *e = table + i;

        if (!all_of(line, e->line, ELEMENTSOF(e->line)) ||
            !all_of(context, e->context, ELEMENTSOF(e->context)))
            continue;
        return (PromptDecision){
            .kind = e->kind,
            .name = e->name,
            .answer = answer_text(e->say, system),
            .failure = e->kind == PROMPT_FAIL ? e->failure : FAILURE_NAME_INVALID,
        };
    }
    return (PromptDecision){.kind = PROMPT_NONE, .failure = FAILURE_NAME_INVALID};
}

FailureName prompt_failure(char *const *lines)
{
    char context[CONTEXT_MAX];
    size_t i;

    context_make(context, lines, NULL);
    for (i = 0; i < ELEMENTSOF(endings); i++)
        if (all_of(context, endings[i].all, ELEMENTSOF(endings[i].all)))
            return endings[i].failure;
    return FAILURE_NAME_INVALID;
}
