# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked of Azure around a provision, and what its answers lead to: the recovery point that is read first, renewal,
the whole request resource, file shares, the vault's view of an operation, ids in the journal, two callers of one point."""

import os
import threading

from harness import (OTHER_POINT, POINT, SUBSCRIPTION, VAULT, Reader, World, failure_of, main, point_id, send, states,
                     wait_for)

SHARE_POINT = "932604119120948723"
ACCOUNT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct1"
SHARE = (f"{VAULT}/backupFabrics/Azure/protectionContainers/StorageContainer;Storage;rg;acct1/protectedItems/"
         f"AzureFileShare;data/recoveryPoints/{SHARE_POINT}")
WEB1 = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"


def vault_with(*items):
    return {"vaults": [{"resourceGroup": "rg", "name": "vault1", "items": list(items)}]}


def web1(**point):
    return {"vm": "web1", "resourceGroup": "rg", "osType": "Linux",
            "points": [{"id": POINT, "time": "2026-11-21T22:00:00Z", "disks": [], **point}]}


def kinds(w):
    return [r["kind"] for r in w.state()["requests"] if r["kind"] != "token"]


def release(w, answers):
    w.stream("Release", {"id": answers[-1]["parameters"]["session"]["id"]})
    w.assert_clean()


def unusable_points_are_refused_and_nothing_is_sent():
    for point, reason in (({"encrypted": True}, "encrypted"), ({"archived": True}, "archive tier")):
        with World(sim=vault_with(web1(**point))) as w:
            failure = failure_of(w.provision()[-1])
            assert failure["name"] == "PointUnusable" and reason in failure["message"], failure
            assert kinds(w) == ["point"], kinds(w)
            w.assert_clean()


def each_thing_is_asked_once():
    with World() as w:
        answers = w.provision()
        assert kinds(w)[:3] == ["point", "item", "provision"] and kinds(w).count("item") == 1, kinds(w)
        release(w, answers)
    with World() as w:
        answers = w.provision(virtualMachineId=WEB1)
        assert kinds(w)[:2] == ["point", "provision"] and "item" not in kinds(w), kinds(w)
        release(w, answers)


def active_recovery_is_renewed_and_the_caller_told():
    with World() as w:
        first = w.provision()
        assert first[-1]["parameters"]["session"]["renewed"] is False
        # This host forgets the session, the service does not.
        w.kill_ilrd()
        for name in w.records():
            os.unlink(f"{w.dir}/state/{name}")
        w.helper.sessions.clear()
        w.start_ilrd()
        answers = w.provision()
        session = answers[-1]["parameters"]["session"]
        assert session["renewed"] is True, session
        posts = [r["body"]["properties"]["renewExistingRegistration"] for r in w.state()["requests"]
                 if r["kind"] == "provision"]
        assert posts == [False, True], posts
        assert "renewed the registration" in w.journal()
        assert "Azure has renewed it" in w.ilrctl("status", session["id"]).stdout
        release(w, answers)


def renewal_that_is_refused_says_so_and_takes_nothing_away():
    with World() as w:
        w.provision()
        w.kill_ilrd()
        for name in w.records():
            os.unlink(f"{w.dir}/state/{name}")
        w.helper.sessions.clear()
        w.start_ilrd()
        w.fault({"on": "provision", "fault": "conflict"})
        failure = failure_of(w.provision()[-1])
        assert failure["code"] == "BMSUserErrorObjectLocked" and "renew the registration" in failure["message"], failure
        # It belongs to somebody else: what was not ours to begin with is not revoked.
        wait_for("closed", lambda: not w.records())
        assert "revoke" not in kinds(w), kinds(w)
        assert len(w.state()["registrations"]) == 1


def whole_request_resource():
    with World() as w:
        answers = w.provision(eTag='"0x8D"', location="westeurope", tags={"owner": "ops", "Zweck": "Prüfung"})
        body = [r["body"] for r in w.state()["requests"] if r["kind"] == "provision"][0]
        assert body["eTag"] == '"0x8D"' and body["location"] == "westeurope", body
        assert body["tags"] == {"owner": "ops", "Zweck": "Prüfung"}, body
        release(w, answers)
    with World() as w:
        out = w.ilrctl("provision", point_id(), "--tag=owner=ops", "--tag=a=b=c")
        assert out.returncode == 0, out.stderr
        body = [r["body"] for r in w.state()["requests"] if r["kind"] == "provision"][0]
        assert body["tags"] == {"owner": "ops", "a": "b=c"} and "eTag" not in body and "location" not in body, body
        assert w.ilrctl("provision", point_id(), "--tag=owner").returncode == 2
        assert w.ilrctl("list", "--tag=a=b").returncode == 2
        w.ilrctl("release", "--all")
        w.assert_clean()


def bad_fields_of_the_request_are_refused():
    bad = [({"tags": {"": "x"}}, "name of a tag"), ({"tags": {"a<b": "x"}}, "name of a tag"),
           ({"tags": {"a" * 513: "x"}}, "name of a tag"), ({"tags": {"a": "x" * 257}}, "value of a tag"),
           ({"tags": {"a": 7}}, "value of a tag"), ({"tags": {"a": "b\nc"}}, "value of a tag"),
           ({"tags": {f"t{i}": "x" for i in range(51)}}, "at most 50"),
           ({"eTag": "a\nb"}, "eTag"), ({"eTag": "x" * 300}, "eTag"), ({"eTag": ""}, "eTag"),
           ({"location": "west/europe"}, "location"), ({"location": ""}, "location")]
    with World() as w:
        for parameters, text in bad:
            answer = w.call("Provision", {"recoveryPoint": point_id(), **parameters})
            failure = failure_of(answer)
            assert failure["name"] == "InvalidRequest" and text in failure["message"], (parameters, answer)
        for parameters in ({"tags": []}, {"tags": "x"}, {"eTag": 1}, {"location": {}}):
            answer = w.call("Provision", {"recoveryPoint": point_id(), **parameters})
            assert answer["error"] == "org.varlink.service.InvalidParameter", answer
        assert kinds(w) == []
        w.assert_clean()


