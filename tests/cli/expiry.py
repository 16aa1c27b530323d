# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that end by themselves: before Azure ends them, and when nobody uses them. Azure's 12 hours are long, so
what happens before their end is configured to happen seconds after their beginning."""

import json
import os
import re
import signal
import stat
import subprocess
import threading
import time

from harness import (BUILD, OTHER_POINT, POINT, Reader, World, failure_of, main, point_id, send, wait_for)

LIFETIME = 12 * 3600
BUSY = {"name": "Busy", "message": "in use by pid 4711 (tail)",
        "holders": [{"pid": 4711, "command": "tail", "uid": 0, "path": "/run/ilr/x"}]}


def stages(notice, warning, release, force):
    """Seconds after the beginning."""
    return (f"Session.ExpiryNoticeSec={LIFETIME - notice} Session.ExpiryWarningSec={LIFETIME - warning} "
            f"Session.ExpiryReleaseSec={LIFETIME - release} Session.ExpiryForceSec={LIFETIME - force}")


def session_of(answer):
    return answer["parameters"]["session"]


def is_there(w, id):
    return any(s["id"] == id for s in w.call("List")["parameters"]["sessions"])


def gone(w, id):
    wait_for(f"session {id} is gone", lambda: not is_there(w, id))


def told_twice_then_released():
    with World(stages(3, 4, 5, 7)) as w:
        with w.connect() as s:
            send(s, "Monitor", more=True)
            session = session_of(w.provision()[-1])
            left = session["expiresUsec"] / 1e6 - time.time()
            assert LIFETIME - 10 < left <= LIFETIME, left
            left = w.call("Describe", {"id": session["id"]})["parameters"]["session"]["timeLeftUsec"] / 1e6
            assert LIFETIME - 10 < left <= LIFETIME, left
            reader, warnings, last = Reader(s), [], None
            while last is None or last["state"] != "closed":
                answer = reader.next()["parameters"]
                last = answer["session"]
                if answer.get("warning"):
                    assert last["state"] == "ready"
                    warnings.append(answer["warning"])
        assert len(warnings) == 2, warnings
        assert all(f"session {session['id']} (VM web1" in t and "11 h 59 min" in t for t in warnings), warnings
        assert last["end"] == "expired" and last.get("failure") is None, last
        journal = w.journal()
        assert all(t in journal for t in warnings)
        assert "Session closed: VM web1" in journal and ", expired, " in journal, journal
        assert not any(r.get("force") for r in w.helper.asked)
        w.assert_clean()


def monitor_prints_the_warning():
    with World(stages(2, 3, 3600, 3700)) as w:
        session = session_of(w.provision()[-1])
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "monitor"], stdout=subprocess.PIPE, text=True)
        lines = []
        while len([t for t in lines if " warning: Azure ends session " in t]) < 2:
            lines.append(p.stdout.readline())
            assert lines[-1], lines
        p.send_signal(signal.SIGINT)
        assert p.wait(30) == 0
        p = w.ilrctl("status", session["id"])
        assert "time left" in p.stdout and "11 h 59 min" in p.stdout, p.stdout
        # A restart tells nothing again.
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("ready again", lambda: session_of(w.call("Describe", {"id": session["id"]}))["state"] == "ready")
        time.sleep(0.5)
        assert w.journal().count("Azure ends session") == 2, w.journal()
        w.ilrctl("release", session["id"])
        w.assert_clean()


def held_files_get_their_grace_and_no_more():
    with World(stages(0, 0, 2, 5).replace(f"={LIFETIME} ", "=0 ")) as w:
        real = w.helper.answer

        def busy_unless_forced(verb, request):
            return {"failure": BUSY} if verb == "down" and not request.get("force") else real(verb, request)

        w.helper.answer = busy_unless_forced
        session = session_of(w.provision()[-1])
        start = time.monotonic()
        wait_for("an attempt", lambda: session_of(w.call("Describe", {"id": session["id"]})).get("releaseFailure"))
        assert not any(r.get("force") for r in w.helper.asked)
        gone(w, session["id"])
        assert time.monotonic() - start > 1.5
        downs = [r for r in w.helper.asked if r["verb"] == "down"]
        assert len(downs) > 2 and downs[-1].get("force") and not any(r.get("force") for r in downs[:-1]), downs
        assert ", expired, " in w.journal()
        w.assert_clean()


def hanging_release_is_forced():
    """The release neither ends nor fails: the force comes nevertheless, and in time."""
    with World(stages(0, 0, 2, 4).replace(f"={LIFETIME} ", "=0 ")) as w:
        real = w.helper.answer
        w.helper.answer = lambda verb, r: time.sleep(60) if verb == "down" and not r.get("force") else real(verb, r)
        session = session_of(w.provision()[-1])
        gone(w, session["id"])
        w.assert_clean()


def unused_is_released():
    with World() as w:
        w.set_bytes_read(1 << 20)
        session = session_of(w.provision(idleUsec=1000000)[-1])
        assert session["idleUsec"] == 1000000
        # Somebody reads: each time anew for a while.
        for i in range(2, 8):
            w.set_bytes_read(i << 20)
            time.sleep(0.4)
            assert is_there(w, session["id"]), w.journal()
        assert session_of(w.call("Describe", {"id": session["id"]}))["bytesRead"] == 7 << 20
        # Nobody reads, but has a file open.
        w.helper.holders = [{"pid": 1, "command": "less", "uid": 0, "path": "/x"}]
        time.sleep(2.5)
        assert is_there(w, session["id"]), w.journal()
        assert any(r.get("holders") for r in w.helper.asked)
        w.helper.holders = []
        gone(w, session["id"])
        journal = w.journal()
        assert "No file open and nothing read for 1 s: releasing" in journal, journal
        assert f", idle, {7 << 20} bytes read" in journal, journal
        w.assert_clean()


def read_then_stopped(w):
    """A session of which 5 MiB were read when ilrd was stopped: its id."""
    w.set_bytes_read(0)
    session = session_of(w.provision()[-1])["id"]
    w.set_bytes_read(5 << 20)
    assert w.kill_ilrd(signal.SIGTERM) == 0
    return session


def what_was_read_is_known_after_a_restart():
    with World() as w:
        session = read_then_stopped(w)
        # Meanwhile the tunnel dies, and another disk comes that gets the number.
        w.set_bytes_read(7 << 30)
        w.helper.stands = {"iscsiSessions": 0, "mounts": 0}
        w.start_ilrd()
        gone(w, session)
        assert f", {5 << 20} bytes read" in w.journal(), w.journal()
        w.assert_clean()


def of_another_boot(w, session, **more):
    """The record as the boot before this one would have left it."""
    path = f"{w.dir}/state/{session}.json"
    with open(path) as f:
        record = json.load(f)
    assert re.fullmatch("[0-9a-f]{32}", record["bootId"]), record
    record.update(bootId="00000000000000000000000000000001", **more)
    with open(path, "w") as f:
        json.dump(record, f)
    w.helper.sessions.clear()


def host_that_was_restarted_is_no_failure():
    """An orderly one, or a power cut; it then was off for days."""
    with World() as w:
        session = read_then_stopped(w)
        created = int((time.time() - 3 * 86400) * 1e6)
        of_another_boot(w, session, createdUsec=created, expiresUsec=created + LIFETIME * 1000000)
        w.set_bytes_read(7 << 30)
        w.start_ilrd()
        gone(w, session)
        journal = w.journal()
        assert f", after 12 h 0 min, rebooted, {5 << 20} bytes read" in journal and "ConnectionLost" not in journal, journal
        metrics = w.ilrctl("metrics").stdout
        assert 'ilrd_sessions_closed_total{end="rebooted"} 1\n' in metrics and "ilrd_failures_total" not in metrics, metrics
        w.assert_clean()


def who_asks_at_once_after_a_restart_of_the_host():
    """He is told why he does not get it, and that he asked, and that ilrd died once more, changes nothing for the journal."""
    with World() as w:
        session = read_then_stopped(w)
        of_another_boot(w, session)
        w.set_bytes_read(7 << 30)
        w.helper.hold["status"] = threading.Event()
        path = f"{w.dir}/state/{session}.json"

        def ask():
            p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", point_id(), "--idle=1h"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_for("he is a holder", lambda: f'Held by' in w.journal())
            return p
        w.start_ilrd()
        ask_first = ask()
        wait_for("the record is of this boot", lambda: "0000000000000001" not in open(path).read())
        w.kill_ilrd()
        ask_first.communicate(timeout=60)
        open(f"{w.dir}/ilrd.log", "w").close()
        w.start_ilrd()
        asking = ask()
        w.helper.hold.pop("status").set()
        _, err = asking.communicate(timeout=60)
        assert asking.returncode not in (0, 10) and "The host was restarted" in err and "provision it again" in err, err
        gone(w, session)
        assert f", rebooted, {5 << 20} bytes read" in w.journal(), w.journal()
        w.assert_clean()


def who_is_in_the_way_is_counted():
    with World() as w:
        w.set_bytes_read(0)
        real, done = w.helper.answer, threading.Event()
        w.helper.answer = lambda verb, r: {"failure": BUSY} if verb == "down" and not done.is_set() else real(verb, r)
        session = session_of(w.provision()[-1])["id"]
        with w.connect() as s:
            send(s, "Release", {"id": session})
            wait_for("an attempt", lambda: session_of(w.call("Describe", {"id": session})).get("releaseFailure"))
        # Nobody asks for the session any more, which would count as well.
        w.set_bytes_read(5 << 20)
        done.set()
        wait_for("it is told", lambda: f", {5 << 20} bytes read" in w.journal())
        w.assert_clean()


def who_gets_it_now_has_its_whole_time():
    with World() as w:
        ids = set()
        for _ in range(7):
            ids.add(session_of(w.provision(idleUsec=5000000)[-1])["id"])
            time.sleep(1)
        assert len(ids) == 1, w.journal()
        gone(w, ids.pop())
        w.assert_clean()


def unknown_use_counts_as_use():
    with World("Session.IdleSec=1") as w:
        w.helper.raw["status"] = b"{}\0"
        session = session_of(w.provision()[-1])
        wait_for("the helper was asked", lambda: any(r.get("holders") for r in w.helper.asked))
        wait_for("the complaint", lambda: "counts as used" in w.journal())
        assert is_there(w, session["id"])
        w.helper.raw.clear()
        gone(w, session["id"])
        w.assert_clean()


def released_while_users_are_asked_for():
    with World() as w:
        import threading
        w.helper.hold["status"] = threading.Event()
        session = session_of(w.provision(idleUsec=1000000)[-1])
        wait_for("the helper was asked", lambda: any(r.get("holders") for r in w.helper.asked))
        assert w.ilrctl("release", session["id"]).returncode == 0
        w.helper.hold["status"].set()
        w.assert_clean()


def metrics_begin_anew_with_ilrd():
    """Whoever adds up what a counter says between two starts must not add anything twice."""
    with World() as w:
        w.set_bytes_read(0)
        session = session_of(w.provision()[-1])["id"]
        name = f'ilrd_session_read_bytes_total{{session="{session}",vm="web1"}}'

        def bytes_read(*names):
            return [int(t.split()[1]) for n in names for t in w.ilrctl("metrics").stdout.splitlines() if t.startswith(n + " ")]

        w.set_bytes_read(5 << 20)
        assert bytes_read(name, "ilrd_read_bytes_total") == [5 << 20] * 2
        assert w.kill_ilrd(signal.SIGTERM) == 0
        w.set_bytes_read(6 << 20)  # while ilrd is not there to see it
        w.start_ilrd()
        wait_for("ready again", lambda: session_of(w.call("Describe", {"id": session}))["state"] == "ready")
        assert bytes_read(name, "ilrd_read_bytes_total") == [6 << 20, 1 << 20]
        assert w.ilrctl("release", session).returncode == 0
        assert bytes_read(name, "ilrd_read_bytes_total") == [1 << 20]
        w.assert_clean()


def who_wants_longer_gets_it():
    with World("Session.IdleSec=2h") as w:
        assert session_of(w.provision()[-1])["idleUsec"] == 7200 * 1000000
        assert session_of(w.provision(idleUsec=60 * 1000000)[-1])["idleUsec"] == 7200 * 1000000
        assert session_of(w.provision(idleUsec=10800 * 1000000)[-1])["idleUsec"] == 10800 * 1000000
        session = session_of(w.provision(idleUsec=0)[-1])
        assert session.get("idleUsec") is None
        for bad in (1, -5, 999999, 25 * 3600 * 1000000):
            failure = failure_of(w.call("Provision", {"recoveryPoint": point_id(OTHER_POINT), "idleUsec": bad}))
            assert failure["name"] == "InvalidRequest" and "idleUsec" in failure["message"], failure
        assert "InvalidParameter" in w.call("Provision", {"recoveryPoint": point_id(), "idleUsec": "1h"})["error"]
        assert w.ilrctl("provision", "--idle=soon", point_id()).returncode == 2
        w.ilrctl("release", session["id"])
        out = w.ilrctl("provision", "--idle=30m", "--json", point_id()).stdout
        session = json.loads(out.splitlines()[-1])
        assert session["idleUsec"] == 1800 * 1000000
        assert "given back after" in w.ilrctl("status", session["id"]).stdout
        w.kill_ilrd()
        w.start_ilrd()
        assert session_of(w.call("Describe", {"id": session["id"]}))["idleUsec"] == 1800 * 1000000
        w.ilrctl("release", session["id"])
        w.assert_clean()


def inhibited(w, id):
    return session_of(w.call("Describe", {"id": id}))["inhibitors"]


def command_keeps_it():
    with World() as w:
        session = session_of(w.provision(idleUsec=1000000)[-1])
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "inhibit", "--why=restore of mail\n",
                              session["id"][:4], "--", "sh", "-c", "read line; echo got $line; exit 7"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        found = wait_for("the inhibitor", lambda: inhibited(w, session["id"]))
        assert found[0]["why"] == "restore of mail\n" and found[0]["pid"] == p.pid, found
        text = w.ilrctl("status", session["id"]).stdout
        assert f"pid {p.pid}: restore of mail\\x0a" in text, text
        time.sleep(2.2)
        assert is_there(w, session["id"]), w.journal()
        # A restart of ilrd lets it ask again, whatever was typed on the terminal before.
        p.send_signal(signal.SIGINT)
        w.kill_ilrd()
        w.start_ilrd()
        again = wait_for("the inhibitor again", lambda: inhibited(w, session["id"]))
        time.sleep(2.2)
        assert inhibited(w, session["id"]) == again
        out, _ = p.communicate("x\n", timeout=30)
        assert out == "got x\n" and p.returncode == 7, (out, p.returncode)
        gone(w, session["id"])
        assert "restore of mail" in w.journal()
        w.assert_clean()


def inhibit_tells_what_is_wrong():
    with World() as w:
        assert w.ilrctl("inhibit", "abcdefgh", "--", "true").returncode == 4
        assert w.ilrctl("inhibit", "abcdefgh").returncode == 2
        session = session_of(w.provision()[-1])
        assert w.ilrctl("inhibit", session["id"], "--", "true").returncode == 0
        assert w.ilrctl("inhibit", session["id"], "--", "/nonexistent/x").returncode == 127
        assert w.ilrctl("inhibit", session["id"], "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
        assert "ExpectedMore" in w.call("Inhibit", {"id": session["id"], "why": "x"})["error"]
        f = failure_of(w.call("Inhibit", {"id": session["id"], "why": "x" * 257}, more=True))
        assert f["message"] == "why has 257 bytes: expected at most 256", f
        assert "InvalidParameter" in w.call("Inhibit", {"id": session["id"]}, more=True)["error"]
        wait_for("nobody inhibits", lambda: not inhibited(w, session["id"]))
        # It is told when the session goes, and the command goes on.
        with w.connect() as s:
            send(s, "Inhibit", {"id": session["id"], "why": "x"}, more=True)
            reader = Reader(s)
            assert reader.next()["continues"]
            p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "inhibit", session["id"], "--", "cat"],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_for("two inhibitors", lambda: len(inhibited(w, session["id"])) == 2)
            assert w.ilrctl("release", session["id"]).returncode == 0
            last = reader.next()
            assert not last.get("continues") and session_of(last)["end"] == "released", last
            assert "goes down" in p.stderr.readline()
            assert p.poll() is None
            p.communicate("", timeout=30)
            assert p.returncode == 0
        w.assert_clean()


def only_so_many_inhibitors():
    with World() as w:
        session = session_of(w.provision()[-1])
        sockets = []
        for i in range(65):
            s = w.connect()
            send(s, "Inhibit", {"id": session["id"], "why": str(i)}, more=True)
            answer = Reader(s).next()
            sockets.append(s)
            assert ("error" in answer) == (i == 64), answer
        assert failure_of(answer)["name"] == "LimitReached" and "has to end" in failure_of(answer)["hint"], answer
        for s in sockets:
            s.close()
        wait_for("nobody inhibits", lambda: not inhibited(w, session["id"]))
        w.ilrctl("release", session["id"])
        w.assert_clean()


def metrics_count():
    with World() as w:
        w.set_bytes_read(1 << 20)
        session = session_of(w.provision()[-1])
        w.helper.failures["down"] = [BUSY]
        text = w.ilrctl("metrics").stdout
        lines = text.splitlines()
        assert lines[-1] == "# EOF"
        name = f'{{session="{session["id"]}",vm="web1"}}'
        assert f"ilrd_session_read_bytes_total{name} {1 << 20}" in lines, text
        left = [t for t in lines if t.startswith("ilrd_session_time_left_seconds" + name)][0].split()[1]
        assert LIFETIME - 60 < float(left) <= LIFETIME, text
        assert 'ilrd_sessions{state="ready"} 1' in lines, text
        assert w.ilrctl("release", session["id"]).returncode == 8
        gone(w, session["id"])
        path = f"{w.dir}/ilrd.prom"
        p = w.ilrctl("metrics", f"--output={path}")
        assert p.returncode == 0 and p.stdout == "", p
        with open(path) as f:
            text = f.read()
        lines = text.splitlines()
        for line in ('ilrd_sessions{state="ready"} 0', 'ilrd_sessions_closed_total{end="released"} 1',
                     'ilrd_failures_total{name="Busy"} 1', f"ilrd_read_bytes_total {1 << 20}",
                     *(f'ilrd_step_duration_seconds_count{{step="{s}"}} 1' for s in
                       ("provisioning", "connecting", "attaching", "detaching", "disconnecting", "revoking"))):
            assert line in lines, (line, text)
        assert w.ilrctl("metrics", "--output=/nonexistent/x").returncode == 1
        os.mkfifo(f"{w.dir}/fifo")
        p = w.ilrctl("metrics", f"--output={w.dir}/fifo")
        assert p.returncode == 1 and "no regular file" in p.stderr, p
        assert stat.S_ISFIFO(os.stat(f"{w.dir}/fifo").st_mode)
        assert json.loads(w.ilrctl("metrics", "--json").stdout)["text"].endswith("# EOF\n")
        try:
            from prometheus_client.openmetrics.parser import text_string_to_metric_families
            from prometheus_client.parser import text_string_to_metric_families as older
        except ImportError:
            print("# no python3-prometheus-client: the text was not given to its parsers")
        else:
            names = {f.name for f in text_string_to_metric_families(text)}
            assert {"ilrd_sessions", "ilrd_read_bytes", "ilrd_step_duration_seconds"} <= names, names
            assert {"ilrd_sessions", "ilrd_step_duration_seconds"} <= {f.name for f in older(text)}
        w.assert_clean()


if __name__ == "__main__":
    main([told_twice_then_released, monitor_prints_the_warning, held_files_get_their_grace_and_no_more,
          hanging_release_is_forced, unused_is_released, what_was_read_is_known_after_a_restart,
          host_that_was_restarted_is_no_failure, who_asks_at_once_after_a_restart_of_the_host, who_is_in_the_way_is_counted,
          who_gets_it_now_has_its_whole_time, unknown_use_counts_as_use, released_while_users_are_asked_for,
          who_wants_longer_gets_it, command_keeps_it, inhibit_tells_what_is_wrong, only_so_many_inhibitors, metrics_count,
          metrics_begin_anew_with_ilrd])
