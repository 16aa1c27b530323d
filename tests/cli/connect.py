#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real ilr-connect under real bubblewrap, with scripts of our own and a helper that only pretends.

Usage: ILRD_BUILD=DIR tests/cli/connect.sh [NAME...]. Prints TAP. As root it runs ilr-connect as user nobody: it must
work without any privilege.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

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

def connect():
    write_conf()
    p, port = tunnel()
    code, out, err = run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")
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


class Helper:
    """Answers discover, login and logout as told; keeps what was asked. Runs in threads."""

    def __init__(self, path):
        self.targets = [IQN]
        self.asked = []
        self.failure = {}
        self.delay = None
        self.never = set()  # verbs that are not answered
        self.sids = 0
        self.tunnel_pid = True
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.socket.listen(16)
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    @staticmethod
    def listener_pid(port):
        """The process that listens at the port, as the real helper finds it."""
        out = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], stdout=subprocess.PIPE, text=True).stdout
        return int(out.split("pid=")[1].split(",")[0]) if "pid=" in out else 0

    def serve(self, peer):
        data = b""
        while not data.endswith(b"\0"):
            piece = peer.recv(65536)
            if not piece:
                return
            data += piece
        request = json.loads(data[:-1])
        self.asked.append(request)
        verb = request["verb"]
        if self.delay:
            self.delay.wait()
        if verb in self.never:
            peer.recv(1)  # until the caller hangs up
            peer.close()
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
        peer.sendall(json.dumps(answer).encode() + b"\0")
        peer.close()


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
        self.helper.socket.shutdown(socket.SHUT_RDWR)  # ends the thread's accept(), close() alone does not
        self.helper.thread.join(30)
        self.helper.socket.close()
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


@test
def connects(r=None):
    """a script that connects: READY, record, CHAP passed on, SIGTERM ends all"""
    with Run('''
print("Hello")
p, port, out = connect()
print(run("iscsiadm -m session")[1])
print("\\x1b[31mConnection succeeded\\x1b[0m")
ask_q()
''').start() as r:
        record = r.wait_ready()
        assert record["state"] == "connected", record
        assert record["targets"] == [{"name": IQN, "iscsiSession": 1}], record
        assert record["portal"].startswith("127.0.0.1:53"), record
        assert record["tunnelPid"] > 0
        discover, login = r.helper.asked[:2]
        assert discover["verb"] == "discover" and discover["session"] == SESSION
        assert discover["chap"] == {"username": f"Debian;12;{USER}", "password": PASSWORD}
        assert login["target"] == IQN and login["chap"]["password"] == PASSWORD
        os.kill(record["tunnelPid"], 0)
        assert r.process.poll() is None
        assert r.stop() == 0, r.errors()
        assert gone(r.descendants), r.descendants()
        assert gone(lambda: os.path.exists(f"/proc/{record['tunnelPid']}"))
        assert not os.path.exists(f"{r.sdir}/control")


@test
def several_targets():
    """one target per disk: READY only when each has a session; notready names do not count"""
    with Run('''
write_conf()
p, port = tunnel()
names = [l.split(" ")[1] for l in run(f"iscsiadm -m discovery -t st -p 127.0.0.1:{port}")[1].splitlines()]
for n in names:
    if "notready" not in n:
        print(run(f"iscsiadm --mode node --targetname={n} -p 127.0.0.1:{port} --op=login"))
ask_q()
''') as r:
        r.helper.targets = [IQN + "-1", IQN + "-2", IQN + "-3-notready"]
        r.start()
        record = r.wait_ready()
        assert [t["iscsiSession"] for t in record["targets"]] == [1, 2], record


