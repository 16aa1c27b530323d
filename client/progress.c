/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include "show.h"
#include "text.h"
#include "timeutil.h"

#include <sys/ioctl.h>

#define CLEAR "\r\033[K"

void progress_init(Progress *p, bool quiet)
{
    const char *term = getenv("TERM");

    *p = (Progress){
        .quiet = quiet,
        .terminal = !quiet && isatty(STDERR_FILENO) && !isempty(term) && !streq(term, "dumb"),
        .start_usec = now_usec(CLOCK_MONOTONIC),
    };
}

void progress_done(Progress *p)
{
    progress_end(p);
}

static size_t columns(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) >= 0 && w.ws_col > 10 ? w.ws_col : 80;
}

void progress_tick(Progress *p)
{
    uint64_t seconds = (now_usec(CLOCK_MONOTONIC) - p->start_usec) / USEC_PER_SEC;
    _cleanup_free_ char *line = NULL;

    if (!p->terminal || !p->state)
        return;
    if (asprintf(&line, "%3llu:%02llu  %s%s%s", (unsigned long long)seconds / 60,
                 (unsigned long long)seconds % 60, p->state, p->detail ? ": " : "",
                 p->detail ? p->detail : "") < 0)
        out_of_memory();
    text_cut(line, columns() - 1);
    fprintf(stderr, CLEAR "%s", line);
    fflush(stderr);
}

/* The state that is over, as a line that stays. */
static void finish_state(Progress *p)
{
    char buf[64];

    if (p->state)
        fprintf(stderr, CLEAR "  done  %s (%s)\n", p->state,
                timespan_format(now_usec(CLOCK_MONOTONIC) - p->state_start_usec, buf, sizeof(buf)));
}

void progress_end(Progress *p)
{
    if (p->terminal && p->state)
        fputs(CLEAR, stderr);
    free_and_replace(&p->state, NULL);
    free_and_replace(&p->detail, NULL);
}

void progress_note(Progress *p, const char *detail)
{
    char *escaped;

    if (p->quiet)
        return;
    escaped = text_escape(detail);
    if (!p->terminal) {
        fprintf(stderr, "%s\n", escaped);
        free(escaped);
        return;
    }
    if (!p->state) {
        p->state = strdup("finding");
        if (!p->state)
            out_of_memory();
        p->state_start_usec = now_usec(CLOCK_MONOTONIC);
    }
    free_and_replace(&p->detail, escaped);
    progress_tick(p);
}

void progress_update(Progress *p, json_object *session)
{
    const char *detail = NULL;
    bool new_state, new_detail;
    char *escaped;

    if (p->quiet)
        return;
    if (!p->named) {
        _cleanup_free_ char *id = text_escape(session_text(session, "id"));
        _cleanup_free_ char *vm = text_escape(session_text(session, "vm"));

        fprintf(stderr, "%sSession %s, VM %s\n", p->terminal && p->state ? CLEAR : "", id, vm);
        p->named = true;
    }
    escaped = text_escape(session_text(session, "state"));
    new_state = !streq_ptr(escaped, p->state);
    if (new_state) {
        if (p->terminal)
            finish_state(p);
        p->state_start_usec = now_usec(CLOCK_MONOTONIC);
        free_and_replace(&p->state, escaped);
    } else
        free(escaped);
    (void)json_get_string(session, "detail", &detail);
    escaped = isempty(detail) ? NULL : text_escape(detail);
    new_detail = !streq_ptr(escaped, p->detail);
    free_and_replace(&p->detail, escaped);
    if (p->terminal)
        progress_tick(p);
    else if (new_state || (new_detail && p->detail))
        fprintf(stderr, "%s%s%s\n", p->state, p->detail ? ": " : "", p->detail ? p->detail : "");
}
