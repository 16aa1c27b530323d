# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who holds a session, who may have one, and what happens when everybody lets go at once: several callers of one recovery
point, limits, the queue, release by force, and the races between them.

Tests with several users need root: ilrd then runs in a mount namespace with users and a group of the test's own."""

import contextlib
import glob
import json
import os
import subprocess
import threading
import time

from harness import (BUILD, ITEM, OTHER_POINT, SUBSCRIPTION, Reader, World, can_connect, failure_of, main, point_id, send,
                     states, wait_for)
from users import ALICE, BOB, CAROL, ILR, Users, can_have_users, several_users

VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"


class Office(Users, World):
    """With alice, bob and carol, who are members of group ilr."""

    def begin(self, uid, method, parameters):
        s = self.connect_as(uid)
        send(s, method, parameters, more=True)
        return s

    def ask(self, uid, method, parameters):
        """All answers up to the last one."""
        with self.begin(uid, method, parameters) as s:
            return rest(s)

    def provision_as(self, uid, point=None, **more):
        return self.ask(uid, "Provision", {"recoveryPoint": point or point_id(), **more})

    def ilrctl_as(self, uid, *arguments):
        return subprocess.run([f"{BUILD}/ilrctl", f"--socket={self.socket}", *arguments], capture_output=True, text=True,
                              timeout=60, user=uid, group=uid, extra_groups=[ILR], cwd="/")

    def session(self, identifier=None):
        sessions = [s for s in self.call("List")["parameters"]["sessions"] if identifier in (None, s["id"])]
        return sessions[0] if sessions else None

    def state_of(self, identifier=None):
        s = self.session(identifier)
        return s and s["state"]

    def holders(self, identifier=None):
        return [h["caller"] for h in self.session(identifier)["holders"]]

    def rests(self):
        wait_for("nothing is left", lambda: not self.records())
        wait_for("no session is listed", lambda: not self.call("List")["parameters"]["sessions"])
        self.assert_clean()


def rest(s):
    reader = Reader(s)
    answers = [reader.next()]
    while answers[-1].get("continues"):
        answers.append(reader.next())
    return answers


def ready(answers):
    assert "error" not in answers[-1], answers[-1]
    session = answers[-1]["parameters"]["session"]
    assert session["state"] == "ready", session
    return session


# ---- holders ----

@several_users
def two_users_hold_one_session():
    with Office() as w:
        first = ready(w.provision_as(ALICE, reason="mail of May"))
        second = ready(w.provision_as(BOB))
        assert first["id"] == second["id"]
        assert [(h["uid"], h["caller"], h.get("reason")) for h in second["holders"]] == [
            (ALICE, "alice", "mail of May"), (BOB, "bob", None)], second["holders"]
        assert all(abs(h["sinceUsec"] / 1e6 - time.time()) < 60 for h in second["holders"])
        # The same user twice holds once; the first reason that he gives stays.
        again = ready(w.provision_as(ALICE, reason="another"))
        assert [h.get("reason") for h in again["holders"]] == ["mail of May", None], again["holders"]
        again = ready(w.provision_as(BOB, reason="bill"))
        assert [h.get("reason") for h in again["holders"]] == ["mail of May", "bill"], again["holders"]
        assert again["caller"] == "alice" and again["uid"] == ALICE, again
        r = w.ilrctl("list")
        assert "alice, bob" in r.stdout, r.stdout
        r = w.ilrctl("status", first["id"])
        assert "held by" in r.stdout and "alice (mail of May), bob (bill)" in r.stdout, r.stdout
        # Who holds it not takes it from nobody, unless he says so.
        r = w.ilrctl_as(CAROL, "release", first["id"])
        assert r.returncode == 3 and "alice, bob" in r.stderr and "--all" in r.stderr, r
        r = w.ilrctl_as(ALICE, "release", first["id"])
        assert r.returncode == 0 and r.stdout == (
            f"Session {first['id']} is not yours any more. It stays up for bob (bill).\n"), r
        assert w.holders() == ["bob"] and w.state_of() == "ready"
        assert "down" not in w.helper.verbs()
        r = w.ilrctl_as(BOB, "release", first["id"])
        assert r.returncode == 0 and r.stdout == f"Session {first['id']} is released.\n", r
        w.rests()
        log = w.journal()
        assert 'Held by alice, uid 61001 already, reason "another"' in log, log