@test
def sandbox():
    """what the script is and sees: root to itself, no host directories, no new rights, unchanged itself"""
    secret = "/tmp/ilr-connect-secret"
    script = '''
import json
result = {}
result["uid"] = os.getuid()
result["root"] = sorted(os.listdir("/"))
result["run"] = sorted(os.listdir("/run"))
result["shadow"] = os.path.exists("/etc/shadow")
result["dev"] = sorted(os.listdir("/dev"))
result["pids"] = len([p for p in os.listdir("/proc") if p.isdigit()])
result["mount"] = run("mount -t tmpfs x /mnt")[0]
result["mknod"] = run("mknod /work/sda b 8 0")[0]
result["userns"] = run("unshare -Ur true")[0]
result["bind"] = run("mount --bind /tmp /mnt")[0]
result["which"] = run("which awk setfacl lshw iscsiadm python3 curl openssl")[1].split()
result["host"] = socket.gethostname()
result["portal"] = socket.gethostbyname("pod01.test.example")
result["release"] = run("egrep '^(NAME)=' /etc/*-release")[1]
result["lshw"] = run("lshw -xml -class disk -class volume")[1]
result["facl"] = run('setfacl --set="user::rwx,group::rwx,other::---" /work')[0]
result["cwd"] = os.getcwd()
result["self"] = open(sys.argv[0]).read() .count("SELFMARK")
result["write"] = []
for p in ("/usr/x", "/x", "/run/script", "/bin/x", "/run/stand-in/iscsiadm", "/etc/os-release"):
    try:
        open(p, "a").close()
        result["write"].append(p)
    except OSError:
        pass
open("0010", "w").write("readable")
os.chmod("0010", 0o010)
result["0010"] = open("0010").read()
result["tmp"] = os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize
result["tty"] = os.isatty(0) and os.isatty(1)
result["env"] = {k: v for k, v in os.environ.items() if k in ("LC_ALL", "TERM", "TMPDIR", "PATH")}
result["caps"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")]
json.dump(result, open("/work/result", "w"))
'''
    with Run(script).start() as r:
        f = r.failure()
        assert f["name"] == "ScriptExited" and f["code"] == "0", f
        result = json.load(open(f"{r.work}/result"))
        assert result["uid"] == 0, result
        assert set(result["root"]) <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "mnt", "proc", "root", "run",
                                       "sbin", "tmp", "usr", "var", "work"}, result
        assert result["run"] == ["ilr-connect.socket", "script", "stand-in"], result
        assert not result["shadow"], result
        assert not [d for d in result["dev"] if d.startswith(("sd", "vd", "nvme", "loop", "mapper", "kmsg", "mem"))], result
        assert result["pids"] <= 4, result
        for what in ("mount", "mknod", "userns", "bind"):
            assert result[what] != 0, (what, result)
        assert len(result["which"]) >= 6 and result["which"][1].startswith("/run/stand-in/"), result
        assert result["host"] == f"ilr-{SESSION}" and result["portal"] == "192.0.2.7", result
        assert "NAME=" in result["release"], result
        assert "<list>" in result["lshw"] and "disk" not in result["lshw"], result
        assert result["facl"] == 0 and result["cwd"] == "/work" and result["self"] == 1, result
        assert result["write"] == [], result
        assert result["0010"] == "readable" and result["tty"], result
        assert result["tmp"] <= 16 << 20, result
        assert result["caps"] == ["0000000000000002"], result


@test
def wrong_requests():
    """other targets, other portals and other uses of iscsiadm are refused and never reach the helper"""
    with Run('''
write_conf()
p, port = tunnel()
codes = []
for c in ("iscsiadm -m node -T iqn.2003-01.org.example:production -p 10.0.0.5:3260 --login",
          f"iscsiadm -m node -T iqn.2003-01.org.example:production -p 127.0.0.1:{port} --login",
          f"iscsiadm -m node -T %s -p 127.0.0.1:{port} --login",
          "iscsiadm -m discovery -t sendtargets -p 10.0.0.5:3260", "iscsiadm -m discovery -t sendtargets -p 127.0.0.1:22",
          "iscsiadm -m node -o update -T x -n node.startup -v automatic", "iscsiadm -m node -o delete", "iscsiadm -m iface",
          "iscsiadm", "iscsiadm -m session -u", "iscsiadm -m session"):
    codes.append(run(c)[0])
s = socket.socket(socket.AF_UNIX)
s.connect("/run/ilr-connect.socket")
s.sendall(b'{"verb":"up","session":"zzzzzzzz"}\\0')
codes.append(s.recv(1000).decode())
open("/work/codes", "w").write(repr(codes))
connect_result = None
''' % IQN).start() as r:
        r.failure()
        codes = eval(open(f"{r.work}/codes").read())
        assert codes[:11] == [7, 7, 21, 7, 7, 7, 7, 7, 7, 7, 21], codes
        assert '"error":7' in codes[11].replace(" ", ""), codes
        assert r.helper.asked == [], r.helper.asked


