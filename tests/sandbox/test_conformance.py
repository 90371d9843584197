"""The sandbox against the service model: every operation, every constraint, every modelled error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox import model as service_model
from reconciler.sandbox.engine import Engine
from reconciler.sandbox.ivs.registry import IVS
from reconciler.sandbox.wire import Request, Response

MODEL = service_model.load()
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-west-2/ivs/aws4_request, SignedHeaders=host, Signature=0"
)
ARN = "arn:aws:ivs:us-west-2:123456789012:"
SAMPLES: dict[str, Any] = {
    "publicKeyMaterial": "not a key",
    "destinationConfiguration": {"s3": {"bucketName": "a-bucket"}},
    "mediaTailorPlaybackConfigurations": [
        {"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}
    ],
    "tags": {"a": "b"},
    "tagKeys": ["a"],
    "metadata": "text",
    "viewerId": "viewer",
    "durationSeconds": 30,
    "viewerSessions": [{"channelArn": f"{ARN}channel/abc", "viewerId": "viewer"}],
}


@pytest.fixture(scope="module")
def quiet() -> Iterator[Sandbox]:
    with Sandbox(serve=False, clock=VirtualClock()) as sandbox:
        yield sandbox


def send(sandbox: Sandbox, operation: service_model.Operation, members: dict[str, Any]) -> Response:
    path, query = operation.path, ""
    body = dict(members)
    if "{resourceArn}" in path:
        path = "/tags/" + str(body.pop("resourceArn", "")).replace(":", "%3A").replace("/", "%2F")
        query = "&".join(f"tagKeys={key}" for key in body.pop("tagKeys", []))
    return sandbox.handle(
        Request(operation.method, path, query, {"authorization": AUTHORIZATION}, json.dumps(body).encode())
    )


def code_of(answer: Response) -> str:
    return dict(answer.headers).get("x-amzn-ErrorType", "")


def required_sample(operation: service_model.Operation) -> dict[str, Any]:
    """Well-formed required members; ARNs in them name nothing that exists."""
    if operation.input is None:
        return {}
    shape = MODEL.shapes[operation.input]
    sample = {}
    for member in shape.get("required", ()):
        reference = shape["members"][member]["shape"]
        pattern = MODEL.shapes[reference].get("pattern", "")
        if member in SAMPLES:
            sample[member] = SAMPLES[member]
        elif member == "resourceArn":
            sample[member] = f"{ARN}channel/absent"
        elif member == "arns":
            kind = MODEL.shapes[MODEL.shapes[reference]["member"]["shape"]]["pattern"].split(":")[5].split("/")[0]
            sample[member] = [f"{ARN}{kind}/absent"]
        else:
            sample[member] = f"{ARN}{pattern.split(':')[5].split('/')[0]}/absent"
    return sample


def violations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Break each constraint of each input member once."""
    for operation in MODEL.operations.values():
        if operation.input is None:
            continue
        shape = MODEL.shapes[operation.input]
        good = required_sample(operation)
        for member, reference in shape["members"].items():
            if member in shape.get("required", ()) and not reference.get("location"):
                yield operation.name, f"{member} missing", {key: value for key, value in good.items() if key != member}
            if reference.get("location"):
                continue
            for what, value in bad_values(reference["shape"]):
                yield operation.name, f"{member} {what}", {**good, member: value}


def bad_values(name: str) -> Iterator[tuple[str, Any]]:  # noqa: C901 - one case a type
    shape = MODEL.shapes[name]
    match shape["type"]:
        case "string":
            yield "of another type", 5
            if shape.get("enum"):
                yield "outside its enum", "NO_SUCH_VALUE"
            if shape.get("pattern"):
                yield "against its pattern", "not a § match"
            if shape.get("max"):
                yield "too long", "a" * (shape["max"] + 1)
            if shape.get("min"):
                yield "too short", "a" * (shape["min"] - 1)
        case "integer" | "long":
            yield "of another type", "5"
            yield "a boolean", True
            if "max" in shape:
                yield "too large", shape["max"] + 1
            if "min" in shape:
                yield "too small", shape["min"] - 1
        case "boolean":
            yield "of another type", "true"
        case "timestamp":
            yield "of another type", 5
            yield "not a time", "yesterday"
        case "list":
            yield "of another type", {}
            item = shape["member"]["shape"]
            for what, value in bad_values(item):
                yield f"item {what}", [value]
            if shape.get("max"):
                yield "too many", [good_value(item)] * (shape["max"] + 1)
            if shape.get("min"):
                yield "too few", []
        case "map":
            yield "of another type", []
            for what, value in bad_values(shape["value"]["shape"]):
                yield f"value {what}", {"key": value}
            yield "too many", {f"key{number}": "x" for number in range(shape["max"] + 1)}
        case "structure":
            yield "of another type", []
            for member, reference in shape["members"].items():
                for what, value in bad_values(reference["shape"]):
                    yield f"{member} {what}", {member: value}


def good_value(name: str) -> Any:
    shape = MODEL.shapes[name]
    if shape["type"] == "structure":
        return {member: good_value(reference["shape"]) for member, reference in shape["members"].items()}
    if shape["type"] == "integer":
        return shape.get("min", 0)
    pattern = shape.get("pattern", "")
    return pattern.replace("[a-z0-9-]+", "us-west-2").replace("[0-9]+", "1").replace(
        "[a-zA-Z0-9-]+", "x"
    ) or "a" * shape.get("min", 1)


def test_every_operation_of_the_installed_model_is_known() -> None:
    assert set(MODEL.operations) - set(IVS.handlers) == set()


