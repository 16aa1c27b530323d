# SPDX-License-Identifier: LGPL-2.1-or-later
"""See bench/azure."""

import os
import socket
import subprocess
import sys
import threading
import time

from harness import ITEM, SUBSCRIPTION, Reader, World, free_port, send

READS_MAX, WRITES_MAX = 25, 10  # what Resource Manager fills up in a second
VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"


class Wire(threading.Thread):
    """Passes connections on to the simulator and counts their bytes."""

    def __init__(self, to):
        super().__init__(daemon=True)
        self.to, self.bytes, self.connections = to, [0, 0], 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.socket.getsockname()[1]

    def run(self):
        while True:
            try:
                a, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            b = socket.create_connection(("127.0.0.1", self.to))
            for source, sink, i in ((a, b, 0), (b, a, 1)):
                threading.Thread(target=self.copy, args=(source, sink, i), daemon=True).start()

    def copy(self, source, sink, i):
        try:
            while data := source.recv(65536):
                self.bytes[i] += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Log(threading.Thread):
    """Collects the simulator's log, which forgets."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.entries, self.over = w, [], threading.Event()

    def collect(self):
        state = self.w.state()
        new = state["requestCount"] - len(self.entries)
        if new:
            self.entries += state["requests"][-new:]

    def run(self):
        while not self.over.wait(5):
            self.collect()


def busiest(times):
    times, most, begin = sorted(times), 0, 0
    for end, t in enumerate(times):
        while t - times[begin] >= 1000000:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def passes(times, rate):
    """A bucket of one second's worth that fills by as much in a second, far less than the service's: never empty?"""
    level, last = rate, 0
    for t in sorted(times):
        level = min(rate, level + (t - last) * rate / 1e6) - 1
        last = t
        if level < 0:
            return False
    return True


def resident(w):
    with open(f"/proc/{w.ilrd.pid}/status") as f:
        return [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0]


def drain(s):
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass  # closed at the end


def median(values):
    return sorted(values)[len(values) // 2] if values else 0


def waiting(w):
    """Sessions that have their script and wait for a port, or are further."""
    return [s for s in w.call("List")["parameters"]["sessions"] if s["state"] != "provisioning"]


def faults():
    """Fault -> what happened, and after what time, from the tests' own run. False: not as expected."""
    test = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "cli", "azure-faults.py")
    result = subprocess.run([sys.executable, test], stdout=subprocess.PIPE, text=True)
    rows, total = {}, 0
    for line in result.stdout.splitlines():
        if line.startswith("# fault | "):
            at, fault, when, outcome, took = line[len("# fault | "):].split(" | ")
            rows.setdefault(fault, []).append((at, when, outcome, took))
            total += 1
        elif line.startswith("not ok"):
            print(line)
    print(f"faults      {total} scenarios" + ("" if os.environ.get("ILR_FULL") else ", a sample; all with ILR_FULL=1"))
    for fault, cases in rows.items():
        for i, (at, when, outcome, took) in enumerate(sorted(cases)):
            print(f"  {fault if i == 0 else '':32} {at:20} {when:8} {outcome:20} {took:>8}")
    return result.returncode == 0


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 40
    with World("Session.SessionsMax=256 Connection.Initiator=none Azure.OperationTimeoutSec=600 Azure.PollIntervalSec=7",
               {"provisionSeconds": seconds, "vaults": [{"resourceGroup": "rg", "name": "vault1", "items": [
                   {"vm": "web1", "resourceGroup": "rg", "osType": "Linux", "points": [
                       {"id": str(1000 + i), "time": "2026-11-21T22:00:00Z", "disks": []} for i in range(n)]}]}]}) as w:
        wire = Wire(w.port)
        wire.start()
        w.kill_ilrd()
        w.write_config("Session.SessionsMax=256 Connection.Initiator=none Azure.OperationTimeoutSec=600 "
                       "Azure.PollIntervalSec=7 "
                       f"Azure.ManagementUrl=https://localhost:{wire.port} Azure.LoginUrl=https://localhost:{wire.port}")
        w.start_ilrd()
        log = Log(w)
        log.start()
        idle = resident(w)
        begin = time.monotonic()
        streams = []
        for i in range(n):
            s = w.connect()
            send(s, "Provision", {"recoveryPoint": f"{ITEM}/recoveryPoints/{1000 + i}", "virtualMachineId": VM}, more=True)
            streams.append(s)
            threading.Thread(target=drain, args=(s,), daemon=True).start()
        busy, polling = idle, False
        while len(waiting(w)) < n and time.monotonic() < begin + 500:
            time.sleep(1)  # time itself is what is measured
            if not polling and w.state()["requestCount"] > 3 * n:
                polling, busy = True, resident(w)
        took = time.monotonic() - begin
        log.over.set()
        log.join()
        log.collect()
        entries = [r for r in log.entries if r["kind"] != "token"]
        reads = [r["timeUsec"] for r in entries if r["method"] == "GET"]
        writes = [r["timeUsec"] for r in entries if r["method"] == "POST"]
        posted = sorted(r["timeUsec"] for r in entries if r["kind"] == "provision")
        fetched = {}
        for r in entries:
            for kind in ("provision", "list-scripts"):
                if r["kind"] == kind:
                    fetched.setdefault(r["path"].split("/recoveryPoints/")[1].split("/")[0], {})[kind] = r["timeUsec"]
        added = [(f["list-scripts"] - f["provision"]) / 1e6 - seconds for f in fetched.values() if len(f) == 2]
        print(f"sessions    {n}, the service's own time {seconds:.0f} s, all have their script after {took:.1f} s "
              f"({took / seconds:.2f} times)")
        print(f"busiest     {busiest(reads)} reads and {busiest(writes)} writes in a second; limits {READS_MAX} and {WRITES_MAX}")
        print(f"provision   {len(entries) / n:.1f} requests, {wire.bytes[0] / n / 1024:.1f} KiB sent and "
              f"{wire.bytes[1] / n / 1024:.1f} KiB received with TLS, {wire.connections / n:.1f} connections")
        print(f"added       {median(added):.1f} s from the end of the operation to the request for its script "
              f"(median, {median(added) / seconds:.2f} of the service's time; most {max(added):.1f} s), "
              f"and up to {(posted[-1] - posted[0]) / 1e6:.1f} s until the last POST was allowed")
        print(f"memory      {idle} KiB idle, {busy} KiB with {n} sessions that poll: {(busy - idle) / n:.1f} KiB each")
        complete = len(waiting(w)) == n
        w.kill_ilrd()  # what is up ends with the simulator
        for s in streams:
            s.close()
    problems = [text for wrong, text in (
        (not complete, "not all sessions have got their script"),
        (not passes(reads, READS_MAX), f"more than {READS_MAX} reads a second"),
        (not passes(writes, WRITES_MAX), f"more than {WRITES_MAX} writes a second"),
        (not faults(), "a fault had another end than expected")) if wrong]
    for text in problems:
        print(f"PROBLEM     {text}")
    return 1 if problems else 0


sys.exit(main())
