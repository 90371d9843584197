"""The loop: steps go out to lanes of workers, outcomes come back to one inbox, and what they free goes out again.

Each operation has a small lane of its own, so that one that keeps its pace holds up no other.
Workers only make calls; the graph, the counts and the events belong to the thread that called ``execute``, so nothing here needs a lock.
Clock, sleep and the request to stop are arguments.

Which steps may run, which still wait, and what a settled step means for the others. No threads, no calls.

Comes in: a target's plan, then the outcome of each step. Goes out: the steps that became ready, and what is settled with them.
Every step is looked at once, so a plan of thousands costs no more than its size.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

from reconciler import logs
from reconciler.apply.call import Answer, Context, WriteCalls
from reconciler.apply.claims import NewResources
from reconciler.apply.create import DeferredCheck
from reconciler.apply.duplicates import Resolution, resolve_duplicates
from reconciler.apply.events import ActionFinished, Event, StepFinished
from reconciler.apply.live_channels import LiveWaits, StreamCheck, WaitingStep
from reconciler.apply.step import STOP_STREAM, StepResult, run_step
from reconciler.model.address import Address
from reconciler.model.target import Sink
from reconciler.model.values import Ref
from reconciler.plan.plan import Action, ApplyResult, Outcome, Result, Step, StepOutcome, TargetPlan

_NOT_RUN = frozenset({Result.NOT_ATTEMPTED, Result.BLOCKED})


@dataclass(slots=True)
class Changes:
    """What changed at once: steps that may run now, steps that are settled, and actions that are settled with them."""

    ready: list[Step] = field(default_factory=list)
    settled: list[StepOutcome] = field(default_factory=list)
    finished: list[Outcome] = field(default_factory=list)


class Graph:
    """The steps of one target's plan while it is carried out. Several actions may have one address, so actions are known by their place."""

    def __init__(self, plan: TargetPlan) -> None:
        self._actions = plan.actions
        self._steps: dict[str, Step] = {step.id: step for action in plan.actions for step in action.steps}
        self._action_of: dict[str, int] = {
            step.id: index for index, action in enumerate(plan.actions) for step in action.steps
        }
        self._settled: dict[str, StepOutcome] = {}
        self._outcomes: list[Outcome | None] = [None] * len(plan.actions)
        self._arns: dict[int, str] = {}
        self._open = [len(action.steps) for action in plan.actions]
        self._waiting: dict[str, int] = {}
        self._followers: dict[str, list[str]] = {}
        self._astray: list[StepOutcome] = []
        for step in self._steps.values():
            self._waiting[step.id] = len(step.after)
            for name in step.after:
                self._followers.setdefault(name, []).append(step.id)
                if name not in self._steps:
                    # No plan of ours has such a step; running it all the same could be the wrong order.
                    self._astray.append(
                        _skipped(step, f"it waits for {name}, which is no step of this plan; plan again")
                    )

    def start(self) -> Changes:
        """Return what may run at once, and what is settled before anything runs: actions that are blocked or have no steps, and what waits for them."""
        news = Changes()
        for index, action in enumerate(self._actions):
            if not action.steps:
                self._finish(index, action, news)
            elif action.blocked is not None:
                self._settle(
                    (
                        StepOutcome(step.id, step.operation, Result.BLOCKED, message=action.blocked.message)
                        for step in action.steps
                    ),
                    news,
                )
        self._settle(self._astray, news)
        news.ready = [
            step for step in self._steps.values() if not self._waiting[step.id] and step.id not in self._settled
        ]
        return news

    def settle(self, outcome: StepOutcome, bound: Mapping[Address, str]) -> Changes:
        """Record an outcome with the ARNs it brought, and return what follows from it."""
        index = self._action_of[outcome.step]
        arn = bound.get(self._actions[index].address)
        if arn is not None:
            self._arns[index] = arn
        news = Changes()
        self._settle([outcome], news)
        return news

    def give_up(self) -> Changes:
        """Settle what can never become ready: steps that wait for one another in a circle."""
        news = Changes()
        left = [step for step in self._steps.values() if step.id not in self._settled]
        self._settle([_skipped(step, "its steps wait for one another in a circle; plan again") for step in left], news)
        return news

    def amend(self, outcome: StepOutcome, bound: Mapping[Address, str]) -> tuple[Outcome, ...]:
        """Put another outcome in the place of a settled one, with the ARNs it brought; return the outcome of its action anew."""
        index = self._action_of[outcome.step]
        action = self._actions[index]
        before = self._settled[outcome.step]
        self._settled[outcome.step] = replace(outcome, calls=max(before.calls, outcome.calls))
        self._arns[index] = bound.get(action.address, self._arns.get(index, ""))
        news = Changes()
        self._finish(index, action, news)
        return tuple(news.finished)

    def naming(self, address: Address) -> tuple[Step, ...]:
        """Return the steps that name the ARN of this address, which an earlier step brings."""
        return tuple(
            step for step in self._steps.values() if any(value == Ref(address) for value in step.parameters.values())
        )

    def action(self, step: str) -> Action:
        """Return the action of a step."""
        return self._actions[self._action_of[step]]

    def outcomes(self) -> tuple[Outcome, ...]:
        """Return what became of every action, in the plan's order."""
        return tuple(outcome for outcome in self._outcomes if outcome is not None)

    def _settle(self, outcomes: Iterable[StepOutcome], news: Changes) -> None:
        """Record outcomes, and those of all steps that can no longer run because of them."""
        queue = deque(outcomes)
        while queue:
            current = queue.popleft()
            if current.step in self._settled:
                continue
            self._settled[current.step] = current
            news.settled.append(current)
            index = self._action_of[current.step]
            self._open[index] -= 1
            if not self._open[index]:
                self._finish(index, self._actions[index], news)
            for name in self._followers.get(current.step, ()):
                if current.result is not Result.DONE:
                    queue.append(self._lost(name, current, self._actions[index]))
                    continue
                self._waiting[name] -= 1
                if not self._waiting[name] and name not in self._settled:
                    news.ready.append(self._steps[name])

    def _lost(self, name: str, cause: StepOutcome, action: Action) -> StepOutcome:
        """Return the outcome of a step that can no longer run; its message names the action that began it."""
        if cause.result is Result.FAILED:
            message = f"it waits for {action.address}, which failed"
        elif cause.result is Result.BLOCKED and (action.blocked is not None or self.action(name) is not action):
            message = f"it waits for {action.address}, which is blocked"
        else:
            message = cause.message
        result = Result.BLOCKED if cause.result is Result.BLOCKED else Result.NOT_ATTEMPTED
        return StepOutcome(name, self._steps[name].operation, result, message=message)

    def _finish(self, index: int, action: Action, news: Changes) -> None:
        outcome = _outcome(
            action, tuple(self._settled[step.id] for step in action.steps), self._arns.get(index, action.arn)
        )
        self._outcomes[index] = outcome
        news.finished.append(outcome)