def test_every_operation_answers_something_modelled_and_never_fails_inside(quiet: Sandbox) -> None:
    for operation in MODEL.operations.values():
        answer = send(quiet, operation, required_sample(operation))
        code = code_of(answer)
        assert answer.status != 500, operation.name
        assert answer.status == operation.status or code in operation.errors, (operation.name, code)


VIOLATIONS = list(violations())


def test_there_are_hundreds_of_constraints_to_violate() -> None:
    assert len(VIOLATIONS) > 300


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_every_constraint_violated_once_is_a_validation_error(quiet: Sandbox, name: str) -> None:
    for operation, what, members in VIOLATIONS:
        if operation != name:
            continue
        answer = send(quiet, MODEL.operations[name], members)
        assert (answer.status, code_of(answer)) == (400, "ValidationException"), (name, what)


def test_all_violations_of_a_request_come_in_one_answer(quiet: Sandbox) -> None:
    answer = send(quiet, MODEL.operations["CreateChannel"], {"name": "a b", "type": "X", "authorized": "yes"})
    text = json.loads(answer.body)["message"]
    assert text.startswith("3 validation errors detected: ")
    for member in ("name", "type", "authorized"):
        assert f"at '{member}' failed to satisfy constraint" in text


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_every_modelled_error_of_every_operation_is_reachable(quiet: Sandbox, name: str) -> None:
    operation = MODEL.operations[name]
    for code in (*operation.errors, "ThrottlingException"):
        quiet.control.add_fault("error", operation=name, code=code)
        answer = send(quiet, operation, required_sample(operation))
        assert (answer.status, code_of(answer)) == (MODEL.errors[code], code)
        quiet.control.clear_faults()


def test_unknown_members_are_ignored_and_nulls_count_as_absent(quiet: Sandbox) -> None:
    answer = send(quiet, MODEL.operations["CreateChannel"], {"name": None, "colour": "red"})
    assert answer.status == 200
    assert json.loads(answer.body)["channel"]["name"] == ""


def test_the_wrong_resource_arn_pattern_of_the_model_is_corrected() -> None:
    assert MODEL.shapes["ResourceArn"]["pattern"].startswith("arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]+/")


def test_an_operation_that_only_a_newer_model_has_is_refused_clearly() -> None:
    document = {
        "metadata": {"apiVersion": "2020-07-14"},
        "operations": {"MakeCoffee": {"http": {"method": "POST", "requestUri": "/MakeCoffee"}}},
        "shapes": {},
    }
    with Sandbox(serve=False) as sandbox:
        parts = sandbox.control._parts
        parts.models = {"ivs": service_model.index_model(document)}
        answer = Engine(parts).handle(Request("POST", "/MakeCoffee", body=b"{}"))
        assert (answer.status, code_of(answer)) == (404, "UnknownOperationException")
        assert "MakeCoffee is in the installed service model" in json.loads(answer.body)["message"]


# Requests that break several rules the model cannot say, with how many; the second number is with a bad member of the model's more.
BROKEN_RULES: list[tuple[str, dict[str, Any], int]] = [
    ("CreateChannel", {"tags": {"aws:a": "", "AWS:b": ""}, "type": "BASIC", "preset": "HIGHER_BANDWIDTH_DELIVERY"}, 3),
    ("CreateChannel", {"type": "BASIC", "multitrackInputConfiguration": {"enabled": True}}, 4),
    (
        "CreateChannel",
        {"adConfigurationArn": f"{ARN}ad-configuration/a", "containerFormat": "FRAGMENTED_MP4", "tags": {"aws:a": ""}},
        2,
    ),
    (
        "CreateRecordingConfiguration",
        {
            "destinationConfiguration": {},
            "thumbnailConfiguration": {"recordingMode": "DISABLED", "targetIntervalSeconds": 5},
            "renditionConfiguration": {"renditionSelection": "CUSTOM"},
            "tags": {"aws:a": ""},
        },
        4,
    ),
    (
        "CreatePlaybackRestrictionPolicy",
        {"allowedCountries": ["XX"] * 201, "allowedOrigins": ["https://a.example"] * 6, "tags": {"aws:a": ""}},
        4,
    ),
    ("CreateAdConfiguration", {"mediaTailorPlaybackConfigurations": [{}, {}], "tags": {"aws:a": ""}}, 3),
    ("ImportPlaybackKeyPair", {"publicKeyMaterial": "not a key", "tags": {"aws:a": ""}}, 2),
    ("TagResource", {"resourceArn": f"{ARN}channel/absent", "tags": {"aws:a": "", "aws:b": ""}}, 2),
]


@pytest.mark.parametrize(
    ("name", "members", "count"),
    BROKEN_RULES,
    ids=[f"{name} {number}" for number, (name, _, _) in enumerate(BROKEN_RULES)],
)
def test_all_rules_that_a_request_breaks_come_in_one_answer_with_the_models_constraints(
    quiet: Sandbox, name: str, members: dict[str, Any], count: int
) -> None:
    bad = {"tags": {**members.get("tags", {}), "bad*key": ""}} if name == "TagResource" else {"name": "a b"}
    answers = [send(quiet, MODEL.operations[name], request) for request in (members, {**members, **bad})]
    texts = [json.loads(answer.body)["message"] for answer in answers]
    assert [code_of(answer) for answer in answers] == ["ValidationException"] * 2
    assert texts[0].startswith(f"{count} validation errors detected: ")
    assert texts[1].startswith(f"{count + 1} validation errors detected: ")
