# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a VM's name to a recovery point: what a user of ilrctl sees, with the real ilrd and the simulator."""

import json
import os
import time

from harness import SUBSCRIPTION, World, failure_of, main

VAULT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.RecoveryServices/vaults/"
VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/%s/providers/Microsoft.Compute/virtualMachines/%s"


def point(number, when, **more):
    return {"id": str(number), "time": when, "disks": [], **more}


def item(vm, points, group="rg", **more):
    return {"vm": vm, "resourceGroup": group, "osType": "Linux", "points": points, **more}


def vault(name, *items, **more):
    return {"resourceGroup": "rg", "name": name, "items": list(items), **more}


WEB1 = [point(101, "2026-11-20T22:00:37Z"), point(102, "2026-11-21T22:00:12Z"), point(103, "2026-11-22T03:00:00Z")]
TWO = [vault("vault1", item("web1", WEB1), item("db1", [point(201, "2026-11-20T22:00:00Z")])),
       vault("vault2", item("db1", [point(301, "2026-11-20T22:00:00Z")], group="rg2"),
             item("Müller-größe", [point(401, "2026-11-20T22:00:00Z")]))]


class Points(World):
    def __init__(self, vaults, config="", **sim):
        names = [v["name"] for v in vaults]
        super().__init__(config=f"Azure.Vault={','.join(VAULT + n for n in names)} " + config, sim={"vaults": vaults, **sim})

    def write_config(self, more):
        super().write_config(more)
        path = f"{self.dir}/ilrd.conf"
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(text.replace("," + VAULT, "\nVault=" + VAULT).replace("us,", "us "))

    def run(self, *arguments, code=0, **environment):
        p = self.ilrctl(*arguments, env={**os.environ, "TZ": "UTC", **environment})
        assert p.returncode == code, f"{arguments}: {p.returncode}\n{p.stdout}\n{p.stderr}"
        return p

    def chosen(self, *arguments, **environment):
        """Provisions, releases; the recovery point that was taken."""
        p = self.run("--json", "provision", *arguments, **environment)
        session = json.loads(p.stdout.splitlines()[-1])
        assert session["state"] == "ready"
        self.run("release", session["id"])
        return session["recoveryPoint"]


def has(text, *words):
    for word in words:
        assert word in text, f"{word!r} is not in\n{text}"


def items_of_all_vaults_are_shown():
    with Points(TWO) as w:
        p = w.run("items")
        rows = [line.split()[:3] for line in p.stdout.splitlines()]
        assert rows == [["VM", "RESOURCE", "GROUP"], ["Müller-größe", "rg", "vault2"], ["db1", "rg", "vault1"],
                        ["db1", "rg2", "vault2"], ["web1", "rg", "vault1"]], rows
        assert [r.split()[0] for r in w.run("items", "--vault=VAULT1").stdout.splitlines()[1:]] == ["db1", "web1"]
        assert len(w.run("items", "--resource-group=RG2").stdout.splitlines()) == 2
        assert len(w.run("items", "--json").stdout.splitlines()) == 4
        has(w.run("items", "--vault=nope", code=3).stderr, "nope", "vault1, vault2")


def points_are_shown_newest_first():
    with Points(TWO) as w:
        p = w.run("points", "WEB1")
        has(p.stderr, "VM web1, resource group rg", "vault1")
        assert [line.split()[1] for line in p.stdout.splitlines()] == ["POINT", "103", "102", "101"]
        has(p.stdout, "InstantRP HardenedRP", "2026-11-21T22:00:12Z", "AppConsistent", " RECOVERY ")
        ids = lambda *a: [json.loads(line)["id"] for line in w.run("--json", "points", "web1", *a).stdout.splitlines()]
        assert ids("--since=2026-11-21", "--until=2026-11-21") == ["102"]
        assert ids("--since=2026-11-21 22:00:12") == ["102", "103"]
        assert ids("--until=2026-11-21T22:00:12Z") == ["101", "102"]
        assert ids("--until=2026-11-21T22:00:11Z") == ["101"]
        # 23:00 on this wall is 22:00 UTC
        assert [json.loads(x)["id"] for x in w.run("--json", "points", "web1", "--until=2026-11-21 23:00:11",
                                                   TZ="Europe/Berlin").stdout.splitlines()] == ["101"]
        assert w.run("points", "web1", "--since=2027-01-01").stdout == "No recovery points.\n"
        has(w.run("points", "web1", "--since=soon", code=2).stderr, "--since=soon is not a time", "3 days ago")


