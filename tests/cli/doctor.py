# SPDX-License-Identifier: LGPL-2.1-or-later
"""ilrctl doctor: what an administrator is told of a host that can, or cannot, bring a recovery point up."""

import json
import os
import socket
import subprocess
import threading

from harness import BUILD, SUBSCRIPTION, VAULT, World, free_port, main, send, wait_for

WITH_VAULT = f"Azure.Vault={VAULT}"


def examine(world, *arguments):
    """The checks by name, the exit status and the text."""
    result = world.ilrctl("doctor", "--json", *arguments)
    checks = {}
    for line in result.stdout.splitlines():
        check = json.loads(line)
        assert check["result"] in ("ok", "failed", "skipped") and check["name"] not in checks, check
        checks[check["name"]] = check
    return checks, result.returncode


def good_host_passes_every_check():
    with World(WITH_VAULT) as w:
        checks, code = examine(w)
        assert code == 0, checks
        for name in ("iscsid", "state directory", "DNS of localhost", "TLS to localhost", "clock", "access token",
                     "vault vault1"):
            assert checks[name]["result"] == "ok", checks[name]
        assert "1 protected VMs" in checks["vault vault1"]["message"], checks
        assert checks["recovery portal"]["result"] == "skipped" and "--portal" in checks["recovery portal"]["hint"]
        text = w.ilrctl("doctor")
        assert text.returncode == 0 and "ok       clock" in text.stdout and "failed" not in text.stdout, text
        # Nothing was asked of Azure but to read.
        assert w.state()["registrations"] == []
        assert w.helper.verbs() == ["check", "check"]


def what_the_helper_finds_is_told_with_what_to_do():
    with World(WITH_VAULT) as w:
        w.helper.raw["check"] = json.dumps({"checks": [
            {"name": "python3", "result": "failed", "message": "python3 is not there", "hint": "install python3"}]}
            ).encode() + b"\0"
        result = w.ilrctl("doctor")
        assert result.returncode == 1, result
        assert "failed   python3" in result.stdout and "what to do: install python3" in result.stdout, result.stdout


def helper_that_is_not_there_is_a_failed_check_and_no_more():
    with World(WITH_VAULT) as w:
        os.unlink(w.helper.path)
        checks, code = examine(w)
        assert code == 1 and checks["helper"]["result"] == "failed", checks
        assert "ilr-helper.socket" in checks["helper"]["hint"], checks
        assert checks["vault vault1"]["result"] == "ok", checks


def name_that_does_not_resolve_is_told_as_that():
    with World(f"{WITH_VAULT} Azure.ManagementUrl=https://management.invalid") as w:
        checks, code = examine(w)
        assert code == 1 and checks["DNS of management.invalid"]["result"] == "failed", checks
        assert checks["TLS to management.invalid"]["result"] == "skipped", checks
        assert checks["clock"]["result"] == "skipped", checks
        # The login host is another one and is looked at by itself.
        assert checks["TLS to localhost"]["result"] == "ok", checks


def port_that_is_closed_is_told_as_that():
    with World(f"{WITH_VAULT} Azure.ManagementUrl=https://127.0.0.1:{free_port()}") as w:
        checks, code = examine(w)
        assert code == 1, checks
        assert checks["TLS to 127.0.0.1"]["result"] == "failed", checks


def certificate_of_somebody_else_names_CAFile():
    with World(WITH_VAULT) as w:
        w.kill_ilrd(15)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=other", "-keyout", f"{w.dir}/o.key", "-out", f"{w.dir}/ca.pem"], check=True,
                       capture_output=True)
        w.start_ilrd()
        checks, code = examine(w)
        assert code == 1 and checks["TLS to localhost"]["result"] == "failed", checks
        assert "CAFile=" in checks["TLS to localhost"]["hint"], checks
        assert checks["access token"]["result"] == "failed", checks
        assert checks["vault"]["result"] == "skipped", checks


def wrong_secret_fails_the_token_and_skips_the_vault():
    with World(WITH_VAULT) as w:
        with open(f"{w.dir}/secret", "w") as f:
            f.write("wrong\n")
        checks, code = examine(w)
        assert code == 1 and checks["access token"]["result"] == "failed", checks
        assert checks["access token"]["hint"] and "wrong" not in json.dumps(checks), checks
        assert checks["vault"]["result"] == "skipped", checks


def missing_permission_is_named():
    with World(WITH_VAULT) as w:
        w.control("PUT", "/sim/scenario", {"faults": [{"fault": "forbidden", "on": "items", "times": 9}]})
        checks, code = examine(w)
        assert code == 1 and checks["vault vault1"]["result"] == "failed", checks
        assert "backupProtectedItems/read" in checks["vault vault1"]["message"], checks


