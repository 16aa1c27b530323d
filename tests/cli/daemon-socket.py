# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hostile or clumsy callers can do to ilrd's socket: nothing. Each gets a clear error or is closed, others are served
meanwhile, the daemon lives on."""

import os
import pwd
import resource
import socket
import subprocess
import sys

from harness import Reader, World, main, needs_root, send, wait_for


def resident_kib(w):
    with open(f"/proc/{w.ilrd.pid}/status") as f:
        return int([line for line in f if line.startswith("VmRSS")][0].split()[1])


def closed_or_error(s):
    """The error's name, or None if the connection was closed."""
    try:
        return Reader(s).next().get("error", "none")
    except (EOFError, ConnectionError):
        return None


def alive(w):
    assert w.call("List")["parameters"]["sessions"] == []


def not_json():
    with World(start_sim=False) as w:
        for text in (b"hello\0", b"\0", b"{\0", b"[]\0", b"7\0", b"{\"method\":7}\0", b"{}\0", b"\xff\xfe\0",
                     b"{'method':'io.ilrd.Recovery.List'}\0", b"{\"method\":\"" + b"x" * 100000 + b"\"}\0"):
            with w.connect() as s:
                s.sendall(text)
                assert closed_or_error(s) != "none", text[:40]
            alive(w)


def ten_mebibytes_without_an_end():
    with World(start_sim=False) as w:
        alive(w)
        before = resident_kib(w)
        with w.connect() as s:
            try:
                for _ in range(160):
                    s.sendall(b"x" * 65536)
            except OSError:
                pass
            assert closed_or_error(s) != "none"
        alive(w)
        assert resident_kib(w) - before < 8 * 1024


def depth_bomb():
    with World(start_sim=False) as w:
        for text in (b"[" * 500000, b"{\"a\":" * 100000, b"{\"method\":\"io.ilrd.Recovery.List\",\"parameters\":" +
                     b"[" * 1000 + b"]" * 1000 + b"}"):
            with w.connect() as s:
                s.sendall(text + b"\0")
                assert closed_or_error(s) != "none"
            alive(w)


def wrong_types_and_unknown_names():
    cases = [
        ("Provision", {}, "InvalidParameter"),
        ("Provision", {"recoveryPoint": 7}, "InvalidParameter"),
        ("Provision", {"recoveryPoint": "x" * 10000}, "RequestRefused"),
        ("Provision", {"recoveryPoint": "/etc/passwd"}, "RequestRefused"),
        ("Provision", {"recoveryPoint": "123"}, "RequestRefused"),
        ("Provision", {"recoveryPoint": "1", "kind": "share"}, "RequestRefused"),
        ("Provision", {"recoveryPoint": "1", "reason": "x" * 1000}, "RequestRefused"),
        ("Provision", {"recoveryPoint": "1", "surprise": True}, "InvalidParameter"),
        ("Describe", {}, "InvalidParameter"),
        ("Describe", {"id": ["a"]}, "InvalidParameter"),
        ("Describe", {"id": "../../etc"}, "NotFound"),
        ("Release", {"id": None}, "InvalidParameter"),
        ("Release", {"id": "aaaaaaaa"}, "NotFound"),
        ("Monitor", {}, "ExpectedMore"),
        ("List", {"x": 1}, "InvalidParameter"),
        ("Nonsense", {}, "MethodNotFound"),
        ("org.example.Nothing.Do", {}, "InterfaceNotFound"),
        ("org.varlink.service.GetInterfaceDescription", {"interface": "org.example"}, "InterfaceNotFound"),
    ]
    with World(start_sim=False) as w:
        for method, parameters, expected in cases:
            answer = w.call(method, parameters)
            assert answer.get("error", "").endswith("." + expected), (method, parameters, answer)
        alive(w)


def description_is_the_interface():
    with World(start_sim=False) as w:
        text = w.call("org.varlink.service.GetInterfaceDescription",
                      {"interface": "io.ilrd.Recovery"})["parameters"]["description"]
        assert "method Provision(" in text and "error Busy" in text
        info = w.call("org.varlink.service.GetInfo")["parameters"]
        assert "io.ilrd.Recovery" in info["interfaces"] and info["product"] == "ilrd"


def half_a_message_keeps_nobody_waiting():
    with World(start_sim=False) as w, w.connect() as s:
        s.sendall(b"{\"method\":")
        alive(w)
        s.sendall(b"\"io.ilrd.Recovery.List\"}\0")
        assert Reader(s).next()["parameters"] == {"sessions": []}


def five_hundred_connections():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    with World(start_sim=False) as w:
        open_ones, refused = [], 0
        for _ in range(500):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            try:
                s.connect(w.socket)
                send(s, "List")
                open_ones.append(s)
            except OSError:
                refused += 1
        served = [s for s in open_ones if closed_or_error(s) == "none"]
        assert 0 < len(served) <= 400, len(served)
        for s in open_ones:
            s.close()
        wait_for("served again", lambda: "parameters" in w.call("List"))
        alive(w)


def user_outside_of_the_group():
    """Needs root to become somebody else; the socket's mode is opened, so that ilrd itself has to say no."""
    needs_root()
    with World(start_sim=False) as w:
        os.chmod(w.socket, 0o666)
        nobody = pwd.getpwnam("nobody").pw_uid
        code = ("import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
                "s.sendall(b'{\"method\":\"io.ilrd.Recovery.List\"}\\0')\nprint(s.recv(65536).decode())")
        answer = subprocess.run([sys.executable if sys.executable.startswith("/usr/") else "/usr/bin/python3", "-c",
                                 code, w.socket], user=nobody, group=nobody, extra_groups=[], capture_output=True,
                                text=True, timeout=30, cwd="/")
        assert "PermissionDenied" in answer.stdout, answer
        assert "sessions" not in answer.stdout
        alive(w)


main([not_json, ten_mebibytes_without_an_end, depth_bomb, wrong_types_and_unknown_names, description_is_the_interface,
      half_a_message_keeps_nobody_waiting, five_hundred_connections, user_outside_of_the_group])
