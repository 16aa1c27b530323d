# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each fault at each request of a session's conversation with Azure: what becomes of the session for the user, that nothing
is owed at the end, and that the daemon lives on. Many sessions of one ilrd go through their own fault each at the same time."""

import concurrent.futures
import email.utils
import os
import re
import socket
import threading
import time

from harness import SUBSCRIPTION, ITEM, World, can_connect, failure_of, free_port, main, send, states, wait_for

READY = "ready"
SETTINGS = ("Session.SessionsMax=256 Session.BusyRetrySec=300ms Azure.RequestTimeoutSec=2 Azure.OperationTimeoutSec={} "
            "Connection.Initiator=none")
DATE = "date"  # Retry-After as a date one second from now

# Title, the fault of the simulator, and what becomes of it in the order: a read that is hit once, a read that is hit
# always, the POST of the provision hit once and always.
FAULTS = [
    ("429", {"fault": "throttled"}, READY, "AzureThrottled", "AzureThrottled", "AzureThrottled"),
    ("429 with seconds", {"fault": "throttled", "retryAfter": 1}, READY, "AzureThrottled", READY, "AzureThrottled"),
    ("429 with a date", {"fault": "throttled", "retryAfter": DATE}, READY, "AzureThrottled", READY, "AzureThrottled"),
    ("408", {"fault": "server-error", "status": 408}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("500", {"fault": "server-error"}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("500 that acts", {"fault": "server-error", "acts": True}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("502", {"fault": "html", "status": 502}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("503", {"fault": "unavailable"}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("503 with seconds", {"fault": "unavailable", "retryAfter": 1}, READY, "AzureRefused", READY, "AzureRefused"),
    ("504", {"fault": "html", "status": 504}, READY, "AzureRefused", "AzureRefused", "AzureRefused"),
    ("reset", {"fault": "reset"}, READY, "AzureUnreachable", "AzureUnreachable", "AzureUnreachable"),
    ("reset after it acted", {"fault": "lost"}, READY, "AzureUnreachable", "AzureUnreachable", "AzureUnreachable"),
    ("no answer in time", {"fault": "delay", "seconds": 4}, READY, "AzureUnreachable", "AzureUnreachable",
     "AzureUnreachable"),
    ("body too slow", {"fault": "slow", "seconds": 30}, READY, "AzureUnreachable", READY, READY),
    ("body cut", {"fault": "truncated"}, READY, "AzureAnswerInvalid", "AzureAnswerInvalid", "AzureAnswerInvalid"),
    ("HTML", {"fault": "html"}, "AzureAnswerInvalid", "AzureAnswerInvalid", "AzureAnswerInvalid", "AzureAnswerInvalid"),
    ("empty 200", {"fault": "empty"}, "AzureAnswerInvalid", "AzureAnswerInvalid", "NoScript", "NoScript"),
    ("no JSON", {"fault": "answer", "body": "{\"status\":"}, "AzureAnswerInvalid", "AzureAnswerInvalid",
     "AzureAnswerInvalid", "AzureAnswerInvalid"),
    ("huge", {"fault": "huge", "bytes": 100000000}, "AzureAnswerInvalid", "AzureAnswerInvalid", "AzureAnswerInvalid",
     "AzureAnswerInvalid"),
    ("redirect", {"fault": "redirect"}, "AzureAnswerInvalid", "AzureAnswerInvalid", "AzureAnswerInvalid",
     "AzureAnswerInvalid"),
    ("401", {"fault": "unauthorized"}, READY, "CredentialRejected", READY, "CredentialRejected"),
    ("403", {"fault": "forbidden"}, "PermissionMissing", "PermissionMissing", "PermissionMissing", "PermissionMissing"),
    ("404", {"fault": "not-found"}, "PointNotFound", "PointNotFound", "PointNotFound", "PointNotFound"),
    ("409", {"fault": "conflict"}, "AzureRefused", "AzureRefused", "AzureRefused", "AzureRefused"),
    ("api-version", {"fault": "bad-api-version"}, "AzureRefused", "AzureRefused", "AzureRefused", "AzureRefused"),
]

# Where a request is different from other reads: (request, title, always) -> outcome.
OTHER = {}
for title, fault, once, always, post_once, post_always in FAULTS:
    if always in ("AzureThrottled", "AzureUnreachable") or always == "AzureRefused" and once == READY:
        OTHER["status", title, True] = "OperationTimeout"  # what was accepted is followed until its end
for always in (False, True):
    for title in ("404", "api-version"):
        OTHER["list-scripts", title, always] = READY       # an older Azure has it in the vault's view of the operation
    # The vault knows the operation as well; the simulator's fault is at both addresses.
    OTHER["status", "404", always] = "OperationFailed" if always else READY
    OTHER["status", "api-version", always] = "AzureRefused" if always else READY
PERMISSIONS = {"point": "recoveryPoints/read", "item": "protectedItems/read",
               "provision": "provisionInstantItemRecovery/action", "status": "protectedItems/operationsStatus/read",
               "list-scripts": "listInstantItemRecoveryOperationResult/action",
               "revoke": "revokeInstantItemRecovery/action"}
counted = {"ready": 0}
lock = threading.Lock()


def count(at, fault, when, outcome, begun):
    """One scenario and what became of it, as a line that bench/azure reads, too."""
    with lock:
        counted[outcome] = counted.get(outcome, 0) + 1
        print(f"# fault | {at} | {fault} | {when} | {outcome} | {time.monotonic() - begun:.1f} s", flush=True)


def outcome_of(answer):
    return failure_of(answer)["name"] if "error" in answer else READY


def often(always):
    return "always" if always else "once"


def with_date(fault):
    if fault.get("retryAfter") != DATE:
        return fault
    return {**fault, "retryAfter": email.utils.formatdate(time.time() + 1, usegmt=True)}


def expected(request, row, always):
    title, _, read_once, read_always, post_once, post_always = row
    if (request, title, always) in OTHER:
        return OTHER[request, title, always]
    if request == "provision":
        return post_always if always else post_once
    return read_always if always else read_once


def points(n):
    return {"vaults": [{"resourceGroup": "rg", "name": "vault1", "items": [
        {"vm": "web1", "resourceGroup": "rg", "osType": "Linux", "points": [
            {"id": str(1000 + i), "time": "2026-11-21T22:00:00Z", "disks": []} for i in range(n)]}]}]}


def judge(w, label, request, answer, wanted):
    """The complaint about an outcome, or None."""
    if wanted == READY:
        return None if states([answer]) == ["ready"] else f"{label}: {answer}"
    if "error" not in answer:
        return f"{label}: ready, expected {wanted}"
    failure = failure_of(answer)
    if failure["name"] != wanted:
        return f"{label}: {failure['name']} ({failure['message']}), expected {wanted}"
    if wanted == "PermissionMissing" and PERMISSIONS[request] not in failure["message"]:
        return f"{label}: the permission is not named: {failure['message']}"
    if wanted in ("PermissionMissing", "AzureRefused", "PointNotFound") and not failure.get("requestId"):
        if "504" not in label and "502" not in label or failure.get("requestId") is None:
            return f"{label}: no request id: {failure}"
    return None


def scenarios(request):
    return [(row, always) for row in FAULTS for always in (False, True)]


def run_group(request):
    """All faults at one request, each at a point of its own, all at the same time: what throttles one holds all."""
    cases = scenarios(request)
    with World(SETTINGS.format(60), points(len(cases))) as w:
        def one(i):
            row, always = cases[i]
            fault = with_date({"on": request, **row[1]})
            if not always:
                fault["times"] = 1
            w.control("PUT", f"/sim/points/{1000 + i}/scenario", {"faults": [fault]})
            wanted = expected(request, row, always)
            label = f"{request}, {row[0]}, {often(always)}"
            begun = time.monotonic()
            answer = w.stream("Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/{1000 + i}"})[-1]
            count(request, row[0], often(always), outcome_of(answer), begun)
            w.control("DELETE", f"/sim/points/{1000 + i}/scenario")
            if "error" not in answer:
                w.stream("Release", {"id": answer["parameters"]["session"]["id"]})
            return judge(w, label, request, answer, wanted)

        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            wrong = [c for c in pool.map(one, range(len(cases))) if c]
        wait_for("all is given back", lambda: not w.records(), 60)
        w.assert_clean()
        posts = [r["path"] for r in w.state()["requests"] if r["kind"] == "provision" and r.get("status") in (None, 202, 200)]
        assert len(posts) == len(set(posts)), "a provision was sent twice though it may have been done"
    assert not wrong, "\n".join(wrong)


def faults_at_the_point():
    run_group("point")


def faults_at_the_provision():
    run_group("provision")


def faults_at_the_status():
    run_group("status")


def faults_at_the_script():
    run_group("list-scripts")


def faults_at_the_revoke():
    """Release: closed in the end, whatever happened, as soon as Azure is well again."""
    cases = [(on, row, always) for on in ("revoke", "status") for row in FAULTS for always in (False, True)]
    with World(SETTINGS.format(12), points(len(cases))) as w:
        def one(i):
            on, row, always = cases[i]
            answer = w.stream("Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/{1000 + i}",
                                            "virtualMachineId": VM})[-1]
            assert "error" not in answer, answer
            session = answer["parameters"]["session"]["id"]
            fault = with_date({"on": on, **row[1]})
            if not always:
                fault["times"] = 1
            w.control("PUT", f"/sim/points/{1000 + i}/scenario", {"faults": [fault]})
            begun = time.monotonic()
            answer = w.stream("Release", {"id": session})[-1]
            w.control("DELETE", f"/sim/points/{1000 + i}/scenario")
            count("revoke" if on == "revoke" else "status of a revoke", row[0], often(always),
                  "closed" if "error" not in answer else "closed later", begun)
            if not always and row[2] == READY and "error" in answer and row[0] != "500 that acts":
                return f"{on} of a release, {row[0]}: {answer}"
            return None

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            wrong = [c for c in pool.map(one, range(len(cases))) if c]
        wait_for("all is given back", lambda: not w.records(), 60)
        w.assert_clean()
    assert not wrong, "\n".join(wrong)


VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"


def faults_of_the_whole_server():
    """Requests that are about no point: each case has a server of its own."""
    token = {"429": READY, "500": READY, "503 with seconds": READY, "reset": READY, "no answer in time": READY,
             "body cut": READY, "HTML": "AzureAnswerInvalid", "redirect": "AzureAnswerInvalid",
             "huge": "AzureAnswerInvalid"}
    cases = [("item", row, always) for row in FAULTS for always in (False, True) if row[0] in ("429", "500", "reset", "no answer in time", "body cut", "HTML", "403", "404", "huge")]
    cases += [("token", row, False) for row in FAULTS if row[0] in token]

    def one(case):
        on, row, always = case
        with World(SETTINGS.format(10)) as w:
            fault = {"on": on, **row[1]}
            if not always:
                fault["times"] = 1
            w.fault(fault)
            begun = time.monotonic()
            answer = w.provision()[-1]
            count(on, row[0], often(always), outcome_of(answer), begun)
            w.control("PUT", "/sim/scenario", {"faults": []})
            if "error" not in answer:
                w.stream("Release", {"id": answer["parameters"]["session"]["id"]})
            wait_for("all is given back", lambda: not w.records())
            w.assert_clean()
            wanted = token[row[0]] if on == "token" else expected(on, row, always)
            return judge(w, f"{on}, {row[0]}, {often(always)}", on, answer, wanted)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        wrong = [c for c in pool.map(one, cases) if c]
    assert not wrong, "\n".join(wrong)


class Listener(threading.Thread):
    """Takes connections at the simulator's port and does something rude with each."""

    def __init__(self, port, rude):
        super().__init__(daemon=True)
        self.rude, self.hung_up, self.taken = rude, threading.Event(), threading.Event()
        self.socket = socket.create_server(("127.0.0.1", port))

    def run(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            with c:
                self.taken.set()
                try:
                    self.rude(self, c)
                except OSError:
                    self.hung_up.set()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join(30)
        self.socket.close()


def tls_alert(listener, c):
    c.recv(4096)
    c.sendall(bytes.fromhex("15030300020228"))  # fatal, handshake_failure


def reset_in_the_handshake(listener, c):
    c.recv(4096)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def never_answers(listener, c):
    while c.recv(4096):
        pass
    listener.hung_up.set()


def no_azure_at_all():
    """Nobody there, no such name, TLS that does not come about: named, nothing owed; and passing trouble is survived."""
    with World("Azure.ManagementUrl=https://azure.invalid Azure.LoginUrl=https://azure.invalid "
               "Azure.RequestTimeoutSec=2 Azure.OperationTimeoutSec=5", start_sim=False) as w:
        begun = time.monotonic()
        failure = failure_of(w.provision()[-1])
        assert failure["name"] == "AzureUnreachable" and "azure.invalid" in failure["message"], failure
        count("host", "no such name", "always", failure["name"], begun)
        w.assert_clean()
    for rude in (tls_alert, reset_in_the_handshake):
        with World("Azure.OperationTimeoutSec=5", start_sim=False) as w:
            listener = Listener(w.port, rude)
            listener.start()
            begun = time.monotonic()
            failure = failure_of(w.provision()[-1])
            assert failure["name"] == "AzureUnreachable" and "TLS handshake" in failure["message"], failure
            count("host", rude.__name__.replace("_", " "), "always", failure["name"], begun)
            w.assert_clean()
            listener.close()
    # The same while it passes.
    with World(start_sim=False) as w:
        listener = Listener(w.port, tls_alert)
        listener.start()
        s = w.connect()
        begun = time.monotonic()
        send(s, "Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/182457315790203"}, more=True)
        assert listener.taken.wait(20)
        listener.close()
        w.start_sim({})
        wait_for("ready", lambda: [x for x in w.call("List")["parameters"]["sessions"] if x["state"] == "ready"])
        count("host", "tls alert", "once", READY, begun)
        s.close()
        w.stream("Release", {"id": w.call("List")["parameters"]["sessions"][0]["id"]})
        w.assert_clean()


