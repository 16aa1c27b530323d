# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of ilr-connect stand on: the real program under real bubblewrap, with scripts of our own and a helper
that only pretends. As root it runs ilr-connect as user nobody: it must work without any privilege.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from harness import HelperSocket, stop_listening

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("ILRD_BUILD", f"{SOURCE}/build"))
IQN = "iqn.2016-01.microsoft.azure.backup:1234-5-6-7.637"
PASSWORD = "abcDEF123456789"
USER = "99887766-0a1b2c3d-aaaa-bbbb-cccc-1234567890ab"
SESSION = "abcd2345"
SANITIZED = b"__asan_init" in open(f"{BUILD}/ilr-connect", "rb").read()
UID = 65534 if os.geteuid() == 0 else os.geteuid()

# What every script of the tests begins with: the values that a real one carries, and its way of starting a tunnel.
PRELUDE = '''#!/usr/bin/python3
import os, socket, subprocess, sys, time
TargetPassword="%s"
	TargetUserName = "%s"
InitiatorChapPassword="0123456789abcd"
''' .replace("\t", "") % (PASSWORD, USER) + '''
def run(command):
    p = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return p.returncode, p.stdout, p.stderr

def write_conf():
    with open("/etc/iscsi/iscsid.conf", "a") as f:
        for prefix in ("discovery.sendtargets", "node.session"):
            f.write(f"{prefix}.auth.authmethod = CHAP\\n{prefix}.auth.username = Debian;12;{TargetUserName}\\n"
                    f"{prefix}.auth.password = {TargetPassword}\\n")

TUNNEL = """
import socket, sys, time
s = socket.socket()
port = 5365
while True:
    try:
        s.bind(("localhost", port))
        break
    except OSError:
        port += 1
s.listen(1)
open("/etc/MicrosoftAzureBackupILR/mabilr.conf", "a+").write(str(port))
print("up", flush=True)
time.sleep(3600)
"""

def tunnel():
    p = subprocess.Popen([sys.executable, "-c", TUNNEL], stdout=subprocess.PIPE, text=True)
    p.stdout.readline()
    return p, int(open("/etc/MicrosoftAzureBackupILR/mabilr.conf").read())

def discover():
    write_conf()
    p, port = tunnel()
    return p, port, run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")

def connect():
    p, port, (code, out, err) = discover()
    if code:
        print(err)
        return None, port, out
    for line in out.splitlines():
        name = line.split(" ")[1]
        code, o, e = run(f"iscsiadm -m node -T {name} -p 127.0.0.1:{port} --login")
        if "successful." not in o:
            print(o + e)
    return p, port, out

def ask_q():
    while True:
        if "q" in input("\\nPlease enter 'q/Q' to exit..."):
            sys.exit()
'''


class Helper(HelperSocket):
    """Answers discover, login and logout as told."""

    def __init__(self, path):
        super().__init__(path)
        self.targets = [IQN]
        self.failure = {}
        self.delay = None
        self.never = set()  # verbs that are not answered
        self.sids = 0
        self.tunnel_pid = True
        os.chmod(path, 0o666)
        self.start()

    @staticmethod
    def listener_pid(port):
        """The process that listens at the port, as the real helper finds it."""
        out = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], stdout=subprocess.PIPE, text=True).stdout
        return int(out.split("pid=")[1].split(",")[0]) if "pid=" in out else 0

    def handle(self, connection, verb, request):
        if self.delay:
            self.delay.wait()
        if verb in self.never:
            connection.recv(1)  # until the caller hangs up
            return
        if verb in self.failure:
            answer = {"failure": self.failure[verb]}
        elif verb == "discover":
            answer = {"targets": [{"name": n, "portal": request["portal"], "tpgt": -1} for n in self.targets]}
            if self.tunnel_pid:
                answer["tunnelPid"] = self.listener_pid(request["portal"].split(":")[1])
        elif verb == "login":
            self.sids += 1
            answer = {"iscsiSession": self.sids}
        else:
            answer = {}
        self.reply(connection, answer)