@several_users
def longest_idle_time_of_all_holders_counts():
    with Office() as w:
        minute = 60 * 1000000
        assert ready(w.provision_as(ALICE, idleUsec=minute))["idleUsec"] == minute
        assert ready(w.provision_as(ALICE))["idleUsec"] == minute
        # He says nothing: for him it is what is configured, never. That counts while he holds it.
        session = ready(w.provision_as(BOB))
        assert session.get("idleUsec") is None and [h["idleUsec"] for h in session["holders"]] == [minute, 0], session
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("it is known again", lambda: w.state_of() == "ready")
        answer = w.ask(BOB, "Release", {"id": session["id"]})[-1]
        assert ready([answer])["idleUsec"] == minute, answer
        # Who gives up before it is ready never held it.
        w.ilrctl("release", "--all", session["id"])
        w.rests()
        w.helper.hold["up"] = threading.Event()
        with w.begin(ALICE, "Provision", {"recoveryPoint": point_id(), "idleUsec": 1000000}):
            wait_for("attaching", lambda: w.state_of() == "attaching")
            with w.begin(BOB, "Provision", {"recoveryPoint": point_id()}):
                wait_for("both hold it", lambda: len(w.holders()) == 2)
            wait_for("one holds it", lambda: len(w.holders()) == 1)
            w.helper.hold["up"].set()
            wait_for("ready", lambda: w.state_of() == "ready")
        w.rests()
        assert "nothing read for 1 s" in w.journal(), w.journal()


@several_users
def idle_time_of_a_record_with_one_for_all():
    """As it was written before each holder had his own."""
    with Office() as w:
        minute = 60 * 1000000
        session = ready(w.provision_as(ALICE, idleUsec=minute))["id"]
        ready(w.provision_as(BOB, idleUsec=minute))
        w.kill_ilrd()
        path = f"{w.dir}/state/{session}.json"
        with open(path) as f:
            record = json.load(f)
        for h in record["holders"]:
            assert h.pop("idleUsec") == minute, record
        with open(path, "w") as f:
            json.dump(record, f)
        w.start_ilrd()
        assert [h["idleUsec"] for h in wait_for("it is known again", w.session)["holders"]] == [minute] * 2
        wait_for("ready", lambda: w.state_of() == "ready")
        w.call("Release", {"id": session, "all": True})
        w.rests()


@several_users
def who_joins_and_fails_holds_nothing():
    """While the helper does not tell whether the session still stands."""
    with Office() as w:
        session = ready(w.provision_as(ALICE))["id"]
        w.kill_ilrd()
        w.helper.raw["status"] = b"{}\0"
        w.start_ilrd()
        answer = w.provision_as(BOB)[-1]
        assert failure_of(answer)["name"] == "HelperFailed", answer
        w.helper.raw.clear()
        wait_for("it is known", lambda: w.state_of() == "ready" and "still ready" in w.journal())
        assert w.holders() == ["alice"]
        assert w.session()["id"] == session
        w.ilrctl("release", session)
        w.rests()


@several_users
def sole_holders_session_may_be_released_by_others():
    with Office() as w:
        session = ready(w.provision_as(ALICE))["id"]
        assert w.ask(BOB, "Release", {"id": session})[-1]["parameters"]["session"]["state"] == "closed"
        w.rests()


@several_users
def release_for_all_takes_it_from_everybody():
    with Office() as w:
        session = ready(w.provision_as(ALICE))["id"]
        ready(w.provision_as(BOB))
        r = w.ilrctl_as(CAROL, "release", "--all", session)
        assert r.returncode == 0 and "is released" in r.stdout, r
        w.rests()
        assert "for all who hold it" in w.journal()


