# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of ilrd and ilrctl stand on: the real programs of a build, the simulator with its backend "none", and
a helper made of a thread, because the real one needs root and disks. Prints "ok N - name" lines.

The programs are those of $ILRD_BUILD (default: the current directory)."""

import base64
import contextlib
import errno
import functools
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BUILD = os.path.abspath(os.environ.get("ILRD_BUILD", "."))
TENANT = "11111111-2222-3333-4444-555555555555"
SUBSCRIPTION = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "s3cret-of-the-client"
POINT = "182457315790203"
OTHER_POINT = "182457315790204"
VAULT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.RecoveryServices/vaults/vault1"
ITEM = (f"{VAULT}/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg;web1"
        "/protectedItems/VM;iaasvmcontainerv2;rg;web1")
INITIATOR = "iqn.1993-08.org.debian:01:harness"


def point_id(point=POINT):
    return f"{ITEM}/recoveryPoints/{point}"


def wait_for(what, condition, seconds=30):
    """Until condition() is true; fails after a deadline that is far above what is normal."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


@functools.lru_cache(None)
def helper_parameters():
    """What the real helper takes with each verb, as its table has it: the stand-in refuses the rest, too."""
    table = (pathlib.Path(__file__).resolve().parents[2] / "helper" / "request.c").read_text()
    return {verb: set(re.findall(r'"([^"]+)"', keys))
            for verb, keys in re.findall(r'\{"([a-z-]+)",[^{}]*?KEYS\(([^)]*)\)', table)}


