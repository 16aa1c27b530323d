# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a caller chooses for the volumes of his session: what becomes of journals, and keys for what is locked."""

import json
import signal

from harness import OTHER_POINT, POINT, World, failure_of, main, point_id, wait_for


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


main([replay_is_chosen_per_session, replay_as_configured, replay_that_cannot_be])