def words_choose_the_point():
    with Points(TWO) as w:
        assert w.chosen("web1", "--latest") == "103"
        assert w.chosen("web1", "--at=2026-11-21T22:00:12Z") == "102"
        assert w.chosen("web1", "--before=2026-11-21T22:00:12Z") == "101"
        assert w.chosen("web1", "--at=2026-11-21") == "102"
        assert w.chosen("web1", "--before=2026-11-21") == "101"
        assert w.chosen("web1", "--point=101") == "101"
        assert w.chosen("mÜLLER-GRÖSSE".replace("SS", "ß"), "--latest") == "401"
        has(w.run("provision", "web1", "--at=2026-11-01", code=4).stderr, "no recovery point at or before",
            "PointNotFound", "ilrctl points")
        has(w.run("provision", "web1", "--point=999", code=4).stderr, "999")
        has(w.run("provision", "web1", code=2).stderr, "--latest")
        has(w.run("provision", "web1", "--latest", "--at=now", code=2).stderr, "only one")
        has(w.run("provision", "web1", "--latest").stderr, "Looking for web1 in 2 vaults", "Session ")
        for s in w.call("List")["parameters"]["sessions"]:
            w.run("release", s["id"])
        w.assert_clean()


def several_matches_are_listed_and_refused():
    with Points(TWO) as w:
        p = w.run("provision", "DB1", "--latest", code=3)
        has(p.stderr, "2 protected virtual machines are called DB1", "db1 (resource group rg) in vault vault1",
            "db1 (resource group rg2) in vault vault2", "Ambiguous", "--resource-group")
        assert w.state()["registrations"] == [] and w.records() == []
        assert w.chosen("db1", "--latest", "--resource-group=RG2") == "301"
        assert w.chosen("db1", "--latest", "--vault=vault1") == "201"
        assert w.chosen("db1", "--latest", f"--vault={VAULT}VAULT2") == "301"


def a_name_that_is_not_there_names_its_like():
    with Points(TWO) as w:
        has(w.run("points", "wbe1", code=4).stderr, "called wbe1 in vault1, vault2 (4 machines", "there is: web1",
            "ItemNotFound")
        has(w.run("points", "zzzzzzzz", code=4).stderr, "ilrctl items")


def ids_work_with_and_without_a_region():
    for config in ("", "Azure.Location=westus,southeastasia"):
        with Points(TWO, config) as w:
            assert w.chosen(VM % ("RG2", "DB1"), "--latest") == "301", config
            assert ("Asking region" in w.run("points", VM % ("rg", "web1")).stderr) == bool(config)
            has(w.run("points", VM % ("rg", "nobody"), code=4).stderr, "nobody")
            name = "VM%3biaasvmcontainerv2%3Brg;web1"
            assert w.chosen(f"{VAULT}vault1/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg;web1/"
                            f"protectedItems/{name}", "--latest") == "103"


def what_cannot_be_brought_up_is_refused_with_an_alternative():
    points = [point(1, "2026-11-18T22:00:00Z"), point(2, "2026-11-19T22:00:00Z", archived=True),
              point(3, "2026-11-20T22:00:00Z", encrypted=True)]
    with Points([vault("v", item("web1", points), item("enc", [point(9, "2026-11-20T22:00:00Z", encrypted=True)]))]) as w:
        p = w.run("provision", "web1", "--latest", code=5)
        has(p.stderr, "Recovery point 3 of web1", "encrypted", "PointUnusable", "--point=1")
        has(w.run("provision", "web1", "--point=2", code=5).stderr, "archive tier", "--point=1")
        has(w.run("provision", "enc", "--latest", code=5).stderr, "no recovery point of this machine")
        has(w.run("points", "web1").stdout, "ArchivedRP", "not usable: is in the archive tier")
        assert w.state()["registrations"] == [] and w.records() == []
        assert w.chosen("web1", "--point=1") == "1"


