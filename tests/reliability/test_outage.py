"""An outage of AWS during an apply: it ends instead of waiting for each action to fail, and a few resources that fail end nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from reconciler.model.resource import DesiredState
from reconciler.plan.plan import ApplyResult, Until
from tests.apply.makers import Service, Time, action, apply, refusal, step
from tests.builders import desired, wanted
from tests.reliability.world import Screen, World, one_world

OUTAGE = "AWS is unavailable: the last {} actions failed; run apply again later"
CODES = [("ServiceUnavailable", 503), ("InternalServerException", 500)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with one_world(tmp_path, seed=5) as world:
        yield world


def channels(count: int, **properties: str) -> DesiredState:
    return desired(*(wanted(f"channel/c{number:03}", properties) for number in range(count)))


def results(result: ApplyResult | None) -> Counter[str]:
    assert result is not None
    return Counter(outcome.result.value for outcome in result.outcomes)


def skipped_because(result: ApplyResult) -> set[str]:
    return {outcome.message for outcome in result.outcomes if outcome.result == "skipped"}


@pytest.mark.parametrize("operation", ["CreateChannel", "*"])
@pytest.mark.parametrize(("code", "status"), CODES)
def test_an_outage_ends_the_apply_and_the_next_one_completes_it(
    world: World, operation: str, code: str, status: int
) -> None:
    survey = world.survey(channels(60))
    world.control.add_fault("error", operation=operation, times=None, code=code, status=status)
    screen = Screen()
    result = world.carry_out(survey, screen=screen)
    assert result is not None
    counts = results(result)
    assert set(counts) == {"failed", "skipped"}
    # Creates run in rounds of three. The fifth fails in the second one, and the third may have begun by then, or on a
    # busy machine the fourth: no time passes on the clock of the world while this thread waits for its turn.
    assert 5 <= counts["failed"] <= 12
    assert skipped_because(result) == {OUTAGE.format(5)}
    assert (result.interrupted, result.complete) == (False, False)
    assert result.calls < 200, "about 1,000 without an end"
    world.control.clear_faults()
    after = world.apply(channels(60))
    assert after is not None
    assert after.complete
    assert set(world.status().values()) == {1}
    assert world.apply(channels(60)) is None


def test_every_create_in_flight_is_looked_for_until_it_is_known_that_nothing_was_created(world: World) -> None:
    survey = world.survey(channels(30))
    world.control.add_fault("error", operation="CreateChannel", times=None, code="InternalServerException")
    result = world.carry_out(survey)
    assert result is not None
    failed = {outcome.message for outcome in result.outcomes if outcome.result == "failed"}
    assert len(failed) == 1
    assert failed.pop().endswith("sent 3 times, and nothing was created; run apply again later")


def test_creates_that_are_carried_out_and_not_answered_are_no_outage(world: World) -> None:
    world.control.add_fault("reset", operation="CreateChannel", when="after", times=None)
    assert results(world.apply(channels(12))) == {"done": 12}
    assert set(world.status().values()) == {1}


def test_updates_end_as_well(world: World) -> None:
    world.apply(channels(60))
    survey = world.survey(channels(60, latencyMode="NORMAL"))
    world.control.add_fault("html", operation="UpdateChannel", times=None)
    result = world.carry_out(survey)
    assert result is not None
    assert results(result)["skipped"] > 30
    assert result.calls < 150, "300 without an end"


def test_resources_that_fail_beside_others_end_nothing(world: World) -> None:
    world.apply(channels(60))
    broken = [one["arn"] for one in world.everything() if ":channel/" in one["arn"]][::10]
    for arn in broken:
        world.control.add_fault("error", operation="UpdateChannel", times=None, arn=arn)
    assert results(world.apply(channels(60, latencyMode="NORMAL"))) == {"done": 60 - len(broken), "failed": len(broken)}


def test_an_outage_that_is_over_in_a_minute_ends_nothing(world: World) -> None:
    world.apply(channels(60))
    survey = world.survey(channels(60, latencyMode="NORMAL"))
    world.control.add_fault("error", operation="UpdateChannel", times=60)
    counts = results(world.carry_out(survey))
    # 5 calls each; the last faults may be shared by updates in flight, which then succeed.
    assert 9 <= counts["failed"] <= 12
    assert counts == {"done": 60 - counts["failed"], "failed": counts["failed"]}


def test_throttling_is_no_outage(world: World) -> None:
    world.apply(channels(20))
    survey = world.survey(channels(20, latencyMode="NORMAL"))
    world.control.add_fault("throttle", operation="UpdateChannel", times=None)
    assert results(world.carry_out(survey)) == {"failed": 20}


def test_what_aws_refuses_is_no_outage(world: World) -> None:
    survey = world.survey(channels(20))
    world.control.add_fault("deny", operation="CreateChannel")
    assert results(world.carry_out(survey)) == {"failed": 20}


def test_a_channel_that_is_waited_for_is_skipped_too() -> None:
    time = Time()

    def fail(parameters: Mapping[str, object]) -> Exception:
        time.sleep(20)
        return refusal("ServiceUnavailable", "try later", status=503, retryable=True)

    arn = "arn:aws:ivs:us-west-2:123456789012:channel/main"
    service = Service({"UpdateChannel": fail, "ListStreams": {"streams": [{"channelArn": arn}]}})
    offline = step("channel/main#2", "ListStreams", until=Until("channelArn", arn, absent=True, seconds=100_000))
    applied = apply(
        service,
        action("channel/main", offline, step("channel/main#1", after=("channel/main#2",), arn=arn)),
        *(action(f"channel/c{number}", step(f"channel/c{number}#1", arn=str(number))) for number in range(20)),
        time=time,
    )
    assert applied.results["channel/main"] == "skipped"
    assert applied["channel/main"].message.startswith("AWS is unavailable: the last ")
    assert not applied.result.interrupted
