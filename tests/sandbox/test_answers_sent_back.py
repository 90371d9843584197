"""What a Get answers can be sent back in a create and in an update, as public clients do, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from reconciler.sandbox import Sandbox
from tests.sandbox.conftest import ClientMaker

S3: dict[str, Any] = {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}
MULTITRACK = {"enabled": True, "policy": "REQUIRE", "maximumResolution": "HD"}
MEDIA_TAILOR = "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/a"
CHANNELS: list[dict[str, Any]] = [
    {},
    {"name": "", "tags": {"a": ""}},
    *({"type": kind} for kind in ("BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD")),
    {"type": "ADVANCED_HD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY"},
    {"containerFormat": "FRAGMENTED_MP4", "multitrackInputConfiguration": MULTITRACK},
    {"containerFormat": "FRAGMENTED_MP4"},
    {"authorized": True, "insecureIngest": True, "latencyMode": "NORMAL"},
]
RECORDINGS: list[dict[str, Any]] = [
    {},
    {"thumbnailConfiguration": {}, "renditionConfiguration": {}},
    {"thumbnailConfiguration": {"recordingMode": "DISABLED"}},
    {"thumbnailConfiguration": {"storage": [], "resolution": "SD"}},
    {"thumbnailConfiguration": {"recordingMode": "INTERVAL", "targetIntervalSeconds": 1}},
    *({"renditionConfiguration": {"renditionSelection": kind}} for kind in ("ALL", "NONE")),
    {"renditionConfiguration": {"renditionSelection": "ALL", "renditions": []}},
    {"renditionConfiguration": {"renditionSelection": "CUSTOM", "renditions": ["HD"]}},
]
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("Channel", members) for members in CHANNELS),
    *(("RecordingConfiguration", {**S3, **members}) for members in RECORDINGS),
    ("PlaybackRestrictionPolicy", {}),
    ("PlaybackRestrictionPolicy", {"allowedCountries": [], "allowedOrigins": []}),
    ("PlaybackRestrictionPolicy", {"allowedCountries": ["DE"], "allowedOrigins": ["https://a.example"]}),
    ("AdConfiguration", {"mediaTailorPlaybackConfigurations": [{"playbackConfigurationArn": MEDIA_TAILOR}]}),
    ("FailoverSlateConfiguration", {}),
    ("FailoverSlateConfiguration", {"name": "a", "activationThresholdSeconds": 5}),
]


@pytest.mark.parametrize("unset", ["shown", "absent"])
@pytest.mark.parametrize(("kind", "members"), CASES)
def test_an_answer_is_accepted_in_a_create_and_an_update(
    client: ClientMaker, sandbox: Sandbox, kind: str, members: dict[str, Any], unset: str
) -> None:
    ivs = client(parameter_validation=False)
    sandbox.control.assume("unset-members", unset)
    model = ivs.meta.service_model
    member = kind[0].lower() + kind[1:]

    def call(operation: str, **arguments: Any) -> dict[str, Any]:
        method = {name: each for each, name in ivs.meta.method_to_api_mapping.items()}[operation]
        answer: dict[str, Any] = getattr(ivs, method)(**arguments).get(member)
        return answer

    arn = call(f"Create{kind}", **members)["arn"]
    sandbox.control.advance(60)
    answered = call(f"Get{kind}", arn=arn)
    for operation in (f"Update{kind}", f"Create{kind}"):
        if operation not in model.operation_names:
            continue
        known = model.operation_model(operation).input_shape.members
        sent = {name: value for name, value in answered.items() if name in known}
        result = call(operation, **sent)
        sandbox.control.advance(60)
        result = call(f"Get{kind}", arn=result["arn"])
        own = {"arn", "ingestEndpoint", "playbackUrl", "srt", "id"} if operation.startswith("Create") else set()
        assert {name: value for name, value in result.items() if name not in own} == {
            name: value for name, value in answered.items() if name not in own
        }


@pytest.mark.parametrize("kind", ["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"])
def test_an_empty_preset_is_none_for_every_type(ivs: Any, kind: str) -> None:
    preset = "HIGHER_BANDWIDTH_DELIVERY" if kind.startswith("ADVANCED") else ""
    channel = ivs.create_channel(type=kind, preset="")["channel"]
    assert channel["preset"] == preset
    assert ivs.update_channel(arn=channel["arn"], preset="")["channel"]["preset"] == preset
    advanced = ivs.create_channel(type="ADVANCED_HD", preset="CONSTRAINED_BANDWIDTH_DELIVERY")["channel"]
    assert ivs.update_channel(arn=advanced["arn"], type=kind, preset="")["channel"]["preset"] == preset


@pytest.mark.parametrize("member", ["type", "latencyMode", "containerFormat"])
def test_other_members_without_a_value_are_refused_as_ever(client: ClientMaker, member: str) -> None:
    with pytest.raises(ClientError, match="enum value set"):
        client(parameter_validation=False).create_channel(**{member: ""})