class Run:
    """One start of ilr-connect in a directory of its own."""

    def __init__(self, script, config="", raw=False, work_bytes=None, session=SESSION, base=None, mode=0o600):
        self.own = base is None
        self.dir = base or tempfile.mkdtemp(prefix="ilr-connect-test.")
        os.chmod(self.dir, 0o755)
        self.session = session
        self.sdir = f"{self.dir}/{session}"
        self.work = f"{self.sdir}/work"
        os.makedirs(self.work)
        if work_bytes:
            subprocess.check_call(["mount", "-t", "tmpfs", "-o", f"size={work_bytes},mode=0700,uid={UID},gid={UID}",
                                   "test", self.work])
        self.mounted = bool(work_bytes)
        with open(f"{self.sdir}/script", "w") as f:
            f.write(script if raw else PRELUDE + script)
        os.chmod(f"{self.sdir}/script", mode)
        with open(f"{self.sdir}/request.json", "w") as f:
            json.dump({"portal": {"host": "pod01.test.example", "port": 3260, "addresses": ["192.0.2.7"]}}, f)
        with open(f"{self.sdir}.conf", "w") as f:
            f.write("[Connection]\n" + config)
        if not os.path.exists(f"{self.dir}/.lock"):
            open(f"{self.dir}/.lock", "w").close()
            os.chmod(f"{self.dir}/.lock", 0o666)
        stand_ins = f"{self.dir}/stand-in"
        if not os.path.exists(stand_ins):
            os.mkdir(stand_ins)
            for name in ("lshw", "setfacl"):
                shutil.copy(f"{SOURCE}/connection/stand-in/{name}", stand_ins)
            shutil.copy(f"{BUILD}/connection/stand-in/iscsiadm", stand_ins)
            shutil.copy(f"{BUILD}/ilr-connect", self.dir)
        if os.geteuid() == 0:
            for path in (self.sdir, f"{self.sdir}/script", f"{self.sdir}/request.json", self.work):
                os.chown(path, UID, UID)
        self.helper = Helper(f"{self.sdir}.helper")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(f"{self.sdir}.notify")
        os.chmod(f"{self.sdir}.notify", 0o666)
        self.process = None
        self.messages = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        environment = {"PATH": "/usr/bin:/bin", "ILRD_CONFIG": f"{self.sdir}.conf",
                       "NOTIFY_SOCKET": f"{self.sdir}.notify"}
        for name in ("UBSAN_OPTIONS", "ILR_DEBUG"):
            if name in os.environ:
                environment[name] = os.environ[name]
        # The leak checker wants to trace the process, which does not let itself be traced.
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
        command = [f"{self.dir}/ilr-connect", f"--runtime-directory={self.dir}",
                   f"--helper-socket={self.sdir}.helper", f"--stand-ins={self.dir}/stand-in", self.session]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs",
                       "--inh-caps=-all", "--bounding-set=-all"] + command
        self.log = open(f"{self.sdir}.stderr", "w+")
        self.process = subprocess.Popen(command, env=environment, stderr=self.log, stdin=subprocess.DEVNULL)
        return self

    def record(self):
        with open(f"{self.sdir}/connection.json") as f:
            return json.load(f)

    def wait_ready(self, timeout=30):
        """READY=1 was sent. Fails if the program ends before."""
        end = time.monotonic() + timeout
        self.notify.settimeout(0.2)
        while "READY=1" not in self.messages:
            assert time.monotonic() < end, f"not ready in time: {self.errors()}"
            try:
                self.messages += self.notify.recv(4096).decode() + "\n"
            except socket.timeout:
                assert self.process.poll() is None, f"ended: {self.errors()}"
        return self.record()

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def wait_end(self, timeout=30):
        return self.process.wait(timeout)

    def failure(self, timeout=30):
        code = self.wait_end(timeout)
        assert code == 1, f"exit status {code}: {self.errors()}"
        r = self.record()
        assert r["state"] == "failed", r
        return r["failure"]

    def descendants(self):
        """Processes that still have our runtime directory among their arguments or as current directory."""
        found = []
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                if self.dir in open(f"/proc/{pid}/cmdline").read() and int(pid) != os.getpid():
                    found.append(pid)
                elif os.readlink(f"/proc/{pid}/cwd").startswith(self.dir):
                    found.append(pid)
            except OSError:
                pass
        return found

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        stop_listening(self.helper.socket, self.helper)
        self.notify.close()
        if self.mounted:
            subprocess.call(["umount", "-l", self.work])
        if self.own:
            shutil.rmtree(self.dir, ignore_errors=True)


def gone(check, timeout=10):
    """Waits until check() is empty; what kill(2) began is not over at once."""
    end = time.monotonic() + timeout
    while check() and time.monotonic() < end:
        time.sleep(0.05)
    return not check()


TESTS = []


def test(f):
    TESTS.append(f)
    return f


def text_of(run):
    """Everything that leaves the program: record and log."""
    return json.dumps(run.record()) + run.errors()


def main():
    chosen = [t for t in TESTS if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]]
    failed = 0
    print(f"1..{len(chosen)}")
    for i, t in enumerate(chosen, 1):
        try:
            note = t()
            print(f"ok {i} - {t.__doc__}" + (f" # {note}" if note else ""), flush=True)
        except Exception as e:  # a test that cannot run has failed
            failed += 1
            print(f"not ok {i} - {t.__doc__} ({t.__name__})\n# {type(e).__name__}: {e!s:.3000}", flush=True)
    sys.exit(failed != 0)