@test
def hangs_at_once():
    """a script that hangs at once: ScriptSilent"""
    with Run("time.sleep(1000)\n", "SilenceTimeoutSec=1\n").start() as r:
        f = r.failure()
        assert f["name"] == "ScriptSilent", f
        assert gone(r.descendants)


@test
def hangs_after_discovery():
    """a script that hangs before its login: ConnectTimeout, with its lines"""
    with Run('''
write_conf()
p, port = tunnel()
run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")
while True:
    print("thinking")
    time.sleep(0.3)
''', "SilenceTimeoutSec=30\nConnectTimeoutSec=8\n").start() as r:
        f = r.failure()
        assert f["name"] == "ConnectTimeout" and "thinking" in f["lines"], f


@test
def hangs_after_login():
    """a script that hangs after its login stays connected"""
    with Run("connect()\ntime.sleep(1000)\n", "SilenceTimeoutSec=8\nConnectTimeoutSec=9\n").start() as r:
        r.wait_ready()
        time.sleep(9.5)  # beyond both deadlines, which must not count any more
        assert r.process.poll() is None, r.errors()
        assert r.record()["state"] == "connected"


@test
def last_prompt_is_left_alone():
    """never q while the session lives, nor to end it: a script that is answered writes it down"""
    with Run('''
import select
connect()
print("\\nPlease enter 'q/Q' to exit...", end="", flush=True)
# Well beyond the time in which every other question has its answer.
answered = select.select([sys.stdin], [], [], 4)[0]
open("/work/answered" if answered else "/work/left-alone", "w").close()
if "q" in input().lower():
    open("/work/answered", "w").close()
''', "PromptTimeoutSec=1\n").start() as r:
        r.wait_ready()
        assert gone(lambda: not os.listdir(r.work), 30), r.errors()
        assert os.listdir(r.work) == ["left-alone"], os.listdir(r.work)
        assert r.process.poll() is None and r.record()["state"] == "connected", r.record()
        assert r.stop() == 0, r.errors()
        assert os.listdir(r.work) == ["left-alone"], os.listdir(r.work)


@test
def forks_away():
    """a script that leaves a child and ends: ScriptExited, the child is gone too"""
    with Run('''
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
print("parent goes")
os._exit(3)
''').start() as r:
        f = r.failure()
        assert f["name"] == "ScriptExited" and f["code"] == "3" and "parent goes" in f["lines"], f
        assert gone(r.descendants), r.descendants()


@test
def prints_much():
    """a script that prints 100 MB: ended early, in little memory and time"""
    with Run('''
line = "x" * 1000 + "\\n"
for i in range(100 * 1000):
    sys.stdout.write(line)
ask_q()
''').start() as r:
        peak = 0
        while r.process.poll() is None:
            try:
                for l in open(f"/proc/{r.process.pid}/status"):
                    if l.startswith("VmHWM"):
                        peak = max(peak, int(l.split()[1]))
            except OSError:
                pass
            time.sleep(0.05)
        f = r.failure()
        assert f["name"] == "ScriptInvalid" and "16 MiB" in f["message"], f
        assert len(json.dumps(r.record())) < 64000
        if not SANITIZED:
            assert peak < 32 * 1024, f"{peak} kB"


@test
def exits_at_once():
    """a script that ends with status 0 without a connection: ScriptExited"""
    with Run('print("all is well")\n').start() as r:
        f = r.failure()
        assert f["name"] == "ScriptExited" and f["code"] == "0" and f["lines"] == ["all is well"], f


