"""What all steps of an apply share (``Context``), and one step being run (``Attempt``): its calls, its waits, when to retry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler.apply.claims import NewResources
from reconciler.apply.events import StepStarted, StepWaiting
from reconciler.errors import NOT_FOUND, UNREADABLE, AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import DELETED_BY, KINDS, Service
from reconciler.model.target import Sink
from reconciler.model.values import Ref, Value, refs_in
from reconciler.plan.plan import Result, Step, StepOutcome

LAG_SECONDS = 30.0
"""How long lists and reads may lag behind a create or delete (observed; the service documents no bound)."""

IN_USE_SECONDS = 30.0
"""How long a delete may be refused as in use after an earlier step detached the resource."""

CONFLICT = "ConflictException"

OUTAGE_FAILURES, OUTAGE_SECONDS = 5, 60.0
"""An outage: so many actions in a row failed because AWS was unavailable, and nothing was answered for so long."""

_UPDATES_WITH_STATE = frozenset(kind.update for kind in KINDS.values() if kind.ready)
_FIRST_DELAY = 1.0
_MAX_DELAY = 3.0


class Answer(Protocol):
    """What a call returns."""

    @property
    def data(self) -> Mapping[str, object]:
        """The members of the answer."""

    @property
    def request_id(self) -> str:
        """The request id of AWS."""

    @property
    def calls(self) -> int:
        """Requests sent, retries included."""


class WriteCalls(Protocol):
    """Calls to AWS, as the executor needs them."""

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Return the answer of a call to a service, repeated if that is safe; ``None`` is IVS. Raises ``AwsError``."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An ARN that a step returned, and when."""

    arn: str
    at: float


@dataclass(slots=True)
class Outage:
    """Tells an outage of AWS from the failure of a few resources, because each action would wait for minutes to fail in its turn.

    Belongs to the executor's thread; others read ``reason``, which is empty as long as there is none.
    """

    answered_at: float
    failed: set[Address] = field(default_factory=set)
    reason: str = ""

    def record(self, address: Address, now: float, *, unavailable: bool) -> None:
        """Record the end of a step for which calls were sent: whether it failed because AWS was unavailable."""
        if not unavailable:
            self.answered_at = now
            self.failed.clear()
            return
        self.failed.add(address)
        if not self.reason and len(self.failed) >= OUTAGE_FAILURES and now - self.answered_at >= OUTAGE_SECONDS:
            self.reason = f"AWS is unavailable: the last {len(self.failed)} actions failed; run apply again later"


@dataclass(frozen=True, slots=True)
class Context:
    """What all steps of an apply share.

    ``bound`` is written by the executor's thread alone, always before the steps that read it start; so is ``ended_streams``,
    the ARNs of channels whose stream was seen to end. ``before_step`` is called in the step's thread, before its first call.
    ``draw`` returns random numbers from 0 to 1. ``publish`` writes the value of a stream key to a sink, and raises ``AwsError``;
    ``key_channels`` maps the ARN of a published key to that of its channel.
    """

    calls: WriteCalls
    emit: Callable[[StepStarted | StepWaiting], None]
    stop: threading.Event
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    bound: dict[Address, Bound] = field(default_factory=dict)
    ended_streams: set[str] = field(default_factory=set)
    new_resources: NewResources | None = None
    before_step: Callable[[Address, str], None] = lambda _address, _operation: None
    draw: Callable[[], float] = lambda: 0.5
    publish: Callable[[str, Sink], Answer] | None = None
    key_channels: dict[str, str] = field(default_factory=dict)
    outage: Outage = field(default_factory=lambda: Outage(0.0))

    @property
    def ended(self) -> str:
        """Why no more steps start; empty as long as they do."""
        return "interrupted" if self.stop.is_set() else self.outage.reason


class InterruptedStepError(Exception):
    """The apply was interrupted while the step waited."""


