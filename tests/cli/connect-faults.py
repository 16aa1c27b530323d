#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilr-connect and a script that fails, or a helper that does: which failure that is, and that nothing is left.

Usage: ILRD_BUILD=DIR tests/cli/connect-faults.py [NAME...]. Prints TAP.
"""

import json
import os
import signal
import time

from connect_harness import IQN, PASSWORD, SANITIZED, USER, gone, main, Run, test, text_of


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
p, port, _ = discover()
while True:
    print("thinking")
    time.sleep(0.3)
''', "SilenceTimeoutSec=30\nConnectTimeoutSec=8\n").start() as r:
        f = r.failure()
        assert f["name"] == "ConnectTimeout" and "thinking" in f["lines"], f


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
        r.helper.failure["login"] = {"name": "LoginRejected", "message": "Login refused", "hint": "x", "code": "iscsiadm 24"}
        r.start()
        f = r.failure()
        assert f["name"] == "LoginRejected" and f["code"] == "iscsiadm 24", f
        assert any("authorization failure" in l for l in f["lines"]), f
        for secret in (PASSWORD, USER, "0123456789abcd", PASSWORD[:8]):
            assert secret not in text_of(r), secret


@test
def exit_status_of_iscsiadm():
    """what iscsiadm itself ended with is what the script's iscsiadm ends with"""
    with Run('''
p, port, (code, out, err) = discover()
code, out, err = run(f"iscsiadm -m node -T {out.split()[1]} -p 127.0.0.1:{port} --login")
print("it ended with", code)
ask_q()
''') as r:
        r.helper.failure["login"] = {"name": "LoginFailed", "message": "Login failed", "hint": "x", "code": "iscsiadm 19"}
        r.start()
        f = r.failure()
        assert "it ended with 19" in f["lines"], f


@test
def discovery_rejected():
    """the discovery login is refused: LoginRejected, the script sees its words"""
    with Run('''
p, port, out = connect()
ask_q()
''') as r:
        r.helper.failure["discover"] = {"name": "LoginRejected", "message": "Discovery refused", "hint": "x", "code": "iscsiadm 24"}
        r.start()
        f = r.failure()
        assert f["name"] == "LoginRejected", f
        assert any("initiator failed authorization" in l for l in f["lines"]), f


@test
def blocked_and_not_ready():
    """names that say blocked or notready: TargetBlocked, TargetNotReady, though the script ends with status 0"""
    for name, expected in (("blocked", "TargetBlocked"), ("notready", "TargetNotReady")):
        with Run('''
p, port, (code, out, err) = discover()
if "%s" in out:
    sys.exit()
sys.exit(9)
''' % name) as r:
            r.helper.targets = [f"{IQN}.{name}"]
            r.start()
            f = r.failure()
            assert f["name"] == expected, f


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
            assert expected != "PortalUnreachable" or "pod01.test.example" in f["message"], f
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
p, port, _ = discover()
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
def script_dies():
    """the script ends after the connection: ConnectionLost, the tunnel goes with it"""
    with Run("p, port, out = connect()\nprint('bye')\nos._exit(5)\n") as r:
        r.start()
        f = r.failure()
        assert f["name"] == "ConnectionLost" and "status 5" in f["message"], f
        assert gone(r.descendants)


@test
def readable_script_refused():
    """a script file that others may read is refused"""
    with Run("pass\n", mode=0o640).start() as r:
        f = r.failure()
        assert f["name"] == "Internal" and "others may read it" in f["message"], f


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


main()
