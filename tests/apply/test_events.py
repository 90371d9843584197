from __future__ import annotations

import json

from reconciler.apply import ActionFinished, Event, StepFinished, StepStarted, StepWaiting, events_json
from reconciler.model.address import Address
from reconciler.plan.plan import Outcome, Result, StepOutcome, Verb

MAIN = Address.parse("channel/main")


def test_every_event_has_a_type_and_an_address() -> None:
    outcome = StepOutcome(
        "channel/main#1", "UpdateChannel", Result.FAILED, 2, 0.12345, "r-1", "ConflictException", "live"
    )
    events: list[Event] = [
        StepStarted(MAIN, "channel/main#1", "UpdateChannel"),
        StepWaiting(MAIN, "channel/main#1", "UpdateChannel", 3.0, "the resource is still in use"),
        StepFinished(MAIN, outcome),
        ActionFinished(Outcome(MAIN, Verb.UPDATE, Result.FAILED, "UpdateChannel: live", "r-1", "arn", (outcome,))),
    ]
    shown = [json.loads(json.dumps(events_json(event))) for event in events]
    assert [event["type"] for event in shown] == ["step_started", "step_waiting", "step_finished", "action_finished"]
    assert {event["address"] for event in shown} == {"channel/main"}
    assert shown[2] == {
        "type": "step_finished",
        "address": "channel/main",
        "step": "channel/main#1",
        "operation": "UpdateChannel",
        "outcome": "failed",
        "calls": 2,
        "seconds": 0.123,
        "requestId": "r-1",
        "code": "ConflictException",
        "message": "live",
    }
    assert shown[3]["action"] == "update"


def test_what_is_not_there_is_null() -> None:
    shown = events_json(StepFinished(MAIN, StepOutcome("channel/main#1", "UpdateChannel", Result.DONE)))
    assert (shown["requestId"], shown["code"], shown["message"]) == (None, None, None)
