"""The loop: lanes of workers, one small lane for each operation, so that an operation that keeps its pace holds up no other.

Comes in: a target's plan and the way to AWS. Goes out: the result, and every event on the way.
Clock, sleep and the request to stop are arguments.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from reconciler import log
from reconciler.apply.events import ActionFinished, Event, StepFinished, StepStarted, StepWaiting
from reconciler.apply.graph import Graph
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.actions import ApplyResult, Outcome, Result, Step, StepOutcome, TargetPlan, Until

_LANE = 3
"""Calls of one operation under way at once: enough to hide latency at the published rates."""

_WAKE_SECONDS = 0.2
_NOT_FOUND = "ResourceNotFoundException"
_CONFLICT = "ConflictException"
_FIRST_LOOK_SECONDS = 1.0
_LONGEST_LOOK_SECONDS = 3.0
_WAIT_SECONDS = 90.0
"""How long a state is waited for; the user guide speaks of up to 20 seconds."""

_LAG_SECONDS = 30.0
"""How long a resource just made may not be found yet (seen by others; the service promises nothing)."""

_CONFLICT_LOOKS = 8
_CONFLICT_SECONDS = 3.0

_LOG = log.get("apply")


class _Answer(Protocol):
    @property
    def data(self) -> Mapping[str, object]: ...
    @property
    def request_id(self) -> str: ...
    @property
    def calls(self) -> int: ...


class WriteCalls(Protocol):
    """The way to AWS as the executor sees it. Raises ``AwsError``."""

    def call(self, operation: str, parameters: Mapping[str, object], /) -> _Answer:
        """Send one call."""
        ...


def execute(
    plan: TargetPlan,
    calls: WriteCalls,
    *,
    on_event: Callable[[Event], None],
    stop: threading.Event,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> ApplyResult:
    """Carry out one target's plan and return what became of every action, in the plan's order.

    ``on_event`` is called from several threads, never at the same time. Once ``stop`` is set, calls in flight finish and no more start.
    """
    return _Run(plan, calls, on_event, stop, sleep, clock).run()


class _Run:
    """One apply of one target. Everything below ``_lock`` is guarded by it."""

    def __init__(
        self,
        plan: TargetPlan,
        calls: WriteCalls,
        on_event: Callable[[Event], None],
        stop: threading.Event,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._calls = calls
        self._on_event = on_event
        self._stop = stop
        self._sleep = sleep
        self._clock = clock
        self._graph = Graph(plan)
        self._lock = threading.Condition()
        self._lanes: dict[str, deque[Step]] = {}
        self._workers: dict[str, int] = {}
        self._bound: dict[Address, str] = {}
        self._finished: dict[Address, list[Outcome]] = {}
        self._left = len(self._graph.steps)
        self._skipped = False
        self._crash: BaseException | None = None
        self._sent = 0

    def run(self) -> ApplyResult:
        began = self._clock()
        with self._lock:
            ready, settled, finished = self._graph.start()
            self._record(settled, finished)
            for step in ready:
                self._queue(step)
        with self._lock:
            while self._left and self._crash is None:
                self._lock.wait(_WAKE_SECONDS)
        if self._crash is not None:
            raise self._crash
        outcomes = tuple(self._finished[action.address].pop(0) for action in self._plan.actions)
        return ApplyResult(self._plan.name, outcomes, interrupted=self._skipped, calls=self._sent, seconds=self._clock() - began)

    def _queue(self, step: Step) -> None:
        lane = self._lanes.setdefault(step.operation, deque())
        lane.append(step)
        working = self._workers.get(step.operation, 0)
        if working < min(_LANE, len(lane) + working):
            self._workers[step.operation] = working + 1
            threading.Thread(target=self._work, args=(step.operation,), name=f"apply-{step.operation}", daemon=True).start()

    def _work(self, operation: str) -> None:
        """Run the steps of one lane until it is empty."""
        try:
            while True:
                with self._lock:
                    if not self._lanes[operation] or self._crash is not None:
                        self._workers[operation] -= 1
                        return
                    step = self._lanes[operation].popleft()
                self._settle(self._run_step(step))
        except BaseException as error:  # noqa: BLE001 - a bug in a worker must end the run, not hang it; it is raised again in the caller's thread
            with self._lock:
                self._crash = error
                self._lock.notify_all()

    def _settle(self, outcome: StepOutcome) -> None:
        with self._lock:
            ready, lost, finished = self._graph.settle(outcome)
            self._sent += outcome.calls
            self._record([outcome, *lost], finished)
            for step in ready:
                self._queue(step)
            self._lock.notify_all()

    def _record(self, settled: list[StepOutcome], finished: list[Outcome]) -> None:
        """Count and tell what is settled; the caller holds the lock, so nobody is told two things at once."""
        for step in settled:
            self._left -= 1
            self._on_event(StepFinished(self._address(step.step), step))
        for outcome in finished:
            self._finished.setdefault(outcome.address, []).append(outcome)
            self._on_event(ActionFinished(outcome))

    def _address(self, step: str) -> Address:
        return self._graph.actions[self._graph.action_of[step]].address

    def _tell(self, event: Event) -> None:
        with self._lock:
            self._on_event(event)

    def _run_step(self, step: Step) -> StepOutcome:
        if self._stop.is_set():
            self._skipped = True
            return StepOutcome(step.id, step.operation, Result.NOT_ATTEMPTED, message="the apply was stopped before it")
        address = self._address(step.id)
        self._tell(StepStarted(address, step.id, step.operation))
        began = self._clock()
        try:
            answer_calls, request_id = self._await(step, address) if step.until else self._send(step, address)
        except AwsError as error:
            outcome = StepOutcome(step.id, step.operation, Result.FAILED, error.calls, self._clock() - began, error.request_id, error.code, _said(error))
        else:
            outcome = StepOutcome(step.id, step.operation, Result.DONE, answer_calls, self._clock() - began, request_id)
        level = _LOG.warning if outcome.result is Result.FAILED else _LOG.info
        level(
            "step",
            address=str(address),
            operation=step.operation,
            outcome=outcome.result.value,
            seconds=round(outcome.seconds, 3),
            request_id=outcome.request_id,
            code=outcome.error_code,
        )
        return outcome

    def _send(self, step: Step, address: Address) -> tuple[int, str]:
        """Send the call of a step. A delete that finds nothing is done; one that was detached a moment ago may still be called in use."""
        parameters = self._parameters(step)
        deletes = step.operation.startswith("Delete")
        sent = 0
        for look in range(_CONFLICT_LOOKS + 1):
            try:
                answer = self._calls.call(step.operation, parameters)
            except AwsError as error:
                sent += error.calls
                error.calls = sent
                if deletes and error.code == _NOT_FOUND:
                    return sent, error.request_id
                if not (deletes and error.code == _CONFLICT and step.after) or look == _CONFLICT_LOOKS or self._stop.is_set():
                    raise
                self._tell(StepWaiting(address, step.id, step.operation, _CONFLICT_SECONDS, "it is still in use"))
                self._sleep(_CONFLICT_SECONDS)
                continue
            self._bind(step, answer.data)
            return sent + answer.calls, answer.request_id
        raise AssertionError(step)  # pragma: no cover - the last round returns or raises

    def _await(self, step: Step, address: Address) -> tuple[int, str]:
        """Repeat a read until the state is there."""
        assert step.until is not None
        parameters = self._parameters(step)
        began = self._clock()
        pause = _FIRST_LOOK_SECONDS
        sent = 0
        while True:
            state: object = None
            try:
                answer = self._calls.call(step.operation, parameters)
                sent += answer.calls
                state = _state(answer.data, step.until)
                if state == step.until.equals:
                    return sent, answer.request_id
                request_id = answer.request_id
            except AwsError as error:
                sent += error.calls
                error.calls = sent
                if error.code != _NOT_FOUND or self._clock() - began > _LAG_SECONDS:
                    raise
                request_id = error.request_id
            if state is not None and state == step.until.fails_on:
                raise AwsError(f"it ended as {state}; AWS gives no reason", operation=step.operation, code=str(state), request_id=request_id, calls=sent)
            if self._clock() - began > _WAIT_SECONDS or self._stop.is_set():
                why = "the apply was stopped" if self._stop.is_set() else f"not after {_WAIT_SECONDS:.0f} s"
                said = f"it is {state or 'not found'} and not yet {step.until.equals} ({why}); the next apply goes on from here"
                raise AwsError(said, operation=step.operation, code="NotReady", request_id=request_id, calls=sent)
            self._tell(StepWaiting(address, step.id, step.operation, pause, f"it is {state or 'not found yet'}"))
            self._sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK_SECONDS)

    def _parameters(self, step: Step) -> dict[str, object]:
        with self._lock:
            return {key: thaw(self._resolved(value)) for key, value in step.parameters.items()}

    def _resolved(self, value: Value) -> Value:
        """Put the ARNs that earlier steps brought in the place of references. Raises ``AwsError`` for one that nothing brought."""
        match value:
            case Ref():
                if value.address not in self._bound:
                    raise AwsError(f"the ARN of {value.address} is not known; plan again", code="UnresolvedReference", calls=0)
                return self._bound[value.address]
            case tuple():
                return tuple(self._resolved(item) for item in value)
            case Mapping():
                return {key: self._resolved(item) for key, item in value.items()}
            case _:
                return value

    def _bind(self, step: Step, data: Mapping[str, object]) -> None:
        for text, path in step.binds.items():
            found: object = data
            for part in path.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
            if not isinstance(found, str):
                raise AwsError(f"the answer holds no {path}; plan again to find what was made", operation=step.operation, code="UnreadableAnswer")
            address = Address.parse(text)
            with self._lock:
                self._bound[address] = found
                index = self._graph.action_of[step.id]
                if self._graph.actions[index].address == address:
                    self._graph.arns[index] = found


def _state(data: Mapping[str, object], until: Until) -> object:
    """Return the awaited member of the one object in an answer."""
    for item in data.values():
        if isinstance(item, Mapping) and until.member in item:
            return item[until.member]
    return None


def _said(error: AwsError) -> str:
    if error.ambiguous and not error.operation.startswith(("Get", "List", "BatchGet")):
        return f"{error}; whether it was carried out is not known. What it made carries our tags, so the next plan finds it"
    return str(error)
