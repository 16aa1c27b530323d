# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a caller chooses for the volumes of his session: what becomes of journals, and keys for what is locked."""

import array
import base64
import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time

from harness import BUILD, OTHER_POINT, VAULT, Reader, World, failure_of, main, point_id, wait_for

KEY = bytes(range(256)) + b"\n"  # not UTF-8, with NUL and newlines
PASSPHRASE = "correct horse battery staple"


def session_of(answer):
    return answer["parameters"]["session"]


def asked(w, verb):
    return [r for r in w.helper.asked if r["verb"] == verb]


# ---- journals ----

def replay_is_chosen_per_session():
    with World() as w:
        session = session_of(w.provision(replay="none")[-1])
        assert session["replay"] == "none", session
        assert [r["replay"] for r in asked(w, "up")] == ["none"]
        assert "journals           none" in w.ilrctl("status", session["id"]).stdout
        other = w.ilrctl("provision", "--json", "--replay=overlay", point_id(OTHER_POINT))
        assert other.returncode == 0, other.stderr
        assert [r["replay"] for r in asked(w, "up")] == ["none", "overlay"]
        # It is the session's, whoever asks later and whatever became of ilrd.
        w.kill_ilrd()
        w.write_config("Storage.Replay=overlay")
        w.start_ilrd()
        assert session_of(w.call("Describe", {"id": session["id"]}))["replay"] == "none"
        joined = w.provision()[-1]
        assert session_of(joined)["id"] == session["id"], joined
        answer = w.provision(replay="overlay")[-1]
        assert answer["error"] == "io.ilrd.Recovery.RequestRefused", answer
        message = failure_of(answer)["message"]
        assert "replay is \"overlay\"" in message and "with replay \"none\"" in message, message
        for i in session["id"], json.loads(other.stdout.splitlines()[-1])["id"]:
            assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def replay_as_configured():
    with World("Storage.Replay=none") as w:
        session = session_of(w.provision()[-1])
        assert session["replay"] == "none" and asked(w, "up")[0]["replay"] == "none"
        assert w.ilrctl("release", session["id"]).returncode == 0
        w.assert_clean()


def replay_that_cannot_be():
    with World() as w:
        answer = w.provision(replay="both")[-1]
        assert "replay is \"both\"" in failure_of(answer)["message"], answer
        assert w.provision(replay=True)[-1]["error"] == "org.varlink.service.InvalidParameter"
        answer = w.provision(replay="none", kind="file-share")[-1]
        assert failure_of(answer)["name"] == "InvalidRequest" and "replay" in failure_of(answer)["message"], answer
        result = w.ilrctl("provision", "--replay=both", point_id())
        assert result.returncode == 2 and "--replay" in result.stderr, result
        result = w.ilrctl("status", "--replay=none", "abcdefgh")
        assert result.returncode == 2, result
        w.assert_clean()


# ---- keys ----

def memory(data):
    fd = os.memfd_create("key")
    os.write(fd, data)
    return fd


def send_unlock(s, session, volume, fds, **more):
    """The method, with descriptors; they are closed here."""
    message = json.dumps({"method": "io.ilrd.Recovery.Unlock",
                          "parameters": {"id": session, "volume": volume, **more}}).encode() + b"\0"
    s.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def unlock(w, session, volume, fds, **more):
    """The same, with its answer."""
    with w.connect() as s:
        send_unlock(s, session, volume, fds, **more)
        return Reader(s).next()


def volumes_of(session):
    return {v["name"]: v for v in session["volumes"]}


def described(w, session):
    return session_of(w.call("Describe", {"id": session}))


def key_file(w, data, name="key"):
    path = f"{w.dir}/{name}"
    with open(path, "wb") as f:
        f.write(data)
    return path


def assert_secret(w, *keys):
    """Neither the journal nor a record nor an answer has a key."""
    texts = [w.journal().encode()]
    for name in w.records():
        with open(f"{w.dir}/state/{name}", "rb") as f:
            texts.append(f.read())
    for key in keys:
        for form in (key, base64.b64encode(key), json.dumps(key.decode("latin-1")).encode()[1:-1]):
            assert not any(form in text for text in texts), form


def open_files(w):
    return len(os.listdir(f"/proc/{w.ilrd.pid}/fd"))