def file_share_goes_to_its_end_and_is_given_back():
    share = {"fileShare": "data", "storageAccount": "acct1", "resourceGroup": "rg",
             "points": [{"id": SHARE_POINT, "time": "2026-11-21T22:00:00Z"}]}
    for more, asked in (({}, True), ({"sourceResourceId": ACCOUNT}, False)):
        with World(sim=vault_with(web1(), share)) as w:
            answers = w.stream("Provision", {"kind": "file-share", "recoveryPoint": SHARE, **more})
            failure = failure_of(answers[-1])
            assert failure["name"] == "NotSupported", answers[-1]
            assert "mounting a share's snapshot is not there yet" in failure["message"], failure
            assert answers[-1]["error"] == "io.ilrd.Recovery.RequestRefused"
            session = answers[-1]["parameters"]["session"]
            assert session["kind"] == "file-share" and session["vm"] == "data", session
            body = [r["body"] for r in w.state()["requests"] if r["kind"] == "provision"][0]
            assert body == {"properties": {"objectType": "AzureFileShareProvisionILRRequest",
                                           "recoveryPointId": SHARE_POINT, "sourceResourceId": ACCOUNT}}, body
            assert ("item" in kinds(w)) == asked
            assert "status" in kinds(w) and "list-scripts" not in kinds(w) and kinds(w).count("revoke") == 1, kinds(w)
            assert w.helper.verbs() == [], w.helper.verbs()
            w.assert_clean()
    with World(sim=vault_with(web1(), share)) as w:
        failure = failure_of(w.call("Provision", {"kind": "vm", "recoveryPoint": SHARE}))
        assert failure["name"] == "PointUnusable" and "of a file share" in failure["message"], failure
        failure = failure_of(w.call("Provision", {"kind": "file-share", "recoveryPoint": point_id()}))
        assert failure["name"] == "PointUnusable" and "of a virtual machine" in failure["message"], failure
        failure = failure_of(w.call("Provision", {"kind": "sql", "recoveryPoint": point_id()}))
        assert failure["name"] == "InvalidRequest" and "file-share" in failure["message"], failure
        assert "provision" not in kinds(w)
        w.assert_clean()


def refused_status_address_leads_to_the_vault():
    for fault in ("not-found", "bad-api-version"):
        with World() as w:
            # Only the address that Azure named is bad, the first time it is asked.
            w.fault({"on": "status", "fault": fault, "times": 1})
            answers = w.provision()
            assert states(answers)[-1] == "ready", answers[-1]
            paths = [r["path"] for r in w.state()["requests"] if r["kind"] == "status"]
            assert "/operationsStatus/" in paths[0] and "/vault1/backupOperations/" in paths[-1], paths
            release(w, answers)


def same_id_here_and_there():
    with World() as w:
        answers = w.provision()
        session = answers[-1]["parameters"]["session"]["id"]
        ids = [r["clientRequestId"] for r in w.state()["requests"]]
        assert "token" in [r["kind"] for r in w.state()["requests"]]
        assert len(ids) == len(set(ids)) and all(len(i) == 36 for i in ids), ids
        journal = w.journal()
        provision = [r for r in w.state()["requests"] if r["kind"] == "provision"][0]
        # What went well, too.
        assert all(i in journal for i in ids), (ids, journal)
        assert any(session in line and provision["clientRequestId"] in line for line in journal.splitlines()), journal
        release(w, answers)


def hang_up_of_one_caller_does_not_take_it_from_the_other():
    for order in ("first", "second"):
        with World() as w:
            w.helper.hold["connect"] = threading.Event()
            callers = [w.connect(), w.connect()]
            for s in callers:
                send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
            wait_for("connect", lambda: "connect" in w.helper.verbs())
            gone, stays = callers if order == "first" else callers[::-1]
            gone.close()
            # The close is seen before the other call is answered: both are on the same loop.
            w.call("List")
            w.helper.hold["connect"].set()
            reader = Reader(stays)
            answers = [reader.next()]
            while answers[-1].get("continues"):
                answers.append(reader.next())
            assert states(answers)[-1] == "ready", answers[-1]
            assert not w.helper.hung_up
            assert len(w.call("List")["parameters"]["sessions"]) == 1
            release(w, answers)
    # And when both have gone it is given up.
    with World() as w:
        w.helper.hold["connect"] = threading.Event()
        callers = [w.connect(), w.connect()]
        for s in callers:
            send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
        wait_for("connect", lambda: "connect" in w.helper.verbs())
        for s in callers:
            s.close()
        wait_for("given up", lambda: not w.records())
        w.assert_clean()


def two_points_share_nothing():
    with World() as w:
        w.fault({"on": "provision", "fault": "forbidden"})
        assert failure_of(w.provision()[-1])["name"] == "PermissionMissing"
        answers = w.provision(OTHER_POINT)
        assert states(answers)[-1] == "ready"
        release(w, answers)


main([unusable_points_are_refused_and_nothing_is_sent, each_thing_is_asked_once,
      active_recovery_is_renewed_and_the_caller_told, renewal_that_is_refused_says_so_and_takes_nothing_away,
      whole_request_resource, bad_fields_of_the_request_are_refused, file_share_goes_to_its_end_and_is_given_back,
      refused_status_address_leads_to_the_vault, same_id_here_and_there,
      hang_up_of_one_caller_does_not_take_it_from_the_other, two_points_share_nothing])
