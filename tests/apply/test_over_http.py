"""The executor with the real gateway on the embedded server."""

from __future__ import annotations

import time as real_time
from collections.abc import Iterator

import pytest

from reconciler.model.address import ID, STACK
from reconciler.plan.plan import Verb
from reconciler.sandbox import Sandbox
from tests.apply.makers import ACTIVE, Time, action, apply, ref, step
from tests.aws.makers import gateway_to

TAGS = {STACK: "acme", ID: "main"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settle_seconds=0) as server:
        yield server


PLAN = (
    action(
        "recording-configuration/vod",
        step(
            "recording-configuration/vod#1",
            "CreateRecordingConfiguration",
            binds="recording-configuration/vod=recordingConfiguration.arn",
            destinationConfiguration={"s3": {"bucketName": "acme-vod"}},
            tags=TAGS,
        ),
        step(
            "recording-configuration/vod#2",
            "GetRecordingConfiguration",
            after=("recording-configuration/vod#1",),
            until=ACTIVE,
            arn=ref("recording-configuration/vod"),
        ),
        verb=Verb.CREATE,
    ),
    action(
        "channel/main",
        step(
            "channel/main#1",
            "CreateChannel",
            after=("recording-configuration/vod#2",),
            binds="channel/main=channel.arn",
            name="main",
            tags=TAGS,
            recordingConfigurationArn=ref("recording-configuration/vod"),
        ),
        verb=Verb.CREATE,
    ),
)


def test_a_plan_is_carried_out(sandbox: Sandbox) -> None:
    gateway = gateway_to(sandbox.endpoint_url)
    applied = apply(gateway, *PLAN)
    assert applied.result.complete
    found = gateway.call("GetChannel", {"arn": applied["channel/main"].arn}).data["channel"]
    assert found["recordingConfigurationArn"] == applied["recording-configuration/vod"].arn  # type: ignore[index]
    assert applied["channel/main"].request_id == sandbox.control.calls("CreateChannel")[0]["request_id"]


def test_a_create_whose_answer_is_lost_is_made_once_and_reported(sandbox: Sandbox) -> None:
    sandbox.control.add_fault("reset", operation="CreateChannel", when="after")
    applied = apply(gateway_to(sandbox.endpoint_url), *PLAN)
    assert applied.results == {"recording-configuration/vod": "done", "channel/main": "failed"}
    assert "it carries our tags" in applied["channel/main"].message
    assert sandbox.control.resources()["channel"] == 1


def test_throttling_and_reads_that_fail_are_only_delays(sandbox: Sandbox) -> None:
    sandbox.control.add_fault("throttle", operation="Create*", times=5)
    sandbox.control.add_fault("error", operation="Get*", times=2)
    applied = apply(gateway_to(sandbox.endpoint_url), *PLAN)
    assert applied.result.complete
    assert applied.result.calls == 3 + 5 + 2
    assert sandbox.control.resources()["channel"] == 1


def test_reads_that_lag_behind_writes_are_waited_out(sandbox: Sandbox) -> None:
    sandbox.control.set_lag(create=0.05)
    # What was made shows after 50 ms, so the pauses have to be real ones, if shorter.
    applied = apply(gateway_to(sandbox.endpoint_url), *PLAN, time=Time(on_sleep=lambda: real_time.sleep(0.03)))
    assert applied.result.complete
