"""One step: its references filled in, its call sent, its answer looked at. Runs in a worker; returns what became of it and never raises ``AwsError``.

A step is sent again here only where AWS said that nothing was done, and time alone may change that.
Such are a delete of what was detached a moment ago, a call that names something made a moment ago, and a read that waits for a state.
Repeating after throttling and lost connections is the gateway's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.apply.events import StepStarted, StepWaiting
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.actions import Result, Step, StepOutcome, Until

WAIT_SECONDS = 90.0
"""How long a state is waited for; the user guide speaks of up to 20 seconds."""

LAG_SECONDS = 30.0
"""How long a resource just made may not be found yet (seen by others; the service promises nothing)."""

IN_USE_SECONDS = 30.0
"""How long a delete may find in use what an earlier step detached."""

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 3.0
_NOT_FOUND = "ResourceNotFoundException"
_CONFLICT = "ConflictException"
_CREATES = frozenset(kind.create for kind in KINDS.values())
_DELETES = frozenset(kind.delete for kind in KINDS.values())


class Answer(Protocol):
    """What a call brings back."""

    @property
    def data(self) -> Mapping[str, object]:
        """The members of the answer."""

    @property
    def request_id(self) -> str:
        """The id under which AWS knows the request."""

    @property
    def calls(self) -> int:
        """Requests sent, repetitions included."""


class WriteCalls(Protocol):
    """The way to AWS as the executor sees it. Raises ``AwsError``."""

    def call(self, operation: str, parameters: Mapping[str, object], /) -> Answer:
        """Send one call."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An ARN that a step brought, and when."""

    arn: str
    at: float


