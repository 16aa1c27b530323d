# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user of ilrctl sees: text, --json and exit codes. Mostly against a server that answers what the test wants, at the
end against the real ilrd."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading

from harness import BUILD, POINT, Reader, World, main, needs_root, point_id, stop_listening, wait_for

ID = "abcd1234"
HOLD = object()   # answer nothing more, until the caller goes
CLOSE = object()  # close the connection


def session(state="ready", **more):
    s = {"id": ID, "kind": "vm", "state": state, "vault": "/subscriptions/s/vaults/v", "container": "c", "item": "VM;web1",
         "recoveryPoint": POINT, "vm": "web1", "uid": 0, "caller": "root", "createdUsec": 1700000000000000,
         "disks": [], "volumes": []}
    if state == "ready":
        s.update(readyUsec=1700000072000000, expiresUsec=1700043200000000, path=f"/run/ilr/{ID}/volumes", volumes=[
            {"name": "root", "disk": "disk1", "partition": 1, "type": "ext4", "label": "cloudimg", "sizeBytes": 32 << 30,
             "mounted": True, "path": f"/run/ilr/{ID}/volumes/root"},
            {"name": "disk1-part2", "disk": "disk1", "partition": 2, "type": "swap", "sizeBytes": 1 << 20,
             "mounted": False, "reason": "swap space"}])
    s.update(more)
    return s


def answer(parameters, **more):
    return {"parameters": parameters, **more}


def failed(error, name, s=None, **more):
    f = {"name": name, "message": "The message", "hint": "The hint", **more}
    parameters = {"failure": f}
    if s:
        parameters["session"] = s
    return {"error": f"io.ilrd.Recovery.{error}", "parameters": parameters}


class Fake:
    """A Varlink server with ready answers: method -> list of them, given to each call of that method."""

    def __init__(self, **answers):
        self.dir = tempfile.mkdtemp(prefix="ilrctl-")
        os.chmod(self.dir, 0o755)
        self.path = f"{self.dir}/socket"
        self.answers = answers
        self.calls = []
        self.gone = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                reader = Reader(connection)
                while True:
                    call = reader.next()
                    self.calls.append(call)
                    answers = self.answers[call["method"].rpartition(".")[2]]
                    for a in answers(call) if callable(answers) else answers:
                        if a is CLOSE:
                            return
                        if a is HOLD:
                            connection.recv(1)
                            return
                        connection.sendall(a if isinstance(a, bytes) else json.dumps(a).encode() + b"\0")
            except (EOFError, OSError):
                pass
            finally:
                self.gone.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop_listening(self.listener, self.thread)
        shutil.rmtree(self.dir)

    def start(self, *arguments, **options):
        return subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={self.path}", *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **options)

    def ilrctl(self, *arguments, code=0, **options):
        p = self.start(*arguments, **options)
        out, err = p.communicate(timeout=60)
        assert p.returncode == code, (p.returncode, out, err)
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return out, err


def has(text, *parts):
    for p in parts:
        assert p in text, f"{p!r} is not in:\n{text}"


