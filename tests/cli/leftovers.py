# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilrctl doctor --leftovers: what is told of what nobody wants any more, and what a sweep takes down and what not."""

import contextlib
import json
import os
import subprocess
import threading

from harness import BUILD, POINT, VAULT, Reader, World, failure_of, main, point_id, send, wait_for
from users import ALICE, ILR, Users, several_users

LOST = "lost1234"


def item(kind, name, session=None, ours=True, **more):
    return {"kind": kind, "name": name, "detail": f"a {kind}", "ours": ours, **({"session": session} if session else {}), **more}


def lost_session(session=LOST):
    return [item("mount", f"/run/ilr/{session}/volumes/root", session), item("device-mapper", f"ilr_{session}_d1", session),
            item("directory", f"/run/ilr-private/{session}", session)]


def look(world, *arguments):
    """What is told, by name, and the exit status."""
    result = world.ilrctl("doctor", "--leftovers", "--json", *arguments)
    told = {}
    for line in result.stdout.splitlines():
        o = json.loads(line)
        assert o["name"] not in told, o
        told[o["name"]] = o
    return told, result.returncode


def swept(world):
    """What the helper was asked to take down."""
    return [(r.get("session"), r.get("foreign")) for r in world.helper.asked if r["verb"] == "sweep"]


def started(*arguments, kind=World):
    """A world whose ilrd has looked for what nobody knows already."""
    w = kind(*arguments)
    wait_for("ilrd has looked", lambda: any(r["verb"] == "leftovers" for r in w.helper.asked))
    return w


def nothing_is_left_beside_a_ready_session():
    with started() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        result = w.ilrctl("doctor", "--leftovers")
        assert (result.returncode, result.stdout) == (0, "Nothing is left.\n"), result
        assert w.helper.asked[-1] == {"verb": "leftovers", "known": [session]}, w.helper.asked[-1]
        # Sweeping does not hurt it.
        assert look(w, "--sweep") == ({}, 0) and swept(w) == []
        assert session in w.helper.sessions


def everything_is_told_and_nothing_touched():
    with started() as w:
        w.helper.left = lost_session() + [item("iscsi-session", "iqn.x", ours=False)]
        told, code = look(w)
        assert code == 1 and len(told) == 4, told
        assert told["ilr_lost1234_d1"] == {"kind": "device-mapper", "name": "ilr_lost1234_d1", "detail": "a device-mapper",
                                           "session": LOST, "ours": True}, told
        text = w.ilrctl("doctor", "--leftovers")
        assert text.returncode == 1 and "left     mount            /run/ilr/lost1234/volumes/root" in text.stdout, text
        assert "a mount; session lost1234" in text.stdout and "a iscsi-session; not made by ilrd" in text.stdout, text
        assert swept(w) == [] and len(w.helper.left) == 4


def sweep_takes_down_what_is_ours_and_tells_what_it_kept():
    with started() as w:
        foreign = item("iscsi-session", "iqn.x", ours=False)
        w.helper.left = lost_session() + lost_session("lost5678") + [item("udev-cookie", "0xd4d1234"), foreign]
        told, code = look(w, "--sweep")
        assert code == 1 and w.helper.left == [foreign], told
        assert {o["result"] for o in told.values() if o["name"] != "iqn.x"} == {"removed"}, told
        assert told["iqn.x"]["result"] == "kept" and "foreign" in told["iqn.x"]["reason"], told
        # Each session by its id, then what is of none.
        assert sorted(swept(w)[:2]) == [(LOST, None), ("lost5678", None)] and swept(w)[2:] == [(None, False)], swept(w)
        assert "Swept, asked for by uid" in w.journal()


def foreign_is_swept_for_root_only():
    with started() as w:
        w.helper.left = [item("iscsi-session", "iqn.x", ours=False)]
        result = w.ilrctl("doctor", "--leftovers", "--sweep", "--foreign")
        if os.getuid() == 0:
            assert result.returncode == 0 and "removed  iscsi-session    iqn.x" in result.stdout, result
            assert result.stdout.endswith("Nothing is left any more.\n") and swept(w) == [(None, True)], result
        else:
            assert result.returncode == 3 and "root" in result.stderr and swept(w) == [], result


