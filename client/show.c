/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "show.h"

#include "text.h"

const char *session_text(json_object *session, const char *key)
{
    const char *s = "-";

    (void)json_get_string(session, key, &s);
    return s;
}

const char *session_time(json_object *session, const char *key, char buf[static TIMESTAMP_MAX])
{
    int64_t usec;

    return json_get_int64(session, key, &usec) > 0 && usec > 0 ? timestamp_format((uint64_t)usec, buf) : "-";
}

char *holders_text(json_object *session)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *text = NULL;
    json_object *holders;
    size_t i;

    if (json_get_array(session, "holders", &holders) > 0)
        for (i = 0; i < json_object_array_length(holders); i++) {
            json_object *h = json_object_array_get_idx(holders, i);
            const char *reason = NULL;

            (void)json_get_string(h, "reason", &reason);
            if (strv_extendf(&words, "%s%s%s%s", session_text(h, "caller"), reason ? " (" : "",
                             reason ? reason : "", reason ? ")" : "") < 0)
                out_of_memory();
        }
    text = text_join(words, ", ", "nobody");
    return text_escape(text);
}

/* "root", "root, alice" */
static char *callers_text(json_object *session)
{
    _cleanup_strv_free_ char **names = NULL;
    json_object *holders;
    size_t i;

    if (json_get_array(session, "holders", &holders) > 0)
        for (i = 0; i < json_object_array_length(holders); i++)
            if (strv_extend(&names, session_text(json_object_array_get_idx(holders, i), "caller")) < 0)
                out_of_memory();
    return text_join(names, ", ", session_text(session, "caller"));
}

void show_list(json_object *sessions, FILE *f)
{
    static const char *const titles[] = {"ID",      "STATE",   "VM",     "RECOVERY POINT",
                                         "CREATED", "EXPIRES", "HELD BY"};
    Table t;
    size_t i;

    if (json_object_array_length(sessions) == 0) {
        fputs("No sessions.\n", f);
        return;
    }
    table_init(&t, titles, ELEMENTSOF(titles), NULL);
    for (i = 0; i < json_object_array_length(sessions); i++) {
        json_object *s = json_object_array_get_idx(sessions, i);
        _cleanup_free_ char *callers = callers_text(s);
        char buf[TIMESTAMP_MAX];

        table_add(&t, session_text(s, "id"));
        table_add(&t, session_text(s, "state"));
        table_add(&t, session_text(s, "vm"));
        table_add(&t, session_text(s, "recoveryPoint"));
        table_add(&t, session_time(s, "createdUsec", buf));
        table_add(&t, session_time(s, "expiresUsec", buf));
        table_add(&t, callers);
    }
    table_print(&t, "", f);
    table_done(&t);
}

static void show_field(FILE *f, const char *label, const char *value)
{
    _cleanup_free_ char *escaped = NULL;

    if (isempty(value) || streq(value, "-"))
        return;
    escaped = text_escape(value);
    fprintf(f, "  %-18s %s\n", label, escaped);
}

/* "disk1-part1 + disk2-part1 > md raid1 > LV vg0/root" */
static char *layers_text(json_object *volume)
{
    _cleanup_strv_free_ char **words = NULL;
    json_object *layers;
    size_t i;

    if (json_get_array(volume, "layers", &layers) > 0)
        for (i = 0; i < json_object_array_length(layers); i++) {
            json_object *o = json_object_array_get_idx(layers, i);

            if (json_object_is_type(o, json_type_string) &&
                strv_extend(&words, json_object_get_string(o)) < 0)
                out_of_memory();
        }
    return text_join(words, " > ", "-");
}

