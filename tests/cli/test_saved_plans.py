"""Saved plans through the command line: applied once, refused when stale, and what they say when shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.plan.codec import PLAN, dumps
from tests.cli.support import arn_of, outside, rewrite, run, stack
from tests.schemas import validator

SPEC: dict[str, object] = {"channels": {"one": {"latencyMode": "LOW"}, "two": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stack(tmp_path / "repo", SPEC)


def save(folder: Path, *words: str) -> Path:
    assert run(folder, "plan", "--out", "p.json", *words).code == 0
    return folder / "p.json"


def test_a_saved_plan_fits_its_published_schema_and_can_be_shown_in_every_view(folder: Path) -> None:
    path = save(folder)
    validator("plan").validate(json.loads(path.read_text(encoding="utf-8")))
    for view, expected in (
        ("text", "2 to create"),
        ("json", '"formatVersion"'),
        ("markdown", "channel/one"),
        ("html", "<!doctype html>"),
    ):
        shown = run(folder, "show", "p.json", "--format", view)
        assert shown.code == 0
        assert expected.lower() in shown.out.lower()


def test_only_the_targets_asked_for_are_shown_and_one_that_the_plan_lacks_is_refused(tmp_path: Path) -> None:
    targets = {name: {"region": "us-west-2", "sandbox": f".sandbox/{name}.db"} for name in ("dev", "test")}
    folder = stack(tmp_path / "repo", SPEC, targets=targets)
    save(folder)
    shown = run(folder, "show", "p.json", "-t", "test", "--format", "json")
    assert [target["name"] for target in shown.json["targets"]] == ["test"]
    assert len(run(folder, "show", "p.json", "--format", "json").json["targets"]) == 2
    unknown = run(folder, "show", "p.json", "-t", "prod")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "the plan has no target 'prod'; its targets are dev, test\n"


def test_a_saved_plan_is_applied_once_even_when_it_started_from_nothing(folder: Path) -> None:
    path = save(folder)
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    again = run(folder, "apply", "p.json", "--auto-approve")
    assert again.code == 3
    path.with_name("p.json.applied").unlink()
    elsewhere = run(folder, "apply", "p.json", "--auto-approve")
    assert elsewhere.code == 3
    assert "channel/one" in elsewhere.err
    with outside(folder) as (ivs, _):
        assert len(ivs.list_channels()["channels"]) == 2


def test_a_plan_is_stale_when_a_live_field_moved_and_the_message_names_it(folder: Path) -> None:
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"one": {"latencyMode": "NORMAL"}, "two": {}}})
    save(folder)
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "one"), authorized=True)
    stale = run(folder, "apply", "p.json", "--auto-approve")
    assert stale.code == 3
    assert "channel/one" in stale.err
    assert "authorized" in stale.err
    with outside(folder) as (ivs, _):
        assert ivs.get_channel(arn=arn_of(ivs, "one"))["channel"]["latencyMode"] == "LOW"


def test_a_plan_is_not_stale_because_of_a_resource_it_does_not_touch(folder: Path) -> None:
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"one": {"latencyMode": "NORMAL"}, "two": {}}})
    save(folder)
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "two"), authorized=True)
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0


def test_a_plan_is_stale_when_the_spec_moved(folder: Path) -> None:
    save(folder)
    rewrite(folder, {"channels": {"one": {"latencyMode": "NORMAL"}, "two": {}}})
    stale = run(folder, "apply", "p.json", "--auto-approve")
    assert stale.code == 3
    assert "channel/one" in stale.err


def test_a_plan_edited_by_hand_is_refused(folder: Path) -> None:
    path = save(folder)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["targets"][0]["actions"][0]["steps"][0]["parameters"]["insecureIngest"] = True
    path.write_text(json.dumps(content), encoding="utf-8")
    refused = run(folder, "apply", "p.json", "--auto-approve")
    assert refused.code in (1, 3)
    assert "fingerprint" in refused.err
    with outside(folder) as (ivs, _):
        assert ivs.list_channels()["channels"] == []


def _other_channel(action: dict[str, Any], other: str) -> None:
    action["arn"] = other
    for step in action["steps"]:
        step["parameters"] = {"arn" if "arn" in step["parameters"] else "resourceArn": other} | {
            key: value for key, value in step["parameters"].items() if key not in ("arn", "resourceArn")
        }


def _delete_instead(action: dict[str, Any], _: str) -> None:
    action["steps"] = [{**action["steps"][0], "operation": "DeleteChannel", "parameters": {"arn": action["arn"]}}]


def _open_to_everybody(action: dict[str, Any], _: str) -> None:
    action["steps"][0]["parameters"]["authorized"] = False


def _another_owner(action: dict[str, Any], _: str) -> None:
    (step,) = (step for step in action["steps"] if step["operation"] == "TagResource")
    step["parameters"]["tags"]["ivs-reconciler:stack"] = "other"


def _hide_a_change(action: dict[str, Any], _: str) -> None:
    action["changes"] = action["changes"][:1]


def _call_a_deletion_an_update(action: dict[str, Any], other: str) -> None:
    action["steps"].append(
        {**action["steps"][0], "id": "channel/one#9", "operation": "DeleteChannel", "parameters": {"arn": other}}
    )


@pytest.mark.parametrize(
    "edit",
    [_other_channel, _delete_instead, _open_to_everybody, _another_owner, _hide_a_change, _call_a_deletion_an_update],
)
def test_a_forged_plan_is_refused_although_its_fingerprints_are_right(
    folder: Path, edit: Callable[[dict[str, Any], str], None]
) -> None:
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"one": {"latencyMode": "NORMAL", "authorized": True}, "two": {}}})
    path = save(folder)
    with outside(folder) as (ivs, _):
        arns = [arn_of(ivs, name) for name in ("one", "two")]
        before = [ivs.get_channel(arn=arn)["channel"] for arn in arns]
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content["targets"][0]["actions"][0], arns[1])
    path.write_text(dumps(PLAN.read(content)), encoding="utf-8")
    assert run(folder, "show", "p.json").code == 0, "as a file it is whole"
    refused = run(folder, "apply", "p.json", "--auto-approve")
    assert refused.code == 3
    assert "channel/one: " in refused.err
    with outside(folder) as (ivs, _):
        assert [ivs.get_channel(arn=arn)["channel"] for arn in arns] == before


def test_protection_taken_out_of_a_saved_plan_is_still_there(folder: Path) -> None:
    rewrite(folder, {"channels": {"one": {"protect": True}, "two": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"two": {}}})
    path = save(folder, "--prune")
    content = json.loads(path.read_text(encoding="utf-8"))
    for action in content["targets"][0]["actions"]:
        action["blocked"] = None
    path.write_text(dumps(PLAN.read(content)), encoding="utf-8")
    assert run(folder, "apply", "p.json", "--auto-approve").code != 0
    with outside(folder) as (ivs, _):
        assert len(ivs.list_channels()["channels"]) == 2


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"formatVersion": "9.0"}', "\x00", '{"formatVersion": "2.0", "targets": 7}']
)
def test_a_file_that_is_no_plan_gets_a_message(folder: Path, content: str) -> None:
    (folder / "p.json").write_text(content, encoding="utf-8")
    for words in (("show", "p.json"), ("apply", "p.json", "--auto-approve")):
        refused = run(folder, *words)
        assert refused.code in (1, 3)
        assert refused.err.strip()


def test_a_missing_plan_file_gets_a_message(folder: Path) -> None:
    assert "nowhere.json" in run(folder, "show", "nowhere.json").err


def test_a_plan_of_another_account_is_refused(folder: Path) -> None:
    save(folder)
    project = (folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
    (folder / "ivs-reconciler.yaml").write_text(project.replace("123456789012", "210987654321"), encoding="utf-8")
    assert run(folder, "apply", "p.json", "--auto-approve").code == 3


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of everything that is printed and is no plan."""
    folder = stack(tmp_path_factory.mktemp("others") / "repo", SPEC)
    for name, words in {
        "events": ("apply", "--auto-approve", "--format", "json"),
        "drift": ("drift", "--format", "json"),
        "status": ("status", "--format", "json"),
        "validate": ("validate", "--format", "json"),
        "schema": ("schema", "plan"),
        "text": ("plan",),
    }.items():
        (folder / f"{name}.json").write_text(run(folder, *words).out, encoding="utf-8")
    (folder / "object.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("events", "the events of an apply, not a saved plan; comment --dry-run --plan events.json shows it"),
        ("drift", "a drift report, not a saved plan; comment --dry-run --plan drift.json shows it"),
        ("status", "the output of status, not a saved plan; save one with plan --out FILE"),
        ("validate", "the output of validate, not a saved plan; save one with plan --out FILE"),
        ("schema", "a JSON Schema, not a saved plan; save one with plan --out FILE"),
        (
            "text",
            "not a saved plan (it is not JSON: Expecting value (line 1, column 1)); save one with plan --out FILE",
        ),
        ("object", "not a usable plan: /formatVersion is missing; create one with plan --out FILE"),
    ],
)
@pytest.mark.parametrize("words", [("show",), ("apply", "--auto-approve")])
def test_another_output_of_ours_is_named_for_what_it_is(
    others: Path, words: tuple[str, ...], name: str, said: str
) -> None:
    shown = run(others, *words, f"{name}.json")
    assert (shown.code, shown.out, shown.err) == (1, "", f"{name}.json: {said}\n")