@several_users
def holders_outlive_a_crash():
    with Office() as w:
        session = ready(w.provision_as(ALICE, reason="mail"))
        ready(w.provision_as(BOB))
        before = w.session()["holders"]
        w.kill_ilrd()
        w.start_ilrd()
        assert wait_for("it is known again", w.session)["holders"] == before
        # A record from when a session had one caller.
        w.kill_ilrd()
        path = f"{w.dir}/state/{session['id']}.json"
        with open(path) as f:
            record = json.load(f)
        del record["holders"]
        with open(path, "w") as f:
            json.dump(record, f)
        w.start_ilrd()
        holders = wait_for("it is known again", w.session)["holders"]
        assert holders == [{"uid": ALICE, "caller": "alice", "reason": "mail", "sinceUsec": session["createdUsec"],
                            "idleUsec": 0}], holders
        w.call("Release", {"id": session["id"]})
        w.rests()


@several_users
def giving_up_takes_away_the_callers_hold_only():
    with Office() as w:
        for who_leaves in (ALICE, BOB):
            w.helper.hold["up"] = threading.Event()
            calls = {ALICE: w.begin(ALICE, "Provision", {"recoveryPoint": point_id()})}
            wait_for("attaching", lambda: w.state_of() == "attaching")
            calls[BOB] = w.begin(BOB, "Provision", {"recoveryPoint": point_id()})
            wait_for("both hold it", lambda: len(w.holders()) == 2)
            calls.pop(who_leaves).close()
            wait_for("one holds it", lambda: len(w.holders()) == 1)
            w.helper.hold["up"].set()
            (stays, call), = calls.items()
            assert [h["uid"] for h in ready(rest(call))["holders"]] == [stays]
            call.close()
            assert w.helper.hung_up == []
            w.call("Release", {"id": w.session()["id"]})
            w.rests()
        # Both leave: nobody wants it any more.
        w.helper.hold["up"] = threading.Event()
        calls = [w.begin(u, "Provision", {"recoveryPoint": point_id()}) for u in (ALICE, BOB)]
        wait_for("both hold it", lambda: w.session() and len(w.holders()) == 2 and w.state_of() == "attaching")
        for c in calls:
            c.close()
        w.rests()
        assert w.helper.hung_up == ["up"]


def the_same_user_twice_gives_up_once():
    with Office() as w:
        for order in ((0, 1), (1, 0)):
            w.helper.hold["up"] = threading.Event()
            calls = [w.begin(None, "Provision", {"recoveryPoint": point_id()}) for _ in range(2)]
            wait_for("attaching", lambda: w.state_of() == "attaching")
            calls[order[0]].close()
            w.call("List")
            assert w.state_of() == "attaching" and len(w.session()["holders"]) == 1
            calls[order[1]].close()
            w.rests()
        w.helper.hold["up"].set()
        # A hold from before is not given up with a call that came later.
        session = ready(w.provision())["id"]
        w.kill_ilrd()
        w.helper.hold["status"] = threading.Event()
        w.start_ilrd()
        with w.begin(None, "Provision", {"recoveryPoint": point_id()}) as s:
            Reader(s).next()
        w.helper.hold["status"].set()
        wait_for("ready", lambda: w.state_of(session) == "ready")
        w.call("Release", {"id": session})
        w.rests()


@several_users
def own_release_ends_the_own_provision():
    with Office() as w:
        w.helper.hold["up"] = threading.Event()
        a, b = (w.begin(u, "Provision", {"recoveryPoint": point_id()}) for u in (ALICE, BOB))
        wait_for("both hold it", lambda: w.session() and len(w.holders()) == 2 and w.state_of() == "attaching")
        answers = w.ask(ALICE, "Release", {"id": w.session()["id"]})
        assert len(answers) == 1 and [h["uid"] for h in answers[0]["parameters"]["session"]["holders"]] == [BOB], answers
        last = rest(a)[-1]
        assert last["error"] == "io.ilrd.Recovery.Cancelled", last
        w.helper.hold["up"].set()
        assert [h["uid"] for h in ready(rest(b))["holders"]] == [BOB]
        w.call("Release", {"id": w.session()["id"]})
        w.rests()