def version_help_and_usage():
    with Fake() as f:
        out, _ = f.ilrctl("--version")
        assert re.fullmatch(r"ilrctl \d+\.\d+\.\d+\n", out), out
        for lost in (["--version"], ["--help"], ["version", "--json"], ["version"]):
            with open("/dev/full", "w") as full:
                r = subprocess.run([f"{BUILD}/ilrctl", *lost], stdout=full, stderr=subprocess.PIPE, text=True)
            assert r.returncode == 1 and "standard output" in r.stderr, (lost, r)
        out, _ = f.ilrctl("version", "--json")
        assert re.fullmatch(r"\d+\.\d+\.\d+", json.loads(out)["version"])
        out, _ = f.ilrctl("--help")
        has(out, "provision POINT", "release ID", "--json", "--socket")
        for wrong in ([], ["nonsense"], ["provision"], ["list", "x"], ["status"], ["release"], ["release", "--force"],
                      ["--nonsense"], ["list", "--all"], ["status", "a", "--vault=x"], ["list", "--open"], ["browse"],
                      ["provision", "a", "b"], ["-x"], ["list", "--json=1"], ["status", "--vault"], ["--tag=x", "list"]):
            if "--json=1" not in wrong:
                out, err = f.ilrctl(*wrong, code=2)
                assert out == "" and "ilrctl --help" in err, (wrong, out, err)
            out, err = f.ilrctl(*wrong, "--json", code=2)
            o = json.loads(out)
            assert o["error"] == "Usage" and o["parameters"]["failure"]["message"] and err == "", (wrong, out, err)
        has(f.ilrctl("--nonsense", "--json", code=2)[0], "--nonsense")
        has(f.ilrctl("provision", POINT, "--resource-group=rg", code=2)[1], "--resource-group", "--latest")
        has(f.ilrctl("provision", "web1", "--latest", "--vm=/m", code=2)[1], "--vm", "web1")
        for wrong in (["provision", "a", "--at=soon"], ["provision", "a", "--before=soon"], ["points", "a", "--since=soon"],
                      ["points", "a", "--until=soon"]):
            assert json.loads(f.ilrctl(*wrong, "--json", code=2)[0])["error"] == "Usage", wrong
        has(f.ilrctl("browse", ID, "--open", "--json", code=2)[0], "--open and --json")
        assert f.calls == []


def list_as_table_and_as_json():
    sessions = [session(), session("connecting", id="wxyz5678", vm="db1")]
    with Fake(List=[answer({"sessions": sessions})]) as f:
        out, _ = f.ilrctl("list")
        rows = out.splitlines()
        assert rows[0].split()[:3] == ["ID", "STATE", "VM"]
        assert rows[1].split()[:3] == [ID, "ready", "web1"] and "2023-11-14T22:13:20Z" in rows[1]
        assert rows[2].split()[:3] == ["wxyz5678", "connecting", "db1"]
        out, _ = f.ilrctl("--json", "list")
        assert json.loads(out) == {"sessions": sessions} and out.count("\n") == 1
    with Fake(List=[answer({"sessions": []})]) as f:
        assert f.ilrctl("list")[0] == "No sessions.\n"


PROGRESS = [answer({"session": session("provisioning")}, continues=True),
            answer({"session": session("provisioning", detail="waiting for Azure")}, continues=True),
            answer({"session": session("provisioning", detail="waiting for Azure")}, continues=True),
            answer({"session": session("connecting", detail="running the connection script")}, continues=True)]
READY = answer({"session": session()})


def provision_in_plain_lines():
    with Fake(Provision=PROGRESS + [READY]) as f:
        out, err = f.ilrctl("provision", "--vault=/v", "--container=c", "--item=i", "--vm=/m", "--reason=why", POINT)
        assert f.calls == [{"method": "io.ilrd.Recovery.Provision", "more": True, "parameters": {
            "kind": "vm", "recoveryPoint": POINT, "vault": "/v", "container": "c", "item": "i",
            "virtualMachineId": "/m", "reason": "why"}}]
        assert err.splitlines() == [f"Session {ID}, VM web1", "provisioning", "provisioning: waiting for Azure",
                                    "connecting: running the connection script", "ready"]
        has(out, f"Session {ID} is ready: VM web1, after 1 min 12 s", "32.0 GiB", "cloudimg",
            f"/run/ilr/{ID}/volumes/root ", "not mounted: swap space", f"Directory: /run/ilr/{ID}/volumes\n",
            "2023-11-15T10:13:20Z", f"ilrctl release {ID}")


def provision_as_json():
    with Fake(Provision=PROGRESS + [READY]) as f:
        out, err = f.ilrctl("--json", "provision", POINT)
        lines = [json.loads(line) for line in out.splitlines()]
        assert [s["state"] for s in lines] == ["provisioning"] * 3 + ["connecting", "ready"]
        assert lines[-1] == session() and err == ""
        assert f.calls[0]["parameters"] == {"kind": "vm", "recoveryPoint": POINT}


FULL = dict(code="UserErrorX", requestId="rq-1", correlationId="co-1", recommendations=["Do this.", "Do that."],
            lines=["last line 1", "last line 2"])


