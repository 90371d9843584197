"""What plan, apply and drift make of what this machine knows of the last apply: an empty list is not believed, an interrupted apply is explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import outside, rewrite, run, stack

SPEC: dict[str, object] = {
    "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    "channels": {f"c{number:02}": {} for number in range(12)},
}


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    return folder


def vanish(folder: Path, names: set[str]) -> None:
    """Delete channels outside, which to a list is the same as not being allowed to see them."""
    with outside(folder) as (ivs, _):
        for channel in ivs.list_channels(maxResults=100)["channels"]:
            if channel["name"] in names:
                ivs.delete_channel(arn=channel["arn"])


def test_a_list_without_our_resources_is_refused_without_allow_missing(applied: Path) -> None:
    vanish(applied, {f"c{number:02}" for number in range(12)})
    planned = run(applied, "plan")
    assert planned.code == 3
    assert "12 to create" in planned.out
    said = "AWS lists 0 of the 12 channels recorded at the last apply, so 12 would be recreated"
    assert f"plan refused: dev: {said}. Check the caller's permissions, or pass --allow-missing" in planned.err
    refused = run(applied, "apply", "--auto-approve")
    assert (refused.code, "Nothing was changed" in refused.err) == (3, True)
    drift = run(applied, "drift")
    assert drift.code == 2
    assert f"note: {said}: deleted outside, or no longer visible to the caller" in drift.out
    assert run(applied, "plan", "--allow-missing").code == 0
    assert run(applied, "apply", "--auto-approve", "--allow-missing").code == 0
    assert run(applied, "plan", "--detailed-exitcode").code == 0


def test_a_saved_plan_of_an_empty_list_is_refused_as_well(applied: Path) -> None:
    vanish(applied, {f"c{number:02}" for number in range(12)})
    assert run(applied, "plan", "--out", "p.json").code == 3
    assert run(applied, "apply", "p.json", "--auto-approve").code == 3
    assert run(applied, "apply", "p.json", "--auto-approve", "--allow-missing").code == 0


def test_a_list_without_most_of_many_is_refused_and_one_without_a_few_is_not(applied: Path) -> None:
    vanish(applied, {f"c{number:02}" for number in range(3)})
    assert run(applied, "plan").code == 0
    vanish(applied, {f"c{number:02}" for number in range(7)})
    planned = run(applied, "plan")
    assert planned.code == 3
    assert "AWS lists 5 of the 12 channels recorded at the last apply, so 7 would be recreated" in planned.err


def test_the_only_resource_of_a_kind_may_be_lost_and_recreated(applied: Path) -> None:
    with outside(applied) as (ivs, _):
        (policy,) = ivs.list_playback_restriction_policies()["playbackRestrictionPolicies"]
        ivs.delete_playback_restriction_policy(arn=policy["arn"])
    assert run(applied, "drift").code == 2
    assert run(applied, "apply", "--auto-approve").code == 0
    assert run(applied, "plan", "--detailed-exitcode").code == 0


def test_a_resource_gone_from_spec_and_account_is_not_unknown(applied: Path) -> None:
    vanish(applied, {f"c{number:02}" for number in range(12)})
    rewrite(applied, {"playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}}})
    assert run(applied, "plan").code == 0


@pytest.mark.parametrize("content", ["", "{", '{"formatVersion": "9"}', "\x00\xff"])
def test_a_record_and_a_journal_that_cannot_be_read_are_passed_over(applied: Path, content: str) -> None:
    for path in (applied / ".ivs-reconciler").glob("*.json*"):
        path.write_text(content, encoding="utf-8")
    vanish(applied, {f"c{number:02}" for number in range(12)})
    assert run(applied, "plan").code == 0


def cut(folder: Path, *, after: str) -> None:
    """Cut the journal of the last apply as a kill would, right after a step was begun, in the middle of the next line."""
    path = folder / ".ivs-reconciler" / "journal-dev.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if f'"address":"{after}"' in line and '"step"' in line)
    path.write_text("".join(lines[: place + 1]) + '{"run":"', encoding="utf-8")


def test_the_next_run_says_where_a_killed_apply_ended_and_whether_its_create_is_there(applied: Path) -> None:
    cut(applied, after="channel/c05")
    with outside(applied) as (ivs, _):
        arn = next(
            channel["arn"] for channel in ivs.list_channels(maxResults=100)["channels"] if channel["name"] == "c05"
        )
    for verb in ("plan", "drift"):
        shown = run(applied, verb)
        assert "did not finish" in shown.out + shown.err
        assert f"CreateChannel for channel/c05 (found: {arn}" in shown.out + shown.err
    vanish(applied, {"c05"})
    assert "CreateChannel for channel/c05 (not found)" in run(applied, "plan").err
    assert run(applied, "apply", "--auto-approve").code == 0
    assert "note:" not in run(applied, "plan").err
    cut(applied, after="channel/c05")
    assert "note:" in run(applied, "apply", "--auto-approve").err
    assert "note:" not in run(applied, "plan").err, "an apply that found everything in order leaves nothing to explain"


def test_the_journal_holds_no_property_no_tag_and_no_secret(applied: Path) -> None:
    rewrite(
        applied, {**SPEC, "channels": {"c00": {"streamKey": {}, "name": "telling-name", "tags": {"telling": "tag"}}}}
    )
    assert run(applied, "apply", "--auto-approve").code == 0
    text = (applied / ".ivs-reconciler" / "journal-dev.jsonl").read_text(encoding="utf-8")
    allowed = {
        "run",
        "event",
        "at",
        "account",
        "pid",
        "host",
        "mark",
        "address",
        "operation",
        "outcome",
        "requestId",
        "code",
    }
    lines = [json.loads(line) for line in text.splitlines()]
    assert {key for line in lines for key in line} <= allowed
    assert [line["event"] for line in lines if line["event"] in ("run", "end")] == ["run", "end"] * 2
    assert "telling" not in text
    assert "sk_" not in text
