# SPDX-License-Identifier: LGPL-2.1-or-later
"""An administrator's programs: what ilrd asks the helper for, and what the script makes of it that the unit runs."""

import os
import subprocess
import tempfile
import threading

from harness import BUILD, POINT, OTHER_POINT, Reader, World, main, point_id, send, wait_for
from users import ALICE, BOB, Users, several_users

LIFETIME = 12 * 3600


def install(directory, name, text="", mode=0o755):
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/{name}", "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(f"{directory}/{name}", mode)


def told(w):
    return [r for r in w.helper.asked if r["verb"] == "hook"]


def session_of(answer):
    return answer["parameters"]["session"]


def ready_expiring_closed():
    with World(f"Session.ExpiryNoticeSec={LIFETIME - 2} Session.ExpiryWarningSec={LIFETIME - 3}") as w:
        install(f"{w.dir}/more-hooks.d", "mail")
        session = session_of(w.provision(reason="restore \"of\" mail")[-1])
        wait_for("three notices", lambda: len(told(w)) == 3)
        w.set_bytes_read(4096)
        assert w.ilrctl("release", session["id"]).returncode == 0
        wait_for("the last notice", lambda: len(told(w)) == 4)
        ready, first, second, closed = told(w)
        assert [r["event"] for r in told(w)] == ["ready", "expiring", "expiring", "closed"]
        assert all(r["session"] == session["id"] for r in told(w))
        v = ready["variables"]
        assert (v["VM"], v["POINT"], v["REASON"]) == ("web1", POINT, "restore \"of\" mail"), v
        assert v["PATH"] == f"/run/ilr/{session['id']}/volumes" and v["MINUTES_LEFT"] == "719", v
        assert v["EXPIRES"].endswith("Z") and "END" not in v, v
        assert second["variables"]["MINUTES_LEFT"] == "719"
        v = closed["variables"]
        assert (v["END"], v["FAILURE"], v["PATH"], v["BYTES_READ"]) == ("released", "", "", "4096"), v
        w.assert_clean()


class Office(Users, World):
    pass


@several_users
def who_holds_it_now_is_told():
    """Who asked first may have let go long before the end comes near."""
    with Office() as w:
        install(f"{w.dir}/hooks.d", "mail")
        with w.connect_as(ALICE) as a, w.connect_as(BOB) as b:
            send(a, "Provision", {"recoveryPoint": point_id()}, more=True)
            wait_for("ready", lambda: len(told(w)) == 1)
            send(b, "Provision", {"recoveryPoint": point_id()}, more=True)
            session = session_of(Reader(b).next())["id"]
            send(a, "Release", {"id": session})
            wait_for("she holds it no more", lambda: "Held by uid %d no more" % ALICE in w.journal())
        w.kill_ilrd()
        w.write_config(f"Session.ExpiryNoticeSec={LIFETIME - 1}")
        w.start_ilrd()
        wait_for("the notice", lambda: len(told(w)) == 2)
        assert w.ilrctl("release", "--all", session).returncode == 0
        wait_for("the last one", lambda: len(told(w)) == 3)
        assert [(r["event"], r["variables"]["CALLER"], r["variables"]["HOLDERS"]) for r in told(w)] == [
            ("ready", "alice", "alice"), ("expiring", "alice", "bob"), ("closed", "alice", "bob")], told(w)
        w.assert_clean()


def nothing_installed_nothing_asked():
    with World() as w:
        os.mkdir(f"{w.dir}/hooks.d")
        session = session_of(w.provision()[-1])
        w.ilrctl("release", session["id"])
        w.assert_clean()
        assert told(w) == []


def failure_is_told():
    with World() as w:
        install(f"{w.dir}/hooks.d", "mail")
        w.helper.failures["up"] = [{"name": "LoginRejected", "message": "nothing there"}]
        w.provision()
        wait_for("the notice", lambda: told(w))
        assert [(r["event"], r["variables"]["END"], r["variables"]["FAILURE"]) for r in told(w)] == [
            ("closed", "failed", "LoginRejected")], told(w)
        w.assert_clean()