class Hosts(Users, World):
    pass


@several_users
def member_of_the_group_may_sweep_ours_but_not_foreign():
    with started(kind=Hosts) as w:
        w.helper.left = lost_session() + [item("iscsi-session", "iqn.x", ours=False)]
        run = lambda *a: subprocess.run(["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", f"--groups={ILR}",
                                         f"{BUILD}/ilrctl", f"--socket={w.socket}", "doctor", "--leftovers", *a],
                                        capture_output=True, text=True, timeout=60)
        result = run("--sweep", "--foreign")
        assert result.returncode == 3 and "only root" in result.stderr and swept(w) == [], result
        assert "ask as root" in result.stderr, result
        result = run("--sweep")
        assert result.returncode == 1 and swept(w) == [(LOST, None)] and len(w.helper.left) == 1, (result, swept(w))


def what_does_not_go_is_told_with_why():
    with started() as w:
        w.helper.left = [item("mount", "/mnt", LOST, stuck="in use by pid 4711 (bash)"), item("directory", "/run/ilr/lost1234", LOST)]
        told, code = look(w, "--sweep")
        assert code == 1 and told["/run/ilr/lost1234"]["result"] == "removed", told
        assert told["/mnt"]["result"] == "failed" and told["/mnt"]["reason"] == "in use by pid 4711 (bash)", told
        # The helper's own failure is everything's reason.
        w.helper.left = lost_session()
        w.helper.failures["sweep"] = [{"name": "HelperFailed", "message": "no memory"}]
        told, code = look(w, "--sweep")
        assert code == 1 and {(o["result"], o["reason"]) for o in told.values()} == {("failed", "no memory")}, told


def session_that_begins_while_the_list_is_made_is_not_left_over():
    with started() as w:
        w.helper.left = lost_session()
        for arguments in ((), ("--sweep",)):
            release = w.helper.hold["leftovers"] = threading.Event()
            asked = len([r for r in w.helper.asked if r["verb"] == "leftovers"])
            ctl = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "doctor", "--leftovers", "--json", *arguments],
                                   stdout=subprocess.PIPE, text=True)
            wait_for("the helper is asked", lambda: len([r for r in w.helper.asked if r["verb"] == "leftovers"]) > asked)
            # What the helper was told to leave out does not have it.
            session = w.provision()[-1]["parameters"]["session"]["id"]
            assert session not in w.helper.asked[asked].get("known", []) and session in w.helper.sessions
            release.set()
            told = [json.loads(line) for line in ctl.communicate(timeout=60)[0].splitlines()]
            assert {o.get("session") for o in told} == {LOST}, told
            assert session in w.helper.sessions and session not in [s for s, _ in swept(w)], swept(w)
            assert w.ilrctl("release", session).returncode == 0
        w.assert_clean()


def session_that_begins_while_others_are_swept_is_left_alone():
    with started() as w:
        w.helper.left = lost_session()
        release = w.helper.hold["sweep"] = threading.Event()
        ctl = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "doctor", "--leftovers", "--sweep", "--json"],
                               stdout=subprocess.PIPE, text=True)
        wait_for("the helper sweeps", lambda: swept(w))
        session = w.provision()[-1]["parameters"]["session"]["id"]
        release.set()
        told = [json.loads(line) for line in ctl.communicate(timeout=60)[0].splitlines()]
        assert ctl.returncode == 0 and {o["session"] for o in told} == {LOST}, told
        assert session in w.helper.sessions and [s for s, _ in swept(w)] == [LOST], swept(w)


def many_sessions_are_swept_four_at_a_time():
    with started() as w:
        for n in range(10):
            w.helper.left += lost_session(f"lost000{n}")
        release = w.helper.hold["sweep"] = threading.Event()
        ctl = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "doctor", "--leftovers", "--sweep", "--json"],
                               stdout=subprocess.PIPE, text=True)
        wait_for("four are asked for", lambda: len(swept(w)) == 4)
        release.set()
        out = ctl.communicate(timeout=60)[0]
        assert ctl.returncode == 0 and len(out.splitlines()) == 30, out
        assert sorted(s for s, _ in swept(w)) == [f"lost000{n}" for n in range(10)], swept(w)


