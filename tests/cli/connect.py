#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilr-connect and a script that does its work: what it finds, what it may do, and that it stays.

Usage: ILRD_BUILD=DIR tests/cli/connect.py [NAME...]. Prints TAP.
"""

import json
import os
import signal
import time

from connect_harness import IQN, PASSWORD, SESSION, USER, gone, main, Run, test


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
def tunnel_replaced():
    """a script that starts another tunnel and discovers through it is connected by that one"""
    with Run("""
p, port, _ = discover()
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


main()
