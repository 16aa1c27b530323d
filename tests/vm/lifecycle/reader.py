#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# reader.py LOG SUMS DIRECTORY...: reads the files of SUMS (sha256sum's format) in every DIRECTORY, over and over, from the disk
# and not from memory, and says of each read one line: "ok FILE SECONDS", "ERRNO FILE SECONDS", "WRONG FILE SECONDS", and
# "SLOW FILE SECONDS" for an end after more than 30 s, "HANGS FILE" for one that has not come by then.
import errno, hashlib, os, sys, threading, time

LIMIT = 30
log = open(sys.argv[1], "w", buffering=1)
files = [(line.split(None, 1)[1].strip(), line.split()[0]) for line in open(sys.argv[2])]
begun = [None, None]


def watch():
    told = None
    while True:
        time.sleep(1)
        name, since = begun
        if name and since != told and time.monotonic() - since > LIMIT:
            told = since
            log.write("HANGS %s\n" % name)


def read(path):
    digest = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        while data := os.read(fd, 65536):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.hexdigest()


threading.Thread(target=watch, daemon=True).start()
while True:
    for directory in sys.argv[3:]:
        for name, wanted in files:
            path = os.path.join(directory, name)
            start = time.monotonic()
            begun[:] = path, start
            try:
                word = "ok" if read(path) == wanted else "WRONG"
            except OSError as e:
                word = errno.errorcode[e.errno]
            begun[:] = None, None
            took = time.monotonic() - start
            log.write("%s %s %.1f\n" % (word, path, took))
            if took > LIMIT:
                log.write("SLOW %s %.1f\n" % (path, took))
            if word != "ok":
                time.sleep(0.2)