def each_class_of_failure_has_its_exit_code():
    table = {"InternalFailed": 1, "RequestRefused": 3, "NotFound": 4, "AzureFailed": 5, "ConnectionFailed": 6,
             "StorageFailed": 7, "Busy": 8, "LimitReached": 9, "Cancelled": 10}
    for error, code in table.items():
        a = failed(error, "OperationFailed", session("closed"), **FULL)
        with Fake(Provision=PROGRESS + [a]) as f:
            out, err = f.ilrctl("provision", POINT, code=code)
            assert out == ""
            has(err, "Failed: The message\n", "OperationFailed", ID, "web1", POINT, "UserErrorX", "rq-1", "co-1",
                "    - Do this.\n    - Do that.\n", "    | last line 1\n    | last line 2\n", "The hint")
            out, err = f.ilrctl("--json", "provision", POINT, code=code)
            assert json.loads(out.splitlines()[-1]) == a and err == ""


def other_errors():
    cases = [({"error": "io.ilrd.Recovery.PermissionDenied", "parameters": {"reason": "not you"}}, 3,
              ["not you", "PermissionDenied", "group ilr"]),
             ({"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "item"}}, 3, ['"item"']),
             ({"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "x"}}, 1,
              ["org.varlink.service.MethodNotFound", "same version"]),
             ({"error": "io.ilrd.Recovery.Surprise"}, 1, ["io.ilrd.Recovery.Surprise"]),
             (failed("AzureFailed", "BrandNewName"), 5, ["BrandNewName", "The message"]),
             (CLOSE, 11, ["closed the connection", "journalctl"]),
             (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", 11, ["no answer of ilrd"]),
             (b"[]\0", 11, ["no answer of ilrd"]),
             (answer({"sessions": 7}), 11, ["no answer of ilrd"]),
             (answer({}), 11, ["no answer of ilrd"])]
    for a, code, parts in cases:
        with Fake(List=[a]) as f:
            has(f.ilrctl("list", code=code)[1], "Failed: ", *parts)
            out, err = f.ilrctl("list", "--json", code=code)
            assert "error" in json.loads(out) and err == ""


def nobody_listens():
    with Fake() as f:
        f.path += "2"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f.path)
        has(f.ilrctl("list", code=11)[1], "cannot be reached", f.path, "Connection refused", "ilrd.socket")
        os.unlink(f.path)
        has(f.ilrctl("list", code=11)[1], "No such file or directory")
        out, _ = f.ilrctl("--json", "provision", POINT, code=11)
        assert json.loads(out)["error"] == "Unreachable"


def socket_may_not_be_used():
    needs_root()  # only root can become somebody who may not
    with Fake() as f:
        os.chmod(f.path, 0o600)
        has(f.ilrctl("list", code=3, user=65534, group=65534, extra_groups=[], cwd="/")[1], "You may not talk to ilrd",
            "group ilr")


def control_characters_do_nothing():
    nasty = "a\x1b[31mb\x07\r\n\x9bc\u202ed\x7f"
    tame = r"a\x1b[31mb\x07\x0d\x0a\u{9b}c\u{202e}d\x7f"
    s = session("ready", vm=nasty, reason=nasty)
    s["volumes"][0].update(label=nasty, name=nasty)
    s["volumes"][1].update(reason=nasty)
    f = failed("ConnectionFailed", "ScriptExited", s, lines=[nasty], recommendations=[nasty], code=nasty, message=nasty)
    with Fake(List=[answer({"sessions": [s]})], Describe=[answer({"session": s})],
              Provision=[answer({"session": session("connecting", detail=nasty)}, continues=True), f],
              Monitor=[answer({"session": session("closed", detail=nasty, vm=nasty)})]) as fake:
        for arguments, code in ((["list"], 0), (["status", ID], 0), (["provision", POINT], 6), (["monitor", ID], 0)):
            out, err = fake.ilrctl(*arguments, code=code)
            has(out + err, tame)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err), (out, err)
        assert len(fake.ilrctl("list")[0].splitlines()) == 2


def status_tells_everything():
    s = session("detaching", detail="unmounting", failure={"name": "ConnectionLost", "message": "The tunnel died", "hint":
                                                            "h1"},
                releaseFailure={"name": "Busy", "message": "In use", "hint": "h2", "holders": [
                    {"pid": 4711, "command": "bash", "uid": 1000, "path": "/run/ilr/x"}]})
    with Fake(Describe=[answer({"session": s})]) as f:
        out, _ = f.ilrctl("status", ID)
        has(out, "detaching", "unmounting", "web1", "The tunnel died", "ConnectionLost", "In use",
            "pid 4711 bash (uid 1000) /run/ilr/x", "tried again")
        assert json.loads(f.ilrctl("status", ID, "--json")[0]) == s
        assert f.calls[0]["parameters"] == {"id": ID}


def ids_may_be_shortened():
    sessions = [session(), session(id="abzz9999"), session(id="q0000000")]
    with Fake(List=[answer({"sessions": sessions})], Describe=lambda c: [answer({"session": session(**c["parameters"])})]) as f:
        has(f.ilrctl("status", "q")[0], "Session q0000000")
        has(f.ilrctl("status", "abc")[0], f"Session {ID}")
        has(f.ilrctl("status", "ab", code=2)[1], '"ab" could be session abcd1234 or abzz9999')
        has(f.ilrctl("status", "x", code=4)[1], 'no session "x"', "NoSuchSession")
        f.ilrctl("status", "", code=2)
        out, _ = f.ilrctl("status", "x", "--json", code=4)
        assert json.loads(out)["parameters"]["failure"]["name"] == "NoSuchSession"


def interrupt_gives_a_provision_up():
    for arguments in ([], ["--json"]):
        with Fake(Provision=PROGRESS + [HOLD]) as f:
            p = f.start("provision", POINT, *arguments)
            stream = p.stdout if arguments else p.stderr
            while "connecting" not in stream.readline():
                pass
            assert not f.gone.is_set()
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
            assert p.returncode == 10, (p.returncode, out, err)
            assert f.gone.wait(30), "the connection stays open"
            has(out if arguments else err, f"session {ID} is given up", "Interrupted")


def interrupt_does_not_stop_a_release():
    with Fake(Release=[answer({"session": session("detaching")}, continues=True), HOLD]) as f:
        p = f.start("release", ID)
        while "detaching" not in p.stderr.readline():
            pass
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60)
        assert p.returncode == 10
        has(err, f"session {ID} is released in the background")


def release_beside_each_other():
    """the second is asked for while the first hangs, and an interrupt tells what goes on"""
    ids = [ID, "wxyz5678"]
    asked = threading.Event()

    def release(call):
        if call["parameters"]["id"] == ID:
            return [answer({"session": session("detaching")}, continues=True), HOLD]
        asked.set()
        return [answer({"session": session("closed", id="wxyz5678")})]
    with Fake(List=[answer({"sessions": [session(id=i) for i in ids]})], Release=release) as f:
        p = f.start("release", *ids)
        assert asked.wait(60), "the second one waits for the first"
        while "detaching" not in p.stderr.readline():
            pass
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        assert p.returncode == 10, (p.returncode, out, err)
        has(err, f"session {ID} is released in the background, as are the next 1")


def interrupt_stops_what_is_not_begun():
    """one that comes while a session is looked for by the beginning of its id"""
    with Fake(List=[HOLD], Release=[answer({"session": session("detaching")}, continues=True), HOLD]) as f:
        p = f.start("release", ID, "ab", ID, "cd")
        wait_for("it is looked for", lambda: any(c["method"].endswith(".List") for c in f.calls))
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        assert p.returncode == 10, (p.returncode, out, err)
        has(err, "Interrupted", f"Session {ID} is released in the background")
        assert [c["method"].rpartition(".")[2] for c in f.calls] == ["Release", "List"], f.calls


def release_several():
    busy = failed("Busy", "Busy", session("detaching"), message="/x is in use", holders=[
        {"pid": 4711, "command": "bash", "uid": 1000, "path": "/x"}])
    closed = lambda i: [answer({"session": session("detaching", id=i)}, continues=True),
                        answer({"session": session("closed", id=i)})]
    ids = [ID, "wxyz5678"]
    with Fake(List=[answer({"sessions": [session(id=i) for i in ids]})],
              Release=lambda c: [busy] if c["parameters"]["id"] == ID else closed(c["parameters"]["id"])) as f:
        out, err = f.ilrctl("release", *ids, code=8)
        has(err, "/x is in use", "pid 4711 bash (uid 1000) /x")
        assert out == "Session wxyz5678 is released.\n", out
        out, err = f.ilrctl("release", "--all", code=8)
        assert out == "Session wxyz5678 is released.\n"
        out, err = f.ilrctl("release", "w", "--json")
        assert [json.loads(line)["state"] for line in out.splitlines()] == ["detaching", "closed"]
    with Fake(List=[answer({"sessions": []})]) as f:
        assert f.ilrctl("release", "--all")[0] == "No sessions.\n"


def browse_prints_a_path():
    with Fake(Describe=[answer({"session": session()})]) as f:
        assert f.ilrctl("browse", ID)[0] == f"/run/ilr/{ID}/volumes\n"
        assert f.ilrctl("browse", ID, "root")[0] == f"/run/ilr/{ID}/volumes/root\n"
        assert json.loads(f.ilrctl("browse", ID, "root", "--json")[0])["path"] == f"/run/ilr/{ID}/volumes/root"
        has(f.ilrctl("browse", ID, "disk1-part2", code=7)[1], "not mounted: swap space")
        has(f.ilrctl("browse", ID, "home", code=4)[1], 'no volume "home"', "root, disk1-part2")
        # A file manager, if there is one: a program that says what it was given.
        with open(f"{f.dir}/xdg-open", "w") as x:
            x.write("#!/bin/sh\necho opened \"$1\"\n")
        os.chmod(f"{f.dir}/xdg-open", 0o755)
        environment = {"PATH": f"{f.dir}:/usr/bin:/bin", "DISPLAY": ":0"}
        out, _ = f.ilrctl("browse", ID, "--open", env=environment)
        assert out.endswith(f"opened /run/ilr/{ID}/volumes\n"), out
        has(f.ilrctl("browse", ID, "--open", env={"PATH": f.dir}, code=1)[1], "no file manager")
    with Fake(Describe=[answer({"session": session("connecting")})]) as f:
        has(f.ilrctl("browse", ID, code=3)[1], "not ready, it is connecting")


def browse_stays_in_the_tree():
    with Fake() as f:
        top = f"{f.dir}/root"
        for d in ("etc", "data", "run"):
            os.makedirs(f"{top}/{d}")
        for name, text in (("data/real.conf", "the backup's"), ("../host.conf", "the host's")):
            with open(f"{top}/{name}", "w") as x:
                x.write(text)
        os.symlink("/data/real.conf", f"{top}/etc/absolute")
        os.symlink("../../../../../../data", f"{top}/etc/up")
        os.symlink(f"{f.dir}/host.conf", f"{top}/etc/host")
        os.symlink("../../host.conf", f"{top}/etc/out")
        os.symlink("loop", f"{top}/etc/loop")
        root = {"name": "root", "path": top, "volume": "root", "mounts": [{"where": "/data", "volume": "data"}],
                "missing": [{"where": "/srv", "what": "/dev/sdb1", "reason": "not told"}]}
        s = session(roots=[root, {**root, "name": "root-2", "path": f"{f.dir}/root-2", "missing": []}])
        s["volumes"].append({"name": "data", "disk": "disk2", "type": "btrfs", "mounted": True, "path": f"{top}/data",
                             "subvolumes": [{"id": 256, "path": "@", "default": True}]})
        f.answers["Describe"] = [answer({"session": s})]
        assert f.ilrctl("browse", ID)[0] == f"{top}\n"
        assert f.ilrctl("browse", ID, "--volumes")[0] == f"/run/ilr/{ID}/volumes\n"
        assert f.ilrctl("browse", ID, "root")[0] == f"/run/ilr/{ID}/volumes/root\n"
        assert f.ilrctl("browse", ID, "root-2")[0] == f"{f.dir}/root-2\n"
        assert f.ilrctl("browse", ID, "/etc/absolute")[0] == f"{top}/data/real.conf\n"
        assert f.ilrctl("browse", ID, "/etc/up/real.conf")[0] == f"{top}/data/real.conf\n"
        assert f.ilrctl("browse", ID, "/../..")[0] == f"{top}\n"
        assert f.ilrctl("browse", ID, "data", "/real.conf")[0] == f"{top}/data/real.conf\n"
        assert json.loads(f.ilrctl("browse", ID, "/etc/absolute", "--json")[0])["path"] == f"{top}/data/real.conf"
        for path in ("/etc/host", "/etc/out", "/etc/loop", "/nothing", "/etc/absolute/x"):
            has(f.ilrctl("browse", ID, path, code=4)[1], f"There is no {path} in {top}", "leads nowhere")
        f.ilrctl("browse", ID, "data", "real.conf", code=2)
        has(f.ilrctl("status", ID)[0], f"system in {top}: / (root), /data (data)", "not in it: /srv (/dev/sdb1): not told",
            "subvolumes of data\n    @ (the default)")
        f.answers["Describe"] = [answer({"session": session()})]
        has(f.ilrctl("browse", ID, "/etc/absolute", code=4)[1], "No system with an /etc/fstab", "browse ID VOLUME /PATH")


def browse_opens_on_a_terminal():
    with Fake(Describe=[answer({"session": session()})]) as f:
        def on_terminal(*arguments, path):
            mine, theirs = pty.openpty()
            p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={f.path}", "browse", ID, *arguments], stdin=theirs, stdout=theirs,
                                 stderr=theirs, env={"PATH": path, "TERM": "xterm"})
            os.close(theirs)
            data = b""
            with open(mine, "rb", buffering=0) as terminal:
                try:
                    while piece := terminal.read(65536):
                        data += piece
                except OSError:  # how the end of a terminal reads
                    pass
            assert p.wait(30) == 0, data
            return data.decode().replace("\r\n", "\n")

        directory = f"/run/ilr/{ID}/volumes/root"
        with open(f"{f.dir}/mc", "w") as x:
            x.write("#!/bin/sh\n[ -t 0 ] && [ -t 1 ] && echo \"mc has the terminal and $1\"\n")
        os.chmod(f"{f.dir}/mc", 0o755)
        with_mc, without = f"{f.dir}:/usr/bin:/bin", f.dir + "/nothing"
        assert on_terminal("root", path=with_mc) == f"{directory}\nmc has the terminal and {directory}\n"
        assert on_terminal("root", "--open", path=with_mc).endswith(f"mc has the terminal and {directory}\n")
        assert on_terminal("root", path=without) == f"{directory}\n"
        assert json.loads(on_terminal("root", "--json", path=with_mc)) == {"id": ID, "volume": "root", "path": directory}
        # In $(ilrctl browse ...) there is no terminal to open it on.
        assert f.ilrctl("browse", ID, "root", env={"PATH": with_mc})[0] == f"{directory}\n"


