"""Secrets where nobody looks: the debug logs of every library below, the words and the chains of exceptions, the files that are left behind."""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.aws.client import IvsGateway
from reconciler.errors import AwsError
from reconciler.sandbox import Sandbox, VirtualClock
from tests.builders import desired, wanted
from tests.cli.support import client, stack
from tests.reliability.world import World, worlds_client

SPEC = desired(
    wanted("channel/a"), wanted("stream-key/a"), wanted("channel/b", {"insecureIngest": True}), wanted("stream-key/b")
)


@contextlib.contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Write what any library logs, down to the last detail, where it can be searched."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    names = [name for name in logging.root.manager.loggerDict if name.startswith(("botocore", "boto3", "urllib3"))]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def secrets_of(ivs: Any) -> list[str]:
    """Return every secret of the account, asked for by a client of the test's own."""
    found = []
    for summary in ivs.list_channels()["channels"]:
        found.append(ivs.get_channel(arn=summary["arn"])["channel"]["srt"]["passphrase"])
        keys = ivs.list_stream_keys(channelArn=summary["arn"], maxResults=50)["streamKeys"]
        found += [ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"] for key in keys]
    return found


def test_the_debug_logs_of_every_library_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.cli.main import main

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "123456789012")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key-of-the-caller")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-of-the-caller")
    spec = {"channels": {"a": {"streamKey": {}}, "b": {"streamKey": {}, "insecureIngest": True}}}
    with Sandbox() as sandbox:
        folder = stack(
            tmp_path / "repo", spec, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url, "rateLimits": "off"}
        )
        sandbox.control.add_fault("error", operation="CreateChannel", when="after")
        sandbox.control.add_fault("error", operation="BatchGetChannel", when="after", skip=1)
        printed = io.StringIO()
        with everything_logged() as logged, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            assert main(["-C", str(folder), "-vv", "apply", "--auto-approve"]) in {0, 4}
            assert main(["-C", str(folder), "-vv", "apply", "--auto-approve"]) == 0
            assert main(["-C", str(folder), "-vv", "drift"]) == 0
            assert main(["-C", str(folder), "-vv", "export", "--stream-keys", "--out", "exported"]) == 0
        secrets = secrets_of(client(sandbox.endpoint_url))
    assert len(secrets) == 4
    said = logged.getvalue() + printed.getvalue()
    assert "botocore" in said or "urllib3" in said or "POST" in said, "nothing was logged, so nothing was shown"
    assert [secret for secret in [*secrets, "secret-access-key-of-the-caller"] if secret in said] == []
    left = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.rglob("*") if path.is_file())
    assert [secret for secret in secrets if secret in left] == []


@pytest.mark.parametrize("effect", ["truncate", "error", "html", "reset", "hang"])
@pytest.mark.parametrize(
    "operation", ["CreateChannel", "GetChannel", "BatchGetChannel", "UpdateChannel", "CreateStreamKey", "GetStreamKey"]
)
def test_no_failure_carries_a_secret_in_its_words_or_its_chain(effect: str, operation: str) -> None:
    clock = VirtualClock()
    ivs = worlds_client()
    sandbox = Sandbox(serve=False, clock=clock, seed=5)
    detach = sandbox.attach(ivs)
    try:
        made = ivs.create_channel(name="a")
        arn, key = made["channel"]["arn"], made["streamKey"]["arn"]
        parameters: dict[str, dict[str, Any]] = {
            "CreateChannel": {"name": "b"},
            "GetChannel": {"arn": arn},
            "BatchGetChannel": {"arns": [arn]},
            "UpdateChannel": {"arn": arn, "latencyMode": "NORMAL"},
            "CreateStreamKey": {"channelArn": arn},
            "GetStreamKey": {"arn": key},
        }
        if operation == "CreateStreamKey":
            ivs.delete_stream_key(arn=key)
        sandbox.control.add_fault(effect, operation=operation, when="after", times=50)
        gateway = IvsGateway(ivs, pacer=None, sleep=clock.sleep, draw=lambda: 0.5)
        with everything_logged() as logged, pytest.raises(AwsError) as caught:
            gateway.call(operation, parameters[operation])
        sandbox.control.clear_faults()
        secrets = secrets_of(ivs)
    finally:
        detach()
        sandbox.stop()
    said = "".join(traceback.format_exception(caught.value)) + logged.getvalue()
    error: BaseException | None = caught.value
    while error is not None:
        said += repr(error.args) + repr(vars(error))
        error = error.__context__
    assert secrets
    assert [secret for secret in secrets if secret in said] == []
    assert "Traceback" not in str(caught.value)


def test_an_apply_with_every_failure_keeps_its_secrets(tmp_path: Path) -> None:
    clock = VirtualClock()
    ivs = worlds_client()
    sandbox = Sandbox(serve=False, clock=clock, seed=5, settle_seconds=1)
    detach = sandbox.attach(ivs)
    world = World(sandbox, clock, ivs, tmp_path)
    try:
        with everything_logged() as logged:
            results = []
            for effect in ("truncate", "error", "html", "reset", "hang"):
                sandbox.control.add_fault(effect, operation="Create*", when="after", times=2)
                results.append(world.apply(SPEC))
                sandbox.control.clear_faults()
                for channel in ivs.list_channels()["channels"]:
                    ivs.delete_channel(arn=channel["arn"])
            results.append(world.apply(SPEC))
        secrets = secrets_of(ivs)
    finally:
        detach()
        sandbox.stop()
    assert len(secrets) == 4
    left = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    said = logged.getvalue() + repr(results) + left
    assert [secret for secret in secrets if secret in said] == []
