"""Holding actions back after they were planned, with everything that waits for them, and counting what is left.

An action that is held back has no steps, so that nobody can run it by mistake; nothing else in the plan waits for a step that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.plan.actions import Action, Blocked, ReplaceOrder, Step, Summary, Verb


def hold(
    actions: tuple[Action, ...], blocks: Mapping[int, Blocked], dropped: Mapping[int, str] | None = None
) -> tuple[Action, ...]:
    """Block some actions, by their place, and leave others out altogether, and hold back whatever waits for them.

    ``dropped`` gives for each action left out the reason that its dependants are told.
    A replacement whose delete half waits for something held back keeps its create half: what it replaces stays until a later plan finds it let go.
    """
    left_out = dict(dropped or {})
    result = list(actions)
    owner = {step.id: index for index, action in enumerate(actions) for step in action.steps}
    followers: dict[str, list[int]] = {}
    for index, action in enumerate(actions):
        for step in action.steps:
            for needed in step.after:
                if owner.get(needed) != index:
                    followers.setdefault(needed, []).append(index)
    gone: list[tuple[str, str]] = []
    for index, why in left_out.items():
        gone += [(step.id, f"{actions[index].address}, which {why}") for step in actions[index].steps]
    for index, blocked in blocks.items():
        gone += [(step.id, f"{actions[index].address}, which is blocked") for step in actions[index].steps]
        result[index] = replace(actions[index], steps=(), blocked=blocked)
    while gone:
        lost, why = gone.pop()
        for index in followers.get(lost, ()):
            action = result[index]
            if index in left_out or action.blocked:
                continue
            result[index] = _without(action, lost, why)
            kept = {step.id for step in result[index].steps}
            gone += [(step.id, f"{action.address}, which is blocked") for step in action.steps if step.id not in kept]
    return tuple(action for index, action in enumerate(result) if index not in left_out)


def _without(action: Action, lost: str, why: str) -> Action:
    """Return the action as it is when one of the steps it waits for is gone."""
    hit = [step for step in action.steps if lost in step.after]
    if not hit:
        return action
    if (
        action.verb is Verb.REPLACE
        and action.order is ReplaceOrder.CREATE_FIRST
        and all(names_replaced(action, step) for step in hit)
    ):
        warning = f"{action.arn} stays after its replacement: its delete waits for {why}; a later plan deletes it"
        return replace(
            action,
            steps=tuple(step for step in action.steps if not names_replaced(action, step)),
            warnings=(*action.warnings, warning),
        )
    return replace(action, steps=(), blocked=Blocked("depends", f"it waits for {why}"))


def names_replaced(action: Action, step: Step) -> bool:
    """Whether a step of a replacement is about the resource that is replaced, not about the one that takes its place."""
    return step.parameters.get("arn") == action.arn


def counted(summary: Summary, actions: Iterable[Action]) -> Summary:
    """Return a summary with its counts of actions taken anew; the other counts stay."""
    verbs: Counter[Verb] = Counter()
    blocked = 0
    for action in actions:
        if action.blocked:
            blocked += 1
        else:
            verbs[action.verb] += 1
    return replace(
        summary,
        create=verbs[Verb.CREATE],
        update=verbs[Verb.UPDATE],
        replace=verbs[Verb.REPLACE],
        delete=verbs[Verb.DELETE],
        adopt=verbs[Verb.ADOPT],
        forget=verbs[Verb.FORGET],
        blocked=blocked,
    )
