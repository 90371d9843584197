"""The control API needs a token with verified signatures, or when other machines reach the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from reconciler.sandbox import AccessKey, Sandbox
from reconciler.sandbox.http.control import CHANGES, QUERIES, RemoteControl
from reconciler.sandbox.settings import ControlError

KEYS = {"AKID": AccessKey("123456789012", secret="s")}


def status(sandbox: Sandbox, path: str, token: str = "", method: str = "GET") -> int:
    url = sandbox.endpoint_url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]")
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    request = urllib.request.Request(f"{url}/_sandbox/{path}", b"{}" if method == "POST" else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("strict", [True, False])
def test_every_operation_needs_the_token(strict: bool) -> None:
    with Sandbox(auth="strict", accounts=KEYS) if strict else Sandbox(host="0.0.0.0") as sandbox:
        for name in (*QUERIES, *CHANGES, "events/stream", "no-such", ""):
            for method in ("GET", "POST"):
                for token in ("", "Bearer", "Bearer ", "Bearer wrong", "Bearer \xe9", f"Basic {sandbox.control_token}"):
                    expected = {200} if name == "version" else {401}
                    assert {status(sandbox, name, token, method)} == expected, (name, method, token)
        assert status(sandbox, "calls", f"Bearer {sandbox.control_token}") == 200
        assert status(sandbox, "reset", f"Bearer {sandbox.control_token}", "POST") == 200
        assert len(sandbox.control_token) >= 32


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_none(host: str) -> None:
    with Sandbox(host=host) as sandbox:
        assert sandbox.control_token == ""
        assert status(sandbox, "calls") == 200


def test_a_given_token_is_needed_everywhere_and_none_can_be_chosen() -> None:
    with Sandbox(control_token="own") as sandbox:
        assert (status(sandbox, "calls"), status(sandbox, "calls", "Bearer own")) == (401, 200)
        with pytest.raises(ControlError, match="IVS_SANDBOX_TOKEN"):
            RemoteControl(sandbox.endpoint_url).call("calls")
        with pytest.raises(ControlError, match="IVS_SANDBOX_TOKEN"):
            next(RemoteControl(sandbox.endpoint_url).follow())
        assert RemoteControl(sandbox.endpoint_url, "own").call("calls") == []
    with Sandbox(auth="strict", accounts=KEYS, control_token="") as sandbox:
        assert status(sandbox, "calls") == 200


@pytest.mark.parametrize("given", ["printed", "file", "environment"])
def test_serve_and_its_verbs_share_a_token(tmp_path: Path, given: str) -> None:
    (tmp_path / "token").write_text("from-a-file\n", encoding="utf-8")
    env = {**os.environ, "IVS_SANDBOX_TOKEN": "from-the-environment" if given == "environment" else ""}
    flag = ["--control-token-file", "token"] if given == "file" else []
    command = [sys.executable, "-m", "reconciler", "-C", str(tmp_path), "sandbox"]
    serve = [*command, "serve", "--port", "0", "--host", "0.0.0.0", *flag]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=env) as serving:
        assert serving.stdout is not None
        try:
            endpoint = serving.stdout.readline().split()[4].replace("0.0.0.0", "127.0.0.1")
            serving.stdout.readline()
            if given == "printed":
                line = serving.stdout.readline()
                assert line.startswith("control it with: export IVS_SANDBOX_TOKEN=")
                env["IVS_SANDBOX_TOKEN"] = line.rstrip().partition("=")[2]
            verb = [*command, "quota", "channels", "--endpoint", endpoint]
            done = subprocess.run([*verb, *flag], capture_output=True, text=True, env=env, check=False)
            assert (done.returncode, json.loads(done.stdout)["name"]) == (0, "channels"), done.stderr
            refused = subprocess.run(
                verb, capture_output=True, text=True, env={**env, "IVS_SANDBOX_TOKEN": ""}, check=False
            )
            assert (refused.returncode, refused.stdout) == (1, "")
            assert "needs its token: set IVS_SANDBOX_TOKEN" in refused.stderr
        finally:
            serving.terminate()
