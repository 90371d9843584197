"""A renamed stack does not create everything a second time: what another stack has by kind and name is named with it and blocked."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import outside, run, stack

SPEC: dict[str, object] = {"channels": {"a": {}, "b": {"streamKey": {}}}, "playbackRestrictionPolicies": {"p": {}}}


def names(folder: Path) -> list[str]:
    with outside(folder) as (ivs, _):
        return sorted(channel["name"] for channel in ivs.list_channels()["channels"])


def test_a_renamed_stack_creates_nothing_beside_its_old_resources(tmp_path: Path) -> None:
    folder = stack(tmp_path, SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    stack(tmp_path, {**SPEC, "channels": {"a": {}, "b": {"streamKey": {}}, "c": {}}}, stack="renamed")
    plan = run(folder, "plan")
    assert plan.code == 0
    assert plan.out.count("of stack acme-live has the same kind and name") >= 3
    assert "--create-beside channel/a" in plan.out
    assert run(folder, "apply", "--auto-approve").code == 4
    assert names(folder) == ["a", "b", "c"]


def test_create_beside_creates_what_it_names_and_travels_in_the_saved_plan(tmp_path: Path) -> None:
    folder = stack(tmp_path, SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    stack(tmp_path, SPEC, stack="second")
    assert run(folder, "plan", "--create-beside", "*", "--out", "p.json").code == 0
    assert "--create-beside *" in run(folder, "show", "p.json").out
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert names(folder) == ["a", "a", "b", "b"]
    assert run(folder, "plan", "--detailed-exitcode").code == 0
