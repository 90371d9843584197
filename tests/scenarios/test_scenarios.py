"""Scripts of states: each state is applied over the former one, and after every apply the next plan must be empty.

A scenario is a YAML file: a title, and a list of states, each a spec with the flags its apply needs and the actions its plan is expected to have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli.main import main
from tests.cli.support import outside, rewrite, stack

SCENARIOS = sorted(Path(__file__).parent.glob("*.yaml"))
KEYS = Path(__file__).parent / "keys"


def plan_of(folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> Mapping[str, Any]:
    capsys.readouterr()
    code = main(["-C", str(folder), "plan", "--format", "json", *flags])
    captured = capsys.readouterr()
    assert code in (0, 3), captured.err
    content: Mapping[str, Any] = json.loads(captured.out)
    (target,) = content["targets"]
    assert isinstance(target, dict)
    return target


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_apply_is_followed_by_an_empty_plan(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = yaml.safe_load(path.read_text(encoding="utf-8"))
    folder = stack(tmp_path / "repo", {})
    (folder / "keys").mkdir()
    for key in KEYS.iterdir():
        (folder / "keys" / key.name).write_text(key.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / ".sandbox").mkdir()
    with outside(folder) as (ivs, _):
        ivs.create_channel(name="unmanaged", tags={"ivs-reconciler:stack": "somebody-else", "ivs-reconciler:id": "a"})
        before = ivs.list_channels()["channels"]
    for number, state in enumerate(scenario["states"], start=1):
        rewrite(folder, state["spec"])
        flags = state.get("flags", [])
        target = plan_of(folder, capsys, flags)
        actions = [f"{action['action']} {action['address']}" for action in target["actions"]]
        assert actions == state["actions"], f"state {number}"
        code = main(["-C", str(folder), "apply", "--auto-approve", *flags])
        assert code == state.get("exit", 0), f"state {number}: {capsys.readouterr()}"
        if code == 0:
            again = plan_of(folder, capsys, flags)
            assert again["actions"] == [], f"state {number} is not empty when planned again"
            assert main(["-C", str(folder), "drift"]) == 0
    with outside(folder) as (ivs, _):
        after = {channel["arn"]: channel for channel in ivs.list_channels()["channels"]}
    assert all(after[channel["arn"]] == channel for channel in before)
