"""Which steps may run, which still wait, and what a settled step means for the others. No threads, no calls.

Comes in: a target's plan, then the outcome of each step. Goes out: the steps that became ready, and the outcomes of actions that are settled.
Every step is looked at once, so a plan of thousands costs no more than its size.
"""

from __future__ import annotations

from collections import deque

from reconciler.plan.actions import Action, Outcome, Result, Step, StepOutcome, TargetPlan

_NOT_RUN = frozenset({Result.NOT_ATTEMPTED, Result.BLOCKED})


class Graph:
    """The steps of one target's plan while it is carried out."""

    def __init__(self, plan: TargetPlan) -> None:
        self.actions = plan.actions
        self.steps: dict[str, Step] = {step.id: step for action in plan.actions for step in action.steps}
        self.action_of: dict[str, int] = {step.id: index for index, action in enumerate(plan.actions) for step in action.steps}
        self.outcomes: dict[str, StepOutcome] = {}
        self.arns: dict[int, str] = {}
        self._open = [len(action.steps) for action in plan.actions]
        self._waiting: dict[str, int] = {}
        self._followers: dict[str, list[str]] = {}
        for step in self.steps.values():
            needed = [name for name in step.after if name in self.steps]
            self._waiting[step.id] = len(needed)
            for name in needed:
                self._followers.setdefault(name, []).append(step.id)

    def start(self) -> tuple[list[Step], list[StepOutcome], list[Outcome]]:
        """Return the steps that wait for nothing, and what is settled before anything runs: blocked actions, what waits for them, and actions without steps."""
        settled: list[StepOutcome] = []
        finished: list[Outcome] = []
        for index, action in enumerate(self.actions):
            if action.blocked is None and not action.steps:
                finished.append(self._outcome(index, action))
            if action.blocked is None:
                continue
            if not action.steps:
                finished.append(self._outcome(index, action))
            for step in action.steps:
                if step.id not in self.outcomes:
                    outcome = StepOutcome(step.id, step.operation, Result.BLOCKED, message=action.blocked.message)
                    _, more, done = self.settle(outcome)
                    settled += [outcome, *more]
                    finished += done
        ready = [step for step in self.steps.values() if not self._waiting[step.id] and step.id not in self.outcomes]
        return ready, settled, finished

    def settle(self, outcome: StepOutcome) -> tuple[list[Step], list[StepOutcome], list[Outcome]]:
        """Record an outcome; return the steps that became ready, those that never will run because of it, and the actions that are settled now."""
        ready: list[Step] = []
        lost: list[StepOutcome] = []
        finished: list[Outcome] = []
        queue = deque([outcome])
        while queue:
            current = queue.popleft()
            if current.step in self.outcomes:
                continue
            self.outcomes[current.step] = current
            if current is not outcome:
                lost.append(current)
            index = self.action_of[current.step]
            self._open[index] -= 1
            if not self._open[index]:
                finished.append(self._outcome(index, self.actions[index]))
            for name in self._followers.get(current.step, ()):
                if current.result is Result.DONE:
                    self._waiting[name] -= 1
                    if not self._waiting[name] and name not in self.outcomes:
                        ready.append(self.steps[name])
                elif name not in self.outcomes:
                    queue.append(self._lost(name, current, index))
        return ready, lost, finished

    def _lost(self, name: str, cause: StepOutcome, index: int) -> StepOutcome:
        """Return the outcome of a step that can no longer run."""
        result = Result.BLOCKED if cause.result is Result.BLOCKED else Result.NOT_ATTEMPTED
        if cause.result is Result.FAILED:
            message = f"it waits for {self.actions[index].address}, which failed"
        elif cause.result is Result.BLOCKED and self.actions[index].blocked is not None:
            message = f"it waits for {self.actions[index].address}, which is blocked"
        else:
            message = cause.message
        return StepOutcome(name, self.steps[name].operation, result, message=message)

    def _outcome(self, index: int, action: Action) -> Outcome:
        """Return what became of an action from what became of its steps."""
        steps = tuple(self.outcomes[step.id] for step in action.steps)
        arn = self.arns.get(index, action.arn)
        failed = next((step for step in steps if step.result is Result.FAILED), None)
        skipped = next((step for step in steps if step.result in _NOT_RUN), None)
        if action.blocked is not None:
            return Outcome(action.address, action.verb, Result.BLOCKED, action.blocked.message, arn=arn, steps=steps)
        if failed is not None:
            message = _with_done(f"{failed.operation}: {failed.message}", steps)
            return Outcome(action.address, action.verb, Result.FAILED, message, failed.request_id, arn, steps)
        if skipped is not None:
            return Outcome(action.address, action.verb, skipped.result, _with_done(skipped.message, steps), arn=arn, steps=steps)
        request_id = steps[-1].request_id if steps else ""
        return Outcome(action.address, action.verb, Result.DONE, "", request_id, arn, steps)


def _with_done(message: str, steps: tuple[StepOutcome, ...]) -> str:
    done = [step.operation for step in steps if step.result is Result.DONE]
    return f"{message} (done before that: {', '.join(done)})" if done else message
