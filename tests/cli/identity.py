# SPDX-License-Identifier: LGPL-2.1-or-later
"""The simulator's login side as a client sees it: assertions, managed identity, Arc, device code, and whom the log names."""

import base64
import hashlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import TENANT, World, free_port, main

MANAGEMENT = "https://management.azure.com"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login(World):
    def __init__(self, config="", **sim):
        self.imds, self.arc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        super().__init__(config, start_sim=False)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=app",
                        "-keyout", f"{self.dir}/app.key", "-out", f"{self.dir}/app.crt"], check=True,
                       capture_output=True)
        self.start_sim({
            "expiredSecrets": ["old"], "clientCertificates": [f"{self.dir}/app.crt"], "federatedTokens": ["from-k8s"],
            "deviceIntervalSeconds": 0, "scopes": [f"https://localhost:{self.port}/.default"], "imds": {"listen": self.imds, "systemAssigned": {"clientId": "sys"},
                                                 "userAssigned": [{"clientId": "user1", "objectId": "o1"}]},
            "arc": {"listen": self.arc, "clientId": "arc1", "keyDirectory": sim.pop("keyDirectory", self.dir)}, **sim})
        self.tls = ssl.create_default_context(cafile=f"{self.dir}/ca.pem")

    def ask(self, url, form=None, headers=None):
        """Status, JSON, headers."""
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(url, data, headers or {})
        try:
            with urllib.request.urlopen(request, context=self.tls if url.startswith("https") else None) as a:
                return a.status, json.load(a), a.headers
        except urllib.error.HTTPError as a:
            text = a.read()
            return a.code, json.loads(text) if text else None, a.headers

    def token_url(self):
        return f"https://localhost:{self.port}/{TENANT}/oauth2/v2.0/token"

    def token(self, **form):
        return self.ask(self.token_url(), {"grant_type": "client_credentials", "client_id": "app1",
                                           "scope": f"{MANAGEMENT}/.default", **form})

    def assertion(self, **changes):
        with open(f"{self.dir}/app.crt") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
        now = int(time.time())
        head = {"alg": "PS256", "typ": "JWT", "x5t#S256": b64(hashlib.sha256(der).digest())}
        claims = {"aud": self.token_url(), "iss": "app1", "sub": "app1", "jti": "1", "nbf": now, "exp": now + 600, **changes}
        text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", f"{self.dir}/app.key", "-sigopt", "rsa_padding_mode:pss",
             "-sigopt", "rsa_pss_saltlen:32"], input=text.encode(), capture_output=True, check=True).stdout
        return f"{text}.{b64(signature)}"

    def older_assertion(self):
        """As clients on Microsoft's library for Python make it: RS256, SHA-1 thumbprint, times with a fraction, no nbf."""
        with open(f"{self.dir}/app.crt") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()
        now = int(time.time()) + 0.05
        # With its padding, which base64url does not have.
        head = {"alg": "RS256", "typ": "JWT", "x5t": base64.urlsafe_b64encode(hashlib.sha1(der).digest()).decode()}
        claims = {"aud": self.token_url(), "iss": "app1", "sub": "app1", "jti": "older", "iat": now, "exp": now + 600}
        text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", f"{self.dir}/app.key"], input=text.encode(),
                                   capture_output=True, check=True).stdout
        return f"{text}.{b64(signature)}"


def code_of(answer):
    return answer["error"], answer["error_description"].split(":")[0]


def secrets_are_told_apart():
    with Login() as w:
        assert w.token(client_secret="s3cret-of-the-client")[0] == 200
        assert code_of(w.token(client_secret="wrong")[1]) == ("invalid_client", "AADSTS7000215")
        assert code_of(w.token(client_secret="old")[1]) == ("invalid_client", "AADSTS7000222")


def certificate_signs_an_assertion_that_is_good_once():
    with Login() as w:
        good = w.assertion()
        form = {"client_assertion_type": JWT_BEARER}
        assert w.token(client_assertion=good, **form)[0] == 200
        assert w.token(client_assertion=good, **form)[0] == 401
        assert w.token(client_assertion=w.older_assertion(), **form)[0] == 200
        for change in ({"jti": "2", "iss": "other"}, {"jti": "3", "aud": "https://elsewhere"},
                       {"jti": "4", "exp": int(time.time()) - 700, "nbf": int(time.time()) - 1300}):
            status, answer, _ = w.token(client_assertion=w.assertion(**change), **form)
            assert status == 401 and "AADSTS" in answer["error_description"], (change, answer)
        head, claims, signature = w.assertion(jti="5").split(".")
        status, answer, _ = w.token(client_assertion=f"{head}.{claims}.{signature[:-8]}AAAAAAAA", **form)
        assert status == 401 and code_of(answer)[1] == "AADSTS700027", answer