@dataclass(slots=True)
class Attempt:
    """A step being run: the requests sent, the last request id, when it began, and whether AWS was unavailable for its last call."""

    step: Step
    address: Address
    context: Context
    began: float
    calls: int = 0
    request_id: str = ""
    unavailable: bool = False

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return self.context.clock() - self.began

    def outcome(self, result: Result, *, code: str = "", message: str = "") -> StepOutcome:
        """Return the step's outcome."""
        return StepOutcome(
            self.step.id, self.step.operation, result, self.calls, self.age, self.request_id, code, message
        )

    def call(self, operation: str, parameters: Mapping[str, object]) -> Answer:
        """Send one call and count its requests. Raises ``AwsError``, whose requests are not counted yet."""
        try:
            answer = self.context.calls.call(operation, parameters, KINDS[self.address.kind].service)
        except AwsError as error:
            self.unavailable = error.unavailable
            raise
        self.unavailable = False
        self.calls += answer.calls
        self.request_id = answer.request_id
        return answer

    def count(self, error: AwsError) -> None:
        """Count the requests of a call that failed."""
        self.calls += error.calls
        self.request_id = error.request_id or self.request_id

    def wait(self, seconds: float, why: str) -> None:
        """Wait and report why. Raises ``InterruptedStepError`` when the apply is interrupted."""
        if not self.context.stop.is_set():
            self.context.emit(StepWaiting(self.address, self.step.id, self.step.operation, seconds, why))
            self.context.sleep(seconds)
        if self.context.stop.is_set():
            raise InterruptedStepError(f"interrupted while waiting: {why}")

    def parameters(self) -> dict[str, Any]:
        """Return the step's parameters for a call, with the ARNs that earlier steps returned. Raises ``AwsError`` for one that is not known."""
        return {key: self._resolve(value) for key, value in self.step.parameters.items()}

    def _resolve(self, value: Value) -> object:
        """Return a value as plain JSON, references replaced by their ARNs."""
        match value:
            case Ref():
                bound = self.context.bound.get(value.address)
                if bound is None:
                    raise AwsError(
                        f"the ARN of {value.address} is unknown: no earlier step returned it; run plan again",
                        code="UnresolvedReference",
                        calls=0,
                    )
                return bound.arn
            case tuple():
                return [self._resolve(item) for item in value]
            case Mapping():
                return {key: self._resolve(item) for key, item in value.items()}
            case _:
                return value

    def bound_by(self, data: Mapping[str, object]) -> dict[Address, Bound]:
        """Return what the step binds, from the answer to its call. Raises ``AwsError`` if an ARN is missing."""
        found: dict[Address, Bound] = {}
        for text, path in self.step.binds.items():
            value: object = data
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if not isinstance(value, str):
                message = f"the call succeeded, but the answer has no {path}; run plan again to find what was created"
                raise self.error(message, UNREADABLE)
            found[Address.parse(text)] = Bound(value, self.context.clock())
        return found

    def error(self, message: str, code: str) -> AwsError:
        """Return an error about an answer whose requests are counted already."""
        return AwsError(message, operation=self.step.operation, code=code, request_id=self.request_id, calls=0)


def backoff(longest: float = _MAX_DELAY) -> Iterator[float]:
    """Yield growing delays in seconds, without end."""
    delay = _FIRST_DELAY
    while True:
        yield delay
        delay = min(delay * 2, longest)


def retry_reason(attempt: Attempt, error: AwsError) -> str | None:
    """Return why the same call may soon succeed, or ``None``."""
    operation = attempt.step.operation
    if error.code == CONFLICT and attempt.age < IN_USE_SECONDS:
        if operation in DELETED_BY and attempt.step.after:
            return "the resource is still in use"
        if operation in _UPDATES_WITH_STATE and attempt.calls + error.calls > 1:
            return "an earlier request for the same change, whose answer was lost, is still in progress"
    now = attempt.context.clock()
    if error.code == NOT_FOUND and any(
        now - attempt.context.bound[ref.address].at < LAG_SECONDS for ref in refs_in(attempt.step.parameters)
    ):
        return "a resource created just now is not found yet"
    return None
