# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each way of ilrd to an access token, against the simulator, and what an administrator is told when it fails. Runs with a
/var/opt of its own, see credentials.sh."""

import json
import os
import socket
import subprocess
import threading

from harness import VAULT, failure_of, free_port, main, states
from identity import Login

KEYS = "/var/opt/azcmagent/tokens"


class Host(Login):
    """Without a client secret, so that other ways are taken. Lines of configuration may name {dir} and {imds}."""

    def __init__(self, *lines, environment=None, secret=False, **sim):
        self.lines, self.environment, self.with_secret = lines, environment or {}, secret
        super().__init__(**sim)

    def write_config(self, more):
        super().write_config(more)
        with open(f"{self.dir}/ilrd.conf") as f:
            text = f.read()
        if not self.with_secret:
            text = "".join(l for l in text.splitlines(True) if not l.startswith("ClientSecretFile="))
        text += "[Azure]\n" + "".join(l.format(dir=self.dir, imds=self.imds, arc=self.arc) + "\n" for l in self.lines)
        with open(f"{self.dir}/ilrd.conf", "w") as f:
            f.write(text)

    def start_ilrd(self):
        os.environ.update({k: v.format(dir=self.dir, arc=self.arc) for k, v in self.environment.items()})
        try:
            super().start_ilrd()
        finally:
            for k in self.environment:
                del os.environ[k]

    def ready(self, credential):
        """A recovery point comes up, and Azure saw the token of that credential."""
        answers = self.provision()
        assert states(answers)[-1] == "ready", answers[-1]
        tokens = [r for r in self.state()["requests"] if r.get("credential")]
        assert tokens and tokens[-1]["credential"] == credential, tokens
        assert len(tokens) == 1, tokens # one token for all requests
        return answers[-1]

    def refused(self):
        f = failure_of(self.provision()[-1])
        assert f["hint"], f
        self.assert_clean()
        return f


def client_secret():
    with Host("Credential=client-secret", secret=True) as w:
        w.ready("secret")


def certificate_with_its_key_in_one_file():
    with Host("Credential=client-certificate", "ClientCertificateFile={dir}/both.pem") as w:
        with open(f"{w.dir}/both.pem", "w") as f:
            f.write(open(f"{w.dir}/app.key").read() + open(f"{w.dir}/app.crt").read())
        os.chmod(f"{w.dir}/both.pem", 0o600)
        w.ready("certificate")


def certificate_with_an_encrypted_key_and_its_chain():
    with Host("ClientCertificateFile={dir}/app.crt", "ClientKeyFile={dir}/enc.key",
              "ClientKeyPassphraseFile={dir}/passphrase", "SendCertificateChain=yes") as w:
        os.chmod(f"{w.dir}/app.crt", 0o600)
        subprocess.run(["openssl", "pkcs8", "-topk8", "-in", f"{w.dir}/app.key", "-out", f"{w.dir}/enc.key", "-passout",
                        "pass:open sesame"], check=True, capture_output=True)
        with open(f"{w.dir}/passphrase", "w") as f:
            f.write("open sesame\n")
        os.chmod(f"{w.dir}/enc.key", 0o600)
        os.chmod(f"{w.dir}/passphrase", 0o600)
        w.ready("certificate")
        with open(f"{w.dir}/passphrase", "w") as f:
            f.write("wrong\n")
    # auto took it, and said why not the secret
    with Host("ClientCertificateFile={dir}/app.crt", "ClientKeyFile={dir}/app.key") as w:
        os.chmod(f"{w.dir}/app.crt", 0o600)
        os.chmod(f"{w.dir}/app.key", 0o600)
        w.ready("certificate")
        assert "by client-certificate (not by client-secret: There is no client secret" in w.journal(), w.journal()


def certificate_that_will_not_do_is_named_with_the_reason():
    with Host("Credential=client-certificate", "ClientCertificateFile={dir}/c.pem", "ClientKeyFile={dir}/k.pem",
              "ClientKeyPassphraseFile={dir}/p") as w:
        def put(name, text, mode=0o600):
            with open(f"{w.dir}/{name}", "w") as f:
                f.write(text)
            os.chmod(f"{w.dir}/{name}", mode)

        def openssl(*a):
            subprocess.run(["openssl", *a], check=True, capture_output=True, cwd=w.dir)
        certificate, key = open(f"{w.dir}/app.crt").read(), open(f"{w.dir}/app.key").read()
        openssl("genrsa", "-out", "other.key", "2048")
        openssl("req", "-new", "-key", "app.key", "-subj", "/CN=old", "-out", "old.csr")
        openssl("x509", "-req", "-in", "old.csr", "-signkey", "app.key", "-days", "-1", "-out", "old.crt")
        openssl("pkcs8", "-topk8", "-in", "app.key", "-out", "enc.key", "-passout", "pass:a")
        put("p", "b")
        for c, k, words in ((None, key, "cannot be read"), ("nothing", key, "no certificate"),
                            (certificate, "nothing", "no private key"),
                            (certificate, open(f"{w.dir}/other.key").read(), "another certificate"),
                            (open(f"{w.dir}/old.crt").read(), key, "expired"),
                            (certificate, open(f"{w.dir}/enc.key").read(), "passphrase does not open")):
            if c:
                put("c.pem", c)
            put("k.pem", k)
            f = w.refused()
            assert f["name"] == "NotConfigured" and words in f["message"], (words, f)
        put("c.pem", certificate)
        put("k.pem", key, 0o644)
        assert "0600" in w.refused()["message"]
        # A good pair that is not registered
        openssl("req", "-x509", "-key", "other.key", "-days", "2", "-subj", "/CN=other", "-out", "other.crt")
        put("c.pem", open(f"{w.dir}/other.crt").read())
        put("k.pem", open(f"{w.dir}/other.key").read())
        f = w.refused()
        assert f["name"] == "CredentialRejected" and f["code"].startswith("AADSTS70002"), f
        assert "PRIVATE KEY" not in w.journal()


def federated_token_is_read_again():
    with Host("Credential=workload-identity", environment={"AZURE_FEDERATED_TOKEN_FILE": "{dir}/token"}) as w:
        assert "token cannot be read" in w.refused()["message"]
        with open(f"{w.dir}/token", "w") as f:
            f.write("expired-one\n")
        assert w.refused()["name"] == "CredentialRejected"
        with open(f"{w.dir}/token", "w") as f:
            f.write("from-k8s\n")
        assert states(w.provision())[-1] == "ready"


def managed_identity():
    with Host("Credential=managed-identity", "ImdsUrl=http://{imds}") as w:
        w.ready("imds")
    with Host("Credential=managed-identity", "ImdsUrl=http://{imds}", "ManagedIdentityObjectId=o1") as w:
        w.ready("imds")
        assert any(r.get("principal") == "identity:user1" for r in w.state()["requests"])
    with Host("Credential=managed-identity", "ImdsUrl=http://{imds}", "ManagedIdentityClientId=unknown") as w:
        f = w.refused()
        assert f["name"] == "CredentialRejected" and "Identity not found" in f["message"], f


def managed_identity_survives_an_update_of_its_service():
    for faults in ([{"on": "imds", "fault": "gone", "times": 2}], [{"on": "imds", "fault": "not-found", "times": 2}],
                   [{"on": "imds", "fault": "throttled", "times": 2, "retryAfter": "1"}],
                   [{"on": "imds", "fault": "server-error", "times": 2}]):
        with Host("Credential=managed-identity", "ImdsUrl=http://{imds}") as w:
            w.control("PUT", "/sim/scenario", {"faults": faults})
            assert states(w.provision())[-1] == "ready", faults


def arc():
    environment = {"IDENTITY_ENDPOINT": "http://{arc}/metadata/identity/oauth2/token", "IMDS_ENDPOINT": "http://{arc}"}
    with Host("Credential=arc", environment=environment, keyDirectory=KEYS) as w:
        w.ready("arc")
        assert os.listdir(KEYS) == [], os.listdir(KEYS)
    with Host("Credential=arc", environment=environment) as w: # writes its keys elsewhere
        f = w.refused()
        assert f["name"] == "CredentialRejected" and "not in the directory" in f["message"], f
    with Host("Credential=arc", environment=environment, keyDirectory=KEYS) as w:
        for header, words in (("Bearer", "did not say"), (f"Basic realm={KEYS}/a.txt", "NAME.key"),
                              (f"Basic realm={KEYS}/../tokens/a.key", "NAME.key"), (f"Basic realm={KEYS}/sub/a.key", "NAME.key"),
                              (f"Basic realm={KEYS}/none.key", "No such file"),
                              (f"Basic realm={KEYS}/link.key", "cannot be read"),
                              (f"Basic realm={KEYS}/big.key", "larger than 4096"),
                              (f"Basic realm={KEYS}/dir.key", "no regular file")):
            for name in os.listdir(KEYS):
                os.rmdir(f"{KEYS}/{name}") if os.path.isdir(f"{KEYS}/{name}") else os.unlink(f"{KEYS}/{name}")
            os.symlink("/etc/hostname", f"{KEYS}/link.key")
            with open(f"{KEYS}/big.key", "w") as f:
                f.write("a" * 4097)
            os.mkdir(f"{KEYS}/dir.key")
            w.control("PUT", "/sim/scenario", {"faults": [{"on": "arc", "fault": "challenge", "message": header}]})
            f = w.refused()
            assert f["name"] == "CredentialRejected" and words in f["message"], (header, f)
    with Host("Credential=arc", environment={"IDENTITY_ENDPOINT": "http://example.com/x", "IMDS_ENDPOINT": "x"}) as w:
        assert "127.0.0.1" in w.refused()["message"]


def auto_without_anything_names_every_way():
    with Host(f"ImdsUrl=http://127.0.0.1:{free_port()}") as w:
        f = w.refused()
        assert f["name"] == "NotConfigured", f
        for word in ("client-secret:", "client-certificate:", "workload-identity:", "arc:", "managed-identity:"):
            assert word in f["message"], f


def auto_finds_the_metadata_service_and_doctor_says_so():
    with Host("ImdsUrl=http://{imds}", f"Vault={VAULT}") as w:
        w.ready("imds")
        result = w.ilrctl("doctor")
        assert "by managed-identity (not by client-secret:" in result.stdout, result.stdout


def auto_does_not_go_past_a_secret_that_is_refused():
    with Host("ImdsUrl=http://{imds}", secret=True) as w:
        with open(f"{w.dir}/secret", "w") as f:
            f.write("wrong\n")
        f = w.refused()
        assert f["name"] == "CredentialRejected" and f["code"] == "AADSTS7000215", f


def proxy_is_for_azure_and_not_for_the_metadata_service():
    seen = []
    proxy = socket.socket()
    proxy.bind(("127.0.0.1", 0))
    proxy.listen(16)

    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve():
        while True:
            try:
                client, _ = proxy.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            seen.append(head.split(b"\r\n")[0].decode())
            host, port = seen[-1].split()[1].rsplit(":", 1)
            upstream = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
            threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    with Host("Credential=managed-identity", "ImdsUrl=http://{imds}",
              f"Proxy=http://127.0.0.1:{proxy.getsockname()[1]}") as w:
        w.ready("imds")
        assert seen and all(s.startswith(f"CONNECT localhost:{w.port} ") for s in seen), seen
        # The proxy's address is not Azure's.
        lines = w.ilrctl("doctor").stdout
        assert "skipped  DNS of localhost" in lines and "left to the proxy" in lines, lines
        assert "ok       TLS to localhost" in lines, lines
        w.kill_ilrd(15)
    proxy.shutdown(socket.SHUT_RDWR)
    proxy.close()


def clouds_have_their_own_hosts():
    with Host("Cloud=china") as w:
        pass # explicit addresses win: it runs
    for cloud, words in (("mars", "public, china or usgovernment"),):
        result = subprocess.run([f"{os.environ['ILRD_BUILD']}/ilrd", "--check-config", "--config=/dev/stdin"],
                                input=f"[Azure]\nCloud={cloud}\n", capture_output=True, text=True)
        assert result.returncode == 1 and words in result.stderr, result


main([client_secret, certificate_with_its_key_in_one_file, certificate_with_an_encrypted_key_and_its_chain,
      certificate_that_will_not_do_is_named_with_the_reason, federated_token_is_read_again, managed_identity,
      managed_identity_survives_an_update_of_its_service, arc, auto_without_anything_names_every_way,
      auto_finds_the_metadata_service_and_doctor_says_so, auto_does_not_go_past_a_secret_that_is_refused,
      proxy_is_for_azure_and_not_for_the_metadata_service, clouds_have_their_own_hosts])
