"""Colours: on a terminal, without one if they are asked for, and never against ``NO_COLOR``. And what an apply prints of skipped actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.at_terminal import at_terminal
from tests.cli.support import ACCOUNT, REGION, run, stack

SPEC: dict[str, object] = {"channels": {"a": {}}}
ESCAPE = "\x1b["
UNSET = {"NO_COLOR": "", "FORCE_COLOR": "", "CLICOLOR_FORCE": "", "CLICOLOR": "", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("env", "words", "colored"),
    [
        ({}, (), False),
        ({"FORCE_COLOR": "1"}, (), True),
        ({"FORCE_COLOR": "3"}, (), True),
        ({"FORCE_COLOR": "true", "TERM": "dumb"}, (), True),
        ({"FORCE_COLOR": "0"}, (), False),
        ({"FORCE_COLOR": "false"}, (), False),
        ({"CLICOLOR_FORCE": "1"}, (), True),
        ({"CLICOLOR_FORCE": "0"}, (), False),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, (), True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, (), False),
        ({"FORCE_COLOR": "1"}, ("--no-color",), False),
        ({"FORCE_COLOR": "1"}, ("--format", "json"), False),
        ({"FORCE_COLOR": "1"}, ("--format", "markdown"), False),
    ],
)
def test_colours_without_a_terminal_are_given_when_asked_for(
    tmp_path: Path, env: Mapping[str, str], words: tuple[str, ...], colored: bool
) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    ran = run(folder, "plan", *words, env={**UNSET, **env})
    assert (ran.code, ESCAPE in ran.out) == (0, colored)
    failed = run(folder, "plan", "-t", "nowhere", *words, env={**UNSET, **env})
    assert (failed.code, ESCAPE in failed.err) == (1, colored or words[:1] == ("--format",))


@pytest.mark.parametrize(
    ("env", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"CLICOLOR": "0"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_on_a_terminal(tmp_path: Path, env: Mapping[str, str], colored: bool) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    with at_terminal(folder, "plan", env={**UNSET, **env}) as screen:
        assert screen.end() == 0
    assert ("\x1b[32m" in screen.text or "\x1b[1m" in screen.text) is colored


def test_actions_skipped_for_one_reason_are_one_line(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        folder = stack(
            tmp_path / "repo",
            {
                "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
                "channels": {f"c{number:02}": {"recordingConfiguration": "archive"} for number in range(40)},
            },
            targets={"dev": {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}},
        )
        sandbox.control.deny("CreateRecordingConfiguration")
        ran = run(folder, "apply", "--auto-approve", env={"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"})
    assert ran.code == 4
    after = ran.out[ran.out.index("Applying to dev") :]
    lines = [line for line in after.splitlines() if "skipped" in line]
    assert len(lines) == 2, after
    assert "40 actions skipped (" in lines[0]
    assert lines[1].startswith("Apply partially failed for dev: 0 done, 1 failed, 40 skipped")
