"""The command line's refusals, and the fixtures for other projects' tests."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import sandbox as cli
from reconciler.cli.sandbox import main
from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox import faults as fault_rules
from reconciler.sandbox.ivs import sessions
from reconciler.sandbox.wire import Request

ROOT = Path(__file__).parents[2]

OTHERS_TESTS = """
import boto3
import pytest

@pytest.fixture
def ivs_sandbox_options():
    return {"limits": {"channels": 1}}

def test_a_client_made_anywhere_talks_to_the_sandbox(ivs_sandbox_env):
    ivs = boto3.client("ivs")
    ivs.create_channel(name="x")
    with pytest.raises(ivs.exceptions.ServiceQuotaExceededException):
        ivs.create_channel(name="y")
    assert boto3.client("sts").get_caller_identity()["Account"] == "123456789012"

def test_each_test_has_a_sandbox_of_its_own(ivs_sandbox):
    assert ivs_sandbox.control.worlds() == []
"""


def test_other_projects_get_fixtures_from_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(OTHERS_TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "reconciler.sandbox.pytest_plugin",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_is_found_in_every_installation() -> None:
    (found,) = importlib.metadata.entry_points(group="pytest11", name="ivs_sandbox")
    assert found.value == "reconciler.sandbox.pytest_plugin"


def test_events_are_printed_as_they_come_until_the_server_goes() -> None:
    with Sandbox(clock=VirtualClock()) as sandbox:
        command = [
            sys.executable,
            "-m",
            "reconciler.cli.sandbox",
            "sandbox",
            "follow",
            "--endpoint",
            sandbox.endpoint_url,
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            made = sandbox.handle(Request("POST", "/CreateChannel"))
            arn = json.loads(made.body)["channel"]["arn"]
            lines: list[str] = []
            reader = threading.Thread(
                target=lambda: lines.append(following.stdout.readline() if following.stdout else "")
            )
            reader.start()
            deadline = time.monotonic() + 120
            while not lines and time.monotonic() < deadline:
                # Only what comes after it has begun to listen is printed.
                sandbox.control.go_live(arn)
                sandbox.control.go_offline(arn)
                reader.join(0.3)
            sandbox.stop()
            assert following.wait(60) == 0
    assert json.loads(lines[0])["resources"] == [arn]


def test_the_verbs_and_the_server_agree_on_effects_and_healths() -> None:
    assert cli.EFFECTS == fault_rules.EFFECTS
    assert cli.HEALTHS == sessions.HEALTHS


def test_a_verb_without_a_server_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "calls", "--endpoint", "http://127.0.0.1:9"]) == 1
    assert (
        "no sandbox at http://127.0.0.1:9: Connection refused; start it with sandbox serve" in capsys.readouterr().err
    )
    assert main(["sandbox", "calls", "--endpoint", "ftp://x"]) == 1


def test_a_verb_passes_on_what_the_sandbox_refuses(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    arn = "arn:aws:ivs:us-west-2:123456789012:channel/absent"
    assert main(["sandbox", "live", arn, "--endpoint", sandbox.endpoint_url]) == 1
    assert capsys.readouterr().err == f"channel {arn} does not exist\n"
    assert main(["sandbox", "drift", arn, "nonsense", "--endpoint", sandbox.endpoint_url]) == 1
    assert "must have the form NAME=VALUE" in capsys.readouterr().err
    assert main(["sandbox", "quota", "channels", "7", "--endpoint", sandbox.endpoint_url]) == 0
    assert sandbox.control.quotas()["channels"] == 7
    assert main(["sandbox", "quota", "channels", "--endpoint", sandbox.endpoint_url]) == 0
    assert json.loads(capsys.readouterr().out.partition("}\n")[2]) == {"name": "channels", "value": 7}
    assert main(["sandbox", "quota", "nonsense", "--endpoint", sandbox.endpoint_url]) == 1
    assert main(["sandbox", "rates", "GetChannel=fast", "--endpoint", sandbox.endpoint_url]) == 1
    assert capsys.readouterr().err.endswith("GetChannel: 'fast' is not a number of calls a second\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("latencymode=NORMAL", "unknown member latencymode of a channel; known: "),
        ("arn=arn:aws:ivs:us-west-2:123456789012:channel/other", "unknown member arn of a channel; known: "),
        (
            'multitrackInputConfiguration={"bogus": 1}',
            "unknown member multitrackInputConfiguration.bogus of a channel; known: enabled, ",
        ),
    ],
)
def test_a_change_of_what_the_service_does_not_know_is_refused(
    sandbox: Sandbox, ivs: Any, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    assert main(["sandbox", "drift", arn, "latencyMode=NORMAL", change, "--endpoint", sandbox.endpoint_url]) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith(said)
    assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "LOW", "nothing of a wrong call is carried out"


def test_drift_of_a_kind_without_update_names_its_tags(
    sandbox: Sandbox, ivs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = ivs.create_channel(name="stage")["streamKey"]["arn"]
    assert main(["sandbox", "drift", arn, "value=x", "--endpoint", sandbox.endpoint_url]) == 1
    assert (
        "cannot change value: the service has no UpdateStreamKey; only tags of a stream-key can be changed (tags.NAME=VALUE)"
        in capsys.readouterr().err
    )
    assert main(["sandbox", "drift", arn, "tags.a=b", "--endpoint", sandbox.endpoint_url]) == 0
    assert ivs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "b"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--auth", "strict"],
        ["--limit", "channels"],
        ["--limit", "channels=many"],
        ["--limit", "nonsense=1"],
        ["--limit", "channels=-1"],
        ["--bucket", "x"],
        ["--accounts", "/nowhere/accounts.json"],
        ["--post-events", "ftp://x"],
        ["--post-events", "http://["],
        ["--post-events", "http://host:port/"],
        ["--post-events", "http://"],
        ["--settle-seconds", "nan"],
        ["--stop-seconds", "-1"],
        ["--host", "256.0.0.1"],
    ],
)
def test_a_server_that_cannot_start_says_why(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "serve", "--port", "0", *arguments]) == 1
    assert capsys.readouterr().err.startswith("cannot start the sandbox: ")


def test_accounts_come_from_a_file_and_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "accounts.json"
    for content in (
        "[]",
        '{"AKID": "12"}',
        '{"AKID": 5}',
        '{"AKID": {"account": "123456789012", "expires": "soon"}}',
        '{"AKID": {"account": "123456789012", "colour": "red"}}',
        "{",
    ):
        file.write_text(content)
        assert main(["sandbox", "serve", "--port", "0", "--accounts", str(file)]) == 1
        assert capsys.readouterr().err.startswith("cannot start the sandbox: ")


def test_a_taken_port_is_refused(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    port = sandbox.endpoint_url.rpartition(":")[2]
    assert main(["sandbox", "serve", "--port", port]) == 1
    assert f"127.0.0.1 port {port}: Address already in use; use another port or address" in capsys.readouterr().err


def test_importing_the_verbs_imports_nothing_heavy() -> None:
    script = "import sys, reconciler.cli.sandbox; print(json.dumps([m for m in sys.modules if m.startswith(('reconciler.sandbox', 'sqlite3', 'http', 'boto'))]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {script}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_the_sandbox_imports_nothing_else_of_ours_and_not_botocore() -> None:
    script = "import sys, json; from reconciler.sandbox import Sandbox; Sandbox(serve=False).stop(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    assert [name for name in modules if name.startswith(("botocore", "boto3"))] == []
    assert [
        name for name in modules if name.startswith("reconciler.") and not name.startswith("reconciler.sandbox")
    ] == []