def key_arrives_byte_for_byte():
    with World() as w:
        w.helper.keys = {"vault": KEY}
        session = session_of(w.provision()[-1])
        i = session["id"]
        assert volumes_of(session)["vault"]["locked"], session
        status = w.ilrctl("status", i).stdout
        assert f"Volume vault is locked, with its key: ilrctl unlock {i} vault" in status, status
        result = w.ilrctl("unlock", i[:6], "vault", "--key-file", key_file(w, KEY))
        assert result.returncode == 0, result
        assert "Volume vault is unlocked." in result.stdout and f"{i}/volumes/vault-open" in result.stdout, result
        assert [base64.b64decode(r["key"]) for r in asked(w, "unlock")] == [KEY]
        assert volumes_of(described(w, i))["vault-open"]["mounted"]
        assert "is locked" not in w.ilrctl("status", i).stdout
        assert_secret(w, KEY)
        # What is open stays so when ilrd is restarted.
        w.kill_ilrd()
        w.start_ilrd()
        assert volumes_of(described(w, i))["vault-open"]["mounted"]
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def wrong_key_changes_nothing():
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        before = described(w, i)
        result = w.ilrctl("unlock", i, "vault", "--key-file", key_file(w, KEY[:-1]))
        assert result.returncode == 7 and "WrongKey" in result.stderr, result
        result = w.ilrctl("unlock", "--json", i, "vault", "--key-file", key_file(w, b"no"))
        assert result.returncode == 7, result
        assert json.loads(result.stdout)["parameters"]["failure"]["name"] == "WrongKey", result
        result = w.ilrctl("unlock", i, "nothing", "--key-file", key_file(w, KEY))
        assert result.returncode == 4 and "NoSuchVolume" in result.stderr, result
        assert described(w, i)["volumes"] == before["volumes"]
        w.helper.failures["unlock"] = [{"name": "UnlockFailed", "message": "cryptsetup is not installed"}]
        result = w.ilrctl("unlock", i, "vault", "--key-file", key_file(w, KEY))
        assert result.returncode == 7 and "cryptsetup is not installed" in result.stderr, result
        result = w.ilrctl("unlock", "--json", i, "vault", "--key-file", key_file(w, KEY))
        assert result.returncode == 0 and json.loads(result.stdout)["id"] == i, result
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def key_files_and_descriptors():
    with World() as w:
        w.helper.keys = {"vault": PASSPHRASE.encode()}
        i = session_of(w.provision()[-1])["id"]

        def tried(*arguments, **options):
            result = subprocess.run([f"{BUILD}/ilrctl", f"--socket={w.socket}", "unlock", i, "vault", *arguments],
                                    capture_output=True, timeout=60, **options)
            return result.returncode, asked(w, "unlock") and base64.b64decode(asked(w, "unlock")[-1]["key"])

        line = PASSPHRASE.encode() + b"\n"
        # A key file is taken as it is, of a passphrase one newline is cut.
        assert tried("--key-file=-", input=line) == (7, line)
        assert tried("--key-fd=0", input=line + b"\n") == (7, line)
        assert tried("--key-fd=0", input=line) == (0, line[:-1])
        big = os.urandom(32 * 1024)
        assert tried("--key-file", key_file(w, big)) == (7, big)
        n = len(asked(w, "unlock"))
        for bad, words in ((["--key-file", key_file(w, big + b"x", "long")], "32768 bytes"),
                           (["--key-file", key_file(w, b"", "empty")], "is empty"),
                           (["--key-file", f"{w.dir}/nothing"], "No such file"), (["--key-file", w.dir], "directory"),
                           (["--key-fd=77"], "descriptor 77"), (["--key-fd=x"], "no number"),
                           (["--key-fd=0", "--key-file=x"], "only one key"),
                           (["--key-file=x", "--key-file=y"], "only one key")):
            result = w.ilrctl("unlock", i, "vault", *bad)
            assert result.returncode == 2 and words in result.stderr, (bad, result)
        assert w.ilrctl("list", "--key-file=x").returncode == 2 and w.ilrctl("list", "--key-fd=0").returncode == 2
        # Without a terminal there is nobody to ask.
        result = subprocess.run(["setsid", "-w", f"{BUILD}/ilrctl", f"--socket={w.socket}", "unlock", i, "vault"],
                                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert result.returncode == 0 and "is not locked" in result.stdout, result
        w.helper.opened.clear()
        w.helper.keys["other"] = b"k"
        w.ilrctl("unlock", i, "other", "--key-file", key_file(w, b"k"))
        result = subprocess.run(["setsid", "-w", f"{BUILD}/ilrctl", f"--socket={w.socket}", "unlock", i, "vault"],
                                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert result.returncode == 2 and "no terminal" in result.stderr, result
        assert len(asked(w, "unlock")) == n + 1
        assert_secret(w, PASSPHRASE.encode(), big)
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


class Terminal:
    """ilrctl on a terminal of its own."""

    def __init__(self, w, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(f"{BUILD}/ilrctl", ["ilrctl", f"--socket={w.socket}", *arguments])
        self.output = ""

    def read_until(self, text):
        end = time.monotonic() + 60
        while text not in self.output:
            readable, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert readable, self.output
            try:
                piece = os.read(self.fd, 4096)
            except OSError:  # EIO: nobody has the terminal any more
                piece = b""
            assert piece, self.output
            self.output += piece.decode()

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        with contextlib.suppress(OSError):
            while piece := os.read(self.fd, 4096):
                self.output += piece.decode()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return status


def prompt_without_echo():
    with World() as w:
        w.helper.keys = {"vault": PASSPHRASE.encode()}
        i = session_of(w.provision()[-1])["id"]
        t = Terminal(w, "unlock", i, "vault")
        t.read_until(f"Passphrase of vault in session {i}: ")
        wait_for("no echo", lambda: not t.echoes())
        with open(f"/proc/{t.pid}/cmdline", "rb") as f:
            assert PASSPHRASE.encode() not in f.read()
        # While it is typed and while the helper works.
        w.helper.hold["unlock"] = threading.Event()
        t.type(PASSPHRASE + "\n")
        wait_for("the helper is asked", lambda: asked(w, "unlock"))
        assert t.echoes()  # whatever comes now, the terminal is as it was
        w.helper.hold.pop("unlock").set()
        assert os.waitstatus_to_exitcode(t.end()) == 0, t.output
        assert PASSPHRASE not in t.output and "is unlocked" in t.output, t.output
        assert base64.b64decode(asked(w, "unlock")[0]["key"]) == PASSPHRASE.encode()
        assert_secret(w, PASSPHRASE.encode())
        # What is open already is not asked for; what is not there neither.
        result = w.ilrctl("unlock", i, "vault")
        assert result.returncode == 0 and "is not locked" in result.stdout, result
        result = w.ilrctl("unlock", i, "nothing")
        assert result.returncode == 4 and "no volume nothing" in result.stderr, result
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def prompt_given_up():
    with World() as w:
        w.helper.keys = {"vault": PASSPHRASE.encode()}
        i = session_of(w.provision()[-1])["id"]
        for how, code in (("\x03", 10), (None, -signal.SIGTERM), ("\n", 2), ("\x04", 2)):
            t = Terminal(w, "unlock", i, "vault")
            t.read_until("Passphrase of vault")
            wait_for("no echo", lambda: not t.echoes())
            # Kept open, so that it is the same terminal after the end.
            held = os.open(os.readlink(f"/proc/{t.pid}/fd/0"), os.O_RDWR | os.O_NOCTTY)
            if how:
                t.type(how)
            else:
                os.kill(t.pid, signal.SIGTERM)
            wait_for("the echo is back", lambda: termios.tcgetattr(held)[3] & termios.ECHO)
            os.close(held)
            assert os.waitstatus_to_exitcode(t.end()) == code, (how, t.output)
        assert asked(w, "unlock") == []
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def only_memory_is_taken():
    """Nobody makes ilrd wait for a descriptor, or hold many."""
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        before = open_files(w)
        silent, write_end = os.pipe()
        ours, theirs = socket.socketpair()
        for fds, words in (([silent], "memfd_create"), ([theirs.detach()], "memfd_create"),
                           ([os.open("/dev/zero", os.O_RDONLY)], "memfd_create"),
                           ([os.open(f"{w.dir}/ilrd.conf", os.O_RDONLY)], "memfd_create"),
                           ([os.open(w.dir, os.O_PATH)], "memfd_create"), ([memory(b"")], "1 to 32768 bytes"),
                           ([memory(bytes(32 * 1024 + 1))], "1 to 32768 bytes"), ([], "expected 1 descriptor"),
                           ([memory(KEY), memory(KEY)], "takes at most 1 descriptors"),
                           ([memory(KEY) for _ in range(200)], "more than 8 descriptors")):
            answer = unlock(w, i, "vault", fds)
            assert words in failure_of(answer)["message"], answer
        os.close(write_end)
        ours.close()
        for method in ("List", "Describe"):
            with w.connect() as s:
                s.sendmsg([json.dumps({"method": f"io.ilrd.Recovery.{method}"}).encode() + b"\0"],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
                assert "takes at most 0" in failure_of(Reader(s).next())["message"]
        wait_for("all of them are closed", lambda: open_files(w) <= before)
        assert asked(w, "unlock") == []
        # A key that is not at its descriptor's position is the whole file nevertheless.
        assert "error" not in unlock(w, i, "vault", [memory(KEY)])
        assert base64.b64decode(asked(w, "unlock")[0]["key"]) == KEY
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def one_at_a_time():
    with World() as w:
        w.helper.keys = {"vault": KEY}
        w.helper.hold["up"] = threading.Event()
        with w.connect() as s:
            s.sendall(json.dumps({"method": "io.ilrd.Recovery.Provision", "more": True,
                                  "parameters": {"recoveryPoint": point_id()}}).encode() + b"\0")
            reader = Reader(s)
            wait_for("up", lambda: asked(w, "up"))
            i = w.call("List")["parameters"]["sessions"][0]["id"]
            answer = unlock(w, i, "vault", [memory(KEY)])
            assert answer["error"].endswith("RequestRefused") and "is attaching" in failure_of(answer)["message"], answer
            w.helper.hold.pop("up").set()
            while reader.next().get("continues"):
                pass
        w.helper.hold["unlock"] = threading.Event()
        results = []
        first = threading.Thread(target=lambda: results.append(unlock(w, i, "vault", [memory(KEY)])))
        first.start()
        wait_for("the first", lambda: asked(w, "unlock"))
        answer = unlock(w, i, "vault", [memory(KEY)])
        assert answer["error"].endswith("Busy") and "vault" in failure_of(answer)["message"], answer
        # Released meanwhile: who waits is told, and nothing is left.
        released = threading.Thread(target=lambda: results.append(w.ilrctl("release", i).returncode))
        released.start()
        first.join(60)
        assert failure_of(results[0])["name"] == "Cancelled", results
        w.helper.hold.pop("unlock").set()
        released.join(60)
        assert results[1] == 0, results
        w.assert_clean()


def who_asked_is_gone():
    """The unlock goes on, and the next one who looks sees it."""
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        w.helper.hold["unlock"] = threading.Event()
        with w.connect() as s:
            send_unlock(s, i, "vault", [memory(KEY)])
            wait_for("the helper", lambda: asked(w, "unlock"))
        w.helper.hold.pop("unlock").set()
        wait_for("it is open", lambda: "vault-open" in volumes_of(described(w, i)))
        assert w.helper.hung_up == []
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def who_asked_reads_no_more():
    """Half of his connection is closed: the answer finds nobody, and ilrd does not mind."""
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        w.helper.hold["unlock"] = threading.Event()
        with w.connect() as s:
            send_unlock(s, i, "vault", [memory(KEY)])
            wait_for("the helper", lambda: asked(w, "unlock"))
            s.shutdown(socket.SHUT_RD)
            w.helper.hold.pop("unlock").set()
            wait_for("it is open", lambda: "vault-open" in volumes_of(described(w, i)))
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def tell_in_status(w, what):
    """Each session's entry in the helper's status is changed by what(entry)."""
    real = w.helper.answer

    def answer(verb, request):
        told = real(verb, request)
        for entry in told["sessions"] if verb == "status" else []:
            what(entry)
        return told

    w.helper.answer = answer


def restart_during_an_unlock():
    """The session's unit is being reloaded then: it stands."""
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        tell_in_status(w, lambda entry: entry.update(up="reloading"))
        w.helper.hold["status"] = threading.Event()
        w.kill_ilrd()
        w.start_ilrd()
        answer = unlock(w, i, "vault", [memory(KEY)])
        assert answer["error"].endswith("Busy") and "not known yet" in failure_of(answer)["message"], answer
        assert "in a moment" in failure_of(answer)["hint"], answer
        w.helper.hold.pop("status").set()
        wait_for("it is known", lambda: not failure_of(unlock(w, i, "none", [memory(KEY)]))["name"] == "Busy")
        assert described(w, i)["state"] == "ready", w.journal()
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def unlocked_beside_one_that_fails():
    """What root unlocks while somebody else's key is tried is seen when that one was wrong."""
    with World() as w:
        w.helper.keys = {"vault": KEY, "other": KEY}
        i = session_of(w.provision()[-1])["id"]
        tell_in_status(w, lambda entry: entry.update(volumes=w.helper.encrypted(entry["session"])))
        w.helper.hold["unlock"] = threading.Event()
        answers = []
        first = threading.Thread(target=lambda: answers.append(unlock(w, i, "vault", [memory(b"wrong")])))
        first.start()
        wait_for("the helper", lambda: asked(w, "unlock"))
        w.helper.opened.add("other")
        w.helper.hold.pop("unlock").set()
        first.join(60)
        assert failure_of(answers[0])["name"] == "WrongKey", answers
        wait_for("it is open", lambda: "other-open" in volumes_of(described(w, i)))
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def unlocked_behind_the_back():
    """What root unlocks through the helper is seen, at the latest after a restart."""
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        w.kill_ilrd()
        w.helper.opened.add("vault")
        tell_in_status(w, lambda entry: entry.update(volumes=w.helper.encrypted(entry["session"])))
        w.start_ilrd()
        wait_for("it is open", lambda: "vault-open" in volumes_of(described(w, i)))
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def interrupted_while_the_key_is_waited_for():
    with World() as w:
        w.helper.keys = {"vault": KEY}
        i = session_of(w.provision()[-1])["id"]
        for option in "--key-file=-", "--key-fd=0":
            p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "unlock", i, "vault", option],
                                 stdin=subprocess.PIPE)
            wait_for("it reads", lambda: "pipe_read" in open(f"/proc/{p.pid}/wchan").read() or
                     open(f"/proc/{p.pid}/syscall").read().startswith("0 "))
            p.send_signal(signal.SIGINT)
            assert p.wait(30) == -signal.SIGINT
        assert asked(w, "unlock") == []
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


# ---- keys of a provision ----

def provision_with_keys():
    with World() as w:
        w.helper.keys = {"one": b"first", "two": b"second", "three": b"third", "four": b"4"}
        result = w.ilrctl("provision", point_id(), "--key-file", key_file(w, b"first", "a"), "--key-file",
                          f"two={key_file(w, b'second', 'b')}", "--key-file", f"three={key_file(w, b'wrong', 'c')}",
                          "--key-file", f"none={key_file(w, b'x', 'd')}")
        assert result.returncode == 0, result
        session = w.call("List")["parameters"]["sessions"][0]
        i, volumes = session["id"], volumes_of(session)
        assert {"one-open", "two-open"} <= set(volumes) and not {"three-open", "four-open"} & set(volumes), volumes
        assert sorted(session["warnings"]) == ["four: none of the keys opens it", "none: there is no such volume to unlock",
                                               "three: none of the keys opens it"], session["warnings"]
        assert "Warning: three: none of the keys opens it" in result.stdout, result.stdout
        assert f"ilrctl unlock {i} three" in result.stdout, result.stdout
        # Each with what it may be for, and no pair twice.
        pairs = [(base64.b64decode(r["key"]), r["volume"]) for r in asked(w, "unlock")]
        assert len(set(pairs)) == len(pairs) and (b"second", "three") not in pairs and (b"x", "one") not in pairs, pairs
        assert (b"first", "four") in pairs, pairs
        assert_secret(w, b"first", b"second", b"third")
        # The right one later ends the warning.
        assert w.ilrctl("unlock", i, "three", "--key-file", key_file(w, b"third")).returncode == 0
        assert all(not warning.startswith("three") for warning in described(w, i)["warnings"])
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def who_joins_brings_keys():
    with World() as w:
        w.helper.keys = {"one": b"first", "two": b"second"}
        i = session_of(w.provision()[-1])["id"]
        result = w.ilrctl("provision", "--json", point_id(), "--key-file", key_file(w, b"second"))
        assert result.returncode == 0, result
        session = json.loads(result.stdout.splitlines()[-1])
        assert session["id"] == i and session["state"] == "ready", session
        assert not volumes_of(session)["two"]["locked"] and volumes_of(session)["one"]["locked"], session
        # While they are tried it is ready for others, and ilrd forgets them if it is restarted.
        w.helper.hold["unlock"] = threading.Event()
        joining = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", point_id(), "--key-file",
                                    key_file(w, b"first")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for("the third try", lambda: len(asked(w, "unlock")) == 3)
        assert described(w, i)["state"] == "ready"
        answer = unlock(w, i, "one", [memory(b"first")])
        assert failure_of(answer)["name"] == "Busy", answer
        assert_secret(w, b"first", b"second")
        w.kill_ilrd()
        w.helper.hold.pop("unlock").set()
        joining.communicate(timeout=60)
        assert joining.returncode == 11
        w.start_ilrd()
        session = described(w, i)
        assert session["state"] == "ready" and "was restarted" in session["warnings"][-1], session
        assert w.ilrctl("release", i).returncode == 0
        w.assert_clean()


def keys_and_the_end():
    """A session that is given up while its keys are tried, and one whose keys fail otherwise."""
    with World() as w:
        w.helper.keys = {"one": b"first"}
        w.helper.hold["unlock"] = threading.Event()
        joining = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", point_id(), "--key-file",
                                    key_file(w, b"first")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for("a try", lambda: asked(w, "unlock"))
        joining.send_signal(signal.SIGINT)
        joining.communicate(timeout=60)
        assert joining.returncode == 10
        wait_for("it is closed", lambda: w.call("List")["parameters"]["sessions"] == [])
        w.helper.hold.pop("unlock").set()
        w.assert_clean()
        w.helper.failures["unlock"] = [{"name": "UnlockFailed", "message": "cryptsetup is not installed"}]
        result = w.ilrctl("provision", "--json", point_id(), "--key-file", key_file(w, b"first"))
        session = json.loads(result.stdout.splitlines()[-1])
        assert result.returncode == 0 and session["warnings"] == ["one: cryptsetup is not installed"], result
        assert w.ilrctl("release", session["id"]).returncode == 0
        w.assert_clean()


def keys_wait_with_their_call():
    """While the point is looked for by words, and while an older session of it goes down."""
    with World(f"Azure.Vault={VAULT}") as w:
        w.helper.keys = {"one": b"first"}
        key = key_file(w, b"first")
        result = w.ilrctl("provision", "--json", "web1", "--latest", "--key-file", key)
        assert result.returncode == 0, result
        old = json.loads(result.stdout.splitlines()[-1])
        assert "one-open" in volumes_of(old), old
        w.helper.hold["down"] = threading.Event()
        releasing = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "release", old["id"]],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("it goes down", lambda: asked(w, "down"))
        w.helper.opened.clear()
        waiting = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "provision", "web1", "--latest",
                                    "--key-file", key], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while "until session" not in (line := waiting.stderr.readline()):
            assert line  # it waits for the old one
        w.helper.hold.pop("down").set()
        output = waiting.communicate(timeout=60)
        assert releasing.wait(60) == 0 and waiting.returncode == 0, output
        new = w.call("List")["parameters"]["sessions"][0]
        assert new["id"] != old["id"] and "one-open" in volumes_of(new), new
        assert w.ilrctl("release", new["id"]).returncode == 0
        w.assert_clean()


