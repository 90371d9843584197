"""``drift`` only looks: every call of it, in many situations, is one that reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import arn_of, client, rewrite, run, stack
from tests.workflow.hook import hook

KEYS = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}
READS = re.compile(r"(List|Get|BatchGet)[A-Z]\w*")
SPEC: dict[str, Any] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    "channels": {
        "main": {"recordingConfiguration": "archive", "streamKey": {}},
        "side": {"playbackRestrictionPolicy": "eu"},
    },
}
OTHER = {
    **SPEC,
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "else"}}}},
    "channels": {"new": {"streamKey": {}}},
}


def changed(ivs: Any, sandbox: Sandbox) -> None:
    main = arn_of(ivs, "main")
    ivs.update_channel(arn=main, latencyMode="NORMAL", recordingConfigurationArn="")
    ivs.tag_resource(resourceArn=main, tags={"who": "me"})
    ivs.create_channel(name="twin", tags=ivs.get_channel(arn=main)["channel"]["tags"])


def gone(ivs: Any, sandbox: Sandbox) -> None:
    ivs.delete_channel(arn=arn_of(ivs, "side"))
    ivs.delete_stream_key(arn=ivs.list_stream_keys(channelArn=arn_of(ivs, "main"))["streamKeys"][0]["arn"])


def live_channels(ivs: Any, sandbox: Sandbox) -> None:
    main = arn_of(ivs, "main")
    changed(ivs, sandbox)
    sandbox.control.go_live(main)


def denied(ivs: Any, sandbox: Sandbox) -> None:
    changed(ivs, sandbox)
    sandbox.control.deny("ListRecordingConfigurations")


def throttled(ivs: Any, sandbox: Sandbox) -> None:
    changed(ivs, sandbox)
    sandbox.control.add_fault("throttle", operation="ListChannels", times=2)


SITUATIONS = {
    "calm": None,
    "changed": changed,
    "gone": gone,
    "live": live_channels,
    "denied": denied,
    "throttled": throttled,
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settle_seconds=0) as running:
        yield running


def called(sandbox: Sandbox) -> set[str]:
    return {f"{call['service']}:{call['operation']}" for call in sandbox.control.calls(limit=1000)}


def state_of(ivs: Any) -> list[Any]:
    return [
        ivs.batch_get_channel(arns=[each["arn"] for each in ivs.list_channels()["channels"]])["channels"],
        ivs.list_recording_configurations()["recordingConfigurations"],
    ]


@pytest.mark.parametrize("spec", [SPEC, OTHER, {"channels": {}}], ids=["same spec", "other spec", "empty spec"])
@pytest.mark.parametrize("situation", list(SITUATIONS))
def test_drift_reads_and_does_nothing_else(
    tmp_path: Path, sandbox: Sandbox, situation: str, spec: dict[str, Any]
) -> None:
    project = {"receivers": {"ops": {"slack": {"urlEnv": "OPS_URL"}}}}
    folder = stack(
        tmp_path / "repo", SPEC, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url, "prune": True}, **project
    )
    assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
    ivs = client(sandbox.endpoint_url)
    disturb = SITUATIONS[situation]
    if disturb is not None:
        disturb(ivs, sandbox)
    rewrite(folder, spec)
    sandbox.control.clear_calls()
    with hook() as ops:
        words = ("--notify", "--prometheus", "drift.prom", "--format", "json", "--ignore", "channel/*:/tags/x")
        assert run(folder, "drift", *words, env={**KEYS, "OPS_URL": ops.url}).code in (0, 1, 2, 5)
    plain = called(sandbox)
    assert plain
    assert all(READS.fullmatch(name.partition(":")[2]) for name in plain), plain
    assert not any(name.startswith("cloudtrail") for name in plain)
    sandbox.control.clear_calls()
    run(folder, "drift", "--blame", env=KEYS)
    more = called(sandbox) - {"cloudtrail:LookupEvents"}
    assert all(READS.fullmatch(name.partition(":")[2]) for name in more), more
    assert not any(call["read_only"] is False for call in sandbox.control.calls(limit=1000) if call["service"] == "ivs")


def test_the_record_would_show_a_write(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = stack(tmp_path / "repo", SPEC, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url})
    run(folder, "apply", "--auto-approve", env=KEYS)
    assert "ivs:CreateChannel" in called(sandbox)