def _skipped(step: Step, message: str) -> StepOutcome:
    return StepOutcome(step.id, step.operation, Result.NOT_ATTEMPTED, message=message)


def _outcome(action: Action, steps: tuple[StepOutcome, ...], arn: str | None) -> Outcome:
    """Return what became of an action from what became of its steps."""
    failed = next((step for step in steps if step.result is Result.FAILED), None)
    skipped = next((step for step in steps if step.result in _NOT_RUN), None)
    if action.blocked is not None:
        return Outcome(action.address, action.verb, Result.BLOCKED, action.blocked.message, arn=arn, steps=steps)
    if failed is not None:
        said = (
            failed.message if failed.message.startswith(failed.operation) else f"{failed.operation}: {failed.message}"
        )
        message = _with_done(said, steps)
        return Outcome(action.address, action.verb, Result.FAILED, message, failed.request_id, arn, steps)
    if skipped is not None:
        return Outcome(
            action.address, action.verb, skipped.result, _with_done(skipped.message, steps), arn=arn, steps=steps
        )
    said = "; ".join(step.message for step in steps if step.message)
    return Outcome(action.address, action.verb, Result.DONE, said, steps[-1].request_id if steps else "", arn, steps)


def _with_done(message: str, steps: tuple[StepOutcome, ...]) -> str:
    done = [step.operation for step in steps if step.result is Result.DONE]
    return f"{message} (done before that: {', '.join(done)})" if done else message


