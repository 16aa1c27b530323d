# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session against the simulator: the whole way up and down, and what a caller sees of each of Azure's faults. In every
case: a named failure, nothing left anywhere, the daemon lives on."""

import json
import os
import threading

from harness import (INITIATOR, ITEM, OTHER_POINT, POINT, SECRET, VAULT, World, failure_of, main, point_id, send, Reader, states,
                     wait_for)


def up_and_down():
    with World() as w:
        answers = w.provision(reason="ticket 4711")
        session = answers[-1]["parameters"]["session"]
        assert "error" not in answers[-1], answers[-1]
        assert states(answers) == ["provisioning", "connecting", "attaching", "ready"], states(answers)
        assert session["path"] == f"/run/ilr/{session['id']}/volumes"
        assert [v["name"] for v in session["volumes"]] == ["root", "disk1-part2"]
        assert session["reason"] == "ticket 4711" and session["vm"] == "web1"
        assert 11.9 * 3600e6 < session["expiresUsec"] - session["createdUsec"] < 12.1 * 3600e6
        posts = [r for r in w.state()["requests"] if r["kind"] == "provision"]
        assert len(posts) == 1
        body = posts[0]["body"]["properties"]
        assert body["initiatorName"] == INITIATOR and body["recoveryPointId"] == POINT
        assert body["objectType"] == "IaasVMILRRegistrationRequest" and body["renewExistingRegistration"] is False
        assert body["virtualMachineId"].endswith("/virtualMachines/web1")
        connect = [r for r in w.helper.asked if r["verb"] == "connect"][0]
        assert connect["portal"]["addresses"][0] in ("127.0.0.1", "::1")
        answers = w.stream("Release", {"id": session["id"]})
        assert states(answers)[-1] == "closed" and "error" not in answers[-1]
        assert w.helper.verbs() == ["initiator-name", "connect", "up", "down", "disconnect"]
        w.assert_clean()
        journal = w.journal()
        assert journal.count("Session ready: VM web1") == 1 and journal.count("Session closed: VM web1") == 1
        assert "ticket 4711" in journal


def point_by_vault_container_and_item():
    """As an older script names it, with ilrctl: no search, the id is put together here."""
    container, item = ITEM.split("/protectionContainers/")[1].split("/protectedItems/")
    with World() as w:
        words = ["provision", "--json", "--vault=" + VAULT, "--container=" + container, "--item=" + item]
        result = w.ilrctl(*words, POINT)
        assert result.returncode == 0, result
        session = json.loads(result.stdout.splitlines()[-1])
        assert session["state"] == "ready" and session["recoveryPoint"] == POINT and session["vm"] == "web1", session
        assert (session["vault"], session["item"]) == (VAULT, item), session
        assert [r["body"]["properties"]["recoveryPointId"] for r in w.state()["requests"] if r["kind"] == "provision"] == [POINT]
        assert w.ilrctl("release", session["id"]).returncode == 0
        result = w.ilrctl(*words[:-1], "--item=VM;iaasvmcontainerv2;rg;nobody", POINT)
        assert result.returncode == 4, result
        for missing in ("--vault=", "--container=", "--item="):
            result = w.ilrctl(*(word for word in words if not word.startswith(missing)), POINT)
            assert result.returncode in (2, 3), result
        w.assert_clean()


def old_api_version_has_the_script_in_the_status():
    with World("Azure.ApiVersion=2025-08-01") as w:
        answers = w.provision()
        assert states(answers)[-1] == "ready", answers[-1]
        kinds = [r["kind"] for r in w.state()["requests"]]
        assert "list-scripts" not in kinds
        w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})
        w.assert_clean()


def new_api_version_asks_for_the_script():
    with World("Azure.ApiVersion=2026-08-01") as w:
        answers = w.provision()
        assert states(answers)[-1] == "ready", answers[-1]
        assert "list-scripts" in [r["kind"] for r in w.state()["requests"]]
        w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})
        w.assert_clean()


def initiator_left_out_or_overridden():
    for setting, expected in (("none", None), ("iqn.2026-01.com.example:other", "iqn.2026-01.com.example:other")):
        with World(f"Connection.Initiator={setting}") as w:
            answers = w.provision()
            posts = [r for r in w.state()["requests"] if r["kind"] == "provision"]
            assert posts[0]["body"]["properties"].get("initiatorName") == expected
            w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})
            w.assert_clean()


# Name of the failure, class of the error, faults, settings. In the order of a session's way.
FAULTS = [
    ("CredentialRejected", "AzureFailed", [{"on": "token", "fault": "token-refused"}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "token", "fault": "html"}], ""),
    ("AzureUnreachable", "AzureFailed", [{"on": "token", "fault": "delay", "seconds": 20}], "Azure.OperationTimeoutSec=2"),
    ("PermissionMissing", "AzureFailed", [{"on": "provision", "fault": "forbidden"}], ""),
    ("PointNotFound", "NotFound", [{"on": "provision", "fault": "not-found"}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "provision", "fault": "html", "status": 200}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "provision", "fault": "redirect"}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "status", "fault": "html"}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "status", "fault": "empty"}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "status", "fault": "huge", "bytes": 500000000}], ""),
    ("AzureAnswerInvalid", "AzureFailed", [{"on": "status", "fault": "redirect", "url": "https://example.net/"}], ""),
    ("OperationTimeout", "AzureFailed", [{"on": "provision", "fault": "never"}], "Azure.OperationTimeoutSec=2"),
    ("OperationFailed", "AzureFailed",
     [{"on": "provision", "fault": "failed", "code": "CloudInternalError", "message": "The service stumbled.",
       "recommendations": ["Wait a few minutes."]}], ""),
    ("NoScript", "AzureFailed", [{"on": "provision", "fault": "no-scripts"}], ""),
    ("WindowsPoint", "AzureFailed", [{"on": "provision", "fault": "windows"}], ""),
    ("ScriptInvalid", "ConnectionFailed", [{"on": "provision", "fault": "not-base64"}], ""),
    ("ScriptInvalid", "ConnectionFailed", [{"on": "provision", "fault": "no-target"}], ""),
]


def every_fault_has_a_name_and_leaves_nothing():
    wrong = []
    for name, error, faults, settings in FAULTS:
        with World(settings) as w:
            w.fault(*faults)
            answer = w.provision()[-1]
            if "error" not in answer:
                wrong.append(f"{faults}: no error")
                continue
            failure = failure_of(answer)
            if failure["name"] != name or answer["error"] != "io.ilrd.Recovery." + error:
                wrong.append(f"{faults}: {answer['error']}: {failure}, expected {error} {name}")
            if name == "AzureUnreachable":
                assert "no access token came in time from localhost" in failure["message"], failure
            if name == "OperationFailed":
                assert failure["code"] == "CloudInternalError", failure
                assert failure["recommendations"] == ["Wait a few minutes."], failure
            if name == "PermissionMissing":
                assert "provisionInstantItemRecovery/action" in failure["message"], failure
            w.control("PUT", "/sim/scenario", {"faults": []})
            w.control("DELETE", f"/sim/points/{POINT}/scenario")
            wait_for("all is given back", lambda: not w.records())
            w.assert_clean()
    assert not wrong, "\n".join(wrong)


def faults_that_pass_are_survived():
    for faults in ([{"on": "status", "fault": "unavailable", "times": 2}],
                   [{"on": "status", "fault": "reset", "times": 2}],
                   [{"on": "status", "fault": "truncated", "times": 1}],
                   [{"on": "status", "fault": "throttled", "times": 1, "retryAfter": "1"}],
                   [{"on": "provision", "fault": "throttled", "times": 1, "retryAfter": "1"}],
                   [{"on": "provision", "fault": "unauthorized", "times": 1}],
                   [{"on": "provision", "fault": "crlf-script"}]):
        with World() as w:
            w.fault(*faults)
            answers = w.provision()
            assert states(answers)[-1] == "ready", (faults, answers[-1])
            w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})
            w.assert_clean()


def azure_is_not_there():
    with World(start_sim=False) as w:
        answer = w.call("Provision", {"recoveryPoint": point_id()})
        assert failure_of(answer)["name"] == "AzureUnreachable", answer
        w.assert_clean()


def certificate_of_the_wrong_name():
    with World(name="other.example") as w:
        answer = w.provision()[-1]
        assert failure_of(answer)["name"] == "AzureUntrusted", answer
        assert "localhost" in failure_of(answer)["message"]
        w.assert_clean()


def portal_that_cannot_be_reached():
    with World() as w:
        w.portal.close()
        answer = w.provision()[-1]
        assert failure_of(answer)["name"] == "PortalUnreachable", answer
        assert "localhost" in failure_of(answer)["message"]
        w.assert_clean()


def failures_of_the_helper_reach_the_caller():
    cases = [("connect", {"name": "LoginRejected", "message": "target refused", "code": "24", "lines": ["a", "b"]},
              "ConnectionFailed"),
             ("up", {"name": "NothingToMount", "message": "no file system"}, "StorageFailed")]
    for verb, failure, error in cases:
        with World() as w:
            w.helper.failures[verb] = [failure]
            answer = w.provision()[-1]
            assert answer["error"] == "io.ilrd.Recovery." + error, answer
            assert failure_of(answer)["name"] == failure["name"]
            assert failure_of(answer).get("lines") == failure.get("lines")
            w.assert_clean()


def helper_that_answers_nonsense():
    for raw in (b"", b"{}\0", b"nonsense\0", b"[]\0", b"{\"connection\":{}}\0", b"x" * (5 << 20)):
        with World() as w:
            w.helper.raw["connect"] = raw
            answer = w.provision()[-1]
            assert failure_of(answer)["name"] == "HelperFailed", (raw[:40], answer)
            w.assert_clean()


def closing_the_connection_gives_the_session_up():
    for verb in ("connect", "up"):
        with World() as w:
            w.helper.hold[verb] = threading.Event()
            s = w.connect()
            send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
            wait_for(verb, lambda: verb in w.helper.verbs())
            s.close()
            wait_for("the helper is told", lambda: verb in w.helper.hung_up)
            wait_for("the session is gone", lambda: not w.records())
            w.assert_clean()


def closing_while_azure_works():
    with World() as w:
        w.fault({"on": "provision", "fault": "never"})
        s = w.connect()
        send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
        wait_for("posted", lambda: any(r["kind"] == "provision" for r in w.state()["requests"]))
        s.close()
        w.control("DELETE", f"/sim/points/{POINT}/scenario")
        wait_for("the session is gone", lambda: not w.records())
        w.assert_clean()
        assert "connect" not in w.helper.verbs()


def busy_release_names_the_holder_and_is_tried_again():
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        busy = {"name": "Busy", "message": "root is in use",
                "holders": [{"pid": 4711, "command": "bash", "uid": 0, "path": "/run/ilr"}]}
        w.helper.failures["down"] = [dict(busy), dict(busy)]
        answer = w.call("Release", {"id": session})
        assert answer["error"] == "io.ilrd.Recovery.Busy", answer
        assert failure_of(answer)["holders"][0]["command"] == "bash"
        wait_for("a later attempt succeeds", lambda: not w.records())
        w.assert_clean()


def release_twice_and_of_nothing():
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        results = []
        threads = [threading.Thread(target=lambda: results.append(w.call("Release", {"id": session})))
                   for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert all("error" not in r or r["error"].endswith("NotFound") for r in results), results
        assert failure_of(w.call("Release", {"id": session}))["name"] == "NoSuchSession"
        w.assert_clean()


def same_point_twice_is_one_session():
    with World() as w:
        first = w.provision()[-1]["parameters"]["session"]["id"]
        again = w.provision()[-1]["parameters"]["session"]["id"]
        other = w.provision(OTHER_POINT)[-1]["parameters"]["session"]["id"]
        assert first == again != other
        assert len(w.call("List")["parameters"]["sessions"]) == 2
        for session in (first, other):
            w.stream("Release", {"id": session})
        w.assert_clean()


def a_point_on_its_way_down_is_not_taken_up_again():
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        w.helper.failures["down"] = [{"name": "Busy", "message": "root is in use"}] * 3
        w.call("Release", {"id": session})
        answer = w.provision()[-1]
        assert answer["error"] == "io.ilrd.Recovery.Busy" and session in failure_of(answer)["message"], answer
        wait_for("a later attempt succeeds", lambda: not w.records())
        w.assert_clean()
        assert w.provision()[-1]["parameters"]["session"]["state"] == "ready"


def limit_of_sessions():
    with World("Session.SessionsMax=1") as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        answer = w.provision(OTHER_POINT)[-1]
        assert answer["error"] == "io.ilrd.Recovery.LimitReached", answer
        w.stream("Release", {"id": session})
        w.assert_clean()


def restart_keeps_a_ready_session():
    for sig in (15, 9):
        with World() as w:
            session = w.provision()[-1]["parameters"]["session"]["id"]
            w.kill_ilrd(sig)
            open(f"{w.dir}/state/broken12.json.tmp", "w").close()  # a power cut in the middle of a save
            w.start_ilrd()
            wait_for("that is cleared and told", lambda: "Removed broken12.json.tmp" in w.journal())
            found = wait_for("found again", lambda: w.call("List")["parameters"]["sessions"])
            assert found[0]["id"] == session and found[0]["state"] == "ready", found
            assert [v["name"] for v in found[0]["volumes"]] == ["root", "disk1-part2"]
            assert "down" not in w.helper.verbs()
            w.stream("Release", {"id": session})
            w.assert_clean()


def restart_needs_no_list_of_what_is_on_the_disks():
    """however much there is on them, which is their owner's choice"""
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        w.helper.large = 20 << 20
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("what stands was asked for", lambda: [r for r in w.helper.asked if r["verb"] == "status"])
        assert states(w.stream("Release", {"id": session}))[-1] == "closed"
        assert "does not tell what stands" not in w.journal()
        w.assert_clean()


