"""What waits for what, across all actions of a target, and the one total order of everything.

Steps wait for what binds or readies the ARN they name; a delete waits for every channel that uses what it deletes;
an import waits for the delete that frees its public key or its place.
The order of actions is (phase, rank, address): makers by rising rank, then deletes by falling rank.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import LiveResource
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import Draft
from reconciler.plan.plan import Action, ReplaceOrder, Step, Verb

Planned: TypeAlias = tuple[Draft, tuple[Step, ...]]
"""A draft and the calls it takes."""

Edges: TypeAlias = dict[str, set[str]]
"""By step, the steps it waits for beside the one before it in its own action."""


def link(
    planned: list[Planned],
    users: Mapping[str, tuple[LiveResource, ...]],
    free: Mapping[KindName, int],
    held: Mapping[str, str],
    limits: Mapping[KindName, int],
) -> list[Planned]:
    """Add to each step the steps of other actions that must be done before it.

    ``users`` are the channels by the ARN they refer to, ``free`` the places left in the quotas ``limits``,
    ``held`` the key pair that holds each public key now.
    A create that finds no place in a quota, or has to wait for one, gets a warning.
    """
    edges: Edges = {}
    _after_bindings(planned, edges)
    _after_users(planned, users, edges)
    _after_material(planned, held, edges)
    pressed: dict[str, str] = {}
    for kind, places in free.items():
        pressed |= _after_places([item for item in planned if item[0].address.kind is kind], places, edges, planned)
    return [
        (_warned(draft, steps, pressed, limits), tuple(_later(step, edges) for step in steps))
        for draft, steps in planned
    ]


def action_key(action: Action) -> tuple[int, int, str, str, str]:
    """Return what actions are sorted by: a total order that depends on nothing but their content."""
    rank = KINDS[action.kind].rank
    last = action.verb is Verb.DELETE
    return (int(last), -rank if last else rank, action.kind.value, action.address.id, action.arn or "")


def in_order(actions: Iterable[Action]) -> tuple[Step, ...]:
    """Return the steps of all actions so that each comes after what it waits for; among equals, in the order of actions.

    Raises ``ValueError`` when steps wait for one another in a circle, or for a step that is not there.
    """
    steps = [step for action in actions for step in action.steps]
    place = {step.id: index for index, step in enumerate(steps)}
    waiting = {step.id: set(step.after) for step in steps}
    followers: dict[str, list[str]] = {}
    for step in steps:
        for needed in step.after:
            if needed not in place:
                raise ValueError(f"{step.id} waits for {needed}, which is no step of this plan")
            followers.setdefault(needed, []).append(step.id)
    ready = [index for index, step in enumerate(steps) if not step.after]
    result: list[Step] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        result.append(step)
        for follower in followers.get(step.id, ()):
            waiting[follower].discard(step.id)
            if not waiting[follower]:
                heapq.heappush(ready, place[follower])
    if len(result) < len(steps):
        done = {step.id for step in result}
        raise ValueError(
            f"steps wait for one another in a circle: {', '.join(step.id for step in steps if step.id not in done)}"
        )
    return tuple(result)


def references(value: Value) -> Iterable[Ref]:
    """Return the references inside a value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from references(item)


def _later(step: Step, edges: Edges) -> Step:
    return replace(step, after=tuple(sorted({*step.after, *edges[step.id]}))) if step.id in edges else step


def _warned(draft: Draft, steps: tuple[Step, ...], pressed: Mapping[str, str], limits: Mapping[KindName, int]) -> Draft:
    freed = next((pressed[step.id] for step in steps if step.id in pressed), None)
    if freed is None:
        return draft
    quota = f"the quota is {limits[draft.address.kind]:,} {KINDS[draft.address.kind].titles} and there is no place left for this one"
    warning = (
        f"{quota}, so it waits for the delete of {freed.rpartition('#')[0]}"
        if freed
        else f"{quota}; delete one first, or IVS will refuse"
    )
    return replace(draft, warnings=(*draft.warnings, warning))


