"""Which steps may run, which still wait, and what a settled step means for the others. No threads, no calls.

Comes in: a target's plan, then the outcome of each step. Goes out: the steps that became ready, and what is settled with them.
Every step is looked at once, so a plan of thousands costs no more than its size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.address import Address
from reconciler.model.values import Ref
from reconciler.plan.actions import Action, Outcome, Result, Step, StepOutcome, TargetPlan

_NOT_RUN = frozenset({Result.NOT_ATTEMPTED, Result.BLOCKED})


@dataclass(slots=True)
class News:
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
                        _not_attempted(step, f"it waits for {name}, which is no step of this plan; plan again")
                    )

    def start(self) -> News:
        """Return what may run at once, and what is settled before anything runs: actions that are blocked or have no steps, and what waits for them."""
        news = News()
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

    def settle(self, outcome: StepOutcome, bound: Mapping[Address, str]) -> News:
        """Record an outcome with the ARNs it brought, and return what follows from it."""
        index = self._action_of[outcome.step]
        arn = bound.get(self._actions[index].address)
        if arn is not None:
            self._arns[index] = arn
        news = News()
        self._settle([outcome], news)
        return news

    def give_up(self) -> News:
        """Settle what can never become ready: steps that wait for one another in a circle."""
        news = News()
        left = [step for step in self._steps.values() if step.id not in self._settled]
        self._settle(
            [_not_attempted(step, "its steps wait for one another in a circle; plan again") for step in left], news
        )
        return news

    def amend(self, outcome: StepOutcome, bound: Mapping[Address, str]) -> tuple[Outcome, ...]:
        """Put another outcome in the place of a settled one, with the ARNs it brought; return the outcome of its action anew."""
        index = self._action_of[outcome.step]
        action = self._actions[index]
        before = self._settled[outcome.step]
        self._settled[outcome.step] = replace(outcome, calls=max(before.calls, outcome.calls))
        self._arns[index] = bound.get(action.address, self._arns.get(index, ""))
        news = News()
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

    def _settle(self, outcomes: Iterable[StepOutcome], news: News) -> None:
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

    def _finish(self, index: int, action: Action, news: News) -> None:
        outcome = _outcome(
            action, tuple(self._settled[step.id] for step in action.steps), self._arns.get(index, action.arn)
        )
        self._outcomes[index] = outcome
        news.finished.append(outcome)


def _not_attempted(step: Step, message: str) -> StepOutcome:
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
