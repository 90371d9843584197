"""Events of an apply: frozen values, and their JSON form (``schemas/events.schema.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias, assert_never

from reconciler.model.address import Address
from reconciler.plan.plan import Outcome, StepOutcome
from reconciler.plan.steps import Expected


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A call is about to be sent."""

    address: Address
    step: str
    operation: str


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """A step waits and tries again after ``seconds``; ``why`` says what it waits for."""

    address: Address
    step: str
    operation: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step has an outcome: done, failed, skipped or blocked."""

    address: Address
    outcome: StepOutcome


@dataclass(frozen=True, slots=True)
class ActionFinished:
    """An action has an outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rest of a rate-limited apply: calls left by operation, and the time the slowest operation needs. ``elapsed`` is in seconds."""

    calls_left: Mapping[str, int]
    expected: Expected
    elapsed: float


Event: TypeAlias = StepStarted | StepWaiting | StepFinished | ActionFinished | Forecast


def events_json(event: Event) -> dict[str, object]:
    """Return an event as a JSON object; ``type`` names the event. Readers skip types they do not know."""
    match event:
        case StepStarted():
            return {"type": "step_started", **asdict(event), "address": str(event.address)}
        case StepWaiting():
            return {"type": "step_waiting", **asdict(event), "address": str(event.address)}
        case StepFinished():
            outcome = event.outcome
            return {
                "type": "step_finished",
                "address": str(event.address),
                "step": outcome.step,
                "operation": outcome.operation,
                "outcome": outcome.result.value,
                "calls": outcome.calls,
                "seconds": round(outcome.seconds, 3),
                "requestId": outcome.request_id or None,
                "code": outcome.error_code or None,
                "message": outcome.message or None,
            }
        case ActionFinished():
            return {"type": "action_finished", **outcome_json(event.outcome)}
        case Forecast():
            return {
                "type": "forecast",
                "callsLeft": dict(sorted(event.calls_left.items())),
                "narrow": event.expected.operation,
                "callsPerSecond": round(event.expected.pace, 3),
                "secondsLeft": round(event.expected.seconds, 1),
                "elapsed": round(event.elapsed, 1),
            }
        case _ as never:
            assert_never(never)


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return the outcome of an action as a JSON object, without its steps."""
    return {
        "address": str(outcome.address),
        "action": outcome.verb.value,
        "outcome": outcome.result.value,
        "arn": outcome.arn,
        "requestId": outcome.request_id or None,
        "message": outcome.message or None,
    }