def _after_bindings(planned: list[Planned], edges: Edges) -> None:
    ready: dict[str, str] = {}
    for _, steps in planned:
        for step in steps:
            ready.update((address, step.id) for address in step.binds)
            if step.until is not None and isinstance(arn := step.parameters.get("arn"), Ref):
                ready[str(arn.address)] = step.id
    for _, steps in planned:
        own = {step.id for step in steps}
        for step in steps:
            for value in step.parameters.values():
                for ref in references(value):
                    needed = ready[str(ref.address)]
                    if needed not in own:
                        edges.setdefault(step.id, set()).add(needed)


def _after_users(planned: list[Planned], users: Mapping[str, tuple[LiveResource, ...]], edges: Edges) -> None:
    channel = KINDS[KindName.CHANNEL]
    lets_go = {
        step.parameters["arn"]: step.id
        for draft, steps in planned
        if draft.address.kind is KindName.CHANNEL
        for step in steps
        if step.operation in (channel.update, channel.delete)
    }
    for draft, step in _deletes(planned):
        for user in users.get(draft.live.arn if draft.live else "", ()):
            if user.arn in lets_go:
                edges.setdefault(step.id, set()).add(lets_go[user.arn])


def _after_material(planned: list[Planned], held: Mapping[str, str], edges: Edges) -> None:
    freed = {draft.live.arn: step.id for draft, step in _deletes(planned) if draft.live}
    for draft, steps in planned:
        holder = held.get(str(draft.wanted.get("fingerprint")))
        if holder is None or holder not in freed or (draft.live and draft.live.arn == holder):
            continue
        for step in steps:
            if step.binds:
                edges.setdefault(step.id, set()).add(freed[holder])


def _after_places(planned: list[Planned], places: int, edges: Edges, everything: list[Planned]) -> dict[str, str]:
    """Let creates that find no place wait for the deletes that make one, where that closes no circle.

    Return those that do, each with the delete, and those that find none at all, with nothing.
    """
    deletes = [step for draft, step in _deletes(planned) if draft.verb is Verb.DELETE]
    first = [
        (draft, steps)
        for draft, steps in planned
        if draft.verb is Verb.REPLACE and draft.order is ReplaceOrder.CREATE_FIRST and steps
    ]
    # What a replacement does not let go of keeps its place beside the new one.
    makers = [step for draft, steps in planned if draft.verb is Verb.CREATE for step in steps if step.binds]
    makers += [step for draft, steps in first if not draft.lets_go for step in steps if step.binds]
    in_turn = [steps for draft, steps in first if draft.lets_go]
    room = max(places - len(makers), 0)
    if len(makers) <= max(places, 0) and len(in_turn) <= room:
        return {}
    circles = _Circles(edges, everything)
    pressed: dict[str, str] = {}

    def waits_for_a_place(step: Step, ends: list[Step]) -> None:
        freed = next((candidate for candidate in ends if not circles.reaches(candidate.id, step.id)), None)
        pressed[step.id] = freed.id if freed else ""
        if freed:
            ends.remove(freed)
            edges.setdefault(step.id, set()).add(freed.id)

    for step in makers[max(places, 0) :]:
        waits_for_a_place(step, deletes)
    # Several replacements share the places that are free: each begins when an earlier one has ended.
    ends = [steps[-1] for steps in in_turn[:room]]
    for steps in in_turn[room:]:
        both = [*ends, *deletes]
        waits_for_a_place(steps[0], both)
        ends = [*(step for step in ends if step in both), steps[-1]]
        deletes = [step for step in deletes if step in both]
    return pressed


class _Circles:
    """Tells whether one step waits, by however many others, for another."""

    def __init__(self, edges: Edges, planned: list[Planned]) -> None:
        self._edges = edges
        self._direct = {step.id: step.after for _, steps in planned for step in steps}

    def reaches(self, start: str, goal: str) -> bool:
        seen, open_ends = {start}, [start]
        while open_ends:
            step = open_ends.pop()
            for needed in (*self._direct.get(step, ()), *self._edges.get(step, ())):
                if needed not in seen:
                    seen.add(needed)
                    open_ends.append(needed)
        return goal in seen


def _deletes(planned: list[Planned]) -> list[tuple[Draft, Step]]:
    return [
        (draft, step)
        for draft, steps in planned
        for step in steps
        if step.operation == KINDS[draft.address.kind].delete
    ]
