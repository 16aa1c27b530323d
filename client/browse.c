/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verb browse: where the files are. A path is looked up as the machine would that was backed up: its
 * links stay in its own tree, and none leads to a file of this host. */

#include "client.h"
#include "files.h"
#include "show.h"
#include "text.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    _cleanup_strv_free_ char **dirs = NULL;
    char **d;

    if (!path || strv_split(path, ":", &dirs) < 0)
        return false;
    STRV_FOREACH (d, dirs) {
        _cleanup_free_ char *file = NULL;

        if (asprintf(&file, "%s/%s", *d, program) >= 0 && access(file, X_OK) >= 0)
            return true;
    }
    return false;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) >= 0 && !S_ISDIR(st.st_mode);
}

/* On a terminal it is opened if there is something to open it with, unasked. */
static int open_directory(const Client *c, const char *path)
{
    const bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
               desktop = !isempty(getenv("DISPLAY")) || !isempty(getenv("WAYLAND_DISPLAY"));
    const char *program = NULL;
    char buf[128];

    if (!c->open && (!terminal || is_file(path)))
        return 0;
    if (terminal && in_path("mc"))
        program = "mc";
    else if (desktop && in_path("xdg-open"))
        program = "xdg-open";
    if (!program && !c->open)
        return 0;
    if (!program)
        return tell_failure(
            c, 1, "Internal", "install mc, or go there with cd",
            "There is no file manager to open %s with (mc on a terminal, xdg-open on a desktop)", path);
    fflush(stdout);
    link_unblock_interrupt();
    execlp(program, program, path, NULL);
    return tell_failure(c, 1, "Internal", NULL, "%s: %s", program, strerror_r(errno, buf, sizeof(buf)));
}

static const char *named_root(json_object *session, const char *name)
{
    const char *path = NULL;
    json_object *roots;
    size_t i;

    if (json_get_array(session, "roots", &roots) > 0)
        for (i = 0; i < json_object_array_length(roots); i++) {
            json_object *o = json_object_array_get_idx(roots, i);

            if ((!name || streq(session_text(o, "name"), name)) && json_get_string(o, "path", &path) > 0)
                return path;
        }
    return NULL;
}

/* A volume goes before a root of the same name: "root" is what volumes are called, too, and the first root
 * needs no name. */
static int named_place(const Client *c, json_object *session, const char *name, const char **ret)
{
    const char *id = session_text(session, "id"), *reason = "no reason is known";
    _cleanup_strv_free_ char **names = NULL;
    _cleanup_free_ char *text = NULL;
    json_object *volumes = NULL;
    size_t i;

    (void)json_get_array(session, "volumes", &volumes);
    for (i = 0; volumes && i < json_object_array_length(volumes); i++) {
        json_object *v = json_object_array_get_idx(volumes, i);

        if (strv_extend(&names, session_text(v, "name")) < 0)
            out_of_memory();
        if (!streq(session_text(v, "name"), name))
            continue;
        if (json_get_string(v, "path", ret) > 0)
            return 0;
        (void)json_get_string(v, "reason", &reason);
        return tell_failure(c, EXIT_NOT_MOUNTED, "NotMounted", "choose another volume, see ilrctl status",
                            "Volume \"%s\" of session %s is not mounted: %s", name, id, reason);
    }
    *ret = named_root(session, name);
    if (*ret)
        return 0;
    text = text_join(names, ", ", "none");
    return tell_failure(c, EXIT_NOT_FOUND, "NoSuchVolume", "choose one of those named",
                        "Session %s has no volume \"%s\", but: %s", id, name, text);
}

/* The first root, or where there is none or --volumes asks for it the directory of the volumes. */
static int first_place(const Client *c, json_object *session, const char **ret)
{
    *ret = c->volumes ? NULL : named_root(session, NULL);
    if (*ret || json_get_string(session, "path", ret) > 0)
        return 0;
    return tell_failure(c, EXIT_NOT_MOUNTED, "NotMounted", "see ilrctl status", "Session %s has no directory",
                        session_text(session, "id"));
}