def crash_on_the_way_is_taken_back():
    for verb in ("connect", "up"):
        with World() as w:
            w.helper.hold[verb] = threading.Event()
            s = w.connect()
            send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
            wait_for(verb, lambda: verb in w.helper.verbs())
            w.kill_ilrd()
            w.helper.hold.clear()
            going = w.helper.hold["disconnect"] = threading.Event()
            w.start_ilrd()
            f = wait_for("it goes down", lambda: w.call("List")["parameters"]["sessions"][0].get("failure"))
            assert f["name"] == "Cancelled" and f["hint"] == "provision it again", f
            going.set()
            wait_for("taken back", lambda: not w.records())
            w.assert_clean()


def session_without_a_record_is_taken_down():
    with World() as w:
        w.provision()
        w.kill_ilrd()
        for name in w.records():
            os.unlink(f"{w.dir}/state/{name}")
        w.start_ilrd()
        wait_for("the orphan is gone", lambda: not w.helper.sessions)
        wait_for("that is logged", lambda: "stood without a record and was taken down" in w.journal())


def session_of_a_newer_record_stays():
    def set_version(n):
        path = f"{w.dir}/state/{w.records()[0]}"
        with open(path) as f:
            record = json.load(f)
        with open(path, "w") as f:
            json.dump({**record, "version": n, "compatible": n}, f)

    def asked():
        return [r["verb"] for r in w.helper.asked].count("leftovers")

    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        w.kill_ilrd()
        set_version(99)
        before = asked()
        w.start_ilrd()
        wait_for("what stands was looked for", lambda: asked() > before)
        assert w.call("List")["parameters"]["sessions"] == []
        assert "it is kept" in w.journal()
        assert session in w.helper.sessions, w.journal()
        # Nor does it go when somebody sweeps by hand.
        answers = w.stream("Leftovers", {"sweep": True})
        assert "error" not in answers[-1] and session in w.helper.sessions, answers
        w.kill_ilrd()
        set_version(1)
        w.start_ilrd()
        wait_for("it is known again", lambda: [s["state"] for s in w.call("List")["parameters"]["sessions"]] == ["ready"])
        w.stream("Release", {"id": session})
        w.assert_clean()