def logout_tells():
    with Fake(Logout=[answer({"signedIn": True})]) as f:
        assert f.ilrctl("logout")[0] == "Signed out.\n"
        assert json.loads(f.ilrctl("logout", "--json")[0]) == {"signedIn": True}
        assert f.calls[0]["method"].endswith(".Logout")
    with Fake(Logout=[answer({"signedIn": False})]) as f:
        assert f.ilrctl("logout")[0] == "You were not signed in.\n"
    with Fake(Logout=[failed("InternalFailed", "Internal")]) as f:
        has(f.ilrctl("logout", code=1)[1], "Failed: The message")
        assert json.loads(f.ilrctl("logout", "--json", code=1)[0])["error"].endswith(".InternalFailed")


def inhibit_as_json():
    down = threading.Event()

    def answers(call):
        yield answer({"session": session()}, continues=True)
        if not down.wait(30):
            return
        yield answer({"session": session("detaching")})

    with Fake(Inhibit=answers) as f:
        out = f.ilrctl("inhibit", "--json", ID, "--", "/nonexistent/x", code=127)[0]
        assert json.loads(out)["error"] == "CommandFailed" and "/nonexistent/x" in out, out
        # The command has standard output for itself; that the session goes is told beside it.
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={f.path}", "inhibit", "--json", ID, "--", "cat"], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        down.set()
        told = json.loads(p.stderr.readline())
        assert told["parameters"]["session"]["state"] == "detaching", told
        out, err = p.communicate("of the command\n", timeout=30)
        assert (out, err, p.returncode) == ("of the command\n", "", 0)
        # Nothing is advised where nothing is known, least of all what is for another failure.
        err = f.ilrctl("inhibit", ID, "--", "/nonexistent/x", code=127)[1]
        assert "CommandFailed" in err and "what to do" not in err, err
    with Fake(Inhibit=[answer({"session": session("detaching")})]) as f:
        has(f.ilrctl("inhibit", ID, "--", "true", code=8)[1], "being released", "Busy", "provision the point anew")
    with Fake(Inhibit=[failed("NotFound", "NoSuchSession")]) as f:
        assert json.loads(f.ilrctl("inhibit", "--json", ID, "--", "true", code=4)[0])["error"].endswith(".NotFound")


