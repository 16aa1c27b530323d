# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilrctl login: a person signs in, and Azure hears of her instead of the host."""

import json
import subprocess

from harness import BUILD, VAULT, Reader, failure_of, main, point_id, send, states, wait_for
from identity import Login
from users import ALICE, BOB, Users, several_users


class Desk(Login):
    def code(self, s):
        """Begins a sign-in on the connection, gives the code to enter."""
        send(s, "Login", {}, more=True)
        self.reader = Reader(s)
        first = self.reader.next()
        assert first["continues"] and first["parameters"]["verificationUri"].startswith("https://"), first
        return first["parameters"]["userCode"]

    def sign_in(self, person="anna@example.com"):
        with self.connect() as s:
            self.control("PUT", f"/sim/devices/{self.code(s)}", {"person": person})
            return self.reader.next()


def provisioned_by(w):
    """Whose name the latest POST of a provision has."""
    posts = [r for r in w.state()["requests"] if r["method"] == "POST" and "provisionInstantItemRecovery" in r["path"]]
    return posts[-1]["principal"]


def person_is_named_until_she_signs_out():
    with Desk() as w:
        assert states(w.provision())[-1] == "ready"
        assert provisioned_by(w) == "app:app1"
        session = w.call("List")["parameters"]["sessions"][0]["id"]
        w.call("Release", {"id": session})
        answer = w.sign_in()
        assert answer["parameters"]["account"] == "anna@example.com", answer
        assert states(w.provision())[-1] == "ready"
        assert provisioned_by(w) == "person:anna@example.com"
        w.call("Release", {"id": w.call("List")["parameters"]["sessions"][0]["id"]})
        revokes = [r for r in w.state()["requests"] if "revokeInstantItemRecovery" in r["path"]]
        assert revokes[-1]["principal"] == "person:anna@example.com", revokes
        assert w.ilrctl("logout").stdout == "Signed out.\n"
        assert w.ilrctl("logout").stdout == "You were not signed in.\n"
        assert states(w.provision())[-1] == "ready"
        assert provisioned_by(w) == "app:app1"
        log = w.journal()
        assert "has signed in to Azure as anna@example.com" in log and "has signed out" in log, log