def test_what_is_said_to_show_them_does(others: Path) -> None:
    for name, title in (("drift", "## Drift of stack `acme-live`"), ("events", "## Apply of stack `acme-live`")):
        shown = run(others, "comment", "--dry-run", "--plan", f"{name}.json")
        assert (shown.code, shown.err) == (0, "")
        assert title in shown.out
    refused = run(others, "comment", "--dry-run", "--plan", "status.json")
    assert refused.code == 1
    assert (
        refused.err
        == "status.json: the output of status, which cannot be posted; expected the output of plan --out, drift --format json or apply --format json\n"
    )


def test_a_plan_that_was_changed_by_hand_is_named_by_its_file(folder: Path) -> None:
    path = save(folder)
    path.write_text(path.read_text(encoding="utf-8").replace('"two"', '"nowhere"'), encoding="utf-8")
    for words in (("show",), ("comment", "--dry-run", "--plan")):
        shown = run(folder, *words, "p.json")
        assert shown.code == 3
        assert shown.err.startswith("p.json: ")


def _drop_one(folder: Path) -> None:
    rewrite(folder, {"channels": {"one": {"latencyMode": "LOW"}}})


def _change_both(folder: Path) -> None:
    rewrite(folder, {"channels": {"one": {"latencyMode": "NORMAL"}, "two": {"latencyMode": "NORMAL"}}})