def monitor_shows_a_warning():
    warning = "Azure ends it in 30 min\x1b[2J"
    with Fake(Monitor=[answer({"session": session(), "warning": warning}, continues=True),
                       answer({"session": session("closed")}, continues=True)]) as f:
        first, second = f.ilrctl("monitor", ID)[0].splitlines()
        assert first.endswith(f" {ID} web1 warning: Azure ends it in 30 min\\x1b[2J"), first
        assert second.endswith("closed")
        first, second = (json.loads(line) for line in f.ilrctl("monitor", ID, "--json")[0].splitlines())
        assert first["warning"] == warning and first["state"] == "ready"
        assert "warning" not in second and second["state"] == "closed"


def monitor_streams():
    changes = [answer({"session": session("provisioning", detail="asking")}, continues=True),
               answer({"session": session("closed", failure={"name": "NoScript", "message": "none", "hint": "h"})},
                      continues=True)]
    with Fake(Monitor=changes + [HOLD]) as f:
        out, _ = f.ilrctl("monitor", ID)  # one that is closed has nothing more to tell
        lines = out.splitlines()
        assert len(lines) == 2 and lines[0].endswith(f" {ID} web1 provisioning: asking"), out
        assert lines[1].endswith("closed (NoScript: none)")
        assert f.calls[0]["more"] is True
        p = f.start("monitor", "--json")
        assert json.loads(p.stdout.readline())["state"] == "provisioning"
        assert json.loads(p.stdout.readline())["state"] == "closed"
        p.send_signal(signal.SIGINT)
        assert p.communicate(timeout=60)[1] == "" and p.returncode == 0
        assert "parameters" not in f.calls[-1]