@test
def asks_unknown():
    """an unknown question: UnknownPrompt with the question, and never an answer"""
    with Run('input("Shall I reformat your cellar? ")\nopen("/work/answered", "w")\n', "PromptTimeoutSec=1\n").start() as r:
        f = r.failure()
        assert f["name"] == "UnknownPrompt" and "Shall I reformat your cellar?" in f["message"], f
        assert not os.path.exists(f"{r.work}/answered")


@test
def password_rejected():
    """the target refuses the login: LoginRejected, iscsiadm's words and code for the script, secrets masked"""
    with Run('''
p, port, out = connect()
print(TargetPassword, TargetUserName, InitiatorChapPassword, "x" * 500 + TargetPassword)
ask_q()
''') as r:
        r.helper.failure["login"] = {"name": "LoginRejected", "message": "Login refused", "hint": "x", "code": "24"}
        r.start()
        f = r.failure()
        assert f["name"] == "LoginRejected" and f["code"] == "24", f
        assert any("authorization failure" in l for l in f["lines"]), f
        for secret in (PASSWORD, USER, "0123456789abcd", PASSWORD[:8]):
            assert secret not in text_of(r), secret


@test
def discovery_rejected():
    """the discovery login is refused: LoginRejected, the script sees its words"""
    with Run('''
p, port, out = connect()
ask_q()
''') as r:
        r.helper.failure["discover"] = {"name": "LoginRejected", "message": "Discovery refused", "hint": "x", "code": "24"}
        r.start()
        f = r.failure()
        assert f["name"] == "LoginRejected", f
        assert any("initiator failed authorization" in l for l in f["lines"]), f


@test
def blocked_and_not_ready():
    """names that say blocked or notready: TargetBlocked, TargetNotReady, though the script ends with status 0"""
    for name, expected in (("blocked", "TargetBlocked"), ("notready", "TargetNotReady")):
        with Run('''
write_conf()
p, port = tunnel()
code, out, err = run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")
if "%s" in out:
    sys.exit()
sys.exit(9)
''' % name) as r:
            r.helper.targets = [f"{IQN}.{name}"]
            r.start()
            f = r.failure()
            assert f["name"] == expected, f


@test
def known_questions():
    """questions of real scripts: the decided answers are typed"""
    with Run('''
answers = [input("Which is your operating system? Enter its name: "), input("Enter the version of the os: ")]
print("This operating system is not supported.")
answers.append(input("Press 'Y' to continue anyway, 'N' to stop: "))
print("The VM has large disks (over 4 TB); using the same machine is not recommended.")
answers.append(input("Press 'N' to stop, 'Y' to continue: "))
print("There is already a session with a recovery point, it has to be unmounted first.")
answers.append(input("Enter 'Y' or 'N': "))
connect()
answers.append(input("Mount LVM volumes too? ('Y'/'N') "))
open("/work/answers.tmp", "w").write(repr(answers))
os.rename("/work/answers.tmp", "/work/answers")
ask_q()
''').start() as r:
        r.wait_ready()
        assert gone(lambda: not os.path.exists(f"{r.work}/answers")), r.errors()
        answers = eval(open(f"{r.work}/answers").read())
        assert answers[0] in ("Debian", "Ubuntu", "RHEL", "CentOS", "SLES", "OpenSUSE", "Oracle"), answers
        assert answers[1][0].isdigit() and answers[2:] == ["Y", "Y", "N", "N"], answers
        assert r.process.poll() is None


@test
def questions_that_fail():
    """questions that mean failure have its name and the script's lines"""
    for lines, expected in (
            ("Your system cannot reach the portal: timed out (network, outbound rules).", "PortalUnreachable"),
            ("The required cipher is not there.", "CipherMissing"),
            ("The script needs 'frobnicate'. Shall we install it?", "PackagesMissing"),
            ("Python has no asyncore; install python3-pyasyncore?", "PythonUnsupported")):
        with Run(f'print({lines!r})\ninput("Press \'Y\' to continue, \'N\' to abort: ")\n').start() as r:
            f = r.failure()
            assert f["name"] == expected and lines in f["lines"], f
    with Run('input("Please type the password of the recovery point: ")\n').start() as r:
        assert r.failure()["name"] == "PasswordWanted"