def all_shapes_of_the_service_are_understood():
    tiers = lambda *t: [{"type": a, "status": b} for a, b in t]
    points = [point(1, "2026-11-10T22:00:00Z", tiers=tiers(("InstantRP", "Deleted"), ("HardenedRP", "Valid")), timeDigits=0),
              point(2, "2026-11-11T22:00:00Z", tiers=tiers(("ArchivedRP", "Rehydrated")), timeDigits=3),
              point(3, "2026-11-12T22:00:00Z", tiers=tiers(("NewTier", "Shiny"))),
              point(4, "2026-11-13T22:00:00Z", tiers=tiers(("ArchivedRP", "Valid"), ("InstantRP", "Disabled"))),
              point(5, "2026-11-14T22:00:00Z", tiers=tiers((2, 3), (1, 3)))]
    for next_link in ("null", "empty", "absent"):
        with Points([vault("v", item("old1", points, classic=True, withoutFabric=True), item("a", []), item("b", []))],
                    nextLink=next_link, pageSize=2) as w:
            rows = {r["id"]: r for r in map(json.loads, w.run("--json", "points", "OLD1").stdout.splitlines())}
            assert [n for n in rows if rows[n]["usable"]] == ["1", "2", "3"], rows
            assert rows["1"]["tiers"] == [{"tier": "InstantRP", "status": "Deleted"}, {"tier": "HardenedRP", "status": "Valid"}]
            assert rows["1"]["timeUsec"] == 1794348000000000 and rows["2"]["timeUsec"] == 1794434400000000
            has(w.run("provision", "old1", "--latest", code=5).stderr, "kept in no tier", "--point=3")
            assert [json.loads(x)["classic"] for x in w.run("items", "--json", "old1").stdout.splitlines()] == [True]
            assert len(w.run("items").stdout.splitlines()) == 4
            if next_link == "null":
                assert w.chosen("old1", "--point=2") == "2"
                assert w.chosen(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/microsoft.classiccompute/"
                                "virtualmachines/OLD1", "--at=2026-11-10") == "1"


def a_list_without_end_is_given_up():
    with Points(TWO, nextLink="loop", pageSize=1) as w:
        has(w.run("items", code=5).stderr, "a page that was read already", "AzureAnswerInvalid")
        has(w.run("provision", "web1", "--latest", code=5).stderr, "AzureAnswerInvalid")
        # The first page has another address when it comes again.
        assert len([r for r in w.state()["requests"] if r["kind"] == "items"]) == 6
        w.assert_clean()


def same_point_by_words_and_by_id_is_one_session():
    with Points(TWO) as w:
        a = json.loads(w.run("--json", "provision", "web1", "--latest").stdout.splitlines()[-1])
        b = json.loads(w.run("--json", "provision", f"{a['vault']}/backupFabrics/Azure/protectionContainers/"
                             f"{a['container']}/protectedItems/{a['item']}/recoveryPoints/103").stdout.splitlines()[-1])
        assert a["id"] == b["id"]
        c = w.run("--json", "provision", f"{a['vault']}/protectionContainers/{a['container'].upper()}/protectedItems/"
                  f"{a['item'].replace(';', '%3b')}/recoveryPoints/103").stdout
        assert json.loads(c.splitlines()[-1])["id"] == a["id"]
        w.run("release", a["id"])
        w.assert_clean()


def a_caller_who_goes_ends_the_search():
    with Points(TWO, scenario={"faults": [{"on": "items", "fault": "delay", "seconds": 20}]}) as w:
        from harness import Reader, send, wait_for
        s = w.connect()
        send(s, "Provision", {"vm": "web1", "latest": True}, more=True)
        answer = Reader(s).next()
        assert "session" not in answer["parameters"] and "web1" in answer["parameters"]["detail"], answer
        s.close()
        w.run("list")
        w.assert_clean()