def list_that_is_cut_is_told_as_that():
    """Whoever sees a few thousand must not take them for all, nor what is not on the second list for removed."""
    with started() as w:
        w.helper.left, w.helper.cut = lost_session(), True
        for arguments, name in (((), "left"), (("--sweep",), "failed")):
            result = w.ilrctl("doctor", "--leftovers", *arguments)
            assert result.returncode == 9 and "not all of it" in result.stderr and "then look again" in result.stderr, result
            assert name in result.stdout and "removed" not in result.stdout, result
        w.helper.cut = False
        assert look(w) == ({}, 0)


def records_that_cannot_be_understood_are_told_and_kept():
    with started() as w:
        bad = {"newer123.json": '{"version": 99}', "broken12.json": "{", "odd.json": "{}", "UPPER123.json": '{"version": 1}',
               "kind1234.json": '{"version": 1, "kind": "tape"}'}
        for name, text in bad.items():
            with open(f"{w.dir}/state/{name}", "w") as f:
                f.write(text)
        for arguments in ((), ("--sweep",)):
            told, code = look(w, *arguments)
            assert code == 1 and sorted(told) == sorted(f"{w.dir}/state/{n}" for n in bad if n != "odd.json"), told
            assert all(o["kind"] == "record" and o["ours"] for o in told.values()), told
            assert "version" in told[f"{w.dir}/state/newer123.json"]["detail"], told
        assert all(o["result"] == "kept" and "Azure" in o["reason"] for o in told.values()), told
        assert sorted(os.listdir(f"{w.dir}/state")) == sorted(bad)


def save_that_a_power_cut_broke_off_is_gone_after_a_start():
    with started() as w:
        w.kill_ilrd()
        open(f"{w.dir}/state/{LOST}.json.tmp", "w").close()
        w.start_ilrd()
        assert look(w) == ({}, 0) and w.records() == []


def revoke_that_is_owed_is_told():
    with started() as w:
        w.fault(*[{"on": "revoke", "fault": "server-error", "times": 100}])
        session = w.provision()[-1]["parameters"]["session"]["id"]
        result = w.ilrctl("release", session)
        assert result.returncode != 0, result
        told, code = look(w, "--sweep")
        assert code == 1 and told[POINT]["kind"] == "registration" and told[POINT]["session"] == session, told
        assert told[POINT]["result"] == "kept" and "tried again" in told[POINT]["reason"], told
        w.control("DELETE", f"/sim/points/{POINT}/scenario")
        assert w.ilrctl("release", session).returncode == 0 and look(w) == ({}, 0)


def registration_that_no_session_explains_is_found_by_the_machine():
    with started(f"Azure.Vault={VAULT}") as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        assert look(w, "--vm=web1") == ({}, 0)
        w.kill_ilrd()
        os.unlink(f"{w.dir}/state/{session}.json")
        w.start_ilrd()
        wait_for("the session is gone", lambda: not w.helper.sessions)
        assert look(w) == ({}, 0)
        told, code = look(w, "--vm=web1")
        assert code == 1 and told[POINT]["kind"] == "registration" and not told[POINT]["ours"], told
        text = w.ilrctl("doctor", "--leftovers", "--vm=web1")
        assert text.returncode == 1 and f"left     registration     {POINT}" in text.stdout, text
        # As it says: provision and release.
        session = w.provision()[-1]["parameters"]["session"]["id"]
        assert look(w, "--vm=web1") == ({}, 0)
        assert w.ilrctl("release", session).returncode == 0 and look(w, "--vm=web1") == ({}, 0)
        assert w.ilrctl("doctor", "--leftovers", "--vm=nobody").returncode == 4


def helper_that_does_not_answer_or_talks_nonsense_is_an_error():
    good = json.dumps(item("mount", "/x"))
    with started() as w:
        w.helper.failures["leftovers"] = [{"name": "HelperFailed", "message": "no mount table"}]
        result = w.ilrctl("doctor", "--leftovers")
        assert result.returncode != 0 and "no mount table" in result.stderr, result
        for text in ("{}", '{"leftovers":{}}', '{"leftovers":[7]}', '{"leftovers":[{"kind":"mount","name":"/x"}]}',
                     '{"leftovers":[%s,{"kind":"mount","name":"/y","ours":true,"session":"../../.."}]}' % good):
            w.helper.raw["leftovers"] = text.encode() + b"\0"
            for arguments in ((), ("--sweep",)):
                result = w.ilrctl("doctor", "--leftovers", *arguments)
                assert result.returncode != 0 and "Nothing" not in result.stdout and result.stderr, (text, result)
        assert swept(w) == []
        del w.helper.raw["leftovers"]
        os.unlink(w.helper.path)
        result = w.ilrctl("doctor", "--leftovers")
        assert result.returncode != 0 and "helper" in result.stderr, result