void show_volumes(json_object *session, FILE *f)
{
    static const char *const titles[] = {"VOLUME", "TYPE", "SIZE", "LABEL", "PATH, OR WHY NOT", "ON"};
    static const bool right[ELEMENTSOF(titles)] = {false, false, true};
    json_object *volumes;
    Table t;
    size_t i;

    if (json_get_array(session, "volumes", &volumes) <= 0 || json_object_array_length(volumes) == 0)
        return;
    table_init(&t, titles, ELEMENTSOF(titles), right);
    for (i = 0; i < json_object_array_length(volumes); i++) {
        json_object *v = json_object_array_get_idx(volumes, i);
        const char *path = NULL, *reason = "no reason is known";
        _cleanup_free_ char *why = NULL, *where = layers_text(v);
        int64_t size = -1;
        char buf[32];

        (void)json_get_int64(v, "sizeBytes", &size);
        (void)json_get_string(v, "path", &path);
        (void)json_get_string(v, "reason", &reason);
        if (asprintf(&why, "not mounted: %s", reason) < 0)
            out_of_memory();
        table_add(&t, session_text(v, "name"));
        table_add(&t, session_text(v, "type"));
        table_add(&t, size >= 0 ? text_size((uint64_t)size, buf, sizeof(buf)) : "-");
        table_add(&t, session_text(v, "label"));
        table_add(&t, path ? path : why);
        table_add(&t, where);
    }
    table_print(&t, "  ", f);
    table_done(&t);
}

void show_locked(json_object *session, FILE *f)
{
    _cleanup_free_ char *id = text_escape(session_text(session, "id"));
    json_object *o;
    size_t i;

    if (json_get_array(session, "warnings", &o) > 0)
        for (i = 0; i < json_object_array_length(o); i++) {
            const char *text = json_object_get_string(json_object_array_get_idx(o, i));
            _cleanup_free_ char *warning = text_escape(text ? text : "");

            fprintf(f, "Warning: %s\n", warning);
        }
    if (!streq(session_text(session, "state"), "ready") || json_get_array(session, "volumes", &o) <= 0)
        return;
    for (i = 0; i < json_object_array_length(o); i++) {
        json_object *v = json_object_array_get_idx(o, i);
        _cleanup_free_ char *name = text_escape(session_text(v, "name"));
        bool locked = false;

        if (json_get_bool(v, "locked", &locked) > 0 && locked)
            fprintf(f, "Volume %s is locked, with its key: ilrctl unlock %s %s\n", name, id, name);
    }
}

/* Those of one volume, each on a line of its own. */
static void show_subvolumes(json_object *session, FILE *f)
{
    json_object *volumes, *list;
    size_t i, k;

    if (json_get_array(session, "volumes", &volumes) <= 0)
        return;
    for (i = 0; i < json_object_array_length(volumes); i++) {
        json_object *v = json_object_array_get_idx(volumes, i);
        _cleanup_free_ char *name = text_escape(session_text(v, "name"));

        if (json_get_array(v, "subvolumes", &list) <= 0 || json_object_array_length(list) == 0)
            continue;
        fprintf(f, "  subvolumes of %s\n", name);
        for (k = 0; k < json_object_array_length(list); k++) {
            json_object *o = json_object_array_get_idx(list, k);
            _cleanup_free_ char *path = text_escape(session_text(o, "path"));
            bool is_default = false;

            (void)json_get_bool(o, "default", &is_default);
            fprintf(f, "    %s%s\n", path, is_default ? " (the default)" : "");
        }
    }
}

/* The systems that were found: their trees, and what is not in them. */
static void show_roots(json_object *session, FILE *f)
{
    json_object *roots, *list;
    size_t i, k;

    if (json_get_array(session, "roots", &roots) <= 0)
        return;
    for (i = 0; i < json_object_array_length(roots); i++) {
        json_object *root = json_object_array_get_idx(roots, i);
        _cleanup_strv_free_ char **words = NULL;
        _cleanup_free_ char *path = text_escape(session_text(root, "path")), *all = NULL;

        if (strv_extendf(&words, "/ (%s)", session_text(root, "volume")) < 0)
            out_of_memory();
        if (json_get_array(root, "mounts", &list) > 0)
            for (k = 0; k < json_object_array_length(list); k++) {
                json_object *o = json_object_array_get_idx(list, k);

                if (strv_extendf(&words, "%s (%s)", session_text(o, "where"), session_text(o, "volume")) < 0)
                    out_of_memory();
            }
        all = text_join(words, ", ", "");
        free_and_replace(&all, text_escape(all));
        fprintf(f, "  system in %s: %s\n", path, all);
        if (json_get_array(root, "missing", &list) <= 0)
            continue;
        for (k = 0; k < json_object_array_length(list); k++) {
            json_object *o = json_object_array_get_idx(list, k);
            _cleanup_free_ char *where = text_escape(session_text(o, "where")),
                                *what = text_escape(session_text(o, "what")),
                                *reason = text_escape(session_text(o, "reason"));

            fprintf(f, "    not in it: %s (%s): %s\n", where, what, reason);
        }
    }
}

