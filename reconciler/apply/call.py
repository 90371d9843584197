"""What every step of an apply shares, and one step on its way: its calls, its pauses, what it has cost so far."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.apply.claims import NewResources
from reconciler.apply.events import StepStarted, StepWaiting
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS, Service
from reconciler.model.target import Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import Result, Step, StepOutcome

LAG_SECONDS = 30.0
"""How long a resource just made may not be found yet, and one just deleted may still be shown (seen by others; the service promises nothing)."""

IN_USE_SECONDS = 30.0
"""How long a delete may find in use what an earlier step detached."""

NOT_FOUND = "ResourceNotFoundException"
CONFLICT = "ConflictException"
_DELETES = frozenset(kind.delete for kind in KINDS.values())
_SETTLING = frozenset(kind.update for kind in KINDS.values() if kind.ready)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 3.0


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

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Send one call."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An ARN that a step brought, and when."""

    arn: str
    at: float


def _ignore(address: Address, operation: str) -> None:
    del address, operation


@dataclass(frozen=True, slots=True)
class Context:
    """What every step of a run shares. ``bound`` is written by the loop alone, always before the steps that read it go out.

    ``off_air`` holds the channels whose broadcast was seen to end, and is written like ``bound``.
    ``before`` is told of each step in its worker, before its first call leaves. ``draw`` gives random numbers from 0 to 1.
    ``deliver`` hands the value of a stream key over to a sink, and raises ``AwsError``; ``channels`` says whose key it was, by the key's ARN.
    """

    calls: WriteCalls
    tell: Callable[[StepStarted | StepWaiting], None]
    stop: threading.Event
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    bound: dict[Address, Bound] = field(default_factory=dict)
    off_air: set[str] = field(default_factory=set)
    lookout: NewResources | None = None
    before: Callable[[Address, str], None] = _ignore
    draw: Callable[[], float] = lambda: 0.5
    deliver: Callable[[str, Sink], Answer] | None = None
    channels: dict[str, str] = field(default_factory=dict)


class InterruptedStepError(Exception):
    """The step was waiting when the request to stop came."""


@dataclass(slots=True)
class Attempt:
    """A step on its way: requests sent, the last request id, and since when."""

    step: Step
    address: Address
    context: Context
    began: float
    sent: int = 0
    request_id: str = ""

    def outcome(self, result: Result, *, code: str = "", message: str = "") -> StepOutcome:
        """Return what became of it."""
        return StepOutcome(
            self.step.id,
            self.step.operation,
            result,
            self.sent,
            self.context.clock() - self.began,
            self.request_id,
            code,
            message,
        )

    def call(self, operation: str, parameters: Mapping[str, object]) -> Answer:
        """Send one call and count it. Raises ``AwsError``, uncounted."""
        answer = self.context.calls.call(operation, parameters, KINDS[self.address.kind].service)
        self.sent += answer.calls
        self.request_id = answer.request_id
        return answer

    def note(self, error: AwsError) -> None:
        """Count the requests of a call that failed."""
        self.sent += error.calls
        self.request_id = error.request_id or self.request_id

    def pause(self, seconds: float, why: str) -> None:
        """Wait. Raises ``StoppedError`` when the apply is to stop."""
        if self.context.stop.is_set():
            raise InterruptedStepError(f"the apply was stopped while {why}")
        self.context.tell(StepWaiting(self.address, self.step.id, self.step.operation, seconds, why))
        self.context.sleep(seconds)
        if self.context.stop.is_set():
            raise InterruptedStepError(f"the apply was stopped while {why}")

    def filled(self, value: Value) -> Value:
        """Put the ARNs that earlier steps brought in the place of references. Raises ``AwsError`` for one that is not known."""
        match value:
            case Ref():
                bound = self.context.bound.get(value.address)
                if bound is None:
                    raise AwsError(
                        f"the ARN of {value.address} is not known, because no step before brought it; plan again",
                        code="UnresolvedReference",
                        calls=0,
                    )
                return bound.arn
            case tuple():
                return tuple(self.filled(item) for item in value)
            case Mapping():
                return {key: self.filled(item) for key, item in value.items()}
            case _:
                return value

    def error(self, message: str, code: str) -> AwsError:
        """Return an error about an answer that was counted already."""
        return AwsError(message, operation=self.step.operation, code=code, request_id=self.request_id, calls=0)


def backoff(longest: float = _LONGEST_PAUSE) -> Iterator[float]:
    """Yield growing pauses for ever."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, longest)


def retry_reason(attempt: Attempt, error: AwsError) -> str | None:
    """Return why the same call may soon succeed, or ``None``."""
    now = attempt.context.clock()
    step = attempt.step
    if error.code == CONFLICT and step.operation in _DELETES and step.after and now - attempt.began < IN_USE_SECONDS:
        return "it is still in use"
    if (
        error.code == CONFLICT
        and attempt.sent + error.calls > 1
        and step.operation in _SETTLING
        and now - attempt.began < IN_USE_SECONDS
    ):
        return "the same change, sent before and not answered, is still being carried out"
    if error.code == NOT_FOUND and any(
        now - attempt.context.bound[ref.address].at < LAG_SECONDS for ref in _refs(step.parameters)
    ):
        return "what was just made is not found yet"
    return None


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