@several_users
def two_holders_let_go_at_once():
    with Office() as w:
        for _ in range(5):
            session = ready(w.provision_as(ALICE))["id"]
            ready(w.provision_as(BOB))
            calls = [w.begin(u, "Release", {"id": session}) for u in (ALICE, BOB)]
            ends = sorted(rest(c)[-1]["parameters"]["session"]["state"] for c in calls)
            assert ends == ["closed", "ready"], ends
            w.rests()


# ---- what a second caller cannot have ----

def what_the_session_does_not_have_is_refused_by_name():
    with Office() as w:
        tags = {"cost": "it"}
        session = ready(w.provision(tags=tags, eTag="one", location="westeurope", virtualMachineId=VM))["id"]
        for field, value in (("tags", {"cost": "hr"}), ("eTag", "two"), ("location", "northeurope"),
                             ("virtualMachineId", VM.replace("web1", "web2")), ("kind", "file-share")):
            answer = w.provision(**{field: value})[-1]
            f = failure_of(answer)
            assert answer["error"] == "io.ilrd.Recovery.RequestRefused" and f["name"] == "InvalidRequest", answer
            assert f["message"].startswith(field) and session in f["message"], f
        for fits in ({}, {"tags": tags}, {"eTag": "one", "location": "WestEurope"}):
            assert ready(w.provision(**fits))["id"] == session
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("it is known again", lambda: w.state_of() == "ready")
        assert ready(w.provision(tags=tags))["id"] == session
        assert failure_of(w.provision(tags={"cost": "hr"})[-1])["message"].startswith("tags")
        w.call("Release", {"id": session})
        w.rests()
        # One without any of them.
        session = ready(w.provision())["id"]
        f = failure_of(w.provision(tags=tags)[-1])
        assert "with no tags" in f["message"], f
        w.call("Release", {"id": session})
        w.rests()


# ---- limits and the queue ----

@several_users
def limit_per_caller():
    with Office("Session.SessionsPerCallerMax=1") as w:
        session = ready(w.provision_as(ALICE))["id"]
        other = point_id(OTHER_POINT)
        answer = w.provision_as(ALICE, other)[-1]
        assert answer["error"] == "io.ilrd.Recovery.LimitReached", answer
        assert "alice holds 1" in failure_of(answer)["message"] and "SessionsPerCallerMax" in failure_of(answer)["message"]
        assert ready(w.provision_as(ALICE))["id"] == session  # that one he holds already
        second = ready(w.provision_as(BOB, other))["id"]
        answer = w.provision_as(BOB)[-1]  # to join is to hold
        assert answer["error"] == "io.ilrd.Recovery.LimitReached", answer
        assert ready(w.provision_as(0))["id"] == session and ready(w.provision_as(0, other))["id"] == second
        w.ask(0, "Release", {"id": session})
        w.ask(ALICE, "Release", {"id": session})
        ready(w.provision_as(BOB, other))
        w.ask(0, "Release", {"id": second, "all": True})
        w.rests()
    with Office("Session.SessionsMax=1") as w:
        # What is closed counts no more, at once.
        for point in (point_id(), point_id(OTHER_POINT)) * 2:
            w.call("Release", {"id": ready(w.provision_as(0, point))["id"]})
        w.rests()


