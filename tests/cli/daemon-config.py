# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an administrator sees of a wrong configuration."""

import os
import subprocess
import tempfile

from harness import BUILD, World, failure_of, main


def check(text):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(text)
        f.flush()
        return f.name, subprocess.run([f"{BUILD}/ilrd", "--check-config", f"--config={f.name}"], capture_output=True,
                                      text=True, timeout=30)


def mistakes_are_named_with_file_and_line():
    for text, line, words in (("[Azure]\nTenant=x\n", 2, "unknown key Tenant="),
                              ("[Azure]\n\nPollIntervalSec=soon\n", 3, "PollIntervalSec=soon: expected a time"),
                              ("[Nothing]\na=b\n", 1, "unknown section [Nothing]"),
                              ("[Azure]\nClientSecret=hunter2\n", 2, "unknown key ClientSecret=")):
        name, result = check(text)
        assert result.returncode == 1, result
        assert f"{name}:{line}: " in result.stderr and words in result.stderr, result.stderr
        assert "hunter2" not in result.stderr


def good_configuration_is_fine():
    _, result = check("[Azure]\nTenantId=a\n")
    assert result.returncode == 0, result


def file_that_was_asked_for_must_be_there():
    result = subprocess.run([f"{BUILD}/ilrd", "--check-config", "--config=/nowhere/ilrd.conf"], capture_output=True,
                            text=True, timeout=30)
    assert result.returncode == 1 and "/nowhere/ilrd.conf: No such file" in result.stderr, result


def secret_that_others_can_read_is_refused():
    with World() as w:
        os.chmod(f"{w.dir}/secret", 0o644)
        failure = failure_of(w.provision()[-1])
        assert failure["name"] == "NotConfigured" and "secret" in failure["message"], failure
        w.assert_clean()


def secret_that_is_missing_is_named():
    with World() as w:
        os.unlink(f"{w.dir}/secret")
        failure = failure_of(w.provision()[-1])
        assert failure["name"] == "NotConfigured" and f"{w.dir}/secret" in failure["message"], failure
        w.assert_clean()


def nothing_configured_says_what():
    with World() as w:
        w.kill_ilrd(15)
        with open(f"{w.dir}/ilrd.conf", "w") as f:
            f.write("")
        w.start_ilrd()
        failure = failure_of(w.provision()[-1])
        assert failure["name"] == "NotConfigured" and "TenantId" in failure["message"], failure
        assert "ilrd.conf" in failure["hint"]


main([mistakes_are_named_with_file_and_line, good_configuration_is_fine, file_that_was_asked_for_must_be_there,
      secret_that_others_can_read_is_refused, secret_that_is_missing_is_named, nothing_configured_says_what])