def names_do_not_talk_to_the_terminal():
    with started() as w:
        w.helper.left = [item("mount", "/run/\u001b[31m\nleft", ours=False)]
        result = w.ilrctl("doctor", "--leftovers")
        assert result.returncode == 1 and "\u001b" not in result.stdout and len(result.stdout.splitlines()) == 2, result


def caller_that_leaves_ends_the_call():
    with started() as w:
        w.helper.left = lost_session()
        w.helper.hold["leftovers"] = threading.Event()
        with w.connect() as s:
            send(s, "Leftovers", {"sweep": True}, more=True)
            wait_for("the helper is asked", lambda: len([r for r in w.helper.asked if r["verb"] == "leftovers"]) == 2)
        wait_for("the helper is left", lambda: "leftovers" in w.helper.hung_up)
        w.helper.hold["leftovers"].set()
        assert swept(w) == []
        # As many as may be at a time, and one more.
        w.helper.hold["leftovers"] = threading.Event()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                send(stack.enter_context(w.connect()), "Leftovers", {}, more=True)
            wait_for("all are asked", lambda: len([r for r in w.helper.asked if r["verb"] == "leftovers"]) == 6)
            s = stack.enter_context(w.connect())
            send(s, "Leftovers", {}, more=True)
            f = failure_of(Reader(s).next())
            assert f["name"] == "LimitReached" and "in a moment" in f["hint"], f
        w.helper.hold["leftovers"].set()


def ilrd_that_ends_in_the_middle_leaves_nobody_waiting():
    with started() as w:
        w.helper.left = lost_session()
        w.helper.hold["sweep"] = threading.Event()
        ctl = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "doctor", "--leftovers", "--sweep"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("the helper sweeps", lambda: swept(w))
        assert w.kill_ilrd(15) == 0
        ctl.communicate(timeout=60)
        assert ctl.returncode == 11, ctl.returncode
        w.helper.hold["sweep"].set()


def what_does_not_go_together_is_refused():
    with started() as w:
        for arguments in (("--sweep",), ("--leftovers", "--foreign"), ("--foreign",), ("--leftovers", "--portal=x")):
            assert w.ilrctl("doctor", *arguments).returncode == 2, arguments
        assert w.ilrctl("list", "--leftovers").returncode == 2
        for parameters in ({"sweep": 1}, {"foreign": True}, {"foreign": "x", "sweep": True}, {"other": True}):
            answer = w.call("Leftovers", parameters, more=True)
            assert answer["error"] == "org.varlink.service.InvalidParameter", answer
        assert w.call("Leftovers", {})["error"] == "org.varlink.service.ExpectedMore"


main([nothing_is_left_beside_a_ready_session, everything_is_told_and_nothing_touched,
      sweep_takes_down_what_is_ours_and_tells_what_it_kept, foreign_is_swept_for_root_only,
      member_of_the_group_may_sweep_ours_but_not_foreign, what_does_not_go_is_told_with_why,
      session_that_begins_while_the_list_is_made_is_not_left_over,
      session_that_begins_while_others_are_swept_is_left_alone, many_sessions_are_swept_four_at_a_time,
      list_that_is_cut_is_told_as_that, records_that_cannot_be_understood_are_told_and_kept, save_that_a_power_cut_broke_off_is_gone_after_a_start,
      revoke_that_is_owed_is_told, registration_that_no_session_explains_is_found_by_the_machine,
      helper_that_does_not_answer_or_talks_nonsense_is_an_error, names_do_not_talk_to_the_terminal,
      caller_that_leaves_ends_the_call, ilrd_that_ends_in_the_middle_leaves_nobody_waiting,
      what_does_not_go_together_is_refused])