def federated_token_is_good_as_it_is():
    with Login() as w:
        form = {"client_assertion_type": JWT_BEARER}
        assert w.token(client_assertion="from-k8s", **form)[0] == 200
        assert w.token(client_assertion="from-elsewhere", **form)[0] == 401


def metadata_service_gives_tokens_of_identities():
    with Login() as w:
        url = f"http://{w.imds}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={MANAGEMENT}"
        assert w.ask(url)[0] == 400 # no Metadata header
        status, answer, _ = w.ask(url, headers={"Metadata": "true"})
        assert status == 200 and answer["client_id"] == "sys" and isinstance(answer["expires_in"], str), answer
        assert len(answer["access_token"].split(".")) == 3, answer
        assert w.ask(url + "&object_id=o1", headers={"Metadata": "true"})[1]["client_id"] == "user1"
        assert w.ask(url + "&client_id=none", headers={"Metadata": "true"})[0] == 400
        w.control("PUT", "/sim/scenario", {"faults": [{"on": "imds", "fault": "gone", "times": 1}]})
        assert w.ask(url, headers={"Metadata": "true"})[0] == 410
        assert w.ask(url, headers={"Metadata": "true"})[0] == 200


def arc_wants_its_key_file_read():
    with Login() as w:
        url = f"http://{w.arc}/metadata/identity/oauth2/token?api-version=2020-06-01&resource={MANAGEMENT}"
        status, _, headers = w.ask(url, headers={"Metadata": "true"})
        path = headers["WWW-Authenticate"].split("=", 1)[1]
        assert status == 401 and path.startswith(w.dir) and path.endswith(".key"), headers
        with open(path) as f:
            key = f.read()
        answer = w.ask(url, headers={"Metadata": "true", "Authorization": f"Basic {key}"})
        assert answer[0] == 200 and answer[1]["client_id"] == "arc1", answer
        assert w.ask(url, headers={"Metadata": "true", "Authorization": f"Basic {key}"})[0] == 403


def person_signs_in_by_device_code_and_the_log_names_her():
    with Login() as w:
        base = f"https://localhost:{w.port}"
        scope = f"{MANAGEMENT}/user_impersonation offline_access"
        _, device, _ = w.ask(f"{base}/{TENANT}/oauth2/v2.0/devicecode", {"client_id": "app1", "scope": scope})
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "app1",
                "device_code": device["device_code"]}
        assert w.ask(w.token_url(), form)[1]["error"] == "authorization_pending"
        w.control("PUT", f"/sim/devices/{device['user_code']}", {"person": "anna@example.com"})
        status, token, _ = w.ask(w.token_url(), form)
        assert status == 200 and token["refresh_token"], token
        w.ask(f"{base}/subscriptions?api-version=2019-11-01", headers={"Authorization": f"Bearer {token['access_token']}"})
        last = [r for r in w.state()["requests"] if r.get("principal")][-1]
        assert last["principal"] == "person:anna@example.com", last
        status, again, _ = w.ask(w.token_url(), {"grant_type": "refresh_token", "client_id": "app1", "scope": scope,
                                                 "refresh_token": token["refresh_token"]})
        assert status == 200 and again["access_token"] != token["access_token"], again
        w.control("DELETE", "/sim/tokens/person:anna@example.com")
        assert w.ask(f"{base}/subscriptions?api-version=2019-11-01",
                     headers={"Authorization": f"Bearer {again['access_token']}"})[0] == 401


def declined_and_expired_are_told():
    with Login(deviceCodeSeconds=0) as w:
        url = f"https://localhost:{w.port}/{TENANT}/oauth2/v2.0/devicecode"
        _, device, _ = w.ask(url, {"client_id": "app1", "scope": f"{MANAGEMENT}/user_impersonation"})
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "app1",
                "device_code": device["device_code"]}
        assert w.ask(w.token_url(), form)[1]["error"] == "expired_token"
    with Login() as w:
        url = f"https://localhost:{w.port}/{TENANT}/oauth2/v2.0/devicecode"
        _, device, _ = w.ask(url, {"client_id": "app1", "scope": f"{MANAGEMENT}/user_impersonation"})
        w.control("PUT", f"/sim/devices/{device['user_code']}", {"declined": True})
        form["device_code"] = device["device_code"]
        assert w.ask(w.token_url(), form)[1]["error"] == "authorization_declined"


if __name__ == "__main__":
    main([secrets_are_told_apart, certificate_signs_an_assertion_that_is_good_once, federated_token_is_good_as_it_is,
          metadata_service_gives_tokens_of_identities, arc_wants_its_key_file_read,
          person_signs_in_by_device_code_and_the_log_names_her, declined_and_expired_are_told])