static int tell_no_path(const Client *c, int error, const char *path, const char *place)
{
    char buf[128];

    if (error == -EACCES || error == -EPERM)
        return tell_failure(
            c, EXIT_REFUSED, "PermissionDenied", "ask as root",
            "You may not go to %s in %s: its modes are those of the machine that was backed up", path, place);
    if (error == -ENOENT || error == -ENOTDIR || error == -ELOOP)
        return tell_failure(c, EXIT_NOT_FOUND, "NoSuchPath", "see what ilrctl status says is missing",
                            "There is no %s in %s, or it is a link that leads nowhere there", path, place);
    return tell_failure(c, EXIT_NOT_MOUNTED, "NotMounted", NULL, "%s in %s cannot be reached: %s", path,
                        place, strerror_r(-error, buf, sizeof(buf)));
}

/* Where a path of the backup really is; the caller's. */
static int resolve(const Client *c, const char *place, const char *path, char **ret)
{
    _cleanup_close_ int root = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
    char link[64], real[PATH_MAX];
    const char *rest;
    ssize_t n;

    fd = root < 0 ? -errno : open_in_root(root, path, O_PATH);
    if (fd < 0)
        return tell_no_path(c, fd, path, place);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, real, sizeof(real) - 1);
    if (n < 0)
        return tell_no_path(c, -errno, path, place);
    real[n] = '\0';
    rest = startswith(real, place);
    if (!rest || (*rest && *rest != '/'))
        return tell_no_path(c, -ENOENT, path, place);
    *ret = strdup(real);
    if (!*ret)
        out_of_memory();
    return 0;
}

int verb_browse(const Client *c, int argc, char **argv)
{
    const char *name = argc > 1 && *argv[1] != '/' ? argv[1] : NULL, *inside = argc > 2             ? argv[2]
                                                                               : argc == 2 && !name ? argv[1]
                                                                                                    : NULL;
    _cleanup_free_ char *id = NULL, *real = NULL;
    const char *path = NULL;
    json_object *session;
    Reply reply;
    int code;

    if (argc == 3 && (!name || *argv[2] != '/'))
        return tell_failure(c, EXIT_USAGE, "Usage", "ilrctl browse ID [VOLUME] [/PATH]",
                            "%s is no absolute path of a volume", argv[2]);
    code = ask_session(c, argv[0], &id, &session, &reply);
    if (code != 0)
        return code;
    if (!streq(session_text(session, "state"), "ready"))
        code = tell_failure(c, EXIT_REFUSED, "InvalidRequest", "wait until it is ready: ilrctl monitor",
                            "Session %s is not ready, it is %s", id, session_text(session, "state"));
    else if (name)
        code = named_place(c, session, name, &path);
    else if (inside && !c->volumes && !named_root(session, NULL))
        code = tell_failure(c, EXIT_NOT_FOUND, "NoSuchPath", "ilrctl browse ID VOLUME /PATH",
                            "No system with an /etc/fstab was found in session %s, say on which volume %s is",
                            id, inside);
    else
        code = first_place(c, session, &path);
    if (code == 0 && inside) {
        code = resolve(c, path, inside, &real);
        path = real;
    }
    if (code == 0 && c->json) {
        _cleanup_json_ json_object *o = id_parameters(id);

        if (json_add_string(o, "volume", name) < 0 || json_add_string(o, "path", path) < 0)
            out_of_memory();
        print_json(o);
    } else if (code == 0) {
        /* Where links of the backup lead; a script wants it as it is. */
        _cleanup_free_ char *shown = isatty(STDOUT_FILENO) ? text_escape(path) : NULL;

        puts(shown ? shown : path);
    }
    if (code == 0 && !c->json)
        code = open_directory(c, path);
    reply_done(&reply);
    return code;
}
