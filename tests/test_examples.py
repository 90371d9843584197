"""Every example is loaded, planned, applied and planned to empty, as its reader would do it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.support import run

EXAMPLES = sorted(
    path.parent for path in (Path(__file__).resolve().parent.parent / "examples").glob("*/ivs-reconciler.yaml")
)


def test_there_are_three_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["small", "studio", "two-targets"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_planned_applied_and_planned_to_empty(example: Path, tmp_path: Path) -> None:
    folder = tmp_path / example.name
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns(".sandbox"))
    assert run(folder, "validate").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 2
    applied = run(folder, "apply", "--auto-approve")
    assert applied.code == 0, applied.out + applied.err
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    assert run(folder, "drift").code == 0
    plan = json.loads(run(folder, "plan", "--format", "json").out)
    assert all(target["summary"]["unchanged"] > 0 for target in plan["targets"])