_CALLS_PER_OPERATION = 3
"""Calls of one operation under way at once: enough to hide latency at the published rates."""

_LOG = logs.get("apply")


def execute(  # noqa: PLR0913 - each is one seam, and named
    plan: TargetPlan,
    calls: WriteCalls,
    *,
    on_event: Callable[[Event], None],
    stop: threading.Event,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    lookout: NewResources | None = None,
    before: Callable[[Address, str], None] = lambda _address, _operation: None,
    draw: Callable[[], float] = random.random,
    deliver: Callable[[str, Sink], Answer] | None = None,
) -> ApplyResult:
    """Carry out one target's plan and return what became of every action, in the plan's order.

    ``on_event`` is called from this thread, as things happen. Once ``stop`` is set, calls in flight finish and no more start.
    ``sleep`` and ``clock`` are in seconds and are called from several threads, and so is ``before``, with each step whose first call is about to leave.
    ``lookout`` finds creates whose answer was lost, and what another apply makes; without it, such a create is a failure.
    ``draw`` gives random numbers from 0 to 1, by which two applies get out of each other's way.
    ``deliver`` hands the values of stream keys over to their sinks; without it, such a step fails.
    """
    inbox: SimpleQueue[Event | StreamCheck | Future[StepResult]] = SimpleQueue()
    run = _Execution(
        Graph(plan),
        Context(calls, inbox.put, stop, sleep, clock, lookout=lookout, before=before, draw=draw, deliver=deliver),
        inbox,
        on_event,
        wait_live=plan.wait_live,
    )
    began = clock()
    try:
        run.to_the_end()
    finally:
        # Also when the caller's thread is interrupted: what was not sent stays unsent.
        run.close()
    result = ApplyResult(
        plan.name, run.graph.outcomes(), interrupted=run.interrupted, calls=run.sent, seconds=clock() - began
    )
    counts = {
        kind.value.replace(" ", "_"): sum(outcome.result is kind for outcome in result.outcomes) for kind in Result
    }
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
        self.sent = 0
        self.interrupted = False
        self._context = context
        self._inbox = inbox
        self._on_event = on_event
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._made: list[DeferredCheck] = []
        self._under_way = 0
        self._air = LiveWaits(context, inbox.put)
        self._air_deadline = context.clock() + wait_live

    def to_the_end(self) -> None:
        """Run until every step is settled."""
        self._follow(self.graph.start())
        while self._under_way:
            message = self._inbox.get()
            if isinstance(message, StreamCheck):
                self._looked(message)
                continue
            if not isinstance(message, Future):
                self._on_event(message)
                continue
            self._under_way -= 1
            settled = message.result()
            self.sent += settled.outcome.calls
            if settled.on_air is not None and self._context.clock() < self._air_deadline:
                self._park(settled.outcome.step, settled.on_air.channel_arn, again=True)
                continue
            self.interrupted = self.interrupted or settled.stopped
            # Before any step that names these ARNs goes out.
            self._context.bound.update(settled.bound)
            if settled.made is not None:
                self._made.append(settled.made)
            self._follow(
                self.graph.settle(settled.outcome, {address: bound.arn for address, bound in settled.bound.items()})
            )
        self._follow(self.graph.give_up())
        if self._context.lookout is not None and self._made:
            before = sum(made.attempt.sent for made in self._made)
            settlements = resolve_duplicates(self._made, self._context, self._context.lookout)
            attempts = {
                id(made.attempt): made.attempt
                for made in (*self._made, *(settlement.made for settlement in settlements))
            }
            self.sent += sum(attempt.sent for attempt in attempts.values()) - before
            for settlement in settlements:
                self._amend(settlement)
            self._drain()

    def close(self) -> None:
        """Let no more calls start; those in flight finish by themselves."""
        self._air.close()
        for lane in self._lanes.values():
            lane.shutdown(wait=False, cancel_futures=True)

    def _follow(self, news: Changes) -> None:
        for outcome in news.settled:
            address = self.graph.action(outcome.step).address
            # One line for each step, whatever became of it.
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
        for finished in news.finished:
            self._on_event(ActionFinished(finished))
        for step in news.ready:
            self._send(step, self.graph.action(step.id).address)

    def _amend(self, settlement: Resolution) -> None:
        """Put right what was told of a channel that another apply made too: its ARN, and the tags of the stream key born with it."""
        attempt = settlement.made.attempt
        outcomes: list[StepOutcome] = []
        if settlement.failure is not None:
            outcomes.append(
                attempt.outcome(Result.FAILED, code=settlement.failure.code, message=str(settlement.failure))
            )
        else:
            self._context.bound.update(settlement.bound)
            outcomes.append(attempt.outcome(Result.DONE, message=settlement.said))
            born = settlement.bound.keys() - {attempt.address}
            outcomes += [
                run_step(step, address, self._context).outcome
                for address in born
                for step in self.graph.naming(address)
            ]
        arns = {address: bound.arn for address, bound in settlement.bound.items()}
        self.sent += sum(outcome.calls for outcome in outcomes[1:])
        for outcome in outcomes:
            for finished in self.graph.amend(outcome, arns):
                self._on_event(StepFinished(finished.address, outcome))
                self._on_event(ActionFinished(finished))

    def _drain(self) -> None:
        """Pass on what was told while no worker was waited for."""
        while not self._inbox.empty():
            message = self._inbox.get()
            if not isinstance(message, Future | StreamCheck):
                self._on_event(message)

    def _looked(self, look: StreamCheck) -> None:
        """Go on with the steps whose channel is off air, and settle those that have waited long enough."""
        self.sent += look.calls
        for parked, outcome in self._air.settled(look):
            self._under_way -= 1
            if outcome.result is Result.DONE:
                # Before the steps go out that touch the channel.
                self._context.off_air.add(parked.arn)
            if outcome.result is Result.DONE and parked.again:
                self._send(parked.step, parked.address)
                continue
            self.interrupted = self.interrupted or outcome.result is Result.NOT_ATTEMPTED
            self._follow(self.graph.settle(outcome, {}))

    def _park(self, name: str, arn: str, *, again: bool = False) -> None:
        """Let a step wait until a channel is off air."""
        action = self.graph.action(name)
        step = next(step for step in action.steps if step.id == name)
        now = self._context.clock()
        seconds = None if step.until is None else step.until.seconds
        deadline = self._air_deadline if seconds is None else now + seconds
        self._under_way += 1
        self._air.park(
            WaitingStep(
                step,
                action.address,
                arn,
                now,
                deadline,
                again=again,
                ending=any(one.operation == STOP_STREAM for one in action.steps),
            )
        )

    def _send(self, step: Step, address: Address) -> None:
        if step.until is not None and step.until.absent:
            self._park(step.id, step.until.equals)
            return
        lane = self._lanes.get(step.operation)
        if lane is None:
            lane = self._lanes[step.operation] = ThreadPoolExecutor(
                _CALLS_PER_OPERATION, thread_name_prefix=f"apply-{step.operation}"
            )
        self._under_way += 1
        lane.submit(run_step, step, address, self._context).add_done_callback(self._inbox.put)