def place_in_the_queue_is_told_and_left_at_once():
    n = 35
    points = [{"id": str(1000 + i), "time": "2026-11-21T22:00:00Z", "disks": []} for i in range(n)]
    with Office("Session.SessionsMax=256 Connection.Initiator=none Azure.OperationTimeoutSec=300",
                {"vaults": [{"resourceGroup": "rg", "name": "vault1", "items": [
                    {"vm": "web1", "resourceGroup": "rg", "osType": "Linux", "points": points}]}]}) as w:
        w.helper.hold["connect"] = threading.Event()
        calls = []
        for i in range(n):
            calls.append(w.begin(None, "Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/{1000 + i}",
                                                     "virtualMachineId": VM}))
            wait_for("connecting", lambda: [s["state"] for s in w.call("List")["parameters"]["sessions"]].count(
                "connecting") == i + 1)
        places = lambda: {s["recoveryPoint"]: s["queuePlace"] for s in w.call("List")["parameters"]["sessions"]
                          if s.get("queuePlace")}
        wait_for("the places", lambda: places() == {"1032": 1, "1033": 2, "1034": 3})
        waiting = {s["recoveryPoint"]: s["id"] for s in w.call("List")["parameters"]["sessions"] if s.get("queuePlace")}
        r = w.ilrctl("status", waiting["1033"])
        assert "place in the queue 2" in r.stdout, r.stdout
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", f"{ITEM}/recoveryPoints/1034"],
                             stderr=subprocess.PIPE, text=True)
        wait_for("ilrctl tells the place", lambda: "number 3 in the queue" in p.stderr.readline())
        # Nothing was begun for it: nothing is asked of the helper.
        asked = len(w.helper.asked)
        assert w.call("Release", {"id": waiting["1032"]})["parameters"]["session"]["state"] == "closed"
        assert len(w.helper.asked) == asked, w.helper.asked[asked:]
        wait_for("the others move up", lambda: places() == {"1033": 1, "1034": 2})
        w.helper.hold["connect"].set()
        ids = [s["id"] for s in w.call("List")["parameters"]["sessions"]]
        releases = [w.begin(None, "Release", {"id": i}) for i in ids]
        for c in releases:
            assert rest(c)[-1]["parameters"]["session"]["state"] == "closed"
        p.communicate(timeout=30)
        assert p.returncode == 10
        w.rests()


def turn_of_a_script_is_told():
    """Scripts start one at a time: what of them is ilr-connect's turn, ilrd reads from its file."""
    with Office() as w:
        w.helper.hold["connect"] = threading.Event()
        call = w.begin(None, "Provision", {"recoveryPoint": point_id()})
        wait_for("it is started", lambda: "connect" in w.helper.verbs())
        session = w.session()["id"]
        os.mkdir(f"{w.dir}/connect/{session}")
        for state, detail in (("starting", "waiting for other connection scripts to start"),
                              ("running", "running the connection script")):
            path = f"{w.dir}/connect/{session}/connection.json"
            with open(f"{path}.new", "w") as f:
                json.dump({"version": 1, "session": session, "state": state}, f)
            os.rename(f"{path}.new", path)
            wait_for(detail, lambda: w.session(session)["detail"] == detail)
        w.helper.hold["connect"].set()
        ready(rest(call))
        w.call("Release", {"id": session})
        w.rests()
        # Whoever leaves meanwhile is not looked after.
        w.helper.hold["connect"] = threading.Event()
        with w.begin(None, "Provision", {"recoveryPoint": point_id()}):
            wait_for("it is started", lambda: w.helper.verbs()[-1] == "connect")
        w.rests()


# ---- races ----

# Where a session can be held fast: a verb of the helper, or None for Azure's operation, and the states up and down.
STOPS = (("connect", "connecting"), ("up", "attaching"), ("down", "detaching"), ("disconnect", "disconnecting"))


def stop_in(w, verb, state):
    """A session that stands still in the state, on its way up or down; None if it is going down."""
    call = None
    w.helper.hold[verb] = threading.Event()
    if verb in ("down", "disconnect"):
        session = ready(w.provision())["id"]
        call = w.begin(None, "Release", {"id": session})
    else:
        call = w.begin(None, "Provision", {"recoveryPoint": point_id()})
    wait_for(state, lambda: w.state_of() == state and verb in w.helper.verbs())
    return call, w.session()["id"]


def asked(w, what):
    path = "/provisionInstantItemRecovery" if what == "provisionSeconds" else "/revokeInstantItemRecovery"
    return len([r for r in w.state()["requests"] if r["method"] == "POST" and path in r["path"] and r.get("status")])


