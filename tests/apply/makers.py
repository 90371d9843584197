"""Short makers of plans to carry out, and a service that keeps a record and answers what it was told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.apply import Event, execute
from reconciler.errors import AwsError
from reconciler.model import kinds
from reconciler.model.address import Address
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import Action, ApplyResult, Blocked, Outcome, Reason, Step, Summary, TargetPlan, Until, Verb

ACTIVE = Until("state", "ACTIVE", "CREATE_FAILED")


def step(
    identifier: str,
    operation: str = "UpdateChannel",
    /,
    *,
    after: tuple[str, ...] = (),
    binds: str = "",
    until: Until | None = None,
    **parameters: Value,
) -> Step:
    """Make a step; ``identifier`` is ``kind/id#n``, ``binds`` is ``kind/id=path``."""
    address, _, path = binds.partition("=")
    return Step(identifier, operation, parameters, after, {address: path} if binds else {}, until)


def action(address: str, *steps: Step, verb: Verb = Verb.UPDATE, blocked: str = "", arn: str | None = None) -> Action:
    """Make an action with these steps."""
    return Action(
        Address.parse(address),
        verb,
        Reason.PROPERTIES_DIFFER,
        "because",
        arn=arn,
        steps=steps,
        blocked=Blocked("live", blocked) if blocked else None,
    )


def plan(*actions: Action) -> TargetPlan:
    """Make a target's plan."""
    return TargetPlan("dev", "123456789012", "us-west-2", "digest", actions, Summary(), {}, len(actions))


def ref(address: str) -> Ref:
    """Return the ARN of the resource with this address, not known yet."""
    return Ref(Address.parse(address))


def refusal(code: str = "ConflictException", message: str = "channel is live", **more: Any) -> AwsError:
    """Make what AWS says when it refuses."""
    return AwsError(message, code=code, request_id="req-refused", **more)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    data: Mapping[str, object]
    request_id: str = "req-1"
    calls: int = 1


@dataclass
class Service:
    """Keeps every call; ``answers`` give, by operation, what to answer or raise, one a call and the last for ever, or a function of the parameters."""

    answers: dict[str, Any] = field(default_factory=dict)
    called: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: dict[str, int] = field(default_factory=dict)
    hold: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}

    def call(self, operation: str, parameters: Mapping[str, object], service: kinds.Service | None = None, /) -> Reply:
        with self._lock:
            self.called.append((operation, parameters))
            self._busy[operation] = self._busy.get(operation, 0) + 1
            self.most_at_once[operation] = max(self.most_at_once.get(operation, 0), self._busy[operation])
            answer = self.answers.get(operation, {})
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        try:
            self.hold(operation)
            if callable(answer):
                answer = answer(parameters)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Reply) else Reply(answer)
        finally:
            with self._lock:
                self._busy[operation] -= 1

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.called]


class Time:
    """A clock that moves only in a sleep."""

    def __init__(self, on_sleep: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._on_sleep = on_sleep
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds
        self._on_sleep()


@dataclass
class Applied:
    """What an apply left behind."""

    result: ApplyResult
    events: list[Event]
    time: Time

    def __getitem__(self, address: str) -> Outcome:
        return next(outcome for outcome in self.result.outcomes if str(outcome.address) == address)

    @property
    def results(self) -> dict[str, str]:
        return {str(outcome.address): outcome.result.value for outcome in self.result.outcomes}


def apply(
    service: Any,
    *actions: Action,
    time: Time | None = None,
    stop: threading.Event | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Applied:
    """Carry out these actions."""
    events: list[Event] = []
    time = time or Time()

    def keep(event: Event) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    result = execute(
        plan(*actions), service, on_event=keep, stop=stop or threading.Event(), sleep=time.sleep, clock=time.clock
    )
    return Applied(result, events, time)