void show_renewed(json_object *session, FILE *f)
{
    bool renewed = false;

    if (json_get_bool(session, "renewed", &renewed) > 0 && renewed)
        fputs("The recovery point had an active recovery already, of this host or another; Azure has renewed "
              "it.\n",
              f);
}

/* What bringing up has changed on the overlays, of all disks together, and the fullest one. */
static void show_overlays(json_object *session, FILE *f)
{
    int64_t total = 0, worst = 0;
    json_object *disks;
    char a[32], text[96];
    size_t i;

    if (json_get_array(session, "disks", &disks) <= 0)
        return;
    for (i = 0; i < json_object_array_length(disks); i++) {
        json_object *d = json_object_array_get_idx(disks, i);
        int64_t size = 0, used = 0;

        if (json_get_int64(d, "overlaySizeBytes", &size) <= 0 || size <= 0 ||
            json_get_int64(d, "overlayUsedBytes", &used) <= 0 || used < 0 || used > size)
            continue;
        total += used;
        worst = MAX(worst, used * 100 / size);
    }
    if (total == 0)
        return;
    snprintf(text, sizeof(text), "%s in memory, the fullest overlay at %lld%%",
             text_size((uint64_t)total, a, sizeof(a)), (long long)worst);
    show_field(f, "changes", text);
}

/* How much it is used, and what follows from that. */
static void show_use(json_object *session, FILE *f)
{
    int64_t bytes = 0, idle = 0, expires = 0, left = 0;
    json_object *inhibitors = NULL;
    char text[64];
    size_t i;

    /* ilrd knows it better than this host's clock may. */
    if (json_get_int64(session, "timeLeftUsec", &left) <= 0 &&
        json_get_int64(session, "expiresUsec", &expires) > 0)
        left = expires - (int64_t)now_usec(CLOCK_REALTIME);
    if (left > 0)
        show_field(f, "time left", timespan_format((uint64_t)left, text, sizeof(text)));
    if (json_get_int64(session, "bytesRead", &bytes) > 0 && bytes > 0)
        show_field(f, "read", text_size((uint64_t)bytes, text, sizeof(text)));
    if (json_get_int64(session, "idleUsec", &idle) > 0 && idle > 0)
        show_field(f, "given back after", timespan_format((uint64_t)idle, text, sizeof(text)));
    if (json_get_array(session, "inhibitors", &inhibitors) <= 0)
        return;
    for (i = 0; i < json_object_array_length(inhibitors); i++) {
        json_object *o = json_object_array_get_idx(inhibitors, i);
        _cleanup_free_ char *line = NULL;
        int64_t pid = 0;

        (void)json_get_int64(o, "pid", &pid);
        if (asprintf(&line, "%s, pid %lld: %s", session_text(o, "caller"), (long long)pid,
                     session_text(o, "why")) < 0)
            out_of_memory();
        show_field(f, "kept by", line);
    }
}