def keys_that_cannot_be():
    with World() as w:
        result = w.ilrctl("provision", point_id(), *[f"--key-file={key_file(w, b'k')}"] * 9)
        assert result.returncode == 2 and "8 times" in result.stderr, result
        result = w.ilrctl("provision", point_id(), f"--key-file=root={w.dir}/nothing")
        assert result.returncode == 2 and "No such file" in result.stderr, result
        # A name with "=" in it is given as a path.
        key_file(w, b"k", "a=b")
        result = w.ilrctl("provision", point_id(), "--key-file=./a=b", cwd=w.dir)
        assert result.returncode == 0, result
        assert asked(w, "unlock") == []  # nothing is locked
        w.ilrctl("release", "--all")
        for keys in ([{}], [{}, {}], "x", [7], [{"volume": ""}], [{"other": 1}]):
            answer = w.provision(keys=keys)[-1]
            assert "error" in answer, (keys, answer)
        w.assert_clean()


main([replay_is_chosen_per_session, replay_as_configured, replay_that_cannot_be, key_arrives_byte_for_byte,
      wrong_key_changes_nothing, key_files_and_descriptors, prompt_without_echo, prompt_given_up, only_memory_is_taken,
      one_at_a_time, who_asked_is_gone, who_asked_reads_no_more, restart_during_an_unlock,
      unlocked_beside_one_that_fails, interrupted_while_the_key_is_waited_for, unlocked_behind_the_back, provision_with_keys, who_joins_brings_keys,
      keys_and_the_end, keys_wait_with_their_call, keys_that_cannot_be])