def release_in_each_state_and_twice():
    with Office() as w:
        for force in (False, True):
            for verb, state in STOPS:
                del w.helper.asked[:]
                call, session = stop_in(w, verb, state)
                releases = [w.begin(None, "Release", {"id": session, "force": force}) for _ in range(2)]
                w.call("List")
                w.helper.hold[verb].set()
                for c in releases:
                    last = rest(c)[-1]
                    assert last["parameters"]["session"]["state"] == "closed", (verb, force, last)
                last = rest(call)[-1]
                assert ("error" in last) == (verb in ("connect", "up")), (verb, last)
                w.rests()
                forced = [r for r in w.helper.asked if r["verb"] == "down" and r.get("force")]
                assert bool(forced) == (force and verb in ("up", "down")), (verb, force, w.helper.asked)
        # While Azure is at it, up and down.
        for on in ("provisionSeconds", "revokeSeconds"):
            before = asked(w, on)
            w.fault(**{on: 2})
            call = w.begin(None, "Provision", {"recoveryPoint": point_id()})
            state = "provisioning" if on == "provisionSeconds" else "revoking"
            if on == "revokeSeconds":
                session = ready(rest(call))["id"]
                call = w.begin(None, "Release", {"id": session})
            wait_for(state, lambda: w.state_of() == state)
            # Before that nothing is owed, and the release is over at once.
            wait_for("Azure is at it", lambda: asked(w, on) > before)
            session = w.session()["id"]
            releases = [w.begin(None, "Release", {"id": session, "force": True}) for _ in range(2)]
            for c in releases:
                last = rest(c)[-1]
                assert "error" not in last and last["parameters"]["session"]["state"] == "closed", last
            rest(call)
            w.fault(**{on: 0.05})
            w.rests()


def client_gone_in_each_state():
    with Office() as w:
        for verb, state in STOPS:
            call, session = stop_in(w, verb, state)
            call.close()
            if verb in ("connect", "up"):
                wait_for("the helper was left", lambda: verb in w.helper.hung_up)
            w.helper.hold[verb].set()
            w.rests()
            w.helper.hung_up.clear()


def provision_right_after_release_waits():
    with Office() as w:
        for verb, state in STOPS[2:]:
            release, old = stop_in(w, verb, state)
            again = [w.begin(None, "Provision", {"recoveryPoint": point_id()}) for _ in range(3)]
            first = Reader(again[0]).next()
            assert first["continues"] and "session" not in first["parameters"], first
            assert first["parameters"]["detail"] == f"waiting until session {old} of the same recovery point is closed", first
            w.helper.hold[verb].set()
            assert rest(release)[-1]["parameters"]["session"]["state"] == "closed"
            ids = {ready(rest(c))["id"] for c in again}
            assert len(ids) == 1 and old not in ids, ids
            w.call("Release", {"id": ids.pop()})
            w.rests()
        # Who leaves while he waits leaves nothing.
        release, old = stop_in(w, "down", "detaching")
        with w.begin(None, "Provision", {"recoveryPoint": point_id()}) as s:
            Reader(s).next()
        w.call("List")
        w.helper.hold["down"].set()
        rest(release)
        w.rests()
        # From the command line, with the sentence.
        release, old = stop_in(w, "disconnect", "disconnecting")
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", point_id()], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        assert p.stderr.readline() == f"waiting until session {old} of the same recovery point is closed\n"
        w.helper.hold["disconnect"].set()
        out, _ = p.communicate(timeout=30)
        assert p.returncode == 0 and "is ready" in out, out
        w.ilrctl("release", "--all")
        w.rests()


def provision_does_not_wait_for_who_keeps_it():
    holders = [{"pid": 4711, "command": "tail", "uid": 0, "path": "/x"}]
    with Office("Session.BusyRetrySec=1h") as w:
        session = ready(w.provision())["id"]
        w.helper.failures["down"] = [{"name": "Busy", "message": "root is in use", "holders": holders}] * 2
        assert failure_of(w.call("Release", {"id": session}))["holders"] == holders
        # It is tried once more now, and then told.
        answer = w.provision()[-1]
        f = failure_of(answer)
        assert answer["error"] == "io.ilrd.Recovery.Busy" and f["holders"] == holders and "--force" in f["hint"], answer
        assert "root is in use" in f["message"], f
        # And this time nobody is in the way.
        assert ready(w.provision())["id"] != session
        w.ilrctl("release", "--all")
        w.rests()


# ---- force ----

