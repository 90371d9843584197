"""The plan file: strict when read, stable when written, as its published schema says."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.errors import PlanRefused, UsageError
from reconciler.json_format import JsonError
from reconciler.plan.codec import dumps, fingerprint, lines, read_plan
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import Plan, PlanOptions
from reconciler.report.json_schemas import plan_schema
from tests.builders import desired, live, of, refs, wanted
from tests.plan.case import Case
from tests.plan.test_cases import ALL, as_plan
from tests.schemas import validator

ARCHIVE = wanted("recording-configuration/archive", {"recordingReconnectWindowSeconds": 60})
MAIN = wanted(
    "channel/main",
    {"authorized": True, **refs(recordingConfigurationArn="recording-configuration/archive")},
    tags={"team": "video"},
)


def a_plan() -> Plan:
    spec = desired(ARCHIVE, MAIN)
    target = build_plan(
        spec,
        live(of(ARCHIVE, changed={"recordingReconnectWindowSeconds": 0}), of(MAIN)),
        PlanOptions(),
        target_name="prod",
    )
    return Plan(
        "acme", "2026-11-20T10:00:00Z", "0123abc", "sha256:" + spec.digest, PlanOptions(only=("channel/*",)), (target,)
    )


def from_json(content: object) -> Plan:
    return read_plan([json.dumps(content)])


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(plan_schema())


@pytest.mark.parametrize("case", ALL[::3])
def test_every_plan_is_as_the_schema_says(case: Case) -> None:
    validator("plan").validate(json.loads(dumps(as_plan(case.plan(), case))))


def test_the_published_schema_is_the_one_in_the_code(repository_root: Path) -> None:
    published = json.loads((repository_root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    assert published == plan_schema()


def test_the_file_has_the_promised_shape() -> None:
    content: Any = json.loads(dumps(a_plan()))
    assert content["formatVersion"] == "2.0"
    assert content["gitCommit"] == "0123abc"
    target = content["targets"][0]
    assert target["fingerprint"] == fingerprint(a_plan().targets[0])
    assert (target["name"], target["accountId"], target["region"]) == ("prod", "123456789012", "us-west-2")
    action = target["actions"][1]
    assert action["address"] == "channel/main"
    assert (action["kind"], action["action"], action["reason"], action["blocked"]) == (
        "channel",
        "update",
        "properties-differ",
        None,
    )
    assert action["changes"][0]["after"] == {"$ref": "recording-configuration/archive"}
    assert action["steps"][0]["operation"] == "UpdateChannel"
    assert action["steps"][0]["after"] == ["recording-configuration/archive#2"]


def test_when_and_from_which_commit_a_plan_was_made_is_no_part_of_its_fingerprint() -> None:
    content = json.loads(dumps(a_plan()))
    content["createdAt"], content["gitCommit"] = "2027-01-01T00:00:00Z", None
    assert from_json(content).targets == a_plan().targets


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        node: Any = content
        *parents, last = path.split("/")
        for token in parents:
            node = node[int(token)] if token.isdigit() else node[token]
        node[last] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _set("stack", "other"),
        _set("options/prune", True),
        _set("specDigest", "sha256:00"),
        _set("fingerprint", "sha256:00"),
        _set("targets/0/region", "eu-west-1"),
        _set("targets/0/fingerprint", "sha256:00"),
        _set("targets/0/actions/1/steps/0/parameters/authorized", False),
        _set("targets/0/actions/1/steps/0/after", []),
        _set("targets/0/actions/0/warnings", ["all is well"]),
        _set("targets/0/more", 1),
        _set("targets/0/actions/0/steps/0/parameters/\ud800", 1),
        _set("targets/0/actions/0/steps/0/binds/\ud800", "x"),
    ],
)
def test_a_plan_that_was_edited_is_refused(edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(dumps(a_plan()))
    edit(content)
    with pytest.raises(PlanRefused, match="changed after it was created"):
        from_json(content)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_set("formatVersion", "3.0"), "its format is 3.0; this version reads 2.0"),
        (_set("formatVersion", "2.1"), "its format is 2.1; this version reads 2.0"),
        (_set("formatVersion", 1), "/formatVersion is not a string"),
        (_set("targets", {}), "/targets is not a list"),
        (_set("targets", [[]]), "/targets/0 is not an object"),
        (_set("targets/0/actions/0/address", "channel"), "/targets/0/actions/0/address: 'channel' is not an address"),
        (_set("targets/0/actions/0/action", "explode"), "/targets/0/actions/0/action: 'explode' is not a valid Verb"),
        (_set("targets/0/actions/0/order", "sideways"), "/targets/0/actions/0/order"),
        (_set("targets/0/actions/0/steps/0/parameters", []), "parameters is not an object"),
        (_set("targets/0/actions/0/steps/0/parameters", {"$ref": "channel/x"}), "a reference is not an object"),
        (_set("targets/0/actions/0/steps/0/parameters/x", 1.5), "float is not allowed in a property"),
        (_set("targets/0/actions/0/steps/0/parameters/x", {"$ref": "nowhere"}), "'nowhere' is not an address"),
        (_set("targets/0/actions/0/steps/0/after", "x"), "after is not a list of strings"),
        (_set("targets/0/actions/0/steps/0/binds", {"x": 1}), "binds is not an object of strings"),
        (_set("targets/0/summary/create", -1), "/targets/0/summary/create is not a count"),
        (_set("targets/0/managed/planet", 1), "counts of managed resources"),
        (_set("options/prune", "yes"), "/options/prune is not true or false"),
    ],
)
def test_what_is_no_plan_says_where_it_is_wrong(edit: Callable[[dict[str, Any]], None], said: str) -> None:
    content = json.loads(dumps(a_plan()))
    edit(content)
    with pytest.raises(UsageError, match="not a usable plan") as error:
        from_json(content)
    assert said in str(error.value)


@pytest.mark.parametrize("content", [None, [], "plan", {}, {"formatVersion": "2.0"}])
def test_anything_else_is_refused_without_a_traceback(content: object) -> None:
    with pytest.raises(UsageError):
        from_json(content)


def test_every_single_key_of_a_plan_is_needed() -> None:
    content = json.loads(dumps(a_plan()))
    target = content["targets"][0]
    for holder, place in (
        (content, []),
        (target, ["targets", 0]),
        (target["actions"][1], ["targets", 0, "actions", 1]),
    ):
        for key in holder:
            damaged = copy.deepcopy(content)
            node = damaged
            for token in place:
                node = node[token]
            del node[key]
            with pytest.raises((UsageError, PlanRefused)):
                from_json(damaged)


def test_the_same_plan_is_the_same_text() -> None:
    assert dumps(a_plan()) == dumps(a_plan())
    assert dumps(from_json(json.loads(dumps(a_plan())))) == dumps(a_plan())


def test_each_action_is_a_line_and_the_content_is_that_of_a_file_with_indents() -> None:
    for plan in (a_plan(), *(as_plan(param.values[0].plan(), param.values[0]) for param in ALL[::7])):
        text = dumps(plan)
        actions = sum(len(target.actions) for target in plan.targets)
        assert len(text.splitlines()) == 2 + 2 * len(plan.targets) + actions
        indented = json.dumps(json.loads(text), indent=2) + "\n"
        assert read_plan([indented]) == read_plan([text]) == plan
        assert len(text) < len(indented)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 256])
def test_a_file_is_read_in_parts_of_any_size(size: int) -> None:
    for text in (dumps(a_plan()), json.dumps(json.loads(dumps(a_plan())), indent=2)):
        assert read_plan(text[at : at + size] for at in range(0, len(text), size)) == a_plan()


def test_members_may_come_in_any_order() -> None:
    def reordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in sorted(value, reverse=True)}
        return [reordered(item) for item in value] if isinstance(value, list) else value

    assert from_json(reordered(json.loads(dumps(a_plan())))) == a_plan()


def test_no_part_of_the_text_holds_more_than_an_action() -> None:
    plan = a_plan()
    many = plan._replace(targets=(plan.targets[0]._replace(actions=plan.targets[0].actions * 500),))
    longest = max(map(len, lines(plan)))
    assert max(map(len, lines(many))) == longest


@pytest.mark.parametrize("damage", [lambda text, at: text[:at], lambda text, at: f"{text[:at]}\x01{text[at:]}"])
def test_text_that_is_cut_or_damaged_is_no_plan(damage: Callable[[str, int], str]) -> None:
    text = dumps(a_plan()).rstrip()
    for at in range(0, len(text), 29):
        with pytest.raises((JsonError, UsageError, PlanRefused)):
            read_plan([damage(text, at)])
    with pytest.raises(JsonError, match=r"line 3, column \d+"):
        read_plan([damage(text, text.index("#2"))])


def test_a_member_that_is_there_twice_is_refused_though_the_last_one_fits() -> None:
    text = dumps(a_plan())
    assert read_plan([text]) == a_plan()
    for member in ('"stack":', '"name":', '"action":', '"operation":', '"fingerprint":'):
        edited = text.replace(member, f'{member}"another",{member}', 1)
        assert edited != text
        assert json.loads(edited) == json.loads(text)
        with pytest.raises(
            PlanRefused, match=rf"changed after it was created \(duplicate key {member[:-1]} \(line \d+"
        ):
            read_plan([edited])
