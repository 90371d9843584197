"""Runs the plan of one target: ``execute`` starts each step as soon as the steps it depends on are done.

Each operation has a small pool of threads of its own, so that waiting for one operation's rate limit delays no other operation.
The threads only make calls. The graph, the counts and the events belong to the thread that called ``execute``, so they need no lock.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

from reconciler import logs
from reconciler.apply.call import Answer, Context, Outage, WriteCalls
from reconciler.apply.claims import NewResources
from reconciler.apply.create import DeferredCheck, Resolution, resolve_duplicates
from reconciler.apply.events import ActionFinished, Event, StepFinished
from reconciler.apply.live_channels import LiveWaits, StreamCheck, WaitingStep
from reconciler.apply.step import StepResult, run_step
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds.ivs import STOP_STREAM
from reconciler.model.target import Sink
from reconciler.model.values import Ref
from reconciler.plan.plan import Action, ApplyResult, Outcome, Result, Step, StepOutcome, TargetPlan

_CALLS_PER_OPERATION = 3
"""Calls of one operation in flight at once: enough to hide latency at the published rates."""

_SUBMITTED = 4 * _CALLS_PER_OPERATION
"""Steps of one operation that its threads have or will take next. The others wait as they are: submitted, each would need a kilobyte."""

_NOT_RUN = frozenset({Result.SKIPPED, Result.BLOCKED})
_LOG = logs.get("apply")


def execute(  # noqa: PLR0913 - clocks and calls are arguments, so that tests need no patching
    plan: TargetPlan,
    calls: WriteCalls,
    *,
    on_event: Callable[[Event], None],
    stop: threading.Event,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    new_resources: NewResources | None = None,
    before_step: Callable[[Address, str], None] = lambda _address, _operation: None,
    draw: Callable[[], float] = random.random,
    publish: Callable[[str, Sink], Answer] | None = None,
) -> ApplyResult:
    """Run one target's plan and return the outcome of every action, in the plan's order.

    ``on_event`` is called from the caller's thread. Once ``stop`` is set, in-flight calls finish and no more start.
    ``sleep`` and ``clock`` are in seconds and are called from several threads. So is ``before_step``, before the first call of each step.
    ``new_resources`` finds creates whose answer was lost, and creates of a concurrent apply; without it, a lost answer is a failure.
    ``draw`` returns random numbers from 0 to 1, so that two concurrent applies do not retry in step.
    ``publish`` writes the value of a stream key to its sink; without it, such a step fails.
    If the apply cannot continue, because the system allows no more threads, the actions that are left have failed.
    """
    inbox: SimpleQueue[Event | StreamCheck | Future[StepResult]] = SimpleQueue()
    context = Context(
        calls,
        inbox.put,
        stop,
        sleep,
        clock,
        new_resources=new_resources,
        before_step=before_step,
        draw=draw,
        publish=publish,
        outage=Outage(clock()),
    )
    execution = _Execution(Graph(plan), context, inbox, on_event, wait_live=plan.wait_live)
    began = clock()
    try:
        execution.run()
    except AwsError as error:
        execution.graph.fail(
            f"the apply ended early: {error}; in-flight calls may have been carried out, run plan again"
        )
    finally:
        # Also when the caller's thread is interrupted: calls that were not sent stay unsent.
        execution.close()
    result = ApplyResult(
        plan.name,
        execution.graph.outcomes(),
        interrupted=execution.interrupted,
        calls=execution.calls,
        seconds=clock() - began,
    )
    counts = {kind.name.lower(): sum(outcome.result is kind for outcome in result.outcomes) for kind in Result}
    _LOG.info(
        "apply",
        target=plan.name,
        account=plan.account_id,
        region=plan.region,
        calls=result.calls,
        seconds=round(result.seconds, 3),
        **counts,
    )
    return result


class _Operation:
    """The threads of one operation, and the steps that wait for one, in the order in which they became ready."""

    def __init__(self, name: str) -> None:
        self.threads = ThreadPoolExecutor(_CALLS_PER_OPERATION, thread_name_prefix=f"apply-{name}")
        self.ready: deque[Step] = deque()
        self.submitted = 0


class _Execution:
    """One apply of one target."""

    def __init__(
        self,
        graph: Graph,
        context: Context,
        inbox: SimpleQueue[Event | StreamCheck | Future[StepResult]],
        on_event: Callable[[Event], None],
        *,
        wait_live: float,
    ) -> None:
        self.graph = graph
        self.calls = 0
        self.interrupted = False
        self._context = context
        self._inbox = inbox
        self._on_event = on_event
        self._operations: dict[str, _Operation] = {}
        self._deferred: list[DeferredCheck] = []
        self._in_flight = 0
        self._live_waits = LiveWaits(context, inbox.put)
        self._live_deadline = context.clock() + wait_live

    def run(self) -> None:
        """Run until every step is settled."""
        self._apply_changes(self.graph.start())
        while self._in_flight:
            message = self._inbox.get()
            if isinstance(message, StreamCheck):
                self._resume_waiting(message)
            elif isinstance(message, Future):
                self._in_flight -= 1
                result = message.result()
                operation = self._operations[result.outcome.operation]
                operation.submitted -= 1
                self._submit(operation)
                self._take_result(result)
            else:
                self._on_event(message)
        self._apply_changes(self.graph.skip_cycles())
        if self._context.new_resources is not None and self._deferred:
            self._resolve_duplicates(self._context.new_resources)

    def close(self) -> None:
        """Start no more calls; those in flight finish."""
        self._live_waits.close()
        for operation in self._operations.values():
            operation.threads.shutdown(wait=False, cancel_futures=True)

    def _take_result(self, result: StepResult) -> None:
        self.calls += result.outcome.calls
        if result.live is not None and self._context.clock() < self._live_deadline:
            self._wait_until_offline(result.outcome.step, result.live.channel_arn, again=True)
            return
        self.interrupted = self.interrupted or result.interrupted
        if result.outcome.calls:
            address = self.graph.action_of(result.outcome.step).address
            self._context.outage.record(address, self._context.clock(), unavailable=result.unavailable)
        # Before any step that uses these ARNs starts.
        self._context.bound.update(result.bound)
        if result.deferred is not None:
            self._deferred.append(result.deferred)
        arns = {address: bound.arn for address, bound in result.bound.items()}
        self._apply_changes(self.graph.settle(result.outcome, arns))

    def _apply_changes(self, changes: Changes) -> None:
        """Log and report what is settled, and start the steps that became ready."""
        for outcome in changes.settled:
            address = self.graph.action_of(outcome.step).address
            _LOG.info(
                "step",
                address=str(address),
                operation=outcome.operation,
                outcome=outcome.result.value,
                seconds=round(outcome.seconds, 3),
                request_id=outcome.request_id,
                code=outcome.error_code,
            )
            self._on_event(StepFinished(address, outcome))
        for finished in changes.finished:
            self._on_event(ActionFinished(finished))
        for step in changes.ready:
            self._start(step)

    def _start(self, step: Step) -> None:
        if step.until is not None and step.until.absent:
            self._wait_until_offline(step.id, step.until.equals)
            return
        operation = self._operations.get(step.operation)
        if operation is None:
            operation = self._operations[step.operation] = _Operation(step.operation)
        self._in_flight += 1
        operation.ready.append(step)
        self._submit(operation)

    def _submit(self, operation: _Operation) -> None:
        """Submit the ready steps of an operation, as many as its threads take next."""
        while operation.ready and operation.submitted < _SUBMITTED:
            step = operation.ready.popleft()
            operation.submitted += 1
            try:
                started = operation.threads.submit(run_step, step, self.graph.action_of(step.id).address, self._context)
            except RuntimeError as error:  # the system allows no more threads
                raise AwsError(f"{error}; raise ulimit -u, or lower --targets-at-once", code="TooManyThreads") from None
            started.add_done_callback(self._inbox.put)

    def _wait_until_offline(self, step_id: str, channel_arn: str, *, again: bool = False) -> None:
        """Let a step wait until its channel is not live; with ``again``, send its call again then."""
        action = self.graph.action_of(step_id)
        step = next(step for step in action.steps if step.id == step_id)
        now = self._context.clock()
        seconds = None if step.until is None else step.until.seconds
        deadline = self._live_deadline if seconds is None else now + seconds
        self._in_flight += 1
        ending = any(one.operation == STOP_STREAM for one in action.steps)
        self._live_waits.add(WaitingStep(step, action.address, channel_arn, now, deadline, again=again, ending=ending))

    def _resume_waiting(self, check: StreamCheck) -> None:
        """Continue the steps whose channel is not live any more, and settle those that have waited long enough."""
        self.calls += check.calls
        for waiting, outcome in self._live_waits.settled(check):
            self._in_flight -= 1
            if outcome.result is Result.DONE:
                # Before the steps start that change the channel.
                self._context.ended_streams.add(waiting.channel_arn)
                if waiting.again:
                    self._start(waiting.step)
                    continue
            skipped = outcome.result is Result.SKIPPED
            self.interrupted = self.interrupted or (skipped and self._context.stop.is_set())
            self._apply_changes(self.graph.settle(outcome, {}))

    def _resolve_duplicates(self, new_resources: NewResources) -> None:
        """Find out which created channels a concurrent apply created too, and correct their outcomes."""
        before = sum(check.attempt.calls for check in self._deferred)
        resolutions = resolve_duplicates(self._deferred, self._context, new_resources)
        checks = (*self._deferred, *(resolution.check for resolution in resolutions))
        attempts = {id(check.attempt): check.attempt for check in checks}
        self.calls += sum(attempt.calls for attempt in attempts.values()) - before
        for resolution in resolutions:
            self._correct(resolution)
        while not self._inbox.empty():  # events that were put there meanwhile
            message = self._inbox.get()
            if not isinstance(message, Future | StreamCheck):
                self._on_event(message)

    def _correct(self, resolution: Resolution) -> None:
        """Replace the outcome of a channel that a concurrent apply created as well, and tag its default stream key again."""
        attempt = resolution.check.attempt
        outcomes: list[StepOutcome] = []
        if resolution.failure is not None:
            failure = resolution.failure
            outcomes.append(attempt.outcome(Result.FAILED, code=failure.code, message=str(failure)))
        else:
            self._context.bound.update(resolution.bound)
            outcomes.append(attempt.outcome(Result.DONE, message=resolution.message))
            for address in resolution.bound.keys() - {attempt.address}:
                steps = self.graph.steps_using(address)
                outcomes += [run_step(step, address, self._context).outcome for step in steps]
        arns = {address: bound.arn for address, bound in resolution.bound.items()}
        self.calls += sum(outcome.calls for outcome in outcomes[1:])
        for outcome in outcomes:
            finished = self.graph.replace_outcome(outcome, arns)
            self._on_event(StepFinished(finished.address, outcome))
            self._on_event(ActionFinished(finished))


@dataclass(slots=True)
class Changes:
    """What one outcome changed: steps that may run now, steps that are settled, and actions that are settled with them."""

    ready: list[Step] = field(default_factory=list)
    settled: list[StepOutcome] = field(default_factory=list)
    finished: list[Outcome] = field(default_factory=list)


class Graph:
    """The dependency graph of one target's steps. Each step is visited once, so the cost is proportional to the plan's size.

    Several actions may have one address, so actions are identified by their index.
    """

    def __init__(self, plan: TargetPlan) -> None:
        self._actions = plan.actions
        self._steps: dict[str, Step] = {step.id: step for action in plan.actions for step in action.steps}
        self._action_index: dict[str, int] = {
            step.id: index for index, action in enumerate(plan.actions) for step in action.steps
        }
        self._settled: dict[str, StepOutcome] = {}
        self._outcomes: list[Outcome | None] = [None] * len(plan.actions)
        self._arns: dict[int, str] = {}
        self._open = [len(action.steps) for action in plan.actions]
        self._missing: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}
        self._invalid: list[StepOutcome] = []
        for step in self._steps.values():
            self._missing[step.id] = len(step.after)
            for name in step.after:
                self._dependents.setdefault(name, []).append(step.id)
                if name not in self._steps:
                    # A plan of ours has no such step; running it nevertheless could be the wrong order.
                    self._invalid.append(
                        _skipped(step, f"depends on {name}, which is not in this plan; run plan again")
                    )

    def start(self) -> Changes:
        """Return what may run at once, and what is settled before anything runs: actions that are blocked or have no steps, and their dependents."""
        changes = Changes()
        for index, action in enumerate(self._actions):
            if not action.steps:
                self._finish(index, changes)
            elif action.blocked is not None:
                message = action.blocked.message
                self._settle(
                    (StepOutcome(step.id, step.operation, Result.BLOCKED, message=message) for step in action.steps),
                    changes,
                )
        self._settle(self._invalid, changes)
        changes.ready = [
            step for step in self._steps.values() if not self._missing[step.id] and step.id not in self._settled
        ]
        return changes

    def settle(self, outcome: StepOutcome, arns: Mapping[Address, str]) -> Changes:
        """Record an outcome with the ARNs it returned, and return what follows from it."""
        index = self._action_index[outcome.step]
        arn = arns.get(self._actions[index].address)
        if arn is not None:
            self._arns[index] = arn
        changes = Changes()
        self._settle([outcome], changes)
        return changes

    def skip_cycles(self) -> Changes:
        """Settle the steps that can never become ready because they depend on each other."""
        changes = Changes()
        left = [step for step in self._steps.values() if step.id not in self._settled]
        self._settle(
            [_skipped(step, "its steps depend on each other in a cycle; run plan again") for step in left], changes
        )
        return changes

    def fail(self, message: str) -> None:
        """Settle all steps that are left as failed."""
        left = [step for step in self._steps.values() if step.id not in self._settled]
        self._settle((StepOutcome(step.id, step.operation, Result.FAILED, message=message) for step in left), Changes())

    def replace_outcome(self, outcome: StepOutcome, arns: Mapping[Address, str]) -> Outcome:
        """Replace the outcome of a settled step, with the ARNs it returned; return the new outcome of its action."""
        index = self._action_index[outcome.step]
        before = self._settled[outcome.step]
        self._settled[outcome.step] = outcome._replace(calls=max(before.calls, outcome.calls))
        self._arns[index] = arns.get(self._actions[index].address, self._arns.get(index, ""))
        return self._finish(index, Changes())

    def steps_using(self, address: Address) -> tuple[Step, ...]:
        """Return the steps with a parameter that refers to the ARN of this address."""
        return tuple(
            step for step in self._steps.values() if any(value == Ref(address) for value in step.parameters.values())
        )

    def action_of(self, step_id: str) -> Action:
        """Return the action of a step."""
        return self._actions[self._action_index[step_id]]

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return the outcome of every action, in the plan's order."""
        return tuple(outcome for outcome in self._outcomes if outcome is not None)

    def _settle(self, outcomes: Iterable[StepOutcome], changes: Changes) -> None:
        """Record outcomes, and those of all steps that can no longer run because of them."""
        queue = deque(outcomes)
        while queue:
            current = queue.popleft()
            if current.step in self._settled:
                continue
            self._settled[current.step] = current
            changes.settled.append(current)
            index = self._action_index[current.step]
            self._open[index] -= 1
            if not self._open[index]:
                self._finish(index, changes)
            for name in self._dependents.get(current.step, ()):
                if current.result is not Result.DONE:
                    queue.append(self._outcome_after(current, name))
                    continue
                self._missing[name] -= 1
                if not self._missing[name] and name not in self._settled:
                    changes.ready.append(self._steps[name])

    def _outcome_after(self, cause: StepOutcome, step_id: str) -> StepOutcome:
        """Return the outcome of a step that cannot run because ``cause`` is not done."""
        action = self.action_of(cause.step)
        if cause.result is Result.FAILED:
            message = f"depends on {action.address}, which failed"
        elif cause.result is Result.BLOCKED and (action.blocked is not None or self.action_of(step_id) is not action):
            message = f"depends on {action.address}, which is blocked"
        else:
            message = cause.message
        result = Result.BLOCKED if cause.result is Result.BLOCKED else Result.SKIPPED
        return StepOutcome(step_id, self._steps[step_id].operation, result, message=message)

    def _finish(self, index: int, changes: Changes) -> Outcome:
        action = self._actions[index]
        steps = tuple(self._settled[step.id] for step in action.steps)
        outcome = _outcome(action, steps, self._arns.get(index, action.arn))
        self._outcomes[index] = outcome
        changes.finished.append(outcome)
        return outcome