def hanging_hook_holds_nobody_up():
    """Events of one session keep their order, other sessions and the session itself go on."""
    with World() as w:
        install(f"{w.dir}/hooks.d", "mail")
        real, hang = w.helper.answer, threading.Event()

        def answer(verb, request):
            if verb == "hook" and request["variables"]["POINT"] == POINT:
                hang.wait(60)
            return real(verb, request)

        w.helper.answer = answer
        first = session_of(w.provision()[-1])
        assert w.ilrctl("release", first["id"]).returncode == 0
        second = session_of(w.provision(OTHER_POINT)[-1])
        assert w.ilrctl("release", second["id"]).returncode == 0
        wait_for("the other's notices", lambda: len([r for r in told(w) if r["session"] == second["id"]]) == 2)
        assert [r["event"] for r in told(w) if r["session"] == first["id"]] == ["ready"]
        hang.set()
        wait_for("the notice that waited", lambda: len([r for r in told(w) if r["session"] == first["id"]]) == 2)
        w.assert_clean()


def refused_hook_is_a_line():
    with World() as w:
        install(f"{w.dir}/hooks.d", "mail")
        w.helper.failures["hook"] = [{"name": "HelperFailed", "message": "a hook failed, see journalctl"}]
        session = session_of(w.provision()[-1])
        wait_for("the complaint", lambda: "a hook failed, see journalctl" in w.journal())
        w.ilrctl("release", session["id"])
        wait_for("both notices", lambda: len(told(w)) == 2)
        w.assert_clean()


def run_script(etc, usr, **more):
    return subprocess.run([f"{BUILD}/systemd/ilr-hooks"], capture_output=True, text=True, timeout=60, env={
        "PATH": os.environ["PATH"], "HOOKS_ETC": etc, "HOOKS_USR": usr, "ILR_EVENT": "ready",
        "ILR_SESSION": "abcdefgh", **more})


def script_runs_in_order():
    with tempfile.TemporaryDirectory() as d:
        etc, usr = f"{d}/e t c", f"{d}/usr"
        say = 'echo "${0##*/} $* $ILR_VM $HOOKS_ETC"\n'
        install(usr, "20-b", say)
        install(usr, "10-a", "echo masked\n")
        install(usr, "15-off", "echo off\n")
        install(usr, "16-null", "echo null\n")
        install(usr, "30-c.sh", "exit 3\n")
        install(usr, "40-d", "cat; echo end; echo to-stderr >&2\n")
        install(usr, "50-e~", "echo left over\n")
        install(usr, "60-f.dpkg-old", "echo left over\n")
        install(etc, "10-a", say)
        install(etc, "15-off", "echo not executable\n", 0o644)
        os.symlink("/dev/null", f"{etc}/16-null")
        os.mkdir(f"{etc}/70-directory")
        p = run_script(etc, usr, ILR_VM="a b")
        assert p.stdout == "10-a ready abcdefgh a b \n20-b ready abcdefgh a b \nend\n", p.stdout
        assert p.returncode == 1 and f"{usr}/30-c.sh ready abcdefgh ended with status 3" in p.stderr, p
        assert "to-stderr" in p.stderr
        assert run_script("/nonexistent", "/nonexistent/too").returncode == 0


def script_ends_what_hangs():
    with tempfile.TemporaryDirectory() as d:
        install(d, "10-hang", "exec sleep 60\n")
        install(d, "20-next", "echo next\n")
        p = run_script(d, "/nonexistent", HOOKS_TIMEOUT="0.5")
        assert p.stdout == "next\n" and p.returncode == 1 and "10-hang ready abcdefgh ended with status 124" in p.stderr, p


if __name__ == "__main__":
    main([ready_expiring_closed, who_holds_it_now_is_told, nothing_installed_nothing_asked, failure_is_told,
          hanging_hook_holds_nobody_up, refused_hook_is_a_line, script_runs_in_order, script_ends_what_hangs])