def force_overtakes_a_release_that_hangs():
    with Office() as w:
        release, session = stop_in(w, "down", "detaching")
        other = w.begin(None, "Release", {"id": session, "force": True})
        wait_for("the helper is asked anew", lambda: w.helper.verbs().count("down") == 2)
        # Once more is not more: what goes on by force already is not begun again.
        third = w.begin(None, "Release", {"id": session, "force": True})
        w.call("List")
        assert [r.get("force") for r in w.helper.asked if r["verb"] == "down"] == [None, True], w.helper.asked
        w.helper.hold["down"].set()
        for c in (release, other, third):
            assert rest(c)[-1]["parameters"]["session"]["state"] == "closed"
        w.rests()
        # It is not forgotten by a crash.
        release, session = stop_in(w, "down", "detaching")
        other = w.begin(None, "Release", {"id": session, "force": True})
        wait_for("the helper is asked anew", lambda: w.helper.verbs().count("down") == 4)
        w.kill_ilrd()
        w.helper.hold["down"].set()
        w.start_ilrd()
        w.rests()
        downs = [r for r in w.helper.asked if r["verb"] == "down"]
        assert len(downs) == 5 and downs[-1]["force"], w.helper.asked


def provision_ends_when_only_files_are_left():
    """Who waits for a session that others take down by force is told, not kept until the last file is closed."""
    with Office() as w:
        call, session = stop_in(w, "up", "attaching")
        w.helper.lingering = 1
        assert w.ilrctl("release", "--all", "--force").returncode == 0
        assert failure_of(rest(call)[-1])["name"] == "Cancelled"
        w.helper.hold["up"].set()
        assert w.state_of(session) == "closing"
        w.helper.lingering = 0
        w.rests()


def closing_until_the_last_one_lets_go():
    with Office() as w:
        w.helper.lingering = 1
        session = ready(w.provision())["id"]
        r = w.ilrctl("release", "--force", session)
        assert r.returncode == 0, r
        assert r.stdout == (f"Session {session} is given back, and closes by itself: waiting for pid 4711 (tail) to close "
                            "the files that were detached\n"), r.stdout
        assert w.state_of() == "closing" and w.state()["registrations"] == [] and w.helper.sessions == {}
        # An orderly release of it says the same, and does not wait.
        assert w.call("Release", {"id": session})["parameters"]["session"]["state"] == "closing"
        # Its point is free.
        second = ready(w.provision())["id"]
        assert second != session
        w.call("Release", {"id": second, "force": False})
        wait_for("the second is closed", lambda: w.session(second) is None or w.state_of(second) == "closing")
        # It outlives ilrd.
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("it is known again", lambda: w.state_of(session) == "closing")
        assert "pid 4711 (tail)" in w.session(session)["detail"]
        w.helper.lingering = 0
        w.rests()


# ---- who is who ----

@several_users
def users_without_a_name_are_numbers():
    with Office() as w:
        session = ready(w.provision_as(ALICE))["id"]
        uid = 61999
        s = w.begin(uid, "Provision", {"recoveryPoint": point_id()})
        assert [h["caller"] for h in ready(rest(s))["holders"]] == ["alice", "61999"]
        s.close()
        w.ask(0, "Release", {"id": session, "all": True})
        w.rests()


main([two_users_hold_one_session, sole_holders_session_may_be_released_by_others, release_for_all_takes_it_from_everybody,
      holders_outlive_a_crash, giving_up_takes_away_the_callers_hold_only, the_same_user_twice_gives_up_once,
      own_release_ends_the_own_provision, two_holders_let_go_at_once, what_the_session_does_not_have_is_refused_by_name,
      limit_per_caller, place_in_the_queue_is_told_and_left_at_once, turn_of_a_script_is_told,
      release_in_each_state_and_twice, client_gone_in_each_state, provision_right_after_release_waits,
      provision_does_not_wait_for_who_keeps_it, force_overtakes_a_release_that_hangs, longest_idle_time_of_all_holders_counts,
      idle_time_of_a_record_with_one_for_all, who_joins_and_fails_holds_nothing,
      provision_ends_when_only_files_are_left, closing_until_the_last_one_lets_go, users_without_a_name_are_numbers])
