"""Settings that a change of the project file brings: first in every preview, and checked with the guardrails of the base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.support import ACCOUNT, REGION, rewrite, run, stack
from tests.controller.git import commit, git, repository
from tests.schemas import validator

ELEVEN: dict[str, object] = {"channels": {f"c{number}": {} for number in range(11)}}
ONE: dict[str, object] = {"channels": {"c0": {}}}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/limited"
AWS: dict[str, object] = {
    "region": REGION,
    "accountId": ACCOUNT,
    "roleArn": ROLE,
    "lock": {"s3": {"bucket": "acme-locks", "key": "k"}},
}


def project(folder: Path, **more: object) -> None:
    path = folder / "ivs-reconciler.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = more.pop("target", {})
    content |= more
    content["targets"]["dev"] |= target
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def applied(tmp_path: Path) -> Path:
    """Eleven channels, applied from ``main``; a branch ``side`` is checked out."""
    folder = stack(repository(tmp_path / "repo"), ELEVEN)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    commit(folder)
    assert run(folder, "apply", "--auto-approve").code == 0
    git(folder, "checkout", "-q", "-b", "side")
    return folder


def changes(report: Any) -> dict[str, tuple[str | None, str | None, bool]]:
    return {
        each["path"]: (each["before"], each["after"], each.get("widens", False)) for each in report["base"]["settings"]
    }


@pytest.mark.parametrize(
    ("before", "after", "path", "expected"),
    [
        ({}, {"target": {"prune": True}}, "targets.dev.prune", (None, "true", True)),
        ({"target": {"prune": True}}, {"target": {"prune": False}}, "targets.dev.prune", ("true", "false", False)),
        ({}, {"guardrails": {"maxDeletes": None}}, "guardrails.maxDeletes", (None, "null", True)),
        ({}, {"guardrails": {"maxDeletePercent": 31}}, "guardrails.maxDeletePercent", (None, "31", True)),
        ({}, {"guardrails": {"maxDeletes": 5}}, "guardrails.maxDeletes", (None, "5", False)),
        (
            {"guardrails": {"maxUpdates": 5}},
            {"guardrails": {"onLive": "block"}},
            "guardrails.maxUpdates",
            ("5", None, True),
        ),
        ({}, {"guardrails": {"onLive": "wait"}}, "guardrails.onLive", (None, '"wait"', True)),
        ({}, {"target": {"guardrails": {"maxDeletes": 5}}}, "targets.dev.guardrails.maxDeletes", (None, "5", False)),
        (
            {"target": {"guardrails": {"maxDeletes": 5}}},
            {"target": {"guardrails": {"maxDeletes": 6}}},
            "targets.dev.guardrails.maxDeletes",
            ("5", "6", True),
        ),
        (
            {"target": {"guardrails": {"maxDeletes": 5}}},
            {"target": {"guardrails": None}},
            "targets.dev.guardrails.maxDeletes",
            ("5", None, True),
        ),
        (
            {"guardrails": {"onLive": "wait"}, "target": {"guardrails": {"onLive": "block"}}},
            {"target": {"guardrails": {"onLive": "wait"}}},
            "targets.dev.guardrails.onLive",
            ('"block"', '"wait"', True),
        ),
        ({}, {"ignoreTags": ["*"]}, "ignoreTags", (None, '["*"]', True)),
        ({"ignoreTags": ["a", "b"]}, {"ignoreTags": ["a"]}, "ignoreTags", ('["a", "b"]', '["a"]', False)),
        ({}, {"specs": ["specs/*.yaml"]}, "specs", (None, '["specs/*.yaml"]', False)),
        ({}, {"stack": "other"}, "stack", ('"acme-live"', '"other"', True)),
        ({}, {"target": {"region": "eu-west-1"}}, "targets.dev.region", ('"us-west-2"', '"eu-west-1"', True)),
        ({}, {"target": {"accountId": None}}, "targets.dev.accountId", (f'"{ACCOUNT}"', "null", True)),
        ({}, {"target": {"roleArn": None}}, "targets.dev.roleArn", (f'"{ROLE}"', "null", True)),
        (
            {},
            {"target": {"endpointUrl": "https://ivs.example.com/"}},
            "targets.dev.endpointUrl",
            (None, '"https://ivs.example.com/"', True),
        ),
        (
            {},
            {"target": {"lock": {"s3": {"bucket": "acme-locks", "key": "l"}}}},
            "targets.dev.lock.s3.key",
            ('"k"', '"l"', True),
        ),
    ],
)
def test_a_changed_setting_is_first_in_a_comparison_and_marked_if_it_widens(
    tmp_path: Path,
    before: dict[str, object],
    after: dict[str, object],
    path: str,
    expected: tuple[str | None, str | None, bool],
) -> None:
    folder = stack(repository(tmp_path / "repo"), ONE)
    file = folder / "ivs-reconciler.yaml"
    file.write_text(yaml.safe_dump({"stack": "acme-live", "targets": {"dev": AWS}}), encoding="utf-8")
    project(folder, **json.loads(json.dumps(before)))
    commit(folder, tag="base")
    project(folder, **json.loads(json.dumps(after)))
    commit(folder)
    report = run(folder, "diff", "base..HEAD", "--format", "json").json
    assert changes(report)[path] == expected
    validator("plan").validate(report)
    shown = run(folder, "diff", "base..HEAD").out
    assert (f"  ! {path}: " in shown) is expected[2]
    assert f"{path}: {expected[0] or '(not set)'} -> {expected[1] or '(not set)'}" in shown
    assert shown.index("Settings changed in the project file:") < shown.index("dev: ")


def test_every_view_of_a_plan_with_a_base_and_the_comment_show_them(tmp_path: Path) -> None:
    folder = applied(tmp_path)
    project(folder, target={"prune": True}, ignoreTags=["*"])
    commit(folder)
    assert run(folder, "plan", "--base", "main", "--out", "p.json").code == 0
    for view in ("text", "markdown", "html", "json"):
        assert "targets.dev.prune" in run(folder, "show", "p.json", "--format", view).out, view
    for words in (("--plan", "p.json"), ("--diff", "main...side")):
        ran = run(folder, "comment", "--dry-run", *words)
        assert "targets.dev.prune: (not set) " in ran.out
        assert "widens what an apply may do" in ran.out
    assert "No changes" in run(folder, "show", "p.json").out


def test_a_base_that_moved_on_does_not_count_as_a_change_of_the_branch(tmp_path: Path) -> None:
    folder = applied(tmp_path)
    git(folder, "checkout", "-q", "main")
    project(folder, target={"prune": True})
    commit(folder)
    git(folder, "checkout", "-q", "side")
    assert "settings" not in run(folder, "plan", "--base", "main", "--format", "json").json["base"]


@pytest.mark.parametrize(
    "lifted", [{"maxDeletePercent": None}, {"maxDeletePercent": 100}, {"maxDeletes": None, "maxDeletePercent": None}]
)
def test_a_commit_does_not_lift_the_guardrails_that_it_is_checked_with(
    tmp_path: Path, lifted: dict[str, object]
) -> None:
    folder = applied(tmp_path)
    project(folder, guardrails=lifted, target={"prune": True})
    rewrite(folder, ONE)
    commit(folder)
    planned = run(folder, "plan", "--base", "main", "--out", "p.json")
    assert "10 of 11 managed channels would be deleted (the limit is 30 %)" in planned.out + planned.err
    assert "guardrails differ from those of the base; the stricter of both are used" in planned.out
    saved = (folder / "p.json").read_text(encoding="utf-8")
    edited = json.loads(saved)
    del edited["base"]["guardrails"]
    for content in (json.dumps(edited), saved):
        (folder / "p.json").write_text(content, encoding="utf-8")
        ran = run(folder, "apply", "p.json", "--auto-approve")
        assert ran.code == 3
        assert "10 of 11 managed channels would be deleted (the limit is 30 %)" in ran.err
    assert run(folder, "apply", "p.json", "--auto-approve", "--allow-deletes", "10").code == 0


def test_stricter_guardrails_of_the_head_hold_as_well(tmp_path: Path) -> None:
    folder = applied(tmp_path)
    project(folder, guardrails={"maxDeletes": 1, "maxDeletePercent": None}, target={"prune": True})
    rewrite(folder, {"channels": {f"c{number}": {} for number in range(9)}})
    commit(folder)
    planned = run(folder, "plan", "--base", "main")
    assert "2 of 11 managed channels would be deleted (the limit is 1)" in planned.out + planned.err


@pytest.mark.parametrize("content", ["stack: [\n", "", "stack: acme-live\nguardrails: {maxDeletePercent: lots}\n"])
def test_a_base_that_cannot_be_read_has_the_default_guardrails(tmp_path: Path, content: str) -> None:
    folder = applied(tmp_path)
    project(folder, guardrails={"maxDeletePercent": None}, target={"prune": True})
    rewrite(folder, ONE)
    good = (folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
    (folder / "ivs-reconciler.yaml").write_text(content, encoding="utf-8")
    commit(folder, tag="broken")
    (folder / "ivs-reconciler.yaml").write_text(good, encoding="utf-8")
    commit(folder)
    planned = run(folder, "plan", "--base", "broken")
    assert "(the limit is 30 %)" in planned.out + planned.err


@pytest.mark.parametrize("lifted", [{"guardrails": {"maxDeletes": 10}}, {"guardrails": None}, "renamed"])
def test_guardrails_of_a_target_are_checked_by_itself_and_not_lifted_by_a_commit(tmp_path: Path, lifted: Any) -> None:
    folder = applied(tmp_path)
    project(folder, guardrails={"maxDeletes": 11, "maxDeletePercent": None}, target={"prune": True})
    rewrite(folder, {"channels": {f"c{number}": {} for number in range(7)}})
    commit(folder)
    assert run(folder, "plan").code == 0, "the project allows it"
    project(folder, target={"guardrails": {"maxDeletes": 3}})
    commit(folder, tag="with_stricter_guardrails")
    for words in (("plan",), ("apply", "--auto-approve")):
        ran = run(folder, *words)
        assert ran.code == 3
        assert "4 of 11 managed channels would be deleted (the limit is 3)" in ran.out + ran.err
    path = folder / "ivs-reconciler.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = content["targets"].pop("dev")
    content["targets"] = (
        {"other": {**target, "guardrails": None}} if lifted == "renamed" else {"dev": {**target, **lifted}}
    )
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    commit(folder)
    planned = run(folder, "plan", "--base", "with_stricter_guardrails", "--out", "p.json")
    assert planned.code == 3
    assert "4 of 11 managed channels would be deleted (the limit is 3)" in planned.out + planned.err
    assert "guardrails differ from those of the base" in planned.out
    assert run(folder, "apply", "p.json", "--auto-approve").code == 3


def test_a_base_that_was_cut_out_or_edited_does_not_lift_guardrails_if_apply_names_it(tmp_path: Path) -> None:
    folder = applied(tmp_path)
    project(folder, guardrails={"maxDeletePercent": None}, target={"prune": True})
    rewrite(folder, ONE)
    commit(folder)
    run(folder, "plan", "--base", "main", "--out", "p.json")
    saved = json.loads((folder / "p.json").read_text(encoding="utf-8"))
    head = git(folder, "rev-parse", "HEAD").strip()
    forged = {
        "cut.json": (None, "records no base to compare with main"),
        "moved.json": ({"name": "side", "commit": head}, "(the limit is 30 %)"),
        "unknown.json": ({"name": "main", "commit": "0" * 40}, "(the limit is 30 %)"),
    }
    for name, (base, said) in forged.items():
        (folder / name).write_text(
            json.dumps({**saved, "base": base} if base else _without_base(saved)), encoding="utf-8"
        )
        ran = run(folder, "apply", name, "--auto-approve", "--base", "main")
        assert (ran.code, said in ran.err) == (3, True), (name, ran.err)
    ran = run(folder, "apply", "p.json", "--auto-approve", "--base", "nowhere")
    assert (ran.code, "nowhere" in ran.err) == (1, True)


def _without_base(saved: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in saved.items() if key != "base"}