def rss(w):
    with open(f"/proc/{w.ilrd.pid}/status") as f:
        return {line.split()[0]: int(line.split()[1]) for line in f if line.startswith(("VmRSS", "VmHWM"))}


def thousand_items_and_two_thousand_points_are_quick_and_flat():
    many = [point(1000000 + n, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1700000000 + 3600 * n)))
            for n in range(2000)]
    items = [item(f"vm{n:04}", many if n == 500 else [point(n + 1, "2026-11-20T22:00:00Z")]) for n in range(1000)]
    # With the sanitizer, too: it does not keep what was freed then.
    os.environ["ASAN_OPTIONS"] = (os.environ.get("ASAN_OPTIONS", "") +
                                  ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0").lstrip(":")
    with Points([vault("big", *items)]) as w:
        w.run("points", "vm0001")  # token, connection
        before = rss(w)
        start = time.monotonic()
        assert len(w.run("items").stdout.splitlines()) == 1001
        t_items = time.monotonic() - start
        start = time.monotonic()
        assert len(w.run("points", "VM0500").stdout.splitlines()) == 2001
        t_points = time.monotonic() - start
        first = rss(w)
        for _ in range(5):
            w.run("items")
            w.run("points", "vm0500")
        after = rss(w)
        print(f"# items {t_items:.2f} s, points {t_points:.2f} s, kB: {before} -> {first} -> {after}")
        assert t_items < 20 and t_points < 40
        assert after["VmRSS:"] - first["VmRSS:"] < 4096, (before, first, after)
        answer = w.call("Items")
        assert len(answer["parameters"]["items"]) == 1000 and "continues" not in answer


def bad_requests_are_refused():
    with Points(TWO) as w:
        for parameters in ({"vm": "web1"}, {"vm": "web1", "latest": True, "atUsec": 1}, {"latest": True}):
            assert failure_of(w.call("Provision", parameters))["name"] == "InvalidRequest", parameters
        assert "only virtual machines" in failure_of(w.call("Provision", {"vm": "web1", "latest": True,
                                                                          "kind": "file-share"}))["message"]
        for key, value in (("atUsec", -1), ("atUsec", "x"), ("latest", 1), ("vm", 7)):
            answer = w.call("Provision", {"vm": "web1", key: value})
            assert answer["error"].endswith("InvalidParameter"), answer
        for parameters, words in (
                ({"vm": "web1", "latest": True, "vault": "x" * 3000}, "vault has 3000 bytes"),
                ({"vm": "web1", "latest": True, "virtualMachineId": VM % ("rg", "db1")}, "virtualMachineId does not go"),
                ({"vm": "web1", "latest": True, "sourceResourceId": "/x"}, "sourceResourceId does not go"),
                ({"recoveryPoint": "1", "container": "c", "item": "i", "resourceGroup": "rg"}, "resourceGroup goes with vm"),
                ({"recoveryPoint": "1", "container": "c", "item": "i"}, "Vault= in ilrd.conf names 2")):
            f = failure_of(w.call("Provision", parameters))
            assert f["name"] == "InvalidRequest" and words in f["message"], f
        assert failure_of(w.call("Points", {}))["name"] == "InvalidRequest"
        assert failure_of(w.call("Points", {"vm": "/subscriptions/../x"}))["name"] == "InvalidRequest"


main([items_of_all_vaults_are_shown, points_are_shown_newest_first, words_choose_the_point,
      several_matches_are_listed_and_refused, a_name_that_is_not_there_names_its_like, ids_work_with_and_without_a_region,
      what_cannot_be_brought_up_is_refused_with_an_alternative, all_shapes_of_the_service_are_understood,
      a_list_without_end_is_given_up, same_point_by_words_and_by_id_is_one_session,
      a_caller_who_goes_ends_the_search, thousand_items_and_two_thousand_points_are_quick_and_flat,
      bad_requests_are_refused])
