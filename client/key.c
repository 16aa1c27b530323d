/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys of encrypted volumes: from a file, a descriptor or the terminal into memory that is handed to ilrd as
 * a descriptor. They are never an argument and never printed. */

#include "client.h"
#include "secret.h"
#include "text.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>

#define KEY_SIZE_MAX (32 * KIB)
#define LINE_SIZE 4096 /* what a terminal takes as one line */

static int bad_key(const Client *c, const char *what, int r)
{
    char buf[128];

    if (r == -ENODATA)
        return tell_failure(c, EXIT_USAGE, "Usage", "give the key file, or the passphrase", "%s is empty",
                            what);
    if (r == -EFBIG)
        return tell_failure(c, EXIT_USAGE, "Usage", "give the file of the key, not of the disk",
                            "%s has more than %llu bytes, which is the most a key may have", what,
                            (unsigned long long)KEY_SIZE_MAX);
    return tell_failure(c, EXIT_USAGE, "Usage", "see its name and its permissions", "%s cannot be read: %s",
                        what, strerror_r(-r, buf, sizeof(buf)));
}

static int hand_over(const Client *c, const Secret *s, int *ret)
{
    char buf[128];
    int r = secret_to_memfd(s, ret);

    return r < 0 ? tell_failure(c, 1, "Internal", NULL, "No memory for the key: %s",
                                strerror_r(-r, buf, sizeof(buf)))
                 : 0;
}

/* Whoever has the key may take his time. Nothing has begun: an interrupt just ends the program. */
static int read_key(int fd, const char *path, Secret **ret)
{
    _cleanup_close_ int opened = -EBADF;
    int r;

    signal(SIGINT, SIG_DFL);
    link_unblock_interrupt();
    if (path)
        fd = opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    r = fd < 0 ? -errno : secret_read_fd(fd, KEY_SIZE_MAX, ret);
    link_block_interrupt();
    return r;
}

int key_of_file(const Client *c, const char *path, int *ret)
{
    _cleanup_secret_ Secret *s = NULL;
    int r = read_key(STDIN_FILENO, streq(path, "-") ? NULL : path, &s);

    return r < 0 ? bad_key(c, streq(path, "-") ? "standard input" : path, r) : hand_over(c, s, ret);
}

/* With a newline at its end cut. */
static int hand_passphrase(const Client *c, const char *what, const char *text, size_t size, int *ret)
{
    _cleanup_secret_ Secret *s = NULL;

    if (size > 0 && text[size - 1] == '\n')
        size--;
    if (size == 0)
        return bad_key(c, what, -ENODATA);
    s = secret_new(text, size);
    if (!s)
        out_of_memory();
    return hand_over(c, s, ret);
}

int key_of_fd(const Client *c, const char *number, int *ret)
{
    _cleanup_secret_ Secret *s = NULL;
    char *end, what[32];
    long fd;
    int r;

    errno = 0;
    fd = strtol(number, &end, 10);
    if (errno || *end || end == number || fd < 0 || fd > INT_MAX)
        return tell_failure(c, EXIT_USAGE, "Usage", "for example: ilrctl unlock ID VOLUME --key-fd=3 3<FILE",
                            "--key-fd=%s is no number of a descriptor", number);
    snprintf(what, sizeof(what), "descriptor %ld", fd);
    r = read_key((int)fd, NULL, &s);
    return r < 0 ? bad_key(c, what, r) : hand_passphrase(c, what, secret_text(s), secret_size(s), ret);
}

/* ---- the terminal ---- */

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
    caught = sig;
}

/* One line, without its newline. Returns its bytes, or a negative errno; -EINTR: caught is the signal. */
static ssize_t read_line(int fd, const sigset_t *mask, char buf[static LINE_SIZE])
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t used = 0;
    ssize_t n;

    for (;;) {
        if (caught)
            return -EINTR;
        if (ppoll(&p, 1, NULL, mask) < 0) {
            if (errno != EINTR)
                return -errno;
            continue;
        }
        n = read(fd, buf + used, LINE_SIZE - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        used += (size_t)n;
        if (n == 0 || buf[used - 1] == '\n' || used == LINE_SIZE)
            return used > 0 && buf[used - 1] == '\n' ? (ssize_t)used - 1 : (ssize_t)used;
    }
}