def vault_that_does_not_exist_is_told_and_the_other_is_read():
    other = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.RecoveryServices/vaults/gone"
    with World(WITH_VAULT) as w:
        w.kill_ilrd(15)
        with open(f"{w.dir}/ilrd.conf", "a") as f:
            f.write(f"[Azure]\nVault={other}\n")
        w.start_ilrd()
        checks, code = examine(w)
        assert code == 1 and checks["vault gone"]["result"] == "failed", checks
        assert checks["vault vault1"]["result"] == "ok", checks


def no_vault_is_no_failure():
    with World() as w:
        checks, code = examine(w)
        assert code == 0 and checks["vault"]["result"] == "skipped" and "Vault=" in checks["vault"]["hint"], checks


def portal_is_tried():
    with World() as w:
        # Nobody listens at 3260 of this address.
        checks, code = examine(w, "--portal=127.99.99.99")
        assert code == 1 and checks["recovery portal"]["result"] == "failed", checks
        assert "3260" in checks["recovery portal"]["hint"], checks
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.99.99.98", 3260))
            s.listen()
            checks, code = examine(w, "--portal=127.99.99.98")
        assert code == 0 and checks["recovery portal"]["result"] == "ok", checks
        checks, code = examine(w, "--portal=::1")
        assert code == 1 and "onnect" in checks["recovery portal"]["message"], checks
        result = w.ilrctl("doctor", "--portal=a b")
        assert result.returncode == 3 and 'portal is "a b"' in result.stderr, result


def ilrd_that_is_not_there_is_told():
    result = subprocess.run([f"{BUILD}/ilrctl", "--socket=/nowhere/socket", "doctor"], capture_output=True, text=True,
                            timeout=30)
    assert result.returncode == 11 and "ilrd.socket" in result.stderr, result


def caller_that_leaves_ends_the_examination():
    with World(WITH_VAULT) as w:
        w.helper.hold["check"] = threading.Event()
        with w.connect() as s:
            send(s, "Doctor", {}, more=True)
            wait_for("the helper is asked", lambda: any(r["verb"] == "check" for r in w.helper.asked))
        wait_for("the helper is left", lambda: "check" in w.helper.hung_up)
        w.helper.hold["check"].set()
        w.assert_clean()


def vault_in(region):
    return {"vaults": [{"resourceGroup": "rg", "name": "vault1", "location": region, "items": []}]}


def portal_of_the_vaults_region_is_tried():
    # There is no way from here to Azure's own; its name is what is looked at.
    with World(f"{WITH_VAULT} Azure.Cloud=public", sim=vault_in("southeastasia")) as w:
        checks, _ = examine(w)
        assert "pod01-rec2.sea.backup.windowsazure.com" in checks["recovery portal"]["message"], checks
        assert checks["recovery portal"]["result"] != "skipped", checks
    with World(f"{WITH_VAULT} Azure.Cloud=china Azure.Location=westeurope", sim=vault_in("China East 2")) as w:
        checks, _ = examine(w)
        assert "pod01-rec2.sha2.backup.windowsazure.cn" in checks["recovery portal"]["message"], checks
    # Nobody may tell where the vault is: it is where the VMs are.
    with World(f"{WITH_VAULT} Azure.Cloud=public Azure.Location=uksouth") as w:
        w.control("PUT", "/sim/scenario", {"faults": [{"fault": "forbidden", "on": "vault", "times": 9}]})
        checks, _ = examine(w)
        assert checks["vault vault1"]["result"] == "ok", checks
        assert "pod01-rec2.uks.backup.windowsazure.com" in checks["recovery portal"]["message"], checks


def region_that_nobody_knows_is_skipped():
    with World(f"{WITH_VAULT} Azure.Cloud=public", sim=vault_in("atlantis")) as w:
        checks, code = examine(w)
        assert code == 0 and checks["recovery portal"]["result"] == "skipped", checks
        assert "atlantis" in checks["recovery portal"]["message"], checks


def vault_with_an_odd_name_is_asked_for_by_it():
    vault = VAULT.replace("/rg/", "/größe(1)/")
    with World(sim={"vaults": [{"resourceGroup": "größe(1)", "name": "vault1", "items": []}]}) as w:
        w.kill_ilrd(15)
        with open(f"{w.dir}/ilrd.conf", "a") as f:
            f.write(f"[Azure]\nVault={vault}\n")
        w.start_ilrd()
        checks, code = examine(w)
        assert code == 0 and checks["vault vault1"]["result"] == "ok", checks


main([good_host_passes_every_check, portal_of_the_vaults_region_is_tried, region_that_nobody_knows_is_skipped,
      vault_with_an_odd_name_is_asked_for_by_it, what_the_helper_finds_is_told_with_what_to_do, helper_that_is_not_there_is_a_failed_check_and_no_more, name_that_does_not_resolve_is_told_as_that, port_that_is_closed_is_told_as_that, certificate_of_somebody_else_names_CAFile, wrong_secret_fails_the_token_and_skips_the_vault, missing_permission_is_named, vault_that_does_not_exist_is_told_and_the_other_is_read, no_vault_is_no_failure, portal_is_tried, ilrd_that_is_not_there_is_told, caller_that_leaves_ends_the_examination])