@dataclass(frozen=True, slots=True)
class Context:
    """What every step of a run shares. ``bound`` is written by the loop alone, always before the steps that read it go out."""

    calls: WriteCalls
    tell: Callable[[StepStarted | StepWaiting], None]
    stop: threading.Event
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    bound: dict[Address, Bound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a step, and the ARNs it brought. ``stopped`` says that it would have gone on but for the request to stop."""

    outcome: StepOutcome
    bound: Mapping[Address, Bound] = field(default_factory=dict)
    stopped: bool = False


class _StoppedError(Exception):
    """The step was waiting when the request to stop came."""


def run_step(step: Step, address: Address, context: Context) -> Settled:
    """Run one step to its end."""
    if context.stop.is_set():
        return Settled(StepOutcome(step.id, step.operation, Result.NOT_ATTEMPTED, message="the apply was stopped before it"), stopped=True)
    context.tell(StepStarted(address, step.id, step.operation))
    attempt = _Attempt(step, address, context, context.clock())
    try:
        bound = attempt.run()
    except _StoppedError as error:
        return Settled(attempt.outcome(Result.NOT_ATTEMPTED, message=str(error)), stopped=True)
    except AwsError as error:
        attempt.sent += error.calls
        attempt.request_id = error.request_id
        return Settled(attempt.outcome(Result.FAILED, code=error.code, message=_said(error, step)))
    return Settled(attempt.outcome(Result.DONE), bound)


@dataclass(slots=True)
class _Attempt:
    """A step on its way: requests sent, the last request id, and since when."""

    step: Step
    address: Address
    context: Context
    began: float
    sent: int = 0
    request_id: str = ""

    def run(self) -> Mapping[Address, Bound]:
        """Send the call, or repeat the read; return the ARNs it brought. Raises ``AwsError`` and ``_StoppedError``."""
        parameters = {key: thaw(self._filled(value)) for key, value in self.step.parameters.items()}
        if self.step.until is None:
            return self._send(parameters)
        self._await(parameters, self.step.until)
        return {}

    def outcome(self, result: Result, *, code: str = "", message: str = "") -> StepOutcome:
        """Return what became of it."""
        return StepOutcome(self.step.id, self.step.operation, result, self.sent, self.context.clock() - self.began, self.request_id, code, message)

    def _send(self, parameters: Mapping[str, object]) -> Mapping[Address, Bound]:
        for pause in _pauses():
            try:
                answer = self._call(parameters)
            except AwsError as error:
                if error.code == _NOT_FOUND and self.step.operation in _DELETES:
                    self._note(error)
                    return {}  # gone is what was wanted
                why = self._passing(error)
                if why is None:
                    raise
                self._note(error)
                self._pause(pause, why)
            else:
                return {Address.parse(text): Bound(self._found(answer.data, path), self.context.clock()) for text, path in self.step.binds.items()}
        raise AssertionError("pauses never end")

    def _passing(self, error: AwsError) -> str | None:
        """Return why the same call may soon succeed, or ``None``."""
        now = self.context.clock()
        if error.code == _CONFLICT and self.step.operation in _DELETES and self.step.after and now - self.began < IN_USE_SECONDS:
            return "it is still in use"
        if error.code == _NOT_FOUND and any(now - self.context.bound[ref.address].at < LAG_SECONDS for ref in _refs(self.step.parameters)):
            return "what was just made is not found yet"
        return None

    def _await(self, parameters: Mapping[str, object], until: Until) -> None:
        for pause in _pauses():
            state: str | None = None
            try:
                state = _state(self._call(parameters).data, until)
            except AwsError as error:
                if error.code != _NOT_FOUND or self.context.clock() - self.began >= LAG_SECONDS:
                    raise
                self._note(error)
            if state == until.equals:
                return
            if state is not None and state == until.fails_on:
                raise self._error(f"it ended as {state}; the service gives no reason", state)
            if self.context.clock() - self.began >= WAIT_SECONDS:
                said = f"it is {state or 'not found'} and not {until.equals} after {WAIT_SECONDS:.0f} seconds; apply again to go on from here"
                raise self._error(said, "NotReady")
            self._pause(pause, f"it is {state or 'not found yet'}")

    def _call(self, parameters: Mapping[str, object]) -> Answer:
        answer = self.context.calls.call(self.step.operation, parameters)
        self.sent += answer.calls
        self.request_id = answer.request_id
        return answer

    def _note(self, error: AwsError) -> None:
        self.sent += error.calls
        self.request_id = error.request_id

    def _pause(self, seconds: float, why: str) -> None:
        if self.context.stop.is_set():
            raise _StoppedError(f"the apply was stopped while {why}")
        self.context.tell(StepWaiting(self.address, self.step.id, self.step.operation, seconds, why))
        self.context.sleep(seconds)
        if self.context.stop.is_set():
            raise _StoppedError(f"the apply was stopped while {why}")

    def _filled(self, value: Value) -> Value:
        """Put the ARNs that earlier steps brought in the place of references."""
        match value:
            case Ref():
                bound = self.context.bound.get(value.address)
                if bound is None:
                    raise AwsError(
                        f"the ARN of {value.address} is not known, because no step before brought it; plan again", code="UnresolvedReference", calls=0
                    )
                return bound.arn
            case tuple():
                return tuple(self._filled(item) for item in value)
            case Mapping():
                return {key: self._filled(item) for key, item in value.items()}
            case _:
                return value

    def _found(self, data: Mapping[str, object], path: str) -> str:
        found: object = data
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, str):
            raise self._error(f"AWS carried it out, but the answer holds no {path}; plan again to find what was made", "UnreadableAnswer")
        return found

    def _error(self, message: str, code: str) -> AwsError:
        """Return an error about an answer that was counted already."""
        return AwsError(message, operation=self.step.operation, code=code, request_id=self.request_id, calls=0)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)


def _refs(value: object) -> Iterator[Ref]:
    match value:
        case Ref():
            yield value
        case Mapping():
            for item in value.values():
                yield from _refs(item)
        case tuple():
            for item in value:
                yield from _refs(item)


def _state(data: Mapping[str, object], until: Until) -> str | None:
    """Return the awaited member of the one object in an answer."""
    for item in data.values():
        if isinstance(item, Mapping) and until.member in item:
            return str(item[until.member])
    return None


def _said(error: AwsError, step: Step) -> str:
    if not error.ambiguous:
        return str(error)
    if step.operation in _CREATES:
        return f"{error}; whether it was carried out is not known. It carries our tags: wait half a minute, so that the list shows what was made, if anything was, and plan again"
    return f"{error}; whether it was carried out is not known; plan again to see"