@test
def tunnel_dies():
    """the tunnel ends after the connection: ConnectionLost, exit status 1"""
    with Run("p, port, out = connect()\nask_q()\n").start() as r:
        record = r.wait_ready()
        os.kill(record["tunnelPid"], signal.SIGKILL)
        f = r.failure()
        assert f["name"] == "ConnectionLost" and str(record["tunnelPid"]) in f["message"], f
        assert gone(r.descendants)


@test
def tunnel_dies_before():
    """the tunnel ends while a log-in is under way: ConnectionLost in seconds, not when the log-in gives up"""
    with Run("p, port, out = connect()\nask_q()\n") as r:
        r.helper.never.add("login")
        r.start()
        assert gone(lambda: not any(a["verb"] == "login" for a in r.helper.asked), 30), r.errors()
        record = r.record()
        os.kill(record["tunnelPid"], signal.SIGKILL)
        f = r.failure(10)
        assert f["name"] == "ConnectionLost" and str(record["tunnelPid"]) in f["message"], f
        assert gone(r.descendants)


@test
def tunnel_dies_and_says_why():
    """the tunnel ends before a log-in: that is the failure, whatever the log-in failed with"""
    with Run("""
write_conf()
p, port = tunnel()
run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")
p.kill()
p.wait()
code, out, err = run(f"iscsiadm -m node -T %s -p 127.0.0.1:{port} --login")
print("no connection:", err)
ask_q()
""" % IQN) as r:
        r.helper.failure["login"] = {"name": "LoginFailed", "message": "login to target: connection timed out"}
        r.start()
        f = r.failure()
        assert f["name"] == "ConnectionLost" and any("no connection" in line for line in f["lines"]), f


@test
def tunnel_replaced():
    """a script that starts another tunnel and discovers through it is connected by that one"""
    with Run("""
write_conf()
p, port = tunnel()
run(f"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:{port}")
p.kill()
p.wait()
os.unlink("/etc/MicrosoftAzureBackupILR/mabilr.conf")
connect()
time.sleep(4)
ask_q()
""") as r:
        r.start()
        record = r.wait_ready()
        time.sleep(4)  # the first one's time to say why
        assert r.process.poll() is None, r.errors()
        os.kill(record["tunnelPid"], signal.SIGKILL)
        assert r.failure()["name"] == "ConnectionLost"


@test
def script_dies():
    """the script ends after the connection: ConnectionLost, the tunnel goes with it"""
    with Run("p, port, out = connect()\nprint('bye')\nos._exit(5)\n") as r:
        r.start()
        f = r.failure()
        assert f["name"] == "ConnectionLost" and "status 5" in f["message"], f
        assert gone(r.descendants)


@test
def no_logout_while_connected():
    """a log out under a standing connection is refused"""
    with Run('''
p, port, out = connect()
code = run("iscsiadm -m node -T %s --logout")[0]
open("/work/code.tmp", "w").write(str(code))
os.rename("/work/code.tmp", "/work/code")
ask_q()
''' % IQN).start() as r:
        r.wait_ready()
        assert gone(lambda: not os.path.exists(f"{r.work}/code")), r.errors()
        assert open(f"{r.work}/code").read() == "10"
        assert [a["verb"] for a in r.helper.asked] == ["discover", "login"]


@test
def log_is_bounded():
    """with 1 MiB of space the tunnel's log may be many times that"""
    if os.geteuid() != 0:
        return "SKIP mounting needs root"
    with Run('''
os.makedirs("/work/vm-20260101000000/Scripts")
log = open("/work/vm-20260101000000/Scripts/SecureTCPTunnelLog.log", "a")
connect()
total = 0
try:
    while total < 4 << 20:
        total += log.write("2026-01-01 00:00:00,000 - ServerThread - INFO: sent to client (131072)\\n" * 100)
        log.flush()
        time.sleep(0.01)
except OSError as e:
    total = repr(e)
open("/work/total.tmp", "w").write(str(total))
os.rename("/work/total.tmp", "/work/total")
ask_q()
''', work_bytes=1 << 20).start() as r:
        r.wait_ready()
        assert gone(lambda: not os.path.exists(f"{r.work}/total"), 60), r.errors()
        assert int(open(f"{r.work}/total").read()) >= 4 << 20


