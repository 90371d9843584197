"""Events of an apply: frozen values, their JSON form (``schemas/events.schema.json``), and the results in it read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias, assert_never

from reconciler import json_format as form
from reconciler.json_format import (
    COUNT,
    FLAG,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    Form,
    Format,
    FormatError,
    described,
    list_of,
)
from reconciler.model.address import Address
from reconciler.plan.codec import ACTION, ADDRESS
from reconciler.plan.plan import ApplyResult, Outcome, Result, StepOutcome
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


STEP: Mapping[str, Form] = {"address": ADDRESS, "step": TEXT, "operation": TEXT}
_RESULT = form.called("outcome", form.choice(Result))
STEP_OUTCOME: Mapping[str, Form] = {
    "step": TEXT,
    "operation": TEXT,
    "result": _RESULT,
    "calls": COUNT,
    "seconds": SECONDS,
    "request_id": TEXT_OR_NULL,
    "error_code": form.called("code", TEXT_OR_NULL),
    "message": TEXT_OR_NULL,
}
OUTCOME: Mapping[str, Form] = {
    "address": ADDRESS,
    "verb": form.called("action", ACTION),
    "result": _RESULT,
    "arn": form.or_null(TEXT),
    "request_id": TEXT_OR_NULL,
    "message": TEXT_OR_NULL,
}
APPLY_RESULT: Mapping[str, Form] = {
    "name": form.called("target", TEXT),
    "complete": described(FLAG, "False if something failed, was blocked or skipped: exit code 4."),
    "interrupted": FLAG,
    "calls": COUNT,
    "seconds": SECONDS,
    "outcomes": list_of(form.record(Outcome, **OUTCOME)),
}
_STEP_OUTCOME = Format(form.record(StepOutcome, **STEP_OUTCOME))
_OUTCOME = Format(form.record(Outcome, **OUTCOME))
_APPLY_RESULT = Format(form.record(ApplyResult, **APPLY_RESULT))
_LINE = Format(form.object_of(type=TEXT))
_VERSION = Format(form.object_of(formatVersion=form.version("1.0", minor=True)))
_PLAN = Format(
    form.object_of(
        plan=form.object_of(stack=TEXT, failed=form.omitted(list_of(form.object_of(name=TEXT, message=TEXT))))
    )
)
_ENDING = Format(form.object_of(message=TEXT))


def events_json(event: Event) -> dict[str, object]:
    """Return an event as a JSON object; ``type`` names the event. Readers skip types they do not know."""
    match event:
        case StepStarted():
            return {"type": "step_started", **asdict(event), "address": str(event.address)}
        case StepWaiting():
            return {"type": "step_waiting", **asdict(event), "address": str(event.address)}
        case StepFinished():
            return {"type": "step_finished", "address": str(event.address), **_STEP_OUTCOME.write(event.outcome)}
        case ActionFinished():
            return {"type": "action_finished", **_OUTCOME.write(event.outcome)}
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


def result_json(result: ApplyResult) -> dict[str, object]:
    """Return the result of one target as the JSON object that ends its events."""
    return {"type": "result", **_APPLY_RESULT.write(result)}


def read_events(lines: Sequence[object]) -> tuple[str, tuple[ApplyResult, ...], Mapping[str, str]]:
    """Return the stack, the result of each target, and why others could not be read, from the lines of ``apply --format json``.

    Raises ``FormatError``.
    """
    stack = ended = ""
    results = []
    failed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        place = f"line {number}"
        match _LINE.read(line, place)["type"]:
            case "version":
                _VERSION.read(line, place)
            case "plan":
                plan = _PLAN.read(line, place)["plan"]
                stack, failed = plan["stack"], {one["name"]: one["message"] for one in plan.get("failed", ())}
            case "result" if isinstance(line, dict) and "target" in line:
                results.append(_APPLY_RESULT.read(line, place))
            case "refused" | "error":
                ended = _ENDING.read(line, place)["message"]
    if ended and not results:
        raise FormatError(f"no apply: {ended}")
    if not stack:
        raise FormatError("the line with the plan is missing")
    return stack, tuple(results), failed