def read_terminal(fd, until, seconds=30):
    data = b""
    while until not in data:
        readable, _, _ = select.select([fd], [], [], seconds)
        assert readable, f"{until!r} did not come, only {data!r}"
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    assert until in data, data
    return data


def terminal_has_a_live_line():
    step = threading.Event()

    def answers(call):
        yield from PROGRESS
        step.wait(30)
        yield READY

    with Fake(Provision=answers) as f:
        mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 40, 0, 0))
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={f.path}", "provision", POINT], stdout=theirs, stderr=theirs,
                             stdin=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        data = read_terminal(mine, b"connecting: ")
        # The clock runs though nothing comes.
        data += read_terminal(mine, b"0:01  connecting")
        step.set()
        data += read_terminal(mine, b"ilrctl release")
        assert p.wait(30) == 0
        os.close(mine)
    text = data.decode()
    has(text, "\r\x1b[K  0:00  provisioning: waiting for Azure", "done  provisioning (")
    live = [line for line in re.split(r"\r\x1b\[K|\r\n", text) if re.match(r" *\d+:\d\d  ", line)]
    assert live and all(len(line) < 40 for line in live), live
    # The live line is wiped before the result.
    assert re.search(r"\r\x1b\[KSession abcd1234 is ready", text), text


def the_real_ilrd():
    with World() as w:
        r = w.ilrctl("provision", point_id(), "--reason=test")
        assert r.returncode == 0, r
        has(r.stdout, "is ready: VM web1", "ext4", "not mounted: swap space")
        identifier = re.search(r"Session (\w{8}) is ready", r.stdout)[1]
        has(r.stderr, "provisioning", "connecting", "attaching", "ready")
        has(w.ilrctl("list").stdout, identifier, "ready", "web1", POINT)
        has(w.ilrctl("status", identifier[:7]).stdout, "test", "web1", f"/run/ilr/{identifier}/volumes")
        assert w.ilrctl("browse", identifier, "root").stdout == f"/run/ilr/{identifier}/volumes/root\n"
        r = w.ilrctl("release", "--all")
        assert r.returncode == 0 and r.stdout == f"Session {identifier} is released.\n", r
        w.assert_clean()
        assert w.ilrctl("status", identifier).returncode == 4
        assert w.ilrctl("provision", "1").returncode == 3