void show_session(json_object *session, FILE *f)
{
    static const struct {
        const char *label, *key;
        bool time;
    } fields[] = {
        {"state", "state"},
        {"detail", "detail"},
        {"virtual machine", "vm"},
        {"VM's resource id", "virtualMachineId"},
        {"recovery point", "recoveryPoint"},
        {"vault", "vault"},
        {"container", "container"},
        {"item", "item"},
        {"caller", "caller"},
        {"reason", "reason"},
        {"created", "createdUsec", true},
        {"ready", "readyUsec", true},
        {"expires", "expiresUsec", true},
        {"directory", "path"},
        {"journals", "replay"},
    };
    _cleanup_free_ char *id = text_escape(session_text(session, "id"));
    _cleanup_failure_ Failure *failure = NULL, *release_failure = NULL;
    char buf[TIMESTAMP_MAX];
    int64_t place = 0;
    json_object *o;
    size_t i;

    fprintf(f, "Session %s\n", id);
    for (i = 0; i < ELEMENTSOF(fields); i++)
        show_field(f, fields[i].label,
                   fields[i].time ? session_time(session, fields[i].key, buf)
                                  : session_text(session, fields[i].key));
    if (json_get_array(session, "holders", &o) > 0 && json_object_array_length(o) > 1) {
        _cleanup_free_ char *holders = holders_text(session);

        show_field(f, "held by", holders);
    }
    if (json_get_int64(session, "queuePlace", &place) > 0 && place > 0) {
        snprintf(buf, sizeof(buf), "%lld", (long long)place);
        show_field(f, "place in the queue", buf);
    }
    show_use(session, f);
    show_renewed(session, f);
    show_overlays(session, f);
    show_volumes(session, f);
    show_locked(session, f);
    show_subvolumes(session, f);
    show_roots(session, f);
    if (json_get_object(session, "failure", &o) > 0 && failure_from_json(o, &failure) >= 0)
        show_failure(NULL, failure, NULL, f);
    if (json_get_object(session, "releaseFailure", &o) > 0 && failure_from_json(o, &release_failure) >= 0) {
        fputs("Not everything could be given back yet; it is tried again:\n", f);
        show_failure(NULL, release_failure, NULL, f);
    }
}

static void show_lines(FILE *f, const char *title, char *const *lines, const char *mark)
{
    char *const *i;

    if (!lines || !*lines)
        return;
    fprintf(f, "  %s\n", title);
    STRV_FOREACH (i, lines) {
        _cleanup_free_ char *escaped = text_escape(*i);

        fprintf(f, "    %s %s\n", mark, escaped);
    }
}

static void show_holders(FILE *f, json_object *holders)
{
    size_t i;

    if (!json_object_is_type(holders, json_type_array) || json_object_array_length(holders) == 0)
        return;
    fputs("  in use by\n", f);
    for (i = 0; i < json_object_array_length(holders); i++) {
        json_object *h = json_object_array_get_idx(holders, i);
        _cleanup_free_ char *command = text_escape(session_text(h, "command"));
        _cleanup_free_ char *path = text_escape(session_text(h, "path"));
        int64_t pid = 0, uid = -1;

        (void)json_get_int64(h, "pid", &pid);
        (void)json_get_int64(h, "uid", &uid);
        fprintf(f, "    pid %lld %s (uid %lld)%s%s\n", (long long)pid, command, (long long)uid,
                streq(path, "-") ? "" : " ", streq(path, "-") ? "" : path);
    }
}

void show_failure(const char *name, const Failure *failure, json_object *session, FILE *f)
{
    _cleanup_free_ char *message = NULL;

    if (!name)
        name = failure_name_to_string(failure->name);
    message = text_escape(failure->message ? failure->message : name);
    fprintf(f, "Failed: %s\n", message);
    show_field(f, "failure", name);
    if (session) {
        show_field(f, "session", session_text(session, "id"));
        show_field(f, "state", session_text(session, "state"));
        show_field(f, "virtual machine", session_text(session, "vm"));
        show_field(f, "recovery point", session_text(session, "recoveryPoint"));
        show_field(f, "item", session_text(session, "item"));
    }
    show_field(f, "service's code", failure->code);
    show_field(f, "request id", failure->request_id);
    show_field(f, "correlation id", failure->correlation_id);
    show_lines(f, "the service recommends", failure->recommendations, "-");
    show_lines(f, "the script's last lines", failure->lines, "|");
    show_holders(f, failure->holders);
    show_field(f, "what to do", failure_hint(failure));
}