def _drop_all(folder: Path) -> None:
    rewrite(folder, {})


def _lose_all(folder: Path) -> None:
    with outside(folder) as (ivs, _):
        for name in ("one", "two"):
            ivs.delete_channel(arn=arn_of(ivs, name))


@pytest.mark.parametrize(
    ("change", "scope", "allowances", "done"),
    [
        (_drop_one, ["--prune"], ["--allow-deletes", "1"], "1 done"),
        (_change_both, [], ["--allow-updates", "2"], "2 done"),
        (_drop_all, ["--prune"], ["--allow-empty", "--allow-deletes", "4"], "2 done"),
        (_lose_all, [], ["--allow-missing"], "2 done"),
    ],
)
def test_an_allowance_travels_in_the_saved_plan_and_is_shown_in_every_view(
    tmp_path: Path, change: Callable[[Path], None], scope: list[str], allowances: list[str], done: str
) -> None:
    folder = stack(tmp_path / "repo", SPEC, guardrails={"maxUpdates": 1})
    assert run(folder, "apply", "--auto-approve").code == 0
    change(folder)
    assert run(folder, "plan", *scope, "--out", "refused.json").code == 3
    without = run(folder, "apply", "refused.json", "--auto-approve")
    assert (without.code, f"or pass {allowances[0]}" in without.err) == (3, True)

    path = save(folder, *scope, *allowances)
    shown = ", ".join(sorted(f"--{option.strip()}" for option in " ".join(allowances).split("--") if option))
    for verb in (["show", "p.json"], ["comment", "--dry-run", "--plan", "p.json"], ["plan", *scope, *allowances]):
        for view in ("text", "markdown", "html") if verb[0] != "comment" else ("",):
            page = run(folder, *verb, *(["--format", view] if view else []))
            assert page.code == 0
            for allowance in shown.split(", "):
                assert allowance in page.out, (verb, view)
            assert "Guardrail overrides" in page.out
    saved = json.loads(path.read_text(encoding="utf-8"))
    validator("plan").validate(saved)
    assert len([name for name in saved["options"] if name.startswith("allow")]) == shown.count("--")
    applied = run(folder, "apply", "p.json", "--auto-approve")
    assert (applied.code, done in applied.out) == (0, True), applied.err
    assert f"Guardrail overrides: {shown}" in applied.out


def test_an_allowance_of_the_apply_adds_to_those_of_the_saved_plan(folder: Path) -> None:
    assert run(folder, "apply", "--auto-approve").code == 0
    _drop_all(folder)
    assert run(folder, "plan", "--prune", "--allow-empty", "--out", "p.json").code == 3
    assert run(folder, "apply", "p.json", "--auto-approve").code == 3
    applied = run(folder, "apply", "p.json", "--auto-approve", "--allow-deletes", "2")
    assert applied.code == 0
    assert "Guardrail overrides: --allow-deletes 2, --allow-empty" in applied.out


def test_a_plan_without_allowances_names_none(folder: Path) -> None:
    path = save(folder, "--allow-deletes", "0")
    assert "overrides" not in run(folder, "show", "p.json").out
    path = save(folder)
    assert not [name for name in json.loads(path.read_text(encoding="utf-8"))["options"] if name.startswith("allow")]
    assert "overrides" not in run(folder, "show", "p.json", "--format", "html").out
