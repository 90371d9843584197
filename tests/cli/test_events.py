"""What ``--format json`` of ``apply`` and ``rotate`` prints: every line fits the published schema, and a run that ends without a result says why in its last one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.model.target import FileLock, Target
from reconciler.workflow.locks import lock_targets
from tests.cli.support import Ran, arn_of, outside, rewrite, run, stack
from tests.schemas import validator

SPEC: dict[str, Any] = {"channels": {"main": {"streamKey": {}}, "side": {}, "third": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = stack(tmp_path / "repo", SPEC, target={"lock": {"file": "dev.lock"}, "prune": True})
    assert run(folder, "apply", "--auto-approve").code == 0
    return folder


@pytest.fixture
def check() -> jsonschema.Draft202012Validator:
    return validator("events")


def lines(ran: Ran, check: jsonschema.Draft202012Validator) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in ran.out.splitlines()]
    for line in found:
        check.validate(line)
    assert found[0]["type"] == "version"
    return found


def ending(ran: Ran, check: jsonschema.Draft202012Validator) -> dict[str, Any]:
    """Return the last line of a run that was refused, which says what stderr says."""
    *before, last = lines(ran, check)
    assert not [line for line in before if line["type"] in ("result", "refused", "error")]
    assert last["exitCode"] == ran.code
    assert last["message"] in ran.err
    return last


def test_the_lines_of_a_whole_apply_and_a_rotation_fit_the_schema(
    folder: Path, check: jsonschema.Draft202012Validator
) -> None:
    rewrite(folder, {"channels": {**SPEC["channels"], "fourth": {"latencyMode": "NORMAL"}}})
    sorts = {line["type"] for line in lines(run(folder, "apply", "--auto-approve", "--format", "json"), check)}
    assert sorts == {"version", "plan", "step_started", "step_finished", "action_finished", "result"}
    last = lines(run(folder, "apply", "--auto-approve", "--format", "json"), check)[-1]
    assert last.pop("outputs") == run(folder, "outputs", "--format", "json").json
    assert last == {"type": "result", "complete": True, "targets": []}
    assert (
        lines(run(folder, "rotate", "stream-key", "channel/main", "--auto-approve", "--format", "json"), check)[-1][
            "complete"
        ]
        is True
    )


@pytest.mark.parametrize(
    "broken",
    [{"type": "refused", "code": "tired", "message": "x", "exitCode": 3}, {"type": "result"}, {"complete": True}],
)
def test_the_schema_refuses_what_is_no_event(broken: dict[str, Any], check: jsonschema.Draft202012Validator) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check.validate(broken)


def test_a_guardrail_is_in_the_json_after_the_plan_that_it_refuses(
    folder: Path, check: jsonschema.Draft202012Validator
) -> None:
    rewrite(folder, {"channels": {"main": {"streamKey": {}}}})
    refused = run(folder, "apply", "--auto-approve", "--format", "json")
    last = ending(refused, check)
    assert (refused.code, last["type"], last["code"]) == (3, "refused", "refused")
    assert (
        "2 of 3 managed channels would be deleted (the limit is 30 %); check the spec, or pass --allow-deletes 2"
        in last["message"]
    )
    assert json.loads(refused.out.splitlines()[1])["type"] == "plan"


@pytest.mark.parametrize("words", [("apply",), ("rotate", "stream-key", "channel/main")])
def test_a_missing_terminal_is_in_the_json(
    folder: Path, words: tuple[str, ...], check: jsonschema.Draft202012Validator
) -> None:
    last = ending(run(folder, *words, "--format", "json"), check)
    assert (last["type"], last["code"]) == ("refused", "refused")
    assert "--auto-approve" in last["message"]


def test_a_stale_plan_is_in_the_json_as_stale(folder: Path, check: jsonschema.Draft202012Validator) -> None:
    rewrite(folder, {"channels": {**SPEC["channels"], "side": {"latencyMode": "NORMAL"}}})
    assert run(folder, "plan", "--out", "p.json").code == 0
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "side"), authorized=True)
    last = ending(run(folder, "apply", "p.json", "--auto-approve", "--format", "json"), check)
    assert (last["type"], last["code"]) == ("refused", "stale")
    assert "channel/side" in last["message"]


def test_a_lock_that_is_held_is_in_the_json_as_locked(folder: Path, check: jsonschema.Draft202012Validator) -> None:
    with lock_targets((Target("dev", "us-west-2", lock=FileLock(str(folder / "dev.lock"))),), "apply"):
        last = ending(run(folder, "apply", "--auto-approve", "--format", "json"), check)
    assert (last["type"], last["code"]) == ("refused", "locked")


def test_an_error_is_in_the_json_too(folder: Path, check: jsonschema.Draft202012Validator) -> None:
    rewrite(folder, {"channels": {"main": {"type": "HUGE"}}})
    last = ending(run(folder, "apply", "--auto-approve", "--format", "json"), check)
    assert (last["type"], last["code"], last["exitCode"]) == ("error", "error", 1)
    assert "specs/live.yaml:" in last["message"]


def test_what_was_refused_can_not_be_commented_as_a_result_and_says_why(folder: Path) -> None:
    rewrite(folder, {"channels": {"main": {"streamKey": {}}}})
    (folder / "events.jsonl").write_text(
        run(folder, "apply", "--auto-approve", "--format", "json").out, encoding="utf-8"
    )
    shown = run(
        folder,
        "comment",
        "--dry-run",
        "--plan",
        "events.jsonl",
        env={name: "" for name in os.environ if name.startswith(("GITHUB_", "CI"))},
    )
    assert shown.code == 1
    assert "no apply: plan refused: dev: 2 of 3 managed channels would be deleted" in shown.err