class HelperSocket(threading.Thread):
    """A stand-in for ilr-helper listens here: reads a request as the real one does, keeps it and refuses what that one
    refuses. What becomes of the others is said by handle()."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.asked = []          # requests, in their order
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(64)

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            data = b""
            while not data.endswith(b"\0"):
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            request = json.loads(data[:-1])
            self.asked.append(request)
            verb = request["verb"]
            strange = set(request) - {"verb"} - helper_parameters().get(verb, set())
            if strange:
                self.reply(connection, {"failure": {
                    "name": "InvalidRequest", "message": f"{sorted(strange)[0]}: no such parameter of {verb}"}})
                return
            self.handle(connection, verb, request)

    @staticmethod
    def reply(connection, answer):
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\0")


class Helper(HelperSocket):
    """Answers as ilr-helper does. A test puts failures and delays into it."""

    def __init__(self, path):
        super().__init__(path)
        self.path = path
        self.failures = {}       # verb -> list of failures to answer first
        self.hold = {}           # verb -> Event that is waited for before answering
        self.hung_up = []        # verbs whose caller left before the answer
        self.sessions = {}       # id -> "connected" or "up"
        self.cut = False         # that list has not all
        self.left = []           # what "leftovers" tells besides the sessions
        self.raw = {}            # verb -> bytes to answer instead
        self.lingering = 0       # devices that a release by force leaves to their users
        self.holders = []        # who has files open
        self.stands = {"iscsiSessions": 1, "mounts": 1}  # of each session, as status tells
        self.large = 0           # bytes that the volumes of each session take in status
        self.keys = {}           # locked volume -> its key
        self.opened = set()      # of those

    def handle(self, connection, verb, request):
        held = self.hold.get(verb)
        if held:
            while not held.is_set():
                readable, _, _ = select.select([connection], [], [], 0.02)
                if readable:
                    self.hung_up.append(verb)
                    return
        if verb in self.raw:
            with contextlib.suppress(OSError):
                connection.sendall(self.raw[verb])
            return
        failures = self.failures.get(verb)
        self.reply(connection, {"failure": failures.pop(0)} if failures else self.answer(verb, request))

    def answer(self, verb, request):
        session = request.get("session")
        if verb == "hook":
            return {}
        if verb == "initiator-name":
            return {"name": INITIATOR}
        if verb == "check":
            return {"checks": [{"name": "iscsid", "result": "ok", "message": "it listens"}]}
        if verb == "connect":
            self.sessions[session] = "connected"
            return {"connection": {"version": 1, "session": session, "state": "connected",
                                   "targets": [{"name": "iqn.2016-01.microsoft.azure.backup:1-2-3-4.5",
                                                "iscsiSession": 1}]}}
        if verb == "unlock":
            if request["volume"] not in self.keys:
                return {"failure": {"name": "NoSuchVolume", "message": f"no volume {request['volume']}"}}
            if base64.b64decode(request["key"], validate=True) != self.keys[request["volume"]]:
                return {"failure": {"name": "WrongKey", "message": "no key slot opens with this key"}}
            self.opened.add(request["volume"])
        if verb in ("up", "unlock"):
            self.sessions[session] = "up"
            return {"disks": [{"name": "disk1", "target": "iqn.2016-01.microsoft.azure.backup:1-2-3-4.5", "lun": 1,
                               "sizeBytes": 1 << 30, "sectorBytes": 512, "table": "gpt", "device": "8:0"}],
                    "volumes": [{"name": "root", "disk": "disk1", "partition": 1, "type": "ext4",
                                 "sizeBytes": 1 << 29, "mounted": True, "path": f"/run/ilr/{session}/volumes/root",
                                 "reason": None},
                                {"name": "disk1-part2", "disk": "disk1", "partition": 2, "type": "swap",
                                 "sizeBytes": 1 << 20, "mounted": False, "path": None, "reason": "swap space"}] + self.encrypted(session)}
        if verb == "down":
            self.sessions[session] = "connected"
            left = self.lingering if request.get("force") else 0
            return {"lingering": left, **({"holders": [{"pid": 4711, "command": "tail", "uid": 0, "path": "/x"}]}
                                          if left else {})}
        if verb == "disconnect":
            self.sessions.pop(session, None)
            return {}
        if verb == "leftovers":
            return {"leftovers": [item for item in self.everything() if item.get("session") not in request["known"]],
                    **({"cut": True} if self.cut else {})}
        if verb == "sweep":
            self.sessions.pop(session, None)
            self.left = [item for item in self.left if item.get("stuck") or item.get("session") != session or
                         not (session or item["ours"] or request.get("foreign"))]
            return {"failures": [{"kind": i["kind"], "name": i["name"], "message": i["stuck"]} for i in self.left
                                 if i.get("stuck") and i.get("session") == session]}
        if verb == "status":
            entry = lambda k, v, **more: {"session": k, "connection": v and "active" or "inactive",
                                          "up": "active" if v == "up" else "inactive", **self.stands,
                                          **({} if request.get("brief") else
                                             {"disks": [], "volumes": [{"name": "x" * self.large}] if self.large else []}),
                                          **more}
            if not session:
                return {"sessions": [entry(k, v) for k, v in self.sessions.items()]}
            if session in self.sessions or self.lingering:
                more = {"holders": self.holders} if request.get("holders") else {}
                return {"sessions": [entry(session, self.sessions.get(session), lingering=self.lingering, **more)]}
            return {"sessions": []}
        return {"failure": {"name": "InvalidRequest", "message": f"unknown verb {verb}"}}

    def encrypted(self, session):
        """The volumes that have a key, and what is inside of those that are open."""
        volumes = []
        for name in self.keys:
            opened = name in self.opened
            volumes.append({"name": name, "disk": "disk1", "partition": 3, "type": "crypto_LUKS", "sizeBytes": 1 << 28,
                            "mounted": False, "path": None, "locked": not opened,
                            "reason": "encrypted with LUKS, unlocked" if opened else "locked: encrypted with LUKS"})
            if opened:
                volumes.append({"name": f"{name}-open", "disk": "disk1", "partition": None, "type": "ext4",
                                "sizeBytes": 1 << 28, "mounted": True, "reason": None,
                                "path": f"/run/ilr/{session}/volumes/{name}-open"})
        return volumes

    def everything(self):
        """What stands, whoever knows of it."""
        return [{"kind": "unit", "name": f"ilr-connection@{k}.service", "detail": "active (running)", "session": k,
                 "ours": True} for k in self.sessions] + self.left

    def verbs(self):
        """What was asked, without what ilrd asks by itself when it starts."""
        return [r["verb"] for r in self.asked if r["verb"] not in ("status", "leftovers")]


class World:
    """A directory with certificates, a simulator, a helper and ilrd. Closed at the end of a test."""

    def __init__(self, config="", sim=None, start_sim=True, name="localhost"):
        self.dir = tempfile.mkdtemp(prefix="ilr-cli-")
        os.chmod(self.dir, 0o755)
        self.helper = Helper(f"{self.dir}/helper")
        self.helper.start()
        self.portal = socket.socket()
        self.portal.bind(("127.0.0.1", 0))
        self.portal.listen(512)  # nobody accepts, each session connects once
        self.sim = self.ilrd = None
        self.socket = f"{self.dir}/socket"
        os.mkdir(f"{self.dir}/state", 0o700)
        os.mkdir(f"{self.dir}/connect")
        self.port = free_port()
        self.make_certificates(name)
        if start_sim:
            self.start_sim(sim or {})
        self.write_config(config)
        self.start_ilrd()

    # ---- the simulator ----

    def make_certificates(self, name):
        run = lambda *a: subprocess.run(a, check=True, cwd=self.dir, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            "/CN=localhost", "-keyout", "sim.key", "-out", "sim.csr")
        with open(f"{self.dir}/ext", "w") as f:
            f.write(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", "sim.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "ext", "-out", "sim.pem")

    def start_sim(self, more):
        config = {
            "listen": [f"127.0.0.1:{self.port}"], "control": f"{self.dir}/control",
            "certificate": f"{self.dir}/sim.pem", "key": f"{self.dir}/sim.key",
            "tenant": TENANT, "clientId": "app1", "clientSecret": SECRET, "subscription": SUBSCRIPTION,
            "provisionSeconds": 0.1, "revokeSeconds": 0.05, "retryAfterSeconds": 60, "backend": "none",
            "portal": {"host": "localhost", "port": self.portal.getsockname()[1]},
            "vaults": [{"resourceGroup": "rg", "name": "vault1", "items": [
                {"vm": "web1", "resourceGroup": "rg", "osType": "Linux", "points": [
                    {"id": POINT, "time": "2026-11-21T22:00:00Z", "disks": []},
                    {"id": OTHER_POINT, "time": "2026-11-20T22:00:00Z", "disks": []}]}]}],
        }
        config.update(more)
        with open(f"{self.dir}/sim.json", "w") as f:
            json.dump(config, f)
        self.sim_log = open(f"{self.dir}/sim.log", "w")
        self.sim = subprocess.Popen([f"{BUILD}/ilr-sim", "--config", f"{self.dir}/sim.json"], stderr=self.sim_log,
                                    stdout=self.sim_log)
        wait_for("the simulator listens", lambda: self.sim.poll() is not None or
                 can_connect(("127.0.0.1", self.port)) and can_connect(f"{self.dir}/control"))
        assert self.sim.poll() is None, open(f"{self.dir}/sim.log").read()

    def control(self, method, path, body=None):
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{self.dir}/control")
        data = b"" if body is None else json.dumps(body).encode()
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n"
                  f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status >= 300:
            raise AssertionError(f"{method} {path}: {answer.decode(errors='replace')}")
        return json.loads(rest) if rest.strip() else None

    def fault(self, *faults, **more):
        """Lets the requests about the point fail. "token" and other requests of no point: on="token"."""
        of_server = [f for f in faults if f.get("on") in ("token", "openid", "item", "items", "points")]
        of_point = [f for f in faults if f not in of_server]
        if of_server:
            self.control("PUT", "/sim/scenario", {"faults": of_server})
        if of_point or more:
            self.control("PUT", f"/sim/points/{POINT}/scenario", {"faults": of_point, **more})

    def state(self):
        return self.control("GET", "/sim/state")

    # ---- the daemon ----

    def write_config(self, more):
        with open(f"{self.dir}/secret", "w") as f:
            f.write(SECRET + "\n")
        os.chmod(f"{self.dir}/secret", 0o600)
        sections = {"Azure": {
            "ManagementUrl": f"https://localhost:{self.port}", "LoginUrl": f"https://localhost:{self.port}",
            "CAFile": f"{self.dir}/ca.pem", "TenantId": TENANT, "ClientId": "app1",
            "ClientSecretFile": f"{self.dir}/secret", "PollIntervalSec": "100ms", "OperationTimeoutSec": "20",
            "RequestTimeoutSec": "30"}, "Session": {"BusyRetrySec": "200ms"}}
        for line in more.split():
            section, assignment = line.split(".", 1)
            key, value = assignment.split("=", 1)
            sections.setdefault(section, {})[key] = value
        with open(f"{self.dir}/ilrd.conf", "w") as f:
            for section, values in sections.items():
                f.write(f"[{section}]\n" + "".join(f"{k}={v}\n" for k, v in values.items()))

    def ilrd_command(self):
        return [f"{BUILD}/ilrd", f"--config={self.dir}/ilrd.conf", f"--listen={self.socket}",
                f"--helper={self.helper.path}", f"--state-dir={self.dir}/state", f"--connect-dir={self.dir}/connect",
                f"--block-dir={self.dir}/block", f"--hooks={self.dir}/hooks.d:{self.dir}/more-hooks.d"]

    def start_ilrd(self):
        self.log = open(f"{self.dir}/ilrd.log", "a")
        self.ilrd = subprocess.Popen(self.ilrd_command(), stderr=self.log)
        wait_for("ilrd listens", lambda: can_connect(self.socket) or self.ilrd.poll() is not None)

    def set_bytes_read(self, count, device="8:0"):
        """What the kernel would say was read from the disk."""
        os.makedirs(f"{self.dir}/block/{device}", exist_ok=True)
        with open(f"{self.dir}/block/{device}/stat.new", "w") as f:
            f.write(f"{'%8d' % (count // 4096)} 0 {count // 512} 12 0 0 0 0 0 7 9 0 0 0 0 0 0\n")
        os.rename(f"{self.dir}/block/{device}/stat.new", f"{self.dir}/block/{device}/stat")

    def kill_ilrd(self, sig=signal.SIGKILL):
        self.ilrd.send_signal(sig)
        return self.ilrd.wait(30)

    def journal(self):
        with open(f"{self.dir}/ilrd.log") as f:
            return f.read()

    def records(self):
        return os.listdir(f"{self.dir}/state")

    def assert_clean(self):
        """Nothing is left of any session: here, at the helper, at Azure."""
        assert self.ilrd.poll() is None, "ilrd has died:\n" + self.journal()
        assert self.call("List")["parameters"]["sessions"] == []
        assert self.records() == [], self.records()
        assert self.helper.sessions == {}, self.helper.sessions
        if self.sim:
            assert self.state()["registrations"] == [], self.state()["registrations"]

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(self.socket)
        return s

    def call(self, method, parameters=None, **flags):
        """One call, its first answer."""
        with self.connect() as s:
            send(s, method, parameters, **flags)
            return Reader(s).next()

    def stream(self, method, parameters=None):
        """All answers to a call with more, up to the last one."""
        with self.connect() as s:
            send(s, method, parameters, more=True)
            reader = Reader(s)
            answers = [reader.next()]
            while answers[-1].get("continues"):
                answers.append(reader.next())
            return answers

    def provision(self, point=POINT, **more):
        return self.stream("Provision", {"recoveryPoint": point_id(point), **more})

    def ilrctl(self, *arguments, **options):
        return subprocess.run([f"{BUILD}/ilrctl", f"--socket={self.socket}", *arguments], capture_output=True,
                              text=True, timeout=60, **options)

    def close(self):
        try:
            for p in (self.ilrd, self.sim):
                if p and p.poll() is None:
                    p.terminate()
            if self.ilrd:
                code = self.ilrd.wait(30)
                log = self.journal()
                assert "Sanitizer" not in log and "runtime error" not in log, log
                assert code in (0, -signal.SIGKILL), f"ilrd ended with {code}\n{log}"
                assert SECRET not in log
            if self.sim:
                self.sim.wait(30)
        finally:
            stop_listening(self.helper.socket, self.helper)
            self.portal.close()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0]:
            sys.stderr.write(self.journal())
            if self.sim:
                with open(f"{self.dir}/sim.log") as f:
                    sys.stderr.write(f.read()[-4000:])
        self.close()


class Reader:
    def __init__(self, s):
        self.socket, self.data = s, b""

    def next(self):
        while b"\0" not in self.data:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError("the connection was closed")
            self.data += piece
        message, _, self.data = self.data.partition(b"\0")
        return json.loads(message)


def send(s, method, parameters=None, **flags):
    if "." not in method:
        method = "io.ilrd.Recovery." + method
    message = {"method": method, **flags}
    if parameters is not None:
        message["parameters"] = parameters
    s.sendall(json.dumps(message).encode() + b"\0")


def stop_listening(listener, thread):
    """Ends a thread that accepts. Closing alone is not enough: its accept() would go on with the number of the
    descriptor, which the next listener gets."""
    listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    listener.close()


def can_connect(address):
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        s.connect(address)
        return True
    except OSError:
        return False
    finally:
        s.close()


def free_port():
    """One that the kernel gives to nobody's outgoing connection meanwhile, as it does with those that it chooses itself."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise


def failure_of(answer):
    assert "error" in answer, answer
    return answer["parameters"]["failure"]


def states(answers):
    """The states in their order, repetitions left out."""
    found = []
    for a in answers:
        session = a["parameters"].get("session") or {}
        if session.get("state") and (not found or found[-1] != session["state"]):
            found.append(session["state"])
    return found


class Skip(Exception):
    """What cannot be tested here, and why."""


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def main(tests):
    """Runs the tests that are named as arguments, or all. Exit status 1 if one failed."""
    chosen = [t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]]
    failed = 0
    for number, test in enumerate(chosen, 1):
        name = test.__name__.replace("_", " ")
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception:
            traceback.print_exc()
            print(f"not ok {number} - {name}", flush=True)
            failed += 1
    print(f"1..{len(chosen)}")
    sys.exit(1 if failed else 0)
