# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several users for a test: alice, bob and carol, who are members of group ilr. That needs root: ilrd then runs in a
mount namespace with users and a group of the test's own."""

import contextlib
import os
import subprocess

from harness import Skip, can_connect, wait_for

ILR, ALICE, BOB, CAROL = 61000, 61001, 61002, 61003
NAMES = {0: "root", ALICE: "alice", BOB: "bob", CAROL: "carol"}


def can_have_users():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"],
                                                capture_output=True).returncode == 0


def several_users(test):
    """For tests that cannot be done as one user."""
    def run():
        if not can_have_users():
            raise Skip("needs root, and a mount name space")
        test()
    run.__name__ = test.__name__
    return run


class Users:
    """To be put before the World that it is for."""

    def start_ilrd(self):
        if not can_have_users():
            super().start_ilrd()
            return
        with open(f"{self.dir}/group", "w") as f:
            f.write(f"root:x:0:\nilr:x:{ILR}:alice,bob,carol\n")
        with open(f"{self.dir}/passwd", "w") as f:
            f.write("".join(f"{name}:x:{uid}:{uid or 0}::/:/bin/sh\n" for uid, name in NAMES.items()))
        self.log = open(f"{self.dir}/ilrd.log", "a")
        self.ilrd = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", 'mount --bind "$1/group" /etc/group && mount --bind "$1/passwd" /etc/passwd && '
             'shift && exec "$@"', "sh", self.dir, *self.ilrd_command()], stderr=self.log)
        wait_for("ilrd listens", lambda: can_connect(self.socket) or self.ilrd.poll() is not None)
        os.chmod(self.socket, 0o666)

    @contextlib.contextmanager
    def user(self, uid):
        """Connections that are made in it are this user's."""
        if uid == 0 or uid is None:
            yield
            return
        groups = os.getgroups()
        os.setgroups([ILR])
        os.setegid(uid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def connect_as(self, uid):
        with self.user(uid):
            return self.connect()