/* The same without an echo. Whatever ends it, the terminal is then as it was before. */
static ssize_t read_hidden(int in, int out, const char *question, char buf[static LINE_SIZE])
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction sa = {.sa_handler = on_signal}, old[ELEMENTSOF(signals)];
    struct termios before, hidden;
    sigset_t blocked, mask, wait;
    ssize_t n;
    size_t i;

    if (tcgetattr(in, &before) < 0)
        return -errno;
    sigemptyset(&blocked);
    for (i = 0; i < ELEMENTSOF(signals); i++)
        sigaddset(&blocked, signals[i]);
    sigaddset(&blocked, SIGTSTP); /* a shell would get a terminal without an echo */
    sigprocmask(SIG_BLOCK, &blocked, &mask);
    wait = mask;
    for (i = 0; i < ELEMENTSOF(signals); i++) {
        sigaction(signals[i], &sa, &old[i]);
        sigdelset(&wait, signals[i]);
    }
    sigaddset(&wait, SIGTSTP);
    hidden = before;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    hidden.c_lflag |= ICANON | ISIG;
    n = tcsetattr(in, TCSAFLUSH, &hidden) < 0 ? -errno : 0;
    if (n >= 0) {
        (void)!write(out, question, strlen(question));
        n = read_line(in, &wait, buf);
        (void)tcsetattr(in, TCSAFLUSH, &before);
        (void)!write(out, "\n", 1);
    }
    for (i = 0; i < ELEMENTSOF(signals); i++)
        sigaction(signals[i], &old[i], NULL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return n;
}

int key_of_prompt(const Client *c, const char *question, int *ret)
{
    _cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    char buf[LINE_SIZE], what[128];
    ssize_t n;
    int code;

    if (tty < 0 && !isatty(STDIN_FILENO))
        return tell_failure(c, EXIT_USAGE, "Usage", "give it with --key-file=FILE or --key-fd=N",
                            "There is no terminal to ask for the passphrase");
    n = read_hidden(tty < 0 ? STDIN_FILENO : tty, tty < 0 ? STDERR_FILENO : tty, question, buf);
    if (n == -EINTR && caught != SIGINT)
        raise(caught);
    if (n == -EINTR)
        code = tell_link(c, -EINTR, "nothing was unlocked");
    else if (n < 0)
        code = tell_failure(c, 1, "Internal", "give it with --key-file=FILE or --key-fd=N",
                            "The terminal cannot be asked for the passphrase: %s",
                            strerror_r((int)-n, what, sizeof(what)));
    else
        code = hand_passphrase(c, "the passphrase", buf, (size_t)n, ret);
    explicit_bzero(buf, sizeof(buf));
    return code;
}

/* ---- of a provision ---- */

/* What stands before the first "=" is a volume, unless it looks like a path. */
static const char *split(const char *word, char **ret_volume)
{
    const char *equals = strchr(word, '=');

    if (!equals || equals == word || memchr(word, '/', (size_t)(equals - word)))
        return word;
    *ret_volume = strndup(word, (size_t)(equals - word));
    if (!*ret_volume)
        out_of_memory();
    return equals + 1;
}

int keys_of_files(const Client *c, json_object *parameters, int fds[static KEYS_MAX], size_t *ret_n)
{
    json_object *keys, *key;
    char **word;
    int code;

    *ret_n = 0;
    if (!c->key_files)
        return 0;
    if (strv_length(c->key_files) > KEYS_MAX)
        return tell_failure(c, EXIT_USAGE, "Usage", "unlock the others when it is ready, with ilrctl unlock",
                            "--key-file can be given %d times", KEYS_MAX);
    keys = json_object_new_array();
    if (!keys || json_add(parameters, "keys", keys) < 0)
        out_of_memory();
    STRV_FOREACH (word, c->key_files) {
        _cleanup_free_ char *volume = NULL;
        const char *path = split(*word, &volume);

        key = json_object_new_object();
        if (json_append(keys, key) < 0 || json_add_string(key, "volume", volume) < 0)
            out_of_memory();
        code = key_of_file(c, path, &fds[*ret_n]);
        if (code != 0)
            return code;
        (*ret_n)++;
    }
    return 0;
}