def session_whose_units_are_empty_is_taken_down():
    for stands in ({"iscsiSessions": 0, "mounts": 1}, {"iscsiSessions": 1, "mounts": 0}):
        with World() as w:
            w.provision()
            w.kill_ilrd()
            w.helper.stands = stands
            w.start_ilrd()
            wait_for("taken down", lambda: not w.records())
            assert "no longer stood when ilrd was started" in w.journal(), w.journal()
            w.assert_clean()


def helper_that_does_not_tell_holds_nobody_up():
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        w.kill_ilrd()
        w.helper.failures["status"] = [{"name": "HelperFailed", "message": "out of order"}] * 1000
        w.start_ilrd()
        answer = w.provision()[-1]
        assert failure_of(answer)["name"] == "HelperFailed", answer
        assert "out of order" in failure_of(answer)["message"], answer
        answer = w.stream("Release", {"id": session})[-1]
        assert failure_of(answer)["name"] == "HelperFailed", answer
        # What was asked for is done when that is over.
        w.helper.failures["status"] = []
        wait_for("released", lambda: not w.records())
        w.assert_clean()


def after_a_failure_it_is_looked_for_what_is_left():
    with World() as w:
        wait_for("the look at the start", lambda: [r for r in w.helper.asked if r["verb"] == "leftovers"])
        before = len([r for r in w.helper.asked if r["verb"] == "leftovers"])
        w.helper.failures["up"] = [{"name": "DisksMissing", "message": "no disk"}]
        assert failure_of(w.provision()[-1])["name"] == "DisksMissing"
        w.helper.sessions["lost1234"] = "up"
        wait_for("another look", lambda: len([r for r in w.helper.asked if r["verb"] == "leftovers"]) > before)
        wait_for("what was left is gone", lambda: not w.helper.sessions)
        w.assert_clean()