def throttled_for_an_hour_is_told_at_once():
    """Retry-After of a 429 binds, and it binds everybody: what could not be sent before its deadline is refused here."""
    with World() as w:
        w.fault({"on": "provision", "fault": "throttled", "retryAfter": 3600})
        for expected_text in ("try again in 3600 s", "Azure wants no such request for"):
            begin = time.monotonic()
            failure = failure_of(w.provision()[-1])
            assert failure["name"] == "AzureThrottled" and expected_text in failure["message"], failure
            assert time.monotonic() - begin < 10
            count("provision", "429 for an hour", "always", failure["name"], begin)
            wait_for("closed", lambda: not w.records())
        assert [r["kind"] for r in w.state()["requests"]].count("provision") == 1
        w.assert_clean()


def hang_up_cancels_at_once():
    """The time from the caller's end to that of the request, at an Azure that does not answer."""
    with World(start_sim=False) as w:
        listener = Listener(w.port, never_answers)
        listener.start()
        s = w.connect()
        send(s, "Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/182457315790203"}, more=True)
        assert listener.taken.wait(20)
        begin = time.monotonic()
        s.close()
        assert listener.hung_up.wait(20)
        took = time.monotonic() - begin
        print(f"# from the caller's hang-up to that of the request: {took * 1000:.0f} ms", flush=True)
        assert took < 2, took
        count("host", "never answers, the caller goes", "always", "cancelled", begin)
        wait_for("closed", lambda: not w.records())
        w.assert_clean()
        listener.close()


