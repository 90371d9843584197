"""One way to write a length of time, wherever one is read; only how long it may be differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.controller.config import parse_duration
from reconciler.errors import SpecError
from reconciler.model.target import seconds_of
from reconciler.spec.project import load_project
from tests.cli.support import run, stack

GOOD = {"90": 90, "90s": 90, "30m": 1_800, "2h": 7_200, "24h": 86_400, "1d": 86_400}
BAD = ["", "0", "0m", "-5m", "1.5h", "5 m", "soon", "1w", "25h", "2d", "١s", "9999999d"]


@pytest.mark.parametrize(("text", "seconds"), GOOD.items())
def test_every_reader_reads_the_same(tmp_path: Path, text: str, seconds: int) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}}, guardrails={"liveDeadline": text})
    assert load_project(folder).guardrails.live_deadline == seconds_of(text) == parse_duration(text) == seconds


@pytest.mark.parametrize("text", BAD)
def test_what_is_none_is_refused_in_the_same_words(tmp_path: Path, text: str) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}}, guardrails={"liveDeadline": text})
    said = "is not a duration of at most 1 day; write it like 90s, 30m or 2h"
    with pytest.raises(SpecError) as caught:
        load_project(folder)
    assert str(caught.value).endswith(said)
    with pytest.raises(ValueError, match=said):
        seconds_of(text)


def test_the_command_line_names_the_option_and_the_text(tmp_path: Path) -> None:
    for option in ("--wait-live", "--lock-timeout"):
        ran = run(tmp_path, "apply", option, "25h")
        assert ran.code == 1
        assert f"argument {option}: '25h' is not a duration of at most 1 day; write it like 90s, 30m or 2h" in ran.err