def session_without_a_record_that_does_not_go_is_told_and_tried_again():
    with World() as w:
        w.kill_ilrd(15)
        w.helper.left = [{"kind": "mount", "name": "/run/ilr/lost1234/volumes/root", "detail": "", "session": "lost1234",
                          "ours": True, "stuck": "the kernel waits for it"}]
        w.start_ilrd()
        wait_for("that is logged", lambda: "/run/ilr/lost1234/volumes/root: the kernel waits for it" in w.journal())
        assert [r["session"] for r in w.helper.asked if r["verb"] == "sweep"] == ["lost1234"]
        assert "tried again" in w.journal()


def monitor_tells_all():
    with World() as w:
        with w.connect() as s:
            send(s, "Monitor", {}, more=True)
            wait_for("nothing", lambda: True)
            session = w.provision()[-1]["parameters"]["session"]["id"]
            w.stream("Release", {"id": session})
            reader, seen = Reader(s), []
            while not seen or seen[-1] != "closed":
                state = reader.next()["parameters"]["session"]["state"]
                if not seen or seen[-1] != state:
                    seen.append(state)
        assert seen[0] == "provisioning" and "ready" in seen and seen[-2] == "revoking", seen


def secrets_are_in_no_record_and_no_answer():
    with World() as w:
        answers = w.provision()
        text = str(answers) + w.journal()
        for name in w.records():
            with open(f"{w.dir}/state/{name}") as f:
                text += f.read()
        script = [r for r in w.helper.asked if r["verb"] == "connect"][0]["script"]
        assert len(script) > 100 and script[:60] not in text and SECRET not in text and "TargetPassword" not in text
        w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})


main([up_and_down, point_by_vault_container_and_item, old_api_version_has_the_script_in_the_status, new_api_version_asks_for_the_script,
      initiator_left_out_or_overridden, every_fault_has_a_name_and_leaves_nothing, faults_that_pass_are_survived,
      azure_is_not_there, certificate_of_the_wrong_name, portal_that_cannot_be_reached,
      failures_of_the_helper_reach_the_caller, helper_that_answers_nonsense,
      closing_the_connection_gives_the_session_up, closing_while_azure_works,
      busy_release_names_the_holder_and_is_tried_again, release_twice_and_of_nothing,
      same_point_twice_is_one_session,
      a_point_on_its_way_down_is_not_taken_up_again, limit_of_sessions, restart_keeps_a_ready_session,
      restart_needs_no_list_of_what_is_on_the_disks,
      crash_on_the_way_is_taken_back, session_without_a_record_is_taken_down,
      session_of_a_newer_record_stays, session_whose_units_are_empty_is_taken_down,
      helper_that_does_not_tell_holds_nobody_up, after_a_failure_it_is_looked_for_what_is_left,
      session_without_a_record_that_does_not_go_is_told_and_tried_again, monitor_tells_all,
      secrets_are_in_no_record_and_no_answer])
