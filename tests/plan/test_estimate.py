"""How long is expected: before the question, and while an apply runs."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from reconciler.apply import ActionFinished, Event, Forecast, StepFinished, StepWaiting, events_json
from reconciler.cli.approval import Lines
from reconciler.model.address import Address
from reconciler.model.kinds import pace_of
from reconciler.plan.plan import Outcome, Result, StepOutcome, Verb
from reconciler.plan.steps import Expected, calls_of, expected, reads_of
from reconciler.report.text import plain
from reconciler.report.words import duration_words
from reconciler.workflow.run import with_forecasts
from tests.apply.makers import action, plan, step
from tests.builders import desired, wanted


def test_the_slowest_operation_decides() -> None:
    coming = expected(
        {
            ("ivs", "TagResource"): 5000,
            ("ivs", "UpdateChannel"): 4950,
            ("ivs", "CreateRecordingConfiguration"): 3,
            ("ivs", "DeleteChannel"): 0,
        },
        pace_of,
    )
    assert coming == Expected("UpdateChannel", 4950, 4.95, 4950 / 4.95)


def test_nothing_left_takes_no_time() -> None:
    assert expected({}, pace_of) is None
    assert expected({("ivs", "UpdateChannel"): 0}, pace_of) is None


def test_blocked_actions_are_not_called() -> None:
    target = plan(action("channel/a", step("channel/a#1")), action("channel/b", step("channel/b#1"), blocked="live"))
    assert calls_of(target) == {("ivs", "UpdateChannel"): 1}


def test_reading_is_counted_by_pages_and_batches_and_a_list_for_each_stream_key() -> None:
    state = desired(
        *(wanted(f"channel/c{number}") for number in range(101)),
        wanted("stream-key/c1"),
        wanted("recording-configuration/r"),
    )
    assert +reads_of(state) == {
        ("ivs", "ListChannels"): 2,
        ("ivs", "BatchGetChannel"): 3,
        ("ivs", "ListStreamKeys"): 1,
        ("ivs", "ListRecordingConfigurations"): 1,
        ("ivs", "GetRecordingConfiguration"): 1,
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (1010, "17 min"), (4800, "1 h 20 min"), (7200, "2 h")],
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


class Told:
    """Forecasts of a plan of three updates, as the test lets time pass and steps end."""

    def __init__(self, pace: float | None) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        self.names = ["channel/a#1", "channel/a#2", "channel/a#3"]
        target = plan(action("channel/a", *(step(name) for name in self.names)))
        self.on_event = with_forecasts(
            calls_of(target), self.events.append, lambda _service, _operation: pace, lambda: self.now
        )

    def ends(self, name: str) -> None:
        self.on_event(StepFinished(Address.parse("channel/a"), StepOutcome(name, "UpdateChannel", Result.DONE)))

    @property
    def forecasts(self) -> list[Forecast]:
        return [event for event in self.events if isinstance(event, Forecast)]


def test_a_forecast_comes_first_and_then_at_most_once_a_second() -> None:
    told = Told(4.95)
    told.ends("channel/a#1")
    told.now = 1.5
    told.ends("channel/a#2")
    assert [(one.expected.calls, one.elapsed) for one in told.forecasts] == [(3, 0.0), (1, 1.5)]
    assert told.forecasts[-1].expected.seconds == pytest.approx(1 / 4.95)
    assert events_json(told.forecasts[-1]) == {
        "type": "forecast",
        "callsLeft": {"UpdateChannel": 1},
        "narrow": "UpdateChannel",
        "callsPerSecond": 4.95,
        "secondsLeft": 0.2,
        "elapsed": 1.5,
    }
    assert sum(isinstance(event, StepFinished) for event in told.events) == 2


def test_the_present_pace_counts_and_not_the_published_one() -> None:
    assert Told(0.5).forecasts[0].expected.seconds == pytest.approx(6.0)


def test_no_estimate_without_a_rate_limit() -> None:
    told = Told(None)
    told.ends("channel/a#1")
    assert told.forecasts == []
    assert len(told.events) == 1


def test_a_log_hears_what_is_left_once_a_minute() -> None:
    out = io.StringIO()
    lines = Lines(out.write, plain, now=lambda: datetime(2026, 11, 24, 23, 50, tzinfo=UTC))
    for elapsed in range(0, 130, 10):
        lines.event(Forecast({"CreateChannel": 4321}, Expected("CreateChannel", 4321, 4.95, 873.0), float(elapsed)))
    lines.event(ActionFinished(Outcome(Address.parse("channel/a"), Verb.CREATE, Result.DONE)))
    said = out.getvalue().splitlines()
    assert said[:3] == ["  4,321 CreateChannel left at 4.95/s, ends 2026-11-25 00:04:33 (15 min)"] * 3
    assert said[3:] == ["  done  create channel/a"]


def test_a_wait_that_lasts_is_said_once_and_a_short_one_never() -> None:
    out = io.StringIO()
    lines = Lines(out.write, plain)
    for _ in range(8):
        lines.event(
            StepWaiting(Address.parse("channel/a"), "channel/a#1", "CreateChannel", 2.0, "the list may lag behind")
        )
    lines.event(
        StepWaiting(
            Address.parse("channel/b"),
            "channel/b#1",
            "CreateChannel",
            2.0,
            "a resource created just now is not found yet",
        )
    )
    assert out.getvalue() == "  waiting  channel/a: CreateChannel: the list may lag behind\n"