def interrupt_against_the_real_ilrd():
    with World(sim={"provisionSeconds": 60}) as w:
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", point_id()],
                             stderr=subprocess.PIPE, text=True)
        wait_for("the operation runs", lambda: w.state()["requests"] and
                 any(r["kind"] == "provision" for r in w.state()["requests"]))
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60)
        assert p.returncode == 10, err
        has(err, "is given up")
        wait_for("all is given back", lambda: not w.records())
        w.assert_clean()


def silence_has_an_end():
    with World() as w:
        session = w.provision()[-1]["parameters"]["session"]["id"]
        w.ilrd.send_signal(signal.SIGSTOP)
        try:
            for verb in (["list"], ["status", session], ["metrics"], ["release", session], ["doctor"], ["monitor"],
                         ["provision", point_id()], ["unlock", session, "root", "--key-file=/etc/hostname"], ["items"],
                         ["points", "backup-vm-01"], ["login"], ["logout"], ["browse", session], ["doctor", "--leftovers"],
                         ["inhibit", session, "--", "true"], ["release", session, "--force"], ["release", "--all"]):
                p = w.ilrctl("--timeout=1", *verb)
                assert p.returncode == 11 and "has not answered for 1 seconds" in p.stderr, (verb, p)
            p = w.ilrctl("--timeout=1", "--json", "list")
            assert p.returncode == 11 and json.loads(p.stdout)["error"] == "Unreachable", p
        finally:
            w.ilrd.send_signal(signal.SIGCONT)
        for wrong in ("0", "x", "1s", "", "-1", "86401", "999999999999"):
            assert w.ilrctl(f"--timeout={wrong}", "list").returncode == 2, wrong


