# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilrd is killed, or an answer is lost, at each moment of the conversation with Azure. However it went: after the next
start the service has no active registration that is ours, and the record goes."""

import json
import threading
import time

from harness import POINT, Reader, World, failure_of, main, point_id, send, wait_for


def kinds(w):
    return [r["kind"] for r in w.state()["requests"] if r["kind"] != "token"]


def start(w):
    s = w.connect()
    send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
    return s


def record(w):
    for name in w.records():
        if name.endswith(".json"):
            with open(f"{w.dir}/state/{name}") as f:
                return json.load(f)
    return {}


def all_given_back(w):
    w.control("PUT", "/sim/scenario", {"faults": []})
    w.control("DELETE", f"/sim/points/{POINT}/scenario")
    w.start_ilrd()
    wait_for("the record goes", lambda: not w.records())
    w.assert_clean()


def kill_at(kind, fault, seen, revoked, config=""):
    """Kills ilrd while the simulator holds the answer to a request of this kind back."""
    with World(config) as w:
        w.fault(*fault)
        s = start(w)
        wait_for(kind, lambda: seen(w))
        w.kill_ilrd()
        s.close()
        before = record(w)
        assert before["nothingOwed"] == (not revoked), before
        # What the script can be asked for by is kept as soon as it is known.
        polled = [r["path"].split("/")[-1] for r in w.state()["requests"] if r["kind"] == "status"]
        assert before.get("operationId") == (polled[0] if polled else None), (before, polled)
        all_given_back(w)
        assert ("revoke" in kinds(w)) == revoked, kinds(w)
        assert "connect" not in w.helper.verbs()


def asked(kind, times=1):
    return lambda w: kinds(w).count(kind) >= times


def killed_before_the_post():
    for kind in ("point", "item"):
        kill_at(kind, [{"on": kind, "fault": "delay", "seconds": 20}], asked(kind), revoked=False)


def killed_while_the_token_is_fetched():
    with World() as w:
        w.fault({"on": "token", "fault": "delay", "seconds": 20})
        s = start(w)
        wait_for("token", lambda: any(r["kind"] == "token" for r in w.state()["requests"]))
        w.kill_ilrd()
        s.close()
        all_given_back(w)
        assert "revoke" not in kinds(w) and "provision" not in kinds(w)


def killed_after_the_post_before_its_answer():
    # The service has acted on it, the answer is still on its way.
    kill_at("provision", [{"on": "provision", "fault": "delay", "seconds": 20}], asked("provision"), revoked=True)


def killed_while_polling():
    kill_at("status", [{"on": "provision", "fault": "never"}], asked("status", 2), revoked=True)


def killed_at_the_fetch_of_the_script():
    kill_at("list-scripts", [{"on": "list-scripts", "fault": "delay", "seconds": 20}], asked("list-scripts"),
            revoked=True)


def killed_during_the_revoke():
    for fault, times in (({"on": "revoke", "fault": "delay", "seconds": 20}, 1), ({"on": "revoke", "fault": "never"}, 1)):
        with World() as w:
            session = Session(w)
            w.fault(fault)
            s = w.connect()
            send(s, "Release", {"id": session}, more=True)
            wait_for("revoke", asked_of(w, "revoke", times))
            if fault["fault"] == "never":
                count = kinds(w).count("status")
                wait_for("its status", lambda: kinds(w).count("status") > count)
            w.kill_ilrd()
            s.close()
            all_given_back(w)


def revoke_that_comes_while_azure_is_at_the_provision():
    """Azure may refuse it then, and the point has its session only afterwards."""
    for fault in ({"fault": "conflict"}, {"fault": "failed", "code": "UserErrorObjectLocked", "message": "Locked."}):
        with World() as w:
            w.fault(provisionSeconds=3)
            begun = time.monotonic()
            s = start(w)
            wait_for("the provision", asked_of(w, "status", 1))
            w.fault({"on": "revoke", "times": 1, **fault},
                    {"on": "point", "fault": "answer", "body": '{"properties":{"isInstantIlrSessionActive":false}}'})
            s.close()
            wait_for("the refusal", asked_of(w, "revoke", 1))
            time.sleep(max(0, begun + 4 - time.monotonic()))  # Azure ends what it began
            wait_for("given back", lambda: not w.records())
            w.assert_clean()
            assert kinds(w).count("revoke") == 2


def asked_of(w, kind, times):
    return lambda: kinds(w).count(kind) >= times


def Session(w):
    return w.provision()[-1]["parameters"]["session"]["id"]


def killed_in_connect_and_up():
    for verb in ("connect", "up"):
        with World() as w:
            w.helper.hold[verb] = threading.Event()
            s = start(w)
            wait_for(verb, lambda: verb in w.helper.verbs())
            w.kill_ilrd()
            s.close()
            w.helper.hold.clear()
            all_given_back(w)
            assert "revoke" in kinds(w)


def lost_answer_of_the_provision_is_revoked():
    for fault in ({"on": "provision", "fault": "lost"}, {"on": "provision", "fault": "server-error", "acts": True},
                  {"on": "provision", "fault": "html", "acts": True}, {"on": "provision", "fault": "truncated"},
                  {"on": "provision", "fault": "empty", "acts": True},
                  {"on": "provision", "fault": "redirect", "acts": False}):
        with World() as w:
            w.fault({**fault, "times": 1})
            failure = failure_of(w.provision()[-1])
            wait_for("the record goes", lambda: not w.records())
            w.assert_clean()
            assert kinds(w).count("provision") == 1, "the POST must not be sent twice"
            if fault.get("acts", True):
                assert "revoke" in kinds(w), (fault, failure)


def lost_answer_of_the_revoke_is_asked_again():
    for fault in ("lost", "reset", "truncated", "unavailable", "throttled", "html", "empty", "redirect", "forbidden"):
        with World("Session.BusyRetrySec=100ms") as w:
            session = Session(w)
            w.fault({"on": "revoke", "fault": fault, "times": 1})
            w.stream("Release", {"id": session})
            wait_for("the record goes", lambda: not w.records())
            w.assert_clean()


def killed_again_and_again():
    """Every start of ilrd is cut short while the service holds an answer back; the record outlives all of it."""
    with World() as w:
        w.fault({"on": "provision", "fault": "delay", "seconds": 20}, {"on": "revoke", "fault": "delay", "seconds": 20})
        s = start(w)
        wait_for("provision", asked_of(w, "provision", 1))
        for n in range(1, 4):
            w.kill_ilrd()
            s.close()
            assert record(w)["nothingOwed"] is False
            w.start_ilrd()
            wait_for("revoke", asked_of(w, "revoke", n))
        w.kill_ilrd()
        all_given_back(w)


main([killed_before_the_post, killed_while_the_token_is_fetched, killed_after_the_post_before_its_answer,
      killed_while_polling, killed_at_the_fetch_of_the_script, killed_during_the_revoke, killed_in_connect_and_up,
      lost_answer_of_the_provision_is_revoked, lost_answer_of_the_revoke_is_asked_again, killed_again_and_again,
      revoke_that_comes_while_azure_is_at_the_provision])
