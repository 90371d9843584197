"""Errors without injected faults: by the request and the state of resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox.wire import Response
from tests.sandbox.helpers import PUBLIC_KEY
from tests.sandbox.test_conformance import MODEL, bad_values, code_of, required_sample, send

MEDIA = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]
BUCKET = {"s3": {"bucketName": "vod"}}

# Causes nobody has published (or that lie in AWS's own machinery): these are reached with a fault only.
BY_FAULT_ONLY = {"InternalServerException", "PendingVerification", "ServiceUnavailable", "StreamUnavailable"}
CAUSE_UNKNOWN = {
    ("CreateAdConfiguration", "ConflictException"),
    ("CreateAdConfiguration", "ResourceNotFoundException"),
    ("CreateFailoverSlateConfiguration", "ConflictException"),
    ("CreateRecordingConfiguration", "ConflictException"),
    ("ListPlaybackRestrictionPolicies", "ConflictException"),
    ("UpdateAdConfiguration", "ConflictException"),
    ("UpdateAdConfiguration", "ServiceQuotaExceededException"),
    ("UpdateFailoverSlateConfiguration", "ServiceQuotaExceededException"),
    ("UpdatePlaybackRestrictionPolicy", "ConflictException"),
}


class World:
    """A sandbox in which everything that can go wrong is at hand."""

    def __init__(self) -> None:
        self.sandbox = Sandbox(
            serve=False, clock=VirtualClock(), limits={"playback-keys": 1, "playback-restriction-policies": 1}
        )
        self.reached: set[tuple[str, str]] = set()

    def ask(self, operation: str, **members: Any) -> dict[str, Any]:
        answer: Response = send(self.sandbox, MODEL.operations[operation], members)
        if code := code_of(answer):
            self.reached.add((operation, code))
        found: dict[str, Any] = json.loads(answer.body or b"{}")
        return found


@pytest.fixture(scope="module")
def reached() -> Iterator[set[tuple[str, str]]]:
    world = World()
    absent_and_malformed(world)
    foreign(world)
    conflicts_and_quotas(world)
    too_fast(world)
    yield world.reached
    world.sandbox.stop()


def absent_and_malformed(world: World) -> None:
    for operation in MODEL.operations.values():
        world.ask(operation.name, **required_sample(operation))
        shape = MODEL.shapes[operation.input] if operation.input else {"members": {}}
        for member, reference in shape["members"].items():
            bad = [value for what, value in bad_values(reference["shape"]) if "pattern" in what or "type" in what]
            if bad and reference.get("location") != "querystring":
                world.ask(operation.name, **{**required_sample(operation), member: bad[0]})
    absent = "arn:aws:ivs:us-west-2:123456789012:playback-restriction-policy/absent"
    world.ask("CreateChannel", playbackRestrictionPolicyArn=absent)


def foreign(world: World) -> None:
    """What owned by another account is denied where an ARN can say so, else where a permission is missing."""
    for operation in MODEL.operations.values():
        sample = json.loads(json.dumps(required_sample(operation)).replace(":123456789012:", ":999988887777:"))
        world.ask(operation.name, **sample)
    world.sandbox.control.deny("*")
    for operation in MODEL.operations.values():
        world.ask(operation.name, **required_sample(operation))
    world.sandbox.control.clear_faults()


def conflicts_and_quotas(world: World) -> None:
    ask, control = world.ask, world.sandbox.control
    control.reset()
    record = ask("CreateRecordingConfiguration", destinationConfiguration=BUCKET)["recordingConfiguration"]["arn"]
    slate = ask("CreateFailoverSlateConfiguration")["failoverSlateConfiguration"]["arn"]
    ads = ask("CreateAdConfiguration", mediaTailorPlaybackConfigurations=MEDIA)["adConfiguration"]["arn"]
    policy = ask("CreatePlaybackRestrictionPolicy")["playbackRestrictionPolicy"]["arn"]
    ask("ImportPlaybackKeyPair", publicKeyMaterial=PUBLIC_KEY)
    for operation, arn in (
        ("DeleteRecordingConfiguration", record),
        ("UpdateFailoverSlateConfiguration", slate),
        ("DeleteFailoverSlateConfiguration", slate),
    ):
        ask(operation, arn=arn)
    control.advance(10)
    arn = ask(
        "CreateChannel",
        recordingConfigurationArn=record,
        playbackRestrictionPolicyArn=policy,
        adConfigurationArn=ads,
        failoverSlateConfigurationArn=slate,
    )["channel"]["arn"]
    for operation, target in (
        ("DeletePlaybackRestrictionPolicy", policy),
        ("DeleteAdConfiguration", ads),
        ("DeleteRecordingConfiguration", record),
    ):
        ask(operation, arn=target)
    ask("ListChannels", filterByName="x", filterByPlaybackRestrictionPolicyArn=policy)
    ask("ImportPlaybackKeyPair", publicKeyMaterial=PUBLIC_KEY)
    ask("CreateStreamKey", channelArn=arn)
    for operation in ("GetStream", "StopStream"):
        ask(operation, channelArn=arn)
    ask("PutMetadata", channelArn=arn, metadata="x")
    ask("InsertAdBreak", channelArn=arn, durationSeconds=9)
    control.go_live(arn)
    for _ in range(2):
        ask("InsertAdBreak", channelArn=arn, durationSeconds=9)
    for _ in range(6):
        ask("PutMetadata", channelArn=arn, metadata="x")
    ask("UpdateChannel", arn=arn, name="x")
    ask("DeleteChannel", arn=arn)
    for name in (
        "channels",
        "recording-configurations",
        "playback-keys",
        "playback-restriction-policies",
        "ad-configurations",
        "failover-slate-configurations",
    ):
        control.set_quota(name, 0)
    ask("CreateChannel")
    ask("CreateRecordingConfiguration", destinationConfiguration=BUCKET)
    ask("CreatePlaybackRestrictionPolicy")
    ask("CreateAdConfiguration", mediaTailorPlaybackConfigurations=MEDIA)
    ask("CreateFailoverSlateConfiguration")
    # The curve's own generator: a point that is surely on it, and a key nobody has.
    generator = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3NhfeSpYmLG9dnpi/kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f"
    ask(
        "ImportPlaybackKeyPair",
        publicKeyMaterial=f"-----BEGIN PUBLIC KEY-----\n{generator}\n-----END PUBLIC KEY-----\n",
    )


def too_fast(world: World) -> None:
    world.sandbox.control.set_rates({"*": 1, **dict.fromkeys(MODEL.operations, 1)})
    for operation in MODEL.operations.values():
        for _ in range(2):
            world.ask(operation.name, **required_sample(operation))


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_every_modelled_error_with_a_known_cause_is_reached_by_its_cause(
    name: str, reached: set[tuple[str, str]]
) -> None:
    wanted = {(name, code) for code in MODEL.operations[name].errors if code not in BY_FAULT_ONLY} - CAUSE_UNKNOWN
    assert wanted - reached == set()


def test_what_counts_as_unknown_is_modelled_and_truly_not_reached(reached: set[tuple[str, str]]) -> None:
    for name, code in CAUSE_UNKNOWN:
        assert (name, code) not in reached
        assert code in MODEL.operations[name].errors, (name, code)


def test_throttling_reaches_every_operation_though_few_model_it(reached: set[tuple[str, str]]) -> None:
    assert {name for name, code in reached if code == "ThrottlingException"} == set(MODEL.operations)