def ilrctl_says_what_to_open_and_who_it_is():
    with Desk() as w:
        p = subprocess.Popen([f"{BUILD}/ilrctl", f"--socket={w.socket}", "login"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        line = p.stderr.readline()
        assert line.startswith("Open https://") and "enter the code" in line, line
        w.control("PUT", "/sim/devices/" + line.split("the code ")[1].split(",")[0], {"person": "anna@example.com"})
        out, _ = p.communicate(timeout=30)
        assert p.returncode == 0 and out == "Signed in as anna@example.com.\n", out


def token_is_renewed():
    with Desk(f"Azure.Vault={VAULT}", tokenSeconds=1) as w:
        w.sign_in()

        def renewed():
            w.stream("Points", {"vm": "none"})
            return any(r.get("credential") == "refresh" for r in w.state()["requests"])
        wait_for("a renewal", renewed)
        asked = [r for r in w.state()["requests"] if r["kind"] in ("token", "device-code")]
        assert {"token", "device-code"} == {r["kind"] for r in asked}
        journal = w.journal()
        assert all(r["clientRequestId"] and r["clientRequestId"] in journal for r in asked), asked
        assert states(w.provision())[-1] == "ready" and provisioned_by(w) == "person:anna@example.com"


def declined_and_late_are_told():
    with Desk() as w:
        with w.connect() as s:
            w.control("PUT", f"/sim/devices/{w.code(s)}", {"declined": True})
            f = failure_of(w.reader.next())
            assert f["name"] == "CredentialRejected" and "declined" in f["message"], f
            assert "ilrctl login" in f["hint"], f
        assert w.ilrctl("logout").stdout == "You were not signed in.\n"
    with Desk(deviceCodeSeconds=0) as w:
        with w.connect() as s:
            w.code(s)
            f = failure_of(w.reader.next())
            assert "in time" in f["message"] and "ilrctl login" in f["hint"], f


def one_at_a_time_and_leaving_gives_it_up():
    with Desk() as w:
        with w.connect() as s:
            code = w.code(s)
            result = w.ilrctl("login")
            assert result.returncode == 8 and "under way" in result.stderr, result
            assert "finish or end" in result.stderr, result
        # Gone: the next may begin.
        def again():
            with w.connect() as s:
                send(s, "Login", {}, more=True)
                return "error" not in Reader(s).next()
        wait_for("the first is given up", again)
        assert code


def sign_in_that_azure_ended_says_what_to_do():
    with Desk() as w:
        w.sign_in()
        w.control("DELETE", "/sim/tokens/person:anna@example.com")
        f = failure_of(w.provision()[-1])
        assert f["name"] == "CredentialRejected" and "ilrctl login" in f["hint"], f
        w.assert_clean()


@several_users
def place_of_a_sign_in_that_is_over_is_free_again():
    def sign_in_as(uid, person):
        """Its last answer."""
        with w.connect_as(uid) as s:
            send(s, "Login", {}, more=True)
            reader = Reader(s)
            answer = reader.next()
            if "error" not in answer:
                w.control("PUT", f"/sim/devices/{answer['parameters']['userCode']}", {"person": person})
                answer = reader.next()
            return answer

    with SharedDesk() as w:
        for i in range(64):
            answer = sign_in_as(62000 + i, f"person{i}@example.com")
            assert answer["parameters"].get("account") == f"person{i}@example.com", answer
        f = failure_of(sign_in_as(ALICE, "alice@example.com"))
        assert f["name"] == "LimitReached" and "ilrctl logout" in f["hint"], f
        w.control("DELETE", "/sim/tokens/person:person7@example.com")
        with w.connect_as(62007) as s:
            send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
            reader, answer = Reader(s), {"continues": True}
            while answer.get("continues"):
                answer = reader.next()
        assert failure_of(answer)["name"] == "CredentialRejected", answer
        answer = sign_in_as(ALICE, "alice@example.com")
        assert answer["parameters"].get("account") == "alice@example.com", answer
        w.assert_clean()


def without_a_tenant_it_says_so():
    with Desk() as w:
        w.kill_ilrd(15)
        with open(f"{w.dir}/ilrd.conf") as f:
            text = f.read()
        with open(f"{w.dir}/ilrd.conf", "w") as f:
            f.write("".join(l for l in text.splitlines(True) if not l.startswith("TenantId")))
        w.start_ilrd()
        result = w.ilrctl("--json", "login")
        assert json.loads(result.stdout)["parameters"]["failure"]["name"] == "NotConfigured", result


def revoke_does_not_hang_on_a_sign_in_that_is_over():
    with Desk() as w:
        w.sign_in()
        assert states(w.provision())[-1] == "ready" and provisioned_by(w) == "person:anna@example.com"
        w.control("DELETE", "/sim/tokens/person:anna@example.com")
        answer = w.call("Release", {"id": w.call("List")["parameters"]["sessions"][0]["id"]})
        assert "error" not in answer, answer
        w.assert_clean()
        revokes = [r for r in w.state()["requests"] if "revokeInstantItemRecovery" in r["path"] and r["status"] == 202]
        assert [r["principal"] for r in revokes] == ["app:app1"], revokes
        assert "the host does it by its own right" in w.journal()
        # She is forgotten, and may come again.
        assert w.ilrctl("logout").stdout == "You were not signed in.\n"
        assert w.sign_in()["parameters"]["account"] == "anna@example.com"
        assert states(w.provision())[-1] == "ready" and provisioned_by(w) == "person:anna@example.com"


def revoke_does_not_hang_on_a_right_that_is_over():
    with Desk() as w:
        w.sign_in()
        assert states(w.provision())[-1] == "ready" and provisioned_by(w) == "person:anna@example.com"
        w.fault({"on": "revoke", "fault": "forbidden", "times": 1})
        answer = w.call("Release", {"id": w.call("List")["parameters"]["sessions"][0]["id"]})
        assert "error" not in answer, answer
        w.assert_clean()
        revokes = [r for r in w.state()["requests"] if "revokeInstantItemRecovery" in r["path"]]
        assert [(r["status"], r.get("principal")) for r in revokes][1:] == [(202, "app:app1")], revokes
        # She is signed in all the same.
        assert states(w.provision())[-1] == "ready" and provisioned_by(w) == "person:anna@example.com"


class SharedDesk(Users, Desk):
    pass


@several_users
def sign_in_is_of_one_user_only():
    def provision_as(uid):
        with w.connect_as(uid) as s:
            send(s, "Provision", {"recoveryPoint": point_id()}, more=True)
            reader, answers = Reader(s), []
            while not answers or answers[-1].get("continues"):
                answers.append(reader.next())
        assert states(answers)[-1] == "ready", answers
        w.call("Release", {"id": w.call("List")["parameters"]["sessions"][0]["id"]})
        return provisioned_by(w)

    def sign_out_as(uid):
        with w.connect_as(uid) as s:
            send(s, "Logout", {})
            return Reader(s).next()["parameters"]["signedIn"]

    with SharedDesk() as w:
        with w.connect_as(ALICE) as s:
            w.control("PUT", f"/sim/devices/{w.code(s)}", {"person": "alice@example.com"})
            assert w.reader.next()["parameters"]["account"] == "alice@example.com"
        assert provision_as(BOB) == "app:app1"
        assert provision_as(ALICE) == "person:alice@example.com"
        assert not sign_out_as(BOB)
        assert provision_as(ALICE) == "person:alice@example.com"
        assert sign_out_as(ALICE)
        assert provision_as(ALICE) == "app:app1"
        w.assert_clean()


main([person_is_named_until_she_signs_out, ilrctl_says_what_to_open_and_who_it_is, token_is_renewed,
      declined_and_late_are_told, one_at_a_time_and_leaving_gives_it_up, sign_in_that_azure_ended_says_what_to_do,
      revoke_does_not_hang_on_a_sign_in_that_is_over, revoke_does_not_hang_on_a_right_that_is_over, sign_in_is_of_one_user_only,
      place_of_a_sign_in_that_is_over_is_free_again, without_a_tenant_it_says_so])