def _skipped(step: Step, message: str) -> StepOutcome:
    return StepOutcome(step.id, step.operation, Result.SKIPPED, message=message)


def _outcome(action: Action, steps: tuple[StepOutcome, ...], arn: str | None) -> Outcome:
    """Return the outcome of an action from the outcomes of its steps."""
    failed = next((step for step in steps if step.result is Result.FAILED), None)
    not_run = next((step for step in steps if step.result in _NOT_RUN), None)
    if action.blocked is not None:
        return Outcome(action.address, action.verb, Result.BLOCKED, action.blocked.message, arn=arn, steps=steps)
    if failed is not None:
        message = failed.message
        if not message.startswith(failed.operation):
            message = f"{failed.operation}: {message}"
        message = _with_done(message, steps)
        return Outcome(action.address, action.verb, Result.FAILED, message, failed.request_id, arn, steps)
    if not_run is not None:
        message = _with_done(not_run.message, steps)
        return Outcome(action.address, action.verb, not_run.result, message, arn=arn, steps=steps)
    message = "; ".join(step.message for step in steps if step.message)
    return Outcome(action.address, action.verb, Result.DONE, message, steps[-1].request_id if steps else "", arn, steps)


def _with_done(message: str, steps: tuple[StepOutcome, ...]) -> str:
    done = [step.operation for step in steps if step.result is Result.DONE]
    return f"{message} (already done: {', '.join(done)})" if done else message
