"""Each account in each region is a world of its own: nothing of one is shown, named or changed from another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox import model as service_model
from reconciler.sandbox.wire import Response
from tests.sandbox.helpers import PUBLIC_KEY, request_for

MODEL = service_model.load()
OURS, THEIRS, ELSEWHERE = ("123456789012", "us-west-2"), ("999988887777", "us-west-2"), ("123456789012", "eu-west-1")
MEDIA = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]
REQUIRED: dict[str, Any] = {
    "tags": {"a": "b"},
    "metadata": "text",
    "viewerId": "viewer",
    "durationSeconds": 30,
    "publicKeyMaterial": PUBLIC_KEY,
    "mediaTailorPlaybackConfigurations": MEDIA,
    "destinationConfiguration": {"s3": {"bucketName": "vod"}},
}


def ask(sandbox: Sandbox, world: tuple[str, str], operation_name: str, /, **members: Any) -> Response:
    return sandbox.handle(request_for(MODEL.operations[operation_name], members, *world))


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Sandbox, dict[str, str]]]:
    """A sandbox in which our world holds one of everything, each named so that it is known again."""
    with Sandbox(serve=False, clock=VirtualClock(), settle_seconds=1) as sandbox:

        def make(operation: str, member: str, **members: Any) -> str:
            answer = ask(sandbox, OURS, operation, name="only-ours", tags={"whose": "only-ours"}, **members)
            return str(json.loads(answer.body)[member]["arn"])

        arns = {
            "recording-configuration": make(
                "CreateRecordingConfiguration",
                "recordingConfiguration",
                destinationConfiguration={"s3": {"bucketName": "only-ours"}},
            ),
            "failover-slate-configuration": make("CreateFailoverSlateConfiguration", "failoverSlateConfiguration"),
            "playback-restriction-policy": make("CreatePlaybackRestrictionPolicy", "playbackRestrictionPolicy"),
            "ad-configuration": make(
                "CreateAdConfiguration", "adConfiguration", mediaTailorPlaybackConfigurations=MEDIA
            ),
            "playback-key": make("ImportPlaybackKeyPair", "keyPair", publicKeyMaterial=PUBLIC_KEY),
        }
        sandbox.control.advance(1)
        arns["channel"] = make(
            "CreateChannel",
            "channel",
            recordingConfigurationArn=arns["recording-configuration"],
            failoverSlateConfigurationArn=arns["failover-slate-configuration"],
            playbackRestrictionPolicyArn=arns["playback-restriction-policy"],
            adConfigurationArn=arns["ad-configuration"],
        )
        (key,) = json.loads(ask(sandbox, OURS, "ListStreamKeys", channelArn=arns["channel"]).body)["streamKeys"]
        arns["stream-key"] = key["arn"]
        sandbox.control.go_live(arns["channel"])
        yield sandbox, arns


def naming(operation: service_model.Operation, arns: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Requests that name ours wherever the operation takes an ARN: each such member in a request of its own."""
    shape = MODEL.shapes[operation.input or ""]
    required = {member: REQUIRED[member] for member in shape.get("required", ()) if member in REQUIRED}
    pointed = {member: value for member in shape["members"] if (value := pointing(member, shape, arns)) is not None}
    needed = {member: value for member, value in pointed.items() if member in shape.get("required", ())}
    if "resourceArn" in pointed:
        yield from (
            {**required, "resourceArn": arn, **({"tagKeys": ["whose"]} if "tagKeys" in shape["members"] else {})}
            for arn in arns.values()
        )
        return
    yield {**required, **needed}
    yield from ({**required, **needed, member: value} for member, value in pointed.items() if member not in needed)


def pointing(member: str, shape: dict[str, Any], arns: dict[str, str]) -> Any:
    name = shape["members"][member]["shape"]
    if member == "resourceArn":
        return ""
    if member == "viewerSessions":
        return [{"channelArn": arns["channel"], "viewerId": "viewer"}]
    inner = MODEL.shapes[name].get("member", {}).get("shape", name)
    pattern = MODEL.shapes[inner].get("pattern", "")
    kind = next((kind for kind in arns if f":{kind}/" in pattern), None)
    if kind is None or "arn" not in member.lower():
        return None
    return [arns[kind]] if MODEL.shapes[name]["type"] == "list" else arns[kind]


def picture(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Everything in our world, as it shows."""
    lists = [
        name
        for name in sorted(MODEL.operations)
        if name.startswith("List") and not MODEL.shapes[MODEL.operations[name].input or ""].get("required")
    ]
    return [json.loads(ask(sandbox, OURS, name, maxResults=100).body) for name in lists]


@pytest.mark.parametrize("world", [THEIRS, ELSEWHERE], ids=["another account", "another region"])
@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_no_operation_shows_or_changes_what_is_another_worlds(
    filled: tuple[Sandbox, dict[str, str]], name: str, world: tuple[str, str]
) -> None:
    sandbox, arns = filled
    before = picture(sandbox)
    assert "only-ours" in json.dumps(before)
    for request in naming(MODEL.operations[name], arns):
        assert b"only-ours" not in ask(sandbox, world, name, **request).body, request
    assert picture(sandbox) == before