@test
def log_links_are_not_followed():
    """a script that puts a link in the log's place cannot have other files emptied"""
    if os.geteuid() != 0:
        return "SKIP mounting needs root"
    with Run('''
os.makedirs("/work/a/Scripts")
os.symlink("../../../../victim", "/work/a/Scripts/x.log")
os.symlink("../..", "/work/b")
connect()
open("/work/a/Scripts/y.log", "w").write("x" * 400000)
while os.path.getsize("/work/a/Scripts/y.log") > 0:
    time.sleep(0.05)
os.rename("/work/a", "/work/c")
ask_q()
''', work_bytes=1 << 20) as r:
        with open(f"{r.dir}/victim", "w") as f:
            f.write("v" * 500000)
        os.chmod(f"{r.dir}/victim", 0o666)
        r.start()
        r.wait_ready()
        assert gone(lambda: not os.path.exists(f"{r.work}/c")), r.errors()
        assert os.path.getsize(f"{r.dir}/victim") == 500000


@test
def readable_script_refused():
    """a script file that others may read is refused"""
    with Run("pass\n", mode=0o640).start() as r:
        f = r.failure()
        assert f["name"] == "Internal" and "others may read it" in f["message"], f


@test
def bash_and_crlf():
    """a bash script runs with bash, a Python file with CRLF and no #! line with Python, 8 MiB of it too"""
    with Run("#!/bin/bash\necho \"bash ${BASH_VERSION:0:1}\"; read -p \"Press 'q' to exit \" x\n", raw=True).start() as r:
        f = r.failure()
        assert f["name"] == "ScriptReported" and f["lines"][0].startswith("bash "), f
    text = "import sys\r\nprint('python', sys.version_info[0])\r\nsys.exit(4)\r\n"
    with Run(text + "# padding\r\n" * (8 * 1024 * 1024 // 11), raw=True).start() as r:
        f = r.failure()
        assert f["name"] == "ScriptExited" and f["lines"] == ["python 3"] and f["code"] == "4", f


@test
def one_after_the_other():
    """two sessions at once: the second script starts when the first has its tunnel; both connect"""
    with Run('''
while not os.path.exists("/work/go"):
    time.sleep(0.02)
connect()
ask_q()
''', session="first234") as first, Run("connect()\nask_q()\n", session="second23", base=first.dir) as second:
        first.start()
        assert gone(lambda: not os.path.exists(f"{first.sdir}/connection.json")
                    or first.record()["state"] != "running"), first.errors()
        second.start()
        assert gone(lambda: not os.path.exists(f"{second.sdir}/connection.json")), second.errors()
        time.sleep(0.5)  # it has nothing to do in this time
        assert second.record()["state"] == "starting", second.record()
        open(f"{first.work}/go", "w").close()
        a, b = first.wait_ready(), second.wait_ready()
        assert a["portal"] != b["portal"], (a, b)
        assert a["tunnelPid"] != b["tunnelPid"]
        assert first.stop() == 0
        assert second.process.poll() is None and second.record()["state"] == "connected"


@test
def helper_is_silent():
    """ilr-helper that cannot be reached: HelperFailed"""
    with Run("connect()\nask_q()\n") as r:
        os.unlink(f"{r.sdir}.helper")
        r.start()
        f = r.failure()
        assert f["name"] == "HelperFailed", f


@test
def killed_hard():
    """SIGKILL to ilr-connect leaves no process behind"""
    with Run("connect()\nask_q()\n").start() as r:
        record = r.wait_ready()
        r.process.kill()
        r.process.wait()
        assert gone(r.descendants), r.descendants()
        assert gone(lambda: os.path.exists(f"/proc/{record['tunnelPid']}"))


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


main()