def work_that_takes_long_is_waited_for():
    with World() as w:
        w.helper.hold["up"] = threading.Event()
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "--timeout=1", "provision", point_id()],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("it is on its way", lambda: "up" in w.helper.verbs())
        try:
            p.wait(3.5)  # three times as long as ilrd may say nothing
            raise AssertionError(p.communicate())
        except subprocess.TimeoutExpired:
            pass
        w.helper.hold["up"].set()
        out, err = p.communicate(timeout=20)
        assert p.returncode == 0, (out, err)


main([version_help_and_usage, list_as_table_and_as_json, provision_in_plain_lines, provision_as_json,
      each_class_of_failure_has_its_exit_code, other_errors, nobody_listens, socket_may_not_be_used,
      control_characters_do_nothing, status_tells_everything, ids_may_be_shortened, interrupt_gives_a_provision_up,
      interrupt_does_not_stop_a_release, release_beside_each_other, interrupt_stops_what_is_not_begun, release_several, browse_prints_a_path, browse_stays_in_the_tree, browse_opens_on_a_terminal, logout_tells,
      inhibit_as_json, monitor_shows_a_warning, monitor_streams,
      terminal_has_a_live_line, the_real_ilrd, interrupt_against_the_real_ilrd,
      silence_has_an_end, work_that_takes_long_is_waited_for])