def error_is_shown_whole():
    with World() as w:
        w.fault({"on": "provision", "fault": "failed", "code": "UserErrorX", "message": "It cannot be.",
                 "recommendations": ["Do this.", "Then that."]})
        out = w.ilrctl("provision", f"{ITEM}/recoveryPoints/182457315790203").stderr
        for text in ("UserErrorX", "It cannot be.", "Do this.", "Then that.", "request id", "correlation id"):
            assert text in out, (text, out)
        assert re.search(r"request id +[0-9a-f-]{36}", out), out
        wait_for("closed", lambda: not w.records())
        w.assert_clean()


def summary():
    total = sum(counted.values())
    print(f"# {total} scenarios: " + ", ".join(f"{n} {name}" for name, n in sorted(counted.items())), flush=True)
    assert total > 0


# A sample; all with ILR_FULL=1, which takes minutes.
SAMPLE = [faults_at_the_provision, no_azure_at_all, throttled_for_an_hour_is_told_at_once, hang_up_cancels_at_once,
          error_is_shown_whole, summary]
ALL = [faults_at_the_point, faults_at_the_provision, faults_at_the_status, faults_at_the_script, faults_at_the_revoke,
       faults_of_the_whole_server] + SAMPLE[1:]
main(ALL if os.environ.get("ILR_FULL") else SAMPLE)
