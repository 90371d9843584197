"""Broadcasts during an apply: waited for, in the way, ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.apply import ActionFinished, Event, StepWaiting, execute
from reconciler.plan.plan import Action, ApplyResult, Until
from tests.apply.makers import Reply, Service, Time, action, plan, refusal, step

MAIN = "arn:aws:ivs:us-west-2:123456789012:channel/main"
SIDE = "arn:aws:ivs:us-west-2:123456789012:channel/side"
OFF = {arn: Until("channelArn", arn, absent=True, seconds=1800) for arn in (MAIN, SIDE)}
CONFLICT = refusal(status=409)


class Air(Service):
    """A service with broadcasts that end at a moment of a clock, and that refuses to touch a channel until then."""

    def __init__(self, time: Time, ends: Mapping[str, float], begins: Mapping[str, float] | None = None) -> None:
        super().__init__({})
        self.time, self.ends, self.begins = time, dict(ends), begins or {}
        self.answers = {
            "ListStreams": self._list,
            "UpdateChannel": self._touch,
            "DeleteChannel": self._touch,
            "StopStream": self._stop,
        }

    def live(self, arn: str) -> bool:
        return self.begins.get(arn, 0.0) <= self.time.now < self.ends.get(arn, 0.0)

    def _list(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        return {
            "streams": [
                {"channelArn": arn, "startTime": "2026-11-20T08:00:00Z", "viewerCount": 1204, "health": "HEALTHY"}
                for arn in self.ends
                if self.live(arn)
            ]
        }

    def _touch(self, parameters: Mapping[str, object]) -> Any:
        return CONFLICT if self.live(str(parameters["arn"])) else {}

    def _stop(self, parameters: Mapping[str, object]) -> Any:
        arn = str(parameters["channelArn"])
        if not self.live(arn):
            return refusal("ChannelNotBroadcasting", "not live", status=404)
        self.ends[arn] = self.time.now + 3
        return {}


class Run:
    """An apply on a clock that moves only in a sleep."""

    def __init__(
        self, service: Service, time: Time, *actions: Action, wait_live: int = 0, stop: threading.Event | None = None
    ) -> None:
        self.events: list[Event] = []
        self.result: ApplyResult = execute(
            plan(*actions)._replace(wait_live=wait_live),
            service,
            on_event=self.events.append,
            stop=stop or threading.Event(),
            sleep=time.sleep,
            clock=time.clock,
        )
        self.outcomes = {str(outcome.address): outcome for outcome in self.result.outcomes}


def waits(address: str, arn: str, operation: str = "UpdateChannel") -> Action:
    return action(
        address,
        step(f"{address}#2", "ListStreams", until=OFF[arn]),
        step(f"{address}#1", operation, after=(f"{address}#2",), arn=arn),
    )


def test_an_apply_continues_when_the_broadcast_has_ended() -> None:
    time = Time()
    service = Air(time, {MAIN: 600.0})
    run = Run(service, time, waits("channel/main", MAIN), wait_live=1800)
    assert run.outcomes["channel/main"].result == "done"
    assert service.operations[-1] == "UpdateChannel"
    assert 600 <= time.now < 620
    (told,) = [event for event in run.events if isinstance(event, StepWaiting)]
    assert told.why == "live since 2026-11-20T08:00:00Z with 1,204 viewers"


def test_others_continue_meanwhile() -> None:
    time = Time()
    service = Air(time, {MAIN: 600.0})
    run = Run(
        service,
        time,
        waits("channel/main", MAIN),
        action("channel/side", step("channel/side#1", arn=SIDE)),
        wait_live=1800,
    )
    finished = [str(event.outcome.address) for event in run.events if isinstance(event, ActionFinished)]
    assert finished == ["channel/side", "channel/main"]


def test_at_the_deadline_the_action_is_blocked_and_says_who_is_watching() -> None:
    time = Time()
    run = Run(Air(time, {MAIN: 1e9}), time, waits("channel/main", MAIN), wait_live=1800)
    assert run.outcomes["channel/main"].result == "blocked"
    assert "1,204 viewers; still live after waiting 18" in run.outcomes["channel/main"].message
    assert not run.result.complete
    assert time.now < 1830


def test_one_look_serves_all_who_wait() -> None:
    time = Time()
    service = Air(time, {MAIN: 100.0, SIDE: 100.0})
    run = Run(service, time, waits("channel/main", MAIN), waits("channel/side", SIDE), wait_live=1800)
    assert run.result.complete
    assert service.operations.count("ListStreams") < 20
    assert run.result.calls == len(service.called)


def test_a_channel_that_goes_live_after_the_plan_blocks_its_action_and_its_dependents() -> None:
    time = Time()
    service = Air(time, {MAIN: 1e9})
    run = Run(
        service,
        time,
        action("channel/main", step("channel/main#1", "DeleteChannel", arn=MAIN)),
        action(
            "recording-configuration/r",
            step("recording-configuration/r#1", "DeleteRecordingConfiguration", after=("channel/main#1",), arn="arn:r"),
        ),
    )
    assert run.outcomes["channel/main"].result == "blocked"
    assert "1,204 viewers, which began after the plan was created" in run.outcomes["channel/main"].message
    assert run.outcomes["recording-configuration/r"].message == "depends on channel/main, which is blocked"
    assert time.slept == []


def test_a_channel_that_goes_live_after_the_plan_is_waited_for_if_the_plan_waits() -> None:
    time = Time()
    service = Air(time, {MAIN: 300.0})
    run = Run(service, time, action("channel/main", step("channel/main#1", arn=MAIN)), wait_live=1800)
    assert run.outcomes["channel/main"].result == "done"
    assert service.operations.count("UpdateChannel") == 2
    assert run.result.calls == len(service.called)


@pytest.mark.parametrize("status", [400, 409])
def test_a_refusal_of_a_channel_that_is_not_live_stays_a_failure(status: int) -> None:
    time = Time()
    service = Service({"UpdateChannel": refusal("SomeException", "no", status=status), "ListStreams": {"streams": []}})
    run = Run(service, time, action("channel/main", step("channel/main#1", arn=MAIN)), wait_live=1800)
    assert run.outcomes["channel/main"].result == "failed"
    assert "no" in run.outcomes["channel/main"].message


def test_the_refusal_of_aws_is_reported_if_streams_cannot_be_listed() -> None:
    time = Time()
    service = Service(
        {"UpdateChannel": CONFLICT, "ListStreams": refusal("AccessDeniedException", "not allowed", status=403)}
    )
    run = Run(service, time, action("channel/main", step("channel/main#1", arn=MAIN)))
    assert run.outcomes["channel/main"].result == "failed"
    assert "channel is live" in run.outcomes["channel/main"].message


def test_a_broadcast_that_the_plan_ends_is_over_before_the_channel_is_changed() -> None:
    time = Time()
    service = Air(time, {MAIN: 1e9})
    run = Run(
        service,
        time,
        action(
            "channel/main",
            step("channel/main#2", "DeleteStreamKey", arn="arn:key"),
            step("channel/main#3", "StopStream", after=("channel/main#2",), channelArn=MAIN),
            step("channel/main#4", "ListStreams", after=("channel/main#3",), until=OFF[MAIN]._replace(seconds=60)),
            step("channel/main#1", after=("channel/main#4",), arn=MAIN),
        ),
    )
    assert run.outcomes["channel/main"].result == "done"
    assert [name for name in service.operations if name != "ListStreams"] == [
        "DeleteStreamKey",
        "StopStream",
        "UpdateChannel",
    ]


def test_a_broadcast_that_has_ended_by_itself_needs_no_stop() -> None:
    time = Time()
    run = Run(Air(time, {}), time, action("channel/main", step("channel/main#1", "StopStream", channelArn=MAIN)))
    assert run.outcomes["channel/main"].result == "done"


def test_a_request_to_stop_ends_the_wait() -> None:
    stop = threading.Event()
    time = Time(on_sleep=stop.set)
    run = Run(Air(time, {MAIN: 1e9}), time, waits("channel/main", MAIN), wait_live=1800, stop=stop)
    assert run.result.interrupted
    assert run.outcomes["channel/main"].result == "skipped"
    assert time.now <= 1.0


def test_a_look_that_fails_for_a_while_is_repeated_and_one_that_is_not_allowed_ends_the_wait() -> None:
    time = Time()
    answers: list[Any] = [
        refusal("InternalServerException", "oops", status=500, retryable=True),
        Reply({"streams": []}),
    ]
    assert Run(Service({"ListStreams": answers}), time, waits("channel/main", MAIN), wait_live=1800).result.complete
    denied = Run(
        Service({"ListStreams": refusal("AccessDeniedException", "not allowed", status=403)}),
        time,
        waits("channel/main", MAIN),
        wait_live=1800,
    )
    assert denied.outcomes["channel/main"].result == "failed"
