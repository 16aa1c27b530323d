# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many sessions of one ilrd at a time: no second sees more requests than the service's limits allow, nobody is passed over,
and those for whom the scripts have no port left wait in order."""

import os
import threading
import time

from harness import ITEM, SUBSCRIPTION, World, Reader, failure_of, main, send, wait_for

VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"
READS_PER_SEC, WRITES_PER_SEC = 25, 10


def world(n, settings="", **sim):
    return World(f"Session.SessionsMax=256 Connection.Initiator=none Azure.OperationTimeoutSec=300 {settings}",
                 {"vaults": [{"resourceGroup": "rg", "name": "vault1", "items": [
                     {"vm": "web1", "resourceGroup": "rg", "osType": "Linux", "points": [
                         {"id": str(1000 + i), "time": "2026-11-21T22:00:00Z", "disks": []} for i in range(n)]}]}],
                  **sim})


def provision(w, i):
    s = w.connect()
    s.settimeout(300)
    send(s, "Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/{1000 + i}", "virtualMachineId": VM}, more=True)
    return s


def last(s):
    reader = Reader(s)
    answer = reader.next()
    while answer.get("continues"):
        answer = reader.next()
    return answer


def release_all(w):
    sessions = [s["id"] for s in w.call("List")["parameters"]["sessions"]]
    streams = []
    for session in sessions:
        s = w.connect()
        s.settimeout(300)
        send(s, "Release", {"id": session})
        streams.append(s)
    for s in streams:
        answer = last(s)
        assert "error" not in answer, answer
        s.close()


def busiest(times):
    """The most requests in any span of one second."""
    times, most, begin = sorted(times), 0, 0
    for end, t in enumerate(times):
        while t - times[begin] >= 1000000:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def within(times, rate):
    """Whether at no moment there were more than so many for each second since the first, and one second's more."""
    times = sorted(times)
    return all(n <= rate * (1 + (t - times[0]) / 1e6) for n, t in enumerate(times, 1))


def no_second_sees_more_than_the_limit():
    n = 60
    with world(n, provisionSeconds=15) as w:
        streams = [provision(w, i) for i in range(n)]
        wait_for("all poll", lambda: len([r for r in w.state()["requests"] if r["kind"] == "status"]) > 2 * n, 60)
        wait_for("32 are ready", lambda: len([s for s in w.call("List")["parameters"]["sessions"]
                                              if s["state"] == "ready"]) == 32, 120)
        requests = w.state()["requests"]
        reads = [r["timeUsec"] for r in requests if r["method"] == "GET"]
        writes = [r["timeUsec"] for r in requests if r["method"] == "POST" and r["kind"] != "token"]
        print(f"# busiest second: {busiest(reads)} reads, {busiest(writes)} writes", flush=True)
        # The simulator stamps a request when its thread runs, which on a busy machine is late: then those of two seconds
        # come in one. Counted from the first one on, what is late makes none too many.
        assert busiest(reads) <= 2 * READS_PER_SEC and busiest(writes) <= 2 * WRITES_PER_SEC
        assert within(reads, READS_PER_SEC) and within(writes, WRITES_PER_SEC)
        assert busiest(reads) > 10, "the limit was never near: this shows nothing"
        # First come first served: nobody has been asked for twice as often as another one.
        polls = {}
        begin = max(r["timeUsec"] for r in requests if r["kind"] == "provision")
        end = begin + 7000000
        for r in requests:
            if r["kind"] == "status" and begin < r["timeUsec"] < end:
                polls[r["path"]] = polls.get(r["path"], 0) + 1
        assert max(polls.values()) - min(polls.values()) <= 2, sorted(polls.values())
        for s in streams:
            s.close()
        wait_for("who waits is given up", lambda: len(w.call("List")["parameters"]["sessions"]) == 32, 120)
        release_all(w)
        w.assert_clean()


def sessions_wait_for_a_port_in_order():
    n = 35
    with world(n) as w:
        w.helper.hold["connect"] = threading.Event()
        streams = []
        for i in range(n):
            streams.append(provision(w, i))
            # One after the other, so that the order is known.
            wait_for("connecting", lambda: len([s for s in w.call("List")["parameters"]["sessions"]
                                                if s["state"] == "connecting"]) == i + 1, 60)
        waiting = lambda: {s["recoveryPoint"]: s.get("detail") for s in w.call("List")["parameters"]["sessions"]
                           if "ports" in s.get("detail", "")}
        found = wait_for("three wait", lambda: len(waiting()) == 3 and waiting())
        for k, point in enumerate(("1032", "1033", "1034")):
            assert found[point].endswith(f"as number {k + 1} in the queue"), found
        assert w.helper.verbs().count("connect") == 32
        # The first in the queue gives up; then one of those that have a port.
        streams[32].close()
        wait_for("moved up", lambda: waiting().get("1033", "").endswith("number 1 in the queue"))
        w.helper.hold["connect"].set()
        assert "error" not in last(streams[0])
        first = [s["id"] for s in w.call("List")["parameters"]["sessions"] if s["recoveryPoint"] == "1000"][0]
        w.call("Release", {"id": first})
        assert "error" not in last(streams[33])
        assert list(waiting()) == ["1034"], waiting()
        # It outlives a restart who has a port.
        for s in streams[1:32]:
            last(s)
        w.kill_ilrd()
        w.start_ilrd()
        wait_for("adopted", lambda: [s["state"] for s in w.call("List")["parameters"]["sessions"]].count("ready") == 32, 60)
        s = provision(w, 0)
        wait_for("no port is left", lambda: waiting().get("1000", "").endswith("number 1 in the queue"), 60)
        s.close()
        release_all(w)
        wait_for("closed", lambda: not w.records(), 60)
        w.assert_clean()


def a_limit_of_one_is_everybodys():
    """The Retry-After of one session's 429 holds the others back as well."""
    with world(2) as w:
        w.control("PUT", "/sim/points/1000/scenario",
                  {"faults": [{"on": "point", "fault": "throttled", "retryAfter": 2, "times": 1}]})
        a = provision(w, 0)
        wait_for("throttled", lambda: any(r.get("status") == 429 for r in w.state()["requests"]))
        b = provision(w, 1)
        assert "error" not in last(a) and "error" not in last(b)
        requests = [r for r in w.state()["requests"] if r["method"] == "GET"]
        hit = [r["timeUsec"] for r in requests if r.get("status") == 429][0]
        after = [r["timeUsec"] - hit for r in requests if r["timeUsec"] > hit]
        assert min(after) > 1900000, after
        release_all(w)
        w.assert_clean()


main([no_second_sees_more_than_the_limit, sessions_wait_for_a_port_in_order, a_limit_of_one_is_everybodys])
